//! Runs that wait for a person's yes: where `approval.mode` is Manual, a run is recorded and begins when it was approved.
//!
//! Who may approve is the apiserver's matter (the chart's ValidatingAdmissionPolicy); here an approval counts for the one run
//! that it was given to. A run whose candidate was overtaken ends, and its approval with it.

use crate::decide::Decision;
use crate::gate::Word;
use crate::policy::{Approval, Facts};
use crate::reason::Reason;
use crate::rollout::Run;
use crate::text;

/// Whether a run still waits for its approval.
#[must_use]
pub fn awaited(run: &Run) -> bool {
    run.settings.approval == Approval::Manual && run.levers.approval.is_none()
}

/// The sentence of a run that waits: who may approve it, and how.
#[must_use]
pub fn sentence(run: &Run) -> String {
    let (name, space) = (&run.name, &run.workload.namespace);
    format!(
        "expected somebody's approval of run {name}, observed none since {}. Whoever holds the verb approve on updateruns.rollforward.dev in namespace {space}: kubectl rollforward approve {name} -n {space}",
        text::instant_seconds(run.created_at)
    )
}

/// Why a run that has not begun is not the one to approve any more: another candidate passes now, or its own is refused.
#[must_use]
pub fn overtaken(facts: &Facts, decision: &Decision, run: &Run) -> Option<(Reason, String)> {
    let assessment = &decision.assessment;
    let index = assessment
        .chosen
        .iter()
        .position(|chosen| facts.seen.tracks.get(chosen.track).is_some_and(|track| track.key == run.track))?;
    let candidates = assessment.candidates.get(index)?;
    let passing = candidates.iter().find(|candidate| candidate.blocking().is_none());
    if let Some(better) = passing {
        let other = better.digest.as_ref().is_some_and(|digest| *digest != run.to_digest);
        return other.then(|| {
            let message = format!(
                "{} passes now; its own run is opened, an approval of {} does not count for it",
                better.tag, run.to_tag
            );
            (Reason::Superseded, message)
        });
    }
    let own = candidates.iter().find(|candidate| candidate.tag == run.to_tag)?;
    let (_, verdict) = own.blocking()?;
    let refused = match verdict.word {
        Word::Fail | Word::Absent | Word::Waiting(_) => true,
        Word::Pass | Word::Unknown | Word::Skipped => false,
    };
    refused.then(|| (verdict.reason, format!("{} does not pass any more: {}", run.to_tag, verdict.observed)))
}
