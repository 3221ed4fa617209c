//! Logs and the metric registry. Labels come from closed lists: never a tag, a digest or foreign text.
//!
//! The one exception is the host of a registry, which workloads name: bounded where requests are counted
//! (`registry/transport.rs`), further hosts are `other`.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::registry;

/// Starts logging to standard error.
pub fn start_logs(config: &Config) {
    let filter = EnvFilter::try_new(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first.
    let _ = if config.log_json { logs.json().try_init() } else { logs.with_ansi(false).try_init() };
}

/// A reason code as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// The code.
    pub reason: &'static str,
}

/// The kind of object written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    /// `UpdatePolicy`, `UpdateRun`, `ImageLedger` or `Deployment`.
    pub kind: &'static str,
}

/// What the operator counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Passes over a policy.
    pub passes: Counter,
    /// Passes that ended in an error of the apiserver.
    pub pass_errors: Counter,
    /// Scans of a repository.
    pub scans: Counter,
    /// Writes, by kind.
    pub writes: Family<KindLabel, Counter>,
    /// Runs that ended, by result.
    pub runs: Family<ReasonLabel, Counter>,
    /// Runs that are open.
    pub open_runs: Gauge,
    /// Runs whose pods showed words that no rule knows: a change of wording in Kubernetes becomes visible here.
    pub unclassified: Counter,
}

/// What the client of registries has counted, read when somebody scrapes.
#[derive(Debug)]
struct Requests(registry::Registry);

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let requests = self.0.requests();
        if requests.is_empty() {
            return Ok(());
        }
        let help =
            "Requests to a registry by outcome, those for tokens and those that were held back included";
        let counter = ConstCounter::new(0_u64);
        let mut family = encoder.encode_descriptor("registry_requests", help, None, counter.metric_type())?;
        for ((registry, outcome), n_requests) in requests {
            let labels = [("registry", registry.as_str()), ("outcome", outcome.label())];
            ConstCounter::new(n_requests).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Metrics {
    /// The metrics and the registry that serves them, with what the client of registries has counted.
    #[must_use]
    pub fn new(requests: registry::Registry) -> (Self, Registry) {
        let metrics = Self {
            passes: Counter::default(),
            pass_errors: Counter::default(),
            scans: Counter::default(),
            writes: Family::default(),
            runs: Family::default(),
            open_runs: Gauge::default(),
            unclassified: Counter::default(),
        };
        let mut registry = Registry::with_prefix("rollforward");
        registry.register("passes", "Passes over a policy", metrics.passes.clone());
        registry.register(
            "pass_errors",
            "Passes ended by an error of the apiserver",
            metrics.pass_errors.clone(),
        );
        registry.register("scans", "Listings of a repository", metrics.scans.clone());
        registry.register("writes", "Writes to the apiserver by kind", metrics.writes.clone());
        registry.register("runs", "Runs ended, by result", metrics.runs.clone());
        registry.register("open_runs", "Runs open now", metrics.open_runs.clone());
        registry.register(
            "unclassified",
            "Runs whose pods showed a cause that no rule of the classifier knows",
            metrics.unclassified.clone(),
        );
        registry.register_collector(Box::new(Requests(requests)));
        (metrics, registry)
    }

    /// Counts a write.
    pub fn wrote(&self, kind: &'static str) {
        self.writes.get_or_create(&KindLabel { kind }).inc();
    }
}
