//! Whether anybody decided what to trust. Without a decision nothing moves: silence is not consent.

use crate::gate::{Verdict, Word};
use crate::policy::Trust;
use crate::reason::Reason;

/// Passes where the policy says what it trusts.
pub fn judge(trust: Option<&Trust>) -> Verdict {
    match trust {
        Some(Trust { soak_unsigned: _ }) => Verdict::new(
            Word::Pass,
            Reason::UnsignedAllowed,
            "a trust decision",
            "unsigned images are allowed",
        ),
        None => Verdict::new(
            Word::Fail,
            Reason::NoTrustDecision,
            "a decision what to trust",
            "none: neither signatures are demanded nor unsigned images allowed",
        )
        .hint("Write `verification: {unsigned: Allow}` into the policy."),
    }
}
