//! The run's state machine: from what the cluster shows to the one write that is due, if any.
//!
//! The phase is derived, never remembered: image and held fields of the workload, and the intent recorded before a
//! patch, say where a run is, so that any pass may be the first after a crash. What the pods do: `judge.rs`. The patches
//! themselves: `rollout/patch.rs`, and one file a kind beside it.

pub mod cronjob;
pub mod daemonset;
pub mod deployment;
pub mod patch;
pub mod run;
pub mod statefulset;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::approval;
use crate::current;
use crate::decide::{self, Course, Decision};
use crate::gate;
use crate::image::{Digest, Repository, Tag};
use crate::judge::signals::SignalVerdict;
use crate::judge::{self, Blame, Cause, Judgement, Observation};
use crate::ledger::{Failure, Ledger, NewFailure};
use crate::levers::{self, Lever, Verb};
use crate::policy::{Facts, Mode, Policy, Track};
use crate::reason::Reason;
use crate::text;
use crate::trust::Effective;
use crate::workload::{Pod, Revision, Shape, Workload};

pub use patch::{Errand, FieldWrite, Patch};
pub use run::{Hold, Intent, OpenRun, Phase, Run, RunCause, RunStatus};

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

/// How long an open run waits for the next look when nothing else wakes it.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(1);
/// How long a run that waits for a person waits for the next look: their approval is a change of the run, which wakes it.
const UNSTARTED_AGAIN: SignedDuration = SignedDuration::from_mins(1);
/// The most writes that a run's status keeps.
const MAX_NOTES: usize = 16;

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
            plan_run(facts, open, (&decision, is_superseded), &mut ledgers)
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

/// How long after a rollback the old version is asked whether it fails too.
const AFTERMATH: SignedDuration = SignedDuration::from_mins(10);

