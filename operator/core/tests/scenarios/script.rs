//! The commands of a script, and the transcript that running one leaves.
//!
//! A line is a command or a comment; the transcript repeats each and adds what `show` shows: conditions, tracks, `why`, Events
//! since the last look, pods. That is what a user would read at that moment. `record` adds the record of the newest run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rollforward_core::approval;
use rollforward_core::image::{ImageRef, Tag};
use rollforward_core::levers::{Asked, Lever, Pause, Request};
use rollforward_core::reason::Reason;
use rollforward_core::rollout::Run;
use rollforward_core::rollout::run::Fields;
use rollforward_core::text;
use rollforward_core::workload::{DaemonRolling, Pod, Shape, StatefulSet, Strategy};

use crate::build;
use crate::kubelet::Behaviour;
use crate::native::{self, Deployment};
use crate::registry::Door;
use crate::world::{Measured, World};

/// Runs a script; the transcript is what it leaves.
pub fn run(script: &str) -> String {
    let mut world = World::new();
    let mut transcript = String::new();
    for line in script.lines().map(str::trim_end) {
        if line.is_empty() || line.starts_with('#') {
            writeln!(transcript, "{line}").unwrap();
            continue;
        }
        writeln!(transcript, "> {line}").unwrap();
        for said in command(&mut world, line).lines() {
            writeln!(transcript, "{}", format!("  {said}").trim_end()).unwrap();
        }
        world.settle();
    }
    transcript
}

/// Carries out one command; the answer is what it prints.
pub fn command(world: &mut World, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    world.wake();
    match words.as_slice() {
        ["advance", by] => world.advance(build::duration(by)),
        ["show"] => return show(world),
        ["record"] => return record(world),
        ["policy", fields @ ..] => policy(world, fields),
        ["suspend"] => policy(world, &["suspend=true"]),
        ["unsuspend"] => policy(world, &["suspend=false"]),
        ["delete-policy"] => {
            if let Some(policy) = &mut world.policy {
                policy.deleting = true;
                policy.generation += 1;
                world.operator.next_look = world.now;
            }
        }
        ["release"] => {
            world.operator.ledger.release(None);
            world.watch.released();
            world.operator.next_look = world.now;
        }
        ["lever", verb, rest @ ..] => lever(world, verb, rest),
        ["push", tag, behaviour @ ..] => push(world, tag, behaviour),
        ["behaves", tag, behaviour @ ..] => {
            let digest = world.registry.tags.get(&build::tag(tag)).cloned().unwrap();
            world.registry.behaviours.insert(digest, Behaviour::parse(behaviour));
        }
        ["label", tag, version] => {
            if let Some(digest) = world.registry.tags.get(&build::tag(tag)).cloned() {
                world.registry.labels.insert(digest, (*version).to_owned());
            }
        }
        ["sign", tag, authority] => {
            if let Some(digest) = world.registry.tags.get(&build::tag(tag)).cloned() {
                world.registry.signers.entry(digest).or_default().push((*authority).to_owned());
            }
        }
        ["retag", tag, from] => {
            let digest = world.registry.tags.get(&build::tag(from)).cloned();
            if let Some(digest) = digest {
                world.registry.tags.insert(build::tag(tag), digest);
            }
        }
        ["delete-tag", tag] => {
            world.registry.tags.remove(&build::tag(tag));
        }
        ["registry" | "quota" | "pods" | "signal", state] => surroundings(world, words[0], state),
        // Where a run waits for it.
        ["approve-any"] | ["approve-all"] => {
            let awaits = |run: &&mut Run| run.status.finished_at.is_none() && approval::awaited(run);
            let n = if words == ["approve-any"] { 1 } else { usize::MAX };
            for run in world.operator.runs.iter_mut().filter(awaits).take(n) {
                run.levers.approval = Some(Lever { by: "alice".to_owned(), at: Some(world.now) });
                world.operator.next_look = world.now;
            }
        }
        ["kill-after-write", writes] => world.operator.dies_after = Some(writes.parse().unwrap()),
        ["kill-before", kind] => world.operator.dies_before = Some((*kind).to_owned()),
        ["dead-for", time] => world.operator.dead_for = build::duration(time),
        ["before-next-patch", rest @ ..] => world.before_patch = Some(rest.join(" ")),
        ["idle-look", time] => world.idle_look = build::duration(time),
        ["writes", state] => writes(world, state),
        [
            "deploy" | "deploy-set" | "deploy-daemon" | "deploy-cron" | "deploy-argo" | "deploy-flagger",
            name,
            rest @ ..,
        ] => deploy(world, words[0], name, rest),
        ["told", name, phase, rest @ ..] => {
            let found = world.deployments.iter_mut().find(|one| one.object.id.name == *name);
            crate::delegates::told(found.unwrap(), phase, rest, world.now);
            world.operator.next_look = world.now;
        }
        [verb, name, rest @ ..] => return person(world, verb, name, rest),
        _ => panic!("unknown command: {line}"),
    }
    String::new()
}

