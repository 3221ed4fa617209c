//! The runs of a CronJob's new image → judgement: what its pods show now, and what the sequential test says of the runs so far.
//!
//! A run that cannot start its container, or create its pod, is decided by its cause, like a canary's pod, and at the deadline whatever it
//! waits for; one that ended counts, by the outcome of its first attempt. The test itself: `judge/statistics.rs`; who counts: `rollout/cronjob.rs`.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::statistics::{Sequential, sequential};
use super::{Blame, Cause, Finding, Judgement, Observation, attribute, classify};
use crate::ledger::Tally;
use crate::reason::Reason;
use crate::workload::Pod;

/// The runs of the new image, as they are judged.
#[derive(Debug, Clone)]
pub struct Runs<'a> {
    /// The pods of its Jobs.
    pub new: &'a [Pod],
    /// Why the pod of a Job of the new image cannot be created, and since when the Job is there.
    pub denied: Option<(&'a str, Timestamp)>,
    /// The pods of the old image's Jobs.
    pub old: &'a [Pod],
    /// The containers whose image was changed.
    pub judged: &'a BTreeSet<String>,
    /// The outcomes of the old image's runs.
    pub base: Option<&'a Tally>,
    /// The outcomes of the new image's runs.
    pub tally: &'a Tally,
    /// How long a run may wait for what it needs to start.
    pub deadline: SignedDuration,
    /// Now.
    pub now: Timestamp,
}

/// Judges the runs so far. Pass says that the test has its answer; one success is only provisional.
pub fn judge_runs(runs: &Runs<'_>) -> Judgement {
    let observation = Observation {
        canary: runs.new,
        stable: runs.old,
        judged: runs.judged,
        create_failure: None,
        unreadable: None,
        baseline: None,
        signals: None,
        expected: 1,
        watched_since: None,
        bake: SignedDuration::ZERO,
        deadline: Timestamp::MAX,
        now: runs.now,
    };
    let live: Vec<&Pod> = runs.new.iter().filter(|pod| !pod.deleting && pod.disruption.is_none()).collect();
    let findings: Vec<Finding> = live
        .iter()
        .filter_map(|pod| classify::classify_pod(pod, runs.judged))
        .filter(|finding| finding.deterministic || finding.waits)
        .chain(runs.denied.map(|(message, _)| classify::classify_create_failure(message)))
        .collect();
    let told = |finding: &Finding| super::cause(&observation, &live, &findings, finding);
    let blames = |finding: &&Finding| {
        attribute::attribute(finding, runs.old, runs.judged, runs.now) == Blame::Image
            && (finding.deterministic || super::missing_for_long(&observation, &live, finding))
    };
    if let Some(finding) = findings.iter().find(blames) {
        return Judgement::Fail(told(finding));
    }
    let late = |finding: &&Finding| {
        let pod = live.iter().find(|pod| pod.name == finding.pod).map(|pod| pod.created_at);
        let since = pod.or(runs.denied.map(|(_, since)| since));
        since.is_some_and(|since| runs.deadline <= runs.now.duration_since(since))
    };
    if let Some(finding) = findings.iter().find(late) {
        return Judgement::Fail(Cause { at_deadline: true, ..told(finding) });
    }
    let failing = (0 < runs.tally.failures).then(|| failing(runs));
    match (sequential(runs.base, runs.tally), failing) {
        (Sequential::Worse, Some(cause)) => Judgement::Fail(cause),
        (Sequential::NoWorse, _) => {
            Judgement::Pass { watched: SignedDuration::ZERO, ready: runs.tally.successes }
        }
        (Sequential::Worse | Sequential::Undecided, failing) => Judgement::Waiting {
            until: Timestamp::MAX,
            ready: runs.tally.successes,
            suspicion: findings.first().map(told).or(failing),
        },
    }
}

fn failing(runs: &Runs<'_>) -> Cause {
    let exits: Vec<String> =
        runs.tally.exits.iter().map(|(exit, count)| format!("{count} by {exit}")).collect();
    let first = runs.tally.exits.keys().next().map_or("", String::as_str);
    let old = told(runs.base);
    Cause {
        reason: Reason::RunsFailed,
        sentence: format!("{} ({})", told(Some(runs.tally)), exits.join(", ")),
        expected: format!("the runs to fail no more often than with the old image ({old})"),
        blame: Blame::Image,
        deterministic: false,
        signature: format!("{} {first}", Reason::RunsFailed),
        pods: Vec::new(),
        nodes: Vec::new(),
        judged: format!("The image is at fault by the sequential test at 1%: with the old image {old}."),
        at_deadline: false,
    }
}

/// A tally in words: `2 of 3 runs failed`.
#[must_use]
pub fn told(tally: Option<&Tally>) -> String {
    let (failures, runs) =
        tally.map_or((0, 0), |tally| (tally.failures, tally.failures.saturating_add(tally.successes)));
    let word = if runs == 1 { "run" } else { "runs" };
    format!("{failures} of {runs} {word} failed")
}
