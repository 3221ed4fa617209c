//! Carries a plan out: ledgers first, then the record of the run, then the patch, then what came of it.
//!
//! Nothing is chosen here. The order is what makes a crash harmless: whatever a write leads to is stored before it, and a
//! result only after it. A refused patch is an outcome that the report tells, not an error.

use jiff::Timestamp;
use rollforward_api::policy::UpdatePolicy;
use rollforward_api::run::UpdateRun;
use rollforward_core::breaker;
use rollforward_core::policy::{Approval, Facts};
use rollforward_core::reason::Reason;
use rollforward_core::report::Outcome;
use rollforward_core::rollout::{Phase, Plan, Run, RunPlan, RunStatus};

use super::ledgers::Change;
use super::preflight;
use super::{Context, Error};
use crate::convert;
use crate::kubernetes::{patch, store};
use crate::telemetry::ReasonLabel;

/// How many runs of each kind are kept per policy.
const KEPT_SUCCEEDED: usize = 2;
const KEPT_FAILED: usize = 3;
/// Runs that ended before anything was written tell little, and must not push out those that failed.
const KEPT_UNSTARTED: usize = 1;

/// Carries out what is due.
///
/// # Errors
/// Where the apiserver failed; the next pass begins from what the cluster shows.
pub async fn act(ctx: &Context, object: &UpdatePolicy, facts: &Facts, plan: &Plan) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    ctx.fence()?;
    store_ledgers(ctx, facts, plan).await?;
    for stray in &plan.strays {
        ctx.fence()?;
        // A conflict is read again in the next pass: the annotation is only a pointer.
        if patch::apply(&ctx.client, stray).await.is_ok() {
            ctx.metrics.wrote(stray.workload.kind.name());
        }
    }
    for run in &plan.runs {
        act_on_run(ctx, run, facts.now, &mut outcome).await?;
    }
    if let Some(run) = &plan.opening {
        let waits = run.settings.approval == Approval::Manual;
        let track = facts.seen.tracks.iter().find(|track| track.key == run.track);
        let proven = track.is_some_and(|track| breaker::proven(facts, track, &run.to_digest));
        // What waits for an approval takes its place when it begins.
        // What stops it is told by the next pass, which follows at once as where the place was taken.
        outcome.crowded = preflight::stops(ctx, facts, run).await
            || (!waits && !ctx.stores.claim(run, proven, &ctx.config, facts.now));
    }
    if let Some(run) = plan.opening.as_ref().filter(|_| !outcome.crowded) {
        ctx.fence()?;
        // The finalizer first: a policy deleted from here on waits until the workload is restored.
        store::finalizer(&ctx.client, object, true).await?;
        store::create_run(&ctx.client, object, &run.name, convert::run::to_spec(run)).await?;
        ctx.metrics.wrote("UpdateRun");
        tracing::info!(policy = %facts.policy.id.name, namespace = %facts.policy.id.namespace, run = %run.name, tag = %run.to_tag, digest = %run.to_digest, "run opened");
        outcome.opened = Some(run.name.clone());
    }
    release_ended(ctx, facts, plan).await?;
    let open = plan.opening.is_some() || plan.runs.iter().any(|run| run.after.finished_at.is_none());
    if !open {
        prune(ctx, facts).await?;
        store::finalizer(&ctx.client, object, false).await?;
    }
    Ok(outcome)
}

/// Removes what was asked once, after it was carried out and told: a crash before this carries it out once more.
///
/// # Errors
/// Where the apiserver failed.
pub async fn clear_asked(ctx: &Context, object: &UpdatePolicy) -> Result<(), Error> {
    for (annotation, _) in convert::levers::asked(object) {
        store::clear_annotation(&ctx.client, object, annotation).await?;
    }
    Ok(())
}

async fn store_ledgers(ctx: &Context, facts: &Facts, plan: &Plan) -> Result<(), Error> {
    // What was asked has changed the ledger before the pass began.
    let asked = facts.seen.asked.as_slice();
    for (repository, ours) in &plan.ledgers {
        let Some(seen) = facts.seen.repositories.get(repository) else { continue };
        let ending = facts.seen.namespace_deleting || (facts.policy.deleting && plan.runs.is_empty());
        if (seen.ledger == *ours && asked.is_empty()) || ending {
            continue;
        }
        let namespace = &facts.policy.id.namespace;
        let change = Change { namespace, base: &seen.ledger, ours, asked: (asked, facts.now) };
        ctx.ledgers.store(ctx, change).await?;
    }
    Ok(())
}

