//! What Kubernetes shows of a cause of failure, kept as a file: what is decisive in it, and what is normalised.
//!
//! The causes and the trial that makes them: `tests/recorded.rs`. Who reads the files: the controller's own test
//! `operator/controller/tests/recorded.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Serialize as _;
use serde_json::{Map, Value, json};

/// What must be seen of a cause before it is kept. Its words are those that the classifier reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// A container waits for this reason.
    Waiting(&'static str),
    /// A container crashed twice, or once and waits for its next start.
    Crashed,
    /// A container ended and was started again, and an Event with this reason says so.
    Ended(&'static str),
    /// The kubelet refused the pod, or ended it.
    Refused,
    /// The scheduler finds no node.
    Unscheduled,
    /// The pod is taken away.
    Disrupted,
    /// An Event with this reason and this text.
    Told(&'static str, &'static str),
    /// A ReplicaSet's pod cannot be created, by its condition; of other kinds by the Event `FailedCreate`.
    Denied,
    /// The apiserver's own answer.
    Answered,
}

impl Until {
    /// The decisive words of what was seen; nothing before they are there.
    pub fn words(self, seen: &Value) -> Option<String> {
        let told = |reason: &str, part: &str| {
            let mut events = list(&seen["events"]);
            events.find(|event| event["reason"] == reason && text(&event["message"]).contains(part))
        };
        let pod = &seen["pod"];
        match self {
            Until::Waiting(reason) => {
                let waiting = containers(pod).find(|one| one["state"]["waiting"]["reason"] == reason)?;
                Some(format!("{reason}: {}", text(&waiting["state"]["waiting"]["message"])))
            }
            Until::Crashed => {
                // Between two starts the kubelet shows a back-off or, for as long, the end alone.
                let ended = |one: &&Value| {
                    let state = &one["state"];
                    state["waiting"]["reason"] == "CrashLoopBackOff" || state["terminated"].is_object()
                };
                containers(pod).filter(ended).find_map(last_end)
            }
            Until::Ended(reason) => {
                told(reason, "")?;
                containers(pod).find_map(last_end)
            }
            Until::Refused => {
                let reason =
                    pod["status"]["reason"].as_str().filter(|_| pod["status"]["phase"] == "Failed")?;
                Some(format!("{reason}: {}", text(&pod["status"]["message"])))
            }
            Until::Unscheduled => {
                condition(pod, "PodScheduled", "False").map(|one| text(&one["message"]).to_owned())
            }
            Until::Disrupted => {
                let found = condition(pod, "DisruptionTarget", "True")?;
                Some(format!("{}: {}", text(&found["reason"]), text(&found["message"])))
            }
            Until::Told(reason, part) => Some(format!("{reason}: {}", text(&told(reason, part)?["message"]))),
            Until::Denied if seen["replicaSet"].is_object() => {
                let failure = condition(&seen["replicaSet"], "ReplicaFailure", "True")?;
                Some(text(&failure["message"]).to_owned())
            }
            Until::Denied => Some(text(&told("FailedCreate", "")?["message"]).to_owned()),
            Until::Answered => seen["answer"]["message"].as_str().map(str::to_owned),
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(&pod["status"]["initContainerStatuses"]).chain(list(&pod["status"]["containerStatuses"]))
}

fn condition<'a>(object: &'a Value, kind: &str, status: &str) -> Option<&'a Value> {
    list(&object["status"]["conditions"]).find(|one| one["type"] == kind && one["status"] == status)
}

fn last_end(container: &Value) -> Option<String> {
    let end = container["lastState"]["terminated"].as_object()?;
    let field = |name: &str| end.get(name).map(text).unwrap_or_default();
    Some(format!("exit code {}, {}: {}", end["exitCode"], field("reason"), field("message")))
}

/// The folder of the committed files.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../operator/controller/tests/recorded")
}

