//! What stops every start on a workload, whatever the candidate: its own state, another run, missing rights, the limits.
//!
//! Whether a canary has room: `decide/room.rs`. What the layers say of a candidate: `gate.rs`.

use jiff::SignedDuration;

use super::{Hold, Standing};
use crate::image::ImageRef;
use crate::judge::classify;
use crate::policy::{Facts, Mode, Rollback, Track};
use crate::reason::Reason;
use crate::rollout::run::RunContainer;
use crate::rollout::{OpenRun, delegated};
use crate::text;
use crate::workload::{Pod, Revision, Shape};

/// Why nothing starts on this workload now, whatever the candidate.
pub(super) fn refusal(facts: &Facts, track: &Track) -> Option<Hold> {
    let workload = &track.workload;
    if workload.deleting || facts.seen.namespace_deleting || facts.policy.deleting {
        return Some(
            Hold::new(Reason::TargetDeleting, Standing::Waits)
                .expected("a workload that stays")
                .observed("it, its namespace or the policy is being deleted"),
        );
    }
    if let Some(hold) = delegated::refusal(track) {
        return Some(hold);
    }
    if workload.is_paused() {
        return Some(
            Hold::new(Reason::TargetPaused, Standing::Blocked)
                .expected("a Deployment that rolls")
                .observed("`spec.paused: true`")
                .hint(format!("kubectl rollout resume deployment/{}", workload.id.name)),
        );
    }
    let on_it = |open: &&OpenRun| open.run.workload.uid == workload.id.uid && open.run.track != track.key;
    if let Some(open) = facts.seen.open_runs.iter().find(on_it) {
        return Some(
            Hold::new(Reason::WorkloadBusy, Standing::Waits)
                .expected("no open run on the workload")
                .observed(format!("run {} for another image of it", open.run.name))
                .hint("Nothing to do; starts by itself when it ends."),
        );
    }
    if let Some(other) = &track.busy {
        return Some(
            Hold::new(Reason::WorkloadBusy, Standing::Waits)
                .expected("no open run on the workload")
                .observed(format!("run {other} of another policy"))
                .hint("Nothing to do; starts by itself when it ends."),
        );
    }
    if let Some(why) = &track.unreadable {
        return Some(
            Hold::new(Reason::PodsUnreadable, Standing::NotReady)
                .expected("pods that can be watched")
                .observed(text::clean(why, 200))
                .hint("Correct the operator's rights, or the apiserver; tried again by itself."),
        );
    }
    if let Some(hold) = waits_for_a_broken_pod(track) {
        return Some(hold);
    }
    if !workload.is_settled() && !workload.is_on_delete() && !only_failures_left(facts, track) {
        return Some(
            Hold::new(Reason::AlreadyRolling, Standing::Waits)
                .expected(format!("a {} at rest", workload.id.kind))
                .observed(format!(
                    "{} of {} pods on the newest template, {} in all",
                    workload.updated_replicas, workload.replicas, workload.total_replicas
                ))
                .hint(rolling_hint(track)),
        );
    }
    if let Some(hold) = still_starts(facts, track) {
        return Some(hold);
    }
    if facts.policy.mode == Mode::DryRun {
        return Some(
            Hold::new(Reason::DryRun, Standing::Waits)
                .expected("leave to write")
                .observed("`mode: DryRun`; all gates passed, the run would start now")
                .hint("Set `mode: Enforce` to go on."),
        );
    }
    super::limit(facts.seen.concurrency)
}

/// How long a pod is given to start before it counts as one that does not.
const START: SignedDuration = SignedDuration::from_secs(60);

/// The native controller replaces a DaemonSet's pods that are not available without limit: begun while a restart is still
/// under way, a run would take down more than one node.
fn still_starts(facts: &Facts, track: &Track) -> Option<Hold> {
    let workload = &track.workload;
    let is_daemon = matches!(workload.shape, Shape::DaemonSet(_)) && !workload.is_on_delete();
    let starts = |pod: &&Pod| {
        pod.ready_since.is_none() && !pod.deleting && facts.now.duration_since(pod.created_at) < START
    };
    let youngest = track.pods.iter().filter(starts).map(|pod| pod.created_at).max().filter(|_| is_daemon)?;
    Some(
        Hold::new(Reason::AlreadyRolling, Standing::Waits)
            .expected("a DaemonSet at rest")
            .observed(format!(
                "{} of {} pods Ready, the others start",
                track.pods.iter().filter(|pod| pod.ready_since.is_some()).count(),
                workload.replicas
            ))
            .hint("Nothing to do; starts by itself when they are Ready")
            .until(youngest.checked_add(START).ok()),
    )
}

