//! One HTTP request to a registry: byte caps, time cap, counters, in its turn (`limiter.rs`). No redirect is followed here.
//!
//! What a status means for a question is decided by the caller; what is the same for all questions (no connection, 429,
//! 5xx, too many bytes) becomes an `Unknown` here. Credentials: `token.rs`.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use rollforward_core::evidence::Unknown;
use rollforward_core::reason::Reason;

use super::clients::Clients;
use super::limiter::{Kind, Limiter, Permit};
use super::words::{Complaint, clean, unknown};
use super::{RegistryError, Settings};

/// How much of an error's body is read: enough for its words.
const ERROR_BODY_BYTES: usize = 64 * 1024;

/// How many counters there are before further hosts are counted as `other`. Workloads name hosts, so they are foreign.
const MAX_COUNTERS: usize = 1024;

/// What became of a request: a closed list, fit for a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// 2xx or 3xx.
    Answered,
    /// 404.
    NotFound,
    /// 401 or 403: also the first, unavoidable question of a registry with tokens.
    Unauthorized,
    /// 429.
    RateLimited,
    /// Any other 4xx.
    Refused,
    /// 5xx.
    ServerError,
    /// No connection, no TLS, or a time limit.
    NoAnswer,
    /// Not sent: the host had asked us to wait.
    HeldBack,
    /// Not sent: a certificate or key of ours cannot be used.
    NotSent,
}

impl Outcome {
    /// The label's value.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::NotFound => "not_found",
            Outcome::Unauthorized => "unauthorized",
            Outcome::RateLimited => "rate_limited",
            Outcome::Refused => "refused",
            Outcome::ServerError => "server_error",
            Outcome::NoAnswer => "no_answer",
            Outcome::HeldBack => "held_back",
            Outcome::NotSent => "not_sent",
        }
    }

    fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Outcome::NotFound,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::Unauthorized,
            StatusCode::TOO_MANY_REQUESTS => Outcome::RateLimited,
            _ if status.is_client_error() => Outcome::Refused,
            _ if status.is_server_error() => Outcome::ServerError,
            _ => Outcome::Answered,
        }
    }
}

/// One request, before it is sent.
#[derive(Clone)]
pub(super) struct Request<'a> {
    /// The registry on whose behalf it is sent: the name it is counted under.
    pub(super) registry: &'a str,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) accept: &'static str,
    pub(super) authorization: Option<HeaderValue>,
    /// A form to post, already encoded.
    pub(super) form: Option<String>,
    pub(super) max_bytes: usize,
    /// What a body beyond `max_bytes` is called.
    pub(super) oversize: Reason,
}

/// One answer, read in full.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) url: Url,
    /// `GET ghcr.io/v2/acme/web/tags/list: 404 Not Found`.
    pub(super) line: String,
}

impl Exchange {
    /// An answer that no rule of this module expects, as an `Unknown`.
    pub(super) fn unexpected(&self, reason: Reason) -> Unknown {
        let redirect =
            self.headers.get(reqwest::header::LOCATION).filter(|_| self.status.is_redirection()).map(
                |location| {
                    let location = clean(&String::from_utf8_lossy(location.as_bytes()));
                    format!(", a redirect to {location}, which is not followed")
                },
            );
        let words = redirect.unwrap_or_else(|| Complaint::read(&self.body).quoted());
        unknown(reason, format!("{}{words}", self.line))
    }

    /// The media type without its parameters, in lower case.
    pub(super) fn content_type(&self) -> Option<String> {
        let text = self.headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let bare = text.split(';').next().unwrap_or_default();
        Some(bare.trim().to_ascii_lowercase())
    }
}

/// The shared HTTP client and what it has learned of each host.
pub(super) struct Transport {
    clients: Clients,
    timeout: Duration,
    limiter: Limiter,
    counters: Mutex<BTreeMap<(String, Outcome), u64>>,
}

impl Transport {
    pub(super) fn new(settings: &Settings) -> Result<Self, RegistryError> {
        Ok(Self {
            clients: Clients::new(settings)?,
            timeout: settings.timeout,
            limiter: Limiter::default(),
            counters: Mutex::default(),
        })
    }

