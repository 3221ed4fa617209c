//! The run's state machine: from what the cluster shows to the one write that is due, if any.
//!
//! The phase is derived, never remembered: image and held fields of the workload, and the intent recorded before a
//! patch, say where a run is, so that any pass may be the first after a crash. How a run is recorded, what it watches, how it
//! ends before its time and the forms of what is due are files of `rollout/`, as are the patches and each kind of workload.
//! What the pods do: `judge.rs`.

pub mod cronjob;
pub mod daemonset;
pub mod delegated;
pub mod deployment;
mod due;
mod ending;
mod kept;
mod next;
mod observation;
mod opening;
pub mod patch;
mod progress;
mod record;
pub mod run;
pub mod statefulset;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use jiff::SignedDuration;

use crate::approval;
use crate::current;
use crate::decide::{self, Course, Decision};
use crate::image::{Repository, Tag};
use crate::judge::{self, Judgement, Observation};
use crate::ledger::Ledger;
use crate::levers::{self, Lever, Verb};
use crate::policy::{Approval, Facts, Mode};
use crate::reason::Reason;
use crate::text;
use crate::workload::{Pod, Shape, Strategy, Workload};

use due::{finish, phase_now, wait, wait_unstarted, write};
use ending::{
    abort_cause, aftermath, denied, errand, excuse, failed, human_edit, restoring, reverting, run_cause,
};
use observation::{Split, judged, observation, paused, split, tell_signals};
use opening::open;

pub use next::{Action, Next};
pub use patch::{Errand, FieldWrite, Patch};
pub use record::{Change, Written};
pub use run::{Hold, Intent, OpenRun, Phase, Progress, Run, RunCause, RunStatus};

/// What is due after a pass.
#[derive(Debug, Clone)]
#[must_use = "the plan is what is carried out"]
pub struct Plan {
    /// What it was made from.
    pub decision: Decision,
    /// The open runs, each with what is due.
    pub runs: Vec<RunPlan>,
    /// A run to record. Its first patch is due in the next pass, which reads it back first.
    pub opening: Option<Run>,
    /// Annotations to clear, for they name no open run.
    pub strays: Vec<Patch>,
    /// The ledgers to store before anything else.
    pub ledgers: BTreeMap<Repository, Ledger>,
}

/// What is due for one open run.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// The run, as it was read.
    pub run: Run,
    /// Where it is, by what the cluster shows.
    pub phase: Phase,
    /// What the new pods were found to be.
    pub judgement: Option<Judgement>,
    /// The old pods, in words.
    pub stable: String,
    /// The status to store before the patch: it carries the intent.
    pub before: RunStatus,
    /// The patch, with what it does in words.
    pub patch: Option<(Patch, String)>,
    /// A write to one pod or Job instead, with its code and what it does in words.
    pub errand: Option<(Errand, Reason, String)>,
    /// What a person has to do, where only a person can: the command.
    pub left: Option<String>,
    /// The status to store when the write has succeeded.
    pub after: RunStatus,
    /// When to look again.
    pub look_again: SignedDuration,
}

impl RunPlan {
    /// Whether nothing is due but, it may be, to hold for longer what is held.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.patch.as_ref().is_none_or(|(patch, _)| patch.is_longer_hold())
    }
}

/// Plans the one write that is due for each open run, and the run to open.
pub fn plan(facts: &Facts, decision: Decision) -> Plan {
    let mut ledgers = decision.assessment.ledgers.clone();
    excuse(facts, &mut ledgers);
    for track in &facts.seen.tracks {
        cronjob::count(track, &mut ledgers);
    }
    let superseded = superseded(facts, &decision);
    let runs: Vec<RunPlan> = facts
        .seen
        .open_runs
        .iter()
        .map(|open| {
            let is_superseded = superseded.contains(&open.run.track);
            let plan = plan_run(facts, open, (&decision, is_superseded), &mut ledgers);
            let plan = deployment::keep(facts, open, plan);
            next::told(facts, open, plan, &ledgers)
        })
        .collect();
    let opening = decision.tracks.iter().zip(&decision.assessment.chosen).enumerate().find_map(
        |(index, (course, chosen))| match course {
            Course::Move { tag, digest, canary } => {
                let track = facts.seen.tracks.get(chosen.track)?;
                // The run before it ends first: the next pass opens this one.
                if superseded.contains(&track.key) {
                    return None;
                }
                open(facts, track, &decision, index, (tag, digest, *canary))
            }
            Course::Hold(_) | Course::Continue | Course::Nothing => None,
        },
    );
    if let Some(run) = &opening {
        cronjob::begin(run, &mut ledgers);
    }
    let strays = strays(facts);
    Plan { decision, runs, opening, strays, ledgers }
}

