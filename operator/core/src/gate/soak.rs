//! Whether a digest has been known for long enough to be trusted: time is the one witness that a builder cannot bribe.
//!
//! The clock is our own first sighting, kept in the ledger; an image's `created` field is written by whoever builds it.

use jiff::{SignedDuration, Timestamp};

use crate::gate::{Subject, Verdict, Word};
use crate::reason::Reason;
use crate::text;
use crate::trust::{Effective, Origin};

/// How far a first-seen time may lie in the future before the clock is doubted.
///
/// 5 s: two nodes kept by NTP differ by milliseconds; whole seconds mean a broken clock, and a soak measured with it
/// would be wrong by as much.
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// Passes where the digest was first seen long enough ago.
///
/// `Waiting` carries the moment at which the answer changes, so that the caller looks again exactly then. `Unknown` if the
/// sighting lies more than [`CLOCK_TOLERANCE`] ahead: the layer does not guess which of two clocks is right.
pub fn judge(subject: &Subject<'_>, effective: &Effective<'_>, signed: bool, now: Timestamp) -> Verdict {
    let first_seen = subject.digest.and_then(|digest| subject.ledger.first_seen(subject.tag, digest));
    let Some(first_seen) = first_seen.filter(|_| effective.speaks()) else {
        return Verdict::skipped(Reason::Soaking);
    };
    let required = effective.soak(signed);
    let age = now.duration_since(first_seen);
    let expected = format!("{} since first seen", text::span(required));
    let observed = format!("first sighting {}", text::instant(first_seen));
    if age < -CLOCK_TOLERANCE {
        return Verdict::new(
            Word::Unknown,
            Reason::ClockBehind,
            "a first sighting in the past",
            format!("{observed}, which is ahead of this operator's clock"),
        )
        .hint("Check the clocks of the nodes.");
    }
    if required <= age {
        return Verdict::new(Word::Pass, Reason::SoakDone, expected, observed);
    }
    // `required` comes from the user: the sum may lie beyond the last representable time.
    let until = first_seen.checked_add(required).unwrap_or(Timestamp::MAX);
    Verdict::new(Word::Waiting(until), Reason::Soaking, expected, observed).hint(sooner(effective, signed))
}

/// Who can make it shorter: the policy's author where the wish is theirs alone, else the security team, for one digest.
fn sooner(effective: &Effective<'_>, signed: bool) -> &'static str {
    let own = effective.decisions.iter().all(|decision| decision.origin == Origin::UpdatePolicy);
    match (own, signed) {
        (true, false) => "Nothing to do; to go sooner shorten `verification.soak.unsigned`.",
        (true, true) => "Nothing to do; to go sooner shorten `verification.soak.routine`.",
        (false, _) => "Nothing to do; to go sooner create a VerificationException for layer Soak.",
    }
}
