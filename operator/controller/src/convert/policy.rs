//! `UpdatePolicy` → core's `Policy`: every field checked, every fault told, none hidden by another.

use std::fmt;

use jiff::SignedDuration;
use kube::ResourceExt;
use rollforward_api::policy::{
    Adopt, Approval, ApprovalMode, Downgrade, HoldMode, Mode, OnDeadline, OnExternalChange, Rebuilds,
    Rollback, RollbackMode, Rollout, UpdatePolicy, WhenImpossible,
};
use rollforward_api::schema::PodsOrShare;
use rollforward_api::verification::Verification;
use rollforward_core::policy::{self, Policy, PolicyId, RolloutSettings, StepSize};
use rollforward_core::reason::Reason;
use rollforward_core::trust;

use super::{analysis, selection};
use crate::config::{Defaults, parse_duration};

/// Asks for a look now; the value is any text that has not been used before, best the time.
pub const REQUEST_ANNOTATION: &str = "rollforward.dev/requestedAt";
/// Releases what is held: a digest, or `all`, then when and who. Carried out and removed by the operator.
pub const RELEASE_ANNOTATION: &str = "rollforward.dev/release";
/// How soon a better candidate must pass for a lesser one to be deferred.
const DEFER_FOR: SignedDuration = SignedDuration::from_hours(1);
/// How long until a failed digest is tried again, where the policy does not say.
const RETRY_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// One field that is not valid in a way that the schema cannot see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `InvalidPolicy`, or `NewerApi` for a value that this version does not know.
    pub reason: Reason,
    /// The field's path.
    pub field: &'static str,
    /// What was expected and what was found.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.message)
    }
}

/// The value of the request for a look now.
#[must_use]
pub fn request(object: &UpdatePolicy) -> Option<String> {
    object.annotations().get(REQUEST_ANNOTATION).map(|value| rollforward_core::text::clean(value, 64))
}

/// Whether a look was asked for that has not been handled yet.
#[must_use]
pub fn requested(object: &UpdatePolicy) -> bool {
    let handled = object.status.as_ref().and_then(|status| status.last_handled_request.clone());
    request(object).is_some_and(|request| Some(request) != handled)
}

/// The faults found so far.
#[derive(Debug, Default)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    pub(super) fn invalid(&mut self, field: &'static str, message: impl Into<String>) {
        self.0.push(Fault { reason: Reason::InvalidPolicy, field, message: message.into() });
    }

    pub(super) fn newer(&mut self, field: &'static str) {
        let message =
            "a value that this version does not know; upgrade the operator, or use a value it knows";
        self.0.push(Fault { reason: Reason::NewerApi, field, message: message.to_owned() });
    }

    pub(super) fn duration(
        &mut self,
        field: &'static str,
        text: Option<&String>,
        default: SignedDuration,
    ) -> SignedDuration {
        let Some(text) = text else { return default };
        parse_duration(text).unwrap_or_else(|| {
            let found = rollforward_core::text::clean(text, 40);
            self.invalid(
                field,
                format!("expected hours, minutes and seconds such as 1h30m, at most 30 days; got {found:?}"),
            );
            default
        })
    }
}

/// Checks a policy and fills in the defaults.
///
/// # Errors
/// All faults, each with the field's path.
pub fn policy(object: &UpdatePolicy, defaults: &Defaults) -> Result<Policy, Vec<Fault>> {
    let mut faults = Faults::default();
    let policy = read(object, defaults, &mut faults);
    if faults.0.is_empty() { Ok(policy) } else { Err(faults.0) }
}

/// What is valid of a policy that is not, with defaults for the rest: enough to finish what it began, never to begin anything.
#[must_use]
pub fn salvaged(object: &UpdatePolicy, defaults: &Defaults) -> Policy {
    read(object, defaults, &mut Faults::default())
}

