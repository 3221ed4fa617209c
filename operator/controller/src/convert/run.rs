//! `UpdateRun` ↔ core's `Run`. The spec is written once; the status is written whole.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use rollforward_api::run::{
    Cause, Change, Hold, Intent, LeverRecord, Next, Originals, Outcome, PolicyRef, Progress, RollingUpdate,
    RunContainer, Settings, SignalStatus, Strategy as ApiStrategy, Trigger, UpdateRun, UpdateRunSpec,
    UpdateRunStatus, WorkloadRef, Write,
};
use rollforward_api::schema::IntOrShare;
use rollforward_core::breaker::Trying;
use rollforward_core::image::{Digest, Repository, Tag};
use rollforward_core::judge::signals::{SignalVerdict, Word};
use rollforward_core::levers::{Lever, Verb};
use rollforward_core::policy::{
    Approval, HoldMode, OnDeadline, PolicyId, Rollback, RolloutSettings, StepSize, WhenImpossible,
};
use rollforward_core::rollout::run::{self, DeploymentFields, DeploymentHold, Fields};
use rollforward_core::rollout::{self, Action, Phase, Run, RunCause, RunStatus};
use rollforward_core::text::clean;
use rollforward_core::workload::{DaemonRolling, IntOrPercent, Kind, Strategy, WorkloadId};

use super::{analysis, reason, time};

/// Whether a run has not ended.
#[must_use]
pub fn is_open(run: &UpdateRun) -> bool {
    run.status.as_ref().is_none_or(|status| status.finished_at.is_none())
}

/// Whether an open run takes a place: one that waits for its approval does not.
#[must_use]
pub fn takes_place(run: &UpdateRun) -> bool {
    let phase = run.status.as_ref().and_then(|status| status.phase.as_deref());
    is_open(run) && phase != Some("AwaitingApproval")
}

/// Whether a run proves its digest: it succeeded, and something was seen to run it.
#[must_use]
pub fn proves(run: &UpdateRun) -> bool {
    let status = run.status.as_ref();
    status.is_some_and(|status| status.phase.as_deref() == Some("Succeeded") && status.unseen != Some(true))
}

/// An open run as those see it that wait for its digest to succeed.
#[must_use]
pub fn trying(run: &UpdateRun) -> Trying {
    let status = run.status.as_ref();
    let begun = status.and_then(|status| status.started_at.as_ref()).map(|at| at.0);
    let since = begun.or_else(|| run.creation_timestamp().map(|created| created.0));
    let next = status.and_then(|status| status.next.as_ref());
    // Without an instant: what is not decided yet names its deadline.
    let waits = next.is_some_and(|next| next.action == Action::WaitForPerson.name() && next.at.is_none());
    let cause = status.and_then(|status| status.cause.as_ref());
    let blames = cause.is_some_and(|cause| cause.environment != Some(true));
    Trying {
        namespace: run.namespace().unwrap_or_default(),
        run: run.name_any(),
        since: since.unwrap_or(Timestamp::UNIX_EPOCH),
        deadline: SignedDuration::from_secs(run.spec.rollout.deadline_seconds),
        failed: waits && blames,
    }
}

/// A run as it is recorded.
#[must_use]
pub fn to_spec(run: &Run) -> UpdateRunSpec {
    let containers = run.containers.iter().map(|container| RunContainer {
        name: container.name.clone(),
        index: i32::try_from(container.index).unwrap_or(i32::MAX),
        init: container.init,
        from: container.from.clone(),
        to: container.to.clone(),
        back: container.back.clone(),
    });
    UpdateRunSpec {
        policy: PolicyRef {
            name: run.policy.name.clone(),
            uid: run.policy.uid.clone(),
            generation: run.policy_generation,
        },
        workload: WorkloadRef {
            api_version: run.workload.kind.api_version().to_owned(),
            kind: run.workload.kind.name().to_owned(),
            name: run.workload.name.clone(),
            uid: run.workload.uid.clone(),
            generation: run.generation,
        },
        track: run.track.clone(),
        repository: run.repository.to_string(),
        containers: containers.collect(),
        from_tag: run.from_tag.as_ref().map(ToString::to_string),
        from_digest: run.from_digest.as_ref().map(ToString::to_string),
        to_tag: run.to_tag.to_string(),
        to_digest: run.to_digest.to_string(),
        attempt: i32::try_from(run.attempt).unwrap_or(1),
        trigger: Trigger { first_seen: time(run.first_seen), reason: clean(&run.trigger, 500) },
        evidence: Some(
            run.evidence.iter().map(|(layer, words)| (layer.clone(), clean(words, 500))).collect(),
        ),
        originals: originals_to_api(&run.originals),
        hold: hold_to_api(&run.hold),
        rollout: settings_to_api(&run.settings),
        canary: run.canary,
        approval: None,
    }
}

