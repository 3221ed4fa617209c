//! Everything that is said about a pass, as data: conditions, tracks, `why` lines, Events, and when to look again.
//!
//! Instants are absolute and counters are left to metrics, so that a status that means the same is the same text and is not
//! written again. The words of one track: `report/track.rs`; of a run: `report/story.rs`.

mod papers;
pub mod story;
pub mod track;

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use crate::decide::{Course, Hold, Standing};
use crate::judge::Judgement;
use crate::policy::{Facts, Track};
use crate::reason::Reason;
use crate::rollout::{Phase, Plan, RunPlan};
use crate::text;
use crate::workload::WorkloadId;

/// How many tracks a status shows.
pub const MAX_TRACKS: usize = 64;
/// How many `why` lines a status shows.
pub const MAX_WHY: usize = 12;
/// How long a message may be, characters.
pub const MAX_MESSAGE: usize = 1000;

/// How long a write that the apiserver refused waits for its next try: rights and admission change by people.
const REFUSED_AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// The same for a write that met a changed workload: what is read next is another.
const CONFLICT_AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// The kinds of conditions; the last three are there only while they are True.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionKind {
    /// A refusal, a failed run, a human hold.
    Blocked,
    /// The newest version that the rule allows runs.
    UpToDate,
    /// The policy is valid and can do its work.
    Ready,
    /// A person must change something before anything can happen.
    Stalled,
}

impl ConditionKind {
    /// The condition's type as it is published.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ConditionKind::Blocked => "Blocked",
            ConditionKind::UpToDate => "UpToDate",
            ConditionKind::Ready => "Ready",
            ConditionKind::Stalled => "Stalled",
        }
    }
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Which.
    pub kind: ConditionKind,
    /// Whether it holds.
    pub is_true: bool,
    /// Why.
    pub reason: Reason,
    /// The sentence.
    pub message: String,
}

/// One Event, on the policy and on the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whether it is a Warning.
    pub warning: bool,
    /// The code.
    pub reason: Reason,
    /// The sentence.
    pub note: String,
    /// The workload that it is told on as well.
    pub workload: Option<WorkloadId>,
}

/// One track as the status shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackReport {
    /// The track's key.
    pub key: String,
    /// The repository.
    pub repository: String,
    /// How its tags are looked at; nothing while they cannot be.
    pub listing: Option<String>,
    /// The workload's name.
    pub workload: String,
    /// The containers.
    pub containers: String,
    /// What runs: `1.4.2@sha256:3b1f9c2a`.
    pub current: String,
    /// The newest that the rule allows, let through or not.
    pub latest: String,
    /// One word: `UpToDate`, `Waiting`, `Blocked`, `Canary`, `Promoting`, `RolledBack`.
    pub state: &'static str,
    /// When the hold ends by itself.
    pub until: Option<Timestamp>,
    /// The open or the last run.
    pub run: Option<String>,
    /// The best candidates.
    pub candidates: Vec<CandidateReport>,
    /// The layers of the best one, as (layer, words).
    pub layers: Vec<(String, String)>,
}

/// One candidate as the status shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandidateReport {
    /// Its tag.
    pub tag: String,
    /// Its digest in full.
    pub digest: Option<String>,
    /// `Pass`, `Fail`, `Absent`, `Unknown`, `Waiting`.
    pub verdict: &'static str,
    /// The code.
    pub code: &'static str,
    /// When it passes by time alone.
    pub until: Option<Timestamp>,
}

/// All that is said about a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a report that nobody publishes leaves the user in the dark"]
pub struct Report {
    /// Which generation it is about.
    pub generation: i64,
    /// The conditions, most telling first.
    pub conditions: Vec<Condition>,
    /// The TARGETS column.
    pub targets: String,
    /// The tracks.
    pub tracks: Vec<TrackReport>,
    /// Tracks beyond [`MAX_TRACKS`].
    pub more_tracks: usize,
    /// The explanation, line by line.
    pub why: Vec<String>,
    /// The weightiest track's key and workload: what the conditions are about.
    pub head: Option<(String, WorkloadId)>,
    /// What happened in this pass; holds are told by the publisher when their reason changes.
    pub events: Vec<Event>,
    /// When to look again.
    pub look_again: SignedDuration,
}

