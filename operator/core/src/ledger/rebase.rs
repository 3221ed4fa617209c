//! What a pass changed of a ledger, on top of what is stored by now.
//!
//! A repository's ledger is shared by every policy of the namespace that runs it, and their passes run side by side. Each
//! stores what it changed and nothing else: a quarantine or a first sighting that another pass stored meanwhile stays.

use std::collections::BTreeMap;

use super::{Contradicted, Failure, KnownSigner, Ledger, Sighting};

/// How many failed digests are remembered; those that are still to be retried go first, then the oldest.
pub const MAX_FAILURES: usize = 256;
/// How many tracks are remembered of a repository in a namespace.
pub const MAX_WORKLOADS: usize = 256;

/// The stored ledger with what a pass changed: `base` is what the pass read, `ours` what it made of it.
#[must_use = "the merged ledger is what is stored"]
pub fn rebase(base: &Ledger, ours: &Ledger, stored: &Ledger) -> Ledger {
    let mut merged = Ledger {
        repository: ours.repository.clone(),
        tags: merge(&base.tags, &ours.tags, &stored.tags, |ours, stored| sightings(ours, stored)),
        failures: merge(&base.failures, &ours.failures, &stored.failures, failure),
        contradictions: merge(&base.contradictions, &ours.contradictions, &stored.contradictions, read_first),
        signers: merge(&base.signers, &ours.signers, &stored.signers, known_signer),
        workloads: merge(&base.workloads, &ours.workloads, &stored.workloads, |ours, _| ours.clone()),
    };
    bound(&mut merged, base, ours);
    merged.evict();
    merged
}

/// `stored`, with every entry that `ours` added, changed or removed against `base`; `both` where `stored` changed it too.
fn merge<K: Ord + Clone, V: Clone + PartialEq>(
    base: &BTreeMap<K, V>,
    ours: &BTreeMap<K, V>,
    stored: &BTreeMap<K, V>,
    both: impl Fn(&V, &V) -> V,
) -> BTreeMap<K, V> {
    let mut merged = stored.clone();
    for (key, value) in ours.iter().filter(|(key, value)| base.get(key) != Some(value)) {
        let theirs = stored.get(key).filter(|theirs| base.get(key) != Some(theirs));
        merged.insert(key.clone(), theirs.map_or_else(|| value.clone(), |theirs| both(value, theirs)));
    }
    for (key, value) in base.iter().filter(|(key, _)| !ours.contains_key(key)) {
        if stored.get(key) == Some(value) {
            merged.remove(key);
        }
    }
    merged
}

/// Two passes saw the tag: the first sighting counts where they saw the same.
fn sightings(ours: &[Sighting], stored: &[Sighting]) -> Vec<Sighting> {
    let same = ours.last().map(|seen| &seen.digest) == stored.last().map(|seen| &seen.digest);
    if same { stored.to_vec() } else { ours.to_vec() }
}

/// Runs failed with the digest in both passes: each run counts once, and a quarantine stays.
fn failure(ours: &Failure, stored: &Failure) -> Failure {
    let unknown = ours.runs().filter(|run| !stored.is_of(run));
    let fails = if ours.signature == stored.signature {
        let unknown = u32::try_from(unknown.count()).unwrap_or(u32::MAX);
        ours.fails.max(stored.fails.saturating_add(unknown.min(ours.fails)))
    } else {
        ours.fails.max(stored.fails)
    };
    let quarantined = ours.quarantined || stored.quarantined;
    let retry_at = ours.retry_at.max(stored.retry_at).filter(|_| !quarantined);
    let (older, newest) = if stored.since <= ours.since { (stored, ours) } else { (ours, stored) };
    let before = older.runs().filter(|run| !newest.is_of(run)).chain(&newest.earlier_runs);
    let earlier_runs = Failure::newest(before.cloned().collect());
    Failure { fails, quarantined, retry_at, earlier_runs, ..newest.clone() }
}

/// Two passes read the claim: the first reading counts.
fn read_first(ours: &Contradicted, stored: &Contradicted) -> Contradicted {
    if stored.first_seen <= ours.first_seen { *stored } else { *ours }
}

