//! Places for open runs: the limits hold across passes that run at the same time.
//!
//! The watch shows a run a moment after it was recorded. Until then the claim made for it counts, so that many policies
//! that pass their gates at once do not all start.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use rollforward_core::breaker::Trying;
use rollforward_core::policy::Concurrency;

use crate::config::Config;

/// How long a claim counts that the watch does not confirm: longer than a watch is ever late while it works.
const CLAIM_KEPT: SignedDuration = SignedDuration::from_secs(30);

/// Namespace and name of a run.
pub type RunName = (String, String);

/// A run of the watch, as far as places go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Whether it is open.
    pub open: bool,
    /// The repository and digest that it moves to.
    pub digest: String,
    /// Whether it succeeded and proves the digest.
    pub succeeded: bool,
    /// How long others wait for it.
    pub trying: Trying,
}

/// A place that a run needs.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The run.
    pub run: &'a RunName,
    /// The digest that it moves to.
    pub digest: &'a str,
    /// Whether that is known to run somewhere.
    pub proven: bool,
    /// How long a run of another namespace is waited for at most.
    pub patience: SignedDuration,
}

/// A claim, with the digest that is tried.
type Claims = BTreeMap<RunName, (Timestamp, String)>;

/// Claims on places that the watch does not show yet.
#[derive(Debug, Default)]
pub struct Places {
    claims: Mutex<Claims>,
}

impl Places {
    /// How many runs are open, as a policy in the namespace is to see it. `known` are the runs of the watch.
    pub fn count(
        &self,
        known: &BTreeMap<RunName, Known>,
        namespace: &str,
        config: &Config,
        now: Timestamp,
    ) -> Concurrency {
        let mut claims = self.claims.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        counted(&mut claims, known, namespace, config, now)
    }

    /// Claims a place for a run; false where another pass has taken the last one meanwhile, or tries the digest.
    pub fn claim(
        &self,
        known: &BTreeMap<RunName, Known>,
        wanted: Wanted<'_>,
        config: &Config,
        now: Timestamp,
    ) -> bool {
        let mut claims = self.claims.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Wanted { run, digest, proven, patience } = wanted;
        let Concurrency { namespace_open, per_namespace, cluster_open, cluster } =
            counted(&mut claims, known, &run.0, config, now);
        let of_digest = || known.values().filter(|one| one.digest == digest);
        let proven = proven || of_digest().any(|one| one.succeeded);
        let tried = of_digest().any(|one| one.open && now < one.trying.until(&run.0, patience))
            || claims.iter().any(|(other, (_, claimed))| other != run && claimed == digest);
        let free = namespace_open < per_namespace && cluster_open < cluster && (proven || !tried);
        if free {
            claims.insert(run.clone(), (now, digest.to_owned()));
        }
        free
    }
}

fn counted(
    claims: &mut Claims,
    known: &BTreeMap<RunName, Known>,
    namespace: &str,
    config: &Config,
    now: Timestamp,
) -> Concurrency {
    claims.retain(|run, (at, _)| !known.contains_key(run) && now.duration_since(*at) < CLAIM_KEPT);
    let open = || known.iter().filter(|(_, known)| known.open).map(|(run, _)| run).chain(claims.keys());
    Concurrency {
        namespace_open: open().filter(|run| run.0 == namespace).count(),
        per_namespace: config.per_namespace,
        cluster_open: open().count(),
        cluster: config.cluster,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot begin has failed")]
mod tests {
    use super::*;

    fn run(namespace: &str, name: &str) -> RunName {
        (namespace.to_owned(), name.to_owned())
    }
    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }
    fn config(per_namespace: usize, cluster: usize) -> Config {
        Config { per_namespace, cluster, ..Config::load(None).unwrap() }
    }
    fn known(open: bool, digest: &str, succeeded: bool) -> Known {
        let trying = Trying {
            namespace: "a".to_owned(),
            run: "1".to_owned(),
            since: at(0),
            deadline: SignedDuration::from_mins(10),
            failed: false,
        };
        Known { open, digest: digest.to_owned(), succeeded, trying }
    }
    /// Each run has a digest of its own.
    fn wanted(run: &RunName) -> Wanted<'_> {
        Wanted { run, digest: &run.1, proven: false, patience: SignedDuration::from_mins(5) }
    }

    #[test]
    fn passes_that_run_at_once_cannot_take_more_places_than_there_are() {
        let (places, config, known) = (Places::default(), config(2, 3), BTreeMap::new());
        let claims = [run("a", "1"), run("a", "2"), run("a", "3"), run("b", "4"), run("b", "5")];
        let taken: Vec<bool> =
            claims.iter().map(|one| places.claim(&known, wanted(one), &config, at(0))).collect();
        assert_eq!(taken, [true, true, false, true, false]);
        let seen = places.count(&known, "a", &config, at(1));
        assert_eq!((seen.namespace_open, seen.cluster_open), (2, 3));
    }

    #[test]
    fn a_place_is_free_again_when_the_watch_shows_the_run_ended_or_never_shows_it() {
        let (places, config) = (Places::default(), config(1, 1));
        assert!(places.claim(&BTreeMap::new(), wanted(&run("a", "1")), &config, at(0)));
        let open = BTreeMap::from([(run("a", "1"), known(true, "1", false))]);
        assert!(!places.claim(&open, wanted(&run("a", "2")), &config, at(1)));
        let ended = BTreeMap::from([(run("a", "1"), known(false, "1", false))]);
        assert!(places.claim(&ended, wanted(&run("a", "2")), &config, at(2)));
        assert!(!places.claim(&ended, wanted(&run("a", "3")), &config, at(31)));
        assert!(places.claim(&ended, wanted(&run("a", "3")), &config, at(32)));
    }

    #[test]
    fn a_digest_is_tried_on_one_workload_until_it_has_succeeded_somewhere() {
        let (places, config) = (Places::default(), config(9, 9));
        let of = |run: &RunName, known: &BTreeMap<RunName, Known>, proven: bool| {
            let patience = SignedDuration::from_mins(5);
            places.claim(known, Wanted { run, digest: "d", proven, patience }, &config, at(0))
        };
        let (first, second, third) = (run("a", "1"), run("b", "2"), run("c", "3"));
        assert!(of(&first, &BTreeMap::new(), false));
        assert!(!of(&second, &BTreeMap::new(), false), "claimed a moment ago");
        let mut seen = BTreeMap::from([(first.clone(), known(true, "d", false))]);
        assert!(!of(&second, &seen, false), "tried now");
        assert!(of(&second, &seen, true), "known to run in the namespace");
        let late = |run: &RunName, minute: i64| {
            let fresh = Places::default();
            fresh.claim(&seen, Wanted { digest: "d", ..wanted(run) }, &config, at(minute * 60))
        };
        let own = self::run("a", "4");
        assert_eq!([late(&second, 4), late(&second, 5)], [false, true], "waited for no longer in another");
        assert_eq!([late(&own, 9), late(&own, 10)], [false, true], "past its own deadline");
        seen.insert(first, known(false, "d", true));
        assert!(of(&third, &seen, false), "it has succeeded");
    }
}
