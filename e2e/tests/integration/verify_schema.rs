//! What `kubectl apply` refuses of trust decisions, trust roots and exceptions, with the sentence that the user reads; who may
//! create an exception; how a trust root says how it stands. Keys and what becomes of them: `keys.rs`.

use std::sync::Arc;

use anyhow::{bail, ensure};
use e2e::cluster::Cluster;
use e2e::harness::{Named, trial};
use e2e::shop::Shop;
use rollforward_testkit::sigstore::MiniSigstore;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial("a bad trust decision, root or exception is refused with a sentence", refused),
        trial(
            "an exception cannot be changed, and no role that comes with the chart lets anybody create one",
            exceptions,
        ),
        trial(
            "a trust root says whether it can be used and until when, and what cannot be read is said",
            roots,
        ),
        trial("a VerificationPolicy denies unsigned images although the policy allows them", stricter),
    ]
}

const KEY: &str =
    "-----BEGIN PUBLIC KEY-----\\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\\n-----END PUBLIC KEY-----";

/// Spec of a `VerificationPolicy`, and what the refusal must say.
fn policies() -> Vec<(String, &'static str)> {
    let authority = |what: &str| format!("{{authorities: [{{name: ci, {what}}}]}}");
    let keyless = |what: &str| authority(&format!("keyless: {{trustRoot: pg, {what}}}"));
    let key = format!("key: {{inline: \"{KEY}\"}}");
    let with = |more: &str| format!("{{authorities: [{{name: ci, {key}}}], {more}}}");
    vec![
        (
            keyless("issuer: \"\", subject: x"),
            "expected an issuer and a subject that are not empty: empty would mean anybody",
        ),
        (
            keyless("issuer: x, subject: \"\""),
            "expected an issuer and a subject that are not empty: empty would mean anybody",
        ),
        (keyless("issuer: x"), "expected exactly one of subject and subjectRegExp"),
        (
            keyless("issuer: x, issuerRegExp: x, subject: x"),
            "expected exactly one of issuer and issuerRegExp",
        ),
        (
            keyless("issuer: x, subjectRegExp: \".*\""),
            "expected an expression that does not match the empty text: it would mean anybody",
        ),
        (
            keyless("issuer: x, subjectRegExp: \"\""),
            "expected an expression that does not match the empty text",
        ),
        (keyless("issuerRegExp: \"(\", subject: x"), "error parsing regexp: missing closing ): `(`"),
        (
            keyless("issuer: x, subject: x, claims: {sourceRepository: x}"),
            "expected the name of a claim that Fulcio certificates carry",
        ),
        (authority("requireLog: true"), "expected exactly one of key and keyless"),
        (
            authority("key: {inline: nonsense}"),
            "expected a public key in PEM, beginning with -----BEGIN PUBLIC KEY-----",
        ),
        (authority("key: {}"), "expected exactly one of inline and configMap"),
        (
            authority("key: {configMap: {name: keys, key: ci.pub, namespace: other}}"),
            "unknown field \"spec.authorities[0].key.configMap.namespace\"",
        ),
        (with("require: 2"), "expected require to be at most the number of authorities"),
        (with("sourceRepository: {}"), "expected exactly one of exact and regExp"),
        (
            with("sourceRepository: {regExp: \".*\"}"),
            "expected an expression that does not match the empty text",
        ),
        (
            "{sourceRepository: {exact: x}}".to_owned(),
            "expected authorities with sourceRepository: a source that nobody signed says nothing",
        ),
        (with("require: 0"), "should be greater than or equal to 1"),
        (
            with("layers: {signature: Advisory}"),
            "expected `unsigned: Allow` to be written where layers.signature is not Required",
        ),
        (
            "{attestations: [{predicateType: x}]}".to_owned(),
            "expected authorities with attestations: a statement that nobody signed says nothing",
        ),
        (with("attestations: [{predicateType: x, rule: \"\"}]"), "should be at least 1 chars long"),
        ("{unsigned: Perhaps}".to_owned(), "supported values: \"Allow\", \"Deny\""),
        ("{versionBinding: Sometimes}".to_owned(), "supported values: \"Auto\", \"Required\", \"Off\""),
        ("{layers: {drift: Loud}}".to_owned(), "supported values: \"Required\", \"Advisory\", \"Off\""),
        ("{layers: {ledger: Off}}".to_owned(), "unknown field \"spec.layers.ledger\""),
        ("{trustLedger: Loud}".to_owned(), "supported values: \"Report\", \"Gate\""),
        ("{soak: {routine: 1d}}".to_owned(), "expected hours, minutes and seconds such as 1h30m"),
        ("{recheck: 1m}".to_owned(), "expected hours, minutes and seconds from 10m to 168h; got 1m"),
        ("{deny: {digests: [\"sha256:12\"]}}".to_owned(), "should match '^sha256:[0-9a-f]{64}$'"),
        ("{repositories: []}".to_owned(), "should have at least 1 items"),
    ]
}

