//! Runs that wait for a person: who may approve, what the apiserver refuses and with which words, what becomes of an approval.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::operator;
use e2e::shop::{PATIENCE, Shop};
use e2e::wait::{Seen, wait_until};
use serde_json::{Value, json};

use crate::canary::{POLICY, in_canary, prepared};
use crate::levers::rollforward;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial(
            "approvers: only a holder of the verb, only in their own name; the chart's admission policy says so",
            approvals,
        ),
        trial(
            "approvers: a newer candidate ends the run that waits, and its approval is not used",
            overtaken,
        ),
        trial("approvers: a lever in another's name is refused, or tells no name", forged),
    ]
}

/// Installs the chart's admission policies and waits until they are enforced.
async fn admission(shop: &Shop) -> anyhow::Result<()> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/rollforward").display().to_string();
    let rendered = shop.cluster.helm(&[
        "template",
        "rollforward",
        &chart,
        "--set",
        "clusterWide=true",
        "--show-only",
        "templates/admission.yaml",
    ])?;
    shop.cluster.apply(&shop.namespace, &rendered)?;
    // The apiserver takes a moment to enforce a new policy: asked until it does.
    let patch = r#"{"metadata":{"annotations":{"rollforward.dev/paused":"2026-01-01T00:00:00Z nobody"}}}"#;
    wait_until("the admission policies to be enforced", PATIENCE, || async {
        let tried = shop.kubectl(&["patch", "updatepolicy", "web", "--type=merge", "-p", patch, "--dry-run=server"]);
        Ok(match tried {
            Err(error) if format!("{error:#}").contains("expected a lever in your own name, admin; got rollforward.dev/paused: 2026-01-01T00:00:00Z nobody") => Seen::Yes(()),
            other => Seen::NotYet(format!("{other:?}")),
        })
    })
    .await
}

