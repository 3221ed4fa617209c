//! The native DaemonSet controller as a pure model: one pod a node, replaced by maxUnavailable or beside the old one by maxSurge.
//!
//! Named after `manage` and `rollingUpdate` of `pkg/controller/daemon`: missing pods first; an old pod that is not available is
//! replaced without limit. What it shares with the other kinds (templates, pods, what people do): `native.rs`.

use jiff::Timestamp;
use rollforward_core::workload::{DaemonRolling, Shape};

use crate::kubelet::SimPod;
use crate::native::{Deployment, Pull};

fn rolling(workload: &Deployment) -> Option<DaemonRolling> {
    match &workload.object.shape {
        Shape::DaemonSet(own) => own.rolling.clone(),
        other => panic!("a DaemonSet, got {other:?}"),
    }
}

/// The pods of a node: of an older template, and of the newest.
fn on<'a>(workload: &'a Deployment, node: &str, newest: &str) -> (Option<&'a SimPod>, Option<&'a SimPod>) {
    let here = || workload.pods.iter().filter(|pod| pod.node == node);
    (here().find(|pod| pod.owner != newest), here().find(|pod| pod.owner == newest))
}

fn nodes(workload: &Deployment) -> Vec<String> {
    (0..workload.object.replicas).map(|node| format!("node-{node}")).collect()
}

/// How many nodes have a pod.
pub fn scheduled(workload: &Deployment) -> usize {
    nodes(workload).iter().filter(|node| workload.pods.iter().any(|pod| pod.node == **node)).count()
}

/// One sync; tells whether a pod was made or removed.
pub fn sync(workload: &mut Deployment, now: Timestamp, pull: Pull<'_>) -> bool {
    let newest = workload.revise();
    let nodes = nodes(workload);
    let bare = nodes.iter().find(|node| matches!(on(workload, node, &newest), (None, None)));
    if let Some(node) = bare.filter(|_| !workload.is_full()) {
        make(workload, node, &newest, now, pull);
        return true;
    }
    let Some(DaemonRolling { max_unavailable, max_surge }) = rolling(workload) else { return false };
    let (unavailable, surge) =
        (max_unavailable.of(workload.object.replicas, true), max_surge.of(workload.object.replicas, true));
    if 0 < surge {
        beside(workload, (&nodes, &newest), surge, now, pull)
    } else {
        instead(workload, &nodes, &newest, unavailable)
    }
}

/// maxSurge 0: old pods go, as long as not too many nodes are without an available one.
fn instead(workload: &mut Deployment, nodes: &[String], newest: &str, most: i32) -> bool {
    let (mut missing, mut broken, mut candidates) = (0, Vec::new(), Vec::new());
    for node in nodes {
        match on(workload, node, newest) {
            (None, None) | (Some(_), Some(_)) => missing += 1,
            (None, Some(new)) => missing += i32::from(new.ready_since.is_none()),
            (Some(old), None) if old.ready_since.is_none() => {
                missing += 1;
                broken.push(old.name.clone());
            }
            (Some(old), None) => candidates.push(old.name.clone()),
        }
    }
    let left = usize::try_from(most - missing).unwrap_or(0);
    let gone: Vec<String> = broken.into_iter().chain(candidates.into_iter().take(left)).collect();
    gone.iter().for_each(|pod| workload.remove(pod));
    !gone.is_empty()
}

/// maxSurge: a new pod beside an old one, which goes when the new one is available.
fn beside(
    workload: &mut Deployment,
    (nodes, newest): (&[String], &str),
    most: i32,
    now: Timestamp,
    pull: Pull<'_>,
) -> bool {
    let (mut surging, mut at_once, mut candidates, mut gone) = (0, Vec::new(), Vec::new(), Vec::new());
    for node in nodes {
        match on(workload, node, newest) {
            (None, _) => {}
            (Some(old), None) if old.ready_since.is_none() => at_once.push(node.clone()),
            (Some(_), None) => candidates.push(node.clone()),
            (Some(old), Some(new)) if new.ready_since.is_some() => gone.push(old.name.clone()),
            (Some(_), Some(_)) => surging += 1,
        }
    }
    let left = usize::try_from(most - surging).unwrap_or(0);
    let started: Vec<String> = at_once.into_iter().chain(candidates.into_iter().take(left)).collect();
    gone.iter().for_each(|pod| workload.remove(pod));
    let mut moved = !gone.is_empty();
    for node in started.iter().filter(|_| !workload.is_full()).cloned().collect::<Vec<_>>() {
        make(workload, &node, newest, now, pull);
        moved = true;
    }
    moved
}

fn make(workload: &mut Deployment, node: &str, newest: &str, now: Timestamp, pull: Pull<'_>) {
    let image = workload.image_of(newest);
    let pulled = pull(&image);
    let name = format!("{newest}-{}", workload.number());
    workload.pods.push(SimPod::new((name, newest.to_owned(), node.to_owned()), image, pulled, now));
}
