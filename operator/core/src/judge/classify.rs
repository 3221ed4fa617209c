//! What a pod shows, as a named cause: one table of rules over the kubelet's and admission's own words.
//!
//! Texts are those of Kubernetes 1.37, containerd 2.4 and runc 1.5. The first rule that matches wins; a text that none
//! matches is shown as it is (`Unclassified`), so that a change of wording is visible and never a wrong cause.

use std::collections::BTreeSet;

use crate::reason::Reason;
use crate::text;
use crate::workload::{ContainerState, ContainerStatus, Pod, Termination};

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
    /// Equal for equal failures.
    pub signature: String,
    /// How often the container ended so far.
    pub crashes: u32,
}

/// Where a rule looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The message of a pod that could not be created.
    Create,
    /// The message of a container that waits for its image.
    Pull,
    /// The message of a container that cannot be created or started.
    Start,
    /// Reason and message of a pod that the kubelet refused.
    Refusal,
}

/// Any of the texts at the place means the cause.
struct Rule {
    place: Place,
    texts: &'static [&'static str],
    reason: Reason,
    blame: Blame,
    deterministic: bool,
}

const fn rule(
    place: Place,
    texts: &'static [&'static str],
    reason: Reason,
    blame: Blame,
    deterministic: bool,
) -> Rule {
    Rule { place, texts, reason, blame, deterministic }
}

/// The table. Order matters within a place.
const RULES: &[Rule] = &[
    rule(Place::Create, &["violates PodSecurity"], Reason::PodSecurity, Blame::Environment, false),
    rule(
        Place::Create,
        &["exceeded quota", "failed quota"],
        Reason::QuotaExceeded,
        Blame::Environment,
        false,
    ),
    rule(Place::Create, &["failed calling webhook"], Reason::WebhookDown, Blame::Environment, false),
    rule(Place::Create, &["admission webhook"], Reason::WebhookDenied, Blame::Environment, false),
    rule(
        Place::Create,
        &["ValidatingAdmissionPolicy", "' denied request"],
        Reason::AdmissionDenied,
        Blame::Environment,
        false,
    ),
    rule(
        Place::Create,
        &["usage per Container", "usage per Pod", "limit is", "LimitRange"],
        Reason::LimitRange,
        Blame::Environment,
        false,
    ),
    rule(
        Place::Create,
        &["error looking up service account"],
        Reason::ServiceAccountMissing,
        Blame::Environment,
        false,
    ),
    rule(
        Place::Pull,
        &["no match for platform", "no matching manifest"],
        Reason::PullPlatform,
        Blame::Image,
        true,
    ),
    rule(
        Place::Pull,
        &[
            // Never the bare number: the text carries the digest, and one in sixty has it among its digits.
            "toomanyrequests",
            "Too Many Requests",
            "i/o timeout",
            "connection refused",
            "no such host",
            "deadline exceeded",
            "500 Internal",
            "502 Bad",
            "503 Service",
            "504 Gateway",
            "RegistryUnavailable",
            "connection reset",
            "no route to host",
        ],
        Reason::PullUnavailable,
        Blame::Environment,
        false,
    ),
    rule(
        Place::Pull,
        &[
            "pull access denied",
            "failed to authorize",
            "401 Unauthorized",
            "403 Forbidden",
            "authorization failed",
            "insufficient_scope",
        ],
        Reason::PullUnauthorized,
        Blame::Environment,
        false,
    ),
    rule(
        Place::Pull,
        &["not found", "failed to resolve reference", "manifest unknown"],
        Reason::PullNotFound,
        Blame::Image,
        false,
    ),
    rule(
        Place::Pull,
        &[
            "InvalidImageName",
            "ErrImageNeverPull",
            "failed to extract",
            "failed to unpack",
            "unexpected EOF",
            "wrong diff id",
            "invalid tar",
            "mismatched",
        ],
        Reason::PullInvalid,
        Blame::Image,
        false,
    ),
    rule(
        Place::Start,
        &["runAsNonRoot", "non-root", "non-numeric user"],
        Reason::RunAsNonRoot,
        Blame::Image,
        true,
    ),
    rule(
        Place::Start,
        &["secret \"", "configmap \"", "couldn't find key"],
        Reason::ConfigMissing,
        Blame::Environment,
        false,
    ),
    rule(Place::Start, &["exec format error"], Reason::PullPlatform, Blame::Image, true),
    rule(Place::Start, &["apparmor", "seccomp"], Reason::SecurityProfile, Blame::Environment, false),
    rule(
        Place::Start,
        &["executable file not found", "no such file or directory", "permission denied", "is a directory"],
        Reason::StartFailed,
        Blame::Image,
        true,
    ),
    rule(
        Place::Refusal,
        &["AppArmor", "SysctlForbidden", "seccomp"],
        Reason::SecurityProfile,
        Blame::Environment,
        false,
    ),
];

