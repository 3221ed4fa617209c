//! A Sigstore of our own, in memory: certificate authority, certificate log, transparency logs of both versions, timestamp
//! authority, and the trust root that names them. One switch a defect, each of which a verifier must refuse.
//!
//! Everything is minted around the present: verifiers read the clock themselves.

mod certificate;
mod der;
mod stamp;
mod tree;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use rollforward_core::image::Digest;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use certificate::Authority;
pub use certificate::Who;

/// The predicate type of cosign's plain signature.
pub const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// The media type of a bundle.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// What is wrong with what is minted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defect {
    /// The certificate is of an authority that nobody trusts.
    ForeignAuthority,
    /// The certificate is in no log of certificates.
    NoCertificateLog,
    /// The stamp of the certificate log is by another key.
    ForeignCertificateLog,
    /// The log's promise is of another time than it says.
    BadPromise,
    /// The log's promise is by a key that nobody trusts.
    ForeignPromise,
    /// The proof leads to another root.
    WrongRootHash,
    /// A hash of the proof is another one.
    WrongProofHash,
    /// The checkpoint is signed by a key that nobody trusts.
    ForeignCheckpoint,
    /// The checkpoint is of another size than was signed.
    BadCheckpoint,
    /// The log entry is of another signature.
    OtherEntry,
    /// There is an entry and no proof.
    NoProof,
    /// The certificate had ended when the log took the signature.
    ExpiredCertificate,
    /// The certificate began after the log took the signature.
    EarlyTime,
    /// The log took it in the future.
    FutureTime,
    /// The timestamp is by an authority that nobody trusts.
    ForeignTimestamp,
    /// The timestamp is of another signature.
    OtherTimestamp,
    /// There is no time at all.
    NoTime,
    /// The payload was changed after it was signed.
    ChangedPayload,
    /// The signature was made for another digest.
    OtherSubject,
    /// The signature is by another key than the certificate's.
    OtherKey,
}

/// Every defect.
pub const DEFECTS: &[Defect] = &[
    Defect::ForeignAuthority,
    Defect::NoCertificateLog,
    Defect::ForeignCertificateLog,
    Defect::BadPromise,
    Defect::ForeignPromise,
    Defect::WrongRootHash,
    Defect::WrongProofHash,
    Defect::ForeignCheckpoint,
    Defect::BadCheckpoint,
    Defect::OtherEntry,
    Defect::NoProof,
    Defect::ExpiredCertificate,
    Defect::EarlyTime,
    Defect::FutureTime,
    Defect::ForeignTimestamp,
    Defect::OtherTimestamp,
    Defect::NoTime,
    Defect::ChangedPayload,
    Defect::OtherSubject,
    Defect::OtherKey,
];

/// Which transparency log takes the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// Rekor v1: a promise with a time, and a proof.
    V1,
    /// Rekor v2: a proof without a time, which a timestamp authority gives.
    V2,
    /// None; a timestamp authority gives the time.
    No,
}

/// What is to be minted.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// The digest that is signed.
    pub subject: &'a Digest,
    /// Who signs, by a certificate.
    pub who: Who<'a>,
    /// The type of the statement.
    pub predicate_type: &'a str,
    /// What it says.
    pub predicate: Value,
    /// Which log takes it.
    pub log: Log,
    /// What is wrong with it.
    pub defect: Option<Defect>,
}

impl<'a> Order<'a> {
    /// A plain signature by a release workflow, in a log of the first version.
    #[must_use]
    pub fn signature(subject: &'a Digest) -> Self {
        let who = Who {
            subject: "https://github.com/acme/web/.github/workflows/release.yml@refs/tags/v1.4.3",
            issuer: "https://token.actions.githubusercontent.com",
            claims: vec![(12, "https://github.com/acme/web"), (14, "refs/tags/v1.4.3")],
        };
        Self { subject, who, predicate_type: COSIGN_SIGN, predicate: json!({}), log: Log::V1, defect: None }
    }

    /// The same with a defect.
    #[must_use]
    pub fn with(mut self, defect: Defect) -> Self {
        self.defect = Some(defect);
        self
    }
}

