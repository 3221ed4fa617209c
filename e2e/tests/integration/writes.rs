//! Writes in mid-run that meet something: a webhook that is down, a container that somebody put before ours. Pods are simulated.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::door::Door;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::keeper;
use e2e::operator::{self, Operator};
use e2e::shop::{PATIENCE, Shop, Workload};
use e2e::simulated::{Life, SCHEDULER, Simulated};
use e2e::wait::{Seen, wait_until};

use crate::canary::POLICY;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial(
            "a webhook goes down in mid-canary: said, tried again without haste, rolled back when it is gone",
            webhook_down,
        ),
        trial(
            "a container put before ours in mid-canary: the run ends well, deletion and `restore` go back",
            sidecar,
        ),
    ]
}

/// A shop whose two old pods are Ready.
async fn opened(cluster: &Arc<Cluster>, name: &str) -> anyhow::Result<(Shop, Simulated)> {
    let shop = Shop::open(cluster, name).await?;
    let simulated = Simulated::start(cluster).await?;
    push(&shop, &simulated, "1.0.0", Life::Ready).await?;
    shop.workload(&Workload { container: SCHEDULER, ..Workload::default() })?;
    shop.wait_available(2).await?;
    Ok((shop, simulated))
}

/// Pushes a version and answers its digest.
async fn push(shop: &Shop, simulated: &Simulated, tag: &str, life: Life) -> anyhow::Result<String> {
    let image = format!("{}:{tag}", shop.full_repository());
    // Known before it is there: the operator may be faster than what follows.
    simulated.know(&image, &format!("sha256:{}", "0".repeat(64)), Life::Pending);
    let digest = shop.push(tag, Image::new(tag)).await?;
    simulated.know(&image, &digest, life);
    Ok(digest)
}

const WEBHOOK: &str = r#"apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: rollforward-writes-down}
webhooks:
- name: down.rollforward.dev
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  timeoutSeconds: 1
  clientConfig: {url: "https://127.0.0.1:1/review"}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: writes-down}}
  rules: [{apiGroups: [apps], apiVersions: [v1], operations: [UPDATE], resources: [deployments]}]
"#;

async fn webhook_down(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (mut shop, simulated) = opened(&cluster, "writes-down").await?;
    let door = Door::open(&cluster, "writes-down").await?;
    let config = format!(
        "watchNamespaces: [writes-down]\nregistries: {{plainHttp: [\"{}\"]}}\n",
        cluster.registry_host()
    );
    let operator = Operator::spawn(&cluster.folder, &door.kubeconfig, "operator-writes-down", &config)?;
    keeper::remember(&cluster.folder, operator.pid())?;
    door.aim(operator.pid(), None);
    shop.operator = Some(operator);
    shop.policy(POLICY)?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    let digest = push(&shop, &simulated, "1.0.1", Life::Pending).await?;
    shop.wait_state("Canary").await?;
    wait_until("the canary's pod to be made", PATIENCE, || async {
        let status = shop.read_workload().await?.status.unwrap_or_default();
        Ok(if status.replicas == Some(3) { Seen::Yes(()) } else { Seen::NotYet(format!("{status:?}")) })
    })
    .await?;
    cluster.apply("writes-down", WEBHOOK)?;
    wait_until("the webhook to be asked", PATIENCE, || async {
        let tried = shop.kubectl(&["label", "deployment", "web", "asked=1", "--dry-run=server"]);
        Ok(if tried.is_err() { Seen::Yes(()) } else { Seen::NotYet("accepted".to_owned()) })
    })
    .await?;
    // The image is bad, and only now it shows.
    let image = format!("{}:1.0.1", shop.full_repository());
    simulated.know(&image, &digest, Life::Crashes(78));
    shop.kubectl(&["label", "pods", "--all", "told=1"])?;
    let told = [
        "the write to deployments.apps was refused, for a webhook does not answer: ",
        "failed calling webhook \"down.rollforward.dev\"",
        "Tried again by itself.",
    ];
    shop.wait_says("Ready", "WebhookDown", &told).await?;
    let not_yet = ["rolling back for ", "exit code 78", "Not written yet: WebhookDown: the write to "];
    shop.wait_says("Blocked", "CrashExit", &not_yet).await?;
    let refused = || door.writes().iter().filter(|write| *write == "deployments: revert (500)").count();
    let (begun, before) = (Instant::now(), refused());
    // What happens to the pods meanwhile may wake it a few times; by itself it waits 10 s.
    wait_until("4 more writes to be refused", PATIENCE, || async {
        let seen = refused();
        Ok(if before + 4 <= seen { Seen::Yes(()) } else { Seen::NotYet(door.writes().join("; ")) })
    })
    .await?;
    let took = begun.elapsed();
    ensure!(Duration::from_secs(9) < took, "4 writes were refused within {} s", took.as_secs());
    cluster.kubectl(&["delete", "validatingwebhookconfiguration", "rollforward-writes-down"])?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "CrashExit" && message.contains("exit code 78"), "{reason} {message}");
    shop.wait_image(":1.0.0").await?;
    shop.assert_no_held_field().await?;
    shop.wait_condition("Ready", "True", "Watching").await?;
    shop.close()
}

