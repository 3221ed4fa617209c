//! One write to one workload as data, and what is the same for every kind: images, tests, what is given back.
//!
//! What each kind holds while its new pods are watched: `deployment.rs` and the files beside it. Who sends it: the
//! controller's `kubernetes/patch.rs`.

use crate::policy::{RolloutSettings, StepSize};
use crate::rollout::run::{Fields, Hold, Run, RunContainer};
use crate::rollout::{daemonset, delegated, deployment, statefulset};
use crate::workload::{self, DaemonRolling, IntOrPercent, Shape, Workload, WorkloadId};

/// One JSON patch to one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The workload; its uid is tested.
    pub workload: WorkloadId,
    /// The generation to test, where the originals must be exact.
    pub generation: Option<i64>,
    /// The images: each with the value that is tested before it is written.
    pub images: Vec<ImageWrite>,
    /// The other fields that are written.
    pub fields: Vec<FieldWrite>,
    /// Our annotation: set to the run's name, or cleared.
    pub annotation: Annotation,
}

impl Patch {
    /// Whether it only holds for longer what is there: the run waits all the same.
    #[must_use]
    pub fn is_longer_hold(&self) -> bool {
        let lasts = |field: &FieldWrite| {
            matches!(field, FieldWrite::MinReadySeconds(_) | FieldWrite::ProgressDeadlineSeconds(_))
        };
        let stays = self.images.iter().all(|image| image.before == image.after);
        stays
            && self.annotation == Annotation::Keep
            && !self.fields.is_empty()
            && self.fields.iter().all(lasts)
    }
}

/// One field beside the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldWrite {
    /// A Deployment's `spec.minReadySeconds`.
    MinReadySeconds(i32),
    /// A Deployment's `spec.progressDeadlineSeconds`.
    ProgressDeadlineSeconds(i32),
    /// A Deployment's `spec.strategy.rollingUpdate`.
    RollingUpdate {
        /// Pods above the replicas.
        max_surge: IntOrPercent,
        /// Pods that may be missing.
        max_unavailable: IntOrPercent,
    },
    /// A StatefulSet's `spec.updateStrategy.rollingUpdate.partition`.
    Partition(i32),
    /// A DaemonSet's `spec.updateStrategy.rollingUpdate`.
    DaemonRolling(DaemonRolling),
}

/// A write to one pod or Job of a workload, after the workload itself was reverted. The uid is a precondition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    /// Deletes a broken pod that the native controller would keep.
    DeletePod {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Ends a Job that can never start its container: it stays as evidence.
    EndJob {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
}

/// What happens to the annotation that names the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Annotation {
    /// Left as it is.
    Keep,
    /// Set to the run's name.
    Set(String),
    /// Emptied, where it is there.
    Clear,
}

/// One image field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageWrite {
    /// The container's name, tested at that index.
    pub name: String,
    /// The index.
    pub index: usize,
    /// Whether it is an init container.
    pub init: bool,
    /// The value that must be there.
    pub before: String,
    /// The value that is written; equal to `before` where only the test matters.
    pub after: String,
}

/// The fields of the workload that a run may touch, as they are now.
#[must_use]
pub fn fields(workload: &Workload) -> Fields {
    if workload.delegate.is_some() {
        return Fields::Delegated;
    }
    match &workload.shape {
        Shape::Deployment(own) => Fields::Deployment(own.clone().into()),
        Shape::StatefulSet(own) => Fields::StatefulSet(own.partition),
        Shape::DaemonSet(own) => Fields::DaemonSet(own.rolling.clone()),
        Shape::CronJob(_) => Fields::CronJob,
        Shape::Rollout => Fields::Delegated,
    }
}

/// The values that hold the new pods while they are watched, under these settings.
#[must_use]
pub fn hold(settings: &RolloutSettings, workload: &Workload) -> Hold {
    if let Some(delegate) = &workload.delegate {
        return delegated::hold(delegate);
    }
    match &workload.shape {
        Shape::Deployment(own) => deployment::hold(settings, own),
        Shape::StatefulSet(own) => statefulset::hold(settings, workload.replicas, own),
        Shape::DaemonSet(own) => daemonset::hold(own),
        Shape::CronJob(_) => Hold::CronJob,
        Shape::Rollout => Hold::Delegated(String::new()),
    }
}

