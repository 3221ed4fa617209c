//! An `UpdatePolicy` in its validated form, and the facts of one pass.
//!
//! Every field is checked once, by the controller's `convert.rs`; what is here can be trusted. What a pass knows beside the
//! policy (workloads, scans, ledgers, runs) is gathered in [`Seen`]; nothing is added to it while the pass decides.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::breaker::{Incident, Trying};
use crate::evidence::{Answer, Platform, Questions};
use crate::image::{Digest, ImageRef, Repository};
use crate::ledger::Ledger;
use crate::levers::{Asked, Pause};
use crate::preflight::Obstacle;
use crate::rollout::{OpenRun, Run};
use crate::scan::Scan;
use crate::select::{Order, Rule, TagFilter, VariantMode};
use crate::trust::{Decision, Effective, Exception, Roots};
use crate::workload::{Container, Pod, Revision, Workload};

/// Names a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// Whether the operator may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Judge and act.
    Enforce,
    /// Judge and say, write nothing to workloads.
    DryRun,
}

/// What happens when the deadline comes without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeadline {
    /// Restore the old image.
    RollBack,
    /// Keep the canary and wait for a person; the timed hold ends by itself later.
    Hold,
}

/// How long the new pods of a Deployment stay held if the operator is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldMode {
    /// A little longer than the deadline.
    Timed,
    /// A year: as good as for ever, and a number that a person can read.
    Indefinite,
}

/// What happens where no canary fits beside the old pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenImpossible {
    /// Say so and wait.
    Hold,
    /// Let the native controller roll, watch, and roll back what fails.
    RollWithoutCanary,
}

/// One step of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepSize {
    /// A number of new pods.
    Pods(i32),
    /// A share of the replicas, 1 to 100.
    Percent(i32),
}

/// What happens while a signal's meter is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknown {
    /// The canary waits until the meter answers.
    Wait,
    /// The signal is passed over as long as it has no answer.
    Ignore,
}

/// What happens where a signal still has too little data at the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInsufficientData {
    /// The pods alone decide.
    Promote,
    /// The canary is kept and waits.
    Hold,
    /// The old image is restored; nothing is held against the digest.
    RollBack,
}

/// One number that is measured of the new pods, and of the old ones to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Its name.
    pub name: String,
    /// The query for the new pods.
    pub canary: String,
    /// The query for the old pods.
    pub stable: Option<String>,
    /// The query for how many requests the new pods served.
    pub requests: Option<String>,
    /// The largest number that is allowed, a decimal.
    pub max: String,
    /// How many times the old pods' number is allowed too, a decimal.
    pub max_ratio: Option<String>,
    /// How many requests must have been served.
    pub min_requests: Option<u32>,
    /// What happens while the meter is broken.
    pub on_unknown: OnUnknown,
}

/// What is measured of a canary beside its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analysis {
    /// The Prometheus that is asked.
    pub url: String,
    /// The signals.
    pub signals: Vec<Signal>,
    /// What happens at the deadline where one has too little data.
    pub on_insufficient: OnInsufficientData,
}

/// Whether a run begins by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// It does.
    Automatic,
    /// It waits for somebody's approval.
    Manual,
}

/// What follows when somebody else writes an older image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExternalChange {
    /// It is a person's rollback: all versions up to the one they left are held.
    Hold,
    /// It is a machine that writes an old tag again and again: the newer version is rolled out again, a few times.
    Reapply,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollback {
    /// The old image is restored by itself.
    Automatic,
    /// The failed canary is kept, and a person is asked: abort or promote.
    Ask,
    /// The failed canary is kept and reported; nothing is undone by itself.
    Never,
}

/// How carefully to go. Frozen into the run when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutSettings {
    /// Pods, then shares; the last is 100 %.
    pub steps: Vec<StepSize>,
    /// How long each step is watched.
    pub bake: SignedDuration,
    /// Wall-clock limit of the whole run, from our first write.
    pub deadline: SignedDuration,
    /// What happens then.
    pub on_deadline: OnDeadline,
    /// How long the new pods of a Deployment stay held if the operator is gone.
    pub hold: HoldMode,
    /// What happens where no canary fits.
    pub when_impossible: WhenImpossible,
    /// Whether a run begins by itself.
    pub approval: Approval,
    /// What follows a failure.
    pub rollback: Rollback,
    /// After how many equal failures a digest is quarantined; deterministic causes at once.
    pub after_fails: u32,
    /// How long after a failure the one retry starts.
    pub retry_after: SignedDuration,
    /// Whether a StatefulSet's broken pods of a failed version are deleted, where its controller would wait for them.
    pub delete_broken_pods: bool,
    /// What is measured of a canary beside its pods.
    pub analysis: Option<Analysis>,
}

/// What happens when the running tag is pushed again with other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebuilds {
    /// Followed after its own soak where the same authority signed both; else told and not followed.
    Auto,
    /// Followed after its own soak.
    Follow,
    /// Never followed.
    Hold,
}

/// A policy, every field checked.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Which one.
    pub id: PolicyId,
    /// The generation that was read.
    pub generation: i64,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// Whether it may write.
    pub mode: Mode,
    /// Whether a person paused it.
    pub suspend: bool,
    /// Where tags are listed and digests judged, where that is not the repository that the workload names.
    pub source: Option<Repository>,
    /// The version rule.
    pub rule: Rule,
    /// The rule as the user wrote it, for sentences: `Patch` or `~1.4`.
    pub rule_text: String,
    /// Whether variants may change.
    pub variant: VariantMode,
    /// Which tags count at all.
    pub filter: TagFilter,
    /// What happens when the running tag is pushed again.
    pub rebuilds: Rebuilds,
    /// Whether an older version may be chosen.
    pub allow_downgrade: bool,
    /// What follows when somebody else writes an older image.
    pub on_external_change: OnExternalChange,
    /// Whether an unknown current version may be replaced.
    pub adopt: bool,
    /// How often the registry is asked.
    pub interval: SignedDuration,
    /// What the policy itself decided to trust, in addition to the decisions of the namespace.
    pub trust: Option<Decision>,
    /// How long an unsigned digest must have been known where no decision says.
    pub soak_unsigned: SignedDuration,
    /// How carefully to go.
    pub rollout: RolloutSettings,
    /// How soon a better candidate must pass for a lesser one to be deferred.
    pub defer_for: SignedDuration,
}

