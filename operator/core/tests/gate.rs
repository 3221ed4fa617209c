//! The layers one by one, and what is decided from them: boundaries to the second, the order of refusals.
//!
//! Rows of decisions are `tables/decide.txt`. Values: `scenarios/build.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

#[path = "scenarios/build.rs"]
mod build;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jiff::Timestamp;
use rollforward_core::current;
use rollforward_core::decide::{Course, Standing, decide};
use rollforward_core::evidence::{Answer, Manifest};
use rollforward_core::gate::{self, Evidence, Need, Subject, Verdict, Word};
use rollforward_core::image::{Digest, Repository, Tag};
use rollforward_core::ledger::{Ledger, NewFailure, RunMemory, WorkloadMemory};
use rollforward_core::policy::{Facts, Policy, Rebuilds, Track};
use rollforward_core::reason::Reason;
use rollforward_core::rollout::{self, OpenRun};
use rollforward_core::select::{Level, Order, Rule, TagFilter};
use rollforward_core::text;
use rollforward_core::trust::{Decision, Effective, Roots, SOAK_UNSIGNED};
use rollforward_core::workload::Strategy;

fn at(clock: &str) -> Timestamp {
    build::at(&format!("2026-11-02T{clock}Z"))
}

fn clock(at: Timestamp) -> String {
    text::instant_seconds(at)[11..19].to_owned()
}

fn told(verdict: &Verdict) -> String {
    let word = match verdict.word {
        Word::Waiting(until) => format!("Waiting until {}", clock(until)),
        word @ (Word::Pass | Word::Fail | Word::Absent | Word::Unknown | Word::Skipped) => {
            format!("{word:?}")
        }
    };
    format!("{word} {}", verdict.reason)
}

/// A ledger from `1.0.1=a@10:00:00 1.0.1=b@11:00:00`.
fn ledger(sightings: &str) -> Ledger {
    let mut ledger = Ledger::new(build::repository());
    for sighting in sightings.split_whitespace() {
        let (name, when) = sighting.split_once('@').unwrap();
        let (tag, content) = name.split_once('=').unwrap();
        ledger.saw(&build::tag(tag), &build::digest(content), at(when));
    }
    ledger
}

fn subject<'a>(tag: &'a Tag, digest: Option<&'a Digest>, ledger: &'a Ledger) -> Subject<'a> {
    static RULE: Rule = Rule::Level(Level::Patch);
    static FILTER: LazyLock<TagFilter> = LazyLock::new(TagFilter::default);
    let order = Order { rule: &RULE, filter: &FILTER };
    let (answer, manifest, mirror, running, left) = (None, None, None, None, None);
    let (attached, running_attached, shape, running_shape, scan) = (None, None, None, None, None);
    Subject {
        policy: "web",
        tag,
        digest,
        answer,
        manifest,
        mirror,
        ledger,
        running,
        left,
        order,
        repositories: &[],
        attached,
        running_attached,
        shape,
        running_shape,
        scan,
    }
}

/// The short form alone, or no decision.
fn effective(decision: &Option<Decision>) -> Effective<'_> {
    static ROOTS: Roots = Roots::new();
    Effective { decisions: decision.iter().collect(), roots: &ROOTS, soak_unsigned: SOAK_UNSIGNED }
}

#[test]
fn a_digest_soaks_until_its_time_is_over_and_not_a_second_longer() {
    let check = |first_seen: &str, required: &str, now: &str, answer: &str| {
        let (tag, digest) = (build::tag("1.0.1"), build::digest("a"));
        let ledger = ledger(&format!("1.0.1=a@{first_seen}"));
        let trust = Some(build::unsigned(build::duration(required)));
        let subject = subject(&tag, Some(&digest), &ledger);
        let verdict = gate::soak::judge(&subject, &effective(&trust), false, at(now));
        assert_eq!(told(&verdict), answer, "{first_seen} {required} {now}");
    };
    check("08:00:00", "6h", "13:59:59", "Waiting until 14:00:00 Soaking");
    check("08:00:00", "6h", "14:00:00", "Pass SoakDone");
    check("08:00:00", "0s", "08:00:00", "Pass SoakDone");
    check("08:00:05", "0s", "08:00:00", "Waiting until 08:00:05 Soaking");
    check("08:00:05", "6h", "08:00:00", "Waiting until 14:00:05 Soaking");
    check("08:00:06", "6h", "08:00:00", "Unknown ClockBehind");
}

