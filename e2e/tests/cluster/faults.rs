//! Images and environments that fail on a real node: what is done, the cause by its code, the sentence.

use std::sync::Arc;

use anyhow::ensure;
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::shop::{Shop, Workload};

const PROBE: &str = "        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}";
const POLICY: &str = "  verification: {unsigned: Allow, soak: {unsigned: 0s}}
  rollout: {bake: 3s, deadline: 45s, quarantine: {afterFails: 1, retryAfter: 1h}}";

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial("an image that exits at start is named by its exit code, rolled back and quarantined", crash),
        trial("an image that crashes after having been Ready is rolled back all the same", late_crash),
        trial("an image that ends by a signal is named by the signal", signal),
        trial("an image that needs more memory than it may have is named so", out_of_memory),
        trial("an image whose program is missing is named by the runtime's words", missing_program),
        trial("an image that runs as root where that is forbidden is refused by security, and said so", root),
        trial(
            "an image that never becomes Ready is rolled back at the deadline with the probe's words",
            never_ready,
        ),
        trial("an image that is gone when the node pulls it is named so", gone),
        trial("a missing Secret key is the environment's fault: rolled back, not quarantined", config),
    ]
}

struct Fault<'a> {
    name: &'a str,
    image: Image,
    container: &'a str,
    reason: &'a str,
    says: &'a [&'a str],
    quarantined: bool,
    /// Short where only the deadline decides.
    deadline: &'a str,
    /// Longer than what the image needs to fail, also on a busy node.
    bake: &'a str,
}

async fn check(cluster: Arc<Cluster>, fault: Fault<'_>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, fault.name).await?;
    let container = format!("{PROBE}\n{}", fault.container);
    shop.workload(&Workload { container: &container, ..Workload::default() })?;
    shop.wait_available(2).await?;
    shop.start_operator("").await?;
    shop.policy(
        &POLICY.replace("45s", fault.deadline).replace("bake: 3s", &format!("bake: {}", fault.bake)),
    )?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    let before: Vec<String> = pods(&shop)?;
    let digest = shop.push("1.0.1", fault.image).await?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == fault.reason, "expected {}, got {reason}: {message}", fault.reason);
    let end = if fault.quarantined { "Not retried by itself." } else { "Tried once more " };
    let parts: Vec<&str> = fault.says.iter().copied().chain([end]).collect();
    shop.wait_says("Blocked", fault.reason, &parts).await?;
    shop.wait_event("web", &format!("{}: 1.0.1@{}: expected ", fault.reason, &digest[7..15])).await?;
    if fault.quarantined {
        shop.wait_event("web", "DigestQuarantined: ").await?;
    } else {
        let events = shop.events("web")?;
        ensure!(!events.contains("DigestQuarantined: "), "{events}");
    }
    shop.wait_image(":1.0.0").await?;
    shop.wait_available(2).await?;
    shop.assert_no_held_field().await?;
    ensure!(pods(&shop)? == before, "old pods were lost: {before:?} before, {:?} after", pods(&shop)?);
    shop.close()
}

fn pods(shop: &Shop) -> anyhow::Result<Vec<String>> {
    let listed = shop.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "name",
        "--field-selector",
        "status.phase=Running",
    ])?;
    Ok(listed.lines().map(str::to_owned).collect())
}

async fn crash(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        name: "crash",
        image: Image::new("1.0.1").arguments(&["--exit", "78"]),
        container: "",
        reason: "CrashExit",
        says: &[
            "expected the canary to stay up 3s, observed 3 crashes in ",
            "exit code 78, on node-a. The image is at fault, not the cluster: 2 of 2 old pods Ready with 0 restarts, and none shows this. ",
            "Publish a newer tag, or: kubectl rollforward release web sha256:",
        ],
        quarantined: true,
        deadline: "45s",
        bake: "3s",
    };
    check(cluster, fault).await
}

async fn late_crash(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        name: "late-crash",
        image: Image::new("1.0.1").arguments(&["--exit", "1", "--after", "1500"]),
        container: "",
        reason: "CrashExit",
        says: &["exit code 1, on node-a"],
        quarantined: true,
        deadline: "45s",
        bake: "8s",
    };
    check(cluster, fault).await
}

async fn signal(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        name: "signal",
        image: Image::new("1.0.1").arguments(&["--signal", "11"]),
        container: "",
        reason: "CrashSignal",
        says: &["3 crashes in ", "ended by SIGSEGV, on node-a"],
        quarantined: true,
        deadline: "45s",
        bake: "3s",
    };
    check(cluster, fault).await
}