    /// How many requests were made on behalf of each registry, by outcome.
    pub(super) fn requests(&self) -> BTreeMap<(String, Outcome), u64> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request and reads its answer. `Ok` below 500, except 429.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Exchange, Unknown> {
        let registry = request.registry;
        let host = authority(&request.url);
        let kind = Kind::of(&request.method, &request.url);
        let permit = self.limiter.admit(&host, kind).await.inspect_err(|_| {
            self.count(registry, Outcome::HeldBack);
        })?;
        let what = format!("{} {host}{}", request.method, clean(request.url.path()));
        let started = Instant::now();
        let result = self.exchange(request, &what).await;
        let outcome = match &result {
            Ok(exchange) => Outcome::of(exchange.status),
            Err((outcome, _)) => *outcome,
        };
        self.count(registry, outcome);
        tracing::debug!(registry, what, outcome = outcome.label(), elapsed = ?started.elapsed(), "registry request");
        match result {
            Ok(exchange) => heed(&permit, &host, exchange),
            Err((Outcome::NoAnswer, mut unknown)) => {
                permit.silent(&mut unknown);
                Err(unknown)
            }
            Err((_, unknown)) => Err(unknown),
        }
    }

    async fn exchange(&self, request: Request<'_>, what: &str) -> Result<Exchange, (Outcome, Unknown)> {
        let is_head = request.method == Method::HEAD;
        let (max_bytes, oversize) = (request.max_bytes, request.oversize);
        let client = self.clients.of(&authority(&request.url)).map_err(|error| {
            (Outcome::NotSent, unknown(Reason::RegistryUnavailable, format!("{what}: not sent: {error}")))
        })?;
        let mut builder = client.request(request.method, request.url.clone()).header(ACCEPT, request.accept);
        if let Some(authorization) = request.authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        if let Some(form) = request.form {
            builder = builder.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        }
        let no_answer = |error: &reqwest::Error| (Outcome::NoAnswer, self.no_answer(error, what));
        let mut response = builder.send().await.map_err(|error| no_answer(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let line = format!("{what}: {status}");
        let body = if is_head {
            Body::Whole(Vec::new())
        } else {
            let cap = if status.is_success() { max_bytes } else { ERROR_BODY_BYTES };
            read(&mut response, cap).await.map_err(|error| no_answer(&error))?
        };
        let body = match body {
            Body::Whole(body) => body,
            // The words of an error may be cut; an answer may not.
            Body::Cut(body) if !status.is_success() => body,
            Body::Cut(_) => {
                let message = format!("{line}, a body of more than {max_bytes} bytes");
                return Err((Outcome::Answered, unknown(oversize, message)));
            }
        };
        Ok(Exchange { status, headers, body, url: request.url, line })
    }

    fn count(&self, registry: &str, outcome: Outcome) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let known = counters.keys().any(|(host, _)| host == registry);
        let is_full = counters.len() >= MAX_COUNTERS;
        let host = if known || !is_full { registry } else { "other" };
        let counter = counters.entry((host.to_owned(), outcome)).or_default();
        *counter = counter.saturating_add(1);
    }

    /// Words that are the same at each attempt: a status whose sentence changes is written at each pass.
    fn no_answer(&self, error: &reqwest::Error, what: &str) -> Unknown {
        if error.is_timeout() {
            let limit = self.timeout.as_secs_f64();
            let message = format!("{what}: no complete answer within {limit} s");
            return unknown(Reason::RegistryUnavailable, message);
        }
        let mut cause = error.source();
        let mut last = "the connection failed".to_owned();
        while let Some(error) = cause {
            // rustls' name for an answer that is not TLS; typed access would need rustls as a dependency.
            if format!("{error:?}").contains("InvalidContentType") {
                return unknown(
                    Reason::InsecureRegistry,
                    format!("{what}: the server answered https with plain http"),
                );
            }
            last = error.to_string();
            cause = error.source();
        }
        unknown(Reason::RegistryUnavailable, format!("{what}: {}", clean(&last)))
    }
}

/// Turns 429 and 5xx into an `Unknown`, and lets the limiter learn.
fn heed(permit: &Permit, host: &str, exchange: Exchange) -> Result<Exchange, Unknown> {
    let retry_at = permit.answered(host, exchange.status, &exchange.headers);
    let reason = match exchange.status {
        StatusCode::TOO_MANY_REQUESTS => Reason::RegistryRateLimited,
        status if status.is_server_error() => Reason::RegistryUnavailable,
        _ => return Ok(exchange),
    };
    let refusal = Unknown { retry_at, ..exchange.unexpected(reason) };
    permit.hold(&refusal, &exchange.headers);
    Err(refusal)
}

enum Body {
    Whole(Vec<u8>),
    Cut(Vec<u8>),
}

async fn read(response: &mut Response, cap: usize) -> Result<Body, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > cap.saturating_sub(body.len()) {
            return Ok(Body::Cut(body));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Body::Whole(body))
}

/// Host and port, the port only where it is not the scheme's own: as a reference spells a registry.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
