//! What a run watches: the pods of both sides, and what the meters say of them, in the form that `judge.rs` reads.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::judge::signals::SignalVerdict;
use crate::judge::{Blame, Cause, Judgement, Observation};
use crate::reason::Reason;
use crate::workload::{Pod, Revision, Workload};

use super::{OpenRun, Run, RunPlan, progress, run};

pub(super) fn observation<'a>(
    open: &'a OpenRun,
    pods: &'a Split,
    judged: &'a BTreeSet<String>,
    expected: i32,
    now: Timestamp,
) -> Observation<'a> {
    let run = &open.run;
    Observation {
        canary: &pods.new,
        stable: &pods.old,
        judged,
        create_failure: pods.create_failure.as_deref(),
        unreadable: open.unreadable.as_deref(),
        baseline: run.status.baseline.as_deref(),
        signals: None,
        expected: u32::try_from(expected).unwrap_or(0),
        watched_since: run.status.step_started_at,
        bake: run.settings.bake,
        deadline: progress::deadline(run, None, now),
        now,
    }
}

pub(super) struct Split {
    pub(super) new: Vec<Pod>,
    pub(super) old: Vec<Pod>,
    pub(super) create_failure: Option<String>,
}

/// Tells the pods of the new template from those of the old one, by the templates that they were made from. What runs neither,
/// a failed canary of another version, is no old pod: it says nothing of either.
pub(super) fn split(open: &OpenRun) -> Split {
    let of = |is_one: fn(&run::RunContainer, &str) -> bool| -> Vec<&Revision> {
        let fits = |revision: &&Revision| {
            let shows = |container: &run::RunContainer| {
                revision.images.get(&container.name).is_some_and(|image| is_one(container, image))
            };
            open.run.containers.iter().all(shows)
        };
        open.revisions.iter().filter(fits).collect()
    };
    let (to, from) = (of(|container, image| container.to == image), of(run::RunContainer::is_before));
    let made_from = |revisions: &[&Revision]| -> Vec<Pod> {
        let is_one = |pod: &&Pod| revisions.iter().any(|revision| revision.name == pod.owner);
        open.pods.iter().filter(is_one).cloned().collect()
    };
    Split {
        new: made_from(&to),
        old: made_from(&from),
        create_failure: to.iter().find_map(|revision| revision.create_failure.clone()),
    }
}

pub(super) fn judged(run: &Run) -> BTreeSet<String> {
    run.containers.iter().map(|container| container.name.clone()).collect()
}

/// Stores what the signals say where that has changed, or with what is stored anyway: their numbers move all the time.
pub(super) fn tell_signals(plan: &mut RunPlan, verdicts: Vec<SignalVerdict>) {
    let words = |all: &[SignalVerdict]| -> Vec<_> {
        all.iter().map(|one| (one.name.clone(), one.word, one.since)).collect()
    };
    let changed = words(&plan.run.status.signals) != words(&verdicts);
    if changed || plan.before != plan.run.status {
        plan.before.signals.clone_from(&verdicts);
    }
    if changed || plan.after != plan.run.status {
        plan.after.signals = verdicts;
    }
}

/// A Deployment that somebody paused goes nowhere by itself: it is said, and the deadline decides.
pub(super) fn paused(workload: &Workload, seen: &Observation<'_>, judgement: Judgement) -> Judgement {
    if !workload.is_paused() || workload.is_settled() {
        return judgement;
    }
    let cause = Cause {
        reason: Reason::TargetPaused,
        sentence: "`spec.paused: true` in the middle of the run".to_owned(),
        expected: "a Deployment that rolls".to_owned(),
        blame: Blame::Environment,
        deterministic: false,
        signature: Reason::TargetPaused.code().to_owned(),
        pods: Vec::new(),
        nodes: Vec::new(),
        judged: "The environment is at fault, not the image: somebody paused the Deployment.".to_owned(),
        at_deadline: seen.deadline <= seen.now,
    };
    match judgement {
        Judgement::Fail(failed) if !failed.at_deadline => Judgement::Fail(failed),
        Judgement::Fail(_)
        | Judgement::Pass { .. }
        | Judgement::Waiting { .. }
        | Judgement::Unknown { .. } => {
            if cause.at_deadline {
                return Judgement::Fail(cause);
            }
            let ready = seen.canary.iter().filter(|pod| pod.ready_since.is_some()).count();
            let ready = u32::try_from(ready).unwrap_or(u32::MAX);
            Judgement::Waiting { until: seen.deadline, ready, suspicion: Some(cause) }
        }
    }
}
