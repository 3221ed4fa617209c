//! Signatures on real pods: what is not signed as the namespace demands is held with its sentence, what is rolls forward.

use std::sync::Arc;

use anyhow::ensure;
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::shop::{Shop, Workload};
use e2e::sign;
use rollforward_testkit::sigstore::MiniSigstore;

const PROBE: &str = "        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}";
const POLICY: &str = "  rollout: {bake: 2s, deadline: 2m}";

pub(crate) fn trials() -> Vec<Named> {
    vec![trial(
        "an unsigned, a wrongly signed, a re-tagged and a moved image are held and said, and a signed one rolls forward",
        signed,
    )]
}

/// Pushes under a tag that no rule chooses, signs the digest, and gives it its version: as a build does that signs first.
async fn push_signed(
    shop: &Shop,
    sigstore: &MiniSigstore,
    (tag, image): (&str, Image),
    by: (&str, &str),
) -> anyhow::Result<String> {
    let digest = shop.push("unreleased", image.clone()).await?;
    sign::sign(sigstore, shop.pusher(), (shop.repository(), &digest), by).await?;
    shop.push(tag, image).await
}

async fn signed(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let sigstore = MiniSigstore::default();
    let mut shop = Shop::open(&cluster, "signed").await?;
    shop.workload(&Workload { container: PROBE, ..Workload::default() })?;
    shop.wait_available(2).await?;
    cluster.apply("signed", &sign::trust(&sigstore))?;
    shop.start_operator("").await?;
    shop.policy(POLICY)?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;

    let digest = shop.push("1.0.1", Image::new("1.0.1")).await?;
    let about = format!("for {}:1.0.1@{}", shop.full_repository(), &digest[7..15]);
    let parts = [
        about.as_str(),
        "expected authority release (",
        "observed no signature",
        "Sign the digest by release, as ",
    ];
    shop.wait_says("Blocked", "SignatureAbsent", &parts).await?;

    push_signed(&shop, &sigstore, ("1.0.2", Image::new("1.0.2")), ("dev.yml", "refs/heads/main")).await?;
    let parts =
        ["refused by the signature layer for ", ":1.0.2@", "dev.yml@refs/heads/main", "No pod was started."];
    shop.wait_says("Blocked", "SignatureIdentityMismatch", &parts).await?;

    // A genuine signature, of another version: the attack that a digest alone does not show.
    push_signed(&shop, &sigstore, ("1.0.3", Image::new("0.9.0")), ("release.yml", "refs/tags/v0.9.0"))
        .await?;
    let parts = [":1.0.3@", "refs/tags/v0.9.0"];
    shop.wait_says("Blocked", "VersionMismatch", &parts).await?;

    let good =
        push_signed(&shop, &sigstore, ("1.0.4", Image::new("1.0.4")), ("release.yml", "refs/tags/v1.0.4"));
    let good = good.await?;
    shop.wait_image(&format!(":1.0.4@{good}")).await?;
    shop.wait_condition("UpToDate", "True", "NewestRuns").await?;
    let runs = shop.kubectl(&["get", "updateruns", "-o", "jsonpath={.items[*].spec.toTag}"])?;
    ensure!(runs == "1.0.4", "only what is signed may start a pod: {runs}");

    // The running tag, pushed again by somebody who cannot sign.
    let moved = shop.push("1.0.4", Image::new("1.0.4-again")).await?;
    let parts = [
        "refused by the ledger layer for ",
        &format!(":1.0.4@{}", &moved[7..15]),
        &format!("expected the authority that signed what runs ({}) to have signed this", &good[7..15]),
        "observed that one by release, this one by nobody. Publish a new tag",
    ];
    shop.wait_says("Blocked", "TagMoved", &parts).await?;

    // The very image that ran before, under a newer name.
    let again = shop.push("1.0.5", Image::new("1.0.0")).await?;
    shop.wait_says("Blocked", "RetaggedDigest", &[":1.0.5@", &again[7..15], "the digest of 1.0.0"]).await?;
    shop.wait_image(&format!(":1.0.4@{good}")).await?;
    shop.assert_no_held_field().await?;
    shop.close()
}
