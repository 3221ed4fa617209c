//! Trust roots: the public-good instance and GitHub's as they are built in, or a `trusted_root.json`.
//!
//! A root ends when the first kind of what it needs has ended in all its instances; then nothing that is signed today can be
//! checked with it, and core refuses it by that date.

use jiff::Timestamp;
use rollforward_core::evidence::{Fault, FaultKind};
use rollforward_core::trust::RootContent;
use sigstore_verify::Verifier;
use sigstore_verify::crypto::x509::parse_certificate_info;
use sigstore_verify::trust_root::trusted_root::CertChain;
use sigstore_verify::trust_root::{SigstoreInstance, TimeRange, TrustedRoot};
use sigstore_verify::types::{LogKeyId, TransparencyLogEntry};

use super::fault::{faulty, of_engine};

/// A trust root, ready to check with.
pub struct Root {
    engine: Verifier,
    hash: String,
    expires: Option<Timestamp>,
    has_certificate_logs: bool,
    logs: Vec<LogKeyId>,
}

impl std::fmt::Debug for Root {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Root")
            .field("hash", &self.hash)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Root {
    /// The root that a `TrustRoot` holds.
    ///
    /// # Errors
    /// A fault of the kind `Root`: not readable, no JSON, or keys and certificates that cannot be used.
    pub fn of(content: &RootContent) -> Result<Self, Fault> {
        match content {
            RootContent::PublicGood => Self::read(SigstoreInstance::PublicGood.embedded_trusted_root_json()),
            RootContent::GitHub => Self::read(SigstoreInstance::GitHub.embedded_trusted_root_json()),
            RootContent::Json(text) => Self::read(text),
            RootContent::Unreadable { why } => Err(faulty(FaultKind::Root, why.observed())),
        }
    }

    /// The public instance's staging area: for `verify-bundle --staging` alone, nobody signs releases there.
    ///
    /// # Errors
    /// As [`Root::of`].
    pub fn staging() -> Result<Self, Fault> {
        Self::read(SigstoreInstance::Staging.embedded_trusted_root_json())
    }

    fn read(text: &str) -> Result<Self, Fault> {
        let root = TrustedRoot::from_json(text).map_err(|error| faulty(FaultKind::Root, error))?;
        let engine =
            Verifier::new(&root).map_err(|error| Fault { kind: FaultKind::Root, ..of_engine(&error) })?;
        Ok(Self {
            engine,
            hash: sigstore_verify::crypto::sha256(text.as_bytes()).to_hex(),
            expires: expires(&root),
            has_certificate_logs: !root.ctlogs.is_empty(),
            logs: root.tlogs.iter().map(|log| log.log_id.key_id.clone()).collect(),
        })
    }

    /// Of its content: another content is another root.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// When the first of what it needs ends; `None` where nothing does.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// Whether it knows transparency logs.
    #[must_use]
    pub fn has_logs(&self) -> bool {
        !self.logs.is_empty()
    }

    pub(super) fn engine(&self) -> &Verifier {
        &self.engine
    }

    /// Whether an entry names one of its transparency logs.
    pub(super) fn knows(&self, entry: &TransparencyLogEntry) -> bool {
        self.logs.contains(&entry.log_id.key_id)
    }

    /// Whether its certificates are to be found in a log of certificates: GitHub's are in none.
    pub(super) fn has_certificate_logs(&self) -> bool {
        self.has_certificate_logs
    }
}

/// The earliest end among the kinds that there are; a kind ends with its last instance.
fn expires(root: &TrustedRoot) -> Option<Timestamp> {
    let logs = root.tlogs.iter().map(|log| end(log.public_key.valid_for));
    let certificate_logs = root.ctlogs.iter().map(|log| end(log.public_key.valid_for));
    let authorities =
        root.certificate_authorities.iter().map(|one| chain_end(&one.cert_chain, one.valid_for));
    let timestamps = root.timestamp_authorities.iter().map(|one| chain_end(&one.cert_chain, one.valid_for));
    [last(logs), last(certificate_logs), last(authorities), last(timestamps)]
        .into_iter()
        .flatten()
        .min()
        .filter(|end| *end < Timestamp::MAX)
}

fn last(ends: impl Iterator<Item = Timestamp>) -> Option<Timestamp> {
    ends.max()
}

fn end(window: Option<TimeRange>) -> Timestamp {
    window.and_then(|window| window.end).unwrap_or(Timestamp::MAX)
}

/// A chain ends with its first certificate that does, or with the window that the root gives it.
fn chain_end(chain: &CertChain, window: Option<TimeRange>) -> Timestamp {
    let certificates = chain.certificates.iter();
    let ends =
        certificates.filter_map(|one| parse_certificate_info(&one.raw_bytes).ok()).map(|one| one.not_after);
    ends.chain([end(window)]).min().unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_roots_that_are_built_in_can_be_used_and_end_in_years_and_not_before() {
        let now = Timestamp::now();
        for content in [RootContent::PublicGood, RootContent::GitHub] {
            let root = Root::of(&content).unwrap();
            assert_eq!(root.hash().len(), 64);
            assert_eq!(root.has_logs(), content == RootContent::PublicGood);
            assert!(root.expires().is_none_or(|end| now < end), "{content:?} ended at {:?}", root.expires());
        }
        assert_ne!(Root::of(&RootContent::PublicGood).unwrap().hash(), Root::staging().unwrap().hash());
    }

    #[test]
    fn what_is_no_root_is_refused_with_a_reason() {
        for text in ["", "{}", "[]", r#"{"mediaType": "x", "tlogs": [{"baseUrl": 1}]}"#] {
            let fault = Root::of(&RootContent::Json(text.to_owned())).unwrap_err();
            assert_eq!(fault.kind, FaultKind::Root, "{text}");
        }
    }
}
