//! Who else writes a workload: GitOps controllers, controllers for rollouts, a second operator; and many workloads at once.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::operator::Operator;
use e2e::shop::{PATIENCE, Shop, Workload, image};
use e2e::wait::{Seen, wait_until};

use crate::canary::{POLICY, prepared};

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial("owners: an image that Flux keeps is never written; the exact change is said", flux),
        trial("owners: of two operators one acts; killed, the other goes on with the run", two_operators),
        trial("owners: an operator that was stopped too long writes nothing any more", fenced),
        trial("owners: a digest is tried on one workload until it has succeeded", first_success),
        trial("owners: 200 workloads by one selector: 64 shown, the rest counted, bounded", many),
    ]
}

fn deployment(shop: &Shop, name: &str, metadata: &str, tag: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}{metadata}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: app, image: \"{}:{tag}\"}}]}}
",
        shop.full_repository()
    )
}

/// Applies as a controller would, by server-side apply under its name.
fn applied_by(shop: &Shop, manager: &str, yaml: &str) -> anyhow::Result<()> {
    let file = shop.cluster.folder.join(format!("{}-{manager}.yaml", shop.namespace));
    std::fs::write(&file, yaml)?;
    let path = file.display().to_string();
    let manager = format!("--field-manager={manager}");
    shop.kubectl(&["apply", "--server-side", "--force-conflicts", &manager, "-f", &path]).map(drop)
}

async fn flux(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "flux").await?;
    let labels = ", labels: {kustomize.toolkit.fluxcd.io/name: apps, kustomize.toolkit.fluxcd.io/namespace: flux-system}";
    applied_by(&shop, "kustomize-controller", &deployment(&shop, "web", labels, "1.0.0"))?;
    shop.start_operator("").await?;
    shop.policy(POLICY)?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let repository = shop.full_repository();
    let change = format!(
        "Change it there: spec.template.spec.containers[name=app].image: {repository}:1.0.0 -> {repository}:1.0.1@sha256:"
    );
    shop.wait_says(
        "UpToDate",
        "ManagedByGitOps",
        &["observed Deployment/web kept by Flux (Kustomization apps)", &change],
    )
    .await?;
    // A person's own write in between does not make it ours.
    shop.kubectl(&["set", "image", "deployment/web", &format!("app={repository}:1.0.0-hotfix")])?;
    shop.kubectl(&["set", "image", "deployment/web", &format!("app={repository}:1.0.0")])?;
    shop.wait_says("UpToDate", "ManagedByGitOps", &["kept by Flux"]).await?;
    let found = image(&shop.read_workload().await?);
    ensure!(found == format!("{repository}:1.0.0"), "{found}");
    ensure!(shop.kubectl(&["get", "updateruns", "-o", "name"])?.is_empty(), "a run was opened");
    // Changed in Git, it is what the policy wants.
    applied_by(&shop, "kustomize-controller", &deployment(&shop, "web", labels, "1.0.1"))?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    shop.close()
}

async fn holder(shop: &Shop) -> anyhow::Result<String> {
    shop.kubectl(&["get", "lease", "rollforward", "-o", "jsonpath={.spec.holderIdentity}"])
}

async fn two_operators(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "two-operators").await?;
    let config = "namespace: two-operators\nleaderElection: true";
    shop.workload(&Workload::default())?;
    shop.start_operator(config).await?;
    let first = holder(&shop).await?;
    let all = format!("watchNamespaces: [two-operators]\n{config}");
    let second = Operator::start(&cluster, "operator-two-operators-b", &all).await?;
    shop.policy(POLICY)?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    shop.wait_state("Canary").await?;
    ensure!(second.log().contains("stands by: another operator holds the Lease"), "{}", second.log());
    ensure!(!second.log().contains("run opened"), "both act: {}", second.log());
    let killed = Instant::now();
    shop.operator.take().context("started")?.kill()?;
    wait_until("the second operator to hold the Lease", PATIENCE, || async {
        let now = holder(&shop).await?;
        Ok(if !now.is_empty() && now != first { Seen::Yes(()) } else { Seen::NotYet(now) })
    })
    .await?;
    println!("taken over {:.1} s after kill -9", killed.elapsed().as_secs_f64());
    // It goes on with the run that it finds.
    shop.kubectl(&["patch", "updatepolicy", "web", "--type=merge", "-p", "{\"spec\":{\"suspend\":true}}"])?;
    let (reason, _) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "Suspended", "{reason}");
    shop.assert_no_held_field().await?;
    let runs = shop.kubectl(&["get", "updateruns", "-o", "name"])?;
    ensure!(runs.lines().count() == 1, "{runs}");
    // A clean end lets the Lease go at once.
    let ended = second.terminate().await?;
    ensure!(ended.success(), "{ended}");
    ensure!(holder(&shop).await?.is_empty(), "the Lease was not let go");
    shop.close()
}

