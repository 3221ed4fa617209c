//! What a run holds on a Deployment while its canary is watched.
//!
//! While `minReadySeconds` is held the new pods are Ready, get traffic, and are never Available; with `maxUnavailable: 0` the
//! native controller then starts exactly `maxSurge` new pods and removes no old one. If the operator is gone, the
//! hold ends by itself once the new pods have been Ready for that long.

use crate::policy::RolloutSettings;
use crate::rollout::patch::FieldWrite;
use crate::rollout::run::{DeploymentFields, DeploymentHold, Hold};
use crate::workload::{Deployment, IntOrPercent, Strategy};

/// How long the hold outlasts the deadline: time for us to write after it, seconds.
const HOLD_SLACK_SECONDS: i64 = 300;
/// How long the native progress deadline outlasts the hold, seconds; the apiserver demands that it is larger.
const PROGRESS_SLACK_SECONDS: i64 = 600;

/// The values that hold a canary under these settings.
#[must_use]
pub fn hold(settings: &RolloutSettings, own: &Deployment) -> Hold {
    let seconds = |value: i64| i32::try_from(value).unwrap_or(i32::MAX / 2);
    let ready = settings.deadline.as_secs().saturating_add(HOLD_SLACK_SECONDS);
    let progress = ready.saturating_add(PROGRESS_SLACK_SECONDS);
    Hold::Deployment(DeploymentHold {
        min_ready_seconds: seconds(ready),
        progress_deadline_seconds: seconds(progress).max(own.progress_deadline_seconds),
    })
}

/// The fields that hold this many new pods beside the old ones.
#[must_use]
pub fn held(hold: DeploymentHold, surge: i32) -> Vec<FieldWrite> {
    vec![
        FieldWrite::MinReadySeconds(hold.min_ready_seconds),
        FieldWrite::ProgressDeadlineSeconds(hold.progress_deadline_seconds),
        held_strategy(surge),
    ]
}

/// The strategy that starts this many new pods and removes no old one.
#[must_use]
pub fn held_strategy(surge: i32) -> FieldWrite {
    FieldWrite::RollingUpdate { max_surge: IntOrPercent::Int(surge), max_unavailable: IntOrPercent::Int(0) }
}

/// The originals of those fields that hold what the run wrote and differ from what was there before.
#[must_use]
pub fn restores(own: &Deployment, originals: &DeploymentFields, hold: DeploymentHold) -> Vec<FieldWrite> {
    let mut fields = Vec::new();
    if own.min_ready_seconds == hold.min_ready_seconds
        && originals.min_ready_seconds != hold.min_ready_seconds
    {
        fields.push(FieldWrite::MinReadySeconds(originals.min_ready_seconds));
    }
    if own.progress_deadline_seconds == hold.progress_deadline_seconds
        && originals.progress_deadline_seconds != hold.progress_deadline_seconds
    {
        fields.push(FieldWrite::ProgressDeadlineSeconds(originals.progress_deadline_seconds));
    }
    if is_ours(&own.strategy)
        && own.strategy != originals.strategy
        && let Strategy::RollingUpdate { max_surge, max_unavailable } = &originals.strategy
    {
        fields.push(FieldWrite::RollingUpdate {
            max_surge: max_surge.clone(),
            max_unavailable: max_unavailable.clone(),
        });
    }
    fields
}

/// Whether a strategy is one that a canary writes; another one in mid-canary is a person's.
#[must_use]
pub fn is_ours(strategy: &Strategy) -> bool {
    match strategy {
        Strategy::RollingUpdate {
            max_surge: IntOrPercent::Int(_),
            max_unavailable: IntOrPercent::Int(0),
        } => true,
        Strategy::RollingUpdate { .. } | Strategy::Recreate => false,
    }
}
