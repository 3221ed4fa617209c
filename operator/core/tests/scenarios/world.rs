//! Registry, cluster and operator under one simulated clock.
//!
//! The operator is the real walk of core; what it reads and writes is here, in the order in which the controller's
//! `reconcile/act.rs` writes. It can be killed between any two writes. What must hold all the time: `invariants.rs`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rollforward_core::current;
use rollforward_core::decide::{self, Course};
use rollforward_core::evidence::Answer;
use rollforward_core::image::{Digest, Tag};
use rollforward_core::judge::signals::{Reading, SignalSeen};
use rollforward_core::ledger::Ledger;
use rollforward_core::levers::{Asked, Pause};
use rollforward_core::policy::{Facts, Mode, Policy, Track};
use rollforward_core::preflight::{self, Needs, Obstacle, Quota};
use rollforward_core::reason::Reason;
use rollforward_core::report::{self, ConditionKind, Event, Outcome, Report};
use rollforward_core::rollout::patch::Annotation;
use rollforward_core::rollout::{self, Errand, FieldWrite, OpenRun, Patch, Plan, Run, RunPlan};
use rollforward_core::scan::Scan;
use rollforward_core::workload::{Container, Kind, Shape, Strategy, Workload};

use crate::build;
use crate::invariants::Watch;
use crate::native::{self, Deployment};
use crate::registry::{Door, Registry};

/// What the operator keeps in the cluster, and what it keeps in memory.
#[derive(Debug)]
pub struct Operator {
    pub ledger: Ledger,
    pub runs: Vec<Run>,
    pub status: Option<Report>,
    /// Lost with the process.
    pub scan: Option<(Answer<Scan>, Timestamp)>,
    pub digests: BTreeMap<Tag, (Digest, Timestamp)>,
    /// How many more writes it lives for.
    pub dies_after: Option<u32>,
    /// The kind of write that it does not live to.
    pub dies_before: Option<String>,
    /// How long it takes until the next one comes after the next death.
    pub dead_for: SignedDuration,
    /// When the next one comes.
    dead_until: Timestamp,
    /// How often it was killed since somebody looked.
    pub killed: u32,
    pub next_look: Timestamp,
    /// When it looked last and lived to the end of it.
    last_look: Timestamp,
}

/// An operator that is away for longer may come too late to make a hold longer: five minutes, less one look.
const ABSENT: SignedDuration = SignedDuration::from_mins(4);

/// The process ended between two writes.
pub struct Died;

/// What a signal measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// Within its limits.
    Fine,
    /// Beyond them.
    Bad,
    /// Too few requests.
    Few,
    /// The meter does not answer.
    Silent,
}

/// Everything.
#[derive(Debug)]
pub struct World {
    pub now: Timestamp,
    pub policy: Option<Policy>,
    pub registry: Registry,
    pub deployments: Vec<Deployment>,
    pub operator: Operator,
    /// Events since the last look at them.
    pub events: Vec<(Timestamp, Event)>,
    /// What a person does just before the operator's next patch arrives.
    pub before_patch: Option<String>,
    /// What the apiserver answers to every patch, where it takes none.
    pub refuses: Option<(Reason, String)>,
    pub watch: Watch,
    /// What a person or the configuration paused.
    pub paused: Option<Pause>,
    /// What a person asked of the policy since the last pass.
    pub asked: Vec<Asked>,
    /// Whether the pods of open runs cannot be read.
    pub unreadable: bool,
    /// What a signal measures of every canary.
    pub measured: Measured,
    /// How long the operator sleeps at least where nothing is due and nothing happens: each idle look doubles it. What happens
    /// wakes it.
    pub idle_look: SignedDuration,
    /// How many looks in a row were idle.
    n_idle: u32,
    /// What the preflight found lately.
    obstacles: Vec<Obstacle>,
}

impl World {
    pub fn new() -> Self {
        let now = build::at("2026-11-02T09:00:00Z");
        Self {
            now,
            policy: Some(build::policy()),
            registry: Registry {
                door: Door::Up,
                tags: BTreeMap::new(),
                behaviours: BTreeMap::new(),
                pushes: 0,
                labels: BTreeMap::new(),
                signers: BTreeMap::new(),
            },
            deployments: Vec::new(),
            operator: Operator {
                ledger: Ledger::new(build::repository()),
                runs: Vec::new(),
                status: None,
                scan: None,
                digests: BTreeMap::new(),
                dies_after: None,
                dies_before: None,
                dead_for: SignedDuration::from_secs(2),
                dead_until: now,
                killed: 0,
                next_look: Timestamp::MAX,
                last_look: now,
            },
            events: Vec::new(),
            before_patch: None,
            refuses: None,
            watch: Watch::default(),
            paused: None,
            asked: Vec::new(),
            unreadable: false,
            measured: Measured::Fine,
            idle_look: SignedDuration::ZERO,
            n_idle: 0,
            obstacles: Vec::new(),
        }
    }