#[test]
fn a_soak_beyond_the_end_of_time_never_ends_and_one_of_an_unknown_digest_is_not_judged() {
    let (tag, digest, ledger) = (build::tag("1.0.1"), build::digest("a"), ledger("1.0.1=a@08:00:00"));
    let trust = Some(build::unsigned(jiff::SignedDuration::MAX));
    let judge = |digest: Option<&Digest>, trust: &Option<Decision>| {
        gate::soak::judge(&subject(&tag, digest, &ledger), &effective(trust), false, at("09:00:00"))
    };
    assert_eq!(judge(Some(&digest), &trust).word, Word::Waiting(Timestamp::MAX));
    assert_eq!(told(&judge(None, &trust)), "Skipped Soaking");
    assert_eq!(told(&judge(Some(&digest), &None)), "Skipped Soaking");
}

#[test]
fn an_image_has_to_serve_every_platform_of_the_nodes_and_one_that_names_none_is_believed() {
    let check = |nodes: &[&str], offered: &[&str], answer: &str| {
        let (tag, digest, ledger) = (build::tag("1.0.1"), build::digest("a"), ledger(""));
        let manifest = Answer::Found(build::manifest(&digest, offered));
        let subject = Subject { manifest: Some(&manifest), ..subject(&tag, Some(&digest), &ledger) };
        let nodes: BTreeSet<_> = nodes.iter().map(|text| build::platform(text)).collect();
        let verdict = gate::platform::judge(&subject, &nodes);
        let said = format!("{}: {}; {}", told(&verdict), verdict.observed, verdict.hint);
        assert_eq!(said.trim_end_matches("; "), answer, "{nodes:?} {offered:?}");
    };
    check(&["linux/amd64"], &["linux/amd64"], "Pass PlatformPresent: linux/amd64");
    check(&["linux/amd64"], &["linux/amd64", "linux/arm64"], "Pass PlatformPresent: linux/amd64");
    check(
        &["linux/amd64", "linux/arm64"],
        &["linux/amd64"],
        "Fail PlatformMissing: only linux/amd64; Publish it for linux/arm64.",
    );
    check(&["linux/amd64"], &[], "Pass PlatformPresent: linux/amd64");
    check(&[], &["linux/arm64"], "Pass PlatformPresent: ");
}

#[test]
fn a_moved_tag_is_told_and_an_old_digest_under_a_newer_name_is_refused() {
    let check = |sightings: &str, candidate: &str, answer: &str| {
        let (tag, content) = candidate.split_once('=').unwrap();
        let (tag, digest, ledger) = (build::tag(tag), build::digest(content), ledger(sightings));
        let subject = subject(&tag, Some(&digest), &ledger);
        let following = Policy { rebuilds: Rebuilds::Follow, ..build::policy() };
        let verdict = gate::ledger::judge(&subject, &effective(&None), &following, at("12:00:00"));
        assert_eq!(told(&verdict), answer, "{sightings} {candidate}");
    };
    check("1.0.1=a@10:00:00", "1.0.1=a", "Pass LedgerClean");
    check("1.0.1=a@10:00:00 1.0.1=b@11:00:00", "1.0.1=b", "Pass TagMoved");
    check("1.0.0=a@10:00:00 1.0.1=a@11:00:00", "1.0.1=a", "Fail RetaggedDigest");
    // A newer name of the same digest says nothing against the older one.
    check("1.0.2=a@10:00:00 1.0.1=a@11:00:00", "1.0.1=a", "Pass LedgerClean");
    // A floating name is no version: it goes with every release, and says nothing of the digest's age.
    check("latest=a@10:00:00 1.0.1=a@11:00:00", "1.0.1=a", "Pass LedgerClean");
    check("1.0=a@10:00:00 1.0.1=a@11:00:00", "1.0.1=a", "Pass LedgerClean");
    check("1.0.0=a@09:00:00 1.0.0=b@10:00:00 1.0.1=a@11:00:00", "1.0.1=a", "Fail RetaggedDigest");
}

