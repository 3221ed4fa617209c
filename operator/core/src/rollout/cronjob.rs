//! A CronJob: the image is switched, then its next runs are judged. Nothing is held, so nothing waits for it.
//!
//! After the first success the update is done, provisionally: the floor moves and newer versions may follow, while the
//! sequential test goes on over the runs. A run has no deadline by the clock, for a monthly CronJob has none either; the
//! deadline is that of a Job whose pod waits for what it needs to start.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::patch::Errand;
use super::{
    Intent, OpenRun, Phase, RunPlan, Split, abort_cause, completed, denied, failed, finish, judged,
    reverting, run_cause, split, wait,
};
use crate::image::Repository;
use crate::judge::Judgement;
use crate::judge::classify;
use crate::judge::jobs::{self, Runs, judge_runs};
use crate::ledger::{Ledger, RunMemory, Tally};
use crate::policy::{Facts, Track};
use crate::reason::Reason;
use crate::rollout::run::Run;
use crate::workload::{ContainerState, CronJob, Job, JobEnd, Pod, Termination, Workload};

/// How soon a run that has started is looked at again: a pod that cannot start wakes nobody.
const RUN_STARTED: SignedDuration = SignedDuration::from_secs(5);

/// The apiserver tells creation times in whole seconds.
const CREATED_WITHIN: SignedDuration = SignedDuration::from_secs(1);

/// Counts the runs that have ended since the last pass, each once.
pub(super) fn count(track: &Track, ledgers: &mut BTreeMap<Repository, Ledger>) {
    let Some(cron) = track.workload.cron_job() else { return };
    let Some((container, _)) = track.containers.first() else {
        return;
    };
    let names: std::collections::BTreeSet<String> =
        track.containers.iter().map(|(container, _)| container.name.clone()).collect();
    let memory = ledgers.get_mut(&track.repository).and_then(|ledger| ledger.workloads.get_mut(&track.key));
    let Some(memory) = memory else { return };
    for job in &cron.jobs {
        let Some(image) = job.images.get(&container.name) else {
            continue;
        };
        let pods = track.pods.iter().filter(|pod| pod.owner == job.name);
        if let Some(outcome) = outcome(job, pods, &names) {
            memory.runs.count(&job.uid, image, outcome.as_deref());
        }
    }
    memory.runs.forget(|uid| cron.jobs.iter().any(|job| job.uid == uid));
}

/// How a run ended, by its first attempt that was not disrupted: `None` while it is open, `Some(None)` for a success, else how it failed.
fn outcome<'a>(
    job: &Job,
    pods: impl Iterator<Item = &'a Pod>,
    judged: &std::collections::BTreeSet<String>,
) -> Option<Option<String>> {
    let mut attempts: Vec<&Pod> = pods.filter(|pod| pod.disruption.is_none()).collect();
    attempts.sort_by_key(|pod| pod.created_at);
    let failed = attempts.iter().find_map(|pod| {
        let own = pod.containers.iter().filter(|container| judged.contains(&container.name));
        own.filter_map(|container| {
            let now = match &container.state {
                ContainerState::Terminated(ended) => Some(ended),
                ContainerState::Waiting { .. } | ContainerState::Running { .. } => None,
            };
            container.last_end.as_ref().or(now).filter(|ended| ended.exit_code != 0)
        })
        .map(category)
        .next()
    });
    match (&job.end, failed) {
        (_, Some(category)) => Some(Some(category)),
        (JobEnd::Complete, None) => Some(None),
        (JobEnd::Failed(reason), None) => Some(Some(reason.clone())),
        (JobEnd::Active, None) => None,
    }
}

/// How a program ended, as runs are compared by it.
fn category(ended: &Termination) -> String {
    match ended.signal {
        _ if ended.reason == "OOMKilled" => ended.reason.clone(),
        Some(signal) if signal != 0 => format!("signal {signal}"),
        Some(_) | None => format!("exit {}", ended.exit_code),
    }
}

/// A new run begins with an empty tally: the second try is not judged by the first.
pub(super) fn begin(run: &Run, ledgers: &mut BTreeMap<Repository, Ledger>) {
    let to = run.containers.first().map(|container| container.to.clone()).unwrap_or_default();
    if let Some(memory) =
        ledgers.get_mut(&run.repository).and_then(|ledger| ledger.workloads.get_mut(&run.track))
    {
        memory.runs.tallies.retain(|tally| tally.image != to);
    }
}

fn memory(run: &Run, ledgers: &BTreeMap<Repository, Ledger>) -> RunMemory {
    let ledger = ledgers.get(&run.repository);
    ledger
        .and_then(|ledger| ledger.workloads.get(&run.track))
        .map_or_else(RunMemory::default, |memory| memory.runs.clone())
}

