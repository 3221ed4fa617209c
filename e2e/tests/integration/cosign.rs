//! What the real cosign signs into the real registry. Judged by `rollforward verify`: both layouts, each kind of key, another
//! key, an attestation, and nothing at all. Judged by the operator: a signature that says another version, and what is left
//! when it is deleted.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::shop::{Shop, Workload};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize,
};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial(
            "what cosign signs with a key is verified in both layouts, and with another key refused",
            signed,
        ),
        trial("cosign's signatures by each kind of key that it takes are verified in both layouts", kinds),
        trial(
            "a claim against the version is remembered when its signature is deleted, also by the next operator",
            remembered,
        ),
        trial(
            "what is attested after the signature was seen counts at once where somebody asks to look",
            attested_later,
        ),
    ]
}

/// Without a log and without the public instance: nothing here is asked of the internet.
const OFFLINE: [&str; 5] = [
    "--use-signing-config=false",
    "--tlog-upload=false",
    "--allow-insecure-registry",
    "--allow-http-registry",
    "--yes",
];

fn cosign(cluster: &Cluster, folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let program = cluster.parts.program("cosign");
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("COSIGN_PASSWORD", "")
        .env("HOME", folder)
        .output()
        .context("cosign")?;
    ensure!(output.status.success(), "cosign {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn verify(image: &str, key: &Path, more: &[&str]) -> anyhow::Result<Output> {
    let key = key.to_str().context("a path")?;
    let all = [&["verify", image, "--plain-http", "--key", key][..], more].concat();
    Command::new(e2e::operator::binary()?)
        .args(all)
        .env("DOCKER_CONFIG", "/nonexistent")
        .output()
        .context("rollforward verify")
}

fn expect(output: &Output, code: i32, parts: &[&str]) -> anyhow::Result<()> {
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.code() == Some(code), "expected {code}, got {:?}: {said}", output.status.code());
    for part in parts {
        ensure!(said.contains(part), "expected {part:?} in: {said}");
    }
    Ok(())
}

const LAYOUTS: [(&str, &str, &str); 2] = [
    ("bundle", "--new-bundle-format=true", "fallback tag"),
    ("legacy", "--new-bundle-format=false", ".sig tag"),
];

/// The keys that cosign imports: it makes ECDSA P-256 itself.
fn keys() -> anyhow::Result<Vec<(&'static str, KeyPair)>> {
    let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size);
    Ok(vec![
        ("p256", KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?),
        ("p384", KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?),
        ("ed25519", KeyPair::generate_for(&PKCS_ED25519)?),
        ("rsa2048", rsa(RsaKeySize::_2048)?),
        ("rsa3072", rsa(RsaKeySize::_3072)?),
        ("rsa4096", rsa(RsaKeySize::_4096)?),
    ])
}

