//! The ConfigMaps that are named: what is asked of the apiserver, and which answers wake.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use futures::channel::mpsc::unbounded;
use http::{Request, Response};
use kube::client::Body;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::Event;
use kube::{Client, Resource, ResourceExt as _};
use rollforward::kubernetes::named::{Doubts, Name, Named, ask_each_round};
use rollforward::reconcile::trust::TrustStores;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

type Asked = Arc<Mutex<Vec<String>>>;

/// An apiserver that gives these answers in turn, the last for ever; what it was asked, with the form that was wanted.
fn apiserver(answers: Vec<(u16, Value)>) -> (Client, Asked) {
    let asked: Asked = Arc::default();
    let kept = Arc::clone(&asked);
    let answers = Mutex::new(answers);
    let service = tower::service_fn(move |request: Request<Body>| {
        let accept = request.headers().get(http::header::ACCEPT).unwrap().to_str().unwrap().to_owned();
        let form = if accept.contains("as=PartialObjectMetadata;") { "metadata" } else { "whole" };
        kept.lock().unwrap().push(format!("{} {} {form}", request.method(), request.uri().path()));
        let mut left = answers.lock().unwrap();
        let (code, body) = if left.len() == 1 { left[0].clone() } else { left.remove(0) };
        let body = Body::from(serde_json::to_vec(&body).unwrap());
        async move { Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap()) }
    });
    (Client::new(service, "shop"), asked)
}

fn at(version: &str) -> (u16, Value) {
    let metadata = json!({"name": "keys", "namespace": "shop", "resourceVersion": version});
    (200, json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}))
}

fn refused(code: u16, reason: &str) -> (u16, Value) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": reason,
    });
    (code, body)
}

fn keys() -> Name {
    ("shop".to_owned(), "keys".to_owned())
}

/// Which of the answers wake.
async fn woken(answers: Vec<(u16, Value)>) -> Vec<bool> {
    let n_answers = answers.len();
    let (client, _) = apiserver(answers);
    let mut known = Named::default();
    let mut woken = Vec::new();
    for _ in 0..n_answers {
        woken.push(known.ask(&client, &keys()).await.is_some());
    }
    woken
}

#[tokio::test]
async fn a_named_config_map_is_asked_for_by_its_name_and_for_its_metadata_alone() {
    let (client, asked) = apiserver(vec![at("1")]);
    let changed = Named::default().ask(&client, &keys()).await.unwrap();
    assert_eq!((changed.namespace().as_deref(), changed.name_any().as_str()), (Some("shop"), "keys"));
    assert_eq!(*asked.lock().unwrap(), ["GET /api/v1/namespaces/shop/configmaps/keys metadata"]);
}

#[tokio::test]
async fn the_first_answer_a_change_a_deletion_and_a_return_wake_and_what_is_as_it_was_does_not() {
    let gone = || refused(404, "NotFound");
    let answers = vec![at("1"), at("1"), at("2"), at("2"), gone(), gone(), at("3")];
    assert_eq!(woken(answers).await, [true, false, true, false, true, false, true]);
}

#[tokio::test]
async fn silence_wakes_nobody_and_the_answer_after_it_does_for_a_pass_may_have_met_the_silence() {
    let silent = || refused(403, "Forbidden");
    assert_eq!(
        woken(vec![silent(), at("1"), silent(), silent(), at("1"), at("1")]).await,
        [false, true, false, false, true, false]
    );
}

#[tokio::test]
async fn what_is_no_longer_named_is_forgotten_and_counts_as_new_when_it_is_named_again() {
    let (client, _) = apiserver(vec![at("1")]);
    let mut known = Named::default();
    assert!(known.ask(&client, &keys()).await.is_some());
    known.keep(&BTreeSet::from([keys()]));
    assert!(known.ask(&client, &keys()).await.is_none());
    known.keep(&BTreeSet::new());
    assert!(known.ask(&client, &keys()).await.is_some());
}

