//! What the operator does next with a run, and when: told in its record, so that nobody has to work it out.
//!
//! Instants are those of the run, never a distance from now: the record changes only when its meaning does. What is due at
//! this moment is chosen in `rollout.rs`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{OpenRun, Phase, Run, RunPlan, RunStatus, patch};
use crate::image::{Repository, Tag};
use crate::judge::Judgement;
use crate::ledger::Ledger;
use crate::levers;
use crate::policy::{Facts, OnDeadline, Rollback};
use crate::reason::Reason;
use crate::text;
use crate::workload::{Kind, Workload};

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The first write to the workload.
    Begin,
    /// The next step: more new pods.
    Step,
    /// The fields are given back, and the native controller replaces the rest.
    Promote,
    /// The run ends when what is under way is done.
    Complete,
    /// The old image and fields are restored.
    RollBack,
    /// The version is tried again by another run.
    Retry,
    /// Only a person goes on.
    WaitForPerson,
    /// Something outside must be there first.
    Wait,
    /// Nothing: the run is over.
    Nothing,
}

impl Action {
    /// Every action.
    pub const ALL: &[Action] = &[
        Action::Begin,
        Action::Step,
        Action::Promote,
        Action::Complete,
        Action::RollBack,
        Action::Retry,
        Action::WaitForPerson,
        Action::Wait,
        Action::Nothing,
    ];

    /// The action as the record spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Action::Begin => "Begin",
            Action::Step => "Step",
            Action::Promote => "Promote",
            Action::Complete => "Complete",
            Action::RollBack => "RollBack",
            Action::Retry => "Retry",
            Action::WaitForPerson => "WaitForPerson",
            Action::Wait => "Wait",
            Action::Nothing => "Nothing",
        }
    }
}

/// The next action of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// What.
    pub action: Action,
    /// When, where time alone brings it about.
    pub at: Option<Timestamp>,
    /// On what it depends, in words.
    pub message: String,
}

fn next(action: Action, at: Option<Timestamp>, message: impl Into<String>) -> Next {
    Next { action, at, message: message.into() }
}

/// The plan with what comes after it.
pub(super) fn told(
    facts: &Facts,
    open: &OpenRun,
    mut plan: RunPlan,
    ledgers: &BTreeMap<Repository, Ledger>,
) -> RunPlan {
    let run = &open.run;
    let told = match (&plan.after.result, &open.workload) {
        (Some(_), _) => ended(run, &plan.after, ledgers),
        (None, Some(workload)) => coming(facts, (run, workload), &plan),
        (None, None) => return plan,
    };
    // What is stored before a write still speaks of that write.
    if plan.waits() && plan.errand.is_none() {
        plan.before.next = Some(told.clone());
    }
    plan.after.next = Some(told);
    plan
}

/// What follows a run that has ended.
fn ended(run: &Run, status: &RunStatus, ledgers: &BTreeMap<Repository, Ledger>) -> Next {
    let (tag, policy) = (&run.to_tag, &run.policy.name);
    if status.phase == Phase::Succeeded {
        return next(Action::Nothing, None, format!("{tag} runs"));
    }
    let ledger = ledgers.get(&run.repository);
    let memory = ledger.and_then(|ledger| ledger.workloads.get(&run.track));
    if memory.and_then(|memory| memory.abandoned.as_ref()).is_some_and(|left| left.tag == *tag) {
        return next(
            Action::Nothing,
            None,
            format!("{tag} is held, as a person went back from it; newer versions go on by themselves"),
        );
    }
    match ledger.and_then(|ledger| ledger.failures.get(&run.to_digest)) {
        Some(failure) if failure.is_of(&run.name) && run.settings.rollback == Rollback::Never => {
            next(Action::Nothing, None, "nothing was undone; newer versions go on by themselves")
        }
        Some(failure) if failure.quarantined => next(
            Action::WaitForPerson,
            None,
            format!(
                "{tag} is quarantined; newer versions go on by themselves, or: kubectl rollforward release {policy}"
            ),
        ),
        Some(failure) if failure.run == run.name => next(
            Action::Retry,
            failure.retry_at,
            format!("{tag} is tried again if it still passes its gates"),
        ),
        Some(_) | None => next(Action::Nothing, None, "what the policy allows is decided anew"),
    }
}

