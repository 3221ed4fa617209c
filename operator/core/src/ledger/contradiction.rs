//! What was once claimed of a digest against the name under which it was offered. Remembered, so that whoever can take a
//! signature out of a registry does not let through by it what the signature stopped.
//!
//! Only claims of named authorities get here, and what a label below their signature says. What follows from a claim under
//! another tag or another `versionBinding` is judged anew: `gate/binding.rs`.

use jiff::Timestamp;

use super::Ledger;
use crate::image::{Digest, Tag};
use crate::reason::Reason;
use crate::text;

/// How many contradictions are remembered of a repository in a namespace.
pub const MAX_CONTRADICTIONS: usize = 64;
/// How many characters of a claim are kept: `refs/tags/` and the longest tag fit.
const MAX_CLAIM: usize = 160;

/// Where a claim was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClaimedBy {
    /// The ref of a certificate.
    Certificate,
    /// An annotation of a signature.
    Signature,
    /// The ref of a provenance.
    Provenance,
    /// A label of the image, below a signature.
    Label,
    /// The repository that a signature names.
    Reference,
}

impl ClaimedBy {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Certificate, Self::Signature, Self::Provenance, Self::Label, Self::Reference];

    /// The name, as sentences and the stored ledger have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ClaimedBy::Certificate => "certificate",
            ClaimedBy::Signature => "signature",
            ClaimedBy::Provenance => "provenance",
            ClaimedBy::Label => "label",
            ClaimedBy::Reference => "docker-reference",
        }
    }

    /// Whether the claim is a Git ref and not a version.
    #[must_use]
    pub fn is_ref(self) -> bool {
        match self {
            ClaimedBy::Certificate | ClaimedBy::Provenance => true,
            ClaimedBy::Signature | ClaimedBy::Label | ClaimedBy::Reference => false,
        }
    }
}

/// A claim that speaks against a name, and of what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// The digest.
    pub digest: Digest,
    /// The tag under which it was offered when the claim was read.
    pub tag: Tag,
    /// Where it was found.
    pub by: ClaimedBy,
    /// What it says, cleaned and cut.
    pub text: String,
}

impl Claim {
    /// A claim as it is kept.
    #[must_use]
    pub fn new(digest: &Digest, tag: &Tag, by: ClaimedBy, said: &str) -> Self {
        Self { digest: digest.clone(), tag: tag.clone(), by, text: text::clean(said, MAX_CLAIM) }
    }
}

/// What a claim led to, and since when this operator knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contradicted {
    /// `VersionMismatch`, `BranchBuild` or `RepositoryMismatch`.
    pub reason: Reason,
    /// When it was first read here.
    pub first_seen: Timestamp,
}

impl Ledger {
    /// Remembers that a claim contradicted a name. The first reading keeps its time.
    pub fn contradicted(&mut self, claim: Claim, reason: Reason, now: Timestamp) {
        self.contradictions.entry(claim).or_insert(Contradicted { reason, first_seen: now });
        self.bound_contradictions();
    }

    /// What is remembered against a digest, the first reading first.
    #[must_use]
    pub fn against(&self, digest: &Digest) -> Vec<(&Claim, &Contradicted)> {
        let mut against: Vec<_> =
            self.contradictions.iter().filter(|(claim, _)| claim.digest == *digest).collect();
        against.sort_by_key(|(_, contradicted)| contradicted.first_seen);
        against
    }

    /// Those whose tag names something else by now, or is forgotten, go first; then the oldest.
    pub(super) fn bound_contradictions(&mut self) {
        while MAX_CONTRADICTIONS < self.contradictions.len() {
            let is_named = |claim: &Claim| {
                let last = self.tags.get(&claim.tag).and_then(|seen| seen.last());
                last.is_some_and(|last| last.digest == claim.digest)
            };
            let first = self
                .contradictions
                .iter()
                .min_by_key(|(claim, contradicted)| (is_named(claim), contradicted.first_seen))
                .map(|(claim, _)| claim.clone());
            first.and_then(|claim| self.contradictions.remove(&claim));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's row that does not parse is the failure")]
mod tests {
    use super::*;
    use crate::image::Repository;

    fn digest(number: usize) -> Digest {
        Digest::parse(&format!("sha256:{number:064x}")).unwrap()
    }
    fn tag(number: usize) -> Tag {
        Tag::parse(&format!("1.0.{number}")).unwrap()
    }
    fn at(second: usize) -> Timestamp {
        Timestamp::from_second(i64::try_from(second).unwrap()).unwrap()
    }
    fn claim(number: usize, text: &str) -> Claim {
        Claim::new(&digest(number), &tag(number), ClaimedBy::Certificate, text)
    }

    #[test]
    fn a_contradiction_is_remembered_once_with_its_first_time_cleaned_and_until_it_is_released() {
        let mut ledger = Ledger::new(Repository::parse("ghcr.io/acme/web").unwrap());
        let hostile = format!("refs/heads/\u{1b}[31m{}", "x".repeat(5_000));
        for second in [10, 20] {
            ledger.contradicted(claim(1, "refs/tags/v0.9.0"), Reason::VersionMismatch, at(second));
            ledger.contradicted(claim(1, &hostile), Reason::BranchBuild, at(second + 1));
            ledger.contradicted(claim(2, "refs/tags/v0.9.0"), Reason::VersionMismatch, at(second));
        }
        let against: Vec<_> = ledger
            .against(&digest(1))
            .iter()
            .map(|(claim, known)| (claim.text.len(), known.first_seen))
            .collect();
        assert_eq!(against.len(), 2, "{against:?}");
        assert_eq!(against.first(), Some(&(16, at(10))));
        assert!(against.iter().all(|(length, _)| *length < 200), "{against:?}");
        assert!(ledger.contradictions.keys().all(|claim| !claim.text.contains('\u{1b}')));
        ledger.release(None);
        assert_eq!(ledger.contradictions.len(), 3, "what a check refused is released by name alone");
        ledger.release(Some(&digest(1)));
        assert!(ledger.against(&digest(1)).is_empty() && ledger.against(&digest(2)).len() == 1);
    }

    #[test]
    fn the_oldest_go_first_but_none_before_those_whose_tag_moved_on() {
        let mut ledger = Ledger::new(Repository::parse("ghcr.io/acme/web").unwrap());
        for number in 0..MAX_CONTRADICTIONS {
            ledger.saw(&tag(number), &digest(number), at(number));
            ledger.contradicted(claim(number, "refs/tags/v0.9.0"), Reason::VersionMismatch, at(number));
        }
        ledger.saw(&tag(7), &digest(900), at(900));
        ledger.contradicted(claim(1_000, "refs/tags/v0.9.0"), Reason::VersionMismatch, at(1_000));
        assert_eq!(ledger.contradictions.len(), MAX_CONTRADICTIONS);
        assert!(ledger.against(&digest(7)).is_empty() && !ledger.against(&digest(0)).is_empty());
        ledger.saw(&tag(1_000), &digest(1_000), at(1_000));
        ledger.saw(&tag(1_001), &digest(1_001), at(1_001));
        ledger.contradicted(claim(1_001, "refs/tags/v0.9.0"), Reason::VersionMismatch, at(1_001));
        assert!(ledger.against(&digest(0)).is_empty() && !ledger.against(&digest(1)).is_empty());
    }
}
