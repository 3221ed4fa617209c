//! Good images in noisy surroundings, on real nodes: none is rolled back for good, and none is held against.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::fault::PROBE;
use e2e::harness::{self, Named, trial};
use e2e::image::Image;
use e2e::shop::{PATIENCE, Shop, Workload};
use e2e::wait::{Seen, wait_until};
use serde_json::json;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial("an image that starts slowly is waited for", slow_start),
        trial("a dependency that is away for a while costs one try, and the retry succeeds", dependency),
        trial("a node drained under canary and old pods costs time, not the run", drained),
        trial(
            "readiness that flickers, as that of the old pods does, is no failure where a quiet spell lasts the bake",
            flaky,
        ),
        trial("memory that ends old and new pods alike is no failure of the image", out_of_memory),
        trial("a canary's pod deleted and ended with 143 is replaced, and nothing is counted", graceful),
        trial("replicas tripled in mid-canary by the scale subresource are all moved", tripled),
    ]
}

/// A good release with noise around it.
struct Noise<'a> {
    name: &'a str,
    old: Image,
    new: Image,
    container: &'a str,
    bake: &'a str,
    deadline: &'a str,
    quarantine: &'a str,
}

impl<'a> Noise<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            old: Image::new("1.0.0"),
            new: Image::new("1.0.1"),
            container: "",
            bake: "3s",
            deadline: "100s",
            quarantine: "afterFails: 1",
        }
    }

    /// The old image at rest, watched by a policy.
    async fn open(&self, cluster: &Arc<Cluster>) -> anyhow::Result<Shop> {
        let mut shop = Shop::open(cluster, self.name).await?;
        shop.push("1.0.0", self.old.clone()).await?;
        let container = format!("{PROBE}\n{}", self.container);
        shop.workload(&Workload { container: &container, ..Workload::default() })?;
        shop.wait_available(2).await?;
        shop.start_operator("").await?;
        let (bake, deadline, quarantine) = (self.bake, self.deadline, self.quarantine);
        shop.policy(&format!(
            "  verification: {{unsigned: Allow, soak: {{unsigned: 0s}}}}
  rollout: {{bake: {bake}, deadline: {deadline}, quarantine: {{{quarantine}}}}}"
        ))?;
        shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
        Ok(shop)
    }

    /// Pushes the new image.
    async fn release(&self, shop: &Shop) -> anyhow::Result<()> {
        shop.push("1.0.1", self.new.clone()).await.map(drop)
    }

    /// Demands that it was rolled forward by so many runs, and that nothing is held against it.
    async fn ends_well(&self, shop: Shop, tries: usize) -> anyhow::Result<()> {
        let begun = std::time::Instant::now();
        let runs = wait_until("the new version to be rolled forward", PATIENCE, || async {
            let path =
                "jsonpath={range .items[*]}{.status.result.reason}: {.status.result.message}{\"\\n\"}{end}";
            let runs = shop.kubectl(&["get", "updateruns", "-o", path])?;
            Ok(if runs.contains("RolledForward: ") { Seen::Yes(runs) } else { Seen::NotYet(runs) })
        })
        .await
        .with_context(|| shop.operator.as_ref().map_or(String::new(), |one| e2e::shop::tail(&one.log())))?;
        ensure!(runs.lines().count() == tries, "expected {tries} runs, got {runs}");
        let held = shop.kubectl(&["get", "imageledgers", "-o", "jsonpath={.items[*].status.quarantine}"])?;
        ensure!(!held.contains("\"quarantined\":true"), "held against the image: {held}");
        shop.wait_image(":1.0.1@").await?;
        shop.assert_no_held_field().await?;
        let waited = begun.elapsed().as_secs_f64();
        harness::measured(
            json!({"noise": self.name, "runs": runs.lines().count(), "rolled_back": tries - 1, "seconds_to_end": waited}),
        );
        shop.close()
    }

    async fn goes_well(&self, cluster: Arc<Cluster>) -> anyhow::Result<()> {
        let shop = self.open(&cluster).await?;
        self.release(&shop).await?;
        self.ends_well(shop, 1).await
    }
}

async fn slow_start(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let new = Image::new("1.0.1").arguments(&["--slow", "25000"]);
    Noise { new, ..Noise::new("slow-start") }.goes_well(cluster).await
}

