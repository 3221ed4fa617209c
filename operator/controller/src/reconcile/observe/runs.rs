//! The open runs of a policy with what is there of their workloads, and what the ended ones leave to know.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use rollforward_core::judge::signals::SignalSeen;
use rollforward_core::policy::PolicyId;
use rollforward_core::rollout::{OpenRun, Phase, Run};
use rollforward_core::workload::{Pod, Revision};

use crate::clock;
use crate::kubernetes::pod_watch::PodsOf;
use crate::kubernetes::workloads::{self, Object};
use crate::prometheus::Variables;
use crate::reconcile::observe::targets::Found;
use crate::reconcile::{Context, Error, at_rest, explain};

/// The targets with their pods, in order.
pub(super) async fn wholes(
    ctx: &Context,
    policy: &PolicyId,
    targets: &Found,
    open: &[OpenRun],
    now: Timestamp,
) -> Vec<(workloads::Whole, Option<String>)> {
    let mut at_rest = ctx.at_rest.pass((&policy.namespace, &policy.name), !open.is_empty(), now);
    let mut wholes = Vec::new();
    for (object, _) in targets {
        wholes.push(seen_of(ctx, object, open, &mut at_rest).await);
    }
    at_rest.keep();
    wholes
}

/// A target with its pods: as it was read for the run that is open on it, as it is believed to be at rest, or read now.
async fn seen_of(
    ctx: &Context,
    object: &Object,
    open: &[OpenRun],
    at_rest: &mut at_rest::Pass<'_>,
) -> (workloads::Whole, Option<String>) {
    let of_run = open.iter().find_map(|one| {
        let workload = one.workload.as_ref().filter(|workload| workload.id.uid == object.uid())?.clone();
        let whole = workloads::Whole { workload, revisions: one.revisions.clone(), pods: one.pods.clone() };
        Some((whole, one.unreadable.clone()))
    });
    if let Some(seen) = of_run.or_else(|| Some((at_rest.of(object)?, None))) {
        return seen;
    }
    let (whole, unreadable) = whole_of(ctx, object).await;
    if unreadable.is_none() {
        at_rest.note(object, &whole);
    }
    (whole, unreadable)
}

/// A workload with its pods; where they cannot be read, why. That is no reason to end the pass: an open run is told to be blind.
async fn whole_of(ctx: &Context, object: &Object) -> (workloads::Whole, Option<String>) {
    let (mut whole, unreadable) = match workloads::whole(&ctx.client, object).await {
        Ok(whole) => (whole, None),
        Err(error) => {
            let whole =
                workloads::Whole { workload: object.workload(), revisions: Vec::new(), pods: Vec::new() };
            (whole, Some(error.to_string()))
        }
    };
    if let Some(found) = ctx.delegates.of(&ctx.client, object).await {
        whole.workload.delegate = Some(found.delegate);
        whole.revisions.extend(found.pods.0);
        whole.pods.extend(found.pods.1);
    }
    (whole, unreadable)
}

/// What is measured of a run's canary now.
async fn readings(ctx: &Context, run: &Run, revisions: &[Revision], pods: &[Pod]) -> Vec<SignalSeen> {
    // Where somebody else rolls it out, the analysis is theirs.
    let is_ours = run.status.phase == Phase::Canary && !run.is_delegated();
    let Some(analysis) = run.settings.analysis.as_ref().filter(|_| is_ours) else {
        return Vec::new();
    };
    // By the template that they were made from: a pod that no kubelet has taken up shows no container yet.
    let made_of_new = |revision: &&Revision| {
        run.containers.iter().all(|own| revision.images.get(&own.name) == Some(&own.to))
    };
    let new: BTreeSet<&str> = revisions.iter().filter(made_of_new).map(|one| one.name.as_str()).collect();
    let is_new = |pod: &&Pod| new.contains(pod.owner.as_str());
    let live = || pods.iter().filter(|pod| !pod.deleting);
    let names = |pod: &Pod| pod.name.clone();
    let canary: Vec<String> = live().filter(is_new).map(names).collect();
    let stable: Vec<String> = live().filter(|pod| !is_new(pod)).map(names).collect();
    let watched =
        run.status.step_started_at.map_or(SignedDuration::ZERO, |at| clock::now().duration_since(at));
    let variables = Variables {
        namespace: &run.workload.namespace,
        canary: canary.iter().map(String::as_str).collect(),
        stable: stable.iter().map(String::as_str).collect(),
        // A rate needs several scrapes; what was before the step is not the canary's.
        window_seconds: watched.min(run.settings.bake).as_secs().max(15),
    };
    ctx.meter.read(&run.name, analysis, &ctx.config.defaults.prometheus, &variables).await
}

/// The open runs with what is there of their workloads, which are targets as a rule, and the pods whose changes wake the policy meanwhile.
pub(super) async fn open_runs(
    ctx: &Context,
    runs: &[Run],
    targets: &Found,
) -> Result<(Vec<OpenRun>, BTreeSet<PodsOf>), Error> {
    let (mut open, mut pods_of) = (Vec::new(), BTreeSet::new());
    for run in runs.iter().filter(|run| run.status.finished_at.is_none()) {
        let id = &run.workload;
        let target = targets.iter().map(|(object, _)| object).find(|object| object.uid() == id.uid);
        let read = match target {
            Some(_) => None,
            // Not a target any more, or gone: the run is brought to its end all the same.
            None => workloads::get(&ctx.client, id.kind, &id.namespace, &id.name).await?,
        };
        let found = target.or_else(|| read.as_ref().filter(|object| object.uid() == id.uid));
        let (workload, revisions, mut pods, unreadable) = match found {
            Some(object) => {
                let (whole, unreadable) = whole_of(ctx, object).await;
                let labels = object.pod_labels().filter(|_| !run.is_delegated());
                pods_of.extend(labels.map(|labels| PodsOf { run: run.name.clone(), labels }));
                (Some(whole.workload), whole.revisions, whole.pods, unreadable)
            }
            None => (None, Vec::new(), Vec::new(), None),
        };
        explain::crashes(ctx, run, &mut pods).await;
        let readings = readings(ctx, run, &revisions, &pods).await;
        open.push(OpenRun { run: run.clone(), workload, revisions, pods, unreadable, readings });
    }
    open.sort_by_key(|one| one.run.created_at);
    Ok((open, pods_of))
}

/// The newest finished run of each track. One that ended before anything was written tells nothing of the digest.
pub(super) fn last_runs(runs: &[Run]) -> Vec<Run> {
    let told = |run: &&Run| run.status.finished_at.is_some() && run.status.started_at.is_some();
    let mut newest: BTreeMap<&str, &Run> = BTreeMap::new();
    for run in runs.iter().filter(told) {
        let known = newest.entry(&run.track).or_insert(run);
        if known.status.finished_at < run.status.finished_at {
            *known = run;
        }
    }
    newest.into_values().cloned().collect()
}

/// The newest run of each track that ended before it began.
pub(super) fn unstarted(runs: &[Run]) -> BTreeMap<String, String> {
    let mut ended: Vec<&Run> = runs
        .iter()
        .filter(|run| run.status.finished_at.is_some() && run.status.started_at.is_none())
        .collect();
    ended.sort_by_key(|run| run.status.finished_at);
    ended.into_iter().map(|run| (run.track.clone(), run.name.clone())).collect()
}
