//! Places for open runs: the limits hold across passes that run at the same time.
//!
//! The watch shows a run a moment after it was recorded. Until then the claim made for it counts, so that many policies
//! that pass their gates at once do not all start.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use rollforward_core::policy::Concurrency;

use crate::config::Config;

/// How long a claim counts that the watch does not confirm: longer than a watch is ever late while it works.
const CLAIM_KEPT: SignedDuration = SignedDuration::from_secs(30);

/// Namespace and name of a run.
pub type RunName = (String, String);

/// Claims on places that the watch does not show yet.
#[derive(Debug, Default)]
pub struct Places {
    claims: Mutex<BTreeMap<RunName, Timestamp>>,
}

impl Places {
    /// How many runs are open, as a policy in the namespace is to see it. `known` are the runs of the watch, and whether each
    /// is open.
    pub fn count(
        &self,
        known: &BTreeMap<RunName, bool>,
        namespace: &str,
        config: &Config,
        now: Timestamp,
    ) -> Concurrency {
        let mut claims = self.claims.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        counted(&mut claims, known, namespace, config, now)
    }

    /// Claims a place for a run; false where another pass has taken the last one meanwhile.
    pub fn claim(
        &self,
        known: &BTreeMap<RunName, bool>,
        run: &RunName,
        config: &Config,
        now: Timestamp,
    ) -> bool {
        let mut claims = self.claims.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Concurrency { namespace_open, per_namespace, cluster_open, cluster } =
            counted(&mut claims, known, &run.0, config, now);
        let free = namespace_open < per_namespace && cluster_open < cluster;
        if free {
            claims.insert(run.clone(), now);
        }
        free
    }
}

fn counted(
    claims: &mut BTreeMap<RunName, Timestamp>,
    known: &BTreeMap<RunName, bool>,
    namespace: &str,
    config: &Config,
    now: Timestamp,
) -> Concurrency {
    claims.retain(|run, at| !known.contains_key(run) && now.duration_since(*at) < CLAIM_KEPT);
    let open = || known.iter().filter(|(_, open)| **open).map(|(run, _)| run).chain(claims.keys());
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

    #[test]
    fn passes_that_run_at_once_cannot_take_more_places_than_there_are() {
        let (places, config, known) = (Places::default(), config(2, 3), BTreeMap::new());
        let claims = [run("a", "1"), run("a", "2"), run("a", "3"), run("b", "1"), run("b", "2")];
        let taken: Vec<bool> = claims.iter().map(|one| places.claim(&known, one, &config, at(0))).collect();
        assert_eq!(taken, [true, true, false, true, false]);
        let seen = places.count(&known, "a", &config, at(1));
        assert_eq!((seen.namespace_open, seen.cluster_open), (2, 3));
    }

    #[test]
    fn a_place_is_free_again_when_the_watch_shows_the_run_ended_or_never_shows_it() {
        let (places, config) = (Places::default(), config(1, 1));
        assert!(places.claim(&BTreeMap::new(), &run("a", "1"), &config, at(0)));
        let open = BTreeMap::from([(run("a", "1"), true)]);
        assert!(!places.claim(&open, &run("a", "2"), &config, at(1)));
        let ended = BTreeMap::from([(run("a", "1"), false)]);
        assert!(places.claim(&ended, &run("a", "2"), &config, at(2)));
        assert!(!places.claim(&ended, &run("a", "3"), &config, at(31)));
        assert!(places.claim(&ended, &run("a", "3"), &config, at(32)));
    }
}
