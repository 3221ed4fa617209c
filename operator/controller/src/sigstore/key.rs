//! Signatures by a public key alone: ECDSA P-256 and P-384, Ed25519, RSA.
//!
//! A current cosign signs by an Ed25519 key in the prehashed form (Ed25519ph, RFC 8032), in every layout; the library knows the pure
//! form alone, so the other is checked here.
//!
//! The library refuses a bundle that has neither a log entry nor a timestamp, and cosign writes such ones with
//! `--tlog-upload=false`; so signature and content are checked here, by the library's cryptography.

use ed25519_dalek::{Digest as _, Sha512};
use rollforward_core::evidence::{Fault, FaultKind};
use sigstore_verify::PublicKeyVerificationPolicy;
use sigstore_verify::crypto::{KeyAlgorithm, SigningScheme, VerificationKey};
use sigstore_verify::types::{
    Artifact, DerPublicKey, DsseEnvelope, HashAlgorithm, MessageSignature, SignatureBytes,
};

use super::fault::faulty;

/// The only payload of an envelope that says what it is about.
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// How a signature was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// In a form that the engine knows: it can check a log entry of it.
    Plain,
    /// As Ed25519ph: it cannot.
    Prehashed,
}

/// A public key that a decision names.
#[derive(Debug, Clone)]
pub struct Key {
    der: DerPublicKey,
    algorithm: KeyAlgorithm,
}

impl Key {
    /// Reads a key in PEM (`-----BEGIN PUBLIC KEY-----`), as `cosign generate-key-pair` and `openssl` write it.
    ///
    /// # Errors
    /// A fault of the kind `Malformed`, or `Unsupported` for another algorithm, curve, or an RSA key below 2,048 bits.
    pub fn from_pem(pem: &str) -> Result<Self, Fault> {
        let der = DerPublicKey::from_pem(pem).map_err(|error| faulty(FaultKind::Malformed, error))?;
        let unsupported = |error: &dyn std::fmt::Display| faulty(FaultKind::Unsupported, error);
        let algorithm = KeyAlgorithm::from_spki(&der).map_err(|error| unsupported(&error))?;
        let key = VerificationKey::from_spki(&der).map_err(|error| unsupported(&error))?;
        sigstore_verify::crypto::verification::validate_raw_public_key(key.scheme(), key.as_bytes())
            .map_err(|error| unsupported(&error))?;
        Ok(Self { der, algorithm })
    }

    /// For the engine's own check of log entries and timestamps.
    pub(super) fn policy(&self) -> PublicKeyVerificationPolicy {
        PublicKeyVerificationPolicy::new(self.der.clone())
    }

    /// Whether this key signed an artifact; of a digest only where the scheme signs digests.
    pub(super) fn signed(
        &self,
        artifact: &Artifact<'_>,
        signature: &MessageSignature,
    ) -> Result<Form, Fault> {
        let declared = signature.message_digest.as_ref();
        let algorithm = declared.map_or(HashAlgorithm::Sha2256, |digest| digest.algorithm);
        if let (Some(declared), HashAlgorithm::Sha2256) = (declared, algorithm) {
            let actual = match artifact {
                Artifact::Blob(bytes) => sigstore_verify::crypto::sha256(bytes).as_bytes().to_vec(),
                Artifact::Digest(digest) => digest.as_bytes().to_vec(),
                _ => Vec::new(),
            };
            if declared.digest.as_bytes() != actual.as_slice() {
                return Err(faulty(FaultKind::Subject, "the signed digest is another one"));
            }
        }
        let bytes = match artifact {
            Artifact::Blob(bytes) => Some(*bytes),
            _ => None,
        };
        if bytes.is_some_and(|bytes| self.signed_prehashed(bytes, &signature.signature)) {
            return Ok(Form::Prehashed);
        }
        self.any_scheme(declared.map(|_| algorithm), |key| match artifact {
            Artifact::Blob(bytes) => key.verify(bytes, &signature.signature),
            Artifact::Digest(digest) => key.verify_prehashed(digest.as_bytes(), &signature.signature),
            _ => Err(sigstore_verify::crypto::Error::Verification("no artifact".to_owned())),
        })
        .map(|()| Form::Plain)
    }

