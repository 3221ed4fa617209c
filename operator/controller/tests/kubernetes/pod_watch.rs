//! The pods of open runs: what is asked of the apiserver, what wakes, and when a watch counts as standing.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use rollforward::kubernetes::pod_watch::{PodWatches, PodsOf};
use serde_json::{Value, json};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// What the apiserver was asked, and a watch that is open.
#[derive(Default)]
struct Server {
    asked: Mutex<Vec<String>>,
    open: Mutex<Option<Arc<()>>>,
}

/// An apiserver with one pod: its list has this code, its first watch one change, and the next watch stays open.
fn apiserver(code: u16) -> (Client, Arc<Server>) {
    let server: Arc<Server> = Arc::default();
    let kept = Arc::clone(&server);
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = Arc::clone(&kept);
        async move {
            let accept = request.headers().get(http::header::ACCEPT).unwrap().to_str().unwrap().to_owned();
            let form = if accept.contains("as=PartialObjectMetadata") { "metadata" } else { "whole" };
            let query = request.uri().query().unwrap_or_default().to_owned();
            let is_watch = query.contains("watch=true");
            let n_watches = {
                let mut asked = server.asked.lock().unwrap();
                let labels = query.split('&').find(|part| part.starts_with("labelSelector")).unwrap_or("");
                let verb = if is_watch { "watch" } else { "list" };
                asked.push(format!("{verb} {} {labels} {form}", request.uri().path()));
                asked.iter().filter(|line| line.starts_with("watch")).count()
            };
            if is_watch && 1 < n_watches {
                let open = Arc::new(());
                *server.open.lock().unwrap() = Some(Arc::clone(&open));
                std::future::pending::<()>().await;
                drop(open);
            }
            let body = if is_watch { changed() } else { list(code) };
            let code = if is_watch { 200 } else { code };
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    (Client::new(service, "shop"), server)
}

fn pod(version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"name": "web-1", "namespace": "shop", "resourceVersion": version},
    })
}

fn list(code: u16) -> Value {
    if code == 200 {
        json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": "1"}, "items": [pod("1")],
        })
    } else {
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": "Forbidden", "message": "no"})
    }
}

fn changed() -> Value {
    json!({"type": "MODIFIED", "object": pod("2")})
}

fn wanted() -> BTreeSet<PodsOf> {
    BTreeSet::from([PodsOf { run: "web-1-0-1-abc".to_owned(), labels: "app=web".to_owned() }])
}

/// Waits until something holds; it is asked again whenever other tasks had their turn.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let held = timeout(PATIENCE, async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    });
    held.await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

#[tokio::test]
async fn a_change_of_a_pod_of_an_open_run_wakes_its_policy_and_only_its_own() {
    let (client, server) = apiserver(200);
    let mut watches = PodWatches::default();
    let (mut woken, mut elsewhere) = (watches.listen(Some("shop")), watches.listen(Some("bank")));
    let policy = ("shop", "web");
    assert!(!watches.keep(&client, policy, wanted()), "a watch that has only begun tells nothing yet");
    // The end of the list, and the change.
    for _ in 0..2 {
        let who = timeout(PATIENCE, woken.next()).await.unwrap().unwrap();
        assert_eq!((who.namespace.as_deref(), who.name.as_str()), (Some("shop"), "web"));
    }
    assert!(watches.keep(&client, policy, wanted()), "it stands");
    assert!(elsewhere.try_recv().is_err(), "another namespace is not woken");
    let pods = "/api/v1/namespaces/shop/pods labelSelector=app%3Dweb metadata";
    assert_eq!(server.asked.lock().unwrap()[..2], [format!("list {pods}"), format!("watch {pods}")]);
    // The run ends: so does its watch.
    until("the second watch", || server.open.lock().unwrap().is_some()).await;
    assert!(watches.keep(&client, policy, BTreeSet::new()));
    let open = server.open.lock().unwrap().take().unwrap();
    until("the end of the watch", || Arc::strong_count(&open) == 1).await;
}

#[tokio::test]
async fn a_watch_that_is_refused_does_not_stand_and_another_label_is_another_watch() {
    let (client, server) = apiserver(403);
    let mut watches = PodWatches::default();
    let mut woken = watches.listen(None);
    watches.keep(&client, ("shop", "web"), wanted());
    until("the refused list", || !server.asked.lock().unwrap().is_empty()).await;
    assert!(!watches.keep(&client, ("shop", "web"), wanted()));
    assert!(woken.try_recv().is_err(), "nothing is known of the pods");
    let (client, _) = apiserver(200);
    let other = PodsOf { run: "web-1-0-1-abc".to_owned(), labels: "app=web,tier=front".to_owned() };
    assert!(!watches.keep(&client, ("shop", "web"), BTreeSet::from([other.clone()])));
    timeout(PATIENCE, woken.next()).await.unwrap().unwrap();
    assert!(watches.keep(&client, ("shop", "web"), BTreeSet::from([other])), "the refused one is gone");
}
