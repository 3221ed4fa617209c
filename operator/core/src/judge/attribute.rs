//! Image or environment: the same question is asked of the old pods. Both fail: the environment. Only the new: the image.
//!
//! Also what the old pods say beside that: whether they are calm enough to compare with, whether they were failing before
//! the run began, and whether they fail after it was rolled back.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::classify::{self, Blame, Finding};
use crate::reason::Reason;
use crate::text;
use crate::workload::{ContainerState, Pod};

/// How near in time an old pod's trouble must be to count as the same trouble.
const NEAR: SignedDuration = SignedDuration::from_mins(5);

/// Whether the old pods show the same cause now, or crashed a moment ago.
#[must_use]
pub fn old_pods_fail_too(
    finding: &Finding,
    stable: &[Pod],
    judged: &BTreeSet<String>,
    now: Timestamp,
) -> bool {
    stable
        .iter()
        .filter(|pod| !pod.deleting && pod.disruption.is_none())
        .filter_map(|pod| Some((pod, classify::classify_pod(pod, judged)?)))
        .any(|(pod, old)| {
            old.reason == finding.reason && (pod.ready_since.is_none() || ended_lately(pod, now))
        })
}

fn ended_lately(pod: &Pod, now: Timestamp) -> bool {
    pod.containers
        .iter()
        .filter_map(|container| container.last_end.as_ref()?.finished_at)
        .any(|at| now.duration_since(at) < NEAR)
}

/// The blame after the old pods were asked.
#[must_use]
pub fn attribute(finding: &Finding, stable: &[Pod], judged: &BTreeSet<String>, now: Timestamp) -> Blame {
    match finding.blame {
        Blame::Environment => Blame::Environment,
        Blame::Image if old_pods_fail_too(finding, stable, judged, now) => Blame::Environment,
        Blame::Image => Blame::Image,
    }
}

/// How long a pod may take from its creation until its readiness means something.
const YOUNG: SignedDuration = SignedDuration::from_mins(5);

/// The old pods that crashed or lost readiness a moment ago, in words; `None` while they are calm. Young ones are left out: a
/// pod that the autoscaler or a drain brought about is not Ready at first.
#[must_use]
pub fn unrest(stable: &[Pod], now: Timestamp) -> Option<(usize, String)> {
    let told: Vec<String> = stable.iter().filter_map(|pod| trouble(pod, now)).collect();
    let first = told.first()?;
    let more = told.len().saturating_sub(1);
    let words = if more == 0 { first.clone() } else { format!("{first}, and {more} more") };
    Some((told.len(), words))
}

fn trouble(pod: &Pod, now: Timestamp) -> Option<String> {
    let young = now.duration_since(pod.created_at) < YOUNG;
    if pod.deleting || pod.disruption.is_some() || young {
        return None;
    }
    if ended_lately(pod, now) || loops(pod) {
        return Some(format!("old pod {} crashed within {}", pod.name, text::span(NEAR)));
    }
    match pod.ready_since {
        None => Some(format!("old pod {} is not Ready", pod.name)),
        Some(since) if flapped(pod, since, now) => {
            Some(format!("old pod {} was not Ready until {}", pod.name, text::instant_seconds(since)))
        }
        Some(_) => None,
    }
}

fn loops(pod: &Pod) -> bool {
    pod.containers.iter().any(|container| match &container.state {
        ContainerState::Waiting { reason, .. } => reason == "CrashLoopBackOff",
        ContainerState::Terminated(ended) => !container.init && ended.exit_code != 0,
        ContainerState::Running { .. } => false,
    })
}

/// Ready again since a moment ago, though it is old: it had lost readiness.
fn flapped(pod: &Pod, since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since) < NEAR && YOUNG <= since.duration_since(pod.created_at)
}

/// Whether old pods lose and regain readiness in these minutes, by no restart: what they do, the new ones may do too.
#[must_use]
pub fn old_pods_flap(stable: &[Pod], now: Timestamp) -> bool {
    stable.iter().filter(|pod| !pod.deleting && pod.disruption.is_none()).any(|pod| {
        let back = pod.ready_since.is_some_and(|since| flapped(pod, since, now));
        back && !loops(pod) && !ended_lately(pod, now)
    })
}

