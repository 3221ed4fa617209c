//! What is said of one track: state, sentences, candidates and layers.

use std::cmp::Ordering;

use crate::approval;
use crate::current::{Choice, Chosen};
use crate::decide::{Course, Hold, Standing};
use crate::evidence::Answer;
use crate::gate::{Assessed, Layer, Verdict, Word};
use crate::judge::{Cause, Judgement};
use crate::levers;
use crate::policy::{Facts, Track};
use crate::reason::Reason;
use crate::report::{CandidateReport, MAX_MESSAGE, Outcome, TrackReport, hold_sentence, papers, story};
use crate::rollout::{Phase, Plan, Run, RunPlan, delegated};
use crate::select::Rule;
use crate::text;
use crate::workload::Kind;

/// Everything that is known about one track after a pass.
#[derive(Debug)]
pub struct Line<'a> {
    /// The track.
    pub track: &'a Track,
    /// What was decided.
    pub course: &'a Course,
    pub(super) chosen: &'a Chosen,
    pub(super) candidates: &'a [Assessed],
    /// What the layers say of what runs.
    pub(super) running: Option<&'a Assessed>,
    running_tag: Option<&'a crate::image::Digest>,
    pub(super) run: Option<&'a RunPlan>,
    last: Option<&'a Run>,
    /// A write that the apiserver refused.
    pub refused: Option<(Reason, String)>,
}

/// One line a track.
#[must_use]
pub fn lines<'a>(facts: &'a Facts, plan: &'a Plan, outcome: &'a Outcome) -> Vec<Line<'a>> {
    let assessment = &plan.decision.assessment;
    assessment
        .chosen
        .iter()
        .enumerate()
        .filter_map(|(index, chosen)| {
            let track = facts.seen.tracks.get(chosen.track)?;
            let run = plan.runs.iter().find(|run| run.run.track == track.key);
            let opening = plan.opening.as_ref().filter(|run| run.track == track.key);
            let names = [run.map(|run| &run.run.name), opening.map(|run| &run.name)];
            let refused = outcome
                .refused
                .iter()
                .find(|(name, _, _)| names.contains(&Some(name)))
                .map(|(_, reason, sentence)| (*reason, sentence.clone()));
            Some(Line {
                track,
                course: plan.decision.tracks.get(index)?,
                chosen,
                candidates: assessment.candidates.get(index)?,
                running: assessment.running.get(index)?.as_ref(),
                running_tag: assessment.running_tag.get(index)?.as_ref(),
                run,
                last: facts.seen.last_runs.iter().find(|run| run.track == track.key),
                refused,
            })
        })
        .collect()
}

