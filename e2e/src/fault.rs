//! A release that goes wrong, as data: what is there, what is pushed, what happens meanwhile, and what must come of it.
//!
//! [`Fault::check`] demands the action, the code and the sentence, that no old pod was lost and that nothing is held any
//! more, and measures how long the cause and the rollback took. The rows are in `tests/cluster`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::cluster::Cluster;
use crate::harness;
use crate::image::Image;
use crate::shop::{PATIENCE, Shop, Workload, image, tail};

/// The readiness probe of most workloads.
pub const PROBE: &str = "        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}";

/// What must come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Rolled back, and not tried again.
    Quarantined,
    /// Rolled back, and tried once more later.
    RolledBack,
    /// Nothing was written.
    Held,
}

/// When the surroundings change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// While the old image runs, before the new one is pushed.
    Before,
    /// While the new image soaks, 3 s.
    Soaking,
    /// While the first new pod is watched.
    Canary,
}

/// A change of the surroundings; it is told the digest of the new image.
pub type Change = fn(&Shop, &str) -> anyhow::Result<()>;

/// A release that goes wrong.
#[derive(Clone)]
pub struct Fault {
    /// Its name, which is its namespace's too.
    pub name: &'static str,
    /// The image that runs.
    pub old: Image,
    /// The image that is pushed.
    pub new: Image,
    /// How many pods.
    pub replicas: u32,
    /// Lines of the container, eight spaces deep.
    pub container: &'static str,
    /// Lines of the policy's `rollout` beside bake, deadline and quarantine.
    pub rollout: &'static str,
    /// Longer than what the image needs to fail, also on a busy node.
    pub bake: &'static str,
    /// Short where only the deadline decides.
    pub deadline: &'static str,
    /// How often the policy looks.
    pub interval: &'static str,
    /// What is there before the workload is.
    pub prepare: Option<fn(&mut Shop) -> anyhow::Result<()>>,
    /// What changes, and when.
    pub change: Option<(When, Change)>,
    /// What must come of it.
    pub action: Action,
    /// The code.
    pub reason: &'static str,
    /// What the sentence says.
    pub says: &'static [&'static str],
}

/// What a fault took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Measured {
    /// From the canary's patch to the condition that names the cause.
    pub cause: Option<f64>,
    /// From the canary's patch to the old image.
    pub rollback: Option<f64>,
}

