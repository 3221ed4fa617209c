//! What Argo Rollouts and Flagger say, phase by phase: read as their own controllers mean it, never a verdict of the last template.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use jiff::{SignedDuration, Timestamp};
use rollforward_core::delegate::{Argo, Delegate, Flagger, Told, Word};
use rollforward_core::judge::Blame;

const BEFORE: &str = "2026-11-02T08:00:00Z";
const AFTER: &str = "2026-11-02T09:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn told(reason: &str, message: &str, when: &str) -> Option<Told> {
    Some(Told { reason: reason.to_owned(), message: message.to_owned(), at: Some(at(when)) })
}

fn argo(phase: &str, message: &str) -> Argo {
    Argo {
        name: "web".to_owned(),
        generation: (2, Some(2)),
        phase: phase.to_owned(),
        message: message.to_owned(),
        stable: "old".to_owned(),
        current: "new".to_owned(),
        progressing: told("ReplicaSetUpdated", "ReplicaSet \"web-new\" is progressing.", AFTER),
        ..Argo::default()
    }
}

fn flagger(phase: &str, message: &str) -> Flagger {
    Flagger {
        name: "web".to_owned(),
        phase: phase.to_owned(),
        applied: "new".to_owned(),
        promoted: "old".to_owned(),
        condition: told(phase, message, AFTER),
        ..Flagger::default()
    }
}

/// What the verdict stood on before the write.
fn mark(delegate: &Delegate) -> String {
    match delegate {
        Delegate::Argo(own) => {
            let progressing = told("NewReplicaSetAvailable", "", BEFORE);
            Delegate::Argo(Box::new(Argo { progressing, ..(**own).clone() })).mark()
        }
        Delegate::Flagger(own) => {
            let condition = told("Succeeded", "", BEFORE);
            Delegate::Flagger(Box::new(Flagger { condition, ..(**own).clone() })).mark()
        }
        Delegate::Unknown(_) => String::new(),
    }
}

fn read(delegate: impl Into<Any>) -> String {
    let Any(delegate) = delegate.into();
    said(delegate.word(&mark(&delegate)))
}

fn said(word: Word) -> String {
    match word {
        Word::Progressing(words) => format!("Progressing | {words}"),
        Word::Paused(words) => format!("Paused | {words}"),
        Word::Passed(words) => format!("Passed | {words}"),
        Word::Failed(words, Blame::Image) => format!("Failed | {words}"),
        Word::Failed(words, Blame::Environment) => format!("Failed, not the image | {words}"),
    }
}

struct Any(Delegate);

impl From<Argo> for Any {
    fn from(own: Argo) -> Self {
        Any(Delegate::Argo(Box::new(own)))
    }
}

impl From<Flagger> for Any {
    fn from(own: Flagger) -> Self {
        Any(Delegate::Flagger(Box::new(own)))
    }
}

#[test]
fn every_phase_of_a_rollout() {
    let row = |phase: &str, message: &str, expected: &str| {
        assert_eq!(read(argo(phase, message)), expected, "{phase} {message}");
    };
    row(
        "Progressing",
        "more replicas need to be updated",
        "Progressing | Rollout/web is Progressing: more replicas need to be updated",
    );
    row(
        "Degraded",
        "ProgressDeadlineExceeded: ReplicaSet \"web-new\" has timed out progressing.",
        "Failed | Rollout/web is Degraded: ProgressDeadlineExceeded: ReplicaSet \"web-new\" has timed out progressing",
    );
    row(
        "Degraded",
        "RolloutAborted: Rollout aborted update to revision 2: Metric \"errors\" assessed Failed due to failed (1) > failureLimit (0)",
        "Failed | Rollout/web is Degraded: RolloutAborted: Rollout aborted update to revision 2: Metric \"errors\" assessed Failed due to failed (1) > failureLimit (0)",
    );
    // The meter was broken, not the image.
    row(
        "Degraded",
        "RolloutAborted: Rollout aborted update to revision 2: Metric \"errors\" assessed Error due to consecutiveErrors (5) > consecutiveErrorLimit (4)",
        "Failed, not the image | Rollout/web is Degraded: RolloutAborted: Rollout aborted update to revision 2: Metric \"errors\" assessed Error due to consecutiveErrors (5) > consecutiveErrorLimit (4)",
    );
    row(
        "Degraded",
        "InvalidSpec: The Rollout \"web\" is invalid: spec.strategy.canary.canaryService: Invalid value",
        "Failed, not the image | Rollout/web is Degraded: InvalidSpec: The Rollout \"web\" is invalid: spec.strategy.canary.canaryService: Invalid value",
    );
    row("", "", "Progressing | Rollout/web is without a phase");
    row("Unheard", "", "Progressing | Rollout/web is Unheard");
    // Healthy is a verdict on the stable pods: another template than the newest says nothing of that.
    row("Healthy", "", "Progressing | Rollout/web is Healthy");
    let healthy = Argo { stable: "new".to_owned(), ..argo("Healthy", "") };
    assert_eq!(read(healthy), "Passed | Rollout/web is Healthy, and its stable pods are the new ones");
}