impl Line<'_> {
    /// How much the track's state matters to the reader: the weightiest heads the conditions.
    #[must_use]
    pub fn weight(&self) -> u8 {
        match self.course {
            Course::Continue => 4,
            Course::Hold(hold) => match hold.standing {
                Standing::Waits => 2,
                Standing::Blocked => 5,
                Standing::NotReady => 6,
                Standing::Stalled => 7,
            },
            Course::Move { .. } => 3,
            Course::Nothing => 0,
        }
    }

    /// Whether the track is refused, failed or held by a person.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        matches!(self.course, Course::Hold(hold) if hold.standing == Standing::Blocked)
            || self.failed_retry().is_some()
            || self.unverified().is_some()
            || self.run.is_some_and(|run| run.before.intent.is_some() || waits_for_a_person(run).is_some())
    }

    /// The hold of a digest that failed once and is tried again later.
    fn failed_retry(&self) -> Option<&Hold> {
        let (_, verdict) = self.layer(Layer::Quarantine)?;
        match self.course {
            Course::Hold(hold)
                if matches!(verdict.word, Word::Waiting(_)) && hold.reason == verdict.reason =>
            {
                Some(hold)
            }
            Course::Hold(_) | Course::Move { .. } | Course::Continue | Course::Nothing => None,
        }
    }

    fn layer(&self, layer: Layer) -> Option<(&Assessed, &Verdict)> {
        let best = self.candidates.first()?;
        best.verdicts.iter().find(|(one, _)| *one == layer).map(|(_, verdict)| (best, verdict))
    }

    /// The sentence of the `Blocked` condition.
    #[must_use]
    pub fn blocked_sentence(&self, facts: &Facts) -> (Reason, String) {
        if let Some(intent) = self.run.and_then(|run| run.before.intent.as_ref()) {
            let left = self.run.and_then(|run| run.left.as_ref());
            let left = left.map_or(String::new(), |left| format!(" {left}."));
            let (subject, not_yet) = (self.run_subject(), self.not_yet());
            let body = format!("rolling back for {subject}: {}.{left}{not_yet}", intent.message);
            return (intent.reason, super::message(intent.reason, &body));
        }
        if let Some(run) = self.run.filter(|run| waits_for_a_person(run).is_some()) {
            let (_, reason, sentence) = running_sentence(run);
            return (reason, sentence);
        }
        match self.course {
            Course::Hold(hold) if self.is_failure(hold) => (hold.reason, self.failure_sentence(facts, hold)),
            Course::Hold(hold) if hold.standing == Standing::Blocked || self.unverified().is_none() => {
                let sentence = hold_sentence(facts, self.track, hold);
                (hold.reason, self.named_layer(hold, sentence))
            }
            Course::Hold(_) | Course::Move { .. } | Course::Continue | Course::Nothing => {
                let sentence = self.unverified_sentence();
                sentence.unwrap_or((Reason::RunningImageNoLongerVerified, String::new()))
            }
        }
    }

    /// The run that failed with the digest that is held; another track's run is not told as this one's.
    fn failed_run(&self, hold: &Hold) -> Option<&Run> {
        let digest = hold.subject.as_ref()?.1.as_ref()?;
        self.last.filter(|run| run.to_digest == *digest && self.is_failure(hold))
    }

    fn is_failure(&self, hold: &Hold) -> bool {
        self.layer(Layer::Quarantine)
            .is_some_and(|(_, verdict)| !verdict.passes() && verdict.reason == hold.reason)
    }

    /// The failed run as the `Blocked` condition tells it.
    fn failure_sentence(&self, facts: &Facts, hold: &Hold) -> String {
        let Some((run, cause)) =
            self.failed_run(hold).and_then(|run| run.status.cause.as_ref().map(|cause| (run, cause)))
        else {
            return hold_sentence(facts, self.track, hold);
        };
        let end = match hold.until {
            Some(until) => format!("Tried once more {}.", text::instant_seconds(until)),
            None => "Not retried by itself.".to_owned(),
        };
        let hint = hold.hint.replace(" Not retried by itself.", "");
        let body = format!(
            "rolled back for {}:{}@{}: expected {}, observed {}. {} {hint}. {end}",
            self.track.repository,
            run.to_tag,
            run.to_digest.short(),
            cause.expected,
            cause.observed,
            cause.judged,
            hint = hint.trim_end_matches('.'),
        );
        super::message(hold.reason, &body)
    }

    /// A write that is due and was refused, after what is said of the run.
    fn not_yet(&self) -> String {
        let told = |(reason, sentence): &(Reason, String)| {
            format!(" Not written yet: {reason}: {}", super::full_stop(sentence))
        };
        self.refused.as_ref().map_or_else(String::new, told)
    }

    fn run_subject(&self) -> String {
        self.run.map_or(String::new(), |run| {
            format!("{}:{}@{}", run.run.repository, run.run.to_tag, run.run.to_digest.short())
        })
    }

    pub(super) fn current_tag(&self) -> &str {
        let current = self.chosen.current.as_ref();
        current.and_then(|current| current.tag.as_ref()).map_or("an untagged image", |tag| tag.as_str())
    }

    /// The `UpToDate` condition: (status, reason, sentence).
    #[must_use]
    pub fn up_to_date(&self, facts: &Facts) -> (bool, Reason, String) {
        match self.course {
            Course::Nothing => {
                let mut body = format!("{} runs", self.current_tag());
                for said in [self.outside(facts), self.quiet_since(facts)].into_iter().flatten() {
                    body.push_str("; ");
                    body.push_str(&said);
                }
                body.push('.');
                (true, Reason::NewestRuns, super::message(Reason::NewestRuns, &body))
            }
            Course::Hold(hold) if hold.standing == Standing::Blocked || self.is_failure(hold) => {
                let body = self.blocked_summary(hold);
                (false, hold.reason, super::message(hold.reason, &body))
            }
            Course::Hold(hold) => (false, hold.reason, hold_sentence(facts, self.track, hold)),
            Course::Move { tag, digest, .. } => {
                let body = format!("{tag}@{} passed all gates; the run starts.", digest.short());
                (false, Reason::Preparing, super::message(Reason::Preparing, &body))
            }
            Course::Continue => {
                let told = |run| held_sentence(facts, run).unwrap_or_else(|| running_sentence(run));
                let (is_true, reason, sentence) =
                    self.run.map_or_else(|| (false, Reason::CanaryWatching, String::new()), told);
                (is_true, reason, text::clean(&format!("{sentence}{}", self.not_yet()), MAX_MESSAGE))
            }
        }
    }

    fn blocked_summary(&self, hold: &Hold) -> String {
        let current = self.current_tag();
        let Some((tag, _)) = &hold.subject else {
            return format!("{current} runs; {}.", hold.observed);
        };
        let state = if hold.reason == Reason::HumanRollback {
            "is held, as a person went back from it"
        } else if self.is_failure(hold) {
            if hold.until.is_some() { "failed and is tried once more" } else { "is quarantined" }
        } else {
            "is refused"
        };
        format!("{current} runs, {tag} {state}; no other candidate is newer.")
    }

    fn outside(&self, facts: &Facts) -> Option<String> {
        let Choice::Candidates(selection) = &self.chosen.choice else {
            return None;
        };
        let newest = selection.newest_outside.as_ref()?;
        let known = self.chosen.memory.newest_outside.as_ref().filter(|known| known.tag == *newest);
        let since =
            known.map_or(String::new(), |known| format!(" since {}", text::instant(known.first_seen)));
        Some(format!("{newest} exists outside the rule ({}){since}", facts.policy.rule_text))
    }

    /// Since when the range has had no newer tag: an instant, for an age would be another text every day.
    fn quiet_since(&self, facts: &Facts) -> Option<String> {
        let known = self.chosen.memory.newest_inside.as_ref()?;
        let range = !matches!(facts.policy.rule, Rule::Digest(_));
        range.then(|| format!("no new tag in range since {}", text::instant(known.first_seen)))
    }

    /// The track as the status shows it.
    #[must_use]
    pub fn report(&self, facts: &Facts) -> TrackReport {
        let current = self.chosen.current.as_ref();
        let pinned = |tag: &str, digest: Option<&crate::image::Digest>| {
            digest.map_or_else(|| tag.to_owned(), |digest| format!("{tag}@sha256:{}", digest.short()))
        };
        let shown = self.run.map(|run| (run.phase, &run.run));
        // What a CronJob ran once is what it runs, though the watch goes on.
        let shown = shown.filter(|(phase, run)| *phase != Phase::Succeeded && !run.is_provisional());
        let shown = shown.map(|(_, run)| run);
        let (tag, digest) = match shown {
            Some(run) => (run.from_tag.as_ref(), run.from_digest.as_ref()),
            None => (
                current.and_then(|current| current.tag.as_ref()),
                current.and_then(|current| current.digest.as_ref()),
            ),
        };
        let now = pinned(tag.map_or("untagged", |tag| tag.as_str()), digest);
        let held = match self.course {
            Course::Hold(hold) => hold.subject.as_ref(),
            Course::Move { .. } | Course::Continue | Course::Nothing => None,
        };
        let latest = match (shown, self.candidates.first(), held) {
            (Some(run), _, _) => pinned(run.to_tag.as_str(), Some(&run.to_digest)),
            (None, Some(best), _) => pinned(best.tag.as_str(), best.digest.as_ref()),
            (None, None, Some((tag, digest))) => pinned(tag.as_str(), digest.as_ref()),
            (None, None, None) => now.clone(),
        };
        let failed = match self.course {
            Course::Hold(hold) => self.failed_run(hold),
            Course::Move { .. } | Course::Continue | Course::Nothing => None,
        };
        TrackReport {
            key: self.track.key.clone(),
            repository: self.track.repository.to_string(),
            listing: listing(facts, self.track),
            workload: self.track.workload.id.name.clone(),
            containers: self
                .track
                .containers
                .iter()
                .map(|(container, _)| container.name.as_str())
                .collect::<Vec<_>>()
                .join(","),
            current: now,
            latest,
            state: self.state(),
            until: match self.course {
                Course::Hold(hold) => hold.until,
                Course::Move { .. } | Course::Continue | Course::Nothing => self.run.and_then(judged_until),
            },
            run: self.run.map(|run| run.run.name.clone()).or_else(|| failed.map(|run| run.name.clone())),
            candidates: self.candidates.iter().map(candidate).collect(),
            layers: layers(self.candidates),
        }
    }

    fn state(&self) -> &'static str {
        match self.course {
            Course::Nothing => "UpToDate",
            Course::Hold(hold) if self.is_failure(hold) => "RolledBack",
            Course::Hold(hold) => match hold.standing {
                Standing::Waits => "Waiting",
                Standing::Blocked => "Blocked",
                Standing::NotReady => "Unknown",
                Standing::Stalled => "Stalled",
            },
            Course::Move { .. } => "Preparing",
            Course::Continue => self.run.map_or("Canary", |run| match run.phase {
                Phase::Preparing => "Preparing",
                Phase::AwaitingApproval => "AwaitingApproval",
                Phase::Canary if run.before.intent.is_some() => "RollingBack",
                Phase::Canary => "Canary",
                Phase::Promoting => "Promoting",
                Phase::Succeeded => "UpToDate",
                Phase::RolledBack => "RolledBack",
                Phase::Aborted => "Aborted",
            }),
        }
    }

    /// The explanation, line by line.
    #[must_use]
    pub fn why(&self, facts: &Facts, plan: &Plan) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some((reason, sentence)) = &self.refused {
            lines.push(format!("{reason}: {}", super::full_stop(sentence)));
        }
        if let Some(run) = self.run {
            let mut shown = run.run.clone();
            shown.status = run.after.clone();
            lines.extend(story::lines(&shown, &run.stable));
        } else if let Course::Hold(hold) = self.course
            && self.is_failure(hold)
        {
            lines.extend(self.failed_run(hold).map(|last| story::lines(last, "")).into_iter().flatten());
            lines.extend(self.quarantine_line(facts, plan));
        }
        if self.run.is_none() {
            let refused = self.refusal_lines(facts);
            let told = usize::from(!refused.is_empty());
            lines.extend(refused);
            lines.extend(
                self.candidates.iter().skip(told).take(3_usize.saturating_sub(told)).map(candidate_line),
            );
        }
        lines.extend(self.unverified_sentence().map(|(_, sentence)| sentence));
        lines.extend(self.human_line(facts));
        lines.push(self.runs_line());
        lines.extend(self.score_line());
        lines.extend(self.label_line());
        lines.extend(self.rebuild_line());
        lines.extend(self.cost_line(plan));
        lines.extend(self.left_out_line(facts));
        if matches!(self.course, Course::Hold(hold) if hold.standing == Standing::Waits)
            && !self.candidates.is_empty()
        {
            lines.push(story::outlook(&facts.policy.rollout, &self.track.workload));
        }
        lines
    }

    fn quarantine_line(&self, facts: &Facts, plan: &Plan) -> Option<String> {
        let ledger = plan.ledgers.get(&self.track.repository)?;
        let digest = self.candidates.first()?.digest.as_ref()?;
        let failure = ledger.failures.get(digest)?;
        let space = &self.track.workload.id.namespace;
        let next = failure.fails.saturating_add(1);
        let how = match failure.fails {
            0 => ("Tried again", ", as after every failure that is not the image's"),
            _ if facts.policy.rollout.after_fails <= next => ("One retry", ""),
            _ => ("Tried again", ""),
        };
        Some(match failure.retry_at {
            Some(at) => format!(
                "{} {}{}; a newer tag or new digest starts by itself.",
                how.0,
                text::instant_seconds(at),
                how.1
            ),
            None => format!(
                "Digest quarantined in namespace {space}. Next: a newer tag or new digest starts by itself."
            ),
        })
    }

    fn human_line(&self, facts: &Facts) -> Option<String> {
        let left = self.chosen.memory.abandoned.as_ref()?;
        // Once a newer version runs, nothing is held by it any more.
        let known = self.chosen.current.as_ref().and_then(|current| current.known_as.as_ref());
        if known.is_some_and(|known| facts.policy.order().compare(&left.tag, known) == Some(Ordering::Less)) {
            return None;
        }
        Some(format!(
            "A person's choice is respected: {} went back from {} at {}. Newer versions go on; release: kubectl rollforward release {}",
            text::clean(&left.by, 64),
            left.tag,
            text::instant_seconds(left.at),
            facts.policy.id.name
        ))
    }

    fn runs_line(&self) -> String {
        let workload = &self.track.workload;
        let runs =
            self.run.and_then(|run| run.run.from_tag.as_ref()).map_or(self.current_tag(), |tag| tag.as_str());
        if workload.cron_job().is_some() {
            return format!(
                "{} is in the template of the CronJob{}.",
                self.current_tag(),
                self.verified_word()
            );
        }
        if let Some(plan) = self.run.filter(|plan| plan.phase == Phase::Promoting) {
            return format!(
                "{} replaces {runs}: {} of {} pods run it; {} available in all.",
                plan.run.to_tag,
                workload.updated_replicas,
                workload.total_replicas.max(workload.replicas),
                workload.available_replicas
            );
        }
        let verified = if self.run.is_none() { self.verified_word() } else { String::new() };
        format!(
            "{runs} runs: {} of {} pods available{verified}.",
            workload.available_replicas, workload.replicas
        )
    }

    /// Where the floor comes from that no run of ours has set.
    fn label_line(&self) -> Option<String> {
        let Choice::Candidates(selection) = &self.chosen.choice else {
            return None;
        };
        let label = selection.label.as_ref()?;
        Some(format!(
            "{} is {label} by its own version label; nothing at or below that is chosen ({}).",
            self.current_tag(),
            Reason::BelowFloor
        ))
    }

    fn rebuild_line(&self) -> Option<String> {
        let current = self.chosen.current.as_ref()?;
        let (now, runs) = (self.running_tag?, current.digest.as_ref()?);
        (now != runs).then(|| {
            format!(
                "{}: {} was pushed again with other content ({}); the verified digest {} stays.",
                Reason::TagMoved,
                self.current_tag(),
                now.short(),
                runs.short()
            )
        })
    }

    fn cost_line(&self, plan: &Plan) -> Option<String> {
        let Course::Hold(_) = self.course else { return None };
        let best = self.candidates.first()?;
        let first_seen =
            plan.ledgers.get(&self.track.repository)?.first_seen(&best.tag, best.digest.as_ref()?)?;
        let Choice::Candidates(selection) = &self.chosen.choice else {
            return None;
        };
        let behind = selection.n_candidates.max(1);
        Some(format!(
            "Cost of waiting: {} available since {}, {} behind. Vulnerability data: none configured.",
            best.tag,
            text::instant(first_seen),
            super::count(behind, "version", "versions"),
        ))
    }

    fn left_out_line(&self, facts: &Facts) -> Option<String> {
        let Choice::Candidates(selection) = &self.chosen.choice else {
            return None;
        };
        let groups: Vec<String> = selection
            .groups
            .iter()
            .map(|group| format!("{} {} ({})", group.count, group.reason, group.example))
            .collect();
        let outside = selection.newest_outside.as_ref().map_or(String::new(), |newest| {
            format!("Outside the rule ({}): {}. ", facts.policy.rule_text, newest)
        });
        (!groups.is_empty()).then(|| format!("{outside}Left out: {}.", groups.join(", ")))
    }
}