/// A digest was rolled back, and now the old version fails in the same way: it was the environment.
fn excuse(facts: &Facts, ledgers: &mut BTreeMap<Repository, Ledger>) {
    for run in &facts.seen.last_runs {
        let (Some(cause), Some(ended_at)) = (&run.status.cause, run.status.finished_at) else { continue };
        let lately = facts.now.duration_since(ended_at) < AFTERMATH;
        let track = facts.seen.tracks.iter().find(|track| track.key == run.track);
        let Some(track) = track.filter(|_| lately && run.status.phase == Phase::RolledBack) else { continue };
        // Not merely other pods: those of the next run's canary are not the old version either.
        let runs_old = |pod: &Pod| {
            pod.containers.iter().any(|one| run.containers.iter().any(|own| own.from == one.image))
        };
        let old: Vec<Pod> = track.pods.iter().filter(|pod| runs_old(pod)).cloned().collect();
        let when = (ended_at, facts.now);
        let told = judge::attribute::fails_after_rollback(cause.reason, &old, &judged(run), when);
        if let (Some(words), Some(ledger)) = (told, ledgers.get_mut(&run.repository)) {
            let retry_at = facts.now.checked_add(run.settings.retry_after).unwrap_or(Timestamp::MAX);
            ledger.absolve(&run.to_digest, &run.name, words, retry_at);
        }
    }
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

/// The record of a run that is about to begin: everything that a rollback needs.
fn open(
    facts: &Facts,
    track: &Track,
    decision: &Decision,
    index: usize,
    (tag, digest, canary): (&Tag, &Digest, bool),
) -> Option<Run> {
    let chosen = decision.assessment.chosen.get(index)?;
    let assessed = decision.assessment.candidates.get(index)?.iter().find(|one| one.tag == *tag)?;
    let ledger = decision.assessment.ledgers.get(&track.repository)?;
    let failure = ledger.failures.get(digest);
    let first_seen = ledger.first_seen(tag, digest).unwrap_or(facts.now);
    let originals = patch::fields(&track.workload);
    let settings = facts.policy.rollout.clone();
    let hold = patch::hold(&settings, &track.workload);
    let containers = track
        .containers
        .iter()
        .map(|(container, image)| run::RunContainer {
            name: container.name.clone(),
            index: container.index,
            init: container.init,
            from: container.image.clone(),
            to: image.pinned(tag, digest).to_string(),
        })
        .collect();
    let evidence = assessed
        .verdicts
        .iter()
        .map(|(layer, verdict)| {
            (layer.name().to_owned(), format!("{}: {}", verdict.reason, verdict.observed))
        })
        .collect();
    Some(Run {
        name: run_name(facts, track, tag, digest),
        policy: facts.policy.id.clone(),
        policy_generation: facts.policy.generation,
        workload: track.workload.id.clone(),
        generation: track.workload.generation,
        track: track.key.clone(),
        repository: track.repository.clone(),
        containers,
        from_tag: chosen.current.as_ref().and_then(|current| current.tag.clone()),
        from_digest: chosen.current.as_ref().and_then(|current| current.digest.clone()),
        to_tag: tag.clone(),
        to_digest: digest.clone(),
        attempt: failure.map_or(1, |failure| failure.fails.saturating_add(1).clamp(2, 100)),
        first_seen,
        trigger: trigger(facts, tag, first_seen, failure),
        evidence,
        canary: canary && hold != Hold::StatefulSet(Vec::new()),
        hold,
        originals,
        settings,
        created_at: facts.now,
        deleting: false,
        levers: levers::RunLevers::default(),
        status: RunStatus::new(),
    })
}

/// What started a run, in words.
fn trigger(facts: &Facts, tag: &Tag, first_seen: Timestamp, failure: Option<&Failure>) -> String {
    let asked = failure.and_then(|failure| failure.retry_by.as_ref());
    format!(
        "tag {tag} first seen {}; all gates passed {}{}",
        text::instant_seconds(first_seen),
        text::instant_seconds(facts.now),
        asked.map_or_else(String::new, |lever| format!("; retry asked by {lever}"))
    )
}

/// A name that is the same for the same move of the same template under the same policy, so that two passes cannot open it
/// twice. A run that ended before it wrote anything leaves template and policy as they may have been: its own name makes the next
/// one another.
fn run_name(facts: &Facts, track: &Track, tag: &Tag, digest: &Digest) -> String {
    let policy: &Policy = &facts.policy;
    let before = facts.seen.unstarted.get(&track.key).map_or("", String::as_str);
    let seed = format!(
        "{}/{}/{digest}/{}/{}{before}",
        track.workload.id.uid, track.key, track.workload.generation, policy.generation
    );
    // FNV-1a, 64 bits: a short name, not a security boundary.
    let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let plain = |text: &str, most: usize| -> String {
        let kept: String = text
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
            .take(most)
            .collect();
        kept.trim_matches('-').to_owned()
    };
    let suffix: String = format!("{hash:016x}").chars().take(6).collect();
    format!("{}-{}-{suffix}", plain(&policy.id.name, 30), plain(tag.as_str(), 20))
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
    } else if shows(|container| &container.from) {
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
                write(facts, run, Phase::Promoting, patch, "restored the rollout settings".to_owned())
            }
            None => promoting(facts, open, workload, ledgers),
        },
    }
}

/// What is left to do after a revert: what the native controller does not heal.
fn aftermath(facts: &Facts, open: &OpenRun, workload: &Workload, intent: &Intent) -> Option<RunPlan> {
    // Whoever deletes the policy or the run does not wait for a pod.
    if facts.policy.deleting || open.run.deleting || open.run.status.started_at.is_none() {
        return None;
    }
    match &workload.shape {
        Shape::StatefulSet(own) => statefulset::aftermath(facts, open, (workload, own), intent),
        Shape::CronJob(own) => cronjob::aftermath(facts, open, own, intent),
        Shape::Deployment(_) | Shape::DaemonSet(_) => None,
    }
}

/// A write to one pod or Job, noted like one to the workload.
fn errand(facts: &Facts, run: &Run, intent: &Intent, what: (Errand, Reason, String)) -> RunPlan {
    let mut plan = wait(facts, run, phase_now(run));
    note(&mut plan.after, facts.now, what.2.clone());
    plan.before.intent = Some(intent.clone());
    plan.errand = Some(what);
    plan
}

/// The first write of a run; where the old pods are not well before it, the record says so.
fn first_write(facts: &Facts, open: &OpenRun, workload: &Workload) -> RunPlan {
    let mut plan = preparing(facts, &open.run, workload);
    let baseline = judge::attribute::unhealthy(&open.pods, facts.now);
    if let (Some(words), Some((_, what))) = (&baseline, plan.patch.as_mut()) {
        what.push_str(&format!("; {}: {words}", Reason::BaselineUnhealthy));
        plan.after.writes.pop();
        plan.after.writes.push((facts.now, what.clone()));
        plan.after.baseline = baseline;
    }
    plan
}

