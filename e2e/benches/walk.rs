//! The whole program, measured on a real node: reaction to a push, to a crash, and what idling costs.
//!
//! `cargo bench -p e2e --bench walk -- faults` lets each fault of the cluster trials happen alone on the machine instead, and
//! ends with the table of their seconds.
//!
//! `cargo bench -p e2e --bench walk` prints one JSON object a line: name, unit, values, median. Times are wall-clock, seen
//! from outside through the apiserver every 20 ms; memory is VmRSS of the operator's process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark"
)]

#[path = "../tests/cluster/faults.rs"]
mod faults;
#[path = "../tests/cluster/surroundings.rs"]
mod surroundings;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::cluster::{Cluster, Options};
use e2e::image::Image;
use e2e::keeper;
use e2e::shop::{Shop, Workload, image};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde_json::json;

/// Pushes that are measured.
const PUSHES: usize = 10;
/// Bad images that are measured.
const CRASHES: usize = 5;
/// Policies beside which idling is measured.
const POLICIES: usize = 100;
/// How long idling is measured.
const IDLE: Duration = Duration::from_secs(60);
const PROBE: &str = "        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}";

fn main() -> ExitCode {
    keeper::run_if_asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match runtime.block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{}", json!({"error": format!("{error:#}")}));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    e2e::operator::binary()?;
    let cluster = Arc::new(Cluster::start(Options { nodes: 1, parts: e2e::parts::CLUSTER }).await?);
    e2e::demo::install_kinds(&cluster)?;
    if std::env::args().any(|argument| argument == "faults") {
        for fault in faults::trials().into_iter().chain(surroundings::trials()) {
            fault.run(Arc::clone(&cluster)).await?;
        }
        e2e::harness::tell_measured();
        return Ok(());
    }
    pushes(&cluster).await?;
    crashes(&cluster).await?;
    idle(&cluster).await
}

/// Prints a measurement with its median.
fn tell(name: &str, unit: &str, values: &[f64]) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
    let most = sorted.last().copied().unwrap_or(f64::NAN);
    let all: Vec<f64> = values.iter().copied().map(rounded).collect();
    println!(
        "{}",
        json!({"name": name, "unit": unit, "median": rounded(median), "most": rounded(most), "values": all})
    );
}