/// The instance.
#[derive(Debug)]
pub struct MiniSigstore {
    now: Timestamp,
    authority: Authority,
    certificate_log: KeyPair,
    log_v1: KeyPair,
    log_v2: KeyPair,
    timestamp_authority: Authority,
    timestamps: KeyPair,
    timestamp_certificate: Vec<u8>,
    foreign: KeyPair,
    foreign_authority: Authority,
}

impl Default for MiniSigstore {
    fn default() -> Self {
        let now = Timestamp::now();
        let timestamp_authority = Authority::new("timestamp authority", now);
        let timestamps = KeyPair::generate().unwrap();
        Self {
            authority: Authority::new("mini sigstore", now),
            certificate_log: KeyPair::generate().unwrap(),
            log_v1: KeyPair::generate().unwrap(),
            log_v2: KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
            timestamp_certificate: timestamp_authority.for_timestamps(&timestamps, now),
            timestamp_authority,
            timestamps,
            foreign: KeyPair::generate().unwrap(),
            foreign_authority: Authority::new("somebody else", now),
            now,
        }
    }
}

impl MiniSigstore {
    /// The `trusted_root.json` of this instance. With an end, its first log ends then.
    #[must_use]
    pub fn trusted_root(&self, end: Option<Timestamp>) -> String {
        let start = self.now.checked_sub(SignedDuration::from_hours(24 * 20)).unwrap();
        let mut window = json!({"start": start.to_string()});
        if let Some(end) = end {
            window["end"] = json!(end.to_string());
        }
        let log = |url: &str, key: &KeyPair, details: &str| {
            let der = key.subject_public_key_info();
            json!({"baseUrl": url, "hashAlgorithm": "SHA2_256", "logId": {"keyId": encode(&id(key))},
                "publicKey": {"rawBytes": encode(&der), "keyDetails": details, "validFor": window}})
        };
        let chain = |certificates: &[&Vec<u8>]| {
            let all: Vec<Value> = certificates.iter().map(|one| json!({"rawBytes": encode(one)})).collect();
            json!({"certificates": all})
        };
        let authority = json!({"subject": {"commonName": "mini", "organization": "mini"}, "uri": "https://ca.mini.test",
            "certChain": chain(&[&self.authority.certificate]), "validFor": {"start": start.to_string()}});
        let timestamps = json!({"subject": {"commonName": "mini", "organization": "mini"}, "uri": "https://tsa.mini.test",
            "certChain": chain(&[&self.timestamp_certificate, &self.timestamp_authority.certificate]),
            "validFor": {"start": start.to_string()}});
        let details = "PKIX_ECDSA_P256_SHA_256";
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log("https://log.mini.test", &self.log_v1, details),
                log("https://log2.mini.test", &self.log_v2, "PKIX_ED25519")],
            "certificateAuthorities": [authority],
            "ctlogs": [log("https://ct.mini.test", &self.certificate_log, details)],
            "timestampAuthorities": [timestamps],
        })
        .to_string()
    }

    /// The bundle of a workflow of a repository, as `release.yml` at `refs/tags/v1.4.3` signs a digest.
    #[must_use]
    pub fn by_workflow(&self, subject: &str, (source, workflow, git_ref): (&str, &str, &str)) -> Value {
        let subject = Digest::parse(subject).unwrap();
        let signer = format!("{source}/.github/workflows/{workflow}@{git_ref}");
        let order = Order::signature(&subject);
        let who = Who { subject: &signer, claims: vec![(12, source), (14, git_ref)], ..order.who.clone() };
        self.bundle(&Order { who, ..order })
    }

    /// A keyless bundle.
    #[must_use]
    pub fn bundle(&self, order: &Order<'_>) -> Value {
        let is = |defect: Defect| order.defect == Some(defect);
        let key = KeyPair::generate().unwrap();
        let certificate = self.certificate(order, &key);
        let mut payload = statement(order).into_bytes();
        let signed_by = if is(Defect::OtherKey) { &self.foreign } else { &key };
        let signature = signed_by.sign(&pae(&payload)).unwrap();
        if is(Defect::ChangedPayload) {
            payload.push(b' ');
        }
        let logged =
            if is(Defect::OtherEntry) { key.sign(b"something else").unwrap() } else { signature.clone() };
        let entry = match order.log {
            Log::V1 => Some(self.entry_v1(order, &dsse_body(&payload, &logged, &certificate), "dsse")),
            Log::V2 => Some(self.entry_v2(order, &v2_body(&payload, &logged, &certificate))),
            Log::No => None,
        };
        let stamped = order.log != Log::V1 && !is(Defect::NoTime);
        let stamps: Vec<Value> = stamped
            .then(|| json!({"signedTimestamp": encode(&self.token(order, &signature))}))
            .into_iter()
            .collect();
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {
                "certificate": {"rawBytes": encode(&certificate)},
                "tlogEntries": entry.into_iter().collect::<Vec<_>>(),
                "timestampVerificationData": {"rfc3161Timestamps": stamps},
            },
            "dsseEnvelope": {"payload": encode(&payload), "payloadType": IN_TOTO,
                "signatures": [{"sig": encode(&signature)}]},
        })
    }

    /// A layer of a `.sig` tag: payload and annotations.
    #[must_use]
    pub fn simple_signing(&self, order: &Order<'_>, repository: &str) -> (Vec<u8>, BTreeMap<String, String>) {
        let key = KeyPair::generate().unwrap();
        let certificate = self.certificate(order, &key);
        let payload = simple_payload(&signed_digest(order), repository);
        let signature = key.sign(&payload).unwrap();
        let pem = pem("CERTIFICATE", &certificate);
        let body = hashed_body(&payload, &encode(&signature), &pem);
        let entry = self.entry_v1(order, &body, "hashedrekord");
        let mut annotations = BTreeMap::from([
            ("dev.cosignproject.cosign/signature".to_owned(), encode(&signature)),
            ("dev.sigstore.cosign/certificate".to_owned(), pem),
            // The root too, as Fulcio hands it out.
            ("dev.sigstore.cosign/chain".to_owned(), self::pem("CERTIFICATE", &self.authority.certificate)),
        ]);
        annotations.insert("dev.sigstore.cosign/bundle".to_owned(), legacy_entry(&entry));
        (payload, annotations)
    }

    fn certificate(&self, order: &Order<'_>, key: &KeyPair) -> Vec<u8> {
        let authority = match order.defect {
            Some(Defect::ForeignAuthority) => &self.foreign_authority,
            _ => &self.authority,
        };
        let log = match order.defect {
            Some(Defect::NoCertificateLog) => None,
            Some(Defect::ForeignCertificateLog) => Some(&self.foreign),
            _ => Some(&self.certificate_log),
        };
        let before = match order.defect {
            Some(Defect::ExpiredCertificate) => SignedDuration::from_hours(2),
            Some(Defect::EarlyTime) => -SignedDuration::from_mins(2),
            _ => SignedDuration::from_mins(3),
        };
        authority.for_signing(key, &order.who, log, self.now.checked_sub(before).unwrap())
    }

    /// When the log took it: a minute ago.
    fn integrated(&self, order: &Order<'_>) -> Timestamp {
        let offset = match order.defect {
            Some(Defect::FutureTime) => SignedDuration::from_mins(5),
            _ => -SignedDuration::from_mins(1),
        };
        self.now.checked_add(offset).unwrap()
    }

    fn token(&self, order: &Order<'_>, signature: &[u8]) -> Vec<u8> {
        let at = self.integrated(order);
        match order.defect {
            Some(Defect::ForeignTimestamp) => {
                let certificate = self.foreign_authority.for_timestamps(&self.foreign, self.now);
                stamp::token(&self.foreign, &certificate, signature, at)
            }
            Some(Defect::OtherTimestamp) => {
                stamp::token(&self.timestamps, &self.timestamp_certificate, b"another signature", at)
            }
            _ => stamp::token(&self.timestamps, &self.timestamp_certificate, signature, at),
        }
    }

    fn entry_v1(&self, order: &Order<'_>, body: &str, kind: &str) -> Value {
        let is = |defect: Defect| order.defect == Some(defect);
        let at = self.integrated(order).as_second();
        let log_index = 1003;
        let promised = if is(Defect::BadPromise) { at - 1 } else { at };
        let promise = json!({"body": encode(body.as_bytes()), "integratedTime": promised,
            "logID": hex(&id(&self.log_v1)), "logIndex": log_index});
        let key = if is(Defect::ForeignPromise) { &self.foreign } else { &self.log_v1 };
        let mut entry = json!({
            "logIndex": log_index.to_string(),
            "logId": {"keyId": encode(&id(&self.log_v1))},
            "kindVersion": {"kind": kind, "version": "0.0.1"},
            "integratedTime": at.to_string(),
            "canonicalizedBody": encode(body.as_bytes()),
        });
        if !is(Defect::NoTime) {
            let signed = key.sign(promise.to_string().as_bytes()).unwrap();
            entry["inclusionPromise"] = json!({"signedEntryTimestamp": encode(&signed)});
        }
        if !is(Defect::NoProof) {
            entry["inclusionProof"] = self.proof(order, body, &self.log_v1, "log.mini.test");
        }
        entry
    }

    fn entry_v2(&self, order: &Order<'_>, body: &str) -> Value {
        let mut entry = json!({
            "logIndex": "3",
            "logId": {"keyId": encode(&id(&self.log_v2))},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "canonicalizedBody": encode(body.as_bytes()),
        });
        if order.defect != Some(Defect::NoProof) {
            entry["inclusionProof"] = self.proof(order, body, &self.log_v2, "log2.mini.test");
        }
        entry
    }

    /// The fourth of five entries, with a checkpoint of the whole.
    fn proof(&self, order: &Order<'_>, body: &str, log: &KeyPair, origin: &str) -> Value {
        let is = |defect: Defect| order.defect == Some(defect);
        let mut leaves: Vec<Vec<u8>> = (0..5_u8).map(|n| vec![n]).collect();
        leaves[3] = body.as_bytes().to_vec();
        let mut root = tree::root(&leaves);
        let mut hashes = tree::path(3, &leaves);
        if is(Defect::WrongRootHash) {
            root[0] ^= 1;
        }
        if is(Defect::WrongProofHash) {
            hashes[0][0] ^= 1;
        }
        let note = |size: usize| format!("{origin}\n{size}\n{}\n", encode(&root));
        let key = if is(Defect::ForeignCheckpoint) { &self.foreign } else { log };
        let signed = key.sign(note(if is(Defect::BadCheckpoint) { 6 } else { 5 }).as_bytes()).unwrap();
        let hinted = [&id(log)[..4], &signed].concat();
        json!({
            "logIndex": "3", "treeSize": "5", "rootHash": encode(&root),
            "hashes": hashes.iter().map(|hash| encode(hash)).collect::<Vec<_>>(),
            "checkpoint": {"envelope": format!("{}\n— {origin} {}\n", note(5), encode(&hinted))},
        })
    }
}

