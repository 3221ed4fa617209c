//! Registries that do not answer as they should: the sentence, and that the workload stays.

use std::sync::Arc;

use anyhow::ensure;
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::shop::{Shop, Workload};
use rollforward_testkit::image;
use rollforward_testkit::registry::{Auth, Fault, HostileRegistry};

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial("a registry that is down is said, and tried again", down),
        trial("a registry that wants a credential is said; with the pull secret it answers", unauthorized),
        trial("a repository that does not exist is said", not_found),
        trial("an empty list of tags is never read as a deletion", empty),
        trial("a manifest that is none is said, and nothing moves", malformed),
        trial("a registry that asks for patience is asked again when it said", limited),
    ]
}

/// A shop whose workload runs from a registry of our making.
async fn shop(cluster: &Arc<Cluster>, name: &str) -> anyhow::Result<(Shop, HostileRegistry)> {
    let registry = HostileRegistry::start().await;
    registry.push("acme/web", "1.0.0", &image::image("linux", "amd64", "1.0.0"));
    let mut shop = Shop::open(cluster, name).await?;
    let image = format!("{}/acme/web:1.0.0", registry.host());
    shop.workload(&Workload { image: &image, ..Workload::default() })?;
    let extra = format!("watchNamespaces: [{name}]\nregistries: {{plainHttp: [\"{}\"]}}\n", registry.host());
    shop.operator =
        Some(e2e::operator::Operator::start_with(cluster, &format!("operator-{name}"), &extra).await?);
    Ok((shop, registry))
}

const POLICY: &str = super::canary::POLICY;

async fn says(shop: &Shop, reason: &str, parts: &[&str]) -> anyhow::Result<()> {
    let message = shop.wait_condition("Ready", "False", reason).await?;
    for part in parts {
        ensure!(message.contains(part), "expected {part:?} in: {message}");
    }
    shop.wait_image(":1.0.0").await.map(drop)
}

async fn down(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (shop, registry) = shop(&cluster, "registry-down").await?;
    registry.fault("tags/list", Fault::status(503));
    shop.policy(POLICY)?;
    says(
        &shop,
        "RegistryUnavailable",
        &["expected a list of tags, observed ", "503", "Nothing to do; tried again by itself."],
    )
    .await?;
    registry.heal();
    shop.wait_condition("Ready", "True", "Watching").await?;
    shop.close()
}

async fn unauthorized(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (shop, registry) = shop(&cluster, "registry-auth").await?;
    registry.switch(|switches| {
        switches.auth = Auth::Basic;
        switches.users = [("anna".to_owned(), "geheim".to_owned())].into();
    });
    shop.policy(POLICY)?;
    says(&shop, "RegistryUnauthorized", &["wants a user name and a password, and there is no credential for it. Check the pull secret of the workload."]).await?;
    let host = registry.host();
    shop.kubectl(&[
        "create",
        "secret",
        "docker-registry",
        "pull",
        "--docker-server",
        &host,
        "--docker-username=anna",
        "--docker-password=geheim",
    ])?;
    shop.kubectl(&[
        "patch",
        "updatepolicy",
        "web",
        "--type=merge",
        "-p",
        "{\"spec\":{\"image\":{\"imagePullSecrets\":[{\"name\":\"absent\"}]}}}",
    ])?;
    says(&shop, "PullSecretMissing", &["pull secret absent does not exist in namespace registry-auth"])
        .await?;
    shop.kubectl(&[
        "patch",
        "updatepolicy",
        "web",
        "--type=merge",
        "-p",
        "{\"spec\":{\"image\":{\"imagePullSecrets\":[{\"name\":\"pull\"}]}}}",
    ])?;
    shop.wait_condition("Ready", "True", "Watching").await?;
    let log = shop.operator.as_ref().map(e2e::operator::Operator::log).unwrap_or_default();
    ensure!(!log.contains("geheim"), "the password is in the log");
    shop.close()
}

async fn not_found(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (shop, registry) = shop(&cluster, "registry-404").await?;
    registry.fault("tags/list", Fault::error(404, "NAME_UNKNOWN", "repository name not known to registry"));
    shop.policy(POLICY)?;
    says(&shop, "RepositoryNotFound", &["Check the repository's name and the pull secret of the workload."])
        .await?;
    shop.close()
}

async fn empty(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (shop, registry) = shop(&cluster, "registry-empty").await?;
    registry.fault(
        "tags/list",
        Fault::reply(200, &[("content-type", "application/json")], "{\"name\":\"acme/web\",\"tags\":[]}"),
    );
    shop.policy(POLICY)?;
    says(
        &shop,
        "TagListEmpty",
        &["observed an empty list. The workload stays as it is; an empty list is never read as a deletion."],
    )
    .await?;
    shop.close()
}

async fn malformed(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (shop, registry) = shop(&cluster, "registry-malformed").await?;
    let broken = image::Image {
        manifest: b"{\"schemaVersion\": 2, \"layers\": 7}".to_vec(),
        ..image::image("linux", "amd64", "")
    };
    registry.push("acme/web", "1.0.1", &broken);
    shop.policy(POLICY)?;
    let message = shop.wait_condition("UpToDate", "False", "ManifestInvalid").await?;
    ensure!(message.contains("expected the manifest of the tag, observed "), "{message}");
    shop.wait_image(":1.0.0").await?;
    shop.close()
}

async fn limited(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (shop, registry) = shop(&cluster, "registry-429").await?;
    registry.fault("tags/list", Fault::reply(429, &[("retry-after", "3600")], ""));
    shop.policy(POLICY)?;
    says(&shop, "RegistryRateLimited", &["429", "Next check 2"]).await?;
    let asked = registry.count("tags/list");
    shop.kubectl(&["annotate", "updatepolicy", "web", "rollforward.dev/requestedAt=1"])?;
    e2e::wait::wait_until("the request to be handled", e2e::shop::PATIENCE, || async {
        let handled = shop.read_policy("web").await?.status.and_then(|status| status.last_handled_request);
        Ok(match handled {
            Some(_) => e2e::wait::Seen::Yes(()),
            None => e2e::wait::Seen::NotYet("not yet".to_owned()),
        })
    })
    .await?;
    ensure!(registry.count("tags/list") == asked, "the registry was asked before it said");
    shop.close()
}