impl Fault {
    /// A well-behaved image of two pods: each row says what is different.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            old: Image::new("1.0.0"),
            new: Image::new("1.0.1"),
            replicas: 2,
            container: "",
            rollout: "",
            bake: "3s",
            deadline: "45s",
            interval: "1s",
            prepare: None,
            change: None,
            action: Action::Quarantined,
            reason: "",
            says: &[],
        }
    }

    /// Lets it happen, and demands what must come of it.
    pub async fn check(self, cluster: Arc<Cluster>) -> anyhow::Result<()> {
        let mut shop = Shop::open(&cluster, self.name).await?;
        self.start(&mut shop).await?;
        let before = running(&shop)?;
        if let Some((When::Before, change)) = self.change {
            change(&shop, "")?;
        }
        let digest = shop.push("1.0.1", self.new.clone()).await?;
        let log = shop.operator.as_ref().map(crate::operator::Operator::log);
        let told = self.unfold(&shop, &digest).await;
        let measured = told.with_context(|| tail(&log.unwrap_or_default()))?;
        self.demand(&shop, &digest).await?;
        shop.wait_image(":1.0.0").await?;
        shop.assert_no_held_field().await?;
        let after = running(&shop)?;
        let lost = before.iter().filter(|pod| !after.contains(pod)).count();
        harness::measured(json!({
            "fault": self.name, "action": format!("{:?}", self.action), "reason": self.reason,
            "seconds_to_cause": measured.cause, "seconds_to_rollback": measured.rollback, "old_pods_lost": lost,
        }));
        ensure!(lost == 0, "old pods were lost: {before:?} before, {after:?} after");
        shop.close()
    }

    /// The old image at rest, watched by a policy.
    async fn start(&self, shop: &mut Shop) -> anyhow::Result<()> {
        shop.push("1.0.0", self.old.clone()).await?;
        if let Some(prepare) = self.prepare {
            prepare(shop)?;
        }
        let container = format!("{PROBE}\n{}", self.container);
        let image = shop.image.clone();
        shop.workload(&Workload {
            replicas: self.replicas,
            container: &container,
            image: &image,
            ..Workload::default()
        })?;
        shop.wait_available(self.replicas.try_into()?).await?;
        shop.start_operator("").await?;
        let soak = if matches!(self.change, Some((When::Soaking, _))) { "3s" } else { "0s" };
        let (bake, deadline, rollout, more) = (self.bake, self.deadline, self.rollout, &shop.policy_settings);
        shop.policy_every(
            "web",
            self.interval,
            &format!(
                "{more}  verification: {{unsigned: Allow, soak: {{unsigned: {soak}}}}}
  rollout: {{bake: {bake}, deadline: {deadline}, quarantine: {{afterFails: 1, retryAfter: 1h}}{rollout}}}"
            ),
        )?;
        shop.wait_condition("UpToDate", "True", "NewestRuns").await.map(drop)
    }

    /// Follows what happens from the push on, every 50 ms, and changes the surroundings when it is time.
    async fn unfold(&self, shop: &Shop, digest: &str) -> anyhow::Result<Measured> {
        let mut change = self.change;
        let mut changed = |now: When| match change {
            Some((when, apply)) if when == now => {
                change = None;
                apply(shop, digest)
            }
            _ => Ok(()),
        };
        if self.interval != "1s" {
            let now = jiff::Timestamp::now().to_string();
            shop.kubectl(&[
                "annotate",
                "updatepolicy",
                "web",
                &format!("rollforward.dev/requestedAt={now}"),
            ])?;
        }
        let (begun, mut patched, mut measured) = (Instant::now(), None, Measured::default());
        while begun.elapsed() < PATIENCE {
            let image = image(&shop.read_workload().await?);
            let status = shop.read_policy("web").await?.status.unwrap_or_default();
            let says = |reason: &str| {
                let mut all = status.conditions.iter().flatten();
                all.any(|one| {
                    one.reason == reason
                        && one.status == if one.type_ == "Blocked" { "True" } else { "False" }
                })
            };
            if says("Soaking") {
                changed(When::Soaking)?;
            }
            if image.contains(":1.0.1@") {
                patched.get_or_insert_with(Instant::now);
                if status.images.iter().flatten().any(|image| image.state.as_deref() == Some("Canary")) {
                    changed(When::Canary)?;
                }
            }
            let since = patched.unwrap_or(begun).elapsed().as_secs_f64();
            if says(self.reason) {
                measured.cause.get_or_insert(since);
                if self.action == Action::Held {
                    return Ok(measured);
                }
            }
            if patched.is_some() && image.ends_with(":1.0.0") {
                measured.rollback.get_or_insert(since);
                if measured.cause.is_some() {
                    return Ok(measured);
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let status = shop.read_policy("web").await?.status.unwrap_or_default();
        let words: Vec<String> = status.conditions.into_iter().flatten().map(|one| one.message).collect();
        anyhow::bail!(
            "waited {} s for {}; the policy says: {}",
            PATIENCE.as_secs(),
            self.reason,
            words.join(" | ")
        )
    }

    async fn demand(&self, shop: &Shop, digest: &str) -> anyhow::Result<()> {
        let end = match self.action {
            Action::Held => {
                shop.wait_says("Blocked", self.reason, self.says).await?;
                let runs = shop.kubectl(&["get", "updateruns", "-o", "name"])?;
                ensure!(runs.is_empty(), "held, and yet there is {runs}");
                return Ok(());
            }
            Action::Quarantined => "Not retried by itself.",
            Action::RolledBack => "Tried once more ",
        };
        let (reason, message) = shop.wait_run("1.0.1").await?;
        ensure!(reason == self.reason, "expected {}, got {reason}: {message}", self.reason);
        let parts: Vec<&str> = self.says.iter().copied().chain([end]).collect();
        shop.wait_says("Blocked", self.reason, &parts).await?;
        shop.wait_event("web", &format!("{}: 1.0.1@{}: expected ", self.reason, &digest[7..15])).await?;
        if self.action == Action::Quarantined {
            shop.wait_event("web", "DigestQuarantined: ").await?;
        } else {
            let events = shop.events("web")?;
            ensure!(!events.contains("DigestQuarantined: "), "{events}");
        }
        let path = "jsonpath={.metadata.annotations.deployment\\.kubernetes\\.io/revision}";
        let revision = shop.kubectl(&["get", "deployment", "web", "-o", path])?;
        ensure!(revision == "3", "one start and one rollback make revision 3, not {revision}");
        Ok(())
    }
}

/// The names of the pods that run.
pub fn running(shop: &Shop) -> anyhow::Result<Vec<String>> {
    let only = ["--field-selector", "status.phase=Running"];
    let listed = shop.kubectl(&[&["get", "pods", "-l", "app=web", "-o", "name"][..], &only].concat())?;
    Ok(listed.lines().map(str::to_owned).collect())
}
