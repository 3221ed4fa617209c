//! Random histories: whatever is pushed, edited, undone or killed, the invariants hold and the end is a state at rest.
//!
//! A history is a script, so a failure prints what can be saved as one, with the seed that brings it up again. The number of
//! histories comes from `ROLLFORWARD_PROPERTY_CASES`; without it, as many as ten seconds allow.

use std::cell::Cell;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use rollforward_core::policy::{OnDeadline, Rollback};
use rollforward_core::rollout::{Phase, Run};
use rollforward_core::workload::Kind;

use crate::kubelet::Behaviour;
use crate::script;
use crate::world::World;

/// The seed of an ordinary run: the same histories every time, so that a build says what the change did.
const SEED: u64 = 20_261_125;
/// How long an ordinary run plays: as many of them as the machine can in that time.
const PLAYED_FOR: Duration = Duration::from_secs(10);

/// What was asked: `ROLLFORWARD_PROPERTY_CASES=10000` plays that many new histories, `ROLLFORWARD_PROPERTY_SEED` the same once
/// more.
fn asked<T: std::str::FromStr>(what: &str) -> Option<T> {
    std::env::var(format!("ROLLFORWARD_PROPERTY_{what}")).ok().and_then(|text| text.parse().ok())
}

fn config(cases: Option<u32>, seed: u64) -> Config {
    // A failure is made smaller for a minute at most.
    Config {
        cases: cases.unwrap_or(1_000),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..Config::default()
    }
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(words)
}

const WORKLOADS: &[&str] = &["web", "web", "web", "api", "db", "db", "agent", "agent", "report"];
const TAGS: &[&str] = &["1.0.1", "1.0.2", "1.0.3", "1.0.4", "1.0.5", "1.0.6", "1.1.0"];
const BEHAVIOURS: &[&str] =
    &["good", "good", "good 30s", "crash 1", "crash 78 after 90s", "never-ready", "oom", "missing"];
const TIMES: &[&str] = &["1s", "3s", "20s", "70s", "3m", "6m", "20m", "7h"];
const EDITS: &[&str] = &[
    "suspend",
    "unsuspend",
    "policy mode=DryRun",
    "policy mode=Enforce",
    "policy bake=1m",
    "policy steps=50%,100%",
    "policy steps=1,50%,100%",
    "policy select=Minor",
    "policy select=Patch",
    "policy soak=10m",
    "policy trust=none",
    "policy soak=0s",
    "policy whenImpossible=RollWithoutCanary",
    "policy onDeadline=Hold",
    "policy deleteBrokenPods=true",
    "policy onDeadline=RollBack",
    "policy rollback=Ask",
    "policy rollback=Never",
    "policy rollback=Automatic",
    "policy approval=Manual",
    "policy approval=Automatic",
    "policy analysis=Promote",
    "policy analysis=Hold",
    "policy analysis=RollBack",
    "policy analysis=none",
    "release",
];
/// Shorter than a canary is held, even twice: an operator that is away for longer leaves the rest to the native controller.
const ABSENCES: &[&str] = &["20s", "3m"];
const WORLD: &[&str] = &[
    "registry down",
    "registry up",
    "registry empty",
    "registry up",
    "quota full",
    "quota free",
    "signal fine",
    "signal bad",
    "signal few",
    "signal silent",
    "pods unreadable",
    "pods readable",
];