/// What follows this plan while the run is open.
fn coming(facts: &Facts, (run, workload): (&Run, &Workload), plan: &RunPlan) -> Next {
    let status = &plan.after;
    if let Some(intent) = status.intent.as_ref().or(plan.before.intent.as_ref()) {
        return match &plan.left {
            Some(left) => {
                next(Action::WaitForPerson, intent.at.checked_add(run.settings.deadline).ok(), left.clone())
            }
            None => next(Action::Complete, None, format!("the run ends as {}", intent.end)),
        };
    }
    if matches!(plan.judgement, Some(Judgement::Fail(_))) && plan.waits() {
        return judged(facts, (run, workload), plan);
    }
    match status.phase {
        Phase::AwaitingApproval if run.levers.approval.is_none() => next(
            Action::WaitForPerson,
            None,
            format!("kubectl rollforward approve {} -n {}", run.name, run.workload.namespace),
        ),
        Phase::Preparing | Phase::AwaitingApproval => match &facts.seen.paused {
            Some(pause) => next(Action::WaitForPerson, None, pause.hint(&facts.policy.id.name)),
            None => next(Action::Begin, None, "the first write to the workload, when a place is free"),
        },
        Phase::Canary if run.workload.kind == Kind::CronJob => {
            next(Action::Complete, None, format!("when runs of {} have succeeded", run.to_tag))
        }
        Phase::Promoting if run.workload.kind == Kind::CronJob => next(
            Action::Complete,
            None,
            format!("{} ran; the watch ends when enough runs are no worse than before", run.to_tag),
        ),
        Phase::Canary | Phase::Promoting | Phase::Succeeded | Phase::RolledBack | Phase::Aborted => {
            judged(facts, (run, workload), plan)
        }
    }
}

/// What follows while the new pods are watched.
fn judged(facts: &Facts, (run, workload): (&Run, &Workload), plan: &RunPlan) -> Next {
    let is_canary = plan.after.phase == Phase::Canary;
    let deadline = plan.after.deadline;
    match &plan.judgement {
        Some(Judgement::Fail(_)) if plan.waits() => {
            next(Action::WaitForPerson, None, levers::answer(run).trim_end_matches('.'))
        }
        Some(Judgement::Unknown { message, .. }) => next(Action::Wait, None, message.clone()),
        Some(Judgement::Waiting { suspicion: Some(cause), .. }) if run.is_delegated() => {
            next(Action::Wait, deadline, cause.expected.clone())
        }
        Some(Judgement::Pass { .. }) if is_canary && facts.seen.paused.is_some() => {
            let hint =
                facts.seen.paused.as_ref().map_or_else(String::new, |pause| pause.hint(&run.policy.name));
            next(Action::WaitForPerson, deadline, hint)
        }
        Some(Judgement::Waiting { until, suspicion, .. })
            if is_canary && plan.waits() && Some(*until) < deadline =>
        {
            // What a signal doubts is asked again in a moment: that moment is no plan.
            match suspicion {
                Some(cause) if cause.reason == Reason::SignalExceeded => at_deadline(run, deadline),
                Some(_) | None => onwards(run, workload, *until),
            }
        }
        Some(Judgement::Pass { .. } | Judgement::Waiting { .. } | Judgement::Fail(_)) | None if is_canary => {
            at_deadline(run, deadline)
        }
        Some(Judgement::Waiting { .. }) => {
            next(Action::Complete, None, format!("{}; {}", whole(run), late(run, deadline)))
        }
        Some(Judgement::Pass { .. } | Judgement::Fail(_)) | None => next(Action::Complete, None, whole(run)),
    }
}

/// The step that passing brings.
fn onwards(run: &Run, workload: &Workload, at: Timestamp) -> Next {
    let unless = "if the new pods stay Ready until then";
    match patch::next(run, workload) {
        Some((_, pods, _)) => next(Action::Step, Some(at), format!("{pods} new pods, {unless}")),
        None => next(Action::Promote, Some(at), format!("all pods, {unless}")),
    }
}

/// What the end of a promotion depends on.
fn whole(run: &Run) -> String {
    format!("when every pod runs {} and is available", run.to_tag)
}

/// What becomes of a promotion that does not come on.
fn late(run: &Run, deadline: Option<Timestamp>) -> String {
    let from = run.from_tag.as_ref().map_or("the old image", Tag::as_str);
    let what = match (run.settings.rollback, run.settings.on_deadline) {
        (Rollback::Automatic, OnDeadline::RollBack) => format!("goes back to {from}"),
        (Rollback::Automatic | Rollback::Ask, OnDeadline::Hold) | (Rollback::Ask, OnDeadline::RollBack) => {
            "waits for a person".to_owned()
        }
        (Rollback::Never, _) => "ends as it is".to_owned(),
    };
    let at = deadline.map_or_else(|| "the deadline".to_owned(), text::instant_seconds);
    format!("{what} at {at} if no further new pod has become Ready by then")
}

fn at_deadline(run: &Run, deadline: Option<Timestamp>) -> Next {
    let waits = run.settings.on_deadline == OnDeadline::Hold || run.settings.rollback != Rollback::Automatic;
    let from = run.from_tag.as_ref().map_or("the old image", Tag::as_str);
    let unless = format!("unless the new pods stay Ready for {} before then", text::span(run.settings.bake));
    if waits {
        next(Action::WaitForPerson, deadline, unless)
    } else {
        next(Action::RollBack, deadline, format!("to {from}, {unless}"))
    }
}