async fn act_on_run(
    ctx: &Context,
    plan: &RunPlan,
    now: Timestamp,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let name = &plan.run.name;
    ctx.fence()?;
    record(ctx, plan, &plan.run.status, &plan.before).await?;
    let unclassified =
        |status: &RunStatus| status.cause.as_ref().is_some_and(|cause| cause.reason == Reason::Unclassified);
    if unclassified(&plan.before) && !unclassified(&plan.run.status) {
        ctx.metrics.unclassified.inc();
    }
    // A run that waited for its approval takes a place only now.
    let begins = plan.patch.is_some() && plan.run.status.phase == Phase::AwaitingApproval;
    if begins && !ctx.stores.claim(&plan.run, true, &ctx.config, now) {
        outcome.crowded = true;
        return Ok(());
    }
    if let Some((change, what)) = &plan.patch {
        ctx.fence()?;
        match patch::apply(&ctx.client, change).await {
            Ok(()) => {
                ctx.metrics.wrote(change.workload.kind.name());
                tracing::info!(run = %name, workload = %plan.run.workload.name, namespace = %plan.run.workload.namespace, "{what}");
                record(ctx, plan, &plan.before, &plan.after).await?;
            }
            Err(refused) => {
                tracing::warn!(run = %name, reason = %refused.reason, "{}", refused.message);
                if refused.reason != Reason::WriteConflict {
                    outcome.refused.push((name.clone(), refused.reason, refused.message));
                }
                return Ok(());
            }
        }
    }
    if let Some((errand, _, what)) = &plan.errand {
        let namespace = &plan.run.workload.namespace;
        if let Err(refused) = patch::run_errand(&ctx.client, namespace, errand).await {
            tracing::warn!(run = %name, reason = %refused.reason, "{}", refused.message);
            if refused.reason != Reason::WriteConflict {
                outcome.refused.push((name.clone(), refused.reason, refused.message));
            }
            return Ok(());
        }
        tracing::info!(run = %name, %namespace, "{what}");
        record(ctx, plan, &plan.before, &plan.after).await?;
    }
    outcome.done.push(name.clone());
    if plan.after.finished_at.is_some() {
        let label = ReasonLabel { reason: plan.after.result.as_ref().map_or("", |result| result.0.code()) };
        ctx.metrics.runs.get_or_create(&label).inc();
    }
    Ok(())
}

async fn record(ctx: &Context, plan: &RunPlan, before: &RunStatus, new: &RunStatus) -> Result<(), Error> {
    if before == new {
        return Ok(());
    }
    let namespace = &plan.run.workload.namespace;
    store::run_status(&ctx.client, namespace, &plan.run.name, &convert::run::to_status(new)).await?;
    ctx.metrics.wrote("UpdateRun");
    Ok(())
}

/// Runs that have ended hold nothing: their finalizers go. Also those of an end that was recorded just before a crash.
async fn release_ended(ctx: &Context, facts: &Facts, plan: &Plan) -> Result<(), Error> {
    let id = &facts.policy.id;
    let ended_now = plan.runs.iter().any(|run| run.after.finished_at.is_some());
    if !ended_now && !ctx.stores.has_bound_ended_run(id) {
        return Ok(());
    }
    // Read again: what the watch shows may be a write behind.
    let runs = store::runs_of(&ctx.client, &id.namespace, &id.name).await?;
    for run in runs.iter().filter(|run| !convert::run::is_open(run)) {
        store::finalizer(&ctx.client, run, false).await?;
    }
    Ok(())
}

/// How an ended run counts for what is kept.
#[derive(PartialEq, Eq)]
enum Kind {
    Succeeded,
    Failed,
    Unstarted,
}

/// Deletes the oldest ended runs beyond what is kept.
async fn prune(ctx: &Context, facts: &Facts) -> Result<(), Error> {
    if facts.policy.deleting || facts.seen.last_runs.is_empty() {
        return Ok(());
    }
    let id = &facts.policy.id;
    let mut runs: Vec<UpdateRun> = store::runs_of(&ctx.client, &id.namespace, &id.name).await?;
    runs.retain(|run| !convert::run::is_open(run));
    runs.sort_by_key(|run| std::cmp::Reverse(run.metadata.creation_timestamp.clone()));
    let read: Vec<Run> = runs.iter().filter_map(convert::run::from_api).collect();
    let kind = |run: &Run| match (run.status.started_at, run.status.phase) {
        (None, _) => Kind::Unstarted,
        (Some(_), Phase::Succeeded) => Kind::Succeeded,
        (
            Some(_),
            Phase::Preparing
            | Phase::AwaitingApproval
            | Phase::Canary
            | Phase::Promoting
            | Phase::RolledBack
            | Phase::Aborted,
        ) => Kind::Failed,
    };
    let surplus = |wanted: Kind, kept: usize| read.iter().filter(move |run| kind(run) == wanted).skip(kept);
    let surplus = surplus(Kind::Succeeded, KEPT_SUCCEEDED)
        .chain(surplus(Kind::Failed, KEPT_FAILED))
        .chain(surplus(Kind::Unstarted, KEPT_UNSTARTED));
    for run in surplus {
        store::delete_run(&ctx.client, &id.namespace, &run.name).await?;
        ctx.metrics.wrote("UpdateRun");
    }
    Ok(())
}