/// What a person does to a workload.
fn by_hand() -> impl Strategy<Value = String> + Clone {
    let workload = || one_of(WORKLOADS);
    prop_oneof![
        3 => workload().prop_map(|name| format!("undo {name}")),
        2 => (workload(), one_of(TAGS)).prop_map(|(name, tag)| format!("set-image {name} {tag}")),
        2 => (workload(), 0..9).prop_map(|(name, replicas)| format!("scale {name} {replicas}")),
        1 => workload().prop_map(|name| format!("restart {name}")),
        1 => workload().prop_map(|name| format!("pause {name}")),
        1 => workload().prop_map(|name| format!("resume {name}")),
        1 => (workload(), one_of(&["50% 0", "7 0", "2 1", "0 1", "Recreate", "25% 25%"]))
            .prop_map(|(name, strategy)| format!("strategy {name} {strategy}")),
    ]
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => one_of(TIMES).prop_map(|time| format!("advance {time}")),
        6 => (one_of(TAGS), one_of(BEHAVIOURS)).prop_map(|(tag, does)| format!("push {tag} {does}")),
        1 => (one_of(TAGS), one_of(TAGS)).prop_map(|(tag, from)| format!("retag {tag} {from}")),
        1 => one_of(TAGS).prop_map(|tag| format!("delete-tag {tag}")),
        2 => one_of(EDITS).prop_map(str::to_owned),
        2 => one_of(WORLD).prop_map(str::to_owned),
        1 => Just("approve-any".to_owned()),
        3 => by_hand(),
        2 => by_hand().prop_map(|command| format!("before-next-patch {command}")),
        2 => one_of(ABSENCES).prop_map(|time| format!("dead-for {time}")),
        4 => (0..6).prop_map(|writes| format!("kill-after-write {writes}")),
        3 => one_of(&["ledger", "intent", "patch", "errand", "result", "run", "report", "stray"])
            .prop_map(|kind| format!("kill-before {kind}")),
    ]
}

fn history() -> impl Strategy<Value = Vec<String>> {
    let rolling =
        one_of(&["", "unavailable=2", "unavailable=50%", "unavailable=0 surge=1", "unavailable=0 surge=3"]);
    let sets = (0..5, one_of(&["0", "0", "0", "1"]), one_of(&["OrderedReady", "Parallel"]));
    let others = (0..5, rolling, one_of(&["", "", "suspended"]));
    // The second is what a canary writes where there is less, so that only a longer hold changes it.
    let web = (0..7, one_of(&["", "", "progress=1620", "progress=7200"]));
    let start = (web, 0..4, sets, others);
    let start =
        start.prop_map(|((web, progress), api, (db, partition, management), (agent, rolling, suspended))| {
            let deploys = [
                format!("deploy web {web} 1.0.0 {progress}"),
                format!("deploy api {api} 1.0.0"),
                format!("deploy-set db {db} 1.0.0 partition={partition} {management}"),
                format!("deploy-daemon agent {agent} 1.0.0 {rolling}"),
                format!("deploy-cron report 1.0.0 {suspended}"),
            ];
            let policy = "policy bake=2m deadline=12m retryAfter=15m deferFor=5m".to_owned();
            ["idle-look 15s".to_owned(), policy].into_iter().chain(deploys)
        });
    let lines = prop::collection::vec(line(), 5..40);
    (start, lines).prop_map(|(start, lines)| start.chain(lines).collect())
}

/// After a history: everybody stops, the registry answers, and time passes.
const CALM: &[&str] = &[
    "registry up",
    "quota free",
    "resume web",
    "resume api",
    "signal fine",
    "pods readable",
    "policy suspend=false mode=Enforce onDeadline=RollBack rollback=Automatic approval=Automatic analysis=none soak=0s",
    "approve-all",
    "advance 12h",
];

/// A run whose policy said `onDeadline: Hold`, `Ask` or `Never` when it began waits for a person; one comes, and stays until an operator that
/// dies once more has done it.
const PERSON: &[&str] = &["policy suspend=true", "advance 10m", "policy suspend=false", "advance 12h"];

fn play(lines: &[String]) -> World {
    let mut world = World::new();
    let all = |lines: &mut dyn Iterator<Item = &str>, world: &mut World| {
        for line in lines {
            script::command(world, line);
            world.settle();
        }
    };
    all(&mut lines.iter().map(String::as_str), &mut world);
    world.before_patch = None;
    all(&mut CALM.iter().copied(), &mut world);
    let asks = |run: &&Run| {
        run.settings.on_deadline == OnDeadline::Hold || run.settings.rollback != Rollback::Automatic
    };
    if waiting(&world).any(|run| asks(&run)) {
        let others = waiting(&world).find(|run| !asks(run));
        assert!(others.is_none(), "a run waits for nobody: {others:?}");
        all(&mut PERSON.iter().copied(), &mut world);
    }
    world
}

/// The open runs that nothing but time ends. A CronJob's is watched for as many runs as its test needs, and for as long as one
/// of them hangs.
fn waiting(world: &World) -> impl Iterator<Item = &Run> {
    world.open_runs().filter(|run| run.workload.kind != Kind::CronJob)
}

