//! The keys of a decision in ConfigMaps: what becomes of what runs when one changes, goes, or the apiserver says nothing of it; and what
//! the decision says of itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use e2e::cluster::Cluster;
use e2e::door::Door;
use e2e::harness::{Named, trial};
use e2e::keeper;
use e2e::operator::Operator;
use e2e::shop::{PATIENCE, Shop, Workload, image};
use e2e::sign;
use e2e::wait::{Seen, wait_until};
use rcgen::KeyPair;
use rollforward_testkit::sigstore::{MiniSigstore, public_pem, signed_by_key};

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial(
            "a key that changes in its ConfigMap counts within seconds, whatever the interval of the policy",
            changed,
        ),
        trial(
            "a key that goes is told as a key that is not there, and not as a signature that is not",
            deleted,
        ),
        trial(
            "a VerificationPolicy says in its own status what is wrong with it, and what is mended",
            standing,
        ),
        trial(
            "a key of which the apiserver says nothing is no missing key, and is read again within seconds",
            silent,
        ),
    ]
}

/// The bound of the documentation (10 s), and as much for the look and for a machine under load.
const SECONDS: Duration = Duration::from_secs(20);

/// A workload whose image is signed, by a key in the ConfigMap `keys` that a VerificationPolicy names; looked at once an hour.
async fn keyed(cluster: &Arc<Cluster>, name: &str) -> anyhow::Result<(Shop, KeyPair)> {
    let shop = Shop::open(cluster, name).await?;
    let ours = KeyPair::generate()?;
    let digest = shop.push("1.0.0", e2e::image::Image::new("1.0.0")).await?;
    let bundle = signed_by_key(&ours, &digest);
    sign::attach(shop.pusher(), shop.repository(), &digest, &[bundle]).await?;
    let pinned = format!("{}:1.0.0@{digest}", shop.full_repository());
    shop.workload(&Workload { image: &pinned, ..Workload::default() })?;
    keys(cluster, name, &ours)?;
    let decision = "apiVersion: rollforward.dev/v1alpha1\nkind: VerificationPolicy\nmetadata: {name: acme}\nspec: {authorities: [{name: ci, key: {configMap: {name: keys, key: ci.pub}}}]}\n";
    cluster.apply(name, decision)?;
    shop.policy_every("web", "1h", "")?;
    Ok((shop, ours))
}

fn keys(cluster: &Cluster, namespace: &str, key: &KeyPair) -> anyhow::Result<()> {
    let pem = public_pem(key).trim().replace('\n', "\\n");
    let yaml = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: keys}}\ndata: {{ci.pub: \"{pem}\\n\"}}\n"
    );
    cluster.apply(namespace, &yaml)?;
    Ok(())
}

/// Waits until the explanation has a line with these parts.
async fn says(shop: &Shop, parts: &[&str]) -> anyhow::Result<()> {
    wait_until(&format!("{parts:?}"), PATIENCE, || async {
        let why = shop.read_policy("web").await?.status.and_then(|status| status.why).unwrap_or_default();
        let said = why.iter().any(|line| parts.iter().all(|part| line.contains(part)));
        Ok(if said { Seen::Yes(()) } else { Seen::NotYet(why.join(" | ")) })
    })
    .await
}

const VERIFIED: [&str; 2] = ["1.0.0 runs: ", "; still verified"];

async fn changed(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (mut shop, ours) = keyed(&cluster, "changed-key").await?;
    shop.start_operator("").await?;
    says(&shop, &VERIFIED).await?;

    keys(&cluster, "changed-key", &KeyPair::generate()?)?;
    let changed_at = Instant::now();
    let parts = ["1.0.0 for ", "expected authority ci (key)", "Nothing is rolled back by this."];
    shop.wait_says("Blocked", "RunningImageNoLongerVerified", &parts).await?;
    println!("a changed key was told after {:.1} s", changed_at.elapsed().as_secs_f64());
    ensure!(changed_at.elapsed() < SECONDS, "told after {:?}", changed_at.elapsed());

    keys(&cluster, "changed-key", &ours)?;
    says(&shop, &VERIFIED).await?;
    shop.close()
}