/// How many new pods a step means at this number of replicas; `None` for the last step, which promotes.
#[must_use]
pub fn step_pods(settings: &RolloutSettings, step: usize, replicas: i32) -> Option<i32> {
    if settings.steps.len() <= step.saturating_add(1) {
        return None;
    }
    let pods = match settings.steps.get(step)? {
        StepSize::Pods(pods) => *pods,
        StepSize::Percent(percent) => {
            let share = i64::from(replicas).saturating_mul(i64::from(*percent));
            i32::try_from(share.saturating_add(99).checked_div(100).unwrap_or(1)).unwrap_or(i32::MAX)
        }
    };
    Some(pods.clamp(1, replicas.max(1)))
}

/// The steps before the promotion that start more new pods than every one before, each with its index.
#[must_use]
pub fn surges(settings: &RolloutSettings, replicas: i32) -> Vec<(usize, i32)> {
    let mut surges: Vec<(usize, i32)> = Vec::new();
    for step in 0..settings.steps.len() {
        let most = surges.last().map_or(0, |(_, pods)| *pods);
        surges
            .extend(step_pods(settings, step, replicas).filter(|pods| most < *pods).map(|pods| (step, pods)));
    }
    surges
}

/// The first step, and its pods, that starts more new pods than there are; `None` where only promotion is left.
#[must_use]
pub fn next_step(run: &Run, from: usize, pods_now: i32, replicas: i32) -> Option<(usize, i32)> {
    (from..run.settings.steps.len()).find_map(|step| {
        let pods = step_pods(&run.settings, step, replicas)?;
        (pods_now < pods).then_some((step, pods))
    })
}

/// Starts the run: images, held fields and annotation in one patch. Where nothing is held there is nothing to point to.
#[must_use]
pub fn start(run: &Run, workload: &Workload, pods: i32) -> Patch {
    let fields = match &run.hold {
        Hold::Deployment(hold) if run.canary => deployment::held(*hold, pods),
        Hold::StatefulSet(partitions) if run.canary => {
            partitions.first().map(|first| FieldWrite::Partition(*first)).into_iter().collect()
        }
        Hold::DaemonSet(rolling) => daemonset::held(&run.originals, rolling.as_ref()),
        Hold::Deployment(_) | Hold::StatefulSet(_) | Hold::CronJob | Hold::Delegated(_) => Vec::new(),
    };
    let annotation = if fields.is_empty() { Annotation::Keep } else { Annotation::Set(run.name.clone()) };
    Patch {
        generation: Some(run.generation),
        fields,
        annotation,
        ..images(run, workload, Direction::Forward)
    }
}

/// What the next step writes: its index, how many new pods it means, and the field.
#[must_use]
pub fn next(run: &Run, workload: &Workload) -> Option<(usize, i32, FieldWrite)> {
    match (&workload.shape, &run.hold) {
        // Where a person wrote another strategy in mid-canary, the number of pods is theirs: no further step is written.
        (Shape::Deployment(own), _) if holds_strategy(run, own) => {
            let from = run.status.step.saturating_add(1);
            let (step, pods) = next_step(run, from, run.status.step_pods, workload.replicas)?;
            Some((step, pods, deployment::held_strategy(pods)))
        }
        (Shape::StatefulSet(own), Hold::StatefulSet(partitions)) => {
            let (step, partition) =
                partitions.iter().enumerate().find(|(_, partition)| **partition < own.partition)?;
            let pods = workload.replicas.saturating_sub(*partition).max(0);
            Some((step, pods, FieldWrite::Partition(*partition)))
        }
        (
            Shape::Deployment(_)
            | Shape::StatefulSet(_)
            | Shape::DaemonSet(_)
            | Shape::CronJob(_)
            | Shape::Rollout,
            _,
        ) => None,
    }
}

fn holds_strategy(run: &Run, own: &workload::Deployment) -> bool {
    match &run.originals {
        Fields::Deployment(originals) => deployment::is_ours(own, originals),
        Fields::StatefulSet(_) | Fields::DaemonSet(_) | Fields::CronJob | Fields::Delegated => false,
    }
}

/// Holds more new pods, or those for longer.
#[must_use]
pub fn hold_on(run: &Run, workload: &Workload, fields: Vec<FieldWrite>) -> Patch {
    Patch { generation: Some(workload.generation), fields, ..images(run, workload, Direction::Stay) }
}

