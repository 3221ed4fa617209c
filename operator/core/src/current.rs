//! What runs, what a person did to it since the last pass, and which candidates follow.
//!
//! "Current" is the declared tag where it can be ordered, with the digest that the pods report: never what the registry
//! answers today for that tag. Where it cannot, a tag that the ledger saw with that digest stands for it. A version that a
//! person left is remembered, and everything up to it is held.

use std::cmp::Ordering;

use crate::decide::{Hold, Standing};
use crate::evidence::Answer;
use crate::image::{Digest, ImageRef, Tag};
use crate::ledger::{Abandoned, Newest, Reapplied, RunMemory, WorkloadMemory};
use crate::policy::{Facts, OnExternalChange, Policy, Rebuilds, Track};
use crate::reason::Reason;
use crate::rollout::{OpenRun, Run};
use crate::select::{self, Order, Query, Rule, Shortlist};
use crate::workload::Pod;

/// The version that runs on a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// The image of the template.
    pub image: ImageRef,
    /// Its tag, where it has one.
    pub tag: Option<Tag>,
    /// The digest that the template pins, or that the pods report.
    pub digest: Option<Digest>,
    /// The tag that tells its version: the declared one where the rule can order it, else one that the ledger saw with the
    /// same digest.
    pub known_as: Option<Tag>,
}

impl Current {
    /// The tag that it is spoken of by; a digest alone that the ledger never saw has none.
    #[must_use]
    pub fn named(&self) -> Option<&Tag> {
        self.tag.as_ref().or(self.known_as.as_ref())
    }

    /// The running tag, where a push of other content to it would be a rebuild: it tells the version itself.
    #[must_use]
    pub fn rebuilt_tag(&self) -> Option<&Tag> {
        self.tag.as_ref().filter(|tag| self.known_as.as_ref() == Some(tag))
    }
}

/// What one track may move to.
#[derive(Debug, Clone)]
pub enum Choice {
    /// Candidates in order, and a reason for every other tag.
    Candidates(Shortlist),
    /// Nothing can be chosen, and why.
    Blocked(Hold),
}

/// The choice of one track, with what it was made from.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// Index into the facts' tracks.
    pub track: usize,
    /// What runs.
    pub current: Option<Current>,
    /// The memory of the track, brought up to date.
    pub memory: WorkloadMemory,
    /// What it may move to.
    pub choice: Choice,
    /// The version that the running image gives itself, where it is known.
    pub label: Option<String>,
    /// Tags to resolve once, so that the running digest may be found among them.
    pub probe: Vec<Tag>,
}

/// Chooses for every track. No I/O; the order of the tag list does not matter.
#[must_use = "the choice is what is judged"]
pub fn choose(facts: &Facts) -> Vec<Chosen> {
    facts
        .seen
        .tracks
        .iter()
        .enumerate()
        .map(|(index, track)| {
            let current = current(facts, track);
            let mut memory = remember(facts, track, current.as_ref());
            let mut probe = Vec::new();
            let choice = match ready(facts, track, current.as_ref()) {
                Ok(tags) => {
                    let list = candidates(facts, current.as_ref(), &memory, None, tags);
                    memory = newest(facts, current.as_ref(), memory, &list);
                    Choice::Candidates(list)
                }
                Err(hold) => {
                    if hold.reason == Reason::CurrentVersionUnknown {
                        probe = probes(facts, track, &memory);
                    }
                    Choice::Blocked(*hold)
                }
            };
            Chosen { track: index, current, memory, choice, label: None, probe }
        })
        .collect()
}

/// The open run on a track, where there is one.
#[must_use]
pub fn open_run<'a>(facts: &'a Facts, track: &Track) -> Option<&'a OpenRun> {
    facts.seen.open_runs.iter().find(|open| open.run.track == track.key)
}

fn current(facts: &Facts, track: &Track) -> Option<Current> {
    let (container, image) = track.containers.first()?;
    let running = track
        .pods
        .iter()
        .filter(|pod| !pod.deleting)
        .flat_map(|pod| &pod.containers)
        .filter(|status| status.name == container.name && status.image == container.image)
        .find_map(|status| status.running_digest.clone());
    let digest = image.digest.clone().or(running);
    let known_as = known_as(facts, track, image, digest.as_ref());
    Some(Current { image: image.clone(), tag: image.tag.clone(), digest, known_as })
}

