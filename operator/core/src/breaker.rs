//! Many at once: what other runs show of a digest and of the cluster before one more is started.
//!
//! A digest is tried on one workload until it has succeeded somewhere. Failures that the environment is to blame for, or one
//! failure on workloads with different digests, are an incident: nothing is started until they are long enough ago.
//! Namespaces share a cluster and need not trust one another: none can stop the others for long, and none reads their names.

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
    /// Its namespace.
    pub namespace: String,
    /// Its workload.
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

/// Whether the failures of late are an incident for a namespace: those of its own, or those of several. Their order does not
/// matter.
#[must_use]
pub fn incident(failed: &[Failed], breaker: Breaker, namespace: &str, now: Timestamp) -> Option<Incident> {
    let ends = |one: &Failed| one.at.checked_add(breaker.window).unwrap_or(Timestamp::MAX);
    let mut lately: Vec<&Failed> = failed.iter().filter(|one| now < ends(one)).collect();
    lately.sort_by(|one, other| other.at.cmp(&one.at).then_with(|| place(one).cmp(&place(other))));
    let found = told(&of_environment(&lately), breaker, namespace, ends).or_else(|| {
        let signatures: BTreeSet<&str> = lately.iter().map(|one| one.signature.as_str()).collect();
        signatures
            .into_iter()
            .find_map(|signature| told(&apart(&lately, signature), breaker, namespace, ends))
    });
    found.filter(|_| 0 < breaker.failures)
}

fn place(failed: &Failed) -> (&str, &str) {
    (&failed.namespace, &failed.workload)
}

/// The failures that the environment is to blame for, the newest of each workload: one that is tried again and again is one.
fn of_environment<'a>(lately: &[&'a Failed]) -> Vec<&'a Failed> {
    let mut known = BTreeSet::new();
    lately.iter().copied().filter(|one| one.environment && known.insert(place(one))).collect()
}

/// The failures of one signature, each with a workload and a digest that no other has: one bad digest is no incident.
fn apart<'a>(lately: &[&'a Failed], signature: &str) -> Vec<&'a Failed> {
    let (mut workloads, mut digests) = (BTreeSet::new(), BTreeSet::new());
    let mut apart = Vec::new();
    for one in lately.iter().filter(|one| one.signature == signature) {
        if !workloads.contains(&place(one)) && !digests.contains(&one.digest) {
            workloads.insert(place(one));
            digests.insert(&one.digest);
            apart.push(*one);
        }
    }
    apart
}

/// The incident ends when the last of the newest failures that make it is out of the window. What fails in one other
/// namespace alone makes none here.
fn told(
    newest: &[&Failed],
    breaker: Breaker,
    namespace: &str,
    ends: impl Fn(&Failed) -> Timestamp,
) -> Option<Incident> {
    let is_own = |one: &&&Failed| one.namespace == namespace;
    let (mut own, mut all, mut namespaces) = (0_usize, 0_usize, BTreeSet::new());
    let last = newest.iter().find(|one| {
        all = all.saturating_add(1);
        own = own.saturating_add(usize::from(is_own(one)));
        namespaces.insert(&one.namespace);
        breaker.failures <= own || (breaker.failures <= all && 1 < namespaces.len())
    })?;
    let named = newest.iter().filter(is_own).take(breaker.failures.min(SHOWN)).map(|one| {
        format!("{} on {}/{} at {}", one.reason, one.namespace, one.workload, text::instant(one.at))
    });
    let elsewhere = newest.iter().filter(|one| !is_own(one)).count();
    let elsewhere = (0 < elsewhere).then(|| format!("{elsewhere} in other namespaces"));
    let words: Vec<String> = named.chain(elsewhere).collect();
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

/// An open run that tries a digest, as other policies see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trying {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub run: String,
    /// When it began.
    pub since: Timestamp,
    /// Its own deadline, counted from then.
    pub deadline: SignedDuration,
    /// Whether it failed by the image's fault and waits for a person.
    pub failed: bool,
}

impl Trying {
    /// Until when a start in a namespace waits for it. It may wait beyond its deadline, for a person or for what measures it:
    /// that is no reason for others to wait as well. Another namespace is waited for no longer than `patience` either, the
    /// deadline of who waits, for its own may be any.
    #[must_use]
    pub fn until(&self, namespace: &str, patience: SignedDuration) -> Timestamp {
        if self.namespace == namespace && self.failed {
            return Timestamp::MAX;
        }
        let is_own = self.namespace == namespace;
        let most = if is_own { self.deadline } else { self.deadline.min(patience) };
        self.since.checked_add(most).unwrap_or(Timestamp::MAX)
    }
}

/// The hold of a digest that is being tried elsewhere for the first time.
#[must_use]
pub fn tried_elsewhere(facts: &Facts, track: &Track, digest: &Digest) -> Option<Hold> {
    let key = (track.repository.clone(), digest.clone());
    let trying = facts.seen.trying.get(&key).filter(|_| !proven(facts, track, digest))?;
    let (own, patience) = (&facts.policy.id.namespace, facts.policy.rollout.deadline);
    let until = |one: &Trying| one.until(own, patience);
    let waited = trying.iter().filter(|one| facts.now < until(one));
    let one = waited.max_by_key(|one| (one.namespace == *own, until(one)))?;
    let hold = Hold::new(Reason::FirstSuccessPending, Standing::Waits)
        .expected("the digest to succeed on one workload first");
    let Trying { namespace, run, .. } = one;
    if namespace != own {
        return Some(
            hold.observed("a run in another namespace tries it now")
                .hint("Nothing to do; starts by itself when that run ends, at the latest at the next check")
                .until(Some(until(one))),
        );
    }
    Some(if one.failed {
        hold.observed(format!("it failed in run {namespace}/{run}, which waits for a person")).hint(format!(
            "kubectl rollforward abort {run} -n {namespace} goes back, promote goes on; a newer version starts by itself"
        ))
    } else {
        hold.observed(format!("run {namespace}/{run} tries it now"))
            .hint("Nothing to do; starts by itself when that run ends, at the latest at the next check")
            .until(Some(until(one)))
    })
}

