//! The pass over a policy that cannot be acted on: what is open is brought to its end, and nothing begins.
//!
//! A run froze all that it needs of its policy when it started. A fault that comes later, by an edit, another version of the schema
//! or the operator's own configuration, changes nothing for it: its canary is watched and held, what a person asks of it is
//! done, and whoever deletes the policy gets the workload back as it was. The registry is not asked.

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use rollforward_api::policy::{Target, UpdatePolicy};
use rollforward_core::evidence::Unknown;
use rollforward_core::gate::{self, Evidence};
use rollforward_core::policy::{Facts, Policy};
use rollforward_core::reason::Reason;
use rollforward_core::report::{self, Report};
use rollforward_core::rollout::{self, Run};
use rollforward_core::{current, decide, text};

use super::{CROWDED, Context, Error, act, observe, publish};
use crate::convert;
use crate::convert::policy::Fault;
use crate::kubernetes::store;

/// Why a policy cannot be acted on: code and words.
type Why = (Reason, String);

/// That fields are not valid: all of them are told.
#[must_use]
pub fn invalid(faults: &[Fault]) -> Why {
    let reason = faults.first().map_or(Reason::InvalidPolicy, |fault| fault.reason);
    let words: Vec<String> = faults.iter().map(ToString::to_string).collect();
    (reason, words.join("; "))
}

/// That the object cannot be read as a policy at all.
#[must_use]
pub fn unreadable(error: &str) -> Why {
    (Reason::Unreadable, format!("{}; correct the field, or upgrade the operator", text::clean(error, 200)))
}

/// One pass over a policy of which only what is open is carried on.
///
/// # Errors
/// Only where the apiserver itself failed.
pub async fn finish(ctx: &Context, object: &UpdatePolicy, why: Why, now: Timestamp) -> Result<Action, Error> {
    let runs =
        store::runs_of(&ctx.client, &object.namespace().unwrap_or_default(), &object.name_any()).await?;
    let open = runs.iter().filter(|run| convert::run::is_open(run)).filter_map(convert::run::from_api);
    let bound = bound(object, open);
    let policy = convert::policy::salvaged(object, &ctx.config.defaults);
    let unasked = Unknown { reason: why.0, message: why.1.clone(), retry_at: None };
    let observe::Observed { mut seen, own, pods_wake, .. } =
        observe::observe(ctx, (&bound, &policy), Some(&unasked), now).await?;
    for open in &mut seen.open_runs {
        open.run.policy_generation = policy.generation; // an edit ends a run only once it can be read
    }
    let facts = Facts { policy: Policy { trust: own, ..policy }, seen, now };
    let chosen = current::choose(&facts); // without a list of tags there is no candidate
    let (assessment, _) = gate::assess(&facts, chosen, &Evidence::default());
    let plan = rollout::plan(&facts, decide::decide(&facts, assessment));
    let outcome = act::act(ctx, &bound, &facts, &plan).await?;
    if outcome.crowded {
        return Ok(Action::requeue(CROWDED));
    }
    let report = stalled(report::report(&facts, &plan, &outcome), !plan.runs.is_empty(), &why);
    ctx.fence()?;
    publish::publish(ctx, object, &report, &facts).await?;
    Ok(if plan.runs.is_empty() {
        publish::action(&report)
    } else {
        publish::apart(&report, &facts, pods_wake)
    })
}

/// The policy with no targets but the workloads of its open runs, each with the containers that its run moves. What was asked of
/// its memory waits until the policy can be read.
fn bound(object: &UpdatePolicy, open: impl Iterator<Item = Run>) -> UpdatePolicy {
    let mut bound = object.clone();
    bound.spec.targets = open
        .map(|run| Target {
            api_version: run.workload.kind.api_version().to_owned(),
            kind: run.workload.kind.name().to_owned(),
            name: Some(run.workload.name),
            selector: None,
            containers: Some(run.containers.into_iter().map(|container| container.name).collect()),
        })
        .collect();
    if let Some(image) = &mut bound.spec.image {
        image.repositories = None;
    }
    for (annotation, _) in convert::levers::asked(object) {
        bound.annotations_mut().remove(annotation);
    }
    bound
}

/// What the pass has to tell of its runs, under the conditions of a policy that cannot be acted on.
fn stalled(runs: Report, is_open: bool, (reason, words): &Why) -> Report {
    let told = report::stalled_report(runs.generation, *reason, words);
    let look_again = if is_open { runs.look_again } else { told.look_again };
    if runs.tracks.is_empty() {
        return Report { events: runs.events, look_again, ..told };
    }
    let mut why = told.why;
    why.extend(runs.why);
    why.truncate(report::MAX_WHY);
    // What the conditions are about is the policy, not the run.
    Report { conditions: told.conditions, why, head: None, look_again, ..runs }
}