/// What answers the operator, and how: `registry down`, `quota full`, `pods unreadable`, `signal bad`.
fn surroundings(world: &mut World, what: &str, state: &str) {
    match (what, state) {
        ("registry", "up") => world.registry.door = Door::Up,
        ("registry", "down") => world.registry.door = Door::Down,
        ("registry", "empty") => world.registry.door = Door::Empty,
        ("quota", room) => quota(world, room),
        ("pods", _) => {
            world.unreadable = state == "unreadable";
            world.operator.next_look = world.now;
        }
        ("signal", "fine") => world.measured = Measured::Fine,
        ("signal", "bad") => world.measured = Measured::Bad,
        ("signal", "few") => world.measured = Measured::Few,
        ("signal", "silent") => world.measured = Measured::Silent,
        _ => panic!("unknown command: {what} {state}"),
    }
}

/// What the apiserver answers to every patch from now on.
fn writes(world: &mut World, state: &str) {
    let down = "the write to deployments.apps was refused, for a webhook does not answer: failed calling webhook \"guard\". Tried again by itself";
    world.refuses = match state {
        "well" => None,
        "webhook-down" => Some((Reason::WebhookDown, down.to_owned())),
        "conflict" => Some((Reason::WriteConflict, "another generation".to_owned())),
        _ => panic!("writes {state}"),
    };
}

/// `full`, `free`, or room for so many more pods.
fn quota(world: &mut World, room: &str) {
    let room = if room == "full" { Some(0) } else { room.parse::<usize>().ok() };
    for deployment in &mut world.deployments {
        deployment.quota = room.map(|room| deployment.pods.len() + room);
    }
}

/// `deploy web 4 1.0.0 progress=600`, `deploy-set db 4 1.0.0 partition=1 Parallel`, `deploy-daemon agent 4 1.0.0 unavailable=0 surge=1`, `deploy-cron job 1.0.0 suspended`.
fn deploy(world: &mut World, kind: &str, name: &str, words: &[&str]) {
    let (replicas, tag, rest) = match (kind, words) {
        ("deploy-cron", [tag, rest @ ..]) => (0, *tag, rest),
        (_, [replicas, tag, rest @ ..]) => (replicas.parse().unwrap(), *tag, rest),
        _ => panic!("{kind} {name} {words:?}"),
    };
    if !world.registry.tags.contains_key(&build::tag(tag)) {
        push(world, tag, &[]);
    }
    let image = format!("{}:{tag}", build::REPOSITORY);
    let mut deployment = match kind {
        "deploy-set" => {
            let partition = rest.iter().find_map(|word| word.strip_prefix("partition="));
            let own = StatefulSet {
                partition: partition.map_or(0, |text| text.parse().unwrap()),
                on_delete: rest.contains(&"OnDelete"),
                is_ordered: !rest.contains(&"Parallel"),
                is_one_revision: false,
            };
            Deployment::of(build::stateful_set(name, replicas, &image, own), &image)
        }
        "deploy-daemon" => {
            let of = |field: &str| rest.iter().find_map(|word| word.strip_prefix(field));
            let rolling = DaemonRolling {
                max_unavailable: build::share(of("unavailable=").unwrap_or("1")),
                max_surge: build::share(of("surge=").unwrap_or("0")),
            };
            Deployment::of(build::daemon_set(name, replicas, &image, rolling), &image)
        }
        "deploy-cron" => Deployment::of(build::cron_job(name, &image, rest.contains(&"suspended")), &image),
        "deploy-argo" | "deploy-flagger" => {
            Deployment::of(crate::delegates::workload(kind, name, replicas, &image, world.now), &image)
        }
        _ => {
            let mut object = build::workload(name, replicas, &image);
            let progress = rest.iter().find_map(|word| word.strip_prefix("progress="));
            if let Some(seconds) = progress {
                build::deployment(&mut object).progress_deadline_seconds = seconds.parse().unwrap();
            }
            Deployment::of(object, &image)
        }
    };
    if kind == "deploy-cron" {
        deployment.next_run = world.now + build::duration("1h");
    }
    world.deployments.push(deployment);
    world.operator.next_look = world.now;
}

fn policy(world: &mut World, fields: &[&str]) {
    let Some(policy) = &mut world.policy else { return };
    for field in fields {
        let (name, value) = field.split_once('=').unwrap();
        build::edit(policy, name, value);
    }
    // The operator starts with the first workload: what is set up before is one state of the world.
    if !world.deployments.is_empty() {
        policy.generation += 1;
        world.operator.next_look = world.now;
    }
}