fn judged_until(run: &RunPlan) -> Option<jiff::Timestamp> {
    match run.judgement.as_ref()? {
        // The runs of a CronJob have no such instant.
        Judgement::Waiting { until, .. } => Some(*until).filter(|until| *until < jiff::Timestamp::MAX),
        Judgement::Pass { .. } | Judgement::Fail(_) | Judgement::Unknown { .. } => None,
    }
}

/// The cause of a run that was not decided before its deadline and waits for a person, as its policy says.
fn waits_for_a_person(run: &RunPlan) -> Option<&Cause> {
    match &run.judgement {
        Some(Judgement::Fail(cause)) if run.waits() => Some(cause),
        Some(
            Judgement::Fail(_)
            | Judgement::Pass { .. }
            | Judgement::Waiting { .. }
            | Judgement::Unknown { .. },
        )
        | None => None,
    }
}

/// The `UpToDate` sentence while an open run is held by a pause.
fn held_sentence(facts: &Facts, plan: &RunPlan) -> Option<(bool, Reason, String)> {
    let pause = facts.seen.paused.as_ref()?;
    let so_far = match &plan.judgement {
        Some(Judgement::Waiting { suspicion: Some(cause), .. }) => {
            format!(" So far {}: {}.", cause.reason, cause.sentence)
        }
        Some(Judgement::Pass { .. } | Judgement::Waiting { suspicion: None, .. }) => String::new(),
        Some(Judgement::Unknown { reason, message }) => format!(" So far {reason}: {message}."),
        Some(Judgement::Fail(_)) => return None,
        None => String::new(),
    };
    let open = plan.before.intent.is_none() && plan.after.result.is_none();
    let run = &plan.run;
    let ends = plan.after.deadline.map_or_else(
        || "and waits".to_owned(),
        |deadline| format!("and goes back without blame {}", text::instant_seconds(deadline)),
    );
    let held = match plan.phase {
        Phase::Canary if levers::is_held(run) => {
            format!("the canary stays as it is, is rolled back if it fails, {ends}")
        }
        Phase::Canary => "the image stays set and is judged on, and is rolled back if it fails".to_owned(),
        Phase::Preparing | Phase::AwaitingApproval => {
            format!("the run is recorded and does not begin, {ends}")
        }
        Phase::Promoting | Phase::Succeeded | Phase::RolledBack | Phase::Aborted => return None,
    };
    (open && plan.waits()).then(|| {
        let body = format!(
            "{} for {}:{}@{}: {}; {held}.{so_far} {}.",
            run.to_tag,
            run.repository,
            run.to_tag,
            run.to_digest.short(),
            pause.observed(),
            pause.hint(&facts.policy.id.name)
        );
        (false, pause.reason(), super::message(pause.reason(), &body))
    })
}