/// The tracks on which a newer version passed while the runs of a CronJob are still watched.
fn superseded(facts: &Facts, decision: &Decision) -> BTreeSet<String> {
    let moves = decision.tracks.iter().zip(&decision.assessment.chosen);
    moves
        .filter(|(course, _)| matches!(course, Course::Move { .. }))
        .filter_map(|(_, chosen)| facts.seen.tracks.get(chosen.track))
        .filter(|track| current::open_run(facts, track).is_some())
        .map(|track| track.key.clone())
        .collect()
}

/// Workloads whose annotation came back from the dead.
fn strays(facts: &Facts) -> Vec<Patch> {
    if facts.policy.mode == Mode::DryRun || facts.seen.namespace_deleting {
        return Vec::new();
    }
    let open: BTreeSet<&str> = facts.seen.open_runs.iter().map(|open| open.run.name.as_str()).collect();
    let mut patches: Vec<Patch> = Vec::new();
    for track in &facts.seen.tracks {
        let annotated = track.workload.annotated_run.as_deref();
        let stray = annotated.is_some_and(|run| !open.contains(run));
        let known = patches.iter().any(|patch| patch.workload == track.workload.id);
        if stray && track.busy.is_none() && !known {
            patches.push(patch::forget(&track.workload));
        }
    }
    patches
}

/// What the images of the workload show of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Images {
    Old,
    New,
    Neither,
}

fn images(run: &Run, workload: &Workload) -> Images {
    let shows = |wanted: fn(&run::RunContainer) -> &String| {
        run.containers.iter().all(|container| {
            workload.containers.iter().any(|seen| {
                seen.name == container.name && seen.init == container.init && seen.image == *wanted(container)
            })
        })
    };
    if shows(|container| &container.to) {
        Images::New
    } else if shows(|container| &container.from) || shows(run::RunContainer::way_back) {
        Images::Old
    } else {
        Images::Neither
    }
}

fn plan_run(
    facts: &Facts,
    open: &OpenRun,
    (decision, is_superseded): (&Decision, bool),
    ledgers: &mut BTreeMap<Repository, Ledger>,
) -> RunPlan {
    let run = &open.run;
    let Some(workload) = open.workload.as_ref().filter(|workload| !workload.deleting) else {
        return finish(
            facts,
            run,
            Phase::Aborted,
            Reason::WorkloadGone,
            "the workload was deleted".to_owned(),
        );
    };
    if facts.seen.namespace_deleting {
        let message = "the namespace is being deleted; nothing is written any more".to_owned();
        return finish(facts, run, Phase::Aborted, Reason::TargetDeleting, message);
    }
    let images = images(run, workload);
    let held = patch::restores(run, workload);
    levers::remember_abort(facts, run, ledgers);
    match (&run.status.intent, images) {
        (Some(intent), Images::New) => reverting(facts, run, workload, intent),
        (Some(intent), Images::Old | Images::Neither) => {
            if !held.is_empty() {
                return restoring(facts, run, workload, intent.clone());
            }
            if let Some(plan) = aftermath(facts, open, workload, intent).filter(|_| images == Images::Old) {
                return plan;
            }
            let phase = if intent.end == Reason::RolledBack { Phase::RolledBack } else { Phase::Aborted };
            finish(facts, run, phase, intent.reason, intent.message.clone())
        }
        (None, Images::Old) if held.is_empty() && run.status.started_at.is_none() => {
            match approval::overtaken(facts, decision, run).filter(|_| approval::awaited(run)) {
                Some((reason, message)) => finish(facts, run, Phase::Aborted, reason, message),
                None => first_write(facts, open, workload),
            }
        }
        (None, Images::Old | Images::Neither) => human_edit(facts, run, workload, images, ledgers),
        // Our first patch holds fields and writes the image at once: this image is somebody else's.
        (None, Images::New) if run.canary && held.is_empty() && run.status.started_at.is_none() => {
            human_edit(facts, run, workload, images, ledgers)
        }
        (None, Images::New)
            if abort_cause(facts, run).is_none()
                && let Some(cause) = kept::cause(run, ledgers) =>
        {
            kept::still(facts, open, workload, cause)
        }
        (None, Images::New) if let Hold::Delegated(mark) = &run.hold => {
            delegated::watching(facts, open, (workload, mark), ledgers)
        }
        (None, Images::New) if let Some(cron) = workload.cron_job() => {
            cronjob::watching(facts, open, (workload, cron), is_superseded, ledgers)
        }
        (None, Images::New) => match abort_cause(facts, run) {
            Some((reason, message)) => {
                let intent = Intent { end: Reason::Aborted, reason, message, at: facts.now };
                reverting(facts, run, workload, &intent)
            }
            None if patch::is_held(run, workload) => canary(facts, open, workload, ledgers),
            None if !held.is_empty() && workload.deployment().is_some() => {
                let patch = patch::restore_ours(run, workload);
                let what = "restored the rollout settings".to_owned();
                let mut plan = write(facts, (run, workload), Phase::Promoting, patch, what);
                progress::begin(facts, run, &mut plan.after);
                plan
            }
            None => promoting(facts, open, workload, ledgers),
        },
    }
}

