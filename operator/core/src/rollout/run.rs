//! A run as data: what it was opened with, and what has happened to it since.
//!
//! Everything that a rollback needs is in the run before the first write to the workload. The status is evidence, not truth:
//! the phase is read from the cluster (`rollout.rs`), so that a run whose status was lost goes on all the same.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::image::{Digest, Repository, Tag};
use crate::judge::signals::{SignalSeen, SignalVerdict};
use crate::levers::{Lever, RunLevers, Verb};
use crate::policy::{PolicyId, RolloutSettings};
use crate::reason::Reason;
use crate::rollout::{Next, Written};
use crate::workload::{DaemonRolling, Deployment, Kind, Pod, Revision, Strategy, Workload, WorkloadId};

/// One container that a run moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunContainer {
    /// Its name.
    pub name: String,
    /// Its index in `containers` or `initContainers`.
    pub index: usize,
    /// Whether it is an init container.
    pub init: bool,
    /// The image field before the run, to the letter: the old ReplicaSet is found again by it.
    pub from: String,
    /// The image field that the run writes.
    pub to: String,
    /// `from` with the digest that ran, where its tag named something else when the run began.
    pub back: Option<String>,
}

impl RunContainer {
    /// What a rollback writes where pods have to be made for it.
    #[must_use]
    pub fn way_back(&self) -> &String {
        self.back.as_ref().unwrap_or(&self.from)
    }

    /// Whether an image is what ran before the run.
    #[must_use]
    pub fn is_before(&self, image: &str) -> bool {
        self.from == image || self.back.as_deref() == Some(image)
    }
}

/// The fields of a Deployment that a canary holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentFields {
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: i32,
    /// `spec.progressDeadlineSeconds`.
    pub progress_deadline_seconds: i32,
    /// `spec.strategy`.
    pub strategy: Strategy,
}

impl From<Deployment> for DeploymentFields {
    fn from(own: Deployment) -> Self {
        let Deployment { paused: _, strategy, foreign: _, min_ready_seconds, progress_deadline_seconds } =
            own;
        Self { min_ready_seconds, progress_deadline_seconds, strategy }
    }
}

/// The fields that a run may touch beside the image, as they were before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fields {
    /// Of a Deployment.
    Deployment(DeploymentFields),
    /// Of a StatefulSet: its partition.
    StatefulSet(i32),
    /// Of a DaemonSet; `None` for `OnDelete`.
    DaemonSet(Option<DaemonRolling>),
    /// A CronJob has none.
    CronJob,
    /// None of a workload that Argo Rollouts or Flagger rolls out is touched.
    Delegated,
}

/// What holds a Deployment's canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeploymentHold {
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: i32,
    /// `spec.progressDeadlineSeconds`.
    pub progress_deadline_seconds: i32,
}

/// The values that hold the new pods while they are watched: decided before the first write, so that they are known again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// Of a Deployment.
    Deployment(DeploymentHold),
    /// Of a StatefulSet: the partition of each step, falling; none where no step lies above its own.
    StatefulSet(Vec<i32>),
    /// Of a DaemonSet: one node at a time; `None` for `OnDelete`.
    DaemonSet(Option<DaemonRolling>),
    /// A CronJob is not held.
    CronJob,
    /// Argo Rollouts or Flagger rolls it out: what their verdict stood on before the first write.
    Delegated(String),
}

/// Where a run is, as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Recorded; nothing written to the workload.
    Preparing,
    /// Recorded; waits for somebody's approval.
    AwaitingApproval,
    /// New pods beside all old ones.
    Canary,
    /// The native controller replaces the rest.
    Promoting,
    /// Done.
    Succeeded,
    /// The old image and fields are restored.
    RolledBack,
    /// Ended without blame.
    Aborted,
}

/// What the run has decided to do to its end. Written before the patch, so that a restart knows whose write it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// `RolledBack`, or `Aborted`: which end.
    pub end: Reason,
    /// The cause.
    pub reason: Reason,
    /// The cause as a sentence.
    pub message: String,
    /// When it was decided.
    pub at: Timestamp,
}

/// How far the new pods of a step have come. It only grows: a pod that is Ready again brings nothing new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The most new pods that were Ready at once.
    pub ready: i32,
    /// The fewest that were missing.
    pub missing: i32,
    /// When the last of them became Ready.
    pub at: Timestamp,
}

