//! A run that is open when something happens to it: the canary stays Pending here, for there is no node.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::operator;
use e2e::shop::{PATIENCE, Shop, Workload, held, image};
use e2e::wait::{Seen, wait_until};

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial("a policy deleted in mid-canary: image and fields are restored before it goes", deleted),
        trial(
            "a policy suspended in mid-canary: the run is aborted, nothing is held against the digest",
            suspended,
        ),
        trial(
            "a policy edited in mid-canary so that the version is outside the rule: aborted, with the rule",
            edited,
        ),
        trial("somebody else sets another image in mid-canary: theirs stays, our fields go", changed),
        trial("a maxSurge that a person writes in mid-canary stays, the rest is given back", surge_by_hand),
        trial(
            "our annotation wiped in mid-canary changes nothing; one from the dead is removed",
            annotations,
        ),
        trial("a namespace deleted in mid-canary goes away", namespace),
        trial("a run deleted in mid-canary: image and fields are restored before it goes", run_deleted),
        trial("without an operator `rollforward restore` leaves nothing of ours", restore),
        trial("kill -9 just after a run was opened: the next operator finishes it, once", killed_early),
        trial("a workload that changes while the run begins: decided anew, one run at the end", conflicts),
        trial("admission that refuses our write is said with its words, and tried again", write_denied),
        trial(
            "a quota without room for the canary is told before anything is written, and raised it goes on",
            quota,
        ),
        trial(
            "what Pod Security would deny is told before anything is written, and let in it goes on",
            pod_security,
        ),
        trial(
            "an image that admission would rewrite is told before anything is written, and left alone it goes on",
            rewritten,
        ),
    ]
}

pub(crate) const POLICY: &str = "  verification: {unsigned: Allow, soak: {unsigned: 0s}}
  rollout: {bake: 2s, deadline: 10m, quarantine: {afterFails: 1}}";

/// Brings a shop to where a canary is held.
pub(crate) async fn in_canary(shop: &mut Shop) -> anyhow::Result<()> {
    prepared(shop, POLICY).await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    shop.wait_state("Canary").await
}

pub(crate) async fn prepared(shop: &mut Shop, policy: &str) -> anyhow::Result<()> {
    shop.workload(&Workload::default())?;
    settled(shop).await?;
    shop.start_operator("").await?;
    shop.policy(policy)?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await.map(drop)
}

/// Without nodes pods stay Pending; the Deployment is at rest when it has made them.
async fn settled(shop: &Shop) -> anyhow::Result<()> {
    wait_until("the Deployment's pods to be made", PATIENCE, || async {
        let status = shop.read_workload().await?.status.unwrap_or_default();
        Ok(if status.updated_replicas == Some(2) {
            Seen::Yes(())
        } else {
            Seen::NotYet(format!("{status:?}"))
        })
    })
    .await
}

async fn ends_clean(shop: &Shop, reason: &str, says: &str) -> anyhow::Result<()> {
    let (found, message) = shop.wait_run("1.0.1").await?;
    ensure!(found == reason && message.contains(says), "expected {reason} {says:?}, got {found}: {message}");
    shop.wait_image(":1.0.0").await?;
    shop.assert_no_held_field().await
}

async fn deleted(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "deleted").await?;
    in_canary(&mut shop).await?;
    shop.kubectl(&["delete", "updatepolicy", "web", "--timeout=30s"])?;
    shop.wait_image(":1.0.0").await?;
    shop.assert_no_held_field().await?;
    shop.wait_event("web", "Aborted: 1.0.1@").await?;
    shop.wait_event("web", "the policy was deleted").await?;
    shop.close()
}

