//! Reads workloads, the templates of their pods, pods and nodes, and turns them into core's types.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{self as core_v1, Event, Namespace, Node, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    FieldsV1, LabelSelector, ManagedFieldsEntry, ObjectMeta, Time,
};
use k8s_openapi::apimachinery::pkg::util::intstr;
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::{Client, ResourceExt};
use rollforward_core::evidence::Platform;
use rollforward_core::image::{Digest, ImageRef};
use rollforward_core::ownership::{self, Traces};
use rollforward_core::workload::{
    self, Container, ContainerState, ContainerStatus, IntOrPercent, Kind, LastWords, Pod, Restrictions,
    Revision, Shape, Strategy, Termination, Workload, WorkloadId,
};

use super::delegates::objects::{self, Rollout};
use super::patch::FIELD_MANAGER;
use super::{ApiError, kinds, optional};
use crate::clock;

/// The annotation on a workload that names its open run. Only a pointer: the run itself holds everything.
pub const RUN_ANNOTATION: &str = "rollforward.dev/run";

/// A workload as the apiserver has it.
#[derive(Debug, Clone)]
pub enum Object {
    /// A Deployment.
    Deployment(Box<Deployment>),
    /// A StatefulSet.
    StatefulSet(Box<StatefulSet>),
    /// A DaemonSet.
    DaemonSet(Box<DaemonSet>),
    /// A CronJob.
    CronJob(Box<CronJob>),
    /// A Rollout of Argo Rollouts.
    Rollout(Box<Rollout>),
}

impl Object {
    /// Name, labels and who wrote what.
    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Object::Deployment(object) => &object.metadata,
            Object::StatefulSet(object) => &object.metadata,
            Object::DaemonSet(object) => &object.metadata,
            Object::CronJob(object) => &object.metadata,
            Object::Rollout(object) => &object.metadata,
        }
    }

    /// The template of its pods.
    #[must_use]
    pub fn template(&self) -> Option<&PodTemplateSpec> {
        match self {
            Object::Deployment(object) => Some(&object.spec.template),
            Object::StatefulSet(object) => Some(&object.spec.template),
            Object::DaemonSet(object) => Some(&object.spec.template),
            Object::CronJob(object) => {
                let job = object.spec.job_template.spec.as_ref()?;
                Some(&job.template)
            }
            Object::Rollout(object) => object.spec.template.as_ref(),
        }
    }

    /// The labels by which the native controller knows its pods; a CronJob's are known by their Jobs.
    #[must_use]
    pub fn pod_labels(&self) -> Option<String> {
        match self {
            Object::Deployment(object) => selector(&object.spec.selector),
            Object::StatefulSet(object) => selector(&object.spec.selector),
            Object::DaemonSet(object) => selector(&object.spec.selector),
            Object::Rollout(object) => object.spec.selector.as_ref().and_then(selector),
            Object::CronJob(_) => None,
        }
    }

    /// Its uid.
    #[must_use]
    pub fn uid(&self) -> String {
        self.metadata().uid.clone().unwrap_or_default()
    }

    /// As decisions read it.
    #[must_use]
    pub fn workload(&self) -> Workload {
        match self {
            Object::Deployment(object) => deployment(object),
            Object::StatefulSet(object) => kinds::stateful_set(object),
            Object::DaemonSet(object) => kinds::daemon_set(object),
            Object::CronJob(object) => kinds::cron_job(object),
            Object::Rollout(object) => objects::as_workload(object),
        }
    }
}

/// A workload by kind and name.
///
/// # Errors
/// Where the apiserver did not answer.
pub async fn get(
    client: &Client,
    kind: Kind,
    namespace: &str,
    name: &str,
) -> Result<Option<Object>, ApiError> {
    Ok(match kind {
        Kind::Deployment => {
            let found = optional(api::<Deployment>(client, namespace).get(name).await);
            found.map_err(ApiError::of("get the Deployment"))?.map(Box::new).map(Object::Deployment)
        }
        Kind::StatefulSet => {
            let found = optional(api::<StatefulSet>(client, namespace).get(name).await);
            found.map_err(ApiError::of("get the StatefulSet"))?.map(Box::new).map(Object::StatefulSet)
        }
        Kind::DaemonSet => {
            let found = optional(api::<DaemonSet>(client, namespace).get(name).await);
            found.map_err(ApiError::of("get the DaemonSet"))?.map(Box::new).map(Object::DaemonSet)
        }
        Kind::CronJob => {
            let found = optional(api::<CronJob>(client, namespace).get(name).await);
            found.map_err(ApiError::of("get the CronJob"))?.map(Box::new).map(Object::CronJob)
        }
        Kind::Rollout => {
            let found = optional(api::<Rollout>(client, namespace).get(name).await);
            found.map_err(ApiError::of("get the Rollout"))?.map(Box::new).map(Object::Rollout)
        }
    })
}