impl Policy {
    /// How the policy orders tags.
    #[must_use]
    pub fn order(&self) -> Order<'_> {
        Order { rule: &self.rule, filter: &self.filter }
    }
}

/// One workload's containers that run one repository: what moves together.
#[derive(Debug, Clone)]
pub struct Track {
    /// Stable key: `Deployment/web/app`.
    pub key: String,
    /// The workload as its object shows it.
    pub workload: Workload,
    /// The repository that the containers run.
    pub repository: Repository,
    /// The containers, with their images read.
    pub containers: Vec<(Container, ImageRef)>,
    /// The templates that its pods were made from.
    pub revisions: Vec<Revision>,
    /// The workload's pods.
    pub pods: Vec<Pod>,
    /// The older policy that moves the same container.
    pub conflict: Option<String>,
    /// Another policy's open run on this workload.
    pub busy: Option<String>,
    /// Why its pods could not be read.
    pub unreadable: Option<String>,
}

/// What was seen of one repository.
#[derive(Debug, Clone)]
pub struct RepositorySeen {
    /// The newest scan; of the policy's source where there is one.
    pub scan: Answer<Scan>,
    /// The memory of it, under the name that workloads write.
    pub ledger: Ledger,
}

/// How many runs are open, and how many may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concurrency {
    /// Open in this namespace.
    pub namespace_open: usize,
    /// Allowed in a namespace.
    pub per_namespace: usize,
    /// Open in the cluster.
    pub cluster_open: usize,
    /// Allowed in the cluster.
    pub cluster: usize,
}

/// A part of the policy's targets that could not become a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untracked {
    /// Why.
    pub reason: crate::reason::Reason,
    /// The workload or target, as the sentence names it.
    pub what: String,
    /// What was observed.
    pub observed: String,
}

/// What the world looked like when the pass began.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The tracks, in the order of the targets, then by name.
    pub tracks: Vec<Track>,
    /// What did not become a track.
    pub untracked: Vec<Untracked>,
    /// Each repository once, whatever number of tracks runs it. The key carries the credential's identity where two
    /// tracks of one policy read a repository with different credentials.
    pub repositories: BTreeMap<Repository, RepositorySeen>,
    /// The platforms of the nodes in use.
    pub platforms: BTreeSet<Platform>,
    /// This policy's open runs, oldest first.
    pub open_runs: Vec<OpenRun>,
    /// The newest finished run of each track: tells what happened last.
    pub last_runs: Vec<Run>,
    /// The trust decisions of the namespace, by name, and the floor of the operator's configuration.
    pub decisions: Vec<Decision>,
    /// The trust roots of the namespace.
    pub roots: Roots,
    /// The exceptions of the namespace that have not ended.
    pub exceptions: Vec<Exception>,
    /// What would stop new pods, found just before a run was to be opened.
    pub obstacles: Vec<Obstacle>,
    /// Digests that open runs of other policies try and that have not succeeded yet, with the runs.
    pub trying: BTreeMap<(Repository, Digest), Vec<Trying>>,
    /// In how many other namespaces a run to the digest succeeded and none was rolled back, as far as this operator sees.
    pub crowd: BTreeMap<Digest, usize>,
    /// Failures of late that are the environment's.
    pub incident: Option<Incident>,
    /// The newest run of each track that ended before it began: the next one needs another name.
    pub unstarted: BTreeMap<String, String>,
    /// Limits on starts.
    pub concurrency: Concurrency,
    /// Whether a person or the configuration paused the policy, or all of them.
    pub paused: Option<Pause>,
    /// What people asked of the memory; carried out on the ledgers before the pass began.
    pub asked: Vec<Asked>,
    /// Whether somebody asked to look now and was not answered yet.
    pub requested: bool,
    /// Whether the namespace is being deleted: then nothing is written to workloads.
    pub namespace_deleting: bool,
}

impl Facts {
    /// What is to be found out about the digests of a repository: all authorities and rules of every decision that counts
    /// for it.
    #[must_use]
    pub fn questions(&self, repository: &Repository) -> Questions {
        let track = self.seen.tracks.iter().find(|track| self.asked(track) == repository);
        let effective = track.map_or_else(
            || Effective::of_repositories(self, &[repository]),
            |track| Effective::of(self, track),
        );
        effective.questions(self.now)
    }

    /// The repository that is asked for tags and manifests of a track.
    #[must_use]
    pub fn asked<'a>(&'a self, track: &'a Track) -> &'a Repository {
        self.policy.source.as_ref().unwrap_or(&track.repository)
    }

    /// The repository from which a track's image is pulled, where that is a mirror of the one that is asked.
    #[must_use]
    pub fn mirror<'a>(&self, track: &'a Track) -> Option<&'a Repository> {
        let source = self.policy.source.as_ref()?;
        Some(&track.repository).filter(|own| *own != source)
    }
}

/// What a pass knows. Fixed for the rest of the pass.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What the user wants.
    pub policy: Policy,
    /// What was seen.
    pub seen: Seen,
    /// The one time of this pass.
    pub now: Timestamp,
}