/// Looks every 20 ms until it holds and answers the seconds since `started`.
async fn seconds_until<F, Fut>(started: Instant, what: &str, mut holds: F) -> anyhow::Result<f64>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<bool>>,
{
    while !holds().await? {
        ensure!(started.elapsed() < Duration::from_secs(120), "waited 120 s for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(started.elapsed().as_secs_f64())
}

async fn shop(cluster: &Arc<Cluster>, name: &str, bake: &str) -> anyhow::Result<Shop> {
    let mut shop = Shop::open(cluster, name).await?;
    shop.workload(&Workload { replicas: 3, container: PROBE, ..Workload::default() })?;
    shop.wait_available(3).await?;
    shop.start_operator("").await?;
    shop.policy(&format!(
        "  verification: {{unsigned: Allow, soak: {{unsigned: 0s}}}}\n  rollout: {{bake: {bake}, deadline: 2m, quarantine: {{afterFails: 1}}}}"
    ))?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    Ok(shop)
}

/// From the end of the push to the canary's patch, and to the end of the rollout; the policy looks every second.
async fn pushes(cluster: &Arc<Cluster>) -> anyhow::Result<()> {
    let shop = shop(cluster, "pushes", "1s").await?;
    let (mut to_patch, mut to_end) = (Vec::new(), Vec::new());
    for number in 1..=PUSHES {
        let tag = format!("1.0.{number}");
        shop.push(&tag, Image::new(&tag)).await?;
        let started = Instant::now();
        let wanted = format!(":{tag}@sha256:");
        let patched = || async { Ok(image(&shop.read_workload().await?).contains(&wanted)) };
        to_patch.push(seconds_until(started, "the canary's patch", patched).await?);
        let (reason, message) = shop.wait_run(&tag).await?;
        ensure!(reason == "RolledForward", "{reason}: {message}");
        to_end.push(started.elapsed().as_secs_f64());
    }
    tell("push_to_canary_patch_interval_1s", "seconds", &to_patch);
    tell("push_to_all_pods_bake_1s", "seconds", &to_end);
    shop.close()
}

/// From the first crash that the apiserver shows to the named cause and to the restored image; and the old pods lost.
async fn crashes(cluster: &Arc<Cluster>) -> anyhow::Result<()> {
    let shop = shop(cluster, "crashes", "3s").await?;
    let pods = Api::<Pod>::namespaced(cluster.client().await?, "crashes");
    let before = old_pods(&pods).await?;
    let (mut to_cause, mut to_rollback, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=CRASHES {
        let tag = format!("1.0.{number}");
        shop.push(&tag, Image::new(&tag).arguments(&["--exit", "78"])).await?;
        seconds_until(Instant::now(), "the first crash", || async { crashed(&pods).await }).await?;
        let started = Instant::now();
        let named = || async { named(&shop, &tag).await };
        to_cause.push(seconds_until(started, "the cause", named).await?);
        let restored = || async { Ok(image(&shop.read_workload().await?).ends_with(":1.0.0")) };
        to_rollback.push(seconds_until(started, "the old image", restored).await?);
        shop.wait_run(&tag).await?;
        shop.wait_available(3).await?;
        let after = old_pods(&pods).await?;
        lost.push(before.iter().filter(|pod| !after.contains(pod)).count() as f64);
    }
    tell("first_crash_to_named_cause", "seconds", &to_cause);
    tell("first_crash_to_old_image", "seconds", &to_rollback);
    tell("old_pods_lost", "pods", &lost);
    shop.close()
}

async fn old_pods(pods: &Api<Pod>) -> anyhow::Result<Vec<String>> {
    let listed = pods.list(&ListParams::default().labels("app=web")).await?;
    Ok(listed.items.into_iter().filter_map(|pod| pod.metadata.name).collect())
}

async fn crashed(pods: &Api<Pod>) -> anyhow::Result<bool> {
    let listed = pods.list(&ListParams::default().labels("app=web")).await?;
    let mut containers = listed.items.into_iter().filter_map(|pod| pod.status?.container_statuses).flatten();
    Ok(containers.any(|container| {
        let ended = container.state.and_then(|state| state.terminated).is_some();
        ended || container.last_state.and_then(|state| state.terminated).is_some()
    }))
}

async fn named(shop: &Shop, tag: &str) -> anyhow::Result<bool> {
    let status = shop.read_policy("web").await?.status.unwrap_or_default();
    let mut conditions = status.conditions.into_iter().flatten();
    Ok(conditions.any(|one| one.reason == "CrashExit" && one.message.contains(&format!(":{tag}@"))))
}

/// Memory, processor and writes of one operator, with one policy and with many.
async fn idle(cluster: &Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(cluster, "idle-bench").await?;
    shop.workload(&Workload { replicas: 0, ..Workload::default() })?;
    shop.start_operator("defaults: {interval: 30s}").await?;
    shop.policy(&POLICY.replace("  schedule", "  suspend: false\n  schedule"))?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    measure(&shop, "1_policy").await?;
    let template = shop.kubectl(&["get", "deployment", "web", "-o", "json"])?;
    let template: serde_json::Value = serde_json::from_str(&template)?;
    let mut all = Vec::new();
    for number in 1..POLICIES {
        let name = format!("web-{number}");
        let mut workload = template.clone();
        workload["metadata"] = json!({"name": name});
        all.push(workload);
        all.push(json!({
            "apiVersion": "rollforward.dev/v1alpha1", "kind": "UpdatePolicy", "metadata": {"name": name},
            "spec": {
                "targets": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name}],
                "verification": {"unsigned": "Allow"},
            },
        }));
    }
    cluster.apply("idle-bench", &json!({"apiVersion": "v1", "kind": "List", "items": all}).to_string())?;
    seconds_until(Instant::now(), "all policies to be looked at", || async {
        let path = "jsonpath={.items[*].status.conditions[?(@.type==\"UpToDate\")].reason}";
        let reasons = shop.kubectl(&["get", "updatepolicies", "-o", path])?;
        Ok(reasons.split_whitespace().filter(|reason| *reason == "NewestRuns").count() == POLICIES)
    })
    .await?;
    measure(&shop, &format!("{POLICIES}_policies")).await?;
    shop.close()
}

const POLICY: &str = "  verification: {unsigned: Allow}";

async fn measure(shop: &Shop, with: &str) -> anyhow::Result<()> {
    let operator = shop.operator.as_ref().context("started")?;
    let (writes, processor) = (operator.metric("rollforward_writes_total").await?, operator.cpu_seconds()?);
    tokio::time::sleep(IDLE).await;
    let minutes = IDLE.as_secs_f64() / 60.0;
    let written = operator.metric("rollforward_writes_total").await? - writes;
    tell(&format!("idle_writes_{with}"), "writes per minute", &[written / minutes]);
    tell(
        &format!("idle_cpu_{with}"),
        "CPU seconds per minute",
        &[(operator.cpu_seconds()? - processor) / minutes],
    );
    tell(&format!("idle_rss_{with}"), "MiB", &[operator.resident_bytes()? as f64 / 1_048_576.0]);
    Ok(())
}
