//! The signature engine: what is attached to an image, and what a key or a trust root says of it.
//!
//! The only importer of `sigstore_verify`, which checks certificates, logs and times; a signature by a key alone is checked
//! here (`key.rs`), because the library wants a log entry or a timestamp. Identities are not judged: whoever signed is handed
//! back, and core decides. The library reads the clock itself. Legacy layouts: `legacy.rs`; predicates: `statement.rs` and
//! `rules.rs`; trust roots: `root.rs`. What is fetched, and from where: `registry/attached.rs`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rollforward_core::evidence::{Content, Fault, FaultKind, RuleAnswer, Signer};
use rollforward_core::image::Digest;
use sigstore_verify::types::bundle::VerificationMaterialContent;
use sigstore_verify::types::{Artifact, Bundle, Sha256Hash, SignatureContent, TransparencyLogEntry};
use sigstore_verify::{Error, VerificationPolicy};

mod claims;
mod fault;
mod key;
mod legacy;
mod root;
pub mod rules;
mod statement;

pub use key::Key;
pub use root::Root;

use fault::{faulty, of_engine};
use key::Form;

/// The predicate type under which a current cosign writes a plain signature.
const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// What a signature is said to be over.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// The digest of an image, or of any file.
    Digest(&'a Digest),
    /// A file itself: Ed25519 signs the content and not its digest.
    Bytes(&'a [u8]),
}

impl Subject<'_> {
    fn artifact(&self) -> Result<Artifact<'_>, Fault> {
        Ok(match self {
            Subject::Bytes(bytes) => Artifact::from(*bytes),
            Subject::Digest(digest) => Artifact::from(hash(digest)?),
        })
    }

    fn hash(&self) -> Result<Sha256Hash, Fault> {
        match self {
            Subject::Bytes(bytes) => Ok(sigstore_verify::crypto::sha256(bytes)),
            Subject::Digest(digest) => hash(digest),
        }
    }
}

fn hash(digest: &Digest) -> Result<Sha256Hash, Fault> {
    let hex = digest.as_str().trim_start_matches("sha256:");
    Sha256Hash::from_hex(hex).map_err(|error| faulty(FaultKind::Malformed, error))
}

/// One signature or attestation, read and not yet believed.
#[derive(Debug, Clone)]
pub struct Document {
    /// In the form of a bundle, whatever it was. Without its log entries: those are in `log`.
    bundle: Bundle,
    /// Its log entries, or why they cannot be read: a key's signature holds without them.
    log: Result<Vec<TransparencyLogEntry>, Fault>,
    /// What was signed where that is not the image itself: the payload of simple signing, and the digest that it names.
    payload: Option<(Vec<u8>, legacy::SimpleSigning)>,
}

impl Document {
    /// Reads a bundle of the versions 0.1 to 0.3.
    ///
    /// # Errors
    /// A fault of the kind `Malformed`, or `Unsupported` where it has a form that the engine does not know.
    pub fn bundle(bytes: &[u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(bytes).map_err(|error| faulty(FaultKind::Malformed, error))?;
        let mut bundle = Bundle::from_json(text).map_err(|error| {
            let words = error.to_string();
            let unsupported = words.contains("unsupported Rekor entry format")
                || words.contains("nvalid media type")
                || words.contains("unsupported media type");
            faulty(if unsupported { FaultKind::Unsupported } else { FaultKind::Malformed }, words)
        })?;
        let log = std::mem::take(&mut bundle.verification_material.tlog_entries);
        Ok(Self { bundle, log: Ok(log), payload: None })
    }

    /// Reads a layer of a `.sig` tag: the payload of simple signing, with everything else in annotations.
    ///
    /// # Errors
    /// A fault of the kind `Malformed`.
    pub fn simple_signing(payload: &[u8], annotations: &BTreeMap<String, String>) -> Result<Self, Fault> {
        let read = legacy::SimpleSigning::read(payload)?;
        let material = legacy::Material::read(annotations)?;
        let signature = material.message_signature()?;
        let bundle = material.bundle(signature);
        Ok(Self { bundle, log: material.log, payload: Some((payload.to_vec(), read)) })
    }

    /// Reads a layer of an `.att` tag: a DSSE envelope, with certificate and log entry in annotations.
    ///
    /// # Errors
    /// A fault of the kind `Malformed`.
    pub fn attestation(envelope: &[u8], annotations: &BTreeMap<String, String>) -> Result<Self, Fault> {
        let envelope =
            serde_json::from_slice(envelope).map_err(|error| faulty(FaultKind::Malformed, error))?;
        let material = legacy::Material::read(annotations)?;
        let bundle = material.bundle(SignatureContent::DsseEnvelope(envelope));
        Ok(Self { bundle, log: material.log, payload: None })
    }

    /// What it says; `rules` by predicate type are run where it is an attestation of that type. Nothing of it is believed yet.
    #[must_use]
    pub fn content(&self, subject: &Digest) -> Content {
        if let Some((_, payload)) = &self.payload {
            return payload.content();
        }
        match &self.bundle.content {
            SignatureContent::DsseEnvelope(envelope) => {
                statement::content(envelope.payload.as_bytes(), subject)
            }
            _ => Content::Signature { repository: None, annotations: BTreeMap::new() },
        }
    }

    /// Runs rules of a namespace over the predicate. Only to be called where a verifier held: a stranger's predicate is not worth the work.
    #[must_use]
    pub fn run_rules(&self, namespace: &str, rules: &[String]) -> BTreeMap<String, RuleAnswer> {
        match &self.bundle.content {
            SignatureContent::DsseEnvelope(envelope) => {
                rules::run(namespace, envelope.payload.as_bytes(), rules)
            }
            _ => BTreeMap::new(),
        }
    }

    /// Checks it with the certificates and logs of a trust root. Any identity passes: it is handed back, and core decides.
    ///
    /// Without a log entry the log is not asked for, and [`Signer::in_log`] is false; a trusted time is always required.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check_root(&self, subject: Subject<'_>, root: &Root) -> Result<Signer, Fault> {
        let log = self.log.clone()?;
        if matches!(self.bundle.verification_material.content, VerificationMaterialContent::PublicKey(_)) {
            return Err(faulty(
                FaultKind::Certificate,
                "signed with a key: there is no certificate to check with a trust root",
            ));
        }
        let mut policy = VerificationPolicy::any_identity();
        if log.is_empty() {
            policy = policy.skip_tlog_unsafe();
        }
        if !root.has_certificate_logs() {
            policy = policy.skip_sct();
        }
        let in_log = !log.is_empty();
        let bundle = self.whole(log);
        let result = match &self.payload {
            Some((payload, _)) => root.engine().verify(Artifact::from(payload.as_slice()), &bundle, &policy),
            None => root.engine().verify(subject.artifact()?, &bundle, &policy),
        };
        let result = result.map_err(|error| of_engine(&error))?;
        self.names(subject)?;
        // The engine lists the times of timestamp authorities first (`determine_validation_times`).
        let n_timestamps = bundle.verification_material.timestamp_verification_data.rfc3161_timestamps.len();
        let certificate = result.certificate();
        Ok(Signer {
            issuer: result.issuer().map(str::to_owned),
            subject: result.identity().map(|identity| identity.as_str().to_owned()),
            claims: certificate.map(|certificate| claims::named(&certificate.ci_claims)).unwrap_or_default(),
            in_log,
            log_fault: None,
            logged_at: result.integrated_time(),
            timestamped_at: earliest(result.verified_timestamps().iter().take(n_timestamps)),
        })
    }

