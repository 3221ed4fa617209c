//! The signature engine against a Sigstore of our own: what holds, what each defect is called, and that no changed byte makes
//! another signer or another subject of it.
//!
//! `ROLLFORWARD_MUTANTS=100000 cargo test -p rollforward --test sigstore` tries as many changed bundles.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

#[path = "sigstore/keys.rs"]
mod keys;

use std::collections::BTreeMap;

use rcgen::KeyPair;
use rollforward::sigstore::{Document, Key, Root, Subject};
use rollforward_core::evidence::{Content, Fault, FaultKind, Signer};
use rollforward_core::image::Digest;
use rollforward_core::trust::RootContent;
use rollforward_testkit::image::digest_of;
use rollforward_testkit::sigstore::{
    DEFECTS, Defect, Log, MiniSigstore, Order, bundle_by_key, public_pem, simple_signing_by_key,
};
use serde_json::{Value, json};

fn digest() -> Digest {
    digest_of(b"image")
}

fn root_of(mini: &MiniSigstore) -> Root {
    Root::of(&RootContent::Json(mini.trusted_root(None))).unwrap()
}

fn check(bundle: &Value, root: &Root) -> Result<Signer, Fault> {
    Document::bundle(bundle.to_string().as_bytes())?.check_root(Subject::Digest(&digest()), root)
}

#[test]
fn a_keyless_signature_holds_in_both_logs_and_without_one_and_says_who_signed() {
    let mini = MiniSigstore::default();
    let root = root_of(&mini);
    let digest = digest();
    for log in [Log::V1, Log::V2, Log::No] {
        let order = Order { log, ..Order::signature(&digest) };
        let signer = check(&mini.bundle(&order), &root).unwrap_or_else(|fault| panic!("{log:?}: {fault:?}"));
        assert_eq!(signer.subject.as_deref(), Some(order.who.subject));
        assert_eq!(signer.issuer.as_deref(), Some(order.who.issuer));
        let claim = |name: &str| signer.claims.get(name).map(String::as_str);
        assert_eq!(claim("sourceRepositoryRef"), Some("refs/tags/v1.4.3"));
        assert_eq!(claim("sourceRepositoryURI"), Some("https://github.com/acme/web"));
        let expected = (log != Log::No, log == Log::V1, log != Log::V1);
        let times = (signer.logged_at.is_some(), signer.timestamped_at.is_some());
        assert_eq!((signer.in_log, times.0, times.1), expected, "{log:?}");
    }
}

/// The kind of each defect in each log; `None` where the log has nothing that could have it.
fn expected(defect: Defect, log: Log) -> Option<FaultKind> {
    let in_v1 = |kind| (log == Log::V1).then_some(kind);
    let in_log = |kind| (log != Log::No).then_some(kind);
    let stamped = |kind| (log != Log::V1).then_some(kind);
    match defect {
        Defect::ForeignAuthority | Defect::NoCertificateLog | Defect::ForeignCertificateLog => {
            Some(FaultKind::Certificate)
        }
        Defect::BadPromise | Defect::ForeignPromise => in_v1(FaultKind::Log),
        Defect::WrongRootHash
        | Defect::WrongProofHash
        | Defect::ForeignCheckpoint
        | Defect::BadCheckpoint
        | Defect::NoProof
        | Defect::OtherEntry => in_log(FaultKind::Log),
        Defect::ExpiredCertificate | Defect::EarlyTime => Some(FaultKind::Expired),
        Defect::FutureTime => match log {
            Log::V1 => Some(FaultKind::Time),
            // A timestamp authority may be ahead of our clock; what counts is the certificate's validity.
            Log::V2 | Log::No => None,
        },
        Defect::ForeignTimestamp | Defect::OtherTimestamp => stamped(FaultKind::Time),
        Defect::NoTime => Some(FaultKind::Time),
        Defect::ChangedPayload | Defect::OtherKey => Some(FaultKind::Signature),
        Defect::OtherSubject => Some(FaultKind::Subject),
    }
}