/// The workloads of a kind that a label selector matches, by name.
///
/// # Errors
/// Where the apiserver did not answer.
pub async fn list(
    client: &Client,
    kind: Kind,
    namespace: &str,
    labels: &str,
) -> Result<Vec<Object>, ApiError> {
    let params = ListParams::default().labels(labels);
    let mut found: Vec<Object> = match kind {
        Kind::Deployment => {
            let list = api::<Deployment>(client, namespace).list(&params).await;
            let list = list.map_err(ApiError::of("list the Deployments"))?;
            list.items.into_iter().map(Box::new).map(Object::Deployment).collect()
        }
        Kind::StatefulSet => {
            let list = api::<StatefulSet>(client, namespace).list(&params).await;
            let list = list.map_err(ApiError::of("list the StatefulSets"))?;
            list.items.into_iter().map(Box::new).map(Object::StatefulSet).collect()
        }
        Kind::DaemonSet => {
            let list = api::<DaemonSet>(client, namespace).list(&params).await;
            let list = list.map_err(ApiError::of("list the DaemonSets"))?;
            list.items.into_iter().map(Box::new).map(Object::DaemonSet).collect()
        }
        Kind::CronJob => {
            let list = api::<CronJob>(client, namespace).list(&params).await;
            let list = list.map_err(ApiError::of("list the CronJobs"))?;
            list.items.into_iter().map(Box::new).map(Object::CronJob).collect()
        }
        Kind::Rollout => {
            // Where Argo Rollouts is not installed there is none; one that cannot be read hides no other.
            let list = optional(api::<DeserializeGuard<Rollout>>(client, namespace).list(&params).await);
            let list = list.map_err(ApiError::of("list the Rollouts"))?;
            let read = list.into_iter().flat_map(|list| list.items).filter_map(|one| one.0.ok());
            read.map(Box::new).map(Object::Rollout).collect()
        }
    };
    found.sort_by(|one, other| one.metadata().name.cmp(&other.metadata().name));
    Ok(found)
}

pub(super) fn api<K>(client: &Client, namespace: &str) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), namespace)
}

/// A workload with the templates that its pods were made from, and its pods with the newest warnings of those not Ready.
#[derive(Debug, Clone)]
pub struct Whole {
    /// The workload; of a CronJob with its Jobs.
    pub workload: Workload,
    /// The templates.
    pub revisions: Vec<Revision>,
    /// The pods, by name.
    pub pods: Vec<Pod>,
}

/// A workload with everything that hangs on it.
///
/// # Errors
/// Where the apiserver did not answer.
pub async fn whole(client: &Client, object: &Object) -> Result<Whole, ApiError> {
    let mut workload = object.workload();
    let (revisions, pods) = match object {
        Object::Deployment(own) => {
            pods_by_sets(client, &workload.id.namespace, &own.spec.selector, &workload.id.uid).await?
        }
        Object::StatefulSet(set) => kinds::revisions(client, &workload, &set.spec.selector).await?,
        Object::DaemonSet(set) => kinds::revisions(client, &workload, &set.spec.selector).await?,
        Object::CronJob(cron) => {
            let (jobs, revisions, pods) = kinds::runs(client, cron).await?;
            if let Shape::CronJob(own) = &mut workload.shape {
                own.jobs = jobs;
            }
            (revisions, pods)
        }
        Object::Rollout(own) => match &own.spec.selector {
            Some(labels) => pods_by_sets(client, &workload.id.namespace, labels, &workload.id.uid).await?,
            None => (Vec::new(), Vec::new()),
        },
    };
    Ok(Whole { workload, revisions, pods })
}