async fn refused(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let shop = Shop::open(&cluster, "trust-refused").await?;
    let object = |kind: &str, spec: &str| {
        let yaml = format!(
            "apiVersion: rollforward.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n"
        );
        cluster.apply("trust-refused", &yaml)
    };
    let check = |kind: &str, spec: &str, says: &str| match object(kind, spec) {
        Ok(_) => bail!("{kind} {spec} was accepted; expected a refusal that says {says:?}"),
        Err(error) => {
            ensure!(error.to_string().contains(says), "{kind} {spec}: expected {says:?} in: {error}");
            Ok(())
        }
    };
    for (spec, says) in policies() {
        check("VerificationPolicy", &spec, says)?;
    }
    let one = "expected exactly one of publicGood, gitHub and trustedRoot";
    check("TrustRoot", "{}", one)?;
    check("TrustRoot", "{publicGood: {}, gitHub: {}}", one)?;
    check("TrustRoot", "{trustedRoot: {}}", "expected exactly one of inline and configMap")?;
    let digest = format!("sha256:{}", "a".repeat(64));
    let exception = |layers: &str, duration: &str, reason: &str| {
        format!("{{digest: \"{digest}\", layers: {layers}, duration: {duration}, reason: \"{reason}\"}}")
    };
    let check = |spec: String, says: &str| check("VerificationException", &spec, says);
    check(
        exception("[Soak]", "73h", "a fix that cannot wait"),
        "expected hours, minutes and seconds, at most 72h; got 73h",
    )?;
    check(exception("[]", "1h", "a fix that cannot wait"), "should have at least 1 items")?;
    check(
        exception("[Reference]", "1h", "a fix that cannot wait"),
        "supported values: \"Ledger\", \"Signature\"",
    )?;
    check(exception("[Soak]", "1h", "short"), "should be at least 8 chars long")?;
    shop.close()
}

async fn exceptions(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let shop = Shop::open(&cluster, "exceptions").await?;
    let yaml = format!(
        "apiVersion: rollforward.dev/v1alpha1\nkind: VerificationException\nmetadata: {{name: fix}}\nspec:\n  digest: sha256:{}\n  layers: [Soak]\n  duration: 1h\n  reason: a fix that cannot wait\n",
        "a".repeat(64)
    );
    cluster.apply("exceptions", &yaml)?;
    let patched = shop.kubectl(&[
        "patch",
        "verificationexception",
        "fix",
        "--type=merge",
        "-p",
        "{\"spec\":{\"duration\":\"2h\"}}",
    ]);
    let error = patched.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(error.contains("an exception cannot be changed: delete it and create another"), "{error}");
    // Who may edit everything in a namespace by the built-in role may not create one: no role of ours is added to it.
    shop.kubectl(&["create", "rolebinding", "editors", "--clusterrole=admin", "--user=jane"])?;
    let may = |verb: &str, what: &str| {
        let asked = shop.kubectl(&["auth", "can-i", verb, what, "--as=jane"]);
        asked.is_ok_and(|answer| answer.contains("yes")) // a no is an exit code
    };
    for verb in ["create", "patch", "delete"] {
        ensure!(!may(verb, "verificationexceptions.rollforward.dev"), "jane may {verb} exceptions");
    }
    ensure!(may("create", "deployments.apps"), "jane may edit nothing at all");
    shop.close()
}

async fn roots(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "roots").await?;
    shop.start_operator("").await?;
    let root = |name: &str, spec: &str| {
        let yaml = format!(
            "apiVersion: rollforward.dev/v1alpha1\nkind: TrustRoot\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        );
        cluster.apply("roots", &yaml)
    };
    root("public", "{publicGood: {}}")?;
    root("broken", "{trustedRoot: {inline: \"{}\"}}")?;
    root("missing", "{trustedRoot: {configMap: {name: nowhere, key: root.json}}}")?;
    let says = |name: &str, kind: &str, reason: &str| {
        let path = format!("jsonpath={{.status.conditions[?(@.type=='{kind}')].reason}}");
        shop.kubectl(&[
            "wait",
            &format!("trustroot/{name}"),
            &format!("--for={path}={reason}"),
            "--timeout=60s",
        ])
    };
    says("public", "Usable", "TrustRootUsable")?;
    says("broken", "Usable", "TrustRootMissing")?;
    says("missing", "Usable", "TrustRootMissing")?;
    let message =
        shop.kubectl(&["get", "trustroot", "missing", "-o", "jsonpath={.status.conditions[0].message}"])?;
    let expected = "TrustRootMissing: expected ConfigMap nowhere with entry root.json, the content of TrustRoot missing, observed that there is no such ConfigMap. Create it, or correct TrustRoot missing. Seen by itself within 10 s.";
    ensure!(message == expected, "{message}");
    // The ConfigMap itself wakes the trust root.
    let content = format!("--from-literal=root.json={}", MiniSigstore::default().trusted_root(None));
    shop.kubectl(&["create", "configmap", "nowhere", &content])?;
    says("missing", "Usable", "TrustRootUsable")?;
    shop.close()
}

async fn stricter(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let mut shop = Shop::open(&cluster, "stricter").await?;
    shop.workload(&e2e::shop::Workload::default())?;
    let policy = format!(
        "apiVersion: rollforward.dev/v1alpha1\nkind: VerificationPolicy\nmetadata: {{name: acme}}\nspec: {{repositories: [\"{}/*\"], deny: {{digests: [\"sha256:{}\"]}}}}\n",
        cluster.registry_host(),
        "a".repeat(64)
    );
    cluster.apply("stricter", &policy)?;
    shop.policy(
        "  verification: {unsigned: Allow, soak: {unsigned: 0s}}\n  rollout: {bake: 1s, deadline: 5m}",
    )?;
    shop.push("1.0.1", e2e::image::Image::new("1.0.1")).await?;
    shop.start_operator("").await?;
    let parts = [
        "expected a signature, as VerificationPolicy acme denies unsigned images",
        "Name an authority in VerificationPolicy acme",
    ];
    shop.wait_says("Blocked", "NoAuthority", &parts).await?;
    ensure!(
        shop.read_workload().await.is_ok_and(|workload| e2e::shop::image(&workload).contains("1.0.0")),
        "it moved"
    );
    // Taking the decision away wakes the policy at once: its own word counts again.
    shop.kubectl(&["delete", "verificationpolicy", "acme"])?;
    shop.wait_state("Canary").await?;
    shop.close()
}
