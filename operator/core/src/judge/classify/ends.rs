//! How a container's life ended, as a named cause: exit codes, signals, memory, and who asked for it.
//!
//! The rules are `ENDS` in `table.rs`; here are their words. A container that the kubelet was asked to stop has not crashed.

use super::table::{ENDS, End, Place, When, lookup};
use super::{Blame, Finding, crashes, decisive};
use crate::judge::silent;
use crate::reason::Reason;
use crate::text;
use crate::workload::{ContainerStatus, LastWords, Pod, Termination};

/// What the end of a container says; `None` where it says nothing.
pub(super) fn finding(pod: &Pod, container: &ContainerStatus, ended: &Termination) -> Option<Finding> {
    let code = ended.exit_code;
    let rule = ENDS.iter().find(|rule| matches(rule, pod, container, ended));
    let (reason, blame, certain) = match rule {
        Some(rule) => rule.cause?,
        None if signal(ended).is_some() => (Reason::CrashSignal, Blame::Image, false),
        None => (Reason::CrashExit, Blame::Image, false),
    };
    // The runtime's own words say more than that it could not start.
    let by_words = (reason == Reason::StartFailed).then(|| lookup(Place::Start, &ended.message)).flatten();
    let (reason, blame, certain) =
        by_words.map_or((reason, blame, certain), |rule| (rule.reason, rule.blame, rule.certain));
    // A shell or a launcher inside the image says the same of the binary that it cannot start.
    let foreign = (reason == Reason::CrashExit).then(|| foreign_binary(container, ended)).flatten();
    let (reason, blame, certain) =
        if foreign.is_some() { (Reason::PullPlatform, Blame::Image, true) } else { (reason, blame, certain) };
    // The program's own last words may name a setting of the pod that stopped it.
    let blocked = (reason == Reason::CrashExit).then(|| silent::suspect(pod, container, ended)).flatten();
    let blocked = foreign.map(|words| (reason, words)).or(blocked);
    let (reason, message) = blocked.unwrap_or_else(|| (reason, words(pod, container, ended, reason)));
    Some(Finding {
        reason,
        message: text::clean_ends(&message, 200),
        pod: pod.name.clone(),
        node: pod.node.clone(),
        blame,
        deterministic: certain,
        waits: false,
        signature: format!("{reason} {} {code}", container.name),
        crashes: if reason == Reason::Disrupted { 0 } else { crashes(container).max(1) },
        words: match silent::last_words(container, ended) {
            Some(words) => LastWords::Known(text::clean(silent::decisive_line(words), 100)),
            None => container.last_words.clone(),
        },
    })
}

/// The last word of an image whose binary is of another platform than it claims: of the runtime, of a shell or of a launcher.
/// Said earlier, and then something else, it was of another program.
fn foreign_binary(container: &ContainerStatus, ended: &Termination) -> Option<String> {
    let words = silent::last_words(container, ended)?;
    let line = words.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let lower = line.to_lowercase();
    let says = ["exec format error", "cannot execute binary file"].iter().any(|text| lower.contains(text));
    says.then(|| {
        format!(
            "exit code {}, and the program is of another platform than the image claims: \"{}\"",
            ended.exit_code,
            text::clean_ends(line, 120)
        )
    })
}

fn matches(rule: &End, pod: &Pod, container: &ContainerStatus, ended: &Termination) -> bool {
    let told = |reasons: &[&str], text: &str| {
        pod.warnings.iter().any(|(reason, message)| {
            reasons.contains(&reason.as_str()) && message.to_lowercase().contains(text)
        })
    };
    (rule.codes.is_empty() || rule.codes.contains(&ended.exit_code))
        && (rule.reasons.is_empty() || rule.reasons.contains(&ended.reason.as_str()))
        && match rule.when {
            When::Always => true,
            When::Limited => container.memory_limit.is_some(),
            When::Liveness => told(&["Unhealthy", "Killing"], "liveness probe"),
            When::Startup => told(&["Unhealthy", "Killing"], "startup probe"),
            When::LivenessKill => told(&["Killing"], "failed liveness probe"),
            When::StartupKill => told(&["Killing"], "failed startup probe"),
            When::Asked => {
                pod.deleting
                    || pod.disruption.is_some()
                    || told(&["Killing"], &format!("stopping container {}", container.name.to_lowercase()))
            }
        }
}

/// The signal that ended it, by the runtime or by the exit code.
fn signal(ended: &Termination) -> Option<i32> {
    let by_code = ended.exit_code.checked_sub(128);
    ended.signal.or(by_code).filter(|signal| (1..=64).contains(signal))
}

fn words(pod: &Pod, container: &ContainerStatus, ended: &Termination, reason: Reason) -> String {
    let code = ended.exit_code;
    let limit = container.memory_limit.as_ref();
    let probe = |kind: &str| {
        let said = |event: &str| {
            let all = &pod.warnings;
            let found = all.iter().find(|(reason, message)| reason == event && message.contains(kind));
            found.map(|(_, message)| message.clone())
        };
        said("Unhealthy").or_else(|| said("Killing")).unwrap_or_else(|| format!("{kind} failed"))
    };
    if reason == Reason::OutOfMemory {
        let limit = limit.map_or(String::new(), |limit| format!(", memory limit {limit}"));
        let probably = if ended.reason == "OOMKilled" { "" } else { "by SIGKILL, probably " };
        return format!("killed {probably}for memory{limit}");
    }
    if reason == Reason::LivenessFailed {
        return probe("iveness probe");
    }
    if reason == Reason::StartupProbeFailed {
        return probe("tartup probe");
    }
    if reason == Reason::SeccompKill {
        return "ended by SIGSYS: a system call that the profile forbids".to_owned();
    }
    if reason == Reason::IllegalInstruction {
        let node = pod.node.as_deref().map_or("the node's".to_owned(), |node| format!("{node}'s"));
        return format!("ended by SIGILL: an instruction that {node} CPU does not know");
    }
    if reason == Reason::Disrupted {
        return format!("{}: the node lost sight of the container", ended.reason);
    }
    if matches!(ended.reason.as_str(), "StartError" | "ContainerCannotRun") {
        return decisive(&ended.message).to_owned();
    }
    if let Some(signal) = signal(ended) {
        return format!("ended by {}", signal_name(signal));
    }
    match code {
        0 => "ended with exit code 0".to_owned(),
        126 => "exit code 126: a shell may not execute the command".to_owned(),
        127 => "exit code 127: a shell did not find the command".to_owned(),
        _ => format!("exit code {code}"),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
