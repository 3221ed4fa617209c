//! `rollforward verify` as a user runs it: the real binary, a registry on loopback, signatures in every layout, and the three
//! exit codes, each with its sentence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use rcgen::KeyPair;
use rollforward_core::image::Digest;
use rollforward_testkit::image::{attachment, image};
use rollforward_testkit::registry::{Fault, HostileRegistry};
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
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_rollforward"))
            .arg("verify")
            .arg(format!("{}/acme/web{tag}", self.fake.host()))
            .args(["--plain-http", "--trusted-root"])
            .arg(self.path("root.json"))
            .args(arguments)
            .env("DOCKER_CONFIG", "/nonexistent")
            .output()
            .await
            .unwrap();
        Said {
            code: output.status.code().unwrap(),
            text: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
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
    for defect in [Defect::BadPromise, Defect::WrongRootHash, Defect::ForeignCheckpoint, Defect::OtherEntry] {
        let world = World::new().await;
        let order = Order::signature(&world.digest).with(defect);
        world.attach_bundle(&world.mini.bundle(&order));
        let refused = world.by_identity(":1.4.3", order.who.subject).await;
        assert_eq!(refused.code, 1, "{defect:?}: {}", refused.text);
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
