//! Reads StatefulSets, DaemonSets and CronJobs with what hangs on them, and turns them into core's types.
//!
//! The templates of a StatefulSet's and a DaemonSet's pods are their ControllerRevisions, those of a CronJob its Jobs. What is
//! common to every kind, and Deployments: `workloads.rs`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{self as core_v1, Event};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ListParams;
use kube::{Client, ResourceExt};
use rollforward_core::workload::{
    self, DaemonRolling, IntOrPercent, JobEnd, Kind, Pod, Revision, Shape, Workload,
};

use super::ApiError;
use super::workloads::{api, containers, owner, pods_by, selector, workload};
use crate::clock;

/// The label by which pods name the revision that they were made from.
const HASH: &str = "controller-revision-hash";
/// The label by which pods name their Job.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// How old an Event may be that says why a pod could not be created: the controller repeats it while that lasts.
const DENIED_LATELY: SignedDuration = SignedDuration::from_mins(5);

/// A StatefulSet as decisions read it.
pub(super) fn stateful_set(object: &StatefulSet) -> Workload {
    let spec = object.spec.clone();
    let status = object.status.clone().unwrap_or_default();
    let update = spec.update_strategy.clone().unwrap_or_default();
    let replicas = spec.replicas.unwrap_or(1);
    // A native controller that has finished an update names one revision twice and counts the pods as current.
    let is_done = status.update_revision.is_some() && status.update_revision == status.current_revision;
    let updated =
        if is_done { status.current_replicas.max(status.updated_replicas) } else { status.updated_replicas };
    Workload {
        observed_generation: status.observed_generation.unwrap_or_default(),
        replicas,
        updated_replicas: updated.unwrap_or_default(),
        total_replicas: status.replicas,
        available_replicas: status.available_replicas.unwrap_or_default(),
        ..workload(
            Kind::StatefulSet,
            &object.metadata,
            &spec.template,
            Shape::StatefulSet(workload::StatefulSet {
                partition: update.rolling_update.and_then(|rolling| rolling.partition).unwrap_or(0),
                on_delete: update.type_.as_deref() == Some("OnDelete"),
                is_ordered: spec.pod_management_policy.as_deref() != Some("Parallel"),
                is_one_revision: is_done,
            }),
        )
    }
}

/// A DaemonSet as decisions read it: its replicas are the nodes that it is for.
pub(super) fn daemon_set(object: &DaemonSet) -> Workload {
    let spec = object.spec.clone();
    let status = object.status.clone().unwrap_or_default();
    let update = spec.update_strategy.clone().unwrap_or_default();
    let rolling = update.rolling_update.unwrap_or_default();
    let share = |value: Option<&IntOrString>, absent: i32| match value {
        Some(IntOrString::Int(pods)) => IntOrPercent::Int(*pods),
        Some(IntOrString::String(text)) => {
            IntOrPercent::Percent(text.trim_end_matches('%').parse().unwrap_or(0))
        }
        None => IntOrPercent::Int(absent),
    };
    let class = spec.template.spec.as_ref().and_then(|pod| pod.priority_class_name.as_deref());
    let desired = status.desired_number_scheduled;
    Workload {
        observed_generation: status.observed_generation.unwrap_or_default(),
        replicas: desired,
        updated_replicas: status.updated_number_scheduled.unwrap_or_default(),
        total_replicas: status.current_number_scheduled,
        available_replicas: status.number_available.unwrap_or_default(),
        ..workload(
            Kind::DaemonSet,
            &object.metadata,
            &spec.template,
            Shape::DaemonSet(workload::DaemonSet {
                rolling: (update.type_.as_deref() != Some("OnDelete")).then(|| DaemonRolling {
                    max_unavailable: share(rolling.max_unavailable.as_ref(), 1),
                    max_surge: share(rolling.max_surge.as_ref(), 0),
                }),
                is_critical: matches!(class, Some("system-node-critical" | "system-cluster-critical")),
            }),
        )
    }
}

/// A CronJob as decisions read it; its Jobs are filled in by [`runs`].
pub(super) fn cron_job(object: &CronJob) -> Workload {
    let spec = object.spec.clone();
    let template = spec.job_template.spec.map(|job| job.template).unwrap_or_default();
    let shape =
        Shape::CronJob(workload::CronJob { is_suspended: spec.suspend.unwrap_or(false), jobs: Vec::new() });
    let generation = object.metadata.generation.unwrap_or_default();
    // A CronJob's status names no generation: what is written counts from the next run on.
    Workload {
        observed_generation: generation,
        ..workload(Kind::CronJob, &object.metadata, &template, shape)
    }
}

