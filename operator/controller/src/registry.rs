//! The door to registries: tags, digests and platforms, each as an `Answer`.
//!
//! A registry is believed in nothing that can be checked, and its silence is never an absence. This file holds the three
//! questions; one request is `registry/transport.rs`, credentials and tokens are `registry/token.rs`, pull secrets are
//! `registry/pull_secret.rs`. What a scan concludes from an answer: `rollforward_core`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode, Url};
use rollforward_core::evidence::{Answer, Manifest, Place, Referrers, Unknown};
use rollforward_core::image::{Digest, Repository, Tag};
use rollforward_core::reason::Reason;
use thiserror::Error;
use tokio::sync::OnceCell;

mod attached;
mod budget;
mod clients;
mod credential;
mod door;
mod files;
mod limiter;
mod listing;
mod manifest;
mod own;
mod pages;
mod provider;
mod pull;
pub mod pull_secret;
mod referrers;
mod token;
mod transport;
mod words;

pub use attached::{Attachment, Attachments, Form};
pub use clients::HostSettings;
pub(crate) use clients::is_proxy;
pub use credential::{Credential, CredentialIdentity, Secret};
pub use files::FileError;
pub use listing::{Part, TagList};
pub use own::OwnCredentialError;
pub(crate) use provider::go_duration;
pub use provider::{API_VERSION as PROVIDER_API_VERSION, ProviderError, ProviderSettings};
pub use transport::Outcome;

use door::Door;
use manifest::{ACCEPTED, Content};
use own::OwnCredentials;
use pages::PageSizes;
use pull::{Wanted, digest_header, hash};
use token::{Asker, TokenBroker, unauthorized};
use transport::{Exchange, Request, Transport};
use words::unknown;

/// For how many repositories and credentials it is kept which one was let in.
const MAX_LET_IN: usize = 10_000;

/// What we call ourselves.
const USER_AGENT: &str = concat!("rollforward/", env!("CARGO_PKG_VERSION"));

/// Limits, and the hosts for which an exception was made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Registries that may be asked over plain http, as references spell them, with the port.
    pub plain_http: Vec<String>,
    /// Registries and the foreign host that may be told their credential for a token.
    pub realms: Vec<(String, String)>,
    /// Hosts with an authority, a certificate or a proxy of their own.
    pub hosts: Vec<HostSettings>,
    /// Hosts and the docker configuration file for each.
    pub credential_files: Vec<(String, PathBuf)>,
    /// Programs that know credentials, in the order in which they are asked.
    pub credential_providers: Vec<ProviderSettings>,
    /// For a connection to be made.
    pub connect_timeout: Duration,
    /// For one request, until the last byte of its answer.
    pub timeout: Duration,
    /// For one question, all pages, tokens and retries included.
    pub max_time: Duration,
    /// Pages of one listing.
    pub max_pages: usize,
    /// Tags of one listing.
    pub max_tags: usize,
    /// Tags asked for in a page; a registry may give fewer, and one that refuses is asked for less (`pages.rs`).
    ///
    /// 10,000: most repositories then fit one page, and one request a poll, in whatever order they are listed.
    pub page_size: usize,
    /// Bytes of one page of tags.
    pub max_page_bytes: usize,
    /// Bytes of one manifest. 4 MiB is the limit of the distribution specification.
    pub max_manifest_bytes: usize,
    /// Bytes of an image's config.
    pub max_config_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            plain_http: Vec::new(),
            realms: Vec::new(),
            hosts: Vec::new(),
            credential_files: Vec::new(),
            credential_providers: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            max_time: Duration::from_secs(120),
            max_pages: 200,
            max_tags: 100_000,
            page_size: 10_000,
            max_page_bytes: 4 * 1024 * 1024,
            max_manifest_bytes: 4 * 1024 * 1024,
            max_config_bytes: 4 * 1024 * 1024,
        }
    }
}

