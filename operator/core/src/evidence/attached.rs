//! What is attached to an image: signatures and attestations, with the word of cryptography on each.
//!
//! Facts only: which verifier held, who signed, what the signed content says. Whether that is enough is judged by the layers
//! in `gate/`. Found and checked by the controller's `registry/attached.rs` and `sigstore.rs`; asked as [`Questions`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use crate::evidence::Answer;

/// Against what a signature is checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verifier {
    /// A public key, in PEM. A log entry is checked where there is one, and [`Signer::in_log`] tells.
    Key {
        /// The key.
        pem: String,
    },
    /// A trust root of keyless signatures. Its content is in [`crate::trust::Roots`], by name.
    Root {
        /// The name of the `TrustRoot`.
        name: String,
        /// Of its content: another content is another verifier.
        hash: String,
    },
}

/// What is to be found out about a digest in one repository: part of what an answer is kept by.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Questions {
    /// Every signature and attestation is checked against each of them.
    pub verifiers: BTreeSet<Verifier>,
    /// CEL rules by predicate type: each is run over the predicates of exactly that type.
    pub rules: BTreeMap<String, BTreeSet<String>>,
}

impl Questions {
    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.verifiers.is_empty() && self.rules.is_empty()
    }
}

/// What is attached to a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// What was read, in the order in which it was found.
    pub items: Vec<Item>,
    /// Where was looked, and how much was there.
    pub looked_in: Vec<(Place, Answer<usize>)>,
    /// How many were there and were not read.
    pub n_left_out: usize,
    /// The budget that ended the reading.
    pub exhausted: Option<Budget>,
}

/// Where signatures are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The referrers API.
    Referrers,
    /// The tag `sha256-<hex>` of registries without that API.
    FallbackTag,
    /// The tag `sha256-<hex>.sig`.
    SignatureTag,
    /// The tag `sha256-<hex>.att`.
    AttestationTag,
}

impl Attached {
    /// What was observed of a place that gave no answer: what is not found may be there.
    #[must_use]
    pub fn silence(&self) -> Option<String> {
        self.looked_in.iter().find_map(|(place, answer)| match answer {
            Answer::Unknown(unknown) => Some(format!("the {place} could not be read: {}", unknown.message)),
            Answer::Found(_) | Answer::Absent => None,
        })
    }

    /// About how many bytes it takes up: its texts, and as much again for each of them as their keeping costs.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        let items = self.items.iter().flat_map(|item| {
            let checks = item.checks.iter().flat_map(|(verifier, check)| {
                let verifier = match verifier {
                    Verifier::Key { pem } => text(pem),
                    Verifier::Root { name, hash } => text(name).saturating_add(text(hash)),
                };
                let check = match check {
                    Ok(signer) => {
                        let texts = [&signer.issuer, &signer.subject, &signer.log_fault];
                        let claims = texts_of(&signer.claims);
                        texts.into_iter().flatten().map(text).chain([claims]).fold(ONE, usize::saturating_add)
                    }
                    Err(fault) => text(&fault.message),
                };
                [verifier, check]
            });
            checks.chain([ONE, item.content.n_bytes()])
        });
        let silent = self.looked_in.iter().map(|(_, answer)| match answer {
            Answer::Unknown(unknown) => text(&unknown.message),
            Answer::Found(_) | Answer::Absent => ONE,
        });
        items.chain(silent).fold(ONE, usize::saturating_add)
    }

    /// The places that were asked, as a sentence names them.
    #[must_use]
    pub fn places(&self) -> String {
        self.looked_in.iter().map(|(place, _)| place.to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// What a text or a thing costs beside its letters.
const ONE: usize = 64;

fn text(text: impl AsRef<str>) -> usize {
    ONE.saturating_add(text.as_ref().len())
}

fn texts_of(texts: &BTreeMap<String, String>) -> usize {
    texts.iter().flat_map(|(name, value)| [text(name), text(value)]).fold(0, usize::saturating_add)
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Place::Referrers => "referrers",
            Place::FallbackTag => "fallback tag",
            Place::SignatureTag => ".sig tag",
            Place::AttestationTag => ".att tag",
        })
    }
}

/// A limit on what is read of one digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Budget {
    /// On their number.
    Count,
    /// On their size.
    Bytes,
    /// On the time that it takes.
    Time,
}

/// One signature or attestation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it was found.
    pub place: Place,
    /// What it says. To be believed only as far as `checks` says.
    pub content: Content,
    /// What each verifier that was asked says of it.
    pub checks: BTreeMap<Verifier, Result<Signer, Fault>>,
}

