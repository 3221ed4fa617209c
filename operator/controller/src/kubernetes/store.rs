//! Our own objects in the apiserver: policies, runs and ledgers.
//!
//! Each write patches what we own and nothing else; nobody's object is PUT back. A ledger or a run that does not exist is
//! created with its status in a second request, for a status is its own subresource.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DeserializeGuard};
use kube::{Client, Resource, ResourceExt};
use rollforward_api::ledger::{ImageLedger, ImageLedgerSpec, ImageLedgerStatus};
use rollforward_api::policy::{UpdatePolicy, UpdatePolicySpec, UpdatePolicyStatus};
use rollforward_api::run::{UpdateRun, UpdateRunSpec, UpdateRunStatus};
use rollforward_core::image::Repository;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::patch::FIELD_MANAGER;
use super::{ApiError, optional, status};

/// The label that finds a policy's runs.
pub const POLICY_LABEL: &str = "rollforward.dev/policy";
/// Held by a policy and its open run while a workload holds our fields.
pub const FINALIZER: &str = "rollforward.dev/restore-workload";

fn params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// A label value for any name: the name itself, or a hash where it is too long.
fn label(name: &str) -> String {
    if name.len() <= 63 { name.to_owned() } else { hex(name).chars().take(63).collect() }
}

fn hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A policy whole, or what is wrong with it.
///
/// # Errors
/// Where the apiserver did not answer.
pub async fn policy(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<DeserializeGuard<UpdatePolicy>>, ApiError> {
    let api = Api::<DeserializeGuard<UpdatePolicy>>::namespaced(client.clone(), namespace);
    optional(api.get(name).await).map_err(ApiError::of("get the UpdatePolicy"))
}

/// What can be read of a policy that cannot be read whole: its metadata, whether it is suspended, and what was last said of it.
///
/// # Errors
/// Where the apiserver did not answer.
pub async fn rest_of_policy(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<UpdatePolicy>, ApiError> {
    let resource = ApiResource::erase::<UpdatePolicy>(&());
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
    let object = optional(api.get(name).await).map_err(ApiError::of("get the UpdatePolicy"))?;
    Ok(object.map(|DynamicObject { metadata, data, .. }| {
        let spec = UpdatePolicySpec {
            targets: Vec::new(),
            mode: None,
            suspend: data.pointer("/spec/suspend").and_then(Value::as_bool),
            image: None,
            schedule: None,
            approval: None,
            verification: None,
            rollout: None,
        };
        let status = data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
        UpdatePolicy { metadata, spec, status }
    }))
}

/// The runs of a policy.
///
/// # Errors
/// Where the apiserver did not answer.
pub async fn runs_of(client: &Client, namespace: &str, policy: &str) -> Result<Vec<UpdateRun>, ApiError> {
    let api = Api::<DeserializeGuard<UpdateRun>>::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default().labels(&format!("{POLICY_LABEL}={}", label(policy)))).await;
    let runs = list.map_err(ApiError::of("list the UpdateRuns"))?;
    Ok(runs.items.into_iter().filter_map(|run| run.0.ok()).collect())
}

/// Records a run. One that is there already is the same run: its name says what it moves.
///
/// # Errors
/// Where the apiserver refused.
pub async fn create_run(
    client: &Client,
    policy: &UpdatePolicy,
    name: &str,
    spec: UpdateRunSpec,
) -> Result<(), ApiError> {
    let namespace = policy.namespace().unwrap_or_default();
    let api = Api::<UpdateRun>::namespaced(client.clone(), &namespace);
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace),
        labels: Some([(POLICY_LABEL.to_owned(), label(&policy.name_any()))].into()),
        finalizers: Some(vec![FINALIZER.to_owned()]),
        owner_references: policy.owner_ref(&()).map(|owner| {
            // Not blocking: the policy's own finalizer keeps it until the workload is restored.
            vec![OwnerReference { controller: Some(true), block_owner_deletion: None, ..owner }]
        }),
        ..ObjectMeta::default()
    };
    let run = UpdateRun { metadata, spec, status: None };
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, &run).await {
        Ok(_) => Ok(()),
        Err(error) if status(&error).is_some_and(|status| status.code == 409) => Ok(()),
        Err(error) => Err(ApiError::of("create the UpdateRun")(error)),
    }
}

/// Stores a run's status.
///
/// # Errors
/// Where the apiserver refused; a run that is gone is none.
pub async fn run_status(
    client: &Client,
    namespace: &str,
    name: &str,
    new: &UpdateRunStatus,
) -> Result<(), ApiError> {
    let api = Api::<UpdateRun>::namespaced(client.clone(), namespace);
    write_status(&api, name, new).await.map_err(ApiError::of("write the status of the UpdateRun"))
}

/// Writes a status in the place of the one that is there; nothing where the object is gone. A merge patch would keep, at any
/// depth, what is not there any more.
///
/// # Errors
/// Where the apiserver refused.
pub(super) async fn write_status<K, S>(api: &Api<K>, name: &str, new: &S) -> Result<(), kube::Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    S: Serialize,
{
    let operations = json!([{"op": "add", "path": "/status", "value": new}]);
    let operations = serde_json::from_value(operations).map_err(kube::Error::SerdeError)?;
    optional(api.patch_status(name, &params(), &Patch::<()>::Json(operations)).await).map(drop)
}