/// Why there can be no registry client at all. Each ends with a changed configuration or image, not with time.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// TLS could not be set up.
    #[error(
        "the HTTP client for registries could not be made; is there a CA bundle (/etc/ssl/certs, or SSL_CERT_FILE)?"
    )]
    Client(#[source] reqwest::Error),
    /// The crate that asks for manifests, configs and referrers made no client.
    #[error("the client of oci-distribution could not be made: {0}")]
    CrateClient(#[source] Box<oci_distribution::errors::OciDistributionError>),
    /// A host's own authority, certificate or key cannot be used.
    #[error("TLS for {host} cannot be set up: {source}")]
    Host {
        /// Which host.
        host: String,
        /// Why.
        #[source]
        source: FileError,
    },
    /// An entry of `plain_http` is not a registry's name.
    #[error("entry {index} of the hosts allowed to speak plain http is not a host with an optional port")]
    PlainHttp {
        /// Counted from 0.
        index: usize,
    },
}

/// The registries of the world, through one client. Cheap to clone; all clones share tokens, waits and counters.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    transport: Transport,
    /// Through which `oci_distribution` asks.
    door: OnceCell<Door>,
    tokens: TokenBroker,
    page_sizes: PageSizes,
    own_credentials: OwnCredentials,
    /// Signatures and attestations that were read, by digest.
    attached: attached::Kept,
    /// Which of several credentials was let in last, so that a refused one is not shown at each request.
    let_in: Mutex<BTreeMap<(Repository, CredentialIdentity), usize>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Registry").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl Registry {
    /// Makes the client.
    ///
    /// # Errors
    /// [`RegistryError`] where TLS cannot be set up or a setting is not valid.
    pub fn new(settings: Settings) -> Result<Self, RegistryError> {
        for (index, host) in settings.plain_http.iter().enumerate() {
            let named = Repository::parse(&format!("{host}/x"));
            if !named.is_ok_and(|repository| repository.registry() == host) {
                return Err(RegistryError::PlainHttp { index });
            }
        }
        Ok(Self {
            inner: Arc::new(Inner {
                transport: Transport::new(&settings)?,
                door: OnceCell::new(),
                tokens: TokenBroker::default(),
                page_sizes: PageSizes::default(),
                let_in: Mutex::default(),
                attached: attached::Kept::default(),
                own_credentials: OwnCredentials::new(
                    &settings.credential_files,
                    &settings.credential_providers,
                ),
                settings,
            }),
        })
    }

    /// Every tag of a repository. Never `Absent`: a registry that hides a repository says the same as one without it.
    ///
    /// A page that fails makes the whole answer `Unknown(TagListIncomplete)`; a short list would read as a deletion.
    pub async fn tags(&self, repository: &Repository, credential: Option<&Credential>) -> Answer<TagList> {
        self.part(repository, &Part::default(), credential).await
    }

    /// Part of the tags of a repository. `Absent` where the registry does not know the tag that it begins behind.
    ///
    /// A page that fails makes the whole answer `Unknown`, as in [`Registry::tags`].
    pub async fn part(
        &self,
        repository: &Repository,
        part: &Part,
        credential: Option<&Credential>,
    ) -> Answer<TagList> {
        let asker = Asker { repository, credential };
        self.within(repository, self.inner.list(asker, part)).await
    }

    /// The digest that a tag names now. `Absent` where the registry says in words that there is no such tag.
    ///
    /// The header of a HEAD is believed in its form only; [`Registry::manifest`] checks it against the bytes.
    pub async fn resolve(
        &self,
        repository: &Repository,
        tag: &Tag,
        credential: Option<&Credential>,
    ) -> Answer<Digest> {
        let asker = Asker { repository, credential };
        self.within(repository, Box::pin(self.inner.resolve(asker, tag.as_str()))).await
    }

    /// Whether a repository serves a digest: one HEAD. `Absent` where the registry says in words that it does not.
    pub async fn serves(
        &self,
        repository: &Repository,
        digest: &Digest,
        credential: Option<&Credential>,
    ) -> Answer<()> {
        let asker = Asker { repository, credential };
        self.within(repository, Box::pin(self.inner.serves(asker, digest))).await
    }

    /// What a digest holds: hashed, compared, and read. A single image costs a second request, for its config.
    pub async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
        credential: Option<&Credential>,
    ) -> Answer<Manifest> {
        let asker = Asker { repository, credential };
        self.within(repository, Box::pin(self.inner.manifest(asker, digest))).await
    }

    /// What refers to a digest: signatures, attestations, SBOMs. `Absent` where the registry says that there is nothing.
    ///
    /// Asked by the referrers API, and by the fallback tag where the registry has none. At most 64 are read.
    pub async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        credential: Option<&Credential>,
    ) -> Answer<Referrers> {
        let asker = Asker { repository, credential };
        let mut place = Place::Referrers;
        self.within(repository, Box::pin(self.inner.referrers(asker, digest, &mut place))).await
    }

    /// What is attached to a digest and could be evidence, in all places where signers put it: bytes, within budgets.
    ///
    /// Each place has an answer of its own, so that a signature in one is found while another is silent.
    pub async fn attachments(
        &self,
        repository: &Repository,
        digest: &Digest,
        credential: Option<&Credential>,
    ) -> Attachments {
        Box::pin(self.inner.attachments(Asker { repository, credential }, digest)).await
    }

    /// The operator's own credential for a repository: of a file for its host, or of a credential provider.
    ///
    /// # Errors
    /// [`OwnCredentialError`] where the file or the program could not be used: not the same as having none.
    pub async fn own_credential(
        &self,
        repository: &Repository,
    ) -> Result<Option<Credential>, OwnCredentialError> {
        self.inner.own_credentials.credential_for(repository).await
    }

    /// What a repository is asked with: the workload's credentials, then the operator's own where all of them are refused.
    ///
    /// # Errors
    /// [`OwnCredentialError`] where the workload has none and the operator's own could not be found out.
    pub async fn credential(
        &self,
        repository: &Repository,
        of_workload: Option<Credential>,
    ) -> Result<Option<Credential>, OwnCredentialError> {
        match (of_workload, self.own_credential(repository).await) {
            (None, own) => own,
            (Some(first), Ok(own)) => Ok(Some(own.map_or(first.clone(), |own| first.followed_by(&own)))),
            (Some(first), Err(error)) => {
                // It may never be asked for; where it is, the refusal of the first says what is missing.
                tracing::debug!(%repository, %error, "no credential of the operator's own");
                Ok(Some(first))
            }
        }
    }

    /// Requests since the start, by registry and outcome. Tokens and redirects count for the registry that wanted them.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<(String, Outcome), u64> {
        self.inner.transport.requests()
    }

    async fn within<T>(
        &self,
        repository: &Repository,
        question: impl Future<Output = Result<Option<T>, Unknown>>,
    ) -> Answer<T> {
        let limit = self.inner.settings.max_time;
        match tokio::time::timeout(limit, question).await {
            Ok(Ok(Some(found))) => Answer::Found(found),
            Ok(Ok(None)) => Answer::Absent,
            Ok(Err(unknown)) => Answer::Unknown(unknown),
            Err(_) => Answer::Unknown(unknown(
                Reason::RegistryUnavailable,
                format!("{repository}: not answered in full within {} s", limit.as_secs_f64()),
            )),
        }
    }
}

