//! Whether the image has the shape of what runs: who it runs as, how it starts, what it opens, how large it is. A trojan with
//! perfect papers often looks different. Told in words; advisory unless somebody asks for more.

use std::collections::BTreeSet;

use crate::evidence::Shape;
use crate::gate::{Layer, SILENCE, Subject, Verdict, Word};
use crate::reason::Reason;
use crate::text;
use crate::trust::{Demand, Effective, Origin};

/// From this factor on a change of size is told.
const SIZE_FACTOR: u64 = 2;

/// What is different, and how much it weighs in decibans of the trust ledger, times ten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// In words.
    pub words: String,
    /// Negative: towards bad. Zero: told only.
    pub weight: i32,
}

/// What is different from what runs.
#[must_use]
pub fn differences(running: &Shape, candidate: &Shape) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut add = |weight: i32, words: String| found.push(Difference { words, weight });
    if running.user != candidate.user {
        let weight = if !is_root(&running.user) && is_root(&candidate.user) { -80 } else { 0 };
        add(weight, format!("USER {} -> {}", user(&running.user), user(&candidate.user)));
    }
    for (name, before, after) in [
        ("ENTRYPOINT", &running.entrypoint, &candidate.entrypoint),
        ("CMD", &running.command, &candidate.command),
    ] {
        if before != after {
            add(-50, format!("{name} {} -> {}", started(before), started(after)));
        }
    }
    for (name, before, after) in [
        ("port", &running.ports, &candidate.ports),
        ("volume", &running.volumes, &candidate.volumes),
        ("environment", &running.environment, &candidate.environment),
    ] {
        let news = listed(after, before);
        if !news.is_empty() {
            add(0, format!("new {name} {news}"));
        }
    }
    let larger = running.size_bytes.saturating_mul(SIZE_FACTOR) <= candidate.size_bytes;
    let smaller = candidate.size_bytes.saturating_mul(SIZE_FACTOR) <= running.size_bytes;
    if 0 < running.size_bytes && 0 < candidate.size_bytes && (larger || smaller) {
        let weight = if larger { -30 } else { 0 };
        add(weight, format!("size {} -> {}", mebibytes(running.size_bytes), mebibytes(candidate.size_bytes)));
    }
    if let (Some(before), Some(after)) = (running.created, candidate.created)
        && after < before
    {
        add(0, format!("created {}, before what runs ({})", text::instant(after), text::instant(before)));
    }
    found
}

/// Whether the lowest layer is another one: the usual sign of a patched base image, told and no drift.
fn other_base(running: &Shape, candidate: &Shape) -> bool {
    match (running.layers.first(), candidate.layers.first()) {
        (Some(before), Some(after)) => before != after,
        (None, _) | (_, None) => false,
    }
}

/// `None` where it is off.
pub fn judge(subject: &Subject<'_>, effective: &Effective<'_>) -> Option<Verdict> {
    let demand = effective.demand(Layer::Drift);
    if demand == Demand::Off || subject.running.is_none() {
        return None;
    }
    let expected = "the shape of what runs";
    let (Some(running), Some(candidate)) = (subject.running_shape, subject.shape) else {
        let observed = match (subject.running_shape, subject.shape) {
            (None, Some(_)) => "that the config of what runs could not be read",
            (Some(_), None) => "that the config of the candidate could not be read",
            (None, None) | (Some(_), Some(_)) => "that neither config could be read",
        };
        let unread = Verdict::new(Word::Unknown, Reason::DriftUnknown, expected, observed);
        return Some(unread.hint(SILENCE).demanded(demand));
    };
    let differences = differences(running, candidate);
    let base = if other_base(running, candidate) { "other base layers" } else { "no difference" };
    if differences.is_empty() {
        return Some(Verdict::new(Word::Pass, Reason::NoDrift, expected, base));
    }
    let words: Vec<&str> = differences.iter().map(|difference| difference.words.as_str()).collect();
    let observed = text::clean(&words.join("; "), 200);
    let drift = Verdict::new(Word::Fail, Reason::ConfigDrift, expected, observed);
    Some(drift.hint(meant(effective)).demanded(demand))
}

/// Who can let a change through that is meant: the policy's author where nobody else asks, else the security team.
fn meant(effective: &Effective<'_>) -> &'static str {
    let mut asking =
        effective.decisions.iter().filter(|decision| decision.demand(Layer::Drift) == Demand::Required);
    if asking.all(|decision| decision.origin == Origin::UpdatePolicy) {
        "Compare the two images; where the change is meant, set `verification.layers.drift: Advisory`."
    } else {
        "Compare the two images; where the change is meant, a VerificationException for layer Drift lets it through."
    }
}

fn is_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or(user);
    name.is_empty() || name == "root" || name.parse::<u64>() == Ok(0)
}

fn user(user: &str) -> String {
    if user.is_empty() { "root".to_owned() } else { text::clean(user, 40) }
}

fn started(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { text::clean(&words.join(" "), 60) }
}

fn listed(after: &BTreeSet<String>, before: &BTreeSet<String>) -> String {
    let news: Vec<&str> = after.difference(before).map(String::as_str).collect();
    text::clean(&news.join(", "), 80)
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.checked_div(1 << 20).unwrap_or_default())
}
