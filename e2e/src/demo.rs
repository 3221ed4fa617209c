//! The demo: the operator's main job, live, on a real cluster, told in the words that `kubectl describe` gives.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rollforward_testkit::sigstore::MiniSigstore;

use crate::cluster::{Cluster, Options};
use crate::image::Image;
use crate::operator::{self, Operator};
use crate::parts::CLUSTER;
use crate::sign;
use crate::wait::{Seen, wait_until};

/// What the demo is asked to do.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// End after the last step instead of waiting for Ctrl-C.
    pub exit: bool,
    /// Leave everything running and end.
    pub keep: bool,
    /// The registry to use with the cluster of KUBECONFIG.
    pub registry: Option<String>,
}

const NAMESPACE: &str = "shop";

/// Shows the main job.
pub async fn run(wishes: Wishes) -> anyhow::Result<()> {
    let started = Instant::now();
    say("Building what is missing (the Kubernetes parts once, about 13 minutes on 2 cores)");
    operator::binary()?;
    let cluster = cluster(wishes.registry.as_deref()).await?;
    say(&format!("The cluster is up ({:.0} s)", started.elapsed().as_secs_f64()));
    let mut operator = None;
    let ended = tokio::select! {
        result = steps(&cluster, started, &mut operator) => Some(result),
        _ = tokio::signal::ctrl_c() => None,
    };
    if let Some(Err(error)) = &ended {
        println!("\nThe demo failed: {error:#}");
    }
    let wait = ended.is_some() && !wishes.exit && !wishes.keep;
    if wait || wishes.keep {
        println!("\nLook around in another terminal:");
        println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
        println!(
            "  {} -n {NAMESPACE} get updatepolicies,updateruns,imageledgers,pods",
            cluster.parts.program("kubectl").display()
        );
    }
    if wishes.keep {
        println!("Everything goes on; to remove it: cargo run -p e2e -- remove {}", cluster.id);
        if let Some(operator) = operator {
            operator.leave();
        }
        cluster.keep()?;
        return ended.unwrap_or(Ok(()));
    }
    if wait {
        println!("Ctrl-C removes everything that was started.");
        tokio::signal::ctrl_c().await?;
    }
    remove(cluster, operator);
    ended.unwrap_or(Ok(()))
}

/// A cluster of our own, or the one of KUBECONFIG.
async fn cluster(registry: Option<&str>) -> anyhow::Result<Cluster> {
    let Some(kubeconfig) = std::env::var_os("KUBECONFIG") else {
        return Cluster::start(Options { nodes: 1, parts: CLUSTER }).await;
    };
    let registry = registry.context(
        "KUBECONFIG is set: expected --registry host:port, a plain-http registry that this machine and the cluster's nodes reach; or unset KUBECONFIG",
    )?;
    let cluster = Cluster::existing(Path::new(&kubeconfig), registry)?;
    refuse_what_is_there(&cluster)?;
    Ok(cluster)
}

/// The demo removes its namespace and its definitions at the end: in somebody's cluster they must not be there before.
fn refuse_what_is_there(cluster: &Cluster) -> anyhow::Result<()> {
    let definitions = cluster.kubectl(&["get", "crd", "-o", "name"])?;
    let namespaces = cluster.kubectl(&["get", "namespaces", "-o", "name"])?;
    let there = definitions
        .lines()
        .chain(namespaces.lines())
        .find(|name| name.ends_with(".rollforward.dev") || *name == format!("namespace/{NAMESPACE}"));
    match there {
        None => Ok(()),
        Some(name) => bail!(
            "{name} is in this cluster already, and the demo would remove it at its end: expected a cluster without the namespace {NAMESPACE} and without definitions of rollforward.dev"
        ),
    }
}

fn remove(cluster: Cluster, operator: Option<Operator>) {
    if std::env::var_os("KUBECONFIG").is_some() {
        // While the operator still runs, so that its finalizers go.
        let _ = cluster.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=60s"]);
        let _ =
            cluster.kubectl(&["delete", "--ignore-not-found", "-f", &definitions().display().to_string()]);
    }
    drop(operator);
    let left = cluster.stop();
    if left.is_empty() {
        println!("\nEverything that was started is removed.");
    } else {
        println!("\nLeft behind: {}", left.join(", "));
    }
}

fn definitions() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crds")
}