/// A failure of a run of its own: one run counts once.
fn failure(run: usize, deterministic: bool) -> NewFailure {
    NewFailure {
        tag: build::tag("1.0.1"),
        reason: Reason::CrashExit,
        message: "3 crashes in 14s, exit code 78".to_owned(),
        run: format!("web-1-0-1-{run}"),
        signature: "CrashExit app 78".to_owned(),
        blames_image: true,
        deterministic,
        after_fails: 2,
        retry_after: build::duration("30m"),
    }
}

#[test]
fn a_failed_digest_is_tried_once_more_at_its_time_and_a_quarantined_one_waits_for_a_person() {
    let check = |failures: &[bool], now: &str, answer: &str| {
        let (tag, digest) = (build::tag("1.0.1"), build::digest("a"));
        let mut ledger = ledger("1.0.1=a@08:00:00");
        for (run, deterministic) in failures.iter().enumerate() {
            ledger.failed(&digest, failure(run, *deterministic), at("10:00:00"));
        }
        let verdict = gate::quarantine::judge(&subject(&tag, Some(&digest), &ledger), "web", at(now));
        assert_eq!(told(&verdict), answer, "{failures:?} {now}");
    };
    check(&[], "10:00:00", "Pass NotQuarantined");
    check(&[false], "10:29:59", "Waiting until 10:30:00 CrashExit");
    check(&[false], "10:30:00", "Pass RetryPending");
    check(&[false, false], "10:30:00", "Fail CrashExit");
    check(&[true], "23:00:00", "Fail CrashExit");
}

/// Adds `1.0.1 seen 10:00 quarantined` to what the world knows.
fn candidate(words: &str, ledger: &mut Ledger, evidence: &mut Evidence) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    let [name, "seen", first_seen, state @ ..] = words.as_slice() else { panic!("{words:?}") };
    let (tag, digest) = (build::tag(name), build::digest(name));
    let key = (build::repository(), tag.clone());
    ledger.saw(&tag, &digest, at(&format!("{first_seen}:00")));
    let mut platforms = ["linux/amd64"];
    let mut answer = Answer::Found(digest.clone());
    match state {
        [] => {}
        ["quarantined"] => ledger.failed(&digest, failure(1, true), at("11:00:00")),
        ["failed-at", when] => ledger.failed(&digest, failure(1, false), at(&format!("{when}:00"))),
        ["arm"] => platforms = ["linux/arm64"],
        ["gone"] => answer = Answer::Absent,
        ["silent"] => answer = build::unknown(Reason::RegistryUnavailable, "connection refused"),
        _ => panic!("unknown state: {state:?}"),
    }
    evidence.digests.insert(key, answer);
    let manifest = Answer::Found(build::manifest(&digest, &platforms));
    evidence.manifests.insert((build::repository(), digest), manifest);
    (*name).to_owned()
}

fn track(words: &str) -> Track {
    let replicas = if words.contains("zero") { 0 } else { 4 };
    let mut workload = build::workload("web", replicas, &format!("{}:1.0.0", build::REPOSITORY));
    for word in words.split_whitespace() {
        match word {
            "deleting" => workload.deleting = true,
            "paused" => build::deployment(&mut workload).paused = true,
            "rolling" => workload.updated_replicas = 2,
            "unobserved" => workload.generation = 2,
            "Recreate" => build::deployment(&mut workload).strategy = Strategy::Recreate,
            "zero" | "busy" | "conflict" | "full" | "full-cluster" => {}
            _ => panic!("unknown workload: {word}"),
        }
    }
    let mut track = build::track(workload, Vec::new(), Vec::new());
    let has = |word: &str| words.split_whitespace().any(|one| one == word);
    track.busy = has("busy").then(|| "api-1-0-1-k2p9x".to_owned());
    track.conflict = has("conflict").then(|| "older".to_owned());
    track
}