async fn suspended(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "suspended").await?;
    in_canary(&mut shop).await?;
    // The state is told when the template is written; the native controller may be slower to make the pod.
    wait_until("the canary's pod to be made", PATIENCE, || async {
        let status = shop.read_workload().await?.status.unwrap_or_default();
        Ok(if status.replicas == Some(3) { Seen::Yes(()) } else { Seen::NotYet(format!("{status:?}")) })
    })
    .await?;
    let next = "jsonpath={.items[*].status.next}";
    let due = shop.kubectl(&["get", "updateruns", "-o", next])?;
    ensure!(due.contains("\"action\":\"RollBack\",\"at\":"), "while it is watched: {due}");
    shop.kubectl(&["patch", "updatepolicy", "web", "--type=merge", "-p", "{\"spec\":{\"suspend\":true}}"])?;
    ends_clean(&shop, "Suspended", "the policy was suspended").await?;
    // What was due of the canary is gone, also within the field.
    let due = shop.kubectl(&["get", "updateruns", "-o", next])?;
    ensure!(!due.contains("\"at\"") && due.contains("\"message\""), "after it has ended: {due}");
    shop.wait_says("UpToDate", "Suspended", &["observed `spec.suspend: true`. Set it to false to go on."])
        .await?;
    let quarantine = "jsonpath={.items[*].status.quarantine}";
    let held = shop.kubectl(&["get", "imageledgers", "-o", quarantine])?;
    ensure!(held == "[]", "held against the digest: {held}");
    shop.kubectl(&["patch", "updatepolicy", "web", "--type=merge", "-p", "{\"spec\":{\"suspend\":false}}"])?;
    // Without nodes the old pods are never available, and the native controller keeps the third pod: the run waits for it.
    shop.wait_says(
        "UpToDate",
        "AlreadyRolling",
        &["1.0.1@", "observed 2 of 2 pods on the newest template, 3 in all"],
    )
    .await?;
    shop.close()
}

async fn surge_by_hand(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "surge").await?;
    in_canary(&mut shop).await?;
    let surge = "{\"spec\":{\"strategy\":{\"rollingUpdate\":{\"maxSurge\":3}}}}";
    shop.kubectl(&["patch", "deployment", "web", "--type=merge", "-p", surge])?;
    shop.kubectl(&["patch", "updatepolicy", "web", "--type=merge", "-p", "{\"spec\":{\"suspend\":true}}"])?;
    let (reason, _) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "Suspended", "{reason}");
    shop.wait_image(":1.0.0").await?;
    let rolling = "jsonpath={.spec.strategy.rollingUpdate} {.spec.minReadySeconds}";
    let left = shop.kubectl(&["get", "deployment", "web", "-o", rolling])?;
    ensure!(left.trim() == r#"{"maxSurge":3,"maxUnavailable":"25%"}"#, "{left}");
    shop.close()
}

async fn edited(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "edited").await?;
    in_canary(&mut shop).await?;
    let patch = "{\"spec\":{\"image\":{\"select\":{\"semver\":{\"range\":\"1.0.0\"}}}}}";
    shop.kubectl(&["patch", "updatepolicy", "web", "--type=merge", "-p", patch])?;
    ends_clean(&shop, "Aborted", "the policy was edited: 1.0.1 is outside the rule 1.0.0 now").await?;
    shop.close()
}

async fn changed(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "changed").await?;
    in_canary(&mut shop).await?;
    let hotfix = format!("app={}:0.9.0-hotfix", shop.full_repository());
    shop.kubectl(&["set", "image", "deployment/web", &hotfix, "--field-manager=fixer"])?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(reason == "HumanEdit", "{reason}");
    ensure!(message.starts_with("fixer changed the image during the run, at "), "{message}");
    ensure!(image(&shop.read_workload().await?).ends_with(":0.9.0-hotfix"), "theirs stays");
    shop.assert_no_held_field().await?;
    shop.close()
}

async fn annotations(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "annotations").await?;
    in_canary(&mut shop).await?;
    shop.kubectl(&["annotate", "deployment", "web", "rollforward.dev/run-"])?;
    shop.kubectl(&["patch", "updatepolicy", "web", "--type=merge", "-p", "{\"spec\":{\"suspend\":true}}"])?;
    ends_clean(&shop, "Suspended", "the policy was suspended").await?;
    shop.kubectl(&["annotate", "deployment", "web", "rollforward.dev/run=web-gone"])?;
    wait_until("the stray annotation to go", PATIENCE, || async {
        let held = held(&shop.read_workload().await?);
        Ok(if held.is_empty() { Seen::Yes(()) } else { Seen::NotYet(held.join(", ")) })
    })
    .await?;
    shop.close()
}

async fn namespace(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "going").await?;
    in_canary(&mut shop).await?;
    shop.cluster.kubectl(&["delete", "namespace", "going", "--timeout=60s"])?;
    let log = shop.operator.as_ref().context("started")?.log();
    ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}

