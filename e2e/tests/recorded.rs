//! What Kubernetes really shows of each cause, kept as files that the controller's tests read: no operator has a part here.
//!
//! Without `ROLLFORWARD_RECORD` what is seen is compared with the files by its decisive words, so that a drift of wording is
//! noticed on an upgrade. With it, a folder from the project's root, the files are written anew. They are normalised: every
//! uid, time, digest and container id is one and the same (digests are told apart within a file), so is a back-off and a count of restarts; addresses and
//! ports of the cluster, addresses of pods, the port of a caller, the cluster's folder, the end of a generated name, names
//! of the runtime's own mounts, what a node has and uses. A
//! cordoned node is written as a tainted one. Managed fields, defaults and Events of what went well are left
//! out; Events are in the order of their words. The rows: `recorded/causes.rs`. On a cluster of its own: sixty pods at once
//! leave no trial beside them its time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

#[path = "recorded/causes.rs"]
mod causes;
#[path = "recorded/places.rs"]
mod places;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use e2e::cluster::{Cluster, Options};
use e2e::harness::{self, measured, trial};
use e2e::recorded::{Normal, Until, check};
use e2e::wait::{Seen, wait_until};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, EvictParams, GroupVersionKind, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use causes::{CAUSES, Cause, Kind, Then};
use places::Places;

/// How many objects there are at once: each pod costs two cores a moment.
const AT_ONCE: usize = 60;
/// Longer than the slowest cause takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(240);
/// A node that enforces AppArmor loads the profile or says something else: recorded from one that does not.
const WITHOUT_APPARMOR: &str = "refused-apparmor";

fn main() -> ExitCode {
    let all = trial("what Kubernetes shows of each cause is as it was recorded", recorded);
    harness::main(Options { nodes: 2, parts: &[] }, vec![all])
}

async fn recorded(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let begun = Instant::now();
    let into = std::env::var_os("ROLLFORWARD_RECORD");
    let into = into.map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder));
    if let Some(folder) = &into {
        std::fs::create_dir_all(folder)?;
    }
    let places = Places::prepare(&cluster).await?;
    let prepared = begun.elapsed().as_secs_f64();
    let client = cluster.client().await?;
    if let Some(folder) = &into {
        versions(&client, folder).await?;
    }
    let mut all = All { client, normal: places.normal(&cluster), into, faults: Vec::new(), took: Vec::new() };
    all.answers(&cluster).await?;
    let missed = all.watch(&places).await?;
    places::remove(&cluster)?;
    all.took.sort_unstable_by(|one, other| other.cmp(one));
    all.took.truncate(8);
    measured(json!({
        "slowest": all.took,
        "recorded": CAUSES.len() + 2, "seconds": begun.elapsed().as_secs_f64(), "seconds_to_prepare": prepared,
    }));
    ensure!(all.faults.is_empty() && missed.is_empty(), "{}", [all.faults, missed].concat().join("\n"));
    Ok(())
}

/// From which versions the files are.
async fn versions(client: &Client, folder: &Path) -> anyhow::Result<()> {
    let node = Api::<Node>::all(client.clone()).get("node-a").await?;
    let info = node.status.and_then(|status| status.node_info).unwrap_or_default();
    let versions = json!({"kubelet": info.kubelet_version, "runtime": info.container_runtime_version});
    Ok(std::fs::write(
        folder.join("versions.json"),
        format!("{}\n", serde_json::to_string_pretty(&versions)?),
    )?)
}

