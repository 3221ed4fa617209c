//! One scan per (repository, credential), shared by every policy that needs it, at one request per poll.
//!
//! A policy never lists tags itself: it reads the newest scan, and the first that finds it too old takes a new one while the
//! others wait for it. Credentials are told apart by identity, so that one tenant's scan is never another's. The whole list is
//! read at first, every six hours, on request, and at once when something disagrees; between, a look asks only for the part in
//! which a rule could find something, and where a rule follows one known tag for no list at all: that tag's digest, which the
//! gates ask for once a look, is the poll. What a listing teaches, and which part that is: `scans/memory.rs`; a tag that moves
//! with every release and so spares a list of many pages: `scans/floating.rs`.

mod floating;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rollforward_core::evidence::{Answer, Unknown};
use rollforward_core::image::{Digest, Repository, Tag};
use rollforward_core::reason::Reason;
use rollforward_core::scan::{Habit, Reach, Scan};
use tokio::sync::Mutex;

use crate::clock;
use crate::registry::{Credential, CredentialIdentity, Registry};
use crate::spread;
use memory::{Memory, Merged, Plan};

/// How long the first failed scan is kept before the registry is asked again, at least. Doubled by each further failure.
const FAILED_KEPT: SignedDuration = SignedDuration::from_secs(5);
/// The longest wait after failures, where the policy's interval is not longer.
const FAILED_KEPT_MOST: SignedDuration = SignedDuration::from_mins(5);
/// How long a policy's bound counts after it last asked, at least: then another policy's look need not see its tags.
const WANTED_FOR: SignedDuration = SignedDuration::from_mins(10);
/// How long the time of a look at a followed tag is kept: with a longer interval the next look is due anyway.
const FOLLOWED_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// How many scans are kept; the one that was not used for longest goes first.
const MAX_SCANS: usize = 10_000;

type Key = (Repository, Option<CredentialIdentity>);

/// What a policy asks of the newest scan.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// The credential, where there is one.
    pub credential: Option<&'a Credential>,
    /// The scan may not be older.
    pub not_before: Timestamp,
    /// How often the policy asks.
    pub interval: SignedDuration,
    /// What the tags begin with that its rule could choose (`rollforward_core::scan::beginning`); `None` for any tag.
    pub beginnings: Option<&'a BTreeSet<String>>,
    /// The one tag that its rule follows: while it is known, its digest is asked for (`gather.rs`) and no list.
    pub follows: Option<&'a Tag>,
    /// Whether somebody asked to look: everything is listed, and known digests are resolved again.
    pub hinted: bool,
}

/// The newest scans.
#[derive(Debug, Default)]
pub struct Scans {
    slots: Mutex<BTreeMap<Key, Kept>>,
}

#[derive(Debug)]
struct Kept {
    used_at: Timestamp,
    slot: Arc<Mutex<Slot>>,
}

/// What is known of one repository with one credential.
#[derive(Debug, Default)]
struct Slot {
    memory: Option<Memory>,
    /// The newest look, where it failed.
    failure: Option<Failure>,
    /// What each policy could choose, and until when that counts.
    wanted: BTreeMap<Option<String>, Timestamp>,
    /// When each followed tag was last due to be asked for.
    followed: BTreeMap<Tag, Timestamp>,
}

#[derive(Debug)]
struct Failure {
    unknown: Unknown,
    at: Timestamp,
    n_in_a_row: u32,
}

impl Scans {
    /// The newest scan that answers this; taken now where there is none. The flag says whether it was taken.
    pub async fn latest(&self, registry: &Registry, ask: Ask<'_>) -> (Answer<Scan>, bool) {
        let slot = self.slot(&ask).await;
        // Held while the registry is asked: who comes meanwhile reads the same answer.
        let mut slot = slot.lock().await;
        let now = clock::now();
        if let Some(scan) = slot.followed(&ask, now) {
            return (Answer::Found(scan), false);
        }
        slot.note(&ask, now);
        if let Some(answer) = slot.fresh(&ask, now) {
            return (answer, false);
        }
        match slot.look(registry, &ask).await {
            Ok(()) => slot.failure = None,
            Err(unknown) => slot.failed(unknown, &ask),
        }
        let answer = match (&slot.failure, &slot.memory) {
            (Some(failure), _) => Answer::Unknown(failure.unknown.clone()),
            (None, Some(memory)) => Answer::Found(slot.scan(memory, &ask)),
            (None, None) => Answer::Absent,
        };
        (answer, true)
    }

