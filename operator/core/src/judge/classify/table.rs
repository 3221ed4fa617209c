//! The table of causes as data: which words of Kubernetes, at which place, mean which code, and whose fault that is.
//!
//! Texts are those of Kubernetes 1.37, containerd 2.4 and runc 1.5. Order matters within a place: the first row that matches
//! wins. Each text of each row has an example in `tests/tables/classify.txt`. Who reads it: `judge/classify.rs`.

use super::Blame;
use crate::reason::Reason;

/// Where a rule looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The message of a pod that could not be created.
    Create,
    /// Reason and message of a container that waits for its image.
    Pull,
    /// Reason and message of a container that cannot be created or started.
    Start,
    /// Reason and message of a pod that the kubelet refused or took away.
    Refusal,
    /// The scheduler's message.
    Schedule,
    /// Reason and message of a Warning Event of a pod in which nothing has failed and which is not Ready.
    Warning,
}

/// Any of the texts at the place means the cause.
#[derive(Debug)]
pub struct Rule {
    /// Where.
    pub place: Place,
    /// The texts; any of them.
    pub texts: &'static [&'static str],
    /// The code.
    pub reason: Reason,
    /// Whose fault, before the old pods were asked.
    pub blame: Blame,
    /// Whether a second try cannot end otherwise.
    pub certain: bool,
}

const fn image(place: Place, texts: &'static [&'static str], reason: Reason, certain: bool) -> Rule {
    Rule { place, texts, reason, blame: Blame::Image, certain }
}

const fn environment(place: Place, texts: &'static [&'static str], reason: Reason) -> Rule {
    Rule { place, texts, reason, blame: Blame::Environment, certain: false }
}