struct All {
    client: Client,
    normal: Normal,
    into: Option<PathBuf>,
    faults: Vec<String>,
    took: Vec<(u64, &'static str)>,
}

/// A cause whose object is there.
struct Active {
    cause: &'static Cause,
    acted: bool,
    last: Value,
    since: Instant,
}

impl All {
    /// What the apiserver answers at once: the words that a controller gets and passes on.
    async fn answers(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let pod =
            json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "app", "image": "x:1"}]}});
        let pod: Pod = serde_json::from_value(pod)?;
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.delete("recorded-ending", &DeleteParams::default()).await?;
        wait_until("the namespace to end", DEADLINE, || async {
            let phase = namespaces.get("recorded-ending").await?.status.and_then(|status| status.phase);
            Ok(if phase.as_deref() == Some("Terminating") {
                Seen::Yes(())
            } else {
                Seen::NotYet(format!("{phase:?}"))
            })
        })
        .await?;
        let mut nobody = Kubeconfig::read_from(cluster.kubeconfig())?;
        for user in nobody.auth_infos.iter_mut().filter_map(|one| one.auth_info.as_mut()) {
            user.impersonate = Some("system:serviceaccount:recorded:nobody".to_owned());
        }
        let nobody = Config::from_custom_kubeconfig(nobody, &KubeConfigOptions::default()).await?;
        let asked = [
            ("create-ending", self.client.clone(), "recorded-ending"),
            ("create-rights", Client::try_from(nobody)?, "recorded"),
        ];
        for (name, client, namespace) in asked {
            let answer = Api::<Pod>::namespaced(client, namespace).create(&PostParams::default(), &pod).await;
            let Err(kube::Error::Api(status)) = answer else {
                anyhow::bail!("{name}: not refused: {answer:?}")
            };
            self.keep(name, Until::Answered, &json!({"answer": status}));
        }
        Ok(())
    }

    fn keep(&mut self, name: &str, until: Until, seen: &Value) {
        if let Err(fault) = check(name, until, &self.normal.of(seen), self.into.as_deref()) {
            self.faults.push(format!("{fault:#}"));
        }
    }

    /// Makes the objects, some at once, and keeps what is seen of each once it is decisive. Answers what never was.
    async fn watch(&mut self, places: &Places) -> anyhow::Result<Vec<String>> {
        let begun = Instant::now();
        let enforces = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
        let here = |cause: &&Cause| cause.name != WITHOUT_APPARMOR || enforces.trim() != "Y";
        let mut waiting = CAUSES.iter().filter(here);
        let mut active: Vec<Active> = Vec::new();
        while begun.elapsed() < DEADLINE {
            while active.len() < AT_ONCE
                && let Some(cause) = waiting.next()
            {
                self.make(&cause.object(&|text| places.fill(text))?).await?;
                active.push(Active { cause, acted: false, last: Value::Null, since: Instant::now() });
            }
            if active.is_empty() {
                return Ok(Vec::new());
            }
            self.look(&mut active, places).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(active
            .iter()
            .map(|one| format!("{} was not seen; last: {}", one.cause.name, self.normal.of(&one.last)))
            .collect())
    }

    async fn look(&mut self, active: &mut Vec<Active>, places: &Places) -> anyhow::Result<()> {
        let wanted: BTreeSet<(&str, &str)> =
            active.iter().map(|one| (one.cause.namespace, kind(one.cause.kind).1)).collect();
        let mut objects: Vec<Value> = Vec::new();
        let mut events: Vec<Value> = Vec::new();
        for namespace in wanted.iter().map(|(namespace, _)| *namespace).collect::<BTreeSet<_>>() {
            events.extend(self.list("v1", "Event", namespace).await?);
        }
        for (namespace, name) in wanted {
            let version = if name == "Pod" {
                "v1"
            } else if name == "Job" {
                "batch/v1"
            } else {
                "apps/v1"
            };
            let found = self.list(version, name, namespace).await?;
            objects.extend(found.into_iter().map(|mut object| {
                object["kind"] = json!(name);
                object["apiVersion"] = json!(version);
                object
            }));
        }
        for mut one in std::mem::take(active) {
            let cause = one.cause;
            let found = objects.iter().find(|object| {
                object["metadata"]["name"] == cause.name && object["kind"] == kind(cause.kind).1
            });
            if let Some(object) = found {
                one.last = seen(cause, object, &events);
                if cause.name == "silent-egress" {
                    let policies =
                        self.list("networking.k8s.io/v1", "NetworkPolicy", cause.namespace).await?;
                    one.last["networkPolicies"] = json!(policies);
                }
                if cause.until.words(&one.last).is_some() {
                    self.keep(cause.name, cause.until, &named(&one.last, cause.name));
                    self.took.push((one.since.elapsed().as_secs(), cause.name));
                    self.unmake(cause).await?;
                    continue;
                }
                if !one.acted && object["status"]["phase"] == "Running" {
                    one.acted = self.then(cause, places).await?;
                }
            }
            active.push(one);
        }
        Ok(())
    }

    async fn then(&self, cause: &Cause, places: &Places) -> anyhow::Result<bool> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), cause.namespace);
        match cause.then {
            Then::Nothing => {}
            Then::Evict => drop(pods.evict(cause.name, &EvictParams::default()).await?),
            Then::Preempt => {
                let object = json!({
                    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "preempts", "namespace": cause.namespace},
                    "spec": {"containers": [{"name": "app", "image": places.fill("{registry}/recorded/web:1"),
                                             "resources": {"limits": {"rollforward.dev/token": "1"}}}]},
                });
                self.make(&object).await?;
            }
        }
        Ok(true)
    }

    fn api(&self, version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    async fn list(&self, version: &str, kind: &str, namespace: &str) -> anyhow::Result<Vec<Value>> {
        let found = self.api(version, kind, namespace).list(&kube::api::ListParams::default()).await?;
        Ok(found.items.into_iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
    }

    async fn make(&self, object: &Value) -> anyhow::Result<()> {
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        let namespace = text(&object["metadata"]["namespace"]);
        let api = self.api(&text(&object["apiVersion"]), &text(&object["kind"]), &namespace);
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        Ok(api.create(&PostParams::default(), &object).await.map(drop)?)
    }

    async fn unmake(&self, cause: &Cause) -> anyhow::Result<()> {
        let (version, kind) = kind(cause.kind);
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::background() };
        Ok(self.api(version, kind, cause.namespace).delete(cause.name, &now).await.map(drop)?)
    }
}

