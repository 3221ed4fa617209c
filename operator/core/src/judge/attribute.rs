//! Image or environment: the same question is asked of the old pods. Both fail: the environment. Only the new: the image.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::classify::{self, Blame, Finding};
use crate::workload::Pod;

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
