//! More than one target, and what else guards the pods, on real nodes.

use std::sync::Arc;

use anyhow::ensure;
use e2e::cluster::Cluster;
use e2e::fault::PROBE;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::shop::{PATIENCE, Shop, Workload};
use e2e::wait::{Seen, wait_until};

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial("of two targets in order the first proves the digest, and the second goes back alone", alone),
        trial("a PodDisruptionBudget that lets no pod go holds through a rollout and a rollback", budget),
    ]
}

const POLICY: &str = "  verification: {unsigned: Allow, soak: {unsigned: 0s}}
  rollout: {bake: 3s, deadline: 2m, quarantine: {afterFails: 1}}";

/// What a workload's pods run, by name of the Deployment.
fn image_of(shop: &Shop, name: &str) -> anyhow::Result<String> {
    let path = "jsonpath={.spec.template.spec.containers[0].image}";
    shop.kubectl(&["get", "deployment", name, "-o", path])
}

async fn alone(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "alone").await?;
    // The new image writes to its root: `web` lets it, `api` does not.
    shop.workload(&Workload { container: PROBE, ..Workload::default() })?;
    shop.wait_available(2).await?;
    let image = format!("{}:1.0.0", shop.full_repository());
    let api = format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: api}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: api}}}}
  template:
    metadata: {{labels: {{app: api}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: {image}
{PROBE}
        securityContext: {{readOnlyRootFilesystem: true}}
        terminationMessagePolicy: FallbackToLogsOnError
"
    );
    cluster.apply(&shop.namespace, &api)?;
    shop.kubectl(&["rollout", "status", "deployment/api", "--timeout=60s"])?;
    shop.start_operator("").await?;
    let policy = format!(
        "apiVersion: rollforward.dev/v1alpha1
kind: UpdatePolicy
metadata: {{name: web}}
spec:
  targets:
  - {{apiVersion: apps/v1, kind: Deployment, name: web}}
  - {{apiVersion: apps/v1, kind: Deployment, name: api}}
  schedule: {{interval: 1s}}
{POLICY}
"
    );
    cluster.apply(&shop.namespace, &policy)?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    shop.push("1.0.1", Image::new("1.0.1").arguments(&["--write", "/cache"])).await?;
    let runs = wait_until("both runs to end", PATIENCE, || async {
        let path = "jsonpath={range .items[*]}{.spec.workload.name} {.status.startedAt} {.status.finishedAt} {.status.result.reason}{\"\\n\"}{end}";
        let text = shop.kubectl(&["get", "updateruns", "-o", path])?;
        let mut runs: Vec<Vec<String>> =
            text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect();
        runs.sort_by(|one, other| one.get(1).cmp(&other.get(1)));
        let ended = runs.iter().filter(|run| run.len() == 4 && run.iter().all(|field| !field.is_empty())).count();
        Ok(if ended == 2 { Seen::Yes(runs) } else { Seen::NotYet(text) })
    })
    .await?;
    let [first, second] = runs.as_slice() else { anyhow::bail!("two runs, got {runs:?}") };
    ensure!((first[0].as_str(), first[3].as_str()) == ("web", "RolledForward"), "{runs:?}");
    ensure!((second[0].as_str(), second[3].as_str()) == ("api", "ReadOnlyRootBlocked"), "{runs:?}");
    ensure!(first[2] <= second[1], "the second began before the first had proved the digest: {runs:?}");
    ensure!(image_of(&shop, "web")?.contains(":1.0.1@"), "{}", image_of(&shop, "web")?);
    ensure!(image_of(&shop, "api")? == image, "{}", image_of(&shop, "api")?);
    let states = shop.kubectl(&[
        "get",
        "updatepolicy",
        "web",
        "-o",
        "jsonpath={range .status.images[*]}{.state} {end}",
    ])?;
    ensure!(states.contains("Current") || states.contains("UpToDate"), "{states}");
    shop.wait_says("Blocked", "ReadOnlyRootBlocked", &["Deployment/api"]).await?;
    shop.close()
}

async fn budget(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "budget").await?;
    shop.workload(&Workload { container: PROBE, ..Workload::default() })?;
    shop.wait_available(2).await?;
    let guard = "apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 0, selector: {matchLabels: {app: web}}}
";
    cluster.apply(&shop.namespace, guard)?;
    shop.start_operator("").await?;
    shop.policy(POLICY)?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    for (tag, arguments, end) in
        [("1.0.1", &["--exit", "5"][..], "CrashExit"), ("1.0.2", &[][..], "RolledForward")]
    {
        shop.push(tag, Image::new(tag).arguments(arguments)).await?;
        // At every look fewer than two healthy pods would be a disruption that nobody was asked for.
        let reason = wait_until(&format!("the run to {tag} to end"), PATIENCE, || async {
            let healthy =
                shop.read_workload().await?.status.unwrap_or_default().available_replicas.unwrap_or(0);
            ensure!(2 <= healthy, "{healthy} of 2 pods available while {tag} is tried");
            let path = format!("jsonpath={{.items[?(@.spec.toTag==\"{tag}\")].status.result.reason}}");
            let reason = shop.kubectl(&["get", "updateruns", "-o", &path])?;
            Ok(if reason.is_empty() { Seen::NotYet(reason) } else { Seen::Yes(reason) })
        })
        .await?;
        ensure!(reason == end, "{tag}: {reason}");
    }
    shop.wait_image(":1.0.2@").await?;
    shop.assert_no_held_field().await?;
    shop.close()
}