/// The tag that tells the version. Of a pinned image the digest counts: where the ledger never saw it under the declared
/// tag, but under another, that one tells.
fn known_as(facts: &Facts, track: &Track, image: &ImageRef, digest: Option<&Digest>) -> Option<Tag> {
    let order = facts.policy.order();
    let ledger = facts.seen.repositories.get(&track.repository).map(|seen| &seen.ledger);
    let declared = image.tag.as_ref().filter(|tag| order.orders(tag));
    let by_digest = |digest: &Digest| {
        let named = ledger?.tags.iter().filter(|(tag, seen)| {
            order.orders(tag) && seen.last().is_some_and(|last| last.digest == *digest)
        });
        let newer =
            |one: &&Tag, two: &&Tag| order.compare(one, two).unwrap_or(Ordering::Equal).then(one.cmp(two));
        named.map(|(tag, _)| tag).max_by(newer).cloned()
    };
    match (declared, &image.digest) {
        (Some(tag), Some(pinned)) => {
            let fits = ledger.is_none_or(|ledger| ledger.first_seen(tag, pinned).is_some());
            let other = if fits { None } else { by_digest(pinned) };
            other.or_else(|| Some(tag.clone()))
        }
        (Some(tag), None) => Some(tag.clone()),
        (None, _) => digest.and_then(by_digest),
    }
}

/// The newest listed tags that the ledger does not know: one of them may be what runs.
fn probes(facts: &Facts, track: &Track, memory: &WorkloadMemory) -> Vec<Tag> {
    let Some(seen) = facts.seen.repositories.get(&track.repository) else {
        return Vec::new();
    };
    let Answer::Found(scan) = &seen.scan else { return Vec::new() };
    let best = candidates(facts, None, memory, None, &scan.tags).best;
    best.into_iter().filter(|tag| !seen.ledger.tags.contains_key(tag)).collect()
}

/// Notes the newest versions inside and outside the rule. A record changes only where the newest does: nothing else of a
/// list makes a write. A newest version that goes away again (a deleted tag, a person's way back) leaves its record, as long
/// as the rule allows it.
fn newest(
    facts: &Facts,
    current: Option<&Current>,
    memory: WorkloadMemory,
    list: &Shortlist,
) -> WorkloadMemory {
    let order = facts.policy.order();
    let running = current.and_then(|current| current.known_as.as_ref());
    let seen = |tag: &Tag| Newest { tag: tag.clone(), first_seen: facts.now };
    let inside = list.best.first().or(running);
    let newest_inside = match (memory.newest_inside.clone(), inside) {
        (Some(known), Some(now)) => {
            let is_above = order.compare(&known.tag, now) == Some(Ordering::Greater);
            let stays = known.tag == *now || (is_above && admits(&facts.policy, running, &known.tag));
            Some(if stays { known } else { seen(now) })
        }
        (None, Some(now)) => Some(seen(now)),
        (_, None) => None,
    };
    let known =
        memory.newest_outside.clone().filter(|known| list.newest_outside.as_ref() == Some(&known.tag));
    let newest_outside = known.or_else(|| list.newest_outside.as_ref().map(seen));
    WorkloadMemory { newest_inside, newest_outside, ..memory }
}

/// Brings the memory of a track up to date with what somebody else wrote into the template.
fn remember(facts: &Facts, track: &Track, current: Option<&Current>) -> WorkloadMemory {
    let known = facts
        .seen
        .repositories
        .get(&track.repository)
        .and_then(|seen| seen.ledger.workloads.get(&track.key))
        .filter(|memory| memory.uid == track.workload.id.uid);
    let declared = current.map(|current| current.image.to_string());
    let tag = current.and_then(|current| current.tag.clone());
    let Some(known) = known else {
        let completed = current.and_then(|current| current.known_as.clone());
        return WorkloadMemory {
            uid: track.workload.id.uid.clone(),
            completed,
            wrote: declared,
            unseen: !is_seen(track, None),
            abandoned: None,
            reapplied: None,
            newest_inside: None,
            newest_outside: None,
            runs: RunMemory::default(),
        };
    };
    if open_run(facts, track).is_some() {
        return known.clone();
    }
    let is_seen = is_seen(track, Some(known));
    if known.wrote == declared {
        let unseen = known.unseen && !is_seen;
        return WorkloadMemory { unseen, ..went_on(facts, track, known, current) };
    }
    let unseen = !is_seen;
    if let Some(memory) = unpinned_by_somebody(facts, track, known, current) {
        return WorkloadMemory { wrote: declared, unseen, ..memory };
    }
    WorkloadMemory { unseen, ..moved_by_somebody(facts, track, known, tag, declared) }
}

