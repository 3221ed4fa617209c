//! How a registry lets us in: challenges, the check of the realm, and tokens that are never shared between credentials.
//!
//! A registry names the realm to which a password is sent, so the realm is checked first: it must be the registry's own
//! (CVE-2026-48978, CVE-2026-33540 are this mistake). The scope is ours, `pull`, whatever the challenge asks for.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode, Url};
use rollforward_core::evidence::Unknown;
use rollforward_core::image::Repository;
use rollforward_core::reason::Reason;
use serde::Deserialize;

use super::credential::{Credential, CredentialIdentity, Secret};
use super::transport::{Exchange, Request, Transport, authority};
use super::words::{clean, unknown};
use super::{Settings, scheme};

/// A token's answer is a few kilobytes; Azure's tokens are the longest, at about 4 KiB.
const TOKEN_BYTES: usize = 64 * 1024;

/// What the token specification says where `expires_in` is missing.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// No token is kept for longer, whatever the registry says.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A token is not used in its last seconds: the request it is for takes time too.
const SLACK: Duration = Duration::from_secs(10);

/// How many (repository, credential) pairs are remembered.
const MAX_ENTRIES: usize = 10_000;

/// Realms that are a registry's own although the names do not show it.
const BUILT_IN_REALMS: [(&str, &str); 1] = [("docker.io", "auth.docker.io")];

/// Domains under which unrelated registries live side by side: a shared parent means nothing there.
const SHARED_PARENTS: [&str; 6] = ["azurecr.io", "pkg.dev", "gcr.io", "amazonaws.com", "on.aws", "github.io"];

/// How a registry wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

/// For whom a token was issued. The credential is part of the key: tenants share registries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    registry: String,
    scope: String,
    identity: Option<CredentialIdentity>,
}

struct Entry {
    challenge: Challenge,
    /// The value of the header.
    authorization: HeaderValue,
    /// `None` where it does not expire.
    expires_at: Option<Instant>,
}

/// Tokens and challenges, by registry, repository and credential.
#[derive(Default)]
pub(super) struct TokenBroker {
    entries: Mutex<BTreeMap<Key, Entry>>,
}

/// Who asks, and for what.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) repository: &'a Repository,
    pub(super) credential: Option<&'a Credential>,
}

impl Asker<'_> {
    fn key(&self) -> Key {
        Key {
            registry: self.repository.registry().to_owned(),
            scope: self.scope(),
            identity: self.credential.map(Credential::identity),
        }
    }

    fn scope(&self) -> String {
        format!("repository:{}:pull", self.repository.path())
    }

    /// The credential as a sentence shows it.
    fn described(&self) -> String {
        self.credential.map_or_else(
            || "without a credential".to_owned(),
            |credential| format!("with the credential of user \"{}\"", clean(credential.username())),
        )
    }
}

impl TokenBroker {
    /// The header to send with a first attempt: a live token, or a new one where the registry's way is known.
    pub(super) async fn current(
        &self,
        asker: Asker<'_>,
        transport: &Transport,
        settings: &Settings,
    ) -> Result<Option<HeaderValue>, Unknown> {
        let challenge = {
            let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            match entries.get(&asker.key()) {
                None => return Ok(None),
                Some(entry) if entry.expires_at.is_none_or(|at| Instant::now() < at) => {
                    return Ok(Some(entry.authorization.clone()));
                }
                Some(entry) => entry.challenge.clone(),
            }
        };
        self.obtain(asker, challenge, transport, settings).await.map(Some)
    }

    /// Meets the challenge of a 401. `Err` says why the registry stays closed.
    pub(super) async fn answer(
        &self,
        asker: Asker<'_>,
        refusal: &Exchange,
        transport: &Transport,
        settings: &Settings,
    ) -> Result<HeaderValue, Unknown> {
        self.forget(asker);
        match challenge(&refusal.headers) {
            Some(challenge) => self.obtain(asker, challenge, transport, settings).await,
            None => Err(unauthorized(asker, refusal)),
        }
    }

    /// Drops what was refused.
    pub(super) fn forget(&self, asker: Asker<'_>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.remove(&asker.key());
    }

    async fn obtain(
        &self,
        asker: Asker<'_>,
        challenge: Challenge,
        transport: &Transport,
        settings: &Settings,
    ) -> Result<HeaderValue, Unknown> {
        let (secret, lifetime) = match &challenge {
            Challenge::Basic => (basic(asker)?, None),
            Challenge::Bearer { realm, service } => {
                let realm = check_realm(asker.repository.registry(), realm, settings)?;
                let request = token_request(asker, realm, service.as_deref());
                let exchange = transport.send(request).await?;
                let (token, lifetime) = read_token(asker, &exchange)?;
                let secret = Secret::new(format!("Bearer {}", token.expose()));
                (secret, Some(lifetime.saturating_sub(SLACK)))
            }
        };
        let authorization = header(asker, &secret)?;
        self.keep(
            asker.key(),
            Entry {
                challenge,
                authorization: authorization.clone(),
                expires_at: lifetime.and_then(|lifetime| Instant::now().checked_add(lifetime)),
            },
        );
        Ok(authorization)
    }

