//! What was read of workloads that no run is open on, believed for a while.
//!
//! While one target of many is watched, its pods wake the policy again and again. The others need not be read each time: as
//! long as a workload has the same resourceVersion its pods are as ready as they were.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::kubernetes::workloads::{Object, Whole};
use rollforward_core::workload::Kind;

/// For so long: pods that are not Ready, and change without that, are seen by then.
const BELIEVED: SignedDuration = SignedDuration::from_secs(30);

/// Namespace and name of a policy.
type Name = (String, String);

#[derive(Debug, Clone)]
struct Known {
    version: String,
    at: Timestamp,
    whole: Whole,
}

/// By policy and uid of the workload. Only what a policy with an open run read is kept, and replaced by each of its passes.
#[derive(Debug, Default)]
pub struct AtRest {
    known: Mutex<BTreeMap<Name, BTreeMap<String, Known>>>,
}

/// What one pass believes, and what it hands on to the next.
#[derive(Debug)]
pub struct Pass<'a> {
    all: &'a AtRest,
    policy: Name,
    has_open: bool,
    now: Timestamp,
    before: BTreeMap<String, Known>,
    after: BTreeMap<String, Known>,
}

impl AtRest {
    /// Begins a pass of a policy. With no run open nothing is believed and nothing kept.
    pub fn pass(&self, policy: (&str, &str), has_open: bool, now: Timestamp) -> Pass<'_> {
        let policy = (policy.0.to_owned(), policy.1.to_owned());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.remove(&policy).filter(|_| has_open).unwrap_or_default();
        Pass { all: self, policy, has_open, now, before, after: BTreeMap::new() }
    }
}

impl Pass<'_> {
    /// What is believed of a workload. Runs of CronJobs come and go without a change of the CronJob, and where another
    /// controller rolls out, that one is asked each time.
    pub fn of(&mut self, object: &Object) -> Option<Whole> {
        if matches!(object.workload().id.kind, Kind::CronJob | Kind::Rollout) {
            return None;
        }
        let version = object.metadata().resource_version.clone()?;
        let known = self.before.remove(&object.uid())?;
        if known.version != version || BELIEVED <= self.now.duration_since(known.at) {
            return None;
        }
        let whole = known.whole.clone();
        self.after.insert(object.uid(), known);
        Some(whole)
    }

    /// Notes what was read now.
    pub fn note(&mut self, object: &Object, whole: &Whole) {
        let Some(version) = object.metadata().resource_version.clone() else { return };
        if whole.workload.delegate.is_none() {
            self.after.insert(object.uid(), Known { version, at: self.now, whole: whole.clone() });
        }
    }

    /// Hands on what was believed and noted to the next pass of the policy.
    pub fn keep(self) {
        if self.has_open && !self.after.is_empty() {
            let mut known = self.all.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(self.policy, self.after);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;

    use super::*;

    fn deployment(version: &str) -> Object {
        let own: Deployment = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": version},
            "spec": {"selector": {}, "template": {}},
        }))
        .unwrap();
        Object::Deployment(Box::new(own))
    }

    fn whole(object: &Object) -> Whole {
        Whole { workload: object.workload(), revisions: Vec::new(), pods: Vec::new() }
    }

    #[test]
    fn a_workload_is_read_again_when_it_changed_or_after_a_while_and_always_when_no_run_is_open() {
        let all = AtRest::default();
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let policy = ("shop", "web");
        let believes = |object: &Object, has_open: bool, second: i64| {
            let mut pass = all.pass(policy, has_open, at(second));
            let believed = pass.of(object).is_some();
            if !believed {
                pass.note(object, &whole(object));
            }
            pass.keep();
            believed
        };
        assert!(!believes(&deployment("1"), true, 0), "nothing was read yet");
        assert!(believes(&deployment("1"), true, 29));
        assert!(!believes(&deployment("1"), true, 30), "since it was read, not since it was believed");
        assert!(!believes(&deployment("2"), true, 31), "it changed");
        assert!(believes(&deployment("2"), true, 32));
        assert!(!believes(&deployment("2"), false, 33), "the run has ended");
        assert!(!believes(&deployment("2"), true, 34), "nothing was kept");
    }
}
