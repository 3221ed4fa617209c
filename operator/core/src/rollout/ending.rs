//! How a run ends before its time: by a failure, an edit of its policy, a person, or somebody else's write.
//!
//! The intent is recorded before the patch that restores, so that a restart goes on with the same end. What comes after a
//! revert, and whom a later look excuses, is here too.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::current;
use crate::gate;
use crate::image::{Repository, Tag};
use crate::judge::{self, Blame, Cause};
use crate::ledger::{Ledger, NewFailure};
use crate::levers::{self, Lever, Verb};
use crate::policy::{Facts, Mode, Rollback};
use crate::reason::Reason;
use crate::text;
use crate::trust::Effective;
use crate::workload::{ContainerStatus, Pod, Shape, Workload};

use super::due::{finish, note, phase_now, wait, write};
use super::observation::judged;
use super::{
    Errand, Images, Intent, OpenRun, Phase, Run, RunCause, RunPlan, cronjob, kept, patch, record, remember,
    statefulset, succeeded,
};

/// How long after a rollback the old version is asked whether it fails too.
pub(super) const AFTERMATH: SignedDuration = SignedDuration::from_mins(10);

/// A digest was rolled back, and now the old version fails in the same way: it was the environment.
pub(super) fn excuse(facts: &Facts, ledgers: &mut BTreeMap<Repository, Ledger>) {
    for run in &facts.seen.last_runs {
        let (Some(cause), Some(ended_at)) = (&run.status.cause, run.status.finished_at) else { continue };
        let lately = facts.now.duration_since(ended_at) < AFTERMATH;
        let track = facts.seen.tracks.iter().find(|track| track.key == run.track);
        let Some(track) = track.filter(|_| lately && run.status.phase == Phase::RolledBack) else { continue };
        // Not merely other pods: those of the next run's canary are not the old version either, nor what pulled the new one
        // by the old tag.
        let runs_old = |pod: &Pod| {
            let is_old = |one: &ContainerStatus| {
                one.running_digest.as_ref() != Some(&run.to_digest)
                    && run.containers.iter().any(|own| own.is_before(&one.image))
            };
            pod.containers.iter().any(is_old)
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

/// What is left to do after a revert: what the native controller does not heal.
pub(super) fn aftermath(
    facts: &Facts,
    open: &OpenRun,
    workload: &Workload,
    intent: &Intent,
) -> Option<RunPlan> {
    // Whoever deletes the policy or the run does not wait for a pod.
    if facts.policy.deleting || open.run.deleting || open.run.status.started_at.is_none() {
        return None;
    }
    match &workload.shape {
        Shape::StatefulSet(own) => statefulset::aftermath(facts, open, (workload, own), intent),
        Shape::CronJob(own) => cronjob::aftermath(facts, open, (workload, own), intent),
        Shape::Deployment(_) | Shape::DaemonSet(_) | Shape::Rollout => None,
    }
}

/// A write to one pod or Job, noted like one to the workload.
pub(super) fn errand(
    facts: &Facts,
    (run, workload): (&Run, &Workload),
    intent: &Intent,
    what: (Errand, Reason, String),
) -> RunPlan {
    let mut plan = wait(facts, run, phase_now(run));
    let image = run.containers.first().map_or("", |container| container.to.as_str());
    let change = record::of_errand(&what.0, image, workload);
    note(&mut plan.after, record::written(facts, what.2.clone(), vec![change]));
    plan.before.intent = Some(intent.clone());
    plan.errand = Some(what);
    plan
}

/// Somebody put the digest on a deny list while it was being rolled out.
pub(super) fn denied(facts: &Facts, run: &Run) -> Option<(Reason, String)> {
    let track = facts.seen.tracks.iter().find(|track| track.key == run.track)?;
    let repositories = gate::names(facts, track);
    let verdict = gate::reference::denied(&Effective::of(facts, track), &repositories, &run.to_digest)?;
    Some((verdict.reason, format!("{}; {}", verdict.observed, verdict.hint.trim_end_matches('.'))))
}

/// Why an open run has to end although nothing is wrong with the image.
pub(super) fn abort_cause(facts: &Facts, run: &Run) -> Option<(Reason, String)> {
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

pub(super) fn run_cause(cause: &Cause) -> RunCause {
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
pub(super) fn failed(
    facts: &Facts,
    (run, workload): (&Run, &Workload),
    cause: &Cause,
    ledgers: &mut BTreeMap<Repository, Ledger>,
) -> RunPlan {
    let keeps = run.settings.rollback == Rollback::Never;
    if levers::asks(run, cause) && !keeps {
        if let Some(lever) = levers::keeps(facts, run).filter(|_| !patch::is_held(run, workload)) {
            return stays(facts, (run, workload), (cause, lever), ledgers);
        }
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
    if keeps {
        return kept::failed(facts, (run, workload), cause);
    }
    super::take_back(run, ledgers);
    let message = format!("expected {}, observed {}", cause.expected, cause.sentence);
    let intent = Intent { end: Reason::RolledBack, reason: cause.reason, message, at: facts.now };
    let mut plan = reverting(facts, run, workload, &intent);
    plan.before.cause = Some(run_cause(cause));
    plan.after.cause.clone_from(&plan.before.cause);
    plan
}

/// Where a failure waits for a person, their `promote` says that the image stays: what is still held is given back, then the
/// run ends. The digest is proved by nothing.
fn stays(
    facts: &Facts,
    (run, workload): (&Run, &Workload),
    (cause, lever): (&Cause, &Lever),
    ledgers: &mut BTreeMap<Repository, Ledger>,
) -> RunPlan {
    if !patch::restores(run, workload).is_empty() {
        let what = format!("promoted by {lever}; rollout settings restored");
        return write(facts, (run, workload), Phase::Promoting, patch::promote(run, workload), what);
    }
    remember(run, false, ledgers);
    let message = format!("{} stays by {lever}, although {}", run.to_tag, cause.sentence);
    let mut plan = succeeded(facts, run, false, message);
    plan.before.cause = Some(run_cause(cause));
    plan.after.cause.clone_from(&plan.before.cause);
    levers::note(&mut plan.after.levers, Verb::Promote, lever);
    plan
}

pub(super) fn reverting(facts: &Facts, run: &Run, workload: &Workload, intent: &Intent) -> RunPlan {
    let settings = if run.is_delegated() { "" } else { " and the rollout settings" };
    let patch = patch::revert(run, workload);
    let is_pinned =
        |image: &patch::ImageWrite| run.containers.iter().any(|own| own.back.as_ref() == Some(&image.after));
    let by = if patch.images.iter().any(is_pinned) {
        " by the digest that ran, for its tag names something else now,"
    } else {
        ""
    };
    let what = format!(
        "{}: {}{by}{settings} restored",
        intent.reason,
        run.from_tag.as_ref().map_or("the old image", Tag::as_str)
    );
    let mut plan = write(facts, (run, workload), phase_now(run), patch, what);
    plan.before.intent = Some(intent.clone());
    plan.after.intent = Some(intent.clone());
    note_abort(run, &mut plan);
    plan
}

/// Who aborted the run stands in its record from the moment of the decision.
pub(super) fn note_abort(run: &Run, plan: &mut RunPlan) {
    if let Some(lever) = &run.levers.abort {
        levers::note(&mut plan.before.levers, Verb::Abort, lever);
        levers::note(&mut plan.after.levers, Verb::Abort, lever);
    }
}

pub(super) fn restoring(facts: &Facts, run: &Run, workload: &Workload, intent: Intent) -> RunPlan {
    let patch = patch::restore_ours(run, workload);
    let mut plan =
        write(facts, (run, workload), phase_now(run), patch, "restored the rollout settings".to_owned());
    plan.before.intent = Some(intent.clone());
    plan.after.intent = Some(intent);
    plan
}

/// Somebody else wrote the image in mid-run: what we wrote and they left is restored, what they wrote stays.
pub(super) fn human_edit(
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