impl MiniSigstore {
    /// Signs with a key, and lets the first kind of log take it, with the defects that a log's entry can have.
    #[must_use]
    pub fn bundle_by_logged_key(&self, key: &KeyPair, order: &Order<'_>) -> Value {
        let mut bundle = bundle_by_key(key, order);
        let envelope = &bundle["dsseEnvelope"];
        let read = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
        let (payload, signature) = (read(&envelope["payload"]), read(&envelope["signatures"][0]["sig"]));
        let other = order.defect == Some(Defect::OtherEntry);
        let logged = if other { key.sign(b"something else").unwrap() } else { signature };
        let body = dsse_body_by(&payload, &logged, &public_pem(key));
        bundle["verificationMaterial"]["tlogEntries"] = json!([self.entry_v1(order, &body, "dsse")]);
        bundle
    }
}

impl MiniSigstore {
    /// Signs with a key in the layout of `.sig`, and lets the first kind of log take it.
    #[must_use]
    pub fn simple_signing_by_logged_key(
        &self,
        key: &KeyPair,
        digest: &Digest,
        repository: &str,
    ) -> (Vec<u8>, BTreeMap<String, String>) {
        let (payload, mut annotations) = simple_signing_by_key(key, digest, repository);
        let body =
            hashed_body(&payload, &annotations["dev.cosignproject.cosign/signature"], &public_pem(key));
        let entry = self.entry_v1(&Order::signature(digest), &body, "hashedrekord");
        annotations.insert("dev.sigstore.cosign/bundle".to_owned(), legacy_entry(&entry));
        (payload, annotations)
    }
}

