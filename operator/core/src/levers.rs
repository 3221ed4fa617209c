//! What people ask by hand: pause, abort, promote, approve, release and retry, each with who and when.
//!
//! A lever is an annotation or a field that a command wrote (`controller/src/convert/levers.rs` reads it); here is what it
//! does to a run. What an asked release or retry does to the memory: `ledger.rs`.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::current;
use crate::decide::{Hold as Held, Standing};
use crate::image::Digest;
use crate::image::Repository;
use crate::judge::{Cause, Judgement};
use crate::ledger::Ledger;
use crate::policy::{Facts, OnDeadline, Rollback};
use crate::reason::Reason;
use crate::rollout::{Hold, Phase, Run};
use crate::text;

/// Who pulled a lever, and when, as the command wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lever {
    /// The person, by the apiserver's name for them; `somebody` where it was written by hand without one.
    pub by: String,
    /// When; nothing where it was written by hand without a time.
    pub at: Option<Timestamp>,
}

impl fmt::Display for Lever {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&text::clean(&self.by, 128))?;
        match self.at {
            Some(at) => write!(formatter, " at {}", text::instant_seconds(at)),
            None => Ok(()),
        }
    }
}

/// What a person did to a run, as its record keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Ended it: image and fields are restored.
    Abort,
    /// Skipped what was left of the observation.
    Promote,
    /// Let it begin.
    Approve,
}

impl Verb {
    /// The verb as the record and the command line spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verb::Abort => "abort",
            Verb::Promote => "promote",
            Verb::Approve => "approve",
        }
    }
}

/// The levers that were pulled on one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunLevers {
    /// End it.
    pub abort: Option<Lever>,
    /// Skip the rest of the observation.
    pub promote: Option<Lever>,
    /// Let it begin.
    pub approval: Option<Lever>,
}

/// Why nothing starts and no canary goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pause {
    /// This policy was paused.
    Policy(Lever),
    /// Everything was paused by a person.
    Everywhere(Lever),
    /// Everything is paused by the operator's configuration.
    Configuration,
}

impl Pause {
    /// The code.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Pause::Policy(_) => Reason::Paused,
            Pause::Everywhere(_) | Pause::Configuration => Reason::PausedByOperator,
        }
    }

    /// What was observed.
    #[must_use]
    pub fn observed(&self) -> String {
        match self {
            Pause::Policy(lever) => format!("paused by {lever}"),
            Pause::Everywhere(lever) => format!("every policy paused by {lever}"),
            Pause::Configuration => "`paused: true` in the operator's configuration".to_owned(),
        }
    }

    /// Who ends it, and how.
    #[must_use]
    pub fn hint(&self, policy: &str) -> String {
        match self {
            Pause::Policy(_) => format!("To go on: kubectl rollforward resume {policy}"),
            Pause::Everywhere(_) => "To go on: kubectl rollforward resume --all".to_owned(),
            Pause::Configuration => "To go on set it to false".to_owned(),
        }
    }
}

/// The hold of a paused policy.
#[must_use]
pub fn paused(facts: &Facts) -> Option<Held> {
    let pause = facts.seen.paused.as_ref()?;
    Some(
        Held::new(pause.reason(), Standing::Waits)
            .expected("a policy that may act")
            .observed(pause.observed())
            .hint(pause.hint(&facts.policy.id.name)),
    )
}

/// Why a person or a pause ends an open run although nothing is wrong with the image.
///
/// A paused canary ends at its own deadline: its hold is timed, and must not run out while nobody may go on. What is not held
/// goes its own way, and a pause takes nothing of it back.
#[must_use]
pub fn ends(facts: &Facts, run: &Run) -> Option<(Reason, String)> {
    if let Some(lever) = &run.levers.abort {
        return Some((Reason::Aborted, format!("aborted by {lever}")));
    }
    let pause = facts.seen.paused.as_ref()?;
    // The native controller's promotion is not held: what it does at the deadline is judged as ever.
    let held = is_held(run) && run.status.phase == Phase::Canary;
    let late = held && run.status.deadline.is_some_and(|deadline| deadline <= facts.now);
    late.then(|| {
        let message = format!("{}; its deadline came while it was held", pause.observed());
        (pause.reason(), message)
    })
}

/// Whether something of ours stands still while the new pods of the run are watched.
#[must_use]
pub fn is_held(run: &Run) -> bool {
    run.canary && matches!(run.hold, Hold::Deployment(_) | Hold::StatefulSet(_))
}

/// Whether a failure waits for a person instead of being rolled back by itself.
#[must_use]
pub fn asks(run: &Run, cause: &Cause) -> bool {
    let late = cause.at_deadline && run.settings.on_deadline == OnDeadline::Hold;
    late || match run.settings.rollback {
        Rollback::Automatic => false,
        Rollback::Ask | Rollback::Never => true,
    }
}

