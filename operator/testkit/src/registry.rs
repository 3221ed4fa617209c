//! A registry on loopback that answers truthfully until it is told to lie, and remembers what it was asked.
//!
//! Faults are placed on requests by a part of their line (`GET /v2/web/tags/list?n=1000`); the switches change the honest
//! part. A real registry with a proxy before it is the better proof where one can do it; this is for the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::stream;
use rollforward_core::image::{Digest, Repository};
use serde_json::json;

use crate::image::{Image, digest_of};
use crate::tls::{TestAuthority, TlsListener};
use crate::wire::{Counted, Wire};

/// How the registry lets callers in.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    /// Everybody.
    #[default]
    Open,
    /// Whoever is in `Switches::users`, with the Basic scheme.
    Basic,
    /// Whoever has a token of `/token`.
    Bearer {
        /// The realm to name; the registry's own where `None`.
        realm: Option<String>,
        /// What `/token` says of a token's life; nothing where `None`.
        expires_in: Option<u64>,
    },
}

/// In which order the registry lists its tags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ListOrder {
    /// As they were pushed first.
    #[default]
    Age,
    /// By the bytes of their names.
    Name,
    /// The last push first.
    NewestFirst,
}

/// What the registry makes of a `last` that it does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LostCursor {
    /// 404, as zot.
    #[default]
    NotFound,
    /// The list from its start.
    FromTheStart,
    /// An empty page.
    Nothing,
}

/// The honest part of the registry, as a test wants it.
#[derive(Debug, Clone, Default)]
pub struct Switches {
    /// How callers are let in.
    pub auth: Auth,
    /// User to password.
    pub users: BTreeMap<String, String>,
    /// Whether `/token` serves callers without a credential.
    pub anonymous: bool,
    /// The most tags in a page, whatever the caller asks for; no limit where `None`.
    pub page_size: Option<usize>,
    /// The order of the list.
    pub order: ListOrder,
    /// What becomes of a `last` that was deleted. In a list by name any text has its place, and this does not count.
    pub lost_cursor: LostCursor,
    /// Answers 400 to whoever asks for more tags in a page.
    pub refused_above: Option<usize>,
    /// Leaves out `Link`, although there is more.
    pub without_link: bool,
    /// Put before the target of each `Link`: `http://other.test` sends callers away.
    pub link_prefix: String,
    /// Leaves out `Docker-Content-Digest`.
    pub without_digest: bool,
    /// Whether there is a referrers API; without it 404, as in many registries.
    pub referrers: bool,
    /// The refresh token that `/token` takes in a posted form.
    pub refresh_token: Option<String>,
}

/// A lie, told to each request whose line holds the part it was placed on.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A status, headers, and a body.
    Reply {
        /// The status code.
        status: u16,
        /// Names and values.
        headers: Vec<(String, String)>,
        /// The bytes.
        body: Vec<u8>,
    },
    /// 200 and bytes without end.
    Endless,
    /// No answer at all.
    Silence,
    /// The honest answer, after this time.
    Late(Duration),
}

impl Fault {
    /// A status without words.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::reply(status, &[], "")
    }

    /// A status with headers and a body.
    #[must_use]
    pub fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        Fault::Reply {
            status,
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: body.into(),
        }
    }

    /// A redirect.
    #[must_use]
    pub fn redirect(location: &str) -> Self {
        Self::reply(307, &[("location", location)], "")
    }

    /// The error form of the distribution specification.
    #[must_use]
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::reply(status, &[("content-type", "application/json")], error_body(code, message))
    }
}

/// One request, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Method, path and query: `GET /v2/web/tags/list?n=1000`.
    pub line: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `Accept` header.
    pub accept: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
}

#[derive(Default)]
struct Store {
    switches: Switches,
    faults: Vec<(String, Fault)>,
    /// Tags in the order of their pushes.
    repositories: BTreeMap<String, Vec<(String, Digest)>>,
    manifests: BTreeMap<(String, Digest), Image>,
    blobs: BTreeMap<Digest, Vec<u8>>,
    tokens: BTreeSet<String>,
    received: Vec<Received>,
    address: String,
    /// What is pushed as soon as a request whose line holds the first text was answered.
    pushed_later: Vec<(String, String, String, Image)>,
    n_under_way: usize,
    most_at_once: usize,
}

/// The registry; it ends when this is dropped.
pub struct HostileRegistry {
    address: SocketAddr,
    store: Arc<Mutex<Store>>,
    wire: Arc<Wire>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for HostileRegistry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl HostileRegistry {
    /// Starts an open, honest, empty registry on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let wire = Arc::new(Wire::default());
        let counted = Arc::clone(&wire);
        Self::serve(listener.local_addr().unwrap(), wire, |router| async move {
            axum::serve(Counted::new(listener, counted), router).await.unwrap();
        })
    }

