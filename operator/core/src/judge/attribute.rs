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

/// The largest number of crashes, in thousandths, that old pods may lead one to expect for so many of the new ones to be
/// their own: beyond it, chance alone brings about as many in one case of a hundred (Poisson, upper tail 1 %).
const SURPRISING: &[(u32, i64)] =
    &[(2, 148), (3, 436), (4, 823), (5, 1_279), (6, 1_785), (7, 2_330), (8, 2_906), (9, 3_507), (10, 4_130)];

/// Whether so many crashes of new pods are more than the old pods' own rate explains: their restarts over all their lives.
#[must_use]
pub fn more_than_usual(
    crashes: u32,
    watched: SignedDuration,
    stable: &[Pod],
    judged: &BTreeSet<String>,
    now: Timestamp,
) -> bool {
    let live = || stable.iter().filter(|pod| !pod.deleting);
    let restarts = live()
        .flat_map(|pod| &pod.containers)
        .filter(|container| judged.contains(&container.name))
        .fold(0_i64, |sum, container| sum.saturating_add(i64::from(container.restarts)));
    let lived = live()
        .fold(0_i64, |sum, pod| sum.saturating_add(now.duration_since(pod.created_at).as_secs().max(0)));
    let expected = restarts
        .saturating_mul(1_000)
        .saturating_mul(watched.as_secs().max(1))
        .checked_div(lived.max(1))
        .unwrap_or(i64::MAX);
    let allowed = SURPRISING.iter().rfind(|(least, _)| *least <= crashes).map_or(0, |(_, most)| *most);
    expected <= allowed
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
