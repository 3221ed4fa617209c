//! A door in front of the apiserver: it counts an operator's writes, and kills the operator after one of them.
//!
//! The operator speaks plain HTTP to it; requests go on to the real apiserver with the administrator's rights. The kill
//! comes when the apiserver has answered and before the operator hears of it: the write is there, its writer is gone.
//! Events are passed on and not counted: nothing is ever decided from them, and they are sent when there is time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::sync::watch;

use crate::cluster::Cluster;

/// Larger than any object that the apiserver takes.
const MOST_BYTES: usize = 4 << 20;
/// What concerns one connection and is not passed on.
const OF_THE_CONNECTION: [HeaderName; 4] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::HOST];

/// A door in front of one apiserver, for one operator.
pub struct Door {
    /// A kubeconfig that leads through it.
    pub kubeconfig: PathBuf,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    upstream: kube::Client,
    writes: Mutex<Vec<String>>,
    aim: watch::Sender<Aim>,
    fallen: watch::Sender<Option<String>>,
    silence: Mutex<Option<String>>,
}

/// Which write: the words of it, and how many of the same words come before it.
pub type Which = (String, usize);

/// Whom the door kills, and after which write.
#[derive(Clone, Default)]
struct Aim {
    pid: u32,
    after: Option<Which>,
    /// Writes before this one do not count.
    from: usize,
}

impl Door {
    /// Opens a door on a free port of loopback.
    pub async fn open(cluster: &Cluster, name: &str) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let server = format!("http://{}", listener.local_addr()?);
        let kubeconfig = cluster.folder.join(format!("door-{name}.kubeconfig"));
        std::fs::write(
            &kubeconfig,
            format!(
                "apiVersion: v1\nkind: Config\nclusters: [{{name: door, cluster: {{server: \"{server}\"}}}}]\nusers: [{{name: door, user: {{}}}}]\ncontexts: [{{name: door, context: {{cluster: door, user: door}}}}]\ncurrent-context: door\n"
            ),
        )?;
        let shared = Arc::new(Shared {
            upstream: cluster.client().await?,
            writes: Mutex::default(),
            aim: watch::Sender::default(),
            fallen: watch::Sender::default(),
            silence: Mutex::default(),
        });
        let app = axum::Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { kubeconfig, shared, task })
    }

    /// Names the operator behind the door, and the write from now on after which it is killed. No write passes before this
    /// is said.
    pub fn aim(&self, pid: u32, after: Option<Which>) {
        let from = self.writes().len();
        self.shared.aim.send_replace(Aim { pid, after, from });
    }

    /// From now on the object of this path is not given out, as by an apiserver in trouble; its metadata are. `None` ends it.
    pub fn silence(&self, path: Option<&str>) {
        *self.shared.silence.lock().expect("not poisoned") = path.map(str::to_owned);
    }

    /// The writes so far, in words.
    pub fn writes(&self) -> Vec<String> {
        self.shared.writes.lock().expect("not poisoned").clone()
    }

    /// Waits until the operator was killed and answers after which write.
    pub async fn killed(&self) -> anyhow::Result<String> {
        let mut fallen = self.shared.fallen.subscribe();
        let said = fallen.wait_for(Option::is_some).await.context("the door")?;
        said.clone().context("said")
    }

    /// After which write the operator was killed, if it was.
    pub fn was_killed(&self) -> Option<String> {
        self.shared.fallen.borrow().clone()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let refused = |error: String| (StatusCode::BAD_GATEWAY, error).into_response();
    let (mut parts, body) = request.into_parts();
    if shared.is_silent_about(&parts) {
        return (StatusCode::SERVICE_UNAVAILABLE, "silent").into_response();
    }
    let body = match axum::body::to_bytes(body, MOST_BYTES).await {
        Ok(body) => body,
        Err(error) => return refused(error.to_string()),
    };
    let write = is_write(&parts.method, &parts.uri).then(|| words(&parts.method, parts.uri.path(), &body));
    if write.is_some() && shared.aim.subscribe().wait_for(|aim| aim.pid != 0).await.is_err() {
        return refused("the door is closed".to_owned());
    }
    for name in OF_THE_CONNECTION {
        parts.headers.remove(name);
    }
    let answer = match shared.upstream.send(axum::http::Request::from_parts(parts, body.into())).await {
        Ok(answer) => answer,
        Err(error) => return refused(error.to_string()),
    };
    let (mut parts, body) = answer.into_parts();
    if let Some(write) = write {
        // A refused write has changed nothing, yet the operator may die of it all the same: it counts.
        let word =
            if parts.status.is_success() { String::new() } else { format!(" ({})", parts.status.as_u16()) };
        shared.wrote(format!("{write}{word}"));
    }
    for name in OF_THE_CONNECTION {
        parts.headers.remove(name);
    }
    Response::from_parts(parts, Body::new(body))
}