/// Two passes saw the signer: known since the first sighting, used at the last.
fn known_signer(ours: &KnownSigner, stored: &KnownSigner) -> KnownSigner {
    KnownSigner {
        first_seen: ours.first_seen.min(stored.first_seen),
        last_used: ours.last_used.max(stored.last_used),
    }
}

fn bound(merged: &mut Ledger, base: &Ledger, ours: &Ledger) {
    while MAX_FAILURES < merged.failures.len() {
        let oldest = merged
            .failures
            .iter()
            .min_by_key(|(_, failure)| (failure.quarantined, failure.since))
            .map(|(digest, _)| digest.clone());
        oldest.and_then(|digest| merged.failures.remove(&digest));
    }
    merged.bound_contradictions();
    merged.bound_signers();
    while MAX_WORKLOADS < merged.workloads.len() {
        // The tracks of this pass stay; which others are still there only their own policies know.
        let changed = |key: &String| ours.workloads.get(key) != base.workloads.get(key);
        let other = merged.workloads.keys().find(|key| !changed(key)).cloned();
        let Some(key) = other else { return };
        merged.workloads.remove(&key);
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's row that does not parse is the failure"
)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::image::{Digest, Repository, Tag};
    use crate::ledger::{NewFailure, WorkloadMemory};
    use crate::reason::Reason;

    fn empty() -> Ledger {
        Ledger::new(Repository::parse("ghcr.io/acme/web").unwrap())
    }
    fn digest(number: usize) -> Digest {
        Digest::parse(&format!("sha256:{number:064x}")).unwrap()
    }
    fn tag(text: &str) -> Tag {
        Tag::parse(text).unwrap()
    }
    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }
    fn failed(ledger: &mut Ledger, number: usize, run: &str, deterministic: bool, second: i64) {
        let failure = NewFailure {
            tag: tag("1.0.1"),
            reason: Reason::CrashExit,
            message: "3 crashes".to_owned(),
            run: run.to_owned(),
            signature: "exit 78".to_owned(),
            blames_image: true,
            deterministic,
            after_fails: 2,
            retry_after: SignedDuration::from_mins(30),
        };
        ledger.failed(&digest(number), failure, at(second));
    }
    fn memory(completed: &str) -> WorkloadMemory {
        WorkloadMemory {
            uid: "u".to_owned(),
            completed: Some(tag(completed)),
            wrote: None,
            unseen: false,
            abandoned: None,
            newest_inside: None,
            newest_outside: None,
            reapplied: None,
            runs: super::super::RunMemory::default(),
        }
    }

    #[test]
    fn what_another_pass_stored_meanwhile_stays() {
        let base = empty();
        let (mut ours, mut stored) = (base.clone(), base.clone());
        ours.workloads.insert("a".to_owned(), memory("1.0.1"));
        ours.saw(&tag("1.0.2"), &digest(2), at(20));
        stored.workloads.insert("b".to_owned(), memory("1.0.0"));
        failed(&mut stored, 1, "web-1", true, 10);
        let merged = rebase(&base, &ours, &stored);
        assert_eq!(merged.workloads.len(), 2);
        assert!(merged.failures[&digest(1)].quarantined);
        assert_eq!(merged.first_seen(&tag("1.0.2"), &digest(2)), Some(at(20)));
        assert_eq!(rebase(&base, &ours, &merged), merged, "stored twice is stored once");
    }

    #[test]
    fn the_first_of_two_sightings_counts_and_of_two_failures_each() {
        let base = empty();
        let (mut ours, mut stored) = (base.clone(), base.clone());
        stored.saw(&tag("1.0.1"), &digest(1), at(10));
        ours.saw(&tag("1.0.1"), &digest(1), at(11));
        failed(&mut stored, 1, "web-1", false, 20);
        failed(&mut ours, 1, "api-1", false, 21);
        let merged = rebase(&base, &ours, &stored);
        assert_eq!(merged.first_seen(&tag("1.0.1"), &digest(1)), Some(at(10)));
        let failure = &merged.failures[&digest(1)];
        assert_eq!((failure.fails, failure.run.as_str(), failure.quarantined), (2, "api-1", false));
        assert_eq!(failure.earlier_runs, ["web-1"]);
    }

    #[test]
    fn a_failure_that_both_passes_knew_is_not_counted_for_each() {
        let mut base = empty();
        failed(&mut base, 1, "web-1", false, 10);
        let (mut ours, mut stored) = (base.clone(), base.clone());
        failed(&mut stored, 1, "db-1", false, 20);
        failed(&mut ours, 1, "api-1", false, 21);
        let failure = &rebase(&base, &ours, &stored).failures[&digest(1)];
        assert_eq!(
            (failure.fails, failure.earlier_runs.as_slice()),
            (3, &["db-1", "web-1"].map(str::to_owned)[..])
        );
    }

    #[test]
    fn a_contradiction_and_a_signer_that_another_pass_read_meanwhile_stay_with_the_first_time() {
        use crate::ledger::{Claim, ClaimedBy};
        let base = empty();
        let (mut ours, mut stored) = (base.clone(), base.clone());
        let claim = |number| Claim::new(&digest(number), &tag("1.0.1"), ClaimedBy::Label, "0.9.0");
        let read = |ledger: &mut Ledger, number, second| {
            ledger.contradicted(claim(number), Reason::VersionMismatch, at(second));
            ledger.vouched(&[format!("signer {number}")].into(), at(second));
        };
        read(&mut stored, 1, 10);
        read(&mut stored, 2, 10);
        read(&mut ours, 1, 5);
        read(&mut ours, 3, 20);
        let merged = rebase(&base, &ours, &stored);
        let times: Vec<_> = (1..4).map(|number| merged.contradictions[&claim(number)].first_seen).collect();
        assert_eq!(times, [at(5), at(10), at(20)]);
        let known = merged.signers["signer 1"];
        assert_eq!((known.first_seen, known.last_used, merged.signers.len()), (at(5), at(10), 3));
        assert_eq!(rebase(&base, &ours, &merged), merged, "stored twice is stored once");
        // A person releases one while another pass reads the next.
        let mut released = merged.clone();
        released.release(Some(&digest(1)));
        let mut meanwhile = merged.clone();
        read(&mut meanwhile, 4, 30);
        let after = rebase(&merged, &released, &meanwhile);
        assert!(
            !after.contradictions.contains_key(&claim(1)) && after.contradictions.contains_key(&claim(4))
        );
    }

    #[test]
    fn what_a_person_released_is_gone_unless_it_failed_again_meanwhile() {
        let mut base = empty();
        failed(&mut base, 1, "web-1", true, 10);
        failed(&mut base, 2, "web-2", false, 10);
        let (mut ours, mut stored) = (base.clone(), base.clone());
        ours.release(None);
        failed(&mut stored, 2, "web-3", false, 20);
        let merged = rebase(&base, &ours, &stored);
        assert_eq!(merged.failures.keys().collect::<Vec<_>>(), [&digest(2)]);
    }

    #[test]
    fn the_memory_is_bounded_and_a_retry_goes_before_a_quarantine() {
        let base = empty();
        let mut ours = base.clone();
        for number in 0..=MAX_FAILURES {
            failed(&mut ours, number, "web-1", number != 100, i64::try_from(number).unwrap());
        }
        let mut stored = base.clone();
        for number in 0..MAX_WORKLOADS {
            stored.workloads.insert(format!("Deployment/{number}"), memory("1.0.0"));
        }
        ours.workloads.insert("Deployment/0000/own".to_owned(), memory("1.0.1"));
        let merged = rebase(&base, &ours, &stored);
        assert_eq!((merged.failures.len(), merged.workloads.len()), (MAX_FAILURES, MAX_WORKLOADS));
        assert!(!merged.failures.contains_key(&digest(100)) && merged.failures.contains_key(&digest(0)));
        assert!(merged.workloads.contains_key("Deployment/0000/own"));
    }
}
