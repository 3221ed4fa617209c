//! One scan per (repository, credential), shared by every policy that needs it.
//!
//! A policy never lists tags itself: it reads the newest scan, and the first that finds it too old takes a new one while the
//! others wait for it. Credentials are told apart by identity, so that one tenant's scan is never another's.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rollforward_core::evidence::{Answer, Unknown};
use rollforward_core::image::Repository;
use rollforward_core::scan::Scan;
use tokio::sync::Mutex;

use crate::clock;
use crate::registry::{Credential, CredentialIdentity, Registry};

/// How long a failed scan is kept before the registry is asked again, at least.
const FAILED_KEPT: SignedDuration = SignedDuration::from_secs(5);
/// How many scans are kept; the oldest goes first.
const MAX_SCANS: usize = 10_000;

type Key = (Repository, Option<CredentialIdentity>);
type Slot = Arc<Mutex<Option<(Answer<Scan>, Timestamp)>>>;

/// The newest scans.
#[derive(Debug, Default)]
pub struct Scans {
    slots: Mutex<BTreeMap<Key, Slot>>,
}

impl Scans {
    /// The newest scan, no older than `not_before`; taken now where there is none. The flag says whether it was taken.
    pub async fn latest(
        &self,
        registry: &Registry,
        repository: &Repository,
        credential: Option<&Credential>,
        not_before: Timestamp,
    ) -> (Answer<Scan>, bool) {
        let identity = credential.map(Credential::identity);
        let slot = {
            let mut slots = self.slots.lock().await;
            if MAX_SCANS <= slots.len() {
                slots.pop_first();
            }
            Arc::clone(slots.entry((repository.clone(), identity)).or_default())
        };
        // Held while the registry is asked: who comes meanwhile reads the same answer.
        let mut newest = slot.lock().await;
        if let Some((answer, at)) = newest.as_ref()
            && is_fresh(answer, *at, not_before)
        {
            return (answer.clone(), false);
        }
        let started = clock::now();
        let answer = registry.tags(repository, credential).await.map(|list| Scan {
            tags: list.tags,
            complete: list.complete,
            at: started,
        });
        *newest = Some((answer.clone(), started));
        (answer, true)
    }
}

fn is_fresh(answer: &Answer<Scan>, at: Timestamp, not_before: Timestamp) -> bool {
    match answer {
        Answer::Found(_) | Answer::Absent => not_before <= at,
        Answer::Unknown(Unknown { retry_at, .. }) => {
            let kept = at.checked_add(FAILED_KEPT).unwrap_or(Timestamp::MAX);
            clock::now() < retry_at.unwrap_or(kept).max(kept) && not_before <= kept
        }
    }
}