fn hashed_body(payload: &[u8], signature: &str, verifier: &str) -> String {
    json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
        "data": {"hash": {"algorithm": "sha256", "value": hex(&Sha256::digest(payload))}},
        "signature": {"content": signature, "publicKey": {"content": encode(verifier.as_bytes())}}}})
    .to_string()
}

/// Signs with a key alone: a bundle without log and time, as `cosign sign --key` with `--tlog-upload=false` writes it.
#[must_use]
pub fn bundle_by_key(key: &KeyPair, order: &Order<'_>) -> Value {
    let payload = statement(order).into_bytes();
    let signature = key.sign(&pae(&payload)).unwrap();
    json!({
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": "any"}, "tlogEntries": []},
        "dsseEnvelope": {"payload": encode(&payload), "payloadType": IN_TOTO,
            "signatures": [{"sig": encode(&signature)}]},
    })
}

/// The bundle of a key alone for a digest by its text.
#[must_use]
pub fn signed_by_key(key: &KeyPair, subject: &str) -> Value {
    bundle_by_key(key, &Order::signature(&Digest::parse(subject).unwrap()))
}

/// Signs with a key alone in the layout of `.sig`.
#[must_use]
pub fn simple_signing_by_key(
    key: &KeyPair,
    digest: &Digest,
    repository: &str,
) -> (Vec<u8>, BTreeMap<String, String>) {
    let payload = simple_payload(digest, repository);
    let signature = key.sign(&payload).unwrap();
    let annotations = BTreeMap::from([("dev.cosignproject.cosign/signature".to_owned(), encode(&signature))]);
    (payload, annotations)
}

