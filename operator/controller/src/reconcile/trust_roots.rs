//! The status of trust roots: whether they can be used, since when, until when; said sixty days before they end.

use std::sync::Arc;
use std::time::Duration;

use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt};
use rollforward_api::trust_root::{TrustRoot, TrustRootStatus};
use rollforward_core::trust::roots;

use super::{Context, Error, publish, trust};
use crate::{clock, convert, kubernetes};

/// Looked at again after so long, should the apiserver not have answered: what a ConfigMap holds is told by `kubernetes/named.rs`.
pub(super) const AGAIN: Duration = Duration::from_secs(600);

/// Looked at again so soon where the apiserver did not say what a ConfigMap holds.
pub(super) const SILENT: Duration = Duration::from_secs(10);

/// One look at a trust root.
///
/// # Errors
/// Where the apiserver did not take the status.
pub async fn reconcile(object: Arc<DeserializeGuard<TrustRoot>>, ctx: Arc<Context>) -> Result<Action, Error> {
    // One that cannot be read at all has no status either; the decisions that name it say so.
    let Ok(object) = &object.0 else { return Ok(Action::await_change()) };
    let now = clock::now();
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let root = trust::root(&ctx, &namespace, &name, &object.spec).await;
    if trust::is_silent(&root) {
        return Ok(Action::requeue(SILENT)); // what was said of it stays: nothing is concluded from silence
    }
    let before = object.status.clone().unwrap_or_default();
    let hash = Some(root.hash.clone()).filter(|hash| !hash.is_empty());
    let same = before.hash == hash;
    let since = before.since.as_ref().filter(|_| same).map_or(now, |since| since.0);
    let conditions = roots::conditions(&root, since, now);
    let generation = object.metadata.generation;
    let known = before.conditions.as_ref();
    let conditions = conditions.into_iter().map(|one| {
        let said = (one.reason, one.message);
        convert::condition((one.kind, Some(one.is_true)), said, generation, known, now)
    });
    let status = TrustRootStatus {
        observed_generation: generation,
        hash,
        expires: root.expires.map(|at| at.to_string()),
        since: Some(convert::time(since)),
        conditions: Some(conditions.collect()),
    };
    if status != before {
        kubernetes::trust::root_status(&ctx.client, &namespace, &name, &status).await?;
        ctx.metrics.wrote("TrustRoot");
        let told = status.conditions.unwrap_or_default();
        publish::changed(&ctx, &object.object_ref(&()), known.map_or(&[], Vec::as_slice), &told).await;
    }
    let change = roots::changes_at(&root, now).and_then(|at| Duration::try_from(at.duration_since(now)).ok());
    Ok(Action::requeue(change.map_or(AGAIN, |change| change.min(AGAIN))))
}
