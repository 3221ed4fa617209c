//! The one place where tests build `Policy`, `Facts`, `Workload` and what hangs on them.
//!
//! A new field is filled in here once; rows and scripts never name a field. The texts are those that the scripts use.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use rollforward_core::evidence::{
    Answer, Attached, Content, Item, Manifest, Place, Platform, Signer, Unknown, Verifier,
};
use rollforward_core::image::{Digest, ImageRef, Repository, Tag};
use rollforward_core::ledger::Ledger;
use rollforward_core::policy::{
    Analysis, Approval, Concurrency, Facts, HoldMode, Mode, OnDeadline, OnExternalChange, OnInsufficientData,
    OnUnknown, Policy, PolicyId, Rebuilds, RepositorySeen, Rollback, RolloutSettings, Seen, Signal, StepSize,
    Track, WhenImpossible,
};
use rollforward_core::reason::Reason;
use rollforward_core::rollout::{OpenRun, Phase, Run};
use rollforward_core::scan::Scan;
use rollforward_core::select::{Level, Rule, TagFilter, VariantMode};
use rollforward_core::trust::{Authority, Decision, Means, Origin, Soak, Unsigned};
use rollforward_core::version::range::Range;
use rollforward_core::workload::{
    Container, ContainerState, ContainerStatus, CronJob, DaemonRolling, DaemonSet, Deployment,
    ForeignStrategy, IntOrPercent, Kind, LastWords, Pod, Restrictions, Revision, Shape, StatefulSet,
    Strategy, Termination, Workload, WorkloadId,
};

/// The repository of every scenario.
pub const REPOSITORY: &str = "ghcr.io/acme/web";
/// The container of every workload.
pub const CONTAINER: &str = "app";

pub fn repository() -> Repository {
    Repository::parse(REPOSITORY).unwrap()
}

pub fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

/// A digest that differs for every content; its first letters are what a sentence shows.
pub fn digest(content: &str) -> Digest {
    let hash = content.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Digest::parse(&format!("sha256:{}", format!("{hash:016x}").repeat(4))).unwrap()
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Reads `90s`, `30m`, `6h` or `2d`.
pub fn duration(text: &str) -> SignedDuration {
    // `5m30s` is the sum of its parts.
    if let Some(at) = text.find(|letter: char| letter.is_ascii_alphabetic()).filter(|at| at + 1 < text.len())
    {
        let (one, rest) = text.split_at(at + 1);
        return duration(one) + duration(rest);
    }
    let (number, unit) = text.split_at(text.len().checked_sub(1).unwrap());
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => panic!("a duration is 90s, 30m, 6h or 2d, got {text}"),
    };
    SignedDuration::from_secs(number.parse::<i64>().unwrap() * seconds)
}

pub fn share(text: &str) -> IntOrPercent {
    match text.strip_suffix('%') {
        Some(percent) => IntOrPercent::Percent(percent.parse().unwrap()),
        None => IntOrPercent::Int(text.parse().unwrap()),
    }
}

fn step(text: &str) -> StepSize {
    match share(text) {
        IntOrPercent::Int(pods) => StepSize::Pods(pods),
        IntOrPercent::Percent(percent) => StepSize::Percent(percent),
    }
}

/// The policy that a script starts with: patches at once, one pod, a quarter, all.
pub fn policy() -> Policy {
    Policy {
        id: PolicyId { namespace: "shop".to_owned(), name: "web".to_owned(), uid: "policy-1".to_owned() },
        generation: 1,
        deleting: false,
        mode: Mode::Enforce,
        suspend: false,
        source: None,
        rule: Rule::Level(Level::Patch),
        rule_text: "Patch".to_owned(),
        variant: VariantMode::Keep,
        filter: TagFilter::default(),
        rebuilds: Rebuilds::Auto,
        allow_downgrade: false,
        on_external_change: OnExternalChange::Hold,
        adopt: false,
        interval: duration("5m"),
        trust: Some(unsigned(SignedDuration::ZERO)),
        soak_unsigned: rollforward_core::trust::SOAK_UNSIGNED,
        rollout: settings(),
        defer_for: duration("1h"),
    }
}

