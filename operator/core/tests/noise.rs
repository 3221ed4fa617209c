//! Good images on noisy ground, many seeds: how often are they rolled back, and how often is a bad one caught beside them.
//!
//! New and old pods behave by the same rates: nothing that the judge may hold against the new ones. Time runs in steps of
//! five seconds; each step shows the pods as a kubelet would. `SEEDS=20000` runs more histories. Budget: 1 in 100.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

#[path = "scenarios/build.rs"]
mod build;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rollforward_core::judge::{Blame, Judgement, Observation, judge};
use rollforward_core::workload::{ContainerState, Pod};

/// A small generator with a known answer for each seed: SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    /// True once in so many throws on average.
    fn once_in(&mut self, steps: f64) -> bool {
        #[allow(clippy::cast_precision_loss, reason = "53 bits are enough for a die")]
        let throw = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        throw * steps < 1.0
    }
}

/// What happens to a pod, as the mean time between two of it.
#[derive(Clone, Copy)]
struct Noise {
    crash: Option<(SignedDuration, i32, &'static str)>,
    flap: Option<SignedDuration>,
    /// Until when nobody is Ready: a dependency restarts.
    down_until: Option<SignedDuration>,
    /// How long a start takes.
    starts_in: SignedDuration,
}

const QUIET: Noise =
    Noise { crash: None, flap: None, down_until: None, starts_in: SignedDuration::from_secs(3) };
/// How long the old pods have run when the new one begins.
const OLD: SignedDuration = SignedDuration::from_hours(1);
const STEP: SignedDuration = SignedDuration::from_secs(5);

/// One simulated pod.
struct Life {
    pod: Pod,
    noise: Noise,
    up_at: Timestamp,
}

impl Life {
    fn new(name: &str, noise: Noise, created: Timestamp) -> Self {
        let pod = build::pod(name, "web", "ghcr.io/acme/web:1.0.1", created);
        Self { pod, noise, up_at: created + noise.starts_in }
    }

    fn step(&mut self, dice: &mut Dice, began: Timestamp, now: Timestamp) {
        let mean = |between: SignedDuration| between.as_secs_f64() / STEP.as_secs_f64();
        let down = self.noise.down_until.is_some_and(|until| now < began + until);
        let container = &mut self.pod.containers[0];
        if let Some((between, code, reason)) = self.noise.crash
            && self.up_at <= now
            && dice.once_in(mean(between))
        {
            container.restarts += 1;
            container.last_end = Some(build::ended(code, reason, "", now));
            container.state = ContainerState::Running { started_at: Some(now) };
            self.pod.ready_since = None;
            self.up_at = now + self.noise.starts_in;
            return;
        }
        let flaps = self.noise.flap.is_some_and(|between| dice.once_in(mean(between)));
        if down || flaps {
            self.pod.ready_since = None;
            self.up_at = now + STEP;
        } else if self.up_at <= now && self.pod.ready_since.is_none() {
            self.pod.ready_since = Some(now);
        }
        self.pod.containers[0].ready = self.pod.ready_since.is_some();
    }
}

/// How a history ended.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum End {
    Passed,
    RolledBack,
    Quarantinable,
}

