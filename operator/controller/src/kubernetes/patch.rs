//! Writes to workloads: core's patch as one JSON patch with `test` operations.
//!
//! A failed `test` comes back as 422 without causes, like a bug of ours: the object is read again and compared, and where it
//! differs that is the conflict. Fields are written by `add`, which also replaces; only our own annotation is ever removed.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Api, Patch as KubePatch, PatchParams};
use rollforward_core::reason::Reason;
use rollforward_core::rollout::Patch;
use rollforward_core::rollout::deployment::Annotation;
use rollforward_core::workload::{IntOrPercent, Strategy};
use serde_json::{Value, json};

use super::workloads::{self, RUN_ANNOTATION};
use super::{status, words};

/// The name under which our writes stand in an object's managed fields.
pub const FIELD_MANAGER: &str = "rollforward";

/// Why a write to a workload did not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The code.
    pub reason: Reason,
    /// The sentence.
    pub message: String,
}

/// Applies one patch to a workload.
///
/// # Errors
/// [`Refused`] tells a conflict (read again, decide anew) from missing rights and from a denial by admission.
pub async fn apply(client: &Client, patch: &Patch) -> Result<(), Refused> {
    let id = &patch.workload;
    let api = Api::<Deployment>::namespaced(client.clone(), &id.namespace);
    let object = workloads::deployment(client, &id.namespace, &id.name)
        .await
        .map_err(|error| Refused { reason: Reason::WriteConflict, message: error.to_string() })?;
    let has_annotations = object.as_ref().is_some_and(|object| object.metadata.annotations.is_some());
    let has_ours = object.is_some_and(|object| {
        object.metadata.annotations.is_some_and(|all| all.contains_key(RUN_ANNOTATION))
    });
    let operations = operations(patch, has_annotations, has_ours);
    let parsed = serde_json::from_value(Value::Array(operations))
        .map_err(|error| Refused { reason: Reason::WriteConflict, message: error.to_string() })?;
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(&id.name, &params, &KubePatch::<Deployment>::Json(parsed)).await {
        Ok(_) => Ok(()),
        Err(error) => Err(refused(&error)),
    }
}

fn refused(error: &kube::Error) -> Refused {
    let message = words(error);
    let Some(status) = status(error) else {
        return Refused { reason: Reason::WriteConflict, message };
    };
    let causes = status.details.as_ref().is_some_and(|details| !details.causes.is_empty());
    let denied = message.contains("denied") || message.contains("admission");
    let reason = match status.code {
        403 if !denied => Reason::WriteForbidden,
        400 | 403 | 422 if denied || causes => Reason::WriteDenied,
        _ => Reason::WriteConflict,
    };
    let message = match reason {
        Reason::WriteForbidden => {
            format!("{message}. Grant `patch` on deployments.apps to the operator's ServiceAccount")
        }
        Reason::WriteDenied => format!("admission refused the write to the Deployment: {message}"),
        _ => format!("the workload changed between reading and writing: {message}"),
    };
    Refused { reason, message }
}

/// The operations of a patch, tests first.
fn operations(patch: &Patch, has_annotations: bool, has_ours: bool) -> Vec<Value> {
    let mut tests = vec![json!({"op": "test", "path": "/metadata/uid", "value": patch.workload.uid})];
    let mut writes = Vec::new();
    if let Some(generation) = patch.generation {
        tests.push(json!({"op": "test", "path": "/metadata/generation", "value": generation}));
    }
    for image in &patch.images {
        let list = if image.init { "initContainers" } else { "containers" };
        let path = format!("/spec/template/spec/{list}/{}", image.index);
        tests.push(json!({"op": "test", "path": format!("{path}/name"), "value": image.name}));
        tests.push(json!({"op": "test", "path": format!("{path}/image"), "value": image.before}));
        if image.before != image.after {
            writes.push(json!({"op": "replace", "path": format!("{path}/image"), "value": image.after}));
        }
    }
    let mut add = |path: &str, value: Value| writes.push(json!({"op": "add", "path": path, "value": value}));
    if let Some(seconds) = patch.min_ready_seconds {
        add("/spec/minReadySeconds", json!(seconds));
    }
    if let Some(seconds) = patch.progress_deadline_seconds {
        add("/spec/progressDeadlineSeconds", json!(seconds));
    }
    if let Some(Strategy::RollingUpdate { max_surge, max_unavailable }) = &patch.strategy {
        let rolling = json!({"maxSurge": share(max_surge), "maxUnavailable": share(max_unavailable)});
        add("/spec/strategy/rollingUpdate", rolling);
    }
    let path = format!("/metadata/annotations/{}", RUN_ANNOTATION.replace('/', "~1"));
    match &patch.annotation {
        Annotation::Set(run) if has_annotations => add(&path, json!(run)),
        Annotation::Set(run) => add("/metadata/annotations", json!({ RUN_ANNOTATION: run })),
        // Read a moment ago; if it went away meanwhile, the patch is refused and decided anew.
        Annotation::Clear if has_ours => writes.push(json!({"op": "remove", "path": path})),
        Annotation::Clear | Annotation::Keep => {}
    }
    tests.extend(writes);
    tests
}

fn share(value: &IntOrPercent) -> Value {
    match value {
        IntOrPercent::Int(pods) => json!(pods),
        IntOrPercent::Percent(percent) => json!(format!("{percent}%")),
    }
}