    /// Whether this key signed an envelope. What the envelope is about is not looked at here.
    pub(super) fn signed_envelope(&self, envelope: &DsseEnvelope) -> Result<Form, Fault> {
        if envelope.payload_type != IN_TOTO {
            let words = format!("an envelope of type {}, expected {IN_TOTO}", envelope.payload_type);
            return Err(faulty(FaultKind::Unsupported, words));
        }
        let signature: &SignatureBytes = &envelope.signature.sig;
        if self.signed_prehashed(&envelope.pae(), signature) {
            return Ok(Form::Prehashed);
        }
        self.any_scheme(None, |key| key.verify(envelope.pae(), signature)).map(|()| Form::Plain)
    }

    /// Whether this is an Ed25519 key that signed the SHA-512 of a message, as Ed25519ph without a context.
    fn signed_prehashed(&self, message: &[u8], signature: &SignatureBytes) -> bool {
        let KeyAlgorithm::Ed25519 = self.algorithm else { return false };
        let Ok(key) = VerificationKey::from_spki(&self.der) else { return false };
        let Ok(key) = ed25519_dalek::VerifyingKey::try_from(key.as_bytes()) else { return false };
        let Ok(signature) = ed25519_dalek::Signature::from_slice(signature.as_bytes()) else { return false };
        key.verify_prehashed_strict(Sha512::new_with_prefix(message), None, &signature).is_ok()
    }

    /// Tries the schemes of this key's algorithm. The hash is the signer's choice and, without a declared one, not written
    /// down anywhere: cosign takes SHA-256 for every key, other signers the one of the curve's size.
    fn any_scheme(
        &self,
        declared: Option<HashAlgorithm>,
        verify: impl Fn(&VerificationKey) -> Result<(), sigstore_verify::crypto::Error>,
    ) -> Result<(), Fault> {
        let mut last = faulty(FaultKind::Unsupported, "no scheme for this key");
        for scheme in self.schemes() {
            if declared.is_some() && scheme.hash_algorithm().is_some() && scheme.hash_algorithm() != declared
            {
                continue;
            }
            let key = VerificationKey::from_spki_with_scheme(&self.der, *scheme)
                .map_err(|error| faulty(FaultKind::Unsupported, error))?;
            match verify(&key) {
                Ok(()) => return Ok(()),
                Err(error @ sigstore_verify::crypto::Error::UnsupportedAlgorithm(_)) => {
                    last = faulty(FaultKind::Unsupported, error);
                }
                Err(_) => last = faulty(FaultKind::Signature, "not signed by this key"),
            }
        }
        Err(last)
    }

    fn schemes(&self) -> &'static [SigningScheme] {
        use SigningScheme as Scheme;
        match self.algorithm {
            KeyAlgorithm::EcdsaP256 => &[Scheme::EcdsaP256Sha256, Scheme::EcdsaP256Sha384],
            KeyAlgorithm::EcdsaP384 => &[Scheme::EcdsaP384Sha384, Scheme::EcdsaP384Sha256],
            KeyAlgorithm::Ed25519 => &[Scheme::Ed25519],
            KeyAlgorithm::Rsa => &[
                Scheme::RsaPkcs1Sha256,
                Scheme::RsaPkcs1Sha384,
                Scheme::RsaPkcs1Sha512,
                Scheme::RsaPssSha256,
                Scheme::RsaPssSha384,
                Scheme::RsaPssSha512,
            ],
            KeyAlgorithm::MlDsa44 => &[Scheme::MlDsa44],
            KeyAlgorithm::MlDsa65 => &[Scheme::MlDsa65],
            KeyAlgorithm::MlDsa87 => &[Scheme::MlDsa87],
            // The library's enum is open: what a newer version adds has no scheme here, and is refused.
            _ => &[],
        }
    }
}