/// `Ok(None)` is `Absent`, `Err` is `Unknown`: so that `?` can be used.
impl Inner {
    async fn serves(&self, asker: Asker<'_>, digest: &Digest) -> Result<Option<()>, Unknown> {
        let Some(named) = self.resolve(asker, digest.as_str()).await? else { return Ok(None) };
        if named == *digest {
            return Ok(Some(()));
        }
        let message = format!("{}: asked for {digest}, the registry named {named}", asker.repository);
        Err(unknown(Reason::DigestMismatch, message))
    }

    async fn resolve(&self, asker: Asker<'_>, reference: &str) -> Result<Option<Digest>, Unknown> {
        let url = self.url(asker.repository, &format!("manifests/{reference}"))?;
        let head = self.ask(asker, self.request(asker, Method::HEAD, url, ACCEPTED)).await?;
        match head.status {
            StatusCode::OK => {
                if let Some(digest) = digest_header(&head)? {
                    return Ok(Some(digest));
                }
            }
            // A HEAD has no words, and a 404 without words may be anyone's: asked again below.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {}
            _ => return Err(head.unexpected(Reason::RegistryUnavailable)),
        }
        let manifest = self.pull_manifest(asker, reference, self.wanted()).await?;
        manifest.map(|exchange| hash(&exchange)).transpose()
    }

    async fn manifest(&self, asker: Asker<'_>, digest: &Digest) -> Result<Option<Manifest>, Unknown> {
        let Some(exchange) = self.pull_manifest(asker, digest.as_str(), self.wanted()).await? else {
            return Ok(None);
        };
        let actual = digest.clone();
        let content_type = exchange.content_type();
        let invalid = |why: String| unknown(Reason::ManifestInvalid, format!("{}, {why}", exchange.line));
        let manifest = match manifest::read(&exchange.body, content_type.as_deref()).map_err(invalid)? {
            Content::Index { platforms, version, first, images } => {
                let child = first.filter(|_| version.is_none());
                Manifest { digest: actual, platforms, version, child, images, shape: None }
            }
            Content::Image { config, version, layers, size_bytes } => {
                let blob = self.pull_blob(asker, &config, self.settings.max_config_bytes).await?;
                let invalid = |why: String| unknown(Reason::ManifestInvalid, format!("{}, {why}", blob.line));
                let platforms = manifest::read_config(&blob.body).map_err(invalid)?.into_iter().collect();
                let version = version.or_else(|| manifest::read_label(&blob.body));
                let shape = Some(manifest::read_shape(&blob.body, layers, size_bytes));
                Manifest { digest: actual, platforms, version, child: None, images: BTreeMap::new(), shape }
            }
        };
        Ok(Some(manifest))
    }

