//! What a real cluster showed of each cause, read by the product's own code and named by its classifier.
//!
//! The files in `recorded/` are written by `e2e/tests/recorded.rs`, never by hand. `recorded.txt` says of each the
//! code, who is to blame, whether a second try is in vain, and the words that a user reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};

use http::{Request, Response};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::Client;
use kube::client::Body;
use rollforward::kubernetes::logs;
use rollforward::kubernetes::workloads::{Object, Whole, whole};
use rollforward_core::judge::classify::{classify_create_failure, classify_pod};
use rollforward_core::judge::{Blame, Finding};
use serde_json::{Value, json};

const NAMESPACE: &str = "recorded";
/// When everything happened, in the files.
const THEN: &str = "2026-01-01T00:00:00Z";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded")
}

fn fixture(name: &str) -> Value {
    let text = std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
    // What is read of the past counts only for a while.
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    serde_json::from_str(&text.replace(THEN, &now)).unwrap()
}

/// An apiserver that has what was recorded, and of the kind that owns it one object.
fn apiserver(seen: &Value) -> Client {
    let own = |kind: &str, mut object: Value| {
        let owner =
            json!({"apiVersion": "apps/v1", "kind": kind, "name": "web", "uid": "owner", "controller": true});
        object["metadata"]["ownerReferences"] = json!([owner]);
        object
    };
    let set = match &seen["replicaSet"] {
        Value::Null => json!({"metadata": {"name": "web-1"}, "spec": {"replicas": 1}}),
        set => set.clone(),
    };
    let mut pods: Vec<Value> = seen["pod"].as_object().map(|pod| json!(pod)).into_iter().collect();
    for pod in &mut pods {
        let name = &set["metadata"]["name"];
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": "set", "controller": true}]);
    }
    let revision = json!({"metadata": {"name": "web-1"}, "revision": 1, "data": {}});
    let lists: BTreeMap<&str, Value> = BTreeMap::from([
        ("replicasets", json!([own("Deployment", set)])),
        ("controllerrevisions", json!([own("StatefulSet", revision)])),
        (
            "jobs",
            json!(
                seen["job"].as_object().map(|job| own("CronJob", json!(job))).into_iter().collect::<Vec<_>>()
            ),
        ),
        ("pods", json!(pods)),
        ("events", events(seen)),
        ("networkpolicies", seen.get("networkPolicies").cloned().unwrap_or(json!([]))),
    ]);
    let service = tower::service_fn(move |request: Request<Body>| {
        let kind = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let items = lists.get(kind.as_str()).unwrap_or_else(|| panic!("asked for {}", request.uri())).clone();
        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items});
        let body = Body::from(serde_json::to_vec(&list).unwrap());
        async move { Ok::<_, Infallible>(Response::builder().status(200).body(body).unwrap()) }
    });
    Client::new(service, NAMESPACE)
}

/// The Events as the apiserver has them: each with a name and what it is about.
fn events(seen: &Value) -> Value {
    let events = seen["events"].as_array().cloned().unwrap_or_default();
    let whole = events.into_iter().map(|mut event| {
        event["metadata"] = json!({"name": "event"});
        event["involvedObject"] = json!({"name": "web"});
        event
    });
    whole.collect()
}

/// The workload that owns what was recorded.
fn workload(seen: &Value) -> Object {
    let owned = |object: &Value| {
        let mut object = object.clone();
        object["metadata"]["uid"] = json!("owner");
        object
    };
    if seen["statefulSet"].is_object() {
        let set: StatefulSet = serde_json::from_value(owned(&seen["statefulSet"])).unwrap();
        return Object::StatefulSet(Box::new(set));
    }
    if seen["daemonSet"].is_object() {
        let set: DaemonSet = serde_json::from_value(owned(&seen["daemonSet"])).unwrap();
        return Object::DaemonSet(Box::new(set));
    }
    if seen["job"].is_object() {
        let cron = json!({
            "metadata": {"name": "web", "namespace": NAMESPACE, "uid": "owner"},
            "spec": {"schedule": "0 * * * *", "jobTemplate": {}},
        });
        return Object::CronJob(Box::new(serde_json::from_value(cron).unwrap()));
    }
    let deployment = json!({
        "metadata": {"name": "web", "namespace": NAMESPACE, "uid": "owner"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {}},
    });
    let deployment: Deployment = serde_json::from_value(deployment).unwrap();
    Object::Deployment(Box::new(deployment))
}