/// The rules on texts.
pub const RULES: &[Rule] = &[
    environment(Place::Create, &["violates PodSecurity"], Reason::PodSecurity),
    // An outage of the webhook that asks about images is an outage, not a refusal.
    environment(Place::Create, &["failed calling webhook"], Reason::WebhookDown),
    image(
        Place::Create,
        &["image policy webhook backend denied one or more images"],
        Reason::ImagePolicyDenied,
        true,
    ),
    environment(Place::Create, &["admission webhook"], Reason::WebhookDenied),
    environment(Place::Create, &["ValidatingAdmissionPolicy", "' denied request"], Reason::AdmissionDenied),
    environment(Place::Create, &["exceeded quota", "failed quota"], Reason::QuotaExceeded),
    environment(
        Place::Create,
        &["usage per Container", "usage per Pod", "limit to request ratio per"],
        Reason::LimitRange,
    ),
    environment(Place::Create, &["error looking up service account"], Reason::ServiceAccountMissing),
    environment(Place::Create, &["unable to create new content in namespace"], Reason::TargetDeleting),
    // The image.
    image(Place::Pull, &["SignatureValidationFailed"], Reason::SignatureRefusedByNode, true),
    image(Place::Pull, &["no match for platform", "no matching manifest"], Reason::PullPlatform, true),
    environment(
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
            "TLS handshake timeout",
            "certificate signed by unknown authority",
            // No answer came, whatever the reason.
            "failed to do request",
        ],
        Reason::PullUnavailable,
    ),
    environment(
        Place::Pull,
        &[
            "pull access denied",
            "failed to authorize",
            "401 Unauthorized",
            "403 Forbidden",
            "authorization failed",
            "insufficient_scope",
            "image pull secrets",
        ],
        Reason::PullUnauthorized,
    ),
    environment(Place::Pull, &["no space left on device"], Reason::NodeRefused),
    image(
        Place::Pull,
        &["not found", "failed to resolve reference", "manifest unknown"],
        Reason::PullNotFound,
        false,
    ),
    image(
        Place::Pull,
        &[
            "InvalidImageName",
            "ErrImageNeverPull",
            "ImageInspectError",
            "failed to extract",
            "failed to unpack",
            "unexpected EOF",
            "wrong diff id",
            "invalid tar",
            "mismatched",
            "number of layers and diffIDs don't match",
            "unexpected commit digest",
        ],
        Reason::PullInvalid,
        false,
    ),
    // Creating and starting the container. A hook that is missing is not the program.
    image(Place::Start, &["PostStartHook", "PreStartHook", "PreCreateHook"], Reason::HookFailed, false),
    image(Place::Start, &["runAsNonRoot", "non-root", "non-numeric user"], Reason::RunAsNonRoot, true),
    environment(Place::Start, &["secret \"", "configmap \"", "couldn't find key"], Reason::ConfigMissing),
    image(Place::Start, &["exec format error"], Reason::PullPlatform, true),
    environment(Place::Start, &["apparmor"], Reason::AppArmorUnavailable),
    environment(Place::Start, &["seccomp"], Reason::SeccompUnavailable),
    environment(Place::Start, &["selinux", "SELinux"], Reason::SecurityProfile),
    environment(Place::Start, &["sysctl \""], Reason::SysctlForbidden),
    environment(
        Place::Start,
        &["failed to reserve container name", "no space left on device", "failed to sync"],
        Reason::NodeRefused,
    ),
    environment(Place::Start, &["failed to prepare subPath"], Reason::VolumeUnavailable),
    // An image that names no program, or a user that it does not know.
    image(
        Place::Start,
        &["no command specified", "no users found", "lstat etc: file does not exist"],
        Reason::StartFailed,
        true,
    ),
    // A volume on a path that the image has otherwise. A second try can end otherwise: the volume may change.
    image(Place::Start, &["error mounting"], Reason::StartFailed, false),
    image(
        Place::Start,
        &["executable file not found", "no such file or directory", "permission denied", "is a directory"],
        Reason::StartFailed,
        true,
    ),
    // The kubelet refused the pod, or took it away.
    environment(Place::Refusal, &["AppArmor"], Reason::AppArmorUnavailable),
    environment(Place::Refusal, &["SysctlForbidden"], Reason::SysctlForbidden),
    environment(Place::Refusal, &["seccomp"], Reason::SeccompUnavailable),
    environment(
        Place::Refusal,
        &["Evicted: ", "NodeShutdown: ", "Terminated: ", "Preempting: ", "NodeLost: ", "Shutdown: "],
        Reason::Disrupted,
    ),
    environment(Place::Refusal, &["OutOfcpu"], Reason::InsufficientCpu),
    environment(Place::Refusal, &["OutOfmemory"], Reason::InsufficientMemory),
    environment(Place::Refusal, &["OutOfpods"], Reason::PodCountExceeded),
    environment(Place::Refusal, &["didn't have free ports"], Reason::HostPortTaken),
    environment(Place::Refusal, &["didn't match Pod's node affinity/selector"], Reason::NodeSelectorUnmet),
    // The scheduler. It lists a reason for each node: what a surge brings about comes first, what is true of some node in
    // every cluster (taints) last.
    environment(Place::Schedule, &["didn't have free ports"], Reason::HostPortTaken),
    environment(Place::Schedule, &["ReadWriteOncePod access mode already in-use"], Reason::VolumeInUse),
    environment(Place::Schedule, &["exceed max volume count"], Reason::VolumeCountExceeded),
    environment(
        Place::Schedule,
        &["didn't match PersistentVolume's node affinity", "had volume node affinity conflict"],
        Reason::VolumeElsewhere,
    ),
    environment(
        Place::Schedule,
        &["unbound immediate PersistentVolumeClaims", "persistentvolumeclaim \"", "bound to non-existent"],
        Reason::VolumeUnavailable,
    ),
    environment(Place::Schedule, &["anti-affinity rules"], Reason::AntiAffinity),
    environment(Place::Schedule, &["didn't match pod topology spread constraints"], Reason::TopologySpread),
    environment(Place::Schedule, &["Insufficient cpu"], Reason::InsufficientCpu),
    environment(Place::Schedule, &["Insufficient memory"], Reason::InsufficientMemory),
    environment(Place::Schedule, &["Too many pods"], Reason::PodCountExceeded),
    environment(Place::Schedule, &["didn't match Pod's node affinity/selector"], Reason::NodeSelectorUnmet),
    // What has no code of its own stands before the taints all the same.
    environment(
        Place::Schedule,
        &["didn't match pod affinity rules", "Insufficient "],
        Reason::Unschedulable,
    ),
    environment(Place::Schedule, &["untolerated taint"], Reason::TaintNotTolerated),
    // Warnings, as reason and message.
    environment(Place::Warning, &["Multi-Attach error"], Reason::VolumeInUse),
    environment(
        Place::Warning,
        &[
            " : configmap \"",
            " : secret \"",
            "references non-existent config key",
            "references non-existent secret key",
        ],
        Reason::ConfigMissing,
    ),
    environment(Place::Warning, &["FailedMount: ", "FailedAttachVolume: "], Reason::VolumeUnavailable),
    environment(Place::Warning, &["FailedCreatePodSandBox: "], Reason::NodeRefused),
    image(Place::Warning, &["Startup probe"], Reason::StartupProbeFailed, false),
    image(Place::Warning, &["probe errored"], Reason::ProbeErrored, false),
];

