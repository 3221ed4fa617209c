//! What the cluster shows of a workload and its pods: only the fields that decisions read.
//!
//! Filled by the controller's observation; judged by `judge.rs`, moved by `rollout.rs`. Texts that others write
//! (messages of the kubelet, of admission) are raw here; `report.rs` cleans and cuts them before anybody reads them.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::delegate::Delegate;
use crate::image::Digest;
use crate::ownership::Keeper;

/// The kinds of workloads that are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `apps/v1` Deployment: a canary beside all old pods.
    Deployment,
    /// `apps/v1` StatefulSet: the highest ordinals first, by its partition.
    StatefulSet,
    /// `apps/v1` DaemonSet: node by node, watched.
    DaemonSet,
    /// `batch/v1` CronJob: the next runs are judged.
    CronJob,
    /// `argoproj.io/v1alpha1` Rollout: Argo Rollouts rolls it out, its verdict is read.
    Rollout,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 5] =
        [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::CronJob, Kind::Rollout];

    /// The kind as Kubernetes spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Deployment => "Deployment",
            Kind::StatefulSet => "StatefulSet",
            Kind::DaemonSet => "DaemonSet",
            Kind::CronJob => "CronJob",
            Kind::Rollout => "Rollout",
        }
    }

    /// The API group and version.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet => "apps/v1",
            Kind::CronJob => "batch/v1",
            Kind::Rollout => "argoproj.io/v1alpha1",
        }
    }

    /// The resource as rights and `kubectl` name it: `deployments.apps`.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Kind::Deployment => "deployments.apps",
            Kind::StatefulSet => "statefulsets.apps",
            Kind::DaemonSet => "daemonsets.apps",
            Kind::CronJob => "cronjobs.batch",
            Kind::Rollout => "rollouts.argoproj.io",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Names a workload for ever: a deleted and recreated one has another `uid`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadId {
    /// Its kind.
    pub kind: Kind,
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

impl IntOrPercent {
    /// How many of so many pods: the native controllers round a surge up and what may be missing down.
    #[must_use]
    pub fn of(&self, replicas: i32, up: bool) -> i32 {
        match self {
            IntOrPercent::Int(pods) => *pods,
            IntOrPercent::Percent(percent) => {
                let share = i64::from(replicas).saturating_mul(i64::from(*percent));
                let share = share.saturating_add(if up { 99 } else { 0 }).checked_div(100).unwrap_or(0);
                i32::try_from(share).unwrap_or(i32::MAX)
            }
        }
    }
}

impl fmt::Display for IntOrPercent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IntOrPercent::Int(pods) => write!(formatter, "{pods}"),
            IntOrPercent::Percent(percent) => write!(formatter, "{percent}%"),
        }
    }
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

/// What only a Deployment has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// `spec.paused`.
    pub paused: bool,
    /// How pods are replaced.
    pub strategy: Strategy,
    /// Which fields of the strategy somebody else than this operator wrote last, by the managed fields.
    pub foreign: ForeignStrategy,
    /// `spec.minReadySeconds`, 0 where absent.
    pub min_ready_seconds: i32,
    /// `spec.progressDeadlineSeconds`.
    pub progress_deadline_seconds: i32,
}

/// The fields of a rolling update that somebody else than this operator wrote last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ForeignStrategy {
    /// `maxSurge`.
    pub max_surge: bool,
    /// `maxUnavailable`.
    pub max_unavailable: bool,
}

/// What only a StatefulSet has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatefulSet {
    /// `spec.updateStrategy.rollingUpdate.partition`, 0 where absent: pods below this index keep the old template. An index,
    /// whatever `spec.ordinals.start` says.
    pub partition: i32,
    /// Whether `spec.updateStrategy` is `OnDelete`: a pod takes a new template when its owner deletes it.
    pub on_delete: bool,
    /// Whether `spec.podManagementPolicy` is `OrderedReady`: a pod that is not Ready stops all after it, its own repair too.
    pub is_ordered: bool,
    /// Whether `status` names one revision as current and as newest: then the pods below the partition count as updated too.
    pub is_one_revision: bool,
}

/// What only a DaemonSet has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonSet {
    /// `spec.updateStrategy.rollingUpdate`; `None` for `OnDelete`.
    pub rolling: Option<DaemonRolling>,
    /// Whether its pods are of the classes `system-node-critical` or `system-cluster-critical`.
    pub is_critical: bool,
}

/// How a DaemonSet replaces pods: exactly one of the two is not zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonRolling {
    /// Nodes whose pod may be missing.
    pub max_unavailable: IntOrPercent,
    /// Nodes that may have two.
    pub max_surge: IntOrPercent,
}

/// What only a CronJob has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronJob {
    /// `spec.suspend`.
    pub is_suspended: bool,
    /// The Jobs that it made and that are still there, oldest first.
    pub jobs: Vec<Job>,
}

/// One run of a CronJob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its name; its pods name it as their revision.
    pub name: String,
    /// Its uid: a run is counted once.
    pub uid: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Image by container name, of its template.
    pub images: BTreeMap<String, String>,
    /// Its `spec.activeDeadlineSeconds`.
    pub active_deadline_seconds: Option<i64>,
    /// Why its pod cannot be created, where it has none.
    pub denied: Option<String>,
    /// How it ended.
    pub end: JobEnd,
}

impl Job {
    /// Whether we have already asked for its end: `activeDeadlineSeconds: 1`.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.active_deadline_seconds == Some(1)
    }
}

