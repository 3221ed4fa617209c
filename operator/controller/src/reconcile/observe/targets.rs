//! Which workloads the targets of a policy mean, their tracks, and who else means them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use rollforward_api::policy::{Target, UpdatePolicy};
use rollforward_core::image::{ImageRef, is_named_by};
use rollforward_core::policy::{Track, Untracked};
use rollforward_core::reason::Reason;
use rollforward_core::workload::{Kind, Shape, Workload, WorkloadId};

use crate::kubernetes::workloads::Object;
use crate::kubernetes::{delegates, workloads};
use crate::reconcile::{Context, Error};

/// Workloads, each with the containers that its target names.
pub(super) type Found = Vec<(Object, Vec<String>)>;

/// The workloads that the targets mean, and those that are left out.
pub(super) async fn targets(
    ctx: &Context,
    object: &UpdatePolicy,
    namespace: &str,
) -> Result<(Found, Vec<Untracked>), Error> {
    let mut found: Found = Vec::new();
    let mut untracked = Vec::new();
    for target in &object.spec.targets {
        let containers = target.containers.clone().unwrap_or_default();
        let matched = match matching(ctx, target, namespace).await {
            Ok(matched) => matched,
            // A right that only some clusters need is told, and the other targets go on.
            Err(Error::Api(error)) if target.kind == Kind::Rollout.name() && error.code() == Some(403) => {
                untracked.push(Untracked {
                    reason: Reason::DelegateUnreadable,
                    what: describe(target),
                    observed: format!(
                        "{error}; grant get, list, watch and patch on {}",
                        Kind::Rollout.resource()
                    ),
                });
                continue;
            }
            Err(error) => return Err(error),
        };
        if matched.is_empty() {
            untracked.push(Untracked {
                reason: Reason::TargetMissing,
                what: describe(target),
                observed: "no such workload yet".to_owned(),
            });
        }
        for workload in matched {
            if target.name.is_none() && is_critical(&workload) {
                untracked.push(Untracked {
                    reason: Reason::NodeCritical,
                    what: workload.workload().title(),
                    observed: "node-critical, matched by labels only; a target has to name it".to_owned(),
                });
                continue;
            }
            if let Some(observed) = delegates::elsewhere(&workload) {
                let what = workload.workload().title();
                untracked.push(Untracked { reason: Reason::NoContainerMatches, what, observed });
                continue;
            }
            if !found.iter().any(|(known, _)| known.uid() == workload.uid()) {
                found.push((workload, containers.clone()));
            }
        }
    }
    // CronJobs go last, whatever the order of the targets: nothing waits for their runs.
    found.sort_by_key(|(object, _)| matches!(object, Object::CronJob(_)));
    Ok((found, untracked))
}

/// Whether the nodes cannot do without it: a bad pod may cut the network that a rollback needs.
fn is_critical(object: &Object) -> bool {
    match object.workload().shape {
        Shape::DaemonSet(own) => own.is_critical,
        Shape::Deployment(_) | Shape::StatefulSet(_) | Shape::CronJob(_) | Shape::Rollout => false,
    }
}

fn describe(target: &Target) -> String {
    match &target.name {
        Some(name) => format!("{}/{name}", target.kind),
        None => format!("{} by selector", target.kind),
    }
}

async fn matching(ctx: &Context, target: &Target, namespace: &str) -> Result<Vec<Object>, Error> {
    // The schema admits no other; a newer one may, and then there is nothing here that it names.
    let Some(kind) = Kind::parse(&target.kind) else { return Ok(Vec::new()) };
    if let Some(name) = &target.name {
        let found = workloads::get(&ctx.client, kind, namespace, name).await?;
        return Ok(found.into_iter().collect());
    }
    let labels: Vec<String> = target
        .selector
        .iter()
        .flat_map(|selector| &selector.match_labels)
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if labels.is_empty() {
        return Ok(Vec::new());
    }
    Ok(workloads::list(&ctx.client, kind, namespace, &labels.join(",")).await?)
}