#[tokio::test]
async fn what_a_pass_could_not_read_is_news_at_the_next_question_though_nothing_changed_here() {
    let doubts = Doubts::default();
    let mut known = Named::new(doubts.clone());
    let (client, _) = apiserver(vec![at("1"), at("1"), refused(503, "Silent"), at("1"), at("1")]);
    let mut woken = Vec::new();
    for doubted in [false, true, true, false, false] {
        if doubted {
            doubts.add("shop", "keys");
        }
        woken.push(known.ask(&client, &keys()).await.is_some());
    }
    // In doubt twice: the first time the answer is there, the second time after a silence of its own.
    assert_eq!(woken, [true, true, false, true, false]);
    doubts.add("shop", "keys");
    known.keep(&BTreeSet::new());
    known.keep(&BTreeSet::from([keys()]));
    let mut others = Named::new(doubts);
    assert!(others.ask(&client, &keys()).await.is_some());
    assert!(others.ask(&client, &keys()).await.is_none(), "a doubt about what nobody names any more is gone");
}

/// What the loop asks in so many rounds, and how many changes each listener was told of.
async fn asked_in(rounds: Vec<BTreeSet<Name>>) -> (Vec<String>, Vec<usize>) {
    let (client, asked) = apiserver(vec![at("1")]);
    let n_rounds = rounds.len();
    let n_begun = AtomicUsize::new(0);
    let names = || rounds[n_begun.fetch_add(1, Ordering::SeqCst)].clone();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| unbounded()).unzip();
    let ticks = futures::stream::iter(vec![(); n_rounds]);
    let Ok(listeners) = <[_; 3]>::try_from(senders) else { panic!("three listeners") };
    ask_each_round(&client, Named::default(), names, listeners, ticks).await;
    assert_eq!(n_begun.load(Ordering::SeqCst), n_rounds, "each tick is a round");
    let mut n_told = Vec::new();
    for receiver in receivers {
        n_told.push(receiver.collect::<Vec<_>>().await.len());
    }
    let asked = asked.lock().unwrap().clone();
    (asked, n_told)
}

#[tokio::test]
async fn the_loop_asks_nothing_in_a_round_in_which_no_config_map_is_named() {
    let (none, keys) = (BTreeSet::new(), BTreeSet::from([keys()]));
    assert_eq!(asked_in(vec![none.clone(); 5]).await, (Vec::new(), vec![0; 3]));
    // The same loop does ask where one is named, once a round, and stops when it is not any more.
    let question = "GET /api/v1/namespaces/shop/configmaps/keys metadata".to_owned();
    let rounds = vec![none.clone(), keys.clone(), keys, none.clone(), none];
    assert_eq!(asked_in(rounds).await, (vec![question; 2], vec![1; 3]));
}

fn watched<K>(objects: &[Value]) -> Store<DeserializeGuard<K>>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + 'static,
{
    let (store, mut writer) = reflector::store();
    for object in objects {
        writer.apply_watcher_event(&Event::Apply(serde_json::from_value(object.clone()).unwrap()));
    }
    store
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "rollforward.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

#[tokio::test]
async fn a_namespace_names_the_config_maps_of_decisions_policies_and_roots_and_none_where_they_have_none() {
    let named = |key: Value, root: Value| {
        let authorities = json!([{"name": "ci", "key": key}]);
        let decision = object("VerificationPolicy", "acme", json!({"authorities": authorities}));
        let own = json!({"targets": [{"kind": "Deployment", "name": "web"}],
            "verification": {"authorities": authorities}});
        let stores = TrustStores {
            policies: watched(&[decision, object("VerificationPolicy", "silent", json!({}))]),
            roots: watched(&[object("TrustRoot", "acme", root)]),
            exceptions: watched(&[]),
            doubts: Doubts::default(),
        };
        let policies = [object("UpdatePolicy", "web", own)];
        let named = stores.named(&watched(&policies));
        named.into_iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect::<Vec<_>>()
    };
    let nothing = named(json!({"inline": "-----BEGIN PUBLIC KEY-----"}), json!({"publicGood": {}}));
    assert_eq!(nothing, Vec::<String>::new());
    let map = |name: &str| json!({"configMap": {"name": name, "key": "x"}});
    assert_eq!(named(map("keys"), json!({"trustedRoot": map("roots")})), ["shop/keys", "shop/roots"]);
}
