//! What is said of verification: a security check that said no, what only advises, what a person lifted, and what runs and is not
//! verified any more.

use jiff::SignedDuration;

use crate::current::Current;
use crate::decide::{Course, Hold};
use crate::gate::{self, Assessed, Layer, Verdict, Word, signature};
use crate::policy::Facts;
use crate::reason::Reason;
use crate::report::track::Line;
use crate::text;
use crate::trust::{Effective, Origin};

/// The layers that are told in one line where they pass.
const SHORT: usize = 60;

impl Line<'_> {
    /// The security check that refuses the candidate which is held.
    pub(super) fn refusal(&self) -> Option<(&Assessed, Layer, &Verdict)> {
        let Course::Hold(hold) = self.course else { return None };
        let best = self.candidates.first()?;
        let (layer, verdict) = best.blocking()?;
        let says_no = matches!(verdict.word, Word::Fail | Word::Absent | Word::Unknown);
        // A version that a person went back from is in the ledger too, and is no matter of security.
        let is_security = layer.is_security() && verdict.reason != Reason::HumanRollback;
        (says_no && is_security && verdict.reason == hold.reason).then_some((best, layer, verdict))
    }

    /// When what is missing to the candidate that is held, or to what runs, is looked for again: a signature, or a statement.
    pub(super) fn looked_for_again_after(&self, facts: &Facts) -> Option<SignedDuration> {
        let running = self.running.and_then(|running| {
            let (layer, verdict) = running.blocking()?;
            Some((running, layer, verdict))
        });
        let lacking = self.refusal().into_iter().chain(running).filter(|(_, layer, verdict)| {
            gate::lacks_evidence(*layer, verdict)
                && matches!(verdict.word, Word::Fail | Word::Absent)
                // What wakes then is the ConfigMap or the trust root, and no look at the registry.
                && !signature::is_unusable(verdict.reason)
        });
        let ledger = &facts.seen.repositories.get(&self.track.repository)?.ledger;
        let waits = lacking.filter_map(|(lacking, _, _)| {
            let first_seen = ledger.first_seen(&lacking.tag, lacking.digest.as_ref()?);
            let known_for = facts.now.duration_since(first_seen.unwrap_or(facts.now));
            Some(signature::looked_for_again_after(known_for))
        });
        waits.min()
    }

    /// The sentence of a refusal, with the layer that refuses in the place of the tag, which the image names anyway.
    pub(super) fn named_layer(&self, hold: &Hold, sentence: String) -> String {
        let Some((candidate, layer, _)) = self.refusal() else { return sentence };
        let subject = format!("{}: {} for ", hold.reason, candidate.tag);
        let named = format!("{}: refused by the {} layer for ", hold.reason, layer.name().to_lowercase());
        sentence.replacen(&subject, &named, 1)
    }

    /// What the papers of the running digest lack. Silence is not a lack.
    pub(super) fn unverified(&self) -> Option<(&Assessed, &Verdict)> {
        let running = self.running?;
        let (_, verdict) = running.blocking()?;
        matches!(verdict.word, Word::Fail | Word::Absent).then_some((running, verdict))
    }

    /// The code and the sentence of what runs and is not verified any more; where the means to verify it are gone, theirs: that says
    /// nothing of the image, and who mends it is somebody else.
    pub(super) fn unverified_sentence(&self) -> Option<(Reason, String)> {
        let (running, verdict) = self.unverified()?;
        if signature::is_unusable(verdict.reason) {
            return Some((verdict.reason, self.unverifiable_sentence(running, verdict)));
        }
        let reason = Reason::RunningImageNoLongerVerified;
        let body = format!(
            "{}: expected {}, observed {} ({}). {} Nothing is rolled back by this. {}",
            self.named_running(running),
            verdict.expected,
            verdict.observed,
            verdict.reason,
            self.affected(),
            verdict.hint.replace("No pod was started. ", ""),
        );
        Some((reason, super::message(reason, &body)))
    }

    /// What runs could be good or not: the key or root that would tell is not there.
    fn unverifiable_sentence(&self, running: &Assessed, verdict: &Verdict) -> String {
        let body = format!(
            "{} runs and cannot be verified: expected {}, observed {}. {} Nothing is said against the image, and nothing is rolled back by this. {}",
            self.named_running(running),
            verdict.expected,
            verdict.observed,
            self.affected(),
            verdict.hint,
        );
        super::message(verdict.reason, &body)
    }

    /// `1.0.0 for ghcr.io/acme/web:1.0.0@3b1f9c2a`.
    fn named_running(&self, running: &Assessed) -> String {
        let short = running.digest.as_ref().map_or("", |digest| digest.short());
        let repository = &self.track.repository;
        match self.chosen.current.as_ref().and_then(Current::named) {
            Some(_) => format!("{tag} for {repository}:{tag}@{short}", tag = running.tag),
            None => format!("an untagged image for {repository}@{short}"),
        }
    }

    fn affected(&self) -> String {
        let workload = &self.track.workload;
        format!(
            "Affected: {}/{}, {} of {} pods.",
            workload.id.kind, workload.id.name, workload.available_replicas, workload.replicas
        )
    }

    /// Whether what runs is verified, as the end of a sentence.
    pub(super) fn verified_word(&self) -> String {
        let Some(running) = self.running else { return String::new() };
        match running.blocking() {
            None => "; still verified".to_owned(),
            Some((_, verdict)) => match verdict.word {
                Word::Fail | Word::Absent if signature::is_unusable(verdict.reason) => {
                    format!("; cannot be verified ({})", verdict.reason)
                }
                Word::Fail | Word::Absent => "; not verified any more".to_owned(),
                // Without what was observed: the words of silence change from try to try, and a status is not written for that.
                Word::Unknown => format!(
                    "; not known whether it is still verified ({}: expected {})",
                    verdict.reason, verdict.expected
                ),
                Word::Pass | Word::Waiting(_) | Word::Skipped => String::new(),
            },
        }
    }

    /// The trust ledger of the best candidate, where signatures are asked for.
    pub(super) fn score_line(&self) -> Option<String> {
        let best = self.candidates.first()?;
        let asked = best.verdicts.iter().any(|(layer, _)| *layer == Layer::Signature);
        let score = best.score.as_ref().filter(|_| asked && self.run.is_none())?;
        Some(format!("Trust ledger of {}: {}.", best.tag, score.line()))
    }

    /// A security check that said no: who said what, where it looked, what to do.
    pub(super) fn refusal_lines(&self, facts: &Facts) -> Vec<String> {
        let Some((candidate, layer, verdict)) = self.refusal() else { return Vec::new() };
        let workload = &self.track.workload;
        let unmade = verdict.word == Word::Unknown || signature::is_unusable(verdict.reason);
        let said = if unmade { "could not be made" } else { "said no" };
        let mut lines = vec![format!(
            "A security check {said}; the application is not at fault and keeps running on {} ({} of {} pods).",
            self.current_tag(),
            workload.available_replicas,
            workload.replicas
        )];
        let (told, passed): (Vec<_>, Vec<_>) = candidate
            .verdicts
            .iter()
            .partition(|(_, verdict)| !verdict.passes() || SHORT < verdict.observed.len());
        lines.extend(told.iter().take(6).map(|(layer, verdict)| told_line(*layer, verdict)));
        let passed: Vec<String> = passed.iter().map(|(layer, _)| layer.name().to_lowercase()).collect();
        if !passed.is_empty() {
            lines.push(format!("Passed: {}.", passed.join(", ")));
        }
        if !candidate.looked_in.is_empty() {
            lines.push(format!("Looked in: {}.", candidate.looked_in));
        }
        let decisions = Effective::of(facts, self.track).decisions;
        // The ledger is asked for by nobody: it always is.
        let is_own = layer != Layer::Ledger
            && decisions.iter().all(|decision| decision.origin == Origin::UpdatePolicy);
        lines.push(todo(facts, candidate, layer, verdict, is_own));
        lines
    }
}

