//! What must hold after every event of every history, whatever is pushed, edited or killed.
//!
//! A violation is a panic with the sentence that was broken. Where a person acts on a workload in the middle of a run, that
//! run is excused from what the person did; nothing else is.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use rollforward_core::decide::Course;
use rollforward_core::image::Digest;
use rollforward_core::ledger::Ledger;
use rollforward_core::policy::{Facts, Rebuilds};
use rollforward_core::reason::Reason;
use rollforward_core::report::{MAX_MESSAGE, MAX_WHY, Report};
use rollforward_core::rollout::{Hold, Patch, Phase, Plan, Run, patch};
use rollforward_core::workload::Shape;

use crate::kubelet::SimPod;
use crate::native::Deployment;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Watch {
    /// Runs in the middle of which a person acted.
    excused: BTreeSet<String>,
    /// Image writes by run: starts, and reverts.
    writes: BTreeMap<String, (u32, u32)>,
    /// The runs that wrote each digest.
    tried: BTreeMap<Digest, BTreeSet<String>>,
    quarantined: BTreeSet<Digest>,
}

impl Watch {
    /// A person acted on a workload.
    pub fn person(&mut self, workload: &str, runs: &[Run]) {
        let open = runs.iter().filter(|run| run.status.finished_at.is_none());
        self.excused.extend(open.filter(|run| run.workload.name == workload).map(|run| run.name.clone()));
    }

    /// The operator was away for longer than a hold outlasts the deadline: the native controller may go on.
    pub fn nobody_looked(&mut self, runs: &[Run]) {
        let held = |run: &&Run| run.status.finished_at.is_none() && matches!(run.hold, Hold::Deployment(_));
        self.excused.extend(runs.iter().filter(held).map(|run| run.name.clone()));
    }

    /// A person released every quarantined digest.
    pub fn released(&mut self) {
        self.quarantined.clear();
    }

    pub fn after_step(&self, deployments: &[Deployment], (runs, killed): (&[Run], u32)) {
        self.after_step_of_daemons(deployments, runs);
        self.exposure(deployments, (runs, killed));
        for run in runs.iter().filter(|run| run.status.finished_at.is_none() && run.canary) {
            let Some(deployment) = deployments.iter().find(|one| one.object.id == run.workload) else {
                continue;
            };
            let container = &run.containers[0];
            let is_held = deployment.image() == container.to && patch::is_held(run, &deployment.object);
            if let Shape::StatefulSet(own) = &deployment.object.shape {
                let ordinal = |name: &str| name.rsplit('-').next().and_then(|text| text.parse::<i32>().ok());
                let mut below = deployment.pods.iter().filter(|pod| ordinal(&pod.name) < Some(own.partition));
                let kept = below.all(|pod| pod.image != container.to);
                assert!(
                    !is_held || kept || self.excused.contains(&run.name),
                    "no pod below the partition is replaced while it is held: {}",
                    run.name
                );
                continue;
            }
            let lost = deployment.removed.contains(&container.from);
            assert!(
                !(is_held && lost) || self.excused.contains(&run.name),
                "no Ready pod of the old version is removed while the canary is held: {}",
                run.name
            );
        }
    }

    /// No more new pods than the step means. After a kill a further step may have been written and not recorded.
    fn exposure(&self, deployments: &[Deployment], (runs, killed): (&[Run], u32)) {
        for run in runs.iter().filter(|run| run.canary && run.status.phase == Phase::Canary) {
            let found = deployments.iter().find(|one| one.object.id == run.workload);
            let Some(own) = found.filter(|_| run.status.intent.is_none()) else { continue };
            let pods = patch::step_pods(&run.settings, run.status.step, own.object.replicas);
            let is_known = killed == 0 && !self.excused.contains(&run.name);
            let Some(pods) = pods.filter(|_| is_known) else {
                continue;
            };
            let new = own.pods.iter().filter(|pod| pod.image == run.containers[0].to).count();
            assert!(
                i32::try_from(new).unwrap() <= pods,
                "no more new pods than the step means: {new} of {pods}, {}",
                run.name
            );
        }
    }

    /// While a DaemonSet's run is open at most one node is without a Ready pod for it, but for those that had none before.
    fn after_step_of_daemons(&self, deployments: &[Deployment], runs: &[Run]) {
        for run in runs.iter().filter(|run| run.status.finished_at.is_none()) {
            let found = deployments.iter().find(|one| one.object.id == run.workload);
            let own = found.filter(|one| matches!(one.object.shape, Shape::DaemonSet(_)));
            let Some(own) = own.filter(|one| one.image() == run.containers[0].to) else { continue };
            let (new, old): (Vec<_>, Vec<_>) =
                own.pods.iter().partition(|pod| pod.image == run.containers[0].to);
            // Old pods that are not available themselves are replaced without limit.
            let calm = !old.is_empty() && old.iter().all(|pod| pod.is_good() && pod.ready_since.is_some());
            let lost = |pod: &&&SimPod| pod.ready_since.is_none() && !own.was_down.contains(&pod.node);
            let down = new.iter().filter(lost).count();
            let is_held = !patch::restores(run, &own.object).is_empty();
            assert!(
                !calm || !is_held || down <= 1 || self.excused.contains(&run.name),
                "one node at a time: {}",
                run.name
            );
        }
    }