/// The `UpToDate` sentence while a run is open.
fn running_sentence(plan: &RunPlan) -> (bool, Reason, String) {
    let run = &plan.run;
    let subject = format!("{} for {}:{}@{}", run.to_tag, run.repository, run.to_tag, run.to_digest.short());
    if let Some((reason, message)) = &plan.after.result {
        let is_true = plan.phase == Phase::Succeeded;
        return (is_true, *reason, super::message(*reason, &format!("{subject}: {message}.")));
    }
    if let Some(intent) = &plan.before.intent {
        let doing = match &plan.left {
            Some(left) => format!("the old image and settings are restored. {left}"),
            None => "the old image and settings are being restored".to_owned(),
        };
        let body = format!("{subject}: {}; {doing}.", intent.message);
        return (false, intent.reason, super::message(intent.reason, &body));
    }
    let bake = text::span(run.settings.bake);
    let (reason, body) = match (&plan.judgement, plan.phase) {
        (Some(Judgement::Fail(cause)), _) => (
            cause.reason,
            format!(
                "{subject}: expected {}, observed {}. {}",
                cause.expected,
                cause.sentence,
                levers::answer(run)
            ),
        ),
        (Some(Judgement::Waiting { suspicion, .. }), _) if run.workload.kind == Kind::CronJob => {
            let reason = suspicion.as_ref().map_or(Reason::CanaryWatching, |cause| cause.reason);
            let observed = runs_observed(&plan.stable, suspicion.as_ref());
            let body = format!(
                "{subject}: expected its next runs to succeed, observed {observed}. Judged by its runs; nothing waits for them."
            );
            (reason, body)
        }
        (Some(waits), _) if let Some(told) = delegated::told(run, waits, &subject) => told,
        (Some(Judgement::Waiting { ready, suspicion: Some(cause), until }), _) => (
            cause.reason,
            format!(
                "{subject}: expected {}, observed {}; {ready} Ready so far, not decided yet. Judged by {}.",
                cause.expected,
                cause.sentence,
                text::instant_seconds(*until)
            ),
        ),
        (Some(Judgement::Waiting { ready, suspicion: None, until }), Phase::Canary) => (
            Reason::CanaryWatching,
            format!(
                "{subject}: expected {} new to stay Ready for {bake} beside {}, observed {ready} Ready. Judged by {}.",
                run.status.step_pods.max(1),
                plan.stable,
                text::instant_seconds(*until)
            ),
        ),
        (Some(Judgement::Pass { .. }), Phase::Canary) => {
            (Reason::CanaryWatching, format!("{subject}: the new pods passed; the next write is due."))
        }
        (Some(Judgement::Unknown { reason, message }), phase) => {
            let held = if phase == Phase::Canary { levers::by_hand(run) } else { String::new() };
            let body =
                format!("the new pods cannot be judged: {message}. Nothing is rolled back by this.{held}");
            (*reason, format!("{subject}: {body}"))
        }
        (_, Phase::AwaitingApproval) => (
            Reason::AwaitingApproval,
            match &run.levers.approval {
                None => format!("{subject}: {}.", approval::sentence(run)),
                Some(lever) => format!("{subject}: approved by {lever}; begins when a place is free."),
            },
        ),
        (_, Phase::Promoting) => (Reason::Promoting, format!("{subject}: {}.", replacing(run))),
        (_, Phase::Preparing | Phase::Canary | Phase::Succeeded | Phase::RolledBack | Phase::Aborted) => {
            (Reason::Preparing, format!("{subject}: the run is recorded; the canary starts."))
        }
    };
    (false, reason, text::clean(&format!("{reason}: {body}"), MAX_MESSAGE))
}