    /// The same over TLS, with a certificate of this authority; with `for_clients` it asks for one in turn.
    pub async fn start_tls(authority: &TestAuthority, for_clients: bool) -> Self {
        let inner = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = inner.local_addr().unwrap();
        let listener = TlsListener { inner, acceptor: authority.acceptor(for_clients) };
        Self::serve(address, Arc::default(), |router| async move {
            axum::serve(listener, router).await.unwrap();
        })
    }

    fn serve<F: Future<Output = ()> + Send + 'static>(
        address: SocketAddr,
        wire: Arc<Wire>,
        run: impl FnOnce(Router) -> F,
    ) -> Self {
        let store = Arc::new(Mutex::new(Store { address: address.to_string(), ..Store::default() }));
        let router = Router::new().fallback(serve).with_state(store.clone());
        Self { address, store, wire, server: tokio::spawn(run(router)) }
    }

    /// Host and port: the registry's name in references and settings.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// A repository of this registry.
    #[must_use]
    pub fn repository(&self, path: &str) -> Repository {
        Repository::parse(&format!("{}/{path}", self.address)).unwrap()
    }

    /// Changes the honest part.
    pub fn switch(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.store.lock().unwrap().switches);
    }

    /// Places a fault on every request whose line holds `part`. The first that fits is told.
    pub fn fault(&self, part: &str, fault: Fault) {
        self.store.lock().unwrap().faults.push((part.to_owned(), fault));
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.store.lock().unwrap().faults.clear();
    }

    /// Stores an image under a tag, which may be any text.
    pub fn push(&self, path: &str, tag: &str, image: &Image) -> Digest {
        self.store.lock().unwrap().push(path, tag, image)
    }

    /// Stores a manifest without a tag, and blobs beside it.
    pub fn store(&self, path: &str, image: &Image, blobs: &[Vec<u8>]) -> Digest {
        let mut store = self.store.lock().unwrap();
        for blob in blobs {
            store.blobs.insert(digest_of(blob), blob.clone());
        }
        store.repositories.entry(path.to_owned()).or_default();
        let digest = image.digest();
        store.manifests.insert((path.to_owned(), digest.clone()), image.clone());
        digest
    }

    /// Pushes as soon as a request whose line holds `part` was answered: between a HEAD and the GET behind it.
    pub fn push_after(&self, part: &str, path: &str, tag: &str, image: &Image) {
        let later = (part.to_owned(), path.to_owned(), tag.to_owned(), image.clone());
        self.store.lock().unwrap().pushed_later.push(later);
    }

    /// Deletes a tag; its manifest stays.
    pub fn untag(&self, path: &str, tag: &str) {
        let mut store = self.store.lock().unwrap();
        store.repositories.get_mut(path).unwrap().retain(|(name, _)| name != tag);
    }

    /// The most requests that were being answered at the same time.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        self.store.lock().unwrap().most_at_once
    }

    /// Bytes on the wire so far, both directions, headers included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.wire.bytes()
    }

    /// Every request so far, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.store.lock().unwrap().received.clone()
    }

    /// The lines of all requests so far, in order.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.received().into_iter().map(|received| received.line).collect()
    }

    /// How many requests there were whose line holds `part`.
    #[must_use]
    pub fn count(&self, part: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(part)).count()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.store.lock().unwrap().received.clear();
    }
}

async fn serve(State(store): State<Arc<Mutex<Store>>>, request: Request) -> Response<Body> {
    {
        let mut store = store.lock().unwrap();
        store.n_under_way += 1;
        store.most_at_once = store.most_at_once.max(store.n_under_way);
    }
    let response = answer(&store, request).await;
    store.lock().unwrap().n_under_way -= 1;
    response
}

