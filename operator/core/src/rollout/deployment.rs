//! What a run holds on a Deployment while its canary is watched.
//!
//! While `minReadySeconds` is held the new pods are Ready, get traffic, and are never Available; with `maxUnavailable: 0` the
//! native controller then starts exactly `maxSurge` new pods and removes no old one. If the operator is gone, the
//! hold ends by itself once the new pods have been Ready for that long.

use crate::policy::{HoldMode, RolloutSettings};
use crate::rollout::patch::FieldWrite;
use crate::rollout::run::{DeploymentFields, DeploymentHold, Hold};
use crate::workload::{Deployment, IntOrPercent, Strategy};

/// How long the hold outlasts the deadline: time for us to write after it, seconds.
const HOLD_SLACK_SECONDS: i64 = 300;
/// How long an indefinite hold lasts.
const YEAR_SECONDS: i64 = 365 * 24 * 3_600;
/// How long the native progress deadline outlasts the hold, seconds; the apiserver demands that it is larger.
const PROGRESS_SLACK_SECONDS: i64 = 600;

/// The values that hold a canary under these settings.
#[must_use]
pub fn hold(settings: &RolloutSettings, own: &Deployment) -> Hold {
    let seconds = |value: i64| i32::try_from(value).unwrap_or(i32::MAX / 2);
    let ready = match settings.hold {
        HoldMode::Timed => settings.deadline.as_secs().saturating_add(HOLD_SLACK_SECONDS),
        HoldMode::Indefinite => YEAR_SECONDS,
    };
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
    fields.extend(restored_strategy(own, originals));
    fields
}

/// What the canary wrote of the strategy is given back, each field by itself; what a person wrote in mid-canary stays.
fn restored_strategy(own: &Deployment, originals: &DeploymentFields) -> Option<FieldWrite> {
    let (
        Strategy::RollingUpdate { max_surge, max_unavailable },
        Strategy::RollingUpdate { max_surge: surge_before, max_unavailable: unavailable_before },
    ) = (&own.strategy, &originals.strategy)
    else {
        return None;
    };
    let ours = ours(own, originals);
    let given = FieldWrite::RollingUpdate {
        max_surge: if ours.0 { surge_before } else { max_surge }.clone(),
        max_unavailable: if ours.1 { unavailable_before } else { max_unavailable }.clone(),
    };
    let is =
        FieldWrite::RollingUpdate { max_surge: max_surge.clone(), max_unavailable: max_unavailable.clone() };
    (given != is).then_some(given)
}

/// Whether the strategy is the one that the canary wrote, whole.
#[must_use]
pub fn is_ours(own: &Deployment, originals: &DeploymentFields) -> bool {
    ours(own, originals) == (true, true)
}

/// Whether `maxSurge` and `maxUnavailable` are what a canary wrote. A value that stood there before is the canary's too: what
/// is not changed has no new manager.
fn ours(own: &Deployment, originals: &DeploymentFields) -> (bool, bool) {
    let Strategy::RollingUpdate { max_surge, max_unavailable } = &own.strategy else {
        return (false, false);
    };
    let (surge_stayed, unavailable_stayed) = match &originals.strategy {
        Strategy::RollingUpdate { max_surge: surge, max_unavailable: unavailable } => {
            (surge == max_surge, unavailable == max_unavailable)
        }
        Strategy::Recreate => (false, false),
    };
    let is_whole = matches!(max_surge, IntOrPercent::Int(_));
    (
        is_whole && (!own.foreign.max_surge || surge_stayed),
        *max_unavailable == IntOrPercent::Int(0) && (!own.foreign.max_unavailable || unavailable_stayed),
    )
}
