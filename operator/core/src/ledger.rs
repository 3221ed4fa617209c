//! The memory of a repository in a namespace: first-seen times, failures, claims against a name, who signed what ran, what
//! completed and what a person gave up.
//!
//! Bounded, and stored before anything is done on its ground, so that a restart or a restored backup forgets nothing that
//! matters. A digest that failed is never evicted. Who stores it: the controller, as `ImageLedger`, by `ledger/rebase.rs`.

pub mod contradiction;
pub mod rebase;
pub mod signers;
pub mod size;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::image::{Digest, Repository, Tag};
use crate::levers::Lever;
use crate::reason::Reason;

pub use contradiction::{Claim, ClaimedBy, Contradicted};
pub use signers::KnownSigner;

/// How many tags are remembered; the oldest go first.
pub const MAX_TAGS: usize = 200;
/// How many digests are remembered of one tag.
pub const MAX_DIGESTS_PER_TAG: usize = 4;
/// How many runs that failed with a digest are known by name besides the last.
pub const MAX_EARLIER_RUNS: usize = 7;

/// A digest under a tag, and since when this operator knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The digest.
    pub digest: Digest,
    /// When this operator first resolved the tag to it. Never the image's own `created` field, which its builder writes.
    pub first_seen: Timestamp,
}

/// A digest that failed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The tag it was tried under.
    pub tag: Tag,
    /// The cause of the last failure.
    pub reason: Reason,
    /// What was observed, cleaned.
    pub message: String,
    /// The run that failed last.
    pub run: String,
    /// Those that failed before it, oldest first: several targets fail side by side, and each counts once.
    pub earlier_runs: Vec<String>,
    /// How many failures with this signature were the image's fault.
    pub fails: u32,
    /// Equal for equal failures.
    pub signature: String,
    /// When the last failure was.
    pub since: Timestamp,
    /// When it is tried again; `None` once quarantined.
    pub retry_at: Option<Timestamp>,
    /// Whether only a person lets it go on.
    pub quarantined: bool,
    /// Who asked for the retry, where a person did.
    pub retry_by: Option<Lever>,
}

impl Failure {
    /// Whether the run is one of those that failed.
    #[must_use]
    pub fn is_of(&self, run: &str) -> bool {
        self.runs().any(|one| one == run)
    }

    /// The runs that failed, oldest first.
    fn runs(&self) -> impl Iterator<Item = &String> {
        self.earlier_runs.iter().chain([&self.run])
    }

    /// The newest of the runs before the last: as many as are known by name.
    fn newest(mut runs: Vec<String>) -> Vec<String> {
        let surplus = runs.len().saturating_sub(MAX_EARLIER_RUNS);
        runs.drain(..surplus);
        runs
    }
}

/// A version that a person went back from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandoned {
    /// The tag they left.
    pub tag: Tag,
    /// When.
    pub at: Timestamp,
    /// The field manager that wrote the image.
    pub by: String,
}

/// A version that somebody else keeps taking away, and how often it was rolled out again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reapplied {
    /// The version.
    pub tag: Tag,
    /// How often.
    pub times: u32,
}

/// What is remembered of one track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadMemory {
    /// The workload's uid: a recreated one begins anew.
    pub uid: String,
    /// The highest version that completed: the floor.
    pub completed: Option<Tag>,
    /// The image that was in the template when the memory was last brought up to date.
    pub wrote: Option<String>,
    /// Whether nothing that runs that image was seen well yet: no proof of its digest.
    pub unseen: bool,
    /// A manual rollback that is respected.
    pub abandoned: Option<Abandoned>,
    /// How often a version was rolled out again that somebody else keeps taking away.
    pub reapplied: Option<Reapplied>,
    /// The newest version in the rule's range, and since when it is known here.
    pub newest_inside: Option<Newest>,
    /// The newest version that only the rule hides, and since when it is that.
    pub newest_outside: Option<Newest>,
    /// How the runs of a CronJob ended, by image.
    pub runs: RunMemory,
}

/// How many images' runs are remembered of a CronJob.
pub const MAX_TALLIES: usize = 4;
/// How many ways to fail are told apart of an image; the rest is `other`.
pub const MAX_EXITS: usize = 8;
/// How many counted runs are known by their uid: more than a CronJob keeps by default.
pub const MAX_COUNTED: usize = 32;
/// From how many runs a tally is halved, so that what was long ago fades.
const MAX_RUNS: u32 = 200;

