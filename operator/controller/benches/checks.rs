//! What a check of signatures costs: time and requests, cold and warm, and memory for a thousand digests; a JSON line a row.
//!
//! `cargo bench -p rollforward --bench checks`. Medians; `ratio` is to one ECDSA P-256 verification in the same run, so that
//! rows of different machines can be compared. The registry is the testkit's, on loopback: what it takes is in the rows named
//! `ask`, our own time in those named `engine`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark that cannot be set up has failed, and its rows are its output"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rcgen::KeyPair;
use rollforward::papers::Engine;
use rollforward::registry::{Registry, Settings};
use rollforward::sigstore::{Document, Key, Root as EngineRoot, Subject};
use rollforward_core::evidence::{Attached, Questions, Verifier};
use rollforward_core::image::{Digest, Repository};
use rollforward_core::trust::{Root, RootContent, Roots};
use rollforward_testkit::image::{attachment, image};
use rollforward_testkit::registry::HostileRegistry;
use rollforward_testkit::sigstore::{BUNDLE, Log, MiniSigstore, Order, bundle_by_key, public_pem};
use serde_json::{Value, json};

/// Runs whose median is told.
const RUNS: usize = 201;
/// Digests whose answers are kept at once.
const DIGESTS: usize = 1000;

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn timed(mut work: impl FnMut()) -> f64 {
    median(
        (0..RUNS)
            .map(|_| {
                let started = Instant::now();
                work();
                started.elapsed()
            })
            .collect(),
    )
}

/// One ECDSA P-256 verification over 32 bytes, as everything below has at least one of.
fn baseline() -> f64 {
    use rcgen::SigningKey as _;
    use sigstore_verify::crypto::VerificationKey;
    use sigstore_verify::types::{DerPublicKey, SignatureBytes};
    let signing = KeyPair::generate().unwrap();
    let key = VerificationKey::from_spki(&DerPublicKey::from_pem(&public_pem(&signing)).unwrap()).unwrap();
    let signature = SignatureBytes::from(signing.sign(&[7; 32]).unwrap());
    timed(|| key.verify([7; 32], &signature).unwrap())
}

fn row(name: &str, what: &str, micros: f64, base: f64, more: Value) {
    let mut row = json!({"bench": "checks", "row": name, "what": what,
        "micros": (micros * 10.0).round() / 10.0, "ratio": (micros / base * 10.0).round() / 10.0});
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    println!("{row}");
}

struct World {
    fake: HostileRegistry,
    repository: Repository,
    digest: Digest,
}

impl World {
    async fn new(bundle: impl Fn(&Digest) -> Value) -> Self {
        let fake = HostileRegistry::start().await;
        fake.switch(|switches| switches.referrers = true);
        let digest = push(&fake, "x", &bundle);
        let repository = fake.repository("web");
        Self { fake, repository, digest }
    }

    fn registry(&self) -> Registry {
        Registry::new(Settings { plain_http: vec![self.fake.host()], ..Settings::default() }).unwrap()
    }

    async fn ask(
        &self,
        registry: &Registry,
        engine: &Engine,
        asked: (&Questions, &Roots),
        digest: &Digest,
    ) -> Attached {
        let image = (&self.repository, digest);
        let found = engine.ask(registry, image, ("bench", asked.0), asked.1, None, Timestamp::now()).await;
        assert!(found.items[0].checks.values().all(Result::is_ok), "{found:?}");
        found
    }
}

fn push(fake: &HostileRegistry, content: &str, bundle: &impl Fn(&Digest) -> Value) -> Digest {
    let digest = fake.push("web", &format!("1.0.{content}"), &image("linux", "amd64", content));
    let bytes = bundle(&digest).to_string().into_bytes();
    let manifest = attachment(Some(&digest), &[(BUNDLE, &bytes, &BTreeMap::new())]);
    fake.store("web", &manifest, &[bytes]);
    digest
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::main]
async fn main() {
    let base = baseline();
    row("ecdsa", "one P-256 verification", base, base, json!({}));
    let mini = MiniSigstore::default();
    let text = mini.trusted_root(None);
    row(
        "root",
        "a trusted_root.json read",
        timed(|| drop(EngineRoot::of(&RootContent::Json(text.clone())).unwrap())),
        base,
        json!({}),
    );
    let root = Root {
        name: "acme".to_owned(),
        hash: "of its content".to_owned(),
        content: RootContent::Json(text.clone()),
        expires: None,
        has_logs: true,
    };
    let roots: Roots = [(root.name.clone(), root.clone())].into();
    let key = KeyPair::generate().unwrap();
    let pem = public_pem(&key);
    let by_log = |log: Log| {
        move |mini: &MiniSigstore, digest: &Digest| mini.bundle(&Order { log, ..Order::signature(digest) })
    };
    engine(&mini, &text, base);
    engine_key(&key, base);
    let keyless: Questions = Questions { verifiers: [root.verifier()].into(), rules: BTreeMap::new() };
    let keyed = Questions { verifiers: [Verifier::Key { pem }].into(), rules: BTreeMap::new() };
    for (what, log) in [("keyless, Rekor v1", Log::V1), ("keyless, Rekor v2 and a timestamp", Log::V2)] {
        let world = World::new(|digest| by_log(log)(&mini, digest)).await;
        asks(&world, what, (&keyless, &roots), base).await;
    }
    let world = World::new(|digest| bundle_by_key(&key, &Order::signature(digest))).await;
    asks(&world, "key, no log", (&keyed, &roots), base).await;
    memory(&mini, (&keyless, &roots)).await;
}