async fn deleted(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (mut shop, ours) = keyed(&cluster, "deleted-key").await?;
    shop.start_operator("").await?;
    says(&shop, &VERIFIED).await?;
    let before = shop.read_workload().await?;

    shop.kubectl(&["delete", "configmap", "keys"])?;
    let deleted_at = Instant::now();
    let parts = [
        "AuthorityUnreadable: 1.0.0 for ",
        " runs and cannot be verified: expected ConfigMap keys with entry ci.pub, the key of authority ci, observed that there is no such ConfigMap.",
        "Affected: Deployment/web, ",
        "nothing is rolled back by this. Create it, or correct VerificationPolicy acme.",
    ];
    let told = shop.wait_says("Blocked", "AuthorityUnreadable", &parts).await?;
    ensure!(deleted_at.elapsed() < SECONDS, "told after {:?}", deleted_at.elapsed());
    ensure!(!told.contains("SignatureAbsent") && !told.contains("RunningImageNoLongerVerified"), "{told}");

    shop.kubectl(&["create", "configmap", "keys", "--from-literal=ci.pem=x"])?;
    let parts =
        ["observed no such entry, only ci.pem. ", "Add the entry, or correct VerificationPolicy acme."];
    shop.wait_says("Blocked", "AuthorityUnreadable", &parts).await?;
    shop.kubectl(&["delete", "configmap", "keys"])?;
    shop.kubectl(&["create", "configmap", "keys", "--from-literal=ci.pub=x"])?;
    let parts = [
        "expected a public key in PEM in entry ci.pub of ConfigMap keys, the key of authority ci, observed ",
        "Write the public key there, as `cosign public-key` prints it",
    ];
    shop.wait_says("Blocked", "AuthorityUnreadable", &parts).await?;

    keys(&cluster, "deleted-key", &ours)?;
    says(&shop, &VERIFIED).await?;
    let after = shop.read_workload().await?;
    ensure!(image(&after) == image(&before) && after.metadata.generation == before.metadata.generation);
    ensure!(
        shop.read_policy("web")
            .await?
            .status
            .is_some_and(|status| { !status.conditions.iter().flatten().any(|one| one.type_ == "Blocked") })
    );
    shop.close()
}

async fn silent(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let (shop, _) = keyed(&cluster, "silent-key").await?;
    let door = Door::open(&cluster, "silent-key").await?;
    let config = format!(
        "watchNamespaces: [silent-key]\nregistries: {{plainHttp: [\"{}\"]}}\n",
        cluster.registry_host()
    );
    let operator = Operator::spawn(&cluster.folder, &door.kubeconfig, "operator-silent-key", &config)?;
    keeper::remember(&cluster.folder, operator.pid())?;
    door.aim(operator.pid(), None);
    operator.wait_ready().await?;
    says(&shop, &VERIFIED).await?;

    // The metadata are answered, so that nothing has changed for who asks for them: the pass alone meets the silence.
    door.silence(Some("/api/v1/namespaces/silent-key/configmaps/keys"));
    shop.kubectl(&["annotate", "updatepolicy", "web", "rollforward.dev/requestedAt=now"])?;
    let unknown = "; not known whether it is still verified (AuthorityUnknown: expected ConfigMap keys with entry ci.pub, the key of authority ci).";
    says(&shop, &["1.0.0 runs: ", unknown]).await?;
    let status = shop.read_policy("web").await?.status.unwrap_or_default();
    let blocked = status.conditions.iter().flatten().find(|one| one.type_ == "Blocked");
    ensure!(blocked.is_none(), "silence is no missing key: {blocked:?}");

    door.silence(None);
    let answered_at = Instant::now();
    says(&shop, &VERIFIED).await?;
    println!("a key was read {:.1} s after the apiserver's silence", answered_at.elapsed().as_secs_f64());
    ensure!(answered_at.elapsed() < SECONDS, "read after {:?}", answered_at.elapsed());
    operator.kill()?;
    shop.close()
}

