//! What a policy says of its targets and of itself before anything moves.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::shop::{PATIENCE, Shop, Workload};
use e2e::wait::{Seen, wait_until};

use super::canary::{POLICY, prepared};

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial("a target that does not exist is waited for, not an error", missing),
        trial("a workload with no replicas is switched, with nothing to observe", no_replicas),
        trial("a paused Deployment is left alone until it is resumed", paused),
        trial(
            "strategy Recreate leaves no room for a canary: held, or rolled without one if allowed",
            recreate,
        ),
        trial("a Deployment in another rollout is waited for", rolling),
        trial("of two policies on one container the older acts and the younger says so", conflict),
        trial("with one place for runs in a namespace the second workload waits for it, and says so", limit),
        trial("without a trust decision nothing moves, and the sentence says how to make one", no_trust),
        trial("a young digest soaks until a time that is said", soaking),
        trial("DryRun judges and says, and writes nothing to the workload", dry_run),
        trial("a running tag that is no version is held until a person decides", unknown_current),
        trial("a policy that cannot be read does not stop the others", unreadable),
        trial("an idle policy costs no write", idle),
        trial(
            "policies that share a repository keep their memories of it side by side, and then write nothing",
            shared,
        ),
        trial("a look is asked for with `rollforward check` and answered in the status", check),
        trial("a version older than what completed is never chosen after tags are deleted", floor),
    ]
}

async fn missing(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "missing").await?;
    shop.start_operator("").await?;
    shop.policy(POLICY)?;
    let message = shop.wait_condition("UpToDate", "False", "TargetMissing").await?;
    ensure!(
        message
            == "TargetMissing: Deployment/web: no such workload yet. Nothing to move; picked up when it appears.",
        "{message}"
    );
    shop.wait_condition("Ready", "True", "Watching").await?;
    shop.workload(&Workload::default())?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    shop.close()
}

async fn no_replicas(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "no-replicas").await?;
    shop.workload(&Workload { replicas: 0, ..Workload::default() })?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    shop.start_operator("").await?;
    shop.policy(POLICY)?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(
        (reason.as_str(), message.as_str())
            == ("RolledForward", "1.0.1 is set; 0 replicas: nothing to observe"),
        "{message}"
    );
    shop.assert_no_held_field().await?;
    // As a crash between the record of the end and the last write would leave it: the next pass lets the run go.
    let run = shop.kubectl(&["get", "updateruns", "-o", "name"])?;
    let bound = "{\"metadata\":{\"finalizers\":[\"rollforward.dev/restore-workload\"]}}";
    shop.kubectl(&["patch", run.trim(), "--type=merge", "-p", bound])?;
    wait_until("the ended run to be let go", PATIENCE, || async {
        let left = shop.kubectl(&["get", run.trim(), "-o", "jsonpath={.metadata.finalizers}"])?;
        Ok(if left.is_empty() { Seen::Yes(()) } else { Seen::NotYet(left) })
    })
    .await?;
    shop.close()
}

async fn paused(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "paused").await?;
    prepared(&mut shop, POLICY).await?;
    shop.kubectl(&["rollout", "pause", "deployment/web"])?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let message = shop.wait_condition("Blocked", "True", "TargetPaused").await?;
    ensure!(message.contains("expected a Deployment that rolls, observed `spec.paused: true`. kubectl rollout resume deployment/web."), "{message}");
    shop.kubectl(&["rollout", "resume", "deployment/web"])?;
    shop.wait_state("Canary").await?;
    shop.close()
}

async fn recreate(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "recreate").await?;
    shop.workload(&Workload { spec: "  strategy: {type: Recreate}", ..Workload::default() })?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    shop.start_operator("").await?;
    shop.policy(POLICY)?;
    let message = shop.wait_condition("Blocked", "True", "CanaryImpossible").await?;
    ensure!(message.contains("expected room for a canary beside the old pods, observed strategy Recreate, which ends all old pods first."), "{message}");
    ensure!(message.contains("set `rollout.whenImpossible: RollWithoutCanary`."), "{message}");
    shop.kubectl(&[
        "patch",
        "updatepolicy",
        "web",
        "--type=merge",
        "-p",
        "{\"spec\":{\"rollout\":{\"whenImpossible\":\"RollWithoutCanary\"}}}",
    ])?;
    shop.wait_image(":1.0.1@sha256:").await?;
    shop.close()
}

async fn rolling(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "rolling").await?;
    prepared(&mut shop, POLICY).await?;
    // Without a node the new pods never become available: the restart stays under way.
    shop.kubectl(&["rollout", "restart", "deployment/web"])?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let message = shop.wait_condition("UpToDate", "False", "AlreadyRolling").await?;
    ensure!(
        message.contains(
            "expected a Deployment at rest, observed 1 of 2 pods on the newest template, 3 in all."
        ),
        "{message}"
    );
    shop.close()
}