/// Whether all that is beside the newest template's pods are those of versions that failed here. Beside pods that are not
/// available the native controller keeps a failed canary for ever; the next version may go all the same.
fn only_failures_left(facts: &Facts, track: &Track) -> bool {
    let workload = &track.workload;
    let Some(ledger) = facts.seen.repositories.get(&track.repository).map(|seen| &seen.ledger) else {
        return false;
    };
    let newest = track.revisions.iter().map(|revision| revision.revision).max();
    let has_failed = |revision: &Revision| {
        let images = track.containers.iter().filter_map(|(one, _)| revision.images.get(&one.name));
        let digests = images.filter_map(|image| ImageRef::parse(image).ok()?.digest);
        digests.into_iter().any(|digest| ledger.failures.contains_key(&digest))
    };
    let mut others = track.revisions.iter().filter(|one| 0 < one.replicas && Some(one.revision) != newest);
    workload.deployment().is_some()
        && workload.generation <= workload.observed_generation
        && workload.updated_replicas == workload.replicas
        && others.all(has_failed)
}

/// What ends the rollout that is under way. Where the newest template's own pods are not available, the native controller
/// keeps what is left of the one before, a failed canary too, for as long as that lasts.
fn rolling_hint(track: &Track) -> String {
    let workload = &track.workload;
    let newest = track.revisions.iter().map(|set| set.revision).max();
    let left: Vec<&str> = track
        .revisions
        .iter()
        .filter(|set| 0 < set.replicas && Some(set.revision) != newest)
        .map(|set| set.name.as_str())
        .collect();
    let waits = workload.updated_replicas == workload.replicas
        && workload.available_replicas < workload.replicas
        && !left.is_empty();
    if waits {
        format!(
            "Ends by itself when the pods of the newest template are available; where they cannot be: kubectl scale replicaset {} --replicas=0",
            left.join(" ")
        )
    } else {
        "Nothing to do; starts by itself when that has ended.".to_owned()
    }
}

/// Under `OrderedReady` the native controller goes no further while one pod is not Ready: a new version would be written, and
/// no pod would ever run it. A pod that is only young, or that a node took down, is not broken.
fn waits_for_a_broken_pod(track: &Track) -> Option<Hold> {
    let workload = &track.workload;
    let Shape::StatefulSet(own) = &workload.shape else { return None };
    if !own.is_ordered || workload.is_on_delete() {
        return None;
    }
    let judged = track.containers.iter().map(|(container, _)| container.name.clone()).collect();
    let waits = |pod: &&Pod| pod.ready_since.is_none() && !pod.deleting && pod.disruption.is_none();
    let mut found = track.pods.iter().filter(waits).filter_map(|pod| {
        let finding = classify::classify_pod(pod, &judged)?;
        // While the controller replaces pods one is always on its way to Ready.
        (finding.reason != Reason::NotReady || workload.is_settled()).then_some((pod, finding))
    });
    let (pod, finding) = found.next()?;
    let (set, space) = (&workload.id.name, &workload.id.namespace);
    Some(
        Hold::new(Reason::BrokenPodBlocks, Standing::Blocked)
            .expected("every pod Ready, for `OrderedReady` replaces none before")
            .observed(format!("pod {}: {}, {}", pod.name, finding.reason, text::clean(&finding.message, 160)))
            .hint(format!(
                "Mend what it lacks; or go back and make it anew: kubectl rollout undo statefulset/{set} -n {space} && kubectl delete pod {} -n {space}",
                pod.name
            )),
    )
}

/// The hold of a version that failed and runs all the same, for `rollback.mode: Never` undid nothing.
pub(super) fn kept(facts: &Facts, track: &Track) -> Option<Hold> {
    let run = facts.seen.last_runs.iter().find(|run| run.track == track.key)?;
    let failure = facts.seen.repositories.get(&track.repository)?.ledger.failures.get(&run.to_digest)?;
    let runs = |own: &RunContainer| {
        track.containers.iter().any(|(one, _)| one.name == own.name && one.image == own.to)
    };
    let own = run.containers.first().filter(|own| runs(own))?;
    let id = &track.workload.id;
    (run.settings.rollback == Rollback::Never && failure.is_of(&run.name)).then(|| {
        Hold::new(failure.reason, Standing::Blocked)
            .about(&run.to_tag, Some(&run.to_digest))
            .expected("a version that works")
            .observed(format!("{}; it stays, for `rollback.mode: Never` undid nothing", failure.message))
            .hint(format!(
                "A newer version goes on by itself; to go back: kubectl set image {}/{} {}={} -n {}",
                id.kind.name().to_lowercase(),
                id.name,
                own.name,
                own.way_back(),
                id.namespace
            ))
    })
}