/// The first rule at a place that matches a text.
#[must_use]
pub fn lookup(place: Place, text: &str) -> Option<&'static Rule> {
    RULES
        .iter()
        .filter(|rule| rule.place == place)
        .find(|rule| rule.texts.iter().any(|one| text.contains(one)))
}

/// The text of the row that decided at a place; nothing where none did.
#[must_use]
pub fn decisive(place: Place, text: &str) -> &'static str {
    let texts = lookup(place, text).map_or(&[][..], |rule| rule.texts);
    texts.iter().find(|one| text.contains(**one)).copied().unwrap_or_default()
}

/// What else must be true of a container's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing.
    Always,
    /// It has a memory limit.
    Limited,
    /// Its liveness probe failed, by an Event.
    Liveness,
    /// Its startup probe failed, by an Event.
    Startup,
    /// The kubelet said that it ends it for its liveness probe.
    LivenessKill,
    /// The kubelet said that it ends it for its startup probe.
    StartupKill,
    /// The kubelet was asked to stop it: a deletion, a drain.
    Asked,
}

/// What the end of a container means. Any of the codes and any of the kubelet's reasons; none given means all.
#[derive(Debug)]
pub struct End {
    /// Exit codes.
    pub codes: &'static [i32],
    /// The kubelet's reason.
    pub reasons: &'static [&'static str],
    /// What else.
    pub when: When,
    /// The cause; `None`: it says nothing.
    pub cause: Option<(Reason, Blame, bool)>,
}

const fn end(
    codes: &'static [i32],
    reasons: &'static [&'static str],
    when: When,
    reason: Reason,
    certain: bool,
) -> End {
    End { codes, reasons, when, cause: Some((reason, Blame::Image, certain)) }
}

/// SIGKILL and SIGTERM: how a kubelet ends a container.
const BY_THE_KUBELET: &[i32] = &[137, 143];
/// How a program ends that hears SIGTERM: in good order. It may also have ended by itself, so the kubelet must have said it.
const IN_GOOD_ORDER: &[i32] = &[0];

/// The rules on ends. What starts with `StartError` is looked up among the texts first.
pub const ENDS: &[End] = &[
    end(&[], &["OOMKilled"], When::Always, Reason::OutOfMemory, false),
    end(&[], &["StartError", "ContainerCannotRun"], When::Always, Reason::StartFailed, false),
    // The kubelet lost sight of it: a restarted node, not a crash.
    End {
        codes: &[],
        reasons: &["ContainerStatusUnknown"],
        when: When::Always,
        cause: Some((Reason::Disrupted, Blame::Environment, false)),
    },
    end(BY_THE_KUBELET, &[], When::Startup, Reason::StartupProbeFailed, false),
    end(BY_THE_KUBELET, &[], When::Liveness, Reason::LivenessFailed, false),
    end(IN_GOOD_ORDER, &[], When::StartupKill, Reason::StartupProbeFailed, false),
    end(IN_GOOD_ORDER, &[], When::LivenessKill, Reason::LivenessFailed, false),
    End { codes: &[0, 143, 137], reasons: &[], when: When::Asked, cause: None },
    end(&[159], &[], When::Always, Reason::SeccompKill, true),
    end(&[137], &[], When::Limited, Reason::OutOfMemory, false),
    end(&[132], &[], When::Always, Reason::IllegalInstruction, false),
    end(&[0], &[], When::Always, Reason::Completed, false),
];