    pub fn open_runs(&self) -> impl Iterator<Item = &Run> {
        self.operator.runs.iter().filter(|run| run.status.finished_at.is_none())
    }

    /// Lets time pass: every event of the cluster and every look of the operator at its own moment.
    pub fn advance(&mut self, by: SignedDuration) {
        let end = self.now + by;
        loop {
            self.settle();
            let looks = self.policy.is_some().then_some(self.operator.next_look);
            let events = self.deployments.iter().filter_map(|one| one.next_event(self.now));
            match events.chain(looks).min().filter(|next| *next <= end) {
                Some(next) => self.now = next,
                None => break,
            }
        }
        self.now = end;
    }

    /// Somebody did something: it is noticed after the policy's interval at the latest.
    pub fn wake(&mut self) {
        self.n_idle = 0;
        if let Some(policy) = self.policy.as_ref().filter(|_| self.idle_look != SignedDuration::ZERO) {
            self.operator.next_look = self.operator.next_look.min(self.now + policy.interval);
        }
    }

    /// All that happens at this very moment.
    pub fn settle(&mut self) {
        for _ in 0..100 {
            let mut changed = false;
            for deployment in &mut self.deployments {
                let registry = &self.registry;
                changed |= deployment.step(self.now, &|image| registry.pull(image));
            }
            if ABSENT < self.now.duration_since(self.operator.last_look) {
                self.watch.nobody_looked(&self.operator.runs);
            }
            let runs = (self.operator.runs.as_slice(), self.operator.killed);
            self.watch.after_step(&self.deployments, runs);
            if changed && !self.deployments.is_empty() {
                self.operator.next_look = self.now;
                if self.open_runs().next().is_some() {
                    self.n_idle = 0;
                }
            }
            self.operator.next_look = self.operator.next_look.max(self.operator.dead_until);
            if self.policy.is_none() || self.now < self.operator.next_look {
                return;
            }
            if self.pass().is_ok() {
                self.operator.last_look = self.now;
            } else {
                self.operator.scan = None;
                self.operator.digests.clear();
                (self.operator.dies_after, self.operator.dies_before) = (None, None);
                self.operator.killed += 1;
                self.operator.dead_until = self.now + self.operator.dead_for;
                self.operator.dead_for = SignedDuration::from_secs(2);
            }
        }
        panic!("{}: the operator looks again and again at one moment", self.now);
    }

    /// One pass of the walk.
    fn pass(&mut self) -> Result<(), Died> {
        let facts = self.observe();
        let chosen = current::choose(&facts);
        let assessment = self.gather(&facts, &chosen);
        let decision = decide::decide(&facts, assessment);
        let plan = rollout::plan(&facts, decision);
        self.watch.planned(&facts, &plan);
        let outcome = self.act(&facts, &plan)?;
        if outcome.crowded {
            // What was in the way is told by the next pass, which follows at once.
            self.operator.next_look = self.now + SignedDuration::from_secs(1);
            return Ok(());
        }
        let report = report::report(&facts, &plan, &outcome);
        self.watch.reported(&report);
        self.operator.next_look = self.now + report.look_again;
        let idles = plan.runs.iter().all(|run| run.patch.is_none() && run.after == run.run.status);
        if idles && plan.opening.is_none() && report.look_again != SignedDuration::ZERO {
            self.operator.next_look = self.now + self.idle_sleep(&plan, report.look_again);
            self.n_idle += 1;
        } else {
            self.n_idle = 0;
        }
        self.publish(report)?;
        let quiet = plan.runs.is_empty() && plan.opening.is_none();
        if quiet && plan.strays.is_empty() && facts.policy.mode == Mode::Enforce {
            self.watch.at_rest(&self.deployments);
        }
        if quiet && facts.policy.deleting {
            self.policy = None;
        }
        Ok(())
    }

