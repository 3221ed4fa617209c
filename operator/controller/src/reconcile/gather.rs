//! Fetches what the gates ask for: the one place where decisions and I/O meet.
//!
//! Core names its needs, this file answers them and asks again, a bounded number of rounds. Manifests are cached by digest
//! for ever, for a digest never changes its meaning; what a tag names is cached as `is_resolved` says, so that a poll that
//! finds nothing new costs the listing alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rollforward_core::current::Chosen;
use rollforward_core::evidence::{Answer, Attached, Budget, Manifest, Questions};
use rollforward_core::gate::signature::looked_for_again_after;
use rollforward_core::gate::{self, Assessment, Evidence, Need};
use rollforward_core::image::{Digest, Repository, Tag};
use rollforward_core::policy::Facts;
use rollforward_core::select::Rule;
use rollforward_core::trust::Effective;
use tokio::sync::Mutex;

use super::Context;
use crate::clock;
use crate::papers::Engine;
use crate::registry::{Credential, CredentialIdentity};
use crate::spread;

type Identity = Option<CredentialIdentity>;

/// How often the gates may ask: digests, then manifests, then one more for what those lead to.
const ROUNDS: usize = 3;
/// How many answers of a kind are kept; the oldest goes first.
const MAX_KEPT: usize = 20_000;
/// What is kept of signatures and attestations, about so many bytes; the largest answer goes first.
const MAX_ATTACHED_BYTES: usize = 64 * 1024 * 1024;
/// A known tag is resolved again after so many intervals: within them a tag that was pushed again is noticed.
const POLLS_BETWEEN: i32 = 6;
/// No known tag goes unresolved for longer, however long the interval is.
const LONGEST_UNRESOLVED: SignedDuration = SignedDuration::from_hours(6);

/// What registries answered before: manifests for ever, digests while the list stays as it was and six polls at most.
#[derive(Debug)]
pub struct Cache {
    manifests: Answers<(Repository, Digest, Identity), Manifest>,
    digests: Answers<(Repository, Tag, Identity), Digest>,
    served: Answers<(Repository, Digest, Identity), ()>,
    attached: Answers<(Repository, Digest, Identity, Asked), Attached>,
    engine: Engine,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            manifests: Answers::default(),
            digests: Answers::default(),
            served: Answers::default(),
            attached: Answers {
                n_bytes: Attached::n_bytes,
                max_bytes: MAX_ATTACHED_BYTES,
                ..Answers::default()
            },
            engine: Engine::default(),
        }
    }
}

/// What was asked about a digest, and the contents of the trust roots that the answer was found with.
type Asked = (Questions, Vec<String>);

/// Answers by question. Each question is asked once, however many passes want to know at the same time.
#[derive(Debug)]
struct Answers<K, T> {
    slots: Mutex<BTreeMap<K, Known<T>>>,
    /// How much an answer counts of `max_bytes`.
    n_bytes: fn(&T) -> usize,
    max_bytes: usize,
}

type Slot<T> = Arc<Mutex<Option<Kept<T>>>>;

#[derive(Debug)]
struct Known<T> {
    slot: Slot<T>,
    /// `None` while it is asked for the first time.
    asked_at: Option<Timestamp>,
    n_bytes: usize,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { slot: Slot::default(), asked_at: None, n_bytes: 0 }
    }
}

#[derive(Debug)]
struct Kept<T> {
    answer: Answer<T>,
    asked_at: Timestamp,
    answered_at: Timestamp,
}

impl<K, T> Default for Answers<K, T> {
    fn default() -> Self {
        Self { slots: Mutex::default(), n_bytes: |_| 0, max_bytes: 0 }
    }
}

impl<K: Ord + Clone, T: Clone> Answers<K, T> {
    /// The known answer while it is fresh, else a new one. Who comes meanwhile waits for it and reads the same.
    async fn get(
        &self,
        key: K,
        is_fresh: impl Fn(&Answer<T>, Timestamp) -> bool,
        ask: impl Future<Output = Answer<T>>,
    ) -> Answer<T> {
        let came_at = clock::now();
        let slot = self.slot(&key).await;
        let mut kept = slot.lock().await;
        if let Some(Kept { answer, asked_at, answered_at }) = kept.as_ref()
            && (came_at <= *answered_at || is_fresh(answer, *asked_at))
        {
            return answer.clone();
        }
        let asked_at = clock::now();
        let answer = ask.await;
        *kept = Some(Kept { answer: answer.clone(), asked_at, answered_at: clock::now() });
        let n_bytes = match &answer {
            Answer::Found(found) => (self.n_bytes)(found),
            Answer::Absent | Answer::Unknown(_) => 0,
        };
        self.weigh(&key, &slot, (asked_at, n_bytes)).await;
        answer
    }