#[test]
fn every_defect_is_refused_by_its_own_kind_of_fault() {
    let mini = MiniSigstore::default();
    let root = root_of(&mini);
    let digest = digest();
    for defect in DEFECTS {
        for log in [Log::V1, Log::V2, Log::No] {
            let order = Order { log, ..Order::signature(&digest) }.with(*defect);
            let actual = check(&mini.bundle(&order), &root).map_err(|fault| (fault.kind, fault.message));
            match (expected(*defect, log), &actual) {
                (Some(kind), Err((actual, words))) => {
                    assert_eq!(*actual, kind, "{defect:?} in {log:?}: {words}");
                    assert!(!words.is_empty());
                }
                (None, _) => {}
                (Some(kind), Ok(signer)) => {
                    panic!("{defect:?} in {log:?}: expected {kind:?}, got {signer:?}")
                }
            }
        }
    }
}

#[test]
fn another_instance_knows_nothing_of_it_and_a_stripped_log_entry_is_not_in_the_log() {
    let (mini, other) = (MiniSigstore::default(), MiniSigstore::default());
    let digest = digest();
    let bundle = mini.bundle(&Order { log: Log::V2, ..Order::signature(&digest) });
    assert!(check(&bundle, &root_of(&other)).is_err());
    let mut stripped = bundle;
    stripped["verificationMaterial"]["tlogEntries"] = json!([]);
    assert!(!check(&stripped, &root_of(&mini)).unwrap().in_log);
}

#[test]
fn the_layout_of_the_sig_tag_holds_names_its_repository_and_is_bound_to_its_digest() {
    let mini = MiniSigstore::default();
    let root = root_of(&mini);
    let digest = digest();
    let (payload, annotations) = mini.simple_signing(&Order::signature(&digest), "ghcr.io/acme/web");
    let document = Document::simple_signing(&payload, &annotations).unwrap();
    let signer = document.check_root(Subject::Digest(&digest), &root).unwrap();
    assert!(signer.in_log && signer.logged_at.is_some());
    let expected = Content::Signature {
        repository: Some("ghcr.io/acme/web".to_owned()),
        annotations: BTreeMap::from([("built-by".to_owned(), "ci".to_owned())]),
    };
    assert_eq!(document.content(&digest), expected);
    let other = document.check_root(Subject::Digest(&digest_of(b"other")), &root).unwrap_err();
    assert_eq!(other.kind, FaultKind::Subject);
    // Whoever moves the annotations to another payload has no signature.
    let changed = String::from_utf8(payload).unwrap().replace("acme/web", "evil/web").into_bytes();
    let forged = Document::simple_signing(&changed, &annotations).unwrap();
    assert!(forged.check_root(Subject::Digest(&digest), &root).is_err());
    for defect in
        [Defect::BadPromise, Defect::ForeignPromise, Defect::ForeignAuthority, Defect::ExpiredCertificate]
    {
        let (payload, annotations) =
            mini.simple_signing(&Order::signature(&digest).with(defect), "ghcr.io/acme/web");
        let document = Document::simple_signing(&payload, &annotations).unwrap();
        let fault = document.check_root(Subject::Digest(&digest), &root).unwrap_err();
        assert_eq!(Some(fault.kind), self::expected(defect, Log::V1), "{defect:?}: {}", fault.message);
    }
}