async fn steps(cluster: &Cluster, started: Instant, running: &mut Option<Operator>) -> anyhow::Result<()> {
    install_kinds(cluster)?;
    cluster.namespace(NAMESPACE).await.context("the namespace")?;
    let push =
        |tag: &'static str, image: Image| async move { cluster.pusher().push("shop/web", tag, &image).await };
    push("1.0.0", Image::new("1.0.0")).await?;
    cluster.apply(NAMESPACE, &workload(cluster.registry_host()))?;
    wait_state(cluster, "the workload to run", |deployment| deployment.contains("4/4")).await?;
    let operator = running.insert(Operator::start(cluster, "operator", "").await?);
    cluster.apply(NAMESPACE, POLICY)?;
    say("A Deployment of 4 pods runs 1.0.0; the policy watches it");
    wait_column(cluster, "UpToDate").await?;
    show_get(cluster)?;

    say("1. 1.0.1 is pushed: found, checked, one canary beside all old pods, watched, rolled forward");
    push("1.0.1", Image::new("1.0.1")).await?;
    wait_column(cluster, "Canary").await?;
    println!("{}", cluster.kubectl(&["-n", NAMESPACE, "get", "pods"])?);
    wait_image(cluster, ":1.0.1@sha256:").await?;
    wait_column(cluster, "UpToDate").await?;
    say(&format!("1.0.1 runs, {:.0} s after the start of the demo", started.elapsed().as_secs_f64()));
    show(cluster)?;

    say("2. 1.0.2 crashes at start: the canary alone, the cause named, rolled back, the digest quarantined");
    push("1.0.2", Image::new("1.0.2").arguments(&["--exit", "78"])).await?;
    wait_column(cluster, "RolledBack").await?;
    show(cluster)?;

    say("3. 1.0.3 is fine: the workload moves on past the bad one");
    push("1.0.3", Image::new("1.0.3")).await?;
    wait_image(cluster, ":1.0.3@sha256:").await?;
    wait_column(cluster, "UpToDate").await?;
    show(cluster)?;

    say("4. A person runs `kubectl rollout undo`: the operator respects it and says so");
    cluster.kubectl(&["-n", NAMESPACE, "rollout", "undo", "deployment/web"])?;
    wait_column(cluster, "Blocked").await?;
    show(cluster)?;

    say("   1.0.4 is pushed; a person undoes it in the middle of the canary");
    push("1.0.4", Image::new("1.0.4")).await?;
    wait_column(cluster, "Canary").await?;
    cluster.kubectl(&["-n", NAMESPACE, "rollout", "undo", "deployment/web"])?;
    wait_column(cluster, "Blocked").await?;
    show(cluster)?;
    signatures(cluster).await?;
    let explained = operator.command(&["explain", "web", "-n", NAMESPACE])?;
    say("`rollforward explain web` tells it all");
    println!("{}", String::from_utf8_lossy(&explained.stdout));
    println!("{}", cluster.kubectl(&["-n", NAMESPACE, "get", "updateruns"])?);
    Ok(())
}

/// The namespace begins to demand signatures: what is refused and why, and a signed version that goes on.
async fn signatures(cluster: &Cluster) -> anyhow::Result<()> {
    let sigstore = MiniSigstore::default();
    let pusher = cluster.pusher();
    // A build signs before it gives the version its name.
    let signed = |tag: &'static str, content: &'static str, workflow: &'static str, git_ref: &'static str| {
        let sigstore = &sigstore;
        async move {
            let digest = pusher.push("shop/web", "unreleased", &Image::new(content)).await?;
            sign::sign(sigstore, pusher, ("shop/web", &digest), (workflow, git_ref)).await?;
            pusher.push("shop/web", tag, &Image::new(content)).await
        }
    };
    say("5. The security team demands a signature by release.yml; 1.0.5 is signed by nobody");
    cluster.apply(NAMESPACE, &sign::trust(&sigstore))?;
    pusher.push("shop/web", "1.0.5", &Image::new("1.0.5")).await?;
    wait_reason(cluster, "SignatureAbsent").await?;
    show(cluster)?;
    say("   1.0.6 is signed, by another workflow");
    signed("1.0.6", "1.0.6", "dev.yml", "refs/heads/main").await?;
    wait_reason(cluster, "SignatureIdentityMismatch").await?;
    show_reason(cluster)?;
    say("   1.0.7 is an old release with a genuine signature, under a new name");
    signed("1.0.7", "0.9.0", "release.yml", "refs/tags/v0.9.0").await?;
    wait_reason(cluster, "VersionMismatch").await?;
    show_reason(cluster)?;
    say("   1.0.8 is signed as demanded: it rolls forward");
    signed("1.0.8", "1.0.8", "release.yml", "refs/tags/v1.0.8").await?;
    wait_image(cluster, ":1.0.8@sha256:").await?;
    wait_column(cluster, "UpToDate").await?;
    show(cluster)?;
    say("   1.0.8 is pushed again with other content, by somebody who cannot sign: what was verified stays");
    pusher.push("shop/web", "1.0.8", &Image::new("1.0.8-again")).await?;
    wait_reason(cluster, "TagMoved").await?;
    show_reason(cluster)
}

