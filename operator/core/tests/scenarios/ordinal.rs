//! The native StatefulSet controller as a pure model: pods by ordinal, partition, OrderedReady and Parallel.
//!
//! Named after `updateStatefulSet` of `pkg/controller/statefulset`: missing pods first, in order; then condemned ones; then the
//! update from the highest ordinal down. Under OrderedReady a pod that is not Ready stops all that comes after it, so a revert
//! does not heal a broken pod. What it shares with Deployments (templates, pods, what people do): `native.rs`.

use jiff::Timestamp;
use rollforward_core::workload::{Shape, StatefulSet};

use crate::kubelet::SimPod;
use crate::native::{Deployment, Pull};

fn own(workload: &Deployment) -> StatefulSet {
    match &workload.object.shape {
        Shape::StatefulSet(own) => *own,
        other => panic!("a StatefulSet, got {other:?}"),
    }
}

/// One sync; tells whether a pod was made or removed.
pub fn sync(workload: &mut Deployment, now: Timestamp, pull: Pull<'_>) -> bool {
    let newest = workload.revise();
    let own = own(workload);
    let replicas = workload.object.replicas;
    let name = |ordinal: i32, workload: &Deployment| format!("{}-{ordinal}", workload.object.id.name);
    for ordinal in 0..replicas {
        let name = name(ordinal, workload);
        match workload.pods.iter().find(|pod| pod.name == name) {
            None if workload.is_full() => return false,
            None => {
                let old = ordinal < own.partition;
                let set =
                    if old { workload.current.clone().unwrap_or(newest.clone()) } else { newest.clone() };
                make(workload, (name, set), now, pull);
                return true;
            }
            Some(pod) if own.is_ordered && pod.ready_since.is_none() => return false,
            Some(_) => {}
        }
    }
    let most = i32::try_from(workload.pods.len()).unwrap() + replicas;
    let condemned = (replicas..most).rev().map(|ordinal| name(ordinal, workload));
    if let Some(name) = condemned.into_iter().find(|name| workload.pods.iter().any(|pod| pod.name == *name)) {
        workload.remove(&name);
        return true;
    }
    // Whoever owns them deletes them.
    if own.on_delete {
        return false;
    }
    for ordinal in (own.partition.max(0)..replicas).rev() {
        let name = name(ordinal, workload);
        let Some(pod) = workload.pods.iter().find(|pod| pod.name == name) else {
            return false;
        };
        if pod.owner != newest {
            workload.remove(&name);
            return true;
        }
        if pod.ready_since.is_none() {
            return false;
        }
    }
    // completeRollingUpdate
    let all_new = workload.pods.iter().all(|pod| pod.owner == newest && pod.ready_since.is_some());
    if all_new && own.partition <= 0 {
        workload.current = Some(newest);
    }
    false
}

fn make(workload: &mut Deployment, (name, set): (String, String), now: Timestamp, pull: Pull<'_>) {
    let image = workload.image_of(&set);
    let pulled = pull(&image);
    workload.pods.push(SimPod::new((name, set, "node-a".to_owned()), image, pulled, now));
}