/// What is due while the new image is in the template.
pub(super) fn watching(
    facts: &Facts,
    open: &OpenRun,
    (workload, cron): (&Workload, &CronJob),
    is_superseded: bool,
    ledgers: &mut BTreeMap<Repository, Ledger>,
) -> RunPlan {
    let run = &open.run;
    let is_provisional = run.is_provisional();
    let ending = abort_cause(facts, run).or_else(|| {
        is_superseded.then(|| (Reason::Superseded, "a newer version passed its gates".to_owned()))
    });
    if let Some((reason, message)) = ending {
        // Who wants the version gone gets the old one back, also where the update was done for now.
        let goes_back = run.levers.abort.is_some() || denied(facts, run).is_some();
        if is_provisional && goes_back {
            super::take_back(run, ledgers);
        } else if is_provisional {
            let message = format!("{} ran; the watch over its runs ended: {message}", run.to_tag);
            return finish(facts, run, Phase::Succeeded, Reason::RolledForward, message);
        }
        let intent = Intent { end: Reason::Aborted, reason, message, at: facts.now };
        return reverting(facts, run, workload, &intent);
    }
    let (mut pods, judged, memory) = (split(open), judged(run), memory(run, ledgers));
    // A run of this digest that was ended after an earlier try says nothing of this one.
    let since = run.status.started_at.unwrap_or(run.created_at).checked_sub(CREATED_WITHIN);
    let since = since.unwrap_or(Timestamp::MIN);
    let is_own = |job: &Job| since < job.created_at;
    pods.new.retain(|pod| cron.jobs.iter().any(|job| job.name == pod.owner && is_own(job)));
    let denied = cron.jobs.iter().filter(|job| is_own(job) && runs_new(run, job));
    let denied = denied.filter_map(|job| Some((job.denied.as_deref()?, job.created_at))).next();
    let image = |side: fn(&super::run::RunContainer) -> &String| run.containers.first().map(side);
    let tally = |image: Option<&String>| memory.tallies.iter().find(|tally| Some(&tally.image) == image);
    let (base, none) = (tally(image(|container| &container.from)), Tally::default());
    let new = tally(image(|container| &container.to)).unwrap_or(&none);
    let seen = Runs {
        new: &pods.new,
        denied,
        old: &pods.old,
        judged: &judged,
        base,
        tally: new,
        deadline: run.settings.deadline,
        now: facts.now,
    };
    let judgement = judge_runs(&seen);
    let mut plan = match &judgement {
        Judgement::Fail(cause) => failed(facts, (run, workload), cause, ledgers),
        Judgement::Pass { .. } => completed(facts, run, workload, true, ledgers),
        Judgement::Waiting { .. } | Judgement::Unknown { .. } if cron.is_suspended && !is_provisional => {
            completed(facts, run, workload, false, ledgers)
        }
        Judgement::Waiting { suspicion, ready, .. } => {
            let is_proven = is_provisional || 0 < *ready;
            let mut plan = wait(facts, run, if is_proven { Phase::Promoting } else { Phase::Canary });
            if is_proven && !is_provisional {
                super::remember(run, true, ledgers);
            }
            plan.before.cause = suspicion.as_ref().map(run_cause);
            plan.after = plan.before.clone();
            plan
        }
        Judgement::Unknown { .. } => wait(facts, run, run.status.phase),
    };
    let runs = cron.jobs.iter().any(|job| job.end == JobEnd::Active);
    if plan.patch.is_none() && plan.after.finished_at.is_none() {
        plan.look_again = if runs { RUN_STARTED } else { facts.policy.interval };
    }
    plan.stable = format!("{}; of the old image {}", jobs::told(Some(new)), jobs::told(base));
    plan.judgement = Some(judgement);
    plan
}

/// Whether a Job was made from the new template.
fn runs_new(run: &Run, job: &Job) -> bool {
    run.containers.iter().all(|container| job.images.get(&container.name) == Some(&container.to))
}

/// After a revert: a Job of our digest that cannot start its container would stop the schedule for ever, and is ended.
pub(super) fn aftermath(
    facts: &Facts,
    open: &OpenRun,
    (workload, cron): (&Workload, &CronJob),
    intent: &Intent,
) -> Option<RunPlan> {
    let Split { new, .. } = split(open);
    let judged = judged(&open.run);
    let waits = |job: &Job| {
        let mut own = new.iter().filter(|pod| pod.owner == job.name);
        own.any(|pod| classify::classify_pod(pod, &judged).is_some_and(|finding| finding.waits))
    };
    let is_stuck = |job: &&Job| {
        let denied = job.denied.is_some() && runs_new(&open.run, job);
        job.end == JobEnd::Active && !job.is_ending() && (denied || waits(job))
    };
    let job = cron.jobs.iter().find(is_stuck)?;
    let errand = Errand::EndJob { name: job.name.clone(), uid: job.uid.clone() };
    let what =
        format!("ended job {}, which {} cannot start: activeDeadlineSeconds 1", job.name, open.run.to_tag);
    Some(super::errand(facts, (&open.run, workload), intent, (errand, Reason::StuckJobEnded, what)))
}
