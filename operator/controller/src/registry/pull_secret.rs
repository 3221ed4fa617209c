//! Kubernetes pull secrets: docker configuration bytes to a keyring, matched as the kubelet matches.
//!
//! The operator must use the credential with which the node will pull, or it verifies what cannot run. So the order and
//! the looseness of the match are the kubelet's (`pkg/credentialprovider/keyring.go`), also where a stricter rule would
//! be prettier. Reading the Secret object: `kubernetes/secrets.rs`; the operator's own credentials: `own.rs`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use rollforward_core::image::Repository;
use serde::Deserialize;
use thiserror::Error;

use super::credential::{Credential, Secret};

/// Why bytes are not a docker configuration. Never repeats them: they are a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PullSecretError {
    /// Not JSON of the expected shape. The parser's own words may quote a password and are left out.
    #[error("not a docker configuration: the JSON is not valid at line {line}, column {column}")]
    Json {
        /// Counted from 1.
        line: usize,
        /// Counted from 1; 0 at the end of the text.
        column: usize,
    },
    /// An `auth` field that is not base64 of `user:password`.
    #[error("an `auth` field is not the base64 form of user:password")]
    Auth,
}

#[derive(Deserialize)]
struct ConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default)]
    identitytoken: String,
}

/// Credentials by the registries and paths they are for.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    /// In the order in which they are tried.
    keys: Vec<Key>,
}

#[derive(Debug, Clone)]
struct Key {
    place: Place,
    credential: Credential,
}

/// What a key is for: a host, or a host and the beginning of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// May hold `*` and `?` within a label.
    host: String,
    /// With the leading slash; empty for the whole registry.
    path: String,
}

impl Place {
    /// A host, a host with a path, or a URL whose `/v1/` or `/v2/` means the whole registry.
    pub(super) fn parse(location: &str) -> Self {
        let bare = location
            .strip_prefix("https://")
            .or_else(|| location.strip_prefix("http://"))
            .unwrap_or(location);
        let at = bare.find('/').unwrap_or(bare.len());
        let (host, path) = bare.split_at(at);
        let path = if path.starts_with("/v1/") || path.starts_with("/v2/") {
            path.get(3..).unwrap_or_default()
        } else {
            path
        };
        Self {
            host: host.to_ascii_lowercase(),
            path: if path == "/" { String::new() } else { path.to_owned() },
        }
    }

    /// As the kubelet's `URLsMatch`: the path is a plain prefix, so `acme/we` is a key for `acme/web`.
    pub(super) fn holds(&self, repository: &Repository) -> bool {
        let path = format!("/{}", repository.path());
        host_matches(&self.host, repository.registry()) && path.starts_with(&self.path)
    }

    /// Docker Hub's old name: used where no other key matches.
    fn is_default_registry(&self) -> bool {
        self.host == "index.docker.io" && self.path.is_empty()
    }
}

impl Keyring {
    /// Reads the `.dockerconfigjson` key of a `kubernetes.io/dockerconfigjson` secret.
    ///
    /// # Errors
    /// [`PullSecretError`] where the kubelet would refuse the secret too.
    pub fn from_docker_config_json(bytes: &[u8]) -> Result<Self, PullSecretError> {
        let config: ConfigJson = parse(bytes)?;
        Self::from_entries(config.auths)
    }

    /// Reads the `.dockercfg` key of a `kubernetes.io/dockercfg` secret.
    ///
    /// # Errors
    /// [`PullSecretError`] where the kubelet would refuse the secret too.
    pub fn from_docker_cfg(bytes: &[u8]) -> Result<Self, PullSecretError> {
        Self::from_entries(parse(bytes)?)
    }

    fn from_entries(entries: BTreeMap<String, Entry>) -> Result<Self, PullSecretError> {
        let mut keyring = Self::default();
        for (location, entry) in entries {
            if let Some(credential) = credential(&entry)? {
                keyring.keys.push(Key { place: Place::parse(&location), credential });
            }
        }
        keyring.sort();
        Ok(keyring)
    }

    /// A keyring of one credential, for what a credential provider answered.
    pub(super) fn add(&mut self, location: &str, credential: Credential) {
        self.keys.push(Key { place: Place::parse(location), credential });
        self.sort();
    }

    /// Adds the keys of another secret. Of equal keys, the one that was there first is tried first.
    pub fn merge(&mut self, other: Keyring) {
        self.keys.extend(other.keys);
        self.sort();
    }

    /// The kubelet's order: names in reverse. A longer path comes before its prefix, and a name before a glob.
    fn sort(&mut self) {
        self.keys.sort_by(|left, right| right.place.cmp(&left.place));
    }

