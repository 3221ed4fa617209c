//! The version that the running image gives itself (`org.opencontainers.image.version`): it may only raise the floor.
//!
//! A short or stale tag may run newer content than it says. The label never makes a candidate, never lowers anything, and where
//! it cannot be read nothing waits for it. Asked for once a digest, and only where something could be chosen.

use crate::current::{self, Choice, Chosen};
use crate::evidence::{Answer, Manifest};
use crate::gate::{Evidence, Need};
use crate::image::{Digest, Repository};
use crate::policy::Facts;
use crate::select::Rule;

/// The choice with the label of what runs, once it is known.
#[must_use]
pub fn heeded(facts: &Facts, chosen: Chosen, evidence: &Evidence, needs: &mut Vec<Need>) -> Chosen {
    let could_choose = matches!(&chosen.choice, Choice::Candidates(list) if !list.best.is_empty());
    let bounded = !facts.policy.allow_downgrade && !matches!(facts.policy.rule, Rule::Digest(_));
    let running = chosen.current.as_ref().and_then(|current| current.digest.as_ref());
    let (Some(track), Some(digest)) = (facts.seen.tracks.get(chosen.track), running) else {
        return chosen;
    };
    if !could_choose || !bounded {
        return chosen;
    }
    match label(&track.repository, digest, evidence, needs) {
        Some(label) => current::with_label(facts, chosen, label),
        None => chosen,
    }
}

/// The label of a digest: its own, or of an index without one that of its first image.
fn label(
    repository: &Repository,
    digest: &Digest,
    evidence: &Evidence,
    needs: &mut Vec<Need>,
) -> Option<String> {
    let mut manifest = |digest: &Digest| -> Option<&Manifest> {
        let key = (repository.clone(), digest.clone());
        match evidence.manifests.get(&key) {
            Some(Answer::Found(manifest)) => Some(manifest),
            Some(Answer::Absent | Answer::Unknown(_)) => None,
            None => {
                needs.push(Need::Manifest(key.0, key.1));
                None
            }
        }
    };
    let found = manifest(digest)?;
    match (&found.version, &found.child) {
        (Some(version), _) => Some(version.clone()),
        (None, Some(child)) => manifest(child)?.version.clone(),
        (None, None) => None,
    }
}
