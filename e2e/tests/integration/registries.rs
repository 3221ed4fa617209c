//! Registries that do not answer as they should: the sentence, and that the workload stays.

use std::fmt::Write as _;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::shop::{Shop, Workload};
use rollforward_testkit::image;
use rollforward_testkit::registry::{Auth, Fault, HostileRegistry};
use rollforward_testkit::token_server::TokenServer;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial("a registry that is down is said, and tried again", down),
        trial("a registry that wants a credential is said; with the pull secret it answers", unauthorized),
        trial("a repository that does not exist is said", not_found),
        trial("an empty list of tags is never read as a deletion", empty),
        trial("a manifest that is none is said, and nothing moves", malformed),
        trial("a registry that asks for patience is asked again when it said", limited),
        trial(
            "the real registry with tokens is read with the ServiceAccount's secret, at one request a poll",
            tokens,
        ),
        trial("of 2,500 tags in the real registry a poll asks for the part that the rule could choose", many),
        trial("an image is judged at its source and moves once the mirror serves the digest", mirrored),
        trial("a followed tag costs one HEAD a look, and the status says so", followed),
        trial("a hundred workloads on one repository cost the requests of one", hundred),
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

/// Creates the Secret `pull` with what anna shows to a registry.
fn pull_secret(shop: &Shop, host: &str) -> anyhow::Result<()> {
    let server = format!("--docker-server={host}");
    let kind = ["create", "secret", "docker-registry", "pull"];
    let anna = [server.as_str(), "--docker-username=anna", "--docker-password=geheim"];
    shop.kubectl(&[&kind[..], &anna[..]].concat()).map(drop)
}

async fn mirrored(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let name = "registry-mirror";
    let (mut shop, source) = (Shop::open(&cluster, name).await?, HostileRegistry::start().await);
    let mirror = HostileRegistry::start().await;
    let version = |tag: &str| image::image("linux", "amd64", tag);
    source.push("up/web", "1.0.0", &version("1.0.0"));
    source.push("up/web", "1.0.1", &version("1.0.1"));
    mirror.push("acme/web", "1.0.0", &version("1.0.0"));
    let image = format!("{}/acme/web:1.0.0", mirror.host());
    shop.workload(&Workload { image: &image, ..Workload::default() })?;
    let hosts = format!("\"{}\", \"{}\"", source.host(), mirror.host());
    let extra = format!("watchNamespaces: [{name}]\nregistries: {{plainHttp: [{hosts}]}}\n");
    let operator = e2e::operator::Operator::start_with(&cluster, &format!("operator-{name}"), &extra).await?;
    shop.operator = Some(operator);
    let upstream = format!("{}/up/web", source.host());
    shop.policy(&format!("  image: {{source: {{repository: \"{upstream}\"}}}}\n{POLICY}"))?;
    let message = shop.wait_condition("Blocked", "True", "MirrorLacksDigest").await?;
    let expected = format!("expected the mirror {}/acme/web to serve the digest, observed ", mirror.host());
    for part in [expected.as_str(), "acme/web:1.0.1@", "Copy the image there; tried again by itself."] {
        ensure!(message.contains(part), "expected {part:?} in: {message}");
    }
    shop.wait_image(":1.0.0").await?;
    let digest = mirror.push("acme/web", "1.0.1", &version("1.0.1"));
    shop.wait_image(&format!("{}/acme/web:1.0.1@{digest}", mirror.host())).await?;
    ensure!(mirror.count("tags/list") == 0, "tags were listed at the mirror");
    let images = shop.read_policy("web").await?.status.and_then(|status| status.images).unwrap_or_default();
    let listing = images.first().and_then(|image| image.listing.clone()).unwrap_or_default();
    ensure!(listing == format!("of {upstream}: the whole list, 1 request a look"), "{listing}");
    shop.close()
}

