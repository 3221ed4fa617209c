//! The native Deployment controller as a pure model: ReplicaSets by template, surge and unavailability as Kubernetes counts.
//!
//! Named after the functions of `pkg/controller/deployment`: NewRSNewReplicas, reconcileOldReplicaSets with
//! cleanupUnhealthyReplicas and scaleDownOldReplicaSetsForRollingUpdate, scale by proportion. Pods: `kubelet.rs`.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rollforward_core::image::Digest;
use rollforward_core::rollout::patch;
use rollforward_core::rollout::run::Fields;
use rollforward_core::workload::{self, Container, IntOrPercent, Pod, Revision, Shape, Strategy, Workload};

use crate::build;
use crate::kubelet::{Behaviour, SimPod};

/// What a node finds when it pulls an image.
pub type Pull<'a> = &'a dyn Fn(&str) -> (Digest, Behaviour);

/// What makes two templates equal: the image, and how often a person restarted the rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Template {
    image: String,
    restarts: u32,
}

#[derive(Debug, Clone)]
struct Set {
    name: String,
    template: Template,
    min_ready_seconds: i32,
    replicas: i32,
    revision: i64,
    desired: i32,
    most: i32,
    annotation: Option<String>,
}

/// A Deployment with what hangs on it; a StatefulSet too, whose controller is in `ordinal.rs`.
#[derive(Debug, Clone)]
pub struct Deployment {
    pub object: Workload,
    /// The fields as people wrote them: what has to be there when no run is open.
    pub wanted: Fields,
    /// The images that people wrote.
    pub by_hand: Vec<String>,
    /// Ready pods removed in the last step, by image.
    pub removed: Vec<String>,
    /// The nodes whose last pod that was removed was not Ready.
    pub was_down: BTreeSet<String>,
    /// How many pods a quota allows, where it is full.
    pub quota: Option<usize>,
    restarts: u32,
    sets: Vec<Set>,
    pub pods: Vec<SimPod>,
    /// A StatefulSet's current revision: what pods below the partition are made from.
    pub current: Option<String>,
    /// When a CronJob's next run is due.
    pub next_run: Timestamp,
    named: u32,
}

/// Writes a strategy. A field has a new manager where its value was changed, and only there.
pub fn write_strategy(own: &mut workload::Deployment, strategy: Strategy, foreign: bool) {
    let (surge, unavailable) = changed(&own.strategy, &strategy);
    if surge {
        own.foreign.max_surge = foreign;
    }
    if unavailable {
        own.foreign.max_unavailable = foreign;
    }
    own.strategy = strategy;
}

/// Which of `maxSurge` and `maxUnavailable` differ.
pub fn changed(before: &Strategy, after: &Strategy) -> (bool, bool) {
    match (before, after) {
        (
            Strategy::RollingUpdate { max_surge, max_unavailable },
            Strategy::RollingUpdate { max_surge: surge, max_unavailable: unavailable },
        ) => (max_surge != surge, max_unavailable != unavailable),
        _ => (true, true),
    }
}

impl Deployment {
    /// A workload of any kind that nothing was made for yet.
    pub fn of(mut object: Workload, image: &str) -> Self {
        (object.observed_generation, object.updated_replicas) = (0, 0);
        (object.total_replicas, object.available_replicas) = (0, 0);
        let wanted = patch::fields(&object);
        Self {
            object,
            wanted,
            by_hand: vec![image.to_owned()],
            removed: Vec::new(),
            was_down: BTreeSet::new(),
            quota: None,
            restarts: 0,
            sets: Vec::new(),
            pods: Vec::new(),
            current: None,
            next_run: Timestamp::MAX,
            named: 0,
        }
    }

    pub fn own(&self) -> &workload::Deployment {
        self.object.deployment().unwrap()
    }

