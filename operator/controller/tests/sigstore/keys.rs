//! Each kind of key, in each layout, with and without a log entry: what holds, and what is said where it does not. The real cosign,
//! with the keys that it takes, is in `e2e/tests/integration/cosign.rs`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Digest as _, Sha512, SigningKey};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize,
};
use rollforward::sigstore::{Document, Key, Root, Subject};
use rollforward_core::evidence::{Fault, FaultKind, Signer};
use rollforward_testkit::sigstore::{MiniSigstore, Order, bundle_by_key, public_pem, simple_signing_by_key};
use serde_json::{Value, json};

use super::{digest, root_of};

const REPOSITORY: &str = "ghcr.io/acme/web";
const IN_TOTO: &str = "application/vnd.in-toto+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// A bundle with an envelope, as cosign 3 writes it.
    Bundle,
    /// A layer of the `.sig` tag.
    Signature,
    /// A layer of the `.att` tag.
    Attestation,
}

use Layout::{Attestation, Bundle, Signature};

fn keys() -> Vec<(&'static str, KeyPair)> {
    let of = |algorithm| KeyPair::generate_for(algorithm).unwrap();
    // cosign takes SHA-256 for each size.
    let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap();
    vec![
        ("ECDSA P-256", of(&PKCS_ECDSA_P256_SHA256)),
        ("ECDSA P-384", of(&PKCS_ECDSA_P384_SHA384)),
        ("Ed25519", of(&PKCS_ED25519)),
        ("RSA 2048", rsa(RsaKeySize::_2048)),
        ("RSA 3072", rsa(RsaKeySize::_3072)),
        ("RSA 4096", rsa(RsaKeySize::_4096)),
    ]
}

fn made(layout: Layout, key: &KeyPair, log: Option<&MiniSigstore>) -> Document {
    let digest = digest();
    let order = Order::signature(&digest);
    let bundle = || match log {
        Some(mini) => mini.bundle_by_logged_key(key, &order),
        None => bundle_by_key(key, &order),
    };
    match layout {
        Bundle => Document::bundle(bundle().to_string().as_bytes()).unwrap(),
        Signature => {
            let (payload, annotations) = match log {
                Some(mini) => mini.simple_signing_by_logged_key(key, &digest, REPOSITORY),
                None => simple_signing_by_key(key, &digest, REPOSITORY),
            };
            Document::simple_signing(&payload, &annotations).unwrap()
        }
        Attestation => {
            let bundle = bundle();
            let annotations = log.map(|_| {
                let entry = &bundle["verificationMaterial"]["tlogEntries"][0];
                ("dev.sigstore.cosign/bundle".to_owned(), legacy_entry(entry))
            });
            let annotations = annotations.into_iter().collect();
            Document::attestation(bundle["dsseEnvelope"].to_string().as_bytes(), &annotations).unwrap()
        }
    }
}

/// A log entry as the annotation of a layer holds it.
fn legacy_entry(entry: &Value) -> String {
    let number = |name: &str| entry[name].as_str().unwrap().parse::<i64>().unwrap();
    let id = STANDARD.decode(entry["logId"]["keyId"].as_str().unwrap()).unwrap();
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"], "Payload": {
        "body": entry["canonicalizedBody"], "integratedTime": number("integratedTime"),
        "logIndex": number("logIndex"), "logID": id}})
    .to_string()
}

fn check(document: &Document, pem: &str, roots: &[&Root]) -> Result<Signer, Fault> {
    document.check_key(Subject::Digest(&digest()), &Key::from_pem(pem).unwrap(), roots)
}

#[test]
fn each_kind_of_key_holds_in_each_layout_with_and_without_a_log_and_for_no_other_key() {
    let mini = MiniSigstore::default();
    let root = root_of(&mini);
    let keys = keys();
    for (n, (kind, key)) in keys.iter().enumerate() {
        let (_, other) = &keys[(n + 1) % keys.len()];
        for layout in [Bundle, Signature, Attestation] {
            for log in [None, Some(&mini)] {
                let row = format!("{kind}, {layout:?}, log: {}", log.is_some());
                let document = made(layout, key, log);
                let signer = check(&document, &public_pem(key), &[&root]);
                let signer = signer.unwrap_or_else(|fault| panic!("{row}: {fault:?}"));
                // A log of hashes takes no pure Ed25519 signature: nobody can have such an entry.
                let impossible = *kind == "Ed25519" && layout == Signature;
                if !impossible {
                    let expected = (log.is_some(), None);
                    assert_eq!((signer.in_log, signer.log_fault), expected, "{row}");
                }
                let fault = check(&document, &public_pem(other), &[&root]).unwrap_err();
                assert_eq!(fault.message, "not signed by this key", "{row}");
            }
        }
    }
}

/// Signs as a current cosign does by an Ed25519 key.
fn prehashed(signing: &SigningKey, message: &[u8]) -> String {
    let signature = signing.sign_prehashed(Sha512::new_with_prefix(message), None).unwrap();
    STANDARD.encode(signature.to_bytes())
}

fn pae(payload: &[u8]) -> Vec<u8> {
    [format!("DSSEv1 {} {IN_TOTO} {} ", IN_TOTO.len(), payload.len()).as_bytes(), payload].concat()
}