async fn conflict(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "conflict").await?;
    prepared(&mut shop, POLICY).await?;
    // Ages are whole seconds; the name decides within one.
    shop.policy_named("web-too", POLICY)?;
    let message = shop.wait_condition_of("web-too", "Stalled", "True", "TargetConflict").await?;
    ensure!(
        message.contains(
            "expected one policy for a container, observed policy web is older and moves Deployment/web/app."
        ),
        "{message}"
    );
    shop.wait_condition_of("web-too", "Ready", "False", "TargetConflict").await?;
    shop.wait_condition("Ready", "True", "Watching").await?;
    shop.close()
}

async fn limit(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "limit").await?;
    shop.workload(&Workload::default())?;
    let second = shop.kubectl(&["get", "deployment", "web", "-o", "json"])?;
    let mut second: serde_json::Value = serde_json::from_str(&second)?;
    second["metadata"] = serde_json::json!({"name": "web-two"});
    second["spec"]["selector"] = serde_json::json!({"matchLabels": {"app": "two"}});
    second["spec"]["template"]["metadata"] = serde_json::json!({"labels": {"app": "two"}});
    cluster.apply("limit", &second.to_string())?;
    shop.start_operator("limits: {perNamespace: 1}").await?;
    shop.policy(POLICY)?;
    let other = "apiVersion: rollforward.dev/v1alpha1
kind: UpdatePolicy
metadata: {name: web-two}
spec:
  targets: [{apiVersion: apps/v1, kind: Deployment, name: web-two}]
  schedule: {interval: 1s}
";
    cluster.apply("limit", &format!("{other}{POLICY}\n"))?;
    for policy in ["web", "web-two"] {
        shop.wait_condition_of(policy, "UpToDate", "True", "NewestRuns").await?;
    }
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    // Whichever comes first: the other one says why it waits.
    let message = wait_until("one of the two to wait", PATIENCE, || async {
        let mut seen = String::new();
        for policy in ["web", "web-two"] {
            let status = shop.read_policy(policy).await?.status.unwrap_or_default();
            for condition in status.conditions.iter().flatten() {
                if condition.reason == "ConcurrencyLimit" {
                    return Ok(Seen::Yes(condition.message.clone()));
                }
                seen.push_str(&format!("{}; ", condition.message));
            }
        }
        Ok(Seen::NotYet(seen))
    })
    .await?;
    ensure!(
        message.contains(
            "expected a free place, observed 1 open run in the namespace, 1 allowed. Nothing to do; starts by itself when a run ends."
        ),
        "{message}"
    );
    let runs = shop.kubectl(&["get", "updateruns", "-o", "name"])?;
    ensure!(runs.lines().count() == 1, "{runs}");
    shop.close()
}

async fn no_trust(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "no-trust").await?;
    prepared(&mut shop, "  mode: Enforce").await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let message = shop.wait_condition("Blocked", "True", "NoTrustDecision").await?;
    ensure!(message.contains("expected a decision what to trust, observed none"), "{message}");
    ensure!(
        message.contains(
            "Write `verification: {unsigned: Allow}` into the policy, or create a VerificationPolicy."
        ),
        "{message}"
    );
    shop.wait_image(":1.0.0").await?;
    shop.close()
}

async fn soaking(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "soaking").await?;
    prepared(&mut shop, &POLICY.replace("soak: {unsigned: 0s}", "soak: {unsigned: 24h}")).await?;
    let digest = shop.push("1.0.1", Image::new("1.0.1")).await?;
    let message = shop.wait_condition("UpToDate", "False", "Soaking").await?;
    let subject = format!(
        "Soaking: 1.0.1 for {}:1.0.1@{}: expected 24h since first seen, observed first sighting 2",
        shop.full_repository(),
        &digest[7..15]
    );
    ensure!(message.starts_with(&subject), "{message}\nexpected {subject}");
    ensure!(
        message.contains("Nothing to do; to go sooner shorten `verification.soak.unsigned`. Next check 2"),
        "{message}"
    );
    let status = shop.read_policy("web").await?.status.context("a status")?;
    let why = status.why.unwrap_or_default().join("\n");
    for line in [
        "1.0.1 waits: soak until ",
        "Passed: trust, digest, platform, ledger, quarantine.",
        "Cost of waiting: 1.0.1 available since ",
        "Then: 1 canary pod beside 2, watched 2s, rolled back by itself if it fails.",
    ] {
        ensure!(why.contains(line), "expected {line:?} in:\n{why}");
    }
    // Pushed again with other content: the soak begins anew, and that is said.
    shop.push("1.0.1", Image::new("1.0.1-again")).await?;
    wait_until("the moved tag to be said", PATIENCE, || async {
        let ledger = shop.kubectl(&[
            "get",
            "imageledgers",
            "-o",
            "jsonpath={.items[0].status.tags[?(@.tag==\"1.0.1\")].digests[*].digest}",
        ])?;
        Ok(if ledger.split_whitespace().count() == 2 { Seen::Yes(()) } else { Seen::NotYet(ledger) })
    })
    .await?;
    shop.close()
}

