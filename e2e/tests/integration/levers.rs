//! What a person asks by the command line: the object and field that is written, and what the operator makes of it. The canary
//! stays Pending here, for there is no node.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::operator;
use e2e::shop::Shop;
use serde_json::Value;

use crate::canary::{POLICY, in_canary, prepared};

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial("levers: `abort` ends the run, says who, and holds the version without a quarantine", abort),
        trial("levers: `pause` holds a policy and names the person; `resume` goes on", pause),
        trial("levers: `pause --all` holds every policy of the operator, restarts included", pause_all),
        trial("levers: `promote` skips the rest of the observation and the record says who", promote),
        trial(
            "levers: a command that cannot be carried out ends with 1 and a sentence, a wrong one with 2",
            refused,
        ),
    ]
}

/// Runs a command as the cluster's administrator: exit code, standard output, standard error.
pub(crate) fn rollforward(shop: &Shop, arguments: &[&str]) -> anyhow::Result<(i32, String, String)> {
    let output = operator::command(&operator::binary()?, shop.cluster.kubeconfig(), arguments)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)))
}

/// Runs a command that has to succeed in the shop's namespace.
pub(crate) fn done(shop: &Shop, arguments: &[&str]) -> anyhow::Result<String> {
    let all: Vec<&str> = arguments.iter().copied().chain(["-n", &shop.namespace]).collect();
    let (code, out, errors) = rollforward(shop, &all)?;
    ensure!(code == 0, "{arguments:?} ended with {code}: {out}{errors}");
    Ok(out)
}

/// The name that the apiserver has for whoever runs the commands here.
fn me(shop: &Shop) -> anyhow::Result<String> {
    let who = shop.cluster.kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"])?;
    Ok(who.trim().to_owned())
}

pub(crate) fn open_run(shop: &Shop) -> anyhow::Result<String> {
    let names = shop.kubectl(&["get", "updateruns", "-o", "jsonpath={.items[*].metadata.name}"])?;
    names.split_whitespace().next().map(str::to_owned).context("a run")
}

async fn abort(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "abort").await?;
    in_canary(&mut shop).await?;
    let (me, run) = (me(&shop)?, open_run(&shop)?);
    let out = done(&shop, &["abort", "web"])?;
    let says = format!("updaterun/{run} in abort: metadata.annotations: wrote rollforward.dev/abort: 2");
    ensure!(out.starts_with(&says) && out.trim_end().ends_with(&format!("Z {me}")), "{out}");
    let (reason, message) = shop.wait_run("1.0.1").await?;
    ensure!(
        reason == "Aborted" && message.starts_with(&format!("aborted by {me} at 2")),
        "{reason} {message}"
    );
    shop.wait_image(":1.0.0").await?;
    shop.assert_no_held_field().await?;
    shop.wait_says(
        "Blocked",
        "HumanRollback",
        &[
            &format!("expected 1.0.1 to stay, observed {me} went back to 1.0.0 at 2"),
            "kubectl rollforward release web",
        ],
    )
    .await?;
    shop.wait_event("web", "Aborted: 1.0.1@").await?;
    let held = shop.kubectl(&["get", "imageledgers", "-o", "jsonpath={.items[*].status.quarantine}"])?;
    ensure!(held == "[]", "held against the digest: {held}");
    let history: Value = serde_json::from_str(&done(&shop, &["history", "web", "--output", "json"])?)?;
    let row = &history[0];
    ensure!(
        row["run"] == run.as_str() && row["verdict"] == "Aborted" && row["phase"] == "Aborted",
        "{history}"
    );
    ensure!(row["who"][0] == format!("abort {me}"), "{history}");
    ensure!(
        row["trigger"].as_str().is_some_and(|text| text.starts_with("tag 1.0.1 first seen 2")),
        "{history}"
    );
    let table = done(&shop, &["history", "web"])?;
    ensure!(table.starts_with("RUN ") && table.contains(&format!("abort {me}")), "{table}");
    // An ended run takes no lever any more.
    let (code, _, errors) = rollforward(&shop, &["abort", &run, "-n", "abort"])?;
    ensure!(code == 1 && errors.contains("has ended: aborted by "), "{code} {errors}");
    shop.close()
}

