//! The walk: one pass over one policy, a stage a line.
//!
//! Each stage is one file with one output type that contains what it was made from; a later stage is never called by an
//! earlier one. `observe` and `gather` read the world, `act` and `publish` write it, everything between is core.

pub mod act;
pub mod at_rest;
pub mod decisions;
pub mod explain;
pub mod finish;
pub mod gather;
pub mod ledgers;
pub mod observe;
pub mod places;
pub mod preflight;
pub mod publish;
pub mod trust;
pub mod trust_roots;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use rollforward_api::policy::UpdatePolicy;
use rollforward_core::levers::Pause;
use rollforward_core::policy::{Facts, Policy};
use rollforward_core::{current, decide, report, rollout};
use thiserror::Error;
use tokio::sync::watch;

use crate::clock;
use crate::config::Config;
use crate::convert;
use crate::kubernetes::ApiError;
use crate::kubernetes::brake::Brake;
use crate::kubernetes::delegates::Delegates;
use crate::kubernetes::events::Events;
use crate::kubernetes::lease::Leadership;
use crate::kubernetes::pod_watch::PodWatches;
use crate::prometheus::Meter;
use crate::registry::Registry;
use crate::scans::Scans;
use crate::telemetry::Metrics;

/// How long a pass waits that found its place for a run taken between looking and acting.
const CROWDED: Duration = Duration::from_millis(200);

/// What every pass shares.
pub struct Context {
    /// The apiserver.
    pub client: Client,
    /// The operator's settings.
    pub config: Config,
    /// The registries.
    pub registry: Registry,
    /// The newest scans.
    pub scans: Scans,
    /// What contents of trust roots are.
    pub roots: trust::KnownRoots,
    /// What registries answered before.
    pub cache: gather::Cache,
    /// Events.
    pub events: Events,
    /// Counters.
    pub metrics: Metrics,
    /// What crashed programs wrote last.
    pub words: explain::Words,
    /// Prometheus.
    pub meter: Meter,
    /// Who rolls workloads out in our place.
    pub delegates: Delegates,
    /// What wakes the policies whose runs are open.
    pub pods: PodWatches,
    /// What was read of workloads at rest.
    pub at_rest: at_rest::AtRest,
    /// What was found to stop new pods.
    pub obstacles: preflight::Obstacles,
    /// Writers of ledgers.
    pub ledgers: ledgers::Ledgers,
    /// Policies and open runs, kept by their watches.
    pub stores: observe::Stores,
    /// The brake for everything, kept by its watch.
    pub brake: watch::Receiver<Brake>,
    /// Whether this operator may write.
    pub leadership: Leadership,
}

impl Context {
    /// Passes while this operator may write. Asked before every write to a workload or a record.
    ///
    /// # Errors
    /// Where another operator may hold the Lease by now.
    pub fn fence(&self) -> Result<(), Error> {
        if self.leadership.acts() { Ok(()) } else { Err(Error::NotLeading) }
    }

    /// Whether everything, or this policy, is paused.
    #[must_use]
    pub fn paused(&self, object: &UpdatePolicy) -> Option<Pause> {
        let brake = self.brake.borrow();
        let text = match &*brake {
            Brake::Pulled(text) => Some(text.as_str()),
            Brake::Free | Brake::Unknown => None,
        };
        convert::levers::everywhere(self.config.paused, text).or_else(|| convert::levers::paused(object))
    }
}

/// Why a pass ended early: the apiserver's fault, or another operator acts now.
#[derive(Debug, Error)]
pub enum Error {
    /// A request to the apiserver failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Another operator may hold the Lease by now: nothing is written any more.
    #[error("the Lease is not held any more")]
    NotLeading,
}

/// One pass over one policy.
///
/// # Errors
/// Only where the apiserver itself failed; a silent registry or a bad policy is said in the status.
pub async fn reconcile(
    object: Arc<DeserializeGuard<UpdatePolicy>>,
    ctx: Arc<Context>,
) -> Result<Action, Error> {
    let now = clock::now(); // read once: a pass has one time
    ctx.fence()?;
    ctx.metrics.passes.inc();
    ctx.metrics.open_runs.set(i64::try_from(ctx.stores.n_open_runs()).unwrap_or(i64::MAX));
    let object = match observe::whole(&ctx, &object).await? {
        observe::Whole::Gone => return Ok(Action::await_change()),
        observe::Whole::Unreadable(rest, error) => {
            return Box::pin(finish::finish(&ctx, &rest, finish::unreadable(&error), now)).await;
        }
        observe::Whole::Readable(object) => object,
    };
    let policy = match convert::policy::policy(&object, &ctx.config.defaults) {
        Ok(policy) => policy, // every field checked, once
        Err(faults) => return Box::pin(finish::finish(&ctx, &object, finish::invalid(&faults), now)).await,
    };
    publish::begin(&ctx, &object, now).await?; // a new generation: say that it is seen, before the registry is asked
    let observed = observe::observe(&ctx, (&object, &policy), None, now).await?; // workloads, pods, scan, ledger, runs
    let policy = Policy { trust: observed.own, ..policy }; // with the keys that its ConfigMaps hold
    let facts = Facts { policy, seen: observed.seen, now }; // fixed for the rest of the pass
    let chosen = current::choose(&facts); // candidates, best first; a reason for every other tag
    let assessment = gather::assess(&ctx, &facts, &observed.credentials, chosen).await; // what each layer says
    let decision = decide::decide(&facts, assessment); // move, hold, or nothing to do
    let plan = rollout::plan(&facts, decision); // judges the open run; names the one write that is due
    let outcome = act::act(&ctx, &object, &facts, &plan).await?; // the only writes to workloads
    if outcome.crowded {
        return Ok(Action::requeue(CROWDED)); // another pass took the last place: the next one sees it
    }
    let report = report::report(&facts, &plan, &outcome);
    ctx.fence()?;
    publish::publish(&ctx, &object, &report, &facts).await?; // status, Events, metrics: all from one report
    act::clear_asked(&ctx, &object).await?; // what a person asked once is done and told
    Ok(publish::apart(&report, &facts, observed.pods_wake))
}
