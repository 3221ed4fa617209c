//! Registry and engine together: rules run over predicates of their own type that somebody vouches for, trust roots that
//! ended are refused, and what a check costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use rcgen::KeyPair;
use rollforward::papers::Engine;
use rollforward::registry::{Registry, Settings};
use rollforward_core::evidence::{Attached, Content, FaultKind, Item, Questions, RuleAnswer, Verifier};
use rollforward_core::image::{Digest, Repository};
use rollforward_core::trust::{Root, RootContent, Roots};
use rollforward_testkit::image::{attachment, image};
use rollforward_testkit::registry::HostileRegistry;
use rollforward_testkit::sigstore::{BUNDLE, Defect, Log, MiniSigstore, Order, bundle_by_key, public_pem};
use serde_json::{Value, json};

const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

struct World {
    fake: HostileRegistry,
    registry: Registry,
    repository: Repository,
    digest: Digest,
    engine: Engine,
}

impl World {
    async fn new() -> Self {
        let fake = HostileRegistry::start().await;
        fake.switch(|switches| switches.referrers = true);
        let digest = fake.push("web", "1.4.3", &image("linux", "amd64", "x"));
        let settings = Settings { plain_http: vec![fake.host()], ..Settings::default() };
        let registry = Registry::new(settings).unwrap();
        let repository = fake.repository("web");
        Self { fake, registry, repository, digest, engine: Engine::default() }
    }

    fn attach(&self, bundle: &Value) {
        let bytes = bundle.to_string().into_bytes();
        let manifest = attachment(Some(&self.digest), &[(BUNDLE, &bytes, &BTreeMap::new())]);
        self.fake.store("web", &manifest, &[bytes]);
    }

    async fn ask(&self, questions: &Questions, roots: &Roots) -> Attached {
        let image = (&self.repository, &self.digest);
        self.engine.ask(&self.registry, image, ("shop", questions), roots, None, Timestamp::now()).await
    }
}

fn root(mini: &MiniSigstore, expires: Option<Timestamp>) -> Root {
    let content = RootContent::Json(mini.trusted_root(None));
    Root { name: "acme".to_owned(), hash: "of its content".to_owned(), content, expires, has_logs: true }
}

fn questions(verifier: Verifier, rules: &[&str]) -> Questions {
    let rules: BTreeSet<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
    Questions { verifiers: [verifier].into(), rules: [(PROVENANCE.to_owned(), rules)].into() }
}

fn rules(item: &Item) -> Vec<RuleAnswer> {
    match &item.content {
        Content::Attestation { rules, .. } => rules.values().cloned().collect(),
        other => panic!("no attestation: {other:?}"),
    }
}

/// The lesson of CVE-2022-35929: an attestation of another type, or by a stranger, answers no rule.
#[tokio::test]
async fn a_rule_is_run_over_predicates_of_its_own_type_that_somebody_vouches_for() {
    let (mini, stranger) = (MiniSigstore::default(), MiniSigstore::default());
    let root = root(&mini, None);
    let questions =
        questions(root.verifier(), &["predicate.runner == 'hosted'", "predicate.runner == 'self-hosted'"]);
    let predicate = json!({"runner": "self-hosted", "runDetails": {"builder": {"id": "https://ci.test"}}});
    let rows = [
        (&mini, PROVENANCE, 2, true),
        (&mini, "https://cosign.sigstore.dev/attestation/vuln/v1", 0, true),
        (&stranger, PROVENANCE, 0, false),
    ];
    for (signer, predicate_type, n_answers, holds) in rows {
        let world = World::new().await;
        let order = Order {
            predicate_type,
            predicate: predicate.clone(),
            log: Log::V2,
            ..Order::signature(&world.digest)
        };
        world.attach(&signer.bundle(&order));
        let attached = world.ask(&questions, &[(root.name.clone(), root.clone())].into()).await;
        let [item] = attached.items.as_slice() else { panic!("{attached:?}") };
        assert_eq!(item.checks.values().all(Result::is_ok), holds, "{item:?}");
        let answers = rules(item);
        assert_eq!(answers.len(), n_answers, "{predicate_type}");
        if n_answers == 2 {
            let fails = RuleAnswer::Fails { observed: "runner = \"self-hosted\"".to_owned() };
            assert_eq!(answers, [fails, RuleAnswer::Holds]);
        }
    }
}

#[tokio::test]
async fn a_trust_root_that_ended_or_is_another_one_proves_nothing_and_says_so() {
    let (mini, world) = (MiniSigstore::default(), World::new().await);
    world.attach(&mini.bundle(&Order::signature(&world.digest)));
    let ended = Timestamp::now().checked_sub(SignedDuration::from_hours(1)).unwrap();
    let good = root(&mini, None);
    let rows = [
        (root(&mini, Some(ended)), good.verifier(), "trust root acme ended"),
        (
            Root { hash: "another".to_owned(), ..good.clone() },
            good.verifier(),
            "no trust root acme with this content",
        ),
        (
            Root { content: RootContent::Json("{}".to_owned()), hash: "broken".to_owned(), ..good.clone() },
            Verifier::Root { name: "acme".to_owned(), hash: "broken".to_owned() },
            "mediaType",
        ),
    ];
    for (root, verifier, part) in rows {
        let attached = world.ask(&questions(verifier, &[]), &[("acme".to_owned(), root)].into()).await;
        let fault = attached.items[0].checks.values().next().unwrap().clone().unwrap_err();
        assert_eq!(fault.kind, FaultKind::Root, "{fault:?}");
        assert!(fault.message.contains(part), "{fault:?} lacks {part}");
    }
}

