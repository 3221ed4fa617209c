//! Writes to a workload against an apiserver that answers what a real one cannot be made to say on demand.
//!
//! The texts are those of Kubernetes 1.37. The same writes against the real apiserver: `e2e/tests/integration`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

#[path = "kubernetes/delegates.rs"]
mod delegates;
#[path = "kubernetes/named.rs"]
mod named;
#[path = "kubernetes/pod_watch.rs"]
mod pod_watch;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use rollforward::kubernetes::patch::{self, Refused};
use rollforward::kubernetes::preflight::rehearse;
use rollforward_core::reason::Reason;
use rollforward_core::rollout::patch::{Annotation, FieldWrite, ImageWrite, Patch};
use rollforward_core::workload::{IntOrPercent, Kind, WorkloadId};
use serde_json::{Value, json};

const OLD: &str = "ghcr.io/acme/web:1.0.0";
const NEW: &str =
    "ghcr.io/acme/web:1.0.1@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// An apiserver with one Deployment that gives one answer to every PATCH and keeps what was sent.
fn apiserver(annotations: Value, code: u16, answer: Value) -> (Client, Arc<Mutex<Vec<Value>>>) {
    let sent: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = Arc::clone(&sent);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (kept, answer, annotations) = (Arc::clone(&kept), answer.clone(), annotations.clone());
        async move {
            let (code, body) = if request.method() == http::Method::PATCH {
                let bytes = request.into_body().collect_bytes().await.unwrap();
                kept.lock().unwrap().push(serde_json::from_slice(&bytes).unwrap());
                (code, answer)
            } else {
                (200, deployment(&annotations))
            };
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (Client::new(service, "shop"), sent)
}

fn deployment(annotations: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "annotations": annotations},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {}, "spec": {"containers": [{"name": "app", "image": OLD}]}},
        },
    })
}

fn status(code: u16, reason: &str, message: &str, causes: &Value) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": message, "details": {"name": "web", "kind": "deployments", "causes": causes},
    })
}

fn start() -> Patch {
    Patch {
        workload: WorkloadId {
            kind: Kind::Deployment,
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            uid: "u-1".to_owned(),
        },
        generation: Some(3),
        images: vec![ImageWrite {
            name: "app".to_owned(),
            index: 0,
            init: false,
            before: OLD.to_owned(),
            after: NEW.to_owned(),
        }],
        fields: vec![
            FieldWrite::MinReadySeconds(3900),
            FieldWrite::ProgressDeadlineSeconds(4500),
            FieldWrite::RollingUpdate {
                max_surge: IntOrPercent::Int(1),
                max_unavailable: IntOrPercent::Int(0),
            },
        ],
        annotation: Annotation::Set("web-1-0-1-abc".to_owned()),
    }
}

async fn sent(annotations: Value, patch: &Patch) -> Vec<Value> {
    let (client, sent) = apiserver(annotations.clone(), 200, deployment(&annotations));
    patch::apply(&client, patch).await.unwrap();
    let all = sent.lock().unwrap();
    all.first().unwrap().as_array().unwrap().clone()
}

