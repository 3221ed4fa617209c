//! Why a key, the content of a trust root or a whole decision cannot be read, and the words for it.
//!
//! An apiserver that gave no answer is no missing ConfigMap: the first heals by itself and concludes nothing, the second needs a
//! person. Found by the controller (`reconcile/trust.rs`); told by the layers, by trust roots and by VerificationPolicies.

use crate::reason::Reason;
use crate::text;
use crate::trust::Origin;

/// How many entries of a ConfigMap are named where the one that is meant is not there.
const MAX_ENTRIES: usize = 3;
/// A change of a ConfigMap is seen by itself within so long: what `docs/verification.md` promises.
const SEEN: &str = "Seen by itself within 10 s.";

/// An entry of a ConfigMap of the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The ConfigMap.
    pub config_map: String,
    /// The entry.
    pub entry: String,
}

/// Why something cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// There is no such ConfigMap.
    NoConfigMap(Kept),
    /// The ConfigMap has no such entry, only these.
    NoEntry(Kept, Vec<String>),
    /// The operator may not read the ConfigMap, in the apiserver's words.
    Forbidden(Kept, String),
    /// The apiserver gave no answer. Nothing is concluded.
    Silent(Kept, String),
    /// What is there is not what it should be; written into the object itself where there is no ConfigMap.
    Content(Option<Kept>, String),
    /// The object itself: a fault of its fields, or a value of a newer version.
    Object(Reason, String),
    /// The objects of the namespace have not been listed yet, or not at all. Nothing is concluded.
    Unlisted(String),
}

/// What it was needed for.
#[derive(Debug, Clone, Copy)]
pub enum Needed<'a> {
    /// The key of an authority.
    Key {
        /// The authority.
        authority: &'a str,
        /// Who names it.
        origin: &'a Origin,
    },
    /// The content of a trust root of this name.
    Root(&'a str),
}

impl Needed<'_> {
    /// The object that names it.
    fn owner(self) -> String {
        match self {
            Needed::Key { authority: _, origin } => origin.to_string(),
            Needed::Root(name) => format!("TrustRoot {name}"),
        }
    }

    fn noun(self) -> String {
        match self {
            Needed::Key { authority, origin: _ } => format!("the key of authority {authority}"),
            Needed::Root(name) => format!("the content of TrustRoot {name}"),
        }
    }

    fn form(self) -> &'static str {
        match self {
            Needed::Key { .. } => "a public key in PEM",
            Needed::Root(_) => "a trusted_root.json",
        }
    }

    /// What a person puts in its place.
    fn mended(self) -> &'static str {
        match self {
            Needed::Key { .. } => "Write the public key there, as `cosign public-key` prints it",
            Needed::Root(_) => "Write the instance's trusted_root.json there",
        }
    }
}

impl Unreadable {
    /// Whether nobody answered: then nothing is concluded, and it is asked again by itself.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        match self {
            Unreadable::Silent(..) | Unreadable::Unlisted(_) => true,
            Unreadable::NoConfigMap(_)
            | Unreadable::NoEntry(..)
            | Unreadable::Forbidden(..)
            | Unreadable::Content(..)
            | Unreadable::Object(..) => false,
        }
    }

    /// The code.
    #[must_use]
    pub fn reason(&self, needed: Needed<'_>) -> Reason {
        match (self, needed) {
            (Unreadable::Silent(..) | Unreadable::Unlisted(_), _) => Reason::AuthorityUnknown,
            (Unreadable::Object(..), Needed::Key { .. }) => Reason::DecisionUnreadable,
            (_, Needed::Key { .. }) => Reason::AuthorityUnreadable,
            (_, Needed::Root(_)) => Reason::TrustRootMissing,
        }
    }

    /// What was wanted.
    #[must_use]
    pub fn expected(&self, needed: Needed<'_>) -> String {
        match self {
            Unreadable::NoConfigMap(kept)
            | Unreadable::NoEntry(kept, _)
            | Unreadable::Forbidden(kept, _)
            | Unreadable::Silent(kept, _) => {
                format!("{} with entry {}, {}", kept.map(), kept.entry(), needed.noun())
            }
            Unreadable::Content(Some(kept), _) => {
                format!("{} in entry {} of {}, {}", needed.form(), kept.entry(), kept.map(), needed.noun())
            }
            Unreadable::Content(None, _) => match needed {
                Needed::Key { .. } => {
                    format!("{} as {} in {}", needed.form(), needed.noun(), needed.owner())
                }
                Needed::Root(_) => format!("{} in {}", needed.form(), needed.owner()),
            },
            Unreadable::Object(..) => format!("{} to be one that this version can read", needed.owner()),
            Unreadable::Unlisted(_) => "the VerificationPolicies and TrustRoots of the namespace".to_owned(),
        }
    }

    /// What was seen.
    #[must_use]
    pub fn observed(&self) -> String {
        match self {
            Unreadable::NoConfigMap(_) => "that there is no such ConfigMap".to_owned(),
            Unreadable::NoEntry(_, others) if others.is_empty() => "a ConfigMap without entries".to_owned(),
            Unreadable::NoEntry(_, others) => {
                let named: Vec<String> =
                    others.iter().take(MAX_ENTRIES).map(|entry| text::clean(entry, 63)).collect();
                let more = if named.len() < others.len() { " and others" } else { "" };
                format!("no such entry, only {}{more}", named.join(", "))
            }
            Unreadable::Forbidden(_, words) => {
                format!("that the operator may not read it: {}", text::clean(words, 160))
            }
            Unreadable::Silent(_, words) => {
                format!("no answer of the apiserver: {}", text::clean(words, 160))
            }
            Unreadable::Content(_, why) | Unreadable::Object(_, why) | Unreadable::Unlisted(why) => {
                text::clean(why, 200)
            }
        }
    }

    /// What a person can do, and when that is seen.
    #[must_use]
    pub fn hint(&self, needed: Needed<'_>) -> String {
        let owner = needed.owner();
        match self {
            Unreadable::NoConfigMap(_) => format!("Create it, or correct {owner}. {SEEN}"),
            Unreadable::NoEntry(..) => format!("Add the entry, or correct {owner}. {SEEN}"),
            Unreadable::Forbidden(..) => {
                format!(
                    "Let the operator get ConfigMaps in this namespace, or write it inline into {owner}. {SEEN}"
                )
            }
            Unreadable::Silent(..) => {
                "Nothing is concluded from silence; asked again by itself within 10 s.".to_owned()
            }
            Unreadable::Content(Some(_), _) => format!("{}, or correct {owner}. {SEEN}", needed.mended()),
            Unreadable::Content(None, _) => format!("{}.", needed.mended()),
            // The fault says so: upgrade, or use a known value.
            Unreadable::Object(Reason::NewerApi, _) => {
                format!("Until then {owner} denies what it is about.")
            }
            Unreadable::Object(..) => format!("Correct {owner}; until then it denies what it is about."),
            Unreadable::Unlisted(_) => "Nothing is concluded from silence; asked again by itself.".to_owned(),
        }
    }
}

impl Kept {
    fn map(&self) -> String {
        format!("ConfigMap {}", text::clean(&self.config_map, 253))
    }

    fn entry(&self) -> String {
        text::clean(&self.entry, 253)
    }
}
