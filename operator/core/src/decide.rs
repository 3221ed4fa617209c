//! Move, hold, or nothing to do: for each track, from what the layers said.
//!
//! The best candidate that passes now is moved to. A better one that passes soon defers a lesser one; a better one that
//! only waits long, or is refused, does not stop a lesser one. What stops every start on a workload: `decide/refusal.rs`; whether a
//! canary has room: `decide/room.rs`. How a move is made: `rollout.rs`.

mod refusal;
mod room;

use jiff::Timestamp;

use crate::breaker;
use crate::current::{self, Choice, Chosen};
use crate::gate::{Assessed, Assessment, Verdict, Word};
use crate::image::{Digest, Tag};
use crate::levers;
use crate::ownership;
use crate::policy::{Concurrency, Facts, Rebuilds, Rollback, Track};
use crate::reason::Reason;
use crate::workload::Kind;

/// How a hold stands with the conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It ends by itself: only `UpToDate` says so.
    Waits,
    /// A refusal, a failed run or a human hold: `Blocked`.
    Blocked,
    /// The policy cannot do its work, by somebody else's fault: `Ready` is False.
    NotReady,
    /// A person must change something: `Stalled`.
    Stalled,
}

/// Why a track does not move. Every hold names the moment it ends or the person who can end it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The code.
    pub reason: Reason,
    /// How it stands with the conditions.
    pub standing: Standing,
    /// The candidate that it is about.
    pub subject: Option<(Tag, Option<Digest>)>,
    /// What was wanted.
    pub expected: String,
    /// What was seen.
    pub observed: String,
    /// What a person can do.
    pub hint: String,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

impl Hold {
    /// A hold without words yet.
    #[must_use]
    pub fn new(reason: Reason, standing: Standing) -> Self {
        Self {
            reason,
            standing,
            subject: None,
            expected: String::new(),
            observed: String::new(),
            hint: String::new(),
            until: None,
        }
    }

    /// About which candidate.
    #[must_use]
    pub fn about(self, tag: &Tag, digest: Option<&Digest>) -> Self {
        Self { subject: Some((tag.clone(), digest.cloned())), ..self }
    }

    /// What was wanted.
    #[must_use]
    pub fn expected(self, expected: impl Into<String>) -> Self {
        Self { expected: expected.into(), ..self }
    }

    /// What was seen.
    #[must_use]
    pub fn observed(self, observed: impl Into<String>) -> Self {
        Self { observed: observed.into(), ..self }
    }

    /// What a person can do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    /// When it ends by itself.
    #[must_use]
    pub fn until(self, until: Option<Timestamp>) -> Self {
        Self { until, ..self }
    }
}

/// What is to be done with a track.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the decision is what is carried out"]
pub enum Course {
    /// Open a run to this candidate.
    Move {
        /// The candidate.
        tag: Tag,
        /// Its digest: what is written.
        digest: Digest,
        /// False where no canary fits and the policy allows to go without, or there is nothing to observe.
        canary: bool,
    },
    /// Not now, and why.
    Hold(Hold),
    /// An open run goes on; it is finished, not replaced.
    Continue,
    /// The newest version that the rule allows runs.
    Nothing,
}

/// The decisions of a pass, with what they were made from.
#[derive(Debug, Clone)]
pub struct Decision {
    /// What the layers said.
    pub assessment: Assessment,
    /// One for each track.
    pub tracks: Vec<Course>,
}

/// Decides for every track.
#[must_use = "the decision is what is carried out"]
pub fn decide(facts: &Facts, assessment: Assessment) -> Decision {
    // A CronJob's run may be watched for weeks: nobody waits for it.
    let is_awaited = |kind: Kind| kind != Kind::CronJob;
    let has_open = facts.seen.open_runs.iter().any(|open| is_awaited(open.run.workload.kind));
    let mut starts = false;
    let mut tracks = Vec::new();
    let judged = assessment.chosen.iter().zip(&assessment.candidates).zip(&assessment.running_tag);
    for ((chosen, candidates), named) in judged {
        let Some(track) = facts.seen.tracks.get(chosen.track) else {
            continue;
        };
        let mut verdict = decide_track(facts, track, chosen, candidates, named.as_ref());
        if let Course::Move { tag, digest, .. } = &verdict {
            // The first target is the canary of the rest; once it has succeeded the limits alone decide. One starts a pass.
            // A failure that is kept is one run's: with `Never` the next waits for a person's word on it.
            let goes_along =
                facts.policy.rollout.rollback != Rollback::Never && breaker::proven(facts, track, digest);
            if starts || (has_open && !goes_along) {
                verdict = Course::Hold(in_line(tag, digest));
            } else {
                starts = true;
            }
        }
        tracks.push(verdict);
    }
    Decision { assessment, tracks }
}