    async fn slot(&self, ask: &Ask<'_>) -> Arc<Mutex<Slot>> {
        let key = (ask.repository.clone(), ask.credential.map(Credential::identity));
        let mut slots = self.slots.lock().await;
        if !slots.contains_key(&key) && MAX_SCANS <= slots.len() {
            let oldest = slots.iter().min_by_key(|(_, kept)| kept.used_at).map(|(key, _)| key.clone());
            oldest.and_then(|key| slots.remove(&key));
        }
        let now = clock::now();
        let kept = slots.entry(key).or_insert_with(|| Kept { used_at: now, slot: Arc::default() });
        kept.used_at = now;
        Arc::clone(&kept.slot)
    }
}

impl Slot {
    /// What is known, with the time of a look at the one tag that is followed: no list is asked for while the tag is known
    /// and the whole list is not due. Each tag has its own time, so that no other policy's look asks for it once more.
    fn followed(&mut self, ask: &Ask<'_>, now: Timestamp) -> Option<Scan> {
        let tag = ask.follows.filter(|_| !ask.hinted)?;
        let memory = self.memory.as_ref().filter(|memory| now < memory.relist_at && memory.names.has(tag))?;
        self.followed.retain(|_, at| now.duration_since(*at) < FOLLOWED_KEPT);
        let last = self.followed.get(tag).copied().unwrap_or(memory.listed_at).max(memory.listed_at);
        let at = if ask.not_before <= last { last } else { now };
        self.followed.insert(tag.clone(), at);
        let habit = Habit { reach: Reach::Followed(tag.clone()), requests: 1 };
        Some(Scan { at, reach: habit.reach.clone(), requests: 1, ..memory.scan(habit) })
    }

    /// Remembers what the policy could choose, so that every look sees it whoever takes it.
    fn note(&mut self, ask: &Ask<'_>, now: Timestamp) {
        let twice = ask.interval.checked_mul(2).unwrap_or(ask.interval);
        let until = now.checked_add(twice.max(WANTED_FOR)).unwrap_or(Timestamp::MAX);
        self.wanted.retain(|_, until| now < *until);
        match ask.beginnings {
            None => {
                self.wanted.insert(None, until);
            }
            Some(texts) => self.wanted.extend(texts.iter().map(|text| (Some(text.clone()), until))),
        }
    }

    /// What all policies of late could choose; `None` where one of them could choose any tag.
    fn wanted(&self) -> Option<BTreeSet<String>> {
        self.wanted.keys().cloned().collect()
    }

    fn fresh(&self, ask: &Ask<'_>, now: Timestamp) -> Option<Answer<Scan>> {
        if let Some(Failure { unknown, at, .. }) = &self.failure {
            let kept = unknown.retry_at.unwrap_or(*at);
            let least = at.checked_add(FAILED_KEPT).unwrap_or(Timestamp::MAX);
            // Who asks to look waits only where the registry itself asked us to.
            let until =
                if ask.hinted && unknown.reason != Reason::RegistryRateLimited { least } else { kept };
            return (now < until.max(least)).then(|| Answer::Unknown(unknown.clone()));
        }
        let memory = self.memory.as_ref()?;
        let reached_at = if memory.reaches(ask.beginnings) { memory.at } else { memory.listed_at };
        let listed = !ask.hinted || ask.not_before <= memory.listed_at;
        (ask.not_before <= reached_at && listed).then(|| Answer::Found(self.scan(memory, ask)))
    }

    /// What is known, as one policy reads it.
    fn scan(&self, memory: &Memory, ask: &Ask<'_>) -> Scan {
        match ask.follows.filter(|tag| memory.names.has(tag)) {
            Some(tag) => memory.scan(Habit { reach: Reach::Followed(tag.clone()), requests: 1 }),
            None => memory.scan(memory.habit(self.wanted().as_ref())),
        }
    }

    fn failed(&mut self, mut unknown: Unknown, ask: &Ask<'_>) {
        let at = clock::now();
        let n_in_a_row = self.failure.as_ref().map_or(1, |failure| failure.n_in_a_row.saturating_add(1));
        let most = FAILED_KEPT_MOST.min(ask.interval).max(FAILED_KEPT);
        let wait = FAILED_KEPT.checked_mul(1_i32.checked_shl(n_in_a_row.min(20) - 1).unwrap_or(i32::MAX));
        let wait = spread::full_jitter(wait.unwrap_or(most).min(most)).max(FAILED_KEPT);
        // The other side's own time counts where it named one.
        unknown.retry_at = unknown.retry_at.or_else(|| at.checked_add(wait).ok());
        self.failure = Some(Failure { unknown, at, n_in_a_row });
    }