/// What a registry has attached to a digest that these signed, each with a key of their name.
pub fn attached(signers: Option<&Vec<String>>) -> Answer<Attached> {
    let item = |signer: &String| Item {
        place: Place::Referrers,
        content: Content::Signature { repository: None, annotations: BTreeMap::new() },
        checks: [(Verifier::Key { pem: signer.clone() }, Ok(Signer::default()))].into(),
    };
    let items: Vec<Item> = signers.into_iter().flatten().map(item).collect();
    let looked_in = vec![(Place::Referrers, Answer::Found(items.len()))];
    Answer::Found(Attached { items, looked_in, n_left_out: 0, exhausted: None })
}

/// The short form: unsigned images, known for so long.
pub fn unsigned(soak: SignedDuration) -> Decision {
    Decision {
        unsigned: Some(Unsigned::Allow),
        soak: Soak { routine: None, unsigned: Some(soak) },
        ..Decision::new(Origin::UpdatePolicy)
    }
}

pub fn settings() -> RolloutSettings {
    RolloutSettings {
        steps: vec![StepSize::Pods(1), StepSize::Percent(25), StepSize::Percent(100)],
        bake: duration("10m"),
        deadline: duration("60m"),
        on_deadline: OnDeadline::RollBack,
        hold: HoldMode::Timed,
        when_impossible: WhenImpossible::Hold,
        approval: Approval::Automatic,
        rollback: Rollback::Automatic,
        after_fails: 2,
        retry_after: duration("30m"),
        delete_broken_pods: false,
        analysis: None,
    }
}

/// Changes one field of a policy, as a script writes it: `soak=24h`.
pub fn edit(policy: &mut Policy, field: &str, value: &str) {
    match field {
        "soak" => policy.trust = Some(unsigned(duration(value))),
        "authority" => {
            policy.trust = Some(Decision {
                authorities: vec![Authority {
                    name: value.to_owned(),
                    means: Means::Key { pem: value.to_owned() },
                    require_log: false,
                }],
                soak: Soak { routine: Some(SignedDuration::ZERO), unsigned: None },
                ..Decision::new(Origin::UpdatePolicy)
            });
        }
        "trust" => policy.trust = (value != "none").then(|| unsigned(SignedDuration::ZERO)),
        "mode" => policy.mode = if value == "DryRun" { Mode::DryRun } else { Mode::Enforce },
        "suspend" => policy.suspend = value == "true",
        "onExternalChange" => {
            policy.on_external_change =
                if value == "Reapply" { OnExternalChange::Reapply } else { OnExternalChange::Hold };
        }
        "adopt" => policy.adopt = value == "Allow",
        "rebuilds" => {
            policy.rebuilds = match value {
                "Follow" => Rebuilds::Follow,
                "Hold" => Rebuilds::Hold,
                _ => Rebuilds::Auto,
            }
        }
        "downgrade" => policy.allow_downgrade = value == "Allow",
        "select" => {
            value.clone_into(&mut policy.rule_text);
            policy.rule = match value {
                "Patch" => Rule::Level(Level::Patch),
                "Minor" => Rule::Level(Level::Minor),
                "Major" => Rule::Level(Level::Major),
                digest if digest.starts_with("digest:") => {
                    Rule::Digest(tag(digest.trim_start_matches("digest:")))
                }
                range => Rule::Semver(Range::parse(range).unwrap()),
            };
        }
        "interval" => policy.interval = duration(value),
        "deferFor" => policy.defer_for = duration(value),
        "steps" => policy.rollout.steps = value.split(',').map(step).collect(),
        "bake" => policy.rollout.bake = duration(value),
        "deadline" => policy.rollout.deadline = duration(value),
        "onDeadline" => {
            policy.rollout.on_deadline =
                if value == "Hold" { OnDeadline::Hold } else { OnDeadline::RollBack };
        }
        "hold" => {
            policy.rollout.hold = if value == "Timed" { HoldMode::Timed } else { HoldMode::Indefinite };
        }
        "whenImpossible" => {
            policy.rollout.when_impossible =
                if value == "Hold" { WhenImpossible::Hold } else { WhenImpossible::RollWithoutCanary };
        }
        "approval" => {
            policy.rollout.approval = if value == "Manual" { Approval::Manual } else { Approval::Automatic };
        }
        "rollback" => {
            policy.rollout.rollback = match value {
                "Ask" => Rollback::Ask,
                "Never" => Rollback::Never,
                _ => Rollback::Automatic,
            };
        }
        "analysis" => policy.rollout.analysis = (value != "none").then(|| analysis(value)),
        "retryAfter" => policy.rollout.retry_after = duration(value),
        "deleteBrokenPods" => policy.rollout.delete_broken_pods = value == "true",
        "afterFails" => policy.rollout.after_fails = value.parse().unwrap(),
        _ => panic!("unknown field of a policy: {field}"),
    }
}

