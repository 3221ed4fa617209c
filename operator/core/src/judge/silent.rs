//! The five security blocks that leave no trace in the API: a read-only root, a dropped capability, a forbidden system call,
//! a file rule, a network policy. Inferred from the program's last words and what its pod may really not do.
//!
//! Words alone claim nothing: `Read-only file system` counts only where the root is read-only. How sure that is, `likely`
//! where the old pods live under the same settings or `possible`, is added by `judge.rs`, which knows them.

use crate::reason::Reason;
use crate::text;
use crate::workload::{ContainerStatus, LastWords, Pod, Termination};

/// One kind of last words, and the setting that would explain them.
struct Symptom {
    /// Any of these, in lower case.
    texts: &'static [&'static str],
    /// And, where there are any, one of these.
    about: &'static [&'static str],
    reason: Reason,
    setting: fn(&Pod, &ContainerStatus) -> Option<String>,
}

/// What needs a capability, by the words that programs use for it.
const PRIVILEGED: &[&str] = &[
    "chown",
    "setuid",
    "setgid",
    "setgroups",
    "setpcap",
    "initgroups",
    "raw socket",
    "mknod",
    "chroot",
    "sethostname",
    "settimeofday",
    "mlock",
    "nice",
    "iptables",
    "netlink",
    "capset",
];

/// The table; the first that matches wins. What is said more exactly stands first.
const SYMPTOMS: &[Symptom] = &[
    Symptom {
        texts: &["read-only file system", "erofs", "read only file system"],
        about: &[],
        reason: Reason::ReadOnlyRootBlocked,
        setting: read_only_root,
    },
    Symptom {
        texts: &["permission denied", "eacces"],
        about: &["bind", "listen"],
        reason: Reason::CapabilityBlocked,
        setting: low_port,
    },
    Symptom {
        texts: &["operation not permitted", "eperm"],
        about: PRIVILEGED,
        reason: Reason::CapabilityBlocked,
        setting: dropped,
    },
    Symptom {
        texts: &["operation not permitted", "eperm", "bad system call", "function not implemented", "enosys"],
        about: &[],
        reason: Reason::SyscallBlocked,
        setting: seccomp,
    },
    Symptom {
        texts: &["operation not permitted", "eperm"],
        about: &[],
        reason: Reason::CapabilityBlocked,
        setting: dropped,
    },
    Symptom {
        texts: &["permission denied", "eacces"],
        about: &[],
        reason: Reason::FileAccessBlocked,
        setting: files,
    },
    Symptom {
        texts: &[
            "i/o timeout",
            "connection refused",
            "econnrefused",
            "no route to host",
            "ehostunreach",
            "network is unreachable",
            "connection timed out",
            "etimedout",
            "no such host",
            "temporary failure in name resolution",
            "eai_again",
            "name or service not known",
        ],
        about: &[],
        reason: Reason::EgressBlocked,
        setting: egress,
    },
];

fn read_only_root(_: &Pod, container: &ContainerStatus) -> Option<String> {
    container.restrictions.read_only_root.then(|| "readOnlyRootFilesystem: true".to_owned())
}

fn low_port(_: &Pod, container: &ContainerStatus) -> Option<String> {
    let own = &container.restrictions;
    let kept = own.added.iter().any(|name| name == "NET_BIND_SERVICE" || name == "ALL");
    let gone = own.dropped.iter().any(|name| name == "NET_BIND_SERVICE" || name == "ALL");
    match (kept, gone, own.user) {
        (true, _, _) => None,
        (false, true, _) => Some("capability NET_BIND_SERVICE dropped".to_owned()),
        (false, false, user) => user.map(|user| format!("runAsUser: {user} without NET_BIND_SERVICE")),
    }
}

fn dropped(_: &Pod, container: &ContainerStatus) -> Option<String> {
    let names = &container.restrictions.dropped;
    (!names.is_empty()).then(|| format!("capabilities dropped: {}", text::clean(&names.join(", "), 60)))
}

fn seccomp(_: &Pod, container: &ContainerStatus) -> Option<String> {
    let profile = container.restrictions.seccomp.as_ref()?;
    Some(format!("seccomp profile {}", text::clean(profile, 60)))
}

fn files(_: &Pod, container: &ContainerStatus) -> Option<String> {
    let own = &container.restrictions;
    let profile = own.apparmor.as_ref().map(|name| format!("AppArmor profile {}", text::clean(name, 60)));
    profile.or_else(|| own.user.map(|user| format!("runAsUser: {user}")))
}

fn egress(pod: &Pod, _: &ContainerStatus) -> Option<String> {
    let names = &pod.egress_policies;
    let words = if names.len() == 1 { "NetworkPolicy" } else { "NetworkPolicies" };
    (!names.is_empty()).then(|| format!("egress by {words} {}", text::clean(&names.join(", "), 80)))
}

/// The last words of a container that ended: its termination message, or the end of its log where that was read.
#[must_use]
pub fn last_words<'a>(container: &'a ContainerStatus, ended: &'a Termination) -> Option<&'a str> {
    let told = Some(ended.message.as_str()).filter(|message| !message.trim().is_empty());
    told.or(match &container.last_words {
        LastWords::Known(words) => Some(words.as_str()).filter(|words| !words.trim().is_empty()),
        LastWords::NotAsked | LastWords::Unknown(_) => None,
    })
}

/// The line that says most: the last one that names an error, else the last one.
#[must_use]
pub fn decisive_line(words: &str) -> &str {
    let lines = || words.lines().map(str::trim).filter(|line| !line.is_empty());
    let known = |line: &&str| {
        let line = line.to_lowercase();
        SYMPTOMS.iter().any(|symptom| symptom.texts.iter().any(|text| line.contains(text)))
    };
    let named = |line: &&str| {
        let line = line.to_lowercase();
        ["error", "fatal", "panic", "failed", "exception", "denied"].iter().any(|word| line.contains(word))
    };
    lines().rfind(known).or_else(|| lines().rfind(named)).or_else(|| lines().next_back()).unwrap_or("")
}

/// The setting of the pod that the last words speak of, as (code, words); `None` where nothing of the pod explains them.
#[must_use]
pub fn suspect(pod: &Pod, container: &ContainerStatus, ended: &Termination) -> Option<(Reason, String)> {
    if ended.exit_code == 0 {
        return None;
    }
    let line = decisive_line(last_words(container, ended)?);
    let lower = line.to_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
    SYMPTOMS.iter().filter(|symptom| has(symptom.texts)).find_map(|symptom| {
        let fits = symptom.about.is_empty() || has(symptom.about);
        let setting = fits.then(|| (symptom.setting)(pod, container)).flatten()?;
        Some((
            symptom.reason,
            format!(
                "exit code {}, \"{}\", and the pod has {setting}",
                ended.exit_code,
                text::clean(line, 100)
            ),
        ))
    })
}