/// What became of the writes of a pass.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Each failed write, by the run it belongs to: code and sentence.
    pub refused: Vec<(String, Reason, String)>,
    /// The runs whose write or record succeeded.
    pub done: Vec<String>,
    /// The run that was opened.
    pub opened: Option<String>,
    /// Whether a run could not be opened, for another pass took the last place meanwhile.
    pub crowded: bool,
}

/// Says everything about a pass.
pub fn report(facts: &Facts, plan: &Plan, outcome: &Outcome) -> Report {
    let plan = &as_it_came(plan, outcome);
    let lines: Vec<track::Line<'_>> = track::lines(facts, plan, outcome);
    let head = head(lines.iter());
    let mut conditions = Vec::new();
    conditions.extend(blocked(facts, &lines));
    conditions.push(up_to_date(facts, &lines));
    conditions.push(ready(facts, &lines, outcome));
    conditions.extend(stalled(facts, &lines));
    let mut why: Vec<String> = head.map(|line| line.why(facts, plan)).unwrap_or_default();
    why.extend(facts.seen.untracked.iter().map(|left| format!("{}: {}.", left.what, left.observed)));
    why.truncate(MAX_WHY);
    Report {
        generation: facts.policy.generation,
        conditions,
        targets: targets(facts),
        tracks: lines.iter().take(MAX_TRACKS).map(|line| line.report(facts)).collect(),
        more_tracks: lines.len().saturating_sub(MAX_TRACKS),
        why: why.iter().map(|line| text::clean(line, 500)).collect(),
        head: head.map(|line| (line.track.key.clone(), line.track.workload.id.clone())),
        events: asked(facts).chain(events(plan, outcome)).collect(),
        look_again: look_again(facts, plan, &lines, outcome),
    }
}

/// The plan without what was not done: a patch that met a changed workload has started nothing.
fn as_it_came<'a>(plan: &'a Plan, outcome: &Outcome) -> Cow<'a, Plan> {
    if !plan.runs.iter().any(|run| is_undone(run, outcome)) {
        return Cow::Borrowed(plan);
    }
    let mut came = plan.clone();
    for run in came.runs.iter_mut().filter(|run| is_undone(run, outcome)) {
        run.phase = run.run.status.phase;
        run.after.clone_from(&run.before);
    }
    Cow::Owned(came)
}

/// Whether a write of the run was due and is not there.
fn is_undone(run: &RunPlan, outcome: &Outcome) -> bool {
    (run.patch.is_some() || run.errand.is_some()) && !outcome.done.contains(&run.run.name)
}

/// The report of a policy that cannot be acted on at all.
pub fn stalled_report(generation: i64, reason: Reason, message: &str) -> Report {
    let message = text::clean(&format!("{reason}: {message}"), MAX_MESSAGE);
    let condition = |kind, is_true| Condition { kind, is_true, reason, message: message.clone() };
    Report {
        generation,
        conditions: vec![condition(ConditionKind::Ready, false), condition(ConditionKind::Stalled, true)],
        targets: String::new(),
        tracks: Vec::new(),
        more_tracks: 0,
        why: vec![message.clone()],
        head: None,
        events: Vec::new(),
        look_again: SignedDuration::from_mins(60),
    }
}

fn targets(facts: &Facts) -> String {
    let mut names: Vec<&str> =
        facts.seen.tracks.iter().map(|track| track.workload.id.name.as_str()).collect();
    names.dedup();
    match names.as_slice() {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [first, rest @ ..] => format!("{first} +{}", rest.len()),
    }
}

fn message(reason: Reason, body: &str) -> String {
    text::clean(&format!("{reason}: {body}"), MAX_MESSAGE)
}