/// Whether something that runs the template's image is well: a Ready pod, or of a CronJob a run that succeeded.
fn is_seen(track: &Track, known: Option<&WorkloadMemory>) -> bool {
    let Some((container, _)) = track.containers.first() else { return false };
    if track.workload.cron_job().is_some() {
        let mut tallies = known.into_iter().flat_map(|known| &known.runs.tallies);
        return tallies.any(|tally| tally.image == container.image && tally.failures < tally.successes);
    }
    let runs = |pod: &&Pod| {
        pod.containers.iter().any(|own| own.name == container.name && own.image == container.image)
    };
    track.pods.iter().filter(runs).any(|pod| !pod.deleting && pod.ready_since.is_some())
}

/// A rebuild that was pushed after a person went back from the tag, and runs, ends what was held for them.
fn went_on(
    facts: &Facts,
    track: &Track,
    known: &WorkloadMemory,
    current: Option<&Current>,
) -> WorkloadMemory {
    let ledger = facts.seen.repositories.get(&track.repository).map(|seen| &seen.ledger);
    let first_seen =
        current.and_then(|current| ledger?.first_seen(current.tag.as_ref()?, current.image.digest.as_ref()?));
    let is_later = |left: &Abandoned| {
        let same_tag = current.is_some_and(|current| current.tag.as_ref() == Some(&left.tag));
        same_tag && first_seen.is_some_and(|seen| left.at < seen)
    };
    let abandoned = known.abandoned.clone().filter(|left| !is_later(left));
    WorkloadMemory { abandoned, ..known.clone() }
}

/// A person who keeps the tag and goes back to what it named before, or takes the digest away that we wrote, has left the
/// rebuild. `None` where that is not what happened.
fn unpinned_by_somebody(
    facts: &Facts,
    track: &Track,
    known: &WorkloadMemory,
    current: Option<&Current>,
) -> Option<WorkloadMemory> {
    let wrote = ImageRef::parse(known.wrote.as_deref()?).ok()?;
    let (tag, before) = (wrote.tag.as_ref()?, wrote.digest.as_ref()?);
    let image = &current?.image;
    if image.tag.as_ref() != Some(tag) {
        return None;
    }
    let ledger = &facts.seen.repositories.get(&track.repository)?.ledger;
    let since = ledger.first_seen(tag, before)?;
    let went_back = match &image.digest {
        Some(now) => ledger.first_seen(tag, now).is_some_and(|now| now < since),
        None => ledger.moved_from(tag, before).is_some(),
    };
    let (by, at) = track.workload.image_writer.clone().unwrap_or_else(|| ("somebody".to_owned(), facts.now));
    let abandoned = went_back.then(|| Abandoned { tag: tag.clone(), at, by })?;
    Some(WorkloadMemory { abandoned: Some(abandoned), ..known.clone() })
}

fn moved_by_somebody(
    facts: &Facts,
    track: &Track,
    known: &WorkloadMemory,
    tag: Option<Tag>,
    declared: Option<String>,
) -> WorkloadMemory {
    let mut memory = WorkloadMemory { wrote: declared, ..known.clone() };
    let (Some(tag), Some(completed)) = (tag, known.completed.as_ref()) else {
        return memory;
    };
    let order = facts.policy.order();
    match order.compare(&tag, completed) {
        Some(Ordering::Less) => {
            let (by, at) =
                track.workload.image_writer.clone().unwrap_or_else(|| ("somebody".to_owned(), facts.now));
            went_back(facts, &mut memory, completed, by, at);
            memory.completed = Some(tag);
        }
        Some(Ordering::Greater) => {
            let beyond = |left: &Abandoned| order.compare(&left.tag, &tag).is_none_or(Ordering::is_le);
            if memory.abandoned.as_ref().is_some_and(beyond) {
                memory.abandoned = None;
            }
            memory.completed = Some(tag);
        }
        // Another variant of the same version: the floor follows it.
        Some(Ordering::Equal) => memory.completed = Some(tag),
        None => {}
    }
    memory
}