fn kind(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Pod => ("v1", "Pod"),
        Kind::ReplicaSet => ("apps/v1", "ReplicaSet"),
        Kind::StatefulSet => ("apps/v1", "StatefulSet"),
        Kind::DaemonSet => ("apps/v1", "DaemonSet"),
        Kind::Job => ("batch/v1", "Job"),
    }
}

/// The object with the Events on it that say more than that all went well.
fn seen(cause: &Cause, object: &Value, events: &[Value]) -> Value {
    let field = match cause.kind {
        Kind::Pod => "pod",
        Kind::ReplicaSet => "replicaSet",
        Kind::StatefulSet => "statefulSet",
        Kind::DaemonSet => "daemonSet",
        Kind::Job => "job",
    };
    let uid = &object["metadata"]["uid"];
    let speaks = |event: &&Value| event["type"] == "Warning" || event["reason"] == "Killing";
    let own = events.iter().filter(|event| event["involvedObject"]["uid"] == *uid).filter(speaks);
    let mut own: Vec<Value> = own
        .map(|event| {
            let mut kept = json!({});
            for field in ["type", "reason", "message", "lastTimestamp", "eventTime"] {
                if !event[field].is_null() {
                    kept[field] = event[field].clone();
                }
            }
            named(&kept, cause.name)
        })
        .collect();
    let words = |event: &Value| format!("{} {}", event["reason"], event["message"]);
    own.sort_by_key(words);
    own.dedup_by_key(|event| words(event));
    json!({field: object, "events": own})
}

/// With the end of generated names cut: `name-x2k4q` is `name-xxxxx`.
fn named(seen: &Value, name: &str) -> Value {
    match seen {
        Value::String(text) => {
            let begin = format!("{name}-");
            let mut parts = text.split(&begin);
            let mut whole = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                let generated =
                    part.get(..5).is_some_and(|end| end.chars().all(|one| one.is_ascii_alphanumeric()));
                let ends =
                    part[5.min(part.len())..].chars().next().is_none_or(|one| !one.is_ascii_alphanumeric());
                let cut = if generated && ends { format!("xxxxx{}", &part[5..]) } else { part.to_owned() };
                whole = format!("{whole}{begin}{cut}");
            }
            json!(whole)
        }
        Value::Array(items) => items.iter().map(|one| named(one, name)).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(field, one)| (field.clone(), named(one, name))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => seen.clone(),
    }
}