impl Shared {
    fn is_silent_about(&self, parts: &Parts) -> bool {
        let silence = self.silence.lock().expect("not poisoned");
        let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let whole = !accept.unwrap_or_default().contains("as=PartialObjectMetadata;");
        whole && silence.as_deref() == Some(parts.uri.path())
    }

    fn wrote(&self, write: String) {
        let aim = self.aim.borrow().clone();
        let same = {
            let mut writes = self.writes.lock().expect("not poisoned");
            let same = writes.iter().skip(aim.from).filter(|known| **known == write).count();
            writes.push(write.clone());
            same
        };
        if aim.after.is_some_and(|(words, before)| words == write && before == same) {
            let pid = i32::try_from(aim.pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            self.fallen.send_replace(Some(write));
        }
    }
}

fn is_write(method: &Method, uri: &Uri) -> bool {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    // A review asks a question by POST, a dry run by any method.
    let asks = uri.path().ends_with("reviews") || uri.query().is_some_and(|query| query.contains("dryRun="));
    !reads && !asks && !uri.path().contains("/events")
}

/// A write in words: `run: Canary, intent`, `Deployment: revert`.
fn words(method: &Method, path: &str, body: &Bytes) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let rest = path.split("/namespaces/").nth(1).unwrap_or(path);
    let mut parts = rest.split('/').skip(1);
    let (kind, subresource) = (parts.next().unwrap_or(rest), parts.nth(1).unwrap_or_default());
    let finalizers = body["metadata"]["finalizers"].as_array().map(Vec::len);
    let what = match (method.as_str(), kind, subresource) {
        // A status is written whole, as the one operation of a JSON patch.
        ("PATCH", "updateruns", "status") => run_words(&body[0]["value"]),
        ("PATCH", "deployments", "") => patch_words(&body),
        (_, _, "") if finalizers == Some(0) && *method == Method::PATCH => "finalizer removed".to_owned(),
        (_, _, "") if finalizers.is_some() && *method == Method::PATCH => "finalizer set".to_owned(),
        ("POST", _, "") => "created".to_owned(),
        ("DELETE", _, "") => "deleted".to_owned(),
        (method, _, subresource) => format!("{method} {subresource}").trim_end().to_owned(),
    };
    format!("{kind}: {what}")
}

fn run_words(status: &Value) -> String {
    let mut words = vec![status["phase"].as_str().unwrap_or("no phase").to_owned()];
    for field in ["cause", "intent", "result"] {
        if status[field].is_object() {
            words.push(field.to_owned());
        }
    }
    words.join(", ")
}

/// What a JSON patch of ours does, by the places it writes.
fn patch_words(body: &Value) -> String {
    let written: Vec<&str> = body
        .as_array()
        .into_iter()
        .flatten()
        .filter(|operation| operation["op"] != "test")
        .filter_map(|operation| operation["path"].as_str())
        .collect();
    let writes = |part: &str| written.iter().any(|path| path.contains(part));
    let held = body.to_string().contains("maxUnavailable\":0");
    match (writes("/image"), writes("minReadySeconds"), held) {
        (true, _, true) => "start".to_owned(),
        (true, _, false) => "revert".to_owned(),
        (false, true, _) => "promote".to_owned(),
        (false, false, true) => "widen".to_owned(),
        (false, false, false) => written.join(" "),
    }
}