fn in_line(tag: &Tag, digest: &Digest) -> Hold {
    Hold::new(Reason::WorkloadBusy, Standing::Waits)
        .about(tag, Some(digest))
        .expected("the run before it in this policy to end")
        .observed("a run that is still open")
        .hint("Nothing to do; the first target that a digest succeeds on is the canary of the rest.")
}

fn decide_track(
    facts: &Facts,
    track: &Track,
    chosen: &Chosen,
    candidates: &[Assessed],
    named: Option<&Digest>,
) -> Course {
    let Some(open) = current::open_run(facts, track) else {
        return decide_at_rest(facts, track, chosen, candidates, named);
    };
    if open.run.workload.kind != Kind::CronJob || open.run.status.intent.is_some() {
        return Course::Continue;
    }
    // The runs of a CronJob are watched for as long as it takes; a newer version does not wait for that.
    match decide_at_rest(facts, track, chosen, candidates, named) {
        Course::Hold(_) | Course::Nothing if !open.run.is_provisional() => Course::Continue,
        course @ (Course::Hold(_) | Course::Nothing | Course::Move { .. } | Course::Continue) => course,
    }
}

fn decide_at_rest(
    facts: &Facts,
    track: &Track,
    chosen: &Chosen,
    candidates: &[Assessed],
    named: Option<&Digest>,
) -> Course {
    if facts.policy.suspend {
        return Course::Hold(
            Hold::new(Reason::Suspended, Standing::Waits)
                .expected("a policy that may act")
                .observed("`spec.suspend: true`")
                .hint("Set it to false to go on."),
        );
    }
    if let Some(hold) = levers::paused(facts) {
        return Course::Hold(hold);
    }
    let selection = match &chosen.choice {
        Choice::Blocked(hold) => return Course::Hold(hold.clone()),
        Choice::Candidates(selection) => selection,
    };
    let Some(best) = candidates.first() else {
        let left = chosen.memory.abandoned.as_ref();
        let held = selection.left_out_for(Reason::HumanRollback);
        return match left {
            Some(left) if held => Course::Hold(human_rollback(facts, chosen, left)),
            Some(_) | None => rebuilt(facts, chosen, named)
                .or_else(|| refusal::kept(facts, track))
                .map_or(Course::Nothing, Course::Hold),
        };
    };
    let passing = candidates.iter().enumerate().find(|(_, candidate)| candidate.blocking().is_none());
    let Some((index, passing)) = passing else {
        return Course::Hold(blocked(best));
    };
    let soon = facts.now.checked_add(facts.policy.defer_for).unwrap_or(Timestamp::MAX);
    let better = candidates
        .iter()
        .take(index)
        .find_map(|better| better.passes_at().filter(|at| *at <= soon).map(|at| (better, at)));
    if let Some((better, at)) = better {
        return Course::Hold(deferred(better, at, passing));
    }
    let Some(digest) = &passing.digest else {
        return Course::Hold(blocked(passing));
    };
    start(facts, track, &passing.tag, digest)
}

/// The hold of a running tag that was pushed again, where a policy neither follows rebuilds nor said to ignore them. What
/// runs is safe, for its digest is what counts; so it waits and alarms nobody.
fn rebuilt(facts: &Facts, chosen: &Chosen, named: Option<&Digest>) -> Option<Hold> {
    let current = chosen.current.as_ref()?;
    let (tag, named, runs) = (current.rebuilt_tag()?, named?, current.digest.as_ref()?);
    (facts.policy.rebuilds == Rebuilds::Auto && named != runs).then(|| {
        Hold::new(Reason::TagMoved, Standing::Waits)
            .about(tag, Some(named))
            .expected(format!("{tag} to keep its content {}", runs.short()))
            .observed(format!("pushed again as {}, which no signature vouches for", named.short()))
            .hint("Publish a new tag, or set `image.rebuilds: Follow` to take a re-pushed tag after its soak")
    })
}

