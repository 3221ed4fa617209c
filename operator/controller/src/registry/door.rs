//! The door through which `oci_distribution` asks: a proxy of ours on loopback, and the only way out that its clients have.
//!
//! The crate reads bodies of any length, follows redirects, drops what a refusal says, and takes no HTTP client of ours. It
//! does take a proxy. The door sends nothing itself: it hands a request to the call that waits for it (`pull.rs`,
//! `referrers.rs`), which asks by our own transport and gives a bounded answer back. Who does not hold a client's secret is
//! refused, and so is each request that no call waits for.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode};
use axum::serve::ListenerExt as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_distribution::client::{ClientConfig, ClientProtocol};
use oci_distribution::{Client, Reference};
use reqwest::Url;
use reqwest::header::PROXY_AUTHORIZATION;
use rollforward_core::evidence::Unknown;
use rollforward_core::image::{Digest, Repository};
use rollforward_core::reason::Reason;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::credential::{Credential, CredentialIdentity, Secret, unguessable};
use super::token::Asker;
use super::transport::{Exchange, authority};
use super::words::unknown;
use super::{RegistryError, Settings, USER_AGENT};

/// How many clients of the crate there are: each holds connections and, in its own tables, what it asked.
const MAX_CLIENTS: usize = 16;

/// Calls at once by one client: as many as the limiter ever sends to one host. Each holds two sockets of this process.
const AT_ONCE: usize = 32;

/// The user name that goes with a client's secret.
const USER: &str = "rollforward";

/// A client is for one registry and one credential: what the crate keeps in it is never another tenant's.
type Key = (String, Option<CredentialIdentity>);

/// What a client shows, hashed: to look it up takes the same time however much of a guess is right.
type Seal = [u8; 32];

type Sessions = Arc<Mutex<BTreeMap<Seal, Weak<Session>>>>;

/// What a registry said to one request: `Ok(None)` is its absence, `Err` a refusal.
pub(super) type Said = Result<Option<Exchange>, Unknown>;

/// The door, open until it is dropped.
pub(super) struct Door {
    address: SocketAddr,
    timeouts: (Duration, Duration),
    sessions: Sessions,
    /// The one used last stands last.
    clients: Mutex<Vec<(Key, Arc<Session>)>>,
    server: JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// One client of the crate.
struct Session {
    client: Client,
    /// The host that it may ask for, as its URLs spell it.
    host: String,
    seal: Seal,
    sessions: Sessions,
    turns: Arc<Semaphore>,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    n_begun: u64,
    waiting: BTreeMap<u64, mpsc::Sender<Visit>>,
}

impl Session {
    async fn begin(self: Arc<Self>, repository: Repository) -> Call {
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok();
        let (sender, visits) = mpsc::channel(1);
        let id = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.n_begun = calls.n_begun.wrapping_add(1);
            let id = calls.n_begun;
            calls.waiting.insert(id, sender);
            id
        };
        Call { session: self, id, repository, visits, _turn: turn }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.seal);
    }
}

/// One question of ours to the crate. What the crate asks meanwhile comes back to it, and to no other.
pub(super) struct Call {
    session: Arc<Session>,
    id: u64,
    repository: Repository,
    visits: mpsc::Receiver<Visit>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.session.calls.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&self.id);
    }
}

/// One request of the crate at the door.
pub(super) struct Visit {
    path: String,
    reply: oneshot::Sender<Response<Body>>,
}

/// What happened next in a call.
pub(super) enum Step<T> {
    /// The crate asks.
    Asked(Visit),
    /// The crate has come to an end.
    Done(T),
}