async fn dependency(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    // The dependency is a port of the bridge, which pods reach: shut first, open when the first try has failed.
    let port = std::net::TcpListener::bind((cluster.address.as_str(), 0))?.local_addr()?.port();
    let place = format!("{}:{port}", cluster.address);
    let new = Image::new("1.0.1").arguments(&["--connect", &place]);
    let noise = Noise { new, quarantine: "afterFails: 2, retryAfter: 15s", ..Noise::new("dependency") };
    let shop = noise.open(&cluster).await?;
    noise.release(&shop).await?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "CrashExit" && message.contains("exit code 1"), "{reason}: {message}");
    shop.wait_says("Blocked", "CrashExit", &["Tried once more "]).await?;
    let back = std::net::TcpListener::bind(place.as_str())?;
    noise.ends_well(shop, 2).await?;
    drop(back);
    Ok(())
}

/// What brings pods to the second node, which takes no others.
const SECOND: &str = "      tolerations: [{key: rollforward.dev/drained, operator: Exists}]
      affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, preference: {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-b]}]}}]}}";

async fn drained(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let noise = Noise { container: SECOND, bake: "8s", ..Noise::new("drained") };
    let shop = noise.open(&cluster).await?;
    noise.release(&shop).await?;
    let path = "jsonpath={range .items[*]}{.spec.nodeName} {.spec.containers[0].image}{\"\\n\"}{end}";
    wait_until("the canary to be on the second node", PATIENCE, || async {
        let pods = shop.kubectl(&["get", "pods", "-o", path])?;
        let there = pods.lines().any(|pod| pod.starts_with("node-b ") && pod.contains(":1.0.1@"));
        Ok(if there { Seen::Yes(()) } else { Seen::NotYet(pods) })
    })
    .await?;
    // kubectl cordons, then asks the Eviction API for each pod.
    shop.cluster.kubectl(&["drain", "node-b", "--timeout=60s", "--force", "--ignore-daemonsets"])?;
    let pods = shop.kubectl(&["get", "pods", "-o", path])?;
    ensure!(!pods.contains("node-b "), "{pods}");
    noise.ends_well(shop, 1).await?;
    cluster.kubectl(&["uncordon", "node-b"]).map(drop)
}

async fn flaky(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let flickers = ["--flaky", "6000", "4500"];
    let (old, new) = (Image::new("1.0.0").arguments(&flickers), Image::new("1.0.1").arguments(&flickers));
    // The probe fails three times in each pause: Ready comes and goes. A bake longer than any quiet spell is another matter:
    // it is judged by the old pods' flapping once they are five minutes old (rows of core/tests/tables/judge.txt).
    Noise { old, new, bake: "5s", deadline: "60s", ..Noise::new("flaky") }.goes_well(cluster).await
}

async fn out_of_memory(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let grows = ["--alloc", "--after", "5000", "--spread", "10000"];
    let (old, new) = (Image::new("1.0.0").arguments(&grows), Image::new("1.0.1").arguments(&grows));
    let container = "        resources: {limits: {memory: 16Mi}}";
    Noise { old, new, container, bake: "6s", ..Noise::new("base-memory") }.goes_well(cluster).await
}

async fn graceful(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let new = Image::new("1.0.1").arguments(&["--term", "143"]);
    let noise = Noise { new, bake: "6s", ..Noise::new("graceful") };
    let shop = noise.open(&cluster).await?;
    noise.release(&shop).await?;
    for _ in 0..3 {
        let canary = wait_until("a Ready canary", PATIENCE, || async {
            let path = "jsonpath={range .items[*]}{.metadata.name} {.metadata.deletionTimestamp} {.status.containerStatuses[0].ready} {.spec.containers[0].image}{\"\\n\"}{end}";
            let pods = shop.kubectl(&["get", "pods", "-o", path])?;
            let mut canaries = pods.lines().filter(|pod| pod.contains("  true ") && pod.contains(":1.0.1@"));
            let name = canaries.next().and_then(|pod| pod.split(' ').next()).map(str::to_owned);
            Ok(name.map_or(Seen::NotYet(pods.clone()), Seen::Yes))
        })
        .await?;
        shop.kubectl(&["delete", "pod", &canary, "--grace-period=10"])?;
    }
    noise.ends_well(shop, 1).await
}

async fn tripled(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let noise = Noise { bake: "6s", ..Noise::new("tripled") };
    let shop = noise.open(&cluster).await?;
    noise.release(&shop).await?;
    shop.wait_state("Canary").await?;
    // What a HorizontalPodAutoscaler writes, by the subresource that it writes.
    let scale = ["--subresource=scale", "--type=merge", "-p", "{\"spec\":{\"replicas\":6}}"];
    shop.kubectl(&[&["patch", "deployment", "web"][..], &scale].concat())?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(
        (reason.as_str(), message.as_str()) == ("RolledForward", "6 of 6 pods run 1.0.1"),
        "{reason}: {message}"
    );
    ensure!(shop.read_workload().await?.spec.replicas == Some(6), "the number of pods is the autoscaler's");
    noise.ends_well(shop, 1).await
}
