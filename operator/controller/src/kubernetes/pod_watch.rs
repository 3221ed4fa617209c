//! Watches of the pods of open runs: what a pod shows wakes its policy at once.
//!
//! One watch a run, of the metadata of the workload's own pods: nothing is kept but whether the watch stands. There are as many
//! as open runs, which are limited; a pass reads the pods itself. Where a watch does not stand (no right, an apiserver that
//! does not answer) the run is looked at every second instead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, Event, watcher};
use rollforward_api::policy::UpdatePolicy;
use tokio::task::AbortHandle;

/// The policy that is woken.
pub type Policy = ObjectRef<DeserializeGuard<UpdatePolicy>>;

/// How long a watch rests after it woke its policy: a rollout of many pods is looked at a few times a second, not once a pod.
const REST: Duration = Duration::from_millis(300);

/// The pods of a run's workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodsOf {
    /// The run.
    pub run: String,
    /// The labels that select them.
    pub labels: String,
}

struct Standing {
    is_live: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Who is woken: the policies of one namespace, or of all.
struct Listener {
    space: Option<String>,
    wake: UnboundedSender<Policy>,
}

/// The watches that stand.
#[derive(Default)]
pub struct PodWatches {
    standing: Mutex<BTreeMap<(String, String), BTreeMap<PodsOf, Standing>>>,
    listeners: Vec<Listener>,
}

impl PodWatches {
    /// The policies that the watches wake, of one namespace or of all.
    pub fn listen(&mut self, space: Option<&str>) -> UnboundedReceiver<Policy> {
        let (wake, woken) = unbounded();
        self.listeners.push(Listener { space: space.map(str::to_owned), wake });
        woken
    }

    /// Keeps just these watches for a policy; whether all of them stand, so that nothing has to be asked again and again.
    pub fn keep(&self, client: &Client, policy: (&str, &str), wanted: BTreeSet<PodsOf>) -> bool {
        let (namespace, name) = policy;
        let key = (namespace.to_owned(), name.to_owned());
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.is_empty() {
            standing.remove(&key);
            return true;
        }
        let own = standing.entry(key).or_default();
        own.retain(|known, _| wanted.contains(known));
        for pods in wanted {
            let policy = ObjectRef::new(name).within(namespace);
            own.entry(pods).or_insert_with_key(|pods| self.begin(client, namespace, policy, pods));
        }
        own.values().all(|one| one.is_live.load(Ordering::Relaxed))
    }

    fn begin(&self, client: &Client, namespace: &str, policy: Policy, pods: &PodsOf) -> Standing {
        let api: Api<PartialObjectMeta<Pod>> = Api::namespaced(client.clone(), namespace);
        let config = watcher::Config::default().labels(&pods.labels);
        let is_live = Arc::new(AtomicBool::new(false));
        let live = Arc::clone(&is_live);
        let listens = |one: &&Listener| one.space.as_deref().is_none_or(|space| space == namespace);
        let wake: Vec<_> = self.listeners.iter().filter(listens).map(|one| one.wake.clone()).collect();
        let task = tokio::spawn(async move {
            let mut changes = watcher(api, config).default_backoff().boxed();
            while let Some(change) = changes.next().await {
                let mut news = tell(&live, &change);
                while let Some(Some(change)) = changes.next().now_or_never() {
                    news |= tell(&live, &change);
                }
                if news {
                    for listener in &wake {
                        let _ = listener.unbounded_send(policy.clone()); // who is gone is not told
                    }
                    tokio::time::sleep(REST).await;
                }
            }
        });
        Standing { is_live, task: task.abort_handle() }
    }
}

/// Whether the watch stands by this change, and whether the change is worth a look.
fn tell<K>(live: &AtomicBool, change: &Result<Event<K>, watcher::Error>) -> bool {
    match change {
        Ok(Event::Init | Event::InitApply(_)) => false,
        // A pass may have read the pods before the list of the watch: what changed between is seen by another look.
        Ok(Event::InitDone) => {
            live.store(true, Ordering::Relaxed);
            true
        }
        Ok(Event::Apply(_) | Event::Delete(_)) => true,
        Err(_) => {
            live.store(false, Ordering::Relaxed);
            false
        }
    }
}
