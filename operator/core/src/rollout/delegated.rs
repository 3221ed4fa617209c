//! A workload that Argo Rollouts or Flagger rolls out: the image is set, their verdict is read, and what failed goes back.
//!
//! Nothing is held and no pod is judged: steps, traffic and analysis are theirs (`delegate.rs` says what they told). The
//! deadline is for a delegate that goes quiet: it counts from its last word, and not while it is paused by its own plan.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::decide::{Hold as Held, Standing};
use crate::delegate::{Delegate, Word};
use crate::image::Repository;
use crate::judge::classify;
use crate::judge::{Blame, Cause, Judgement};
use crate::ledger::Ledger;
use crate::policy::{Facts, Track};
use crate::reason::Reason;
use crate::text;
use crate::workload::Workload;

use super::{
    Hold, Intent, OpenRun, Phase, Run, RunCause, RunPlan, abort_cause, failed, judged, remember, reverting,
    split, succeeded, wait,
};

/// How soon a run is looked at again whose delegate wakes nobody, for example where it cannot be watched.
const DELEGATE_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// What holds a run of such a workload: nothing but what the delegate's verdict stood on before the first write.
#[must_use]
pub fn hold(delegate: &Delegate) -> Hold {
    Hold::Delegated(delegate.mark())
}

/// Why a new template must not be written now: an update that is not ours is under way, or the delegate cannot be read.
#[must_use]
pub fn refusal(track: &Track) -> Option<Held> {
    let delegate = track.workload.delegate.as_ref()?;
    let observed = delegate.busy()?;
    Some(match delegate {
        Delegate::Unknown(_) => Held::new(Reason::DelegateUnreadable, Standing::NotReady)
            .expected("to know who rolls the workload out")
            .observed(text::clean(&observed, 200))
            .hint("Nothing is written before. Correct the operator's rights, or the apiserver; tried again by itself."),
        Delegate::Argo(_) | Delegate::Flagger(_) => Held::new(Reason::DelegateBusy, Standing::Waits)
            .expected(format!("{} at rest", delegate.title()))
            .observed(observed)
            .hint("Nothing to do; starts by itself when that has ended."),
    })
}

/// What is due while the new image is in the template.
pub(super) fn watching(
    facts: &Facts,
    open: &OpenRun,
    (workload, mark): (&Workload, &str),
    ledgers: &mut BTreeMap<Repository, Ledger>,
) -> RunPlan {
    let run = &open.run;
    if let Some((reason, message)) = abort_cause(facts, run) {
        let intent = Intent { end: Reason::Aborted, reason, message, at: facts.now };
        return reverting(facts, run, workload, &intent);
    }
    let judgement = judge(facts, open, workload, mark);
    let mut plan = match &judgement {
        Judgement::Pass { .. } => {
            let is_seen = 0 < workload.replicas;
            remember(run, is_seen, ledgers);
            let mut plan = succeeded(facts, run, is_seen, passed(run, workload, mark));
            // A pod that crashed on the way is no cause of anything.
            (plan.before.cause, plan.after.cause) = (None, None);
            plan
        }
        Judgement::Fail(cause) => failed(facts, (run, workload), cause, ledgers),
        Judgement::Waiting { .. } | Judgement::Unknown { .. } => {
            let mut plan = wait(facts, run, Phase::Canary);
            plan.look_again = DELEGATE_AGAIN;
            plan.before.deadline = told_deadline(facts, run, &judgement);
            plan.after = plan.before.clone();
            // Kept in the record: with its verdict the delegate takes the new pods away.
            let known = run.status.cause.as_ref().map(|cause| cause.reason);
            if let Some(seen) = shown(open).filter(|seen| known != Some(seen.reason)) {
                plan.before.cause = Some(seen);
                plan.after = plan.before.clone();
            }
            plan
        }
    };
    plan.judgement = Some(judgement);
    plan
}

fn passed(run: &Run, workload: &Workload, mark: &str) -> String {
    let told = match workload.delegate.as_ref().map(|delegate| delegate.word(mark)) {
        Some(
            Word::Passed(words) | Word::Progressing(words) | Word::Paused(words) | Word::Failed(words, _),
        ) => words,
        None => String::new(),
    };
    format!("{} is rolled out: {told}", run.to_tag)
}

fn judge(facts: &Facts, open: &OpenRun, workload: &Workload, mark: &str) -> Judgement {
    let run = &open.run;
    let Some(delegate) = &workload.delegate else {
        let words = "nobody rolls the workload out any more: its Rollout or Canary is gone";
        return quiet(facts, run, None, ("who rolls it out".to_owned(), words.to_owned()));
    };
    match delegate.word(mark) {
        Word::Passed(_) => Judgement::Pass { watched: SignedDuration::ZERO, ready: 0 },
        Word::Failed(words, blame) => Judgement::Fail(cause(open, delegate, &words, blame)),
        Word::Paused(words) => waiting(Timestamp::MAX, Reason::DelegatePaused, (delegate.title(), words)),
        Word::Progressing(words) => quiet(facts, run, delegate.moved_at(), (delegate.title(), words)),
    }
}

/// A delegate that has not decided: it is waited for, until it has said nothing for as long as the deadline.
fn quiet(facts: &Facts, run: &Run, moved_at: Option<Timestamp>, (who, words): (String, String)) -> Judgement {
    let deadline = deadline(facts, run, moved_at);
    if facts.now < deadline {
        return waiting(deadline, Reason::DelegateWatching, (who, words));
    }
    let lasted = text::span(run.settings.deadline);
    Judgement::Fail(Cause {
        reason: Reason::DeadlineExceeded,
        sentence: format!("nothing new for {lasted}: {words}"),
        expected: format!("the verdict of {who}"),
        blame: Blame::Environment,
        deterministic: false,
        signature: Reason::DeadlineExceeded.code().to_owned(),
        pods: Vec::new(),
        nodes: Vec::new(),
        judged: "Nothing is held against the image: nobody judged it.".to_owned(),
        at_deadline: true,
    })
}