    /// The credential whose key matches a repository first, with those that match after it: as the kubelet, which tries one
    /// after the other where a registry refuses.
    #[must_use]
    pub fn credential_for(&self, repository: &Repository) -> Option<Credential> {
        let is_hub = repository.registry() == "docker.io";
        let credentials = |holds: &dyn Fn(&Place) -> bool| -> Option<Credential> {
            let mut matching = self.keys.iter().filter(|key| holds(&key.place)).map(|key| &key.credential);
            let first = matching.next()?.clone();
            Some(first.or_else(matching.cloned()))
        };
        credentials(&|place| place.holds(repository))
            .or_else(|| credentials(&|place| is_hub && place.is_default_registry()))
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, PullSecretError> {
    serde_json::from_slice(bytes)
        .map_err(|error| PullSecretError::Json { line: error.line(), column: error.column() })
}

/// `auth` wins over the plain fields, as in the kubelet. An entry that names nobody is no credential.
fn credential(entry: &Entry) -> Result<Option<Credential>, PullSecretError> {
    let (username, password) = if entry.auth.is_empty() {
        (entry.username.clone(), entry.password.clone())
    } else {
        decode(&entry.auth)?
    };
    let plain = Credential::new(username, Secret::new(password.as_str()));
    if !entry.identitytoken.is_empty() {
        return Ok(Some(plain.with_identity_token(Secret::new(entry.identitytoken.as_str()))));
    }
    Ok(Some(plain).filter(|plain| !plain.username().is_empty() || !password.is_empty()))
}

fn decode(auth: &str) -> Result<(String, String), PullSecretError> {
    let auth = auth.trim();
    let bytes =
        STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).map_err(|_| PullSecretError::Auth)?;
    let text = String::from_utf8(bytes).map_err(|_| PullSecretError::Auth)?;
    let (username, password) = text.split_once(':').ok_or(PullSecretError::Auth)?;
    // Docker pads with NUL and strips it again.
    Ok((username.to_owned(), password.trim_matches('\0').to_owned()))
}

/// Label by label, the same number of labels, and the same port: `*.example.com` is not `a.b.example.com`. Repositories have
/// their hosts in lower case and without the port of https.
fn host_matches(pattern: &str, host: &str) -> bool {
    let (pattern, pattern_port) = split_port(pattern);
    let (host, port) = split_port(host);
    let patterns: Vec<&str> = pattern.split('.').collect();
    let labels: Vec<&str> = host.split('.').collect();
    pattern_port == port
        && patterns.len() == labels.len()
        && patterns.iter().zip(&labels).all(|(pattern, label)| label_matches(pattern, label))
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port).filter(|port| *port != "443")),
        _ => (host, None),
    }
}