/// Whether the digest runs on a workload of the namespace already, by the memory of the repository. One on which nothing was
/// seen to run it proves nothing: 0 replicas, a suspended CronJob, `OnDelete` before somebody deletes.
#[must_use]
pub fn proven(facts: &Facts, track: &Track, digest: &Digest) -> bool {
    let Some(seen) = facts.seen.repositories.get(&track.repository) else { return false };
    let ending = format!("@{digest}");
    let wrote = |wrote: &Option<String>| wrote.as_ref().is_some_and(|image| image.ends_with(&ending));
    let mut known = seen.ledger.workloads.values();
    known.any(|memory| memory.completed.is_some() && wrote(&memory.wrote) && !memory.unseen)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's row that does not parse is the failure")]
mod tests {
    use super::*;

    const BREAKER: Breaker = Breaker { failures: 3, window: SignedDuration::from_mins(15) };

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute.saturating_mul(60)).unwrap()
    }

    /// A row is `minute namespace/workload digest signature blame`; asked for namespace `a`.
    fn check(rows: &str, minute: i64, expected: Option<&str>) {
        check_in("a", rows, minute, expected);
    }

    fn check_in(namespace: &str, rows: &str, minute: i64, expected: Option<&str>) {
        let mut failed: Vec<Failed> = rows
            .split(';')
            .filter(|row| !row.trim().is_empty())
            .map(|row| {
                let words: Vec<&str> = row.split_whitespace().collect();
                let [at, workload, digest, signature, blame] = words.as_slice() else {
                    unreachable!("{row}")
                };
                let (namespace, workload) = workload.split_once('/').unwrap();
                Failed {
                    at: self::at(at.parse().unwrap()),
                    namespace: namespace.to_owned(),
                    workload: workload.to_owned(),
                    digest: (*digest).to_owned(),
                    reason: Reason::QuotaExceeded,
                    signature: (*signature).to_owned(),
                    environment: *blame == "environment",
                }
            })
            .collect();
        let told = |failed: &[Failed]| {
            incident(failed, BREAKER, namespace, self::at(minute))
                .map(|incident| format!("{} until {}", incident.observed, text::instant(incident.until)))
        };
        assert_eq!(told(&failed).as_deref(), expected, "{rows}");
        failed.reverse();
        assert_eq!(told(&failed).as_deref(), expected, "the order matters: {rows}");
    }

    #[test]
    fn three_failures_of_the_environment_freeze_starts_until_the_first_of_them_is_out_of_the_window() {
        let rows = "0 a/x d1 quota environment; 5 a/y d1 quota environment; 9 b/z d2 node environment";
        let words = "3 within 15m: QuotaExceeded on a/y at 1970-01-01 00:05Z, QuotaExceeded on a/x at 1970-01-01 00:00Z, 1 in other namespaces until 1970-01-01 00:15Z";
        check(rows, 9, Some(words));
        check(rows, 14, Some(words));
        check(rows, 15, None);
        check("0 a/x d1 quota environment; 5 a/y d1 quota environment", 6, None);
    }

    #[test]
    fn one_workload_that_fails_again_and_again_is_one_failure() {
        let rows = "0 a/x d1 config environment; 3 a/x d1 config environment; 6 a/x d1 config environment";
        check(rows, 7, None);
        check(&format!("{rows}; 7 a/y d2 config environment"), 8, None);
    }

    #[test]
    fn what_fails_in_one_namespace_alone_stops_no_other_and_none_reads_the_names_of_another() {
        let rows = "0 b/x d1 quota environment; 5 b/y d1 quota environment; 9 b/z d2 node environment";
        check_in("a", rows, 10, None);
        let own = "3 within 15m: QuotaExceeded on b/z at 1970-01-01 00:09Z, QuotaExceeded on b/y at 1970-01-01 00:05Z, QuotaExceeded on b/x at 1970-01-01 00:00Z until 1970-01-01 00:15Z";
        check_in("b", rows, 10, Some(own));
        // With a second namespace it is the cluster's, for as long as both fail.
        let both = format!("{rows}; 10 c/x d1 quota environment");
        let words = "4 within 15m: 4 in other namespaces until 1970-01-01 00:20Z";
        check_in("a", &both, 11, Some(words));
        let earlier = format!("{rows}; 1 c/x d1 quota environment");
        check_in("a", &earlier, 11, Some("4 within 15m: 4 in other namespaces until 1970-01-01 00:16Z"));
        check_in("a", &earlier, 16, None);
        let images = "0 b/x d1 exit image; 1 b/y d2 exit image; 2 b/z d3 exit image";
        check_in("a", images, 4, None);
    }

    #[test]
    fn a_digest_is_waited_for_until_the_deadline_of_the_run_that_tries_it() {
        let run = |failed| Trying {
            namespace: "a".to_owned(),
            run: "web-1".to_owned(),
            since: at(0),
            deadline: SignedDuration::from_hours(9),
            failed,
        };
        let patience = SignedDuration::from_hours(1);
        assert_eq!(run(false).until("a", patience), at(9 * 60), "its own namespace set the deadline");
        assert_eq!(
            run(false).until("b", patience),
            at(60),
            "another one waits no longer than it would watch"
        );
        assert_eq!(run(true).until("a", patience), Timestamp::MAX, "proven false there");
        assert_eq!(run(true).until("b", patience), at(60), "and one namespace's word is no other's");
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