    /// A StatefulSet's newest revision, made where the template is new.
    pub fn revise(&mut self) -> String {
        let template = self.template();
        let latest = self.sets.iter().map(|set| set.revision).max().unwrap_or(0);
        if let Some(set) = self.sets.iter_mut().find(|set| set.template == template) {
            if set.revision < latest {
                set.revision = latest + 1;
            }
            return set.name.clone();
        }
        let index = self.create();
        let name = self.sets[index].name.clone();
        self.current.get_or_insert(name.clone());
        name
    }

    pub fn image_of(&self, set: &str) -> String {
        self.sets.iter().find(|one| one.name == set).unwrap().template.image.clone()
    }

    pub fn remove(&mut self, pod: &str) {
        let Some(index) = self.pods.iter().position(|one| one.name == pod) else { return };
        let pod = self.pods.remove(index);
        if pod.ready_since.is_some() {
            self.was_down.remove(&pod.node);
            self.removed.push(pod.image);
        } else {
            self.was_down.insert(pod.node);
        }
    }

    fn is_set(&self) -> bool {
        matches!(self.object.shape, Shape::StatefulSet(_))
    }

    fn is_daemon(&self) -> bool {
        matches!(self.object.shape, Shape::DaemonSet(_))
    }

    /// A number that no pod of it had before.
    pub fn number(&mut self) -> u32 {
        self.named += 1;
        self.named
    }

    pub fn image(&self) -> &str {
        &self.object.containers[0].image
    }

    /// Whether any pod runs an image that does not stay Ready.
    pub fn has_bad_pods(&self) -> bool {
        self.pods.iter().any(|pod| !pod.is_good())
    }

    pub fn pods(&self) -> Vec<Pod> {
        if self.object.cron_job().is_some() {
            return crate::cron::pods(self);
        }
        self.pods.iter().map(SimPod::shown).collect()
    }

    pub fn revisions(&self) -> Vec<Revision> {
        if self.object.cron_job().is_some() {
            return crate::cron::revisions(self);
        }
        let shown = |set: &Set| {
            let mut shown = build::revision(&set.name, set.revision, &set.template.image, set.replicas);
            let short = self.pods_of(set).count() < usize::try_from(set.replicas).unwrap_or(0);
            shown.create_failure = (self.is_full() && short).then(|| {
                format!("pods \"{}-x\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=8, limited: pods=8", set.name)
            });
            shown
        };
        self.sets.iter().map(shown).collect()
    }

    /// Whether the quota takes no further pod.
    pub fn is_full(&self) -> bool {
        self.quota.is_some_and(|most| most <= self.pods.len())
    }

    /// A change of the spec by anybody.
    pub fn change(&mut self) {
        self.object.generation += 1;
    }

    /// `kubectl scale replicaset --replicas=0`: the Deployment does not raise an old one again.
    pub fn empty_set(&mut self, name: &str) {
        self.sets.iter_mut().filter(|set| set.name == name).for_each(|set| set.replicas = 0);
    }

    /// A person writes the image.
    pub fn set_image(&mut self, image: String, by: &str, now: Timestamp) {
        self.by_hand.push(image.clone());
        self.object.containers[0].image = image;
        self.object.image_writer = Some((by.to_owned(), now));
        self.change();
    }

    /// `kubectl rollout restart`.
    pub fn restart(&mut self) {
        self.restarts += 1;
        self.change();
    }

    /// Another container is put before ours, as `kubectl apply` does with a file that has one more.
    pub fn sidecar(&mut self) {
        let name = format!("proxy-{}", self.object.containers.len());
        let image = "ghcr.io/acme/proxy:1".to_owned();
        self.object.containers[0].index += 1;
        self.object.containers.push(Container { name, index: 0, init: false, image });
        self.restart();
    }

    /// `kubectl rollout undo`: template and annotations of the ReplicaSet before. False where there is none.
    pub fn undo(&mut self, now: Timestamp) -> bool {
        let template = self.template();
        let before = self.sets.iter().filter(|set| set.template != template).max_by_key(|set| set.revision);
        let Some(before) = before.filter(|_| !self.object.is_paused()).cloned() else { return false };
        self.restarts = before.template.restarts;
        self.object.annotated_run = before.annotation;
        self.set_image(before.template.image, "kubectl-rollout", now);
        true
    }