    /// Makes room where the answers are too large together. The largest goes first: what strangers attach to one image does not
    /// drive out what is known of the others.
    async fn weigh(&self, key: &K, slot: &Slot<T>, (asked_at, n_bytes): (Timestamp, usize)) {
        let mut slots = self.slots.lock().await;
        if let Some(known) = slots.get_mut(key).filter(|known| Arc::ptr_eq(&known.slot, slot)) {
            (known.asked_at, known.n_bytes) = (Some(asked_at), n_bytes);
        }
        if n_bytes == 0 {
            return;
        }
        let sum = |slots: &BTreeMap<K, Known<T>>| {
            slots.values().map(|known| known.n_bytes).fold(0, usize::saturating_add)
        };
        if self.max_bytes < sum(&slots) {
            // These would be asked for again anyway, if anybody still wanted them.
            slots.retain(|_, known| {
                known.asked_at.is_none_or(|at| asked_at.duration_since(at) < VERIFIED_KEPT)
            });
        }
        let mut all = sum(&slots);
        while self.max_bytes < all {
            let largest =
                slots.iter().max_by_key(|(_, known)| (known.n_bytes, std::cmp::Reverse(known.asked_at)));
            let Some(key) = largest.map(|(key, _)| key.clone()) else { return };
            all = all.saturating_sub(slots.remove(&key).map_or(0, |known| known.n_bytes));
        }
    }

    async fn slot(&self, key: &K) -> Slot<T> {
        let mut slots = self.slots.lock().await;
        if !slots.contains_key(key) && MAX_KEPT <= slots.len() {
            // One that is being asked for is the youngest.
            let oldest = slots.iter().min_by_key(|(_, known)| (known.asked_at.is_none(), known.asked_at));
            oldest.map(|(key, _)| key.clone()).and_then(|key| slots.remove(&key));
        }
        Arc::clone(&slots.entry(key.clone()).or_default().slot)
    }
}

/// Judges the best candidates, fetching what the layers need. Where what is attached does not suffice by what was known of it,
/// that is looked for again, and judged once more where there is more.
pub async fn assess(
    ctx: &Context,
    facts: &Facts,
    credentials: &BTreeMap<Repository, Credential>,
    chosen: Vec<Chosen>,
) -> Assessment {
    let mut evidence = Evidence::default();
    let assessment = judged(ctx, facts, credentials, &chosen, &mut evidence).await;
    let mut is_news = false;
    for (repository, digest) in assessment.lacking(facts) {
        let key = (repository, digest);
        let Some(before) = evidence.attached.get(&key) else { continue };
        let credential = credentials.get(&key.0);
        let answer = attached(ctx, facts, (&key.0, &key.1), credential, Wish::Lacking).await;
        is_news |= *before != answer;
        evidence.attached.insert(key, answer);
    }
    if is_news { judged(ctx, facts, credentials, &chosen, &mut evidence).await } else { assessment }
}

async fn judged(
    ctx: &Context,
    facts: &Facts,
    credentials: &BTreeMap<Repository, Credential>,
    chosen: &[Chosen],
    evidence: &mut Evidence,
) -> Assessment {
    let mut round = 0;
    loop {
        let (assessment, needs) = gate::assess(facts, chosen.to_vec(), evidence);
        if needs.is_empty() || round == ROUNDS {
            return assessment;
        }
        round += 1;
        for need in needs {
            fetch(ctx, facts, credentials, need, evidence).await;
        }
    }
}