fn originals_to_api(fields: &Fields) -> Originals {
    match fields {
        Fields::Deployment(own) => Originals {
            min_ready_seconds: Some(own.min_ready_seconds),
            progress_deadline_seconds: Some(own.progress_deadline_seconds),
            strategy: Some(strategy_to_api(&own.strategy)),
            ..Originals::default()
        },
        Fields::StatefulSet(partition) => Originals { partition: Some(*partition), ..Originals::default() },
        Fields::DaemonSet(rolling) => {
            Originals { rolling_update: rolling.as_ref().map(rolling_to_api), ..Originals::default() }
        }
        Fields::CronJob | Fields::Delegated => Originals::default(),
    }
}

fn hold_to_api(hold: &run::Hold) -> Hold {
    match hold {
        run::Hold::Deployment(own) => Hold {
            min_ready_seconds: Some(own.min_ready_seconds),
            progress_deadline_seconds: Some(own.progress_deadline_seconds),
            ..Hold::default()
        },
        run::Hold::StatefulSet(partitions) => {
            Hold { partitions: Some(partitions.clone()), ..Hold::default() }
        }
        run::Hold::DaemonSet(rolling) => {
            Hold { rolling_update: rolling.as_ref().map(rolling_to_api), ..Hold::default() }
        }
        run::Hold::CronJob => Hold::default(),
        run::Hold::Delegated(mark) => Hold { delegated: Some(clean(mark, 200)), ..Hold::default() },
    }
}

fn rolling_to_api(rolling: &DaemonRolling) -> RollingUpdate {
    RollingUpdate {
        max_surge: share_to_api(&rolling.max_surge),
        max_unavailable: share_to_api(&rolling.max_unavailable),
    }
}

fn rolling(written: &RollingUpdate) -> DaemonRolling {
    DaemonRolling {
        max_surge: share(Some(&written.max_surge)),
        max_unavailable: share(Some(&written.max_unavailable)),
    }
}

/// The fields before the run and what holds it, of the workload's kind; `None` where the record does not fit the kind.
fn held(kind: Kind, spec: &UpdateRunSpec) -> Option<(Fields, run::Hold)> {
    let (originals, hold) = (&spec.originals, &spec.hold);
    if let Some(mark) = &hold.delegated {
        return Some((Fields::Delegated, run::Hold::Delegated(mark.clone())));
    }
    match kind {
        Kind::Deployment => Some((
            Fields::Deployment(DeploymentFields {
                min_ready_seconds: originals.min_ready_seconds?,
                progress_deadline_seconds: originals.progress_deadline_seconds?,
                strategy: strategy(originals.strategy.as_ref()?),
            }),
            run::Hold::Deployment(DeploymentHold {
                min_ready_seconds: hold.min_ready_seconds?,
                progress_deadline_seconds: hold.progress_deadline_seconds?,
            }),
        )),
        Kind::StatefulSet => Some((
            Fields::StatefulSet(originals.partition?),
            run::Hold::StatefulSet(hold.partitions.clone()?),
        )),
        Kind::DaemonSet => Some((
            Fields::DaemonSet(originals.rolling_update.as_ref().map(rolling)),
            run::Hold::DaemonSet(hold.rolling_update.as_ref().map(rolling)),
        )),
        Kind::CronJob => Some((Fields::CronJob, run::Hold::CronJob)),
        Kind::Rollout => None,
    }
}

fn strategy(written: &ApiStrategy) -> Strategy {
    match written.kind.as_str() {
        "Recreate" => Strategy::Recreate,
        _ => Strategy::RollingUpdate {
            max_surge: share(written.max_surge.as_ref()),
            max_unavailable: share(written.max_unavailable.as_ref()),
        },
    }
}