/// Splits a workload into tracks: its containers by the repository that they run.
pub(super) fn split(
    workload: &Workload,
    wanted: &[String],
    object: &UpdatePolicy,
    untracked: &mut Vec<Untracked>,
) -> Vec<Track> {
    let patterns =
        object.spec.image.as_ref().and_then(|image| image.repositories.clone()).unwrap_or_default();
    let mut tracks: Vec<Track> = Vec::new();
    let mut left_out = Vec::new();
    for container in &workload.containers {
        if !wanted.is_empty() && !wanted.contains(&container.name) {
            continue;
        }
        let image = match ImageRef::parse(&container.image) {
            Ok(image) => image,
            Err(error) => {
                left_out.push((Reason::ImageNotReadable, format!("image of {}: {error}", container.name)));
                continue;
            }
        };
        let name = image.repository.to_string();
        if !patterns.is_empty() && !patterns.iter().any(|pattern| is_named_by(&name, pattern)) {
            continue;
        }
        match tracks.iter_mut().find(|track| track.repository == image.repository) {
            Some(track) => track.containers.push((container.clone(), image)),
            None => tracks.push(Track {
                key: format!("{}/{}/{}", workload.id.kind, workload.id.name, container.name),
                workload: workload.clone(),
                repository: image.repository.clone(),
                containers: vec![(container.clone(), image)],
                revisions: Vec::new(),
                pods: Vec::new(),
                conflict: None,
                busy: None,
                unreadable: None,
            }),
        }
    }
    if tracks.is_empty() && left_out.is_empty() {
        left_out
            .push((Reason::NoContainerMatches, "no container runs a repository of the policy".to_owned()));
    }
    untracked.extend(left_out.into_iter().map(|(reason, observed)| Untracked {
        reason,
        what: format!("{}/{}", workload.id.kind, workload.id.name),
        observed,
    }));
    tracks
}

/// The older policy that moves one of the track's containers.
pub(super) fn conflict(
    ctx: &Context,
    own: &UpdatePolicy,
    workload: &Object,
    track: &Track,
) -> Option<String> {
    let age = |policy: &UpdatePolicy| (policy.creation_timestamp(), policy.name_any());
    ctx.stores.policies.iter().flat_map(Store::state).find_map(|other| {
        let other = other.0.as_ref().ok()?;
        let rival = other.namespace() == own.namespace()
            && other.uid() != own.uid()
            && age(other) < age(own)
            && other.metadata.deletion_timestamp.is_none();
        let patterns =
            other.spec.image.as_ref().and_then(|image| image.repositories.clone()).unwrap_or_default();
        let repository = track.repository.to_string();
        let wants = |target: &Target| {
            matches(target, &track.workload.id, workload.metadata())
                && (patterns.is_empty() || patterns.iter().any(|pattern| is_named_by(&repository, pattern)))
                && target.containers.as_ref().is_none_or(|names| {
                    names.is_empty() || track.containers.iter().any(|(one, _)| names.contains(&one.name))
                })
        };
        (rival && other.spec.targets.iter().any(wants)).then(|| other.name_any())
    })
}

fn matches(target: &Target, id: &WorkloadId, metadata: &ObjectMeta) -> bool {
    let none = BTreeMap::new();
    let labels = metadata.labels.as_ref().unwrap_or(&none);
    matches_labels(target, id.kind, &id.name, labels)
}

/// Whether a target means the workload of this kind, name and labels.
#[must_use]
pub fn matches_labels(target: &Target, kind: Kind, name: &str, labels: &BTreeMap<String, String>) -> bool {
    if target.kind != kind.name() {
        return false;
    }
    if let Some(wanted) = &target.name {
        return wanted == name;
    }
    target.selector.as_ref().is_some_and(|selector| {
        !selector.match_labels.is_empty()
            && selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    })
}
