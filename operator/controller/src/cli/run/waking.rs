//! Which policies an object wakes that is not one: runs, workloads, who rolls workloads out, and what a namespace trusts.

use kube::Resource;
use kube::ResourceExt as _;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::ObjectRef;
use rollforward_api::policy::{Target, UpdatePolicy};
use rollforward_api::run::UpdateRun;
use rollforward_core::workload::Kind;

use super::Policies;
use crate::kubernetes::delegates::Points;
use crate::reconcile::observe::matches_labels;

/// Every policy of a namespace: what it trusts has changed.
pub(super) fn policies_in(
    known: &Policies,
    namespace: Option<&str>,
) -> Vec<ObjectRef<DeserializeGuard<UpdatePolicy>>> {
    let all = known.state();
    let within = all.iter().filter(|policy| policy.meta().namespace.as_deref() == namespace);
    within.map(|policy| ObjectRef::from_obj(policy.as_ref())).collect()
}

pub(super) fn policy_of_run(
    run: DeserializeGuard<UpdateRun>,
) -> Option<ObjectRef<DeserializeGuard<UpdatePolicy>>> {
    let run = run.0.ok()?;
    Some(ObjectRef::new(&run.spec.policy.name).within(&run.namespace()?))
}

/// The policies that mean a Rollout itself, or the workload that a Rollout or Canary names. That one's labels are not known
/// here: a policy that selects by labels is woken too.
pub(super) fn policies_by<K: Points>(
    known: &Policies,
    object: &K,
) -> Vec<ObjectRef<DeserializeGuard<UpdatePolicy>>> {
    let meta = object.meta();
    let (name, labels) = (meta.name.clone().unwrap_or_default(), meta.labels.clone().unwrap_or_default());
    let named = object.target();
    let is_itself = K::kind(&()) == Kind::Rollout.name();
    let means = |target: &Target| {
        (is_itself && matches_labels(target, Kind::Rollout, &name, &labels))
            || named.is_some_and(|(kind, name)| {
                target.kind == kind && target.name.as_deref().is_none_or(|wanted| wanted == name)
            })
    };
    let all = known.state();
    all.iter()
        .filter(|policy| policy.meta().namespace == meta.namespace)
        .filter(|policy| policy.0.as_ref().is_ok_and(|policy| policy.spec.targets.iter().any(means)))
        .map(|policy| ObjectRef::from_obj(policy.as_ref()))
        .collect()
}

/// The policies that mean a workload: a change of it wakes them.
pub(super) fn policies_of<K: Resource<DynamicType = ()>>(
    known: &Policies,
    kind: Kind,
    object: &PartialObjectMeta<K>,
) -> Vec<ObjectRef<DeserializeGuard<UpdatePolicy>>> {
    let namespace = object.metadata.namespace.as_ref();
    let name = object.metadata.name.clone().unwrap_or_default();
    let labels = object.metadata.labels.clone().unwrap_or_default();
    known
        .state()
        .iter()
        .filter(|policy| policy.meta().namespace.as_ref() == namespace)
        .filter(|policy| {
            policy.0.as_ref().is_ok_and(|policy| {
                policy.spec.targets.iter().any(|target| matches_labels(target, kind, &name, &labels))
            })
        })
        .map(|policy| ObjectRef::from_obj(policy.as_ref()))
        .collect()
}
