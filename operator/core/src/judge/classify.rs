//! What a pod shows, as a named cause, by the table of rules over the kubelet's and admission's own words.
//!
//! The table itself: `judge/classify/table.rs`. A text that no rule matches is shown as it is (`Unclassified`) and counted,
//! so that a change of wording is visible and never a wrong cause. Ends of containers: `judge/classify/ends.rs`.

mod ends;
pub mod table;

use std::collections::BTreeSet;

use table::{Place, lookup};

use crate::reason::Reason;
use crate::text;
use crate::workload::{ContainerState, ContainerStatus, LastWords, Pod};

/// Who is to blame for a cause, before the old pods were asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The image, unless the old pods show the same.
    Image,
    /// The cluster, the namespace or the pod's own specification.
    Environment,
}

/// One named cause that one pod shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The code.
    pub reason: Reason,
    /// The decisive text, cleaned and cut to 200 characters.
    pub message: String,
    /// The pod.
    pub pod: String,
    /// Its node.
    pub node: Option<String>,
    /// Who is to blame.
    pub blame: Blame,
    /// Whether a second try cannot end otherwise.
    pub deterministic: bool,
    /// Whether it waits for what it needs to start: no end of a program will come by itself.
    pub waits: bool,
    /// Equal for equal failures.
    pub signature: String,
    /// How often the container ended so far.
    pub crashes: u32,
    /// What the program wrote last, where that is known; or why it is not.
    pub words: LastWords,
}

/// Why pods of the new template could not be created, by the text of the `ReplicaFailure` condition.
#[must_use]
pub fn classify_create_failure(message: &str) -> Finding {
    let rule = lookup(Place::Create, message);
    let (reason, blame, deterministic) = rule
        .map_or((Reason::CreateForbidden, Blame::Environment, false), |rule| {
            (rule.reason, rule.blame, rule.certain)
        });
    Finding {
        reason,
        message: text::clean_around(message, table::decisive(Place::Create, message), 200),
        pod: String::new(),
        node: None,
        blame,
        deterministic,
        waits: true,
        signature: reason.code().to_owned(),
        crashes: 0,
        words: LastWords::NotAsked,
    }
}

/// What one pod shows of the judged containers; empty for a pod that shows nothing bad.
#[must_use]
pub fn classify_pod(pod: &Pod, judged: &BTreeSet<String>) -> Option<Finding> {
    let finding = |reason: Reason, message: &str, blame, deterministic| Finding {
        reason,
        message: text::clean_ends(message, 200),
        pod: pod.name.clone(),
        node: pod.node.clone(),
        blame,
        deterministic,
        waits: false,
        signature: reason.code().to_owned(),
        crashes: 0,
        words: LastWords::NotAsked,
    };
    if let Some(reason) = &pod.disruption {
        return Some(finding(Reason::Disrupted, reason, Blame::Environment, false));
    }
    if let Some((reason, message)) = pod.refusal.as_ref().filter(|_| pod.phase == "Failed") {
        let words = format!("{reason}: {message}");
        let code = lookup(Place::Refusal, &words).map_or(Reason::NodeRefused, |rule| rule.reason);
        return Some(finding(code, &words, Blame::Environment, false));
    }
    if let Some(message) = &pod.unschedulable {
        // What preemption could not do either is no cause.
        let message = message.split(" preemption: ").next().unwrap_or(message);
        let code = lookup(Place::Schedule, message).map_or(Reason::Unschedulable, |rule| rule.reason);
        let words = text::clean_around(message, table::decisive(Place::Schedule, message), 200);
        return Some(Finding { waits: true, ..finding(code, &words, Blame::Environment, false) });
    }
    // The judged containers speak first; another container's failure is the pod's, not the image's.
    let (own, others): (Vec<_>, Vec<_>) = pod.containers.iter().partition(|one| judged.contains(&one.name));
    if let Some(found) = own.iter().find_map(|container| classify_container(pod, container)) {
        return Some(found);
    }
    if let Some(found) = others.iter().find_map(|container| classify_container(pod, container)) {
        return Some(Finding { blame: Blame::Environment, deterministic: false, ..found });
    }
    let (reason, message, blame) = not_ready(pod, &own)?;
    // What it mounts, its sandbox, or a sidecar that starts before it.
    Some(Finding { waits: pod.phase == "Pending", ..finding(reason, &message, blame, false) })
}