    fn template(&self) -> Template {
        Template { image: self.image().to_owned(), restarts: self.restarts }
    }

    fn pods_of<'a>(&'a self, set: &'a Set) -> impl Iterator<Item = &'a SimPod> {
        self.pods.iter().filter(|pod| pod.owner == set.name)
    }

    fn available(&self, set: &Set, now: Timestamp) -> i32 {
        let ready_for = SignedDuration::from_secs(i64::from(set.min_ready_seconds));
        let available = |pod: &&SimPod| pod.ready_since.is_some_and(|since| since + ready_for <= now);
        i32::try_from(self.pods_of(set).filter(available).count()).unwrap()
    }

    /// When something happens next by itself.
    pub fn next_event(&self, now: Timestamp) -> Option<Timestamp> {
        if self.object.cron_job().is_some() {
            return crate::cron::next_event(self, now);
        }
        let available = self.sets.iter().flat_map(|set| {
            let ready_for = SignedDuration::from_secs(i64::from(set.min_ready_seconds));
            self.pods_of(set).filter_map(move |pod| Some(pod.ready_since? + ready_for))
        });
        self.pods.iter().filter_map(SimPod::next_event).chain(available).filter(|at| now < *at).min()
    }

    /// Lets kubelets and controllers work until nothing moves; tells whether anything changed.
    pub fn step(&mut self, now: Timestamp, pull: Pull<'_>) -> bool {
        if self.object.delegate.is_some() {
            return crate::delegates::step(self);
        }
        if self.object.cron_job().is_some() {
            self.object.observed_generation = self.object.generation;
            return crate::cron::step(self, now, pull);
        }
        self.removed.clear();
        let before = (self.object.clone(), self.sets.len());
        let mut moved = false;
        for pod in &mut self.pods {
            moved |= pod.retry(pull, now) | pod.tick(now);
        }
        while self.is_set() && crate::ordinal::sync(self, now, pull) {
            moved = true;
        }
        while self.is_daemon() && crate::daemon::sync(self, now, pull) {
            moved = true;
        }
        if self.is_set() || self.is_daemon() {
            self.status(now);
            return moved || before != (self.object.clone(), self.sets.len());
        }
        for _ in 0..200 {
            let replicas =
                |deployment: &Self| -> Vec<i32> { deployment.sets.iter().map(|set| set.replicas).collect() };
            let sizes = replicas(self);
            self.sync(now);
            let moves = self.reconcile_pods(now, pull) | (sizes != replicas(self));
            self.status(now);
            moved |= moves;
            if !moves {
                return moved || before != (self.object.clone(), self.sets.len());
            }
        }
        panic!("the native controller does not come to rest");
    }

    fn status(&mut self, now: Timestamp) {
        let template = self.template();
        let count = |pods: usize| i32::try_from(pods).unwrap();
        let newest = self.sets.iter().find(|set| set.template == template);
        self.object.updated_replicas = newest.map_or(0, |set| count(self.pods_of(set).count()));
        let newest = newest.map(|set| set.name.clone());
        if let Shape::StatefulSet(own) = &mut self.object.shape {
            own.is_one_revision = newest.is_some() && newest == self.current;
        }
        let all = if self.is_daemon() { crate::daemon::scheduled(self) } else { self.pods.len() };
        self.object.total_replicas = count(all);
        self.object.available_replicas = self.sets.iter().map(|set| self.available(set, now)).sum();
        self.object.observed_generation = self.object.generation;
    }