impl Door {
    /// Opens the door on a free port.
    pub(super) async fn open(settings: &Settings) -> Result<Self, Unknown> {
        let closed = |error: std::io::Error| {
            let message = format!("no socket on loopback for the registry client: {error}");
            unknown(Reason::RegistryUnavailable, message)
        };
        let places = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))];
        let listener = TcpListener::bind(&places[..]).await.map_err(closed)?;
        let address = listener.local_addr().map_err(closed)?;
        let sessions = Sessions::default();
        let router = Router::new().fallback(visited).with_state(Arc::clone(&sessions));
        // An answer's last bytes do not wait for an acknowledgement; a socket that cannot do so is slower, no more.
        let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        let timeouts = (settings.connect_timeout, settings.max_time);
        Ok(Self { address, timeouts, sessions, clients: Mutex::default(), server })
    }

    /// Begins a call, when it is this client's turn.
    pub(super) async fn call(&self, asker: Asker<'_>) -> Result<Call, Unknown> {
        let session = self.session(asker)?;
        Ok(session.begin(asker.repository.clone()).await)
    }

    /// The client for a registry and a credential. Where there are too many, the one that was used longest ago goes.
    fn session(&self, asker: Asker<'_>) -> Result<Arc<Session>, Unknown> {
        let key = (asker.repository.registry().to_owned(), asker.credential.map(Credential::identity));
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let known = clients.iter().position(|(known, _)| *known == key).map(|at| clients.remove(at));
        let (key, session) = match known {
            Some(known) => known,
            None => (key, self.admit(asker.repository, &unguessable())?),
        };
        if MAX_CLIENTS <= clients.len() {
            clients.remove(0);
        }
        clients.push((key, Arc::clone(&session)));
        Ok(session)
    }

    /// Makes a client and lets it in.
    fn admit(&self, repository: &Repository, secret: &Secret) -> Result<Arc<Session>, Unknown> {
        let unusable = |why: String| unknown(Reason::RegistryUnavailable, format!("{repository}: {why}"));
        let client = self.client(secret).map_err(|error| unusable(error.to_string()))?;
        let registry = reference(repository, String::new(), "latest");
        let url = Url::parse(&format!("http://{}/", registry.resolve_registry()));
        let host = url.map_err(|_| unusable("no URL can be made of it".to_owned()))?;
        let pair = STANDARD.encode(format!("{USER}:{}", secret.expose()));
        let session = Arc::new(Session {
            client,
            host: authority(&host),
            seal: seal(format!("Basic {pair}").as_bytes()),
            sessions: Arc::clone(&self.sessions),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            calls: Mutex::default(),
        });
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(session.seal, Arc::downgrade(&session));
        Ok(session)
    }

    fn client(&self, secret: &Secret) -> Result<Client, RegistryError> {
        // The crate makes a client by default beside the one that is configured, and panics where that cannot be.
        reqwest::Client::builder().build().map_err(RegistryError::Client)?;
        let way_out = format!("http://{USER}:{}@{}", secret.expose(), self.address);
        let (connect_timeout, timeout) = self.timeouts;
        Client::try_from(ClientConfig {
            protocol: ClientProtocol::Http,
            http_proxy: Some(way_out.clone()),
            // Nothing is asked by https; what is nevertheless ends at the door, which makes no tunnels.
            https_proxy: Some(way_out),
            no_proxy: None,
            connect_timeout: Some(connect_timeout),
            read_timeout: Some(timeout),
            user_agent: USER_AGENT,
            platform_resolver: None,
            ..ClientConfig::default()
        })
        .map_err(|error| RegistryError::CrateClient(Box::new(error)))
    }
}

impl Call {
    /// The client, for a question about [`Call::reference`].
    pub(super) fn client(&self) -> Client {
        self.session.client.clone()
    }

    /// A tag or digest, as the crate is to ask for it: the call's number goes before the repository's path.
    pub(super) fn reference(&self, reference: &str) -> Reference {
        self::reference(&self.repository, format!("{}/", self.id), reference)
    }

