//! Asks, before a run is recorded, what would stop its new pods, and remembers the answer for the next pass to tell.
//!
//! The obstacle enters `Seen` as data: `decide` holds by it, or goes without a canary where that is allowed. It is believed for
//! half a minute, so that a quota that was raised is noticed at the next look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rollforward_core::policy::Facts;
use rollforward_core::preflight::{self, Obstacle};
use rollforward_core::reason::Reason;
use rollforward_core::rollout::{Run, patch};
use rollforward_core::workload::Kind;

use super::Context;
use crate::kubernetes::preflight as questions;

/// How long an obstacle is believed.
const BELIEVED: SignedDuration = SignedDuration::from_secs(30);

/// The obstacles found lately, by the workload's uid and the track.
#[derive(Debug, Clone, Default)]
pub struct Obstacles {
    known: Arc<Mutex<BTreeMap<(String, String), Obstacle>>>,
}

impl Obstacles {
    /// The obstacles of a policy's workloads that are still believed.
    #[must_use]
    pub fn of(&self, uids: &[&str], now: Timestamp) -> Vec<Obstacle> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, obstacle| now.duration_since(obstacle.at) < BELIEVED);
        known.values().filter(|obstacle| uids.contains(&obstacle.workload.0.as_str())).cloned().collect()
    }

    fn keep(&self, obstacle: Obstacle) {
        let key = (obstacle.workload.0.clone(), obstacle.track.clone());
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, obstacle);
    }
}

/// Whether something would stop the run that is about to be opened. It is then remembered, and the next pass tells it.
pub async fn stops(ctx: &Context, facts: &Facts, run: &Run) -> bool {
    let Some((reason, observed, no_room)) = obstacle(ctx, facts, run).await else { return false };
    ctx.obstacles.keep(Obstacle {
        track: run.track.clone(),
        workload: (run.workload.uid.clone(), run.generation),
        digest: run.to_digest.clone(),
        reason,
        observed,
        no_room,
        at: facts.now,
    });
    true
}

async fn obstacle(ctx: &Context, facts: &Facts, run: &Run) -> Option<(Reason, String, bool)> {
    let namespace = &run.workload.namespace;
    let track = facts.seen.tracks.iter().find(|track| track.key == run.track)?;
    let (_, pods) = patch::next_step(run, 0, 0, track.workload.replicas).unwrap_or((0, 1));
    // An apiserver that does not answer here will not take the patch either: no obstacle of its own.
    let rehearsal = questions::rehearse(&ctx.client, &patch::start(run, &track.workload, pods)).await.ok()?;
    let enforced = questions::enforced_level(&ctx.client, namespace).await.ok()?;
    if let Some((reason, words)) = preflight::rehearsed(&rehearsal, enforced.as_deref()) {
        return Some((reason, words, false));
    }
    let surges = run.canary && run.workload.kind == Kind::Deployment;
    if !surges || track.workload.replicas == 0 {
        return None;
    }
    let room = questions::room(&ctx.client, namespace, &run.workload.name).await;
    let surges = preflight::surges(&run.settings, track.workload.replicas);
    if let Some(words) = preflight::over_quota(&room.quotas, &room.needs, &surges) {
        return Some((Reason::QuotaExceeded, words, true));
    }
    let old = usize::try_from(track.workload.replicas).unwrap_or(usize::MAX);
    if let Some(words) = preflight::ports_taken(&room.host_ports, room.nodes, old, &surges) {
        return Some((Reason::HostPortTaken, words, true));
    }
    preflight::volume_in_use(&room.claims, room.nodes).map(|words| (Reason::VolumeInUse, words, true))
}