/// A public key as cosign writes it.
#[must_use]
pub fn public_pem(key: &KeyPair) -> String {
    pem("PUBLIC KEY", &key.subject_public_key_info())
}

fn signed_digest(order: &Order<'_>) -> Digest {
    match order.defect {
        Some(Defect::OtherSubject) => crate::image::digest_of(b"another image"),
        _ => order.subject.clone(),
    }
}

fn statement(order: &Order<'_>) -> String {
    let digest = signed_digest(order);
    json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": order.predicate_type,
        "subject": [{"digest": {"sha256": digest.as_str().trim_start_matches("sha256:")}}],
        "predicate": order.predicate})
    .to_string()
}

fn simple_payload(digest: &Digest, repository: &str) -> Vec<u8> {
    json!({"critical": {"identity": {"docker-reference": repository},
        "image": {"docker-manifest-digest": digest.as_str()}, "type": "cosign container image signature"},
        "optional": {"built-by": "ci"}})
    .to_string()
    .into_bytes()
}

fn dsse_body(payload: &[u8], signature: &[u8], certificate: &[u8]) -> String {
    dsse_body_by(payload, signature, &pem("CERTIFICATE", certificate))
}

fn dsse_body_by(payload: &[u8], signature: &[u8], verifier: &str) -> String {
    json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {
        "envelopeHash": {"algorithm": "sha256", "value": hex(&Sha256::digest(b"not compared"))},
        "payloadHash": {"algorithm": "sha256", "value": hex(&Sha256::digest(payload))},
        "signatures": [{"signature": encode(signature), "verifier": encode(verifier.as_bytes())}]}})
    .to_string()
}

fn v2_body(payload: &[u8], signature: &[u8], certificate: &[u8]) -> String {
    json!({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": {
        "data": {"algorithm": "SHA2_256", "digest": encode(&Sha256::digest(pae(payload)))},
        "signature": {"content": encode(signature), "verifier": {"keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "x509Certificate": {"rawBytes": encode(certificate)}}}}}})
    .to_string()
}

/// A log entry as the annotation of a layer holds it.
fn legacy_entry(entry: &Value) -> String {
    let number = |name: &str| entry[name].as_str().unwrap().parse::<i64>().unwrap();
    let id = STANDARD.decode(entry["logId"]["keyId"].as_str().unwrap()).unwrap();
    json!({"SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"], "Payload": {
        "body": entry["canonicalizedBody"], "integratedTime": number("integratedTime"),
        "logIndex": number("logIndex"), "logID": hex(&id)}})
    .to_string()
}

fn pae(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {IN_TOTO} {} ", IN_TOTO.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn id(key: &KeyPair) -> Vec<u8> {
    Sha256::digest(key.subject_public_key_info()).to_vec()
}

fn pem(name: &str, der: &[u8]) -> String {
    let text = encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {name}-----\n{}\n-----END {name}-----\n", lines.join("\n"))
}

fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
