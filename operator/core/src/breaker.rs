//! Many at once: what other runs show of a digest and of the cluster before one more is started.
//!
//! A digest is tried on one workload until it has succeeded somewhere. Failures that the environment is to blame for, or one
//! failure on workloads with different digests, are an incident: nothing is started until they are long enough ago.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::decide::{Hold, Standing};
use crate::image::Digest;
use crate::policy::{Facts, Track};
use crate::reason::Reason;
use crate::text;

/// When failures are an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// How many failures.
    pub failures: usize,
    /// Within how long.
    pub window: SignedDuration,
}

/// One run that was rolled back, as the breaker reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// When it ended.
    pub at: Timestamp,
    /// Its workload, `shop/web`.
    pub workload: String,
    /// The digest that was tried.
    pub digest: String,
    /// The cause.
    pub reason: Reason,
    /// Equal for equal failures.
    pub signature: String,
    /// Whether the environment is to blame.
    pub environment: bool,
}

/// An environment incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// What was seen.
    pub observed: String,
    /// When it ends, if nothing more fails.
    pub until: Timestamp,
}

/// Whether the failures of late are an incident. Their order does not matter.
#[must_use]
pub fn incident(failed: &[Failed], breaker: Breaker, now: Timestamp) -> Option<Incident> {
    let ends = |one: &Failed| one.at.checked_add(breaker.window).unwrap_or(Timestamp::MAX);
    let mut lately: Vec<&Failed> = failed.iter().filter(|one| now < ends(one)).collect();
    lately.sort_by(|one, other| other.at.cmp(&one.at).then_with(|| one.workload.cmp(&other.workload)));
    let environment: Vec<&Failed> = lately.iter().filter(|one| one.environment).copied().collect();
    let found = told(&environment, breaker, ends).or_else(|| {
        let signatures: BTreeSet<&str> = lately.iter().map(|one| one.signature.as_str()).collect();
        signatures.into_iter().find_map(|signature| told(&apart(&lately, signature), breaker, ends))
    });
    found.filter(|_| 0 < breaker.failures)
}

/// The failures of one signature, each with a workload and a digest that no other has: one bad digest is no incident.
fn apart<'a>(lately: &[&'a Failed], signature: &str) -> Vec<&'a Failed> {
    let (mut workloads, mut digests) = (BTreeSet::new(), BTreeSet::new());
    let mut apart = Vec::new();
    for one in lately.iter().filter(|one| one.signature == signature) {
        if !workloads.contains(&one.workload) && !digests.contains(&one.digest) {
            workloads.insert(&one.workload);
            digests.insert(&one.digest);
            apart.push(*one);
        }
    }
    apart
}

/// The incident ends when the last of the newest failures that make it is out of the window.
fn told(newest: &[&Failed], breaker: Breaker, ends: impl Fn(&Failed) -> Timestamp) -> Option<Incident> {
    let last = newest.get(breaker.failures.checked_sub(1)?)?;
    let words: Vec<String> = newest
        .iter()
        .take(breaker.failures.min(SHOWN))
        .map(|one| format!("{} on {} at {}", one.reason, one.workload, text::instant(one.at)))
        .collect();
    let observed = format!("{} within {}: {}", newest.len(), text::span(breaker.window), words.join(", "));
    Some(Incident { observed, until: ends(last) })
}

/// How many failures a sentence names.
const SHOWN: usize = 4;

/// The hold of a start in an incident.
#[must_use]
pub fn frozen(facts: &Facts) -> Option<Hold> {
    let incident = facts.seen.incident.as_ref()?;
    Some(
        Hold::new(Reason::EnvironmentFailures, Standing::Waits)
            .expected("a cluster in which new pods do not fail by its own fault")
            .observed(incident.observed.clone())
            .hint(
                "Nothing starts until then; look at the nodes, quotas and registries that the failures name.",
            )
            .until(Some(incident.until)),
    )
}

