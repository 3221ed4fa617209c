//! Until when a run is waited for: the deadline counts from the write of each step and, where pods are replaced one after
//! another, from the last new pod that became Ready, as the native `progressDeadlineSeconds` does.
//!
//! How far a step has come is read from the pods. The record keeps it for a restart and against a pod that flaps, and lags
//! behind, so that a rollout of hundreds of pods costs a few writes. What is judged at the deadline: `judge.rs`.

use jiff::Timestamp;

use crate::policy::Facts;
use crate::workload::Pod;

use super::{Progress, Run, RunPlan, RunStatus};

/// How far the record may lag behind the pods: this part of the deadline.
const LAG: i32 = 10;

/// When the step began; now, where that was not recorded.
fn began(run: &Run, now: Timestamp) -> Timestamp {
    run.status.step_started_at.or(run.status.started_at).unwrap_or(now)
}

/// How far the step has come.
pub(super) fn seen(run: &Run, new: &[Pod], expected: i32, now: Timestamp) -> Progress {
    let start = Progress { ready: 0, missing: i32::MAX, at: began(run, now) };
    let live = new.iter().filter(|pod| !pod.deleting);
    let ready_since: Vec<Timestamp> = live.filter_map(|pod| pod.ready_since).collect();
    advanced(run.status.progress.unwrap_or(start), &ready_since, expected, now)
}

/// A pod counts by the most that were Ready at once and by the fewest that were missing: so neither a pod that flaps nor a
/// workload that is scaled now and then puts the deadline off for ever.
fn advanced(known: Progress, ready_since: &[Timestamp], expected: i32, now: Timestamp) -> Progress {
    let ready = i32::try_from(ready_since.len()).unwrap_or(i32::MAX);
    let missing = expected.saturating_sub(ready).max(0);
    if ready <= known.ready && known.missing <= missing {
        return known;
    }
    // A kubelet's clock that is ahead of ours puts nothing off.
    let at = ready_since.iter().max().map_or(known.at, |last| (*last).min(now).max(known.at));
    Progress { ready: ready.max(known.ready), missing: missing.min(known.missing), at }
}

/// The deadline: from the last progress, where pods follow one another, else from the step's write.
pub(super) fn deadline(run: &Run, progress: Option<&Progress>, now: Timestamp) -> Timestamp {
    let from = progress.map_or_else(|| began(run, now), |progress| progress.at);
    from.checked_add(run.settings.deadline).unwrap_or(Timestamp::MAX)
}

/// The record of a step that is written now: it has its own deadline.
pub(super) fn begin(facts: &Facts, run: &Run, status: &mut RunStatus) {
    status.step_started_at = Some(facts.now);
    status.deadline = Some(facts.now.checked_add(run.settings.deadline).unwrap_or(Timestamp::MAX));
    status.progress = None;
}

/// Stores the progress of a run that waits, once the record lags too far behind, or its deadline has come and is none.
pub(super) fn tell(plan: &mut RunPlan, progress: Progress, now: Timestamp) {
    let run = &plan.run;
    let told = run.status.progress.map_or_else(|| began(run, now), |known| known.at);
    let behind = progress.at.duration_since(told);
    let lag = run.settings.deadline.checked_div(LAG).unwrap_or_default();
    let has_come = run.status.deadline.is_some_and(|deadline| deadline <= now) && told < progress.at;
    if plan.patch.is_some() || plan.after.result.is_some() || !(lag <= behind || has_come) {
        return;
    }
    let deadline = deadline(run, Some(&progress), now);
    for status in [&mut plan.before, &mut plan.after] {
        (status.progress, status.deadline) = (Some(progress), Some(deadline));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's row that does not parse is the failure")]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute.saturating_mul(60)).unwrap()
    }

    /// Known `(ready, missing, minute)`; the minutes at which pods became Ready; how many are wanted; the minute now.
    fn check(known: (i32, i32, i64), ready: &[i64], wanted: i32, now: i64, expected: (i32, i32, i64)) {
        let progress = |(ready, missing, minute)| Progress { ready, missing, at: at(minute) };
        let ready: Vec<Timestamp> = ready.iter().map(|minute| at(*minute)).collect();
        assert_eq!(advanced(progress(known), &ready, wanted, at(now)), progress(expected));
    }

    #[test]
    fn the_deadline_counts_from_the_last_new_pod_and_not_from_one_that_is_ready_again() {
        check((0, i32::MAX, 0), &[], 10, 1, (0, 10, 0));
        // The canary's pods were Ready before the rest was let go.
        check((0, i32::MAX, 5), &[2], 10, 6, (1, 9, 5));
        check((1, 9, 5), &[2, 7], 10, 8, (2, 8, 7));
        // One of them lost Ready and is back: nothing new.
        check((2, 8, 7), &[2, 30], 10, 31, (2, 8, 7));
        check((2, 8, 7), &[2], 10, 31, (2, 8, 7));
    }

    #[test]
    fn a_workload_that_is_scaled_comes_on_all_the_same_and_not_by_that_alone_for_ever() {
        // From 10 to 4 with 5 new: further pods are fewer than there were, and fewer are missing.
        check((5, 5, 7), &[1, 2], 4, 20, (5, 2, 7));
        check((5, 2, 7), &[1, 2, 21], 4, 22, (5, 1, 21));
        // Back to 10 and to 4 again: no pod is new.
        check((5, 1, 21), &[1, 2, 21, 30], 10, 31, (5, 1, 21));
        check((5, 1, 21), &[1, 2, 30], 4, 32, (5, 1, 21));
    }

    #[test]
    fn a_clock_that_is_ahead_puts_nothing_off() {
        check((1, 9, 5), &[2, 90], 10, 8, (2, 8, 8));
    }
}