/// How often a version is rolled out again before the two who write it are told to agree.
pub const MAX_REAPPLIED: u32 = 3;

/// Somebody else went back from a version: held, or, where the policy says that a machine does so, rolled out again; not for
/// ever, for that would be two writers who fight.
pub fn went_back(facts: &Facts, memory: &mut WorkloadMemory, left: &Tag, by: String, at: jiff::Timestamp) {
    let times = memory.reapplied.as_ref().filter(|known| known.tag == *left).map_or(0, |known| known.times);
    let again = match facts.policy.on_external_change {
        OnExternalChange::Hold => false,
        OnExternalChange::Reapply => times < MAX_REAPPLIED,
    };
    if again {
        memory.reapplied = Some(Reapplied { tag: left.clone(), times: times.saturating_add(1) });
    } else {
        let order = facts.policy.order();
        memory.abandoned = Some(abandon(order, memory.abandoned.as_ref(), left, by, at));
    }
}

/// The manual rollback to remember: the higher of the version left now and one left before.
#[must_use]
pub fn abandon(
    order: Order<'_>,
    before: Option<&Abandoned>,
    left: &Tag,
    by: String,
    at: jiff::Timestamp,
) -> Abandoned {
    let higher = before.filter(|before| order.compare(left, &before.tag) == Some(Ordering::Less));
    match higher {
        Some(before) => before.clone(),
        None => Abandoned { tag: left.clone(), at, by },
    }
}

/// The tags to choose from, or why there is nothing to choose.
fn ready<'a>(
    facts: &'a Facts,
    track: &'a Track,
    current: Option<&Current>,
) -> Result<&'a [String], Box<Hold>> {
    if let Some(other) = &track.conflict {
        return Err(Box::new(
            Hold::new(Reason::TargetConflict, Standing::Stalled)
                .expected("one policy for a container")
                .observed(format!("policy {other} is older and moves {}", track.key))
                .hint("Delete one of the two policies, or narrow `containers`."),
        ));
    }
    if !facts.policy.adopt
        && let Some(hold) = unknown(facts, track, current)
    {
        return Err(Box::new(hold));
    }
    let scan = facts.seen.repositories.get(&track.repository).map(|seen| seen.scan.as_ref());
    match scan {
        Some(Answer::Found(scan)) if scan.tags.is_empty() => {
            let hold = Hold::new(Reason::TagListEmpty, Standing::NotReady)
                .expected("at least the running tag in the list")
                .observed("an empty list")
                .hint("The workload stays as it is; an empty list is never read as a deletion.");
            Err(Box::new(hold))
        }
        Some(Answer::Found(scan)) => Ok(&scan.tags),
        Some(Answer::Unknown(unknown)) => {
            let hold = Hold::new(unknown.reason, Standing::NotReady)
                .expected("a list of tags")
                .observed(unknown.message.clone())
                .hint(registry_hint(unknown.reason))
                .until(unknown.retry_at);
            Err(Box::new(hold))
        }
        Some(Answer::Absent) | None => {
            let hold = Hold::new(Reason::RepositoryNotFound, Standing::NotReady)
                .expected("a list of tags")
                .observed("no such repository")
                .hint(registry_hint(Reason::RepositoryNotFound));
            Err(Box::new(hold))
        }
    }
}