/// Our own time: reading a bundle and checking it, with a root that was read before.
fn engine(mini: &MiniSigstore, text: &str, base: f64) {
    let root = EngineRoot::of(&RootContent::Json(text.to_owned())).unwrap();
    let digest = rollforward_testkit::image::digest_of(b"image");
    for (what, log) in [("keyless, Rekor v1", Log::V1), ("keyless, Rekor v2 and a timestamp", Log::V2)] {
        let bundle = mini.bundle(&Order { log, ..Order::signature(&digest) }).to_string();
        let micros = timed(|| {
            let document = Document::bundle(bundle.as_bytes()).unwrap();
            document.check_root(Subject::Digest(&digest), &root).unwrap();
        });
        row("engine", what, micros, base, json!({"budget_micros": 2000}));
    }
}

fn engine_key(signing: &KeyPair, base: f64) {
    let digest = rollforward_testkit::image::digest_of(b"image");
    let bundle = bundle_by_key(signing, &Order::signature(&digest)).to_string();
    let key = Key::from_pem(&public_pem(signing)).unwrap();
    let micros = timed(|| {
        let document = Document::bundle(bundle.as_bytes()).unwrap();
        document.check_key(Subject::Digest(&digest), &key, &[]).unwrap();
    });
    row("engine", "key, no log", micros, base, json!({"budget_micros": 2000}));
}

/// With the registry: cold knows nothing, not even a connection; warm has read what has a digest, and asks the lists alone.
async fn asks(world: &World, what: &str, asked: (&Questions, &Roots), base: f64) {
    let (mut cold, mut n_cold) = (Vec::new(), 0);
    for _ in 0..RUNS {
        let (registry, engine) = (world.registry(), Engine::default());
        world.fake.forget_requests();
        let started = Instant::now();
        world.ask(&registry, &engine, asked, &world.digest).await;
        cold.push(started.elapsed());
        n_cold = world.fake.lines().len();
    }
    row("ask, cold", what, median(cold), base, json!({"requests": n_cold}));
    let (registry, engine) = (world.registry(), Engine::default());
    world.ask(&registry, &engine, asked, &world.digest).await;
    let (mut warm, mut n_warm) = (Vec::new(), 0);
    for _ in 0..RUNS {
        world.fake.forget_requests();
        let started = Instant::now();
        world.ask(&registry, &engine, asked, &world.digest).await;
        warm.push(started.elapsed());
        n_warm = world.fake.lines().len();
    }
    row("ask, warm", what, median(warm), base, json!({"requests": n_warm}));
}

/// What answers on a thousand digests and the registry's own memory of what has a digest take, beside the fake registry.
async fn memory(mini: &MiniSigstore, asked: (&Questions, &Roots)) {
    let bundle = |digest: &Digest| mini.bundle(&Order::signature(digest));
    let world = World::new(bundle).await;
    let digests: Vec<Digest> = (0..DIGESTS).map(|n| push(&world.fake, &n.to_string(), &bundle)).collect();
    let (registry, engine) = (world.registry(), Engine::default());
    world.ask(&registry, &engine, asked, &world.digest).await;
    let before = resident_bytes();
    let mut kept = Vec::new();
    for digest in &digests {
        kept.push(world.ask(&registry, &engine, asked, digest).await);
        world.fake.forget_requests();
    }
    let grown = resident_bytes().saturating_sub(before);
    assert_eq!(kept.len(), DIGESTS);
    println!(
        "{}",
        json!({"bench": "checks", "row": "memory", "what": "answers and registry memory, keyless",
            "digests": DIGESTS, "bytes": grown, "bytes_per_digest": grown / 1000})
    );
}