async fn run_deleted(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "run-deleted").await?;
    in_canary(&mut shop).await?;
    let run = shop.kubectl(&["get", "updateruns", "-o", "name"])?;
    shop.kubectl(&["delete", run.trim(), "--timeout=30s"])?;
    shop.wait_event("web", "the run was deleted").await?;
    shop.close()
}

async fn restore(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "restore").await?;
    in_canary(&mut shop).await?;
    shop.operator.take().context("started")?.kill()?;
    let binary = operator::binary()?;
    let output = operator::command(&binary, cluster.kubeconfig(), &["restore", "--namespace", "restore"])?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && printed.contains(": Deployment/web restored"), "{printed}{errors}");
    shop.wait_image(":1.0.0").await?;
    shop.assert_no_held_field().await?;
    // Nothing of ours holds the objects back either.
    shop.kubectl(&["delete", "updatepolicy,updateruns", "--all", "--timeout=20s"])?;
    shop.close()
}

async fn killed_early(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "killed-early").await?;
    prepared(&mut shop, POLICY).await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    wait_until("a run to be opened", PATIENCE, || async {
        let runs = shop.kubectl(&["get", "updateruns", "-o", "name"])?;
        Ok(if runs.is_empty() { Seen::NotYet("none".to_owned()) } else { Seen::Yes(()) })
    })
    .await?;
    shop.operator.take().context("started")?.kill()?;
    shop.start_operator("").await?;
    shop.wait_state("Canary").await?;
    let runs = shop.kubectl(&["get", "updateruns", "-o", "name"])?;
    ensure!(runs.lines().count() == 1, "{runs}");
    shop.close()
}

async fn conflicts(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "conflicts").await?;
    prepared(&mut shop, POLICY).await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    // Each scaling is a new generation: what was read a moment ago does not hold any more.
    wait_until("a run to meet a changed workload", PATIENCE, || async {
        for replicas in ["--replicas=3", "--replicas=2"] {
            shop.kubectl(&["scale", "deployment/web", replicas])?;
        }
        let log = shop.operator.as_ref().context("started")?.log();
        let met =
            log.contains("WriteConflict") || log.contains("the workload changed before anything was written");
        let begun = shop.read_policy("web").await?.status.unwrap_or_default();
        let state =
            begun.images.iter().flatten().next().and_then(|image| image.state.clone()).unwrap_or_default();
        Ok(if met || state == "Canary" { Seen::Yes(()) } else { Seen::NotYet(state) })
    })
    .await?;
    shop.wait_state("Canary").await?;
    let open = "jsonpath={range .items[?(@.status.phase==\"Canary\")]}{.metadata.name} {end}";
    let open = shop.kubectl(&["get", "updateruns", "-o", open])?;
    ensure!(open.split_whitespace().count() == 1, "{open}");
    let run = shop.kubectl(&[
        "get",
        "deployment",
        "web",
        "-o",
        "jsonpath={.metadata.annotations.rollforward\\.dev/run}",
    ])?;
    ensure!(run == open.trim(), "the workload names {run}, open is {open}");
    shop.close()
}

const FROZEN: &str = r#"apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: rollforward-frozen}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [UPDATE], resources: [deployments]}]
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: write-denied}}
  validations:
  - {expression: "object.spec.template == oldObject.spec.template", message: change freeze until Monday}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: rollforward-frozen}
spec: {policyName: rollforward-frozen, validationActions: [Deny]}
"#;

async fn write_denied(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "write-denied").await?;
    prepared(&mut shop, POLICY).await?;
    cluster.apply("write-denied", FROZEN)?;
    // The apiserver takes a moment to enforce a new policy: asked until it does.
    let set = format!("app={}:0.9.0", shop.full_repository());
    wait_until("the freeze to be enforced", PATIENCE, || async {
        let tried = shop.kubectl(&["set", "image", "deployment/web", &set, "--dry-run=server"]);
        Ok(if tried.is_err() { Seen::Yes(()) } else { Seen::NotYet("accepted".to_owned()) })
    })
    .await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let says = [
        "expected the new pods to be let in, observed ",
        "ValidatingAdmissionPolicy 'rollforward-frozen'",
        "denied request: change freeze until Monday",
        "No pod was started.",
    ];
    shop.wait_says("Blocked", "AdmissionDenied", &says).await?;
    shop.wait_image(":1.0.0").await?;
    shop.assert_no_held_field().await?;
    cluster.kubectl(&[
        "delete",
        "validatingadmissionpolicybinding/rollforward-frozen",
        "validatingadmissionpolicy/rollforward-frozen",
    ])?;
    shop.wait_state("Canary").await?;
    shop.wait_condition("Ready", "True", "Watching").await?;
    shop.close()
}