async fn fetch(
    ctx: &Context,
    facts: &Facts,
    credentials: &BTreeMap<Repository, Credential>,
    need: Need,
    evidence: &mut Evidence,
) {
    match need {
        Need::Digest(repository, tag) => {
            let credential = credentials.get(&repository);
            let answer = digest(ctx, facts, &repository, &tag, credential).await;
            evidence.digests.insert((repository, tag), answer);
        }
        Need::Manifest(repository, digest) => {
            let credential = credentials.get(&repository);
            let answer = manifest(ctx, facts, &repository, &digest, credential).await;
            evidence.manifests.insert((repository, digest), answer);
        }
        Need::Attached(repository, digest) => {
            let credential = credentials.get(&repository);
            let answer = attached(ctx, facts, (&repository, &digest), credential, Wish::Known).await;
            evidence.attached.insert((repository, digest), answer);
        }
        Need::Served(repository, digest) => {
            let answer = served(ctx, facts, &repository, &digest, credentials.get(&repository)).await;
            evidence.served.insert((repository, digest), answer);
        }
    }
}

/// When the newest look was, and when the list last changed.
fn times(facts: &Facts, repository: &Repository) -> (Timestamp, Timestamp) {
    // What is asked at the source is looked at under the name that the workload writes: there is one.
    let of_source = facts.seen.tracks.iter().find(|track| facts.asked(track) == repository);
    let name = of_source.map_or(repository, |track| &track.repository);
    match facts.seen.repositories.get(name).map(|seen| &seen.scan) {
        Some(Answer::Found(scan)) => (scan.at, scan.changed_at),
        Some(Answer::Absent | Answer::Unknown(_)) | None => (facts.now, facts.now),
    }
}

fn identity(credential: Option<&Credential>) -> Identity {
    credential.map(Credential::identity)
}

/// Whether a tag need not be resolved again.
///
/// A known digest stays while the list stays as it is, for six polls at most: the poll itself then costs one request. A
/// tag that is pushed again without a change of the list is noticed within that time, or at once on request. What was
/// absent or unknown is asked again after each look. The share is each tag's own, so that tags do not fall due together.
fn is_resolved(
    facts: &Facts,
    repository: &Repository,
    tag: &Tag,
    answer: &Answer<Digest>,
    at: Timestamp,
) -> bool {
    let (looked_at, changed_at) = times(facts, repository);
    match answer {
        Answer::Absent | Answer::Unknown(_) => looked_at <= at,
        // The one tag that is followed is what the poll is for.
        Answer::Found(_) if matches!(&facts.policy.rule, Rule::Digest(followed) if followed == tag) => {
            looked_at <= at
        }
        Answer::Found(_) => {
            let longest = facts.policy.interval.checked_mul(POLLS_BETWEEN).unwrap_or(LONGEST_UNRESOLVED);
            let kept =
                spread::share_for(longest.min(LONGEST_UNRESOLVED), &(repository.to_string(), tag.as_str()));
            changed_at <= at && facts.now.duration_since(at) < kept
        }
    }
}

async fn digest(
    ctx: &Context,
    facts: &Facts,
    repository: &Repository,
    tag: &Tag,
    credential: Option<&Credential>,
) -> Answer<Digest> {
    let key = (repository.clone(), tag.clone(), identity(credential));
    let is_fresh = |answer: &Answer<Digest>, at| is_resolved(facts, repository, tag, answer, at);
    ctx.cache.digests.get(key, is_fresh, ctx.registry.resolve(repository, tag, credential)).await
}

async fn manifest(
    ctx: &Context,
    facts: &Facts,
    repository: &Repository,
    digest: &Digest,
    credential: Option<&Credential>,
) -> Answer<Manifest> {
    let key = (repository.clone(), digest.clone(), identity(credential));
    let (looked_at, _) = times(facts, repository);
    // A digest never changes its meaning; that it was absent or silent may.
    let is_fresh = |answer: &Answer<Manifest>, at| matches!(answer, Answer::Found(_)) || looked_at <= at;
    ctx.cache.manifests.get(key, is_fresh, ctx.registry.manifest(repository, digest, credential)).await
}

/// How long an answer that suffices is kept. Other keys, roots or rules are another question.
const VERIFIED_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Why what is attached is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// To be judged: what is known of it is enough.
    Known,
    /// It was judged, and something is missing that may be there by now.
    Lacking,
}

