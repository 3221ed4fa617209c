//! Writes to workloads: core's patch as one JSON patch with `test` operations.
//!
//! A failed `test` comes back as 422 without causes, like a bug of ours: the object is read again and compared, and where it
//! differs that is the conflict. Whatever else keeps a write from being done is told. Fields are written by `add`, which also
//! replaces; only our own annotation is ever removed.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams, GetParams, Patch as KubePatch, PatchParams, Preconditions};
use kube::core::{Request, Status};
use rollforward_core::judge::classify::table::{Place, lookup};
use rollforward_core::preflight::Rewritten;
use rollforward_core::reason::Reason;
use rollforward_core::rollout::patch::{Annotation, Errand, FieldWrite, Patch};
use rollforward_core::workload::{IntOrPercent, Kind};
use serde_json::{Value, json};

use super::delegates::objects::Rollout;
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
/// [`Refused`] tells a conflict (read again, decide anew) from missing rights, from a denial by admission, and from a webhook or
/// an apiserver that fails.
pub async fn apply(client: &Client, patch: &Patch) -> Result<(), Refused> {
    let id = &patch.workload;
    let object = workloads::get(client, id.kind, &id.namespace, &id.name)
        .await
        .map_err(|error| failed(id.kind.resource(), &error.to_string()))?;
    let annotations = object.as_ref().and_then(|object| object.metadata().annotations.as_ref());
    let has_ours = annotations.is_some_and(|all| all.contains_key(RUN_ANNOTATION));
    let operations = operations(patch, annotations.is_some(), has_ours);
    match id.kind {
        Kind::Deployment => send::<Deployment>(client, patch, operations).await,
        Kind::StatefulSet => send::<StatefulSet>(client, patch, operations).await,
        Kind::DaemonSet => send::<DaemonSet>(client, patch, operations).await,
        Kind::CronJob => send::<CronJob>(client, patch, operations).await,
        Kind::Rollout => send::<Rollout>(client, patch, operations).await,
    }
}

/// Writes to one pod or Job of a workload: its uid is a precondition.
///
/// # Errors
/// As [`apply`]. What is gone already is no error.
pub async fn run_errand(client: &Client, namespace: &str, errand: &Errand) -> Result<(), Refused> {
    let (result, resource, verb) = match errand {
        Errand::DeletePod { name, uid } => {
            let condition = Preconditions { uid: Some(uid.clone()), resource_version: None };
            let params = DeleteParams { preconditions: Some(condition), ..DeleteParams::default() };
            let api = Api::<Pod>::namespaced(client.clone(), namespace);
            (api.delete(name, &params).await.map(|_| ()), "pods", "delete")
        }
        Errand::EndJob { name, uid } => {
            let operations = json!([
                {"op": "test", "path": "/metadata/uid", "value": uid},
                {"op": "add", "path": "/spec/activeDeadlineSeconds", "value": 1},
            ]);
            let parsed = serde_json::from_value(operations)
                .map_err(|error: serde_json::Error| failed("jobs.batch", &error.to_string()))?;
            let params =
                PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            let api = Api::<Job>::namespaced(client.clone(), namespace);
            (
                api.patch(name, &params, &KubePatch::<()>::Json(parsed)).await.map(|_| ()),
                "jobs.batch",
                "patch",
            )
        }
    };
    match result {
        Ok(()) => Ok(()),
        Err(error) if status(&error).is_some_and(|status| status.code == 404) => Ok(()),
        // The only test is the uid: another of that name.
        Err(error) if is_bare(&error) => Err(conflict(&words(&error))),
        Err(error) => Err(refused(&error, (verb, resource))),
    }
}

async fn send<K>(client: &Client, patch: &Patch, operations: Vec<Value>) -> Result<(), Refused>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let id = &patch.workload;
    let resource = id.kind.resource();
    let api = Api::<K>::namespaced(client.clone(), &id.namespace);
    let operations = Value::Array(operations);
    let parsed =
        serde_json::from_value(operations.clone()).map_err(|error| failed(resource, &error.to_string()))?;
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let Err(error) = api.patch(&id.name, &params, &KubePatch::<()>::Json(parsed)).await else {
        return Ok(());
    };
    if is_bare(&error) && has_changed::<K>(client, patch, &operations).await {
        return Err(conflict(&words(&error)));
    }
    Err(refused(&error, ("patch", resource)))
}

