//! `ImageLedger` ↔ core's `Ledger`. An entry that cannot be read is left out, except a failure: an unreadable tag there
//! becomes `unknown`, for a quarantined digest must never be forgotten.

use rollforward_api::ledger as api;
use rollforward_core::image::{Digest, Repository, Tag};
use rollforward_core::ledger::{
    Abandoned, Failure, Ledger, Newest, Reapplied, RunMemory, Sighting, Tally, WorkloadMemory,
};
use rollforward_core::levers::Lever;
use rollforward_core::text::clean;

use super::{reason, time};

/// Reads a ledger.
#[must_use]
pub fn from_api(repository: &Repository, object: &api::ImageLedger) -> Ledger {
    let mut ledger = Ledger::new(repository.clone());
    let Some(status) = &object.status else {
        return ledger;
    };
    for entry in &status.tags {
        let Ok(tag) = Tag::parse(&entry.tag) else { continue };
        let sightings = entry.digests.iter().filter_map(|seen| {
            Some(Sighting { digest: Digest::parse(&seen.digest).ok()?, first_seen: seen.first_seen.0 })
        });
        ledger.tags.insert(tag, sightings.collect());
    }
    for entry in &status.quarantine {
        let Ok(digest) = Digest::parse(&entry.digest) else {
            continue;
        };
        let Some(tag) = Tag::parse(&entry.tag).or_else(|_| Tag::parse("unknown")).ok() else {
            continue;
        };
        let failure = Failure {
            tag,
            reason: reason(&entry.reason),
            message: entry.message.clone(),
            run: entry.run.clone(),
            fails: u32::try_from(entry.fails).unwrap_or(0),
            signature: entry.signature.clone(),
            since: entry.since.0,
            retry_at: entry.retry_at.as_ref().map(|at| at.0),
            quarantined: entry.quarantined,
            retry_by: entry
                .retry_by
                .as_ref()
                .map(|asked| Lever { by: asked.by.clone(), at: asked.at.as_ref().map(|at| at.0) }),
        };
        ledger.failures.insert(digest, failure);
    }
    for entry in &status.workloads {
        let memory = WorkloadMemory {
            uid: entry.uid.clone(),
            completed: entry.completed.as_deref().and_then(|tag| Tag::parse(tag).ok()),
            wrote: entry.wrote.clone(),
            abandoned: entry.abandoned.as_ref().and_then(|left| {
                Some(Abandoned { tag: Tag::parse(&left.tag).ok()?, at: left.at.0, by: left.by.clone() })
            }),
            reapplied: entry.reapplied.as_ref().and_then(|again| {
                let times = u32::try_from(again.times).unwrap_or(0);
                Some(Reapplied { tag: Tag::parse(&again.tag).ok()?, times })
            }),
            newest_inside: entry.newest_inside.as_ref().and_then(newest),
            newest_outside: entry.newest_outside.as_ref().and_then(newest),
            runs: entry.runs.as_ref().map(runs).unwrap_or_default(),
        };
        ledger.workloads.insert(entry.key.clone(), memory);
    }
    ledger
}

fn newest(entry: &api::Newest) -> Option<Newest> {
    Some(Newest { tag: Tag::parse(&entry.tag).ok()?, first_seen: entry.first_seen.0 })
}

/// A ledger on the wire.
#[must_use]
pub fn to_status(ledger: &Ledger) -> api::ImageLedgerStatus {
    let Ledger { repository: _, tags, failures, workloads } = ledger;
    let tags = tags.iter().map(|(tag, sightings)| api::TagEntry {
        tag: tag.to_string(),
        digests: sightings
            .iter()
            .map(|seen| api::Sighting { digest: seen.digest.to_string(), first_seen: time(seen.first_seen) })
            .collect(),
    });
    let quarantine = failures.iter().map(|(digest, failure)| api::Failure {
        digest: digest.to_string(),
        tag: failure.tag.to_string(),
        reason: failure.reason.code().to_owned(),
        message: clean(&failure.message, 500),
        run: failure.run.clone(),
        fails: i32::try_from(failure.fails).unwrap_or(i32::MAX),
        signature: clean(&failure.signature, 500),
        since: time(failure.since),
        retry_at: failure.retry_at.map(time),
        quarantined: failure.quarantined,
        retry_by: failure
            .retry_by
            .as_ref()
            .map(|asked| api::AskedBy { by: clean(&asked.by, 250), at: asked.at.map(time) }),
    });
    let newest =
        |newest: &Newest| api::Newest { tag: newest.tag.to_string(), first_seen: time(newest.first_seen) };
    let workloads = workloads.iter().map(|(key, memory)| api::WorkloadMemory {
        key: key.clone(),
        uid: memory.uid.clone(),
        completed: memory.completed.as_ref().map(ToString::to_string),
        wrote: memory.wrote.clone(),
        abandoned: memory.abandoned.as_ref().map(|left| api::Abandoned {
            tag: left.tag.to_string(),
            at: time(left.at),
            by: clean(&left.by, 200),
        }),
        reapplied: memory.reapplied.as_ref().map(|again| api::Reapplied {
            tag: again.tag.to_string(),
            times: i32::try_from(again.times).unwrap_or(i32::MAX),
        }),
        newest_inside: memory.newest_inside.as_ref().map(newest),
        newest_outside: memory.newest_outside.as_ref().map(newest),
        runs: (memory.runs != RunMemory::default()).then(|| runs_to_api(&memory.runs)),
    });
    api::ImageLedgerStatus {
        tags: tags.collect(),
        quarantine: quarantine.collect(),
        workloads: workloads.collect(),
    }
}

fn runs(entry: &api::RunMemory) -> RunMemory {
    let count = |count: i32| u32::try_from(count).unwrap_or(0);
    let tallies = entry.tallies.iter().map(|tally| Tally {
        image: tally.image.clone(),
        failures: count(tally.failures),
        successes: count(tally.successes),
        exits: tally.exits.iter().map(|exit| (exit.by.clone(), count(exit.count))).collect(),
    });
    RunMemory { tallies: tallies.collect(), counted: entry.counted.clone() }
}

fn runs_to_api(runs: &RunMemory) -> api::RunMemory {
    let RunMemory { tallies, counted } = runs;
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let tallies = tallies.iter().map(|tally| api::Tally {
        image: tally.image.clone(),
        failures: count(tally.failures),
        successes: count(tally.successes),
        exits: tally
            .exits
            .iter()
            .map(|(by, times)| api::Exit { by: clean(by, 64), count: count(*times) })
            .collect(),
    });
    api::RunMemory { tallies: tallies.collect(), counted: counted.clone() }
}
