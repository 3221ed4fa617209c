//! The brake for everything: a ConfigMap in the operator's own namespace, watched by name. `rollforward pause --all` writes it.
//!
//! An annotation of the operator's own Deployment would go with the next `helm upgrade`; this object belongs to nobody's
//! chart, and a right to write it is a right of its own.

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use tokio::sync::watch;

/// The ConfigMap's name.
pub const CONFIG_MAP: &str = "rollforward-levers";
/// The key that pauses everything, with who and when.
pub const PAUSED_KEY: &str = "paused";

/// What the brake says; nothing until the apiserver has told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Brake {
    /// Not asked yet.
    Unknown,
    /// It is not pulled.
    Free,
    /// It is, by the text of the key.
    Pulled(String),
}

/// Follows the ConfigMap until the receivers are gone.
pub async fn follow(client: Client, namespace: String, sender: watch::Sender<Brake>) {
    let api = Api::<ConfigMap>::namespaced(client, &namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
    let mut events = Box::pin(watcher(api, config).default_backoff());
    let mut listed = Brake::Free;
    let mut told = false;
    while let Some(event) = events.next().await {
        let seen = match event {
            Ok(watcher::Event::Init) => {
                listed = Brake::Free;
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                listed = read(&object);
                continue;
            }
            Ok(watcher::Event::InitDone) => listed.clone(),
            Ok(watcher::Event::Apply(object)) => read(&object),
            Ok(watcher::Event::Delete(_)) => Brake::Free,
            Err(error) => {
                if !told {
                    tracing::warn!(%namespace, %error, "the ConfigMap {CONFIG_MAP}, by which everything is paused, cannot be watched");
                    told = true;
                }
                // What was known stays. Where it may not be read at all, nobody can pull it: the operator goes on.
                if *sender.borrow() == Brake::Unknown && is_forbidden(&error) {
                    Brake::Free
                } else {
                    continue;
                }
            }
        };
        let changed = sender.send_if_modified(|known| {
            let changed = *known != seen;
            *known = seen.clone();
            changed
        });
        if changed {
            tracing::info!(%namespace, brake = ?seen, "the brake for everything");
        }
        if sender.is_closed() {
            return;
        }
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    let cause = match error {
        watcher::Error::InitialListFailed(cause)
        | watcher::Error::WatchStartFailed(cause)
        | watcher::Error::WatchFailed(cause) => cause,
        watcher::Error::WatchError(status) => return status.code == 403,
        watcher::Error::NoResourceVersion => return false,
    };
    super::status(cause).is_some_and(|status| status.code == 403)
}

fn read(object: &ConfigMap) -> Brake {
    let text = object.data.as_ref().and_then(|data| data.get(PAUSED_KEY));
    text.map_or(Brake::Free, |text| Brake::Pulled(text.clone()))
}

/// Yields at each change of the brake: every policy is looked at again.
pub fn changes(receiver: watch::Receiver<Brake>) -> impl Stream<Item = ()> + Send + 'static {
    futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.changed().await.ok()?;
        Some(((), receiver))
    })
}
