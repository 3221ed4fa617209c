//! The story of a run: its Events, and its lines under `why`.

use crate::policy::{RolloutSettings, WhenImpossible};
use crate::reason::Reason;
use crate::report::{Event, MAX_MESSAGE};
use crate::rollout::{Phase, Plan, Run, RunPlan};
use crate::text;
use crate::workload::{Shape, Strategy, Workload};

/// What this pass did to a run, told once each.
#[must_use]
pub fn events(plan: &RunPlan, whole: &Plan) -> Vec<Event> {
    let run = &plan.run;
    let event = |warning, reason, note: String| Event {
        warning,
        reason,
        note: text::clean(&note, MAX_MESSAGE),
        workload: Some(run.workload.clone()),
    };
    let subject = format!("{}@{}", run.to_tag, run.to_digest.short());
    let mut events = Vec::new();
    if let Some((_, what)) = plan.patch.as_ref().filter(|_| !plan.waits()) {
        let (warning, reason, note) = match (&plan.before.intent, plan.phase) {
            (Some(intent), _) if intent.end == Reason::RolledBack => {
                (true, intent.reason, format!("{subject}: {}; rolled back", intent.message))
            }
            (Some(intent), _) => {
                // The Event shows its reason in a column of its own.
                let code = format!("{}: ", intent.reason);
                let what = what.strip_prefix(&code).unwrap_or(what);
                (true, intent.reason, format!("{subject}: {}; {what}", intent.message))
            }
            (None, Phase::Canary) if run.status.started_at.is_none() => {
                (false, Reason::CanaryStarted, format!("{what}; run {}", run.name))
            }
            (None, Phase::Canary) => (false, Reason::StepTaken, format!("{subject}: {what}")),
            (None, _) if run.status.levers.len() < plan.after.levers.len() => {
                (false, Reason::Promoted, format!("{subject}: {what}"))
            }
            (None, _) => (false, Reason::Promoting, format!("{subject}: {what}")),
        };
        events.push(event(warning, reason, note));
    }
    if let Some((_, reason, what)) = &plan.errand {
        events.push(event(true, *reason, format!("{subject}: {what}")));
    }
    if let Some((reason, message)) = plan.after.result.as_ref().filter(|_| run.status.result.is_none()) {
        match plan.phase {
            Phase::Succeeded => events.push(event(false, *reason, format!("{subject}: {message}"))),
            Phase::RolledBack => events
                .extend(quarantined(plan, whole).map(|note| event(true, Reason::DigestQuarantined, note))),
            Phase::Aborted if plan.run.status.intent.is_none() => {
                // A failure that `rollback.mode: Never` left as it is.
                let failed = plan.after.cause.as_ref().is_some_and(|cause| cause.reason == *reason);
                events.push(event(failed, *reason, format!("{subject}: {message}")));
                let note = quarantined(plan, whole).filter(|_| failed);
                events.extend(note.map(|note| event(true, Reason::DigestQuarantined, note)));
            }
            Phase::Aborted
            | Phase::Preparing
            | Phase::AwaitingApproval
            | Phase::Canary
            | Phase::Promoting => {}
        }
    }
    events
}

fn quarantined(plan: &RunPlan, whole: &Plan) -> Option<String> {
    let ledger = whole.ledgers.get(&plan.run.repository)?;
    let failure = ledger.failures.get(&plan.run.to_digest)?;
    let digest = &plan.run.to_digest;
    failure.quarantined.then(|| {
        let failures = if failure.fails == 1 {
            "1 failure".to_owned()
        } else {
            format!("{} equal failures", failure.fails)
        };
        format!("sha256:{} after {failures}; released only by a person", digest.short())
    })
}

/// The lines of a run under `why`: trigger, writes, cause, what became of it.
#[must_use]
pub fn lines(run: &Run, stable: &str) -> Vec<String> {
    let mut lines = vec![format!("Trigger: {}.", run.trigger)];
    let shown = run.status.writes.len().saturating_sub(5);
    lines.extend(
        run.status
            .writes
            .iter()
            .skip(shown)
            .map(|write| format!("{} {}.", text::instant_seconds(write.at), write.what)),
    );
    if let Some(cause) = &run.status.cause {
        let place = match (&cause.pod, &cause.node) {
            (Some(pod), Some(node)) => format!(" ({pod} on {node})"),
            (Some(pod), None) => format!(" ({pod})"),
            (None, _) => String::new(),
        };
        lines.push(format!("{}: {}{place}.", cause.reason, cause.observed));
    }
    let decided = run.status.intent.is_some() || run.status.result.is_some();
    match run.status.cause.as_ref().filter(|cause| decided && !cause.judged.is_empty()) {
        Some(cause) => lines.push(cause.judged.clone()),
        None if stable.is_empty() => {}
        None => lines.push(format!("Judged against: {stable}.")),
    }
    // The end of a run that was rolled back is its cause, told above.
    let rolled_back = run.status.phase == Phase::RolledBack && run.status.cause.is_some();
    if let Some((reason, message)) = run.status.result.as_ref().filter(|_| !rolled_back) {
        lines.push(format!("Ended {reason}: {message}."));
    }
    lines
}

/// What a run would do, in one line.
#[must_use]
pub fn outlook(settings: &RolloutSettings, workload: &Workload) -> String {
    if let Some(delegate) = &workload.delegate {
        return crate::rollout::delegated::outlook(delegate);
    }
    let impossible = |what: &str| {
        if settings.when_impossible == WhenImpossible::Hold {
            Err(format!("Then: held, for {what} leaves no room for a canary."))
        } else {
            Ok(format!("all pods at once, for {what} leaves no room for a canary"))
        }
    };
    let pods = crate::rollout::patch::step_pods(settings, 0, workload.replicas).unwrap_or(1);
    let how = match &workload.shape {
        Shape::CronJob(_) => {
            return "Then: the image is set and the next runs are judged; a run that fails more often than before is rolled back by itself.".to_owned();
        }
        Shape::Deployment(_) | Shape::StatefulSet(_) | Shape::DaemonSet(_) | Shape::Rollout
            if workload.replicas == 0 =>
        {
            return "Then: the image is set; 0 replicas: nothing to observe.".to_owned();
        }
        Shape::StatefulSet(_) | Shape::DaemonSet(_) if workload.is_on_delete() => {
            impossible("updateStrategy OnDelete")
        }
        Shape::Deployment(own) if own.strategy == Strategy::Recreate => impossible("strategy Recreate"),
        Shape::Deployment(_) => {
            let plural = if pods == 1 { "" } else { "s" };
            Ok(format!("{pods} canary pod{plural} beside {}", workload.replicas))
        }
        Shape::StatefulSet(_) => Ok(format!("the {pods} highest of {} pods first", workload.replicas)),
        Shape::DaemonSet(_) => Ok(format!("one of {} nodes at a time", workload.replicas)),
        Shape::Rollout => Ok("by Argo Rollouts".to_owned()),
    };
    match how {
        Err(held) => held,
        Ok(how) => {
            format!("Then: {how}, watched {}, rolled back by itself if it fails.", text::span(settings.bake))
        }
    }
}
