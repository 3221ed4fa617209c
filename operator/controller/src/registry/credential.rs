//! Who the operator is towards a registry: secrets that do not print, and an identity that keys caches.
//!
//! The text of a secret is readable inside `registry` alone. Where credentials come from: `pull_secret.rs`; where they
//! go: `token.rs`.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// How many credentials of one workload are tried for one repository.
const MOST_IN_TURN: usize = 5;

/// A text that prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// What is shown to one registry: a user and password, or an identity token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    username: String,
    password: Secret,
    identity_token: Option<Secret>,
    /// What is shown in turn where this one is refused; they have no others themselves.
    others: Vec<Credential>,
    /// The operator's own, shown after all of these. No part of the identity: it is the same for every workload, and the tokens
    /// of credential providers change by the hour.
    own: Vec<Credential>,
}

impl Credential {
    /// A user name and a password or access token.
    #[must_use]
    pub fn new(username: impl Into<String>, password: Secret) -> Self {
        Self {
            username: username.into(),
            password,
            identity_token: None,
            others: Vec::new(),
            own: Vec::new(),
        }
    }

    /// The same user with a refresh token, which is exchanged at the realm instead of the password.
    #[must_use]
    pub fn with_identity_token(self, token: Secret) -> Self {
        Self { identity_token: Some(token), ..self }
    }

    /// The same with what is shown in turn where it is refused: the other keys of the same workload, as many as count.
    #[must_use]
    pub(super) fn or_else(self, others: impl Iterator<Item = Credential>) -> Self {
        let mut in_turn: Vec<Credential> = Vec::new();
        for other in others {
            if other != self && !in_turn.contains(&other) && in_turn.len() + 1 < MOST_IN_TURN {
                in_turn.push(other);
            }
        }
        Self { others: in_turn, ..self }
    }

    /// The same, with the operator's own behind all that are shown in turn already, as far as they count.
    #[must_use]
    pub(super) fn followed_by(self, own: &Credential) -> Self {
        let known = self.in_turn();
        let n_left = MOST_IN_TURN.saturating_sub(known.len());
        let own = own.in_turn().into_iter().filter(|one| !known.contains(one)).take(n_left).collect();
        Self { own, ..self }
    }

    /// Each credential in turn, without the others.
    pub(super) fn in_turn(&self) -> Vec<Credential> {
        let alone = Self { others: Vec::new(), own: Vec::new(), ..self.clone() };
        std::iter::once(alone).chain(self.others.iter().chain(&self.own).cloned()).collect()
    }

    /// Whether there is another one to show.
    pub(super) fn has_others(&self) -> bool {
        !self.others.is_empty() || !self.own.is_empty()
    }

    /// The user name: what a sentence may show.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The same value for the same credential, within this process.
    ///
    /// Salted with a random number of this process: the hash of a weak password could be guessed from a log otherwise.
    /// It is therefore not to be stored.
    #[must_use]
    pub fn identity(&self) -> CredentialIdentity {
        let mut hash = Sha256::new();
        hash.update(*SALT);
        let token = self.identity_token.as_ref().map_or("", Secret::expose);
        for part in [self.username.as_str(), self.password.expose(), token] {
            // The length first: "ab" + "c" is not "a" + "bc".
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        // Who may show others as well may see more.
        for other in &self.others {
            hash.update(other.identity().0);
        }
        CredentialIdentity(hash.finalize().into())
    }

    pub(super) fn identity_token(&self) -> Option<&Secret> {
        self.identity_token.as_ref()
    }

    /// The value of an `Authorization` header of the Basic scheme.
    pub(super) fn basic(&self) -> Secret {
        let pair = format!("{}:{}", self.username, self.password.expose());
        Secret(format!("Basic {}", STANDARD.encode(pair)))
    }
}

/// Tells credentials apart without telling what they are. Holds for the life of the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialIdentity([u8; 32]);

impl fmt::Debug for CredentialIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// A text that nobody guesses: 64 hexadecimal digits, from two pairs of hash keys and this process's salt.
pub(super) fn unguessable() -> Secret {
    let mut hash = Sha256::new();
    hash.update(*SALT);
    for seed in 0_u8..4 {
        hash.update(RandomState::new().hash_one(seed).to_be_bytes());
    }
    Secret(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The only randomness of the standard library: its hash keys come from the operating system.
static SALT: LazyLock<[u8; 16]> = LazyLock::new(|| {
    let [first, second] = [0_u8, 1].map(|seed| RandomState::new().hash_one(seed));
    ((u128::from(first) << 64) | u128::from(second)).to_be_bytes()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_prints_no_secret_and_is_told_apart_by_each_of_its_parts() {
        let credential = Credential::new("robot", Secret::new("hunter2"));
        let other = credential.clone().with_identity_token(Secret::new("refresh"));
        let printed = format!("{credential:?} {other:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("refresh"), "{printed}");
        assert_eq!(credential.identity(), credential.clone().identity());
        assert_ne!(credential.identity(), other.identity());
        let with_others = credential.clone().or_else([other.clone()].into_iter());
        assert_ne!(credential.identity(), with_others.identity());
        // The operator's own comes last, once, within the bound, and changes no identity.
        let (many, own) = ((0..9).map(|n| Credential::new(n.to_string(), Secret::new("x"))), with_others);
        let followed = credential.clone().followed_by(&own);
        assert_eq!((followed.in_turn(), followed.identity()), (own.in_turn(), credential.identity()));
        assert!(!credential.clone().followed_by(&credential).has_others());
        let full = credential.clone().or_else(many);
        assert_eq!(full.clone().followed_by(&other).in_turn(), full.in_turn());
        let shifted = Credential::new("roboth", Secret::new("unter2"));
        assert_ne!(credential.identity(), shifted.identity());
    }
}
