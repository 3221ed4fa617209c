//! Workloads that the real Argo Rollouts and the real Flagger roll out: the image is set, their verdict is read. Pods are simulated.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::delegates::Controller;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::shop::{PATIENCE, Shop, image, tail};
use e2e::simulated::{Life, Simulated};
use e2e::wait::{Seen, wait_until};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial("delegates: a Rollout's image is set, a pause waits for a person, Healthy ends the run", argo),
        trial(
            "delegates: what Argo Rollouts aborts goes back with its own sentence, quarantined",
            argo_aborts,
        ),
        trial("delegates: the Deployment that a Rollout takes its template from is set alone", workload_ref),
        trial("delegates: Flagger promotes what is set at its target, and what it fails goes back", flagger),
        trial(
            "delegates: Flagger promotes a DaemonSet too, and nothing of ours is held on it",
            flagger_daemon_set,
        ),
    ]
}

const SETTINGS: &str = "  verification: {unsigned: Allow, soak: {unsigned: 0s}}
  rollout: {bake: 2s, deadline: 10m, quarantine: {afterFails: 1}}";

fn policy(shop: &Shop, name: &str, target: &str) -> anyhow::Result<()> {
    policy_every(shop, name, "1s", target)
}

fn policy_every(shop: &Shop, name: &str, interval: &str, target: &str) -> anyhow::Result<()> {
    let yaml = format!(
        "apiVersion: rollforward.dev/v1alpha1
kind: UpdatePolicy
metadata: {{name: {name}}}
spec:
  targets: [{{{target}}}]
  schedule: {{interval: {interval}}}
{SETTINGS}
"
    );
    shop.cluster.apply(&shop.namespace, &yaml).map(drop)
}

/// A template whose pods the simulation takes.
fn template(shop: &Shop) -> String {
    format!(
        "  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      schedulerName: simulated
      containers: [{{name: app, image: \"{}:1.0.0\", ports: [{{containerPort: 8080}}]}}]
",
        shop.full_repository()
    )
}

fn rollout(shop: &Shop, steps: &str, template: &str) -> anyhow::Result<()> {
    let yaml = format!(
        "apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {{name: web}}
spec:
  replicas: 2
  progressDeadlineSeconds: 10
  progressDeadlineAbort: true
  strategy: {{canary: {{steps: {steps}}}}}
{template}"
    );
    shop.cluster.apply(&shop.namespace, &yaml).map(drop)
}

fn read(shop: &Shop, what: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&shop.kubectl(&["get", what, "--show-managed-fields", "-o", "json"])?)?)
}

fn image_of(object: &Value) -> String {
    let image = &object["spec"]["template"]["spec"]["containers"][0]["image"];
    image.as_str().unwrap_or_default().to_owned()
}

/// Waits for a field of an object's status.
async fn wait_status(
    shop: &Shop,
    what: &str,
    field: &str,
    wanted: &str,
    log: &Controller,
) -> anyhow::Result<()> {
    wait_until(&format!("{what} to have {field} {wanted}"), PATIENCE, || async {
        let status = read(shop, what)?["status"].clone();
        let is_there = status[field].as_str() == Some(wanted);
        Ok(if is_there { Seen::Yes(()) } else { Seen::NotYet(format!("{status} {}", tail(&log.log()))) })
    })
    .await
}

/// Waits until a policy has a condition with this reason that says this.
async fn says(shop: &Shop, policy: &str, reason: &str, words: &str) -> anyhow::Result<()> {
    wait_until(&format!("policy {policy} to say {words:?}"), PATIENCE, || async {
        let status = shop.read_policy(policy).await?.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let is_there = conditions.iter().any(|one| one.reason == reason && one.message.contains(words));
        Ok(if is_there { Seen::Yes(()) } else { Seen::NotYet(format!("{conditions:?}")) })
    })
    .await
}

/// A shop whose 1.0.0 is known to a simulation of pods.
async fn opened(cluster: &Arc<Cluster>, name: &str) -> anyhow::Result<(Shop, Simulated)> {
    let shop = Shop::open(cluster, name).await?;
    let simulated = Simulated::start(cluster).await?;
    let digest = shop.push("1.0.0", Image::new("1.0.0")).await?;
    simulated.know(&format!("{}:1.0.0", shop.full_repository()), &digest, Life::Ready);
    Ok((shop, simulated))
}

async fn push(shop: &Shop, simulated: &Simulated, tag: &str, life: Life) -> anyhow::Result<String> {
    // Known before it is there: the operator may be faster than we are.
    let image = format!("{}:{tag}", shop.full_repository());
    simulated.know(&image, &format!("sha256:{}", "0".repeat(64)), life);
    let digest = shop.push(tag, Image::new(tag)).await?;
    simulated.know(&image, &digest, life);
    Ok(digest)
}

/// Demands that of the workload we wrote the images and nothing else.
fn only_images(object: &Value) -> anyhow::Result<()> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let ours: Vec<&Value> = entries.iter().filter(|entry| entry["manager"] == "rollforward").collect();
    ensure!(ours.len() == 1, "{ours:?}");
    let spec = &ours[0]["fieldsV1"]["f:spec"];
    let keys = |value: &Value| -> Vec<String> {
        value.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
    };
    ensure!(keys(spec) == ["f:template"], "{spec}");
    ensure!(ours[0]["fieldsV1"]["f:metadata"].is_null(), "{ours:?}");
    let template = spec["f:template"].to_string();
    ensure!(template.contains("f:image") && !template.contains("f:schedulerName"), "{template}");
    Ok(())
}

