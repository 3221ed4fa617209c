//! How large a ledger is once it is stored, and what is forgotten where that is too much: the oldest tags, then the digests that
//! tags named before. What must not be forgotten stays, and is bounded by its number alone: failures, claims, signers, tracks.

use super::{Failure, Ledger, MAX_TAGS, Sighting, WorkloadMemory};
use crate::image::Tag;

/// Up to here nothing is forgotten for its size.
///
/// 64 KiB: an object of the apiserver may be 1.5 MiB, but each pass that learns something writes the whole ledger.
pub const MAX_BYTES: usize = 64 << 10;
/// So many tags stay, whatever else there is: one that is forgotten while it is offered would begin its soak anew.
pub const MIN_TAGS: usize = 64;
const _: () = assert!(MIN_TAGS < MAX_TAGS, "the size can still take tags");

/// What a digest takes, with quotes.
const DIGEST: usize = 73;
/// What an instant takes, with quotes.
const INSTANT: usize = 22;

impl Ledger {
    /// At least what its stored form takes, in bytes of JSON.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let tags = self.tags.iter().map(|(tag, seen)| tag_bytes(tag, seen));
        let failures = self.failures.values().map(failure_bytes);
        let claims = self.contradictions.keys().map(|claim| {
            let words = json(claim.tag.as_str()).saturating_add(json(&claim.text));
            words.saturating_add(DIGEST).saturating_add(INSTANT).saturating_add(128)
        });
        let signers = self.signers.keys().map(|one| json(one).saturating_add(2 * INSTANT).saturating_add(44));
        let workloads = self.workloads.iter().map(|(key, memory)| track_bytes(key, memory));
        let parts = tags.chain(failures).chain(claims).chain(signers).chain(workloads);
        parts.fold(90, usize::saturating_add)
    }

    /// Forgets until it fits, or nothing is left that may be forgotten.
    pub(super) fn fit(&mut self) {
        while MAX_BYTES < self.bytes() && MIN_TAGS < self.tags.len() && self.forget_oldest_tag() {}
        if self.bytes() <= MAX_BYTES {
            return;
        }
        for seen in self.tags.values_mut() {
            let failures = &self.failures;
            let last = seen.last().map(|last| last.digest.clone());
            seen.retain(|one| Some(&one.digest) == last.as_ref() || failures.contains_key(&one.digest));
        }
    }
}

/// A text with what JSON escapes of it, without quotes.
fn json(text: &str) -> usize {
    let escaped = text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
    text.len().saturating_add(escaped)
}

fn sum(parts: impl IntoIterator<Item = usize>) -> usize {
    parts.into_iter().fold(0, usize::saturating_add)
}

fn tag_bytes(tag: &Tag, seen: &[Sighting]) -> usize {
    let digests = seen.len().saturating_mul(DIGEST + INSTANT + 26);
    sum([json(tag.as_str()), digests, 26])
}

fn failure_bytes(failure: &Failure) -> usize {
    let Failure { tag, reason, message, run, earlier_runs, signature, retry_by, .. } = failure;
    let asked = retry_by.as_ref().map_or(0, |asked| sum([json(&asked.by), INSTANT, 30]));
    let words = [tag.as_str(), reason.code(), message, run, signature].map(json);
    let earlier = earlier_runs.iter().map(|run| sum([json(run), 3]));
    sum([sum(words), sum(earlier), asked, DIGEST, 2 * INSTANT, 168])
}

fn track_bytes(key: &str, memory: &WorkloadMemory) -> usize {
    let WorkloadMemory {
        uid,
        completed,
        wrote,
        unseen,
        abandoned,
        reapplied,
        newest_inside,
        newest_outside,
        runs,
    } = memory;
    let tag = |tag: &Tag| json(tag.as_str());
    let newest = [newest_inside, newest_outside];
    let newest = newest.into_iter().flatten().map(|newest| sum([tag(&newest.tag), INSTANT, 46]));
    let tallies = runs.tallies.iter().map(|tally| {
        let exits = tally.exits.keys().map(|exit| sum([json(exit), 32]));
        sum([json(&tally.image), sum(exits), 70])
    });
    sum([
        sum([json(key), json(uid), 30]),
        completed.as_ref().map_or(0, |completed| sum([tag(completed), 16])),
        wrote.as_ref().map_or(0, |wrote| sum([json(wrote), 12])),
        if *unseen { 15 } else { 0 },
        abandoned.as_ref().map_or(0, |left| sum([tag(&left.tag), json(&left.by), INSTANT, 40])),
        reapplied.as_ref().map_or(0, |again| sum([tag(&again.tag), 50])),
        sum(newest),
        sum(tallies),
        sum(runs.counted.iter().map(|uid| sum([json(uid), 3]))),
        44,
    ])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's row that does not parse is the failure")]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::image::{Digest, Repository};
    use crate::ledger::{Claim, ClaimedBy, MAX_DIGESTS_PER_TAG};
    use crate::reason::Reason;

    fn tag(number: usize) -> Tag {
        Tag::parse(&format!("1.0.{number}")).unwrap()
    }
    fn digest(number: usize) -> Digest {
        Digest::parse(&format!("sha256:{number:064x}")).unwrap()
    }
    fn at(second: usize) -> Timestamp {
        Timestamp::from_second(i64::try_from(second).unwrap()).unwrap()
    }

    #[test]
    fn what_is_too_large_forgets_the_oldest_tags_and_none_that_was_contradicted_before_them() {
        let mut ledger = Ledger::new(Repository::parse("ghcr.io/acme/web").unwrap());
        ledger.saw(&tag(0), &digest(0), at(0));
        let claim = Claim::new(&digest(0), &tag(0), ClaimedBy::Certificate, "refs/tags/v0.9.0");
        ledger.contradicted(claim, Reason::VersionMismatch, at(0));
        for number in 1..MAX_TAGS {
            for push in 0..MAX_DIGESTS_PER_TAG {
                let pushed = number.saturating_mul(10).saturating_add(push);
                ledger.saw(&tag(number), &digest(pushed), at(pushed));
                assert!(ledger.bytes() <= MAX_BYTES, "{number}: {}", ledger.bytes());
            }
        }
        assert!(MIN_TAGS < ledger.tags.len() && ledger.tags.len() < MAX_TAGS, "{}", ledger.tags.len());
        assert!(ledger.tags.contains_key(&tag(0)) && !ledger.tags.contains_key(&tag(1)));
        assert!(ledger.tags.contains_key(&tag(MAX_TAGS - 1)));
    }
}
