//! The record of a run that is about to begin: everything that a rollback needs, and what started it.
//!
//! Nothing is written to the workload here; the first patch is due in the next pass (`rollout.rs`).

use jiff::Timestamp;

use crate::decide::Decision;
use crate::gate::WayBack;
use crate::image::{Digest, ImageRef, Tag};
use crate::ledger::Failure;
use crate::levers;
use crate::policy::{Facts, Policy, Track};
use crate::text;

use super::{Hold, Run, RunStatus, patch, run};

/// The record of a run that is about to begin: everything that a rollback needs.
pub(super) fn open(
    facts: &Facts,
    track: &Track,
    decision: &Decision,
    index: usize,
    (tag, digest, canary): (&Tag, &Digest, bool),
) -> Option<Run> {
    let chosen = decision.assessment.chosen.get(index)?;
    let assessed = decision.assessment.candidates.get(index)?.iter().find(|one| one.tag == *tag)?;
    let ledger = decision.assessment.ledgers.get(&track.repository)?;
    let failure = ledger.failures.get(digest);
    let first_seen = ledger.first_seen(tag, digest).unwrap_or(facts.now);
    let originals = patch::fields(&track.workload);
    let settings = facts.policy.rollout.clone();
    let hold = patch::hold(&settings, &track.workload);
    let way_back = decision.assessment.ways_back.get(index)?;
    let containers = track
        .containers
        .iter()
        .map(|(container, image)| run::RunContainer {
            name: container.name.clone(),
            index: container.index,
            init: container.init,
            from: container.image.clone(),
            to: image.pinned(tag, digest).to_string(),
            back: back(way_back, image),
        })
        .collect();
    let evidence = assessed
        .verdicts
        .iter()
        .map(|(layer, verdict)| {
            (layer.name().to_owned(), format!("{}: {}", verdict.reason, verdict.observed))
        })
        .collect();
    Some(Run {
        name: run_name(facts, track, tag, digest),
        policy: facts.policy.id.clone(),
        policy_generation: facts.policy.generation,
        workload: track.workload.id.clone(),
        generation: track.workload.generation,
        track: track.key.clone(),
        repository: track.repository.clone(),
        containers,
        from_tag: chosen.current.as_ref().and_then(|current| current.tag.clone()),
        from_digest: chosen.current.as_ref().and_then(|current| current.digest.clone()),
        to_tag: tag.clone(),
        to_digest: digest.clone(),
        attempt: failure.map_or(1, |failure| failure.fails.saturating_add(1).clamp(2, 100)),
        first_seen,
        trigger: trigger(facts, tag, first_seen, failure) + lost(way_back),
        evidence,
        canary: canary && hold != Hold::StatefulSet(Vec::new()),
        hold,
        originals,
        settings,
        created_at: facts.now,
        deleting: false,
        levers: levers::RunLevers::default(),
        status: RunStatus::new(),
    })
}

/// The image with the digest that ran, where its own tag would start something else.
fn back(way_back: &WayBack, image: &ImageRef) -> Option<String> {
    match (way_back, &image.tag) {
        (WayBack::Digest(ran), Some(tag)) if image.digest.is_none() => {
            Some(image.pinned(tag, ran).to_string())
        }
        (WayBack::Digest(_) | WayBack::AsItWas | WayBack::Gone, _) => None,
    }
}

fn lost(way_back: &WayBack) -> &'static str {
    match way_back {
        WayBack::Gone => "; what runs is in the registry no longer: a rollback starts what its tag names now",
        WayBack::AsItWas | WayBack::Digest(_) => "",
    }
}

/// What started a run, in words.
pub(super) fn trigger(facts: &Facts, tag: &Tag, first_seen: Timestamp, failure: Option<&Failure>) -> String {
    let asked = failure.and_then(|failure| failure.retry_by.as_ref());
    format!(
        "tag {tag} first seen {}; all gates passed {}{}",
        text::instant_seconds(first_seen),
        text::instant_seconds(facts.now),
        asked.map_or_else(String::new, |lever| format!("; retry asked by {lever}"))
    )
}

/// A name that is the same for the same move of the same template under the same policy, so that two passes cannot open it
/// twice. A run that ended before it wrote anything leaves template and policy as they may have been: its own name makes the next
/// one another.
pub(super) fn run_name(facts: &Facts, track: &Track, tag: &Tag, digest: &Digest) -> String {
    let policy: &Policy = &facts.policy;
    let before = facts.seen.unstarted.get(&track.key).map_or("", String::as_str);
    let seed = format!(
        "{}/{}/{digest}/{}/{}{before}",
        track.workload.id.uid, track.key, track.workload.generation, policy.generation
    );
    // FNV-1a, 64 bits: a short name, not a security boundary.
    let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let plain = |text: &str, most: usize| -> String {
        let kept: String = text
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
            .take(most)
            .collect();
        kept.trim_matches('-').to_owned()
    };
    let suffix: String = format!("{hash:016x}").chars().take(6).collect();
    format!("{}-{}-{suffix}", plain(&policy.id.name, 30), plain(tag.as_str(), 20))
}