fn human_rollback(facts: &Facts, chosen: &Chosen, left: &crate::ledger::Abandoned) -> Hold {
    let runs = chosen.current.as_ref().and_then(|current| current.tag.as_ref());
    let again = chosen.memory.reapplied.as_ref().filter(|again| again.tag == left.tag);
    let fight = again.map_or_else(String::new, |again| {
        format!(
            "It was rolled out again {} times and taken away each time: two write this image, let one stop. ",
            again.times
        )
    });
    Hold::new(Reason::HumanRollback, Standing::Blocked)
        .about(&left.tag, None)
        .expected(format!("{} to stay", left.tag))
        .observed(format!(
            "{} went back{} at {}",
            crate::text::clean(&left.by, 64),
            runs.map_or(String::new(), |tag| format!(" to {tag}")),
            crate::text::instant_seconds(left.at)
        ))
        .hint(format!(
            "{fight}Respected: {} and everything below it is held. A newer version goes on by itself, or: kubectl rollforward release {}",
            left.tag, facts.policy.id.name
        ))
}

/// The hold of a candidate that a layer does not let through.
fn blocked(candidate: &Assessed) -> Hold {
    let Some((_, verdict)) = candidate.blocking() else {
        return Hold::new(Reason::RegistryUnavailable, Standing::Waits).about(&candidate.tag, None);
    };
    hold_of(candidate, verdict)
}

fn hold_of(candidate: &Assessed, verdict: &Verdict) -> Hold {
    let (standing, until) = match verdict.word {
        Word::Fail | Word::Absent => (Standing::Blocked, None),
        Word::Waiting(until) => (Standing::Waits, Some(until)),
        Word::Unknown | Word::Skipped | Word::Pass => (Standing::Waits, None),
    };
    Hold::new(verdict.reason, standing)
        .about(&candidate.tag, candidate.digest.as_ref())
        .expected(verdict.expected.clone())
        .observed(verdict.observed.clone())
        .hint(verdict.hint.clone())
        .until(until)
}

fn deferred(better: &Assessed, at: Timestamp, lesser: &Assessed) -> Hold {
    Hold::new(Reason::Deferred, Standing::Waits)
        .about(&better.tag, better.digest.as_ref())
        .expected(format!("{} to pass within the hour", better.tag))
        .observed(format!("it passes {}; {} could go now", crate::text::instant_seconds(at), lesser.tag))
        .hint("Nothing to do.")
        .until(Some(at))
}

/// A candidate passed: may its run start now?
fn start(facts: &Facts, track: &Track, tag: &Tag, digest: &Digest) -> Course {
    if let Some(hold) = ownership::hold(track, tag, digest) {
        return Course::Hold(hold);
    }
    let many = || breaker::frozen(facts).or_else(|| breaker::tried_elsewhere(facts, track, digest));
    let hold = match refusal::refusal(facts, track).or_else(many) {
        Some(hold) => hold,
        None => match room::canary(facts, track) {
            Err(hold) => *hold,
            Ok(canary) => {
                let canary = match room::obstacle(facts, track, digest, canary) {
                    Err(hold) => return Course::Hold(hold.about(tag, Some(digest))),
                    Ok(canary) => canary,
                };
                return Course::Move { tag: tag.clone(), digest: digest.clone(), canary };
            }
        },
    };
    Course::Hold(hold.about(tag, Some(digest)))
}

/// The hold of a start for which there is no place.
#[must_use]
pub fn limit(concurrency: Concurrency) -> Option<Hold> {
    let Concurrency { namespace_open, per_namespace, cluster_open, cluster } = concurrency;
    let runs = |open: usize| if open == 1 { "1 open run".to_owned() } else { format!("{open} open runs") };
    let observed = if per_namespace <= namespace_open {
        format!("{} in the namespace, {per_namespace} allowed", runs(namespace_open))
    } else if cluster <= cluster_open {
        format!("{} in the cluster, {cluster} allowed", runs(cluster_open))
    } else {
        return None;
    };
    Some(
        Hold::new(Reason::ConcurrencyLimit, Standing::Waits)
            .expected("a free place")
            .observed(observed)
            .hint("Nothing to do; starts by itself when a run ends."),
    )
}