    /// Lets the crate go on, until it asks for something of this repository or has come to its end.
    pub(super) async fn next<T>(&mut self, mut question: Pin<&mut impl Future<Output = T>>) -> Step<T> {
        loop {
            let visit = tokio::select! {
                biased;
                done = question.as_mut() => return Step::Done(done),
                Some(visit) = self.visits.recv() => visit,
            };
            let path =
                visit.path.strip_prefix(self.repository.path()).and_then(|rest| rest.strip_prefix('/'));
            match path.map(str::to_owned) {
                Some(path) => return Step::Asked(Visit { path, ..visit }),
                None => visit.refuse(),
            }
        }
    }
}

impl Visit {
    /// What is asked for: `manifests/1.4`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Hands the crate what a registry said: the bytes alone, or that there is none. Returns the rest.
    pub(super) fn answer(self, mut said: Said) -> Said {
        let response = match &mut said {
            Ok(Some(exchange)) => Response::new(Body::from(std::mem::take(&mut exchange.body))),
            Ok(None) => with(StatusCode::NOT_FOUND),
            Err(_) => with(StatusCode::BAD_GATEWAY),
        };
        // The crate may have given up; then the call has come to its end, too.
        let _ = self.reply.send(response);
        said
    }

    /// Refuses what no call asks for.
    pub(super) fn refuse(self) {
        let _ = self.reply.send(with(StatusCode::FORBIDDEN));
    }
}

fn reference(repository: &Repository, before: String, reference: &str) -> Reference {
    let (registry, path) = (repository.registry().to_owned(), before + repository.path());
    match Digest::parse(reference) {
        Ok(digest) => Reference::with_digest(registry, path, digest.as_str().to_owned()),
        Err(_) => Reference::with_tag(registry, path, reference.to_owned()),
    }
}

async fn visited(State(sessions): State<Sessions>, request: Request) -> Response<Body> {
    let (call, path) = match call_of(&sessions, &request) {
        Ok(found) => found,
        Err(status) => return with(status),
    };
    let (reply, answer) = oneshot::channel();
    let is_waiting = call.send(Visit { path, reply }).await.is_ok();
    let answer = if is_waiting { answer.await.ok() } else { None };
    answer.unwrap_or_else(|| with(StatusCode::FORBIDDEN))
}

/// The call that waits for a request, and the path behind its number. `Err` is the answer where there is none.
fn call_of(sessions: &Sessions, request: &Request) -> Result<(mpsc::Sender<Visit>, String), StatusCode> {
    let shown = request.headers().get(PROXY_AUTHORIZATION).map(|value| seal(value.as_bytes()));
    let known = shown.and_then(|seal| {
        sessions.lock().unwrap_or_else(PoisonError::into_inner).get(&seal).and_then(Weak::upgrade)
    });
    let session = known.ok_or(StatusCode::PROXY_AUTHENTICATION_REQUIRED)?;
    if request.method() != Method::GET {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let uri = request.uri();
    if uri.authority().map(axum::http::uri::Authority::as_str) != Some(session.host.as_str()) {
        return Err(StatusCode::FORBIDDEN);
    }
    let path = uri.path_and_query().map(|path| path.as_str()).unwrap_or_default();
    let rest = path.strip_prefix("/v2/").ok_or(StatusCode::FORBIDDEN)?;
    if rest.is_empty() {
        // The crate asks first how it is let in. By us: the registry is not asked, and hears of no credential here.
        return Err(StatusCode::OK);
    }
    let (id, path) = rest.split_once('/').ok_or(StatusCode::FORBIDDEN)?;
    let id = id.parse::<u64>().map_err(|_| StatusCode::FORBIDDEN)?;
    let calls = session.calls.lock().unwrap_or_else(PoisonError::into_inner);
    let call = calls.waiting.get(&id).cloned().ok_or(StatusCode::FORBIDDEN)?;
    Ok((call, path.to_owned()))
}

fn seal(shown: &[u8]) -> Seal {
    Sha256::digest(shown).into()
}

fn with(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