#[test]
fn a_pause_is_told_with_its_end_or_with_who_can_end_it() {
    let paused = |reason: &str, lasts: Option<i64>| Argo {
        pause: Some((reason.to_owned(), Some(at(AFTER)))),
        is_controller_pause: true,
        step: Some((1, 4)),
        pause_lasts: lasts.map(SignedDuration::from_secs),
        ..argo("Paused", reason)
    };
    assert_eq!(
        read(paused("CanaryPauseStep", Some(600))),
        "Paused | Rollout/web is paused at step 2 of 4 (CanaryPauseStep) since 2026-11-02 09:00:00Z, by its own plan until 2026-11-02 09:10:00Z"
    );
    assert_eq!(
        read(paused("CanaryPauseStep", None)),
        "Paused | Rollout/web is paused at step 2 of 4 (CanaryPauseStep) since 2026-11-02 09:00:00Z without an end; a person goes on with `kubectl argo rollouts promote web`"
    );
    assert_eq!(
        read(paused("InconclusiveAnalysisRun", None)),
        "Paused | Rollout/web is paused (InconclusiveAnalysisRun) since 2026-11-02 09:00:00Z without an end; a person goes on with `kubectl argo rollouts promote web`"
    );
    assert_eq!(
        read(Argo { is_paused: true, ..argo("Paused", "manually paused") }),
        "Paused | Rollout/web is paused by `spec.paused: true`; a person goes on with `kubectl argo rollouts promote web`"
    );
    // Somebody has gone on, and the controller has not looked yet.
    assert_eq!(
        read(Argo { is_controller_pause: true, ..argo("Paused", "CanaryPauseStep") }),
        "Progressing | Rollout/web is Paused: CanaryPauseStep"
    );
}

#[test]
fn what_a_rollout_says_of_the_template_before_is_no_verdict() {
    let not_looked = "Progressing | Rollout/web has not looked at the new template yet";
    let healthy = || Argo { stable: "new".to_owned(), ..argo("Healthy", "") };
    assert_eq!(read(Argo { generation: (3, Some(2)), ..healthy() }), not_looked);
    assert_eq!(read(Argo { referred: Some((7, Some(6))), ..healthy() }), not_looked);
    assert_eq!(read(Argo { generation: (3, Some(2)), is_aborted: true, ..healthy() }), not_looked);
    let looked = read(Argo { referred: Some((7, Some(7))), ..healthy() });
    assert!(looked.starts_with("Passed"), "{looked}");
    // Before 0.10 the status named a hash: taken as its own tools take it.
    let old = read(Argo { generation: (3, None), ..healthy() });
    assert!(old.starts_with("Passed"), "{old}");
    // Degraded since before the write, by the same condition.
    let progressing = told("NewReplicaSetAvailable", "", BEFORE);
    let stale = read(Argo { progressing, ..argo("Degraded", "RolloutAborted: by somebody") });
    assert_eq!(stale, "Progressing | Rollout/web is Degraded: RolloutAborted: by somebody");
    // An abort that is in effect is one of this template.
    let aborted = Argo {
        is_aborted: true,
        progressing: told("RolloutAborted", "Rollout aborted update to revision 2", AFTER),
        ..argo("Progressing", "more replicas need to be updated")
    };
    assert_eq!(
        read(aborted),
        "Failed | Rollout/web aborted: RolloutAborted: Rollout aborted update to revision 2"
    );
}

