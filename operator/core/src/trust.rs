//! What somebody decided to trust: trust decisions, authorities and trust roots in their validated form.
//!
//! Made from a `VerificationPolicy`, an `UpdatePolicy`'s own `verification` or the operator's configuration by the
//! controller's `convert`. Which of them count for a repository, and what they want together: `trust/merge.rs`. Who holds:
//! `trust/signers.rs`; whose word answers whom: `trust/answering.rs`. Judged in `gate/`; weighed in `trust/score.rs`.

pub mod answering;
pub mod merge;
pub mod roots;
pub mod score;
pub mod settings;
pub mod signers;
pub mod standing;
pub mod unreadable;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use regex::Regex;

use crate::evidence::Verifier;
use crate::gate::Layer;
use crate::image::Digest;

pub use merge::Effective;
pub use unreadable::{Kept, Unreadable};

/// How long a signed digest must have been known, where nobody says.
pub const SOAK_ROUTINE: SignedDuration = SignedDuration::from_hours(24);
/// How long an unsigned digest must have been known, where nobody says.
pub const SOAK_UNSIGNED: SignedDuration = SignedDuration::from_hours(72);
/// How often the running digests are verified again, where nobody says.
pub const RECHECK: SignedDuration = SignedDuration::from_hours(6);

/// Who made a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The security team, in a `VerificationPolicy` of this name.
    VerificationPolicy(String),
    /// The `UpdatePolicy` itself.
    UpdatePolicy,
    /// The operator's configuration: a floor for all namespaces.
    Floor,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::VerificationPolicy(name) => write!(formatter, "VerificationPolicy {name}"),
            Origin::UpdatePolicy => formatter.write_str("this policy's verification"),
            Origin::Floor => formatter.write_str("the operator's configuration"),
        }
    }
}

/// What somebody decided to trust.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Who.
    pub origin: Origin,
    /// For which repositories; all where there is no pattern.
    pub repositories: Vec<String>,
    /// Who may sign.
    pub authorities: Vec<Authority>,
    /// How many of them have to.
    pub require: usize,
    /// Statements about the digest that are looked for.
    pub attestations: Vec<AttestationRule>,
    /// How much a layer counts, where somebody said so.
    pub layers: BTreeMap<Layer, Demand>,
    /// Whether what is signed must name the version.
    pub binding: Binding,
    /// The source that certificates and provenance must name, without `git+`, `.git` and a ref.
    pub source: Option<Pattern>,
    /// How long a digest must have been known.
    pub soak: Soak,
    /// Whether unsigned images may run; `None` where nothing is said.
    pub unsigned: Option<Unsigned>,
    /// What is never let through.
    pub deny: Listed,
    /// What alone is let through, where it is not empty.
    pub allow: Listed,
    /// How often the running digests are verified again.
    pub recheck: Option<SignedDuration>,
    /// Whether the trust ledger may add delay.
    pub score_gates: bool,
}

impl Decision {
    /// A decision that says nothing yet.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            repositories: Vec::new(),
            authorities: Vec::new(),
            require: 1,
            attestations: Vec::new(),
            layers: BTreeMap::new(),
            binding: Binding::Auto,
            source: None,
            soak: Soak::default(),
            unsigned: None,
            deny: Listed::default(),
            allow: Listed::default(),
            recheck: None,
            score_gates: false,
        }
    }

    /// Whether it says what to trust. A `VerificationPolicy` always does: what it does not allow it denies. Others may
    /// only be there to make the rest stricter.
    #[must_use]
    pub fn speaks(&self) -> bool {
        let security = match &self.origin {
            Origin::VerificationPolicy(_) => true,
            Origin::UpdatePolicy | Origin::Floor => false,
        };
        security || !self.authorities.is_empty() || self.unsigned.is_some()
    }

    /// Whether unsigned images may run by this decision. Silence denies.
    #[must_use]
    pub fn allows_unsigned(&self) -> bool {
        match self.unsigned {
            Some(Unsigned::Allow) => true,
            Some(Unsigned::Deny) => false,
            None => !self.speaks(),
        }
    }

    /// Whether nothing but unsigned images and soak is spoken of: the short form.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.authorities.is_empty() && self.layers.is_empty() && self.attestations.is_empty() && self.is_own()
    }

    /// How much a layer counts by this decision.
    #[must_use]
    pub fn demand(&self, layer: Layer) -> Demand {
        if let Some(demand) = self.layers.get(&layer) {
            return *demand;
        }
        let of = |required: bool, otherwise: Demand| if required { Demand::Required } else { otherwise };
        match layer {
            Layer::Signature => of(!self.authorities.is_empty(), Demand::Off),
            Layer::Log => of(self.authorities.iter().any(Authority::wants_log), Demand::Off),
            Layer::Binding => match self.binding {
                Binding::Off if self.source.is_none() => Demand::Off,
                // Whoever signs: it may be written without an authority.
                Binding::Required => Demand::Required,
                Binding::Off | Binding::Auto => of(!self.authorities.is_empty(), Demand::Off),
            },
            Layer::Provenance => of(!self.attestations.is_empty(), Demand::Off),
            Layer::Sbom if self.authorities.is_empty() => Demand::Off,
            Layer::Sbom => Demand::Advisory,
            Layer::Drift if self.is_short() => Demand::Off,
            Layer::Drift => Demand::Advisory,
            Layer::Score => of(self.score_gates, Demand::Off),
            Layer::Reference
            | Layer::Trust
            | Layer::Digest
            | Layer::Platform
            | Layer::Ledger
            | Layer::Quarantine
            | Layer::Soak => Demand::Required,
        }
    }
}

