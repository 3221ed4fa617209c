//! Pods → judgement: Pass, Fail, Waiting or Unknown, with the cause named at its first sign.
//!
//! Only a Fail rolls back. A crash is decided at the third one, or at the second pod; a cause that a second try cannot
//! change at once; the environment's faults and probes only at the deadline. What a pod shows: `judge/classify.rs`; whose
//! fault it is: `judge/attribute.rs`; a cause in words: `judge/words.rs`.

pub mod attribute;
pub mod classify;
pub mod jobs;
pub mod signals;
pub mod silent;
pub mod statistics;
mod words;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

pub use classify::{Blame, Finding};
pub use words::stable_health;
use words::{at_deadline, cause};

use crate::policy::{Analysis, OnInsufficientData};
use crate::reason::Reason;
use crate::text;
use crate::workload::{ContainerState, Pod};

use attribute::Habit;
use signals::{SignalVerdict, Together};

/// How many crashes of one container decide.
///
/// 3: the kubelet restarts at once after the first crash, so the second is the same incident; the third comes 12 to 15 s
/// after the start of an instant crasher.
const DECISIVE_CRASHES: u32 = 3;
/// How many pods of the new template a kubelet refuses before that is an answer: the native controller makes the next one at
/// once, and would for ever.
const REFUSED_PODS: usize = 3;
/// How many crashes decide although an old pod had trouble too, where that was fewer than a fifth of the old pods.
const CERTAIN_CRASHES: u32 = 6;
/// How long a missing image is given: registries replicate and garbage-collect.
const PULL_GRACE: SignedDuration = SignedDuration::from_secs(60);
/// How long a pod may run without being Ready before that is worth a word: programs need seconds to start.
const START_GRACE: SignedDuration = SignedDuration::from_secs(10);

/// The pods of a step, as they are judged.
#[derive(Debug, Clone)]
pub struct Observation<'a> {
    /// The pods of the new template.
    pub canary: &'a [Pod],
    /// All others.
    pub stable: &'a [Pod],
    /// The containers whose image was changed.
    pub judged: &'a BTreeSet<String>,
    /// Why pods of the new template could not be created.
    pub create_failure: Option<&'a str>,
    /// Why the pods could not be read: then nothing is known of them.
    pub unreadable: Option<&'a str>,
    /// What the old pods showed before the first write, where they were failing.
    pub baseline: Option<&'a str>,
    /// What is measured beside the pods, and what it says now.
    pub signals: Option<(&'a Analysis, &'a [SignalVerdict])>,
    /// How many new pods are wanted.
    pub expected: u32,
    /// When the step was written.
    pub watched_since: Option<Timestamp>,
    /// How long the new pods must stay Ready.
    pub bake: SignedDuration,
    /// When it is decided all the same.
    pub deadline: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// What the new pods were found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a judgement that nobody reads lets a bad image through"]
pub enum Judgement {
    /// They stayed Ready for the bake time.
    Pass {
        /// How long they were watched.
        watched: SignedDuration,
        /// How many.
        ready: u32,
    },
    /// They failed.
    Fail(Cause),
    /// Too little is known yet.
    Waiting {
        /// When time alone can change the answer.
        until: Timestamp,
        /// How many are Ready.
        ready: u32,
        /// The cause that shows, before it is decided.
        suspicion: Option<Cause>,
    },
    /// They cannot be judged.
    Unknown {
        /// Why.
        reason: Reason,
        /// What was observed.
        message: String,
    },
}

/// Why the new pods failed, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The code.
    pub reason: Reason,
    /// What was observed: "3 crashes in 14s, exit code 78".
    pub sentence: String,
    /// What was expected: "the canary to stay up 10m".
    pub expected: String,
    /// Whose fault it is.
    pub blame: Blame,
    /// Whether a second try cannot end otherwise.
    pub deterministic: bool,
    /// Equal for equal failures.
    pub signature: String,
    /// The pods that showed it.
    pub pods: Vec<String>,
    /// Their nodes.
    pub nodes: Vec<String>,
    /// Whose fault it is, as a sentence with what the old pods showed.
    pub judged: String,
    /// Whether only the deadline decided.
    pub at_deadline: bool,
}