fn preparing(facts: &Facts, run: &Run, workload: &Workload) -> RunPlan {
    if let Some((reason, message)) = abort_cause(facts, run) {
        return finish(facts, run, Phase::Aborted, reason, message);
    }
    if facts.seen.paused.is_some() || approval::awaited(run) {
        let waits = if approval::awaited(run) { Phase::AwaitingApproval } else { Phase::Preparing };
        return wait_unstarted(run, waits);
    }
    if run.levers.approval.is_some() && decide::limit(facts.seen.concurrency).is_some() {
        return wait_unstarted(run, Phase::AwaitingApproval);
    }
    // An approval may take days: the workload may have been scaled since, as long as what is saved of it still holds.
    // The steps of a StatefulSet are ordinals: scaled, they are decided anew.
    let is_deployment = matches!(run.hold, Hold::Deployment(_));
    let as_saved = run.levers.approval.is_some() && is_deployment && patch::fields(workload) == run.originals;
    if workload.generation != run.generation && !as_saved {
        let message = "the workload changed before anything was written; decided anew".to_owned();
        return finish(facts, run, Phase::Aborted, Reason::WriteConflict, message);
    }
    let (step, pods) = match &run.hold {
        Hold::StatefulSet(partitions) => {
            (0, partitions.first().map_or(1, |first| workload.replicas.saturating_sub(*first)))
        }
        Hold::Deployment(_) | Hold::DaemonSet(_) | Hold::CronJob => {
            patch::next_step(run, 0, 0, workload.replicas).unwrap_or((0, 1))
        }
    };
    let what = beginning(run, workload, pods);
    let phase = if run.canary { Phase::Canary } else { Phase::Promoting };
    let phase = if workload.cron_job().is_some() { Phase::Canary } else { phase };
    let first = Patch { generation: Some(workload.generation), ..patch::start(run, pods) };
    let mut plan = write(facts, run, phase, first, what);
    if let Some(lever) = &run.levers.approval {
        levers::note(&mut plan.after.levers, Verb::Approve, lever);
    }
    let deadline = facts.now.checked_add(run.settings.deadline).unwrap_or(Timestamp::MAX);
    plan.after.started_at = Some(facts.now);
    plan.after.deadline = Some(deadline);
    plan.after.step = step;
    plan.after.step_pods = pods;
    plan.after.step_started_at = Some(facts.now);
    plan
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
        Shape::Deployment(_) | Shape::StatefulSet(_) | Shape::DaemonSet(_) => {
            format!("image set to {}@{} without a canary", run.to_tag, run.to_digest.short())
        }
    }
}

/// Somebody put the digest on a deny list while it was being rolled out.
fn denied(facts: &Facts, run: &Run) -> Option<(Reason, String)> {
    let track = facts.seen.tracks.iter().find(|track| track.key == run.track)?;
    let repositories = gate::names(facts, track);
    let verdict = gate::reference::denied(&Effective::of(facts, track), &repositories, &run.to_digest)?;
    Some((verdict.reason, format!("{}; {}", verdict.observed, verdict.hint.trim_end_matches('.'))))
}

/// Why an open run has to end although nothing is wrong with the image.
fn abort_cause(facts: &Facts, run: &Run) -> Option<(Reason, String)> {
    let policy = &facts.policy;
    let aborted = |what: &str| Some((Reason::Aborted, what.to_owned()));
    if policy.deleting {
        return aborted("the policy was deleted");
    }
    if run.deleting {
        return aborted("the run was deleted");
    }
    if policy.suspend {
        return Some((Reason::Suspended, "the policy was suspended".to_owned()));
    }
    if let Some(ended) = denied(facts, run).or_else(|| levers::ends(facts, run)) {
        return Some(ended);
    }
    if policy.generation == run.policy_generation {
        return None;
    }
    if policy.mode == Mode::DryRun {
        return Some((Reason::DryRun, "the policy was set to DryRun".to_owned()));
    }
    let Some(track) = facts.seen.tracks.iter().find(|track| track.key == run.track) else {
        return aborted("the policy was edited: the workload is not among its targets any more");
    };
    if !Effective::of(facts, track).speaks() {
        return Some((Reason::NoTrustDecision, "the policy's trust decision was taken away".to_owned()));
    }
    if !current::still_admits(policy, run) {
        return Some((
            Reason::Aborted,
            format!("the policy was edited: {} is outside the rule {} now", run.to_tag, policy.rule_text),
        ));
    }
    None
}

