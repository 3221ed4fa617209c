//! `rollforward verify` as a user runs it: the real binary, a registry on loopback, signatures in every layout, and the three
//! exit codes, each with its sentence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use rcgen::KeyPair;
use rollforward_core::image::Digest;
use rollforward_testkit::image::{attachment, image, image_with_config};
use rollforward_testkit::registry::{Auth, Fault, HostileRegistry};
use rollforward_testkit::sigstore::{
    BUNDLE, Defect, MiniSigstore, Order, bundle_by_key, public_pem, simple_signing_by_key,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

struct World {
    fake: HostileRegistry,
    digest: Digest,
    folder: TempDir,
    mini: MiniSigstore,
    key: KeyPair,
}

struct Said {
    code: i32,
    text: String,
    errors: String,
}

impl World {
    async fn new() -> Self {
        let fake = HostileRegistry::start().await;
        fake.switch(|switches| switches.referrers = true);
        let digest = fake.push("acme/web", "1.4.3", &image("linux", "amd64", "x"));
        let (folder, mini, key) =
            (TempDir::new().unwrap(), MiniSigstore::default(), KeyPair::generate().unwrap());
        let world = Self { fake, digest, folder, mini, key };
        world.write("key.pub", &public_pem(&world.key));
        world.write("root.json", &world.mini.trusted_root(None));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// As `docker login` leaves it.
    fn log_in(&self, user: &str, password: &str) {
        let entry = json!({"username": user, "password": password});
        self.write("config.json", &json!({"auths": {self.fake.host(): entry}}).to_string());
    }

    fn attach_bundle(&self, bundle: &Value) {
        let bytes = bundle.to_string().into_bytes();
        let manifest = attachment(Some(&self.digest), &[(BUNDLE, &bytes, &BTreeMap::new())]);
        self.fake.store("acme/web", &manifest, &[bytes]);
    }

    fn attach_sig(&self, (payload, annotations): (Vec<u8>, BTreeMap<String, String>)) {
        let tag = format!("{}.sig", self.digest.as_str().replace(':', "-"));
        let manifest = attachment(None, &[(SIMPLE, &payload, &annotations)]);
        self.fake.store("acme/web", &manifest, &[payload]);
        self.fake.push("acme/web", &tag, &manifest);
    }

    async fn verify(&self, tag: &str, arguments: &[&str]) -> Said {
        let root = self.path("root.json");
        let arguments: Vec<&str> =
            ["--trusted-root", root.to_str().unwrap()].iter().chain(arguments).copied().collect();
        self.run(tag, &arguments).await
    }

    async fn run(&self, tag: &str, arguments: &[&str]) -> Said {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_rollforward"))
            .arg("verify")
            .arg(format!("{}/acme/web{tag}", self.fake.host()))
            .arg("--plain-http")
            .args(arguments)
            .env("DOCKER_CONFIG", self.folder.path())
            .output()
            .await
            .unwrap();
        Said {
            code: output.status.code().unwrap(),
            text: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// By the documents of a file; `more` are further arguments.
    async fn by_file(&self, tag: &str, documents: &[Value], more: &[&str]) -> Said {
        let text: Vec<String> = documents.iter().map(ToString::to_string).collect();
        self.write("policy.yaml", &text.join("\n---\n"));
        let path = self.path("policy.yaml");
        let arguments: Vec<&str> = ["--policy", path.to_str().unwrap()].iter().chain(more).copied().collect();
        self.run(tag, &arguments).await
    }

    async fn by_key(&self, tag: &str) -> Said {
        let key = self.path("key.pub");
        self.verify(tag, &["--key", key.to_str().unwrap()]).await
    }

    async fn by_identity(&self, tag: &str, identity: &str) -> Said {
        let issuer = "https://token.actions.githubusercontent.com";
        self.verify(tag, &["--certificate-identity", identity, "--certificate-oidc-issuer", issuer]).await
    }
}

fn expect(said: &Said, code: i32, parts: &[&str]) {
    assert_eq!(said.code, code, "{}{}", said.text, said.errors);
    for part in parts {
        assert!(said.text.contains(part), "lacks {part}:\n{}{}", said.text, said.errors);
    }
}

#[tokio::test]
async fn a_key_verifies_both_layouts_and_everything_else_is_refused_with_its_code() {
    let world = World::new().await;
    expect(&world.by_key(":1.4.3").await, 1, &["SignatureAbsent: ", "acme/web:1.4.3@"]);
    let stranger = KeyPair::generate().unwrap();
    world.attach_bundle(&bundle_by_key(&stranger, &Order::signature(&world.digest)));
    let refused = world.by_key(":1.4.3").await;
    assert_eq!(refused.code, 1, "{}", refused.text);
    assert!(refused.text.contains("does not hold: not signed by this key"), "{}", refused.text);
    // One good signature is enough, whatever lies beside it.
    world.attach_sig(simple_signing_by_key(
        &world.key,
        &world.digest,
        &format!("{}/acme/web", world.fake.host()),
    ));
    expect(&world.by_key(":1.4.3").await, 0, &["Verified: ", ".sig tag: signature, by the key, in no log"]);
    let world = World::new().await;
    world.attach_bundle(&bundle_by_key(&world.key, &Order::signature(&world.digest)));
    expect(&world.by_key(":1.4.3").await, 0, &["Verified: ", "referrers: signature, by the key"]);
}

#[tokio::test]
async fn an_identity_verifies_and_another_is_refused_with_both_names() {
    let world = World::new().await;
    let order = Order::signature(&world.digest);
    world.attach_bundle(&world.mini.bundle(&order));
    let verified = world.by_identity(":1.4.3", order.who.subject).await;
    expect(&verified, 0, &["Verified: ", order.who.subject, "in the log", "Binding", "VersionBound"]);
    let other = world
        .by_identity(":1.4.3", "https://github.com/acme/web/.github/workflows/dev.yml@refs/heads/x")
        .await;
    expect(&other, 1, &["SignatureIdentityMismatch: ", "dev.yml", "release.yml"]);
}

/// A label below the signed digest counts here as in a cluster: where the repository has the version that it names.
#[tokio::test]
async fn a_label_binds_or_contradicts_where_the_repository_has_its_version_and_silence_is_neither() {
    let world = World::new().await;
    let labels = json!({"org.opencontainers.image.version": "1.4.4"});
    let labelled =
        image_with_config(json!({"os": "linux", "architecture": "amd64", "config": {"Labels": labels}}));
    let digest = world.fake.push("acme/web", "1.4.4", &labelled);
    world.fake.push("acme/web", "1.4.5", &labelled);
    let world = World { digest, ..world };
    world.attach_bundle(&bundle_by_key(&world.key, &Order::signature(&world.digest)));
    let authority = json!({"name": "team", "key": {"configMap": {"name": "keys", "key": "team.pub"}}});
    let bound = |binding: &str| {
        let spec = json!({"authorities": [authority], "versionBinding": binding});
        [object("VerificationPolicy", "team", spec), map("keys", "team.pub", &public_pem(&world.key))]
    };
    let said = world.by_file(":1.4.4", &bound("Required"), &[]).await;
    expect(&said, 0, &["Verified: ", "VersionBound", "label 1.4.4"]);
    // An old image under a newer name.
    let other = "expected 1.4.5 to be signed as 1.4.5, observed label 1.4.4";
    for said in [world.by_key(":1.4.5").await, world.by_file(":1.4.5", &bound("Required"), &[]).await] {
        expect(&said, 1, &["VersionMismatch: ", other]);
    }
    world.fake.untag("acme/web", "1.4.4");
    world.fake.push("acme/web", "v1.4.4", &labelled);
    expect(&world.by_key(":1.4.5").await, 1, &["VersionMismatch: ", other]);
    expect(&world.by_file(":1.4.5", &bound("Off"), &[]).await, 0, &["Verified: "]);
    // Silence is no absence, and where nothing depends on it nothing is in doubt.
    world.fake.fault("/manifests/1.4.4", Fault::status(403));
    world.fake.fault("/manifests/v1.4.4", Fault::status(403));
    let doubt = "to know whether the repository has 1.4.4, the version that its label names";
    expect(&world.by_key(":1.4.5").await, 2, &[doubt, "ask again."]);
    expect(&world.by_file(":1.4.5", &bound("Required"), &[]).await, 1, &["VersionUnbound: "]);
    world.fake.heal();
    world.fake.untag("acme/web", "v1.4.4");
    let said = world.by_file(":1.4.5", &bound("Required"), &[]).await;
    expect(&said, 1, &["VersionUnbound: ", "what was signed names no version"]);
    expect(&world.by_file(":1.4.5", &bound("Auto"), &[]).await, 0, &["(Absent)", "VersionUnbound"]);
}

/// Threat T2: an old signed image under a new tag.
#[tokio::test]
async fn t2_a_genuinely_signed_old_image_under_a_new_tag_is_refused() {
    let world = World::new().await;
    let order = Order::signature(&world.digest);
    world.attach_bundle(&world.mini.bundle(&order));
    world.fake.push("acme/web", "1.5.0", &image("linux", "amd64", "x"));
    let refused = world.by_identity(":1.5.0", order.who.subject).await;
    expect(&refused, 1, &["1.5.0", "v1.4.3"]);
}

/// Threat T4: forged or borrowed evidence of log and time.
#[tokio::test]
async fn t4_a_forged_log_entry_is_refused() {
    let forged = [Defect::BadPromise, Defect::WrongRootHash, Defect::ForeignCheckpoint, Defect::OtherEntry];
    let untimely = [Defect::EarlyTime, Defect::NoTime, Defect::ExpiredCertificate];
    let rows =
        forged.map(|defect| (defect, "LogProofInvalid: ", "where the log has a new key, refresh TrustRoot "));
    let rows = rows
        .into_iter()
        .chain(untimely.map(|defect| (defect, "SigningTimeUntrusted: ", "Sign it anew by identity, with ")));
    for (defect, code, hint) in rows {
        let world = World::new().await;
        let order = Order::signature(&world.digest).with(defect);
        world.attach_bundle(&world.mini.bundle(&order));
        let refused = world.by_identity(":1.4.3", order.who.subject).await;
        expect(&refused, 1, &[code, "observed 1 found: ", hint]);
    }
}

/// Threat T6: a registry that sends callers elsewhere, for their credential or to reach what it cannot reach itself.
#[tokio::test]
async fn t6_a_credential_follows_neither_realm_nor_redirect_and_the_sentence_says_so() {
    let (world, thief) = (World::new().await, HostileRegistry::start().await);
    world.attach_bundle(&bundle_by_key(&world.key, &Order::signature(&world.digest)));
    world.log_in("alice", "alice-secret");
    let realm = format!("http://{}/token", thief.host());
    world.fake.switch(|switches| {
        switches.auth = Auth::Bearer { realm: Some(realm.clone()), expires_in: None };
        switches.users = [("alice".to_owned(), "alice-secret".to_owned())].into();
    });
    let said = world.by_key(":1.4.3").await;
    expect(&said, 2, &["RegistryUnauthorized: ", "no credential was sent", &realm]);
    assert!(thief.received().is_empty(), "{:?}", thief.lines());
    // What is attached lies elsewhere, by the registry's word, and without TLS: nobody goes there.
    world.fake.switch(|switches| switches.auth = Auth::Basic);
    world.fake.fault("/blobs/", Fault::redirect(&format!("http://{}/elsewhere", thief.host())));
    let said = world.by_key(":1.4.3").await;
    expect(
        &said,
        2,
        &["RegistryUnavailable: ", "a redirect to http://", "Nothing is concluded from silence"],
    );
    assert!(thief.received().is_empty(), "{:?}", thief.received());
    assert!(world.fake.received().iter().any(|one| one.authorization.is_some()), "it was let in with it");
    assert!(!format!("{}{}", said.text, said.errors).contains("alice-secret"));
}

/// Threat T7: bodies without an end, lists of millions, JSON that is deep.
#[tokio::test]
async fn t7_endless_and_deep_answers_end_the_check_in_seconds_with_a_word_for_each() {
    let started = std::time::Instant::now();
    for (part, code) in [("/manifests/1.4.3", "ManifestInvalid: "), ("/referrers/", "SignatureUnknown: ")] {
        let world = World::new().await;
        world.fake.fault(part, Fault::Endless);
        expect(&world.by_key(":1.4.3").await, 2, &[code]);
    }
    let world = World::new().await;
    let deep = format!("{}{}", "[".repeat(400_000), "]".repeat(400_000)).into_bytes();
    let manifest = attachment(Some(&world.digest), &[(BUNDLE, &deep, &BTreeMap::new())]);
    world.fake.store("acme/web", &manifest, &[deep]);
    expect(&world.by_key(":1.4.3").await, 1, &["SignatureAbsent: ", "1 unreadable"]);
    world.attach_bundle(&bundle_by_key(&world.key, &Order::signature(&world.digest)));
    expect(&world.by_key(":1.4.3").await, 0, &["Verified: "]);
    assert!(started.elapsed() < std::time::Duration::from_secs(60), "{:?}", started.elapsed());
}

/// Each threat that the documentation names has the tests that it names, and none of the design's is left out.
#[test]
fn every_threat_of_the_documentation_has_the_tests_that_it_names() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("../docs/verification.md")).unwrap();
    let files = [
        "core/tests/verify/threats.rs",
        "controller/tests/verify.rs",
        "controller/tests/papers.rs",
        "controller/tests/registry/attached.rs",
    ];
    let code: String = files.map(|file| std::fs::read_to_string(root.join(file)).unwrap()).concat();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| T")?.split_once(" | "));
    let rows = rows.filter_map(|(number, rest)| Some((number.parse::<u32>().ok()?, rest)));
    let mut named = Vec::new();
    for (number, rest) in rows {
        named.push(number);
        let tests: Vec<&str> =
            rest.split('`').filter(|word| word.starts_with(&format!("t{number}_"))).collect();
        assert!(!tests.is_empty(), "T{number} names no test");
        for test in tests {
            assert!(code.contains(&format!("fn {test}(")), "T{number}: there is no test {test}");
        }
    }
    assert_eq!(named, [1, 2, 3, 4, 5, 6, 7, 8, 13, 16]);
    let is_told = |line: &str| page.contains(line.trim().split(['(', ' ']).next().unwrap_or_default());
    let tests =
        code.split("fn t").skip(1).filter(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()));
    for rest in tests {
        assert!(is_told(&format!("t{rest}")), "docs/verification.md does not name t{}", &rest[..30]);
    }
}

/// Threat T16: nothing readable is not a pass.
#[tokio::test]
async fn t16_what_cannot_be_parsed_or_asked_is_never_a_pass() {
    let world = World::new().await;
    world.attach_bundle(&json!({"mediaType": BUNDLE}));
    let said = world.by_key(":1.4.3").await;
    assert_eq!(said.code, 1, "{}", said.text);
    assert!(said.text.contains("unreadable"), "{}", said.text);
    // A silent place: not known, and said with the registry's own status.
    let world = World::new().await;
    world.fake.fault("/referrers/", Fault::error(429, "TOOMANYREQUESTS", "slow down"));
    expect(&world.by_key(":1.4.3").await, 2, &["429"]);
    let missing = world.by_key(":9.9.9").await;
    assert_eq!(missing.code, 1, "{}{}", missing.text, missing.errors);
    let unread = world.verify(":1.4.3", &["--key", "/nonexistent"]).await;
    assert_eq!((unread.code, unread.text.as_str()), (2, ""));
    assert!(unread.errors.contains("could not read /nonexistent"), "{}", unread.errors);
}

#[tokio::test]
async fn the_answer_as_data_names_every_layer_and_every_signature() {
    let world = World::new().await;
    let order = Order::signature(&world.digest);
    world.attach_bundle(&world.mini.bundle(&order));
    let issuer = order.who.issuer;
    let arguments =
        ["--certificate-identity", order.who.subject, "--certificate-oidc-issuer", issuer, "-o", "json"];
    let said = world.verify(":1.4.3", &arguments).await;
    let answer: Value = serde_json::from_str(&said.text).unwrap();
    assert_eq!((said.code, &answer["outcome"]), (0, &json!("Verified")), "{answer:#}");
    assert_eq!(answer["digest"], json!(world.digest.as_str()));
    let signature = &answer["signatures"][0];
    assert_eq!(signature["signer"]["claims"]["sourceRepositoryRef"], json!("refs/tags/v1.4.3"));
    assert_eq!(signature["signer"]["inLog"], json!(true));
    let layers: Vec<&str> =
        answer["layers"].as_array().unwrap().iter().map(|layer| layer["layer"].as_str().unwrap()).collect();
    for layer in ["Signature", "Binding", "Log", "Digest"] {
        assert!(layers.contains(&layer), "{layers:?}");
    }
    // By digest alone nothing says which version it should be.
    let by_digest = format!("@{}", world.digest);
    let said = world.verify(&by_digest, &arguments[..4]).await;
    expect(&said, 0, &["Binding is not judged: the reference names no tag."]);
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "rollforward.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn map(name: &str, key: &str, text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {key: text}})
}

/// A policy of a key in a ConfigMap, and one of an identity below a trust root in another.
fn team(world: &World, subject: &str) -> Vec<Value> {
    let keyless = json!({"trustRoot": "acme", "issuer": "https://token.actions.githubusercontent.com", "subject": subject});
    let repositories = json!([format!("{}/acme/*", world.fake.host())]);
    vec![
        object(
            "VerificationPolicy",
            "keys",
            json!({"repositories": repositories, "authorities":
            [{"name": "team", "key": {"configMap": {"name": "keys", "key": "team.pub"}}}]}),
        ),
        object("VerificationPolicy", "ci", json!({"authorities": [{"name": "ci", "keyless": keyless}]})),
        object(
            "VerificationPolicy",
            "other",
            json!({"repositories": ["quay.io/*"], "deny": {"repositories": ["*"]}}),
        ),
        object(
            "TrustRoot",
            "acme",
            json!({"trustedRoot": {"configMap": {"name": "roots", "key": "root.json"}}}),
        ),
        map("keys", "team.pub", &public_pem(&world.key)),
        map("roots", "root.json", &world.mini.trusted_root(None)),
    ]
}

#[tokio::test]
async fn the_objects_of_a_file_judge_as_the_operator_would_and_all_that_match_must_be_satisfied() {
    let world = World::new().await;
    let order = Order::signature(&world.digest);
    let documents = team(&world, order.who.subject);
    world.attach_bundle(&world.mini.bundle(&order));
    // The identity is satisfied, the key is not: one of two is not enough.
    let refused = world.by_file(":1.4.3", &documents, &[]).await;
    expect(
        &refused,
        1,
        &[
            "SignatureInvalid: ",
            "expected authority team (key)",
            "Sign this digest by team, or correct its key in VerificationPolicy keys.",
        ],
    );
    world.attach_bundle(&bundle_by_key(&world.key, &order));
    let verified = world.by_file(":1.4.3", &documents, &[]).await;
    expect(
        &verified,
        0,
        &[
            "Verified: ",
            "Decided by: VerificationPolicy keys; VerificationPolicy ci.",
            "Not about this repository: VerificationPolicy other (quay.io/*).",
            "Not judged without a cluster: Platform, Ledger, Drift, Quarantine, Soak, Score.",
        ],
    );
    // As `kubectl get -o yaml` writes them.
    let list = json!({"apiVersion": "v1", "kind": "List", "items": documents});
    let said = world.by_file(":1.4.3", &[list], &["-o", "json"]).await;
    let answer: Value = serde_json::from_str(&said.text).unwrap();
    assert_eq!(answer["decidedBy"], json!(["VerificationPolicy keys", "VerificationPolicy ci"]));
    assert_eq!(answer["outcome"], json!("Verified"));
    // An UpdatePolicy makes it stricter, an exception lifts what it names and never the deny list.
    let deny = json!({"targets": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}], "verification": {"deny": {"digests": [world.digest.as_str()]}}});
    let lifts = |layers: Value| {
        object(
            "VerificationException",
            "fix",
            json!({"digest": world.digest.as_str(), "layers": layers, "duration": "24h", "reason": "cannot wait"}),
        )
    };
    let mut denied = documents.clone();
    denied.extend([object("UpdatePolicy", "web", deny), lifts(json!(["Signature"]))]);
    expect(
        &world.by_file(":1.4.3", &denied, &[]).await,
        1,
        &["DigestDenied: ", "or have this policy's verification changed"],
    );
    let mut lifted = team(&world, "https://github.com/nobody");
    lifted.push(lifts(json!(["Signature"])));
    let said = world.by_file(":1.4.3", &lifted, &[]).await;
    expect(&said, 0, &["SignatureIdentityMismatch", "lifted by VerificationException fix until "]);
    // Nothing that is about the image: nobody decided.
    let said = world.by_file(":1.4.3", &documents[2..3], &[]).await;
    expect(&said, 1, &["NoTrustDecision: ", "Decided by: nobody.", "VerificationPolicy other (quay.io/*)"]);
}