#[test]
fn every_phase_of_a_canary() {
    let row = |phase: &str, message: &str, expected: &str| {
        assert_eq!(read(flagger(phase, message)), expected, "{phase}");
    };
    row(
        "Initializing",
        "New Deployment detected, starting initialization.",
        "Progressing | Canary/web is Initializing: New Deployment detected, starting initialization",
    );
    row(
        "Initialized",
        "Deployment initialization completed.",
        "Progressing | Canary/web is Initialized: Deployment initialization completed",
    );
    row(
        "Waiting",
        "Waiting for approval.",
        "Paused | Canary/web is Waiting: Waiting for approval; its confirmation webhook decides when it goes on",
    );
    row(
        "WaitingPromotion",
        "Waiting for approval.",
        "Paused | Canary/web is WaitingPromotion: Waiting for approval; its confirmation webhook decides when it goes on",
    );
    row(
        "Promoting",
        "Canary analysis completed, starting primary rolling update.",
        "Progressing | Canary/web is Promoting: Canary analysis completed, starting primary rolling update",
    );
    row(
        "Finalising",
        "Canary analysis completed, routing all traffic to primary.",
        "Progressing | Canary/web is Finalising: Canary analysis completed, routing all traffic to primary",
    );
    row("Terminating", "", "Progressing | Canary/web is Terminating");
    let progressing = Flagger {
        failed_checks: 3,
        ..flagger("Progressing", "New revision detected, progressing canary analysis.")
    };
    assert_eq!(
        read(progressing),
        "Progressing | Canary/web is Progressing, 3 failed checks: New revision detected, progressing canary analysis"
    );
    let done = "Canary analysis completed successfully, promotion finished.";
    row("Succeeded", done, &format!("Progressing | Canary/web is Succeeded: {}", done.trim_end_matches('.')));
    let succeeded = Flagger { promoted: "new".to_owned(), ..flagger("Succeeded", done) };
    assert_eq!(read(succeeded), format!("Passed | Canary/web is Succeeded: {}", done.trim_end_matches('.')));
    let failed = Flagger {
        warning: Some("Rolling back web.shop failed checks threshold reached 1".to_owned()),
        ..flagger("Failed", "Canary analysis failed, Deployment scaled to zero.")
    };
    assert_eq!(
        read(failed),
        "Failed | Canary/web is Failed: Canary analysis failed, Deployment scaled to zero; its last warning: Rolling back web.shop failed checks threshold reached 1"
    );
    assert_eq!(
        read(Flagger { is_suspended: true, ..flagger("Succeeded", done) }),
        "Paused | Canary/web is suspended by `spec.suspend: true`; a person goes on by setting it to false"
    );
}

#[test]
fn what_a_canary_says_of_the_template_before_is_no_verdict() {
    for phase in ["Failed", "Succeeded"] {
        // Failed is written again with the hash of the new template before its analysis begins; the condition is not.
        let stale = Flagger { condition: told("Succeeded", "", BEFORE), ..flagger(phase, "") };
        assert_eq!(
            read(stale),
            format!(
                "Progressing | Canary/web has not begun with the new template; its last word was {phase}"
            )
        );
    }
}

#[test]
fn a_new_template_is_written_only_where_the_delegate_is_at_rest() {
    let busy = |delegate: Any| delegate.0.busy();
    for phase in ["Initialized", "Succeeded", "Failed"] {
        assert_eq!(busy(flagger(phase, "").into()), None, "{phase}");
    }
    for phase in ["", "Initializing", "Waiting", "Progressing", "WaitingPromotion", "Promoting", "Finalising"]
    {
        let told = busy(flagger(phase, "").into());
        assert!(told.is_some_and(|told| told.starts_with("Canary/web ")), "{phase}");
    }
    assert!(busy(Flagger { is_suspended: true, ..flagger("Succeeded", "") }.into()).is_some());
    assert!(busy(Flagger { deleting: true, ..flagger("Succeeded", "") }.into()).is_some());
    for phase in ["Healthy", "Degraded"] {
        assert_eq!(busy(argo(phase, "").into()), None, "{phase}");
    }
    for phase in ["", "Progressing", "Paused"] {
        assert!(busy(argo(phase, "").into()).is_some(), "{phase}");
    }
    assert!(busy(Argo { generation: (3, Some(2)), ..argo("Healthy", "") }.into()).is_some());
    assert!(busy(Argo { is_paused: true, ..argo("Healthy", "") }.into()).is_some());
    let unknown = Delegate::Unknown("list the Canaries: forbidden".to_owned());
    assert_eq!(unknown.busy().as_deref(), Some("list the Canaries: forbidden"));
}