    /// Until the next thing is due, a minute at most while a run is open.
    fn idle_sleep(&self, plan: &Plan, least: SignedDuration) -> SignedDuration {
        if self.idle_look == SignedDuration::ZERO {
            return least;
        }
        let watches = plan.runs.iter().any(|run| run.run.workload.kind != Kind::CronJob);
        let most = SignedDuration::from_mins(if watches { 1 } else { 60 });
        let holds = plan.decision.tracks.iter().filter_map(|course| match course {
            Course::Hold(hold) => hold.until.map(|until| until.duration_since(self.now)),
            Course::Move { .. } | Course::Continue | Course::Nothing => None,
        });
        let least = least.max(self.idle_look);
        let doubled = least.saturating_mul(1 << self.n_idle.min(8)).min(most);
        holds.fold(doubled, SignedDuration::min).max(least)
    }

    fn observe(&mut self) -> Facts {
        let policy = self.policy.clone().unwrap();
        let scan = self.scanned(policy.interval);
        let tracks: Vec<Track> = self
            .deployments
            .iter()
            .map(|one| build::track(one.object.clone(), one.revisions(), one.pods()))
            .collect();
        let open_runs = self.open_runs().cloned().map(|run| self.open_run(run)).collect();
        let ended = self.operator.runs.iter().filter(|run| run.status.finished_at.is_some());
        let last: BTreeMap<&str, &Run> = ended.map(|run| (run.track.as_str(), run)).collect();
        let runs = (open_runs, last.into_values().cloned().collect());
        let mut ledger = self.operator.ledger.clone();
        for asked in &self.asked {
            asked.carry_out(&mut ledger, self.now);
        }
        let mut facts = build::facts(policy, tracks, (scan, ledger), runs, self.now);
        facts.seen.paused.clone_from(&self.paused);
        facts.seen.asked.clone_from(&self.asked);
        let now = self.now;
        self.obstacles.retain(|one| now < one.at + SignedDuration::from_secs(30));
        facts.seen.obstacles.clone_from(&self.obstacles);
        for run in &self.operator.runs {
            let ended = run.status.finished_at.is_some();
            if ended && run.status.started_at.is_none() {
                facts.seen.unstarted.insert(run.track.clone(), run.name.clone());
            }
        }
        facts
    }

    fn open_run(&self, run: Run) -> OpenRun {
        let found = self.deployments.iter().find(|one| one.object.id == run.workload);
        OpenRun {
            workload: found.map(|one| one.object.clone()),
            revisions: found.map(Deployment::revisions).unwrap_or_default(),
            pods: found.map(Deployment::pods).filter(|_| !self.unreadable).unwrap_or_default(),
            unreadable: self.unreadable.then(|| "the apiserver does not list pods".to_owned()),
            readings: self.readings(&run),
            run,
        }
    }

    /// What the meter answers for the one signal of a run that has any.
    fn readings(&self, run: &Run) -> Vec<SignalSeen> {
        let (canary, requests) = match self.measured {
            Measured::Fine => (Reading::Value(0.01), 100.0),
            Measured::Bad => (Reading::Value(0.9), 100.0),
            Measured::Few => (Reading::NoData, 3.0),
            Measured::Silent => (Reading::Unknown("connection refused".to_owned()), 100.0),
        };
        let requests = Some(Reading::Value(requests));
        let seen = SignalSeen { name: "errors".to_owned(), canary, stable: None, requests };
        run.settings.analysis.iter().map(|_| seen.clone()).collect()
    }