    fn wanted(&self) -> Wanted {
        let max_bytes = self.settings.max_manifest_bytes;
        Wanted { accept: ACCEPTED, max_bytes, oversize: Reason::ManifestInvalid }
    }

    /// Sends a request with the first of the credentials that is let in, beginning with the one that was let in last.
    async fn ask(&self, asker: Asker<'_>, request: Request<'_>) -> Result<Exchange, Unknown> {
        let Some(credential) = asker.credential.filter(|credential| credential.has_others()) else {
            return self.ask_as(asker, request).await;
        };
        let in_turn = credential.in_turn();
        let key = (asker.repository.clone(), credential.identity());
        let last = self.let_in.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        let order = last.into_iter().chain((0..in_turn.len()).filter(|at| Some(*at) != last));
        let mut refusal = None;
        for (at, one) in order.filter_map(|at| Some((at, in_turn.get(at)?))) {
            let asker = Asker { credential: Some(one), ..asker };
            match self.ask_as(asker, request.clone()).await {
                Err(refused) if refused.reason == Reason::RegistryUnauthorized => {
                    refusal.get_or_insert(refused);
                }
                Ok(exchange) => {
                    if last != Some(at) {
                        self.remember(key, at);
                    }
                    return Ok(exchange);
                }
                Err(unknown) => return Err(unknown),
            }
        }
        let mut refusal = refusal.unwrap_or_else(|| {
            unknown(Reason::RegistryUnauthorized, format!("{}: no credential", asker.repository))
        });
        let n_others = in_turn.len().saturating_sub(1);
        refusal.message = format!("{}; {n_others} more that match were refused too", refusal.message);
        Err(refusal)
    }

    fn remember(&self, key: (Repository, CredentialIdentity), at: usize) {
        let mut let_in = self.let_in.lock().unwrap_or_else(PoisonError::into_inner);
        if MAX_LET_IN <= let_in.len() {
            let_in.pop_first();
        }
        let_in.insert(key, at);
    }

    /// Sends a request with what the registry wants to see, and meets one challenge. 401 and 403 end here.
    async fn ask_as(&self, asker: Asker<'_>, request: Request<'_>) -> Result<Exchange, Unknown> {
        let with = |authorization: Option<HeaderValue>| Request { authorization, ..request.clone() };
        let known = self.tokens.current(asker, &self.transport, &self.settings).await?;
        let mut exchange = self.transport.send(with(known)).await?;
        if exchange.status == StatusCode::UNAUTHORIZED {
            let header = self.tokens.answer(asker, &exchange, &self.transport, &self.settings).await?;
            exchange = self.transport.send(with(Some(header))).await?;
        }
        match exchange.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.tokens.forget(asker);
                Err(unauthorized(asker, &exchange))
            }
            _ => Ok(exchange),
        }
    }

    fn request<'a>(&self, asker: Asker<'a>, method: Method, url: Url, accept: &'static str) -> Request<'a> {
        Request {
            registry: asker.repository.registry(),
            method,
            url,
            accept,
            authorization: None,
            form: None,
            max_bytes: self.settings.max_manifest_bytes,
            oversize: Reason::RegistryUnavailable,
        }
    }

    fn url(&self, repository: &Repository, rest: &str) -> Result<Url, Unknown> {
        let registry = repository.registry();
        let scheme = scheme(registry, &self.settings);
        // Docker Hub's API lives under another name than its references.
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let text = format!("{scheme}://{host}/v2/{}/{rest}", repository.path());
        Url::parse(&text).map_err(|_| {
            unknown(Reason::RegistryUnavailable, format!("{repository}: no URL can be made of it"))
        })
    }
}

/// The scheme in which a registry is asked.
fn scheme(registry: &str, settings: &Settings) -> &'static str {
    if settings.plain_http.iter().any(|host| host == registry) { "http" } else { "https" }
}