/// How the runs of a CronJob ended. Its own history keeps three successes and one failure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunMemory {
    /// By image, the newest last.
    pub tallies: Vec<Tally>,
    /// The uids of the runs that were counted and are still there.
    pub counted: Vec<String>,
}

/// How the runs of one image ended, by their first attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The image as the template has it.
    pub image: String,
    /// Runs that failed.
    pub failures: u32,
    /// Runs that did not.
    pub successes: u32,
    /// Failures by how the program ended: `exit 1`, `OOMKilled`.
    pub exits: BTreeMap<String, u32>,
}

impl RunMemory {
    /// Counts a run that ended, once: how it failed, or nothing for a success.
    pub fn count(&mut self, uid: &str, image: &str, failed: Option<&str>) {
        if self.counted.iter().any(|counted| counted == uid) {
            return;
        }
        self.counted.push(uid.to_owned());
        let surplus = self.counted.len().saturating_sub(MAX_COUNTED);
        self.counted.drain(..surplus);
        if !self.tallies.iter().any(|tally| tally.image == image) {
            self.tallies.push(Tally { image: image.to_owned(), ..Tally::default() });
            let surplus = self.tallies.len().saturating_sub(MAX_TALLIES);
            self.tallies.drain(..surplus);
        }
        if let Some(tally) = self.tallies.iter_mut().find(|tally| tally.image == image) {
            tally.count(failed);
        }
    }

    /// Forgets the uids of runs that are gone.
    pub fn forget(&mut self, is_there: impl Fn(&str) -> bool) {
        self.counted.retain(|uid| is_there(uid));
    }
}

impl Tally {
    fn count(&mut self, failed: Option<&str>) {
        match failed {
            None => self.successes = self.successes.saturating_add(1),
            Some(exit) => {
                self.failures = self.failures.saturating_add(1);
                let is_known = self.exits.contains_key(exit) || self.exits.len() < MAX_EXITS;
                let exit = if is_known { exit } else { "other" };
                let count = self.exits.entry(exit.to_owned()).or_default();
                *count = count.saturating_add(1);
            }
        }
        if MAX_RUNS <= self.failures.saturating_add(self.successes) {
            self.failures /= 2;
            self.successes /= 2;
            self.exits.values_mut().for_each(|count| *count /= 2);
            self.exits.retain(|_, count| 0 < *count);
        }
    }
}

/// A newest version, and when this operator first saw it as that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// Its tag.
    pub tag: Tag,
    /// By this operator's clock; at the first look the moment of that look.
    pub first_seen: Timestamp,
}

/// The memory of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Of which repository.
    pub repository: Repository,
    /// Digests by tag, oldest first.
    pub tags: BTreeMap<Tag, Vec<Sighting>>,
    /// Failures by digest.
    pub failures: BTreeMap<Digest, Failure>,
    /// Claims of signers that contradicted a name, whether they are still attached or not.
    pub contradictions: BTreeMap<Claim, Contradicted>,
    /// Who signed what runs or ran here, by identity.
    pub signers: BTreeMap<String, KnownSigner>,
    /// Memory by track key.
    pub workloads: BTreeMap<String, WorkloadMemory>,
}

impl Ledger {
    /// An empty memory.
    #[must_use]
    pub fn new(repository: Repository) -> Self {
        Self {
            repository,
            tags: BTreeMap::new(),
            failures: BTreeMap::new(),
            contradictions: BTreeMap::new(),
            signers: BTreeMap::new(),
            workloads: BTreeMap::new(),
        }
    }

    /// Records that a tag resolved to a digest. The first sighting keeps its time; a digest that comes back to a tag after
    /// another one begins anew, for whoever can move a tag can also move it back.
    pub fn saw(&mut self, tag: &Tag, digest: &Digest, now: Timestamp) {
        let sightings = self.tags.entry(tag.clone()).or_default();
        if sightings.last().is_some_and(|last| last.digest == *digest) {
            return;
        }
        sightings.retain(|sighting| sighting.digest != *digest);
        sightings.push(Sighting { digest: digest.clone(), first_seen: now });
        let surplus = sightings.len().saturating_sub(MAX_DIGESTS_PER_TAG);
        sightings.drain(..surplus);
        self.evict();
    }