/// What has happened to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStatus {
    /// Where it is.
    pub phase: Phase,
    /// When the first write to the workload succeeded.
    pub started_at: Option<Timestamp>,
    /// When it ends without an answer.
    pub deadline: Option<Timestamp>,
    /// Index of the step.
    pub step: usize,
    /// New pods of the step.
    pub step_pods: i32,
    /// When the step was written.
    pub step_started_at: Option<Timestamp>,
    /// How far it has come, where its pods are replaced one after another; a little behind (`progress.rs`).
    pub progress: Option<Progress>,
    /// The end that it is on the way to.
    pub intent: Option<Intent>,
    /// The named cause: code, observed, pods and nodes.
    pub cause: Option<RunCause>,
    /// What the old pods showed before the first write, where they were failing.
    pub baseline: Option<String>,
    /// What the signals say.
    pub signals: Vec<SignalVerdict>,
    /// Every write, with what stood there before.
    pub writes: Vec<Written>,
    /// What the operator does next.
    pub next: Option<Next>,
    /// What people did to it.
    pub levers: Vec<(Verb, Lever)>,
    /// How it ended: code and sentence.
    pub result: Option<(Reason, String)>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Whether it succeeded although nothing that runs the version was seen well: no proof of the digest.
    pub unseen: bool,
}

/// The cause of a failed run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunCause {
    /// The code.
    pub reason: Reason,
    /// What was wanted.
    pub expected: String,
    /// What was seen.
    pub observed: String,
    /// The pod that showed it first.
    pub pod: Option<String>,
    /// Its node.
    pub node: Option<String>,
    /// Equal for equal failures.
    pub signature: String,
    /// Whether the environment is to blame.
    pub environment: bool,
    /// Whose fault it is, with what the old pods showed.
    pub judged: String,
}

/// One attempt to move one workload to one digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its name.
    pub name: String,
    /// The policy that opened it.
    pub policy: PolicyId,
    /// The policy's generation then: edits act on the next run.
    pub policy_generation: i64,
    /// The workload.
    pub workload: WorkloadId,
    /// The workload's generation when the originals were read. The first patch demands it, so that they are exact.
    pub generation: i64,
    /// The track.
    pub track: String,
    /// The repository.
    pub repository: Repository,
    /// The containers.
    pub containers: Vec<RunContainer>,
    /// The tag before.
    pub from_tag: Option<Tag>,
    /// The digest before.
    pub from_digest: Option<Digest>,
    /// The tag moved to.
    pub to_tag: Tag,
    /// The digest moved to.
    pub to_digest: Digest,
    /// 1, or 2 for the retry.
    pub attempt: u32,
    /// When the candidate was first seen.
    pub first_seen: Timestamp,
    /// What started the run, in words.
    pub trigger: String,
    /// What each layer said.
    pub evidence: BTreeMap<String, String>,
    /// The fields before.
    pub originals: Fields,
    /// The values that hold the canary.
    pub hold: Hold,
    /// The settings it started with.
    pub settings: RolloutSettings,
    /// False where no canary fits.
    pub canary: bool,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// Whether its deletion was asked for: then it is aborted.
    pub deleting: bool,
    /// What people asked of it.
    pub levers: RunLevers,
    /// What has happened since.
    pub status: RunStatus,
}

impl Run {
    /// Whether Argo Rollouts or Flagger rolls the workload out.
    #[must_use]
    pub fn is_delegated(&self) -> bool {
        matches!(self.hold, Hold::Delegated(_))
    }

    /// Whether a CronJob's run has seen its first success: the update is done, and only the watch over its runs goes on.
    #[must_use]
    pub fn is_provisional(&self) -> bool {
        self.workload.kind == Kind::CronJob
            && self.status.phase == Phase::Promoting
            && self.status.intent.is_none()
    }
}

/// An open run with what the cluster shows of its workload now.
#[derive(Debug, Clone)]
pub struct OpenRun {
    /// The run.
    pub run: Run,
    /// Its workload; `None` where it is gone or was recreated.
    pub workload: Option<Workload>,
    /// The templates that its pods were made from.
    pub revisions: Vec<Revision>,
    /// The workload's pods.
    pub pods: Vec<Pod>,
    /// Why they could not be read.
    pub unreadable: Option<String>,
    /// What was measured of the canary just now.
    pub readings: Vec<SignalSeen>,
}

impl RunStatus {
    /// The status of a run that was just recorded.
    #[must_use]
    pub fn new() -> Self {
        Self {
            phase: Phase::Preparing,
            started_at: None,
            deadline: None,
            step: 0,
            step_pods: 0,
            step_started_at: None,
            progress: None,
            intent: None,
            cause: None,
            baseline: None,
            signals: Vec::new(),
            writes: Vec::new(),
            next: None,
            levers: Vec::new(),
            result: None,
            finished_at: None,
            unseen: false,
        }
    }
}

impl Default for RunStatus {
    fn default() -> Self {
        Self::new()
    }
}