async fn out_of_memory(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        name: "memory",
        image: Image::new("1.0.1").arguments(&["--alloc"]),
        container: "        resources: {limits: {memory: 16Mi}}",
        reason: "OutOfMemory",
        says: &["3 crashes in ", "memory", "limit 16Mi"],
        quarantined: true,
        deadline: "45s",
        bake: "3s",
    };
    check(cluster, fault).await
}

async fn missing_program(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        name: "missing-program",
        image: Image::new("1.0.1").entrypoint("/renamed"),
        container: "",
        reason: "StartFailed",
        says: &["observed ", "/renamed", "no such file or directory"],
        quarantined: true,
        deadline: "45s",
        bake: "3s",
    };
    check(cluster, fault).await
}

async fn root(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "root").await?;
    // The running image has a user of its own; the new one does not.
    shop.push("1.0.0", Image::new("1.0.0").user("1000")).await?;
    let container = format!("{PROBE}\n        securityContext: {{runAsNonRoot: true}}");
    shop.workload(&Workload { container: &container, ..Workload::default() })?;
    shop.wait_available(2).await?;
    shop.start_operator("").await?;
    shop.policy(POLICY)?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let message = shop.wait_condition("Blocked", "True", "RunAsNonRoot").await?;
    shop.wait_run("1.0.1").await?;
    ensure!(message.contains("the security layer refused it, not the application: "), "{message}");
    ensure!(message.contains("container has runAsNonRoot and image will run as root"), "{message}");
    shop.assert_no_held_field().await?;
    shop.close()
}

async fn never_ready(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        name: "never-ready",
        image: Image::new("1.0.1").arguments(&["--never-ready"]),
        container: "",
        reason: "NotReady",
        says: &[
            "expected the canary to start and stay Ready for 3s, observed Readiness probe failed: HTTP probe failed with statuscode: 503",
        ],
        quarantined: true,
        deadline: "12s",
        bake: "3s",
    };
    check(cluster, fault).await
}

async fn gone(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "gone").await?;
    shop.workload(&Workload { container: PROBE, ..Workload::default() })?;
    shop.wait_available(2).await?;
    // The layer's blob is removed behind the registry's back: the manifest is there, the content is not.
    shop.start_operator("").await?;
    shop.policy(&POLICY.replace("soak: {unsigned: 0s}", "soak: {unsigned: 3s}"))?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    let digest = shop.push("1.0.1", Image::new("1.0.1-gone")).await?;
    shop.wait_condition("UpToDate", "False", "Soaking").await?;
    remove_layer(&shop, &digest)?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(["PullNotFound", "PullInvalid"].contains(&reason.as_str()), "{reason}: {message}");
    ensure!(
        message.contains("expected the node to pull the image, observed ErrImagePull: ")
            || message.contains("observed ImagePullBackOff: ")
            || message.contains("observed Failed to pull"),
        "{message}"
    );
    shop.assert_no_held_field().await?;
    shop.close()
}

/// Removes the layer of a manifest from the registry's storage.
fn remove_layer(shop: &Shop, digest: &str) -> anyhow::Result<()> {
    let root = shop.cluster.folder.join("registry/docker/registry/v2/blobs/sha256");
    let data = |digest: &str| {
        let hex = digest.trim_start_matches("sha256:");
        root.join(&hex[..2]).join(hex).join("data")
    };
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(data(digest))?)?;
    let layer = manifest["layers"][0]["digest"].as_str().unwrap_or_default().to_owned();
    Ok(std::fs::remove_file(data(&layer))?)
}

async fn config(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "config").await?;
    shop.kubectl(&["create", "secret", "generic", "settings", "--from-literal=level=1"])?;
    let container = format!(
        "{PROBE}\n        env: [{{name: LEVEL, valueFrom: {{secretKeyRef: {{name: settings, key: level}}}}}}]"
    );
    shop.workload(&Workload { container: &container, ..Workload::default() })?;
    shop.wait_available(2).await?;
    shop.start_operator("").await?;
    shop.policy(&POLICY.replace("45s", "12s"))?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    shop.kubectl(&["delete", "secret", "settings"])?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "ConfigMissing", "{reason}: {message}");
    ensure!(message.contains("secret \"settings\" not found"), "{message}");
    shop.wait_says("Blocked", "ConfigMissing", &["Tried once more "]).await?;
    ensure!(
        !shop.events("web")?.contains("DigestQuarantined"),
        "the environment's fault quarantines nothing"
    );
    shop.assert_no_held_field().await?;
    shop.close()
}
