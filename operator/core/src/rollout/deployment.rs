//! What a run holds on a Deployment while its canary is watched.
//!
//! While `minReadySeconds` is held the new pods are Ready, get traffic, and are never Available; with `maxUnavailable: 0` the
//! native controller then starts exactly `maxSurge` new pods and removes no old one. If the operator is gone, the
//! hold ends by itself once the new pods have been Ready for that long; while it is there and waits, the hold is made longer.

use jiff::SignedDuration;

use crate::policy::{Facts, HoldMode, RolloutSettings};
use crate::text;
use crate::workload::{Deployment, IntOrPercent, Strategy};

use super::patch::{self, FieldWrite};
use super::run::{DeploymentFields, DeploymentHold, Fields, Hold};
use super::{OpenRun, Run, RunPlan, due, record, split};

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

/// The same hold for so many times as long. What it is can be told from the first alone, so nothing of it is remembered.
fn times(hold: DeploymentHold, times: i64) -> Option<DeploymentHold> {
    let ready = i64::from(hold.min_ready_seconds).checked_mul(times)?;
    let progress = ready.checked_add(PROGRESS_SLACK_SECONDS)?;
    Some(DeploymentHold {
        min_ready_seconds: i32::try_from(ready).ok()?,
        progress_deadline_seconds: i32::try_from(progress).ok()?.max(hold.progress_deadline_seconds),
    })
}

/// Whether so many seconds are the hold's, or those of the hold made longer.
fn is_multiple(seconds: i32, of: i32) -> bool {
    of <= seconds && seconds.checked_rem(of) == Some(0)
}

/// Makes the hold of a run longer that still waits when it is about to end. Else the native controller would roll on by itself
/// what nobody has decided, or what a person was asked about. `minReadySeconds` is no part of the template: no new pod is made.
pub(super) fn keep(facts: &Facts, open: &OpenRun, mut plan: RunPlan) -> RunPlan {
    let waits = plan.patch.is_none() && plan.after.result.is_none() && plan.before.intent.is_none();
    let (Some(workload), Hold::Deployment(hold)) = (&open.workload, open.run.hold.clone()) else {
        return plan;
    };
    let Some(own) = workload.deployment().filter(|_| waits && patch::is_held(&open.run, workload)) else {
        return plan;
    };
    // No new pod is Ready before the first write; where that was not recorded, the pods know better.
    let ready = split(open).new.iter().filter_map(|pod| pod.ready_since).min();
    let Some(since) = plan.after.started_at.into_iter().chain(ready).min() else { return plan };
    let Some(longer) = longer(&open.run, own, hold, facts.now.duration_since(since)) else { return plan };
    let fields = vec![
        FieldWrite::MinReadySeconds(longer.min_ready_seconds),
        FieldWrite::ProgressDeadlineSeconds(longer.progress_deadline_seconds),
    ];
    let write = patch::hold_on(&open.run, workload, fields);
    let span = SignedDuration::from_secs(i64::from(hold.min_ready_seconds));
    let what = format!("held for another {} while the run waits", text::span(span));
    let written = record::written(facts, what.clone(), record::changes(&write, workload));
    due::note_again(&mut plan.after, written);
    plan.patch = Some((write, what));
    plan
}

/// The hold that lasts on, where this one is about to end. Nothing where it has ended: the native controller goes on since
/// then, and pods that are Available would not be any more.
fn longer(
    run: &Run,
    own: &Deployment,
    hold: DeploymentHold,
    held_for: SignedDuration,
) -> Option<DeploymentHold> {
    let (held_for, lasts) = (held_for.as_secs(), i64::from(own.min_ready_seconds));
    let ends_soon = lasts <= held_for.saturating_add(HOLD_SLACK_SECONDS) && held_for < lasts;
    let turns = lasts.checked_div(i64::from(hold.min_ready_seconds))?.checked_add(1)?;
    // The user's own value would not be known as a hold.
    let is_theirs = |longer: &DeploymentHold| matches!(&run.originals, Fields::Deployment(theirs) if theirs.min_ready_seconds == longer.min_ready_seconds);
    let next = times(hold, turns).filter(|longer| !is_theirs(longer));
    next.or_else(|| times(hold, turns.saturating_add(1))).filter(|_| ends_soon)
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
    let is_hold = is_multiple(own.min_ready_seconds, hold.min_ready_seconds);
    if is_hold && originals.min_ready_seconds != own.min_ready_seconds {
        fields.push(FieldWrite::MinReadySeconds(originals.min_ready_seconds));
    }
    let slack = i32::try_from(PROGRESS_SLACK_SECONDS).unwrap_or(0);
    let is_hold = own.progress_deadline_seconds == hold.progress_deadline_seconds
        || is_multiple(own.progress_deadline_seconds.saturating_sub(slack), hold.min_ready_seconds);
    if is_hold && originals.progress_deadline_seconds != own.progress_deadline_seconds {
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