/// What a person can do with a failed run that waits for them.
#[must_use]
pub fn answer(run: &Run) -> String {
    let (name, space) = (&run.name, &run.workload.namespace);
    if run.settings.rollback == Rollback::Never {
        return format!(
            "`rollback.mode: Never` undoes nothing: what is held stays held, for giving it back would roll {} on. By hand: kubectl rollforward abort {name} -n {space} goes back, promote goes on.",
            run.to_tag
        );
    }
    let why = match run.settings.rollback {
        Rollback::Automatic | Rollback::Never => {
            "The deadline has passed and `onDeadline: Hold` waits for a person"
        }
        Rollback::Ask => "`rollback.mode: Ask` waits for a person",
    };
    format!("{why}: kubectl rollforward abort {name} -n {space} goes back, promote goes on.")
}

/// What a person can do with a canary that stays held because nothing is known of it, as a sentence to add.
#[must_use]
pub fn by_hand(run: &Run) -> String {
    let (name, space) = (&run.name, &run.workload.namespace);
    format!(
        " What is held stays held until it can be judged. By hand: kubectl rollforward abort {name} -n {space} goes back, promote goes on."
    )
}

/// Whether a person skips what is left of the observation. Not past a failure that is rolled back by itself, and not while
/// everything is paused.
#[must_use]
pub fn promotes<'a>(facts: &Facts, run: &'a Run, judgement: &Judgement) -> Option<&'a Lever> {
    let failed = match judgement {
        Judgement::Fail(cause) => !asks(run, cause),
        Judgement::Pass { .. } | Judgement::Waiting { .. } | Judgement::Unknown { .. } => false,
    };
    run.levers.promote.as_ref().filter(|_| !is_stopped(facts) && !failed)
}

/// Whether everything is paused.
fn is_stopped(facts: &Facts) -> bool {
    match &facts.seen.paused {
        Some(Pause::Everywhere(_) | Pause::Configuration) => true,
        Some(Pause::Policy(_)) | None => false,
    }
}

/// Who lets a version stay that failed and about which a person was asked. Whoever skipped the observation before is asked
/// once more: they knew nothing of this failure.
#[must_use]
pub fn keeps<'a>(facts: &Facts, run: &'a Run) -> Option<&'a Lever> {
    let is_known = |lever: &Lever| {
        let known = run.status.levers.iter().any(|(verb, known)| *verb == Verb::Promote && known == lever);
        known && lever.at.is_some()
    };
    run.levers.promote.as_ref().filter(|lever| !is_stopped(facts) && !is_known(lever))
}

/// A run that a person aborted is a version that they left: it and everything below is held, a newer one goes on.
pub fn remember_abort(facts: &Facts, run: &Run, ledgers: &mut BTreeMap<Repository, Ledger>) {
    let Some(lever) = &run.levers.abort else { return };
    let memory = ledgers.get_mut(&run.repository).and_then(|ledger| ledger.workloads.get_mut(&run.track));
    if let Some(memory) = memory {
        let (by, at) = (lever.by.clone(), lever.at.unwrap_or(facts.now));
        let order = facts.policy.order();
        memory.abandoned = Some(current::abandon(order, memory.abandoned.as_ref(), &run.to_tag, by, at));
    }
}

/// Notes a lever in a run's record, once.
pub fn note(record: &mut Vec<(Verb, Lever)>, verb: Verb, lever: &Lever) {
    let known = record.iter().any(|(one, known)| *one == verb && known == lever);
    if !known && record.len() < MAX_RECORDED {
        record.push((verb, lever.clone()));
    }
}

/// The most levers that a run's record keeps: each verb counts once, and an approval may be given anew.
const MAX_RECORDED: usize = 8;

/// What a person asked of a policy, once: carried out and removed in the pass that sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What.
    pub what: Request,
    /// One digest; everything where it is `None`.
    pub digest: Option<Digest>,
    /// Who.
    pub lever: Lever,
}

/// What can be asked of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Forget failures and manual rollbacks.
    Release,
    /// Try what failed once more now, and remember that it failed.
    Retry,
    /// Go on after a pause. The pause is gone already: this only tells who ended it.
    Resume,
}

impl Asked {
    /// Carries it out on a ledger.
    pub fn carry_out(&self, ledger: &mut Ledger, now: Timestamp) {
        match self.what {
            Request::Release => ledger.release(self.digest.as_ref()),
            Request::Resume => {}
            Request::Retry => ledger.retry(self.digest.as_ref(), &self.lever, now),
        }
    }

    /// What an Event tells: code and words.
    #[must_use]
    pub fn told(&self) -> (Reason, String) {
        let what = self.digest.as_ref().map_or_else(
            || "everything that is held".to_owned(),
            |digest| format!("sha256:{}", digest.short()),
        );
        match self.what {
            Request::Release => (Reason::Released, format!("{what} released by {}", self.lever)),
            Request::Resume => (Reason::Resumed, format!("resumed by {}", self.lever)),
            Request::Retry => {
                (Reason::RetryAsked, format!("{what} is tried once more, asked by {}", self.lever))
            }
        }
    }
}