fn push(world: &mut World, tag: &str, behaviour: &[&str]) {
    let registry = &mut world.registry;
    registry.pushes += 1;
    let digest = build::digest(&format!("{tag} {}", registry.pushes));
    registry.behaviours.insert(digest.clone(), Behaviour::parse(behaviour));
    registry.tags.insert(build::tag(tag), digest);
}

/// What a person, alice, asks by a command of the operator's own command line.
fn lever(world: &mut World, verb: &str, rest: &[&str]) {
    let lever = Lever { by: "alice".to_owned(), at: Some(world.now) };
    let ask = |what, digest| Asked { what, digest, lever: lever.clone() };
    let digest = rest.first().and_then(|named| world.registry.tags.get(&build::tag(named)).cloned());
    match verb {
        "pause" => world.paused = Some(Pause::Policy(lever)),
        "pause-all" => world.paused = Some(Pause::Everywhere(lever)),
        "resume" => {
            world.paused = None;
            world.asked.push(ask(Request::Resume, None));
        }
        "retry" => world.asked.push(ask(Request::Retry, digest)),
        "release" => world.asked.push(ask(Request::Release, digest)),
        "abort" | "promote" | "approve" => {
            let open = world.operator.runs.iter_mut().find(|run| run.status.finished_at.is_none());
            let run = open.unwrap_or_else(|| panic!("no open run for {verb}"));
            let place = match verb {
                "abort" => &mut run.levers.abort,
                "promote" => &mut run.levers.promote,
                _ => &mut run.levers.approval,
            };
            *place = Some(lever);
        }
        _ => panic!("unknown lever {verb}"),
    }
    if matches!(verb, "retry" | "release") {
        world.watch.released();
    }
    world.operator.next_look = world.now;
}

/// What a person does to a workload.
fn person(world: &mut World, verb: &str, name: &str, rest: &[&str]) -> String {
    world.watch.person(name, &world.operator.runs);
    if verb == "delete" {
        world.deployments.retain(|one| one.object.id.name != name);
        return String::new();
    }
    let now = world.now;
    let Some(deployment) = world.deployments.iter_mut().find(|one| one.object.id.name == name) else {
        panic!("no workload {name} for {verb}");
    };
    match (verb, rest) {
        ("undo", []) => {
            if !deployment.undo(now) {
                return "error: no rollout history found, or the Deployment is paused".to_owned();
            }
        }
        ("set-image", [tag]) => {
            deployment.set_image(format!("{}:{tag}", build::REPOSITORY), "kubectl-set", now);
        }
        ("scale", _) if matches!(deployment.object.shape, Shape::DaemonSet(_) | Shape::CronJob(_)) => {}
        ("scale", [replicas]) => {
            deployment.object.replicas = replicas.parse().unwrap();
            deployment.change();
        }
        ("delete-pod", [pod]) => deployment.remove(pod),
        ("partition", [partition]) => {
            let Shape::StatefulSet(own) = &mut deployment.object.shape else { panic!("{verb} {name}") };
            own.partition = partition.parse().unwrap();
            deployment.wanted = Fields::StatefulSet(own.partition);
            deployment.change();
        }
        ("empty-set", [set]) => deployment.empty_set(set),
        ("restart", []) => deployment.restart(),
        ("sidecar", []) => deployment.sidecar(),
        ("pause" | "resume", []) if deployment.object.deployment().is_some() => {
            build::deployment(&mut deployment.object).paused = verb == "pause";
            deployment.change();
        }
        ("pause" | "resume" | "strategy", _) if deployment.object.deployment().is_none() => {}
        ("strategy", ["Recreate"]) => strategy(deployment, Strategy::Recreate),
        ("strategy", [surge, unavailable]) => {
            let (max_surge, max_unavailable) = (build::share(surge), build::share(unavailable));
            strategy(deployment, Strategy::RollingUpdate { max_surge, max_unavailable });
        }
        _ => panic!("unknown command: {verb} {name} {rest:?}"),
    }
    world.operator.next_look = now;
    String::new()
}

/// A person writes a strategy. A value that they leave as it is stays the canary's, where it is the canary's.
fn strategy(deployment: &mut Deployment, strategy: Strategy) {
    let own = build::deployment(&mut deployment.object);
    let (surge, unavailable) = native::changed(&own.strategy, &strategy);
    native::write_strategy(own, strategy.clone(), true);
    if let Fields::Deployment(wanted) = &mut deployment.wanted {
        wanted.strategy = match (&wanted.strategy, strategy) {
            (
                Strategy::RollingUpdate { max_surge: surge_before, max_unavailable: unavailable_before },
                Strategy::RollingUpdate { max_surge, max_unavailable },
            ) => Strategy::RollingUpdate {
                max_surge: if surge { max_surge } else { surge_before.clone() },
                max_unavailable: if unavailable { max_unavailable } else { unavailable_before.clone() },
            },
            (_, strategy) => strategy,
        };
    }
    deployment.change();
}