fn situation(policy: Policy, workload: &str, candidates: &str) -> (Facts, Evidence) {
    let (mut ledger, mut evidence) = (ledger("1.0.0=1.0.0@00:00:00"), Evidence::default());
    let mut tags = vec!["1.0.0".to_owned()];
    for words in candidates.split(',').map(str::trim).filter(|words| *words != "none") {
        tags.push(candidate(words, &mut ledger, &mut evidence));
    }
    let running = (build::repository(), build::tag("1.0.0"));
    evidence.digests.insert(running, Answer::Found(build::digest("1.0.0")));
    let now = at("12:00:00");
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let scan = build::scan(&tags, now);
    let mut facts =
        build::facts(policy, vec![track(workload)], (scan, ledger), (Vec::new(), Vec::new()), now);
    if workload.split_whitespace().any(|word| word == "full") {
        facts.seen.concurrency.namespace_open = facts.seen.concurrency.per_namespace;
    }
    if workload.contains("full-cluster") {
        facts.seen.concurrency.cluster_open = facts.seen.concurrency.cluster;
    }
    (facts, evidence)
}

fn course(course: &Course) -> String {
    match course {
        Course::Nothing => "nothing".to_owned(),
        Course::Continue => "continue".to_owned(),
        Course::Move { tag, canary, .. } => {
            format!("move {tag} {} a canary", if *canary { "with" } else { "without" })
        }
        Course::Hold(hold) => {
            let standing = match hold.standing {
                Standing::Waits => "waits",
                Standing::Blocked => "blocked",
                Standing::NotReady => "not ready",
                Standing::Stalled => "stalled",
            };
            let subject = hold.subject.as_ref().map_or("-", |(tag, _)| tag.as_str());
            let until = hold.until.map_or(String::new(), |at| format!(" until {}", &clock(at)[..5]));
            format!("hold {} {standing} {subject}{until}", hold.reason)
        }
    }
}

#[test]
fn every_row_of_the_table_is_decided_as_it_says() {
    let table = include_str!("tables/decide.txt");
    for row in table.lines().filter(|row| !row.starts_with('#')) {
        let (question, answer) = row.split_once(" => ").unwrap();
        let parts: Vec<&str> = question.split('|').map(str::trim).collect();
        let [fields, workload, candidates] = parts.as_slice() else { panic!("{row}") };
        let mut policy = build::policy();
        for field in fields.split_whitespace() {
            let (name, value) = field.split_once('=').unwrap();
            build::edit(&mut policy, name, value);
        }
        let (facts, evidence) = situation(policy, workload, candidates);
        let (assessment, needs) = gate::assess(&facts, current::choose(&facts), &evidence);
        assert_eq!(needs, Vec::new(), "{row}");
        let decision = decide(&facts, assessment);
        assert_eq!(course(&decision.tracks[0]), answer, "{row}");
    }
}