const ROLLOUT: &str = "apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: web";
const DEPLOYMENT: &str = "apiVersion: apps/v1, kind: Deployment, name: web";

async fn argo(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (mut shop, simulated) = opened(&cluster, "argo-good").await?;
    let argo = Controller::argo(&cluster, &shop.namespace).await?;
    rollout(&shop, "[{setWeight: 50}, {pause: {}}]", &template(&shop))?;
    wait_status(&shop, "rollout/web", "phase", "Healthy", &argo).await?;
    shop.start_operator("").await?;
    policy(&shop, "web", ROLLOUT)?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    let digest = push(&shop, &simulated, "1.0.1", Life::Ready).await?;
    shop.wait_says(
        "UpToDate",
        "DelegatePaused",
        &[
            "expected the verdict of Argo Rollouts (Rollout/web), observed Rollout/web is paused at step 2 of 2 (CanaryPauseStep) since ",
            " without an end; a person goes on with `kubectl argo rollouts promote web`. Nothing is rolled back by a pause.",
        ],
    )
    .await?;
    let object = read(&shop, "rollout/web")?;
    ensure!(image_of(&object).ends_with(&digest), "{}", image_of(&object));
    only_images(&object)?;
    // What `kubectl argo rollouts promote` writes.
    let promote = "{\"status\":{\"pauseConditions\":null}}";
    shop.kubectl(&["patch", "rollout", "web", "--subresource=status", "--type=merge", "-p", promote])?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(
        reason == "RolledForward"
            && message == "1.0.1 is rolled out: Rollout/web is Healthy, and its stable pods are the new ones",
        "{reason}: {message}"
    );
    let object = read(&shop, "rollout/web")?;
    ensure!(object["status"]["stableRS"] == object["status"]["currentPodHash"], "{}", object["status"]);
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    drop(argo);
    shop.close()
}

async fn argo_aborts(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (mut shop, simulated) = opened(&cluster, "argo-bad").await?;
    let argo = Controller::argo(&cluster, &shop.namespace).await?;
    rollout(&shop, "[{setWeight: 50}]", &template(&shop))?;
    wait_status(&shop, "rollout/web", "phase", "Healthy", &argo).await?;
    shop.start_operator("").await?;
    policy(&shop, "web", "apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: web")?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    push(&shop, &simulated, "1.0.1", Life::Crashes(78)).await?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "DelegateFailed", "{reason}: {message}");
    // Its own sentence, which says no more than that; and what a new pod showed before it was gone.
    ensure!(
        message.starts_with("expected Argo Rollouts to promote it, observed Rollout/web is Degraded: ")
            && message.contains("; pod web-")
            && message.contains(" showed CrashExit, "),
        "{message}"
    );
    let object = read(&shop, "rollout/web")?;
    ensure!(image_of(&object).ends_with(":1.0.0"), "{}", image_of(&object));
    shop.wait_says("UpToDate", "DelegateFailed", &["1.0.1 is quarantined"]).await?;
    // With the old image back the Rollout is Healthy again, and nothing of the abort is left.
    wait_status(&shop, "rollout/web", "phase", "Healthy", &argo).await?;
    // The next version goes its way: the verdict of the last one is not taken for its own.
    push(&shop, &simulated, "1.0.2", Life::Ready).await?;
    let (reason, message) = shop.wait_run("1.0.2").await?;
    ensure!(reason == "RolledForward", "{reason}: {message}");
    drop(argo);
    shop.close()
}