/// Puts a container before all others, as `kubectl apply` does with a file that has one more.
fn put_before(shop: &Shop, name: &str) -> anyhow::Result<()> {
    let patch = format!(
        r#"[{{"op":"add","path":"/spec/template/spec/containers/0","value":{{"name":"{name}","image":"proxy.test/proxy:1"}}}}]"#
    );
    shop.kubectl(&["patch", "deployment", "web", "--type=json", "-p", &patch]).map(drop)
}

async fn wait_ours(shop: &Shop, part: &str) -> anyhow::Result<()> {
    wait_until(&format!("the image {part} of our container"), PATIENCE, || async {
        let path = "jsonpath={.spec.template.spec.containers[?(@.name==\"app\")].image}";
        let image = shop.kubectl(&["get", "deployment", "web", "-o", path])?;
        Ok(if image.contains(part) { Seen::Yes(()) } else { Seen::NotYet(image) })
    })
    .await
}

async fn sidecar(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (mut shop, simulated) = opened(&cluster, "sidecar").await?;
    shop.start_operator("").await?;
    let policy = format!("{POLICY}\n  image: {{repositories: [\"{}\"]}}", shop.full_repository());
    shop.policy(&policy)?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    // Held until the sidecar is there.
    let digest = push(&shop, &simulated, "1.0.1", Life::Pending).await?;
    shop.wait_state("Canary").await?;
    let image = format!("{}:1.0.1", shop.full_repository());
    simulated.know(&image, &digest, Life::Ready);
    put_before(&shop, "one")?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "RolledForward", "{reason} {message}");
    wait_ours(&shop, ":1.0.1@").await?;
    shop.assert_no_held_field().await?;
    // The policy goes in mid-canary.
    push(&shop, &simulated, "1.0.2", Life::Pending).await?;
    wait_ours(&shop, ":1.0.2@").await?;
    put_before(&shop, "two")?;
    shop.kubectl(&["delete", "updatepolicy", "web", "--timeout=60s"])?;
    wait_ours(&shop, ":1.0.1@").await?;
    shop.assert_no_held_field().await?;
    // So does the operator.
    shop.wait_available(2).await?;
    shop.policy(&policy)?;
    wait_ours(&shop, ":1.0.2@").await?;
    put_before(&shop, "three")?;
    shop.operator.take().context("started")?.kill()?;
    let arguments = ["restore", "--namespace", "sidecar"];
    let output = operator::command(&operator::binary()?, cluster.kubeconfig(), &arguments)?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && printed.contains(": Deployment/web restored"), "{printed}{errors}");
    wait_ours(&shop, ":1.0.1@").await?;
    shop.assert_no_held_field().await?;
    shop.close()
}