async fn followed(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (shop, registry) = shop(&cluster, "registry-follow").await?;
    registry.push("acme/web", "stable", &image::image("linux", "amd64", "1.0.0"));
    shop.policy(&format!("  image: {{adopt: Allow, select: {{digest: {{tag: stable}}}}}}\n{POLICY}"))?;
    shop.wait_condition("Ready", "True", "Watching").await?;
    let operator = shop.operator.as_ref().context("started")?;
    let head = "HEAD /v2/acme/web/manifests/stable";
    let (all, heads) = (registry.lines().len(), registry.count(head));
    let passes = operator.metric("rollforward_passes_total").await?;
    e2e::wait::wait_until("five more looks", e2e::shop::PATIENCE, || async {
        let now = registry.count(head);
        let seen = format!("{} HEADs", now - heads);
        Ok(if heads + 5 <= now { e2e::wait::Seen::Yes(()) } else { e2e::wait::Seen::NotYet(seen) })
    })
    .await?;
    let others: Vec<String> = registry.lines().split_off(all);
    ensure!(others.iter().all(|line| line.starts_with(head)), "more than HEADs: {others:?}");
    let passes = operator.metric("rollforward_passes_total").await? - passes;
    ensure!(4.0 <= passes, "five HEADs in {passes} passes");
    let images = shop.read_policy("web").await?.status.and_then(|status| status.images).unwrap_or_default();
    let listing = images.first().and_then(|image| image.listing.clone()).unwrap_or_default();
    ensure!(listing == "no list but the digest of stable, 1 request a look", "{listing}");
    let counted = operator.metric("rollforward_registry_requests_total").await?;
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let sent = registry.lines().len() as f64;
    ensure!((sent - counted).abs() <= 2.0, "{counted} counted, {sent} seen by the registry");
    shop.close()
}

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
    pull_secret(&shop, &registry.host())?;
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

/// The reference registry once more, over the same images, with tokens. Ends with the trial, or with the cluster.
struct Guarded {
    host: String,
    log: std::path::PathBuf,
    child: Child,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Guarded {
    fn start(cluster: &Cluster, server: &TokenServer) -> anyhow::Result<Self> {
        let address = &cluster.address;
        let port = std::net::TcpListener::bind((address.as_str(), 0))?.local_addr()?.port();
        let host = format!("{address}:{port}");
        let (bundle, file) = (cluster.folder.join("tokens.crt"), cluster.folder.join("tokens.yml"));
        fs::write(&bundle, server.bundle())?;
        let auth = server.registry_auth(&bundle.display().to_string());
        let root = cluster.folder.join("registry");
        fs::write(
            &file,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{host}\"}}\n{auth}",
                root.display()
            ),
        )?;
        let log = cluster.folder.join("tokens.log");
        let output = fs::File::create(&log)?;
        let child = Command::new(cluster.parts.program("registry"))
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("the registry with tokens")?;
        e2e::keeper::remember(&cluster.folder, child.id())?;
        Ok(Self { host, log, child })
    }

    /// Requests that were let in, by a part of their line. The registry writes one line for each.
    fn served(&self, part: &str) -> anyhow::Result<usize> {
        let text = fs::read_to_string(&self.log)?;
        Ok(text.lines().filter(|line| line.contains(part) && line.contains("\" 200 ")).count())
    }
}

