//! Whether anybody decided what to trust. Without a decision nothing moves: silence is not consent.

use crate::gate::{Verdict, Word};
use crate::reason::Reason;
use crate::trust::Effective;

/// Passes where somebody says what is trusted.
pub fn judge(effective: &Effective<'_>) -> Verdict {
    let expected = "a trust decision";
    if !effective.speaks() {
        return Verdict::new(
            Word::Fail,
            Reason::NoTrustDecision,
            "a decision what to trust",
            "none: neither signatures are demanded nor unsigned images allowed",
        )
        .hint("Write `verification: {unsigned: Allow}` into the policy, or create a VerificationPolicy.");
    }
    if effective.allows_unsigned() && !effective.has_authorities() {
        return Verdict::new(Word::Pass, Reason::UnsignedAllowed, expected, "unsigned images are allowed");
    }
    let origins: Vec<String> =
        effective.decisions.iter().map(|decision| decision.origin.to_string()).collect();
    Verdict::new(Word::Pass, Reason::TrustDecided, expected, origins.join(", "))
}
