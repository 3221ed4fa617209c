//! The layouts of tags: `.sig` (simple signing) and `.att` (an envelope), turned into bundles.
//!
//! Certificate, log entry and timestamp lie in annotations that nobody signed; each is evidence only as far as the engine
//! proves it. An `intoto` entry of version 0.0.1 is a form that the engine cannot check: said as such, and a signature by a
//! key holds without it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rollforward_core::evidence::{Content, Fault, FaultKind};
use rollforward_core::image::Digest;
use rollforward_core::text::clean;
use serde::Deserialize;
use sigstore_verify::types::{
    Bundle, CanonicalizedBody, DerCertificate, InclusionPromise, KindVersion, LogId, LogIndex, LogKeyId,
    MediaType, MessageSignature, PublicKeyIdentifier, Rfc3161Timestamp, Sha256Hash, SignatureBytes,
    SignatureContent, SignedTimestamp, TimestampToken, TimestampVerificationData, TransparencyLogEntry,
    VerificationMaterial, VerificationMaterialContent, X509Certificate,
};

use super::fault::faulty;

/// The annotations of a layer, by cosign's specification.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const LOG_ENTRY: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// Certificates of a chain that are read: Fulcio's has two.
const MAX_CERTIFICATES: usize = 8;

/// Annotations of a payload that are handed on, and the length of each in characters.
const MAX_ANNOTATIONS: usize = 32;

fn malformed(words: impl std::fmt::Display) -> Fault {
    faulty(FaultKind::Malformed, words)
}

/// What the payload of a `.sig` layer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SimpleSigning {
    /// The digest that was signed.
    digest: String,
    repository: Option<String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
    optional: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Deserialize)]
struct Critical {
    identity: Option<Identity>,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: Option<String>,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

impl SimpleSigning {
    pub(super) fn read(payload: &[u8]) -> Result<Self, Fault> {
        let payload: Payload = serde_json::from_slice(payload).map_err(malformed)?;
        let kind = payload.critical.kind;
        if kind != "cosign container image signature" && kind != "atomic container signature" {
            return Err(malformed(format!("a payload of type \"{kind}\" is no signature of an image")));
        }
        let texts = payload.optional.unwrap_or_default().into_iter().take(MAX_ANNOTATIONS);
        let annotations = texts
            .filter_map(|(name, value)| Some((clean(&name, 200), clean(value.as_str()?, 200))))
            .collect();
        let reference = payload.critical.identity.and_then(|identity| identity.reference);
        Ok(Self {
            digest: payload.critical.image.digest,
            repository: reference.map(|text| clean(&text, 255)).filter(|text| !text.is_empty()),
            annotations,
        })
    }

    pub(super) fn content(&self) -> Content {
        Content::Signature { repository: self.repository.clone(), annotations: self.annotations.clone() }
    }

    /// Whether it speaks of this digest.
    pub(super) fn names(&self, digest: &Digest) -> Result<(), Fault> {
        if self.digest == digest.as_str() {
            return Ok(());
        }
        Err(faulty(FaultKind::Subject, format!("the payload is signed for {}", self.digest)))
    }
}

/// What the annotations of a layer hold.
pub(super) struct Material {
    signature: Option<String>,
    certificates: Vec<X509Certificate>,
    pub(super) log: Result<Vec<TransparencyLogEntry>, Fault>,
    timestamps: TimestampVerificationData,
}

impl Material {
    pub(super) fn read(annotations: &BTreeMap<String, String>) -> Result<Self, Fault> {
        let text = |name: &str| annotations.get(name).map(String::as_str).filter(|text| !text.is_empty());
        let mut certificates = Vec::new();
        for pem in [text(CERTIFICATE), text(CHAIN)].into_iter().flatten() {
            certificates.extend(pem_certificates(pem)?);
        }
        if certificates.len() > MAX_CERTIFICATES {
            return Err(malformed("a chain of too many certificates"));
        }
        let log = text(LOG_ENTRY).map(log_entry).transpose().map(|entry| entry.into_iter().collect());
        let timestamps = text(TIMESTAMP).map(timestamp).transpose()?.into_iter().collect();
        Ok(Self {
            signature: text(SIGNATURE).map(str::to_owned),
            certificates,
            log,
            timestamps: TimestampVerificationData::new(timestamps),
        })
    }