fn read(object: &UpdatePolicy, defaults: &Defaults, faults: &mut Faults) -> Policy {
    let spec = &object.spec;
    let image = spec.image.clone().unwrap_or_default();
    let (rule, rule_text) = selection::rule(image.select.as_ref(), faults);
    let schedule = spec.schedule.clone().unwrap_or_default();
    let interval = faults.duration("spec.schedule.interval", schedule.interval.as_ref(), defaults.interval);
    Policy {
        id: PolicyId {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
        },
        generation: object.metadata.generation.unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        mode: mode(spec.mode, faults),
        suspend: spec.suspend.unwrap_or(false),
        source: image.source.as_ref().and_then(|source| selection::source(source, faults)),
        rule,
        rule_text,
        variant: selection::variant(image.variant.as_ref(), faults),
        filter: selection::filter(image.tags.as_ref(), faults),
        rebuilds: rebuilds(image.rebuilds, faults),
        allow_downgrade: downgrade(image.downgrade, faults),
        on_external_change: external(spec.rollout.as_ref(), faults),
        adopt: adopt(image.adopt, faults),
        interval: interval.max(SignedDuration::from_secs(1)),
        trust: trust(spec.verification.as_ref(), faults),
        soak_unsigned: defaults.soak,
        rollout: RolloutSettings {
            approval: approval(spec.approval.as_ref(), faults),
            ..rollout(&spec.rollout.clone().unwrap_or_default(), defaults, faults)
        },
        defer_for: DEFER_FOR,
    }
}

fn mode(mode: Option<Mode>, faults: &mut Faults) -> policy::Mode {
    match mode {
        Some(Mode::Enforce) | None => policy::Mode::Enforce,
        Some(Mode::DryRun) => policy::Mode::DryRun,
        Some(Mode::Newer) => {
            faults.newer("spec.mode");
            policy::Mode::DryRun
        }
    }
}

fn rebuilds(rebuilds: Option<Rebuilds>, faults: &mut Faults) -> policy::Rebuilds {
    match rebuilds {
        Some(Rebuilds::Auto) | None => policy::Rebuilds::Auto,
        Some(Rebuilds::Follow) => policy::Rebuilds::Follow,
        Some(Rebuilds::Hold) => policy::Rebuilds::Hold,
        Some(Rebuilds::Newer) => {
            faults.newer("spec.image.rebuilds");
            policy::Rebuilds::Hold
        }
    }
}

fn downgrade(downgrade: Option<Downgrade>, faults: &mut Faults) -> bool {
    match downgrade {
        Some(Downgrade::Deny) | None => false,
        Some(Downgrade::Allow) => true,
        Some(Downgrade::Newer) => {
            faults.newer("spec.image.downgrade");
            false
        }
    }
}

fn adopt(adopt: Option<Adopt>, faults: &mut Faults) -> bool {
    match adopt {
        Some(Adopt::Hold) | None => false,
        Some(Adopt::Allow) => true,
        Some(Adopt::Newer) => {
            faults.newer("spec.image.adopt");
            false
        }
    }
}

/// The policy's own decision, without what ConfigMaps hold: those are read with the rest of what the namespace trusts.
fn trust(verification: Option<&Verification>, faults: &mut Faults) -> Option<trust::Decision> {
    let read = super::verification::decision(
        trust::Origin::UpdatePolicy,
        Vec::new(),
        verification?,
        &super::verification::Entries::new(),
        faults,
    );
    Some(read)
}

