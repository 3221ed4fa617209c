//! The writes to a Deployment: start a canary, widen it, promote, revert. Each is one patch.
//!
//! While `minReadySeconds` is held the new pods are Ready, get traffic, and are never Available; with `maxUnavailable: 0` the
//! native controller then starts exactly `maxSurge` new pods and removes no old one. If the operator is gone, the
//! hold ends by itself once the new pods have been Ready for that long.

use crate::policy::{RolloutSettings, StepSize};
use crate::rollout::run::{Fields, Run};
use crate::workload::{IntOrPercent, Strategy, Workload, WorkloadId};

/// How long the hold outlasts the deadline: time for us to write after it, seconds.
const HOLD_SLACK_SECONDS: i64 = 300;
/// How long the native progress deadline outlasts the hold, seconds; the apiserver demands that it is larger.
const PROGRESS_SLACK_SECONDS: i64 = 600;

/// One JSON patch to one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The workload; its uid is tested.
    pub workload: WorkloadId,
    /// The generation to test, where the originals must be exact.
    pub generation: Option<i64>,
    /// The images: each with the value that is tested before it is written.
    pub images: Vec<ImageWrite>,
    /// `minReadySeconds`.
    pub min_ready_seconds: Option<i32>,
    /// `progressDeadlineSeconds`.
    pub progress_deadline_seconds: Option<i32>,
    /// `strategy.rollingUpdate`.
    pub strategy: Option<Strategy>,
    /// Our annotation: set to the run's name, or cleared.
    pub annotation: Annotation,
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

/// The values that hold a canary under these settings.
#[must_use]
pub fn hold_seconds(settings: &RolloutSettings, originals: &Fields) -> (i32, i32) {
    let seconds = |value: i64| i32::try_from(value).unwrap_or(i32::MAX / 2);
    let ready = settings.deadline.as_secs().saturating_add(HOLD_SLACK_SECONDS);
    let progress = ready.saturating_add(PROGRESS_SLACK_SECONDS);
    (seconds(ready), seconds(progress).max(originals.progress_deadline_seconds))
}

/// The fields of the workload that a canary touches, as they are now.
#[must_use]
pub fn fields(workload: &Workload) -> Fields {
    Fields {
        min_ready_seconds: workload.min_ready_seconds,
        progress_deadline_seconds: workload.progress_deadline_seconds,
        strategy: workload.strategy.clone(),
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
pub fn start(run: &Run, surge: i32) -> Patch {
    let held = run.canary;
    Patch {
        generation: Some(run.generation),
        min_ready_seconds: held.then_some(run.hold.0),
        progress_deadline_seconds: held.then_some(run.hold.1),
        strategy: held.then_some(held_strategy(surge)),
        annotation: if held { Annotation::Set(run.name.clone()) } else { Annotation::Keep },
        ..images(run, Direction::Forward)
    }
}

/// Starts more new pods, still held.
#[must_use]
pub fn widen(run: &Run, workload: &Workload, surge: i32) -> Patch {
    Patch {
        generation: Some(workload.generation),
        strategy: Some(held_strategy(surge)),
        ..images(run, Direction::Stay)
    }
}

/// Restores the fields and lets the native controller replace the rest.
#[must_use]
pub fn promote(run: &Run, workload: &Workload) -> Patch {
    restored(run, workload, images(run, Direction::Stay))
}

/// Clears an annotation that names no open run: `kubectl rollout undo` brings back those of an old ReplicaSet.
#[must_use]
pub fn forget(workload: &Workload) -> Patch {
    Patch {
        workload: workload.id.clone(),
        generation: None,
        images: Vec::new(),
        min_ready_seconds: None,
        progress_deadline_seconds: None,
        strategy: None,
        annotation: Annotation::Clear,
    }
}

/// Restores image and fields.
#[must_use]
pub fn revert(run: &Run, workload: &Workload) -> Patch {
    restored(run, workload, images(run, Direction::Back))
}

/// Restores only those fields that still hold what we wrote; the images are somebody else's now.
#[must_use]
pub fn restore_ours(run: &Run, workload: &Workload) -> Patch {
    let patch = Patch { images: Vec::new(), ..images(run, Direction::Stay) };
    restored(run, workload, patch)
}

/// Which fields hold what we wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// `minReadySeconds`.
    pub min_ready: bool,
    /// `progressDeadlineSeconds`.
    pub progress: bool,
    /// `strategy.rollingUpdate`.
    pub strategy: bool,
}

impl Held {
    /// Whether any is held.
    #[must_use]
    pub fn any(self) -> bool {
        self.min_ready || self.progress || self.strategy
    }
}

/// Which fields of the workload hold what the run wrote, and differ from what was there before.
#[must_use]
pub fn held_fields(run: &Run, workload: &Workload) -> Held {
    let originals = &run.originals;
    let strategy = run.canary && is_ours(&workload.strategy) && workload.strategy != originals.strategy;
    Held {
        min_ready: run.canary
            && workload.min_ready_seconds == run.hold.0
            && originals.min_ready_seconds != run.hold.0,
        progress: run.canary
            && workload.progress_deadline_seconds == run.hold.1
            && originals.progress_deadline_seconds != run.hold.1,
        strategy,
    }
}

/// Whether a strategy is one that a canary writes; another one in mid-canary is a person's.
#[must_use]
pub fn is_ours(strategy: &Strategy) -> bool {
    match strategy {
        Strategy::RollingUpdate {
            max_surge: IntOrPercent::Int(_),
            max_unavailable: IntOrPercent::Int(0),
        } => true,
        Strategy::RollingUpdate { .. } | Strategy::Recreate => false,
    }
}

fn held_strategy(surge: i32) -> Strategy {
    Strategy::RollingUpdate { max_surge: IntOrPercent::Int(surge), max_unavailable: IntOrPercent::Int(0) }
}

enum Direction {
    Forward,
    Stay,
    Back,
}

fn images(run: &Run, direction: Direction) -> Patch {
    let images = run
        .containers
        .iter()
        .map(|container| {
            let (before, after) = match direction {
                Direction::Forward => (&container.from, &container.to),
                Direction::Stay => (&container.to, &container.to),
                Direction::Back => (&container.to, &container.from),
            };
            ImageWrite {
                name: container.name.clone(),
                index: container.index,
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
        min_ready_seconds: None,
        progress_deadline_seconds: None,
        strategy: None,
        annotation: Annotation::Keep,
    }
}

/// The patch with the originals of those fields that still hold what we wrote; what a person wrote in mid-run stays.
fn restored(run: &Run, workload: &Workload, patch: Patch) -> Patch {
    let held = held_fields(run, workload);
    let originals = &run.originals;
    Patch {
        // What is held was read at this generation; a change since then is read first.
        generation: Some(workload.generation),
        min_ready_seconds: held.min_ready.then_some(originals.min_ready_seconds),
        progress_deadline_seconds: held.progress.then_some(originals.progress_deadline_seconds),
        strategy: held.strategy.then(|| originals.strategy.clone()),
        annotation: Annotation::Clear,
        ..patch
    }
}