/// `*` stands for any text within a label, `?` for one letter.
fn label_matches(pattern: &str, label: &str) -> bool {
    let (pattern, label) = (pattern.as_bytes(), label.as_bytes());
    let (mut at, mut from) = (0, 0);
    // Where the last `*` was, and how much of the label it stands for: one more where the rest does not fit.
    let mut star: Option<(usize, usize)> = None;
    while from < label.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(letter) if *letter == b'?' || label.get(from) == Some(letter) => {
                (at, from) = (at + 1, from + 1)
            }
            Some(_) | None => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    (at, from) = (star_at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a row that does not parse is the failure")]
mod tests {
    use super::*;

    fn check(keys: &[&str], repository: &str, expected: Option<&str>) {
        let entries: Vec<String> =
            keys.iter().map(|key| format!(r#""{key}": {{"username": "{key}", "password": "p"}}"#)).collect();
        let json = format!(r#"{{"auths": {{{}}}}}"#, entries.join(","));
        let keyring = Keyring::from_docker_config_json(json.as_bytes()).unwrap();
        let found = keyring.credential_for(&Repository::parse(repository).unwrap());
        assert_eq!(found.as_ref().map(Credential::username), expected, "{keys:?} {repository}");
    }

    #[test]
    fn a_key_is_matched_as_the_kubelet_matches_it() {
        check(&["ghcr.io"], "ghcr.io/acme/web", Some("ghcr.io"));
        check(&["ghcr.io"], "quay.io/acme/web", None);
        check(&["GHCR.IO"], "Ghcr.io/acme/web", Some("GHCR.IO"));
        check(&["ghcr.io:443"], "ghcr.io:443/acme/web", Some("ghcr.io:443"));
        check(&["ghcr.io"], "ghcr.io:443/acme/web", Some("ghcr.io"));
        check(&["ghcr.io"], "ghcr.io.evil.example/acme/web", None);
        check(&["https://ghcr.io/v2/"], "ghcr.io/acme/web", Some("https://ghcr.io/v2/"));
        check(&["https://index.docker.io/v1/"], "nginx", Some("https://index.docker.io/v1/"));
        check(&["docker.io"], "index.docker.io/acme/web", Some("docker.io"));
        check(&["https://index.docker.io/v1/", "docker.io"], "acme/web", Some("docker.io"));
        check(&["index.docker.io/acme"], "acme/web", None);
        check(&["ghcr.io/acme/"], "ghcr.io/acme/web", Some("ghcr.io/acme/"));
        check(&["ghcr.io/acme/"], "ghcr.io/acmeco/web", None);
        check(&["ghcr.io/acme"], "ghcr.io/acmeco/web", Some("ghcr.io/acme"));
        check(&["ghcr.io/v2"], "ghcr.io/acme/web", None);
        check(&["r?.example.com"], "r1.example.com/web", Some("r?.example.com"));
        check(&["r?.example.com"], "r.example.com/web", None);
        check(&["*a*b.example.com"], "xaab.example.com/web", Some("*a*b.example.com"));
        check(&["ghcr.io", "ghcr.io/acme", "ghcr.io/acme/web"], "ghcr.io/acme/web", Some("ghcr.io/acme/web"));
        check(&["ghcr.io", "ghcr.io/acme/web"], "ghcr.io/acme/api", Some("ghcr.io"));
        check(&["*.example.com"], "registry.example.com/web", Some("*.example.com"));
        check(&["*.example.com"], "a.b.example.com/web", None);
        check(&["*.example.com"], "example.com/web", None);
        check(&["*.example.com", "r.example.com"], "r.example.com/web", Some("r.example.com"));
        check(&["r-*-x.example.com"], "r-1-y.example.com/web", None);
        check(&["127.0.0.1:5000"], "127.0.0.1:5000/web", Some("127.0.0.1:5000"));
        check(&["127.0.0.1:5000"], "127.0.0.1:5001/web", None);
        check(&["*.example.com"], "r.example.com:8443/web", None);
    }

    #[test]
    fn every_spelling_of_a_credential_is_read() {
        let only = |json: &str| {
            let keyring = Keyring::from_docker_cfg(json.as_bytes()).unwrap();
            keyring.credential_for(&Repository::parse("ghcr.io/acme/web").unwrap())
        };
        let expected = Some(Credential::new("robot", Secret::new("a:b")));
        assert_eq!(only(r#"{"ghcr.io": {"auth": "cm9ib3Q6YTpi"}}"#), expected);
        assert_eq!(only(r#"{"ghcr.io": {"username": "robot", "password": "a:b"}}"#), expected);
        assert_eq!(only(r#"{"ghcr.io": {"auth": "cm9ib3Q6YTpi", "username": "x", "email": "y"}}"#), expected);
        let token = only(r#"{"ghcr.io": {"identitytoken": "refresh"}}"#).unwrap();
        assert_eq!(token.identity_token(), Some(&Secret::new("refresh")));
        assert_eq!(only(r#"{"ghcr.io": {}}"#), None);
    }

    #[test]
    fn what_is_not_a_docker_configuration_is_refused_without_repeating_it() {
        let refused = |json: &str| Keyring::from_docker_config_json(json.as_bytes()).unwrap_err();
        let wrong_type = refused(r#"{"auths": {"ghcr.io": "hunter2"}}"#);
        assert!(!wrong_type.to_string().contains("hunter2"), "{wrong_type}");
        assert!(matches!(refused("{"), PullSecretError::Json { .. }));
        assert_eq!(refused(r#"{"auths": {"ghcr.io": {"auth": "***"}}}"#), PullSecretError::Auth);
        assert_eq!(refused(r#"{"auths": {"ghcr.io": {"auth": "cm9ib3Q="}}}"#), PullSecretError::Auth);
    }

    #[test]
    fn several_secrets_make_one_keyring_and_the_more_specific_key_wins() {
        let mut keyring =
            Keyring::from_docker_cfg(br#"{"ghcr.io": {"username": "wide", "password": "p"}}"#).unwrap();
        let narrow = br#"{"ghcr.io/acme": {"username": "narrow", "password": "p"}}"#;
        keyring.merge(Keyring::from_docker_cfg(narrow).unwrap());
        let found = keyring.credential_for(&Repository::parse("ghcr.io/acme/web").unwrap());
        let in_turn = found.unwrap().in_turn();
        assert_eq!(in_turn.iter().map(Credential::username).collect::<Vec<_>>(), ["narrow", "wide"]);
    }

    #[test]
    fn all_keys_that_match_are_tried_in_turn_five_at_most_and_none_twice() {
        let mut keyring = Keyring::default();
        for user in ["a", "b", "a", "c", "d", "e", "f"] {
            let one = format!(
                r#"{{"ghcr.io": {{"username": "{user}", "password": "p"}}, "quay.io": {{"username": "other", "password": "p"}}}}"#
            );
            keyring.merge(Keyring::from_docker_cfg(one.as_bytes()).unwrap());
        }
        let found = keyring.credential_for(&Repository::parse("ghcr.io/acme/web").unwrap()).unwrap();
        let in_turn = found.in_turn();
        let users: Vec<&str> = in_turn.iter().map(Credential::username).collect();
        assert_eq!(users, ["a", "b", "c", "d", "e"]);
        assert!(in_turn.iter().all(|one| !one.has_others()));
    }
}