    pub(super) fn message_signature(&self) -> Result<SignatureContent, Fault> {
        let text = self.signature.as_deref().ok_or_else(|| malformed("a layer without a signature"))?;
        let bytes = SignatureBytes::from_base64(text).map_err(malformed)?;
        Ok(SignatureContent::MessageSignature(MessageSignature::new(bytes)))
    }

    /// The bundle, without its log entries. Version 0.1 is the one with a promise and without a proof.
    pub(super) fn bundle(&self, content: SignatureContent) -> Bundle {
        let has_entry = self.log.as_ref().is_ok_and(|entries| !entries.is_empty());
        let media_type = if has_entry { MediaType::Bundle0_1 } else { MediaType::Bundle0_2 };
        let who = if self.certificates.is_empty() {
            VerificationMaterialContent::PublicKey(PublicKeyIdentifier::new(""))
        } else {
            VerificationMaterialContent::X509CertificateChain { certificates: self.certificates.clone() }
        };
        let material =
            VerificationMaterial::new(who).with_timestamp_verification_data(self.timestamps.clone());
        Bundle::new(media_type, material, content)
    }
}

fn pem_certificates(text: &str) -> Result<Vec<X509Certificate>, Fault> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let blocks = text.split(BEGIN).skip(1).take(MAX_CERTIFICATES.saturating_add(1));
    blocks
        .map(|block| {
            let certificate = DerCertificate::from_pem(&format!("{BEGIN}{block}")).map_err(malformed)?;
            Ok(X509Certificate::new(certificate))
        })
        .collect()
}

#[derive(Deserialize)]
struct RekorBundle {
    #[serde(rename = "SignedEntryTimestamp")]
    promise: String,
    #[serde(rename = "Payload")]
    payload: RekorPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RekorPayload {
    body: String,
    integrated_time: i64,
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

fn log_entry(text: &str) -> Result<TransparencyLogEntry, Fault> {
    let read: RekorBundle = serde_json::from_str(text).map_err(malformed)?;
    let payload = read.payload;
    let kind = entry_kind(&payload.body)?;
    let log_id = Sha256Hash::from_hex(&payload.log_id).map_err(malformed)?;
    let entry = TransparencyLogEntry::new(
        LogIndex::new(payload.log_index).map_err(malformed)?,
        LogId::new(LogKeyId::from_bytes(log_id.as_slice())),
        kind,
        CanonicalizedBody::from_base64(&payload.body).map_err(malformed)?,
    );
    let promise = SignedTimestamp::from_base64(&read.promise).map_err(malformed)?;
    let time = Timestamp::from_second(payload.integrated_time).map_err(malformed)?;
    Ok(entry.with_integrated_time(time).with_inclusion_promise(InclusionPromise::new(promise)))
}

/// The kind of an entry, of its body.
fn entry_kind(body: &str) -> Result<KindVersion, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        api_version: String,
        kind: String,
    }
    let bytes = STANDARD.decode(body).map_err(malformed)?;
    let head: Head = serde_json::from_slice(&bytes).map_err(malformed)?;
    match (head.kind.as_str(), head.api_version.as_str()) {
        ("hashedrekord", "0.0.1") => Ok(KindVersion::HashedRekordV001),
        ("dsse", "0.0.1") => Ok(KindVersion::DsseV001),
        ("intoto", "0.0.2") => Ok(KindVersion::IntotoV002),
        (kind, version) => Err(faulty(
            FaultKind::Unsupported,
            format!(
                "its log entry is of the kind {kind} {version}, which this version cannot check; sign again with a current cosign"
            ),
        )),
    }
}

fn timestamp(text: &str) -> Result<Rfc3161Timestamp, Fault> {
    #[derive(Deserialize)]
    struct Annotation {
        #[serde(rename = "SignedRFC3161Timestamp")]
        token: String,
    }
    let read: Annotation = serde_json::from_str(text).map_err(malformed)?;
    Ok(Rfc3161Timestamp::new(TimestampToken::from_base64(&read.token).map_err(malformed)?))
}