fn lookup(place: Place, text: &str) -> Option<&'static Rule> {
    RULES
        .iter()
        .filter(|rule| rule.place == place)
        .find(|rule| rule.texts.iter().any(|one| text.contains(one)))
}

/// Why pods of the new template could not be created, by the text of the `ReplicaFailure` condition.
#[must_use]
pub fn classify_create_failure(message: &str) -> Finding {
    let rule = lookup(Place::Create, message);
    let (reason, blame) =
        rule.map_or((Reason::CreateForbidden, Blame::Environment), |rule| (rule.reason, rule.blame));
    Finding {
        reason,
        message: text::clean(message, 200),
        pod: String::new(),
        node: None,
        blame,
        deterministic: false,
        signature: reason.code().to_owned(),
        crashes: 0,
    }
}

/// What one pod shows of the judged containers; empty for a pod that shows nothing bad.
#[must_use]
pub fn classify_pod(pod: &Pod, judged: &BTreeSet<String>) -> Option<Finding> {
    let finding = |reason: Reason, message: &str, blame, deterministic| Finding {
        reason,
        message: text::clean(message, 200),
        pod: pod.name.clone(),
        node: pod.node.clone(),
        blame,
        deterministic,
        signature: reason.code().to_owned(),
        crashes: 0,
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
        return Some(finding(Reason::Unschedulable, message, Blame::Environment, false));
    }
    // The judged containers speak first; another container's failure is the pod's, not the image's.
    let (own, others): (Vec<_>, Vec<_>) = pod.containers.iter().partition(|one| judged.contains(&one.name));
    if let Some(found) = own.iter().find_map(|container| classify_container(pod, container)) {
        return Some(found);
    }
    if let Some(found) = others.iter().find_map(|container| classify_container(pod, container)) {
        return Some(Finding { blame: Blame::Environment, deterministic: false, ..found });
    }
    not_ready(pod, &own).map(|(reason, message, blame)| finding(reason, &message, blame, false))
}

/// A pod in which nothing has failed and which is not Ready all the same.
fn not_ready(pod: &Pod, own: &[&ContainerStatus]) -> Option<(Reason, String, Blame)> {
    if pod.ready_since.is_some() {
        return None;
    }
    let warning = |reasons: &[&str]| {
        pod.warnings
            .iter()
            .find(|(reason, _)| reasons.contains(&reason.as_str()))
            .map(|(_, message)| message.clone())
    };
    if let Some(message) = warning(&["FailedMount", "FailedAttachVolume"]) {
        return Some((Reason::VolumeUnavailable, message, Blame::Environment));
    }
    if let Some(message) = warning(&["FailedCreatePodSandBox"]) {
        return Some((Reason::NodeRefused, message, Blame::Environment));
    }
    let runs = own.iter().any(|one| matches!(one.state, ContainerState::Running { .. }) && !one.ready);
    let message = warning(&["Unhealthy"]).unwrap_or_else(|| "running, and not Ready".to_owned());
    runs.then_some((Reason::NotReady, message, Blame::Image))
}

