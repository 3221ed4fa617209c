//! StatefulSets, DaemonSets and CronJobs on a real node: promoted, reverted, healed.

use std::sync::Arc;

use anyhow::ensure;
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::shop::{PATIENCE, Shop};
use e2e::wait::{Seen, wait_until};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial(
            "a StatefulSet is rolled forward from its highest pod down, and keeps its own partition",
            set_promoted,
        ),
        trial(
            "a StatefulSet's crash is rolled back, and the broken pod is deleted where that is allowed",
            set_healed,
        ),
        trial(
            "a StatefulSet's crash is rolled back, and the command that heals it is told where it is not",
            set_told,
        ),
        trial("a DaemonSet's crash is rolled back from its first node", daemon_set),
        trial("a CronJob whose runs fail goes back, by the test over its runs", runs_fail),
        trial("a CronJob is done after its first success, and the watch over its runs goes on", run_succeeds),
        trial(
            "a CronJob whose runs fail as often as those of the old image is no failure of the image",
            runs_as_before,
        ),
        trial(
            "a CronJob stuck on its image under Forbid goes back, its Job is ended and the next run goes",
            stuck,
        ),
    ]
}

const PODS: &str = "      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: IMAGE
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}";

/// Applies the workload `web` of a kind; `spec` is indented by two spaces.
fn apply(shop: &Shop, kind: &str, spec: &str) -> anyhow::Result<()> {
    let image = format!("{}:1.0.0", shop.full_repository());
    let yaml = format!(
        "apiVersion: apps/v1
kind: {kind}
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
{spec}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
{PODS}
"
    );
    shop.cluster.apply(&shop.namespace, &yaml.replace("IMAGE", &image)).map(drop)
}

fn policy(shop: &Shop, api_version: &str, kind: &str, rollout: &str) -> anyhow::Result<()> {
    let yaml = format!(
        "apiVersion: rollforward.dev/v1alpha1
kind: UpdatePolicy
metadata: {{name: web}}
spec:
  targets: [{{apiVersion: {api_version}, kind: {kind}, name: web}}]
  schedule: {{interval: 1s}}
  verification: {{unsigned: Allow, soak: {{unsigned: 0s}}}}
  rollout: {{{rollout}, quarantine: {{afterFails: 1, retryAfter: 1h}}}}
"
    );
    shop.cluster.apply(&shop.namespace, &yaml).map(drop)
}

fn read(shop: &Shop, what: &[&str]) -> anyhow::Result<Value> {
    let all: Vec<&str> = ["get"].into_iter().chain(what.iter().copied()).chain(["-o", "json"]).collect();
    Ok(serde_json::from_str(&shop.kubectl(&all)?)?)
}

/// Waits until so many pods of `web` are Ready on an image that contains this.
async fn wait_ready(shop: &Shop, count: usize, image: &str) -> anyhow::Result<()> {
    wait_until(&format!("{count} Ready pods on {image}"), PATIENCE, || async {
        let pods = read(shop, &["pods", "-l", "app=web"])?;
        let is_ready = |pod: &&Value| {
            let ready = pod["status"]["containerStatuses"][0]["ready"] == true;
            ready && pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default().contains(image)
        };
        let all = pods["items"].as_array().cloned().unwrap_or_default();
        let ready = all.iter().filter(is_ready).count();
        Ok(if ready == count && all.len() == count {
            Seen::Yes(())
        } else {
            let said: Vec<String> = all
                .iter()
                .map(|pod| {
                    let image = &pod["spec"]["containers"][0]["image"];
                    format!("{} {image} {}", pod["metadata"]["name"], pod["status"]["containerStatuses"][0])
                })
                .collect();
            Seen::NotYet(said.join("; ").chars().take(1500).collect())
        })
    })
    .await
}

async fn in_watch(shop: &mut Shop, kind: &str, rollout: &str) -> anyhow::Result<()> {
    shop.start_operator("").await?;
    policy(shop, "apps/v1", kind, rollout)?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await.map(drop)
}

async fn set(cluster: &Arc<Cluster>, name: &str, rollout: &str) -> anyhow::Result<Shop> {
    let mut shop = Shop::open(cluster, name).await?;
    apply(&shop, "StatefulSet", "  replicas: 3\n  serviceName: web")?;
    wait_ready(&shop, 3, ":1.0.0").await?;
    in_watch(&mut shop, "StatefulSet", rollout).await?;
    Ok(shop)
}