/// One signal, `errors`, of at least 20 requests.
fn analysis(on_insufficient: &str) -> Analysis {
    Analysis {
        url: "http://prometheus.monitoring:9090".to_owned(),
        signals: vec![Signal {
            name: "errors".to_owned(),
            canary: "sum(errors)".to_owned(),
            stable: None,
            requests: Some("sum(requests)".to_owned()),
            max: "0.05".to_owned(),
            max_ratio: None,
            min_requests: Some(20),
            on_unknown: OnUnknown::Wait,
        }],
        on_insufficient: match on_insufficient {
            "Hold" => OnInsufficientData::Hold,
            "RollBack" => OnInsufficientData::RollBack,
            _ => OnInsufficientData::Promote,
        },
    }
}

/// A Deployment at rest under the native defaults.
pub fn workload(name: &str, replicas: i32, image: &str) -> Workload {
    Workload {
        id: WorkloadId {
            kind: Kind::Deployment,
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            uid: format!("uid-{name}"),
        },
        generation: 1,
        observed_generation: 1,
        deleting: false,
        replicas,
        updated_replicas: replicas,
        total_replicas: replicas,
        available_replicas: replicas,
        containers: vec![Container {
            name: CONTAINER.to_owned(),
            index: 0,
            init: false,
            image: image.to_owned(),
        }],
        annotated_run: None,
        keeper: None,
        delegate: None,
        image_writer: None,
        shape: Shape::Deployment(Deployment {
            paused: false,
            strategy: native_strategy(),
            foreign: ForeignStrategy { max_surge: true, max_unavailable: true },
            min_ready_seconds: 0,
            progress_deadline_seconds: 600,
        }),
    }
}

/// A StatefulSet at rest.
pub fn stateful_set(name: &str, replicas: i32, image: &str, own: StatefulSet) -> Workload {
    let mut workload = workload(name, replicas, image);
    workload.id.kind = Kind::StatefulSet;
    workload.shape = Shape::StatefulSet(own);
    workload
}

/// A DaemonSet on so many nodes.
pub fn daemon_set(name: &str, nodes: i32, image: &str, rolling: DaemonRolling) -> Workload {
    let mut workload = workload(name, nodes, image);
    workload.id.kind = Kind::DaemonSet;
    workload.shape = Shape::DaemonSet(DaemonSet { rolling: Some(rolling), is_critical: false });
    workload
}

/// A CronJob without a run.
pub fn cron_job(name: &str, image: &str, is_suspended: bool) -> Workload {
    let mut workload = workload(name, 0, image);
    workload.id.kind = Kind::CronJob;
    workload.shape = Shape::CronJob(CronJob { is_suspended, jobs: Vec::new() });
    workload
}

/// What only a Deployment has, to be changed.
pub fn deployment(workload: &mut Workload) -> &mut Deployment {
    match &mut workload.shape {
        Shape::Deployment(own) => own,
        other => panic!("a Deployment, got {other:?}"),
    }
}

/// What the apiserver writes where the user wrote no strategy.
pub fn native_strategy() -> Strategy {
    Strategy::RollingUpdate {
        max_surge: IntOrPercent::Percent(25),
        max_unavailable: IntOrPercent::Percent(25),
    }
}

pub fn revision(name: &str, revision: i64, image: &str, replicas: i32) -> Revision {
    Revision {
        name: name.to_owned(),
        revision,
        images: BTreeMap::from([(CONTAINER.to_owned(), image.to_owned())]),
        replicas,
        create_failure: None,
    }
}