async fn answer(store: &Arc<Mutex<Store>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let line = format!("{} {}", parts.method, parts.uri);
    let header = |name| parts.headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
    let authorization = header("authorization");
    let form = axum::body::to_bytes(body, 64 * 1024).await.unwrap();
    let fault = {
        let mut store = store.lock().unwrap();
        let (accept, user_agent) = (header("accept"), header("user-agent"));
        let authorization = authorization.clone();
        store.received.push(Received { line: line.clone(), authorization, accept, user_agent });
        let placed = store.faults.iter().find(|(part, _)| line.contains(part));
        placed.map(|(_, fault)| fault.clone())
    };
    match fault {
        Some(Fault::Reply { status, headers, body }) => reply(status, &headers, body),
        Some(Fault::Endless) => {
            let chunks = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 64 * 1024]));
            Response::new(Body::from_stream(chunks))
        }
        Some(Fault::Silence) => std::future::pending().await,
        late @ (Some(Fault::Late(_)) | None) => {
            if let Some(Fault::Late(time)) = late {
                tokio::time::sleep(time).await;
            }
            let query = parts.uri.query().unwrap_or_default();
            let path = parts.uri.path();
            let form = String::from_utf8_lossy(&form);
            let mut store = store.lock().unwrap();
            let response = store.honest(path, query, authorization.as_deref(), &form);
            let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut store.pushed_later)
                .into_iter()
                .partition(|(part, ..)| line.contains(part.as_str()));
            store.pushed_later = later;
            for (_, path, tag, image) in due {
                store.push(&path, &tag, &image);
            }
            response
        }
    }
}

impl Store {
    fn push(&mut self, path: &str, tag: &str, image: &Image) -> Digest {
        let digest = image.digest();
        if let Some(config) = &image.config {
            self.blobs.insert(digest_of(config), config.clone());
        }
        self.manifests.insert((path.to_owned(), digest.clone()), image.clone());
        let tags = self.repositories.entry(path.to_owned()).or_default();
        match tags.iter_mut().find(|(name, _)| name == tag) {
            Some((_, known)) => known.clone_from(&digest),
            None => tags.push((tag.to_owned(), digest.clone())),
        }
        digest
    }