/// The hold of a digest that is being tried elsewhere for the first time.
#[must_use]
pub fn tried_elsewhere(facts: &Facts, track: &Track, digest: &Digest) -> Option<Hold> {
    let key = (track.repository.clone(), digest.clone());
    let run = facts.seen.trying.get(&key).filter(|_| !proven(facts, track, digest))?;
    Some(
        Hold::new(Reason::FirstSuccessPending, Standing::Waits)
            .expected("the digest to succeed on one workload first")
            .observed(format!("run {run} tries it now"))
            .hint("Nothing to do; starts by itself when that run ends."),
    )
}

/// Whether the digest runs on a workload of the namespace already, by the memory of the repository.
#[must_use]
pub fn proven(facts: &Facts, track: &Track, digest: &Digest) -> bool {
    let Some(seen) = facts.seen.repositories.get(&track.repository) else { return false };
    let ending = format!("@{digest}");
    let runs = |wrote: &Option<String>| wrote.as_ref().is_some_and(|image| image.ends_with(&ending));
    seen.ledger.workloads.values().any(|memory| memory.completed.is_some() && runs(&memory.wrote))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's row that does not parse is the failure")]
mod tests {
    use super::*;

    const BREAKER: Breaker = Breaker { failures: 3, window: SignedDuration::from_mins(15) };

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute.saturating_mul(60)).unwrap()
    }

    /// A row is `minute workload digest signature blame`.
    fn check(rows: &str, minute: i64, expected: Option<&str>) {
        let mut failed: Vec<Failed> = rows
            .split(';')
            .filter(|row| !row.trim().is_empty())
            .map(|row| {
                let words: Vec<&str> = row.split_whitespace().collect();
                let [at, workload, digest, signature, blame] = words.as_slice() else {
                    unreachable!("{row}")
                };
                Failed {
                    at: self::at(at.parse().unwrap()),
                    workload: (*workload).to_owned(),
                    digest: (*digest).to_owned(),
                    reason: Reason::QuotaExceeded,
                    signature: (*signature).to_owned(),
                    environment: *blame == "environment",
                }
            })
            .collect();
        let told = |failed: &[Failed]| {
            incident(failed, BREAKER, self::at(minute))
                .map(|incident| format!("{} until {}", incident.observed, text::instant(incident.until)))
        };
        assert_eq!(told(&failed).as_deref(), expected, "{rows}");
        failed.reverse();
        assert_eq!(told(&failed).as_deref(), expected, "the order matters: {rows}");
    }

    #[test]
    fn three_failures_of_the_environment_freeze_starts_until_the_first_of_them_is_out_of_the_window() {
        let rows = "0 a/x d1 quota environment; 5 a/y d1 quota environment; 9 b/z d2 node environment";
        let words = "3 within 15m: QuotaExceeded on b/z at 1970-01-01 00:09Z, QuotaExceeded on a/y at 1970-01-01 00:05Z, QuotaExceeded on a/x at 1970-01-01 00:00Z until 1970-01-01 00:15Z";
        check(rows, 9, Some(words));
        check(rows, 14, Some(words));
        check(rows, 15, None);
        check("0 a/x d1 quota environment; 5 a/y d1 quota environment", 6, None);
    }

    #[test]
    fn one_bad_image_on_many_workloads_is_no_incident_but_one_failure_of_many_images_is() {
        check("0 a/x d1 exit image; 1 a/y d1 exit image; 2 a/z d1 exit image; 3 b/z d1 exit image", 4, None);
        check("0 a/x d1 exit image; 1 a/x d2 exit image; 2 a/x d3 exit image", 4, None);
        check("0 a/x d1 exit image; 1 a/y d2 oom image; 2 a/z d3 exit image", 4, None);
        let words = "3 within 15m: QuotaExceeded on a/z at 1970-01-01 00:02Z, QuotaExceeded on a/y at 1970-01-01 00:01Z, QuotaExceeded on a/x at 1970-01-01 00:00Z until 1970-01-01 00:15Z";
        check("0 a/x d1 exit image; 1 a/y d2 exit image; 2 a/z d3 exit image", 4, Some(words));
    }
}
