//! Finds who rolls a workload out in our place: the Rollouts of Argo Rollouts and the Canaries of Flagger, and what they say.
//!
//! Where a cluster does not serve them, that is asked again once a minute and nothing else is. What points where is listed at
//! most every few seconds and namespace; the one object that decides is read whole in each pass. The types: `delegates/`.

#[allow(missing_docs, reason = "the fields are named as in the objects")]
pub mod objects;

use std::collections::BTreeMap;

use futures::{Stream, StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use kube::{Client, Resource, ResourceExt};
use rollforward_core::delegate::Delegate;
use rollforward_core::text;
use rollforward_core::workload::{Pod, Revision};
use tokio::sync::Mutex;

use super::workloads::{self, Object, api, pods_by_sets};
use super::{ApiError, kinds, optional};
use crate::clock;
use objects::{Canary, Rollout, canary, rollout};

/// How long it is believed that a kind is served, or that it is not.
const SERVED_KEPT: SignedDuration = SignedDuration::from_secs(60);
/// How long the list of what points where is believed.
const LISTED_KEPT: SignedDuration = SignedDuration::from_secs(5);

/// A kind that rolls out the workloads of others.
pub trait Points: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> {
    /// The workload that it names: kind and name.
    fn target(&self) -> Option<(&str, &str)>;
}

/// What points at workloads in one namespace: by the workload's kind and name the name of the object.
type Pointers = BTreeMap<(String, String), String>;

/// What was learned of delegates, with its age.
#[derive(Default)]
pub struct Delegates {
    served: Mutex<BTreeMap<String, (bool, Timestamp)>>,
    listed: Mutex<BTreeMap<(String, String), (Pointers, Timestamp)>>,
}

/// A delegate, and the pods that it makes of the workload.
pub struct Found {
    /// Who it is, and what it says.
    pub delegate: Delegate,
    /// Templates and pods beside the workload's own.
    pub pods: (Vec<Revision>, Vec<Pod>),
}

fn is_fresh(at: Timestamp, kept: SignedDuration) -> bool {
    clock::now().duration_since(at) < kept
}

impl Delegates {
    /// Who rolls the workload out in our place, if somebody does.
    pub async fn of(&self, client: &Client, object: &Object) -> Option<Found> {
        let none = (Vec::new(), Vec::new());
        let found = match object {
            Object::Rollout(own) => {
                return Some(Found { delegate: Delegate::Argo(rollout(own, None)), pods: none });
            }
            Object::Deployment(own) => self.of_deployment(client, own).await,
            Object::DaemonSet(own) => self.of_daemon_set(client, own).await,
            Object::StatefulSet(_) | Object::CronJob(_) => return None,
        };
        found.unwrap_or_else(|error| Some(Found { delegate: Delegate::Unknown(words(&error)), pods: none }))
    }

    async fn of_deployment(&self, client: &Client, own: &Deployment) -> Result<Option<Found>, ApiError> {
        let (namespace, name) = (own.namespace().unwrap_or_default(), own.name_any());
        if let Some(delegate) = self.canary(client, "Deployment", (&namespace, &name)).await? {
            let primary = optional(api::<Deployment>(client, &namespace).get(&primary(&name)).await);
            let pods = match primary.map_err(ApiError::of("get the primary Deployment"))? {
                Some(primary) => {
                    let uid = primary.uid().unwrap_or_default();
                    pods_by_sets(client, &namespace, &primary.spec.selector, &uid).await?
                }
                None => (Vec::new(), Vec::new()),
            };
            return Ok(Some(Found { delegate, pods }));
        }
        if let Some(named) = self.pointing::<Rollout>(client, "Deployment", (&namespace, &name)).await? {
            let found = optional(api::<Rollout>(client, &namespace).get(&named).await);
            if let Some(object) = found.map_err(ApiError::of("get the Rollout"))? {
                let delegate = Delegate::Argo(rollout(&object, own.metadata.generation));
                let uid = object.uid().unwrap_or_default();
                let pods = pods_by_sets(client, &namespace, &own.spec.selector, &uid).await?;
                return Ok(Some(Found { delegate, pods }));
            }
        }
        Ok(None)
    }

    /// Only Flagger takes DaemonSets.
    async fn of_daemon_set(&self, client: &Client, own: &DaemonSet) -> Result<Option<Found>, ApiError> {
        let (namespace, name) = (own.namespace().unwrap_or_default(), own.name_any());
        let Some(delegate) = self.canary(client, "DaemonSet", (&namespace, &name)).await? else {
            return Ok(None);
        };
        let primary = optional(api::<DaemonSet>(client, &namespace).get(&primary(&name)).await);
        let pods = match primary.map_err(ApiError::of("get the primary DaemonSet"))? {
            Some(primary) => {
                kinds::revisions(client, &kinds::daemon_set(&primary), &primary.spec.selector).await?
            }
            None => (Vec::new(), Vec::new()),
        };
        Ok(Some(Found { delegate, pods }))
    }

    /// The Canary that names a workload, with what it says.
    async fn canary(
        &self,
        client: &Client,
        kind: &str,
        (namespace, name): (&str, &str),
    ) -> Result<Option<Delegate>, ApiError> {
        let Some(named) = self.pointing::<Canary>(client, kind, (namespace, name)).await? else {
            return Ok(None);
        };
        let found = optional(api::<Canary>(client, namespace).get(&named).await);
        let Some(object) = found.map_err(ApiError::of("get the Canary"))? else {
            return Ok(None);
        };
        let mut read = canary(&object);
        if read.phase == "Failed" {
            read.warning = warning(client, namespace, &object.uid().unwrap_or_default()).await;
        }
        Ok(Some(Delegate::Flagger(Box::new(read))))
    }

    /// The object of a kind that names a workload.
    async fn pointing<K>(
        &self,
        client: &Client,
        kind: &str,
        (namespace, name): (&str, &str),
    ) -> Result<Option<String>, ApiError>
    where
        K: Points + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        if !self.is_served::<K>(client).await? {
            return Ok(None);
        }
        let key = (K::plural(&()).into_owned(), namespace.to_owned());
        let target = (kind.to_owned(), name.to_owned());
        if let Some((known, at)) = self.listed.lock().await.get(&key)
            && is_fresh(*at, LISTED_KEPT)
        {
            return Ok(known.get(&target).cloned());
        }
        let all = Api::<DeserializeGuard<K>>::namespaced(client.clone(), namespace);
        let all = all.list(&ListParams::default()).await;
        let all = all.map_err(ApiError::of("list the Rollouts or Canaries"))?.items;
        let points = |one: &DeserializeGuard<K>| {
            let one = one.0.as_ref().ok()?;
            let (kind, target) = one.target()?;
            Some(((kind.to_owned(), target.to_owned()), one.name_any()))
        };
        let known: Pointers = all.iter().filter_map(points).collect();
        let found = known.get(&target).cloned();
        self.listed.lock().await.insert(key, (known, clock::now()));
        Ok(found)
    }

    async fn is_served<K: Points>(&self, client: &Client) -> Result<bool, ApiError> {
        let key = K::plural(&()).into_owned();
        if let Some((known, at)) = self.served.lock().await.get(&key)
            && is_fresh(*at, SERVED_KEPT)
        {
            return Ok(*known);
        }
        let is_served = asked::<K>(client).await?;
        self.served.lock().await.insert(key, (is_served, clock::now()));
        Ok(is_served)
    }
}