async fn workload_ref(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (mut shop, simulated) = opened(&cluster, "argo-ref").await?;
    let argo = Controller::argo(&cluster, &shop.namespace).await?;
    let deployment = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: 0\n{}",
        template(&shop)
    );
    shop.cluster.apply(&shop.namespace, &deployment)?;
    rollout(
        &shop,
        "[{setWeight: 50}]",
        "  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}\n",
    )?;
    wait_status(&shop, "rollout/web", "phase", "Healthy", &argo).await?;
    shop.start_operator("").await?;
    policy(&shop, "itself", ROLLOUT)?;
    let elsewhere = "its template is that of Deployment/web, by `workloadRef`; name that as the target";
    says(&shop, "itself", "NoContainerMatches", elsewhere).await?;
    // Held while the Rollout is not at rest, by a policy that looks once an hour: what it says wakes the policy.
    let pause = |paused: bool| {
        let patch = format!("{{\"spec\":{{\"paused\":{paused}}}}}");
        shop.kubectl(&["patch", "rollout", "web", "--type=merge", "-p", &patch])
    };
    pause(true)?;
    wait_status(&shop, "rollout/web", "phase", "Paused", &argo).await?;
    let digest = push(&shop, &simulated, "1.0.1", Life::Ready).await?;
    policy_every(&shop, "web", "1h", DEPLOYMENT)?;
    let paused =
        "expected Argo Rollouts (Rollout/web) at rest, observed Rollout/web is Paused: manually paused";
    says(&shop, "web", "DelegateBusy", paused).await?;
    pause(false)?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "RolledForward" && message.contains("Rollout/web is Healthy"), "{reason}: {message}");
    policy(&shop, "web", DEPLOYMENT)?;
    let workload = shop.read_workload().await?;
    ensure!(image(&workload).ends_with(&digest), "{}", image(&workload));
    shop.assert_no_held_field().await?;
    only_images(&read(&shop, "deployment/web")?)?;
    push(&shop, &simulated, "1.0.2", Life::Pending).await?;
    let (reason, message) = shop.wait_run("1.0.2").await?;
    // The controller says that it timed out a moment before it says that it aborts.
    let told = ["RolloutAborted", "ProgressDeadlineExceeded"].iter().any(|word| message.contains(word));
    ensure!(reason == "DelegateFailed" && told, "{reason}: {message}");
    ensure!(image(&shop.read_workload().await?).ends_with(&digest), "the old image is not back");
    drop(argo);
    shop.close()
}

/// A Canary of one analysis for the workload of this kind.
fn canary(shop: &Shop, kind: &str) -> anyhow::Result<()> {
    let yaml = format!(
        "apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {{name: web}}
spec:
  targetRef: {{apiVersion: apps/v1, kind: {kind}, name: web}}
  progressDeadlineSeconds: 5
  service: {{port: 8080}}
  analysis: {{interval: 10s, threshold: 1, iterations: 1}}
"
    );
    shop.cluster.apply(&shop.namespace, &yaml).map(drop)
}

