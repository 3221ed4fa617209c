//! `rollback.mode: Never`: a failure is told and remembered, and nothing is undone, asked or tried again.
//!
//! Where nothing is held the run ends at once and the image stays. Where new pods are held beside the old ones they stay so:
//! giving the settings back would roll the failed version on. The run then ends when a person goes back or on, or when the
//! timed hold is over and every pod runs the version.

use std::collections::BTreeMap;

use super::due::{finish, phase_now, wait, write};
use super::ending::run_cause;
use super::{OpenRun, Phase, Run, RunCause, RunPlan, patch};
use crate::image::Repository;
use crate::judge::{Blame, Cause, Judgement};
use crate::ledger::Ledger;
use crate::policy::{Facts, Rollback};
use crate::workload::Workload;

/// The cause for which a run is kept as it is: it failed, and neither a release nor a promotion by a person came since.
pub(super) fn cause<'a>(run: &'a Run, ledgers: &BTreeMap<Repository, Ledger>) -> Option<&'a RunCause> {
    let failure = ledgers.get(&run.repository)?.failures.get(&run.to_digest)?;
    let kept = run.settings.rollback == Rollback::Never && run.levers.promote.is_none();
    run.status.cause.as_ref().filter(|_| kept && failure.is_of(&run.name))
}

/// What is due for a run that failed just now.
pub(super) fn failed(facts: &Facts, (run, workload): (&Run, &Workload), cause: &Cause) -> RunPlan {
    due(facts, (run, workload), &run_cause(cause))
}

/// What is due for a run that failed before.
pub(super) fn still(facts: &Facts, open: &OpenRun, workload: &Workload, cause: &RunCause) -> RunPlan {
    let mut plan = due(facts, (&open.run, workload), cause);
    plan.judgement = Some(Judgement::Fail(Cause {
        reason: cause.reason,
        sentence: cause.observed.clone(),
        expected: cause.expected.clone(),
        blame: if cause.environment { Blame::Environment } else { Blame::Image },
        deterministic: false,
        signature: cause.signature.clone(),
        pods: cause.pod.iter().cloned().collect(),
        nodes: cause.node.iter().cloned().collect(),
        judged: cause.judged.clone(),
        at_deadline: false,
    }));
    plan
}

fn due(facts: &Facts, (run, workload): (&Run, &Workload), cause: &RunCause) -> RunPlan {
    let mut plan = if patch::restores(run, workload).is_empty() {
        let message = format!(
            "expected {}, observed {}; `rollback.mode: Never` undid nothing, {} stays",
            cause.expected, cause.observed, run.to_tag
        );
        finish(facts, run, Phase::Aborted, cause.reason, message)
    } else if workload.is_settled() && workload.available_replicas == workload.replicas {
        let what = "the hold was over and every pod ran it; rollout settings restored".to_owned();
        write(facts, (run, workload), Phase::Promoting, patch::promote(run, workload), what)
    } else {
        wait(facts, run, phase_now(run))
    };
    plan.before.cause = Some(cause.clone());
    plan.after.cause.clone_from(&plan.before.cause);
    plan
}
