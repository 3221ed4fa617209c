//! The library's errors as faults: one kind a cause, the words cleaned.

use rollforward_core::evidence::{Fault, FaultKind};
use rollforward_core::text::clean;
use sigstore_verify::bundle::Error as BundleError;
use sigstore_verify::{CertificateError, Error, TransparencyLogError};

/// A fault with words that somebody else may have chosen.
pub(super) fn faulty(kind: FaultKind, words: impl std::fmt::Display) -> Fault {
    Fault { kind, message: clean(&words.to_string(), 200) }
}

/// The kind of each error of the library. Its enums are open: what a newer version adds is `Unsupported`, never a pass.
pub(super) fn of_engine(error: &Error) -> Fault {
    let kind = match error {
        Error::SignatureInvalid(_) => FaultKind::Signature,
        Error::ArtifactMismatch(_) => FaultKind::Subject,
        Error::Certificate(CertificateError::NotYetValid { .. } | CertificateError::Expired { .. }) => {
            FaultKind::Expired
        }
        // The path is built at the time of signing: webpki's own words tell an expired certificate from a foreign one.
        Error::Certificate(CertificateError::ChainInvalid(words))
            if words.contains("expired")
                || words.contains("not valid yet")
                || words.contains("CertExpired")
                || words.contains("CertNotValidYet") =>
        {
            FaultKind::Expired
        }
        Error::Certificate(_) | Error::IdentityMismatch { .. } | Error::IssuerMismatch { .. } => {
            FaultKind::Certificate
        }
        Error::TransparencyLog(TransparencyLogError::IntegratedTime(_)) => FaultKind::Time,
        Error::TransparencyLog(_) => FaultKind::Log,
        Error::Timestamp(_) => FaultKind::Time,
        Error::Bundle(
            BundleError::MissingInclusionProof(_)
            | BundleError::MissingInclusionPromise(_)
            | BundleError::MissingCheckpoint
            | BundleError::CheckpointRootMismatch
            | BundleError::LogIndexOutOfRange { .. },
        ) => FaultKind::Log,
        Error::Bundle(BundleError::MissingSigningTimeEvidence | BundleError::MissingTimestamp) => {
            FaultKind::Time
        }
        Error::InvalidTrustRoot(_) | Error::TrustRoot(_) | Error::TrustedCertificate(_) => FaultKind::Root,
        Error::InvalidBundle(_) | Error::Bundle(_) | Error::Types(_) | Error::ArtifactRead(_) => {
            FaultKind::Malformed
        }
        _ => FaultKind::Unsupported,
    };
    faulty(kind, error)
}
