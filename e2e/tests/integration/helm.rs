//! A release of the real helm, whose image the operator moved: what an upgrade by server-side apply does, and what follows.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::shop::Shop;
use e2e::simulated::{Life, SCHEDULER, Simulated};

use crate::canary::POLICY;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial("helm: an upgrade meets our image as a conflict that names us, and loses nothing", conflict),
        trial(
            "helm: an upgrade that forces its image in mid-canary ends the run, and leaves no held field",
            forced,
        ),
    ]
}

/// A chart of one Deployment whose image and annotation are values.
struct Release {
    shop: Shop,
    simulated: Simulated,
    chart: tempfile::TempDir,
}

impl Release {
    async fn install(cluster: &Arc<Cluster>, name: &str) -> anyhow::Result<Self> {
        let shop = Shop::open(cluster, name).await?;
        let chart = tempfile::tempdir()?;
        std::fs::create_dir(chart.path().join("templates"))?;
        std::fs::write(chart.path().join("Chart.yaml"), "apiVersion: v2\nname: web\nversion: 1.0.0\n")?;
        let template = format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, annotations: {{note: \"{{{{ .Values.note }}}}\"}}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
{SCHEDULER}
      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: {}:{{{{ .Values.tag }}}}
",
            shop.full_repository()
        );
        std::fs::write(chart.path().join("templates/web.yaml"), template)?;
        let simulated = Simulated::start(cluster).await?;
        let mut release = Self { shop, simulated, chart };
        let digest = release.shop.push("1.0.0", Image::new("1.0.0")).await?;
        release.know("1.0.0", &digest, Life::Ready);
        release.helm(&["install", "--set", "note=first"])?;
        release.shop.wait_available(2).await?;
        release.shop.start_operator("").await?;
        release.shop.policy(POLICY)?;
        release.shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
        Ok(release)
    }

    fn know(&self, tag: &str, digest: &str, life: Life) {
        self.simulated.know(&format!("{}:{tag}", self.shop.full_repository()), digest, life);
    }

    /// Pushes a version; what becomes of its pods is known before the operator can see it.
    async fn push(&self, tag: &str, life: Life) -> anyhow::Result<()> {
        let digest = self.shop.push("build", Image::new(tag)).await?;
        self.know(tag, &digest, life);
        self.shop.push(tag, Image::new(tag)).await.map(drop)
    }

    /// Installs or upgrades; the image is always the chart's 1.0.0.
    fn helm(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let (verb, more) = arguments.split_first().context("a verb")?;
        let chart = self.chart.path().display().to_string();
        let all = [&[*verb, "web", &chart, "-n", &self.shop.namespace, "--set", "tag=1.0.0"], more].concat();
        self.shop.cluster.helm(&all)
    }

    fn note(&self) -> anyhow::Result<String> {
        self.shop.kubectl(&["get", "deployment", "web", "-o", "jsonpath={.metadata.annotations.note}"])
    }
}

async fn conflict(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let release = Release::install(&cluster, "helm-conflict").await?;
    let shop = &release.shop;
    release.push("1.0.1", Life::Ready).await?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "RolledForward", "{reason}: {message}");
    let refused = release.helm(&["upgrade", "--set", "note=second"]).err().context("a conflict")?.to_string();
    let field = ".spec.template.spec.containers[name=\"app\"].image";
    ensure!(refused.contains("conflict with \"rollforward\"") && refused.contains(field), "{refused}");
    ensure!(release.note()? == "first", "half an upgrade: {}", release.note()?);
    shop.wait_image(":1.0.1@").await?;
    // Forced, the chart's image is a person's: the version that they left is held, and a newer one goes on.
    release.helm(&["upgrade", "--set", "note=third", "--force-conflicts"])?;
    shop.wait_says("Blocked", "HumanRollback", &["observed helm went back to 1.0.0"]).await?;
    ensure!(release.note()? == "third", "{}", release.note()?);
    shop.wait_image(":1.0.0").await?;
    release.push("1.0.2", Life::Ready).await?;
    let (reason, message) = shop.wait_run("1.0.2").await?;
    ensure!(reason == "RolledForward", "{reason}: {message}");
    release.shop.close()
}

async fn forced(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let release = Release::install(&cluster, "helm-forced").await?;
    let shop = &release.shop;
    release.push("1.0.1", Life::Pending).await?;
    shop.wait_state("Canary").await?;
    release.helm(&["upgrade", "--set", "note=second", "--force-conflicts"])?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(
        reason == "HumanRollback" && message.starts_with("helm went back to 1.0.0 during the run, at 2"),
        "{reason}: {message}"
    );
    shop.wait_image(":1.0.0").await?;
    shop.assert_no_held_field().await?;
    shop.wait_available(2).await?;
    ensure!(release.note()? == "second", "{}", release.note()?);
    release.shop.close()
}