fn rollout(rollout: &Rollout, defaults: &Defaults, faults: &mut Faults) -> RolloutSettings {
    let quarantine = rollout.quarantine.clone().unwrap_or_default();
    let bake = faults.duration("spec.rollout.bake", rollout.bake.as_ref(), defaults.bake);
    let default_deadline = defaults.deadline.max(bake.saturating_mul(2));
    let deadline = faults.duration("spec.rollout.deadline", rollout.deadline.as_ref(), default_deadline);
    if deadline < bake {
        faults.invalid(
            "spec.rollout",
            "expected bake to be at most deadline; without one of them the operator's default counts",
        );
    }
    RolloutSettings {
        steps: steps(rollout.steps.as_ref(), faults),
        bake,
        deadline,
        on_deadline: match rollout.on_deadline {
            Some(OnDeadline::RollBack) | None => policy::OnDeadline::RollBack,
            Some(OnDeadline::Hold) => policy::OnDeadline::Hold,
            Some(OnDeadline::Newer) => {
                faults.newer("spec.rollout.onDeadline");
                policy::OnDeadline::RollBack
            }
        },
        hold: match rollout.hold {
            Some(HoldMode::Timed) | None => policy::HoldMode::Timed,
            Some(HoldMode::Indefinite) => policy::HoldMode::Indefinite,
            Some(HoldMode::Newer) => {
                faults.newer("spec.rollout.hold");
                policy::HoldMode::Timed
            }
        },
        when_impossible: match rollout.when_impossible {
            Some(WhenImpossible::Hold) | None => policy::WhenImpossible::Hold,
            Some(WhenImpossible::RollWithoutCanary) => policy::WhenImpossible::RollWithoutCanary,
            Some(WhenImpossible::Newer) => {
                faults.newer("spec.rollout.whenImpossible");
                policy::WhenImpossible::Hold
            }
        },
        approval: policy::Approval::Automatic,
        rollback: rollback(rollout.rollback.as_ref(), faults),
        after_fails: quarantine.after_fails.and_then(|fails| u32::try_from(fails).ok()).unwrap_or(2).max(1),
        retry_after: faults.duration(
            "spec.rollout.quarantine.retryAfter",
            quarantine.retry_after.as_ref(),
            RETRY_AFTER,
        ),
        delete_broken_pods: rollout.rollback.as_ref().and_then(|one| one.delete_broken_pods).unwrap_or(false),
        analysis: rollout.analysis.as_ref().map(|one| analysis::checked(one, &defaults.prometheus, faults)),
    }
}

fn external(rollout: Option<&Rollout>, faults: &mut Faults) -> policy::OnExternalChange {
    match rollout.and_then(|rollout| rollout.on_external_change) {
        Some(OnExternalChange::Hold) | None => policy::OnExternalChange::Hold,
        Some(OnExternalChange::Reapply) => policy::OnExternalChange::Reapply,
        Some(OnExternalChange::Newer) => {
            faults.newer("spec.rollout.onExternalChange");
            policy::OnExternalChange::Hold
        }
    }
}

fn approval(approval: Option<&Approval>, faults: &mut Faults) -> policy::Approval {
    match approval.map(|approval| approval.mode) {
        Some(ApprovalMode::Automatic) | None => policy::Approval::Automatic,
        Some(ApprovalMode::Manual) => policy::Approval::Manual,
        Some(ApprovalMode::Newer) => {
            faults.newer("spec.approval.mode");
            policy::Approval::Manual
        }
    }
}

fn rollback(rollback: Option<&Rollback>, faults: &mut Faults) -> policy::Rollback {
    match rollback.and_then(|rollback| rollback.mode) {
        Some(RollbackMode::Automatic) | None => policy::Rollback::Automatic,
        Some(RollbackMode::Ask) => policy::Rollback::Ask,
        Some(RollbackMode::Never) => policy::Rollback::Never,
        Some(RollbackMode::Newer) => {
            faults.newer("spec.rollout.rollback.mode");
            policy::Rollback::Ask
        }
    }
}

fn steps(steps: Option<&Vec<PodsOrShare>>, faults: &mut Faults) -> Vec<StepSize> {
    let Some(steps) = steps else {
        return vec![StepSize::Pods(1), StepSize::Percent(100)];
    };
    let mut read = Vec::new();
    for step in steps {
        match step {
            PodsOrShare::Pods(pods) if (1..=1000).contains(pods) => read.push(StepSize::Pods(*pods)),
            PodsOrShare::Share(text) => match text.strip_suffix('%').and_then(|share| share.parse().ok()) {
                Some(share @ 1..=100) => read.push(StepSize::Percent(share)),
                Some(_) | None => {
                    faults.invalid("spec.rollout.steps", "expected shares from \"1%\" to \"100%\"")
                }
            },
            PodsOrShare::Pods(_) => faults.invalid("spec.rollout.steps", "expected 1 to 1000 pods"),
        }
    }
    if read.last() != Some(&StepSize::Percent(100)) {
        read.push(StepSize::Percent(100));
    }
    read
}