fn observation<'a>(
    open: &'a OpenRun,
    pods: &'a Split,
    judged: &'a BTreeSet<String>,
    expected: i32,
    now: Timestamp,
) -> Observation<'a> {
    let run = &open.run;
    let started = run.status.started_at.unwrap_or(run.created_at);
    Observation {
        canary: &pods.new,
        stable: &pods.old,
        judged,
        create_failure: pods.create_failure.as_deref(),
        unreadable: open.unreadable.as_deref(),
        baseline: run.status.baseline.as_deref(),
        signals: None,
        expected: u32::try_from(expected).unwrap_or(0),
        watched_since: run.status.step_started_at,
        bake: run.settings.bake,
        deadline: started.checked_add(run.settings.deadline).unwrap_or(Timestamp::MAX),
        now,
    }
}

struct Split {
    new: Vec<Pod>,
    old: Vec<Pod>,
    create_failure: Option<String>,
}

/// Tells the pods of the new template from those of the old one, by the templates that they were made from. What runs neither,
/// a failed canary of another version, is no old pod: it says nothing of either.
fn split(open: &OpenRun) -> Split {
    let of = |image: fn(&run::RunContainer) -> &String| -> Vec<&Revision> {
        let fits = |revision: &&Revision| {
            let mut moved = open.run.containers.iter();
            moved.all(|container| revision.images.get(&container.name) == Some(image(container)))
        };
        open.revisions.iter().filter(fits).collect()
    };
    let (to, from) = (of(|container| &container.to), of(|container| &container.from));
    let made_from = |revisions: &[&Revision]| -> Vec<Pod> {
        let is_one = |pod: &&Pod| revisions.iter().any(|revision| revision.name == pod.owner);
        open.pods.iter().filter(is_one).cloned().collect()
    };
    Split {
        new: made_from(&to),
        old: made_from(&from),
        create_failure: to.iter().find_map(|revision| revision.create_failure.clone()),
    }
}

fn judged(run: &Run) -> BTreeSet<String> {
    run.containers.iter().map(|container| container.name.clone()).collect()
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
    let (pods, judged) = (split(open), judged(run));
    let expected = match &workload.shape {
        Shape::StatefulSet(_) => workload.updatable().max(1),
        Shape::Deployment(_) | Shape::DaemonSet(_) | Shape::CronJob(_) => run.status.step_pods.max(1),
    };
    let analysis = run.settings.analysis.as_ref();
    let verdicts = analysis.map_or_else(Vec::new, |analysis| {
        judge::signals::judge(analysis, &open.readings, &run.status.signals, facts.now)
    });
    let seen = observation(open, &pods, &judged, expected, facts.now);
    let signals = analysis.map(|analysis| (analysis, verdicts.as_slice()));
    let judgement = judge::judge(&Observation { signals, ..seen });
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
    tell_signals(&mut plan, verdicts);
    plan.stable = stable;
    plan.judgement = Some(judgement);
    plan
}

/// Stores what the signals say where that has changed, or with what is stored anyway: their numbers move all the time.
fn tell_signals(plan: &mut RunPlan, verdicts: Vec<SignalVerdict>) {
    let words = |all: &[SignalVerdict]| -> Vec<_> {
        all.iter().map(|one| (one.name.clone(), one.word, one.since)).collect()
    };
    let changed = words(&plan.run.status.signals) != words(&verdicts);
    if changed || plan.before != plan.run.status {
        plan.before.signals.clone_from(&verdicts);
    }
    if changed || plan.after != plan.run.status {
        plan.after.signals = verdicts;
    }
}

