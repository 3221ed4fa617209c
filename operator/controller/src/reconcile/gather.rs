//! Fetches what the gates ask for: the one place where decisions and I/O meet.
//!
//! Core names its needs, this file answers them and asks again, a bounded number of rounds. Digests are cached by tag only as
//! long as the scan is; manifests by digest for ever, for a digest never changes its meaning.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rollforward_core::current::Chosen;
use rollforward_core::evidence::{Answer, Manifest};
use rollforward_core::gate::{self, Assessment, Evidence, Need};
use rollforward_core::image::{Digest, Repository, Tag};
use rollforward_core::policy::Facts;
use tokio::sync::Mutex;

use super::Context;
use crate::clock;
use crate::registry::{Credential, CredentialIdentity};

type Identity = Option<CredentialIdentity>;
/// A tag's digest, and when the registry was asked for it.
type Digests = BTreeMap<(Repository, Tag, Identity), (Digest, Timestamp)>;

/// How often the gates may ask: digests, then manifests, then one more for what those lead to.
const ROUNDS: usize = 3;
/// How many manifests are kept.
const MAX_MANIFESTS: usize = 5_000;
/// How many resolved tags are kept.
const MAX_DIGESTS: usize = 20_000;

/// What registries answered before: manifests for ever, digests until the next scan.
#[derive(Debug, Default)]
pub struct Cache {
    manifests: Mutex<BTreeMap<(Repository, Digest, Identity), Manifest>>,
    digests: Mutex<Digests>,
}

/// Judges the best candidates, fetching what the layers need.
pub async fn assess(
    ctx: &Context,
    facts: &Facts,
    credentials: &BTreeMap<Repository, Credential>,
    chosen: Vec<Chosen>,
) -> Assessment {
    let mut evidence = Evidence::default();
    let mut round = 0;
    loop {
        let (assessment, needs) = gate::assess(facts, chosen.clone(), &evidence);
        if needs.is_empty() || round == ROUNDS {
            return assessment;
        }
        round += 1;
        for need in needs {
            fetch(ctx, facts, credentials, need, &mut evidence).await;
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
            let scanned_at = scanned_at(facts, &repository);
            let answer = digest(ctx, &repository, &tag, credential, scanned_at).await;
            evidence.digests.insert((repository, tag), answer);
        }
        Need::Manifest(repository, digest) => {
            let credential = credentials.get(&repository);
            let answer = manifest(ctx, &repository, &digest, credential).await;
            evidence.manifests.insert((repository, digest), answer);
        }
    }
}

fn scanned_at(facts: &Facts, repository: &Repository) -> Timestamp {
    match facts.seen.repositories.get(repository).map(|seen| &seen.scan) {
        Some(Answer::Found(scan)) => scan.at,
        Some(Answer::Absent | Answer::Unknown(_)) | None => facts.now,
    }
}

fn identity(credential: Option<&Credential>) -> Identity {
    credential.map(Credential::identity)
}

async fn digest(
    ctx: &Context,
    repository: &Repository,
    tag: &Tag,
    credential: Option<&Credential>,
    scanned_at: Timestamp,
) -> Answer<Digest> {
    let key = (repository.clone(), tag.clone(), identity(credential));
    if let Some((digest, at)) = ctx.cache.digests.lock().await.get(&key)
        && scanned_at <= *at
    {
        return Answer::Found(digest.clone());
    }
    let asked_at = clock::now();
    let answer = ctx.registry.resolve(repository, tag, credential).await;
    if let Answer::Found(digest) = &answer {
        let mut kept = ctx.cache.digests.lock().await;
        if MAX_DIGESTS <= kept.len() {
            kept.clear();
        }
        kept.insert(key, (digest.clone(), asked_at));
    }
    answer
}

async fn manifest(
    ctx: &Context,
    repository: &Repository,
    digest: &Digest,
    credential: Option<&Credential>,
) -> Answer<Manifest> {
    let key = (repository.clone(), digest.clone(), identity(credential));
    if let Some(manifest) = ctx.cache.manifests.lock().await.get(&key) {
        return Answer::Found(manifest.clone());
    }
    let answer = ctx.registry.manifest(repository, digest, credential).await;
    if let Answer::Found(manifest) = &answer {
        let mut kept = ctx.cache.manifests.lock().await;
        if MAX_MANIFESTS <= kept.len() {
            kept.pop_first();
        }
        kept.insert(key, manifest.clone());
    }
    answer
}