async fn quota(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "quota").await?;
    let quota = "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: two}\nspec: {hard: {pods: \"2\"}}";
    cluster.apply("quota", quota)?;
    prepared(&mut shop, POLICY).await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let told = "expected room for a canary beside the old pods, observed quota two allows pods 2, 2 used; 1 more pod cannot be created beside the old ones. No pod was started.";
    shop.wait_says("Blocked", "QuotaExceeded", &[told]).await?;
    ensure!(shop.kubectl(&["get", "updateruns", "-o", "name"])?.is_empty(), "nothing is recorded");
    shop.wait_image(":1.0.0").await?;
    shop.kubectl(&["delete", "resourcequota", "two"])?;
    shop.wait_image(":1.0.1@").await?;
    shop.close()
}

async fn pod_security(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "pod-security").await?;
    prepared(&mut shop, POLICY).await?;
    let label = |value: &str| -> anyhow::Result<()> {
        let label = format!("pod-security.kubernetes.io/enforce{value}");
        cluster.kubectl(&["label", "namespace", "pod-security", &label]).map(drop)
    };
    label("=restricted")?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let told =
        "expected the new pods to be let in, observed would violate PodSecurity \"restricted:latest\": ";
    shop.wait_says("Blocked", "PodSecurity", &[told, "No pod was started."]).await?;
    ensure!(shop.kubectl(&["get", "updateruns", "-o", "name"])?.is_empty(), "nothing is recorded");
    shop.wait_image(":1.0.0").await?;
    label("-")?;
    shop.wait_image(":1.0.1@").await?;
    shop.close()
}

/// Takes the digest out of each image, as one that rewrites images to another spelling does.
const SPELLING: &str = r#"apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: rollforward-spelling}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [UPDATE], resources: [deployments]}]
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: rewritten}}
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: >-
        [JSONPatch{op: "replace", path: "/spec/template/spec/containers/0/image",
        value: object.spec.template.spec.containers[0].image.split("@")[0]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: rollforward-spelling}
spec: {policyName: rollforward-spelling}
"#;

async fn rewritten(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "rewritten").await?;
    prepared(&mut shop, POLICY).await?;
    cluster.apply("rewritten", SPELLING)?;
    // The apiserver takes a moment to mutate by a new policy: asked until it does.
    let set = format!("app={}:0.9.0@sha256:{}", shop.full_repository(), "a".repeat(64));
    wait_until("the spelling to be rewritten", PATIENCE, || async {
        let what = ["set", "image", "deployment/web", &set, "--dry-run=server", "-o", "yaml"];
        let tried = shop.kubectl(&what)?;
        Ok(if tried.contains(":0.9.0@") { Seen::NotYet(tried) } else { Seen::Yes(()) })
    })
    .await?;
    let digest = shop.push("1.0.1", Image::new("1.0.1")).await?;
    let image = format!("{}:1.0.1", shop.full_repository());
    let told = format!(
        "expected the workload to be stored as it is written, observed {image} instead of {image}@{digest} as the image of container app: a webhook or a MutatingAdmissionPolicy rewrites it. Nothing was written. Exclude the workload there, or write its image as it comes out of there"
    );
    shop.wait_says("Blocked", "WriteRewritten", &[&told]).await?;
    ensure!(shop.kubectl(&["get", "updateruns", "-o", "name"])?.is_empty(), "nothing is recorded");
    shop.wait_image(":1.0.0").await?;
    shop.assert_no_held_field().await?;
    cluster.kubectl(&[
        "delete",
        "mutatingadmissionpolicybinding/rollforward-spelling",
        "mutatingadmissionpolicy/rollforward-spelling",
    ])?;
    shop.wait_image(":1.0.1@").await?;
    shop.close()
}