/// A person skips what is left of the observation; what the rest of the pods do is judged as ever.
fn promoted(facts: &Facts, run: &Run, workload: &Workload, lever: Option<&Lever>) -> RunPlan {
    let by = lever.map_or_else(String::new, |lever| format!(" by {lever}"));
    let what = format!("promoted{by}; the rest of the observation skipped, rollout settings restored");
    let mut plan = write(facts, run, Phase::Promoting, patch::promote(run, workload), what);
    plan.after.step_started_at = Some(facts.now);
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
                Shape::Deployment(_) | Shape::DaemonSet(_) | Shape::CronJob(_) => {
                    format!("{words}; {pods} new pods beside {} old, held", workload.replicas)
                }
            };
            let mut plan = write(facts, run, Phase::Canary, patch::widen(run, workload, field), what);
            plan.after.step = step;
            plan.after.step_pods = pods;
            plan.after.step_started_at = Some(facts.now);
            plan
        }
        None => {
            let what = format!("{words}; promoted, rollout settings restored");
            let mut plan = write(facts, run, Phase::Promoting, patch::promote(run, workload), what);
            plan.after.step_started_at = Some(facts.now);
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
    let (pods, judged) = (split(open), judged(run));
    let is_watched = !run.canary && run.levers.promote.is_none();
    let bake = if is_watched { run.settings.bake } else { SignedDuration::ZERO };
    let expected = workload.updatable();
    let seen = Observation { bake, ..observation(open, &pods, &judged, expected, facts.now) };
    let judgement = paused(workload, &seen, judge::judge(&seen));
    let is_complete = workload.is_settled() && workload.available_replicas == workload.replicas;
    let passes = matches!(judgement, Judgement::Pass { .. }) || expected == 0;
    let mut plan = match &judgement {
        // Its pods change when their owner deletes them: who does not is not waited for.
        Judgement::Fail(cause) if cause.at_deadline && workload.is_on_delete() && pods.new.is_empty() => {
            completed(facts, run, workload, ledgers)
        }
        Judgement::Fail(cause) => failed(facts, (run, workload), cause, ledgers),
        Judgement::Pass { .. } | Judgement::Waiting { .. } | Judgement::Unknown { .. } => {
            if is_complete && passes {
                given_back_or_completed(facts, run, workload, ledgers)
            } else {
                wait(facts, run, Phase::Promoting)
            }
        }
    };
    plan.stable = judge::stable_health(&pods.old);
    plan.judgement = Some(judgement);
    plan
}

/// A Deployment that somebody paused goes nowhere by itself: it is said, and the deadline decides.
fn paused(workload: &Workload, seen: &Observation<'_>, judgement: Judgement) -> Judgement {
    if !workload.is_paused() || workload.is_settled() {
        return judgement;
    }
    let cause = Cause {
        reason: Reason::TargetPaused,
        sentence: "`spec.paused: true` in the middle of the run".to_owned(),
        expected: "a Deployment that rolls".to_owned(),
        blame: Blame::Environment,
        deterministic: false,
        signature: Reason::TargetPaused.code().to_owned(),
        pods: Vec::new(),
        nodes: Vec::new(),
        judged: "The environment is at fault, not the image: somebody paused the Deployment.".to_owned(),
        at_deadline: seen.deadline <= seen.now,
    };
    match judgement {
        Judgement::Fail(failed) if !failed.at_deadline => Judgement::Fail(failed),
        Judgement::Fail(_)
        | Judgement::Pass { .. }
        | Judgement::Waiting { .. }
        | Judgement::Unknown { .. } => {
            if cause.at_deadline {
                return Judgement::Fail(cause);
            }
            let ready = seen.canary.iter().filter(|pod| pod.ready_since.is_some()).count();
            let ready = u32::try_from(ready).unwrap_or(u32::MAX);
            Judgement::Waiting { until: seen.deadline, ready, suspicion: Some(cause) }
        }
    }
}

/// What a DaemonSet's run holds is given back when every node has its new pod; then the run ends.
fn given_back_or_completed(
    facts: &Facts,
    run: &Run,
    workload: &Workload,
    ledgers: &mut BTreeMap<Repository, Ledger>,
) -> RunPlan {
    if patch::restores(run, workload).is_empty() {
        return completed(facts, run, workload, ledgers);
    }
    let what = format!("all {} new Ready; rollout settings restored", workload.replicas);
    write(facts, run, Phase::Promoting, patch::promote(run, workload), what)
}

/// The ledger learns that the version is done.
fn remember(run: &Run, ledgers: &mut BTreeMap<Repository, Ledger>) {
    let memory = ledgers.get_mut(&run.repository).and_then(|ledger| ledger.workloads.get_mut(&run.track));
    if let Some(memory) = memory {
        memory.completed = Some(run.to_tag.clone());
        memory.wrote = run.containers.first().map(|container| container.to.clone());
    }
}