/// The first write of a run; where the old pods are not well before it, the record says so.
fn first_write(facts: &Facts, open: &OpenRun, workload: &Workload) -> RunPlan {
    let mut plan = preparing(facts, &open.run, workload);
    // The pods of a CronJob's runs end; how its runs were before is in the ledger.
    let is_cron = workload.cron_job().is_some();
    let baseline = judge::attribute::unhealthy(&open.pods, facts.now).filter(|_| !is_cron);
    if let (Some(words), Some((_, what))) = (&baseline, plan.patch.as_mut()) {
        what.push_str(&format!("; {}: {words}", Reason::BaselineUnhealthy));
        if let Some(write) = plan.after.writes.last_mut() {
            write.what.clone_from(what);
        }
        plan.after.baseline = baseline;
    }
    plan
}

fn preparing(facts: &Facts, run: &Run, workload: &Workload) -> RunPlan {
    if let Some((reason, message)) = abort_cause(facts, run) {
        return finish(facts, run, Phase::Aborted, reason, message);
    }
    if workload.generation != run.generation && !is_as_saved(run, workload) {
        let message = "the workload changed before anything was written; decided anew".to_owned();
        return finish(facts, run, Phase::Aborted, Reason::WriteConflict, message);
    }
    if facts.seen.paused.is_some() || approval::awaited(run) {
        let waits = if approval::awaited(run) { Phase::AwaitingApproval } else { Phase::Preparing };
        return wait_unstarted(run, waits);
    }
    if run.levers.approval.is_some() && decide::limit(facts.seen.concurrency).is_some() {
        return wait_unstarted(run, Phase::AwaitingApproval);
    }
    // What changed since is still under way: two changes at once could not be told apart.
    let is_still = !matches!(run.hold, Hold::Deployment(_))
        || (workload.is_settled() && workload.deployment().is_none_or(|own| !own.paused));
    if workload.generation != run.generation && !is_still {
        return wait_unstarted(run, Phase::Preparing);
    }
    let (step, pods) = match &run.hold {
        Hold::StatefulSet(partitions) => {
            (0, partitions.first().map_or(1, |first| workload.replicas.saturating_sub(*first)))
        }
        Hold::Deployment(_) | Hold::DaemonSet(_) | Hold::CronJob | Hold::Delegated(_) => {
            patch::next_step(run, 0, 0, workload.replicas).unwrap_or((0, 1))
        }
    };
    let what = beginning(run, workload, pods);
    let phase = if run.canary { Phase::Canary } else { Phase::Promoting };
    let watched = workload.cron_job().is_some() || run.is_delegated();
    let phase = if watched { Phase::Canary } else { phase };
    let first = Patch { generation: Some(workload.generation), ..patch::start(run, workload, pods) };
    let mut plan = write(facts, (run, workload), phase, first, what);
    if let Some(lever) = &run.levers.approval {
        levers::note(&mut plan.after.levers, Verb::Approve, lever);
    }
    plan.after.started_at = Some(facts.now);
    plan.after.step = step;
    plan.after.step_pods = pods;
    progress::begin(facts, run, &mut plan.after);
    plan
}