#[tokio::test]
async fn what_a_file_lacks_is_not_known_and_the_operators_floor_and_a_trusted_root_fill_in() {
    let world = World::new().await;
    let order = Order::signature(&world.digest);
    let documents = team(&world, order.who.subject);
    world.attach_bundle(&world.mini.bundle(&order));
    world.attach_bundle(&bundle_by_key(&world.key, &order));
    let said = world.by_file(":1.4.3", &documents[..5], &[]).await;
    assert_eq!(said.code, 2, "{}{}", said.text, said.errors);
    assert!(said.errors.contains("expected ConfigMap roots with entry root.json, the content of TrustRoot acme, observed that there is no such ConfigMap"), "{}", said.errors);
    let said = world.by_file(":1.4.3", &[documents[1].clone()], &[]).await;
    expect(
        &said,
        2,
        &[
            "TrustRootMissing: ",
            "observed none of that name in the namespace. Create it, or correct VerificationPolicy ci.",
        ],
    );
    let root = world.path("root.json");
    let with_root = ["--trusted-root", root.to_str().unwrap()];
    expect(&world.by_file(":1.4.3", &[documents[1].clone()], &with_root).await, 0, &["Verified: "]);
    let said = world.by_file(":1.4.3", &documents, &with_root).await;
    assert_eq!(said.code, 2);
    assert!(
        said.errors.contains(
            "--trusted-root: expected a TrustRoot that the policies name and the file does not hold"
        ),
        "{}",
        said.errors
    );
    let said = world.by_file(":1.4.3", &[documents[0].clone()], &[]).await;
    expect(
        &said,
        2,
        &[
            "AuthorityUnreadable: ",
            "expected ConfigMap keys with entry team.pub, the key of authority team, observed that there is no such ConfigMap",
        ],
    );
    let other = map("keys", "team.pub", "no key");
    let said = world.by_file(":1.4.3", &[documents[0].clone(), other], &[]).await;
    expect(
        &said,
        2,
        &[
            "AuthorityUnreadable: ",
            "expected a public key in PEM in entry team.pub of ConfigMap keys, the key of authority team, observed ",
        ],
    );
    let floor = json!({"verification": {"deny": {"repositories": ["*/acme/*"]}}});
    world.write("rollforward.yaml", &floor.to_string());
    let config = world.path("rollforward.yaml");
    let said = world.by_file(":1.4.3", &documents, &["--config", config.to_str().unwrap()]).await;
    expect(&said, 1, &["RepositoryDenied: ", "or have the operator's configuration changed"]);
}