/// How much a layer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demand {
    /// Not looked at.
    Off,
    /// Told, and nothing waits for it.
    Advisory,
    /// Without its pass nothing moves.
    Required,
}

/// Whether what is signed must name the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binding {
    /// Not compared.
    Off,
    /// A contradiction is refused; silence is not.
    Auto,
    /// Silence is refused as well.
    Required,
}

/// Whether unsigned images may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsigned {
    /// They may, after a longer soak.
    Allow,
    /// They may not.
    Deny,
}

/// How long a digest must have been known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Soak {
    /// A signed one.
    pub routine: Option<SignedDuration>,
    /// An unsigned one.
    pub unsigned: Option<SignedDuration>,
}

/// A list of repositories, by pattern, and of digests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Patterns.
    pub repositories: Vec<String>,
    /// Digests.
    pub digests: BTreeSet<Digest>,
}

/// A statement about the digest that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationRule {
    /// Of exactly this type.
    pub predicate_type: String,
    /// Signed by one of these; by any of the decision where there is none.
    pub authorities: Vec<String>,
    /// What it must say, in CEL; its being there is enough where there is none.
    pub rule: Option<String>,
    /// Whether nothing moves without it.
    pub required: bool,
}

/// A person's dated permission for one digest to skip named layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// Its name.
    pub name: String,
    /// The digest.
    pub digest: Digest,
    /// The layers that it lifts. Never the deny list: [`Layer::Reference`] cannot be named.
    pub layers: BTreeSet<Layer>,
    /// When it ends.
    pub ends: Timestamp,
    /// Why, as the person wrote it.
    pub why: String,
}

impl Exception {
    /// Whether it lifts a layer for a digest now.
    #[must_use]
    pub fn lifts(&self, layer: Layer, digest: &Digest, now: Timestamp) -> bool {
        layer != Layer::Reference && self.layers.contains(&layer) && self.digest == *digest && now < self.ends
    }
}

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
    /// Whether a signature must be in a transparency log. A keyless one must be wherever its trust root has logs.
    pub require_log: bool,
}

impl Authority {
    /// Whether its signatures must be public, or at least dated by somebody else.
    #[must_use]
    pub fn wants_log(&self) -> bool {
        self.require_log
            || match self.means {
                Means::Keyless { .. } => true,
                Means::Key { .. } | Means::Unreadable { .. } => false,
            }
    }
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
        why: Unreadable,
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

impl Pattern {
    /// An expression that must match from beginning to end.
    ///
    /// # Errors
    /// Where it is none, or compiles to more than 64 KiB.
    pub fn matching(text: &str) -> Result<Self, regex::Error> {
        // The group keeps `a|b` together: anchors bind tighter than the alternative.
        let regex = regex::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(1 << 16).build()?;
        Ok(Self::Matches { text: text.to_owned(), regex })
    }

    /// Whether a text is meant.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Exact(own) => own == text,
            Pattern::Matches { regex, text: _ } => regex.is_match(text),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Pattern::Exact(text) | Pattern::Matches { text, regex: _ } => text,
        })
    }
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
    /// Whether it knows transparency logs: then signing by it is public. GitHub's own has none.
    pub has_logs: bool,
}

impl Root {
    /// Whether anything can be proved by it still.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|end| now < end)
    }

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
        why: Unreadable,
    },
}