/// What the old pods showed before the first write, where most of them were failing: then there is nothing to compare with,
/// and the new version may be the cure.
#[must_use]
pub fn unhealthy(old: &[Pod], now: Timestamp) -> Option<String> {
    let live: Vec<&Pod> = old.iter().filter(|pod| !pod.deleting && pod.disruption.is_none()).collect();
    let failing = |pod: &&&Pod| {
        let old_enough = START <= now.duration_since(pod.created_at);
        loops(pod) || (pod.ready_since.is_none() && old_enough)
    };
    let bad = live.iter().filter(failing).count();
    (0 < bad && live.len() <= bad.saturating_mul(2))
        .then(|| format!("{bad} of {} old pods were failing before the run began", live.len()))
}

/// How likely chance alone may be to bring about what is held against an image, over all looks at it together.
const SURPRISING: f64 = 0.01;
/// The crash at which the first half of that is spent; the next crash has half of what is left, and so on.
const FIRST_LOOK: u32 = 3;
/// What a good program is taken to live without a crash before anything is known of it: no noise of theirs is as frequent.
const GRANTED: SignedDuration = SignedDuration::from_mins(1);

/// What the old pods' own crashes say of those of the new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// The new pods crash more often.
    Unusual,
    /// The old pods have lived too little to tell.
    Unknown,
    /// The old pods crash too, and as often.
    Usual,
}

/// Whether so many crashes of new pods are more than the old pods' own rate explains: their restarts over all their lives.
///
/// If the versions are alike, each of all crashes, old and new, falls on a new pod with the new pods' share of all the time
/// that was lived. So no rate has to be known: old pods that are young themselves say little, and little is concluded.
#[must_use]
pub fn habit(
    crashes: u32,
    watched: SignedDuration,
    stable: &[Pod],
    judged: &BTreeSet<String>,
    now: Timestamp,
) -> Habit {
    let live = || stable.iter().filter(|pod| !pod.deleting);
    if live().next().is_none() {
        return Habit::Unusual;
    }
    let restarts = live()
        .flat_map(|pod| &pod.containers)
        .filter(|container| judged.contains(&container.name))
        .fold(0_u32, |sum, container| sum.saturating_add(container.restarts.unsigned_abs()));
    let lived =
        live().map(|pod| now.duration_since(pod.created_at)).fold(GRANTED, SignedDuration::saturating_add);
    let (watched, lived) = (watched.as_secs_f64().max(1.0), lived.as_secs_f64().max(1.0));
    let chance = at_least(crashes, crashes.saturating_add(restarts), watched / (watched + lived));
    let looks = f64::from(crashes.saturating_sub(FIRST_LOOK)) + 1.0;
    match (chance <= SURPRISING * 0.5_f64.powf(looks), restarts) {
        (true, _) => Habit::Unusual,
        (false, 0) => Habit::Unknown,
        (false, _) => Habit::Usual,
    }
}

/// How likely it is that of so many events at least `least` fall on a share of them (binomial, upper tail).
fn at_least(least: u32, events: u32, share: f64) -> f64 {
    let rest = 1.0 - share;
    if rest <= 0.0 {
        return 1.0;
    }
    let (mut term, mut below) = (rest.powf(f64::from(events)), 0.0);
    for count in 0..least {
        below += term;
        let left = f64::from(events.saturating_sub(count));
        term *= left / (f64::from(count) + 1.0) * share / rest;
    }
    1.0 - below
}

/// How long a pod may be without readiness before it counts as failing.
const START: SignedDuration = SignedDuration::from_secs(60);

/// What the old version does after a rollback, where it fails as the new one did: then it was the environment.
#[must_use]
pub fn fails_after_rollback(
    cause: Reason,
    old: &[Pod],
    judged: &BTreeSet<String>,
    (ended_at, now): (Timestamp, Timestamp),
) -> Option<String> {
    let same = old.iter().filter(|pod| !pod.deleting && pod.disruption.is_none()).find(|pod| {
        let found = classify::classify_pod(pod, judged);
        let after = |pod: &Pod| {
            let ends = pod.containers.iter().filter_map(|one| one.last_end.as_ref()?.finished_at);
            ends.max().is_some_and(|end| ended_at < end)
        };
        // What is not a crash has no time of its own: it counts once the pod has had time to recover.
        let lasts = pod.ready_since.is_none() && START <= now.duration_since(ended_at);
        found.is_some_and(|found| found.reason == cause && (after(pod) || lasts))
    })?;
    Some(format!("{cause} shows on {} too, which runs the old version", same.name))
}
