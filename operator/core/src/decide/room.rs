//! Whether a canary has room beside the old pods, and what `rollout.whenImpossible` makes of it where it has none.
//!
//! What was found to stop the new pods is asked just before a run is opened (`preflight.rs`).

use super::{Hold, Standing};
use crate::image::Digest;
use crate::ledger::Failure;
use crate::policy::{Facts, Track, WhenImpossible};
use crate::reason::Reason;
use crate::workload::{Shape, Strategy};

/// Whether a canary can run beside the old pods; an error where it cannot and the policy wants one.
pub(super) fn canary(facts: &Facts, track: &Track) -> Result<bool, Box<Hold>> {
    // Where somebody else rolls it out, the canary is theirs.
    if track.workload.replicas == 0 || track.workload.delegate.is_some() {
        return Ok(false);
    }
    let observed = match &track.workload.shape {
        Shape::Deployment(own) => match own.strategy {
            Strategy::RollingUpdate { .. } => return Ok(true),
            Strategy::Recreate => "strategy Recreate, which ends all old pods first",
        },
        Shape::StatefulSet(_) | Shape::DaemonSet(_) if track.workload.is_on_delete() => {
            "updateStrategy OnDelete, which replaces a pod only when its owner deletes it"
        }
        Shape::StatefulSet(_) => return Ok(true),
        // Watched node by node, or run by run: its own way of going carefully.
        Shape::DaemonSet(_) | Shape::CronJob(_) | Shape::Rollout => return Ok(false),
    };
    match facts.policy.rollout.when_impossible {
        WhenImpossible::RollWithoutCanary => Ok(false),
        WhenImpossible::Hold => {
            let field = if track.workload.deployment().is_some() { "strategy" } else { "updateStrategy" };
            let hold = Hold::new(Reason::CanaryImpossible, Standing::Blocked)
                .expected("room for a canary beside the old pods")
                .observed(observed)
                .hint(format!(
                    "Change the {field} to RollingUpdate, or set `rollout.whenImpossible: RollWithoutCanary`."
                ));
            Err(Box::new(hold))
        }
    }
}

/// What was found to stop the new pods, just before the run was to be opened; where only room is missing, the policy may go
/// without a canary.
pub(super) fn obstacle(
    facts: &Facts,
    track: &Track,
    digest: &Digest,
    canary: bool,
) -> Result<bool, Box<Hold>> {
    let asked = (track.workload.id.uid.clone(), track.workload.generation);
    let found = facts.seen.obstacles.iter().find(|obstacle| {
        obstacle.track == track.key && obstacle.digest == *digest && obstacle.workload == asked
    });
    let Some(found) = found else {
        return match crowded_before(facts, track, digest).filter(|_| canary) {
            Some(failure) => without(track, failure.reason, &failure.message),
            None => Ok(canary),
        };
    };
    match (found.no_room, facts.policy.rollout.when_impossible) {
        (true, WhenImpossible::RollWithoutCanary) => without(track, found.reason, &found.observed),
        (true, WhenImpossible::Hold) => Err(Box::new(
            Hold::new(found.reason, Standing::Blocked)
                .expected("room for a canary beside the old pods")
                .observed(found.observed.clone())
                .hint("No pod was started. Make room, or set `rollout.whenImpossible: RollWithoutCanary`; asked again at every look"),
        )),
        (false, _) if found.reason == Reason::WriteForbidden => Err(Box::new(
            Hold::new(found.reason, Standing::NotReady)
                .expected("the right to change the workload")
                .observed(found.observed.clone())
                .hint("Grant `patch` on deployments.apps to the operator's ServiceAccount"),
        )),
        (false, _) if found.reason == Reason::WriteRewritten => Err(Box::new(
            Hold::new(found.reason, Standing::Blocked)
                .expected("the workload to be stored as it is written")
                .observed(found.observed.clone())
                .hint("Nothing was written. Exclude the workload there, or write its image as it comes out of there and name under `image.source` where its versions are listed; asked again at every look"),
        )),
        (false, _) => Err(Box::new(
            Hold::new(found.reason, Standing::Blocked)
                .expected("the new pods to be let in")
                .observed(found.observed.clone())
                .hint("No pod was started. Correct the workload, the namespace or its policies; asked again at every look"),
        )),
    }
}

/// The last try of this digest, where its canary found no room and the policy may go without one.
fn crowded_before<'a>(facts: &'a Facts, track: &Track, digest: &Digest) -> Option<&'a Failure> {
    let allowed = facts.policy.rollout.when_impossible == WhenImpossible::RollWithoutCanary;
    let failure = facts.seen.repositories.get(&track.repository)?.ledger.failures.get(digest)?;
    let is_room = matches!(
        failure.reason,
        Reason::QuotaExceeded | Reason::HostPortTaken | Reason::VolumeInUse | Reason::Unschedulable
    );
    (allowed && is_room && track.workload.deployment().is_some()).then_some(failure)
}

/// Without a canary: where no more pods fit, an old one has to go before a new one comes, as many as the workload's own
/// strategy lets go. Where that lets none go nothing would move.
fn without(track: &Track, reason: Reason, observed: &str) -> Result<bool, Box<Hold>> {
    let workload = &track.workload;
    let missing = match workload.deployment().map(|own| &own.strategy) {
        Some(Strategy::RollingUpdate { max_surge, max_unavailable }) => {
            let (surge, missing) =
                (max_surge.of(workload.replicas, true), max_unavailable.of(workload.replicas, false));
            if surge == 0 && missing == 0 { 1 } else { missing }
        }
        Some(Strategy::Recreate) | None => return Ok(false),
    };
    if 0 < missing {
        return Ok(false);
    }
    Err(Box::new(
        Hold::new(reason, Standing::Blocked)
            .expected("an old pod that may go first, for one more finds no room")
            .observed(format!("{observed}; maxUnavailable lets 0 of {} go", workload.replicas))
            .hint("Set `strategy.rollingUpdate.maxUnavailable: 1`, or make room; asked again at every look"),
    ))
}