/// The sentence of a hold: what for which image, expected, observed, what to do, when next.
#[must_use]
pub fn hold_sentence(facts: &Facts, track: &Track, hold: &Hold) -> String {
    let subject = match &hold.subject {
        Some((tag, digest)) => {
            let short = digest.as_ref().map_or(String::new(), |digest| format!("@{}", digest.short()));
            format!("{tag} for {}:{tag}{short}", track.repository)
        }
        None => format!("{} for {}", track.workload.id.name, track.repository),
    };
    let hint = if hold.hint.is_empty() { String::new() } else { format!(" {}", full_stop(&hold.hint)) };
    let next = match hold.until {
        Some(until) => format!("Next check {}.", text::instant_seconds(until)),
        None => format!("Checked every {}.", text::span(facts.policy.interval)),
    };
    let body = format!("{subject}: expected {}, observed {}.{hint} {next}", hold.expected, hold.observed);
    message(hold.reason, &body)
}

/// The sentence with the workload that it is about, where the policy has several.
fn of_several(facts: &Facts, line: &track::Line<'_>, sentence: String) -> String {
    let id = &line.track.workload.id;
    let is_only = facts.seen.tracks.iter().all(|track| track.workload.id == *id);
    let Some((reason, body)) = sentence.split_once(": ").filter(|_| !is_only) else {
        return sentence;
    };
    if body.starts_with(&format!("{} for ", id.name)) {
        return sentence;
    }
    text::clean(&format!("{reason}: {}/{}: {body}", id.kind, id.name), MAX_MESSAGE)
}

fn full_stop(sentence: &str) -> String {
    if sentence.ends_with('.') { sentence.to_owned() } else { format!("{sentence}.") }
}

/// The weightiest line; the first target of several, for it is the canary of the rest.
fn head<'a>(lines: impl DoubleEndedIterator<Item = &'a track::Line<'a>>) -> Option<&'a track::Line<'a>> {
    lines.rev().max_by_key(|line| line.weight())
}

