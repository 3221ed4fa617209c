//! The controllers that say of trust roots and VerificationPolicies how they stand, in their status: each object is looked at when it
//! changes, and when a ConfigMap or trust root does that it names. Nothing of an image is judged here.

use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use futures::{Stream, StreamExt as _};
use kube::core::DeserializeGuard;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt as _};
use rollforward_api::trust_root::TrustRoot;
use rollforward_api::verification::VerificationPolicy;

use super::{Stop, scoped};
use crate::kubernetes::named::Changed;
use crate::reconcile::trust::TrustStores;
use crate::reconcile::{Context, Error, decisions, trust_roots};

/// After a status that was not taken.
const AGAIN: Duration = Duration::from_secs(10);

type Root = DeserializeGuard<TrustRoot>;

/// The controllers of one namespace, or of all.
pub(super) struct Standings {
    roots: Controller<Root>,
    decisions: Controller<DeserializeGuard<VerificationPolicy>>,
}

/// A watch, and once more what it passes on.
pub(super) fn told_twice(
    changes: impl Stream<Item = Result<Root, watcher::Error>> + Send + 'static,
) -> (impl Stream<Item = Result<Root, watcher::Error>> + Send + 'static, UnboundedReceiver<Root>) {
    let (sender, receiver) = unbounded();
    let changes = changes.inspect(move |change| {
        if let Ok(root) = change {
            let _ = sender.unbounded_send(root.clone()); // who is gone is not told
        }
    });
    (changes, receiver)
}

impl Standings {
    /// What wakes: the objects themselves, ConfigMaps for the roots, ConfigMaps and roots for the decisions.
    pub(super) fn new(
        client: &Client,
        namespace: Option<&str>,
        trust: &TrustStores,
        (root_maps, decision_maps, roots): (
            UnboundedReceiver<Changed>,
            UnboundedReceiver<Changed>,
            UnboundedReceiver<Root>,
        ),
    ) -> Self {
        let within = |namespace: Option<String>| namespace.unwrap_or_default();
        let (by_map, by_root, of_map) = (trust.clone(), trust.clone(), trust.clone());
        let of_roots = Controller::new(scoped(client, namespace), watcher::Config::default())
            .watches_stream(root_maps.map(Ok), move |map| {
                of_map.roots_in(&within(map.namespace()), &map.name_any())
            });
        let of_decisions = Controller::new(scoped(client, namespace), watcher::Config::default())
            .watches_stream(decision_maps.map(Ok), move |map| {
                by_map.policies_by_map(&within(map.namespace()), &map.name_any())
            })
            .watches_stream(roots.map(Ok), move |root| {
                by_root.policies_by_root(&within(root.namespace()), &root.name_any())
            });
        Self { roots: of_roots, decisions: of_decisions }
    }

    pub(super) async fn run_until(self, stop: Stop, ctx: Arc<Context>) {
        let ended = |_| std::future::ready(());
        let roots = self
            .roots
            .graceful_shutdown_on(stop.clone())
            .run(trust_roots::reconcile, on_error, Arc::clone(&ctx))
            .for_each(ended);
        let decisions = self
            .decisions
            .graceful_shutdown_on(stop)
            .run(decisions::reconcile, on_error, ctx)
            .for_each(|_| std::future::ready(()));
        futures::future::join(roots, decisions).await;
    }
}

fn on_error<K: Resource<DynamicType = ()>>(object: Arc<K>, error: &Error, _: Arc<Context>) -> Action {
    let name = object.meta().name.clone().unwrap_or_default();
    tracing::warn!(kind = %K::kind(&()), %name, %error, "the status could not be written; tried again");
    Action::requeue(AGAIN)
}
