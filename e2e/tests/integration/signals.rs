//! One number a signal, by a real Prometheus: a canary that fails it, one that passes, and a meter that breaks.

use std::sync::Arc;

use anyhow::ensure;
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::prometheus::{Page, Prometheus};
use e2e::shop::{PATIENCE, Shop, Workload};
use e2e::wait::{Seen, wait_until};

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial(
            "a canary whose pods fail more requests than the old ones is rolled back with both numbers",
            fails,
        ),
        trial("a canary waits for enough requests, told by their number, and then passes", passes),
        trial(
            "a Prometheus that is stopped is said to be, since when, rolls nothing back and nothing on: the hold is made longer",
            stopped,
        ),
        trial("a Prometheus that the operator's configuration does not allow is not asked", forbidden),
    ]
}

const ERRORS: &str = r#"sum(increase(app_errors_total{namespace="$namespace",pod=~"$canary"}[$window])) / sum(increase(app_requests_total{namespace="$namespace",pod=~"$canary"}[$window]))"#;

fn policy(url: &str, (bake, deadline): (&str, &str)) -> String {
    let stable = ERRORS.replace("$canary", "$stable");
    format!(
        "  verification: {{unsigned: Allow, soak: {{unsigned: 0s}}}}
  rollout:
    bake: {bake}
    deadline: {deadline}
    quarantine: {{afterFails: 1}}
    analysis:
      prometheus: {{url: '{url}'}}
      signals:
      - name: errors
        query:
          canary: '{ERRORS}'
          stable: '{stable}'
          requests: 'sum(increase(app_requests_total{{namespace=\"$namespace\",pod=~\"$canary\"}}[$window]))'
        max: '0.05'
        maxRatio: '2'
        minRequests: 20"
    )
}

/// Two old pods that fail one request in a hundred, an operator that may ask Prometheus, and a new version.
async fn begin(
    cluster: &Arc<Cluster>,
    name: &str,
    times: (&str, &str),
) -> anyhow::Result<(Shop, Page, Prometheus)> {
    let mut shop = Shop::open(cluster, name).await?;
    let page = Page::serve(name)?;
    let prometheus = Prometheus::start(cluster, &page).await?;
    shop.workload(&Workload::default())?;
    for pod in pods(&shop, 2).await? {
        page.set(&pod, 10.0, 1.0);
    }
    shop.start_operator(&format!("prometheus: {{allowed: ['{}']}}", prometheus.url())).await?;
    shop.policy(&policy(&prometheus.url(), times))?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    Ok((shop, page, prometheus))
}

/// The names of the pods, once there are so many.
async fn pods(shop: &Shop, wanted: usize) -> anyhow::Result<Vec<String>> {
    wait_until("the pods to be made", PATIENCE, || async {
        let listed =
            shop.kubectl(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"])?;
        let names: Vec<String> = listed.split_whitespace().map(str::to_owned).collect();
        Ok(if names.len() == wanted { Seen::Yes(names) } else { Seen::NotYet(listed) })
    })
    .await
}

/// The canary's pod. Without nodes nobody runs it: its readiness is written as a kubelet would.
async fn canary(shop: &Shop) -> anyhow::Result<String> {
    shop.wait_image(":1.0.1@").await?;
    let image = "jsonpath={range .items[*]}{.metadata.name} {.spec.containers[0].image}{\"\\n\"}{end}";
    let name = wait_until("the canary's pod", PATIENCE, || async {
        let listed = shop.kubectl(&["get", "pods", "-l", "app=web", "-o", image])?;
        let found =
            listed.lines().find(|line| line.contains(":1.0.1@")).and_then(|line| line.split(' ').next());
        Ok(found.map_or_else(|| Seen::NotYet(listed.clone()), |name| Seen::Yes(name.to_owned())))
    })
    .await?;
    let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second())?;
    let status = format!(
        "{{\"status\":{{\"phase\":\"Running\",\"conditions\":[{{\"type\":\"Ready\",\"status\":\"True\",\"lastTransitionTime\":\"{now}\"}}]}}}}"
    );
    shop.kubectl(&["patch", "pod", &name, "--subresource=status", "--type=merge", "-p", &status])?;
    Ok(name)
}