/// A pod that runs its one container and is not Ready yet.
pub fn pod(name: &str, owner: &str, image: &str, created_at: Timestamp) -> Pod {
    Pod {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        node: Some("node-a".to_owned()),
        owner: owner.to_owned(),
        created_at,
        ready_since: None,
        deleting: false,
        phase: "Running".to_owned(),
        refusal: None,
        unschedulable: None,
        disruption: None,
        containers: vec![container(CONTAINER, image, created_at)],
        warnings: Vec::new(),
        egress_policies: Vec::new(),
    }
}

pub fn container(name: &str, image: &str, started_at: Timestamp) -> ContainerStatus {
    ContainerStatus {
        name: name.to_owned(),
        init: false,
        image: image.to_owned(),
        running_digest: ImageRef::parse(image).ok().and_then(|image| image.digest),
        ready: false,
        restarts: 0,
        state: ContainerState::Running { started_at: Some(started_at) },
        last_end: None,
        memory_limit: None,
        restrictions: Restrictions::default(),
        last_words: LastWords::NotAsked,
    }
}

pub fn ended(exit_code: i32, reason: &str, message: &str, finished_at: Timestamp) -> Termination {
    Termination {
        exit_code,
        signal: None,
        reason: reason.to_owned(),
        message: message.to_owned(),
        started_at: None,
        finished_at: Some(finished_at),
    }
}

/// One workload's container as a track of a policy.
pub fn track(workload: Workload, revisions: Vec<Revision>, pods: Vec<Pod>) -> Track {
    let containers = workload
        .containers
        .iter()
        .filter(|container| container.name == CONTAINER)
        .map(|container| (container.clone(), ImageRef::parse(&container.image).unwrap()))
        .collect();
    Track {
        key: format!("{}/{}/{CONTAINER}", workload.id.kind, workload.id.name),
        workload,
        repository: repository(),
        containers,
        revisions,
        pods,
        conflict: None,
        busy: None,
        unreadable: None,
    }
}

pub fn platform(text: &str) -> Platform {
    let (os, architecture) = text.split_once('/').unwrap();
    Platform::new(os, architecture)
}

pub fn manifest(digest: &Digest, platforms: &[&str]) -> Manifest {
    Manifest {
        digest: digest.clone(),
        platforms: platforms.iter().map(|text| platform(text)).collect::<BTreeSet<_>>(),
        version: None,
        child: None,
        images: BTreeMap::new(),
        shape: None,
    }
}

pub fn scan(tags: &[&str], at: Timestamp) -> Answer<Scan> {
    Answer::Found(Scan::whole(tags.iter().map(|tag| (*tag).to_owned()).collect(), at))
}

pub fn unknown<T>(reason: Reason, message: &str) -> Answer<T> {
    Answer::Unknown(Unknown { reason, message: message.to_owned(), retry_at: None })
}

/// What a pass sees: tracks of the one repository, and the policy's runs.
pub fn facts(
    policy: Policy,
    tracks: Vec<Track>,
    (scan, ledger): (Answer<Scan>, Ledger),
    (open_runs, last_runs): (Vec<OpenRun>, Vec<Run>),
    now: Timestamp,
) -> Facts {
    // As in the cluster: neither a run that waits for its approval nor that of a CronJob takes a place.
    let takes = |open: &&OpenRun| {
        open.run.workload.kind != Kind::CronJob && open.run.status.phase != Phase::AwaitingApproval
    };
    let open = open_runs.iter().filter(takes).count();
    Facts {
        policy,
        seen: Seen {
            tracks,
            untracked: Vec::new(),
            repositories: BTreeMap::from([(repository(), RepositorySeen { scan, ledger })]),
            platforms: BTreeSet::from([platform("linux/amd64")]),
            open_runs,
            last_runs,
            decisions: Vec::new(),
            roots: BTreeMap::new(),
            exceptions: Vec::new(),
            obstacles: Vec::new(),
            concurrency: Concurrency {
                namespace_open: open,
                per_namespace: 2,
                cluster_open: open,
                cluster: 50,
            },
            paused: None,
            asked: Vec::new(),
            unstarted: BTreeMap::new(),
            trying: BTreeMap::new(),
            crowd: BTreeMap::new(),
            incident: None,
            requested: false,
            namespace_deleting: false,
        },
        now,
    }
}