#[test]
fn what_goes_back_is_the_digest_that_ran_where_its_tag_names_something_else_by_now() {
    let opened = |named: &str, ran: Answer<Manifest>| {
        let (mut facts, mut evidence) = situation(build::policy(), "", "1.0.1 seen 10:00");
        let mut pod = build::pod("web-1-1", "web-1", &format!("{}:1.0.0", build::REPOSITORY), facts.now);
        pod.containers[0].running_digest = Some(build::digest("1.0.0"));
        facts.seen.tracks[0].pods = vec![pod];
        let running = (build::repository(), build::tag("1.0.0"));
        evidence.digests.insert(running, Answer::Found(build::digest(named)));
        evidence.manifests.insert((build::repository(), build::digest("1.0.0")), ran);
        let (assessment, _) = gate::assess(&facts, current::choose(&facts), &evidence);
        let run = rollout::plan(&facts, decide(&facts, assessment)).opening.unwrap();
        (run.containers[0].back.clone(), run.trigger)
    };
    let served = || Answer::Found(build::manifest(&build::digest("1.0.0"), &["linux/amd64"]));
    let pinned = Some(format!("{}:1.0.0@{}", build::REPOSITORY, build::digest("1.0.0")));
    assert_eq!(opened("1.0.0", served()).0, None, "the image as it stands is what ran");
    assert_eq!(opened("pushed again", served()).0, pinned);
    let silent = build::unknown(Reason::RegistryUnavailable, "connection refused");
    assert_eq!(opened("pushed again", silent).0, pinned);
    let (back, trigger) = opened("pushed again", Answer::Absent);
    assert_eq!(back, None, "nothing could be pulled by it");
    let says = "; what runs is in the registry no longer: a rollback starts what its tag names now";
    assert!(trigger.ends_with(says), "{trigger}");
    assert!(!opened("pushed again", served()).1.contains("no longer"));
}

#[test]
fn the_gates_ask_for_five_digests_then_for_their_manifests_and_never_twice() {
    let candidates: Vec<String> = (1..=7).map(|number| format!("1.0.{number} seen 10:00")).collect();
    let (facts, known) = situation(build::policy(), "", &candidates.join(", "));
    let mut evidence = Evidence::default();
    let mut asked = Vec::new();
    loop {
        let (_, needs) = gate::assess(&facts, current::choose(&facts), &evidence);
        if needs.is_empty() {
            break;
        }
        for need in needs {
            asked.push(need.clone());
            match need {
                Need::Digest(repository, tag) => {
                    let key = (repository, tag);
                    let answer = known.digests.get(&key).cloned().unwrap();
                    evidence.digests.insert(key, answer);
                }
                Need::Manifest(repository, digest) => {
                    let key = (repository, digest);
                    let answer = known.manifests.get(&key).cloned().unwrap();
                    evidence.manifests.insert(key, answer);
                }
                Need::Served(..) | Need::Attached(..) => panic!("nobody asked for it: {need:?}"),
            }
        }
    }
    let digests = asked.iter().filter(|need| matches!(need, Need::Digest(..))).count();
    // Five candidates, and the running tag: was it pushed again?
    assert_eq!((digests, asked.len()), (6, 11), "{asked:?}");
}

/// What is left to choose where `1.0.0` runs with a digest, and what is asked of that digest on the way.
fn labelled(fields: &[(&str, &str)], answers: &[(&str, Answer<Manifest>)]) -> (Vec<String>, Vec<String>) {
    let mut policy = build::policy();
    for (name, value) in fields {
        build::edit(&mut policy, name, value);
    }
    let (mut facts, mut evidence) = situation(policy, "", "1.0.1 seen 10:00, 1.0.2 seen 10:00");
    let image = format!("{}:1.0.0@{}", build::REPOSITORY, build::digest("1.0.0"));
    facts.seen.tracks = vec![build::track(build::workload("web", 4, &image), Vec::new(), Vec::new())];
    let mut asked = Vec::new();
    loop {
        let (assessment, needs) = gate::assess(&facts, current::choose(&facts), &evidence);
        for need in &needs {
            let Need::Manifest(repository, digest) = need else { panic!("{need:?}") };
            let known = answers.iter().find(|(content, _)| build::digest(content) == *digest);
            let (content, answer) = known.unwrap_or_else(|| panic!("{need:?}"));
            asked.push((*content).to_owned());
            evidence.manifests.insert((repository.clone(), digest.clone()), answer.clone());
        }
        if needs.is_empty() {
            let tags = assessment.candidates[0].iter().map(|one| one.tag.to_string());
            return (tags.collect(), asked);
        }
    }
}