async fn flagger_daemon_set(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (mut shop, simulated) = opened(&cluster, "flagger-daemon").await?;
    let flagger = Controller::flagger(&cluster, &shop.namespace).await?;
    let rolling = "  updateStrategy: {rollingUpdate: {maxUnavailable: 2}}";
    let daemon_set = format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: web}}\nspec:\n{rolling}\n{}",
        template(&shop)
    );
    shop.cluster.apply(&shop.namespace, &daemon_set)?;
    canary(&shop, "DaemonSet")?;
    shop.start_operator("").await?;
    wait_status(&shop, "canary/web", "phase", "Initialized", &flagger).await?;
    policy(&shop, "web", "apiVersion: apps/v1, kind: DaemonSet, name: web")?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    let good = push(&shop, &simulated, "1.0.1", Life::Ready).await?;
    let observed = "expected the verdict of Flagger (Canary/web), observed Canary/web is Progressing";
    shop.wait_says("UpToDate", "DelegateWatching", &[observed]).await?;
    let own = read(&shop, "daemonset/web")?;
    ensure!(own["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == 2, "held: {own}");
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(
        reason == "RolledForward" && message.starts_with("1.0.1 is rolled out: Canary/web is Succeeded: "),
        "{reason}: {message}"
    );
    let primary = read(&shop, "daemonset/web-primary")?;
    ensure!(image_of(&primary).ends_with(&good), "{}", image_of(&primary));
    only_images(&read(&shop, "daemonset/web")?)?;
    drop(flagger);
    shop.close()
}

async fn flagger(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (mut shop, simulated) = opened(&cluster, "flagger-real").await?;
    let flagger = Controller::flagger(&cluster, &shop.namespace).await?;
    let deployment = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: 1\n  progressDeadlineSeconds: 600\n{}",
        template(&shop)
    );
    shop.cluster.apply(&shop.namespace, &deployment)?;
    canary(&shop, "Deployment")?;
    shop.start_operator("").await?;
    policy(&shop, "web", DEPLOYMENT)?;
    wait_status(&shop, "canary/web", "phase", "Initialized", &flagger).await?;
    policy(&shop, "primary", "apiVersion: apps/v1, kind: Deployment, name: web-primary")?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    let good = push(&shop, &simulated, "1.0.1", Life::Ready).await?;
    shop.wait_says(
        "UpToDate",
        "DelegateWatching",
        &["expected the verdict of Flagger (Canary/web), observed Canary/web is Progressing"],
    )
    .await?;
    // The copy that serves is Flagger's own.
    let kept =
        "observed Deployment/web-primary kept by Flagger (Canary/web). Name Deployment/web as the target";
    says(&shop, "primary", "ManagedByRollouts", kept).await?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(
        reason == "RolledForward"
            && message
                == "1.0.1 is rolled out: Canary/web is Succeeded: Canary analysis completed successfully, promotion finished",
        "{reason}: {message}"
    );
    let primary = read(&shop, "deployment/web-primary")?;
    ensure!(image_of(&primary).ends_with(&good), "{}", image_of(&primary));
    only_images(&read(&shop, "deployment/web")?)?;
    shop.assert_no_held_field().await?;
    push(&shop, &simulated, "1.0.2", Life::Crashes(78)).await?;
    let (reason, message) = shop.wait_run("1.0.2").await?;
    ensure!(
        reason == "DelegateFailed"
            && message.starts_with("expected Flagger to promote it, observed Canary/web is Failed: Canary analysis failed, Deployment scaled to zero; its last warning: "),
        "{reason}: {message}"
    );
    ensure!(image(&shop.read_workload().await?).ends_with(&good), "the old image is not back");
    shop.wait_says("UpToDate", "DelegateFailed", &["1.0.2 is quarantined"]).await?;
    // The image that serves is no new revision for Flagger: it stays where it is, and is at rest for the next version.
    let log = flagger.log();
    push(&shop, &simulated, "1.0.3", Life::Ready).await?;
    let (reason, message) = shop.wait_run("1.0.3").await?;
    ensure!(reason == "RolledForward", "{reason}: {message}");
    let after = flagger.log().split_off(log.len());
    let begun = after.matches("New revision detected! Scaling up").count();
    ensure!(begun == 1, "{begun} analyses for one new version: {}", tail(&after));
    let operator = shop.operator.as_ref().context("started")?.log();
    ensure!(!operator.contains("panicked"), "{}", tail(&operator));
    drop(flagger);
    shop.close()
}
