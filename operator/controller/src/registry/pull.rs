//! What `oci_distribution` fetches for us: manifests and blobs. The lists of referrers: `referrers.rs`.
//!
//! The crate asks at our door (`door.rs`), and what it asks for is fetched here: with credentials, in its turn, bounded, and
//! hashed before it is handed on. What the registry refused is kept beside, for the crate drops it, and wins over whatever the
//! crate made of it.

use std::error::Error as _;
use std::fmt::Write as _;

use oci_distribution::errors::OciDistributionError;
use oci_distribution::secrets::RegistryAuth;
use reqwest::header::LOCATION;
use reqwest::{Method, StatusCode, Url};
use rollforward_core::evidence::Unknown;
use rollforward_core::image::Digest;
use rollforward_core::reason::Reason;
use sha2::{Digest as _, Sha256};

use super::Inner;
use super::door::{Call, Door, Said, Step};
use super::token::Asker;
use super::transport::{Exchange, Request, authority};
use super::words::{Complaint, clean, unknown};

/// How often a blob may redirect: registries send to their object store, once.
const MAX_BLOB_REDIRECTS: usize = 3;

/// In which forms a manifest is wanted, and how much of it.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) accept: &'static str,
    pub(super) max_bytes: usize,
    /// What a manifest beyond `max_bytes` is called.
    pub(super) oversize: Reason,
}

impl Inner {
    /// The door is opened by the first who needs it.
    pub(super) async fn call(&self, asker: Asker<'_>) -> Result<Call, Unknown> {
        let door = self.door.get_or_try_init(|| Door::open(&self.settings)).await?;
        door.call(asker).await
    }

    /// A manifest, hashed and compared. `Ok(None)` where the registry says in words that there is none.
    pub(super) async fn pull_manifest(&self, asker: Asker<'_>, reference: &str, wanted: Wanted) -> Said {
        let mut call = self.call(asker).await?;
        let (client, image) = (call.client(), call.reference(reference));
        let accepted = [wanted.accept];
        let question = client.pull_manifest_raw(&image, &RegistryAuth::Anonymous, &accepted);
        let path = format!("manifests/{reference}");
        let (said, pulled) =
            relay(&mut call, &path, question, self.ask_manifest(asker, reference, wanted)).await;
        let pulled = settle(asker, said, pulled, unread)?;
        Ok(pulled.map(|((bytes, _), exchange)| Exchange { body: bytes.into(), ..exchange }))
    }

    /// A blob, hashed and compared.
    pub(super) async fn pull_blob(
        &self,
        asker: Asker<'_>,
        digest: &Digest,
        max_bytes: usize,
    ) -> Result<Exchange, Unknown> {
        let mut call = self.call(asker).await?;
        let (client, image) = (call.client(), call.reference(digest.as_str()));
        let mut body = Vec::new();
        let question = client.pull_blob(&image, digest.as_str(), &mut body);
        let path = format!("blobs/{digest}");
        let (said, pulled) = relay(&mut call, &path, question, self.ask_blob(asker, digest, max_bytes)).await;
        match settle(asker, said, pulled, unread)? {
            Some(((), exchange)) => Ok(Exchange { body, ..exchange }),
            None => Err(unknown(Reason::ManifestInvalid, format!("{}: no blob {digest}", asker.repository))),
        }
    }

    pub(super) async fn get(&self, asker: Asker<'_>, url: Url, wanted: Wanted) -> Result<Exchange, Unknown> {
        let Wanted { accept, max_bytes, oversize } = wanted;
        let request = Request { max_bytes, oversize, ..self.request(asker, Method::GET, url, accept) };
        self.ask(asker, request).await
    }

    pub(super) async fn ask_manifest(&self, asker: Asker<'_>, reference: &str, wanted: Wanted) -> Said {
        let url = self.url(asker.repository, &format!("manifests/{reference}"))?;
        let exchange = self.get(asker, url, wanted).await?;
        if !found(&exchange)? {
            return Ok(None);
        }
        let named = match Digest::parse(reference) {
            Ok(digest) => Some(digest),
            Err(_) => digest_header(&exchange)?,
        };
        compare(exchange, named.as_ref()).map(Some)
    }

    /// Redirected to an object store, a blob is asked for without credentials.
    async fn ask_blob(&self, asker: Asker<'_>, digest: &Digest, max_bytes: usize) -> Said {
        let url = self.url(asker.repository, &format!("blobs/{digest}"))?;
        let request = Request {
            max_bytes,
            oversize: Reason::ManifestInvalid,
            ..self.request(asker, Method::GET, url, "*/*")
        };
        let mut exchange = self.ask(asker, request.clone()).await?;
        let mut n_redirects = 0_usize;
        while exchange.status.is_redirection() && n_redirects < MAX_BLOB_REDIRECTS {
            let url = self.redirect(&exchange)?;
            let bare = Request { url, authorization: None, ..request.clone() };
            exchange = self.transport.send(bare).await?;
            n_redirects = n_redirects.saturating_add(1);
        }
        // A manifest whose config is missing is a broken push, not an absent image.
        if exchange.status != StatusCode::OK {
            return Err(exchange.unexpected(match exchange.status {
                StatusCode::NOT_FOUND => Reason::ManifestInvalid,
                _ => Reason::RegistryUnavailable,
            }));
        }
        compare(exchange, Some(digest)).map(Some)
    }