fn partition(shop: &Shop) -> anyhow::Result<i64> {
    let set = read(shop, &["statefulset", "web"])?;
    Ok(set["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap_or(0))
}

async fn set_promoted(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let shop = set(&cluster, "set-promoted", "bake: 4s, deadline: 3m, steps: [1, \"100%\"]").await?;
    let digest = shop.push("1.0.1", Image::new("1.0.1")).await?;
    shop.wait_says("UpToDate", "CanaryWatching", &["expected 1 new to stay Ready for 4s beside 2 of 2 old"])
        .await?;
    ensure!(partition(&shop)? == 2, "the partition is {}", partition(&shop)?);
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "RolledForward" && message == "3 of 3 pods run 1.0.1", "{reason}: {message}");
    wait_ready(&shop, 3, &digest).await?;
    ensure!(partition(&shop)? == 0, "the partition is {}", partition(&shop)?);
    shop.wait_event("web", "CanaryStarted: 1.0.0 -> 1.0.1").await?;
    shop.wait_event("web", "the 1 highest of 3 pods replaced, the others held by the partition").await?;
    shop.close()
}

const CRASH: &str = "bake: 20s, deadline: 3m, steps: [1, \"100%\"]";

async fn set_healed(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let rollout = format!("{CRASH}, rollback: {{deleteBrokenPods: true}}");
    let shop = set(&cluster, "set-healed", &rollout).await?;
    shop.push("1.0.1", Image::new("1.0.1-78").arguments(&["--exit", "78"])).await?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "CrashExit" && message.contains("exit code 78"), "{reason}: {message}");
    wait_ready(&shop, 3, ":1.0.0").await?;
    ensure!(partition(&shop)? == 0, "the partition is {}", partition(&shop)?);
    shop.wait_event("web", "BrokenPodDeleted: 1.0.1@").await?;
    shop.wait_event("web", "deleted pod web-2, which would stay on 1.0.1 for ever").await?;
    shop.close()
}

async fn set_told(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let shop = set(&cluster, "set-told", CRASH).await?;
    shop.push("1.0.1", Image::new("1.0.1-77").arguments(&["--exit", "77"])).await?;
    let command = "kubectl delete pod web-2 -n set-told";
    shop.wait_says("Blocked", "CrashExit", &["OrderedReady keeps the broken pod", command]).await?;
    let image =
        read(&shop, &["statefulset", "web"])?["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    ensure!(image.as_str().unwrap_or_default().ends_with(":1.0.0"), "the image is {image}");
    shop.kubectl(&["delete", "pod", "web-2", "--wait=false"])?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "CrashExit", "{reason}: {message}");
    wait_ready(&shop, 3, ":1.0.0").await?;
    shop.close()
}

async fn daemon_set(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "daemon-set").await?;
    apply(
        &shop,
        "DaemonSet",
        "  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 50%}}",
    )?;
    // Not every node takes it: another trial's may be tainted.
    let nodes = wait_until("the DaemonSet to be placed", PATIENCE, || async {
        let placed = read(&shop, &["daemonset", "web"])?["status"]["desiredNumberScheduled"].as_u64();
        let placed = placed.and_then(|placed| usize::try_from(placed).ok()).filter(|placed| 0 < *placed);
        Ok(placed.map_or_else(|| Seen::NotYet("no node yet".to_owned()), Seen::Yes))
    })
    .await?;
    wait_ready(&shop, nodes, ":1.0.0").await?;
    in_watch(&mut shop, "DaemonSet", "bake: 3s, deadline: 3m").await?;
    let rolling = |shop: &Shop| -> anyhow::Result<String> {
        Ok(read(shop, &["daemonset", "web"])?["spec"]["updateStrategy"]["rollingUpdate"].to_string())
    };
    let before = rolling(&shop)?;
    shop.push("1.0.1", Image::new("1.0.1-79").arguments(&["--exit", "79"])).await?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "CrashExit" && message.contains("exit code 79"), "{reason}: {message}");
    wait_ready(&shop, nodes, ":1.0.0").await?;
    ensure!(rolling(&shop)? == before, "{before} before, {} after", rolling(&shop)?);
    let digest = shop.push("1.0.2", Image::new("1.0.2")).await?;
    let (reason, message) = shop.wait_run("1.0.2").await?;
    ensure!(
        reason == "RolledForward" && message == format!("{nodes} of {nodes} pods run 1.0.2"),
        "{reason}: {message}"
    );
    wait_ready(&shop, nodes, &digest).await?;
    ensure!(rolling(&shop)? == before, "{before} before, {} after", rolling(&shop)?);
    shop.close()
}