/// A public key of this kind in PEM: the head is that of any Ed25519 key.
fn ed25519_pem(signing: &SigningKey) -> String {
    let any = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let info = any.subject_public_key_info();
    let der = [&info[..info.len() - 32], signing.verifying_key().as_bytes()].concat();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

#[test]
fn cosigns_prehashed_ed25519_holds_in_each_layout_and_its_log_entry_is_none_that_can_be_checked() {
    let (mini, signing) = (MiniSigstore::default(), SigningKey::from_bytes(&[7; 32]));
    let root = root_of(&mini);
    let any = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let pem = ed25519_pem(&signing);
    let digest = digest();
    for log in [None, Some(&mini)] {
        let mut bundle = match log {
            Some(mini) => mini.bundle_by_logged_key(&any, &Order::signature(&digest)),
            None => bundle_by_key(&any, &Order::signature(&digest)),
        };
        let payload = STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
        bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!(prehashed(&signing, &pae(&payload)));
        let entry = log.map(|_| legacy_entry(&bundle["verificationMaterial"]["tlogEntries"][0]));
        let entry: BTreeMap<_, _> =
            entry.into_iter().map(|entry| ("dev.sigstore.cosign/bundle".to_owned(), entry)).collect();
        let (simple, _) = simple_signing_by_key(&any, &digest, REPOSITORY);
        let signature = (SIGNATURE.to_owned(), prehashed(&signing, &simple));
        let annotations = entry.clone().into_iter().chain([signature]).collect();
        let documents = [
            Document::bundle(bundle.to_string().as_bytes()).unwrap(),
            Document::simple_signing(&simple, &annotations).unwrap(),
            Document::attestation(bundle["dsseEnvelope"].to_string().as_bytes(), &entry).unwrap(),
        ];
        for document in documents {
            let signer = check(&document, &pem, &[&root]).unwrap();
            assert!(!signer.in_log);
            let says = signer.log_fault.is_some_and(|fault| fault.contains("sign by an ECDSA key"));
            assert_eq!(says, log.is_some());
            let fault = check(&document, &public_pem(&any), &[&root]).unwrap_err();
            assert_eq!(
                (fault.kind, fault.message.as_str()),
                (FaultKind::Signature, "not signed by this key")
            );
            let other = document.check_key(
                Subject::Digest(&rollforward_testkit::image::digest_of(b"other")),
                &Key::from_pem(&pem).unwrap(),
                &[],
            );
            assert_eq!(other.unwrap_err().kind, FaultKind::Subject);
        }
    }
}

#[test]
fn the_example_of_the_standard_for_prehashed_ed25519_is_verified_and_a_changed_one_is_not() {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    // RFC 8032, 7.3: the message is "abc".
    let secret = hex("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42");
    let signature = "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406";
    let signing = SigningKey::from_bytes(secret.as_slice().try_into().unwrap());
    assert_eq!(prehashed(&signing, b"abc"), STANDARD.encode(hex(signature)));
    let key = Key::from_pem(&ed25519_pem(&signing)).unwrap();
    let check = |message: &[u8], signature: &str| {
        let declared = json!({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": ""}, "tlogEntries": []},
            "messageSignature": {"signature": signature}});
        let document = Document::bundle(declared.to_string().as_bytes())?;
        document.check_key(Subject::Bytes(message), &key, &[]).map(drop)
    };
    assert_eq!(check(b"abc", &STANDARD.encode(hex(signature))), Ok(()));
    assert!(check(b"abd", &STANDARD.encode(hex(signature))).is_err());
    assert!(check(b"abc", &prehashed(&signing, b"abd")).is_err());
}

#[test]
fn a_signature_of_a_digest_alone_is_none_that_ed25519_can_be_asked_about() {
    let any = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let bundle = json!({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": ""}, "tlogEntries": []},
        "messageSignature": {"signature": STANDARD.encode([0; 64])}});
    let document = Document::bundle(bundle.to_string().as_bytes()).unwrap();
    let fault = check(&document, &public_pem(&any), &[]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unsupported, "{}", fault.message);
}

/// Made by openssl with a salt as long as the hash, as key services sign: cosign's own RSA signatures are PKCS #1 v1.5.
#[test]
fn rsa_signatures_with_pss_hold_in_both_layouts_and_not_for_a_changed_payload() {
    let made: Value = serde_json::from_str(include_str!("pss.json")).unwrap();
    let text = |name: &str| made[name].as_str().unwrap();
    let annotations = BTreeMap::from([(SIGNATURE.to_owned(), text("signature").to_owned())]);
    let simple = Document::simple_signing(text("payload").as_bytes(), &annotations).unwrap();
    assert_eq!(check(&simple, text("pem"), &[]), Ok(Signer::default()));
    let envelope = |statement: &str| {
        json!({"payload": STANDARD.encode(statement), "payloadType": IN_TOTO,
            "signatures": [{"sig": text("envelopeSignature")}]})
    };
    let bundle = |statement: &str| {
        let bundle = json!({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": ""}, "tlogEntries": []},
            "dsseEnvelope": envelope(statement)});
        Document::bundle(bundle.to_string().as_bytes()).unwrap()
    };
    assert_eq!(check(&bundle(text("statement")), text("pem"), &[]), Ok(Signer::default()));
    let changed = text("statement").replace("cosign/sign", "cosign/sing");
    assert_eq!(check(&bundle(&changed), text("pem"), &[]).unwrap_err().kind, FaultKind::Signature);
    let bytes = envelope(text("statement")).to_string();
    let layer = Document::attestation(bytes.as_bytes(), &BTreeMap::new()).unwrap();
    assert_eq!(check(&layer, text("pem"), &[]), Ok(Signer::default()));
}

#[test]
fn a_curve_that_the_engine_does_not_know_is_no_key_and_says_so() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap();
    let fault = Key::from_pem(&public_pem(&key)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unsupported, "{}", fault.message);
    assert!(fault.message.contains("unsupported or invalid EC curve parameters"), "{}", fault.message);
}
