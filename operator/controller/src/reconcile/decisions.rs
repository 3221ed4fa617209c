//! The status of VerificationPolicies: whether everything that one names can be used, told to who wrote it. Judged by core
//! (`trust/standing.rs`); what an image is judged by is read anew in each pass (`trust.rs`) and never from here.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt};
use rollforward_api::verification::{VerificationPolicy, VerificationPolicyStatus};
use rollforward_core::trust::Roots;
use rollforward_core::trust::standing::{self, Standing};

use super::trust_roots::{AGAIN, SILENT};
use super::{Context, Error, publish, trust};
use crate::sigstore::rules;
use crate::{clock, convert, kubernetes};

/// The one condition.
const READY: &str = "Ready";

/// One look at a VerificationPolicy.
///
/// # Errors
/// Where the apiserver did not take the status.
pub async fn reconcile(
    object: Arc<DeserializeGuard<VerificationPolicy>>,
    ctx: Arc<Context>,
) -> Result<Action, Error> {
    let now = clock::now();
    let object = match &object.0 {
        Ok(object) => object,
        Err(invalid) => {
            let name = object.meta().name.clone().unwrap_or_default();
            return unreadable(&ctx, &object, &standing::unreadable(&name, &invalid.error)).await;
        }
    };
    let Some((decision, roots)) = trust::of_policy(&ctx, object).await else {
        return Ok(Action::requeue(SILENT));
    };
    let standing = standing::standing(&decision, &roots, &faulty_rules(object).await, now);
    let before = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation;
    if standing.is_ready.is_none() && before.observed_generation == generation {
        return Ok(Action::requeue(SILENT)); // what was said stays: nothing is concluded from silence
    }
    let status = status(&standing, generation, &before, now);
    if status != before {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        kubernetes::trust::policy_status(&ctx.client, &namespace, &name, &status).await?;
        ctx.metrics.wrote("VerificationPolicy");
        let known = before.conditions.unwrap_or_default();
        let told = status.conditions.unwrap_or_default();
        publish::changed(&ctx, &object.object_ref(&()), &known, &told).await;
    }
    let again = if standing.is_ready.is_none() { SILENT } else { next(&roots, now) };
    Ok(Action::requeue(again))
}

fn status(
    standing: &Standing,
    generation: Option<i64>,
    before: &VerificationPolicyStatus,
    now: Timestamp,
) -> VerificationPolicyStatus {
    let said = (standing.reason, standing.message.clone());
    let known = before.conditions.as_ref();
    let ready = convert::condition((READY, standing.is_ready), said, generation, known, now);
    VerificationPolicyStatus { observed_generation: generation, conditions: Some(vec![ready]) }
}

/// What is stored of it cannot be read either: the time of the condition is that of the object, so that the same words are the same
/// status and the apiserver changes nothing.
async fn unreadable(
    ctx: &Context,
    object: &DeserializeGuard<VerificationPolicy>,
    standing: &Standing,
) -> Result<Action, Error> {
    let meta = object.meta();
    let created = meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |created| created.0);
    let status = status(standing, meta.generation, &VerificationPolicyStatus::default(), created);
    let namespace = meta.namespace.clone().unwrap_or_default();
    let name = meta.name.clone().unwrap_or_default();
    kubernetes::trust::policy_status(&ctx.client, &namespace, &name, &status).await?;
    Ok(Action::await_change())
}

/// The rules that cannot be run over any statement: its type, and why. Compiled on a thread of their own, which is waited for.
async fn faulty_rules(object: &VerificationPolicy) -> Vec<(String, String)> {
    let attestations = object.spec.attestations.clone().unwrap_or_default();
    let namespace = object.namespace().unwrap_or_default();
    let faulty = move || {
        let rules = attestations.into_iter().filter_map(|one| Some((one.predicate_type, one.rule?)));
        rules.filter_map(|(kind, rule)| Some((kind, rules::fault(&namespace, &rule)?))).collect()
    };
    tokio::task::spawn_blocking(faulty).await.unwrap_or_default()
}

/// When it may stand otherwise by time alone: as a root ends.
fn next(roots: &Roots, now: Timestamp) -> Duration {
    let ends = roots.values().filter_map(|root| root.expires).filter(|end| now < *end);
    let waits = ends.filter_map(|end| Duration::try_from(end.duration_since(now)).ok());
    waits.min().map_or(AGAIN, |wait| wait.min(AGAIN))
}
