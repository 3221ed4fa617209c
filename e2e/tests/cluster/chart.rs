//! The chart as it is shipped: installed by the real helm, the operator in a pod under the chart's rights alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::image::{Image, archive, native_architecture};
use e2e::operator;
use e2e::shop::{Shop, Workload};
use serde_json::json;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial(
            "the chart installs, the operator works in its pod, and uninstalling leaves no held field",
            chart,
        ),
        trial("config/install.yaml is the rendered chart", rendered),
    ]
}

const PROBE: &str = "        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

async fn rendered(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let chart = root().join("charts/rollforward").display().to_string();
    cluster.helm(&["lint", "--strict", &chart])?;
    let template = ["template", "rollforward", &chart, "--namespace", "rollforward-system"];
    let neither = cluster.helm(&template).err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(
        neither.contains("expected where the operator may act: --set 'watchNamespaces={shop}'"),
        "{neither}"
    );
    let named = [&template[..], &["--set", "watchNamespaces={shop}"]].concat();
    let named = cluster.helm(&named)?;
    let wide = ["updatepolicies", "deployments", "pods", "secrets"];
    for rule in named.split("---").filter(|object| object.contains("kind: ClusterRole\n")) {
        ensure!(!wide.iter().any(|kind| rule.contains(kind)), "a right in all namespaces: {rule}");
    }
    let everywhere = [&template[..], &["--set", "clusterWide=true"]].concat();
    let rendered = cluster.helm(&everywhere)?;
    let path = root().join("config/install.yaml");
    let text = format!(
        "# The chart with clusterWide: true: kubectl create namespace rollforward-system && kubectl apply --server-side -f install.yaml\n{rendered}"
    );
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text)?;
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    ensure!(
        stored == text,
        "config/install.yaml is not current: UPDATE=1 cargo test --workspace --test cluster -- install.yaml"
    );
    Ok(())
}

async fn chart(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let shop = Shop::open(&cluster, "chart").await?;
    push_operator(&cluster).await?;
    shop.workload(&Workload { container: PROBE, ..Workload::default() })?;
    shop.wait_available(2).await?;
    install(&cluster)?;
    shop.policy(
        "  verification: {unsigned: Allow, soak: {unsigned: 0s}}\n  rollout: {bake: 2s, deadline: 5m}",
    )?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await.with_context(|| logs(&cluster))?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let (reason, message) = shop.wait_run("1.0.1").await.with_context(|| logs(&cluster))?;
    ensure!(reason == "RolledForward", "{reason}: {message}");
    // Events need rights too.
    shop.wait_event("web", "RolledForward: 1.0.1@").await.with_context(|| logs(&cluster))?;
    let told = logs(&cluster);
    ensure!(told.contains("run opened"), "not the operator's log: {told}");
    ensure!(!told.contains("forbidden"), "a right is missing: {told}");
    // A canary is open while the operator is uninstalled.
    shop.kubectl(&[
        "patch",
        "updatepolicy",
        "web",
        "--type=merge",
        "-p",
        "{\"spec\":{\"rollout\":{\"bake\":\"2m\"}}}",
    ])?;
    shop.push("1.0.2", Image::new("1.0.2")).await?;
    shop.wait_state("Canary").await.with_context(|| logs(&cluster))?;
    cluster.helm(&[
        "uninstall",
        "rollforward",
        "--namespace",
        "rollforward-system",
        "--wait",
        "--timeout",
        "180s",
    ])?;
    shop.wait_image(":1.0.1@").await?;
    shop.assert_no_held_field().await?;
    shop.kubectl(&["delete", "updatepolicies,updateruns,imageledgers", "--all", "--timeout=30s"])?;
    shop.close()
}

fn logs(cluster: &Cluster) -> String {
    cluster
        .kubectl(&["-n", "rollforward-system", "logs", "deployment/rollforward", "--tail=200"])
        .unwrap_or_else(|error| error.to_string())
}

fn install(cluster: &Cluster) -> anyhow::Result<()> {
    let chart = root().join("charts/rollforward").display().to_string();
    let registry = cluster.registry_host();
    let values = json!({
        "image": {"repository": format!("{registry}/rollforward/operator"), "tag": "e2e"},
        "watchNamespaces": ["chart"],
        "config": {"registries": {"plainHttp": [registry]}, "log": {"format": "Text", "level": "info"}},
        // No Service network here: the pod finds the apiserver at the bridge's address.
        "extraEnv": [{"name": "KUBERNETES_SERVICE_HOST", "value": cluster.address},
                     {"name": "KUBERNETES_SERVICE_PORT", "value": cluster.apiserver_port().to_string()}],
    });
    let file = cluster.folder.join("values.json");
    std::fs::write(&file, values.to_string())?;
    let file = file.display().to_string();
    let arguments =
        ["install", "rollforward", &chart, "--namespace", "rollforward-system", "--create-namespace"];
    // The harness has applied the definitions already: the release takes them over.
    let more = ["--take-ownership", "--values", &file, "--wait", "--timeout", "120s"];
    let all: Vec<&str> = arguments.into_iter().chain(more).collect();
    cluster.helm(&all).map(drop).with_context(|| logs(cluster))
}

/// The workspace's own binary in an image: stripped, with the shared objects that it names and the machine's CA bundle.
async fn push_operator(cluster: &Cluster) -> anyhow::Result<()> {
    let binary = operator::binary()?;
    let stripped = cluster.folder.join("rollforward");
    let done = Command::new("strip").arg("-o").arg(&stripped).arg(&binary).status().context("strip")?;
    if !done.success() {
        bail!("strip failed on {}", binary.display());
    }
    let listed = Command::new("ldd").arg(&stripped).output().context("ldd")?;
    let mut files = vec![("rollforward".to_owned(), 0o755, std::fs::read(&stripped)?)];
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for path in listed.split_whitespace().filter(|word| word.starts_with('/')) {
        let content = std::fs::read(path).with_context(|| path.to_owned())?;
        files.push((path.trim_start_matches('/').to_owned(), 0o755, content));
    }
    let bundle = std::fs::read("/etc/ssl/certs/ca-certificates.crt")
        .context("the machine's CA bundle: apt-get install ca-certificates")?;
    files.push(("etc/ssl/certs/ca-certificates.crt".to_owned(), 0o644, bundle));
    let layer = archive(&files)?;
    let config = json!({
        "architecture": native_architecture(), "os": "linux",
        "config": {"Entrypoint": ["/rollforward"], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [e2e::image::digest(&layer)]},
    });
    let kind = "application/vnd.oci.image.layer.v1.tar";
    cluster.pusher().push_parts("rollforward/operator", "e2e", &config, &[(kind, layer)]).await.map(drop)
}