/// How long the model's operator sleeps at most while a run is open.
const A_LOOK: SignedDuration = SignedDuration::from_mins(1);

/// Where the old version fails in the same way nothing is held against the new one: it is tried again and again, each time
/// until its deadline at most, and the look that sees it.
fn is_retried(world: &World, run: &Run) -> bool {
    let from = &run.containers[0].from;
    let (_, old) = world.registry.pull(from);
    // The tag may name something else by now than what the pods were made from.
    let own = world.deployments.iter().find(|one| one.object.id == run.workload);
    let runs_bad = own.is_some_and(|own| own.pods.iter().any(|pod| pod.image == *from && !pod.is_good()));
    let is_in_time = run.status.deadline.is_none_or(|deadline| world.now <= deadline + A_LOOK);
    (runs_bad || !matches!(old, Behaviour::Good(_))) && is_in_time
}

fn check_rest(world: &World) {
    if waiting(world).any(|run| is_retried(world, run)) {
        return;
    }
    assert!(waiting(world).next().is_none(), "every run ends: {:?}", waiting(world).next());
    world.watch.at_rest(&world.deployments);
    let watched: Vec<&str> = world.open_runs().map(|run| run.track.as_str()).collect();
    for deployment in &world.deployments {
        let object = &deployment.object;
        if world.open_runs().any(|run| run.workload == object.id) {
            continue;
        }
        let runs = [object.updated_replicas, object.total_replicas, object.available_replicas];
        let bad = deployment.has_bad_pods();
        let rests = object.is_settled() && object.available_replicas == object.replicas;
        assert!(bad || rests, "the workload is at rest: {runs:?}");
        let image = deployment.image();
        // `Never` leaves what failed.
        let left = |run: &Run| run.settings.rollback == Rollback::Never && run.status.phase == Phase::Aborted;
        let completed = world.operator.runs.iter().any(|run| {
            let ended = run.status.phase == Phase::Succeeded || left(run);
            run.workload == object.id && ended && run.containers[0].to == image
        });
        // What ran when a run began goes back by its digest where its tag has moved since.
        let went_back =
            |run: &Run| run.workload == object.id && run.containers[0].back.as_deref() == Some(image);
        let completed = completed || world.operator.runs.iter().any(went_back);
        assert!(
            completed || deployment.by_hand.iter().any(|one| one == image),
            "what runs was completed by a run or written by a person: {image}"
        );
    }
    let status = world.operator.status.as_ref().unwrap();
    for track in status.tracks.iter().filter(|track| !watched.contains(&track.key.as_str())) {
        let moving = ["Preparing", "Canary", "Promoting", "RollingBack", "Aborted"].contains(&track.state);
        assert!(!moving, "{}: {}", track.key, track.state);
    }
}