    /// One write: the last chance to die before it.
    fn write(&mut self, kind: &str) -> Result<(), Died> {
        if self.operator.dies_before.as_deref() == Some(kind) {
            return Err(Died);
        }
        match &mut self.operator.dies_after {
            Some(0) => return Err(Died),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    /// As `reconcile/act.rs`: ledgers, strays, then each run's intent, patch and result, then the new run.
    fn act(&mut self, facts: &Facts, plan: &Plan) -> Result<Outcome, Died> {
        let mut outcome = Outcome::default();
        let ending = facts.seen.namespace_deleting || (facts.policy.deleting && plan.runs.is_empty());
        for ledger in plan.ledgers.values() {
            if self.operator.ledger != *ledger && !ending {
                self.write("ledger")?;
                self.operator.ledger = ledger.clone();
                self.watch.ledger(&self.operator.ledger);
            }
        }
        self.asked.clear();
        for stray in &plan.strays {
            self.write("stray")?;
            let _conflict = self.patch(stray);
        }
        for run in &plan.runs {
            self.act_on_run(run, &mut outcome)?;
        }
        outcome.crowded = plan.opening.as_ref().is_some_and(|run| self.is_crowded(run));
        if let Some(run) = plan.opening.as_ref().filter(|_| !outcome.crowded) {
            self.write("run")?;
            // As the apiserver's 409 is read: the run is there already.
            if self.operator.runs.iter().all(|known| known.name != run.name) {
                self.operator.runs.push(run.clone());
            }
            outcome.opened = Some(run.name.clone());
        }
        Ok(outcome)
    }

    /// What the controller's preflight asks of the quota, just before a canary is opened.
    fn is_crowded(&mut self, run: &Run) -> bool {
        let found = self.deployments.iter().find(|one| one.object.id == run.workload);
        let found = found.filter(|one| run.canary && one.object.deployment().is_some());
        let observed = found.and_then(|one| {
            let used = 8 - one.quota?.saturating_sub(one.pods.len());
            let pods = |number: usize| [("pods".to_owned(), number.to_string())].into();
            let quota = Quota { name: "compute".to_owned(), hard: pods(8), used: pods(used) };
            let surges = preflight::surges(&run.settings, one.object.replicas);
            preflight::over_quota(&[quota], &Needs::new(), &surges)
        });
        self.obstacles.retain(|known| known.track != run.track);
        let is_crowded = observed.is_some();
        self.obstacles.extend(observed.map(|observed| Obstacle {
            track: run.track.clone(),
            workload: (run.workload.uid.clone(), run.generation),
            digest: run.to_digest.clone(),
            reason: Reason::QuotaExceeded,
            observed,
            no_room: true,
            at: self.now,
        }));
        is_crowded
    }

    fn act_on_run(&mut self, plan: &RunPlan, outcome: &mut Outcome) -> Result<(), Died> {
        let name = &plan.run.name;
        self.record(name, "intent", &plan.before)?;
        if let Some((patch, _)) = &plan.patch {
            self.write("patch")?;
            if let Some(command) = self.before_patch.take() {
                crate::script::command(self, &command);
            }
            if let Err((reason, message)) = self.patch(patch) {
                if reason != Reason::WriteConflict {
                    outcome.refused.push((name.clone(), reason, message));
                }
                return Ok(());
            }
            self.watch.wrote(&plan.run, patch);
            self.record(name, "result", &plan.after)?;
        }
        if let Some((errand, _, _)) = &plan.errand {
            self.write("errand")?;
            self.run_errand(&plan.run, errand);
            self.record(name, "result", &plan.after)?;
        }
        outcome.done.push(name.clone());
        Ok(())
    }

    /// The apiserver: a pod of another uid stays.
    fn run_errand(&mut self, run: &Run, errand: &Errand) {
        let Some(set) = self.deployments.iter_mut().find(|one| one.object.id == run.workload) else {
            return;
        };
        let (name, uid) = match errand {
            Errand::DeletePod { name, uid } => (name, uid),
            Errand::EndJob { name, uid } => return crate::cron::end(set, name, uid),
        };
        let found = set.pods().into_iter().find(|pod| pod.name == *name && pod.uid == *uid);
        if let Some(pod) = found {
            assert!(pod.ready_since.is_none(), "only a pod that is not Ready is deleted: {name}");
            assert_eq!(
                pod.containers[0].image, run.containers[0].to,
                "only a pod of the failed version: {name}"
            );
            set.remove(name);
        }
    }

    fn record(&mut self, name: &str, kind: &str, status: &rollout::RunStatus) -> Result<(), Died> {
        let index = self.operator.runs.iter().position(|run| run.name == name).unwrap();
        if self.operator.runs[index].status != *status {
            self.write(kind)?;
            self.operator.runs[index].status = status.clone();
        }
        Ok(())
    }

    /// The apiserver: tests, then validation, then all fields or none.
    fn patch(&mut self, patch: &Patch) -> Result<(), (Reason, String)> {
        if let Some(refused) = &self.refuses {
            return Err(refused.clone());
        }
        let conflict = |what: &str| Err((Reason::WriteConflict, what.to_owned()));
        let now = self.now;
        let found = self.deployments.iter_mut().find(|one| one.object.id == patch.workload);
        let Some(deployment) = found else { return conflict("the workload is gone") };
        let mut object = deployment.object.clone();
        if patch.generation.is_some_and(|generation| generation != object.generation) {
            return conflict("another generation");
        }
        for image in &patch.images {
            let at = |one: &&mut Container| one.index == image.index && one.init == image.init;
            let Some(container) = object.containers.iter_mut().find(at) else {
                return conflict("no such container");
            };
            if container.name != image.name || container.image != image.before {
                return conflict("another image");
            }
            if image.before != image.after {
                container.image.clone_from(&image.after);
                object.image_writer = Some(("rollforward".to_owned(), now));
            }
        }
        for field in &patch.fields {
            write_field(&mut object, field)?;
        }
        let is_valid =
            object.deployment().is_none_or(|own| own.min_ready_seconds < own.progress_deadline_seconds);
        if !is_valid {
            let message = "spec.progressDeadlineSeconds: must be greater than minReadySeconds";
            return Err((Reason::WriteDenied, message.to_owned()));
        }
        let spec_changed = object != deployment.object;
        match &patch.annotation {
            Annotation::Keep => {}
            Annotation::Set(run) => object.annotated_run = Some(run.clone()),
            Annotation::Clear => object.annotated_run = None,
        }
        deployment.object = object;
        if spec_changed {
            deployment.change();
        }
        Ok(())
    }

    /// As `reconcile/publish.rs`: Events of the runs, then a hold's where its code or its candidate changed, then the status.
    fn publish(&mut self, report: Report) -> Result<(), Died> {
        let hold = self.changed_hold(&report);
        let now = self.now;
        self.events.extend(report.events.iter().cloned().chain(hold).map(|event| (now, event)));
        let meaning = Report { events: Vec::new(), look_again: SignedDuration::ZERO, ..report };
        if self.operator.status.as_ref() != Some(&meaning) {
            self.write("report")?;
            self.operator.status = Some(meaning);
        }
        Ok(())
    }

    fn changed_hold(&self, report: &Report) -> Option<Event> {
        let find = |kind| report.conditions.iter().find(|condition| condition.kind == kind);
        let (condition, warning) = find(ConditionKind::Stalled)
            .or_else(|| find(ConditionKind::Blocked))
            .map(|condition| (condition, true))
            .or_else(|| find(ConditionKind::Ready).filter(|one| !one.is_true).map(|one| (one, true)))
            .or_else(|| find(ConditionKind::UpToDate).filter(|one| !one.is_true).map(|one| (one, false)))?;
        let told = report.events.iter().any(|event| event.reason == condition.reason)
            || [Reason::CanaryWatching, Reason::Promoting, Reason::Preparing].contains(&condition.reason);
        let key = report.head.as_ref().map(|(key, _)| key);
        let latest = |report: &Report| {
            report.tracks.iter().find(|track| Some(&track.key) == key).map(|track| track.latest.clone())
        };
        let same = self.operator.status.as_ref().is_some_and(|stored| {
            let known =
                |one: &report::Condition| one.kind == condition.kind && one.reason == condition.reason;
            stored.conditions.iter().any(known) && latest(stored) == latest(report)
        });
        let note = condition.message.split_once(": ").map_or(condition.message.as_str(), |(_, rest)| rest);
        (!told && !same).then(|| Event {
            warning,
            reason: condition.reason,
            note: note.to_owned(),
            workload: None,
        })
    }
}

fn write_field(object: &mut Workload, field: &FieldWrite) -> Result<(), (Reason, String)> {
    match (&mut object.shape, field) {
        (Shape::Deployment(own), FieldWrite::MinReadySeconds(seconds)) => own.min_ready_seconds = *seconds,
        (Shape::Deployment(own), FieldWrite::ProgressDeadlineSeconds(seconds)) => {
            own.progress_deadline_seconds = *seconds;
        }
        (Shape::Deployment(own), FieldWrite::RollingUpdate { .. }) if own.strategy == Strategy::Recreate => {
            let message = "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'";
            return Err((Reason::WriteDenied, message.to_owned()));
        }
        (Shape::Deployment(own), FieldWrite::RollingUpdate { max_surge, max_unavailable }) => {
            let (max_surge, max_unavailable) = (max_surge.clone(), max_unavailable.clone());
            native::write_strategy(own, Strategy::RollingUpdate { max_surge, max_unavailable }, false);
        }
        (Shape::StatefulSet(own), FieldWrite::Partition(partition)) => own.partition = *partition,
        (Shape::DaemonSet(own), FieldWrite::DaemonRolling(rolling)) => own.rolling = Some(rolling.clone()),
        (shape, field) => panic!("{field:?} is not of {shape:?}"),
    }
    Ok(())
}