/// What the product says of a file.
async fn finding(name: &str) -> Option<Finding> {
    let seen = fixture(name);
    // A controller passes the apiserver's answer on as it is.
    if let Some(answer) = seen["answer"]["message"].as_str() {
        return Some(classify_create_failure(answer));
    }
    let client = apiserver(&seen);
    let Whole { workload, revisions, mut pods } = whole(&client, &workload(&seen)).await.unwrap();
    let Some(pod) = pods.first_mut() else {
        let of_job = workload.cron_job().and_then(|cron| cron.jobs.first()?.denied.as_deref());
        let failure = revisions.iter().find_map(|revision| revision.create_failure.as_deref()).or(of_job);
        return failure.map(classify_create_failure);
    };
    pod.egress_policies = logs::egress_policies(&client, NAMESPACE, &pod.name).await;
    classify_pod(pod, &BTreeSet::from(["app".to_owned()]))
}

fn told(finding: Option<&Finding>) -> String {
    let Some(finding) = finding else { return "nothing".to_owned() };
    let blame = match finding.blame {
        Blame::Image => "image",
        Blame::Environment => "environment",
    };
    let certain = if finding.deterministic { " certain" } else { "" };
    format!("{} {blame}{certain} | {}", finding.reason, finding.message)
}

fn names() -> BTreeSet<String> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let names = files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned());
    names.filter(|name| name != "versions").collect()
}

#[tokio::test]
async fn every_recorded_cause_has_its_name_its_blame_and_its_words() {
    let table = include_str!("recorded.txt");
    let mut text: String =
        table.lines().filter(|row| row.starts_with('#')).map(|row| format!("{row}\n")).collect();
    for name in names() {
        text += &format!("{name} => {}\n", told(finding(&name).await.as_ref()));
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded.txt"), &text).unwrap();
        return;
    }
    let rows = |text: &str| -> BTreeSet<String> { text.lines().map(str::to_owned).collect() };
    let (expected, observed) = (rows(table), rows(&text));
    let missing: Vec<&String> = expected.difference(&observed).collect();
    let new: Vec<&String> = observed.difference(&expected).collect();
    assert!(
        missing.is_empty() && new.is_empty(),
        "the table says\n{missing:#?}\nand the product\n{new:#?}\nUPDATE=1 rewrites it: read the difference"
    );
}

/// Only what waits by itself for ever keeps a Job open; an init container that ends is counted like any other program.
#[tokio::test]
async fn every_pod_that_was_recorded_as_pending_waits_but_for_an_init_container_that_ends() {
    let mut n_pending = 0;
    for name in names() {
        let is_pending = fixture(&name)["pod"]["status"]["phase"] == "Pending";
        if let Some(found) = finding(&name).await.filter(|_| is_pending) {
            assert_eq!(found.waits, name != "end-init", "{name}: {found:?}");
            n_pending += 1;
        }
    }
    assert!(50 < n_pending, "{n_pending} files");
}

/// Whether a file shows these words at all, or a container that ended so.
fn is_shown(place: &str, words: &str, texts: &[String], ends: &BTreeSet<String>) -> bool {
    let shown = texts.iter().any(|text| text == words || text.contains(words) && !words.is_empty());
    let (kind, rest) = place.split_once(' ').unwrap_or((place, ""));
    let ended = ["ended", "limited", "stopped", "beside"].contains(&kind) && ends.contains(rest);
    if words.is_empty() { ended } else { shown }
}

/// Every text of a file, and the ends of containers as `code reason`.
fn collect(value: &Value, texts: &mut Vec<String>, ends: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => texts.push(text.trim().replace('\n', " ")),
        Value::Array(items) => items.iter().for_each(|one| collect(one, texts, ends)),
        Value::Object(fields) => {
            if let (Some(code), Some(reason)) = (fields.get("exitCode"), fields.get("reason")) {
                ends.insert(format!("{code} {}", reason.as_str().unwrap_or_default()));
            }
            fields.values().for_each(|one| collect(one, texts, ends));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn what_the_table_of_causes_calls_real_was_recorded() {
    let (mut texts, mut ends) = (Vec::new(), BTreeSet::new());
    names().iter().for_each(|name| collect(&fixture(name), &mut texts, &mut ends));
    let table = include_str!("../../core/tests/tables/classify.txt");
    let rows = table.lines().filter_map(|row| row.strip_prefix("real "));
    let rows = rows.map(|row| row.split_once("=> ").unwrap().0.split_once('|').unwrap());
    let invented: Vec<_> =
        rows.filter(|(place, words)| !is_shown(place.trim(), words.trim(), &texts, &ends)).collect();
    assert!(invented.is_empty(), "no file shows {invented:#?}");
}