/// What the object that comes back from a rehearsal of the first write was made of by admission.
async fn rehearsed(change: impl Fn(&mut Value)) -> Option<String> {
    let mut object = deployment(&json!({}));
    let spec = object.get_mut("spec").unwrap();
    spec["template"]["spec"]["containers"][0]["image"] = json!(NEW);
    spec["minReadySeconds"] = json!(3900);
    spec["progressDeadlineSeconds"] = json!(4500);
    spec["strategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    change(spec);
    let (client, _) = apiserver(json!({}), 200, object);
    rehearse(&client, &start()).await.unwrap().rewritten.map(|rewritten| rewritten.to_string())
}

#[tokio::test]
async fn what_admission_makes_something_else_of_is_seen_in_the_rehearsal() {
    let containers =
        |spec: &mut Value| spec["template"]["spec"]["containers"].as_array_mut().unwrap().clone();
    assert_eq!(rehearsed(|_| ()).await, None);
    // What is put before a container moves it and changes nothing of it.
    let beside = rehearsed(|spec| {
        let own = containers(spec);
        spec["template"]["spec"]["containers"] = json!([{"name": "mesh", "image": "mesh:1"}, own[0]]);
        spec["strategy"]["rollingUpdate"]["more"] = json!(1);
    });
    assert_eq!(beside.await, None);
    let by = ": a webhook or a MutatingAdmissionPolicy rewrites it";
    let image =
        rehearsed(|spec| spec["template"]["spec"]["containers"][0]["image"] = json!("mirror/web:1.0.1"));
    assert_eq!(
        image.await,
        Some(format!("mirror/web:1.0.1 instead of {NEW} as the image of container app{by}"))
    );
    let held = rehearsed(|spec| spec["minReadySeconds"] = json!(10)).await;
    assert_eq!(held, Some(format!("10 instead of 3900 as spec.minReadySeconds{by}")));
    let surge = rehearsed(|spec| spec["strategy"]["rollingUpdate"]["maxUnavailable"] = json!("25%")).await;
    assert!(surge.unwrap().ends_with(&format!(" as spec.strategy.rollingUpdate{by}")));
}

#[tokio::test]
async fn the_first_write_tests_what_was_read_before_it_changes_anything() {
    let operations = sent(json!({"team": "shop"}), &start()).await;
    let image = "/spec/template/spec/containers/0/image";
    let run = "/metadata/annotations/rollforward.dev~1run";
    let expected = json!([
        {"op": "test", "path": "/metadata/uid", "value": "u-1"},
        {"op": "test", "path": "/metadata/generation", "value": 3},
        {"op": "test", "path": "/spec/template/spec/containers/0/name", "value": "app"},
        {"op": "test", "path": image, "value": OLD},
        {"op": "replace", "path": image, "value": NEW},
        {"op": "add", "path": "/spec/minReadySeconds", "value": 3900},
        {"op": "add", "path": "/spec/progressDeadlineSeconds", "value": 4500},
        {"op": "add", "path": "/spec/strategy/rollingUpdate", "value": {"maxSurge": 1, "maxUnavailable": 0}},
        {"op": "add", "path": run, "value": "web-1-0-1-abc"},
    ]);
    assert_eq!(Value::Array(operations), expected);
}

#[tokio::test]
async fn only_our_own_annotation_is_ever_removed_and_only_where_it_is() {
    let clear = Patch { annotation: Annotation::Clear, ..start() };
    let removed = |operations: Vec<Value>| -> Vec<String> {
        let removals = operations.into_iter().filter(|one| one["op"] == "remove");
        removals.map(|one| one["path"].as_str().unwrap().to_owned()).collect()
    };
    let there = sent(json!({"rollforward.dev/run": "web-1"}), &clear).await;
    assert_eq!(removed(there), ["/metadata/annotations/rollforward.dev~1run"]);
    assert!(removed(sent(json!({"team": "shop"}), &clear).await).is_empty());
    // An object without annotations gets the map with ours, or the apiserver would refuse the path.
    let none = sent(Value::Null, &start()).await;
    let last = none.last().unwrap();
    assert_eq!(last["path"], "/metadata/annotations");
    assert_eq!(last["value"], json!({"rollforward.dev/run": "web-1-0-1-abc"}));
}

const BARE: &str = "the server rejected our request due to an error in our request";

async fn refused(code: u16, reason: &str, message: &str, causes: Value) -> Refused {
    let (client, _) = apiserver(json!({}), code, status(code, reason, message, &causes));
    patch::apply(&client, &start()).await.unwrap_err()
}

#[tokio::test]
async fn a_failed_test_is_a_conflict_and_is_decided_anew() {
    for (code, reason, message) in [
        (422, "Invalid", BARE),
        (404, "NotFound", "deployments.apps \"web\" not found"),
        (409, "Conflict", "the object has been modified; please apply your changes to the latest version"),
    ] {
        let refused = refused(code, reason, message, json!([])).await;
        assert_eq!(refused.reason, Reason::WriteConflict, "{message}");
        assert!(
            refused.message.starts_with("the workload changed between reading and writing: "),
            "{}",
            refused.message
        );
    }
}

#[tokio::test]
async fn what_the_object_that_is_there_does_not_explain_is_no_conflict_and_keeps_its_words() {
    // No generation is asked for: the object is as it was read.
    let same = Patch { generation: None, ..start() };
    let (client, _) = apiserver(json!({}), 422, status(422, "Invalid", BARE, &json!([])));
    let refused = patch::apply(&client, &same).await.unwrap_err();
    assert_eq!(refused.reason, Reason::WriteFailed);
    let words = "the apiserver did not take the write to deployments.apps: ";
    assert_eq!(refused.message, format!("{words}{BARE}. Tried again by itself"));
    for (code, message) in [
        (429, "too many requests, please try again later"),
        (500, "etcdserver: request timed out"),
        (503, "apiserver is shutting down"),
    ] {
        let refused = self::refused(code, "", message, json!([])).await;
        assert_eq!(refused.reason, Reason::WriteFailed, "{message}");
        assert_eq!(refused.message, format!("{words}{message}. Tried again by itself"));
    }
}

#[tokio::test]
async fn an_apiserver_that_cannot_be_reached_is_told() {
    let gone = tower::service_fn(|_: Request<Body>| async {
        Err::<Response<Body>, _>(std::io::Error::other("connection refused"))
    });
    let refused = patch::apply(&Client::new(gone, "shop"), &start()).await.unwrap_err();
    assert_eq!(refused.reason, Reason::WriteFailed);
    assert!(refused.message.contains("connection refused"), "{}", refused.message);
}

#[tokio::test]
async fn a_webhook_that_does_not_answer_is_an_outage_and_no_conflict() {
    let message = "Internal error occurred: failed calling webhook \"guard.acme.example\": failed to call webhook: Post \"https://guard.acme.svc:443/?timeout=10s\": service \"guard\" not found";
    let refused = refused(500, "InternalError", message, json!([{"message": message}])).await;
    assert_eq!(refused.reason, Reason::WebhookDown);
    assert_eq!(
        refused.message,
        format!(
            "the write to deployments.apps was refused, for a webhook does not answer: {message}. Tried again by itself"
        )
    );
}

#[tokio::test]
async fn a_missing_right_is_told_with_the_verb_and_the_resource_to_grant() {
    let message = "deployments.apps \"web\" is forbidden: User \"system:serviceaccount:rollforward-system:rollforward\" cannot patch resource \"deployments\" in API group \"apps\" in the namespace \"shop\"";
    let refused = refused(403, "Forbidden", message, json!([])).await;
    assert_eq!(refused.reason, Reason::WriteForbidden);
    assert!(
        refused.message.ends_with("Grant `patch` on deployments.apps to the operator's ServiceAccount"),
        "{}",
        refused.message
    );
}

#[tokio::test]
async fn a_denial_by_admission_keeps_its_words_and_is_not_taken_for_a_conflict_or_a_missing_right() {
    for (code, reason, message) in [
        (
            403,
            "Forbidden",
            "admission webhook \"images.acme.example\" denied the request: not from our registry",
        ),
        (
            422,
            "Invalid",
            "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'frozen' with binding 'frozen' denied request: change freeze",
        ),
    ] {
        let refused = refused(code, reason, message, json!([])).await;
        assert_eq!(refused.reason, Reason::WriteDenied, "{message}");
        assert_eq!(refused.message, format!("admission refused the write to deployments.apps: {message}"));
    }
    let causes = json!([{"reason": "FieldValueInvalid", "field": "spec.progressDeadlineSeconds", "message": "must be greater than minReadySeconds"}]);
    let invalid = refused(422, "Invalid", "Deployment.apps \"web\" is invalid", causes).await;
    assert_eq!(invalid.reason, Reason::WriteDenied, "a value that validation refuses is no conflict");
}
