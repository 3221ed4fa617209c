//! The operator's configuration file: every limit and default, in one place.
//!
//! Unknown keys are refused with their name, so that a misspelt limit is not silently the default. `config/rollforward.yaml`
//! holds the same with comments. What a policy may say overrides the defaults here. The section on registries:
//! `config/registries.rs`; what every namespace must show: `config/floor.rs`.

mod floor;
mod registries;

use std::path::Path;
use std::sync::Arc;

use jiff::SignedDuration;
use rollforward_core::breaker::Breaker;
use rollforward_core::trust::Decision;
use serde::Deserialize;
use thiserror::Error;

use crate::{prometheus, registry};

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not valid.
    #[error("the configuration {path} is not valid: {message}")]
    Parse {
        /// Which file.
        path: String,
        /// Where and why.
        message: String,
    },
    /// A value is out of range.
    #[error("the configuration's {field} is {value}: expected {expected}")]
    Value {
        /// Which key.
        field: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        expected: &'static str,
    },
}

/// The configuration as the file spells it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    listen: Option<String>,
    log: Option<LogFile>,
    logs: Option<LogsFile>,
    watch_namespaces: Option<Vec<String>>,
    namespace: Option<String>,
    paused: Option<bool>,
    leader_election: Option<bool>,
    registries: Option<registries::File>,
    prometheus: Option<PrometheusFile>,
    limits: Option<LimitsFile>,
    defaults: Option<DefaultsFile>,
    verification: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogFile {
    format: Option<String>,
    level: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogsFile {
    last_words: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PrometheusFile {
    allowed: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LimitsFile {
    per_namespace: Option<usize>,
    cluster: Option<usize>,
    breaker: Option<BreakerFile>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BreakerFile {
    failures: Option<usize>,
    window: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DefaultsFile {
    interval: Option<String>,
    soak: Option<String>,
    bake: Option<String>,
    deadline: Option<String>,
}

/// The configuration, every value checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where health and metrics are served, `address:port`.
    pub listen: String,
    /// Whether logs are JSON.
    pub log_json: bool,
    /// The log level, as `tracing` reads it.
    pub log_level: String,
    /// Whether the end of a crashed program's log is read.
    pub last_words: bool,
    /// The namespaces to watch; all where empty.
    pub watch_namespaces: Vec<String>,
    /// The operator's own namespace; without it the pod's, or the kubeconfig's.
    pub namespace: Option<String>,
    /// Whether nothing starts and no canary goes on.
    pub paused: bool,
    /// Whether the operator acts only while it holds the Lease.
    pub leader_election: bool,
    /// How registries are spoken to.
    pub registries: registry::Settings,
    /// Open runs allowed in a namespace.
    pub per_namespace: usize,
    /// Open runs allowed in the cluster.
    pub cluster: usize,
    /// When failures of the environment freeze starts.
    pub breaker: Breaker,
    /// What a policy that says nothing gets.
    pub defaults: Defaults,
    /// What every namespace's images must show, in addition to its own decisions.
    pub floor: Option<Decision>,
}

/// What a policy that says nothing gets, and what one that says something may.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// The addresses of Prometheus that policies may name.
    pub prometheus: prometheus::Allowed,
    /// How often a registry is asked.
    pub interval: SignedDuration,
    /// How long an unsigned digest must have been known.
    pub soak: SignedDuration,
    /// How long a canary is watched.
    pub bake: SignedDuration,
    /// The wall-clock limit of a run.
    pub deadline: SignedDuration,
}

impl Config {
    /// Reads the file; the defaults where there is none.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the key and what was expected.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Self::checked(File::default());
        };
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Self::checked(File::default());
        }
        let file = serde_saphyr::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: shown, message: error.to_string() })?;
        Self::checked(file)
    }

    fn checked(file: File) -> Result<Self, ConfigError> {
        let log = file.log.unwrap_or_default();
        let registries = file.registries.unwrap_or_default();
        let limits = file.limits.unwrap_or_default();
        let breaker = limits.breaker.unwrap_or_default();
        let defaults = file.defaults.unwrap_or_default();
        let format = log.format.unwrap_or_else(|| "Json".to_owned());
        if !matches!(format.as_str(), "Json" | "Text") {
            return Err(ConfigError::Value { field: "log.format", value: format, expected: "Json or Text" });
        }
        Ok(Self {
            listen: file.listen.unwrap_or_else(|| "0.0.0.0:8080".to_owned()),
            log_json: format == "Json",
            log_level: log.level.unwrap_or_else(|| "info".to_owned()),
            last_words: file.logs.and_then(|logs| logs.last_words).unwrap_or(false),
            watch_namespaces: file.watch_namespaces.unwrap_or_default(),
            namespace: file.namespace.filter(|name| !name.is_empty()),
            paused: file.paused.unwrap_or(false),
            leader_election: file.leader_election.unwrap_or(false),
            registries: registries.checked()?,
            per_namespace: positive("limits.perNamespace", limits.per_namespace, 2)?,
            cluster: positive("limits.cluster", limits.cluster, 20)?,
            breaker: Breaker {
                failures: positive("limits.breaker.failures", breaker.failures, 3)?,
                window: duration("limits.breaker.window", breaker.window, "15m")?,
            },
            defaults: Defaults {
                prometheus: allowed(file.prometheus)?,
                interval: duration("defaults.interval", defaults.interval, "5m")?,
                soak: duration("defaults.soak", defaults.soak, "72h")?,
                bake: duration("defaults.bake", defaults.bake, "10m")?,
                deadline: duration("defaults.deadline", defaults.deadline, "60m")?,
            },
            floor: floor::checked(file.verification)?,
        })
    }
}