/// Histories that random ones brought up, made small.
const FOUND: &[&str] = &[
    // A person's tag is pushed again, and the version above it fails.
    "deploy web 0 1.0.0; deploy api 0 1.0.0; deploy-set db 2 1.0.0 partition=0 OrderedReady; deploy-daemon agent 1 1.0.0; advance 1s; \
     kill-after-write 0; before-next-patch set-image db 1.0.3; push 1.0.3 good; advance 20s; \
     push 1.0.4 crash 1; push 1.0.3 good",
    // A canary that a quota keeps small waits for a person, and its timed hold ends.
    "deploy web 5 1.0.0; deploy api 0 1.0.0; advance 3m; push 1.0.1 good; advance 6m; quota full; \
     policy onDeadline=Hold; advance 7h",
    // A person changes the workload just before the first patch.
    "deploy web 5 1.0.0; deploy api 0 1.0.0; advance 3m; push 1.0.1 good; \
     before-next-patch restart web; advance 6m; quota full; policy onDeadline=Hold; advance 7h",
    // A DaemonSet's old pods are in part broken: those are replaced without limit.
    "deploy web 0 1.0.0; deploy api 0 1.0.0; deploy-daemon agent 4 1.0.0 unavailable=2; advance 3s; \
     push 1.0.4 good; set-image agent 1.0.4; \
     push 1.0.4 crash 1; advance 1s; push 1.0.5 good",
    "deploy web 0 1.0.0; deploy api 0 1.0.0; deploy-daemon agent 3 1.0.0 unavailable=2; advance 3s; \
     set-image agent 1.0.1; push 1.0.1 crash 78 after 90s; \
     push 1.0.2 good; push 1.0.1 good",
    // The operator dies where a person's wish would be written, and is away for longer than a minute.
    "deploy web 0 1.0.0; deploy api 1 1.0.0; push 1.0.1 never-ready; advance 1s; \
     policy onDeadline=Hold; advance 21m; dead-for 3m; \
     kill-before intent",
    "deploy web 0 1.0.0; deploy api 0 1.0.0; deploy-set db 2 1.0.0 partition=0 OrderedReady; \
     push 1.0.1 never-ready; policy onDeadline=Hold; advance 7h; \
     registry down; kill-after-write 4; dead-for 3m; push 1.0.1 good; advance 70s",
    "deploy web 0 1.0.0; deploy api 0 1.0.0; deploy-daemon agent 1 1.0.0; deploy-cron report 1.0.0; \
     policy onDeadline=Hold; push 1.0.3 never-ready; advance 20m; dead-for 3m; set-image report 1.0.3; \
     push 1.0.4 good; kill-after-write 4",
    // A StatefulSet with a partition goes back, by a person and pod by pod, when the version is released again.
    "deploy web 1 1.0.0; deploy api 1 1.0.0; deploy-set db 3 1.0.0 partition=1 Parallel; push 1.0.1 good; quota full; \
     advance 6m; advance 70s; undo db; release",
    // The tag of a version that crashes is moved to a good one, and what crashes beside it is tried again and again.
    "deploy web 1 1.0.0; deploy api 0 1.0.0; push 1.1.0 good; advance 1s; push 1.0.3 crash 78 after 90s; suspend; \
     advance 3s; set-image web 1.0.3; suspend; advance 1s; retag 1.0.3 1.1.0; advance 1s; \
     push 1.0.4 crash 78 after 90s",
    // Several targets wait for a person at once, and only one is approved for now.
    "policy approval=Manual; deploy web 1 1.0.0; deploy api 0 1.0.0; deploy-set db 0 1.0.0 partition=0 OrderedReady; \
     deploy-daemon agent 0 1.0.0; push 1.0.1 good; advance 6m; approve-any; advance 3m",
    // A person goes back, on a DaemonSet, to the very version that is tried again at that moment: it is watched, and fails.
    "deploy web 0 1.0.0; deploy api 0 1.0.0; deploy-daemon agent 1 1.0.0; push 1.0.1 crash 1; advance 6m; \
     before-next-patch undo agent; advance 20m",
];

#[test]
fn histories_that_were_found_stay_mended() {
    for found in FOUND {
        let start = ["idle-look 15s", "policy bake=2m deadline=12m retryAfter=15m deferFor=5m"];
        let lines: Vec<String> = start.into_iter().chain(found.split("; ")).map(str::to_owned).collect();
        let ended = std::panic::catch_unwind(|| check_rest(&play(&lines)));
        assert!(ended.is_ok(), "see above: {found}");
    }
}

#[test]
fn no_history_breaks_an_invariant_and_every_history_ends_at_rest() {
    let cases: Option<u32> = asked("CASES");
    let new = || cases.map(|_| RandomState::new().build_hasher().finish());
    let seed = asked("SEED").or_else(new).unwrap_or(SEED);
    let (started, played, failed) = (Instant::now(), Cell::new(0), Cell::new(false));
    let ended = TestRunner::new(config(cases, seed)).run(&history(), |lines| {
        // One that failed is made smaller all the same.
        if cases.is_none() && PLAYED_FOR < started.elapsed() && !failed.get() {
            return Ok(());
        }
        played.set(played.get() + 1);
        let ended = std::panic::catch_unwind(|| check_rest(&play(&lines)));
        ended.map_err(|panic| {
            failed.set(true);
            let said = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let mut text = said.unwrap_or_default();
            write!(text, "\n{}\n{}", lines.join("\n"), CALM.join("\n")).unwrap();
            TestCaseError::fail(text)
        })
    });
    eprintln!("{} histories of ROLLFORWARD_PROPERTY_SEED={seed}", played.get());
    ended.unwrap_or_else(|error| panic!("{error}"));
}