fn strategy_to_api(strategy: &Strategy) -> ApiStrategy {
    match strategy {
        Strategy::Recreate => {
            ApiStrategy { kind: "Recreate".to_owned(), max_surge: None, max_unavailable: None }
        }
        Strategy::RollingUpdate { max_surge, max_unavailable } => ApiStrategy {
            kind: "RollingUpdate".to_owned(),
            max_surge: Some(share_to_api(max_surge)),
            max_unavailable: Some(share_to_api(max_unavailable)),
        },
    }
}

fn share_to_api(share: &IntOrPercent) -> IntOrShare {
    match share {
        IntOrPercent::Int(pods) => IntOrShare::Pods(*pods),
        IntOrPercent::Percent(percent) => IntOrShare::Share(format!("{percent}%")),
    }
}

fn share(share: Option<&IntOrShare>) -> IntOrPercent {
    match share {
        Some(IntOrShare::Pods(pods)) => IntOrPercent::Int(*pods),
        Some(IntOrShare::Share(text)) => {
            IntOrPercent::Percent(text.trim_end_matches('%').parse().unwrap_or(25))
        }
        None => IntOrPercent::Percent(25),
    }
}

fn settings_to_api(settings: &RolloutSettings) -> Settings {
    let steps = settings.steps.iter().map(|step| match step {
        StepSize::Pods(pods) => IntOrShare::Pods(*pods),
        StepSize::Percent(percent) => IntOrShare::Share(format!("{percent}%")),
    });
    Settings {
        steps: steps.collect(),
        bake_seconds: settings.bake.as_secs(),
        deadline_seconds: settings.deadline.as_secs(),
        on_deadline: match settings.on_deadline {
            OnDeadline::RollBack => "RollBack".to_owned(),
            OnDeadline::Hold => "Hold".to_owned(),
        },
        approval: match settings.approval {
            Approval::Automatic => None,
            Approval::Manual => Some("Manual".to_owned()),
        },
        rollback: match settings.rollback {
            Rollback::Automatic => None,
            Rollback::Ask => Some("Ask".to_owned()),
            Rollback::Never => Some("Never".to_owned()),
        },
        quarantine_after_fails: i32::try_from(settings.after_fails).unwrap_or(2),
        retry_after_seconds: settings.retry_after.as_secs(),
        delete_broken_pods: settings.delete_broken_pods.then_some(true),
        analysis: settings.analysis.as_ref().map(analysis::to_api),
    }
}

fn settings(settings: &Settings) -> RolloutSettings {
    let steps = settings.steps.iter().map(|step| match share(Some(step)) {
        IntOrPercent::Int(pods) => StepSize::Pods(pods),
        IntOrPercent::Percent(percent) => StepSize::Percent(percent),
    });
    RolloutSettings {
        steps: steps.collect(),
        bake: SignedDuration::from_secs(settings.bake_seconds),
        deadline: SignedDuration::from_secs(settings.deadline_seconds),
        on_deadline: if settings.on_deadline == "Hold" { OnDeadline::Hold } else { OnDeadline::RollBack },
        // Both were settled when the run was recorded: by its originals and by what it holds.
        hold: HoldMode::Timed,
        when_impossible: WhenImpossible::Hold,
        // What cannot be read waits for a person: the stricter of what it may have meant.
        approval: match settings.approval.as_deref() {
            None | Some("Automatic") => Approval::Automatic,
            Some(_) => Approval::Manual,
        },
        rollback: match settings.rollback.as_deref() {
            None | Some("Automatic") => Rollback::Automatic,
            Some("Never") => Rollback::Never,
            Some(_) => Rollback::Ask,
        },
        after_fails: u32::try_from(settings.quarantine_after_fails).unwrap_or(2),
        retry_after: SignedDuration::from_secs(settings.retry_after_seconds),
        delete_broken_pods: settings.delete_broken_pods.unwrap_or(false),
        analysis: settings.analysis.as_ref().map(analysis::from_api),
    }
}

