//! The main path on real pods: canary beside all old pods, steps, promotion, restarts of the operator, people.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::shop::{Shop, Workload, held};
use e2e::wait::{Seen, wait_until};

const PROBE: &str = "        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}";
const POLICY: &str = "  verification: {unsigned: Allow, soak: {unsigned: 1s}}
  rollout: {bake: 3s, deadline: 2m, quarantine: {afterFails: 1}}";

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial(
            "a patched version is found, watched beside all old pods by steps, and rolled forward pinned",
            steps,
        ),
        trial("kill -9 in mid-canary: the next operator goes on where the cluster shows the run", killed),
        trial(
            "SIGTERM in mid-canary ends the operator cleanly and the run goes on after a restart",
            terminated,
        ),
        trial("a person's rollout undo after promotion is respected until a newer version comes", undone),
        trial(
            "a person's rollout undo in mid-canary ends the run and restores the fields we wrote",
            undone_in_canary,
        ),
    ]
}

async fn shop(cluster: &Arc<Cluster>, name: &str, replicas: u32, policy: &str) -> anyhow::Result<Shop> {
    let mut shop = Shop::open(cluster, name).await?;
    shop.workload(&Workload { replicas, container: PROBE, ..Workload::default() })?;
    shop.wait_available(replicas.try_into()?).await?;
    shop.start_operator("").await?;
    shop.policy(policy)?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    Ok(shop)
}

async fn steps(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let policy = POLICY.replace("bake: 3s", "bake: 3s, steps: [1, \"50%\", \"100%\"]");
    let shop = shop(&cluster, "steps", 4, &policy).await?;
    let digest = shop.push("1.0.1", Image::new("1.0.1")).await?;
    // While the canary is held no old pod goes: old pods are counted at every look.
    let surge = |workload: &k8s_openapi::api::apps::v1::Deployment| {
        serde_json::to_value(workload).unwrap_or_default()["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
            .clone()
    };
    let (widest, fewest) = (AtomicI64::new(0), AtomicI64::new(4));
    wait_until("the canary to end", e2e::shop::PATIENCE, || async {
        let workload = shop.read_workload().await?;
        let held = workload.spec.min_ready_seconds.unwrap_or(0) > 0;
        if held {
            widest.fetch_max(surge(&workload).as_i64().unwrap_or(0), Ordering::Relaxed);
            let available = workload.status.as_ref().and_then(|status| status.available_replicas);
            fewest.fetch_min(available.unwrap_or(0).into(), Ordering::Relaxed);
        }
        let widest = widest.load(Ordering::Relaxed);
        Ok(if widest > 1 && !held { Seen::Yes(()) } else { Seen::NotYet(format!("surge {widest}")) })
    })
    .await?;
    let (widest, fewest_available) = (widest.into_inner(), fewest.into_inner());
    ensure!(widest == 2, "the second step is half of 4 pods, seen {widest}");
    ensure!(fewest_available == 4, "an old pod was removed while held: {fewest_available} of 4 available");
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(
        (reason.as_str(), message.as_str()) == ("RolledForward", "4 of 4 pods run 1.0.1"),
        "{reason}: {message}"
    );
    let image = shop.wait_image(":1.0.1@").await?;
    ensure!(image == format!("{}:1.0.1@{digest}", shop.full_repository()), "{image}");
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    shop.assert_no_held_field().await?;
    for told in ["CanaryStarted: 1.0.0 -> 1.0.1@", "Promoting: 1.0.1@", "RolledForward: 1.0.1@"] {
        shop.wait_event("web", told).await?;
    }
    shop.close()
}

async fn killed(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = shop(&cluster, "killed", 2, POLICY).await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    shop.wait_state("Canary").await?;
    shop.operator.take().context("started")?.kill()?;
    ensure!(!held(&shop.read_workload().await?).is_empty(), "the canary is held without an operator");
    shop.start_operator("").await?;
    let (reason, _) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "RolledForward", "{reason}");
    shop.close()
}

async fn terminated(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = shop(&cluster, "terminated", 2, POLICY).await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    shop.wait_state("Canary").await?;
    let operator = shop.operator.take().context("started")?;
    let status = operator.terminate().await?;
    ensure!(status.success(), "{status}");
    shop.start_operator("").await?;
    let (reason, _) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "RolledForward", "{reason}");
    shop.close()
}

async fn undone(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let shop = shop(&cluster, "undone", 2, POLICY).await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    shop.wait_run("1.0.1").await?;
    shop.kubectl(&["rollout", "undo", "deployment/web"])?;
    let message = shop.wait_condition("Blocked", "True", "HumanRollback").await?;
    ensure!(message.contains("expected 1.0.1 to stay, observed kubectl went back to 1.0.0 at "), "{message}");
    ensure!(
        message.contains("A newer version goes on by itself, or: kubectl rollforward release web."),
        "{message}"
    );
    shop.push("1.0.2", Image::new("1.0.2")).await?;
    let (reason, _) = shop.wait_run("1.0.2").await?;
    ensure!(reason == "RolledForward", "{reason}");
    shop.close()
}

async fn undone_in_canary(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let policy = POLICY.replace("bake: 3s", "bake: 60s");
    let shop = shop(&cluster, "undone-in-canary", 2, &policy).await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    shop.wait_state("Canary").await?;
    shop.kubectl(&["rollout", "undo", "deployment/web"])?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "HumanRollback", "{reason}");
    ensure!(message.starts_with("kubectl went back to 1.0.0 during the run, at "), "{message}");
    shop.wait_condition("Blocked", "True", "HumanRollback").await?;
    shop.assert_no_held_field().await?;
    let released =
        shop.operator.as_ref().context("started")?.command(&["release", "web", "-n", "undone-in-canary"])?;
    ensure!(released.status.success(), "{}", String::from_utf8_lossy(&released.stderr));
    shop.wait_state("Canary").await?;
    shop.close()
}