    /// The ReplicaSet controller: as many pods as each set wants; those not Ready go first, then the youngest.
    fn reconcile_pods(&mut self, now: Timestamp, pull: Pull<'_>) -> bool {
        let mut moved = false;
        for set in self.sets.clone() {
            let mut have = i32::try_from(self.pods_of(&set).count()).unwrap();
            while have < set.replicas && !self.is_full() {
                self.named += 1;
                let node = if self.named.is_multiple_of(2) { "node-b" } else { "node-a" };
                let name = format!("{}-{}", set.name, self.named);
                let image = set.template.image.clone();
                let pulled = pull(&image);
                let place = (name, set.name.clone(), node.to_owned());
                self.pods.push(SimPod::new(place, image, pulled, now));
                have += 1;
                moved = true;
            }
            while set.replicas < have {
                let victim = self
                    .pods
                    .iter()
                    .enumerate()
                    .filter(|(_, pod)| pod.owner == set.name)
                    .min_by_key(|(index, pod)| {
                        (
                            pod.ready_since.is_some(),
                            std::cmp::Reverse(pod.ready_since),
                            std::cmp::Reverse(*index),
                        )
                    })
                    .map(|(index, _)| index);
                let pod = self.pods.remove(victim.unwrap());
                if pod.ready_since.is_some() {
                    self.removed.push(pod.image);
                }
                have -= 1;
                moved = true;
            }
        }
        moved
    }

    /// syncDeployment.
    fn sync(&mut self, now: Timestamp) {
        let newest = self.newest();
        if self.own().paused || self.is_scaling() {
            self.scale(newest);
            return;
        }
        let newest = newest.unwrap_or_else(|| self.create());
        match self.own().strategy {
            Strategy::RollingUpdate { .. } => {
                if !self.grow(newest) {
                    self.shrink(newest, now);
                }
            }
            Strategy::Recreate => self.recreate(newest),
        }
    }

    /// getNewReplicaSet: annotations, minReadySeconds and revision follow the Deployment.
    fn newest(&mut self) -> Option<usize> {
        let template = self.template();
        let index = self.sets.iter().position(|set| set.template == template)?;
        let latest = self.sets.iter().map(|set| set.revision).max().unwrap_or(0);
        let min_ready_seconds = self.own().min_ready_seconds;
        let set = &mut self.sets[index];
        if set.revision < latest {
            set.revision = latest + 1;
        }
        set.min_ready_seconds = min_ready_seconds;
        if self.object.annotated_run.is_some() {
            set.annotation.clone_from(&self.object.annotated_run);
        }
        Some(index)
    }

    fn create(&mut self) -> usize {
        let revision = self.sets.iter().map(|set| set.revision).max().unwrap_or(0) + 1;
        let template = self.template();
        let name = format!("{}-{revision}", self.object.id.name);
        let annotation = self.object.annotated_run.clone();
        let min_ready_seconds = self.object.deployment().map_or(0, |own| own.min_ready_seconds);
        let desired = self.object.replicas;
        let most = desired + self.surge();
        self.sets.push(Set {
            name,
            template,
            min_ready_seconds,
            replicas: 0,
            revision,
            desired,
            most,
            annotation,
        });
        self.sets.len() - 1
    }

