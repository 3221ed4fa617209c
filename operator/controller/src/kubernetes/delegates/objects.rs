//! The Rollouts of Argo Rollouts and the Canaries of Flagger: only the fields that decisions read, and how core sees them.
//!
//! Fields as `argoproj.io/v1alpha1` of 1.0 and later and `flagger.app/v1beta1` have them.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rollforward_core::delegate::{Argo, Flagger, Told};
use rollforward_core::workload::{Kind, Shape, Workload};
use serde::{Deserialize, Serialize};

use super::Points;
use crate::kubernetes::workloads::workload;

macro_rules! resource {
    ($kind:ident, $group:literal, $version:literal, $plural:literal) => {
        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                stringify!($kind).into()
            }

            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(Rollout, "argoproj.io", "v1alpha1", "rollouts");
resource!(Canary, "flagger.app", "v1beta1", "canaries");

/// A Rollout.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    pub metadata: ObjectMeta,
    pub spec: RolloutSpec,
    pub status: RolloutStatus,
}

/// What a Rollout wants.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutSpec {
    pub replicas: Option<i32>,
    pub selector: Option<LabelSelector>,
    pub template: Option<PodTemplateSpec>,
    pub workload_ref: Option<Named>,
    pub paused: bool,
    pub strategy: RolloutStrategy,
}

/// An object that is named.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Named {
    pub kind: String,
    pub name: String,
}

/// How it goes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStrategy {
    pub canary: Option<CanarySteps>,
    pub blue_green: Option<BlueGreen>,
}

/// Step by step.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CanarySteps {
    pub steps: Vec<Step>,
}

/// One step; only a pause is read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    pub pause: Option<Pause>,
}

/// A pause; without a duration until a person goes on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Pause {
    pub duration: Option<IntOrString>,
}

/// All at once, beside the old.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlueGreen {
    pub auto_promotion_seconds: Option<i64>,
}

/// What a Rollout says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    pub phase: String,
    pub message: String,
    pub abort: bool,
    pub observed_generation: String,
    pub workload_observed_generation: String,
    #[serde(rename = "stableRS")]
    pub stable_rs: String,
    pub current_pod_hash: String,
    pub controller_pause: bool,
    pub pause_conditions: Vec<PauseCondition>,
    pub current_step_index: Option<i64>,
    pub updated_replicas: i32,
    pub replicas: i32,
    pub available_replicas: i32,
    pub conditions: Vec<Condition>,
}

/// Why and since when it is paused.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PauseCondition {
    pub reason: String,
    pub start_time: Option<Time>,
}

/// A condition, of either kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub reason: String,
    pub message: String,
    pub last_update_time: Option<Time>,
}

/// A Canary.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Canary {
    pub metadata: ObjectMeta,
    pub spec: CanarySpec,
    pub status: CanaryStatus,
}

/// What a Canary watches.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CanarySpec {
    pub target_ref: Named,
    pub suspend: bool,
}

/// What a Canary says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CanaryStatus {
    pub phase: String,
    pub failed_checks: i64,
    pub last_applied_spec: String,
    pub last_promoted_spec: String,
    pub last_transition_time: Option<Time>,
    pub conditions: Vec<Condition>,
}

impl Points for Rollout {
    fn target(&self) -> Option<(&str, &str)> {
        self.spec.workload_ref.as_ref().map(|named| (named.kind.as_str(), named.name.as_str()))
    }
}

impl Points for Canary {
    fn target(&self) -> Option<(&str, &str)> {
        let named = &self.spec.target_ref;
        Some((named.kind.as_str(), named.name.as_str()))
    }
}

fn told(conditions: &[Condition], kind: &str) -> Option<Told> {
    let one = conditions.iter().find(|one| one.kind == kind)?;
    let at = one.last_update_time.as_ref().map(|time| time.0);
    Some(Told { reason: one.reason.clone(), message: one.message.clone(), at })
}

/// A Rollout as core reads it; with the generation of the Deployment whose template it takes.
#[must_use]
pub fn rollout(object: &Rollout, referred: Option<i64>) -> Box<Argo> {
    let status = &object.status;
    let pause = status.pause_conditions.first();
    let steps = object.spec.strategy.canary.as_ref().map_or(&[][..], |canary| canary.steps.as_slice());
    let at = status.current_step_index.and_then(|index| usize::try_from(index).ok());
    Box::new(Argo {
        name: object.metadata.name.clone().unwrap_or_default(),
        generation: (object.metadata.generation.unwrap_or_default(), status.observed_generation.parse().ok()),
        referred: referred.map(|wanted| {
            // Without a number it has not looked at the Deployment at all.
            (wanted, Some(status.workload_observed_generation.parse().unwrap_or(0)))
        }),
        is_paused: object.spec.paused,
        phase: status.phase.clone(),
        message: status.message.clone(),
        is_aborted: status.abort,
        stable: status.stable_rs.clone(),
        current: status.current_pod_hash.clone(),
        pause: pause.map(|one| (one.reason.clone(), one.start_time.as_ref().map(|time| time.0))),
        is_controller_pause: status.controller_pause,
        step: at.map(|at| (at, steps.len())),
        pause_lasts: pause.and_then(|one| lasts(object, steps, at, &one.reason)),
        progressing: told(&status.conditions, "Progressing"),
    })
}

/// How long the pause that it is in lasts, where it ends by itself.
fn lasts(object: &Rollout, steps: &[Step], at: Option<usize>, reason: &str) -> Option<SignedDuration> {
    match reason {
        "CanaryPauseStep" => match steps.get(at?)?.pause.as_ref()?.duration.as_ref()? {
            IntOrString::Int(seconds) => Some(SignedDuration::from_secs(i64::from(*seconds))),
            IntOrString::String(text) => match text.parse::<i64>() {
                Ok(seconds) => Some(SignedDuration::from_secs(seconds)),
                Err(_) => text.parse().ok(),
            },
        },
        "BlueGreenPause" => {
            let seconds = object.spec.strategy.blue_green.as_ref()?.auto_promotion_seconds?;
            (0 < seconds).then(|| SignedDuration::from_secs(seconds))
        }
        _ => None,
    }
}

/// A Canary as core reads it.
#[must_use]
pub fn canary(object: &Canary) -> Flagger {
    let status = &object.status;
    let instant = |time: Option<&Time>| -> Option<Timestamp> { time.map(|time| time.0) };
    Flagger {
        name: object.metadata.name.clone().unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        is_suspended: object.spec.suspend,
        phase: status.phase.clone(),
        failed_checks: status.failed_checks,
        applied: status.last_applied_spec.clone(),
        promoted: status.last_promoted_spec.clone(),
        condition: told(&status.conditions, "Promoted"),
        moved_at: instant(status.last_transition_time.as_ref()),
        warning: None,
    }
}

/// A Rollout as decisions read a workload; with `workloadRef` it has no container of its own.
#[must_use]
pub fn as_workload(object: &Rollout) -> Workload {
    let template = object.spec.template.clone().unwrap_or_default();
    let status = &object.status;
    Workload {
        observed_generation: status.observed_generation.parse().unwrap_or_default(),
        replicas: object.spec.replicas.unwrap_or(1),
        updated_replicas: status.updated_replicas,
        total_replicas: status.replicas,
        available_replicas: status.available_replicas,
        delegate: Some(rollforward_core::delegate::Delegate::Argo(rollout(object, None))),
        ..workload(Kind::Rollout, &object.metadata, &template, Shape::Rollout)
    }
}
