//! The forms of what is due for a run: nothing yet, one write, or its end. What to do is chosen in `rollout.rs`.

use jiff::SignedDuration;

use crate::levers::{self, Verb};
use crate::policy::Facts;
use crate::reason::Reason;
use crate::workload::Workload;

use super::record::{self, Written};
use super::{Patch, Phase, Run, RunPlan, RunStatus};

/// How long an open run waits for the next look when nothing else wakes it: what happens to its workload and its pods does.
/// What only time or an Event tells, a start that takes too long or a probe's words, is seen by this.
pub(super) const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);
/// The same where Prometheus is asked, which wakes nobody.
const MEASURE_AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// How long a run that waits for a person waits for the next look: their approval is a change of the run, which wakes it.
pub(super) const UNSTARTED_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// The most writes that a run's status keeps.
pub(super) const MAX_NOTES: usize = 16;

/// Nothing to write but the record.
fn told(run: &Run, status: RunStatus) -> RunPlan {
    RunPlan {
        run: run.clone(),
        phase: status.phase,
        judgement: None,
        stable: String::new(),
        before: status.clone(),
        patch: None,
        errand: None,
        left: None,
        after: status,
        look_again: SignedDuration::ZERO,
    }
}

pub(super) fn wait(facts: &Facts, run: &Run, phase: Phase) -> RunPlan {
    let mut status = run.status.clone();
    status.phase = phase;
    // A restart between the patch and its record: the watch begins again, and so does the deadline. The run may have waited
    // for days before that patch, for an approval or for its place.
    status.started_at = status.started_at.or(Some(facts.now));
    status.step_started_at = status.step_started_at.or(Some(facts.now));
    status.step_pods = status.step_pods.max(1);
    status.deadline = status.deadline.or_else(|| facts.now.checked_add(run.settings.deadline).ok());
    let measures = run.settings.analysis.is_some() && phase == Phase::Canary;
    let look_again = if measures { MEASURE_AGAIN } else { LOOK_AGAIN };
    RunPlan { look_again, ..told(run, status) }
}

/// A run that has not begun: nothing of its record is guessed.
pub(super) fn wait_unstarted(run: &Run, phase: Phase) -> RunPlan {
    let status = RunStatus { phase, ..run.status.clone() };
    RunPlan { look_again: UNSTARTED_AGAIN, ..told(run, status) }
}

pub(super) fn write(
    facts: &Facts,
    (run, workload): (&Run, &Workload),
    phase: Phase,
    patch: Patch,
    what: String,
) -> RunPlan {
    let mut after = run.status.clone();
    after.phase = phase;
    note(&mut after, record::written(facts, what.clone(), record::changes(&patch, workload)));
    RunPlan { before: run.status.clone(), patch: Some((patch, what)), ..told(run, after) }
}

pub(super) fn note(status: &mut RunStatus, written: Written) {
    status.writes.push(written);
    let surplus = status.writes.len().saturating_sub(MAX_NOTES);
    status.writes.drain(..surplus);
}

/// Notes a write that is made again and again, once: with what stood there before the first of them.
pub(super) fn note_again(status: &mut RunStatus, mut written: Written) {
    if let Some(last) = status.writes.pop_if(|last| last.what == written.what) {
        for change in &mut written.changes {
            let known = last.changes.iter().find(|known| known.field == change.field);
            change.before = known.map_or(change.before.take(), |known| known.before.clone());
        }
    }
    note(status, written);
}

pub(super) fn finish(facts: &Facts, run: &Run, phase: Phase, reason: Reason, message: String) -> RunPlan {
    let mut status = run.status.clone();
    status.phase = phase;
    status.result = Some((reason, message));
    status.finished_at = Some(facts.now);
    if let Some(lever) = run.levers.abort.as_ref().filter(|_| reason == Reason::Aborted) {
        levers::note(&mut status.levers, Verb::Abort, lever);
    }
    told(run, status)
}

pub(super) fn phase_now(run: &Run) -> Phase {
    match run.status.phase {
        Phase::Preparing | Phase::AwaitingApproval => Phase::Canary,
        phase
        @ (Phase::Canary | Phase::Promoting | Phase::Succeeded | Phase::RolledBack | Phase::Aborted) => phase,
    }
}