/// The pods whose ReplicaSets an object owns, with those ReplicaSets.
pub(super) async fn pods_by_sets(
    client: &Client,
    namespace: &str,
    labels: &LabelSelector,
    uid: &str,
) -> Result<(Vec<Revision>, Vec<Pod>), ApiError> {
    let Some(labels) = selector(labels) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let sets = api::<ReplicaSet>(client, namespace).list(&ListParams::default().labels(&labels)).await;
    let sets = sets.map_err(ApiError::of("list the ReplicaSets"))?;
    let owned: Vec<_> =
        sets.items.iter().filter(|set| owner(&set.metadata).is_some_and(|owner| owner.1 == uid)).collect();
    let names: BTreeSet<String> = owned.iter().map(|set| set.name_any()).collect();
    let revision_of =
        |pod: &core_v1::Pod| owner(&pod.metadata).map(|(name, _)| name).filter(|name| names.contains(name));
    let pods = pods_by(client, namespace, &labels, revision_of).await?;
    Ok((owned.into_iter().map(replica_set).collect(), pods))
}

/// The pods with these labels that `revision_of` knows, by name.
pub(super) async fn pods_by(
    client: &Client,
    namespace: &str,
    labels: &str,
    revision_of: impl Fn(&core_v1::Pod) -> Option<String>,
) -> Result<Vec<Pod>, ApiError> {
    let listed = api::<core_v1::Pod>(client, namespace).list(&ListParams::default().labels(labels)).await;
    let listed = listed.map_err(ApiError::of("list the pods"))?;
    let mut pods = Vec::new();
    for object in &listed.items {
        let Some(revision) = revision_of(object) else { continue };
        let mut pod = pod(object, revision);
        if pod.ready_since.is_none() || ended_lately(&pod) {
            pod.warnings = warnings(client, namespace, &object.uid().unwrap_or_default()).await;
        }
        pods.push(pod);
    }
    pods.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(pods)
}

/// How long after the end of a container the Events that explain it are read: the kubelet repeats a probe's for as long.
const EXPLAINED: SignedDuration = SignedDuration::from_mins(10);

/// Whether a container of a pod that is Ready again ended a moment ago.
fn ended_lately(pod: &Pod) -> bool {
    let ends = pod.containers.iter().filter_map(|container| container.last_end.as_ref()?.finished_at);
    ends.max().is_some_and(|end| clock::now().duration_since(end) < EXPLAINED)
}

/// The newest Warning Events of a pod, and `Killing`, which says why the kubelet stopped a container. Hints only: without the
/// right to read them, or when they have expired, there are none.
async fn warnings(client: &Client, namespace: &str, uid: &str) -> Vec<(String, String)> {
    let api = Api::<Event>::namespaced(client.clone(), namespace);
    let params = ListParams::default().fields(&format!("involvedObject.uid={uid}")).limit(50);
    let Ok(list) = api.list(&params).await else {
        return Vec::new();
    };
    let mut events = list.items;
    events.retain(|event| {
        event.type_.as_deref() == Some("Warning") || event.reason.as_deref() == Some("Killing")
    });
    events.sort_by_key(|event| std::cmp::Reverse(event.last_timestamp.as_ref().map(|time| time.0)));
    events
        .into_iter()
        .map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default()))
        .collect()
}

/// The platforms of the nodes that can take pods.
///
/// # Errors
/// Where the apiserver did not answer.
pub async fn platforms(client: &Client) -> Result<BTreeSet<Platform>, ApiError> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await;
    let nodes = nodes.map_err(ApiError::of("list the nodes"))?;
    Ok(nodes
        .items
        .into_iter()
        .filter(|node| !node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false))
        .filter_map(|node| node.status?.node_info)
        .map(|info| Platform::new(info.operating_system, info.architecture))
        .collect())
}

/// Whether a namespace is being deleted, or gone.
///
/// # Errors
/// Where the apiserver did not answer.
pub async fn namespace_is_deleting(client: &Client, name: &str) -> Result<bool, ApiError> {
    let found = optional(Api::<Namespace>::all(client.clone()).get(name).await);
    let found = found.map_err(ApiError::of("get the namespace"))?;
    Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
}

pub(super) fn owner(metadata: &ObjectMeta) -> Option<(String, String)> {
    let owners = metadata.owner_references.as_ref()?;
    owners
        .iter()
        .find(|owner| owner.controller == Some(true))
        .map(|owner| (owner.name.clone(), owner.uid.clone()))
}