/// Reads a run back; `None` where its record is not one that this operator wrote.
#[must_use]
pub fn from_api(object: &UpdateRun) -> Option<Run> {
    let spec = &object.spec;
    let namespace = object.namespace().unwrap_or_default();
    let containers = spec.containers.iter().map(|container| run::RunContainer {
        name: container.name.clone(),
        index: usize::try_from(container.index).unwrap_or(usize::MAX),
        init: container.init,
        from: container.from.clone(),
        to: container.to.clone(),
        back: container.back.clone(),
    });
    let kind = Kind::parse(&spec.workload.kind)?;
    let (originals, hold) = held(kind, spec)?;
    Some(Run {
        name: object.name_any(),
        policy: PolicyId {
            namespace: namespace.clone(),
            name: spec.policy.name.clone(),
            uid: spec.policy.uid.clone(),
        },
        policy_generation: spec.policy.generation,
        workload: WorkloadId {
            kind,
            namespace,
            name: spec.workload.name.clone(),
            uid: spec.workload.uid.clone(),
        },
        generation: spec.workload.generation,
        track: spec.track.clone(),
        repository: Repository::parse(&spec.repository).ok()?,
        containers: containers.collect(),
        from_tag: spec.from_tag.as_deref().and_then(|tag| Tag::parse(tag).ok()),
        from_digest: spec.from_digest.as_deref().and_then(|digest| Digest::parse(digest).ok()),
        to_tag: Tag::parse(&spec.to_tag).ok()?,
        to_digest: Digest::parse(&spec.to_digest).ok()?,
        attempt: u32::try_from(spec.attempt).unwrap_or(1),
        first_seen: spec.trigger.first_seen.0,
        trigger: spec.trigger.reason.clone(),
        evidence: spec.evidence.clone().unwrap_or_default(),
        originals,
        hold,
        settings: settings(&spec.rollout),
        canary: spec.canary,
        created_at: object.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |created| created.0),
        deleting: object.metadata.deletion_timestamp.is_some(),
        levers: super::levers::of_run(object),
        status: object.status.as_ref().map(status).unwrap_or_default(),
    })
}

fn status(status: &UpdateRunStatus) -> RunStatus {
    let writes = status.writes.iter().flatten().map(written);
    RunStatus {
        phase: phase(status.phase.as_deref().unwrap_or_default()),
        started_at: status.started_at.as_ref().map(|at| at.0),
        deadline: status.deadline.as_ref().map(|at| at.0),
        step: status.step.and_then(|step| usize::try_from(step).ok()).unwrap_or(0),
        step_pods: status.step_pods.unwrap_or(0),
        step_started_at: status.step_started_at.as_ref().map(|at| at.0),
        progress: status.progress.as_ref().map(|seen| run::Progress {
            ready: seen.ready,
            missing: seen.missing,
            at: seen.at.0,
        }),
        intent: status.intent.as_ref().map(|intent| run::Intent {
            end: reason(&intent.action),
            reason: reason(&intent.reason),
            message: intent.message.clone(),
            at: intent.at.0,
        }),
        cause: status.cause.as_ref().map(|cause| RunCause {
            reason: reason(&cause.reason),
            expected: cause.expected.clone(),
            observed: cause.observed.clone(),
            pod: cause.pod.clone(),
            node: cause.node.clone(),
            signature: cause.signature.clone(),
            environment: cause.environment.unwrap_or(false),
            judged: cause.judged.clone().unwrap_or_default(),
        }),
        baseline: status.baseline.clone(),
        signals: status.signals.iter().flatten().map(signal).collect(),
        writes: writes.collect(),
        next: status.next.as_ref().and_then(next),
        levers: status.levers.iter().flatten().filter_map(pulled).collect(),
        result: status.result.as_ref().map(|result| (reason(&result.reason), result.message.clone())),
        finished_at: status.finished_at.as_ref().map(|at| at.0),
        unseen: status.unseen == Some(true),
    }
}

fn written(write: &Write) -> rollout::Written {
    let changes = write.changes.iter().flatten().map(|change| rollout::Change {
        field: change.field.clone(),
        before: change.before.clone(),
        after: change.after.clone(),
    });
    rollout::Written { at: write.at.0, what: write.what.clone(), changes: changes.collect() }
}

fn written_to_api(write: &rollout::Written) -> Write {
    let changes: Vec<Change> = write
        .changes
        .iter()
        .map(|change| Change {
            field: clean(&change.field, 500),
            before: change.before.clone(),
            after: change.after.clone(),
        })
        .collect();
    Write {
        at: time(write.at),
        what: clean(&write.what, 500),
        changes: Some(changes).filter(|changes| !changes.is_empty()),
    }
}