async fn dry_run(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "dry-run").await?;
    prepared(&mut shop, &format!("  mode: DryRun\n{POLICY}")).await?;
    let before = shop.read_workload().await?.metadata.generation;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let message = shop.wait_condition("UpToDate", "False", "DryRun").await?;
    ensure!(
        message.contains("all gates passed, the run would start now. Set `mode: Enforce` to go on."),
        "{message}"
    );
    ensure!(shop.read_workload().await?.metadata.generation == before, "DryRun wrote to the workload");
    ensure!(shop.kubectl(&["get", "updateruns", "-o", "name"])?.is_empty(), "DryRun opened a run");
    shop.close()
}

async fn unknown_current(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "unknown-current").await?;
    shop.push("latest", Image::new("latest")).await?;
    let image = format!("{}:latest", shop.full_repository());
    shop.workload(&Workload { image: &image, ..Workload::default() })?;
    shop.start_operator("").await?;
    shop.policy(POLICY)?;
    let message = shop.wait_condition("Stalled", "True", "CurrentVersionUnknown").await?;
    ensure!(message.contains("expected a version in the running tag, or a running digest that one of the newest tags names, observed tag latest on Deployment/web/app. Deploy a versioned tag, or set `image.adopt: Allow`."), "{message}");
    shop.kubectl(&[
        "patch",
        "updatepolicy",
        "web",
        "--type=merge",
        "-p",
        "{\"spec\":{\"image\":{\"adopt\":\"Allow\"}}}",
    ])?;
    shop.wait_image(":1.0.0@sha256:").await?;
    shop.close()
}

/// Lets `spec.suspend` hold anything, as the schema of another version might: valid policies stay valid.
pub(crate) const LOOSE: &str = r#"[{"op": "replace",
  "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/suspend",
  "value": {"x-kubernetes-preserve-unknown-fields": true}}]"#;

async fn unreadable(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "unreadable").await?;
    prepared(&mut shop, POLICY).await?;
    cluster.kubectl(&["patch", "crd", "updatepolicies.rollforward.dev", "--type=json", "-p", LOOSE])?;
    wait_until("the loose schema to be served", PATIENCE, || async {
        let applied = shop.policy_named("web-broken", &format!("  suspend: sometimes\n{POLICY}"));
        Ok(applied.map_or_else(|error| Seen::NotYet(error.to_string()), |_| Seen::Yes(())))
    })
    .await?;
    let path = "jsonpath={.status.conditions[?(@.type==\"Stalled\")].message}";
    let message = wait_until("the unreadable policy to be said", PATIENCE, || async {
        let said = shop.kubectl(&["get", "updatepolicy", "web-broken", "-o", path])?;
        Ok(if said.is_empty() { Seen::NotYet("nothing".to_owned()) } else { Seen::Yes(said) })
    })
    .await?;
    ensure!(
        message.starts_with("Unreadable: ")
            && message.contains("Invalid type string \"sometimes\". Expected a boolean")
            && message.ends_with("; correct the field, or upgrade the operator"),
        "{message}"
    );
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    shop.wait_state("Canary").await?;
    shop.kubectl(&["delete", "updatepolicy", "web-broken"])?;
    shop.close()
}

const OUTSIDE: &str = "NewestRuns: 1.0.0 runs; 2.0.0 exists outside the rule (Patch) since ";

async fn idle(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "idle").await?;
    prepared(&mut shop, POLICY).await?;
    shop.push("2.0.0", Image::new("2.0.0")).await?;
    let operator = shop.operator.as_ref().context("started")?;
    // The new tag outside the rule is said once; after that five scans must cost nothing.
    wait_until("the version outside the rule to be told", PATIENCE, || async {
        let status = shop.read_policy("web").await?.status.unwrap_or_default();
        let said = status.conditions.iter().flatten().any(|one| one.message.starts_with(OUTSIDE));
        Ok(if said { Seen::Yes(()) } else { Seen::NotYet(format!("{:?}", status.conditions)) })
    })
    .await?;
    let (writes, scans) = (
        operator.metric("rollforward_writes_total").await?,
        operator.metric("rollforward_scans_total").await?,
    );
    wait_until("five more scans", PATIENCE, || async {
        let now = operator.metric("rollforward_scans_total").await?;
        Ok(if scans + 5.0 <= now { Seen::Yes(()) } else { Seen::NotYet(format!("{now} scans")) })
    })
    .await?;
    let after = operator.metric("rollforward_writes_total").await?;
    ensure!(after == writes, "{} writes while nothing changed", after - writes);
    shop.close()
}