fn classify_container(pod: &Pod, container: &ContainerStatus) -> Option<Finding> {
    match &container.state {
        ContainerState::Waiting { reason, message } => waiting(pod, container, reason, message),
        ContainerState::Terminated(ended) if container.init && ended.exit_code == 0 => None,
        ContainerState::Terminated(ended) => Some(ended_finding(pod, container, ended)),
        ContainerState::Running { .. } => {
            // It came back after a crash: the crash counts all the same.
            container.last_end.as_ref().map(|ended| ended_finding(pod, container, ended))
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
            return container.last_end.as_ref().map(|ended| ended_finding(pod, container, ended));
        }
        // Being created, or its init containers run: nothing has failed. A crash before this counts.
        _ => {
            return container.last_end.as_ref().map(|ended| ended_finding(pod, container, ended));
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
    Some(text_finding(pod, container, place, &words))
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
    let (reason, blame, deterministic) = rule.map_or((Reason::Unclassified, Blame::Image, false), |rule| {
        (rule.reason, rule.blame, rule.deterministic)
    });
    Finding {
        reason,
        message: text::clean(words, 200),
        pod: pod.name.clone(),
        node: pod.node.clone(),
        blame,
        deterministic,
        signature: format!("{reason} {}", container.name),
        crashes: crashes(container),
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

fn ended_finding(pod: &Pod, container: &ContainerStatus, ended: &Termination) -> Finding {
    let code = ended.exit_code;
    let (reason, message, deterministic) = end_words(pod, container, ended);
    Finding {
        reason,
        message: text::clean(&message, 200),
        pod: pod.name.clone(),
        node: pod.node.clone(),
        blame: Blame::Image,
        deterministic,
        signature: format!("{reason} {} {code}", container.name),
        crashes: crashes(container).max(1),
    }
}

fn end_words(pod: &Pod, container: &ContainerStatus, ended: &Termination) -> (Reason, String, bool) {
    let code = ended.exit_code;
    if ended.reason == "OOMKilled" {
        let limit =
            container.memory_limit.as_ref().map_or(String::new(), |limit| format!(", memory limit {limit}"));
        return (Reason::OutOfMemory, format!("killed for memory{limit}"), false);
    }
    if matches!(ended.reason.as_str(), "StartError" | "ContainerCannotRun") {
        let rule = lookup(Place::Start, &ended.message);
        let reason = rule.map_or(Reason::StartFailed, |rule| rule.reason);
        return (reason, decisive(&ended.message).to_owned(), rule.is_some_and(|rule| rule.deterministic));
    }
    let probe = pod.warnings.iter().find(|(reason, message)| {
        reason == "Unhealthy" && (message.contains("Liveness probe") || message.contains("Startup probe"))
    });
    if let (137 | 143, Some((_, message))) = (code, probe) {
        return (Reason::LivenessFailed, message.clone(), false);
    }
    if code == 159 {
        return (
            Reason::SeccompKill,
            "ended by SIGSYS: a system call that the profile forbids".to_owned(),
            true,
        );
    }
    if code == 137 && container.memory_limit.is_some() {
        let limit = container.memory_limit.clone().unwrap_or_default();
        return (
            Reason::OutOfMemory,
            format!("killed by SIGKILL, probably for memory, limit {limit}"),
            false,
        );
    }
    if let Some(signal) =
        ended.signal.or_else(|| code.checked_sub(128)).filter(|signal| (1..=64).contains(signal))
    {
        return (Reason::CrashSignal, format!("ended by {}", signal_name(signal)), false);
    }
    if code == 0 {
        return (Reason::Completed, "ended with exit code 0".to_owned(), false);
    }
    (Reason::CrashExit, format!("exit code {code}"), false)
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