/// Whether the object, read again, is another than the operations were made for.
async fn has_changed<K>(client: &Client, patch: &Patch, operations: &Value) -> bool
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let id = &patch.workload;
    let request = Request::new(K::url_path(&(), Some(&id.namespace))).get(&id.name, &GetParams::default());
    let Ok(request) = request else { return false };
    match client.request::<Value>(request).await {
        Ok(object) => !operations.as_array().into_iter().flatten().all(|one| fits(one, &object)),
        Err(error) => status(&error).is_some_and(|status| status.code == 404),
    }
}

/// Whether what an operation was made for still stands in an object: what it tests, and our annotation with its map.
fn fits(operation: &Value, object: &Value) -> bool {
    let text = |key: &str| operation.get(key).and_then(Value::as_str).unwrap_or_default();
    let path = text("path");
    match text("op") {
        "test" => object.pointer(path) == operation.get("value"),
        "remove" => object.pointer(path).is_some(),
        "add" if path.starts_with("/metadata/") => {
            path.rsplit_once('/').is_some_and(|(parent, _)| object.pointer(parent).is_some())
        }
        _ => true,
    }
}

/// The operations of a patch for a rehearsal; `None` where the workload cannot be read, which the patch itself will tell.
pub(super) async fn operations_now(client: &Client, patch: &Patch) -> Option<KubePatch<()>> {
    let id = &patch.workload;
    let object = workloads::get(client, id.kind, &id.namespace, &id.name).await.ok().flatten()?;
    let annotations = object.metadata().annotations.as_ref();
    let has_ours = annotations.is_some_and(|all| all.contains_key(RUN_ANNOTATION));
    let operations = operations(patch, annotations.is_some(), has_ours);
    serde_json::from_value(Value::Array(operations)).ok().map(KubePatch::Json)
}

/// Whether the answer names no cause: a `test` that failed, or operations that cannot be carried out.
fn is_bare(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| status.code == 422 && !is_denied(status) && !has_causes(status))
}

fn is_denied(status: &Status) -> bool {
    status.message.contains("denied") || status.message.contains("admission")
}

fn has_causes(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.causes.is_empty())
}

fn conflict(words: &str) -> Refused {
    let message = format!("the workload changed between reading and writing: {words}");
    Refused { reason: Reason::WriteConflict, message }
}

fn failed(resource: &str, words: &str) -> Refused {
    let message =
        format!("the apiserver did not take the write to {resource}: {words}. Tried again by itself");
    Refused { reason: Reason::WriteFailed, message }
}

fn refused(error: &kube::Error, (verb, resource): (&str, &str)) -> Refused {
    let words = words(error);
    let Some(status) = status(error) else { return failed(resource, &words) };
    let is_down =
        lookup(Place::Create, &status.message).is_some_and(|rule| rule.reason == Reason::WebhookDown);
    match status.code {
        _ if is_down => Refused {
            reason: Reason::WebhookDown,
            message: format!(
                "the write to {resource} was refused, for a webhook does not answer: {words}. Tried again by itself"
            ),
        },
        404 | 409 => conflict(&words),
        403 if !is_denied(status) => Refused {
            reason: Reason::WriteForbidden,
            message: format!("{words}. Grant `{verb}` on {resource} to the operator's ServiceAccount"),
        },
        400 | 403 | 422 if is_denied(status) || has_causes(status) => Refused {
            reason: Reason::WriteDenied,
            message: format!("admission refused the write to {resource}: {words}"),
        },
        _ => failed(resource, &words),
    }
}

