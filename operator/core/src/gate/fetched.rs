//! What was fetched from outside so far, and what is still to be asked: a reader that finds no answer names the question.

use std::collections::BTreeMap;

use crate::evidence::{Answer, Attached, Manifest, Shape};
use crate::image::{Digest, Repository, Tag};
use crate::policy::{Facts, Track};
use crate::trust::Effective;

/// A question to the outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Which digest a tag names now.
    Digest(Repository, Tag),
    /// The manifest of a digest.
    Manifest(Repository, Digest),
    /// Whether a mirror serves a digest.
    Served(Repository, Digest),
    /// What is attached to a digest. What is to be found out about it: [`Facts::questions`].
    Attached(Repository, Digest),
}

/// What was fetched so far.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Digests by tag.
    pub digests: BTreeMap<(Repository, Tag), Answer<Digest>>,
    /// Manifests by digest.
    pub manifests: BTreeMap<(Repository, Digest), Answer<Manifest>>,
    /// Whether mirrors serve digests.
    pub served: BTreeMap<(Repository, Digest), Answer<()>>,
    /// What is attached to digests.
    pub attached: BTreeMap<(Repository, Digest), Answer<Attached>>,
}

/// The digest that a tag was found to name.
pub(super) fn found<'a>(
    facts: &Facts,
    evidence: &'a Evidence,
    track: &Track,
    tag: &Tag,
) -> Option<&'a Digest> {
    match evidence.digests.get(&(facts.asked(track).clone(), tag.clone()))? {
        Answer::Found(digest) => Some(digest),
        Answer::Absent | Answer::Unknown(_) => None,
    }
}

pub(super) fn manifest<'a>(
    repository: &Repository,
    digest: &Digest,
    evidence: &'a Evidence,
    needs: &mut Vec<Need>,
) -> Option<&'a Answer<Manifest>> {
    let answer = evidence.manifests.get(&(repository.clone(), digest.clone()));
    if answer.is_none() {
        needs.push(Need::Manifest(repository.clone(), digest.clone()));
    }
    answer
}

/// The shape of a digest: its own, or that of an index's image for a platform of the nodes in use.
pub(super) fn shape<'a>(
    facts: &Facts,
    repository: &Repository,
    digest: &Digest,
    evidence: &'a Evidence,
    needs: &mut Vec<Need>,
) -> Option<&'a Shape> {
    let found = |answer: Option<&'a Answer<Manifest>>| match answer {
        Some(Answer::Found(manifest)) => Some(manifest),
        Some(Answer::Absent | Answer::Unknown(_)) | None => None,
    };
    let whole = found(manifest(repository, digest, evidence, needs))?;
    if whole.shape.is_some() {
        return whole.shape.as_ref();
    }
    let nodes = || facts.seen.platforms.iter();
    let serving = whole.images.iter().find(|(platform, _)| nodes().any(|node| platform.serves(node)));
    let child =
        serving.or_else(|| whole.images.iter().next()).map(|(_, child)| child).or(whole.child.as_ref())?;
    found(manifest(repository, child, evidence, needs))?.shape.as_ref()
}

/// What is attached to a digest, where anybody asks.
pub(crate) fn attached<'a>(
    facts: &Facts,
    track: &Track,
    digest: &Digest,
    effective: &Effective<'_>,
    evidence: &'a Evidence,
    needs: &mut Vec<Need>,
) -> Option<&'a Answer<Attached>> {
    if !effective.has_authorities() {
        return None;
    }
    let key = (facts.asked(track).clone(), digest.clone());
    let answer = evidence.attached.get(&key);
    if answer.is_none() {
        needs.push(Need::Attached(key.0, key.1));
    }
    answer
}

/// Whether a mirror serves a digest; `None` where it was not asked yet.
pub(super) fn served<'a>(
    mirror: &Repository,
    digest: &Digest,
    evidence: &'a Evidence,
    needs: &mut Vec<Need>,
) -> Option<&'a Answer<()>> {
    let answer = evidence.served.get(&(mirror.clone(), digest.clone()));
    if answer.is_none() {
        needs.push(Need::Served(mirror.clone(), digest.clone()));
    }
    answer
}