/// Whether the apiserver serves a kind: everybody may ask that, whatever else they may.
async fn asked<K: Points>(client: &Client) -> Result<bool, ApiError> {
    let found = optional(client.list_api_group_resources(&K::api_version(&())).await);
    let found = found.map_err(ApiError::of("ask what the apiserver serves"))?;
    let plural = K::plural(&());
    Ok(found.is_some_and(|all| all.resources.iter().any(|one| one.name == plural)))
}

fn words(error: &ApiError) -> String {
    let hint = match error.code() {
        Some(403) => {
            "; grant get, list and watch on canaries.flagger.app and rollouts.argoproj.io to the operator's ServiceAccount"
        }
        _ => "",
    };
    text::clean(&format!("{error}{hint}"), 400)
}

/// The copy that serves.
fn primary(target: &str) -> String {
    format!("{target}-primary")
}

/// The newest warning of a Canary that says more than that it failed. Without the right to read Events there is none.
async fn warning(client: &Client, namespace: &str, uid: &str) -> Option<String> {
    let params = ListParams::default().fields(&format!("involvedObject.uid={uid},type=Warning")).limit(100);
    let list = Api::<Event>::namespaced(client.clone(), namespace).list(&params).await.ok()?;
    let told = list.items.into_iter().filter(|event| {
        event.message.as_deref().is_some_and(|message| !message.starts_with("Canary failed!"))
    });
    let seen = |event: &Event| {
        let last = event.last_timestamp.as_ref().map(|at| at.0);
        last.max(event.event_time.as_ref().map(|at| at.0))
    };
    told.max_by_key(seen)?.message
}

/// The changes of a kind; where it is not served, from the moment on that it is.
pub fn changes<K>(
    client: Client,
    namespace: Option<&str>,
) -> impl Stream<Item = Result<DeserializeGuard<K>, watcher::Error>> + Send + 'static
where
    K: Points + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let api: Api<DeserializeGuard<K>> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let served = async move {
        // An apiserver that does not answer is asked again like one that serves nothing.
        while !asked::<K>(&client).await.unwrap_or(false) {
            tokio::time::sleep(SERVED_KEPT.unsigned_abs()).await;
        }
        watcher(api, watcher::Config::default()).default_backoff().touched_objects()
    };
    stream::once(served).flatten()
}

/// A Rollout whose template is another object's: the sentence that says which.
#[must_use]
pub fn elsewhere(object: &workloads::Object) -> Option<String> {
    let workloads::Object::Rollout(own) = object else { return None };
    let (kind, name) = own.target()?;
    Some(format!("its template is that of {kind}/{name}, by `workloadRef`; name that as the target"))
}