/// The condition `Ready` of a VerificationPolicy.
fn ready(shop: &Shop, name: &str) -> anyhow::Result<(String, String)> {
    let path = "jsonpath={.status.conditions[0].type}={.status.conditions[0].status} {.status.observedGeneration}={.metadata.generation}\n{.status.conditions[0].message}";
    let said = shop.kubectl(&["get", "verificationpolicy", name, "-o", path])?;
    let (head, message) = said.split_once('\n').unwrap_or_default();
    Ok((head.to_owned(), message.to_owned()))
}

/// Waits for a status of the newest generation with exactly this sentence.
async fn stands(shop: &Shop, name: &str, is_ready: bool, sentence: &str) -> anyhow::Result<()> {
    let status = if is_ready { "True" } else { "False" };
    wait_until(&format!("{name}: {sentence}"), PATIENCE, || async {
        let (head, message) = ready(shop, name)?;
        let current = head.split_once(' ').is_some_and(|(ready, generations)| {
            let same = generations.split_once('=').is_some_and(|(one, other)| one == other);
            same && ready == format!("Ready={status}")
        });
        Ok(if current && message == sentence {
            Seen::Yes(())
        } else {
            Seen::NotYet(format!("{head} {message}"))
        })
    })
    .await
}

/// Writes a VerificationPolicy.
fn decide(cluster: &Cluster, name: &str, spec: &str) -> anyhow::Result<()> {
    let yaml = format!(
        "apiVersion: rollforward.dev/v1alpha1\nkind: VerificationPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    );
    cluster.apply("standing", &yaml)?;
    Ok(())
}

const THEN: &str = "Until then nothing that it is about moves; nothing is rolled back by this.";
const BY_KEY: &str = "Usable: about all repositories; signed by 1 of: ci (key).";

async fn standing(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "standing").await?;
    decide(&cluster, "mapped", "{authorities: [{name: ci, key: {configMap: {name: keys, key: ci.pub}}}]}")?;
    decide(
        &cluster,
        "rooted",
        "{authorities: [{name: ci, keyless: {trustRoot: acme, issuer: \"https://i\", subject: \"https://s\"}}]}",
    )?;
    shop.start_operator("").await?;
    by_map(&cluster, &shop).await?;
    inline(&cluster, &shop).await?;
    by_root(&cluster, &shop).await?;
    at_rest(&cluster, &shop).await?;
    shop.close()
}

async fn by_map(cluster: &Cluster, shop: &Shop) -> anyhow::Result<()> {
    let says = |observed: &str, hint: &str| {
        format!(
            "AuthorityUnreadable: authority ci cannot be asked: expected ConfigMap keys with entry ci.pub, the key of authority ci, observed {observed}. {hint}, or correct VerificationPolicy mapped. Seen by itself within 10 s. {THEN}"
        )
    };
    stands(shop, "mapped", false, &says("that there is no such ConfigMap", "Create it")).await?;
    shop.kubectl(&["create", "configmap", "keys", "--from-literal=ci.pem=x"])?;
    stands(shop, "mapped", false, &says("no such entry, only ci.pem", "Add the entry")).await?;
    keys(cluster, "standing", &KeyPair::generate()?)?;
    stands(shop, "mapped", true, BY_KEY).await
}

async fn inline(cluster: &Cluster, shop: &Shop) -> anyhow::Result<()> {
    // The schema lets through what begins like a key.
    let pem = "-----BEGIN PUBLIC KEY-----\\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\\n-----END PUBLIC KEY-----";
    let authority = |pem: &str| format!("authorities: [{{name: ci, key: {{inline: \"{pem}\"}}}}]");
    decide(cluster, "inline", &format!("{{{}}}", authority(pem)))?;
    let begins = "AuthorityUnreadable: authority ci cannot be asked: expected a public key in PEM as the key of authority ci in VerificationPolicy inline, observed ";
    let ends = format!("Write the public key there, as `cosign public-key` prints it. {THEN}");
    begins_and_ends(shop, "inline", begins, &ends).await?;
    let pem = public_pem(&KeyPair::generate()?).trim().replace('\n', "\\n");
    decide(cluster, "inline", &format!("{{{}}}", authority(&pem)))?;
    stands(shop, "inline", true, BY_KEY).await?;
    let rule = "attestations: [{predicateType: \"https://t\", rule: \"predicate.(\"}]";
    decide(cluster, "inline", &format!("{{{}, {rule}}}", authority(&pem)))?;
    let begins =
        "RuleNotRun: expected a rule over https://t that can be run, observed not a CEL expression: ";
    begins_and_ends(shop, "inline", begins, "and nothing that it is about moves.").await
}