async fn fails(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (shop, page, _prometheus) = begin(&cluster, "signal-fails", ("5m", "10m")).await?;
    page.set(&canary(&shop).await?, 10.0, 40.0);
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "SignalExceeded", "{reason}: {message}");
    let says = [
        "expected signal errors within its limits, observed signal errors: new 0.4, old 0.01; at most 0.05 or 2 times the old allowed",
    ];
    shop.wait_says("Blocked", "SignalExceeded", &says).await?;
    shop.wait_image(":1.0.0").await?;
    let signals = "jsonpath={.items[0].status.signals[0].name} {.items[0].status.signals[0].verdict}";
    let stored = shop.kubectl(&["get", "updateruns", "-o", signals])?;
    ensure!(stored == "errors Fail", "{stored}");
    shop.assert_no_held_field().await?;
    shop.close()
}

async fn passes(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (shop, page, _prometheus) = begin(&cluster, "signal-passes", ("3s", "10m")).await?;
    let pod = canary(&shop).await?;
    page.set(&pod, 0.1, 1.0);
    shop.wait_says("UpToDate", "InsufficientData", &["observed signal errors: ", " of 20 requests seen"])
        .await?;
    page.set(&pod, 20.0, 1.0);
    wait_until("the canary to be promoted", PATIENCE, || async {
        let writes =
            shop.kubectl(&["get", "updateruns", "-o", "jsonpath={.items[0].status.writes[*].what}"])?;
        Ok(if writes.contains("promoted") { Seen::Yes(()) } else { Seen::NotYet(writes) })
    })
    .await?;
    shop.close()
}

async fn stopped(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (shop, page, mut prometheus) = begin(&cluster, "signal-stopped", ("3s", "30s")).await?;
    page.set(&canary(&shop).await?, 10.0, 40.0);
    prometheus.stop();
    let says =
        ["signal errors: the canary query has no answer: ", ", since ", "Nothing is rolled back by this."];
    shop.wait_says("UpToDate", "MetricsUnavailable", &says).await?;
    // The hold outlasts the deadline by 300 s; at the deadline it is held for as long again.
    let before = shop.kubectl(&["get", "replicasets,pods", "-l", "app=web", "-o", "name"])?;
    wait_until("the hold to be made longer", PATIENCE, || async {
        let spec = shop.read_workload().await?.spec;
        let image = spec.template.spec.unwrap().containers[0].image.clone();
        ensure!(image.as_deref().is_some_and(|image| image.contains(":1.0.1@")), "rolled back: {image:?}");
        let held = (spec.min_ready_seconds, spec.progress_deadline_seconds);
        Ok(if held == (Some(660), Some(1260)) { Seen::Yes(()) } else { Seen::NotYet(format!("{held:?}")) })
    })
    .await?;
    let sets = "jsonpath={.items[*].spec.minReadySeconds}";
    wait_until("the canary's ReplicaSet to follow", PATIENCE, || async {
        let seen = shop.kubectl(&["get", "replicasets", "-l", "app=web", "-o", sets])?;
        Ok(if seen.trim() == "660" { Seen::Yes(()) } else { Seen::NotYet(seen) })
    })
    .await?;
    let after = shop.kubectl(&["get", "replicasets,pods", "-l", "app=web", "-o", "name"])?;
    ensure!(after == before, "before {before}, after {after}");
    shop.close()
}

async fn forbidden(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "signal-forbidden").await?;
    shop.workload(&Workload::default())?;
    shop.start_operator("").await?;
    shop.policy(&policy("http://169.254.169.254", ("3s", "10m")))?;
    let message = shop.wait_condition("Stalled", "True", "InvalidPolicy").await?;
    let says = "spec.rollout.analysis.prometheus.url: expected one of those that `prometheus.allowed` of the operator's configuration names; got \"http://169.254.169.254\"";
    ensure!(message.contains(says), "{message}");
    shop.close()
}