#[test]
fn the_label_of_what_runs_is_asked_for_once_and_holds_nothing_where_it_cannot_be_read() {
    let says = |content: &str, version: Option<&str>, child: Option<&str>| {
        let manifest = build::manifest(&build::digest(content), &["linux/amd64"]);
        let version = version.map(str::to_owned);
        Answer::Found(Manifest { version, child: child.map(build::digest), ..manifest })
    };
    let check = |fields: &[(&str, &str)], answers: &[(&str, Answer<Manifest>)], left: &[&str]| {
        let (tags, asked) = labelled(fields, answers);
        let expected: Vec<&str> = answers.iter().map(|(content, _)| *content).collect();
        assert_eq!(
            (tags, asked.iter().map(String::as_str).collect::<Vec<_>>()),
            (left.iter().map(|tag| (*tag).to_owned()).collect(), expected)
        );
    };
    let both = ["1.0.2", "1.0.1"];
    check(&[], &[("1.0.0", says("1.0.0", Some("1.0.1"), None))], &["1.0.2"]);
    check(&[], &[("1.0.0", says("1.0.0", Some("1.0.0"), None))], &both);
    check(&[], &[("1.0.0", says("1.0.0", None, None))], &both);
    // An index that gives no version: its first image, and no deeper.
    let index = || ("1.0.0", says("1.0.0", None, Some("child")));
    check(&[], &[index(), ("child", says("child", Some("v1.0.1"), None))], &["1.0.2"]);
    check(&[], &[index(), ("child", says("child", None, Some("deeper")))], &both);
    check(&[], &[index(), ("child", Answer::Absent)], &both);
    check(&[], &[("1.0.0", build::unknown(Reason::RegistryUnavailable, "connection refused"))], &both);
    // Who may go back needs no floor, and nothing is asked where nothing could be chosen.
    check(&[("downgrade", "Allow")], &[], &both);
    check(&[("select", "~2.0")], &[], &[]);
}

/// What is decided of 1.0.1, known at a source, where the mirror answers so; and what its digest layer says.
fn mirrored(served: &Answer<()>) -> (String, String) {
    let source = Repository::parse("quay.io/acme/web").unwrap();
    let policy = Policy { source: Some(source.clone()), ..build::policy() };
    let (facts, known) = situation(policy, "", "1.0.1 seen 10:00");
    let (mut evidence, mut n_asked) = (Evidence::default(), 0);
    let assessment = loop {
        let (assessment, needs) = gate::assess(&facts, current::choose(&facts), &evidence);
        if needs.is_empty() {
            break assessment;
        }
        n_asked += needs.len();
        for need in needs {
            match need {
                Need::Digest(repository, tag) => {
                    assert_eq!(repository, source);
                    let answer = known.digests.get(&(build::repository(), tag.clone())).cloned().unwrap();
                    evidence.digests.insert((repository, tag), answer);
                }
                Need::Manifest(repository, digest) => {
                    assert_eq!(repository, source);
                    let answer =
                        known.manifests.get(&(build::repository(), digest.clone())).cloned().unwrap();
                    evidence.manifests.insert((repository, digest), answer);
                }
                Need::Served(repository, digest) => {
                    assert_eq!(repository, build::repository());
                    evidence.served.insert((repository, digest), served.clone());
                }
                Need::Attached(..) => panic!("nobody asked for it: {need:?}"),
            }
        }
    };
    // Two tags and a manifest at the source, one digest at the mirror.
    assert_eq!(n_asked, 4);
    let verdict = assessment.candidates[0][0].verdicts[1].1.clone();
    let decision = decide(&facts, assessment);
    let sentence = format!("expected {}, observed {}. {}", verdict.expected, verdict.observed, verdict.hint);
    (course(&decision.tracks[0]), sentence)
}