    /// ResolveFenceposts: surge rounds up, unavailability down; both zero means one unavailable.
    fn fenceposts(&self) -> (i32, i32) {
        let strategy = self.object.deployment().map(|own| &own.strategy);
        let Some(Strategy::RollingUpdate { max_surge, max_unavailable }) = strategy else {
            return (0, 0);
        };
        let replicas = self.object.replicas;
        let surge = match max_surge {
            IntOrPercent::Int(pods) => *pods,
            IntOrPercent::Percent(percent) => (replicas * percent + 99) / 100,
        };
        let unavailable = match max_unavailable {
            IntOrPercent::Int(pods) => *pods,
            IntOrPercent::Percent(percent) => replicas * percent / 100,
        };
        if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    fn surge(&self) -> i32 {
        self.fenceposts().0
    }

    fn max_unavailable(&self) -> i32 {
        if self.object.replicas == 0 { 0 } else { self.fenceposts().1.min(self.object.replicas) }
    }

    fn all(&self) -> i32 {
        self.sets.iter().map(|set| set.replicas).sum()
    }

    /// reconcileNewReplicaSet with NewRSNewReplicas.
    fn grow(&mut self, newest: usize) -> bool {
        let (wanted, now) = (self.object.replicas, self.sets[newest].replicas);
        let most = wanted + self.surge();
        let size = match now.cmp(&wanted) {
            std::cmp::Ordering::Equal => return false,
            std::cmp::Ordering::Greater => wanted,
            std::cmp::Ordering::Less if most <= self.all() => return false,
            std::cmp::Ordering::Less => now + (most - self.all()).min(wanted - now),
        };
        self.resize(newest, size);
        true
    }

    fn resize(&mut self, index: usize, size: i32) {
        let (desired, most) = (self.object.replicas, self.object.replicas + self.surge());
        let set = &mut self.sets[index];
        (set.replicas, set.desired, set.most) = (size, desired, most);
    }

    /// reconcileOldReplicaSets.
    fn shrink(&mut self, newest: usize, now: Timestamp) {
        // By age, as they were created.
        let old: Vec<usize> =
            (0..self.sets.len()).filter(|index| *index != newest && 0 < self.sets[*index].replicas).collect();
        let least = self.object.replicas - self.max_unavailable();
        let new_unavailable = self.sets[newest].replicas - self.available(&self.sets[newest], now);
        let most_removed = self.all() - least - new_unavailable;
        if old.is_empty() || most_removed <= 0 {
            return;
        }
        let available: i32 = self.sets.iter().map(|set| self.available(set, now)).sum();
        // cleanupUnhealthyReplicas
        let mut removed = 0;
        for index in &old {
            let set = &self.sets[*index];
            let unhealthy = set.replicas - self.available(set, now);
            let fewer = unhealthy.min(most_removed - removed).max(0);
            let size = set.replicas - fewer;
            self.resize(*index, size);
            removed += fewer;
        }
        // scaleDownOldReplicaSetsForRollingUpdate
        let mut surplus = available - least;
        for index in &old {
            let fewer = self.sets[*index].replicas.min(surplus).max(0);
            let size = self.sets[*index].replicas - fewer;
            self.resize(*index, size);
            surplus -= fewer;
        }
    }

    fn recreate(&mut self, newest: usize) {
        let old: Vec<usize> = (0..self.sets.len()).filter(|index| *index != newest).collect();
        for index in &old {
            self.resize(*index, 0);
        }
        if old.iter().all(|index| self.pods_of(&self.sets[*index]).next().is_none()) {
            self.resize(newest, self.object.replicas);
        }
    }

    fn is_scaling(&self) -> bool {
        self.sets.iter().any(|set| 0 < set.replicas && set.desired != self.object.replicas)
    }

    /// scale: one active set takes all, a complete rollout ends the others, else each by its share.
    fn scale(&mut self, newest: Option<usize>) {
        let mut active: Vec<usize> =
            (0..self.sets.len()).filter(|index| 0 < self.sets[*index].replicas).collect();
        let wanted = self.object.replicas;
        if active.len() <= 1 {
            if let Some(only) = active.first().copied().or(newest) {
                self.resize(only, wanted);
            }
            return;
        }
        let allowed = if wanted == 0 { 0 } else { wanted + self.surge() };
        let change = allowed - self.all();
        active.sort_by_key(|index| {
            let set = &self.sets[*index];
            (std::cmp::Reverse(set.replicas), if 0 < change { -set.revision } else { set.revision })
        });
        let mut changed = 0;
        let mut sizes = Vec::new();
        for index in &active {
            let set = &self.sets[*index];
            let share = if wanted == 0 {
                -set.replicas
            } else {
                let scaled = f64::from(set.replicas * (wanted + self.surge())) / f64::from(set.most.max(1));
                #[allow(clippy::cast_possible_truncation, reason = "a handful of pods")]
                let rounded = scaled.round() as i32;
                rounded - set.replicas
            };
            let left = change - changed;
            let share = if 0 < change { share.min(left) } else { share.max(left) };
            let share = if change == 0 || left == 0 { 0 } else { share };
            changed += share;
            sizes.push(set.replicas + share);
        }
        sizes[0] = (sizes[0] + change - changed).max(0);
        for (index, size) in active.into_iter().zip(sizes) {
            self.resize(index, size);
        }
    }
}
