//! A token server for the real reference registry: who gives a user's password gets a signed token for what may be pulled.
//!
//! The registry trusts it by the authority in its `rootcertbundle`; the tokens are JWTs (ES256) that carry their certificate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{KeyPair, SigningKey as _};
use serde_json::json;

use crate::tls::TestAuthority;

/// What the registry's configuration calls the server and itself.
pub const ISSUER: &str = "rollforward-test";
/// The audience of the tokens.
pub const SERVICE: &str = "test-registry";

struct Inner {
    users: BTreeMap<String, String>,
    lifetime_seconds: u64,
    certificate: String,
    key: KeyPair,
    requests: Mutex<Vec<String>>,
}

/// The server; it ends when this is dropped.
pub struct TokenServer {
    address: SocketAddr,
    bundle: String,
    inner: Arc<Inner>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl TokenServer {
    /// Starts on a free port of this address, for these users and passwords. Tokens end after `lifetime_seconds`.
    pub async fn start(address: &str, users: &[(&str, &str)], lifetime_seconds: u64) -> Self {
        let authority = TestAuthority::default();
        let (certificate, key) = authority.issue("token-server");
        let inner = Arc::new(Inner {
            users: users
                .iter()
                .map(|(name, password)| ((*name).to_owned(), (*password).to_owned()))
                .collect(),
            lifetime_seconds,
            certificate: certificate.lines().filter(|line| !line.starts_with("-----")).collect(),
            key: KeyPair::from_pem(&key).unwrap(),
            requests: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(serve).with_state(Arc::clone(&inner));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, bundle: authority.certificate(), inner, server }
    }

    /// What a reference or a setting calls its host.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The authority that the registry is to trust, as PEM.
    #[must_use]
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// The `auth` section of the registry's configuration, with the bundle at this path.
    #[must_use]
    pub fn registry_auth(&self, bundle: &str) -> String {
        format!(
            "auth: {{token: {{realm: \"http://{}/token\", service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: \"{bundle}\"}}}}\n",
            self.address
        )
    }

    /// The query of each request so far, with the user or `-` before it.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.inner.requests.lock().unwrap().clone()
    }
}

async fn serve(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let pair = header
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let user = pair.as_deref().and_then(|pair| pair.split_once(':')).unwrap_or(("-", ""));
    inner.requests.lock().unwrap().push(format!("{} {query}", user.0));
    if inner.users.get(user.0).is_none_or(|password| password != user.1) {
        return (StatusCode::UNAUTHORIZED, "no such user").into_response();
    }
    axum::Json(json!({"token": inner.token(user.0, &query), "expires_in": inner.lifetime_seconds}))
        .into_response()
}

impl Inner {
    fn token(&self, user: &str, query: &str) -> String {
        let scope = query.split('&').find_map(|pair| pair.strip_prefix("scope=")).unwrap_or_default();
        let scope = scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
        let mut parts = scope.splitn(3, ':');
        let (kind, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let actions: Vec<&str> =
            parts.next().unwrap_or_default().split(',').filter(|action| *action == "pull").collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [self.certificate]});
        let claims = json!({"iss": ISSUER, "sub": user, "aud": SERVICE, "iat": now, "nbf": now - 5,
            "exp": now + self.lifetime_seconds, "jti": now.to_string(),
            "access": [{"type": kind, "name": name, "actions": actions}]});
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(fixed(&signature)))
    }
}

/// A JWT wants both numbers of a signature side by side, 32 bytes each; the key signs in DER: `30 len 02 len r 02 len s`.
fn fixed(der: &[u8]) -> Vec<u8> {
    let number = |at: usize| {
        let (start, end) = (at + 2, at + 2 + usize::from(der[at + 1]));
        let digits: Vec<u8> = der[start..end].iter().copied().skip_while(|byte| *byte == 0).collect();
        ([vec![0; 32 - digits.len()], digits].concat(), end)
    };
    let (r, next) = number(2);
    let (s, _) = number(next);
    [r, s].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_becomes_two_numbers_of_32_bytes() {
        let der = [&[0x30, 9, 2, 2, 0, 0x80, 2, 3, 1, 2, 3][..]].concat();
        let both = fixed(&der);
        assert_eq!(both.len(), 64);
        assert_eq!((both[31], &both[61..]), (0x80, &[1, 2, 3][..]));
    }
}
