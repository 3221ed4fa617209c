//! Who rolls a workload out in our place: what is asked for it, and how the objects of Argo Rollouts and Flagger are read.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use rollforward::kubernetes::delegates::Delegates;
use rollforward::kubernetes::delegates::objects::{Rollout, canary, rollout};
use rollforward::kubernetes::workloads::Object;
use rollforward_core::delegate::{Delegate, Word};
use serde_json::{Value, json};

/// An apiserver that answers by path, and what it was asked.
fn apiserver(answer: fn(&str) -> (u16, Value)) -> (Client, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        let (code, body) = answer(&path);
        kept.lock().unwrap().push(path);
        let body = Body::from(serde_json::to_vec(&body).unwrap());
        async move { Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap()) }
    });
    (Client::new(service, "shop"), asked)
}

fn refused(code: u16, message: &str) -> (u16, Value) {
    let reason = if code == 404 { "NotFound" } else { "Forbidden" };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": message,
    });
    (code, body)
}

fn deployment() -> Object {
    let object = json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "generation": 4},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {}}},
    });
    Object::Deployment(Box::new(serde_json::from_value(object).unwrap()))
}

fn served(path: &str) -> Option<(u16, Value)> {
    let (version, kind, plural) = match path {
        "/apis/flagger.app/v1beta1" => ("flagger.app/v1beta1", "Canary", "canaries"),
        "/apis/argoproj.io/v1alpha1" => ("argoproj.io/v1alpha1", "Rollout", "rollouts"),
        _ => return None,
    };
    let body = json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version,
        "resources": [{"name": plural, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["list"]}],
    });
    Some((200, body))
}

#[tokio::test]
async fn where_no_kind_of_theirs_is_served_that_alone_is_asked_once_a_minute() {
    let (client, asked) = apiserver(|_| refused(404, "the server could not find the requested resource"));
    let delegates = Delegates::default();
    for _ in 0..3 {
        assert!(delegates.of(&client, &deployment()).await.is_none());
    }
    assert_eq!(*asked.lock().unwrap(), ["/apis/flagger.app/v1beta1", "/apis/argoproj.io/v1alpha1"]);
}

#[tokio::test]
async fn where_they_may_not_be_read_it_is_not_known_who_rolls_out_and_the_right_is_named() {
    let message = "canaries.flagger.app is forbidden: User \"rollforward\" cannot list resource \"canaries\"";
    let (client, _) = apiserver(|path| {
        served(path).unwrap_or_else(|| {
            refused(
                403,
                "canaries.flagger.app is forbidden: User \"rollforward\" cannot list resource \"canaries\"",
            )
        })
    });
    let found = Delegates::default().of(&client, &deployment()).await.unwrap();
    let Delegate::Unknown(words) = found.delegate else { panic!("{:?}", found.delegate) };
    assert!(words.contains(message), "{words}");
    assert!(
        words.contains("grant get, list and watch on canaries.flagger.app and rollouts.argoproj.io"),
        "{words}"
    );
}

#[tokio::test]
async fn a_deployment_that_nobody_names_is_ours_and_one_that_a_rollout_names_is_not() {
    let (client, asked) = apiserver(|path| {
        let list = |items: Value| {
            let meta = json!({"resourceVersion": "1"});
            (200, json!({"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items}))
        };
        let named = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "front", "namespace": "shop", "uid": "u-2", "generation": 1},
            "spec": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
            "status": {"phase": "Healthy", "observedGeneration": "1", "workloadObservedGeneration": "3"},
        });
        // One that cannot be read hides no other.
        let odd = json!({"metadata": {"name": "odd", "namespace": "shop"}, "spec": {"paused": "often"}});
        match path {
            "/apis/flagger.app/v1beta1/namespaces/shop/canaries" => {
                let other = json!({"kind": "Deployment", "name": "api"});
                list(json!([{"metadata": {"name": "api"}, "spec": {"targetRef": other}}]))
            }
            "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts" => list(json!([odd, named])),
            "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/front" => (200, named),
            other => served(other).unwrap_or_else(|| list(json!([]))),
        }
    });
    let delegates = Delegates::default();
    let found = delegates.of(&client, &deployment()).await.unwrap();
    assert_eq!(found.delegate.title(), "Argo Rollouts (Rollout/front)");
    // Generation 4 of the Deployment, and the Rollout has looked at 3.
    assert_eq!(
        found.delegate.busy().as_deref(),
        Some("Rollout/front has not looked at its newest template yet")
    );
    let lists = |asked: &Mutex<Vec<String>>| {
        asked.lock().unwrap().iter().filter(|path| path.ends_with("s") && path.contains("namespaces")).count()
    };
    let before = lists(&asked);
    let mut other = deployment();
    if let Object::Deployment(own) = &mut other {
        own.metadata.name = Some("db".to_owned());
    }
    assert!(delegates.of(&client, &other).await.is_none());
    assert_eq!(lists(&asked), before, "what points where is listed once for both");
}

#[test]
fn a_pause_step_ends_after_its_duration_however_that_is_written() {
    let read = |duration: Value| {
        let object: Rollout = serde_json::from_value(json!({
            "metadata": {"name": "web", "generation": 2},
            "spec": {"strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": duration}]}}},
            "status": {
                "phase": "Paused", "message": "CanaryPauseStep", "observedGeneration": "2",
                "currentStepIndex": 1, "controllerPause": true,
                "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": "2026-11-02T09:00:00Z"}],
            },
        }))
        .unwrap();
        match Delegate::Argo(rollout(&object, None)).word("") {
            Word::Paused(words) => words,
            other => panic!("{other:?}"),
        }
    };
    for duration in [
        json!({"duration": "90m"}),
        json!({"duration": 5400}),
        json!({"duration": "1h30m"}),
        json!({"duration": "5400"}),
    ] {
        let words = read(duration.clone());
        assert!(words.ends_with("by its own plan until 2026-11-02 10:30:00Z"), "{duration}: {words}");
    }
    assert!(read(json!({})).contains("without an end"));
}

#[test]
fn a_canary_is_read_with_its_condition_and_its_hashes() {
    let object = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
        "status": {
            "phase": "Succeeded", "failedChecks": 0, "canaryWeight": 0, "iterations": 0,
            "lastAppliedSpec": "5d8b9c", "lastPromotedSpec": "5d8b9c",
            "lastTransitionTime": "2026-11-02T09:00:00Z",
            "conditions": [{
                "type": "Promoted", "status": "True", "reason": "Succeeded",
                "message": "Canary analysis completed successfully, promotion finished.",
                "lastUpdateTime": "2026-11-02T09:00:00Z", "lastTransitionTime": "2026-11-02T09:00:00Z",
            }],
        },
    }))
    .unwrap();
    let delegate = Delegate::Flagger(Box::new(canary(&object)));
    assert_eq!(delegate.mark(), "Succeeded 2026-11-02 09:00:00Z");
    assert!(matches!(delegate.word("Failed 2026-11-02 08:00:00Z"), Word::Passed(_)));
    assert!(matches!(delegate.word(&delegate.mark()), Word::Progressing(_)));
}