async fn pause(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "pause").await?;
    prepared(&mut shop, POLICY).await?;
    let me = me(&shop)?;
    let out = done(&shop, &["pause", "web"])?;
    ensure!(
        out.starts_with("updatepolicy/web in pause: metadata.annotations: wrote rollforward.dev/paused: 2"),
        "{out}"
    );
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    let says = format!("observed paused by {me} at 2");
    shop.wait_says("UpToDate", "Paused", &[&says, "To go on: kubectl rollforward resume web."]).await?;
    shop.wait_latest("1.0.1").await?;
    ensure!(shop.kubectl(&["get", "updateruns", "-o", "name"])?.is_empty(), "a run was opened in a pause");
    let out = done(&shop, &["resume", "web"])?;
    ensure!(out.contains("removed rollforward.dev/paused"), "{out}");
    shop.wait_state("Canary").await?;
    shop.wait_event("web", &format!("Resumed: resumed by {me} at 2")).await?;
    let left = shop.kubectl(&["get", "updatepolicy", "web", "-o", "jsonpath={.metadata.annotations}"])?;
    ensure!(!left.contains("rollforward.dev/resume"), "told and not removed: {left}");
    // The open canary: held, and said.
    done(&shop, &["pause", "web"])?;
    shop.wait_says("UpToDate", "Paused", &["the canary stays as it is, is rolled back if it fails"]).await?;
    shop.close()
}

async fn pause_all(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "pause-all").await?;
    shop.workload(&e2e::shop::Workload::default())?;
    shop.start_operator("namespace: pause-all").await?;
    shop.policy(POLICY)?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    let me = me(&shop)?;
    let own = ["--all", "--operator-namespace", "pause-all"];
    let (code, out, errors) = rollforward(&shop, &[&["pause"], own.as_slice()].concat())?;
    ensure!(code == 0, "{out}{errors}");
    ensure!(out.starts_with("configmap/rollforward-levers in pause-all: wrote data.paused: 2"), "{out}");
    let says = format!("observed every policy paused by {me} at 2");
    shop.wait_says("UpToDate", "PausedByOperator", &[&says, "kubectl rollforward resume --all"]).await?;
    // Who starts the operator again does not end the pause.
    shop.push("1.0.1", Image::new("1.0.1")).await?;
    shop.operator.take().context("started")?.kill()?;
    shop.start_operator("namespace: pause-all").await?;
    shop.wait_latest("1.0.1").await?;
    ensure!(shop.kubectl(&["get", "updateruns", "-o", "name"])?.is_empty(), "a run was opened in a pause");
    let (code, out, errors) = rollforward(&shop, &[&["resume"], own.as_slice()].concat())?;
    ensure!(code == 0 && out.contains("removed data.paused"), "{out}{errors}");
    shop.wait_state("Canary").await?;
    // The same by the configuration.
    shop.operator.take().context("started")?.kill()?;
    shop.start_operator("namespace: pause-all\npaused: true").await?;
    shop.wait_says(
        "UpToDate",
        "PausedByOperator",
        &["`paused: true` in the operator's configuration", "To go on set it to false."],
    )
    .await?;
    shop.close()
}

async fn promote(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "promote").await?;
    in_canary(&mut shop).await?;
    let (me, run) = (me(&shop)?, open_run(&shop)?);
    // Without nodes the canary never is Ready: only a person promotes it.
    let out = done(&shop, &["promote", &run])?;
    ensure!(out.starts_with(&format!("updaterun/{run} in promote: metadata.annotations: wrote ")), "{out}");
    shop.wait_state("Promoting").await?;
    let held = shop.kubectl(&["get", "deployment", "web", "-o", "jsonpath={.spec.minReadySeconds}"])?;
    ensure!(held.is_empty() || held == "0", "minReadySeconds is {held}");
    shop.wait_event("web", &format!("promoted by {me} at 2")).await?;
    let levers = shop.first_lever(&run)?;
    ensure!(levers == format!("promote {me}"), "{levers}");
    shop.close()
}

async fn refused(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let shop = Shop::open(&cluster, "lever-refused").await?;
    let check = |arguments: &[&str], code: i32, says: &str| {
        let (found, out, errors) = rollforward(&shop, arguments)?;
        ensure!(found == code && errors.contains(says), "{arguments:?}: {found} {out}{errors}");
        anyhow::Ok(())
    };
    let own = ["-n", "lever-refused"];
    check(
        &[&["abort", "web"], own.as_slice()].concat(),
        1,
        "no open run and no policy with an open run is named web in namespace lever-refused",
    )?;
    check(
        &[&["pause", "web"], own.as_slice()].concat(),
        1,
        "could not write the annotations of updatepolicy/web in lever-refused",
    )?;
    check(&[&["retry", "web", "sha256:1"], own.as_slice()].concat(), 1, "kubectl describe updatepolicy web")?;
    check(&["pause"], 2, "required")?;
    check(&["pause", "web", "--all"], 2, "cannot be used with")?;
    check(
        &["pause", "--all", "--operator-namespace", "nowhere"],
        1,
        "where the operator runs elsewhere, name it by --operator-namespace",
    )?;
    shop.close()
}