    pub fn planned(&mut self, facts: &Facts, plan: &Plan) {
        // Where nothing is held a run cannot tell its own first patch from a person's who writes the very image: it is judged.
        if let Some(run) = plan.opening.as_ref().filter(|run| !matches!(run.hold, Hold::Deployment(_))) {
            self.tried.entry(run.to_digest.clone()).or_default().insert(run.name.clone());
        }
        for (course, chosen) in plan.decision.tracks.iter().zip(&plan.decision.assessment.chosen) {
            let Course::Move { tag, digest, .. } = course else { continue };
            let bounds = [
                chosen.memory.completed.as_ref(),
                chosen.memory.abandoned.as_ref().map(|left| &left.tag),
                chosen.current.as_ref().and_then(|current| current.tag.as_ref()),
            ];
            // A followed rebuild is of equal version: its digest is the new one.
            let runs = chosen.current.as_ref().and_then(|current| current.rebuilt_tag());
            let signed = facts.policy.trust.as_ref().is_some_and(|own| !own.authorities.is_empty());
            let followed = match facts.policy.rebuilds {
                Rebuilds::Follow => true,
                Rebuilds::Auto => signed,
                Rebuilds::Hold => false,
            };
            if runs == Some(tag) && followed {
                let left = chosen.memory.abandoned.as_ref().filter(|left| left.tag == *tag);
                let seen = &plan.decision.assessment.ledgers[&facts.seen.tracks[chosen.track].repository];
                let first_seen = seen.first_seen(tag, digest).unwrap();
                assert!(left.is_none_or(|left| left.at < first_seen), "a rebuild that was left stays away");
                continue;
            }
            for bound in bounds.into_iter().flatten().filter(|_| !facts.policy.allow_downgrade) {
                // What the rule cannot order (`latest`, a mutable tag) has no floor.
                let order = facts.policy.order().compare(bound, tag);
                assert!(order.is_none_or(Ordering::is_lt), "nothing at or below {bound} is chosen: {tag}");
            }
            assert!(!self.quarantined.contains(digest), "a quarantined digest is not tried: {tag}");
        }
    }

    /// A run's patch reached the apiserver.
    pub fn wrote(&mut self, run: &Run, patch: &Patch) {
        self.tried.entry(run.to_digest.clone()).or_default().insert(run.name.clone());
        let (starts, reverts) = self.writes.entry(run.name.clone()).or_default();
        for image in patch.images.iter().filter(|image| image.before != image.after) {
            if image.after == run.containers[0].to { *starts += 1 } else { *reverts += 1 }
        }
        let once = *starts <= 1 && *reverts <= 1;
        assert!(once || self.excused.contains(&run.name), "a run writes each image once: {}", run.name);
    }

    pub fn ledger(&mut self, ledger: &Ledger) {
        let now: BTreeSet<Digest> = ledger
            .failures
            .iter()
            .filter(|(_, failure)| failure.quarantined)
            .map(|(digest, _)| digest.clone())
            .collect();
        // Only where the old version failed too after the rollback is a digest excused.
        let excused = |digest: &Digest| {
            ledger.failures.get(digest).is_some_and(|one| one.reason == Reason::EnvironmentIncident)
        };
        let lost = self.quarantined.iter().find(|digest| !now.contains(digest) && !excused(digest));
        assert!(lost.is_none(), "a quarantine is never lost: {lost:?}");
        self.quarantined = now;
        for (digest, failure) in &ledger.failures {
            let runs = u32::try_from(self.tried.get(digest).map_or(0, BTreeSet::len)).unwrap();
            assert!(failure.fails <= runs, "a failure is counted once a run: {failure:?}");
        }
    }

    pub fn reported(&self, report: &Report) {
        assert!(report.why.len() <= MAX_WHY, "{:?}", report.why);
        for condition in &report.conditions {
            let message = &condition.message;
            assert!(message.chars().count() <= MAX_MESSAGE, "{message}");
            assert!(message.starts_with(condition.reason.code()) && message.ends_with('.'), "{message}");
            assert!(!message.contains("  ") && !message.contains(".."), "{message}");
        }
        for line in &report.why {
            assert!(line.chars().count() <= 500 && !line.is_empty(), "{line}");
        }
        for event in &report.events {
            assert!(event.note.chars().count() <= MAX_MESSAGE && !event.note.is_empty(), "{}", event.note);
        }
    }

    /// A pass ended with no run open.
    pub fn at_rest(&self, deployments: &[Deployment]) {
        for deployment in deployments {
            let (object, wanted) = (&deployment.object, &deployment.wanted);
            assert_eq!(object.annotated_run, None, "no annotation of ours without an open run");
            assert_eq!(
                patch::fields(object),
                *wanted,
                "the fields are as people wrote them when no run is open"
            );
        }
    }
}