/// The operations of a patch, tests first.
fn operations(patch: &Patch, has_annotations: bool, has_ours: bool) -> Vec<Value> {
    let mut tests = vec![json!({"op": "test", "path": "/metadata/uid", "value": patch.workload.uid})];
    let mut writes = Vec::new();
    if let Some(generation) = patch.generation {
        tests.push(json!({"op": "test", "path": "/metadata/generation", "value": generation}));
    }
    let template = template(patch.workload.kind);
    for image in &patch.images {
        let list = if image.init { "initContainers" } else { "containers" };
        let path = format!("{template}/spec/{list}/{}", image.index);
        tests.push(json!({"op": "test", "path": format!("{path}/name"), "value": image.name}));
        tests.push(json!({"op": "test", "path": format!("{path}/image"), "value": image.before}));
        if image.before != image.after {
            writes.push(json!({"op": "replace", "path": format!("{path}/image"), "value": image.after}));
        }
    }
    let mut add = |path: &str, value: Value| writes.push(json!({"op": "add", "path": path, "value": value}));
    for field in &patch.fields {
        let (path, value) = written(field);
        add(path, value);
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

/// Where the template of the pods stands.
fn template(kind: Kind) -> &'static str {
    match kind {
        Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet | Kind::Rollout => "/spec/template",
        Kind::CronJob => "/spec/jobTemplate/spec/template",
    }
}

/// Where a field stands, and its value.
fn written(field: &FieldWrite) -> (&'static str, Value) {
    let rolling =
        |surge, unavailable| json!({"maxSurge": share(surge), "maxUnavailable": share(unavailable)});
    match field {
        FieldWrite::MinReadySeconds(seconds) => ("/spec/minReadySeconds", json!(seconds)),
        FieldWrite::ProgressDeadlineSeconds(seconds) => ("/spec/progressDeadlineSeconds", json!(seconds)),
        FieldWrite::RollingUpdate { max_surge, max_unavailable } => {
            ("/spec/strategy/rollingUpdate", rolling(max_surge, max_unavailable))
        }
        // The apiserver fills in `rollingUpdate` where the user wrote none; what else stands in it stays.
        FieldWrite::Partition(partition) => {
            ("/spec/updateStrategy/rollingUpdate/partition", json!(partition))
        }
        FieldWrite::DaemonRolling(own) => {
            ("/spec/updateStrategy/rollingUpdate", rolling(&own.max_surge, &own.max_unavailable))
        }
    }
}

/// What admission made something else of than the patch writes, in the object that came back: an image, else a field.
pub(super) fn rewritten(patch: &Patch, object: &Value) -> Option<Rewritten> {
    let pods = object.pointer(template(patch.workload.kind))?.get("spec")?;
    let image = patch.images.iter().find_map(|image| {
        let all =
            pods.get(if image.init { "initContainers" } else { "containers" }).and_then(Value::as_array);
        let text = |one: &Value, key: &str| one.get(key).and_then(Value::as_str).map(str::to_owned);
        // By its name: what is put before it moves it, and is nobody's edit.
        let own = all.into_iter().flatten().find(|one| text(one, "name").as_ref() == Some(&image.name));
        let found = own.and_then(|own| text(own, "image")).unwrap_or_else(|| "nothing".to_owned());
        (found != image.after).then(|| Rewritten {
            field: format!("the image of container {}", image.name),
            written: image.after.clone(),
            found,
        })
    });
    let field = |field: &FieldWrite| {
        let (path, value) = written(field);
        let found = object.pointer(path).filter(|found| !holds(found, &value))?;
        let field = path.trim_start_matches('/').replace('/', ".");
        Some(Rewritten { field, written: value.to_string(), found: found.to_string() })
    };
    image.or_else(|| patch.fields.iter().find_map(field))
}

/// Whether what came back holds what was written: of a map every key, whatever else is in it.
fn holds(found: &Value, written: &Value) -> bool {
    match written {
        Value::Object(all) => all.iter().all(|(key, value)| found.get(key) == Some(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            found == written
        }
    }
}

fn share(value: &IntOrPercent) -> Value {
    match value {
        IntOrPercent::Int(pods) => json!(pods),
        IntOrPercent::Percent(percent) => json!(format!("{percent}%")),
    }
}