    /// Where a blob is. Never down to http, except to a host that is allowed to speak it.
    fn redirect(&self, exchange: &Exchange) -> Result<Url, Unknown> {
        let location = exchange.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let target = location.and_then(|location| exchange.url.join(location).ok());
        target
            .filter(|url| match url.scheme() {
                "https" => true,
                "http" => self.settings.plain_http.contains(&authority(url)),
                _ => false,
            })
            .ok_or_else(|| exchange.unexpected(Reason::RegistryUnavailable))
    }
}

/// Lets the crate ask for one thing, once, and asks the registry for it.
async fn relay<T>(
    call: &mut Call,
    path: &str,
    question: impl Future<Output = T>,
    upstream: impl Future<Output = Said>,
) -> (Option<Said>, T) {
    let mut question = Box::pin(question);
    let mut upstream = Box::pin(upstream);
    let mut said = None;
    loop {
        match call.next(question.as_mut()).await {
            Step::Done(done) => return (said, done),
            Step::Asked(visit) if said.is_none() && visit.path() == path => {
                said = Some(visit.answer(upstream.as_mut().await));
            }
            Step::Asked(visit) => visit.refuse(),
        }
    }
}

/// What a call comes to. The registry's refusal or absence counts, whatever the crate made of it.
pub(super) fn settle<T>(
    asker: Asker<'_>,
    said: Option<Said>,
    pulled: Result<T, OciDistributionError>,
    unread: impl Fn(&Exchange) -> Unknown,
) -> Result<Option<(T, Exchange)>, Unknown> {
    match (said, pulled) {
        (Some(Err(refusal)), _) => Err(refusal),
        (Some(Ok(None)), _) => Ok(None),
        (Some(Ok(Some(exchange))), Ok(pulled)) => Ok(Some((pulled, exchange))),
        (Some(Ok(Some(exchange))), Err(error)) => {
            tracing::debug!(what = exchange.line, %error, "not read by the registry client");
            Err(unread(&exchange))
        }
        (None, Ok(_)) => Err(not_asked(asker, "it asked for something else")),
        (None, Err(error)) => Err(not_asked(asker, &innermost(&error))),
    }
}

fn unread(exchange: &Exchange) -> Unknown {
    unknown(
        Reason::RegistryUnavailable,
        format!("{}, an answer that the client could not read", exchange.line),
    )
}

fn not_asked(asker: Asker<'_>, why: &str) -> Unknown {
    let message = format!("{}: the registry client did not ask: {}", asker.repository, clean(why));
    unknown(Reason::RegistryUnavailable, message)
}

/// The cause alone: what stands around it names the call, and a sentence must stay the same at each attempt.
fn innermost(error: &OciDistributionError) -> String {
    let mut cause = error.source();
    let mut last = "no connection to the door".to_owned();
    while let Some(error) = cause {
        last = error.to_string();
        cause = error.source();
    }
    last
}

/// Whether a GET of a manifest found one. A 404 is an absence only in the registry's own words.
fn found(exchange: &Exchange) -> Result<bool, Unknown> {
    match exchange.status {
        StatusCode::OK => return Ok(true),
        StatusCode::NOT_FOUND => {}
        _ => return Err(exchange.unexpected(Reason::RegistryUnavailable)),
    }
    let complaint = Complaint::read(&exchange.body);
    match complaint.code.as_str() {
        "MANIFEST_UNKNOWN" | "TAG_INVALID" => Ok(false),
        // Harbor's code for everything; its message names what is missing.
        "NOT_FOUND" if complaint.message.starts_with("artifact") => Ok(false),
        "NAME_UNKNOWN" | "NAME_INVALID" | "NOT_FOUND" => Err(exchange.unexpected(Reason::RepositoryNotFound)),
        _ => Err(exchange.unexpected(Reason::RegistryUnavailable)),
    }
}

/// The digest that the registry names, if it names one.
pub(super) fn digest_header(exchange: &Exchange) -> Result<Option<Digest>, Unknown> {
    let Some(value) = exchange.headers.get("docker-content-digest") else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    Digest::parse(&text).map(Some).map_err(|_| {
        unknown(
            Reason::ManifestInvalid,
            format!("{}, with the digest \"{}\", which is none", exchange.line, clean(&text)),
        )
    })
}

/// Gives an answer on if its bytes are what they are named.
fn compare(exchange: Exchange, named: Option<&Digest>) -> Result<Exchange, Unknown> {
    let actual = hash(&exchange)?;
    match named {
        Some(named) if *named != actual => Err(unknown(
            Reason::DigestMismatch,
            format!("{}, named {named}, and the bytes are {actual}", exchange.line),
        )),
        _ => Ok(exchange),
    }
}

/// What the body really is.
pub(super) fn hash(exchange: &Exchange) -> Result<Digest, Unknown> {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(&exchange.body) {
        // Writing to a String cannot fail; if it did, the text below would not parse.
        let _ = write!(text, "{byte:02x}");
    }
    Digest::parse(&text)
        .map_err(|error| unknown(Reason::ManifestInvalid, format!("{}: {error}", exchange.line)))
}