/// Judges the new pods against the old ones.
pub fn judge(observation: &Observation<'_>) -> Judgement {
    if let Some(why) = observation.unreadable {
        // A broken meter never rolls back.
        return Judgement::Unknown { reason: Reason::PodsUnreadable, message: text::clean(why, 200) };
    }
    let live: Vec<&Pod> = observation.canary.iter().filter(|pod| !pod.deleting).collect();
    let standing: Vec<&Pod> = live.iter().copied().filter(|pod| !is_over(pod)).collect();
    // A pod that was refused or evicted stays in the list after the next one took its place.
    let replaced = usize::try_from(observation.expected).is_ok_and(|wanted| wanted <= standing.len());
    let findings: Vec<Finding> = live
        .iter()
        .filter(|pod| !is_over(pod) || !replaced)
        .filter_map(|pod| Some((pod, classify::classify_pod(pod, observation.judged)?)))
        .filter(|(pod, finding)| finding.reason != Reason::NotReady || !starts(observation, pod))
        .map(|(_, finding)| finding)
        .chain(observation.create_failure.map(classify::classify_create_failure))
        .collect();
    let ready = standing.iter().filter(|pod| pod.ready_since.is_some()).count();
    let ready = u32::try_from(ready).unwrap_or(u32::MAX);
    if let Some(cause) = decided(observation, &live, &findings) {
        return Judgement::Fail(cause);
    }
    let suspicion = findings
        .iter()
        .max_by_key(|finding| finding.crashes)
        .map(|finding| cause(observation, &live, &findings, finding));
    if let Some(measured) = measured(observation, &standing, ready) {
        return measured;
    }
    match baked(observation, &standing) {
        Some(watched) if observation.bake <= watched => Judgement::Pass { watched: observation.bake, ready },
        _ if observation.deadline <= observation.now => {
            let cause = suspicion.unwrap_or_else(|| at_deadline(observation, &standing, ready));
            Judgement::Fail(Cause { at_deadline: true, ..cause })
        }
        Some(_) => Judgement::Waiting { until: bake_end(observation, &standing), ready, suspicion },
        None => Judgement::Waiting { until: observation.deadline, ready, suspicion },
    }
}

/// What the signals decide; `None` where they leave it to the pods.
fn measured(observation: &Observation<'_>, standing: &[&Pod], ready: u32) -> Option<Judgement> {
    let (analysis, verdicts) = observation.signals?;
    let over = observation.deadline <= observation.now;
    let fine = baked(observation, standing).is_some_and(|watched| observation.bake <= watched);
    let told = |verdict: &SignalVerdict| format!("signal {}: {}", verdict.name, verdict.words);
    let because = |verdict: &SignalVerdict, reason, blame| Cause {
        reason,
        sentence: told(verdict),
        expected: format!("signal {} within its limits", verdict.name),
        blame,
        deterministic: false,
        signature: format!("{reason} {}", verdict.name),
        pods: Vec::new(),
        nodes: Vec::new(),
        judged: match blame {
            Blame::Image => "The image is at fault by what was measured of its pods.".to_owned(),
            Blame::Environment => "Nothing is held against the image.".to_owned(),
        },
        at_deadline: over,
    };
    match signals::together(analysis, verdicts, observation.now) {
        Together::Fail(verdict) => {
            Some(Judgement::Fail(because(verdict, Reason::SignalExceeded, Blame::Image)))
        }
        Together::Doubtful(verdict) => Some(Judgement::Waiting {
            until: observation.now.checked_add(signals::EXCEEDED_FOR).unwrap_or(observation.deadline),
            ready,
            suspicion: Some(because(verdict, Reason::SignalExceeded, Blame::Image)),
        }),
        // The pods may still fail, or need more time: they speak first.
        Together::Unknown(_) | Together::Waiting(_) if !fine => None,
        Together::Unknown(verdict) => Some(Judgement::Unknown {
            reason: Reason::MetricsUnavailable,
            message: format!("{}, since {}", told(verdict), text::instant_seconds(verdict.since)),
        }),
        Together::Waiting(verdict) => match (over, analysis.on_insufficient) {
            (false, _) => Some(Judgement::Waiting {
                until: observation.deadline,
                ready,
                suspicion: Some(because(verdict, Reason::InsufficientData, Blame::Environment)),
            }),
            (true, OnInsufficientData::Promote) => None,
            (true, OnInsufficientData::Hold) => {
                Some(Judgement::Unknown { reason: Reason::InsufficientData, message: told(verdict) })
            }
            (true, OnInsufficientData::RollBack) => {
                Some(Judgement::Fail(because(verdict, Reason::InsufficientData, Blame::Environment)))
            }
        },
        Together::Pass => None,
    }
}