async fn shared(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    const POLICIES: usize = 12;
    let mut shop = Shop::open(&cluster, "shared").await?;
    shop.workload(&Workload { replicas: 0, ..Workload::default() })?;
    let template: serde_json::Value =
        serde_json::from_str(&shop.kubectl(&["get", "deployment", "web", "-o", "json"])?)?;
    let mut all = Vec::new();
    for number in 0..POLICIES {
        let name = format!("web-{number}");
        let mut workload = template.clone();
        workload["metadata"] = serde_json::json!({"name": name});
        all.push(workload);
        all.push(serde_json::json!({
            "apiVersion": "rollforward.dev/v1alpha1", "kind": "UpdatePolicy", "metadata": {"name": name},
            "spec": {
                "targets": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name}],
                "schedule": {"interval": "1s"}, "verification": {"unsigned": "Allow"},
            },
        }));
    }
    cluster.apply(
        "shared",
        &serde_json::json!({"apiVersion": "v1", "kind": "List", "items": all}).to_string(),
    )?;
    // All policies are there when the operator starts: their first passes run at once.
    shop.start_operator("").await?;
    let operator = shop.operator.as_ref().context("started")?;
    let mut before = 0.0;
    wait_until("all memories to be stored and a quiet second scan", PATIENCE, || async {
        let path = "jsonpath={.items[0].status.workloads[*].key}";
        let keys = shop.kubectl(&["get", "imageledgers", "-o", path])?;
        let count = keys.split_whitespace().count();
        Ok(if count == POLICIES { Seen::Yes(()) } else { Seen::NotYet(format!("{count}: {keys}")) })
    })
    .await?;
    for policy in 0..POLICIES {
        shop.wait_condition_of(&format!("web-{policy}"), "UpToDate", "True", "NewestRuns").await?;
    }
    // From here on three further looks of each cost nothing.
    for look in 0..2 {
        let passes = operator.metric("rollforward_passes_total").await?;
        let wanted = passes + 3.0 * f64::from(u32::try_from(POLICIES)?);
        before = operator.metric("rollforward_writes_total").await?;
        wait_until("further passes", PATIENCE, || async {
            let now = operator.metric("rollforward_passes_total").await?;
            Ok(if wanted <= now {
                Seen::Yes(())
            } else {
                Seen::NotYet(format!("{now} of {wanted}, look {look}"))
            })
        })
        .await?;
    }
    let after = operator.metric("rollforward_writes_total").await?;
    ensure!(after == before, "{} writes while nothing changed", after - before);
    shop.close()
}

async fn check(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "check").await?;
    prepared(&mut shop, &POLICY.replace("  verification", "  suspend: false\n  verification")).await?;
    shop.kubectl(&[
        "patch",
        "updatepolicy",
        "web",
        "--type=merge",
        "-p",
        "{\"spec\":{\"schedule\":{\"interval\":\"1h\"}}}",
    ])?;
    let operator = shop.operator.as_ref().context("started")?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let asked = operator.command(&["check", "web", "--namespace", "check"])?;
    ensure!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    shop.wait_state("Canary").await?;
    ensure!(
        shop.read_policy("web").await?.status.and_then(|status| status.last_handled_request).is_some(),
        "no answer"
    );
    shop.close()
}

async fn floor(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "floor").await?;
    let digest = shop.push("1.0.5", Image::new("1.0.5")).await?;
    shop.push("1.0.3", Image::new("1.0.3")).await?;
    let image = format!("{}:1.0.5", shop.full_repository());
    shop.workload(&Workload { image: &image, ..Workload::default() })?;
    shop.start_operator("").await?;
    shop.policy(POLICY)?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    cluster.pusher().delete(&shop.repository, &digest).await?;
    let operator = shop.operator.as_ref().context("started")?;
    let scans = operator.metric("rollforward_scans_total").await?;
    wait_until("three more scans", PATIENCE, || async {
        let now = operator.metric("rollforward_scans_total").await?;
        Ok(if scans + 3.0 <= now { Seen::Yes(()) } else { Seen::NotYet(format!("{now} scans")) })
    })
    .await?;
    shop.wait_image(":1.0.5").await?;
    ensure!(
        shop.kubectl(&["get", "updateruns", "-o", "name"])?.is_empty(),
        "a deleted tag moved the workload"
    );
    shop.close()
}
