//! Whose signers answer what a decision asks. An `UpdatePolicy` can only make the others stricter: its own authorities answer for
//! nobody else, and what they signed shortens no soak of others.

use jiff::Timestamp;

use super::signers::Vouch;
use super::{Authority, Decision, Effective, Origin};
use crate::evidence::Attached;

impl Decision {
    /// Whether the `UpdatePolicy` made it itself.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.origin == Origin::UpdatePolicy
    }
}

impl<'a> Effective<'a> {
    /// All authorities that are named.
    #[must_use]
    pub fn authorities(&self) -> Vec<&'a Authority> {
        self.decisions.iter().flat_map(|decision| &decision.authorities).collect()
    }

    /// Those that others than the policy itself name; where there are none, its own.
    #[must_use]
    pub fn of_others(&self) -> Vec<&'a Authority> {
        let others = self.decisions.iter().filter(|decision| !decision.is_own());
        let others: Vec<_> = others.flat_map(|decision| &decision.authorities).collect();
        if others.is_empty() { self.authorities() } else { others }
    }

    /// The authorities whose signatures answer what a decision asks: its own, or those of the others where it names none. What a
    /// policy asks beside authorities of its own anybody answers.
    #[must_use]
    pub fn answering(&self, decision: &'a Decision) -> Vec<&'a Authority> {
        match (decision.authorities.is_empty(), decision.is_own()) {
            (true, _) => self.of_others(),
            (false, true) => self.authorities(),
            (false, false) => decision.authorities.iter().collect(),
        }
    }

    /// What some authorities signed for the digest as such.
    #[must_use]
    pub fn vouching_of(
        &self,
        authorities: &[&'a Authority],
        attached: &'a Attached,
        now: Timestamp,
    ) -> Vec<Vouch<'a>> {
        let words = authorities.iter().filter_map(|authority| self.word_of(authority, attached, now).ok());
        words.flatten().collect()
    }

    /// Whether a digest that is signed counts as signed for a decision: by the policy's own authorities alone it does not for
    /// others that say what to trust.
    #[must_use]
    pub fn is_signed_for(&self, decision: &Decision, signed: bool) -> bool {
        let mut others = self.decisions.iter().filter(|one| !one.is_own()).peekable();
        let speak = others.clone().any(|one| one.speaks());
        signed && (decision.is_own() || !speak || others.any(|one| !one.authorities.is_empty()))
    }
}