/// When a delegate that says nothing more is given up: counted from its last word, at the earliest from our write.
fn deadline(facts: &Facts, run: &Run, moved_at: Option<Timestamp>) -> Timestamp {
    let started = run.status.started_at.unwrap_or(facts.now);
    // A clock that runs ahead of ours puts off nothing beyond the deadline from now.
    let last = moved_at.map_or(started, |moved| moved.min(facts.now).max(started));
    last.checked_add(run.settings.deadline).unwrap_or(Timestamp::MAX)
}

/// The deadline that the record tells: none in a pause; one that has passed is counted anew from the delegate's last word.
fn told_deadline(facts: &Facts, run: &Run, judgement: &Judgement) -> Option<Timestamp> {
    match judgement {
        Judgement::Waiting { until, .. } if *until == Timestamp::MAX => None,
        Judgement::Waiting { until, .. } => {
            run.status.deadline.filter(|deadline| facts.now < *deadline).or(Some(*until))
        }
        Judgement::Pass { .. } | Judgement::Fail(_) | Judgement::Unknown { .. } => run.status.deadline,
    }
}

fn waiting(until: Timestamp, reason: Reason, (who, sentence): (String, String)) -> Judgement {
    let suspicion = Cause {
        reason,
        sentence,
        expected: format!("the verdict of {who}"),
        blame: Blame::Environment,
        deterministic: false,
        signature: reason.code().to_owned(),
        pods: Vec::new(),
        nodes: Vec::new(),
        judged: String::new(),
        at_deadline: false,
    };
    Judgement::Waiting { until, ready: 0, suspicion: Some(suspicion) }
}

/// The delegate's own sentence, and what the new pods showed before it took them away.
fn cause(open: &OpenRun, delegate: &Delegate, words: &str, blame: Blame) -> Cause {
    let shown = shown(open).or_else(|| open.run.status.cause.clone());
    let more = shown.as_ref().map_or_else(String::new, |one| {
        let pod = one.pod.as_ref().map_or_else(String::new, |pod| format!("pod {pod} "));
        let said = if one.observed.is_empty() { String::new() } else { format!(", {}", one.observed) };
        format!("; {pod}showed {}{said}", one.reason)
    });
    let who = match delegate {
        Delegate::Argo(_) => "Argo Rollouts",
        Delegate::Flagger(_) => "Flagger",
        Delegate::Unknown(_) => "its delegate",
    };
    let excused = shown.as_ref().is_some_and(|one| one.environment);
    let blame = if excused { Blame::Environment } else { blame };
    Cause {
        reason: Reason::DelegateFailed,
        sentence: format!("{words}{more}"),
        expected: format!("{who} to promote it"),
        blame,
        deterministic: false,
        signature: shown.as_ref().map_or_else(
            || Reason::DelegateFailed.code().to_owned(),
            |one| format!("{} {}", Reason::DelegateFailed, one.signature),
        ),
        pods: shown.iter().filter_map(|one| one.pod.clone()).collect(),
        nodes: shown.iter().filter_map(|one| one.node.clone()).collect(),
        judged: match blame {
            Blame::Image => format!("The image is at fault by the verdict of {who}."),
            Blame::Environment => {
                format!("{who} gave it up for what is no fault of the image; nothing is held against it.")
            }
        },
        at_deadline: false,
    }
}

/// What a new pod shows that tells more than that it is not Ready.
fn shown(open: &OpenRun) -> Option<RunCause> {
    let names: BTreeSet<String> = judged(&open.run);
    let new = split(open).new;
    let told = new.iter().filter(|pod| !pod.deleting).filter_map(|pod| classify::classify_pod(pod, &names));
    let worst = told
        .filter(|finding| finding.reason != Reason::NotReady && finding.reason != Reason::Disrupted)
        .max_by_key(|finding| finding.crashes)?;
    Some(RunCause {
        reason: worst.reason,
        expected: "the verdict of who rolls it out".to_owned(),
        observed: worst.message,
        pod: Some(worst.pod),
        node: worst.node,
        signature: worst.signature,
        environment: worst.blame == Blame::Environment,
        judged: String::new(),
    })
}

/// The code and the sentence of an open run that waits for its delegate; `None` for every other.
#[must_use]
pub fn told(run: &Run, judgement: &Judgement, subject: &str) -> Option<(Reason, String)> {
    let Judgement::Waiting { suspicion: Some(cause), until, .. } = judgement else { return None };
    if !run.is_delegated() {
        return None;
    }
    let ends = if *until == Timestamp::MAX {
        "Nothing is rolled back by a pause".to_owned()
    } else {
        format!("Given up {} unless it says something new", text::instant_seconds(*until))
    };
    let asked = run.levers.promote.as_ref().map_or("", |_| {
        " `rollforward promote` changes nothing here: who rolls it out decides, and is asked to go on there."
    });
    let body = format!("{subject}: expected {}, observed {}. {ends}.{asked}", cause.expected, cause.sentence);
    Some((cause.reason, body))
}

/// What a run would do, in one line.
#[must_use]
pub fn outlook(delegate: &Delegate) -> String {
    format!(
        "Then: the image is set, {} rolls it out by its own plan, and what it gives up goes back by itself.",
        delegate.title()
    )
}
