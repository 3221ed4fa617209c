//! A kubelet of no node: pods whose scheduler is `simulated` get the status that their image is said to lead to.
//!
//! For trials without nodes in which runs must come to an end. Such pods are bound to no node, so the apiserver deletes them
//! at once, and the native controllers do everything else. What a real kubelet says is shown on real nodes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// The line below a Deployment's container that hands its pods to the simulation.
pub const SCHEDULER: &str = "      schedulerName: simulated";

/// What becomes of a pod of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It is Ready at once.
    Ready,
    /// It has ended four times with this exit code and waits in back-off.
    Crashes(i32),
    /// It stays Pending.
    Pending,
}

/// The simulation of one cluster; it ends when this is dropped.
pub struct Simulated {
    images: Arc<Mutex<BTreeMap<String, (String, Life)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Simulated {
    /// Begins to watch the pods of all namespaces.
    pub async fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let client = cluster.client().await?;
        let images: Arc<Mutex<BTreeMap<String, (String, Life)>>> = Arc::default();
        let known = Arc::clone(&images);
        let task = tokio::spawn(async move {
            let config = watcher::Config::default().fields("spec.schedulerName=simulated");
            let pods = watcher(Api::<Pod>::all(client.clone()), config).default_backoff().applied_objects();
            pods.for_each(|pod| live(&client, &known, pod.ok())).await;
        });
        Ok(Self { images, task })
    }

    /// Says which digest `repository:tag` has and what becomes of its pods.
    pub fn know(&self, image: &str, digest: &str, life: Life) {
        self.images.lock().expect("not poisoned").insert(image.to_owned(), (digest.to_owned(), life));
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn live(client: &kube::Client, known: &Mutex<BTreeMap<String, (String, Life)>>, pod: Option<Pod>) {
    let Some(pod) = pod else { return };
    let begun = pod.status.as_ref().is_some_and(|status| status.container_statuses.is_some());
    if begun || pod.metadata.deletion_timestamp.is_some() {
        return;
    }
    let ours = pod.spec.iter().flat_map(|spec| &spec.containers).find(|container| container.name == "app");
    let image = ours.and_then(|container| container.image.clone()).unwrap_or_default();
    let tagged = image.split('@').next().unwrap_or_default();
    let found = known.lock().expect("not poisoned").get(tagged).cloned();
    let Some((digest, life)) = found else { return };
    let repository = tagged.rsplit_once(':').map_or(tagged, |(repository, _)| repository);
    let Some(status) = status(life, &image, &format!("{repository}@{digest}")) else { return };
    let pods = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    // A pod that went away meanwhile needs no status.
    let _ = pods
        .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(json!({"status": status})))
        .await;
}

fn status(life: Life, image: &str, image_id: &str) -> Option<Value> {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (ready, restarts, state, last) = match life {
        Life::Pending => return None,
        Life::Ready => ("True", 0, json!({"running": {"startedAt": now}}), json!({})),
        Life::Crashes(code) => (
            "False",
            3,
            json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}}),
            json!({"terminated": {"exitCode": code, "reason": "Error", "startedAt": now, "finishedAt": now}}),
        ),
    };
    let conditions: Vec<Value> =
        [("PodScheduled", "True"), ("Initialized", "True"), ("ContainersReady", ready), ("Ready", ready)]
            .iter()
            .map(|(kind, value)| json!({"type": kind, "status": value, "lastTransitionTime": now}))
            .collect();
    Some(json!({
        "phase": "Running",
        "startTime": now,
        "conditions": conditions,
        "containerStatuses": [{
            "name": "app", "image": image, "imageID": image_id, "ready": ready == "True", "started": true,
            "restartCount": restarts, "state": state, "lastState": last,
        }],
    }))
}