/// A label selector in the form that a list takes.
#[must_use]
pub fn selector(selector: &LabelSelector) -> Option<String> {
    let mut parts: Vec<String> =
        selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    for expression in selector.match_expressions.iter().flatten() {
        let values = expression.values.clone().unwrap_or_default().join(",");
        let key = &expression.key;
        parts.push(match expression.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.clone(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    (!parts.is_empty()).then(|| parts.join(","))
}

fn deployment(object: &Deployment) -> Workload {
    let spec = &object.spec;
    let status = object.status.clone().unwrap_or_default();
    Workload {
        observed_generation: status.observed_generation.unwrap_or_default(),
        replicas: spec.replicas.unwrap_or(1),
        updated_replicas: status.updated_replicas.unwrap_or_default(),
        total_replicas: status.replicas.unwrap_or_default(),
        available_replicas: status.available_replicas.unwrap_or_default(),
        ..workload(
            Kind::Deployment,
            &object.metadata,
            &spec.template,
            Shape::Deployment(workload::Deployment {
                paused: spec.paused.unwrap_or(false),
                strategy: strategy(spec.strategy.as_ref()),
                foreign: workload::ForeignStrategy {
                    max_surge: is_foreign(&object.metadata, "f:maxSurge"),
                    max_unavailable: is_foreign(&object.metadata, "f:maxUnavailable"),
                },
                min_ready_seconds: spec.min_ready_seconds.unwrap_or_default(),
                progress_deadline_seconds: spec.progress_deadline_seconds.unwrap_or(600),
            }),
        )
    }
}

/// What is the same for every kind; the counts of pods are the caller's.
pub(super) fn workload(
    kind: Kind,
    metadata: &ObjectMeta,
    template: &PodTemplateSpec,
    shape: Shape,
) -> Workload {
    let annotated = metadata.annotations.as_ref().and_then(|all| all.get(RUN_ANNOTATION));
    Workload {
        id: WorkloadId {
            kind,
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
        },
        generation: metadata.generation.unwrap_or_default(),
        observed_generation: 0,
        deleting: metadata.deletion_timestamp.is_some(),
        replicas: 0,
        updated_replicas: 0,
        total_replicas: 0,
        available_replicas: 0,
        containers: containers(template),
        annotated_run: annotated.filter(|name| !name.is_empty()).cloned(),
        keeper: ownership::keeper(&traces(metadata)),
        delegate: None,
        image_writer: image_writer(metadata),
        shape,
    }
}

fn strategy(strategy: Option<&k8s_openapi::api::apps::v1::DeploymentStrategy>) -> Strategy {
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
        return Strategy::Recreate;
    }
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let share = |value: Option<&intstr::IntOrString>| match value {
        Some(intstr::IntOrString::Int(pods)) => IntOrPercent::Int(*pods),
        Some(intstr::IntOrString::String(text)) => {
            IntOrPercent::Percent(text.trim_end_matches('%').parse().unwrap_or(25))
        }
        None => IntOrPercent::Percent(25),
    };
    Strategy::RollingUpdate {
        max_surge: share(rolling.and_then(|rolling| rolling.max_surge.as_ref())),
        max_unavailable: share(rolling.and_then(|rolling| rolling.max_unavailable.as_ref())),
    }
}

pub(super) fn containers(template: &PodTemplateSpec) -> Vec<Container> {
    let Some(spec) = &template.spec else {
        return Vec::new();
    };
    let read = |init: bool| {
        move |(index, container): (usize, &core_v1::Container)| Container {
            name: container.name.clone(),
            index,
            init,
            image: container.image.clone().unwrap_or_default(),
        }
    };
    let main = spec.containers.iter().enumerate().map(read(false));
    main.chain(spec.init_containers.iter().flatten().enumerate().map(read(true))).collect()
}

/// What an object tells of who keeps it.
fn traces(metadata: &ObjectMeta) -> Traces {
    let entries = || metadata.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
    let name = |entry: &ManagedFieldsEntry| entry.manager.clone();
    let labels = metadata.labels.iter().flatten();
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    Traces {
        image_managers: entries()
            .filter(|entry| writes_image(entry.fields_v1.as_ref()))
            .filter_map(name)
            .collect(),
        marks: labels
            .chain(metadata.annotations.iter().flatten())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        owner: owner.map(|owner| {
            let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
            (group.to_owned(), owner.kind.clone(), owner.name.clone())
        }),
    }
}

/// Whether an entry of the managed fields has the image of a container.
fn writes_image(fields: Option<&FieldsV1>) -> bool {
    let of = |list: &str| {
        let spec = |template: &str| fields?.0.pointer(&format!("/f:spec/{template}/f:spec/{list}"));
        let found = spec("f:template").or_else(|| spec("f:jobTemplate/f:spec/f:template"));
        let containers = found?.as_object()?;
        Some(containers.values().any(|container| container.get("f:image").is_some()))
    };
    of("f:containers").unwrap_or(false) || of("f:initContainers").unwrap_or(false)
}

/// Whether somebody else than this operator wrote a field of the rolling update last. One that nobody is named for is not.
fn is_foreign(metadata: &ObjectMeta, field: &str) -> bool {
    let path = format!("/f:spec/f:strategy/f:rollingUpdate/{field}");
    let writes = |entry: &&ManagedFieldsEntry| {
        entry.subresource.is_none()
            && entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(&path).is_some())
    };
    let mut managers =
        metadata.managed_fields.iter().flatten().filter(writes).map(|entry| entry.manager.as_deref());
    let Some(first) = managers.next() else {
        return false;
    };
    first != Some(FIELD_MANAGER) && managers.all(|manager| manager != Some(FIELD_MANAGER))
}

/// Who wrote the pod template's containers last, by the managed fields. `kubectl rollout undo` shows up here by its manager.
fn image_writer(metadata: &ObjectMeta) -> Option<(String, Timestamp)> {
    let entries = metadata.managed_fields.as_ref()?;
    entries
        .iter()
        .filter(|entry| entry.subresource.is_none() && writes_template(entry.fields_v1.as_ref()))
        .filter_map(|entry| Some((entry.manager.clone()?, entry.time.as_ref()?.0)))
        .max_by_key(|(_, at)| *at)
}

fn writes_template(fields: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1>) -> bool {
    fields.is_some_and(|fields| {
        [
            "/f:spec/f:template/f:spec/f:containers",
            "/f:spec/f:jobTemplate/f:spec/f:template/f:spec/f:containers",
        ]
        .iter()
        .any(|path| fields.0.pointer(path).is_some())
    })
}

fn replica_set(object: &ReplicaSet) -> Revision {
    let template = object.spec.template.as_ref();
    let images: BTreeMap<String, String> = template
        .map(containers)
        .unwrap_or_default()
        .into_iter()
        .map(|container| (container.name, container.image))
        .collect();
    let conditions = object.status.as_ref().and_then(|status| status.conditions.as_ref());
    let create_failure = conditions
        .into_iter()
        .flatten()
        .find(|condition| {
            condition.type_.as_deref() == Some("ReplicaFailure")
                && condition.status.as_deref() == Some("True")
        })
        .and_then(|condition| condition.message.clone());
    let revision = object.annotations().get("deployment.kubernetes.io/revision");
    Revision {
        name: object.name_any(),
        revision: revision.and_then(|text| text.parse().ok()).unwrap_or_default(),
        images,
        replicas: object.spec.replicas.unwrap_or_default(),
        create_failure,
    }
}

fn pod(object: &core_v1::Pod, owner: String) -> Pod {
    let status = object.status.clone().unwrap_or_default();
    let spec = object.spec.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let condition = |kind: &str, value: &str| {
        conditions.iter().find(|condition| condition.type_ == kind && condition.status == value)
    };
    let mut containers = Vec::new();
    let main = status.container_statuses.unwrap_or_default();
    let init = status.init_container_statuses.unwrap_or_default();
    for (specs, statuses, init) in
        [(&spec.containers, main, false), (&spec.init_containers.unwrap_or_default(), init, true)]
    {
        let pod_wide = object.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
        containers.extend(statuses.iter().map(|status| container_status(specs, status, init, pod_wide)));
    }
    Pod {
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        node: spec.node_name,
        owner,
        created_at: object.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        ready_since: condition("Ready", "True")
            .and_then(|ready| ready.last_transition_time.as_ref())
            .map(|time| time.0),
        deleting: object.metadata.deletion_timestamp.is_some(),
        phase: status.phase.unwrap_or_default(),
        refusal: status.reason.map(|reason| (reason, status.message.unwrap_or_default())),
        unschedulable: condition("PodScheduled", "False").and_then(|condition| condition.message.clone()),
        disruption: condition("DisruptionTarget", "True").and_then(|condition| condition.reason.clone()),
        containers,
        warnings: Vec::new(),
        egress_policies: Vec::new(),
    }
}

fn container_status(
    specs: &[core_v1::Container],
    status: &core_v1::ContainerStatus,
    init: bool,
    pod_wide: Option<&core_v1::PodSecurityContext>,
) -> ContainerStatus {
    let spec = specs.iter().find(|spec| spec.name == status.name);
    let state = status.state.clone().unwrap_or_default();
    let state = match (state.running, state.terminated) {
        (Some(running), _) => ContainerState::Running { started_at: running.started_at.map(|time| time.0) },
        (None, Some(ended)) => ContainerState::Terminated(termination(ended)),
        (None, None) => {
            let waiting = state.waiting.unwrap_or_default();
            ContainerState::Waiting {
                reason: waiting.reason.unwrap_or_default(),
                message: waiting.message.unwrap_or_default(),
            }
        }
    };
    let limits = spec.and_then(|spec| spec.resources.as_ref()?.limits.as_ref());
    ContainerStatus {
        name: status.name.clone(),
        init,
        image: spec.and_then(|spec| spec.image.clone()).unwrap_or_default(),
        running_digest: running_digest(&status.image_id),
        ready: status.ready,
        restarts: status.restart_count,
        state,
        last_end: status.last_state.as_ref().and_then(|last| last.terminated.clone()).map(termination),
        memory_limit: limits.and_then(|limits| limits.get("memory")).map(|limit| limit.0.clone()),
        restrictions: restrictions(spec.and_then(|spec| spec.security_context.as_ref()), pod_wide),
        last_words: LastWords::NotAsked,
    }
}

/// What the container may not do: its own settings, and the pod's where it has none.
fn restrictions(
    own: Option<&core_v1::SecurityContext>,
    pod_wide: Option<&core_v1::PodSecurityContext>,
) -> Restrictions {
    let capabilities = own.and_then(|own| own.capabilities.as_ref());
    let names = |list: Option<&Vec<String>>| list.cloned().unwrap_or_default();
    let seccomp = own
        .and_then(|own| own.seccomp_profile.as_ref())
        .or_else(|| pod_wide.and_then(|pod| pod.seccomp_profile.as_ref()));
    let apparmor = own
        .and_then(|own| own.app_armor_profile.as_ref())
        .or_else(|| pod_wide.and_then(|pod| pod.app_armor_profile.as_ref()));
    let profile = |kind: &str, file: Option<&String>| {
        (kind != "Unconfined").then(|| file.map_or(kind.to_owned(), |file| format!("{kind} {file}")))
    };
    let user = own.and_then(|own| own.run_as_user).or_else(|| pod_wide.and_then(|pod| pod.run_as_user));
    Restrictions {
        read_only_root: own.and_then(|own| own.read_only_root_filesystem).unwrap_or(false),
        dropped: names(capabilities.and_then(|capabilities| capabilities.drop.as_ref())),
        added: names(capabilities.and_then(|capabilities| capabilities.add.as_ref())),
        seccomp: seccomp.and_then(|one| profile(&one.type_, one.localhost_profile.as_ref())),
        apparmor: apparmor.and_then(|one| profile(&one.type_, one.localhost_profile.as_ref())),
        user: user.filter(|user| *user != 0),
    }
}

/// The digest in a node's `imageID`, which is `repository@sha256:…`; a bare config hash is not the digest of a manifest.
fn running_digest(image_id: &str) -> Option<Digest> {
    ImageRef::parse(image_id.trim_start_matches("docker-pullable://")).ok()?.digest
}

fn termination(ended: core_v1::ContainerStateTerminated) -> Termination {
    let instant = |time: Option<Time>| time.map(|time| time.0);
    Termination {
        exit_code: ended.exit_code,
        signal: ended.signal,
        reason: ended.reason.unwrap_or_default(),
        message: ended.message.unwrap_or_default(),
        started_at: instant(ended.started_at),
        finished_at: instant(ended.finished_at),
    }
}