async fn tokens(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let name = "registry-tokens";
    let mut shop = Shop::open(&cluster, name).await?;
    let server = TokenServer::start(&cluster.address, &[("anna", "geheim")], 300).await;
    let guarded = Guarded::start(&cluster, &server)?;
    let image = format!("{}/{name}/web:1.0.0", guarded.host);
    shop.workload(&Workload { image: &image, ..Workload::default() })?;
    let extra = format!(
        "watchNamespaces: [{name}]\nregistries: {{hosts: [{{host: \"{}\", plainHttp: true, realms: [\"{}\"]}}], plainHttp: [\"{}\"]}}\n",
        guarded.host,
        server.host(),
        server.host()
    );
    let operator = e2e::operator::Operator::start_with(&cluster, &format!("operator-{name}"), &extra).await?;
    shop.operator = Some(operator);
    shop.policy(POLICY)?;
    says(
        &shop,
        "RegistryUnauthorized",
        &["asked without a credential", "Check the pull secret of the workload."],
    )
    .await?;
    ensure!(guarded.served("/v2/")? == 0, "the registry served somebody without a token");
    pull_secret(&shop, &guarded.host)?;
    let patch = "{\"imagePullSecrets\":[{\"name\":\"pull\"}]}";
    shop.kubectl(&["patch", "serviceaccount", "default", "--type=merge", "-p", patch])?;
    shop.wait_condition("Ready", "True", "Watching").await?;
    let operator = shop.operator.as_ref().context("started")?;
    let scans = operator.metric("rollforward_scans_total").await?;
    let (lists, all) = (guarded.served("tags/list")?, guarded.served("/v2/")?);
    e2e::wait::wait_until("six more polls", e2e::shop::PATIENCE, || async {
        let now = operator.metric("rollforward_scans_total").await?;
        let seen = format!("{now} scans");
        Ok(if scans + 6.0 <= now { e2e::wait::Seen::Yes(()) } else { e2e::wait::Seen::NotYet(seen) })
    })
    .await?;
    let lists = guarded.served("tags/list")? - lists;
    let others = guarded.served("/v2/")? - all - lists;
    let polls = operator.metric("rollforward_scans_total").await? - scans;
    // One may have begun before the first count, and one after the last.
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let apart = (lists as f64 - polls).abs();
    ensure!(apart <= 1.0, "{lists} lists in {polls} polls");
    // The running tag is resolved again within six polls.
    ensure!(others <= 3, "{others} requests beside the lists in {polls} polls");
    let asked: Vec<String> = server.requests();
    let with_anna = asked.iter().filter(|line| line.starts_with("anna ")).count();
    ensure!(with_anna == 1, "a token of 300 s was asked for {with_anna} times: {asked:?}");
    shop.push("1.0.1", e2e::image::Image::new("1.0.1")).await?;
    shop.wait_state("Canary").await?;
    let log = operator.log();
    ensure!(!log.contains("geheim"), "the password is in the log");
    shop.close()
}