#[test]
fn with_a_source_tags_are_judged_there_and_the_mirror_must_serve_the_digest() {
    let mirror = build::repository();
    assert_eq!(mirrored(&Answer::Found(())).0, "move 1.0.1 with a canary");
    let (decided, sentence) = mirrored(&Answer::Absent);
    assert_eq!(decided, "hold MirrorLacksDigest blocked 1.0.1");
    let expected = format!(
        "expected the mirror {mirror} to serve the digest, observed it has no manifest for it. Copy the image there; tried again by itself."
    );
    assert_eq!(sentence, expected);
    // A mirror that does not answer has not said that it lacks it.
    let (decided, sentence) = mirrored(&build::unknown(Reason::RegistryUnavailable, "connection refused"));
    assert!(decided.starts_with("hold RegistryUnavailable waits 1.0.1"), "{decided}");
    assert!(sentence.contains("to serve the digest, observed connection refused"), "{sentence}");
}

fn beside_an_open_run(second: Track, has_succeeded: bool) -> (String, String) {
    beside(second, has_succeeded.then_some(true))
}

/// The decision for a second track while a run to 1.0.1 is open on one, and has succeeded on another, on which something was seen
/// to run it or nothing was. It is a target of another policy: only the memory of the repository knows it.
fn beside(second: Track, succeeded_on: Option<bool>) -> (String, String) {
    let (mut facts, evidence) = situation(build::policy(), "", "1.0.1 seen 10:00");
    let judged = |facts: &Facts| {
        let (assessment, _) = gate::assess(facts, current::choose(facts), &evidence);
        decide(facts, assessment)
    };
    let run = rollout::plan(&facts, judged(&facts)).opening.unwrap();
    let workload = Some(facts.seen.tracks[0].workload.clone());
    let (revisions, pods, readings) = (Vec::new(), Vec::new(), Vec::new());
    facts.seen.open_runs = vec![OpenRun { run, workload, revisions, pods, readings, unreadable: None }];
    facts.seen.tracks.push(second);
    if let Some(is_seen) = succeeded_on {
        let memory = WorkloadMemory {
            unseen: !is_seen,
            uid: "uid-first".to_owned(),
            completed: Some(build::tag("1.0.1")),
            wrote: Some(format!("{}:1.0.1@{}", build::REPOSITORY, build::digest("1.0.1"))),
            abandoned: None,
            reapplied: None,
            newest_inside: None,
            newest_outside: None,
            runs: RunMemory::default(),
        };
        let seen = facts.seen.repositories.get_mut(&build::repository()).unwrap();
        seen.ledger.workloads.insert("Deployment/first/app".to_owned(), memory);
    }
    let decision = judged(&facts);
    let observed = match &decision.tracks[1] {
        Course::Hold(hold) => hold.observed.clone(),
        _ => String::new(),
    };
    (course(&decision.tracks[1]), observed)
}

#[test]
fn targets_wait_for_the_first_success_of_a_digest_and_images_of_one_workload_for_each_other() {
    let other = || {
        let image = format!("{}:1.0.0", build::REPOSITORY);
        build::track(build::workload("api", 4, &image), Vec::new(), Vec::new())
    };
    let (held, observed) = beside_an_open_run(other(), false);
    assert_eq!(
        (held.as_str(), observed.as_str()),
        ("hold WorkloadBusy waits 1.0.1", "a run that is still open")
    );
    assert_eq!(beside_an_open_run(other(), true).0, "move 1.0.1 with a canary");
    // Where nothing was seen to run it on the workload that has it, nothing was proven.
    assert_eq!(beside(other(), Some(false)).0, "hold WorkloadBusy waits 1.0.1");
    let sidecar = || Track { key: "Deployment/web/sidecar".to_owned(), ..track("") };
    let (held, observed) = beside_an_open_run(sidecar(), true);
    assert_eq!(held, "hold WorkloadBusy waits 1.0.1");
    assert!(
        observed.starts_with("run web-1-0-1-") && observed.ends_with(" for another image of it"),
        "{observed}"
    );
}