async fn by_root(cluster: &Cluster, shop: &Shop) -> anyhow::Result<()> {
    let missing = format!(
        "TrustRootMissing: authority ci cannot be asked: expected TrustRoot acme, by which ci of VerificationPolicy rooted is known, observed none of that name in the namespace. Create it, or correct VerificationPolicy rooted. {THEN}"
    );
    stands(shop, "rooted", false, &missing).await?;
    let root = "apiVersion: rollforward.dev/v1alpha1\nkind: TrustRoot\nmetadata: {name: acme}\nspec: {trustedRoot: {configMap: {name: roots, key: root.json}}}\n";
    cluster.apply("standing", root)?;
    let unread = format!(
        "TrustRootMissing: authority ci cannot be asked: expected ConfigMap roots with entry root.json, the content of TrustRoot acme, observed that there is no such ConfigMap. Create it, or correct TrustRoot acme. Seen by itself within 10 s. {THEN}"
    );
    stands(shop, "rooted", false, &unread).await?;
    let content = format!("--from-literal=root.json={}", MiniSigstore::default().trusted_root(None));
    shop.kubectl(&["create", "configmap", "roots", &content])?;
    let usable = "Usable: about all repositories; signed by 1 of: ci (TrustRoot acme";
    begins_and_ends(shop, "rooted", usable, ").").await?;
    shop.kubectl(&["delete", "configmap", "roots"])?;
    stands(shop, "rooted", false, &unread).await?;
    let columns = shop.kubectl(&["get", "verificationpolicy", "rooted"])?;
    ensure!(columns.contains("READY") && columns.contains("REASON"), "{columns}");
    ensure!(columns.contains("False   TrustRootMissing"), "{columns}");
    // The same by Events, for those who watch them; `acme` is the TrustRoot.
    shop.wait_event("rooted", "TrustRootMissing: authority ci cannot be asked: expected TrustRoot acme")
        .await?;
    shop.wait_event("rooted", "Usable: about all repositories").await?;
    shop.wait_event("acme", "TrustRootUsable: in use since").await?;
    shop.wait_event("acme", "TrustRootMissing: expected ConfigMap roots with entry root.json").await
}

async fn begins_and_ends(shop: &Shop, name: &str, begins: &str, ends: &str) -> anyhow::Result<()> {
    wait_until(begins, PATIENCE, || async {
        let (head, message) = ready(shop, name)?;
        let said = message.starts_with(begins) && message.ends_with(ends);
        Ok(if said { Seen::Yes(()) } else { Seen::NotYet(format!("{head} {message}")) })
    })
    .await
}

/// Nothing is written while nothing changes; a root that can be read no more has lost its hash by then.
async fn at_rest(cluster: &Cluster, shop: &Shop) -> anyhow::Result<()> {
    let versions = || {
        let path = "jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion} {.status.hash}{\"\\n\"}{end}";
        shop.kubectl(&["get", "verificationpolicies,trustroots", "-o", path])
    };
    wait_until("the root to be told too", PATIENCE, || async {
        let said = versions()?;
        let told = said.lines().any(|line| line.starts_with("TrustRoot acme ") && line.ends_with(' '));
        Ok(if told { Seen::Yes(()) } else { Seen::NotYet(said) })
    })
    .await?;
    for name in ["verificationpolicy/rooted", "verificationpolicy/mapped", "trustroot/acme"] {
        shop.kubectl(&["annotate", name, "look=again"])?;
    }
    let annotated = versions()?;
    // Another object's look is the proof that these have had theirs: they were woken before it.
    decide(cluster, "last", "{unsigned: Allow}")?;
    let usable = "Usable: about all repositories; no authority, unsigned images may run.";
    stands(shop, "last", true, usable).await?;
    let after = versions()?;
    let kept = annotated.lines().all(|line| after.lines().any(|other| other == line));
    ensure!(kept, "written without a change: {annotated} {after}");
    Ok(())
}
