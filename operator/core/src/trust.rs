//! What somebody decided to trust: trust decisions, authorities and trust roots in their validated form.
//!
//! Made from a `VerificationPolicy`, an `UpdatePolicy`'s own `verification` or the operator's configuration by the
//! controller's `convert`. Judged in `gate/`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use regex::Regex;

use crate::evidence::Verifier;

/// The claims of a Fulcio certificate by which an authority can be narrowed, and under which an engine reports them.
///
/// The names are those of Fulcio's own list of extensions (1.3.6.1.4.1.57264.1.2 to .22), beginning in lower case.
pub const CLAIMS: &[&str] = &[
    "githubWorkflowTrigger",
    "githubWorkflowSHA",
    "githubWorkflowName",
    "githubWorkflowRepository",
    "githubWorkflowRef",
    "buildSignerURI",
    "buildSignerDigest",
    "runnerEnvironment",
    "sourceRepositoryURI",
    "sourceRepositoryDigest",
    "sourceRepositoryRef",
    "sourceRepositoryIdentifier",
    "sourceRepositoryOwnerURI",
    "sourceRepositoryOwnerIdentifier",
    "buildConfigURI",
    "buildConfigDigest",
    "buildTrigger",
    "runInvocationURI",
    "sourceRepositoryVisibilityAtSigning",
];

/// A signer that a decision names.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Its name in sentences.
    pub name: String,
    /// How its signatures are told.
    pub means: Means,
    /// Whether a signature must be in a transparency log. Always so for keyless ones.
    pub require_log: bool,
}

/// How the signatures of an authority are told.
#[derive(Debug, Clone)]
pub enum Means {
    /// By a public key.
    Key {
        /// In PEM.
        pem: String,
    },
    /// By a certificate of a trust root.
    Keyless {
        /// The name of the `TrustRoot`.
        root: String,
        /// Who vouches for the subject.
        issuer: Pattern,
        /// Who signs.
        subject: Pattern,
        /// What else the certificate must say.
        claims: BTreeMap<String, String>,
    },
    /// Its key could not be read: the authority cannot be asked, and that is no absence of its signature.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// A text, or a rule for one.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// Exactly this.
    Exact(String),
    /// Anchored at both ends by the constructor: an expression without anchors is a known trap.
    Matches {
        /// As the user wrote it.
        text: String,
        /// Anchored.
        regex: Regex,
    },
}

/// The trust roots of a namespace, by name.
pub type Roots = BTreeMap<String, Root>;

/// A trust root as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Its name.
    pub name: String,
    /// Of its content.
    pub hash: String,
    /// What is in it.
    pub content: RootContent,
    /// When the first of what it needs ends; `None` where nothing does.
    pub expires: Option<Timestamp>,
}

impl Root {
    /// It as a verifier.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier::Root { name: self.name.clone(), hash: self.hash.clone() }
    }
}

/// The content of a trust root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootContent {
    /// The public-good instance of Sigstore, as it is built into the engine.
    PublicGood,
    /// GitHub's instance, as it is built into the engine.
    GitHub,
    /// A `trusted_root.json`.
    Json(String),
    /// It could not be read.
    Unreadable {
        /// Why.
        why: String,
    },
}