#[test]
fn a_key_of_each_algorithm_holds_without_log_and_time_in_both_layouts_and_another_key_does_not() {
    let digest = digest();
    let order = Order::signature(&digest);
    let algorithms = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ];
    for algorithm in algorithms {
        let signing = KeyPair::generate_for(algorithm).unwrap();
        let key = Key::from_pem(&public_pem(&signing)).unwrap();
        let other = Key::from_pem(&public_pem(&KeyPair::generate_for(algorithm).unwrap())).unwrap();
        let bundle = bundle_by_key(&signing, &order).to_string();
        let (payload, annotations) = simple_signing_by_key(&signing, &digest, "ghcr.io/acme/web");
        for document in [
            Document::bundle(bundle.as_bytes()).unwrap(),
            Document::simple_signing(&payload, &annotations).unwrap(),
        ] {
            let subject = Subject::Digest(&digest);
            let signer = document
                .check_key(subject, &key, &[])
                .unwrap_or_else(|fault| panic!("{algorithm:?}: {fault:?}"));
            assert_eq!(signer, Signer::default(), "a key names nobody and is in no log");
            let refused = |key: &Key, digest: &Digest| {
                document.check_key(Subject::Digest(digest), key, &[]).unwrap_err().kind
            };
            assert_eq!(refused(&other, &digest), FaultKind::Signature, "{algorithm:?}");
            assert_eq!(refused(&key, &digest_of(b"other")), FaultKind::Subject, "{algorithm:?}");
            let root = root_of(&MiniSigstore::default());
            assert_eq!(document.check_root(subject, &root).unwrap_err().kind, FaultKind::Certificate);
        }
    }
}

#[test]
fn a_keys_log_entry_that_does_not_hold_is_told_apart_from_none_and_takes_nothing_from_the_signature() {
    let (mini, other) = (MiniSigstore::default(), MiniSigstore::default());
    let (root, stranger) = (root_of(&mini), root_of(&other));
    let (digest, signing) = (digest(), KeyPair::generate().unwrap());
    let key = Key::from_pem(&public_pem(&signing)).unwrap();
    let check = |bundle: &Value, roots: &[&Root]| {
        let document = Document::bundle(bundle.to_string().as_bytes()).unwrap();
        document.check_key(Subject::Digest(&digest), &key, roots).unwrap()
    };
    let order = Order::signature(&digest);
    let good = check(&mini.bundle_by_logged_key(&signing, &order), &[&stranger, &root]);
    assert!(good.in_log && good.logged_at.is_some() && good.log_fault.is_none(), "{good:?}");
    let rows = [
        (Defect::BadPromise, "inclusion promise"),
        (Defect::WrongRootHash, "oot"),
        (Defect::ForeignCheckpoint, "checkpoint"),
        (Defect::OtherEntry, "does not match the bundle"),
    ];
    for (defect, words) in rows {
        let order = Order::signature(&digest).with(defect);
        let found = check(&mini.bundle_by_logged_key(&signing, &order), &[&stranger, &root, &stranger]);
        assert!(!found.in_log && found.logged_at.is_none(), "{defect:?}: {found:?}");
        let fault = found.log_fault.unwrap();
        assert!(fault.contains(words), "{defect:?}: {fault} lacks {words}");
    }
    // The entry of another artifact, borrowed.
    let mut borrowed = mini.bundle_by_logged_key(&signing, &order);
    let elsewhere = digest_of(b"other");
    let of_other = mini.bundle_by_logged_key(&signing, &Order::signature(&elsewhere));
    borrowed["verificationMaterial"] = of_other["verificationMaterial"].clone();
    let found = check(&borrowed, &[&root]);
    assert!(found.log_fault.as_ref().is_some_and(|fault| fault.contains("does not match")), "{found:?}");
    let found = check(&mini.bundle_by_logged_key(&signing, &order), &[&stranger]);
    assert!(
        found.log_fault.as_ref().is_some_and(|fault| fault.contains("no trust root knows its log")),
        "{found:?}"
    );
    let none = check(&bundle_by_key(&signing, &order), &[&root]);
    assert_eq!(none, Signer::default(), "no entry is no bad entry");
}