/// Compares what was seen with the file of its name, or writes it where `into` names a folder.
pub fn check(name: &str, until: Until, seen: &Value, into: Option<&Path>) -> anyhow::Result<()> {
    if let Some(folder) = into {
        let mut written = Vec::new();
        let narrow = serde_json::ser::PrettyFormatter::with_indent(b" ");
        seen.serialize(&mut serde_json::Serializer::with_formatter(&mut written, narrow))?;
        written.push(b'\n');
        return std::fs::write(folder.join(format!("{name}.json")), written).context("a fixture");
    }
    let file = folder().join(format!("{name}.json"));
    let anew = "Record anew: ROLLFORWARD_RECORD=operator/controller/tests/recorded cargo test -p e2e --test recorded";
    let kept = std::fs::read(&file).with_context(|| format!("no fixture {}. {anew}", file.display()))?;
    let kept: Value = serde_json::from_slice(&kept)?;
    // What preemption could not do either depends on which pods there are at that moment.
    let decisive = |object: &Value| -> Option<String> {
        until.words(object).map(|words| words.split(" preemption: ").next().unwrap_or_default().to_owned())
    };
    let (expected, observed) = (decisive(&kept), decisive(seen));
    ensure!(
        expected == observed,
        "Kubernetes says something else of {name}: expected {}, observed {}. {anew}, then read the difference and mend the rows that no longer fit",
        expected.unwrap_or_default(),
        observed.unwrap_or_default()
    );
    Ok(())
}

/// Fields that say nothing of a cause and would only make the files long.
const LEFT_OUT: &[&str] = &[
    "managedFields",
    "resourceVersion",
    "generation",
    "observedGeneration",
    "selfLink",
    "tolerations",
    "dnsPolicy",
    "enableServiceLinks",
    "preemptionPolicy",
    "schedulerName",
    "terminationMessagePath",
    "serviceAccount",
    "automountServiceAccountToken",
    "hostIP",
    "hostIPs",
    "podIPs",
    "allocatedResources",
    "user",
    "volumeMounts",
    "source",
    "reportingComponent",
    "reportingInstance",
    "deprecatedSource",
    "series",
    "lastProbeTime",
    "startTime",
    "qosClass",
    "priority",
];

/// Conditions of a pod that others imply.
const IMPLIED: &[&str] = &["Initialized", "PodReadyToStartContainers", "ContainersReady"];

/// What stands for a value that differs from run to run.
#[derive(Debug, Clone, Default)]
pub struct Normal {
    /// Texts and what stands for them, applied in order.
    pub texts: Vec<(String, String)>,
}

impl Normal {
    /// What was seen, without what differs from run to run: see the head of the trial.
    pub fn of(&self, seen: &Value) -> Value {
        self.value(seen, &mut BTreeMap::new())
    }