/// A pod that will not run again: refused, evicted, or ended.
fn is_over(pod: &Pod) -> bool {
    ["Failed", "Succeeded"].contains(&pod.phase.as_str())
}

/// Whether a pod is so young that not being Ready says nothing.
fn starts(observation: &Observation<'_>, pod: &Pod) -> bool {
    observation.now < observation.deadline && observation.now.duration_since(pod.created_at) < START_GRACE
}

/// The cause that is decided before the deadline, where there is one.
fn decided(observation: &Observation<'_>, live: &[&Pod], findings: &[Finding]) -> Option<Cause> {
    if let Some(refused) = refused_again_and_again(observation, live) {
        return Some(cause(observation, live, std::slice::from_ref(&refused), &refused));
    }
    let finding = findings.iter().filter(|finding| finding.blame == Blame::Image).find(|finding| {
        let both =
            attribute::old_pods_fail_too(finding, observation.stable, observation.judged, observation.now);
        if both && observation.baseline.is_none() {
            return false;
        }
        finding.deterministic
            || (crashed_enough(finding, findings)
                && comparable(observation, finding)
                && habit(observation, live, findings, finding) == Habit::Unusual)
            || missing_for_long(observation, live, finding)
    })?;
    Some(cause(observation, live, findings, finding))
}

/// Whether a crash of the new pods says something: the old ones are calm, or were failing before the run began, or have so
/// much less trouble that it cannot be theirs.
fn comparable(observation: &Observation<'_>, finding: &Finding) -> bool {
    let Some((troubled, _)) = attribute::unrest(observation.stable, observation.now) else {
        return true;
    };
    let few = troubled.saturating_mul(5) < observation.stable.len();
    observation.baseline.is_some() || (CERTAIN_CRASHES <= finding.crashes && few)
}

/// What the old pods' own crashes say of these.
fn habit(observation: &Observation<'_>, live: &[&Pod], findings: &[Finding], finding: &Finding) -> Habit {
    if observation.baseline.is_some() {
        return Habit::Unusual;
    }
    let same = || findings.iter().filter(|other| other.reason == finding.reason);
    let crashes = same().map(|other| other.crashes).fold(0, u32::saturating_add);
    let watched = live
        .iter()
        .filter(|pod| same().any(|other| other.pod == pod.name))
        .map(|pod| observation.now.duration_since(pod.created_at))
        .fold(SignedDuration::ZERO, SignedDuration::saturating_add);
    attribute::habit(crashes, watched, observation.stable, observation.judged, observation.now)
}

/// The refusal of pod after pod by a kubelet, told once with its count.
fn refused_again_and_again(observation: &Observation<'_>, live: &[&Pod]) -> Option<Finding> {
    let refused: Vec<Finding> = live
        .iter()
        .filter(|pod| is_over(pod))
        .filter_map(|pod| classify::classify_pod(pod, observation.judged))
        .filter(|finding| finding.reason != Reason::Disrupted)
        .collect();
    let first = refused.first().filter(|_| REFUSED_PODS <= refused.len())?;
    let message = format!("{} new pods refused: {}", refused.len(), first.message);
    Some(Finding { message: text::clean(&message, 220), ..first.clone() })
}