    /// When the digest was first seen under the tag, if it is what the tag named last.
    #[must_use]
    pub fn first_seen(&self, tag: &Tag, digest: &Digest) -> Option<Timestamp> {
        self.tags.get(tag)?.iter().find(|sighting| sighting.digest == *digest).map(|seen| seen.first_seen)
    }

    /// What the tag named before the digest, where it moved.
    #[must_use]
    pub fn moved_from(&self, tag: &Tag, digest: &Digest) -> Option<&Sighting> {
        self.tags.get(tag)?.iter().rev().find(|sighting| sighting.digest != *digest)
    }

    /// Another tag under which the digest was seen before.
    pub fn other_names<'a>(&'a self, tag: &'a Tag, digest: &'a Digest) -> impl Iterator<Item = &'a Tag> {
        self.tags
            .iter()
            .filter(move |(name, seen)| {
                *name != tag && seen.iter().any(|sighting| sighting.digest == *digest)
            })
            .map(|(name, _)| name)
    }

    /// Records a failed run: counts, and decides whether the digest is tried again or quarantined. A run counts once, even
    /// where a crash lets the same failure be found again.
    pub fn failed(&mut self, digest: &Digest, failure: NewFailure, now: Timestamp) {
        let before = self.failures.get(digest);
        if before.is_some_and(|before| before.is_of(&failure.run)) {
            return;
        }
        let earlier_runs = before.map_or_else(Vec::new, |before| before.runs().cloned().collect());
        let same =
            before.filter(|before| before.signature == failure.signature).map_or(0, |before| before.fails);
        let fails = if failure.blames_image { same.saturating_add(1) } else { same };
        let quarantined = before.is_some_and(|before| before.quarantined)
            || (failure.blames_image && (failure.deterministic || failure.after_fails <= fails));
        let retry_at = now.checked_add(failure.retry_after).unwrap_or(Timestamp::MAX);
        self.failures.insert(
            digest.clone(),
            Failure {
                tag: failure.tag,
                reason: failure.reason,
                message: failure.message,
                run: failure.run,
                earlier_runs: Failure::newest(earlier_runs),
                fails,
                signature: failure.signature,
                since: now,
                retry_at: (!quarantined).then_some(retry_at),
                quarantined,
                retry_by: None,
            },
        );
    }

    /// Takes the suspicion from a digest: after the rollback the old version fails too. What was observed stays told; the
    /// digest is tried again at `retry_at` and nothing of this counts. Only the run that failed last can be excused.
    pub fn absolve(&mut self, digest: &Digest, run: &str, message: String, retry_at: Timestamp) {
        let suspected = self
            .failures
            .get_mut(digest)
            .filter(|failure| failure.run == run && failure.reason != Reason::EnvironmentIncident);
        if let Some(failure) = suspected {
            failure.reason = Reason::EnvironmentIncident;
            failure.message = message;
            failure.fails = 0;
            failure.quarantined = false;
            failure.retry_at = Some(retry_at);
        }
    }

    /// Forgets failures and manual rollbacks, as a person asked: all, or those of one digest. What was claimed against a
    /// name is forgotten only of a digest that they name: it is no fault of an environment that passes.
    pub fn release(&mut self, digest: Option<&Digest>) {
        match digest {
            Some(digest) => {
                self.failures.remove(digest);
                self.contradictions.retain(|claim, _| claim.digest != *digest);
            }
            None => {
                self.failures.clear();
                for memory in self.workloads.values_mut() {
                    memory.abandoned = None;
                    memory.reapplied = None;
                }
            }
        }
    }

    /// Makes the retry of failed digests due now, as a person asked: of all, or of one. How often they failed stays known, so
    /// that the next equal failure counts with those before. A version that a person left may be tried again as well.
    pub fn retry(&mut self, digest: Option<&Digest>, by: &Lever, now: Timestamp) {
        let asked = |one: &Digest| digest.is_none_or(|digest| digest == one);
        for (_, failure) in self.failures.iter_mut().filter(|(one, _)| asked(one)) {
            failure.retry_at = Some(now);
            failure.quarantined = false;
            failure.retry_by = Some(by.clone());
        }
        let named: Vec<&Tag> = self
            .tags
            .iter()
            .filter(|(_, seen)| seen.last().is_some_and(|last| asked(&last.digest)))
            .map(|(tag, _)| tag)
            .collect();
        for memory in self.workloads.values_mut() {
            memory.reapplied = None;
            memory.abandoned =
                memory.abandoned.take().filter(|left| digest.is_some() && !named.contains(&&left.tag));
        }
    }

    /// Forgets the oldest tags beyond what is remembered, then what makes it too large (`ledger/size.rs`).
    pub(crate) fn evict(&mut self) {
        while MAX_TAGS < self.tags.len() && self.forget_oldest_tag() {}
        self.fit();
    }

    /// Forgets the tag that was resolved to something new longest ago, never one whose digest failed; those whose digest was
    /// contradicted after all others. False where there is none.
    pub(super) fn forget_oldest_tag(&mut self) -> bool {
        let any = |seen: &[Sighting], is: &dyn Fn(&Digest) -> bool| seen.iter().any(|one| is(&one.digest));
        let contradicted: BTreeSet<&Digest> = self.contradictions.keys().map(|claim| &claim.digest).collect();
        let oldest = self
            .tags
            .iter()
            .filter(|(_, seen)| !any(seen, &|digest| self.failures.contains_key(digest)))
            .min_by_key(|(_, seen)| {
                (any(seen, &|digest| contradicted.contains(digest)), seen.last().map(|one| one.first_seen))
            })
            .map(|(tag, _)| tag.clone());
        oldest.is_some_and(|tag| self.tags.remove(&tag).is_some())
    }
}