#[tokio::test]
async fn a_wrong_document_is_named_with_its_number_its_field_and_what_was_expected() {
    let world = World::new().await;
    let check = async |documents: &[Value], says: &str| {
        let said = world.by_file(":1.4.3", documents, &[]).await;
        assert_eq!((said.code, said.text.as_str()), (2, ""), "{}", said.errors);
        assert!(said.errors.contains(says), "expected {says} in: {}", said.errors);
    };
    let policy = |spec: Value| object("VerificationPolicy", "acme", spec);
    let good = policy(json!({"unsigned": "Allow"}));
    let at = "policy.yaml, document 2 (VerificationPolicy acme), ";
    let rows = [
        (json!({"unsigned": "Perhaps"}), "spec.unsigned: expected one of Allow, Deny, got \"Perhaps\""),
        (json!({"soak": {"routin": "1h"}}), "spec.soak.routin: expected one of the fields routine, unsigned"),
        (json!({"soak": {"routine": "1d"}}), "spec.soak.routine: expected hours, minutes and seconds"),
        (json!({"require": "two"}), "spec.require: expected a whole number, got \"two\""),
        (json!({"authorities": [{"key": {}}]}), "spec.authorities[0]: expected the field name, got none"),
        (
            json!({"authorities": [{"name": "ci"}]}),
            "spec.authorities: ci: expected exactly one of key and keyless",
        ),
        (
            json!({"authorities": [{"name": "ci", "key": {"inline": "no key"}}]}),
            "spec.authorities[0].key.inline: expected a public key in PEM",
        ),
        (
            json!({"authorities": [{"name": "ci", "keyless": {"trustRoot": "a", "issuer": "x", "subjectRegExp": "("}}]}),
            "spec.authorities.keyless.subject: ci: ",
        ),
        (
            json!({"layers": {"signature": "Off"}}),
            "spec.layers.signature: expected `unsigned: Allow` to be written",
        ),
        (
            json!({"sourceRepository": {"exact": "https://github.com/acme/web"}}),
            "spec.sourceRepository: expected authorities with it",
        ),
        (json!({"deny": {"digests": ["sha256:1"]}}), "spec.deny.digests[0]: expected"),
    ];
    for (spec, says) in rows {
        check(&[good.clone(), policy(spec)], &format!("{at}{says}")).await;
    }
    check(&[good.clone(), json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}})],
        "document 2 (Deployment web), kind: expected VerificationPolicy, TrustRoot, UpdatePolicy, VerificationException or ConfigMap, got \"Deployment\"").await;
    let mut older = good.clone();
    older["apiVersion"] = json!("rollforward.dev/v1");
    check(&[older], "document 1 (VerificationPolicy acme), apiVersion: expected rollforward.dev/v1alpha1, got \"rollforward.dev/v1\"").await;
    check(&[map("keys", "a", "b")], "expected at least one VerificationPolicy or UpdatePolicy, got none")
        .await;
    let own = || {
        object(
            "UpdatePolicy",
            "web",
            json!({"targets": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}]}),
        )
    };
    check(
        &[own(), own()],
        "document 2 (UpdatePolicy web): expected at most one UpdatePolicy, got another one in",
    )
    .await;
    let mut elsewhere = good.clone();
    elsewhere["metadata"]["namespace"] = json!("other");
    let mut here = good.clone();
    here["metadata"]["namespace"] = json!("shop");
    check(&[here, elsewhere], "document 2 (VerificationPolicy acme), metadata.namespace: expected shop, as in the documents before it, got other").await;
    world.write("policy.yaml", "{");
    let path = world.path("policy.yaml");
    let said = world.run(":1.4.3", &["--policy", path.to_str().unwrap()]).await;
    assert!(said.code == 2 && said.errors.contains("policy.yaml is no YAML"), "{}", said.errors);
    // One question at a time.
    for other in [["--key", "k.pub"], ["--certificate-identity", "x"]] {
        let said = world.run(":1.4.3", &["--policy", "p.yaml", other[0], other[1]]).await;
        assert_eq!(said.code, 2);
        assert!(said.errors.contains("--policy <FILE>' cannot be used with"), "{}", said.errors);
    }
}
