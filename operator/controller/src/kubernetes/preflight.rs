//! Questions to the apiserver before the first write: a dry run of the very patch with its warnings, quota, host ports, claims.
//!
//! kube hides the `Warning` headers of an answer, so the dry run is sent by `Client::send`. What the operator may not read is
//! not asked about: a missing right is no obstacle. Judged by core's `preflight.rs`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{
    Container, Namespace, Node, PersistentVolumeClaim, PodTemplateSpec, ResourceQuota,
};
use kube::api::{Api, ListParams, PatchParams};
use kube::client::Body;
use kube::core::Request;
use kube::{Client, Resource, ResourceExt};
use rollforward_core::preflight::{Needs, Quota, Rehearsal};
use rollforward_core::rollout::Patch;
use rollforward_core::workload::Kind;

use super::delegates::objects::Rollout;
use super::patch::{self, FIELD_MANAGER};
use super::{ApiError, optional, workloads};

/// The label by which a namespace enforces a level of Pod Security.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// Rehearses a patch on the apiserver: nothing is stored, admission says what it would say and shows what it would make of it.
///
/// # Errors
/// Where the apiserver did not answer.
pub async fn rehearse(client: &Client, change: &Patch) -> Result<Rehearsal, ApiError> {
    let id = &change.workload;
    let space = Some(id.namespace.as_str());
    let path = match id.kind {
        Kind::Deployment => Deployment::url_path(&(), space),
        Kind::StatefulSet => StatefulSet::url_path(&(), space),
        Kind::DaemonSet => DaemonSet::url_path(&(), space),
        Kind::CronJob => CronJob::url_path(&(), space),
        Kind::Rollout => Rollout::url_path(&(), space),
    };
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        dry_run: true,
        ..PatchParams::default()
    };
    let Some(operations) = patch::operations_now(client, change).await else {
        return Ok(Rehearsal::default());
    };
    let what = "rehearse the patch";
    let request = Request::new(path).patch(&id.name, &params, &operations);
    let request = request.map_err(kube::Error::BuildRequest).map_err(ApiError::of(what))?;
    let answer = client.send(request.map(Body::from)).await.map_err(ApiError::of(what))?;
    let headers = answer.headers().get_all("warning");
    let warnings = headers.iter().filter_map(|value| value.to_str().ok().map(str::to_owned)).collect();
    let code = answer.status().as_u16();
    let is_taken = answer.status().is_success();
    let body = answer.into_body().collect_bytes().await.map_err(ApiError::of(what))?;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    if is_taken {
        return Ok(Rehearsal { warnings, refused: None, rewritten: patch::rewritten(change, &body) });
    }
    let message = body.get("message").and_then(serde_json::Value::as_str).unwrap_or_default();
    Ok(Rehearsal { warnings, refused: Some((code, message.to_owned())), rewritten: None })
}

/// The level of Pod Security that a namespace enforces by its label.
///
/// # Errors
/// Where the apiserver did not answer.
pub async fn enforced_level(client: &Client, namespace: &str) -> Result<Option<String>, ApiError> {
    let found = optional(Api::<Namespace>::all(client.clone()).get(namespace).await);
    let found = found.map_err(ApiError::of("get the namespace"))?;
    Ok(found.and_then(|namespace| namespace.labels().get(ENFORCE).cloned()))
}

/// What an extra pod meets: read once, before a canary.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// The namespace's quotas.
    pub quotas: Vec<Quota>,
    /// What one pod asks of them.
    pub needs: Needs,
    /// Its host ports.
    pub host_ports: Vec<i32>,
    /// Its claims with their access modes.
    pub claims: Vec<(String, Vec<String>)>,
    /// How many nodes can take pods.
    pub nodes: usize,
}