    /// Looks: the part that is enough, and the whole list where that part disagrees with what is known.
    async fn look(&mut self, registry: &Registry, ask: &Ask<'_>) -> Result<(), Unknown> {
        let at = clock::now();
        let wanted = self.wanted();
        let plan = match &self.memory {
            Some(memory) if !ask.hinted => memory.plan(wanted.as_ref(), at),
            _ => Plan::Whole,
        };
        let is_enough = match &plan {
            Plan::Whole => false,
            Plan::Sentinel(tag) => self.is_quiet(registry, ask, tag, at).await?,
            Plan::Added(_) | Plan::Front(_) | Plan::Beginning(_) => {
                self.part(registry, ask, &plan, at).await? != Merged::Disagrees
            }
        };
        if is_enough {
            return Ok(());
        }
        let resolved = self.resolve_floaters(registry, ask, wanted.as_ref()).await;
        let list = match registry.tags(ask.repository, ask.credential).await {
            Answer::Found(list) => list,
            Answer::Unknown(unknown) => return Err(unknown),
            Answer::Absent => {
                let message = format!("{}: no list and no reason", ask.repository);
                return Err(Unknown { reason: Reason::RegistryUnavailable, message, retry_at: None });
            }
        };
        let name = ask.repository.to_string();
        let fraction = spread::fraction(&(name.as_str(), at.as_second()));
        let mut memory = Memory::listed(ask.repository.registry(), &list, self.memory.as_ref(), at, fraction);
        if ask.hinted {
            memory.changed_at = at;
        }
        let is_more = self.memory.as_ref().is_some_and(|before| memory.has_more_than(before));
        memory.floating.listed(resolved, is_more);
        self.memory = Some(memory);
        Ok(())
    }

    /// Whether the tag that moves with every release names what it named: then nothing was released.
    async fn is_quiet(
        &mut self,
        registry: &Registry,
        ask: &Ask<'_>,
        tag: &Tag,
        at: Timestamp,
    ) -> Result<bool, Unknown> {
        let named = registry.resolve(ask.repository, tag, ask.credential).await;
        let Some(memory) = &mut self.memory else { return Ok(false) };
        match (named, memory.floating.sentinel()) {
            (Answer::Unknown(unknown), _) => Err(unknown),
            (Answer::Found(digest), Some((_, known))) if digest == *known => {
                memory.looked(at, Reach::Sentinel(tag.clone()), 1, Merged::Same);
                Ok(true)
            }
            (Answer::Found(_) | Answer::Absent, _) => Ok(false),
        }
    }

    /// What the watched tags name, asked before the list, where a list costs more than a request.
    async fn resolve_floaters(
        &self,
        registry: &Registry,
        ask: &Ask<'_>,
        wanted: Option<&BTreeSet<String>>,
    ) -> Vec<(Tag, Answer<Digest>)> {
        let tags = self.memory.as_ref().map(|memory| memory.floaters(wanted)).unwrap_or_default();
        let ask_one = |tag: Tag| async move {
            let answer = registry.resolve(ask.repository, &tag, ask.credential).await;
            (tag, answer)
        };
        futures::future::join_all(tags.into_iter().map(ask_one)).await
    }

    async fn part(
        &mut self,
        registry: &Registry,
        ask: &Ask<'_>,
        plan: &Plan,
        at: Timestamp,
    ) -> Result<Merged, Unknown> {
        // Changed on a copy: a look that fails half-way leaves what was known.
        let Some(mut memory) = self.memory.clone() else { return Ok(Merged::Disagrees) };
        let mut n_requests = 0_usize;
        let mut merged = Merged::Same;
        for part in plan.parts() {
            let list = match registry.part(ask.repository, part, ask.credential).await {
                Answer::Found(list) => list,
                Answer::Absent => return Ok(Merged::Disagrees),
                Answer::Unknown(unknown) => return Err(unknown),
            };
            n_requests = n_requests.saturating_add(list.n_pages);
            match memory.add(plan, part, &list) {
                Merged::Disagrees => return Ok(Merged::Disagrees),
                Merged::More => merged = Merged::More,
                Merged::Same => {}
            }
        }
        memory.looked(at, plan.reach(), n_requests, merged);
        self.memory = Some(memory);
        Ok(merged)
    }
}