    /// Checks it with a public key. Its log entry, where it has one, is checked with the first of the trust roots that knows
    /// the log; a signature that no log vouches for holds, and [`Signer::in_log`] is false.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check_key(&self, subject: Subject<'_>, key: &Key, logs: &[&Root]) -> Result<Signer, Fault> {
        let form = match (&self.bundle.content, &self.payload) {
            (SignatureContent::MessageSignature(signature), Some((payload, _))) => {
                key.signed(&Artifact::from(payload.as_slice()), signature)?
            }
            (SignatureContent::MessageSignature(signature), None) => {
                key.signed(&subject.artifact()?, signature)?
            }
            (SignatureContent::DsseEnvelope(envelope), _) => {
                let form = key.signed_envelope(envelope)?;
                statement::names(envelope.payload.as_bytes(), &subject.hash()?)?;
                form
            }
            (_, _) => {
                return Err(faulty(FaultKind::Unsupported, "neither a message signature nor an envelope"));
            }
        };
        self.names(subject)?;
        let log = match &self.log {
            Ok(log) if log.is_empty() => return Ok(Signer::default()),
            Ok(_) if form == Form::Prehashed => {
                let why = "the log entry of an Ed25519ph signature, which cosign makes by an Ed25519 key, is none that this version can check; sign by an ECDSA key where a log is asked for";
                return Ok(Signer { log_fault: Some(why.to_owned()), ..Signer::default() });
            }
            Ok(log) => log,
            Err(fault) => return Ok(Signer { log_fault: Some(fault.message.clone()), ..Signer::default() }),
        };
        let mut log_fault = "no trust root knows its log".to_owned();
        for root in logs {
            match self.key_in_log(subject, key, log, root) {
                Ok(signer) => return Ok(signer),
                // Only a root that knows the log can say what is wrong with its entry.
                Err(error) if log.iter().any(|entry| root.knows(entry)) => {
                    log_fault = of_engine(&error).message;
                }
                Err(_) => {}
            }
        }
        Ok(Signer { log_fault: Some(log_fault), ..Signer::default() })
    }

    /// The word of a trust root's logs and timestamp authorities on a signature by a key.
    fn key_in_log(
        &self,
        subject: Subject<'_>,
        key: &Key,
        log: &[TransparencyLogEntry],
        root: &Root,
    ) -> Result<Signer, Error> {
        let bundle = self.whole(log.to_vec());
        let artifact = match &self.payload {
            Some((payload, _)) => Artifact::from(payload.as_slice()),
            None => subject.artifact().map_err(|fault| Error::InvalidBundle(fault.message))?,
        };
        let result = root.engine().verify(artifact, &bundle, &key.policy())?;
        // Here the engine lists the times of the log first.
        let n_timestamps = bundle.verification_material.timestamp_verification_data.rfc3161_timestamps.len();
        Ok(Signer {
            in_log: true,
            logged_at: result.integrated_time(),
            timestamped_at: earliest(result.verified_timestamps().iter().rev().take(n_timestamps)),
            ..Signer::default()
        })
    }

    /// Whether the signed payload names the subject; an envelope's was compared by whoever checked its signature.
    fn names(&self, subject: Subject<'_>) -> Result<(), Fault> {
        match (&self.payload, subject) {
            (Some((_, payload)), Subject::Digest(digest)) => payload.names(digest),
            (Some(_), Subject::Bytes(_)) => {
                Err(faulty(FaultKind::Unsupported, "simple signing speaks of images only"))
            }
            (None, _) => Ok(()),
        }
    }

    fn whole(&self, log: Vec<TransparencyLogEntry>) -> Bundle {
        let mut bundle = self.bundle.clone();
        bundle.verification_material.tlog_entries = log;
        bundle
    }
}

fn earliest<'a>(times: impl Iterator<Item = &'a Timestamp>) -> Option<Timestamp> {
    times.min().copied()
}