/// What is written of keyless signatures is true of keys with a log too: an expired root proves nothing.
#[tokio::test]
async fn the_logs_of_a_trust_root_that_ended_vouch_for_no_signature_by_a_key() {
    let (mini, world, key) = (MiniSigstore::default(), World::new().await, KeyPair::generate().unwrap());
    world.attach(&mini.bundle_by_logged_key(&key, &Order::signature(&world.digest)));
    let questions = questions(Verifier::Key { pem: public_pem(&key) }, &[]);
    let hour = SignedDuration::from_hours(1);
    let (past, future) =
        (Timestamp::now().checked_sub(hour).unwrap(), Timestamp::now().checked_add(hour).unwrap());
    let nobody = Some("no trust root knows its log".to_owned());
    for (expires, log) in [(None, (true, None)), (Some(future), (true, None)), (Some(past), (false, nobody))]
    {
        let root = root(&mini, expires);
        let attached = world.ask(&questions, &[(root.name.clone(), root)].into()).await;
        let signer = attached.items[0].checks.values().next().unwrap().clone().unwrap();
        assert_eq!((signer.in_log, signer.log_fault), log, "{expires:?}");
    }
}

/// Threat T5: a poison signature beside a good one blocks nothing.
#[tokio::test]
async fn t5_one_good_signature_is_told_apart_from_bad_and_unreadable_ones_beside_it() {
    let (mini, world) = (MiniSigstore::default(), World::new().await);
    let root = root(&mini, None);
    world.attach(&mini.bundle(&Order::signature(&world.digest).with(Defect::BadPromise)));
    world.attach(&json!({"mediaType": BUNDLE, "verificationMaterial": {}}));
    world.attach(&json!([]));
    world.attach(&mini.bundle(&Order::signature(&world.digest)));
    let roots: Roots = [(root.name.clone(), root.clone())].into();
    let attached = world.ask(&questions(root.verifier(), &[]), &roots).await;
    let held = attached.items.iter().filter(|item| item.checks.values().any(Result::is_ok)).count();
    let unreadable =
        attached.items.iter().filter(|item| matches!(item.content, Content::Unreadable { .. })).count();
    assert_eq!((attached.items.len(), held, unreadable), (4, 1, 2), "{attached:?}");
}

/// Threat T5: what nobody vouches for is kept as long as what somebody does.
#[tokio::test]
async fn t5_of_what_nobody_vouches_for_no_more_is_kept_than_what_it_is() {
    let (world, key) = (World::new().await, KeyPair::generate().unwrap());
    let texts: BTreeMap<String, String> = (0..32).map(|n| (format!("{n:0200}"), "x".repeat(200))).collect();
    let beside = BTreeMap::from([("dev.cosignproject.cosign/signature".to_owned(), "AAAA".to_owned())]);
    let payloads: Vec<Vec<u8>> = (0..64)
        .map(|n| {
            let mut optional = texts.clone();
            optional.insert("n".to_owned(), n.to_string());
            let critical = json!({"identity": {"docker-reference": format!("{}/web", world.fake.host())},
                "image": {"docker-manifest-digest": world.digest.as_str()}, "type": "cosign container image signature"});
            json!({"critical": critical, "optional": optional}).to_string().into_bytes()
        })
        .collect();
    let layers: Vec<_> = payloads.iter().map(|bytes| (SIMPLE, bytes.as_slice(), &beside)).collect();
    let manifest = attachment(None, &layers);
    world.fake.store("web", &manifest, &payloads);
    world.fake.push("web", &format!("{}.sig", world.digest.as_str().replace(':', "-")), &manifest);
    world.attach(&bundle_by_key(&key, &Order::signature(&world.digest)));
    let verifier = Verifier::Key { pem: public_pem(&key) };
    let attached = world.ask(&questions(verifier, &[]), &Roots::new()).await;
    let held: Vec<bool> = attached.items.iter().map(|item| item.checks.values().any(Result::is_ok)).collect();
    assert_eq!((held.len(), held.iter().filter(|held| **held).count()), (64, 1));
    assert!(attached.n_bytes() < 64 * 1024, "{} bytes", attached.n_bytes());
}

#[tokio::test]
async fn a_cold_check_of_one_signature_costs_five_requests_and_a_warm_one_three() {
    let (mini, world) = (MiniSigstore::default(), World::new().await);
    let root = root(&mini, None);
    world.attach(&mini.bundle(&Order::signature(&world.digest)));
    let roots: Roots = [(root.name.clone(), root.clone())].into();
    let questions = questions(root.verifier(), &[]);
    for (name, n_requests) in [("cold", 5), ("warm", 3)] {
        world.fake.forget_requests();
        let started = Instant::now();
        let attached = world.ask(&questions, &roots).await;
        eprintln!("{name}: {:?}, {} requests", started.elapsed(), world.fake.lines().len());
        assert!(attached.items[0].checks.values().all(Result::is_ok), "{attached:?}");
        assert_eq!(world.fake.lines().len(), n_requests, "{:?}", world.fake.lines());
    }
}
