//! What the cluster shows of a workload and its pods: only the fields that decisions read.
//!
//! Filled by the controller's observation; judged by `judge.rs`, moved by `rollout.rs`. Texts that others write
//! (messages of the kubelet, of admission) are raw here; `report.rs` cleans and cuts them before anybody reads them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::image::Digest;

/// Names a workload for ever: a deleted and recreated one has another `uid`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadId {
    /// `Deployment`; other kinds follow.
    pub kind: String,
    /// The namespace, always that of the policy.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The object's uid.
    pub uid: String,
}

/// A number of pods or a share of the replicas, as `maxSurge` is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntOrPercent {
    /// A number of pods.
    Int(i32),
    /// A share, 0 to 100 and above.
    Percent(i32),
}

/// How the native controller replaces pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// Old and new pods side by side.
    RollingUpdate {
        /// Pods above the replicas.
        max_surge: IntOrPercent,
        /// Pods that may be missing.
        max_unavailable: IntOrPercent,
    },
    /// All old pods end first: no canary is possible.
    Recreate,
}

/// One container of a pod template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The container's name.
    pub name: String,
    /// Its index in `containers` or `initContainers`: what a JSON patch addresses.
    pub index: usize,
    /// Whether it is an init container.
    pub init: bool,
    /// The `image` field as it is written.
    pub image: String,
}

/// A Deployment as its object shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Which one.
    pub id: WorkloadId,
    /// `metadata.generation`: rises with every change of the spec.
    pub generation: i64,
    /// The generation that the native controller has acted on.
    pub observed_generation: i64,
    /// Whether deletion was asked for.
    pub deleting: bool,
    /// `spec.paused`.
    pub paused: bool,
    /// Wanted replicas.
    pub replicas: i32,
    /// Pods of the newest template.
    pub updated_replicas: i32,
    /// All pods.
    pub total_replicas: i32,
    /// Available pods.
    pub available_replicas: i32,
    /// How pods are replaced.
    pub strategy: Strategy,
    /// `spec.minReadySeconds`, 0 where absent.
    pub min_ready_seconds: i32,
    /// `spec.progressDeadlineSeconds`.
    pub progress_deadline_seconds: i32,
    /// Containers, then init containers.
    pub containers: Vec<Container>,
    /// The run named by our annotation: may be stale or missing, `kubectl rollout undo` replaces annotations.
    pub annotated_run: Option<String>,
    /// Who last wrote the image field and when, by the object's managed fields.
    pub image_writer: Option<(String, Timestamp)>,
}

/// One ReplicaSet of a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSet {
    /// Its name: what `kubectl get rs` shows.
    pub name: String,
    /// `deployment.kubernetes.io/revision`.
    pub revision: i64,
    /// Image by container name, of its template.
    pub images: BTreeMap<String, String>,
    /// Wanted pods.
    pub replicas: i32,
    /// Text of its `ReplicaFailure` condition: why its pods could not be created.
    pub create_failure: Option<String>,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// The name of the ReplicaSet that owns it.
    pub owner: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Since when it has been Ready, where it is.
    pub ready_since: Option<Timestamp>,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// `status.reason` and `status.message` of a pod that a kubelet refused or evicted.
    pub refusal: Option<(String, String)>,
    /// Message of `PodScheduled=False`.
    pub unschedulable: Option<String>,
    /// Reason of a `DisruptionTarget` condition: such a pod says nothing about the image.
    pub disruption: Option<String>,
    /// Its containers, init containers too.
    pub containers: Vec<ContainerStatus>,
    /// Newest texts of its Warning Events (`Unhealthy`, `FailedMount`, `Failed` ...): hints only, as (reason, message).
    pub warnings: Vec<(String, String)>,
}

/// The state of one container of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStatus {
    /// The container's name.
    pub name: String,
    /// Whether it is an init container.
    pub init: bool,
    /// The image that its spec names: tells the judged container from a sidecar.
    pub image: String,
    /// The digest that the node reports as running.
    pub running_digest: Option<Digest>,
    /// Whether it is Ready.
    pub ready: bool,
    /// How often the kubelet restarted it.
    pub restarts: i32,
    /// What it does now.
    pub state: ContainerState,
    /// How its previous life ended.
    pub last_end: Option<Termination>,
    /// Its memory limit as written, where it has one.
    pub memory_limit: Option<String>,
}

/// What a container does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Not started: reason and message of the kubelet.
    Waiting {
        /// For example `CrashLoopBackOff`, `ErrImagePull`, `CreateContainerConfigError`, or empty.
        reason: String,
        /// The kubelet's text.
        message: String,
    },
    /// Running since.
    Running {
        /// When it started.
        started_at: Option<Timestamp>,
    },
    /// Ended and not started again.
    Terminated(Termination),
}

/// How a container's life ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
    /// The exit code: 128 + n where signal n ended it.
    pub exit_code: i32,
    /// The signal, where the runtime reports one.
    pub signal: Option<i32>,
    /// For example `Error`, `OOMKilled`, `StartError`, `ContainerCannotRun`, `Completed`.
    pub reason: String,
    /// The runtime's text or the program's termination message.
    pub message: String,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}