fn blocked(facts: &Facts, lines: &[track::Line<'_>]) -> Option<Condition> {
    let line = head(lines.iter().filter(|line| line.is_blocked()))?;
    let (reason, message) = line.blocked_sentence(facts);
    let message = of_several(facts, line, message);
    Some(Condition { kind: ConditionKind::Blocked, is_true: true, reason, message })
}

fn up_to_date(facts: &Facts, lines: &[track::Line<'_>]) -> Condition {
    let kind = ConditionKind::UpToDate;
    let Some(head) = head(lines.iter()) else {
        let (reason, what) = facts.seen.untracked.first().map_or_else(
            || (Reason::TargetMissing, "no workload matches the targets".to_owned()),
            |left| (left.reason, format!("{}: {}", left.what, left.observed)),
        );
        let body = format!("{what}. Nothing to move; picked up when it appears.");
        return Condition { kind, is_true: false, reason, message: message(reason, &body) };
    };
    let (is_true, reason, message) = head.up_to_date(facts);
    let message = if is_true { message } else { of_several(facts, head, message) };
    Condition { kind, is_true, reason, message }
}

fn ready(facts: &Facts, lines: &[track::Line<'_>], outcome: &Outcome) -> Condition {
    let kind = ConditionKind::Ready;
    let trouble = lines.iter().find_map(|line| match line.course {
        Course::Hold(hold) if Standing::NotReady <= hold.standing => Some((line, hold)),
        Course::Hold(_) | Course::Move { .. } | Course::Continue | Course::Nothing => None,
    });
    if let Some((line, hold)) = trouble {
        let message = of_several(facts, line, hold_sentence(facts, line.track, hold));
        return Condition { kind, is_true: false, reason: hold.reason, message };
    }
    // Also that of a run whose workload is no target any more: it has no line.
    if let Some((_, reason, sentence)) = outcome.refused.first() {
        return Condition {
            kind,
            is_true: false,
            reason: *reason,
            message: message(*reason, &full_stop(sentence)),
        };
    }
    let missing = facts.seen.untracked.iter().find(|left| left.reason != Reason::TargetMissing);
    if let Some(left) = missing.filter(|_| lines.is_empty()) {
        let body = format!("{}: {}.", left.what, left.observed);
        return Condition { kind, is_true: false, reason: left.reason, message: message(left.reason, &body) };
    }
    let mut workloads: Vec<&WorkloadId> = facts.seen.tracks.iter().map(|track| &track.workload.id).collect();
    workloads.sort();
    workloads.dedup();
    let body = format!(
        "{}, {}; policy valid, registry answers.",
        count(workloads.len(), "workload", "workloads"),
        count(facts.seen.repositories.len(), "repository", "repositories")
    );
    Condition { kind, is_true: true, reason: Reason::Watching, message: message(Reason::Watching, &body) }
}

fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

fn stalled(facts: &Facts, lines: &[track::Line<'_>]) -> Option<Condition> {
    let (line, hold) = lines.iter().find_map(|line| match line.course {
        Course::Hold(hold) if hold.standing == Standing::Stalled => Some((line, hold)),
        Course::Hold(_) | Course::Move { .. } | Course::Continue | Course::Nothing => None,
    })?;
    let message = of_several(facts, line, hold_sentence(facts, line.track, hold));
    Some(Condition { kind: ConditionKind::Stalled, is_true: true, reason: hold.reason, message })
}

/// What people asked of the policy, told once with who.
fn asked(facts: &Facts) -> impl Iterator<Item = Event> + '_ {
    facts.seen.asked.iter().map(|asked| {
        let (reason, note) = asked.told();
        Event { warning: false, reason, note: text::clean(&note, MAX_MESSAGE), workload: None }
    })
}

fn events(plan: &Plan, outcome: &Outcome) -> Vec<Event> {
    plan.runs
        .iter()
        .filter(|run| outcome.done.contains(&run.run.name))
        .flat_map(|run| story::events(run, plan))
        .collect()
}

fn look_again(facts: &Facts, plan: &Plan, lines: &[track::Line<'_>], outcome: &Outcome) -> SignedDuration {
    if !outcome.refused.is_empty() {
        return REFUSED_AGAIN;
    }
    if plan.runs.iter().any(|run| is_undone(run, outcome)) {
        return CONFLICT_AGAIN;
    }
    if outcome.opened.is_some() || plan.runs.iter().any(is_due_now) {
        return SignedDuration::ZERO;
    }
    let runs = plan.runs.iter().map(|run| run_again(run, facts.now));
    let holds = lines.iter().filter_map(|line| match line.course {
        Course::Hold(hold) => hold.until.map(|until| until.duration_since(facts.now)),
        Course::Move { .. } | Course::Continue | Course::Nothing => None,
    });
    let signatures = lines.iter().filter_map(|line| line.looked_for_again_after(facts));
    let least = runs
        .chain(holds)
        .chain(signatures)
        .chain([facts.policy.interval])
        .min()
        .unwrap_or(facts.policy.interval);
    least.max(SignedDuration::from_millis(100))
}

/// When an open run is looked at again: at the latest when the time is up that its judgement waits for.
fn run_again(run: &RunPlan, now: Timestamp) -> SignedDuration {
    let up = match &run.judgement {
        Some(Judgement::Waiting { until, .. }) => until.duration_since(now),
        Some(Judgement::Pass { .. } | Judgement::Fail(_) | Judgement::Unknown { .. }) | None => {
            run.look_again
        }
    };
    // A bake that ends between two seconds is not asked for many times.
    let least = SignedDuration::from_secs(1);
    if SignedDuration::ZERO < up { run.look_again.min(up).max(least) } else { run.look_again.max(least) }
}

fn is_due_now(run: &RunPlan) -> bool {
    run.patch.is_some()
        || run.errand.is_some()
        || matches!(run.phase, Phase::Succeeded | Phase::RolledBack | Phase::Aborted)
}