async fn hundred(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let name = "registry-hundred";
    let (mut shop, registry) = (Shop::open(&cluster, name).await?, HostileRegistry::start().await);
    registry.push("acme/web", "1.0.0", &image::image("linux", "amd64", "1.0.0"));
    let mut objects = String::new();
    for n in 0..100 {
        write!(
            objects,
            "---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web-{n}}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: web-{n}}}}}
  template:
    metadata: {{labels: {{app: web-{n}}}}}
    spec: {{containers: [{{name: app, image: \"{0}/acme/web:1.0.0\"}}]}}
---
apiVersion: rollforward.dev/v1alpha1
kind: UpdatePolicy
metadata: {{name: web-{n}}}
spec:
  targets: [{{apiVersion: apps/v1, kind: Deployment, name: web-{n}}}]
  schedule: {{interval: 5s}}
{POLICY}
",
            registry.host()
        )?;
    }
    cluster.apply(name, &objects)?;
    let extra = format!("watchNamespaces: [{name}]\nregistries: {{plainHttp: [\"{}\"]}}\n", registry.host());
    let operator = e2e::operator::Operator::start_with(&cluster, &format!("operator-{name}"), &extra).await?;
    shop.operator = Some(operator);
    let operator = shop.operator.as_ref().context("started")?;
    e2e::wait::wait_until("all policies to be watched", e2e::shop::PATIENCE, || async {
        let reasons = shop.kubectl(&[
            "get",
            "updatepolicies",
            "-o",
            "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].reason}",
        ])?;
        let n = reasons.split_whitespace().filter(|reason| *reason == "Watching").count();
        Ok(if n == 100 { e2e::wait::Seen::Yes(()) } else { e2e::wait::Seen::NotYet(format!("{n} watched")) })
    })
    .await?;
    let passes = operator.metric("rollforward_passes_total").await?;
    let scans = operator.metric("rollforward_scans_total").await?;
    let (lists, all) = (registry.count("tags/list"), registry.lines().len());
    e2e::wait::wait_until("three rounds of passes", e2e::shop::PATIENCE, || async {
        let now = operator.metric("rollforward_passes_total").await?;
        let seen = format!("{} passes", now - passes);
        Ok(if passes + 300.0 <= now { e2e::wait::Seen::Yes(()) } else { e2e::wait::Seen::NotYet(seen) })
    })
    .await?;
    let (lists, all) = (registry.count("tags/list") - lists, registry.lines().len() - all);
    let polls = operator.metric("rollforward_scans_total").await? - scans;
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let apart = (lists as f64 - polls).abs();
    ensure!(apart <= 1.0, "{lists} lists in {polls} polls");
    ensure!(
        lists <= 20 && all - lists <= 5,
        "{lists} lists and {} other requests for 300 passes",
        all - lists
    );
    shop.close()
}

/// 2,500 tags, written as the registry keeps them: a folder each, beside the one that was pushed.
fn many_tags(cluster: &Cluster, repository: &str) -> anyhow::Result<()> {
    let tags = cluster
        .folder
        .join("registry/docker/registry/v2/repositories")
        .join(repository)
        .join("_manifests/tags");
    let link = fs::read(tags.join("1.0.0/current/link")).context("the pushed tag")?;
    for n in 0..2500 {
        let tag = format!("{}.{}.{}", [0, 2, 3, 4, 5][n / 500], n / 10 % 50, n % 10);
        let current = tags.join(tag).join("current");
        fs::create_dir_all(&current)?;
        fs::write(current.join("link"), &link)?;
    }
    Ok(())
}

async fn many(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "registry-many").await?;
    many_tags(&cluster, &shop.repository)?;
    let lines = || -> anyhow::Result<Vec<String>> {
        let text = fs::read_to_string(cluster.folder.join("registry.log"))?;
        let ours = text.lines().filter(|line| line.contains("/registry-many/web/tags/list"));
        Ok(ours.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect())
    };
    shop.workload(&Workload::default())?;
    shop.start_operator("").await?;
    shop.policy(POLICY)?;
    shop.wait_condition("Ready", "True", "Watching").await?;
    let operator = shop.operator.as_ref().context("started")?;
    let scans = operator.metric("rollforward_scans_total").await?;
    e2e::wait::wait_until("four more polls", e2e::shop::PATIENCE, || async {
        let now = operator.metric("rollforward_scans_total").await?;
        let seen = format!("{now} scans");
        Ok(if scans + 4.0 <= now { e2e::wait::Seen::Yes(()) } else { e2e::wait::Seen::NotYet(seen) })
    })
    .await?;
    let asked = lines()?;
    // The reference registry gives a thousand at most, and says so by its links.
    let (first, later) = asked.split_at_checked(3).context("three pages at first")?;
    ensure!(
        first[0].contains("?n=10000 ") && first[1..].iter().all(|line| line.contains("n=1000")),
        "{first:?}"
    );
    ensure!(
        later.len() >= 4 && later.iter().all(|line| line.contains("?n=33&last=0.9.9 ")),
        "expected one bounded request a poll: {later:?}"
    );
    shop.push("1.0.1", e2e::image::Image::new("1.0.1")).await?;
    shop.wait_state("Canary").await?;
    ensure!(
        lines()?.iter().skip(3).all(|line| line.contains("&last=0.9.9 ")),
        "the whole list was read again"
    );
    shop.close()
}