/// `Signature: FAIL; 2 found: …`.
fn told_line(layer: Layer, verdict: &Verdict) -> String {
    let word = match verdict.word {
        Word::Pass => "pass".to_owned(),
        Word::Fail => "FAIL".to_owned(),
        Word::Absent => "absent".to_owned(),
        Word::Unknown => "unknown".to_owned(),
        Word::Waiting(until) => format!("waits until {}", text::instant(until)),
        Word::Skipped => "nothing to look at".to_owned(),
    };
    let observed =
        if verdict.observed.is_empty() { String::new() } else { format!("; {}", verdict.observed) };
    let lifted = verdict.lifted.as_ref().map_or(String::new(), |lifted| format!("; lifted by {lifted}"));
    let advises = if verdict.lets_through()
        && !verdict.passes()
        && verdict.lifted.is_none()
        && verdict.word != Word::Skipped
    {
        "; advisory"
    } else {
        ""
    };
    format!("{}: {word}{observed}{lifted}{advises}.", layer.name())
}

fn todo(facts: &Facts, candidate: &Assessed, layer: Layer, verdict: &Verdict, is_own: bool) -> String {
    let hint = verdict.hint.replace("No pod was started. ", "");
    let hint = hint.trim_end_matches('.');
    let name = &facts.policy.id.name;
    let look = format!("seen by itself, or at once: kubectl rollforward check {name}");
    let digest = candidate.digest.as_ref().map_or_else(String::new, ToString::to_string);
    if is_own {
        return format!("To do: {hint} ({look}). Only this policy's own `verification` asks for it.");
    }
    if layer == Layer::Reference || digest.is_empty() {
        return format!("To do: {hint} ({look}).");
    }
    format!(
        "To do: {hint} ({look}). In an emergency the security team may create a VerificationException (at most 72h) for {digest}, layer {}.",
        layer.name()
    )
}

/// What does not stop a candidate and is said all the same.
pub(super) fn notes(candidate: &Assessed) -> String {
    let lifted = candidate.verdicts.iter().filter_map(|(layer, verdict)| {
        let lifted = verdict.lifted.as_ref()?;
        Some(format!(" {} {} is lifted by {lifted}.", layer.name(), verdict.reason))
    });
    let advises = candidate.verdicts.iter().filter(|(_, verdict)| {
        verdict.lifted.is_none()
            && verdict.lets_through()
            && !matches!(verdict.word, Word::Pass | Word::Skipped)
    });
    let advises = advises.map(|(_, verdict)| format!(" Advisory: {}, {}.", verdict.reason, verdict.observed));
    lifted.chain(advises).collect()
}

/// What a layer says, as the status shows it.
pub(super) fn layer_word(word: &str, verdict: &Verdict) -> String {
    let said = match verdict.word {
        Word::Pass | Word::Skipped => word.to_owned(),
        Word::Fail | Word::Absent | Word::Unknown | Word::Waiting(_) => format!("{word} {}", verdict.reason),
    };
    match &verdict.lifted {
        Some(lifted) => text::clean(&format!("{said} (lifted by {lifted})"), 200),
        None if verdict.lets_through() && !matches!(verdict.word, Word::Pass | Word::Skipped) => {
            format!("{said} (advisory)")
        }
        None => said,
    }
}