#[test]
fn what_cannot_be_read_is_said_and_no_key_is_one_that_is_too_weak() {
    let kind = |bytes: &[u8]| Document::bundle(bytes).unwrap_err().kind;
    assert_eq!(kind(b""), FaultKind::Malformed);
    assert_eq!(kind(&[0xff, 0xfe]), FaultKind::Malformed);
    assert_eq!(
        kind(br#"{"mediaType": "application/vnd.dev.sigstore.bundle+json;version=9"}"#),
        FaultKind::Unsupported
    );
    assert_eq!(Key::from_pem("nothing").unwrap_err().kind, FaultKind::Malformed);
    let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(Key::from_pem(pem).unwrap_err().kind, FaultKind::Malformed);
    // A log entry of an old kind: said as such with a trust root, and no matter with the key.
    let (digest, signing) = (digest(), KeyPair::generate().unwrap());
    let (payload, mut annotations) = simple_signing_by_key(&signing, &digest, "ghcr.io/acme/web");
    let body = "eyJhcGlWZXJzaW9uIjoiMC4wLjEiLCJraW5kIjoiaW50b3RvIn0=";
    let entry = json!({"SignedEntryTimestamp": "AAAA", "Payload": {"body": body, "integratedTime": 1,
        "logIndex": 1, "logID": "00".repeat(32)}});
    annotations.insert("dev.sigstore.cosign/bundle".to_owned(), entry.to_string());
    let document = Document::simple_signing(&payload, &annotations).unwrap();
    let fault =
        document.check_root(Subject::Digest(&digest), &root_of(&MiniSigstore::default())).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unsupported);
    assert!(fault.message.contains("intoto 0.0.1"), "{}", fault.message);
    let key = Key::from_pem(&public_pem(&signing)).unwrap();
    assert!(document.check_key(Subject::Digest(&digest), &key, &[]).is_ok());
}

/// A generator that is the same each time (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }
}

#[test]
fn no_changed_byte_makes_another_signer_or_another_subject_of_a_bundle() {
    let n_mutants: usize =
        std::env::var("ROLLFORWARD_MUTANTS").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    let mini = MiniSigstore::default();
    let root = root_of(&mini);
    let digest = digest();
    let bundles: Vec<(String, Signer)> = [Log::V1, Log::V2, Log::No]
        .into_iter()
        .map(|log| {
            let bundle = mini.bundle(&Order { log, ..Order::signature(&digest) });
            let signer = check(&bundle, &root).unwrap();
            (bundle.to_string(), signer)
        })
        .collect();
    let mut random = Random(7);
    let (mut n_passed, mut n_refused) = (0_usize, 0_usize);
    for n in 0..n_mutants {
        let (text, signer) = &bundles[n % bundles.len()];
        let mut bytes = text.clone().into_bytes();
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(7),
            1 => {
                bytes.remove(at);
            }
            2 => bytes.insert(at, b"0Az+/=\"{}"[random.below(9)]),
            _ => {
                let other = random.below(bytes.len());
                bytes.swap(at, other);
            }
        }
        let checked = Document::bundle(&bytes).and_then(|document| {
            document.check_root(Subject::Digest(&digest), &root).map(|signer| (document, signer))
        });
        match checked {
            // Parts that nobody signs may change: then everything that is believed is as it was.
            Ok((document, found)) => {
                n_passed += 1;
                let believed =
                    |signer: &Signer| (signer.subject.clone(), signer.issuer.clone(), signer.claims.clone());
                assert_eq!(
                    believed(&found),
                    believed(signer),
                    "at {at}: {}",
                    String::from_utf8_lossy(&bytes)
                );
                let other = document.check_root(Subject::Digest(&digest_of(b"other")), &root);
                assert!(other.is_err(), "at {at}: another subject passes");
            }
            Err(_) => n_refused += 1,
        }
    }
    eprintln!("{n_mutants} mutants: {n_refused} refused, {n_passed} passed with the same signer and subject");
    assert!(n_passed < n_mutants / 4, "{n_passed} of {n_mutants} passed");
}
