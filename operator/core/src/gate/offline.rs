//! The layers that a digest can be judged by without a cluster: no ledger, no nodes, nothing that runs.
//!
//! For `rollforward verify`, with the same functions as a pass. What these layers cannot know (soak, drift, what failed here)
//! is not said to pass: it is not said at all.

use jiff::Timestamp;

use crate::gate::{
    Layer, Subject, Verdict, Word, binding, lift, log, provenance, reference, resolved, signature, trust,
};
use crate::reason::Reason;
use crate::trust::{Demand, Effective, Exception};

/// The layers that need a cluster: its memory, its nodes, what runs there.
pub const ELSEWHERE: [Layer; 6] =
    [Layer::Platform, Layer::Ledger, Layer::Drift, Layer::Quarantine, Layer::Soak, Layer::Score];

/// What the layers say, in their order. Without a tag nothing can contradict a version: `has_tag` is false.
#[must_use]
pub fn judge(
    subject: &Subject<'_>,
    effective: &Effective<'_>,
    exceptions: &[Exception],
    has_tag: bool,
    now: Timestamp,
) -> Vec<(Layer, Verdict)> {
    let all = [
        (Layer::Reference, reference::judge(subject, effective)),
        (Layer::Trust, Some(trust::judge(effective))),
        (Layer::Digest, Some(resolved::judge(subject))),
        (Layer::Signature, signature::judge(subject, effective, now)),
        (Layer::Binding, binding::judge(subject, effective, has_tag, now)),
        (Layer::Log, log::judge(subject, effective, now)),
        (Layer::Provenance, provenance::judge(subject, effective, now)),
        (Layer::Sbom, provenance::sbom(subject, effective, now)),
    ];
    let said = all.into_iter().filter_map(|(layer, verdict)| Some((layer, verdict?)));
    let mut verdicts: Vec<_> = said.filter(|(_, verdict)| verdict.demand != Demand::Off).collect();
    lift(exceptions, subject.digest, &mut verdicts, now);
    verdicts
}

/// What they say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that is required passes.
    Verified,
    /// Something that is required is refused or not there.
    Refused,
    /// Nothing is refused, and something that is required could not be asked.
    Unknown,
}

/// The outcome of verdicts. A refusal counts for more than silence: asking again does not change it.
#[must_use]
pub fn outcome(verdicts: &[(Layer, Verdict)]) -> Outcome {
    let mut outcome = Outcome::Verified;
    for (_, verdict) in verdicts.iter().filter(|(_, verdict)| !verdict.lets_through()) {
        match verdict.word {
            // Without its key or root nothing is known of the image; an expired root was asked, and refuses.
            Word::Fail
                if signature::is_unusable(verdict.reason) && verdict.reason != Reason::TrustRootExpired =>
            {
                outcome = Outcome::Unknown;
            }
            Word::Fail | Word::Absent => return Outcome::Refused,
            Word::Unknown | Word::Waiting(_) => outcome = Outcome::Unknown,
            // It had nothing to look at, because a layer before it was not satisfied: that one counts.
            Word::Skipped | Word::Pass => {}
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_counts_for_more_than_silence_and_silence_is_no_pass() {
        let say = |words: &[(Word, Demand)]| {
            let verdict = |(word, demand): &(Word, Demand)| {
                (Layer::Signature, Verdict::new(*word, Reason::SignatureAbsent, "", "").demanded(*demand))
            };
            outcome(&words.iter().map(verdict).collect::<Vec<_>>())
        };
        let (required, advisory) = (Demand::Required, Demand::Advisory);
        assert_eq!(say(&[(Word::Pass, required), (Word::Fail, advisory)]), Outcome::Verified);
        assert_eq!(say(&[(Word::Unknown, required), (Word::Pass, required)]), Outcome::Unknown);
        assert_eq!(say(&[(Word::Unknown, required), (Word::Absent, required)]), Outcome::Refused);
        assert_eq!(say(&[(Word::Unknown, advisory)]), Outcome::Verified);
        let gone = |reason: Reason| {
            outcome(&[(Layer::Signature, Verdict::new(Word::Fail, reason, "", "").demanded(required))])
        };
        assert_eq!(gone(Reason::AuthorityUnreadable), Outcome::Unknown);
        assert_eq!(gone(Reason::TrustRootMissing), Outcome::Unknown);
        assert_eq!(gone(Reason::TrustRootExpired), Outcome::Refused);
    }
}