/// Deletes a run that has ended.
///
/// # Errors
/// Where the apiserver refused; a run that is gone is none.
pub async fn delete_run(client: &Client, namespace: &str, name: &str) -> Result<(), ApiError> {
    let api = Api::<UpdateRun>::namespaced(client.clone(), namespace);
    optional(api.delete(name, &DeleteParams::default()).await)
        .map(|_| ())
        .map_err(ApiError::of("delete the UpdateRun"))
}

/// Sets or drops our finalizer on an object, where it is not so already.
///
/// # Errors
/// Where the apiserver refused; an object that is gone is none.
pub async fn finalizer<K>(client: &Client, object: &K, held: bool) -> Result<(), ApiError>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let mut all = object.meta().finalizers.clone().unwrap_or_default();
    if all.iter().any(|one| one == FINALIZER) == held {
        return Ok(());
    }
    all.retain(|one| one != FINALIZER);
    if held {
        all.push(FINALIZER.to_owned());
    }
    // Guarded: what comes back need not be readable.
    let api = Api::<DeserializeGuard<K>>::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    // The resource version makes it a conflict if somebody else's finalizer came or went meanwhile.
    let body = json!({"metadata": {"finalizers": all, "resourceVersion": object.resource_version()}});
    optional(api.patch(&object.name_any(), &params(), &Patch::Merge(&body)).await)
        .map(|_| ())
        .map_err(ApiError::of("write the finalizer"))
}

/// Removes an annotation that a command of ours set and this pass has carried out. One that was written anew since it was
/// read stays, for the next pass.
///
/// # Errors
/// Where the apiserver refused.
pub async fn clear_annotation(client: &Client, policy: &UpdatePolicy, key: &str) -> Result<(), ApiError> {
    let api = Api::<UpdatePolicy>::namespaced(client.clone(), &policy.namespace().unwrap_or_default());
    let path = format!("/metadata/annotations/{}", key.replace('/', "~1"));
    let operations = json!([
        {"op": "test", "path": path, "value": policy.annotations().get(key)},
        {"op": "remove", "path": path},
    ]);
    let Ok(parsed) = serde_json::from_value(operations) else { return Ok(()) };
    let patch = Patch::<UpdatePolicy>::Json(parsed);
    match optional(api.patch(&policy.name_any(), &params(), &patch).await) {
        Ok(_) => Ok(()),
        Err(error) if status(&error).is_some_and(|status| status.code == 422) => Ok(()),
        Err(error) => Err(ApiError::of("clear the annotation")(error)),
    }
}

/// Stores a policy's status.
///
/// # Errors
/// Where the apiserver refused; a policy that is gone is none.
pub async fn policy_status(
    client: &Client,
    namespace: &str,
    name: &str,
    new: &UpdatePolicyStatus,
) -> Result<(), ApiError> {
    let api = Api::<DeserializeGuard<UpdatePolicy>>::namespaced(client.clone(), namespace);
    write_status(&api, name, new).await.map_err(ApiError::of("write the status of the UpdatePolicy"))
}

/// The name of a repository's ledger: readable, and different for different repositories.
#[must_use]
pub fn ledger_name(repository: &Repository) -> String {
    let hash: String = hex(&repository.to_string()).chars().take(8).collect();
    let plain: String = repository
        .short_name()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .take(40)
        .collect();
    format!("{}-{hash}", plain.trim_matches('-'))
}

/// The ledger of a repository.
///
/// # Errors
/// Where the apiserver did not answer, or the ledger is not readable: then nothing is done on its ground.
pub async fn ledger(
    client: &Client,
    namespace: &str,
    repository: &Repository,
) -> Result<Option<ImageLedger>, ApiError> {
    let api = Api::<ImageLedger>::namespaced(client.clone(), namespace);
    optional(api.get(&ledger_name(repository)).await).map_err(ApiError::of("get the ImageLedger"))
}

/// Stores a ledger on top of the version that was read; created where there was none.
///
/// # Errors
/// Where the apiserver refused; 409 where it was stored anew since it was read.
pub async fn store_ledger(
    client: &Client,
    namespace: &str,
    repository: &Repository,
    read: Option<&ImageLedger>,
    new: &ImageLedgerStatus,
) -> Result<(), ApiError> {
    let api = Api::<ImageLedger>::namespaced(client.clone(), namespace);
    let name = ledger_name(repository);
    if let Some(read) = read {
        let mut body = json!({"metadata": {"resourceVersion": read.resource_version()}, "status": new});
        // What was forgotten is not named any more: a merge patch would keep it.
        if let Some(status) = body.get_mut("status").and_then(serde_json::Value::as_object_mut) {
            for list in ["contradictions", "signers"] {
                status.entry(list).or_insert(serde_json::Value::Null);
            }
        }
        let stored = api.patch_status(&name, &params(), &Patch::Merge(&body)).await;
        return stored.map(drop).map_err(ApiError::of("write the ImageLedger"));
    }
    let body = json!({ "status": new });
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        namespace: Some(namespace.to_owned()),
        ..ObjectMeta::default()
    };
    let spec = ImageLedgerSpec { repository: repository.to_string() };
    let post = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let created = api.create(&post, &ImageLedger { metadata, spec, status: None }).await;
    created.map_err(ApiError::of("create the ImageLedger"))?;
    let stored = api.patch_status(&name, &params(), &Patch::Merge(&body)).await;
    stored.map(|_| ()).map_err(ApiError::of("write the ImageLedger"))
}