/// Gives the fields back and lets the native controller replace the rest.
#[must_use]
pub fn promote(run: &Run, workload: &Workload) -> Patch {
    given_back(run, workload, images(run, workload, Direction::Stay))
}

/// Clears an annotation that names no open run: `kubectl rollout undo` brings back those of an old ReplicaSet.
#[must_use]
pub fn forget(workload: &Workload) -> Patch {
    Patch {
        workload: workload.id.clone(),
        generation: None,
        images: Vec::new(),
        fields: Vec::new(),
        annotation: Annotation::Clear,
    }
}

/// Restores image and fields.
#[must_use]
pub fn revert(run: &Run, workload: &Workload) -> Patch {
    // Where all old pods still run, their ReplicaSet is found again by its own words, and nothing is pulled.
    let stand = run.is_delegated() || (workload.deployment().is_some() && is_held(run, workload));
    let direction = if stand { Direction::BackToTheLetter } else { Direction::Back };
    given_back(run, workload, images(run, workload, direction))
}

/// Restores only those fields that still hold what we wrote; the images are somebody else's now.
#[must_use]
pub fn restore_ours(run: &Run, workload: &Workload) -> Patch {
    let patch = Patch { images: Vec::new(), ..images(run, workload, Direction::Stay) };
    given_back(run, workload, patch)
}

/// The originals of those fields that hold what the run wrote and differ from what was there before.
#[must_use]
pub fn restores(run: &Run, workload: &Workload) -> Vec<FieldWrite> {
    match (&workload.shape, &run.originals, &run.hold) {
        (Shape::Deployment(own), Fields::Deployment(originals), Hold::Deployment(hold)) if run.canary => {
            deployment::restores(own, originals, *hold)
        }
        (Shape::StatefulSet(own), Fields::StatefulSet(original), Hold::StatefulSet(partitions)) => {
            statefulset::restores(*own, *original, partitions)
        }
        (Shape::DaemonSet(own), Fields::DaemonSet(original), Hold::DaemonSet(hold)) => {
            daemonset::restores(own, original.as_ref(), hold.as_ref())
        }
        (
            Shape::Deployment(_)
            | Shape::StatefulSet(_)
            | Shape::DaemonSet(_)
            | Shape::CronJob(_)
            | Shape::Rollout,
            _,
            _,
        ) => Vec::new(),
    }
}

/// Whether the new pods are held beside the old ones.
#[must_use]
pub fn is_held(run: &Run, workload: &Workload) -> bool {
    let held = restores(run, workload);
    match &workload.shape {
        Shape::Deployment(_) => held.iter().any(|field| matches!(field, FieldWrite::MinReadySeconds(_))),
        Shape::StatefulSet(_) => !held.is_empty(),
        // Watched node by node; nothing stands still.
        Shape::DaemonSet(_) | Shape::CronJob(_) | Shape::Rollout => false,
    }
}

enum Direction {
    Forward,
    Stay,
    Back,
    BackToTheLetter,
}

/// Each container is addressed where it stands now: who puts another before it in mid-run moves it.
fn images(run: &Run, workload: &Workload, direction: Direction) -> Patch {
    let index = |own: &RunContainer| {
        let mut all = workload.containers.iter();
        let found = all.find(|seen| seen.name == own.name && seen.init == own.init);
        found.map_or(own.index, |seen| seen.index)
    };
    let images = run
        .containers
        .iter()
        .map(|container| {
            let (before, after) = match direction {
                Direction::Forward => (&container.from, &container.to),
                Direction::Stay => (&container.to, &container.to),
                Direction::Back => (&container.to, container.way_back()),
                Direction::BackToTheLetter => (&container.to, &container.from),
            };
            ImageWrite {
                name: container.name.clone(),
                index: index(container),
                init: container.init,
                before: before.clone(),
                after: after.clone(),
            }
        })
        .collect();
    Patch {
        workload: run.workload.clone(),
        generation: None,
        images,
        fields: Vec::new(),
        annotation: Annotation::Keep,
    }
}

/// The patch with the originals of those fields that still hold what we wrote; what a person wrote in mid-run stays.
fn given_back(run: &Run, workload: &Workload, patch: Patch) -> Patch {
    Patch {
        // What is held was read at this generation; a change since then is read first.
        generation: Some(workload.generation),
        fields: restores(run, workload),
        annotation: Annotation::Clear,
        ..patch
    }
}