/// The runs of a CronJob, the new image's and the old one's, with what shows in them.
fn runs_observed(counts: &str, suspicion: Option<&Cause>) -> String {
    match (suspicion, counts.split_once("; ")) {
        (None, _) => counts.to_owned(),
        // The cause has the same count, and how they ended.
        (Some(cause), Some((_, old))) if cause.reason == Reason::RunsFailed => {
            format!("{}; {old}", cause.sentence)
        }
        (Some(cause), _) => format!("{counts}, {}", cause.sentence),
    }
}

/// What the native controller does while nothing is held: pods have passed only where a canary came first.
fn replacing(run: &Run) -> &'static str {
    match (run.workload.kind, run.canary) {
        (Kind::DaemonSet, _) => {
            "the native controller replaces pods one node at a time; each new pod is watched, none is decided yet"
        }
        (_, true) => "the new pods passed; the native controller replaces the rest",
        (_, false) => "the native controller replaces the pods, without a canary; each new one is watched",
    }
}

/// How the tags of a track are looked at.
fn listing(facts: &Facts, track: &Track) -> Option<String> {
    match &facts.seen.repositories.get(&track.repository)?.scan {
        Answer::Found(scan) => Some(match facts.mirror(track) {
            Some(_) => format!("of {}: {}", facts.asked(track), scan.habit.sentence()),
            None => scan.habit.sentence(),
        }),
        Answer::Absent | Answer::Unknown(_) => None,
    }
}