/// A failed run, as the ledger takes it.
#[derive(Debug, Clone)]
pub struct NewFailure {
    /// The tag it was tried under.
    pub tag: Tag,
    /// The cause.
    pub reason: Reason,
    /// What was observed, cleaned.
    pub message: String,
    /// The run.
    pub run: String,
    /// Equal for equal failures.
    pub signature: String,
    /// Whether the image is at fault; the environment's faults are tried again without counting.
    pub blames_image: bool,
    /// Whether a second try cannot end otherwise.
    pub deterministic: bool,
    /// After how many equal failures a digest is quarantined.
    pub after_fails: u32,
    /// How long until the retry.
    pub retry_after: SignedDuration,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's row that does not parse is the failure")]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        Ledger::new(Repository::parse("ghcr.io/acme/web").unwrap())
    }
    fn tag(text: &str) -> Tag {
        Tag::parse(text).unwrap()
    }
    fn digest(letter: &str) -> Digest {
        Digest::parse(&format!("sha256:{}", letter.repeat(64))).unwrap()
    }
    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }
    fn failure(run: u8, signature: &str, blames_image: bool, deterministic: bool) -> NewFailure {
        NewFailure {
            tag: tag("1.0.2"),
            reason: Reason::CrashExit,
            message: "3 crashes".to_owned(),
            run: format!("web-{run}"),
            signature: signature.to_owned(),
            blames_image,
            deterministic,
            after_fails: 2,
            retry_after: SignedDuration::from_mins(30),
        }
    }

    #[test]
    fn the_first_sighting_keeps_its_time_and_a_moved_tag_begins_anew_even_when_it_moves_back() {
        let mut ledger = ledger();
        ledger.saw(&tag("1.0"), &digest("a"), at(10));
        ledger.saw(&tag("1.0"), &digest("a"), at(20));
        assert_eq!(ledger.first_seen(&tag("1.0"), &digest("a")), Some(at(10)));
        ledger.saw(&tag("1.0"), &digest("b"), at(30));
        assert_eq!(ledger.moved_from(&tag("1.0"), &digest("b")).unwrap().digest, digest("a"));
        ledger.saw(&tag("1.0"), &digest("a"), at(40));
        assert_eq!(ledger.first_seen(&tag("1.0"), &digest("a")), Some(at(40)));
    }

    #[test]
    fn the_second_equal_failure_quarantines_and_another_one_begins_to_count_anew() {
        let mut ledger = ledger();
        ledger.failed(&digest("a"), failure(1, "exit 1", true, false), at(0));
        assert_eq!(ledger.failures.get(&digest("a")).unwrap().retry_at, Some(at(1800)));
        ledger.failed(&digest("a"), failure(2, "exit 2", true, false), at(1800));
        assert!(!ledger.failures.get(&digest("a")).unwrap().quarantined);
        ledger.failed(&digest("a"), failure(2, "exit 2", true, false), at(1801));
        assert!(!ledger.failures.get(&digest("a")).unwrap().quarantined, "one run counts once");
        ledger.failed(&digest("a"), failure(3, "exit 2", true, false), at(3600));
        assert!(ledger.failures.get(&digest("a")).unwrap().quarantined);
    }

    #[test]
    fn a_run_counts_once_also_where_another_one_failed_before_it_is_found_again() {
        let mut ledger = ledger();
        let fails = |ledger: &Ledger| ledger.failures.get(&digest("a")).unwrap().fails;
        for run in [1, 2, 1, 2] {
            let failure = NewFailure { after_fails: 9, ..failure(run, "exit 1", true, false) };
            ledger.failed(&digest("a"), failure, at(run.into()));
        }
        assert_eq!(fails(&ledger), 2);
        for run in 3..20 {
            ledger.failed(&digest("a"), failure(run, "exit 1", true, false), at(run.into()));
        }
        let known = ledger.failures.get(&digest("a")).unwrap();
        assert_eq!((known.fails, known.earlier_runs.len()), (19, MAX_EARLIER_RUNS));
        assert!(known.is_of("web-19") && known.is_of("web-12") && !known.is_of("web-11"));
    }

    #[test]
    fn a_deterministic_cause_quarantines_at_once_and_the_environment_never_does() {
        let mut ledger = ledger();
        ledger.failed(&digest("a"), failure(1, "platform", true, true), at(0));
        assert!(ledger.failures.get(&digest("a")).unwrap().quarantined);
        for run in 0..5 {
            ledger.failed(&digest("b"), failure(run, "quota", false, false), at(run.into()));
        }
        assert!(!ledger.failures.get(&digest("b")).unwrap().quarantined);
    }

    #[test]
    fn a_digest_is_excused_where_the_old_version_fails_too_and_only_for_the_run_that_failed_last() {
        let mut ledger = ledger();
        ledger.failed(&digest("a"), failure(1, "exit 1", true, false), at(0));
        ledger.failed(&digest("a"), failure(2, "exit 1", true, false), at(1800));
        assert!(ledger.failures.get(&digest("a")).unwrap().quarantined);
        ledger.absolve(&digest("a"), "web-1", "another run".to_owned(), at(5000));
        assert!(ledger.failures.get(&digest("a")).unwrap().quarantined);
        ledger.absolve(&digest("a"), "web-2", "CrashExit shows on web-0 too".to_owned(), at(5000));
        let excused = ledger.failures.get(&digest("a")).unwrap().clone();
        assert_eq!((excused.quarantined, excused.fails, excused.retry_at), (false, 0, Some(at(5000))));
        assert_eq!(excused.reason, Reason::EnvironmentIncident);
        ledger.absolve(&digest("a"), "web-2", "again".to_owned(), at(9000));
        assert_eq!(ledger.failures.get(&digest("a")), Some(&excused), "excused once");
        ledger.failed(&digest("a"), failure(3, "exit 1", true, false), at(9000));
        assert_eq!(ledger.failures.get(&digest("a")).unwrap().fails, 1, "counts anew");
    }

    #[test]
    fn the_oldest_tags_are_forgotten_but_never_one_whose_digest_failed() {
        let mut ledger = ledger();
        ledger.saw(&tag("bad"), &digest("a"), at(0));
        ledger.failed(&digest("a"), failure(1, "exit 1", true, true), at(1));
        for number in 0..300 {
            ledger.saw(&tag(&format!("1.0.{number}")), &digest("b"), at(100 + number));
        }
        assert_eq!(ledger.tags.len(), MAX_TAGS);
        assert!(ledger.tags.contains_key(&tag("bad")));
        assert!(!ledger.tags.contains_key(&tag("1.0.0")));
    }
}
