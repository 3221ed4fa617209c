//! What runs, what a person did to it since the last pass, and which candidates follow.
//!
//! "Current" is the declared tag where it can be ordered, with the digest that the pods report: never what the registry
//! answers today for that tag. A version that a person left is remembered, and everything up to it is held.

use crate::decide::{Hold, Standing};
use crate::evidence::Answer;
use crate::image::{Digest, ImageRef, Tag};
use crate::ledger::{Abandoned, WorkloadMemory};
use crate::policy::{Facts, Track};
use crate::reason::Reason;
use crate::rollout::OpenRun;
use crate::select::{self, Query, Selection};
use crate::version::Version;

/// The version that runs on a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// The image of the template.
    pub image: ImageRef,
    /// Its tag, where it has one.
    pub tag: Option<Tag>,
    /// The digest that the template pins, or that the pods report.
    pub digest: Option<Digest>,
}

/// What one track may move to.
#[derive(Debug, Clone)]
pub enum Choice {
    /// Candidates in order, and a reason for every other tag.
    Candidates(Selection),
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
            let current = current(track);
            let memory = remember(facts, track, current.as_ref());
            let choice = match ready(facts, track, current.as_ref()) {
                Err(hold) => Choice::Blocked(*hold),
                Ok(tags) => Choice::Candidates(candidates(facts, current.as_ref(), &memory, tags)),
            };
            Chosen { track: index, current, memory, choice }
        })
        .collect()
}

/// The open run on a track, where there is one.
#[must_use]
pub fn open_run<'a>(facts: &'a Facts, track: &Track) -> Option<&'a OpenRun> {
    facts.seen.open_runs.iter().find(|open| open.run.track == track.key)
}

fn current(track: &Track) -> Option<Current> {
    let (container, image) = track.containers.first()?;
    let running = track
        .pods
        .iter()
        .filter(|pod| !pod.deleting)
        .flat_map(|pod| &pod.containers)
        .filter(|status| status.name == container.name && status.image == container.image)
        .find_map(|status| status.running_digest.clone());
    Some(Current { image: image.clone(), tag: image.tag.clone(), digest: image.digest.clone().or(running) })
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
        let completed = tag.filter(select::is_ordered);
        return WorkloadMemory {
            uid: track.workload.id.uid.clone(),
            completed,
            wrote: declared,
            abandoned: None,
        };
    };
    if open_run(facts, track).is_some() || known.wrote == declared {
        return known.clone();
    }
    moved_by_somebody(facts, track, known, tag, declared)
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
    match (Version::parse(tag.as_str()), Version::parse(completed.as_str())) {
        (Some(now), Some(before)) if now < before => {
            let (by, at) =
                track.workload.image_writer.clone().unwrap_or_else(|| ("somebody".to_owned(), facts.now));
            memory.abandoned = Some(abandon(known.abandoned.as_ref(), completed, by, at));
            memory.completed = Some(tag);
        }
        (Some(now), Some(before)) if before < now => {
            let beyond = |left: &Abandoned| Version::parse(left.tag.as_str()).is_none_or(|left| left < now);
            if memory.abandoned.as_ref().is_some_and(beyond) {
                memory.abandoned = None;
            }
            memory.completed = Some(tag);
        }
        _ => {}
    }
    memory
}

/// The manual rollback to remember: the higher of the version left now and one left before.
#[must_use]
pub fn abandon(before: Option<&Abandoned>, left: &Tag, by: String, at: jiff::Timestamp) -> Abandoned {
    let higher = before.filter(|before| Version::parse(left.as_str()) < Version::parse(before.tag.as_str()));
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
    let tag = current.and_then(|current| current.tag.as_ref());
    if !tag.is_some_and(select::is_ordered) && !facts.policy.adopt {
        let shown = tag.map_or_else(|| "no tag".to_owned(), |tag| format!("tag {tag}"));
        return Err(Box::new(
            Hold::new(Reason::CurrentVersionUnknown, Standing::Stalled)
                .expected("a version in the running tag")
                .observed(format!("{shown} on {}", track.key))
                .hint("Deploy a versioned tag, or set `image.adopt: Allow`."),
        ));
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

fn registry_hint(reason: Reason) -> &'static str {
    if reason == Reason::RegistryUnauthorized {
        "Check the pull secret of the workload."
    } else if reason == Reason::RepositoryNotFound {
        "Check the repository's name and the pull secret of the workload."
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
    tags: &[String],
) -> Selection {
    let policy = &facts.policy;
    let query = Query {
        rule: &policy.rule,
        variant: policy.variant,
        filter: &policy.filter,
        current: current.and_then(|current| current.tag.as_ref()).filter(|tag| select::is_ordered(tag)),
        floor: memory.completed.as_ref(),
        abandoned: memory.abandoned.as_ref().map(|left| &left.tag),
        allow_downgrade: policy.allow_downgrade,
    };
    select::select(&query, tags.iter().map(String::as_str))
}
