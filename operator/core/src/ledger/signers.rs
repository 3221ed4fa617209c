//! Who signed before: the identities that vouched for what runs or ran here. The trust ledger asks it whether all who signed a
//! candidate are new (`trust/score.rs`); how an identity is told: `trust/signers.rs`.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::Ledger;

/// How many identities are remembered of a repository; those last used go first.
pub const MAX_SIGNERS: usize = 16;
/// How exactly their last use is known: finer, and a policy at rest would write.
const LAST_USED_TO: SignedDuration = SignedDuration::from_hours(24);

/// Since when an identity is known to have signed what runs, and when it last did, to the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownSigner {
    /// When this operator first saw something run that it signed.
    pub first_seen: Timestamp,
    /// When it last did.
    pub last_used: Timestamp,
}

impl Ledger {
    /// Records who vouches for what runs.
    pub fn vouched(&mut self, identities: &BTreeSet<String>, now: Timestamp) {
        let is_recent = |known: &KnownSigner| now.duration_since(known.last_used) < LAST_USED_TO;
        if identities.iter().all(|one| self.signers.get(one).is_some_and(is_recent)) {
            return;
        }
        for identity in identities {
            let new = KnownSigner { first_seen: now, last_used: now };
            let known = self.signers.entry(identity.clone()).or_insert(new);
            known.last_used = known.last_used.max(now);
        }
        self.bound_signers();
    }

    /// Whether none of those who vouch for a candidate ever signed what ran here. Nobody is new where nobody is known.
    #[must_use]
    pub fn are_new(&self, identities: &BTreeSet<String>) -> bool {
        !identities.is_empty()
            && !self.signers.is_empty()
            && identities.iter().all(|one| !self.signers.contains_key(one))
    }

    pub(super) fn bound_signers(&mut self) {
        while MAX_SIGNERS < self.signers.len() {
            let oldest = self
                .signers
                .iter()
                .min_by_key(|(_, known)| (known.last_used, known.first_seen))
                .map(|(identity, _)| identity.clone());
            oldest.and_then(|identity| self.signers.remove(&identity));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's row that does not parse is the failure")]
mod tests {
    use super::*;
    use crate::image::Repository;

    fn ledger() -> Ledger {
        Ledger::new(Repository::parse("ghcr.io/acme/web").unwrap())
    }
    fn hour(hour: i64) -> Timestamp {
        Timestamp::from_second(hour.saturating_mul(3600)).unwrap()
    }
    fn of(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn nobody_is_new_where_nobody_is_known_and_one_who_is_known_suffices() {
        let mut ledger = ledger();
        assert!(!ledger.are_new(&of(&["b"])));
        ledger.vouched(&of(&["a"]), hour(0));
        assert!(ledger.are_new(&of(&["b", "c"])));
        assert!(!ledger.are_new(&of(&["a", "b"])));
        assert!(!ledger.are_new(&of(&[])), "the unsigned have no identity");
    }

    #[test]
    fn a_use_is_noted_once_a_day_and_the_one_that_was_used_longest_ago_is_forgotten() {
        let mut ledger = ledger();
        ledger.vouched(&of(&["old", "used"]), hour(0));
        let before = ledger.clone();
        ledger.vouched(&of(&["used"]), hour(23));
        assert_eq!(ledger, before, "nothing to write");
        ledger.vouched(&of(&["used"]), hour(24));
        let used = ledger.signers.get("used").unwrap();
        assert_eq!((used.first_seen, used.last_used), (hour(0), hour(24)));
        for number in 0..15 {
            ledger.vouched(&of(&[&format!("new {number}")]), hour(30 + number));
        }
        assert_eq!(ledger.signers.len(), MAX_SIGNERS);
        assert!(!ledger.signers.contains_key("old") && ledger.signers.contains_key("used"));
    }
}
