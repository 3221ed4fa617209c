//! A cause in words: what was expected, what was observed, whose fault it is and how that is known.
//!
//! What the cause is, and whether it decides, is chosen in `judge.rs`.

use jiff::{SignedDuration, Timestamp};

use crate::reason::Reason;
use crate::text;
use crate::workload::{ContainerState, LastWords, Pod};

use super::attribute::Habit;
use super::{Blame, Cause, Finding, Observation, attribute, habit, is_crash, is_silent_block};

/// The deadline came and no pod shows why. Where not even the wanted pods exist, nothing is held against the image.
pub(super) fn at_deadline(observation: &Observation<'_>, live: &[&Pod], ready: u32) -> Cause {
    let exist = u32::try_from(live.len()).unwrap_or(u32::MAX);
    let blame = if exist < observation.expected { Blame::Environment } else { Blame::Image };
    // Without a bake the rest of the pods is replaced, and each one more puts the deadline off.
    let (missed, expected) = if observation.bake.is_zero() {
        ("no further one", "every new pod to become Ready".to_owned())
    } else {
        let bake = text::span(observation.bake);
        ("no answer", format!("the canary to stay Ready for {bake} before the deadline"))
    };
    Cause {
        reason: Reason::DeadlineExceeded,
        sentence: format!(
            "{ready} of {} new pods Ready and {missed} until {}",
            observation.expected,
            text::instant_seconds(observation.deadline)
        ),
        expected,
        blame,
        deterministic: false,
        signature: Reason::DeadlineExceeded.code().to_owned(),
        pods: Vec::new(),
        nodes: Vec::new(),
        judged: verdict(observation, blame, false),
        at_deadline: true,
    }
}

pub(super) fn cause(
    observation: &Observation<'_>,
    live: &[&Pod],
    findings: &[Finding],
    finding: &Finding,
) -> Cause {
    let same: Vec<&Finding> = findings.iter().filter(|other| other.reason == finding.reason).collect();
    let mut pods: Vec<String> =
        same.iter().map(|one| one.pod.clone()).filter(|pod| !pod.is_empty()).collect();
    let mut nodes: Vec<String> = same.iter().filter_map(|one| one.node.clone()).collect();
    pods.sort();
    nodes.sort();
    nodes.dedup();
    let blame = attribute::attribute(finding, observation.stable, observation.judged, observation.now);
    let usual = is_crash(finding.reason)
        && !finding.deterministic
        && habit(observation, live, findings, finding) == Habit::Usual;
    let both = finding.blame == Blame::Image && blame == Blame::Environment;
    let blame = if usual { Blame::Environment } else { blame };
    // Old pods that failed before the run began are no comparison: only what a second try cannot change is the image's.
    let blame = match observation.baseline {
        Some(_) if !finding.deterministic => Blame::Environment,
        Some(_) | None => blame,
    };
    let place = if nodes.is_empty() { String::new() } else { format!(", on {}", nodes.join(" and ")) };
    Cause {
        reason: finding.reason,
        sentence: format!("{}{place}", observed(observation, live, &same, finding)),
        expected: expected(observation, finding.reason),
        blame,
        deterministic: finding.deterministic && blame == Blame::Image,
        signature: finding.signature.clone(),
        pods,
        nodes,
        judged: if usual && !both && observation.baseline.is_none() && blame != finding.blame {
            "Nothing is held against the image: the old pods crash as often.".to_owned()
        } else {
            format!("{}{}", verdict(observation, blame, both), last_words(finding))
        },
        at_deadline: false,
    }
}

/// Whose fault it is, told with the evidence: what the old pods show at the same time.
fn verdict(observation: &Observation<'_>, blame: Blame, both: bool) -> String {
    let stable = observation.stable;
    match (blame, observation.baseline) {
        (Blame::Environment, Some(before)) => {
            format!(
                "{}: {before}, so there is no comparison and nothing is held against the image.",
                Reason::BaselineUnhealthy
            )
        }
        (Blame::Environment, None) if both => {
            "The environment is at fault, not the image: the old pods fail the same way.".to_owned()
        }
        (Blame::Environment, None) => "The environment is at fault, not the image.".to_owned(),
        (Blame::Image, _) if stable.iter().all(|pod| pod.deleting) => {
            "The image is at fault by what it did; there are no old pods to compare it with.".to_owned()
        }
        (Blame::Image, Some(before)) => {
            format!("The image is at fault by what it did; {before}, but not in this way.")
        }
        // The pods of runs are over and not Ready: that none of them shows this is what counts.
        (Blame::Image, None) if observation.deadline == Timestamp::MAX => {
            let runs = stable.iter().filter(|pod| !pod.deleting).count();
            let what = if runs == 1 {
                "the last run of the old image does not show this".to_owned()
            } else {
                format!("none of the last {runs} runs of the old image shows this")
            };
            format!("The image is at fault, not the cluster: {what}.")
        }
        (Blame::Image, None) => match attribute::unrest(stable, observation.now) {
            Some((_, words)) => {
                format!("The image is at fault by what it did; {words}, but not in this way.")
            }
            None => format!(
                "The image is at fault, not the cluster: {}, and none shows this.",
                stable_health(stable)
            ),
        },
    }
}