fn allowed(file: Option<PrometheusFile>) -> Result<prometheus::Allowed, ConfigError> {
    let allowed = file.and_then(|file| file.allowed).unwrap_or_default();
    match allowed.iter().find(|url| !prometheus::is_public(url)) {
        Some(url) => Err(ConfigError::Value {
            field: "prometheus.allowed",
            value: rollforward_core::text::clean(url, 100),
            expected: "addresses such as http://prometheus.monitoring:9090, without user and query, and no metadata service",
        }),
        None => Ok(Arc::new(allowed)),
    }
}

fn positive(field: &'static str, value: Option<usize>, default: usize) -> Result<usize, ConfigError> {
    match value.unwrap_or(default) {
        0 => Err(ConfigError::Value { field, value: "0".to_owned(), expected: "1 or more" }),
        number => Ok(number),
    }
}

fn duration(field: &'static str, text: Option<String>, default: &str) -> Result<SignedDuration, ConfigError> {
    let text = text.unwrap_or_else(|| default.to_owned());
    parse_duration(&text).ok_or(ConfigError::Value {
        field,
        value: text,
        expected: "hours, minutes and seconds such as 1h30m, 10m or 45s, at most 30 days",
    })
}

/// Reads a duration: one or more of a whole number and `h`, `m` or `s`; at most 30 days.
#[must_use]
pub fn parse_duration(text: &str) -> Option<SignedDuration> {
    let mut seconds: i64 = 0;
    let mut number: Option<i64> = None;
    for letter in text.chars() {
        if let Some(digit) = letter.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(i64::from(digit))?);
            continue;
        }
        let unit = match letter {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    let whole = !text.is_empty() && number.is_none();
    (whole && seconds <= 30 * 24 * 3600).then(|| SignedDuration::from_secs(seconds))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a test that cannot begin has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_hours_minutes_and_seconds_and_nothing_else() {
        let seconds = |text: &str| parse_duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("45s"), Some(45));
        assert_eq!(seconds("0s"), Some(0));
        for hostile in ["", "10", "1h-1m", "-1h", "1d", "99999999999999999999h", "721h", "m", "1.5h", "１h"]
        {
            assert_eq!(seconds(hostile), None, "{hostile:?}");
        }
    }

    #[test]
    fn a_misspelt_key_is_refused_by_its_name_and_a_bad_value_says_what_was_expected() {
        let load = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            Config::load(Some(file.path())).map_err(|error| error.to_string())
        };
        assert_eq!(load("# nothing\n").unwrap().per_namespace, 2);
        assert_eq!(load("limits: {perNamespace: 7}").unwrap().per_namespace, 7);
        assert!(load("limits: {perNamespaces: 7}").unwrap_err().contains("perNamespaces"));
        let error = load("defaults: {bake: 1h-1m}").unwrap_err();
        assert!(error.contains("defaults.bake is 1h-1m: expected hours, minutes and seconds"), "{error}");
        let error = load("prometheus: {allowed: ['http://169.254.169.254']}").unwrap_err();
        assert!(
            error.contains("prometheus.allowed is http://169.254.169.254: expected addresses"),
            "{error}"
        );
        assert!(load("limits: {cluster: 0}").unwrap_err().contains("expected 1 or more"));
    }

    #[test]
    fn what_is_said_of_registries_is_checked_and_names_the_key() {
        let load = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), format!("registries: {text}")).unwrap();
            Config::load(Some(file.path())).map(|config| config.registries).map_err(|error| error.to_string())
        };
        let settings = load(
            "{plainHttp: [a:5000], hosts: [{host: b.test, plainHttp: true, realms: [login.test], caFile: /ca,
              clientCertFile: /c, clientKeyFile: /k, proxy: 'http://u:geheim@proxy:3128'}],
              credentials: [{host: c.test, dockerConfigFile: /d}],
              credentialProviders: {binDir: /bin, providers: [{name: ecr, matchImages: ['*.ecr.test'],
              defaultCacheDuration: 12h, apiVersion: credentialprovider.kubelet.k8s.io/v1, args: [get],
              env: [{name: A, value: b}]}]}}",
        )
        .unwrap();
        assert_eq!(settings.plain_http, ["a:5000", "b.test"]);
        assert_eq!(settings.realms, [("b.test".to_owned(), "login.test".to_owned())]);
        assert_eq!(settings.credential_files, [("c.test".to_owned(), "/d".into())]);
        assert_eq!(settings.credential_providers.len(), 1);
        assert!(!format!("{settings:?}").contains("geheim"));
        let refused = |text: &str, part: &str| {
            let error = load(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("geheim"), "{error}");
        };
        refused("{hosts: [{host: b.test, cafile: /ca}]}", "cafile");
        refused(
            "{hosts: [{host: 'https://b.test'}]}",
            "registries.hosts.host is https://b.test: expected a host",
        );
        refused("{hosts: [{host: b.test}, {host: b.test}]}", "expected each host once");
        refused("{hosts: [{host: b.test, clientCertFile: /c}]}", "clientCertFile and clientKeyFile together");
        refused("{hosts: [{host: b.test, proxy: 'geheim at proxy'}]}", "registries.hosts.proxy");
        refused("{credentials: [{host: c.test}]}", "dockerConfigFile");
        let provider = |change: &str| {
            format!(
                "{{credentialProviders: {{binDir: /b, providers: [{{name: ecr, matchImages: [a], defaultCacheDuration: 1h,
                  apiVersion: credentialprovider.kubelet.k8s.io/v1, {change}}}]}}}}"
            )
        };
        load(&provider("args: []")).unwrap();
        refused(&provider("tokenAttributes: {}"), "tokenAttributes");
        let other = |from: &str, to: &str| provider("args: []").replace(from, to);
        refused(
            &other("name: ecr", "name: ../ecr"),
            "registries.credentialProviders.providers.name is ../ecr",
        );
        refused(&other("/v1", "/v1alpha1"), "expected credentialprovider.kubelet.k8s.io/v1");
        refused(&other("[a]", "[]"), "matchImages");
        refused(&other("1h", "1d"), "defaultCacheDuration is 1d");
    }
}