async fn kinds(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    std::fs::write(folder.join("bom.json"), r#"{"spdxVersion": "SPDX-2.3"}"#)?;
    let (mut failed, mut before): (Vec<String>, Option<PathBuf>) = (Vec::new(), None);
    for (kind, key) in keys()? {
        std::fs::write(folder.join(format!("{kind}.pem")), key.serialize_pem())?;
        let import =
            ["import-key-pair", "--yes", "--key", &format!("{kind}.pem"), "--output-key-prefix", kind];
        cosign(&cluster, folder, &import)?;
        let (private, public) = (format!("{kind}.key"), folder.join(format!("{kind}.pub")));
        for (layout, format, place) in LAYOUTS {
            let repository = format!("kinds/{kind}-{layout}");
            let digest = cluster.pusher().push(&repository, "1.4.3", &Image::new(kind)).await?;
            let pinned = format!("{}/{repository}@{digest}", cluster.registry_host());
            let image = format!("{}/{repository}:1.4.3", cluster.registry_host());
            let sign = [&["sign", "--key", &private, format][..], &OFFLINE[..], &[&pinned]].concat();
            cosign(&cluster, folder, &sign)?;
            let about =
                ["attest", "--key", &private, format, "--predicate", "bom.json", "--type", "spdxjson"];
            cosign(&cluster, folder, &[&about[..], &OFFLINE[..], &[&pinned]].concat())?;
            let held = [
                "Verified: ".to_owned(),
                format!("{place}: signature, by the key, in no log"),
                "attestation https://spdx.dev/Document, by the key, in no log".to_owned(),
            ];
            let held: Vec<&str> = held.iter().map(String::as_str).collect();
            // All rows are tried: which kinds and layouts fail says more than the first of them.
            if let Err(error) = verify(&image, &public, &[]).and_then(|output| expect(&output, 0, &held)) {
                failed.push(format!("{kind}, {layout}: {error}"));
            }
            if let Some(foreign) = &before {
                expect(&verify(&image, foreign, &[])?, 1, &["does not hold: not signed by this key"])?;
            }
        }
        before = Some(public);
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

async fn signed(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (ours, other) = (folder.path().join("ours"), folder.path().join("other"));
    for folder in [&ours, &other] {
        std::fs::create_dir(folder)?;
        cosign(&cluster, folder, &["generate-key-pair"])?;
    }
    let (key, foreign) = (ours.join("cosign.pub"), other.join("cosign.pub"));
    std::fs::write(
        ours.join("provenance.json"),
        r#"{"buildDefinition": {}, "runDetails": {"builder": {"id": "https://ci.acme.test"}}}"#,
    )?;
    for (name, format, place) in LAYOUTS {
        let repository = format!("cosign/{name}");
        let digest = cluster.pusher().push(&repository, "1.4.3", &Image::new(name)).await?;
        let pinned = format!("{}/{repository}@{digest}", cluster.registry_host());
        let image = format!("{}/{repository}:1.4.3", cluster.registry_host());
        expect(&verify(&image, &key, &[])?, 1, &["SignatureAbsent: "])?;
        let sign = [&["sign", "--key", "cosign.key", format][..], &OFFLINE[..], &[&pinned]].concat();
        cosign(&cluster, &ours, &sign)?;
        let held = format!("{place}: signature, by the key, in no log");
        expect(&verify(&image, &key, &[])?, 0, &["Verified: ", &held])?;
        expect(&verify(&image, &foreign, &[])?, 1, &["does not hold: not signed by this key"])?;
        let about = [
            "attest",
            "--key",
            "cosign.key",
            format,
            "--predicate",
            "provenance.json",
            "--type",
            "slsaprovenance1",
        ];
        cosign(&cluster, &ours, &[&about[..], &OFFLINE[..], &[&pinned]].concat())?;
        let output = verify(&image, &key, &["--output", "json"])?;
        expect(&output, 0, &[])?;
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        let found = answer["signatures"].as_array().context("signatures")?;
        let attested = found
            .iter()
            .any(|one| one["kind"] == "attestation https://slsa.dev/provenance/v1" && one["holds"] == true);
        ensure!(attested, "no attestation that holds: {answer:#}");
        ensure!(answer["digest"] == digest.as_str(), "{answer:#}");
    }
    Ok(())
}

async fn attested_later(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let name = "attested-later";
    let mut shop = Shop::open(&cluster, name).await?;
    let folder = tempfile::tempdir()?;
    cosign(&cluster, folder.path(), &["generate-key-pair"])?;
    std::fs::write(folder.path().join("bom.json"), r#"{"spdxVersion": "SPDX-2.3"}"#)?;
    let digest = shop.push("1.0.1", Image::new("1.0.1")).await?;
    let pinned = format!("{}@{digest}", shop.full_repository());
    let by_cosign = |what: &[&str]| {
        let all = [what, &["--key", "cosign.key"][..], &OFFLINE[..], &[pinned.as_str()]].concat();
        cosign(&cluster, folder.path(), &all)
    };
    by_cosign(&["sign"])?;
    let key = folder.path().join("cosign.pub");
    let from = format!("--from-file=ci.pub={}", key.to_str().context("a path")?);
    shop.kubectl(&["create", "configmap", "keys", &from])?;
    let decision = "apiVersion: rollforward.dev/v1alpha1\nkind: VerificationPolicy\nmetadata: {name: acme}\nspec: {authorities: [{name: ci, key: {configMap: {name: keys, key: ci.pub}}}], attestations: [{predicateType: https://spdx.dev/Document}], soak: {routine: 0s}}\n";
    cluster.apply(name, decision)?;
    shop.workload(&Workload::default())?;
    shop.policy_every("web", "1h", "  rollout: {bake: 1s, deadline: 5m}")?;
    shop.start_operator("").await?;
    let parts = ["expected a signed statement https://spdx.dev/Document, observed none of that type"];
    shop.wait_says("Blocked", "AttestationAbsent", &parts).await?;

    by_cosign(&["attest", "--predicate", "bom.json", "--type", "spdxjson"])?;
    let operator = shop.operator.as_ref().context("started")?;
    let asked = operator.command(&["check", "web", "--namespace", name])?;
    ensure!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    shop.wait_image(&format!(":1.0.1@{digest}")).await?;
    shop.close()
}

/// The digest that a tag names in the sample registry.
async fn digest_of(cluster: &Cluster, repository: &str, tag: &str) -> anyhow::Result<String> {
    let url = format!("http://{}/v2/{repository}/manifests/{tag}", cluster.registry_host());
    let accept = "application/vnd.oci.image.manifest.v1+json";
    let answer =
        reqwest::Client::new().head(url).header("Accept", accept).send().await?.error_for_status()?;
    let digest = answer.headers().get("Docker-Content-Digest").context("a digest")?;
    Ok(digest.to_str()?.to_owned())
}

async fn remembered(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let name = "claim-remembered";
    let mut shop = Shop::open(&cluster, name).await?;
    let folder = tempfile::tempdir()?;
    cosign(&cluster, folder.path(), &["generate-key-pair"])?;
    // The old image under a newer name: its own label names no version that the repository has.
    let digest = shop.push("1.0.1", Image::new("0.9.0")).await?;
    let pinned = format!("{}@{digest}", shop.full_repository());
    let sign = |more: &[&str]| {
        let all = [&["sign", "--key", "cosign.key"][..], more, &OFFLINE[..], &[pinned.as_str()]].concat();
        cosign(&cluster, folder.path(), &all)
    };
    // One good signature that names no version, and one that says 0.9.0.
    sign(&["--new-bundle-format=true"])?;
    sign(&["--new-bundle-format=false", "-a", "org.opencontainers.image.version=0.9.0"])?;
    let key = folder.path().join("cosign.pub");
    let from = format!("--from-file=ci.pub={}", key.to_str().context("a path")?);
    shop.kubectl(&["create", "configmap", "keys", &from])?;
    let decision = "apiVersion: rollforward.dev/v1alpha1\nkind: VerificationPolicy\nmetadata: {name: acme}\nspec: {authorities: [{name: ci, key: {configMap: {name: keys, key: ci.pub}}}], soak: {routine: 0s}}\n";
    cluster.apply(name, decision)?;
    shop.workload(&Workload::default())?;
    shop.policy("  rollout: {bake: 1s, deadline: 5m}")?;
    shop.start_operator("").await?;
    let claimed = "expected 1.0.1 to be signed as 1.0.1, observed signature 0.9.0";
    shop.wait_says("Blocked", "VersionMismatch", &[claimed, "publish a new build, or delete the tag"])
        .await?;

    let tag = format!("{}.sig", digest.replace(':', "-"));
    let signature = digest_of(&cluster, shop.repository(), &tag).await?;
    shop.operator.take().context("started")?.kill()?;
    shop.pusher().delete(shop.repository(), &signature).await?;
    shop.start_operator("").await?;
    let parts = [
        claimed,
        ", seen 20",
        " and attached no longer",
        "What is taken away still counts",
        "kubectl rollforward release web sha256:",
    ];
    shop.wait_says("Blocked", "VersionMismatch", &parts).await?;
    ensure!(e2e::shop::image(&shop.read_workload().await?).ends_with(":1.0.0"), "it moved");
    let known =
        shop.kubectl(&["get", "imageledgers", "-o", "jsonpath={.items[*].status.contradictions[*].claim}"])?;
    ensure!(known == "0.9.0", "{known}");

    // A person who knows better names the digest: then the silence counts as silence again.
    let operator = shop.operator.as_ref().context("started")?;
    let released = operator.command(&["release", "web", &digest, "--namespace", name])?;
    ensure!(released.status.success(), "{}", String::from_utf8_lossy(&released.stderr));
    shop.wait_image(&format!(":1.0.1@{digest}")).await?;
    let known = shop.kubectl(&["get", "imageledgers", "-o", "jsonpath={.items[*].status.contradictions}"])?;
    ensure!(known.is_empty(), "{known}");
    shop.close()
}