/// What an item says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// That somebody signed the digest.
    Signature {
        /// The repository that the signed content names (`docker-reference`), where it names one.
        repository: Option<String>,
        /// What the signer wrote beside it, under the signature.
        annotations: BTreeMap<String, String>,
    },
    /// A statement about the digest.
    Attestation {
        /// Of which type.
        predicate_type: String,
        /// Where and from what it was built, for SLSA provenance.
        provenance: Option<Provenance>,
        /// The answer of each rule of that type, by its text.
        rules: BTreeMap<String, RuleAnswer>,
    },
    /// It could not be read; it counts for nothing.
    Unreadable {
        /// Why, cleaned.
        why: String,
    },
}

impl Content {
    /// Whether every rule over it was run.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Attestation { rules, .. } => {
                rules.values().all(|answer| !matches!(answer, RuleAnswer::Unasked { .. }))
            }
            Self::Signature { .. } | Self::Unreadable { .. } => true,
        }
    }

    /// What kind of thing it is, without what it says: all that is worth keeping of what nobody vouches for.
    #[must_use]
    pub fn bare(self) -> Self {
        match self {
            Content::Signature { .. } => {
                Content::Signature { repository: None, annotations: BTreeMap::new() }
            }
            Content::Attestation { predicate_type, provenance, rules: _ } => Content::Attestation {
                predicate_type,
                provenance: provenance.map(|_| Provenance::default()),
                rules: BTreeMap::new(),
            },
            Content::Unreadable { why } => Content::Unreadable { why },
        }
    }

    fn n_bytes(&self) -> usize {
        match self {
            Content::Signature { repository, annotations } => {
                texts_of(annotations).saturating_add(repository.as_ref().map_or(0, text))
            }
            Content::Attestation { predicate_type, provenance, rules } => {
                let said = provenance.iter().flat_map(|one| [&one.builder, &one.source, &one.source_ref]);
                let rules = rules.iter().map(|(rule, answer)| {
                    text(rule).saturating_add(match answer {
                        RuleAnswer::Holds => ONE,
                        RuleAnswer::Fails { observed } => text(observed),
                        RuleAnswer::Error { why } | RuleAnswer::Unasked { why } => text(why),
                    })
                });
                said.flatten().map(text).chain(rules).fold(text(predicate_type), usize::saturating_add)
            }
            Content::Unreadable { why } => text(why),
        }
    }
}

/// What SLSA provenance says of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Who built it.
    pub builder: Option<String>,
    /// The source repository, as the builder wrote it: `git+https://github.com/acme/web@refs/tags/v1.4.3` without the ref.
    pub source: Option<String>,
    /// The ref that was built: `refs/tags/v1.4.3`.
    pub source_ref: Option<String>,
}

/// What a rule says of one predicate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleAnswer {
    /// It holds.
    Holds,
    /// It does not.
    Fails {
        /// What the predicate says where the rule looked, cleaned.
        observed: String,
    },
    /// It cannot be run over this predicate.
    Error {
        /// Why, cleaned.
        why: String,
    },
    /// It was not run, for a reason that passes.
    Unasked {
        /// Why, cleaned.
        why: String,
    },
}

/// Who signed, as far as a verifier could prove it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signer {
    /// Who vouches for the subject; `None` with a key.
    pub issuer: Option<String>,
    /// Who signed; `None` with a key.
    pub subject: Option<String>,
    /// What else the certificate says, by the names in [`crate::trust::CLAIMS`].
    pub claims: BTreeMap<String, String>,
    /// Whether its inclusion in a transparency log of the trust root was proved.
    pub in_log: bool,
    /// Why its entry in a log proves nothing, where it has one that does not hold. A signature by a key holds all the same.
    pub log_fault: Option<String>,
    /// When the log took it, where the log vouches for a time.
    pub logged_at: Option<Timestamp>,
    /// When a timestamp authority of the trust root saw it.
    pub timestamped_at: Option<Timestamp>,
}

/// Why a verifier did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// The engine's words, cleaned.
    pub message: String,
}

/// The kinds of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The signature is not one over this content by this key.
    Signature,
    /// It was made for another digest.
    Subject,
    /// The certificate does not lead to the root.
    Certificate,
    /// The certificate was not valid at the time of signing.
    Expired,
    /// The log's proof or promise does not hold, or is missing.
    Log,
    /// No time that can be believed.
    Time,
    /// The trust root itself is expired or not usable.
    Root,
    /// A form that this version cannot check.
    Unsupported,
    /// Not well formed.
    Malformed,
}