fn candidate(one: &Assessed) -> CandidateReport {
    let (verdict, code, until) = match one.blocking() {
        None => ("Pass", Reason::Resolved.code(), None),
        Some((_, verdict)) => {
            let until = match verdict.word {
                Word::Waiting(until) => Some(until),
                Word::Pass | Word::Fail | Word::Absent | Word::Unknown | Word::Skipped => None,
            };
            (word(verdict.word), verdict.reason.code(), until)
        }
    };
    CandidateReport {
        tag: one.tag.to_string(),
        digest: one.digest.as_ref().map(ToString::to_string),
        verdict,
        code,
        until,
    }
}

fn word(word: Word) -> &'static str {
    match word {
        Word::Pass => "Pass",
        Word::Fail => "Fail",
        Word::Absent => "Absent",
        Word::Unknown => "Unknown",
        Word::Waiting(_) => "Waiting",
        Word::Skipped => "Skipped",
    }
}

fn layers(candidates: &[Assessed]) -> Vec<(String, String)> {
    candidates.first().map_or_else(Vec::new, |best| {
        best.verdicts
            .iter()
            .map(|(layer, verdict)| {
                let words = papers::layer_word(word(verdict.word), verdict);
                (layer.name().to_owned(), words)
            })
            .collect()
    })
}

fn candidate_line(one: &Assessed) -> String {
    let passed: Vec<String> = one
        .verdicts
        .iter()
        .filter(|(_, verdict)| verdict.passes())
        .map(|(layer, _)| layer.name().to_lowercase())
        .collect();
    let passed = if passed.is_empty() { String::new() } else { format!(" Passed: {}.", passed.join(", ")) };
    let passed = format!("{passed}{}", papers::notes(one));
    match one.blocking() {
        None => format!("{} passes.{passed}", one.tag),
        Some((layer, verdict)) => match verdict.word {
            Word::Waiting(until) => format!(
                "{} waits: {} until {}.{passed}",
                one.tag,
                layer.name().to_lowercase(),
                text::instant_seconds(until)
            ),
            Word::Pass | Word::Fail | Word::Absent | Word::Unknown | Word::Skipped => format!(
                "{} refused by {}: {}, {}.{passed}",
                one.tag,
                layer.name().to_lowercase(),
                verdict.reason,
                verdict.observed
            ),
        },
    }
}