fn history(seed: u64, noise: Noise, canary_noise: Noise, (old_pods, age): (usize, SignedDuration)) -> End {
    let mut dice = Dice(seed);
    let began = build::at("2026-11-02T12:00:00Z");
    let hours_ago = began - age;
    let judged = BTreeSet::from([build::CONTAINER.to_owned()]);
    let mut old: Vec<Life> =
        (0..old_pods).map(|index| Life::new(&format!("old-{index}"), noise, hours_ago)).collect();
    let quiet = |noise: Noise| Noise { down_until: None, ..noise };
    let mut now = hours_ago;
    for life in &mut old {
        life.noise = quiet(noise);
    }
    while now < began {
        now += STEP;
        old.iter_mut().for_each(|life| life.step(&mut dice, began, now));
    }
    for life in &mut old {
        life.noise = noise;
    }
    let mut new = Life::new("new-0", canary_noise, began);
    loop {
        now += STEP;
        old.iter_mut().for_each(|life| life.step(&mut dice, began, now));
        new.step(&mut dice, began, now);
        let stable: Vec<Pod> = old.iter().map(|life| life.pod.clone()).collect();
        let canary = [new.pod.clone()];
        let judgement = judge(&Observation {
            canary: &canary,
            stable: &stable,
            judged: &judged,
            create_failure: None,
            unreadable: None,
            baseline: None,
            signals: None,
            expected: 1,
            watched_since: Some(began),
            bake: build::duration("10m"),
            deadline: began + build::duration("1h"),
            now,
        });
        match judgement {
            Judgement::Pass { .. } => return End::Passed,
            Judgement::Fail(cause) if cause.blame == Blame::Image => return End::Quarantinable,
            Judgement::Fail(_) => return End::RolledBack,
            Judgement::Waiting { .. } | Judgement::Unknown { .. } => {}
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a test may be told how long to run")]
fn seeds() -> u64 {
    std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000)
}

/// Rollbacks in ten thousand histories, and those of them that were held against the image.
fn share(name: &str, noise: Noise, canary: Noise, old: (usize, SignedDuration)) -> (u64, u64) {
    let (mut rolled_back, mut blamed) = (0, 0);
    for seed in 0..seeds() {
        match history(seed * 7_919 + 1, noise, canary, old) {
            End::Passed => {}
            End::RolledBack => rolled_back += 1,
            End::Quarantinable => (rolled_back, blamed) = (rolled_back + 1, blamed + 1),
        }
    }
    let share = |n: u64| n * 10_000 / seeds();
    eprintln!("{name:<52} {rolled_back:>5} of {} rolled back, {blamed} held against the image", seeds());
    (share(rolled_back), share(blamed))
}

#[test]
fn good_images_on_noisy_ground_are_rolled_back_at_most_once_in_a_hundred() {
    let minutes = SignedDuration::from_mins;
    let crash = |between: i64| Noise { crash: Some((minutes(between), 1, "Error")), ..QUIET };
    let memory = |between: i64| Noise { crash: Some((minutes(between), 137, "OOMKilled")), ..QUIET };
    let flap = |between: i64| Noise { flap: Some(minutes(between)), ..QUIET };
    let rows = [
        ("quiet", QUIET, 4),
        ("each pod crashes once in 30 minutes, 4 old pods", crash(30), 4),
        ("each pod crashes once in 30 minutes, 10 old pods", crash(30), 10),
        ("each pod crashes once in 2 hours, 2 old pods", crash(120), 2),
        ("each pod crashes once in 10 minutes, 6 old pods", crash(10), 6),
        ("each pod runs out of memory once in 30 minutes", memory(30), 4),
        ("each pod runs out of memory once an hour", memory(60), 10),
        ("each pod loses readiness once in 5 minutes", flap(5), 4),
        ("each pod loses readiness once in 3 minutes", flap(3), 10),
        ("each pod loses readiness once in 20 minutes", flap(20), 2),
        ("a start takes 4 minutes", Noise { starts_in: minutes(4), ..QUIET }, 4),
        (
            "a dependency is down for the first 40 seconds",
            Noise { down_until: Some(SignedDuration::from_secs(40)), ..QUIET },
            4,
        ),
    ];
    for (name, noise, old_pods) in rows {
        let (rolled_back, _) = share(name, noise, noise, (old_pods, OLD));
        assert!(rolled_back <= 100, "{name}: {rolled_back} in 10,000");
    }
    // Beside old pods that started just before it: they have no history yet, and get one.
    let young = [
        ("each pod crashes once in 30 minutes", crash(30), 4),
        ("each pod crashes once in 30 minutes", crash(30), 2),
        ("each pod crashes once in 15 minutes", crash(15), 4),
        ("each pod loses readiness once in 5 minutes", flap(5), 4),
        ("each pod loses readiness once in 3 minutes", flap(3), 10),
        ("each pod loses readiness once in 3 minutes", flap(3), 2),
    ];
    for (name, noise, old_pods) in young {
        let name = format!("{name}, beside {old_pods} pods of 10 s");
        let (rolled_back, _) = share(&name, noise, noise, (old_pods, SignedDuration::from_secs(10)));
        assert!(rolled_back <= 100, "{name}: {rolled_back} in 10,000");
    }
}

#[test]
fn bad_images_on_the_same_ground_are_caught() {
    let minutes = SignedDuration::from_mins;
    let noisy = Noise { crash: Some((minutes(60), 1, "Error")), ..QUIET };
    let bad = Noise { crash: Some((SignedDuration::from_secs(30), 2, "Error")), ..QUIET };
    let slow = Noise { crash: Some((minutes(2), 2, "Error")), ..QUIET };
    let young = SignedDuration::from_secs(10);
    for (name, noise, bad, age, least) in [
        ("crashes each 30 s beside calm pods", QUIET, bad, OLD, 9_900),
        ("crashes each 30 s beside noisy pods", noisy, bad, OLD, 9_900),
        ("crashes each 30 s beside pods of 10 s", QUIET, bad, young, 9_900),
        ("crashes each 2 minutes beside calm pods", QUIET, slow, OLD, 9_700),
    ] {
        let (rolled_back, _) = share(name, noise, bad, (6, age));
        assert!(least <= rolled_back, "{name}: {rolled_back} in 10,000");
    }
}