/// A pod in which nothing has failed and which is not Ready all the same.
fn not_ready(pod: &Pod, own: &[&ContainerStatus]) -> Option<(Reason, String, Blame)> {
    if pod.ready_since.is_some() {
        return None;
    }
    let told = pod.warnings.iter().find_map(|(reason, message)| {
        let rule = lookup(Place::Warning, &format!("{reason}: {message}"))?;
        Some((rule.reason, message.clone(), rule.blame))
    });
    if let Some(told) = told {
        return Some(told);
    }
    let runs = own.iter().any(|one| matches!(one.state, ContainerState::Running { .. }) && !one.ready);
    let unhealthy = pod.warnings.iter().find(|(reason, _)| reason == "Unhealthy");
    let message = unhealthy.map_or("running, and not Ready".to_owned(), |(_, message)| message.clone());
    runs.then_some((Reason::NotReady, message, Blame::Image))
}

fn classify_container(pod: &Pod, container: &ContainerStatus) -> Option<Finding> {
    match &container.state {
        ContainerState::Waiting { reason, message } => waiting(pod, container, reason, message),
        ContainerState::Terminated(ended) if container.init && ended.exit_code == 0 => None,
        ContainerState::Terminated(ended) => ends::finding(pod, container, ended),
        ContainerState::Running { .. } => {
            // It came back after a crash: the crash counts all the same.
            container.last_end.as_ref().and_then(|ended| ends::finding(pod, container, ended))
        }
    }
}

fn waiting(pod: &Pod, container: &ContainerStatus, reason: &str, message: &str) -> Option<Finding> {
    let place = match reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => Place::Pull,
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "PreCreateHookError"
        | "PreStartHookError"
        | "PostStartHookError" => Place::Start,
        "CrashLoopBackOff" => {
            return container.last_end.as_ref().and_then(|ended| ends::finding(pod, container, ended));
        }
        // Being created, or its init containers run: nothing has failed. A crash before this counts.
        _ => {
            return container.last_end.as_ref().and_then(|ended| ends::finding(pod, container, ended));
        }
    };
    let words = format!("{reason}: {}", decisive(message));
    // A back-off without the error it follows says nothing yet.
    if reason == "ImagePullBackOff" && lookup(place, &words).is_none() {
        let pulled = pod.warnings.iter().find(|(_, text)| text.contains("Failed to pull"));
        if let Some((_, text)) = pulled {
            return Some(text_finding(pod, container, place, text));
        }
    }
    let found = text_finding(pod, container, place, &words);
    // A registry hides what a caller may not see: where the pull secret is not there, that is the cause.
    let secret = pod.warnings.iter().find(|(reason, _)| reason == "FailedToRetrieveImagePullSecret");
    match secret.filter(|_| [Reason::PullUnauthorized, Reason::PullNotFound].contains(&found.reason)) {
        Some((_, text)) => Some(text_finding(pod, container, place, text)),
        None => Some(found),
    }
}

/// The part of a runtime's message that says something: what follows the layers that only pass it on.
fn decisive(message: &str) -> &str {
    let layers =
        ["unable to start container process: ", "error during container init: ", "rpc error: code = "];
    layers.iter().fold(message, |text, layer| match text.rsplit_once(layer) {
        Some((_, rest)) if !rest.is_empty() => rest,
        Some(_) | None => text,
    })
}

fn text_finding(pod: &Pod, container: &ContainerStatus, place: Place, words: &str) -> Finding {
    let rule = lookup(place, words);
    let (reason, blame, deterministic) = rule
        .map_or((Reason::Unclassified, Blame::Image, false), |rule| (rule.reason, rule.blame, rule.certain));
    Finding {
        reason,
        message: text::clean_around(words, table::decisive(place, words), 200),
        pod: pod.name.clone(),
        node: pod.node.clone(),
        blame,
        deterministic,
        waits: true,
        signature: format!("{reason} {}", container.name),
        crashes: crashes(container),
        words: LastWords::NotAsked,
    }
}

/// How often a container ended: restarts count the starts after the first, not the ends.
fn crashes(container: &ContainerStatus) -> u32 {
    let ended_now = match &container.state {
        ContainerState::Terminated(_) => true,
        ContainerState::Waiting { reason, .. } => reason == "CrashLoopBackOff",
        ContainerState::Running { .. } => false,
    };
    u32::try_from(container.restarts).unwrap_or(0).saturating_add(u32::from(ended_now))
}
