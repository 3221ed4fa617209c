//! A policy that cannot be acted on any more while a run of it is open: the run is brought to its end by what it froze, the fault is
//! told beside it, and nothing hangs.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::shop::{PATIENCE, Shop, Workload};
use e2e::simulated::{Life, SCHEDULER, Simulated};
use e2e::wait::{Seen, wait_until};

use crate::canary::in_canary;
use crate::levers::{done, open_run};
use crate::targets::LOOSE;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial(
            "a policy that an edit makes invalid in mid-canary: the canary stays watched, and deleted it gives the workload back",
            edited,
        ),
        trial(
            "a configuration that makes a policy invalid in mid-canary: a canary that crashes is rolled back all the same",
            configured,
        ),
        trial(
            "a policy that cannot be read any more in mid-canary: a person promotes, and deleted it gives the workload back",
            unreadable,
        ),
    ]
}

const INVALID: &str = "InvalidPolicy: spec.rollout: expected bake to be at most deadline; without one of them the operator's default counts";

/// Deletes the policy, which has to go, and demands that image and fields are those from before.
async fn delete(shop: &Shop) -> anyhow::Result<()> {
    shop.kubectl(&["delete", "updatepolicy", "web", "--timeout=30s"])?;
    shop.wait_image(":1.0.0").await?;
    shop.assert_no_held_field().await?;
    shop.wait_event("web", "the policy was deleted").await
}

async fn edited(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "stalled-edit").await?;
    in_canary(&mut shop).await?;
    let edit = r#"{"spec": {"rollout": {"bake": null, "deadline": "5m"}}}"#;
    shop.kubectl(&["patch", "updatepolicy", "web", "--type=merge", "-p", edit])?;
    let told = shop.wait_condition("Stalled", "True", "InvalidPolicy").await?;
    ensure!(told == INVALID, "{told}");
    shop.wait_state("Canary").await?;
    let why = shop.kubectl(&["get", "updatepolicy", "web", "-o", "jsonpath={.status.why}"])?;
    ensure!(why.contains(INVALID) && why.contains("1.0.1"), "{why}");
    delete(&shop).await?;
    shop.close()
}

async fn configured(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "stalled-config").await?;
    let simulated = Simulated::start(&cluster).await?;
    let image = |tag: &str| format!("{}:{tag}", shop.full_repository());
    let (old, new) = (image("1.0.0"), image("1.0.1"));
    let digest = shop.push("1.0.0", Image::new("1.0.0")).await?;
    simulated.know(&old, &digest, Life::Ready);
    shop.workload(&Workload { container: SCHEDULER, ..Workload::default() })?;
    shop.wait_available(2).await?;
    shop.start_operator("").await?;
    shop.policy("  verification: {unsigned: Allow, soak: {unsigned: 0s}}\n  rollout: {deadline: 15m}")?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    let digest = shop.push("1.0.1", Image::new("1.0.1")).await?;
    shop.wait_state("Canary").await?;
    // Nobody touches the policy; its canary begins to fail while the operator starts again with another configuration.
    shop.operator.take().context("started")?.kill()?;
    simulated.know(&new, &digest, Life::Crashes(1));
    shop.kubectl(&["annotate", "pods", "-l", "app=web", "example.com/seen=now"])?;
    shop.start_operator("defaults: {bake: 20m}").await?;
    let told = shop.wait_condition("Stalled", "True", "InvalidPolicy").await?;
    ensure!(told == INVALID, "{told}");
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "CrashExit" && message.contains("exit code 1"), "{reason}: {message}");
    shop.wait_image(":1.0.0").await?;
    shop.assert_no_held_field().await?;
    shop.kubectl(&["delete", "updatepolicy", "web", "--timeout=30s"])?;
    shop.close()
}

async fn unreadable(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "stalled-unread").await?;
    in_canary(&mut shop).await?;
    let run = open_run(&shop)?;
    cluster.kubectl(&["patch", "crd", "updatepolicies.rollforward.dev", "--type=json", "-p", LOOSE])?;
    wait_until("the loose schema to be served", PATIENCE, || async {
        let edit = r#"{"spec": {"suspend": "sometimes"}}"#;
        let edited = shop.kubectl(&["patch", "updatepolicy", "web", "--type=merge", "-p", edit]);
        Ok(edited.map_or_else(|error| Seen::NotYet(error.to_string()), |_| Seen::Yes(())))
    })
    .await?;
    let told = "jsonpath={.status.conditions[?(@.type==\"Stalled\")].message} {.status.images[0].state}";
    let says = async |state: &str| {
        wait_until(&format!("the unreadable policy to show {state}"), PATIENCE, || async {
            let said = shop.kubectl(&["get", "updatepolicy", "web", "-o", told])?;
            let is_told = said.starts_with("Unreadable: ") && said.ends_with(&format!("operator {state}"));
            Ok(if is_told { Seen::Yes(()) } else { Seen::NotYet(said) })
        })
        .await
    };
    says("Canary").await?;
    done(&shop, &["promote", &run])?;
    says("Promoting").await?;
    delete(&shop).await?;
    shop.close()
}