/// Applies the custom resource definitions and waits until they are served.
pub fn install_kinds(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(&["apply", "--server-side", "-f", &definitions().display().to_string()])?;
    let listed = cluster.kubectl(&["get", "crd", "-o", "name"])?;
    let ours = listed.lines().filter(|name| name.ends_with(".rollforward.dev"));
    let wait = ["wait", "--for=condition=Established", "--timeout=30s"];
    cluster.kubectl(&wait.into_iter().chain(ours).collect::<Vec<_>>())?;
    Ok(())
}

fn workload(registry: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 4
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        image: {registry}/shop/web:1.0.0
        readinessProbe: {{httpGet: {{path: /ready, port: 8080}}, periodSeconds: 1}}
"
    )
}

const POLICY: &str = "apiVersion: rollforward.dev/v1alpha1
kind: UpdatePolicy
metadata: {name: web}
spec:
  targets:
  - {apiVersion: apps/v1, kind: Deployment, name: web}
  schedule: {interval: 1s}
  verification: {unsigned: Allow, soak: {unsigned: 2s}}
  rollout: {bake: 5s, deadline: 2m, quarantine: {afterFails: 1}}
";

fn say(text: &str) {
    println!("\n== {text}");
}

fn show_get(cluster: &Cluster) -> anyhow::Result<()> {
    println!("{}", cluster.kubectl(&["-n", NAMESPACE, "get", "updatepolicies"])?);
    Ok(())
}

/// `get`, and the part of `describe` that tells the state.
fn show(cluster: &Cluster) -> anyhow::Result<()> {
    show_get(cluster)?;
    let described = cluster.kubectl(&["-n", NAMESPACE, "describe", "updatepolicy", "web"])?;
    let from = described.find("Status:").unwrap_or(0);
    println!("{}", &described[from..]);
    Ok(())
}

/// The sentence of the hold alone.
fn show_reason(cluster: &Cluster) -> anyhow::Result<()> {
    let path = "jsonpath={.status.conditions[?(@.type==\"Blocked\")].message}";
    println!("{}", cluster.kubectl(&["-n", NAMESPACE, "get", "updatepolicy", "web", "-o", path])?);
    Ok(())
}

async fn wait_reason(cluster: &Cluster, reason: &str) -> anyhow::Result<()> {
    let path = "jsonpath={.status.conditions[?(@.type==\"Blocked\")].reason}";
    wait_until(&format!("the reason {reason}"), Duration::from_secs(120), || async {
        let seen = cluster.kubectl(&["-n", NAMESPACE, "get", "updatepolicy", "web", "-o", path])?;
        Ok(if seen == reason { Seen::Yes(()) } else { Seen::NotYet(seen) })
    })
    .await
    .with_context(|| {
        cluster.kubectl(&["-n", NAMESPACE, "describe", "updatepolicy", "web"]).unwrap_or_default()
    })
}

async fn wait_state(cluster: &Cluster, what: &str, holds: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    wait_until(what, Duration::from_secs(120), || async {
        let seen = cluster.kubectl(&["-n", NAMESPACE, "get", "deployment", "web"])?;
        Ok(if holds(&seen) { Seen::Yes(()) } else { Seen::NotYet(seen) })
    })
    .await
}

async fn wait_column(cluster: &Cluster, state: &str) -> anyhow::Result<()> {
    let path = "jsonpath={.status.images[0].state}";
    wait_until(&format!("the state {state}"), Duration::from_secs(120), || async {
        let seen = cluster.kubectl(&["-n", NAMESPACE, "get", "updatepolicy", "web", "-o", path])?;
        Ok(if seen == state { Seen::Yes(()) } else { Seen::NotYet(seen) })
    })
    .await
    .with_context(|| {
        cluster.kubectl(&["-n", NAMESPACE, "describe", "updatepolicy", "web"]).unwrap_or_default()
    })
    .with_context(|| cluster.log_tails(&["operator"]))
}

async fn wait_image(cluster: &Cluster, part: &str) -> anyhow::Result<()> {
    let path = "jsonpath={.spec.template.spec.containers[0].image}";
    wait_until(&format!("the image {part}"), Duration::from_secs(120), || async {
        let seen = cluster.kubectl(&["-n", NAMESPACE, "get", "deployment", "web", "-o", path])?;
        Ok(if seen.contains(part) { Seen::Yes(()) } else { Seen::NotYet(seen) })
    })
    .await
}
