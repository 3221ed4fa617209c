//! `ImageLedger` ↔ core's `Ledger`. An entry that cannot be read is left out, except a failure or a contradiction: an unreadable
//! tag there becomes `unknown`, for a quarantined or contradicted digest must never be forgotten.

use rollforward_api::ledger as api;
use rollforward_core::image::{Digest, Repository, Tag};
use rollforward_core::ledger::{
    Abandoned, Claim, ClaimedBy, Contradicted, Failure, KnownSigner, Ledger, Newest, Reapplied, RunMemory,
    Sighting, Tally, WorkloadMemory,
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
            earlier_runs: entry.earlier_runs.clone(),
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
    ledger.contradictions.extend(status.contradictions.iter().flatten().filter_map(contradiction));
    ledger.signers.extend(status.signers.iter().flatten().map(|entry| {
        let known = KnownSigner { first_seen: entry.first_seen.0, last_used: entry.last_used.0 };
        (entry.identity.clone(), known)
    }));
    for entry in &status.workloads {
        let memory = WorkloadMemory {
            uid: entry.uid.clone(),
            completed: entry.completed.as_deref().and_then(|tag| Tag::parse(tag).ok()),
            wrote: entry.wrote.clone(),
            unseen: entry.unseen == Some(true),
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

/// A claim of a kind that this version does not know counts as one of a certificate, where it was read.
fn contradiction(entry: &api::Contradiction) -> Option<(Claim, Contradicted)> {
    let by = ClaimedBy::ALL.into_iter().find(|by| by.name() == entry.claimed_by);
    let claim = Claim {
        digest: Digest::parse(&entry.digest).ok()?,
        tag: Tag::parse(&entry.tag).or_else(|_| Tag::parse("unknown")).ok()?,
        by: by.unwrap_or(ClaimedBy::Certificate),
        text: entry.claim.clone(),
    };
    Some((claim, Contradicted { reason: reason(&entry.reason), first_seen: entry.first_seen.0 }))
}

fn newest(entry: &api::Newest) -> Option<Newest> {
    Some(Newest { tag: Tag::parse(&entry.tag).ok()?, first_seen: entry.first_seen.0 })
}

/// A ledger on the wire.
#[must_use]
pub fn to_status(ledger: &Ledger) -> api::ImageLedgerStatus {
    let Ledger { repository: _, tags, failures, contradictions, signers, workloads } = ledger;
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
        earlier_runs: failure.earlier_runs.clone(),
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
    let contradictions = contradictions.iter().map(|(claim, known)| api::Contradiction {
        digest: claim.digest.to_string(),
        tag: claim.tag.to_string(),
        reason: known.reason.code().to_owned(),
        claimed_by: claim.by.name().to_owned(),
        claim: claim.text.clone(),
        first_seen: time(known.first_seen),
    });
    let signers = signers.iter().map(|(identity, known)| api::KnownSigner {
        identity: identity.clone(),
        first_seen: time(known.first_seen),
        last_used: time(known.last_used),
    });
    let newest =
        |newest: &Newest| api::Newest { tag: newest.tag.to_string(), first_seen: time(newest.first_seen) };
    let workloads = workloads.iter().map(|(key, memory)| api::WorkloadMemory {
        key: key.clone(),
        uid: memory.uid.clone(),
        completed: memory.completed.as_ref().map(ToString::to_string),
        wrote: memory.wrote.clone(),
        unseen: memory.unseen.then_some(true),
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
        contradictions: some(contradictions),
        signers: some(signers),
        workloads: workloads.collect(),
    }
}

fn some<T>(entries: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let entries: Vec<T> = entries.collect();
    (!entries.is_empty()).then_some(entries)
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use rollforward_core::ledger::contradiction::MAX_CONTRADICTIONS;
    use rollforward_core::ledger::rebase::{MAX_FAILURES, MAX_WORKLOADS, rebase};
    use rollforward_core::ledger::signers::MAX_SIGNERS;
    use rollforward_core::ledger::size::{MAX_BYTES, MIN_TAGS};
    use rollforward_core::ledger::{MAX_DIGESTS_PER_TAG, MAX_EARLIER_RUNS, MAX_TAGS, NewFailure};
    use rollforward_core::reason::Reason;

    use super::*;

    fn at(second: usize) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + i64::try_from(second).unwrap()).unwrap()
    }
    fn digest(number: usize) -> Digest {
        Digest::parse(&format!("sha256:{number:064x}")).unwrap()
    }
    fn tag(number: usize) -> Tag {
        Tag::parse(&format!("1.{number}.0-alpine3.20")).unwrap()
    }
    fn empty() -> Ledger {
        Ledger::new(Repository::parse("ghcr.io/acme/web").unwrap())
    }

    /// Every list as long as it may be, but for failures and tracks: so many of each.
    fn full(n_failures: usize, n_workloads: usize) -> Ledger {
        let mut ledger = empty();
        let each = (0..n_failures).flat_map(|number| (0..=MAX_EARLIER_RUNS).map(move |run| (number, run)));
        for (number, run) in each {
            let failure = NewFailure {
                tag: tag(number),
                reason: Reason::CrashExit,
                message: format!("3 crashes of \"app\": exit 78, {}", "x".repeat(120)),
                run: format!("web-app-{number}-{run}"),
                signature: "app: exit 78".to_owned(),
                blames_image: true,
                deterministic: true,
                after_fails: 2,
                retry_after: SignedDuration::from_mins(30),
            };
            ledger.failed(&digest(number), failure, at(number));
        }
        let memory = WorkloadMemory {
            uid: "0b4ad4ac-3d0b-4e5f-9f7e-000000000000".to_owned(),
            completed: Some(tag(1)),
            wrote: Some(format!("ghcr.io/acme/web:{}@{}", tag(1), digest(1))),
            unseen: true,
            abandoned: None,
            reapplied: None,
            newest_inside: Some(Newest { tag: tag(1), first_seen: at(0) }),
            newest_outside: Some(Newest { tag: tag(2), first_seen: at(0) }),
            runs: RunMemory::default(),
        };
        for number in 0..n_workloads {
            ledger.workloads.insert(format!("Deployment/web-{number}/app"), memory.clone());
        }
        for number in 0..MAX_CONTRADICTIONS + 9 {
            let said = format!("refs/tags/v{number}.0.0");
            let claim = Claim::new(&digest(number), &tag(number), ClaimedBy::Certificate, &said);
            ledger.contradicted(claim, Reason::VersionMismatch, at(number));
        }
        for number in 0..MAX_SIGNERS + 9 {
            let workflow = format!("https://github.com/acme/web/.github/workflows/{number}.yml");
            ledger.vouched(&[format!("https://issuer.acme.test {workflow}")].into(), at(number));
        }
        for number in 0..MAX_TAGS + 9 {
            for push in 0..=MAX_DIGESTS_PER_TAG {
                ledger.saw(&tag(number), &digest(1_000 + number * 10 + push), at(number * 10 + push));
            }
        }
        // As it is stored: on top of an empty one.
        rebase(&empty(), &ledger, &empty())
    }

    fn stored(ledger: &Ledger) -> (api::ImageLedger, usize) {
        let spec = api::ImageLedgerSpec { repository: ledger.repository.to_string() };
        let mut object = api::ImageLedger::new("web", spec);
        object.status = Some(to_status(ledger));
        let bytes = serde_json::to_vec(&object.status).unwrap().len();
        (object, bytes)
    }

    #[test]
    fn a_full_memory_is_stored_in_64_kib_and_read_back_as_it_was() {
        let ledger = full(24, 40);
        assert_eq!((ledger.failures.len(), ledger.workloads.len()), (24, 40));
        assert_eq!((ledger.contradictions.len(), ledger.signers.len()), (MAX_CONTRADICTIONS, MAX_SIGNERS));
        let (object, bytes) = stored(&ledger);
        assert!(bytes <= MAX_BYTES, "{bytes} bytes");
        assert!(bytes <= ledger.bytes(), "{bytes} bytes, estimated {}", ledger.bytes());
        assert!(ledger.bytes() < bytes + bytes / 4, "{bytes} bytes, estimated {}", ledger.bytes());
        assert!(MIN_TAGS <= ledger.tags.len(), "{} tags", ledger.tags.len());
        assert_eq!(from_api(&ledger.repository, &object), ledger);
    }

    #[test]
    fn what_must_not_be_forgotten_is_kept_above_that_and_stays_far_below_what_an_apiserver_takes() {
        let ledger = full(MAX_FAILURES, MAX_WORKLOADS);
        assert_eq!((ledger.failures.len(), ledger.workloads.len()), (MAX_FAILURES, MAX_WORKLOADS));
        assert_eq!((ledger.contradictions.len(), ledger.signers.len()), (MAX_CONTRADICTIONS, MAX_SIGNERS));
        assert_eq!(ledger.tags.len(), MIN_TAGS);
        let (object, bytes) = stored(&ledger);
        assert!(bytes < 512 << 10, "{bytes} bytes");
        assert_eq!(from_api(&ledger.repository, &object), ledger);
    }

    #[test]
    fn a_ledger_of_an_older_version_is_read_and_a_contradiction_of_a_newer_one_still_counts() {
        let object: api::ImageLedger = serde_json::from_value(serde_json::json!({
            "apiVersion": "rollforward.dev/v1alpha1", "kind": "ImageLedger", "metadata": {"name": "web"},
            "spec": {"repository": "ghcr.io/acme/web"},
            "status": {"tags": [], "quarantine": [], "workloads": []},
        }))
        .unwrap();
        assert_eq!(from_api(&empty().repository, &object), empty());
        let mut newer = object;
        let entry = api::Contradiction {
            digest: digest(1).to_string(),
            tag: "not a tag".to_owned(),
            reason: "OfTomorrow".to_owned(),
            claimed_by: "oracle".to_owned(),
            claim: "refs/tags/v0.9.0".to_owned(),
            first_seen: time(at(0)),
        };
        newer.status.as_mut().unwrap().contradictions = Some(vec![entry]);
        assert_eq!(from_api(&empty().repository, &newer).against(&digest(1)).len(), 1);
    }
}