    fn keep(&self, key: Key, entry: Entry) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES {
            let now = Instant::now();
            entries.retain(|_, entry| entry.expires_at.is_some_and(|at| now < at));
        }
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert(key, entry);
    }
}

/// A 401 or 403 in words: whose credential it was, never what it was.
pub(super) fn unauthorized(asker: Asker<'_>, exchange: &Exchange) -> Unknown {
    let mut refusal = exchange.unexpected(Reason::RegistryUnauthorized);
    refusal.message = format!("{}, asked {}", refusal.message, asker.described());
    refusal
}

fn basic(asker: Asker<'_>) -> Result<Secret, Unknown> {
    asker.credential.map(Credential::basic).ok_or_else(|| {
        let registry = asker.repository.registry();
        unknown(
            Reason::RegistryUnauthorized,
            format!("{registry} wants a user name and a password, and there is no credential for it"),
        )
    })
}

fn header(asker: Asker<'_>, secret: &Secret) -> Result<HeaderValue, Unknown> {
    let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| {
        let registry = asker.repository.registry();
        unknown(
            Reason::RegistryUnauthorized,
            format!("the token of {registry} holds characters that no header may hold"),
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn token_request<'a>(asker: Asker<'a>, mut realm: Url, service: Option<&str>) -> Request<'a> {
    let mut request = Request {
        registry: asker.repository.registry(),
        method: Method::GET,
        url: realm.clone(),
        accept: "application/json",
        authorization: None,
        form: None,
        max_bytes: TOKEN_BYTES,
        oversize: Reason::RegistryUnavailable,
    };
    let scope = asker.scope();
    let identity_token = asker.credential.and_then(Credential::identity_token);
    if let Some(token) = identity_token {
        // The body is encoded by the same rules as a query; a throw-away URL is the encoder.
        let mut form = realm.clone();
        form.set_query(None);
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", "rollforward")
            .append_pair("service", service.unwrap_or_default())
            .append_pair("scope", &scope)
            .append_pair("refresh_token", token.expose());
        request.method = Method::POST;
        request.form = form.query().map(str::to_owned);
        return request;
    }
    {
        let mut query = realm.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", &scope);
    }
    request.url = realm;
    // A credential that no header can hold is refused by the realm as none.
    request.authorization = asker.credential.and_then(|credential| {
        let mut value = HeaderValue::from_str(credential.basic().expose()).ok()?;
        value.set_sensitive(true);
        Some(value)
    });
    request
}

fn read_token(asker: Asker<'_>, exchange: &Exchange) -> Result<(Secret, Duration), Unknown> {
    #[derive(Deserialize)]
    struct Body {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
    }
    match exchange.status {
        StatusCode::OK => {}
        // 400 is what OAuth realms say to a refresh token that has ended.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
            return Err(unauthorized(asker, exchange));
        }
        _ => return Err(exchange.unexpected(Reason::RegistryUnavailable)),
    }
    // The parser's own words could quote the token.
    let malformed = || unknown(Reason::RegistryUnavailable, format!("{}, and no token in it", exchange.line));
    let body: Body = serde_json::from_slice(&exchange.body).map_err(|_| malformed())?;
    let token = body.token.filter(|token| !token.is_empty()).or(body.access_token);
    let token = token.filter(|token| !token.is_empty()).ok_or_else(malformed)?;
    let lifetime = body.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs);
    Ok((Secret::new(token), lifetime.min(MAX_LIFETIME)))
}

/// Whether a realm may be told what the registry may be told.
fn check_realm(registry: &str, realm: &str, settings: &Settings) -> Result<Url, Unknown> {
    let refused = |why: &str| {
        let realm = clean(realm);
        unknown(
            Reason::RegistryUnauthorized,
            format!("{registry} sends us to {realm} for a token, {why}; no credential was sent"),
        )
    };
    let url = Url::parse(realm).map_err(|_| refused("which is not a URL"))?;
    let host = url.host_str().unwrap_or_default();
    if !url.username().is_empty() || url.password().is_some() || host.is_empty() {
        return Err(refused("which is not a plain address"));
    }
    match url.scheme() {
        "https" => {}
        "http" if scheme(registry, settings) == "http" && settings.plain_http.contains(&authority(&url)) => {}
        "http" => return Err(refused("which is plain http")),
        _ => return Err(refused("which is neither https nor an allowed http")),
    }
    let is_listed =
        settings.realms.iter().any(|(name, allowed)| name == registry && *allowed == authority(&url));
    if is_listed || BUILT_IN_REALMS.contains(&(registry, host)) || is_own(host_of(registry), host) {
        Ok(url)
    } else {
        Err(refused("which is not a host of that registry"))
    }
}

