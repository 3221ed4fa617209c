//! What a run holds on a StatefulSet: its partition, lowered step by step; and what is left to do after a revert.
//!
//! Pods with an index below the partition keep the old template, also where one is evicted and made again. No pod is added:
//! each step replaces pods, the highest first. `minReadySeconds` is never touched: it counts for all pods at once. Unlike a
//! Deployment's hold a partition does not end by itself; `rollforward restore` gives it back without an operator.

use super::patch::{Errand, FieldWrite, step_pods};
use super::run::{Hold, Intent, OpenRun};
use super::{Run, RunPlan, errand, phase_now, split, wait};
use crate::policy::{Facts, RolloutSettings};
use crate::reason::Reason;
use crate::workload::{Pod, Shape, StatefulSet, Workload};

/// The partition of each step at this number of replicas, falling, each above the user's own.
#[must_use]
pub fn hold(settings: &RolloutSettings, replicas: i32, own: &StatefulSet) -> Hold {
    let mut partitions: Vec<i32> = (0..settings.steps.len())
        .filter_map(|step| step_pods(settings, step, replicas))
        .map(|pods| replicas.saturating_sub(pods))
        .filter(|partition| own.partition < *partition)
        .collect();
    partitions.sort_unstable_by(|one, other| other.cmp(one));
    partitions.dedup();
    Hold::StatefulSet(partitions)
}

/// Why a canary is begun anew: scaled below the partition that holds it, the workload has no pod that could take the version. No
/// pod is lost by that, and the next run's partition fits.
#[must_use]
pub(super) fn scaled_below(run: &Run, workload: &Workload) -> Option<String> {
    let Shape::StatefulSet(own) = &workload.shape else { return None };
    (0 < workload.replicas && workload.updatable() == 0).then(|| {
        format!(
            "scaled to {} replicas, below partition {} that holds the canary: no pod takes {}; begun anew",
            workload.replicas, own.partition, run.to_tag
        )
    })
}

/// The user's partition, where it is one of ours that is there.
#[must_use]
pub fn restores(own: StatefulSet, original: i32, partitions: &[i32]) -> Vec<FieldWrite> {
    let is_ours = own.partition != original && partitions.contains(&own.partition);
    is_ours.then_some(FieldWrite::Partition(original)).into_iter().collect()
}

/// The pods that a revert does not heal: under `OrderedReady` the native controller waits for a broken pod to be Ready before
/// it replaces it.
#[must_use]
pub fn broken<'a>(own: &StatefulSet, new: &'a [Pod]) -> Vec<&'a Pod> {
    new.iter().filter(|pod| own.is_ordered && pod.ready_since.is_none() && !pod.deleting).collect()
}

/// After a revert: a broken pod is deleted where the policy allows it; else the command is told, until a person or the deadline
/// ends the wait. Only pods of our own version that are not Ready, and only once the controller has seen the revert.
pub(super) fn aftermath(
    facts: &Facts,
    open: &OpenRun,
    (workload, own): (&Workload, &StatefulSet),
    intent: &Intent,
) -> Option<RunPlan> {
    let run = &open.run;
    let pods = split(open).new;
    let ends_at = intent.at.checked_add(run.settings.deadline).unwrap_or(intent.at);
    let broken = broken(own, &pods);
    let first = broken.first()?;
    if ends_at <= facts.now {
        return None;
    }
    if run.settings.delete_broken_pods && workload.generation <= workload.observed_generation {
        let what = format!("deleted pod {}, which would stay on {} for ever", first.name, run.to_tag);
        let write = Errand::DeletePod { name: first.name.clone(), uid: first.uid.clone() };
        return Some(errand(facts, (run, workload), intent, (write, Reason::BrokenPodDeleted, what)));
    }
    let mut plan = wait(facts, run, phase_now(run));
    let names: Vec<&str> = broken.iter().map(|pod| pod.name.as_str()).collect();
    let (names, space) = (names.join(" "), &run.workload.namespace);
    plan.left = Some(format!(
        "OrderedReady keeps the broken pod until somebody deletes it: kubectl delete pod {names} -n {space}"
    ));
    Some(plan)
}