/// The Jobs of a CronJob, oldest first, and their pods.
pub(super) async fn runs(
    client: &Client,
    object: &CronJob,
) -> Result<(Vec<workload::Job>, Vec<Revision>, Vec<Pod>), ApiError> {
    let namespace = object.namespace().unwrap_or_default();
    let uid = object.uid().unwrap_or_default();
    let listed = api::<Job>(client, &namespace).list(&ListParams::default()).await;
    let listed = listed.map_err(ApiError::of("list the Jobs"))?;
    let owned = listed.items.iter().filter(|job| owner(&job.metadata).is_some_and(|owner| owner.1 == uid));
    let mut jobs: Vec<workload::Job> = owned.map(job).collect();
    jobs.sort_by(|one, other| (one.created_at, &one.name).cmp(&(other.created_at, &other.name)));
    if jobs.is_empty() {
        return Ok((jobs, Vec::new(), Vec::new()));
    }
    let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
    let labels = format!("{JOB_NAME} in ({})", names.join(","));
    let of_job = |pod: &core_v1::Pod| pod.labels().get(JOB_NAME).cloned();
    let pods = pods_by(client, &namespace, &labels, of_job).await?;
    for job in jobs.iter_mut().filter(|job| job.end == JobEnd::Active) {
        if !pods.iter().any(|pod| pod.owner == job.name) {
            job.denied = create_failure(client, &namespace, &job.uid).await;
        }
    }
    let revisions = jobs.iter().map(|job| Revision {
        name: job.name.clone(),
        revision: 0,
        images: job.images.clone(),
        replicas: 1,
        create_failure: None,
    });
    Ok((jobs.clone(), revisions.collect(), pods))
}

fn job(object: &Job) -> workload::Job {
    let spec = object.spec.clone().unwrap_or_default();
    let conditions = object.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let of = |kind: &str| conditions.iter().find(|one| one.type_ == kind && one.status == "True");
    let end = match (of("Complete"), of("Failed")) {
        (Some(_), _) => JobEnd::Complete,
        (None, Some(failed)) => JobEnd::Failed(failed.reason.clone().unwrap_or_default()),
        (None, None) => JobEnd::Active,
    };
    workload::Job {
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        created_at: object.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        images: images(&spec.template),
        active_deadline_seconds: spec.active_deadline_seconds,
        denied: None,
        end,
    }
}

fn images(template: &core_v1::PodTemplateSpec) -> BTreeMap<String, String> {
    containers(template).into_iter().map(|container| (container.name, container.image)).collect()
}

/// The pods of a StatefulSet or DaemonSet, with the revisions that they were made from.
pub(super) async fn revisions(
    client: &Client,
    workload: &Workload,
    labels: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
) -> Result<(Vec<Revision>, Vec<Pod>), ApiError> {
    let (namespace, uid) = (&workload.id.namespace, &workload.id.uid);
    let Some(labels) = selector(labels) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let params = ListParams::default().labels(&labels);
    let listed = api::<ControllerRevision>(client, namespace).list(&params).await;
    let listed = listed.map_err(ApiError::of("list the ControllerRevisions"))?;
    let owned: Vec<&ControllerRevision> = listed
        .items
        .iter()
        .filter(|revision| owner(&revision.metadata).is_some_and(|owner| owner.1 == *uid))
        .collect();
    // A StatefulSet's pods carry the revision's name, a DaemonSet's the hash that the revision carries too.
    let named = |pod: &core_v1::Pod| {
        owner(&pod.metadata).filter(|owner| owner.1 == *uid)?;
        let hash = pod.labels().get(HASH)?;
        let fits =
            |one: &&&ControllerRevision| one.name_any() == *hash || one.labels().get(HASH) == Some(hash);
        owned.iter().find(fits).map(|revision| revision.name_any())
    };
    let pods = pods_by(client, namespace, &labels, named).await?;
    let short = workload.total_replicas < workload.replicas;
    let failure = if short { create_failure(client, namespace, uid).await } else { None };
    let newest = owned.iter().filter_map(|revision| revision.revision).max();
    let revisions = owned.iter().map(|revision| Revision {
        name: revision.name_any(),
        revision: revision.revision.unwrap_or(0),
        images: images_of(revision),
        replicas: i32::try_from(pods.iter().filter(|pod| pod.owner == revision.name_any()).count())
            .unwrap_or(0),
        create_failure: failure.clone().filter(|_| revision.revision == newest),
    });
    Ok((revisions.collect(), pods))
}

/// The images of a revision's template: its data is the part of the workload's spec that it keeps.
fn images_of(revision: &ControllerRevision) -> BTreeMap<String, String> {
    let template = revision.data.0.pointer("/spec/template").cloned();
    let template = template.and_then(|mut template| {
        // The patch directive that stands in the stored template is no field of it.
        template.as_object_mut()?.remove("$patch");
        serde_json::from_value::<core_v1::PodTemplateSpec>(template).ok()
    });
    template.as_ref().map(images).unwrap_or_default()
}

/// Why a pod could not be created: these kinds have no condition for it, only the Event `FailedCreate`.
async fn create_failure(client: &Client, namespace: &str, uid: &str) -> Option<String> {
    let fields = format!("involvedObject.uid={uid},reason=FailedCreate");
    let list = api::<Event>(client, namespace).list(&ListParams::default().fields(&fields).limit(20)).await;
    let seen = |event: &Event| {
        let series =
            event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|at| at.0);
        let last = event.last_timestamp.as_ref().map(|at| at.0);
        series.max(last).max(event.event_time.as_ref().map(|at| at.0))
    };
    let newest = list.ok()?.items.into_iter().max_by_key(seen)?;
    let lately = seen(&newest).is_some_and(|at| clock::now().duration_since(at) < DENIED_LATELY);
    newest.message.filter(|_| lately)
}