fn completed(
    facts: &Facts,
    run: &Run,
    workload: &Workload,
    ledgers: &mut BTreeMap<Repository, Ledger>,
) -> RunPlan {
    remember(run, ledgers);
    let tag = &run.to_tag;
    let updated = workload.updated_replicas;
    let message = match &workload.shape {
        Shape::CronJob(cron) if cron.is_suspended => format!("{tag} is set; suspended: nothing to observe"),
        Shape::CronJob(_) => format!("{tag} is set, and its runs fail no more often than before"),
        Shape::Deployment(_) | Shape::StatefulSet(_) | Shape::DaemonSet(_) if workload.updatable() == 0 => {
            format!("{tag} is set; 0 replicas: nothing to observe")
        }
        Shape::StatefulSet(_) | Shape::DaemonSet(_) if workload.is_on_delete() => format!(
            "{tag} is set and {updated} of {} pods run it; `OnDelete` leaves the rest to whoever deletes them",
            workload.replicas
        ),
        Shape::Deployment(_) | Shape::StatefulSet(_) | Shape::DaemonSet(_) => {
            format!("{updated} of {} pods run {tag}", workload.replicas)
        }
    };
    finish(facts, run, Phase::Succeeded, Reason::RolledForward, message)
}

fn run_cause(cause: &Cause) -> RunCause {
    RunCause {
        reason: cause.reason,
        expected: cause.expected.clone(),
        observed: cause.sentence.clone(),
        pod: cause.pods.first().cloned(),
        node: cause.nodes.first().cloned(),
        signature: cause.signature.clone(),
        environment: cause.blame == Blame::Environment,
        judged: cause.judged.clone(),
    }
}

/// The new pods failed: the ledger learns it, the intent is recorded, the revert is due.
fn failed(
    facts: &Facts,
    (run, workload): (&Run, &Workload),
    cause: &Cause,
    ledgers: &mut BTreeMap<Repository, Ledger>,
) -> RunPlan {
    if levers::asks(run, cause) {
        let mut plan = wait(facts, run, phase_now(run));
        plan.before.cause = Some(run_cause(cause));
        plan.after = plan.before.clone();
        return plan;
    }
    if let Some(ledger) = ledgers.get_mut(&run.repository) {
        let failure = NewFailure {
            tag: run.to_tag.clone(),
            reason: cause.reason,
            message: cause.sentence.clone(),
            run: run.name.clone(),
            signature: cause.signature.clone(),
            blames_image: cause.blame != Blame::Environment,
            deterministic: cause.deterministic,
            after_fails: run.settings.after_fails,
            retry_after: run.settings.retry_after,
        };
        ledger.failed(&run.to_digest, failure, facts.now);
    }
    let message = format!("expected {}, observed {}", cause.expected, cause.sentence);
    let intent = Intent { end: Reason::RolledBack, reason: cause.reason, message, at: facts.now };
    let mut plan = reverting(facts, run, workload, &intent);
    plan.before.cause = Some(run_cause(cause));
    plan.after.cause.clone_from(&plan.before.cause);
    plan
}

fn reverting(facts: &Facts, run: &Run, workload: &Workload, intent: &Intent) -> RunPlan {
    let what = format!(
        "{}: {} and the rollout settings restored",
        intent.reason,
        run.from_tag.as_ref().map_or("the old image", Tag::as_str)
    );
    let mut plan = write(facts, run, phase_now(run), patch::revert(run, workload), what);
    plan.before.intent = Some(intent.clone());
    plan.after.intent = Some(intent.clone());
    note_abort(run, &mut plan);
    plan
}

/// Who aborted the run stands in its record from the moment of the decision.
fn note_abort(run: &Run, plan: &mut RunPlan) {
    if let Some(lever) = &run.levers.abort {
        levers::note(&mut plan.before.levers, Verb::Abort, lever);
        levers::note(&mut plan.after.levers, Verb::Abort, lever);
    }
}

fn restoring(facts: &Facts, run: &Run, workload: &Workload, intent: Intent) -> RunPlan {
    let patch = patch::restore_ours(run, workload);
    let mut plan = write(facts, run, phase_now(run), patch, "restored the rollout settings".to_owned());
    plan.before.intent = Some(intent.clone());
    plan.after.intent = Some(intent);
    plan
}