/// The hold of a track whose version, or for `digest` whose digest, cannot be told.
fn unknown(facts: &Facts, track: &Track, current: Option<&Current>) -> Option<Hold> {
    let tag = current.and_then(|current| current.tag.as_ref());
    let shown = tag.map_or_else(|| "no tag".to_owned(), |tag| format!("tag {tag}"));
    if matches!(facts.policy.rule, Rule::Digest(_)) {
        let known = current.is_some_and(|current| current.digest.is_some());
        return (!known).then(|| {
            Hold::new(Reason::CurrentVersionUnknown, Standing::Waits)
                .expected("a digest that the template pins or a pod reports")
                .observed(format!("{shown} and no running pod of {}", track.key))
                .hint("Nothing to do once a pod runs; to go without set `image.adopt: Allow`.")
        });
    }
    let known = current.is_some_and(|current| current.known_as.is_some());
    (!known).then(|| {
        Hold::new(Reason::CurrentVersionUnknown, Standing::Stalled)
            .expected("a version in the running tag, or a running digest that one of the newest tags names")
            .observed(format!("{shown} on {}", track.key))
            .hint("Deploy a versioned tag, or set `image.adopt: Allow`.")
    })
}

fn registry_hint(reason: Reason) -> &'static str {
    if reason == Reason::RegistryUnauthorized {
        "Check the pull secret of the workload."
    } else if reason == Reason::RepositoryNotFound {
        "Check the repository's name and the pull secret of the workload."
    } else if reason == Reason::SourceAmbiguous {
        "Narrow `image.repositories` or `containers` to one repository, or write one policy for each."
    } else if reason == Reason::InsecureRegistry {
        "Add the host to `registries.plainHttp` of the operator's configuration."
    } else {
        "Nothing to do; tried again by itself."
    }
}

fn candidates(
    facts: &Facts,
    current: Option<&Current>,
    memory: &WorkloadMemory,
    label: Option<&str>,
    tags: &[String],
) -> Shortlist {
    select::select(&query(facts, current, memory, label), tags).shortlist()
}

fn query<'a>(
    facts: &'a Facts,
    current: Option<&'a Current>,
    memory: &'a WorkloadMemory,
    label: Option<&'a str>,
) -> Query<'a> {
    let policy = &facts.policy;
    Query {
        rule: &policy.rule,
        variant: &policy.variant,
        filter: &policy.filter,
        current: current.and_then(|current| current.known_as.as_ref()),
        floor: memory.completed.as_ref(),
        label,
        abandoned: memory.abandoned.as_ref().map(|left| &left.tag),
        allow_downgrade: policy.allow_downgrade,
    }
}

/// The choice again, with the version that the running image gives itself: it may only raise the floor.
#[must_use]
pub fn with_label(facts: &Facts, chosen: Chosen, label: String) -> Chosen {
    let Chosen { current, memory, choice, .. } = &chosen;
    let track = facts.seen.tracks.get(chosen.track);
    let seen = track.and_then(|track| facts.seen.repositories.get(&track.repository));
    let asked = query(facts, current.as_ref(), memory, Some(&label));
    let choice = match (choice, seen.map(|seen| &seen.scan)) {
        (Choice::Candidates(_), Some(Answer::Found(scan))) if select::raises_floor(&asked) => {
            Choice::Candidates(select::select(&asked, &scan.tags).shortlist())
        }
        (Choice::Candidates(_) | Choice::Blocked(_), _) => choice.clone(),
    };
    Chosen { choice, label: Some(label), ..chosen }
}

/// Whether an edited policy would still choose what a run moves to.
#[must_use]
pub fn still_admits(policy: &Policy, run: &Run) -> bool {
    let follows = policy.rebuilds == Rebuilds::Follow && policy.order().orders(&run.to_tag);
    if run.from_tag.as_ref() == Some(&run.to_tag) && follows {
        return true;
    }
    admits(policy, run.from_tag.as_ref(), &run.to_tag)
}

/// Whether a policy would choose a tag beside a running one, were there no memory.
fn admits(policy: &Policy, running: Option<&Tag>, tag: &Tag) -> bool {
    let query = Query {
        rule: &policy.rule,
        variant: &policy.variant,
        filter: &policy.filter,
        current: running,
        floor: None,
        label: None,
        abandoned: None,
        allow_downgrade: policy.allow_downgrade,
    };
    select::select(&query, &[tag.as_str()]).candidates().len() == 1
}