fn crashed_enough(finding: &Finding, findings: &[Finding]) -> bool {
    let crash = 0 < finding.crashes && is_crash(finding.reason);
    let pods =
        findings.iter().filter(|other| other.reason == finding.reason && is_crash(other.reason)).count();
    crash && (DECISIVE_CRASHES <= finding.crashes || 2 <= pods)
}

fn is_crash(reason: Reason) -> bool {
    [
        Reason::CrashExit,
        Reason::CrashSignal,
        Reason::OutOfMemory,
        Reason::Completed,
        Reason::LivenessFailed,
        Reason::StartupProbeFailed,
        Reason::IllegalInstruction,
        Reason::StartFailed,
        Reason::SeccompKill,
    ]
    .contains(&reason)
        || is_silent_block(reason)
}

/// Whether a security setting of the pod is inferred to have stopped the program: there is no trace of it in the API.
fn is_silent_block(reason: Reason) -> bool {
    [
        Reason::ReadOnlyRootBlocked,
        Reason::CapabilityBlocked,
        Reason::SyscallBlocked,
        Reason::FileAccessBlocked,
        Reason::EgressBlocked,
    ]
    .contains(&reason)
}

fn missing_for_long(observation: &Observation<'_>, live: &[&Pod], finding: &Finding) -> bool {
    [Reason::PullNotFound, Reason::PullInvalid].contains(&finding.reason)
        && live
            .iter()
            .filter(|pod| pod.name == finding.pod)
            .any(|pod| PULL_GRACE <= observation.now.duration_since(pod.created_at))
}

/// Since when all wanted pods have been Ready together, as a duration; `None` while one is missing.
fn baked(observation: &Observation<'_>, live: &[&Pod]) -> Option<SignedDuration> {
    Some(observation.now.duration_since(ready_together_since(observation, live)?))
}

fn bake_end(observation: &Observation<'_>, live: &[&Pod]) -> Timestamp {
    ready_together_since(observation, live)
        .and_then(|since| since.checked_add(observation.bake).ok())
        .map_or(observation.deadline, |end| end.min(observation.deadline))
}

fn ready_together_since(observation: &Observation<'_>, live: &[&Pod]) -> Option<Timestamp> {
    let undisrupted: Vec<&&Pod> = live.iter().filter(|pod| pod.disruption.is_none()).collect();
    if u32::try_from(undisrupted.len()).unwrap_or(u32::MAX) < observation.expected || undisrupted.is_empty() {
        return None;
    }
    let flaps = attribute::old_pods_flap(observation.stable, observation.now);
    let up = |pod: &&&Pod| {
        let (ready, lives) = (pod.ready_since?, lives_since(pod, observation.judged));
        // Where the old pods lose and regain readiness too, that is how things are here: the program's life counts.
        Some(if flaps { lives.max(pod.created_at) } else { ready.max(lives) })
    };
    let since: Option<Vec<Timestamp>> = undisrupted.iter().map(up).collect();
    let last = since?.into_iter().max()?;
    Some(observation.watched_since.map_or(last, |watched| watched.max(last)))
}

/// Since when the judged containers have been in their present life. A kubelet that restarts a program at once may never
/// take Ready back in between: such a pod looks Ready for longer than its program runs.
fn lives_since(pod: &Pod, judged: &BTreeSet<String>) -> Timestamp {
    let own = pod.containers.iter().filter(|container| !container.init && judged.contains(&container.name));
    own.filter_map(|container| {
        let started = match &container.state {
            ContainerState::Running { started_at } => *started_at,
            ContainerState::Waiting { .. } | ContainerState::Terminated(_) => None,
        };
        started.max(container.last_end.as_ref().and_then(|ended| ended.finished_at))
    })
    .max()
    .unwrap_or(Timestamp::MIN)
}