/// Reads what an extra pod of a Deployment meets: the other kinds start no pod beside the old ones.
pub async fn room(client: &Client, namespace: &str, name: &str) -> Room {
    let Ok(Some(object)) = workloads::get(client, Kind::Deployment, namespace, name).await else {
        return Room::default();
    };
    let Some(template) = object.template() else { return Room::default() };
    let quotas = Api::<ResourceQuota>::namespaced(client.clone(), namespace);
    let quotas = quotas.list(&ListParams::default().limit(50)).await.map(|list| list.items);
    let host_ports = host_ports(template);
    let mut claims = Vec::new();
    for claim in claims_of(template) {
        let api = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace);
        if let Ok(found) = api.get(&claim).await {
            let modes = found.spec.and_then(|spec| spec.access_modes).unwrap_or_default();
            claims.push((claim, modes));
        }
    }
    let nodes = if host_ports.is_empty() && claims.is_empty() { usize::MAX } else { nodes(client).await };
    Room {
        quotas: quotas.unwrap_or_default().into_iter().filter_map(quota).collect(),
        needs: needs(template),
        host_ports,
        claims,
        nodes,
    }
}

async fn nodes(client: &Client) -> usize {
    let Ok(nodes) = Api::<Node>::all(client.clone()).list(&ListParams::default()).await else {
        return usize::MAX;
    };
    let takes = |node: &&Node| !node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    nodes.items.iter().filter(takes).count()
}

/// A quota that counts every pod; one with scopes counts some of them, which are left to the apiserver.
fn quota(object: ResourceQuota) -> Option<Quota> {
    let name = object.name_any();
    let spec = object.spec?;
    if spec.scopes.is_some_and(|scopes| !scopes.is_empty()) || spec.scope_selector.is_some() {
        return None;
    }
    let status = object.status?;
    let texts = |map: Option<BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>| {
        map.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()
    };
    Some(Quota { name, hard: texts(status.hard), used: texts(status.used) })
}

fn needs(template: &PodTemplateSpec) -> Needs {
    let mut needs = Needs::new();
    let containers = template.spec.iter().flat_map(|spec| &spec.containers);
    for container in containers {
        let Some(resources) = &container.resources else { continue };
        let limits = resources.limits.clone().unwrap_or_default();
        let requests = resources.requests.clone().unwrap_or_default();
        let keys: BTreeSet<&String> = limits.keys().chain(requests.keys()).collect();
        for key in keys {
            // A request that is not written is the limit.
            if let Some(value) = requests.get(key).or_else(|| limits.get(key)) {
                for name in [key.clone(), format!("requests.{key}")] {
                    needs.entry(name).or_default().push(value.0.clone());
                }
            }
            if let Some(value) = limits.get(key) {
                needs.entry(format!("limits.{key}")).or_default().push(value.0.clone());
            }
        }
    }
    needs
}

fn host_ports(template: &PodTemplateSpec) -> Vec<i32> {
    let Some(spec) = &template.spec else { return Vec::new() };
    let ports = |container: &Container| container.ports.clone().unwrap_or_default();
    let ports = spec.containers.iter().flat_map(ports);
    if spec.host_network == Some(true) {
        return ports.map(|port| port.container_port).collect();
    }
    ports.filter_map(|port| port.host_port).filter(|port| 0 < *port).collect()
}

fn claims_of(template: &PodTemplateSpec) -> Vec<String> {
    let volumes = template.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone())).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a fixture that cannot be read is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn what_a_pod_asks_of_a_quota_is_by_the_quota_s_keys_and_a_missing_request_is_the_limit() {
        let template: PodTemplateSpec = serde_json::from_value(serde_json::json!({"spec": {"containers": [
            {"name": "a", "resources": {"limits": {"memory": "64Mi"}}},
            {"name": "b", "resources": {"requests": {"memory": "32Mi", "cpu": "100m"}}, "ports": [{"containerPort": 80, "hostPort": 8080}]},
        ], "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}}))
        .unwrap();
        let needs = needs(&template);
        assert_eq!(needs["requests.memory"], ["64Mi", "32Mi"]);
        assert_eq!(needs["memory"], ["64Mi", "32Mi"]);
        assert_eq!(needs["limits.memory"], ["64Mi"]);
        assert_eq!(needs["requests.cpu"], ["100m"]);
        assert_eq!(host_ports(&template), [8080]);
        assert_eq!(claims_of(&template), ["data"]);
    }
}