fn signal(operator: &Operator, name: &str) -> anyhow::Result<()> {
    let pid = operator.pid().to_string();
    let status = std::process::Command::new("kill").args([name, &pid]).status()?;
    ensure!(status.success(), "kill {name} {pid}");
    Ok(())
}

async fn fenced(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "fenced").await?;
    let config = "namespace: fenced\nleaderElection: true";
    shop.workload(&Workload::default())?;
    shop.start_operator(config).await?;
    shop.policy(POLICY)?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    let first = holder(&shop).await?;
    let second =
        Operator::start(&cluster, "operator-fenced-b", &format!("watchNamespaces: [fenced]\n{config}"))
            .await?;
    let stopped = shop.operator.take().context("started")?;
    signal(&stopped, "-STOP")?;
    wait_until("the second operator to hold the Lease", PATIENCE, || async {
        let now = holder(&shop).await?;
        Ok(if !now.is_empty() && now != first { Seen::Yes(()) } else { Seen::NotYet(now) })
    })
    .await?;
    let before = stopped.log();
    signal(&stopped, "-CONT")?;
    wait_until("the first operator to stop acting", PATIENCE, || async {
        let log = stopped.log();
        Ok(if log.contains("stopped acting: ") { Seen::Yes(()) } else { Seen::NotYet(e2e::shop::tail(&log)) })
    })
    .await?;
    let after = stopped.log().split_off(before.len());
    ensure!(!after.contains("run opened") && !after.contains("panicked"), "{after}");
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    shop.wait_state("Canary").await?;
    ensure!(second.log().contains("run opened"), "{}", second.log());
    drop(second);
    shop.close()
}

async fn first_success(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "first-success").await?;
    prepared(&mut shop, POLICY).await?;
    cluster.apply("first-success", &deployment(&shop, "api", "", "1.0.0"))?;
    let policy = format!(
        "apiVersion: rollforward.dev/v1alpha1
kind: UpdatePolicy
metadata: {{name: api}}
spec:
  targets: [{{apiVersion: apps/v1, kind: Deployment, name: api}}]
  schedule: {{interval: 1s}}
{POLICY}
"
    );
    cluster.apply("first-success", &policy)?;
    shop.wait_condition_of("api", "UpToDate", "True", "NewestRuns").await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    // Without nodes neither becomes Ready: the one that began first holds the other back, whichever it is.
    let sentence = wait_until("one policy to wait for the other's first success", PATIENCE, || async {
        for name in ["web", "api"] {
            let status = shop.read_policy(name).await?.status.unwrap_or_default();
            let found = status.conditions.iter().flatten().find(|one| one.reason == "FirstSuccessPending");
            if let Some(found) = found {
                return Ok(Seen::Yes(found.message.clone()));
            }
        }
        Ok(Seen::NotYet("neither".to_owned()))
    })
    .await?;
    ensure!(
        sentence
            .contains("expected the digest to succeed on one workload first, observed run first-success/"),
        "{sentence}"
    );
    let open = shop.kubectl(&["get", "updateruns", "-o", "name"])?;
    ensure!(open.lines().count() == 1, "{open}");
    shop.close()
}

async fn many(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    const WORKLOADS: usize = 200;
    let mut shop = Shop::open(&cluster, "many").await?;
    let all: Vec<String> = (0..WORKLOADS)
        .map(|number| deployment(&shop, &format!("w{number:03}"), ", labels: {team: many}", "1.0.0"))
        .map(|yaml| yaml.replace("replicas: 1", "replicas: 0"))
        .collect();
    cluster.apply("many", &all.join("---\n"))?;
    shop.start_operator("").await?;
    let started = Instant::now();
    cluster.apply(
        "many",
        &format!(
            "apiVersion: rollforward.dev/v1alpha1
kind: UpdatePolicy
metadata: {{name: web}}
spec:
  targets: [{{apiVersion: apps/v1, kind: Deployment, selector: {{matchLabels: {{team: many}}}}}}]
  schedule: {{interval: 1h}}
{POLICY}
"
        ),
    )?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    let operator = shop.operator.as_ref().context("started")?;
    println!(
        "200 workloads: first status after {:.1} s, {} MiB resident, {:.1} s of processor time",
        started.elapsed().as_secs_f64(),
        operator.resident_bytes()? / 1024 / 1024,
        operator.cpu_seconds()?
    );
    let policy = shop.read_policy("web").await?;
    let status = policy.status.clone().unwrap_or_default();
    ensure!(status.images.as_ref().map(Vec::len) == Some(64), "{:?}", status.images.map(|all| all.len()));
    ensure!(status.more_images == Some(136), "{:?}", status.more_images);
    ensure!(status.targets.as_deref() == Some("w000 +199"), "{:?}", status.targets);
    let size = serde_json::to_vec(&status)?.len();
    println!("its status has {size} bytes");
    ensure!(size < 128 * 1024, "the status has {size} bytes");
    shop.close()
}