    fn value(&self, value: &Value, known: &mut BTreeMap<String, String>) -> Value {
        match value {
            Value::String(text) => json!(self.text(text, known)),
            Value::Array(items) => {
                let kept = items
                    .iter()
                    .filter(|one| !one["type"].as_str().is_some_and(|kind| IMPLIED.contains(&kind)));
                Value::Array(kept.map(|one| self.value(one, known)).collect())
            }
            Value::Object(fields) => {
                let kept = fields.iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()));
                // An empty one is a default, and how often a container was started depends on when one looks.
                let kept = kept.filter(|(_, one)| **one != json!({}) && !one.is_null());
                let kept = kept.map(|(name, one)| match one.as_i64() {
                    Some(times) if name == "restartCount" => (name.clone(), json!(times.min(1))),
                    _ => (name.clone(), self.value(one, known)),
                });
                Value::Object(kept.collect::<Map<_, _>>())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn text(&self, text: &str, known: &mut BTreeMap<String, String>) -> String {
        let text = self.texts.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        let (mut out, mut rest) = (String::new(), text.as_str());
        while let Some(first) = rest.chars().next() {
            let begins = out.chars().next_back().is_none_or(|last| !last.is_ascii_alphanumeric());
            match if begins { shape(rest) } else { None } {
                Some((length, Shape::Hash)) => {
                    // Only digests are told apart; how many containers there were depends on when one looks.
                    let next = if out.ends_with("sha256:") { known.len() % 15 + 1 } else { 0 };
                    let stands = format!("{next:x}").repeat(64);
                    out += match next {
                        0 => &stands,
                        _ => known.entry(rest[..length].to_owned()).or_insert(stands),
                    };
                    rest = &rest[length..];
                }
                Some((length, Shape::Other(stands))) => {
                    out += stands;
                    rest = &rest[length..];
                }
                None => {
                    out.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        out
    }
}

enum Shape {
    /// 64 digits.
    Hash,
    Other(&'static str),
}

/// What a text begins with, if that differs from run to run, and how long it is.
fn shape(text: &str) -> Option<(usize, Shape)> {
    let run = |also: &str| {
        let ends = |one: char| !one.is_ascii_hexdigit() && !also.contains(one);
        text.find(ends).unwrap_or(text.len())
    };
    if run("") == 64 {
        return Some((64, Shape::Hash));
    }
    if run("-") == 36 && text[..36].matches('-').count() == 4 {
        return Some((36, Shape::Other("00000000-0000-0000-0000-000000000000")));
    }
    let digits = text.find(|one: char| !one.is_ascii_digit() && !"-T:.Z".contains(one)).unwrap_or(text.len());
    if 20 <= digits && text.as_bytes()[10] == b'T' && text[..digits].ends_with('Z') {
        return Some((digits, Shape::Other("2026-01-01T00:00:00Z")));
    }
    // A pod's address, once the cluster's number is normalised.
    if text.starts_with("10.100.") {
        let length = text.find(|one: char| !one.is_ascii_digit() && one != '.').unwrap_or(text.len());
        return Some((length, Shape::Other("10.100.1.7")));
    }
    if text.starts_with("back-off ") {
        let length = text.find(" restarting").unwrap_or(text.len());
        return Some((length, Shape::Other("back-off 10s")));
    }
    // Names and numbers that are the runtime's or the machine's own.
    for (begin, stands) in [
        ("thread-self/fd/", "thread-self/fd/7"),
        ("extract-", "extract-1"),
        ("containerd-mount", "containerd-mount1"),
        ("used: ", "used: 1"),
        ("capacity: ", "capacity: 4000"),
    ] {
        if let Some(own) =
            text.strip_prefix(begin).filter(|own| own.starts_with(|one: char| one.is_ascii_digit()))
        {
            let ends = |one: char| !one.is_ascii_alphanumeric() && one != '-' && one != '_';
            return Some((begin.len() + own.find(ends).unwrap_or(own.len()), Shape::Other(stands)));
        }
    }
    // The port from which somebody calls.
    let port = text.find(|one: char| !one.is_ascii_digit()).unwrap_or(0);
    (4..=5).contains(&port).then_some(())?;
    text[port..].starts_with("->").then_some((port, Shape::Other("40000")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_replaced_and_what_is_equal_stays_equal() {
        let texts = vec![("172.30.107.1:41133".to_owned(), "172.30.100.1:5000".to_owned())];
        let normal = Normal { texts };
        let (one, other) = ("a".repeat(64), "b".repeat(64));
        let seen = json!({
            "metadata": {"uid": "0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f", "managedFields": [1]},
            "text": format!("172.30.107.1:41133/web@sha256:{one}: got sha256:{other}, not sha256:{one}"),
            "at": "2026-11-25T20:12:41Z", "event": "2026-11-25T20:12:41.123456Z",
            "container": format!("containerd://{one}"), "words": "read tcp 10.0.0.1:45678->10.0.0.2:5000: deadbeef 5000m",
        });
        let (first, second) = ("1".repeat(64), "2".repeat(64));
        let expected = json!({
            "metadata": {"uid": "00000000-0000-0000-0000-000000000000"},
            "text": format!("172.30.100.1:5000/web@sha256:{first}: got sha256:{second}, not sha256:{first}"),
            "at": "2026-01-01T00:00:00Z", "event": "2026-01-01T00:00:00Z",
            "container": format!("containerd://{}", "0".repeat(64)), "words": "read tcp 10.0.0.1:40000->10.0.0.2:5000: deadbeef 5000m",
        });
        assert_eq!(normal.of(&seen), expected);
    }

    #[test]
    fn words_are_there_once_the_state_is_decisive() {
        let waits = json!({"pod": {"status": {"containerStatuses": [
            {"state": {"waiting": {"reason": "CrashLoopBackOff"}},
             "lastState": {"terminated": {"exitCode": 78, "reason": "Error"}}}]}}});
        assert_eq!(Until::Crashed.words(&waits).as_deref(), Some("exit code 78, Error: "));
        let again = json!({"pod": {"status": {"containerStatuses": [
            {"state": {"terminated": {"exitCode": 78}}, "lastState": {"terminated": {"exitCode": 78, "reason": "Error"}}}]}}});
        assert_eq!(Until::Crashed.words(&again), Until::Crashed.words(&waits));
        let first =
            json!({"pod": {"status": {"containerStatuses": [{"state": {"terminated": {"exitCode": 78}}}]}}});
        assert_eq!(Until::Crashed.words(&first), None);
        assert_eq!(Until::Ended("Killing").words(&waits), None, "the Event is not there yet");
        assert_eq!(Until::Waiting("ErrImagePull").words(&waits), None);
    }
}
