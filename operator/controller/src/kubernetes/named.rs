//! The ConfigMaps that decisions and trust roots name: asked by name, every few seconds, whether they are still what they were.
//!
//! Not a watch: a right to list or watch ConfigMaps whose names nobody knows at installation is one to read them all. `get` is
//! needed anyway, and the metadata of an object are a few hundred bytes. Where no ConfigMap is named nothing is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::stream::unfold;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::Api;
use kube::core::{PartialObjectMeta, PartialObjectMetaExt as _};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::optional;

/// How often each is asked. The bound that `docs/verification.md` names.
const EVERY: Duration = Duration::from_secs(10);
/// How long passes between two questions: ten a second at most, so that more than a hundred ConfigMaps take longer and cost no more.
const PACE: Duration = Duration::from_millis(100);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A ConfigMap: its namespace and its name.
pub type Name = (String, String);

/// That a ConfigMap is not what it was; nothing of what it holds.
pub type Changed = PartialObjectMeta<ConfigMap>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Version(String),
    Absent,
    Silent,
}

/// The ConfigMaps that a pass could not read, for the apiserver gave it no answer: what the next question finds counts as news, or
/// what that pass said would stay until the policy's next look.
#[derive(Debug, Clone, Default)]
pub struct Doubts(Arc<Mutex<BTreeSet<Name>>>);

impl Doubts {
    /// A pass met silence.
    pub fn add(&self, namespace: &str, name: &str) {
        self.names().insert((namespace.to_owned(), name.to_owned()));
    }

    fn take(&self, name: &Name) -> bool {
        self.names().remove(name)
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<Name>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was last seen of each.
#[derive(Debug, Default)]
pub struct Named {
    seen: BTreeMap<Name, Seen>,
    doubts: Doubts,
}

impl Named {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(doubts: Doubts) -> Self {
        Self { seen: BTreeMap::new(), doubts }
    }

    /// Forgets what is no longer named.
    pub fn keep(&mut self, names: &BTreeSet<Name>) {
        self.seen.retain(|name, _| names.contains(name));
        self.doubts.names().retain(|name| names.contains(name));
    }

    /// Asks for one; something where the answer is another than the last.
    ///
    /// The first answer counts, and so does one after silence, here or in a pass: it may have read the ConfigMap before, or found
    /// nobody.
    pub async fn ask(&mut self, client: &Client, name: &Name) -> Option<Changed> {
        let (namespace, map) = name;
        // Before the question: a doubt that arises meanwhile is for the next.
        let was_doubted = self.doubts.take(name);
        let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
        let seen = match timeout(PATIENCE, api.get_metadata(map)).await.map(optional) {
            Ok(Ok(Some(found))) => Seen::Version(found.metadata.resource_version.unwrap_or_default()),
            Ok(Ok(None)) => Seen::Absent,
            // The passes that read it say so, in the apiserver's words.
            Ok(Err(_)) | Err(_) => Seen::Silent,
        };
        let is_news = seen != Seen::Silent && (was_doubted || self.seen.get(name) != Some(&seen));
        self.seen.insert(name.clone(), seen);
        let metadata = ObjectMeta {
            namespace: Some(namespace.clone()),
            name: Some(map.clone()),
            ..ObjectMeta::default()
        };
        is_news.then(|| metadata.into_response_partial())
    }
}

/// Follows what is named, as long as somebody listens: for the policies, for the trust roots, and for the decisions.
pub fn follow(
    client: Client,
    doubts: Doubts,
    names: impl Fn() -> BTreeSet<Name> + Send + 'static,
) -> [UnboundedReceiver<Changed>; 3] {
    let [(for_policies, policies), (for_roots, roots), (for_decisions, decisions)] =
        [unbounded(), unbounded(), unbounded()];
    let listeners = [for_policies, for_roots, for_decisions];
    let mut round = interval(EVERY);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ticks = unfold(round, |mut round| async {
        round.tick().await;
        Some(((), round))
    });
    tokio::spawn(async move { ask_each_round(&client, Named::new(doubts), names, listeners, ticks).await });
    [policies, roots, decisions]
}

/// Asks for what is named at each tick, until there are no more or nobody listens. Where nothing is named nothing is asked.
pub async fn ask_each_round(
    client: &Client,
    mut known: Named,
    names: impl Fn() -> BTreeSet<Name>,
    listeners: [UnboundedSender<Changed>; 3],
    ticks: impl Stream<Item = ()>,
) {
    let mut ticks = pin!(ticks);
    while ticks.next().await.is_some() && !listeners.iter().all(UnboundedSender::is_closed) {
        let names = names();
        known.keep(&names);
        for name in &names {
            sleep(PACE).await;
            let Some(changed) = known.ask(client, name).await else { continue };
            tracing::debug!(namespace = %name.0, config_map = %name.1, "a ConfigMap with keys or roots changed");
            for listener in &listeners {
                let _ = listener.unbounded_send(changed.clone()); // who is gone is not told
            }
        }
    }
}