/// A CronJob whose image ends by `--exit 0` in 1.0.0.
async fn cron(cluster: &Arc<Cluster>, name: &str, schedule: &str) -> anyhow::Result<Shop> {
    cron_of(cluster, name, schedule, &["--exit", "0"]).await
}

/// A CronJob whose image ends so in 1.0.0.
async fn cron_of(
    cluster: &Arc<Cluster>,
    name: &str,
    schedule: &str,
    arguments: &[&str],
) -> anyhow::Result<Shop> {
    let mut shop = Shop::open(cluster, name).await?;
    shop.push("1.0.0", Image::new("1.0.0-job").arguments(arguments)).await?;
    let image = format!("{}:1.0.0", shop.full_repository());
    let yaml = format!(
        "apiVersion: batch/v1
kind: CronJob
metadata: {{name: web}}
spec:
  schedule: \"{schedule}\"
  concurrencyPolicy: Forbid
  failedJobsHistoryLimit: 20
  successfulJobsHistoryLimit: 20
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          terminationGracePeriodSeconds: 0
          containers:
          - {{name: app, image: \"{image}\"}}
"
    );
    shop.cluster.apply(&shop.namespace, &yaml)?;
    shop.start_operator("").await?;
    policy(&shop, "batch/v1", "CronJob", "bake: 3s, deadline: 3m")?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    Ok(shop)
}

fn cron_image(shop: &Shop) -> anyhow::Result<String> {
    let cron = read(shop, &["cronjob", "web"])?;
    let pods = &cron["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    Ok(pods["containers"][0]["image"].as_str().unwrap_or_default().to_owned())
}

async fn wait_cron_image(shop: &Shop, part: &str) -> anyhow::Result<()> {
    wait_until(&format!("the image {part}"), PATIENCE, || async {
        let image = cron_image(shop)?;
        Ok(if image.contains(part) { Seen::Yes(()) } else { Seen::NotYet(image) })
    })
    .await
}

fn run_now(shop: &Shop, name: &str) -> anyhow::Result<()> {
    shop.kubectl(&["create", "job", "--from=cronjob/web", name]).map(drop)
}

const YEARLY: &str = "0 0 1 1 *";

async fn runs_fail(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let shop = cron(&cluster, "runs-fail", YEARLY).await?;
    shop.push("1.0.1", Image::new("1.0.1-9").arguments(&["--exit", "9"])).await?;
    wait_cron_image(&shop, ":1.0.1@").await?;
    for run in ["one", "two"] {
        run_now(&shop, run)?;
    }
    shop.wait_says(
        "UpToDate",
        "RunsFailed",
        &["2 of 2 runs failed (2 by exit 9)", "of the old image 0 of 0"],
    )
    .await?;
    run_now(&shop, "three")?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(
        reason == "RunsFailed" && message.contains("3 of 3 runs failed (3 by exit 9)"),
        "{reason}: {message}"
    );
    ensure!(cron_image(&shop)?.ends_with(":1.0.0"), "{}", cron_image(&shop)?);
    shop.close()
}

async fn run_succeeds(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let shop = cron(&cluster, "run-succeeds", YEARLY).await?;
    shop.push("1.0.1", Image::new("1.0.1-job").arguments(&["--exit", "0"])).await?;
    wait_cron_image(&shop, ":1.0.1@").await?;
    shop.wait_says(
        "UpToDate",
        "CanaryWatching",
        &["expected its next runs to succeed, observed 0 of 0 runs"],
    )
    .await?;
    run_now(&shop, "one")?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    let runs = read(&shop, &["updateruns"])?;
    ensure!(runs["items"][0]["status"]["finishedAt"].is_null(), "the watch goes on: {runs}");
    // A newer one does not wait for the watch over this one.
    shop.push("1.0.2", Image::new("1.0.2-job").arguments(&["--exit", "0"])).await?;
    wait_cron_image(&shop, ":1.0.2@").await?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "RolledForward" && message.contains("a newer version"), "{reason}: {message}");
    shop.close()
}

/// Ten runs, three of which fail, in an order that no image chooses; answers when the last has ended.
async fn ten_runs(shop: &Shop, name: &str) -> anyhow::Result<()> {
    for number in [3, 0, 7, 4, 1, 9, 5, 2, 6, 8] {
        run_now(shop, &format!("{name}-{number}"))?;
    }
    wait_until("ten runs to end", PATIENCE, || async {
        let path = "jsonpath={range .items[*]}{.metadata.name}{.status.conditions[*].type}{\"\\n\"}{end}";
        let jobs = shop.kubectl(&["get", "jobs", "-o", path])?;
        let of = |end: &str| jobs.lines().filter(|job| job.starts_with(name) && job.ends_with(end)).count();
        Ok(if (of("Complete"), of("Failed")) == (7, 3) { Seen::Yes(()) } else { Seen::NotYet(jobs) })
    })
    .await
}

async fn runs_as_before(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let three_of_ten = ["--exit", "3", "--tenths", "3"];
    let shop = cron_of(&cluster, "runs-as-before", YEARLY, &three_of_ten).await?;
    ten_runs(&shop, "before").await?;
    shop.push("1.0.1", Image::new("1.0.1-job").arguments(&three_of_ten)).await?;
    wait_cron_image(&shop, ":1.0.1@").await?;
    ten_runs(&shop, "after").await?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(
        (reason.as_str(), message.as_str())
            == ("RolledForward", "1.0.1 is set, and its runs fail no more often than before"),
        "{reason}: {message}"
    );
    ensure!(cron_image(&shop)?.contains(":1.0.1@"), "{}", cron_image(&shop)?);
    let held = shop.kubectl(&["get", "imageledgers", "-o", "jsonpath={.items[*].status.quarantine}"])?;
    ensure!(held == "[]", "held against the digest: {held}");
    shop.close()
}

async fn stuck(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let shop = cron(&cluster, "stuck", "* * * * *").await?;
    let digest = shop.push("1.0.1", Image::new("1.0.1-stuck").arguments(&["--exit", "0"])).await?;
    super::faults::remove_layer(&shop, &digest)?;
    wait_cron_image(&shop, ":1.0.1@").await?;
    let jobs = |image: &'static str, condition: &'static str| {
        let shop = &shop;
        move || async move {
            let jobs = read(shop, &["jobs"])?;
            let fits = |job: &&Value| {
                let own =
                    job["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
                let conditions = job["status"]["conditions"].to_string();
                own.contains(image) && conditions.contains(condition)
            };
            let all = jobs["items"].as_array().cloned().unwrap_or_default();
            Ok(match all.iter().filter(fits).filter_map(|job| job["metadata"]["name"].as_str()).next_back() {
                Some(name) => Seen::Yes(name.to_owned()),
                None => Seen::NotYet(jobs["items"].to_string().chars().take(1500).collect()),
            })
        }
    };
    let stuck = wait_until("a scheduled run of 1.0.1", PATIENCE, jobs(":1.0.1@", "")).await?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(["PullNotFound", "PullInvalid"].contains(&reason.as_str()), "{reason}: {message}");
    ensure!(cron_image(&shop)?.ends_with(":1.0.0"), "{}", cron_image(&shop)?);
    let ended = wait_until("the stuck run to end", PATIENCE, jobs(":1.0.1@", "DeadlineExceeded")).await?;
    ensure!(ended == stuck, "{ended} ended, {stuck} was stuck");
    shop.wait_event("web", &format!("StuckJobEnded: 1.0.1@{}: ended job {stuck}", &digest[7..15])).await?;
    // Ended runs of the old image were there before: the next is one that is younger than the stuck one.
    wait_until("the next run of 1.0.0", PATIENCE, || async {
        let jobs = read(&shop, &["jobs"])?;
        let all = jobs["items"].as_array().cloned().unwrap_or_default();
        let at = |job: &Value| job["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
        let since = all.iter().find(|job| job["metadata"]["name"] == stuck.as_str()).map(&at);
        let next = all.iter().any(|job| {
            Some(at(job)) > since && job["status"]["conditions"].to_string().contains("\"Complete\"")
        });
        Ok(if next {
            Seen::Yes(())
        } else {
            Seen::NotYet(jobs["items"].to_string().chars().take(1500).collect())
        })
    })
    .await?;
    shop.close()
}
