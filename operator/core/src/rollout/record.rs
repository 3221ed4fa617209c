//! What a run's record says of its writes: each field with what stood there and what was put there.
//!
//! The workload is the one that the patch was made from; the patch tests what it was made from, so the words are exact.

use jiff::Timestamp;

use super::patch::{Annotation, Errand, FieldWrite, Patch};
use crate::policy::Facts;
use crate::text;
use crate::workload::{DaemonRolling, IntOrPercent, Kind, Shape, Strategy, Workload};

/// The most fields of one write that are kept: the images of a run's containers, its fields and its annotation.
const MAX_CHANGES: usize = 20;
/// The longest value that is kept.
const MAX_VALUE: usize = 300;
/// The annotation that names the run.
const ANNOTATION: &str = "metadata.annotations[rollforward.dev/run]";

/// One write, as the record keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// When.
    pub at: Timestamp,
    /// What it does, in words.
    pub what: String,
    /// Field by field.
    pub changes: Vec<Change>,
}

/// One field of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The field's path, or the object where it is not the workload.
    pub field: String,
    /// What stood there; `None` where there was nothing.
    pub before: Option<String>,
    /// What was put there; `None` where it was taken away.
    pub after: Option<String>,
}

impl Change {
    fn new(field: impl Into<String>, before: Option<String>, after: Option<String>) -> Self {
        let bounded = |value: String| text::clean(&value, MAX_VALUE);
        Self { field: field.into(), before: before.map(bounded), after: after.map(bounded) }
    }
}

/// A write that is due now.
pub(super) fn written(facts: &Facts, what: String, changes: Vec<Change>) -> Written {
    Written { at: facts.now, what, changes }
}

/// The fields that a patch changes in this workload.
pub(super) fn changes(patch: &Patch, workload: &Workload) -> Vec<Change> {
    let spec = match workload.id.kind {
        Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet | Kind::Rollout => "spec.template.spec",
        Kind::CronJob => "spec.jobTemplate.spec.template.spec",
    };
    let images = patch.images.iter().map(|image| {
        let list = if image.init { "initContainers" } else { "containers" };
        let field = format!("{spec}.{list}[{}].image", image.name);
        Change::new(field, Some(image.before.clone()), Some(image.after.clone()))
    });
    let fields = patch.fields.iter().map(|field| change(field, workload));
    let before = workload.annotated_run.clone();
    let annotation = match &patch.annotation {
        Annotation::Keep => None,
        Annotation::Set(run) => Some(Change::new(ANNOTATION, before, Some(run.clone()))),
        Annotation::Clear => Some(Change::new(ANNOTATION, before, None)),
    };
    let all = images.chain(fields).chain(annotation);
    all.filter(|change| change.before != change.after).take(MAX_CHANGES).collect()
}

fn change(field: &FieldWrite, workload: &Workload) -> Change {
    let own = workload.deployment();
    match field {
        FieldWrite::MinReadySeconds(seconds) => Change::new(
            "spec.minReadySeconds",
            own.map(|own| own.min_ready_seconds.to_string()),
            Some(seconds.to_string()),
        ),
        FieldWrite::ProgressDeadlineSeconds(seconds) => Change::new(
            "spec.progressDeadlineSeconds",
            own.map(|own| own.progress_deadline_seconds.to_string()),
            Some(seconds.to_string()),
        ),
        FieldWrite::RollingUpdate { max_surge, max_unavailable } => Change::new(
            "spec.strategy.rollingUpdate",
            own.and_then(|own| match &own.strategy {
                Strategy::RollingUpdate { max_surge, max_unavailable } => {
                    Some(rolling(max_surge, max_unavailable))
                }
                Strategy::Recreate => None,
            }),
            Some(rolling(max_surge, max_unavailable)),
        ),
        FieldWrite::Partition(partition) => {
            let before = match &workload.shape {
                Shape::StatefulSet(own) => Some(own.partition.to_string()),
                Shape::Deployment(_) | Shape::DaemonSet(_) | Shape::CronJob(_) | Shape::Rollout => None,
            };
            Change::new("spec.updateStrategy.rollingUpdate.partition", before, Some(partition.to_string()))
        }
        FieldWrite::DaemonRolling(written) => {
            let words = |one: &DaemonRolling| rolling(&one.max_surge, &one.max_unavailable);
            let before = match &workload.shape {
                Shape::DaemonSet(own) => own.rolling.as_ref().map(words),
                Shape::Deployment(_) | Shape::StatefulSet(_) | Shape::CronJob(_) | Shape::Rollout => None,
            };
            Change::new("spec.updateStrategy.rollingUpdate", before, Some(words(written)))
        }
    }
}

fn rolling(max_surge: &IntOrPercent, max_unavailable: &IntOrPercent) -> String {
    format!("maxSurge {max_surge}, maxUnavailable {max_unavailable}")
}

/// What an errand changes: a pod that goes, or the deadline of a Job.
pub(super) fn of_errand(errand: &Errand, image: &str, workload: &Workload) -> Change {
    match errand {
        Errand::DeletePod { name, .. } => Change::new(format!("pod {name}"), Some(image.to_owned()), None),
        Errand::EndJob { name, uid } => {
            let jobs = workload.cron_job().map_or(&[][..], |own| own.jobs.as_slice());
            let job = jobs.iter().find(|job| job.uid == *uid);
            Change::new(
                format!("job {name} spec.activeDeadlineSeconds"),
                job.and_then(|job| job.active_deadline_seconds).map(|seconds| seconds.to_string()),
                Some("1".to_owned()),
            )
        }
    }
}