fn phase_now(run: &Run) -> Phase {
    match run.status.phase {
        Phase::Preparing | Phase::AwaitingApproval => Phase::Canary,
        phase
        @ (Phase::Canary | Phase::Promoting | Phase::Succeeded | Phase::RolledBack | Phase::Aborted) => phase,
    }
}

/// Somebody else wrote the image in mid-run: what we wrote and they left is restored, what they wrote stays.
fn human_edit(
    facts: &Facts,
    run: &Run,
    workload: &Workload,
    images: Images,
    ledgers: &mut BTreeMap<Repository, Ledger>,
) -> RunPlan {
    let (by, at) = workload.image_writer.clone().unwrap_or_else(|| ("somebody".to_owned(), facts.now));
    let who = text::clean(&by, 64);
    let (reason, message) = if images == Images::Old {
        if let Some(memory) =
            ledgers.get_mut(&run.repository).and_then(|ledger| ledger.workloads.get_mut(&run.track))
        {
            current::went_back(facts, memory, &run.to_tag, by, at);
        }
        let from = run.from_tag.as_ref().map_or("the old image", Tag::as_str);
        (
            Reason::HumanRollback,
            format!("{who} went back to {from} during the run, at {}", text::instant_seconds(at)),
        )
    } else {
        (
            Reason::HumanEdit,
            format!("{who} changed the image during the run, at {}", text::instant_seconds(at)),
        )
    };
    let intent = Intent { end: Reason::Aborted, reason, message, at: facts.now };
    if !patch::restores(run, workload).is_empty() {
        return restoring(facts, run, workload, intent);
    }
    finish(facts, run, Phase::Aborted, intent.reason, intent.message)
}

fn wait(facts: &Facts, run: &Run, phase: Phase) -> RunPlan {
    let mut status = run.status.clone();
    status.phase = phase;
    // A restart between the patch and its record: the watch begins again, the deadline does not.
    status.started_at = status.started_at.or(Some(run.created_at));
    status.step_started_at = status.step_started_at.or(Some(facts.now));
    status.step_pods = status.step_pods.max(1);
    status.deadline = status.deadline.or_else(|| run.created_at.checked_add(run.settings.deadline).ok());
    RunPlan {
        run: run.clone(),
        phase,
        judgement: None,
        stable: String::new(),
        before: status.clone(),
        patch: None,
        errand: None,
        left: None,
        after: status,
        look_again: LOOK_AGAIN,
    }
}

/// A run that has not begun: nothing of its record is guessed.
fn wait_unstarted(run: &Run, phase: Phase) -> RunPlan {
    let status = RunStatus { phase, ..run.status.clone() };
    RunPlan {
        run: run.clone(),
        phase,
        judgement: None,
        stable: String::new(),
        before: status.clone(),
        patch: None,
        errand: None,
        left: None,
        after: status,
        look_again: UNSTARTED_AGAIN,
    }
}

fn write(facts: &Facts, run: &Run, phase: Phase, patch: Patch, what: String) -> RunPlan {
    let mut after = run.status.clone();
    after.phase = phase;
    note(&mut after, facts.now, what.clone());
    RunPlan {
        run: run.clone(),
        phase,
        judgement: None,
        stable: String::new(),
        before: run.status.clone(),
        patch: Some((patch, what)),
        errand: None,
        left: None,
        after,
        look_again: SignedDuration::ZERO,
    }
}

fn note(status: &mut RunStatus, now: Timestamp, what: String) {
    status.writes.push((now, what));
    let surplus = status.writes.len().saturating_sub(MAX_NOTES);
    status.writes.drain(..surplus);
}

fn finish(facts: &Facts, run: &Run, phase: Phase, reason: Reason, message: String) -> RunPlan {
    let mut status = run.status.clone();
    status.phase = phase;
    status.result = Some((reason, message));
    status.finished_at = Some(facts.now);
    if let Some(lever) = run.levers.abort.as_ref().filter(|_| reason == Reason::Aborted) {
        levers::note(&mut status.levers, Verb::Abort, lever);
    }
    RunPlan {
        run: run.clone(),
        phase,
        judgement: None,
        stable: String::new(),
        before: status.clone(),
        patch: None,
        errand: None,
        left: None,
        after: status,
        look_again: SignedDuration::ZERO,
    }
}