/// Whether a workload that changed since is still what the run was recorded for. An approval may take days, and scaling is no
/// reason to ask for it anew: as long as what is saved still holds, and pods that came since get their canary.
fn is_as_saved(run: &Run, workload: &Workload) -> bool {
    let is_held_as_now = match &run.hold {
        Hold::Deployment(_) => {
            let recreates = workload.deployment().is_some_and(|own| own.strategy == Strategy::Recreate);
            run.canary || recreates || workload.replicas == 0
        }
        Hold::Delegated(mark) => {
            workload.delegate.as_ref().is_some_and(|own| own.mark() == *mark && own.busy().is_none())
        }
        // The steps of a StatefulSet are ordinals: scaled, they are decided anew.
        Hold::StatefulSet(_) | Hold::DaemonSet(_) | Hold::CronJob => false,
    };
    let is_approved_by_hand = run.settings.approval == Approval::Manual;
    is_approved_by_hand && is_held_as_now && patch::fields(workload) == run.originals
}

/// The first write in words.
fn beginning(run: &Run, workload: &Workload, pods: i32) -> String {
    let moves = format!(
        "{} -> {}@{}",
        run.from_tag.as_ref().map_or("untagged", Tag::as_str),
        run.to_tag,
        run.to_digest.short()
    );
    let plural = if pods == 1 { "" } else { "s" };
    if let Some(delegate) = &workload.delegate {
        return format!("{moves}; the image is set, {} rolls it out", delegate.title());
    }
    match &workload.shape {
        Shape::Deployment(_) if run.canary => {
            format!("{moves}; {pods} new pod{plural} beside {} old, held", workload.replicas)
        }
        Shape::StatefulSet(_) if run.canary => format!(
            "{moves}; the {pods} highest of {} pods replaced, the others held by the partition",
            workload.replicas
        ),
        Shape::DaemonSet(_) if !workload.is_on_delete() => format!("{moves}; one node at a time, watched"),
        Shape::CronJob(_) => format!("{moves}; the next runs are judged"),
        Shape::Deployment(_) | Shape::StatefulSet(_) | Shape::DaemonSet(_) | Shape::Rollout => {
            format!("image set to {}@{} without a canary", run.to_tag, run.to_digest.short())
        }
    }
}

fn canary(
    facts: &Facts,
    open: &OpenRun,
    workload: &Workload,
    ledgers: &mut BTreeMap<Repository, Ledger>,
) -> RunPlan {
    let run = &open.run;
    if run.status.started_at.is_none() {
        // The first patch was written and not recorded: the watch begins now, however long the pods have been there.
        return wait(facts, run, Phase::Canary);
    }
    if let Some(message) = statefulset::scaled_below(run, workload) {
        let intent = Intent { end: Reason::Aborted, reason: Reason::Aborted, message, at: facts.now };
        return reverting(facts, run, workload, &intent);
    }
    let (pods, judged) = (split(open), judged(run));
    let expected = match &workload.shape {
        Shape::StatefulSet(_) => workload.updatable().max(1),
        Shape::Deployment(_) | Shape::DaemonSet(_) | Shape::CronJob(_) | Shape::Rollout => {
            run.status.step_pods.max(1)
        }
    };
    let analysis = run.settings.analysis.as_ref();
    let verdicts = analysis.map_or_else(Vec::new, |analysis| {
        judge::signals::judge(analysis, &open.readings, &run.status.signals, facts.now)
    });
    // The new pods of a Deployment's step start together, those of a StatefulSet one after another.
    let progress = matches!(workload.shape, Shape::StatefulSet(_))
        .then(|| progress::seen(run, &pods.new, expected, facts.now));
    let deadline = progress::deadline(run, progress.as_ref(), facts.now);
    let signals = analysis.map(|analysis| (analysis, verdicts.as_slice()));
    let seen = Observation { signals, deadline, ..observation(open, &pods, &judged, expected, facts.now) };
    let judgement = paused(workload, &seen, judge::judge(&seen));
    let stable = judge::stable_health(&pods.old);
    let nothing_to_observe = workload.updatable() == 0;
    let lever = levers::promotes(facts, run, &judgement);
    let mut plan = match &judgement {
        _ if lever.is_some() => promoted(facts, run, workload, lever),
        Judgement::Fail(cause) => failed(facts, (run, workload), cause, ledgers),
        Judgement::Pass { .. } if facts.seen.paused.is_some() => wait(facts, run, Phase::Canary),
        Judgement::Pass { .. } => passed(facts, run, workload, &judgement),
        Judgement::Waiting { .. } | Judgement::Unknown { .. } if nothing_to_observe => {
            passed(facts, run, workload, &judgement)
        }
        Judgement::Waiting { suspicion, .. } => {
            let mut plan = wait(facts, run, Phase::Canary);
            plan.before.cause = suspicion.as_ref().map(run_cause);
            plan.after = plan.before.clone();
            plan
        }
        Judgement::Unknown { .. } => wait(facts, run, Phase::Canary),
    };
    if let Some(progress) = progress {
        progress::tell(&mut plan, progress, facts.now);
    }
    tell_signals(&mut plan, verdicts);
    plan.stable = stable;
    plan.judgement = Some(judgement);
    plan
}