/// A ServiceAccount with rights on runs, and a kubeconfig for it.
fn user(shop: &Shop, name: &str, verbs: &str) -> anyhow::Result<PathBuf> {
    let space = &shop.namespace;
    shop.kubectl(&["create", "serviceaccount", name])?;
    shop.cluster.apply(
        space,
        &format!(
            "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: {name}}}
rules: [{{apiGroups: [rollforward.dev], resources: [updateruns], verbs: [{verbs}]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {name}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}
subjects: [{{kind: ServiceAccount, name: {name}, namespace: {space}}}]
"
        ),
    )?;
    let token = shop.kubectl(&["create", "token", name])?;
    let mut config: Value = serde_json::from_slice(&std::fs::read(shop.cluster.kubeconfig())?)?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    let file = shop.cluster.folder.join(format!("{space}-{name}.kubeconfig"));
    std::fs::write(&file, serde_json::to_vec(&config)?)?;
    Ok(file)
}

fn manual() -> String {
    format!("{POLICY}\n  approval: {{mode: Manual}}")
}

async fn waiting_run(shop: &Shop, tag: &str) -> anyhow::Result<String> {
    wait_until(&format!("a run to {tag} that waits"), PATIENCE, || async {
        let all: Value = serde_json::from_str(&shop.kubectl(&["get", "updateruns", "-o", "json"])?)?;
        let found = all["items"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|run| run["spec"]["toTag"] == tag && run["status"]["phase"] == "AwaitingApproval");
        Ok(match found.and_then(|run| run["metadata"]["name"].as_str()) {
            Some(name) => Seen::Yes(name.to_owned()),
            None => Seen::NotYet(all["items"].to_string().chars().take(1500).collect()),
        })
    })
    .await
}

async fn approvals(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "approvals").await?;
    prepared(&mut shop, &manual()).await?;
    admission(&shop).await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let run = waiting_run(&shop, "1.0.1").await?;
    let how = format!(
        "Whoever holds the verb approve on updateruns.rollforward.dev in namespace approvals: kubectl rollforward approve {run} -n approvals."
    );
    shop.wait_says(
        "UpToDate",
        "AwaitingApproval",
        &[&format!("expected somebody's approval of run {run}"), &how],
    )
    .await?;
    shop.wait_image(":1.0.0").await?;
    let binary = operator::binary()?;
    // alice may change runs and not approve; bob may approve.
    let alice = user(&shop, "alice", "get, list, patch, update")?;
    let bob = user(&shop, "bob", "get, list, patch, update, approve")?;
    let approve = ["approve", run.as_str(), "-n", "approvals"];
    let output = operator::command(&binary, &alice, &approve)?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1), "{errors}");
    ensure!(
        errors.contains("expected a holder of the verb approve on updateruns.rollforward.dev in namespace approvals, got system:serviceaccount:approvals:alice"),
        "{errors}"
    );
    // bob in alice's name.
    let forged =
        r#"{"spec":{"approval":{"by":"system:serviceaccount:approvals:alice","at":"2026-01-01T00:00:00Z"}}}"#;
    let as_bob = ["--as", "system:serviceaccount:approvals:bob"];
    let tried = shop
        .kubectl(&[&["patch", "updaterun", &run, "--type=merge", "-p", forged], as_bob.as_slice()].concat());
    let words = format!("{:#}", tried.err().context("forged and accepted")?);
    ensure!(
        words.contains("expected an approval in your own name, system:serviceaccount:approvals:bob; got one by system:serviceaccount:approvals:alice"),
        "{words}"
    );
    // Nothing else of the record changes.
    let other = r#"{"spec":{"toTag":"9.9.9"}}"#;
    let tried = shop.kubectl(&["patch", "updaterun", &run, "--type=merge", "-p", other]);
    let words = format!("{:#}", tried.err().context("the record was changed")?);
    ensure!(words.contains("does not change, but for its approval"), "{words}");
    let output =
        operator::command(&binary, &bob, &[&approve[..], &["--comment", "looked at the notes"]].concat())?;
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{out}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(
        out.starts_with(&format!(
            "updaterun/{run} in approvals: wrote spec.approval: system:serviceaccount:approvals:bob at 2"
        )),
        "{out}"
    );
    shop.wait_state("Canary").await?;
    let lever = shop.first_lever(&run)?;
    ensure!(lever == "approve system:serviceaccount:approvals:bob", "{lever}");
    let tried =
        shop.kubectl(&["patch", "updaterun", &run, "--type=merge", "-p", r#"{"spec":{"approval":null}}"#]);
    let words = format!("{:#}", tried.err().context("the approval was taken back")?);
    ensure!(words.contains("an approval that was given stays as it is"), "{words}");
    shop.close()
}

async fn overtaken(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "overtaken").await?;
    prepared(&mut shop, &manual()).await?;
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let first = waiting_run(&shop, "1.0.1").await?;
    let (code, _, errors) = rollforward(&shop, &["approve", "web", "-n", "overtaken"])?;
    ensure!(
        code == 1
            && errors.contains(&format!(
                "an approval is for one run: name it, updatepolicy/web waits with {first}"
            )),
        "{errors}"
    );
    shop.push("1.0.2", Image::new("1.0.2")).await?;
    let second = waiting_run(&shop, "1.0.2").await?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(
        reason == "Superseded"
            && message.contains(
                "1.0.2 passes now; its own run is opened, an approval of 1.0.1 does not count for it"
            ),
        "{reason} {message}"
    );
    let (code, _, errors) = rollforward(&shop, &["approve", &first, "-n", "overtaken"])?;
    ensure!(code == 1 && errors.contains("has ended: 1.0.2 passes now"), "{errors}");
    // The workload is scaled while the run waits: what is saved of it still holds.
    shop.kubectl(&["scale", "deployment/web", "--replicas=3"])?;
    let (code, out, errors) = rollforward(&shop, &["approve", &second, "-n", "overtaken"])?;
    ensure!(code == 0, "{out}{errors}");
    shop.wait_state("Canary").await?;
    shop.wait_image(":1.0.2@").await?;
    shop.close()
}

async fn forged(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "forged").await?;
    in_canary(&mut shop).await?;
    admission(&shop).await?;
    user(&shop, "alice", "get, list, patch, update")?;
    let run = shop.kubectl(&["get", "updateruns", "-o", "jsonpath={.items[0].metadata.name}"])?;
    let abort = |instant: &str| {
        let written = format!("rollforward.dev/abort={instant} admin");
        let alice = "--as=system:serviceaccount:forged:alice";
        shop.kubectl(&["annotate", "updaterun", &run, &written, alice])
    };
    let words = format!("{:#}", abort("2026-01-01T00:00:00Z").err().context("forged and accepted")?);
    ensure!(
        words.contains("expected a lever in your own name, system:serviceaccount:forged:alice; got "),
        "{words}"
    );
    // Another spelling of the instant is nobody's name.
    abort("2026-01-01T00:00:00+00:00")?;
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(
        reason == "Aborted" && message == "aborted by somebody at 2026-01-01 00:00:00Z",
        "{reason} {message}"
    );
    shop.close()
}