/// The same host, one below the other, or siblings in one domain.
///
/// There is no list of public suffixes here: siblings are refused where the parent looks like one.
fn is_own(registry: &str, realm: &str) -> bool {
    if registry == realm {
        return true;
    }
    let is_address = |host: &str| host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    if is_address(registry) || is_address(realm) {
        return false;
    }
    let below = |child: &str, parent: &str| {
        is_a_domain(parent)
            && child.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
    };
    let parent = |host: &str| host.split_once('.').map(|(_, parent)| parent.to_owned());
    let is_sibling =
        parent(registry) == parent(realm) && parent(registry).is_some_and(|parent| is_a_domain(&parent));
    below(registry, realm) || below(realm, registry) || is_sibling
}

/// Not a public suffix such as `io` or `co.uk`, and not one of the parents that strangers share.
fn is_a_domain(host: &str) -> bool {
    let labels: Vec<&str> = host.split('.').collect();
    let is_suffix = match labels.as_slice() {
        [] | [_] => true,
        [second, top] => top.len() == 2 && second.len() <= 3,
        _ => false,
    };
    let is_shared = SHARED_PARENTS
        .iter()
        .any(|shared| host.strip_suffix(shared).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    !is_suffix && !is_shared
}

/// A registry's name without its port.
fn host_of(registry: &str) -> &str {
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => registry,
    }
}

/// The first Bearer challenge, else Basic. Anything else is no challenge that we can meet.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let found: Vec<Challenge> = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(parse_challenges)
        .collect();
    let bearer = found.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(found.first()).cloned()
}

/// `Bearer realm="…",service="…", Basic realm="…"`: a word before a parameter begins the next challenge.
fn parse_challenges(text: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',', '\t']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if let Some(value) = after.strip_prefix('=') {
            let (value, after) = parse_value(value);
            if let Some((_, parameters)) = found.last_mut() {
                parameters.entry(word.to_ascii_lowercase()).or_insert(value);
            }
            rest = after;
        } else {
            found.push((word.to_ascii_lowercase(), BTreeMap::new()));
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    found
        .into_iter()
        .filter_map(|(scheme, mut parameters)| match scheme.as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => Some(Challenge::Bearer {
                realm: parameters.remove("realm")?,
                service: parameters.remove("service"),
            }),
            _ => None,
        })
        .collect()
}

/// A quoted string, with `\` before any character, or a bare word. What follows it comes second.
fn parse_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_in_every_spelling_seen() {
        let bearer = |realm: &str, service: Option<&str>| Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
        };
        let check =
            |text: &str, expected: &[Challenge]| assert_eq!(parse_challenges(text), expected, "{text}");
        check(
            r#"Bearer realm="https://a.io/t",service="a.io",scope="repository:a,b:pull""#,
            &[bearer("https://a.io/t", Some("a.io"))],
        );
        check(
            r#"Basic realm="x, y", bearer REALM=https://a.io/t"#,
            &[Challenge::Basic, bearer("https://a.io/t", None)],
        );
        check(r#"Bearer realm="a\"b"#, &[bearer("a\"b", None)]);
        check("Negotiate", &[]);
        check("Bearer service=x", &[]);
        check(",,, =,=,\"", &[]);
    }

    #[test]
    fn a_realm_is_a_registrys_own_only_where_the_names_say_so() {
        let check = |registry: &str, realm: &str, expected: bool| {
            let settings = Settings {
                plain_http: vec!["127.0.0.1:5000".to_owned()],
                realms: vec![("r.test".to_owned(), "login.other.test".to_owned())],
                ..Settings::default()
            };
            let allowed = check_realm(registry, realm, &settings);
            assert_eq!(allowed.is_ok(), expected, "{registry} {realm}: {allowed:?}");
        };
        check("ghcr.io", "https://ghcr.io/token", true);
        check("docker.io", "https://auth.docker.io/token", true);
        check("registry.gitlab.com", "https://gitlab.com/jwt/auth", true);
        check("docker.elastic.co", "https://docker-auth.elastic.co/auth", true);
        check("r.test", "https://login.other.test/t", true);
        check("r.test:5000", "https://r.test:5001/t", true);
        check("ghcr.io", "https://evil.io/token", false);
        check("ghcr.io", "https://ghcr.io.evil.example/token", false);
        check("ghcr.io", "https://evilghcr.io/token", false);
        check("ghcr.io", "http://ghcr.io/token", false);
        check("ghcr.io", "https://user@ghcr.io/token", false);
        check("ghcr.io", "file:///etc/passwd", false);
        check("ghcr.io", "token", false);
        check("acme.co.uk", "https://evil.co.uk/t", false);
        check("acme.azurecr.io", "https://evil.azurecr.io/t", false);
        check("127.0.0.1:5000", "http://127.0.0.1:5000/t", true);
        check("127.0.0.1:5000", "http://127.0.0.1:5001/t", false);
        check("10.0.0.1", "https://10.0.0.2/t", false);
        check("ghcr.io", "http://127.0.0.1:5000/t", false);
    }
}