/// A person skips what is left of the observation; what the rest of the pods do is judged as ever.
fn promoted(facts: &Facts, run: &Run, workload: &Workload, lever: Option<&Lever>) -> RunPlan {
    let by = lever.map_or_else(String::new, |lever| format!(" by {lever}"));
    let what = format!("promoted{by}; the rest of the observation skipped, rollout settings restored");
    let mut plan = write(facts, (run, workload), Phase::Promoting, patch::promote(run, workload), what);
    progress::begin(facts, run, &mut plan.after);
    if let Some(lever) = lever {
        levers::note(&mut plan.after.levers, Verb::Promote, lever);
    }
    plan
}

fn passed(facts: &Facts, run: &Run, workload: &Workload, judgement: &Judgement) -> RunPlan {
    let words = match judgement {
        Judgement::Pass { watched, ready } => format!("{ready} new Ready for {}", text::span(*watched)),
        Judgement::Fail(_) | Judgement::Waiting { .. } | Judgement::Unknown { .. } => {
            "0 replicas: nothing to observe".to_owned()
        }
    };
    match patch::next(run, workload) {
        Some((step, pods, field)) => {
            let what = match &workload.shape {
                Shape::StatefulSet(_) => {
                    format!("{words}; the {pods} highest of {} pods replaced, held", workload.replicas)
                }
                Shape::Deployment(_) | Shape::DaemonSet(_) | Shape::CronJob(_) | Shape::Rollout => {
                    format!("{words}; {pods} new pods beside {} old, held", workload.replicas)
                }
            };
            let mut plan = write(
                facts,
                (run, workload),
                Phase::Canary,
                patch::hold_on(run, workload, vec![field]),
                what,
            );
            plan.after.step = step;
            plan.after.step_pods = pods;
            progress::begin(facts, run, &mut plan.after);
            plan
        }
        None => {
            let what = format!("{words}; promoted, rollout settings restored");
            let mut plan =
                write(facts, (run, workload), Phase::Promoting, patch::promote(run, workload), what);
            progress::begin(facts, run, &mut plan.after);
            plan
        }
    }
}

fn promoting(
    facts: &Facts,
    open: &OpenRun,
    workload: &Workload,
    ledgers: &mut BTreeMap<Repository, Ledger>,
) -> RunPlan {
    let run = &open.run;
    if run.status.started_at.is_none() || run.status.phase != Phase::Promoting {
        // What let the rest go was written and not recorded, or somebody else gave the fields back.
        return promotion_begins(facts, run);
    }
    let (pods, judged) = (split(open), judged(run));
    let is_watched = !run.canary && run.levers.promote.is_none();
    let bake = if is_watched { run.settings.bake } else { SignedDuration::ZERO };
    let expected = workload.updatable();
    let progress = progress::seen(run, &pods.new, expected, facts.now);
    let deadline = progress::deadline(run, Some(&progress), facts.now);
    let seen = Observation { bake, deadline, ..observation(open, &pods, &judged, expected, facts.now) };
    let judgement = paused(workload, &seen, judge::judge(&seen));
    let is_seen = pods.new.iter().any(|pod| !pod.deleting && pod.ready_since.is_some());
    let is_complete = workload.is_settled() && workload.available_replicas == workload.replicas;
    let passes = matches!(judgement, Judgement::Pass { .. }) || expected == 0;
    let mut plan = match &judgement {
        // Its pods change when their owner deletes them: who does not is not waited for.
        Judgement::Fail(cause)
            if cause.at_deadline && workload.is_on_delete() && pods.new.iter().all(is_well) =>
        {
            completed(facts, run, workload, is_seen, ledgers)
        }
        Judgement::Fail(cause) => failed(facts, (run, workload), cause, ledgers),
        Judgement::Pass { .. } | Judgement::Waiting { .. } | Judgement::Unknown { .. } => {
            if is_complete && passes {
                given_back_or_completed(facts, run, workload, is_seen, ledgers)
            } else {
                wait(facts, run, Phase::Promoting)
            }
        }
    };
    progress::tell(&mut plan, progress, facts.now);
    plan.stable = judge::stable_health(&pods.old);
    plan.judgement = Some(judgement);
    plan
}