/// How a Job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    /// It has not.
    Active,
    /// Its work is done.
    Complete,
    /// It gave up: the reason of its `Failed` condition, for example `BackoffLimitExceeded`.
    Failed(String),
}

/// What only one kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A Deployment.
    Deployment(Deployment),
    /// A StatefulSet.
    StatefulSet(StatefulSet),
    /// A DaemonSet.
    DaemonSet(DaemonSet),
    /// A CronJob.
    CronJob(CronJob),
    /// A Rollout of Argo Rollouts: what its status says is the delegate's.
    Rollout,
}

/// A workload as its object shows it.
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
    /// Wanted replicas.
    pub replicas: i32,
    /// Pods of the newest template.
    pub updated_replicas: i32,
    /// All pods.
    pub total_replicas: i32,
    /// Available pods.
    pub available_replicas: i32,
    /// Containers, then init containers.
    pub containers: Vec<Container>,
    /// The run named by our annotation: may be stale or missing, `kubectl rollout undo` replaces annotations.
    pub annotated_run: Option<String>,
    /// Who else keeps the workload: a GitOps controller, or one for rollouts.
    pub keeper: Option<Keeper>,
    /// Who rolls it out in our place: Argo Rollouts or Flagger.
    pub delegate: Option<Delegate>,
    /// Who last wrote the image field and when, by the object's managed fields.
    pub image_writer: Option<(String, Timestamp)>,
    /// What only its kind has.
    pub shape: Shape,
}

impl Workload {
    /// What only a Deployment has.
    #[must_use]
    pub fn deployment(&self) -> Option<&Deployment> {
        match &self.shape {
            Shape::Deployment(deployment) => Some(deployment),
            Shape::StatefulSet(_) | Shape::DaemonSet(_) | Shape::CronJob(_) | Shape::Rollout => None,
        }
    }

    /// What only a CronJob has.
    #[must_use]
    pub fn cron_job(&self) -> Option<&CronJob> {
        match &self.shape {
            Shape::CronJob(cron) => Some(cron),
            Shape::Deployment(_) | Shape::StatefulSet(_) | Shape::DaemonSet(_) | Shape::Rollout => None,
        }
    }

    /// Whether a pod takes a new template only when its owner deletes it.
    #[must_use]
    pub fn is_on_delete(&self) -> bool {
        match &self.shape {
            Shape::StatefulSet(set) => set.on_delete,
            Shape::DaemonSet(set) => set.rolling.is_none(),
            Shape::Deployment(_) | Shape::CronJob(_) | Shape::Rollout => false,
        }
    }

    /// How many pods run the newest template once the native controller is at rest: a StatefulSet's partition keeps the others.
    #[must_use]
    pub fn updatable(&self) -> i32 {
        match &self.shape {
            Shape::StatefulSet(set) => self.replicas.saturating_sub(set.partition.max(0)).max(0),
            Shape::Deployment(_) | Shape::DaemonSet(_) | Shape::CronJob(_) | Shape::Rollout => self.replicas,
        }
    }

    /// Whether the native controller has nothing more to replace.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        // No native controller replaces here: whether the delegate is at rest is asked of it.
        if self.delegate.is_some() {
            return true;
        }
        let updated = match &self.shape {
            Shape::StatefulSet(set) if !set.is_one_revision => self.updatable() <= self.updated_replicas,
            Shape::StatefulSet(_)
            | Shape::Deployment(_)
            | Shape::DaemonSet(_)
            | Shape::CronJob(_)
            | Shape::Rollout => self.updated_replicas == self.replicas,
        };
        self.generation <= self.observed_generation && updated && self.total_replicas == self.replicas
    }

    /// Whether somebody paused it.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.deployment().is_some_and(|deployment| deployment.paused)
    }

    /// As `kubectl` and sentences name it: `Deployment/web`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}/{}", self.id.kind, self.id.name)
    }
}

/// One template that pods of a workload were made from: a ReplicaSet, a ControllerRevision, or a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its name: what `kubectl get` shows.
    pub name: String,
    /// Its number: the newest is the greatest.
    pub revision: i64,
    /// Image by container name, of its template.
    pub images: BTreeMap<String, String>,
    /// Wanted pods.
    pub replicas: i32,
    /// Why its pods could not be created, in the words of a `ReplicaFailure` condition or a `FailedCreate` Event.
    pub create_failure: Option<String>,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its uid: a pod that was recreated under the same name has another.
    pub uid: String,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// The name of the revision that it was made from.
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
    /// The NetworkPolicies that restrict what it may call; read only after a crash, and where the right is there.
    pub egress_policies: Vec<String>,
}

/// What a container may not do, by its own and its pod's security settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restrictions {
    /// `readOnlyRootFilesystem`.
    pub read_only_root: bool,
    /// Capabilities that are dropped, as they are written.
    pub dropped: Vec<String>,
    /// Capabilities that are added.
    pub added: Vec<String>,
    /// The seccomp profile; `None` where it is unconfined or not set.
    pub seccomp: Option<String>,
    /// The AppArmor profile; `None` where it is unconfined or not set.
    pub apparmor: Option<String>,
    /// The user it must run as, where that is set and is not root.
    pub user: Option<i64>,
}

/// What a program wrote last before it ended, beside its termination message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastWords {
    /// Nothing has ended that would have to be explained.
    NotAsked,
    /// The end of its log, masked.
    Known(String),
    /// Why it is not known.
    Unknown(String),
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
    /// What it may not do.
    pub restrictions: Restrictions,
    /// The end of its log.
    pub last_words: LastWords,
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