fn observed(observation: &Observation<'_>, live: &[&Pod], same: &[&Finding], finding: &Finding) -> String {
    if !is_crash(finding.reason) || finding.deterministic {
        let by = if is_security(finding.reason) {
            "the security layer refused it, not the application: "
        } else {
            ""
        };
        return format!("{by}{}", finding.message);
    }
    let crashes: u32 = same.iter().map(|one| one.crashes).fold(0, u32::saturating_add);
    let times = if crashes == 1 { "1 crash".to_owned() } else { format!("{crashes} crashes") };
    let within = span_of_crashes(live, finding).filter(|_| 1 < crashes);
    let within = within.map_or(String::new(), |span| format!(" in {}", text::span(span)));
    if is_silent_block(finding.reason) {
        let sure = confidence(observation, finding);
        return format!(
            "{times}{within}, {sure} a security setting and not the program: {}",
            finding.message
        );
    }
    format!("{times}{within}, {}", finding.message)
}

fn expected(observation: &Observation<'_>, reason: Reason) -> String {
    let (who, bake) = if observation.bake.is_zero() {
        ("the new pods", String::new())
    } else {
        ("the canary", format!(" {}", text::span(observation.bake)))
    };
    if is_crash(reason) && reason != Reason::StartFailed {
        return format!("{who} to stay up{bake}");
    }
    if is_pull(reason) {
        return "the node to pull the image".to_owned();
    }
    if is_creation(reason) {
        return "the canary pod to be created".to_owned();
    }
    if is_placement(reason) {
        return "a node to take the canary pod".to_owned();
    }
    let long = if bake.is_empty() { bake } else { format!(" for{bake}") };
    format!("{who} to start and stay Ready{long}")
}

/// What the program wrote last, or why that is not known, as a sentence to add.
fn last_words(finding: &Finding) -> String {
    match &finding.words {
        // A block that was inferred from them has quoted them.
        LastWords::Known(words) if !is_silent_block(finding.reason) && is_crash(finding.reason) => {
            format!(" Its last words: \"{words}\".")
        }
        LastWords::Unknown(why) if is_crash(finding.reason) => {
            format!(" Its last words are not known: {why}.")
        }
        LastWords::Known(_) | LastWords::Unknown(_) | LastWords::NotAsked => String::new(),
    }
}

/// How sure an inferred block is: `likely` where old pods run under the same settings and do not show it.
fn confidence(observation: &Observation<'_>, finding: &Finding) -> &'static str {
    let fine = observation.stable.iter().any(|pod| !pod.deleting && pod.ready_since.is_some());
    let both = attribute::old_pods_fail_too(finding, observation.stable, observation.judged, observation.now);
    if fine && !both { "likely" } else { "possible" }
}

/// From the first start of the crashing pod to its last end.
fn span_of_crashes(live: &[&Pod], finding: &Finding) -> Option<SignedDuration> {
    let pod = live.iter().find(|pod| pod.name == finding.pod)?;
    let last = pod
        .containers
        .iter()
        .flat_map(|container| {
            let now = match &container.state {
                ContainerState::Terminated(ended) => ended.finished_at,
                ContainerState::Waiting { .. } | ContainerState::Running { .. } => None,
            };
            [now, container.last_end.as_ref().and_then(|ended| ended.finished_at)]
        })
        .flatten()
        .max()?;
    Some(last.duration_since(pod.created_at).max(SignedDuration::from_secs(1)))
}

fn is_security(reason: Reason) -> bool {
    [
        Reason::PodSecurity,
        Reason::AdmissionDenied,
        Reason::WebhookDenied,
        Reason::ImagePolicyDenied,
        Reason::SignatureRefusedByNode,
        Reason::RunAsNonRoot,
        Reason::SeccompKill,
        Reason::SecurityProfile,
        Reason::AppArmorUnavailable,
        Reason::SeccompUnavailable,
        Reason::SysctlForbidden,
    ]
    .contains(&reason)
}

fn is_placement(reason: Reason) -> bool {
    [
        Reason::Unschedulable,
        Reason::HostPortTaken,
        Reason::InsufficientCpu,
        Reason::InsufficientMemory,
        Reason::PodCountExceeded,
        Reason::TaintNotTolerated,
        Reason::NodeSelectorUnmet,
        Reason::AntiAffinity,
        Reason::TopologySpread,
        Reason::VolumeCountExceeded,
        Reason::VolumeElsewhere,
        Reason::VolumeInUse,
        Reason::VolumeUnavailable,
        Reason::NodeRefused,
        Reason::AppArmorUnavailable,
        Reason::SysctlForbidden,
    ]
    .contains(&reason)
}

pub(super) fn is_pull(reason: Reason) -> bool {
    [
        Reason::SignatureRefusedByNode,
        Reason::PullNotFound,
        Reason::PullUnauthorized,
        Reason::PullPlatform,
        Reason::PullUnavailable,
        Reason::PullInvalid,
    ]
    .contains(&reason)
}

fn is_creation(reason: Reason) -> bool {
    [
        Reason::PodSecurity,
        Reason::AdmissionDenied,
        Reason::WebhookDenied,
        Reason::WebhookDown,
        Reason::ImagePolicyDenied,
        Reason::QuotaExceeded,
        Reason::LimitRange,
        Reason::ServiceAccountMissing,
        Reason::CreateForbidden,
    ]
    .contains(&reason)
}

/// The old pods in words: "4 of 4 old pods Ready with 0 restarts".
#[must_use]
pub fn stable_health(stable: &[Pod]) -> String {
    let live: Vec<&Pod> = stable.iter().filter(|pod| !pod.deleting).collect();
    let ready = live.iter().filter(|pod| pod.ready_since.is_some()).count();
    let restarts: i64 = live
        .iter()
        .flat_map(|pod| &pod.containers)
        .fold(0, |sum, container| sum.saturating_add(i64::from(container.restarts)));
    format!("{ready} of {} old pods Ready with {restarts} restarts", live.len())
}