    fn honest(&mut self, path: &str, query: &str, authorization: Option<&str>, form: &str) -> Response<Body> {
        if path == "/token" {
            return self.token(query, authorization, form);
        }
        if let Some(challenge) = self.challenge(authorization) {
            let json = ("content-type".to_owned(), "application/json".to_owned());
            let headers = [("www-authenticate".to_owned(), challenge), json];
            return reply(401, &headers, error_body("UNAUTHORIZED", "authentication required"));
        }
        let rest = path.strip_prefix("/v2/").unwrap_or_default();
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return self.list(name, query);
        }
        if let Some((name, digest)) = rest.split_once("/referrers/").filter(|_| self.switches.referrers) {
            return self.referrers(name, digest);
        }
        if let Some((name, reference)) = rest.split_once("/manifests/") {
            return self.manifest(name, reference);
        }
        let blob = rest
            .split_once("/blobs/")
            .and_then(|(_, digest)| Digest::parse(digest).ok())
            .and_then(|digest| self.blobs.get(&digest));
        match blob {
            Some(bytes) => reply(200, &[], bytes.clone()),
            None => error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
        }
    }

    fn challenge(&self, authorization: Option<&str>) -> Option<String> {
        match &self.switches.auth {
            Auth::Open => None,
            Auth::Basic => {
                let is_known = self.user(authorization).is_some();
                (!is_known).then(|| "Basic realm=\"here\"".to_owned())
            }
            Auth::Bearer { realm, .. } => {
                let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
                if token.is_some_and(|token| self.tokens.contains(token)) {
                    return None;
                }
                let own = format!("http://{}/token", self.address);
                let realm = realm.as_ref().unwrap_or(&own);
                Some(format!("Bearer realm=\"{realm}\",service=\"{}\"", self.address))
            }
        }
    }

    fn user(&self, authorization: Option<&str>) -> Option<String> {
        let encoded = authorization?.strip_prefix("Basic ")?;
        let pair = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (user, password) = pair.split_once(':')?;
        (self.switches.users.get(user)? == password).then(|| user.to_owned())
    }

    /// Tokens are `token-<user>-<number>`, so that a test sees whose was used.
    fn token(&mut self, query: &str, authorization: Option<&str>, form: &str) -> Response<Body> {
        let refresh = self.switches.refresh_token.as_ref();
        let user = match authorization {
            Some(_) => self.user(authorization),
            None if refresh.is_some_and(|token| form.contains(&format!("refresh_token={token}"))) => {
                Some("refreshed".to_owned())
            }
            None => self.switches.anonymous.then(|| "anonymous".to_owned()),
        };
        let asks_to_pull = format!("{query}{form}").contains("scope=repository%3A");
        let Some(user) = user.filter(|_| asks_to_pull) else {
            return error(401, "UNAUTHORIZED", "incorrect username or password");
        };
        let token = format!("token-{user}-{}", self.tokens.len());
        self.tokens.insert(token.clone());
        let mut body = json!({"token": token});
        if let Auth::Bearer { expires_in: Some(seconds), .. } = self.switches.auth {
            body["expires_in"] = seconds.into();
        }
        json_reply(&body)
    }

    fn list(&self, name: &str, query: &str) -> Response<Body> {
        let Some(tags) = self.repositories.get(name) else {
            return error(404, "NAME_UNKNOWN", "repository name not known to registry");
        };
        let parameter = |wanted: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find_map(|(name, value)| (name == wanted).then_some(value))
        };
        let asked: Option<usize> = parameter("n").and_then(|n| n.parse().ok());
        if self.switches.refused_above.is_some_and(|most| asked.is_some_and(|asked| most < asked)) {
            return error(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested");
        }
        let n = asked.unwrap_or(usize::MAX).min(self.switches.page_size.unwrap_or(usize::MAX));
        let mut listed: Vec<&str> = tags.iter().map(|(tag, _)| tag.as_str()).collect();
        match self.switches.order {
            ListOrder::Age => {}
            ListOrder::Name => listed.sort_unstable(),
            ListOrder::NewestFirst => listed.reverse(),
        }
        let from = parameter("from").and_then(|n| n.parse().ok()).unwrap_or(0_usize);
        let from = match parameter("last") {
            None => from,
            Some(last) if self.switches.order == ListOrder::Name => {
                listed.partition_point(|tag| *tag <= last)
            }
            Some(last) => match (listed.iter().position(|tag| *tag == last), self.switches.lost_cursor) {
                (Some(at), _) => at + 1,
                (None, LostCursor::FromTheStart) => 0,
                (None, LostCursor::Nothing) => listed.len(),
                (None, LostCursor::NotFound) => return error(404, "NAME_UNKNOWN", "no such last tag"),
            },
        };
        let page: Vec<&str> = listed.iter().skip(from).take(n).copied().collect();
        let body = json!({"name": name, "tags": page}).to_string();
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let next = from + page.len();
        if next < tags.len() && !self.switches.without_link {
            let prefix = &self.switches.link_prefix;
            let link = format!("<{prefix}/v2/{name}/tags/list?n={n}&from={next}>; rel=\"next\"");
            headers.push(("link".to_owned(), link));
        }
        reply(200, &headers, body.into_bytes())
    }

    /// What names a digest as its subject, as the distribution specification lists it.
    fn referrers(&self, name: &str, subject: &str) -> Response<Body> {
        let referring =
            self.manifests.iter().filter(|((path, _), _)| path == name).filter_map(|((_, digest), image)| {
                let manifest: serde_json::Value = serde_json::from_slice(&image.manifest).ok()?;
                (manifest["subject"]["digest"] == subject).then(|| {
                json!({"mediaType": image.media_type, "digest": digest.as_str(), "size": image.manifest.len(),
                    "artifactType": manifest["artifactType"]})
            })
            });
        let all: Vec<_> = referring.collect();
        let index = json!({"schemaVersion": 2, "mediaType": crate::image::INDEX, "manifests": all});
        let headers = [("content-type".to_owned(), crate::image::INDEX.to_owned())];
        reply(200, &headers, index.to_string().into_bytes())
    }

    fn manifest(&self, name: &str, reference: &str) -> Response<Body> {
        let Some(tags) = self.repositories.get(name) else {
            return error(404, "NAME_UNKNOWN", "repository name not known to registry");
        };
        let by_tag = tags.iter().find(|(tag, _)| tag == reference);
        let digest = by_tag.map(|(_, digest)| digest.clone());
        let digest = digest.or_else(|| Digest::parse(reference).ok());
        let Some(image) = digest.and_then(|digest| self.manifests.get(&(name.to_owned(), digest))) else {
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown");
        };
        let mut headers = vec![("content-type".to_owned(), image.media_type.clone())];
        if !self.switches.without_digest {
            headers.push(("docker-content-digest".to_owned(), image.digest().to_string()));
        }
        reply(200, &headers, image.manifest.clone())
    }
}

fn reply(status: u16, headers: &[(String, String)], body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        let name: axum::http::HeaderName = name.parse().unwrap();
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

fn json_reply(body: &serde_json::Value) -> Response<Body> {
    let headers = [("content-type".to_owned(), "application/json".to_owned())];
    reply(200, &headers, body.to_string().into_bytes())
}

fn error(status: u16, code: &str, message: &str) -> Response<Body> {
    let headers = [("content-type".to_owned(), "application/json".to_owned())];
    reply(status, &headers, error_body(code, message))
}

fn error_body(code: &str, message: &str) -> Vec<u8> {
    json!({"errors": [{"code": code, "message": message}]}).to_string().into_bytes()
}