/// What is attached to a digest, checked with all that the decisions for it name.
async fn attached(
    ctx: &Context,
    facts: &Facts,
    image: (&Repository, &Digest),
    credential: Option<&Credential>,
    wish: Wish,
) -> Answer<Attached> {
    let (repository, digest) = image;
    let questions = facts.questions(repository);
    let roots = &facts.seen.roots;
    let valid = roots.values().filter(|root| root.is_valid(facts.now));
    let hashes = valid.map(|root| root.hash.clone()).collect();
    let key = (repository.clone(), digest.clone(), identity(credential), (questions.clone(), hashes));
    let recheck = VERIFIED_KEPT.min(Effective::of_repositories(facts, &[repository]).recheck());
    let look = Look {
        now: facts.now,
        requested: facts.seen.requested,
        looked_at: times(facts, repository).0,
        first_seen: first_seen(facts, digest),
        kept: spread::share_for(recheck, &(repository.to_string(), digest.as_str())),
        wish,
    };
    let engine = &ctx.cache.engine;
    let ask = async {
        let asked = (facts.policy.id.namespace.as_str(), &questions);
        Answer::Found(engine.ask(&ctx.registry, image, asked, roots, credential, facts.now).await)
    };
    ctx.cache.attached.get(key, |answer, at| look.is_content_with(answer, at), ask).await
}

/// What decides whether an answer on what is attached still counts.
#[derive(Debug, Clone, Copy)]
struct Look {
    now: Timestamp,
    /// Whether somebody asked to look now.
    requested: bool,
    /// When the repository was looked at.
    looked_at: Timestamp,
    /// Of the digest.
    first_seen: Option<Timestamp>,
    /// For how long what suffices is known.
    kept: SignedDuration,
    wish: Wish,
}

impl Look {
    /// A place that gave no answer is asked again at each look, what is missing soon, what suffices when it is verified again; all
    /// of it at once where somebody asks.
    fn is_content_with(&self, answer: &Answer<Attached>, at: Timestamp) -> bool {
        if self.requested && at < self.now {
            return false;
        }
        let Answer::Found(attached) = answer else { return self.looked_at <= at };
        if !is_whole(attached) {
            return self.looked_at <= at;
        }
        let age = self.now.duration_since(at);
        let verified = attached.items.iter().any(|item| item.checks.values().any(Result::is_ok));
        if verified && self.wish == Wish::Known {
            return age < self.kept;
        }
        let known_for = at.duration_since(self.first_seen.unwrap_or(at));
        let soon = looked_for_again_after(known_for);
        // It was asked for a little after its pass began; the pass that comes for it must not be too early by that.
        age < soon.checked_sub(soon.checked_div(10).unwrap_or_default()).unwrap_or(soon)
    }
}

/// When a digest was first seen here, under whatever name.
fn first_seen(facts: &Facts, digest: &Digest) -> Option<Timestamp> {
    let ledgers = facts.seen.repositories.values().map(|seen| &seen.ledger);
    let sightings = ledgers.flat_map(|ledger| ledger.tags.values().flatten());
    sightings.filter(|sighting| sighting.digest == *digest).map(|sighting| sighting.first_seen).min()
}

/// Whether every place gave an answer, in time, and every rule was run.
fn is_whole(attached: &Attached) -> bool {
    attached.exhausted != Some(Budget::Time)
        && attached.items.iter().all(|item| item.content.is_whole())
        && attached.looked_in.iter().all(|(_, answer)| !matches!(answer, Answer::Unknown(_)))
}

