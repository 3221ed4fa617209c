//! What is written to StatefulSets, DaemonSets and CronJobs, on the real apiserver and its native controllers; no node.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::operator;
use e2e::shop::{PATIENCE, Shop};
use e2e::wait::{Seen, wait_until};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial(
            "a StatefulSet in mid-run: the user's own partition is kept below, and given back with the image",
            set,
        ),
        trial("without an operator `rollforward restore` gives a StatefulSet's partition back", set_restored),
        trial(
            "a CronJob's image is written by us alone, and a suspended one is switched without a watch",
            cron,
        ),
        trial(
            "a DaemonSet for no node is set; one that nodes cannot do without is moved only by its name",
            daemon_set,
        ),
        trial(
            "an OnDelete StatefulSet is held as CanaryImpossible, with the field that stands against it",
            on_delete,
        ),
    ]
}

fn read(shop: &Shop, what: &[&str]) -> anyhow::Result<Value> {
    let all: Vec<&str> = ["get", "--show-managed-fields"]
        .into_iter()
        .chain(what.iter().copied())
        .chain(["-o", "json"])
        .collect();
    Ok(serde_json::from_str(&shop.kubectl(&all)?)?)
}

fn policy(shop: &Shop, target: &str, more: &str) -> anyhow::Result<()> {
    let yaml = format!(
        "apiVersion: rollforward.dev/v1alpha1
kind: UpdatePolicy
metadata: {{name: web}}
spec:
  targets: [{{{target}}}]
  schedule: {{interval: 1s}}
  verification: {{unsigned: Allow, soak: {{unsigned: 0s}}}}
  rollout: {{bake: 2s, deadline: 10m, steps: [1, \"100%\"]{more}}}
"
    );
    shop.cluster.apply(&shop.namespace, &yaml).map(drop)
}

/// Four pods at once, for no pod is ever Ready here; the user keeps the first back.
async fn stateful_set(cluster: &Arc<Cluster>, name: &str, strategy: &str) -> anyhow::Result<Shop> {
    let mut shop = Shop::open(cluster, name).await?;
    let yaml = format!(
        "apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: web}}
spec:
  replicas: 4
  serviceName: web
  podManagementPolicy: Parallel
  updateStrategy: {strategy}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: app, image: \"{}:1.0.0\"}}]
",
        shop.full_repository()
    );
    shop.cluster.apply(&shop.namespace, &yaml)?;
    wait_until("4 pods to be made", PATIENCE, || async {
        let set = read(&shop, &["statefulset", "web"])?;
        let made = set["status"]["replicas"].as_i64();
        Ok(if made == Some(4) { Seen::Yes(()) } else { Seen::NotYet(set["status"].to_string()) })
    })
    .await?;
    shop.start_operator("").await?;
    Ok(shop)
}

const OWN: &str = "{type: RollingUpdate, rollingUpdate: {partition: 1}}";
const SET: &str = "apiVersion: apps/v1, kind: StatefulSet, name: web";

async fn in_canary(cluster: &Arc<Cluster>, name: &str) -> anyhow::Result<Shop> {
    let shop = stateful_set(cluster, name, OWN).await?;
    policy(&shop, SET, "")?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    shop.wait_state("Canary").await?;
    let set = read(&shop, &["statefulset", "web"])?;
    ensure!(partition(&set) == Some(3), "the partition is {:?}", partition(&set));
    ensure!(image(&set).contains(":1.0.1@sha256:"), "the image is {}", image(&set));
    Ok(shop)
}

fn partition(set: &Value) -> Option<i64> {
    set["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_i64()
}

fn image(object: &Value) -> String {
    let image = &object["spec"]["template"]["spec"]["containers"][0]["image"];
    image.as_str().unwrap_or_default().to_owned()
}

fn is_as_before(shop: &Shop) -> anyhow::Result<()> {
    let set = read(shop, &["statefulset", "web"])?;
    ensure!(partition(&set) == Some(1), "the partition is {:?}", partition(&set));
    ensure!(image(&set).ends_with(":1.0.0"), "the image is {}", image(&set));
    let annotation = &set["metadata"]["annotations"]["rollforward.dev/run"];
    ensure!(annotation.is_null(), "the annotation {annotation} is left");
    ensure!(set["spec"]["minReadySeconds"].as_i64().unwrap_or(0) == 0, "minReadySeconds was touched");
    Ok(())
}

async fn set(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let shop = in_canary(&cluster, "set-partition").await?;
    shop.kubectl(&["delete", "updatepolicy", "web", "--timeout=60s"])?;
    is_as_before(&shop)?;
    shop.close()
}

async fn set_restored(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = in_canary(&cluster, "set-restored").await?;
    shop.operator.take().context("started")?.kill()?;
    let binary = operator::binary()?;
    let output =
        operator::command(&binary, cluster.kubeconfig(), &["restore", "--namespace", "set-restored"])?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.contains(": StatefulSet/web restored"), "{said}");
    is_as_before(&shop)?;
    shop.close()
}

async fn on_delete(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let shop = stateful_set(&cluster, "set-on-delete", "{type: OnDelete}").await?;
    policy(&shop, SET, "")?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let says = shop.wait_condition("Blocked", "True", "CanaryImpossible").await?;
    ensure!(
        says.contains("updateStrategy OnDelete, which replaces a pod only when its owner deletes it"),
        "{says}"
    );
    shop.close()
}

async fn cron(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "cron-suspended").await?;
    let yaml = format!(
        "apiVersion: batch/v1
kind: CronJob
metadata: {{name: web}}
spec:
  schedule: \"0 0 1 1 *\"
  suspend: true
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{{name: app, image: \"{}:1.0.0\"}}]
",
        shop.full_repository()
    );
    shop.cluster.apply(&shop.namespace, &yaml)?;
    shop.start_operator("").await?;
    policy(&shop, "apiVersion: batch/v1, kind: CronJob, name: web", "")?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    let digest = shop.push("1.0.1", Image::new("1.0.1")).await?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(
        reason == "RolledForward" && message == "1.0.1 is set; suspended: nothing to observe",
        "{reason}: {message}"
    );
    let cron = read(&shop, &["cronjob", "web"])?;
    let image = &cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"];
    ensure!(image.as_str().unwrap_or_default().ends_with(&digest), "the image is {image}");
    let ours: Vec<&Value> = cron["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry["manager"] == "rollforward")
        .collect();
    let pods = "/fieldsV1/f:spec/f:jobTemplate/f:spec/f:template/f:spec/f:containers";
    ensure!(ours.len() == 1 && ours[0].pointer(pods).is_some(), "{ours:?}");
    let fields = ours[0]["fieldsV1"].to_string();
    ensure!(fields.contains("f:image") && !fields.contains("f:schedule"), "{fields}");
    shop.close()
}

async fn daemon_set(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "daemon-critical").await?;
    let yaml = format!(
        "apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: web, labels: {{app: web}}}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      priorityClassName: system-node-critical
      containers: [{{name: app, image: \"{}:1.0.0\"}}]
",
        shop.full_repository()
    );
    shop.cluster.apply(&shop.namespace, &yaml)?;
    shop.start_operator("").await?;
    policy(&shop, "apiVersion: apps/v1, kind: DaemonSet, selector: {matchLabels: {app: web}}", "")?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let says = shop.wait_condition("UpToDate", "False", "NodeCritical").await?;
    ensure!(says.contains("DaemonSet/web: node-critical, matched by labels only"), "{says}");
    policy(&shop, "apiVersion: apps/v1, kind: DaemonSet, name: web", "")?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(
        reason == "RolledForward" && message == "1.0.1 is set; 0 replicas: nothing to observe",
        "{reason}: {message}"
    );
    shop.close()
}