fn is_well(pod: &Pod) -> bool {
    pod.deleting || pod.ready_since.is_some()
}

/// The rest of the pods is judged from now on: nothing is known of when their replacement began.
fn promotion_begins(facts: &Facts, run: &Run) -> RunPlan {
    let mut plan = wait(facts, run, Phase::Promoting);
    progress::begin(facts, run, &mut plan.before);
    plan.after = plan.before.clone();
    plan
}

/// What a DaemonSet's run holds is given back when every node has its new pod; then the run ends.
fn given_back_or_completed(
    facts: &Facts,
    run: &Run,
    workload: &Workload,
    is_seen: bool,
    ledgers: &mut BTreeMap<Repository, Ledger>,
) -> RunPlan {
    if patch::restores(run, workload).is_empty() {
        return completed(facts, run, workload, is_seen, ledgers);
    }
    let what = format!("all {} new Ready; rollout settings restored", workload.replicas);
    write(facts, (run, workload), Phase::Promoting, patch::promote(run, workload), what)
}

/// The ledger learns that the version is done, and whether anything that runs it was seen well.
fn remember(run: &Run, is_seen: bool, ledgers: &mut BTreeMap<Repository, Ledger>) {
    let memory = ledgers.get_mut(&run.repository).and_then(|ledger| ledger.workloads.get_mut(&run.track));
    if let Some(memory) = memory {
        memory.completed = Some(run.to_tag.clone());
        memory.wrote = run.containers.first().map(|container| container.to.clone());
        memory.unseen = !is_seen;
    }
}

/// The ledger forgets that the version was done: a CronJob's run is remembered at its first success and may fail yet. Else the way
/// back would look like a person's.
fn take_back(run: &Run, ledgers: &mut BTreeMap<Repository, Ledger>) {
    let memory = ledgers.get_mut(&run.repository).and_then(|ledger| ledger.workloads.get_mut(&run.track));
    let Some(container) = run.containers.first() else { return };
    if let Some(memory) = memory.filter(|memory| memory.wrote.as_ref() == Some(&container.to)) {
        memory.completed.clone_from(&run.from_tag);
        memory.wrote = Some(container.way_back().clone());
        memory.unseen = false;
    }
}

fn completed(
    facts: &Facts,
    run: &Run,
    workload: &Workload,
    is_seen: bool,
    ledgers: &mut BTreeMap<Repository, Ledger>,
) -> RunPlan {
    remember(run, is_seen, ledgers);
    let tag = &run.to_tag;
    let updated = workload.updated_replicas;
    let message = match &workload.shape {
        Shape::CronJob(cron) if cron.is_suspended => format!("{tag} is set; suspended: nothing to observe"),
        Shape::CronJob(_) => format!("{tag} is set, and its runs fail no more often than before"),
        Shape::Deployment(_) | Shape::StatefulSet(_) | Shape::DaemonSet(_) | Shape::Rollout
            if workload.updatable() == 0 =>
        {
            match &workload.shape {
                Shape::StatefulSet(own) if 0 < workload.replicas => format!(
                    "{tag} is set; none of {} pods is at or above partition {}: nothing to observe",
                    workload.replicas, own.partition
                ),
                Shape::StatefulSet(_)
                | Shape::Deployment(_)
                | Shape::DaemonSet(_)
                | Shape::CronJob(_)
                | Shape::Rollout => format!("{tag} is set; 0 replicas: nothing to observe"),
            }
        }
        Shape::StatefulSet(_) | Shape::DaemonSet(_) if workload.is_on_delete() => format!(
            "{tag} is set and {updated} of {} pods run it; `OnDelete` leaves the rest to whoever deletes them",
            workload.replicas
        ),
        Shape::Deployment(_) | Shape::StatefulSet(_) | Shape::DaemonSet(_) | Shape::Rollout => {
            format!("{updated} of {} pods run {tag}", workload.replicas)
        }
    };
    succeeded(facts, run, is_seen, message)
}

fn succeeded(facts: &Facts, run: &Run, is_seen: bool, message: String) -> RunPlan {
    let mut plan = finish(facts, run, Phase::Succeeded, Reason::RolledForward, message);
    (plan.before.unseen, plan.after.unseen) = (!is_seen, !is_seen);
    plan
}