/// A mirror that served a digest is asked again after some hours, for it may clean up; one that did not, after each look.
async fn served(
    ctx: &Context,
    facts: &Facts,
    repository: &Repository,
    digest: &Digest,
    credential: Option<&Credential>,
) -> Answer<()> {
    let key = (repository.clone(), digest.clone(), identity(credential));
    let (looked_at, _) = times(facts, repository);
    let is_fresh = |answer: &Answer<()>, at| match answer {
        Answer::Found(()) => facts.now.duration_since(at) < LONGEST_UNRESOLVED,
        Answer::Absent | Answer::Unknown(_) => looked_at <= at,
    };
    ctx.cache.served.get(key, is_fresh, ctx.registry.serves(repository, digest, credential)).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rollforward_core::evidence::{Content, Item, Place, Signer, Verifier};

    use super::*;

    #[tokio::test]
    async fn answers_that_are_too_large_together_go_and_the_largest_first() {
        let answers: Answers<usize, usize> =
            Answers { n_bytes: |n| *n, max_bytes: 1_000, ..Answers::default() };
        for n in 0..10 {
            answers.get(n, |_, _| true, async { Answer::Found(10) }).await;
        }
        // However much strangers attach to other images, and how often: what is known of these stays.
        for n in 100..1_000 {
            answers.get(n, |_, _| true, async { Answer::Found(n) }).await;
            let slots = answers.slots.lock().await;
            let kept = slots.values().map(|known| known.n_bytes).sum::<usize>();
            assert!(kept <= 1_000, "{kept}");
        }
        for n in 0..10 {
            let asked = answers.get(n, |_, _| true, async { Answer::Absent }).await;
            assert_eq!(asked, Answer::Found(10));
        }
        // What is too old to be believed goes before that.
        let old = clock::now() - VERIFIED_KEPT;
        answers.slots.lock().await.get_mut(&5).unwrap().asked_at = Some(old);
        answers.get(1_000, |_, _| true, async { Answer::Found(900) }).await;
        let known: Vec<usize> = answers.slots.lock().await.keys().filter(|key| **key < 10).copied().collect();
        assert_eq!(known, [0, 1, 2, 3, 4, 6, 7, 8, 9]);
        // An answer that shrinks is weighed anew.
        answers.get(0, |_, _| false, async { Answer::Absent }).await;
        assert_eq!(answers.slots.lock().await.get(&0).map(|known| known.n_bytes), Some(0));
    }

    #[tokio::test]
    async fn a_question_of_many_passes_at_once_is_asked_once_and_again_when_it_is_not_fresh() {
        let answers: Answers<&str, usize> = Answers::default();
        let n_asked = AtomicUsize::new(0);
        let ask = || async {
            tokio::task::yield_now().await;
            Answer::Found(n_asked.fetch_add(1, Ordering::SeqCst))
        };
        let all = (0..100).map(|_| answers.get("tag", |_, _| false, ask()));
        let found = futures::future::join_all(all).await;
        assert!(found.iter().all(|answer| *answer == Answer::Found(0)), "{found:?}");
        assert_eq!(answers.get("tag", |_, _| true, ask()).await, Answer::Found(0));
        assert_eq!(answers.get("tag", |_, _| false, ask()).await, Answer::Found(1));
        assert_eq!(answers.get("other", |_, _| true, ask()).await, Answer::Found(2));
    }

    /// An answer of a digest that was first seen so long before it: whether it still counts after so long.
    fn counts(wish: Wish, verified: bool, (known_for, age): (&str, &str), requested: bool) -> bool {
        let span = |text: &str| text.parse::<SignedDuration>().unwrap();
        let asked_at: Timestamp = "2026-11-02T12:00:00Z".parse().unwrap();
        let check = (Verifier::Key { pem: String::new() }, Ok(Signer::default()));
        let content = Content::Unreadable { why: String::new() };
        let item = Item { place: Place::Referrers, content, checks: [check].into() };
        let attached = Attached {
            items: verified.then_some(item).into_iter().collect(),
            looked_in: vec![(Place::Referrers, Answer::Found(1))],
            n_left_out: 0,
            exhausted: None,
        };
        let look = Look {
            now: asked_at + span(age),
            requested,
            looked_at: asked_at,
            first_seen: Some(asked_at - span(known_for)),
            kept: span("6h"),
            wish,
        };
        look.is_content_with(&Answer::Found(attached), asked_at)
    }

    #[test]
    fn what_suffices_is_known_for_hours_and_what_is_missing_is_looked_for_again_soon_or_on_request() {
        let (known, lacking) = (Wish::Known, Wish::Lacking);
        // Something verifies. Whether it suffices is what the layers say.
        assert!(counts(known, true, ("1m", "5h"), false));
        assert!(!counts(known, true, ("1m", "6h"), false));
        for (wish, verified) in [(lacking, true), (lacking, false), (known, false)] {
            assert!(counts(wish, verified, ("0s", "20s"), false));
            assert!(!counts(wish, verified, ("0s", "30s"), false));
            assert!(counts(wish, verified, ("2h", "8m"), false));
            // The pass that was set for then began a little before its answer came, and so does this one.
            assert!(!counts(wish, verified, ("2h", "9m 58s"), false));
        }
        // Who asks to look need not wait, whatever is known.
        for wish in [known, lacking] {
            assert!(!counts(wish, true, ("2h", "1s"), true));
            assert!(counts(wish, true, ("2h", "0s"), true), "it was asked for in this pass");
        }
    }
}