/// What a user reads at this moment.
fn show(world: &mut World) -> String {
    world.settle();
    let mut out = format!("{}\n", text::instant_seconds(world.now));
    if let Some(status) = world.operator.status.as_ref().filter(|_| world.policy.is_some()) {
        for condition in &status.conditions {
            let state = if condition.is_true { "True" } else { "False" };
            writeln!(out, "{} {state}: {}", condition.kind.name(), condition.message).unwrap();
        }
        for track in &status.tracks {
            let until =
                track.until.map_or(String::new(), |at| format!(" until {}", text::instant_seconds(at)));
            let (name, state) = (&track.workload, track.state);
            writeln!(out, "{name}: {state}{until}, current {}, latest {}", track.current, track.latest)
                .unwrap();
        }
        writeln!(out, "Why:").unwrap();
        for line in &status.why {
            writeln!(out, "  {line}").unwrap();
        }
    } else {
        writeln!(out, "The policy is gone.").unwrap();
    }
    writeln!(out, "Events:").unwrap();
    for (at, event) in world.events.drain(..) {
        let kind = if event.warning { "Warning" } else { "Normal" };
        writeln!(out, "  {} {kind} {}: {}", text::instant_seconds(at), event.reason, event.note).unwrap();
    }
    for deployment in &world.deployments {
        writeln!(out, "{}", pods(deployment)).unwrap();
    }
    if 0 < world.operator.killed {
        writeln!(out, "Operator killed: {}", world.operator.killed).unwrap();
        world.operator.killed = 0;
    }
    out
}

/// The record of the newest run: every write field by field, and what comes next.
fn record(world: &mut World) -> String {
    world.settle();
    let Some(run) = world.operator.runs.last() else { return "no run".to_owned() };
    let mut out = format!("{} of generation {}\n", run.name, run.policy_generation);
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(nothing)".to_owned());
    for write in &run.status.writes {
        writeln!(out, "{} {}", text::instant_seconds(write.at), write.what).unwrap();
        for one in &write.changes {
            writeln!(out, "  {}: {} -> {}", one.field, shown(&one.before), shown(&one.after)).unwrap();
        }
    }
    if let Some(next) = &run.status.next {
        let at = next.at.map_or(String::new(), |at| format!(" at {}", text::instant_seconds(at)));
        writeln!(out, "Next: {}{at}: {}", next.action.name(), next.message).unwrap();
    }
    out
}

/// The pods by version: `web: 4 of 1.0.0 (4 Ready), 1 of 1.0.1 (0 Ready); maxSurge ...`.
fn pods(deployment: &Deployment) -> String {
    if deployment.object.delegate.is_some() {
        return crate::delegates::shown(deployment);
    }
    if let Some(cron) = deployment.object.cron_job() {
        let template = ImageRef::parse(deployment.image()).unwrap();
        let runs: Vec<String> = cron
            .jobs
            .iter()
            .map(|job| {
                let image = ImageRef::parse(&job.images[build::CONTAINER]).unwrap();
                format!("{} {:?}", image.tag.as_ref().map_or("untagged", Tag::as_str), job.end)
            })
            .collect();
        let tag = template.tag.as_ref().map_or("untagged", Tag::as_str);
        return format!("Runs of {}: {}; template {tag}", deployment.object.id.name, runs.join(", "));
    }
    let mut versions: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for pod in deployment.pods() {
        let count = versions.entry(version(&pod)).or_default();
        count.0 += 1;
        count.1 += usize::from(pod.ready_since.is_some());
    }
    let all: Vec<String> = versions
        .iter()
        .map(|(version, (pods, ready))| format!("{pods} of {version} ({ready} Ready)"))
        .collect();
    let object = &deployment.object;
    let held = match (&object.shape, &deployment.wanted) {
        (Shape::Deployment(own), Fields::Deployment(wanted))
            if own.min_ready_seconds != wanted.min_ready_seconds =>
        {
            ", held".to_owned()
        }
        (Shape::StatefulSet(own), Fields::StatefulSet(wanted)) if own.partition != *wanted => {
            format!(", held by partition {}", own.partition)
        }
        _ => String::new(),
    };
    let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    format!("Pods of {}: {all}; {} wanted{held}", object.id.name, object.replicas)
}

fn version(pod: &Pod) -> String {
    let image = ImageRef::parse(&pod.containers[0].image).unwrap();
    image.tag.as_ref().map_or("untagged", Tag::as_str).to_owned()
}