fn next(next: &Next) -> Option<rollout::Next> {
    let action = Action::ALL.iter().find(|action| action.name() == next.action)?;
    Some(rollout::Next {
        action: *action,
        at: next.at.as_ref().map(|at| at.0),
        message: next.message.clone(),
    })
}

fn next_to_api(next: &rollout::Next) -> Next {
    Next { action: next.action.name().to_owned(), at: next.at.map(time), message: clean(&next.message, 500) }
}

fn signal(signal: &SignalStatus) -> SignalVerdict {
    SignalVerdict {
        name: signal.name.clone(),
        word: Word::parse(&signal.verdict),
        words: signal.message.clone(),
        since: signal.since.0,
    }
}

fn signal_to_api(signal: &SignalVerdict) -> SignalStatus {
    SignalStatus {
        name: signal.name.clone(),
        verdict: signal.word.name().to_owned(),
        message: clean(&signal.words, 500),
        since: time(signal.since),
    }
}

fn pulled(record: &LeverRecord) -> Option<(Verb, Lever)> {
    let verb = match record.verb.as_str() {
        "abort" => Verb::Abort,
        "promote" => Verb::Promote,
        "approve" => Verb::Approve,
        _ => return None,
    };
    Some((verb, Lever { by: record.by.clone(), at: record.at.as_ref().map(|at| at.0) }))
}

fn phase(name: &str) -> Phase {
    match name {
        "AwaitingApproval" => Phase::AwaitingApproval,
        "Canary" => Phase::Canary,
        "Promoting" => Phase::Promoting,
        "Succeeded" => Phase::Succeeded,
        "RolledBack" => Phase::RolledBack,
        "Aborted" => Phase::Aborted,
        _ => Phase::Preparing,
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Preparing => "Preparing",
        Phase::AwaitingApproval => "AwaitingApproval",
        Phase::Canary => "Canary",
        Phase::Promoting => "Promoting",
        Phase::Succeeded => "Succeeded",
        Phase::RolledBack => "RolledBack",
        Phase::Aborted => "Aborted",
    }
}

fn record((verb, lever): &(Verb, Lever)) -> LeverRecord {
    LeverRecord { verb: verb.name().to_owned(), by: clean(&lever.by, 250), at: lever.at.map(time) }
}

/// A run's status on the wire.
#[must_use]
pub fn to_status(status: &RunStatus) -> UpdateRunStatus {
    let RunStatus {
        phase,
        started_at,
        deadline,
        step,
        step_pods,
        step_started_at,
        progress,
        intent,
        cause,
        baseline,
        signals,
        writes,
        next,
        levers,
        result,
        finished_at,
        unseen,
    } = status;
    UpdateRunStatus {
        phase: Some(phase_name(*phase).to_owned()),
        started_at: started_at.map(time),
        deadline: deadline.map(time),
        step: i32::try_from(*step).ok(),
        step_pods: Some(*step_pods),
        step_started_at: step_started_at.map(time),
        progress: progress.map(|seen| Progress {
            ready: seen.ready,
            missing: seen.missing,
            at: time(seen.at),
        }),
        intent: intent.as_ref().map(|intent| Intent {
            action: intent.end.code().to_owned(),
            reason: intent.reason.code().to_owned(),
            message: clean(&intent.message, 1000),
            at: time(intent.at),
        }),
        cause: cause.as_ref().map(|cause| Cause {
            reason: cause.reason.code().to_owned(),
            expected: clean(&cause.expected, 500),
            observed: clean(&cause.observed, 500),
            pod: cause.pod.clone(),
            node: cause.node.clone(),
            signature: clean(&cause.signature, 500),
            environment: cause.environment.then_some(true),
            judged: Some(clean(&cause.judged, 500)).filter(|judged| !judged.is_empty()),
        }),
        signals: (!signals.is_empty()).then(|| signals.iter().map(signal_to_api).collect()),
        baseline: baseline.as_ref().map(|words| clean(words, 500)),
        writes: Some(writes.iter().map(written_to_api).collect()),
        next: next.as_ref().map(next_to_api),
        levers: Some(levers.iter().map(record).collect::<Vec<_>>()).filter(|all| !all.is_empty()),
        result: result.as_ref().map(|(reason, message)| Outcome {
            reason: reason.code().to_owned(),
            message: clean(message, 1000),
        }),
        finished_at: finished_at.map(time),
        unseen: unseen.then_some(true),
    }
}
