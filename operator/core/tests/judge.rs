//! Pods to judgements: every rule of the classifier against real texts, crashes, blame, bake and deadline.
//!
//! Rows are `tables/classify.txt` and `tables/judge.txt`; one `check` each knows the API. Values: `scenarios/build.rs`.
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

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use rollforward_core::judge::attribute;
use rollforward_core::judge::classify::table::RULES;
use rollforward_core::judge::classify::{classify_create_failure, classify_pod};
use rollforward_core::judge::jobs::{Runs, judge_runs};
use rollforward_core::judge::{Blame, Cause, Finding, Judgement, Observation, judge, stable_health};
use rollforward_core::ledger::Tally;
use rollforward_core::reason::Reason;
use rollforward_core::text;
use rollforward_core::workload::{ContainerState, LastWords, Pod};

fn rows(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    table.lines().filter(|row| !row.starts_with('#')).map(|row| {
        row.split_once("=> ")
            .map(|(question, answer)| (question.trim(), answer.trim()))
            .unwrap_or_else(|| panic!("{row}"))
    })
}

fn judged() -> BTreeSet<String> {
    BTreeSet::from([build::CONTAINER.to_owned()])
}

fn blame(blame: Blame) -> &'static str {
    match blame {
        Blame::Image => "image",
        Blame::Environment => "environment",
    }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    ContainerState::Waiting { reason: reason.to_owned(), message: message.to_owned() }
}

/// What is found where a text shows at a place of the table.
fn shows(place: &[&str], words: &str) -> Option<Finding> {
    match place {
        ["create"] => Some(classify_create_failure(words)),
        _ => classify_pod(&pod_that_shows(place, words), &judged()),
    }
}

fn pod_that_shows(place: &[&str], words: &str) -> Pod {
    let now = build::at("2026-11-02T12:00:00Z");
    let mut pod = build::pod("web-2-1", "web-2", "ghcr.io/acme/web:1.0.1", now);
    match place {
        ["waiting", reason] => pod.containers[0].state = waiting(reason, words),
        ["unsecret", reason] => {
            pod.containers[0].state = waiting(reason, words);
            let secret = "Unable to retrieve some image pull secrets (registry); attempting to pull the image may not succeed.";
            pod.warnings = vec![("FailedToRetrieveImagePullSecret".to_owned(), secret.to_owned())];
        }
        ["ended" | "limited" | "probed" | "stopped", code, reason] => {
            let ended = build::ended(code.parse().unwrap(), reason, words, now);
            pod.containers[0].state = ContainerState::Terminated(ended);
            pod.containers[0].memory_limit = (place[0] == "limited").then(|| "64Mi".to_owned());
            if place[0] == "probed" {
                pod.warnings = vec![("Unhealthy".to_owned(), words.to_owned())];
            }
            if place[0] == "stopped" {
                pod.warnings = vec![("Killing".to_owned(), words.to_owned())];
            }
        }
        // What a program wrote last, under one setting of its pod.
        ["says", setting, code] => {
            let ended = build::ended(code.parse().unwrap(), "Error", words, now);
            pod.containers[0].state = ContainerState::Terminated(ended);
            restrict(&mut pod, setting);
        }
        ["beside", code, reason] => {
            let mut other = build::container("proxy", "ghcr.io/acme/proxy:1", now);
            other.state = ContainerState::Terminated(build::ended(code.parse().unwrap(), reason, words, now));
            pod.containers.push(other);
        }
        ["refused", reason] => {
            "Failed".clone_into(&mut pod.phase);
            pod.refusal = Some(((*reason).to_owned(), words.to_owned()));
        }
        ["unscheduled"] => pod.unschedulable = Some(words.to_owned()),
        ["disrupted"] => pod.disruption = Some(words.to_owned()),
        ["warned", reason] => pod.warnings = vec![((*reason).to_owned(), words.to_owned())],
        _ => panic!("unknown place: {place:?}"),
    }
    pod
}

fn restrict(pod: &mut Pod, setting: &str) {
    let own = &mut pod.containers[0].restrictions;
    match setting {
        "free" => {}
        "read-only" => own.read_only_root = true,
        "drop-all" => own.dropped = vec!["ALL".to_owned()],
        "drop-all+bind" => {
            own.dropped = vec!["ALL".to_owned()];
            own.added = vec!["NET_BIND_SERVICE".to_owned()];
        }
        "seccomp" => own.seccomp = Some("RuntimeDefault".to_owned()),
        "drop-all+seccomp" => {
            own.dropped = vec!["ALL".to_owned()];
            own.seccomp = Some("RuntimeDefault".to_owned());
        }
        "apparmor" => own.apparmor = Some("Localhost web".to_owned()),
        "user" => own.user = Some(1000),
        "egress" => pod.egress_policies = vec!["deny-egress".to_owned()],
        _ => panic!("unknown setting: {setting}"),
    }
}

#[test]
fn every_text_of_the_table_has_its_name_and_its_blame() {
    for (question, answer) in rows(include_str!("tables/classify.txt")) {
        let (place, words) = question.split_once('|').unwrap();
        let told = shows(&from(place), words.trim()).map_or("nothing".to_owned(), |finding| {
            let certain = if finding.deterministic { " certain" } else { "" };
            format!("{} {}{certain}", finding.reason, blame(finding.blame))
        });
        assert_eq!(told, answer, "{question}");
    }
}

/// A Job's pod that cannot start keeps its Job open, and a schedule that forbids a second run beside it stops.
#[test]
fn a_run_that_waits_for_anything_of_the_table_has_a_cause_at_once_and_an_end_at_the_deadline() {
    let (judged, tally) = (judged(), Tally::default());
    let mut codes = BTreeSet::new();
    for (question, answer) in rows(include_str!("tables/classify.txt")) {
        let (place, words) = question.split_once('|').unwrap();
        let (place, words) = (from(place), words.trim());
        let waits = match place.as_slice() {
            ["waiting" | "unsecret", reason] => *reason != "CrashLoopBackOff",
            ["unscheduled"] => true,
            ["warned", reason] => reason.starts_with("Failed"),
            _ => false,
        };
        if !waits || answer == "nothing" {
            continue;
        }
        let mut pod = pod_that_shows(&place, words);
        "Pending".clone_into(&mut pod.phase);
        let judged_after = |seconds: i64| {
            let now = pod.created_at + SignedDuration::from_secs(seconds);
            let new = std::slice::from_ref(&pod);
            let deadline = build::duration("1h");
            judge_runs(&Runs {
                new,
                denied: None,
                old: &[],
                judged: &judged,
                base: None,
                tally: &tally,
                deadline,
                now,
            })
        };
        let code = answer.split(' ').next().unwrap();
        let named = match judged_after(30) {
            Judgement::Waiting { suspicion: Some(cause), .. } | Judgement::Fail(cause) => cause.reason.code(),
            other => panic!("{question}: {other:?}"),
        };
        assert_eq!(named, code, "{question}");
        let Judgement::Fail(cause) = judged_after(3_600) else { panic!("{question}: no end") };
        assert_eq!(cause.reason.code(), code, "{question}");
        codes.insert(code);
    }
    for code in [
        "StartFailed",
        "InsufficientCpu",
        "TaintNotTolerated",
        "AppArmorUnavailable",
        "HookFailed",
        "NodeRefused",
    ] {
        assert!(codes.contains(code), "{code} is not among {codes:?}");
    }
}

/// The place of a row without its provenance.
fn from(place: &str) -> Vec<&str> {
    let mut place = place.split_whitespace();
    let provenance = place.next().unwrap();
    assert!(["real", "source"].contains(&provenance), "{provenance}");
    place.collect()
}

/// A rule without an example would be a guess; an example that another rule takes away is a mistake in the order.
#[test]
fn every_text_of_every_rule_has_an_example_that_it_decides() {
    let examples: Vec<(Vec<&str>, &str)> = rows(include_str!("tables/classify.txt"))
        .filter_map(|(question, _)| question.split_once('|'))
        .map(|(place, words)| (from(place), words.trim()))
        .collect();
    for rule in RULES {
        for text in rule.texts {
            let decides = examples.iter().any(|(place, words)| {
                let shown = format!("{}: {words}", place.last().unwrap_or(&""));
                let secret = place[0] == "unsecret" && *text == "image pull secrets";
                (shown.contains(text) || secret)
                    && shows(place, words).is_some_and(|found| found.reason == rule.reason)
            });
            assert!(decides, "no example of {:?} {text:?} => {}", rule.place, rule.reason);
        }
    }
}

/// Rows are what the table says, columns what was told: printed for the record, off the diagonal nothing may stand.
#[test]
fn the_confusion_matrix_of_the_examples_has_nothing_off_its_diagonal() {
    let mut matrix: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (question, answer) in rows(include_str!("tables/classify.txt")) {
        let (place, words) = question.split_once('|').unwrap();
        let told =
            shows(&from(place), words.trim()).map_or("nothing".to_owned(), |found| found.reason.to_string());
        let expected = answer.split_whitespace().next().unwrap().to_owned();
        *matrix.entry((expected, told)).or_default() += 1;
    }
    let codes: BTreeSet<&String> = matrix.keys().map(|(expected, _)| expected).collect();
    let off: Vec<_> = matrix.iter().filter(|((expected, told), _)| expected != told).collect();
    eprintln!(
        "{} examples, {} codes, {} off the diagonal",
        matrix.values().sum::<usize>(),
        codes.len(),
        off.len()
    );
    for ((expected, told), n) in &matrix {
        eprintln!("{expected:>24} -> {told:<24} {n}");
    }
    assert!(off.is_empty(), "{off:?}");
}

#[test]
fn the_end_of_a_long_text_is_kept_for_there_it_says_what_happened() {
    let reference = format!(
        "registry.internal.acme.example:5000/platform/storefront/web@sha256:{}",
        "4290a1b2".repeat(8)
    );
    let words = format!(
        "rpc error: code = NotFound desc = failed to pull and unpack image \"{reference}\": failed to resolve reference \"{reference}\": {reference}: not found"
    );
    let finding = shows(&["waiting", "ErrImagePull"], &words).unwrap();
    assert_eq!(finding.reason.code(), "PullNotFound");
    assert!(
        finding.message.starts_with("ErrImagePull: NotFound desc = failed to pull"),
        "{}",
        finding.message
    );
    assert!(finding.message.ends_with(": not found"), "{}", finding.message);
    assert!(finding.message.chars().count() <= 200, "{}", finding.message);
}

#[test]
fn a_message_says_what_is_decisive_and_stays_short() {
    let long = "x".repeat(5_000);
    let finding = shows(&["waiting", "ErrImagePull"], &long).unwrap();
    assert!(finding.message.chars().count() <= 200, "{}", finding.message);
    let runc = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: \"serve\": executable file not found in $PATH";
    let finding = shows(&["ended", "128", "StartError"], runc).unwrap();
    assert_eq!(finding.message, "exec: \"serve\": executable file not found in $PATH");
}

#[test]
fn only_the_last_word_names_the_platform_and_what_decided_is_told_however_long_the_text() {
    let finding = shows(&["ended", "1", "Error"], "plugin x: exec format error\nfatal: no plugin").unwrap();
    assert_eq!(finding.reason, Reason::CrashExit, "{}", finding.message);
    let finding = shows(&["ended", "255", "Error"], "exec /app/serve: exec format error\n").unwrap();
    assert_eq!(
        finding.message,
        "exit code 255, and the program is of another platform than the image claims: \"exec /app/serve: exec format error\""
    );
    let list = "container \"sidecar\" must set securityContext.capabilities.drop, ".repeat(20);
    let denied = format!(
        "admission webhook chain: {list} admission webhook \"guard.acme.io\" denied the request: not signed; {list}see the handbook"
    );
    let finding = classify_create_failure(&denied);
    assert_eq!(finding.reason, Reason::WebhookDenied);
    assert!(finding.message.contains("denied the request: not signed;"), "{}", finding.message);
    assert!(finding.message.ends_with("see the handbook"), "{}", finding.message);
}

fn at(clock: &str) -> Timestamp {
    build::at(&format!("2026-11-02T{clock}Z"))
}

/// One pod as a row writes it: `crashed 78 3 @node-b`, `ready 12:00:03 drained`.
fn pod(words: &str, index: usize, created_at: Timestamp, now: Timestamp) -> Pod {
    let mut pod = build::pod(&format!("web-{index}"), "web-2", "ghcr.io/acme/web:1.0.1", created_at);
    let mut words: Vec<&str> = words.split_whitespace().collect();
    while let Some(last) = words.last().copied() {
        match last {
            "drained" => pod.disruption = Some("EvictionByEvictionAPI".to_owned()),
            "leaving" => pod.deleting = true,
            node if node.starts_with('@') => pod.node = Some(node.trim_start_matches('@').to_owned()),
            _ => break,
        }
        words.pop();
    }
    let container = &mut pod.containers[0];
    let crash = |code: &str, at| Some(build::ended(code.parse().unwrap(), "Error", "", at));
    let lately = now - SignedDuration::from_secs(10);
    match words.as_slice() {
        ["ready", since] => (container.ready, pod.ready_since) = (true, Some(at(since))),
        ["running"] => {}
        ["crashed", code, times] => {
            container.restarts = times.parse::<i32>().unwrap() - 1;
            container.last_end = crash(code, lately);
            container.state = waiting("CrashLoopBackOff", "back-off 10s restarting failed container");
        }
        ["back", code, times] => {
            container.restarts = times.parse().unwrap();
            container.last_end = crash(code, lately);
        }
        ["came-back", code, ended] => {
            container.restarts = 1;
            container.last_end = crash(code, at(ended));
            (container.ready, pod.ready_since) = (true, Some(at(ended)));
        }
        // Restarted so quickly that the kubelet never took Ready back.
        ["ready", since, "restarted", code, ended] => {
            container.restarts = 1;
            container.last_end = crash(code, at(ended));
            (container.ready, pod.ready_since) = (true, Some(at(since)));
        }
        ["missing"] => container.state = waiting("ErrImagePull", "not found"),
        ["other-platform"] => container.state = waiting("ErrImagePull", "no match for platform in manifest"),
        ["as-root"] => {
            let words = "container has runAsNonRoot and image will run as root";
            container.state = waiting("CreateContainerConfigError", words);
        }
        ["unscheduled"] => {
            pod.unschedulable = Some("0/3 nodes are available: 3 Insufficient memory.".to_owned())
        }
        _ => panic!("unknown pod: {words:?}"),
    }
    pod
}

/// `ready 11:00:00 *4, crashed 78 1` or `none`.
fn pods(words: &str, created_at: Timestamp, now: Timestamp) -> Vec<Pod> {
    let mut pods = Vec::new();
    for one in words.split(',').map(str::trim).filter(|one| *one != "none") {
        let (one, times) =
            one.split_once(" *").map_or((one, 1), |(one, times)| (one, times.parse().unwrap()));
        for _ in 0..times {
            pods.push(pod(one, pods.len(), created_at, now));
        }
    }
    pods
}

fn cause(cause: &Cause) -> String {
    let both = if cause.judged.contains("the old pods fail the same way") { "; " } else { "" };
    let judged = if both.is_empty() { "" } else { cause.judged.as_str() };
    format!("{} {}: {}{both}{judged}", cause.reason, blame(cause.blame), cause.sentence)
}

fn told(judgement: &Judgement) -> String {
    match judgement {
        Judgement::Pass { watched, ready } => format!("Pass {ready} Ready for {}", text::span(*watched)),
        Judgement::Fail(why) => format!("Fail {}", cause(why)),
        Judgement::Waiting { until, ready, suspicion } => {
            let suspicion = suspicion.as_ref().map_or(String::new(), |why| format!(", {}", cause(why)));
            format!("Waiting {}, {ready} Ready{suspicion}", &text::instant_seconds(*until)[11..19])
        }
        Judgement::Unknown { reason, message } => format!("Unknown {reason}: {message}"),
    }
}

#[test]
fn every_row_of_the_table_is_judged_as_it_says() {
    for (question, answer) in rows(include_str!("tables/judge.txt")) {
        let parts: Vec<&str> = question.split('|').map(str::trim).collect();
        let [wanted, new, old, now] = parts.as_slice() else { panic!("{question}") };
        let (step, now) = (at("12:00:00"), at(now));
        let canary = pods(new, step, now);
        let stable = pods(old, at("11:00:00"), now);
        let judgement = judge(&Observation {
            canary: &canary,
            stable: &stable,
            judged: &judged(),
            create_failure: None,
            unreadable: None,
            baseline: None,
            signals: None,
            expected: wanted.parse().unwrap(),
            watched_since: Some(step),
            bake: build::duration("10m"),
            deadline: at("13:00:00"),
            now,
        });
        assert_eq!(told(&judgement), answer, "{question}");
    }
}

#[test]
fn a_pod_that_cannot_be_created_is_named_at_once_and_never_the_image_s_fault() {
    let stable = pods("ready 11:00:00 *4", at("11:00:00"), at("12:00:01"));
    let judgement = judge(&Observation {
        canary: &[],
        stable: &stable,
        judged: &judged(),
        create_failure: Some(
            "pods \"web-x\" is forbidden: violates PodSecurity \"restricted:latest\": privileged",
        ),
        unreadable: None,
        baseline: None,
        signals: None,
        expected: 1,
        watched_since: Some(at("12:00:00")),
        bake: build::duration("10m"),
        deadline: at("13:00:00"),
        now: at("12:00:01"),
    });
    let said = "Waiting 13:00:00, 0 Ready, PodSecurity environment: the security layer refused it, not the application: pods \"web-x\" is forbidden: violates PodSecurity \"restricted:latest\": privileged";
    assert_eq!(told(&judgement), said);
}

#[test]
fn the_old_pods_are_told_in_one_phrase() {
    let now = at("12:00:00");
    let check = |words: &str, said: &str| {
        assert_eq!(stable_health(&pods(words, at("11:00:00"), now)), said, "{words}");
    };
    check("ready 11:00:00 *4", "4 of 4 old pods Ready with 0 restarts");
    check("ready 11:00:00 *3, crashed 1 5", "3 of 4 old pods Ready with 4 restarts");
    check("ready 11:00:00 *3, ready 11:00:00 leaving", "3 of 3 old pods Ready with 0 restarts");
    check("none", "0 of 0 old pods Ready with 0 restarts");
}

/// Judges at 12:00:20 with four calm old pods, unless the row says otherwise.
fn judged_at(
    canary: &[Pod],
    stable: &[Pod],
    (unreadable, baseline): (Option<&str>, Option<&str>),
    now: &str,
) -> Judgement {
    judge(&Observation {
        canary,
        stable,
        judged: &judged(),
        create_failure: None,
        unreadable,
        baseline,
        signals: None,
        expected: 1,
        watched_since: Some(at("12:00:00")),
        bake: build::duration("10m"),
        deadline: at("13:00:00"),
        now: at(now),
    })
}

fn old(words: &str, now: &str) -> Vec<Pod> {
    pods(words, at("11:00:00"), at(now))
}

#[test]
fn pods_that_cannot_be_read_are_unknown_also_at_the_deadline_and_nothing_is_rolled_back() {
    let stable = old("ready 11:00:00 *4", "12:00:20");
    for now in ["12:00:20", "13:30:00"] {
        let judgement = judged_at(&[], &stable, (Some("list the pods: pods is forbidden"), None), now);
        assert_eq!(told(&judgement), "Unknown PodsUnreadable: list the pods: pods is forbidden");
    }
}

#[test]
fn old_pods_that_failed_before_are_no_comparison_a_cure_passes_and_a_failure_is_not_held_against_the_image() {
    let before = Some("4 of 4 old pods were failing before the run began");
    let stable = old("crashed 1 9 *4", "12:00:20");
    assert_eq!(attribute::unhealthy(&stable, at("12:00:20")).as_deref(), before);
    assert_eq!(attribute::unhealthy(&old("ready 11:00:00 *4", "12:00:20"), at("12:00:20")), None);
    assert_eq!(
        attribute::unhealthy(&old("ready 11:00:00 *3, crashed 1 9", "12:00:20"), at("12:00:20")),
        None
    );
    let cure = pods("ready 12:00:03", at("12:00:00"), at("12:10:03"));
    assert_eq!(told(&judged_at(&cure, &stable, (None, before), "12:10:03")), "Pass 1 Ready for 10m");
    let bad = pods("crashed 1 3", at("12:00:00"), at("12:00:20"));
    let Judgement::Fail(cause) = judged_at(&bad, &stable, (None, before), "12:00:20") else { panic!() };
    assert_eq!(cause.blame, Blame::Environment);
    assert_eq!(
        cause.judged,
        "BaselineUnhealthy: 4 of 4 old pods were failing before the run began, so there is no comparison and nothing is held against the image."
    );
    // What a second try cannot change is the image's all the same.
    let wrong = pods("other-platform", at("12:00:00"), at("12:00:20"));
    let Judgement::Fail(cause) = judged_at(&wrong, &stable, (None, before), "12:00:20") else { panic!() };
    assert_eq!((cause.blame, cause.deterministic), (Blame::Image, true));
}

#[test]
fn a_kubelet_that_refuses_pod_after_pod_is_answered_by_the_third_and_the_image_is_not_blamed() {
    let stable = old("ready 11:00:00 *4", "12:00:20");
    let mut canary = pods("running *3", at("12:00:00"), at("12:00:20"));
    for pod in &mut canary {
        "Failed".clone_into(&mut pod.phase);
        let words = "forbidden sysctl: \"kernel.shm_rmid_forced\" not allowlisted";
        pod.refusal = Some(("SysctlForbidden".to_owned(), words.to_owned()));
    }
    let two = judged_at(&canary[..2], &stable, (None, None), "12:00:20");
    assert!(
        told(&two).starts_with("Waiting 13:00:00, 0 Ready, SysctlForbidden environment: "),
        "{}",
        told(&two)
    );
    let Judgement::Fail(cause) = judged_at(&canary, &stable, (None, None), "12:00:20") else { panic!() };
    assert_eq!(cause.blame, Blame::Environment);
    assert!(
        cause.sentence.contains("3 new pods refused: SysctlForbidden: forbidden sysctl: "),
        "{}",
        cause.sentence
    );
}

#[test]
fn a_pod_that_was_evicted_and_replaced_does_not_stand_in_the_way_of_its_successor() {
    let stable = old("ready 11:00:00 *4", "12:20:00");
    let mut canary = pods("running, ready 12:05:00", at("12:00:00"), at("12:20:00"));
    "Failed".clone_into(&mut canary[0].phase);
    canary[0].refusal = Some(("Evicted".to_owned(), "The node was low on resource: memory.".to_owned()));
    assert_eq!(told(&judged_at(&canary, &stable, (None, None), "12:20:00")), "Pass 1 Ready for 10m");
}

#[test]
fn a_security_setting_is_suspected_only_where_the_pod_has_it_and_likely_only_beside_old_pods_that_live_with_it()
 {
    let now = "12:00:20";
    let check = |setting: &str, words: &str, stable: &[Pod], said: &str| {
        let mut canary = pods("crashed 1 3", at("12:00:00"), at(now));
        canary[0].containers[0].last_words = LastWords::Known(words.to_owned());
        restrict(&mut canary[0], setting);
        let Judgement::Fail(cause) = judged_at(&canary, stable, (None, None), now) else { panic!() };
        assert_eq!(format!("{}: {}", cause.reason, cause.sentence), said, "{setting} {words}");
        assert_eq!(cause.blame, Blame::Image);
        assert!(!cause.deterministic, "a suspicion is tried once more");
    };
    let calm = old("ready 11:00:00 *4", now);
    check(
        "read-only",
        "starting\nmkdir /data: Read-only file system\nbye",
        &calm,
        "ReadOnlyRootBlocked: 3 crashes in 10s, likely a security setting and not the program: exit code 1, \"mkdir /data: Read-only file system\", and the pod has readOnlyRootFilesystem: true, on node-a",
    );
    check(
        "read-only",
        "mkdir /data: Read-only file system",
        &[],
        "ReadOnlyRootBlocked: 3 crashes in 10s, possible a security setting and not the program: exit code 1, \"mkdir /data: Read-only file system\", and the pod has readOnlyRootFilesystem: true, on node-a",
    );
    check(
        "egress",
        "dial tcp 10.0.0.7:5432: i/o timeout",
        &calm,
        "EgressBlocked: 3 crashes in 10s, likely a security setting and not the program: exit code 1, \"dial tcp 10.0.0.7:5432: i/o timeout\", and the pod has egress by NetworkPolicy deny-egress, on node-a",
    );
    check(
        "free",
        "mkdir /data: Read-only file system",
        &calm,
        "CrashExit: 3 crashes in 10s, exit code 1, on node-a",
    );
}

#[test]
fn last_words_are_told_and_where_they_are_not_known_it_is_told_why() {
    let check = |words: LastWords, said: &str| {
        let mut canary = pods("crashed 78 3", at("12:00:00"), at("12:00:20"));
        canary[0].containers[0].last_words = words;
        let stable = old("ready 11:00:00 *4", "12:00:20");
        let Judgement::Fail(cause) = judged_at(&canary, &stable, (None, None), "12:00:20") else { panic!() };
        assert!(cause.judged.ends_with(said), "{}", cause.judged);
    };
    check(LastWords::NotAsked, "and none shows this.");
    check(
        LastWords::Known("line 1\nfatal: no such table users\nexiting".to_owned()),
        " Its last words: \"fatal: no such table users\".",
    );
    check(
        LastWords::Unknown("no right to read pods/log".to_owned()),
        " Its last words are not known: no right to read pods/log.",
    );
}

#[test]
fn the_old_version_failing_after_the_rollback_in_the_same_way_is_the_environment() {
    let after = |words: &str, now: &str| {
        let old = old(words, now);
        let when = (at("12:01:00"), at(now));
        attribute::fails_after_rollback(Reason::CrashExit, &old, &judged(), when)
    };
    let said = Some("CrashExit shows on web-0 too, which runs the old version".to_owned());
    assert_eq!(after("came-back 1 12:03:00, ready 11:00:00", "12:04:00"), said);
    assert_eq!(after("came-back 1 12:00:30, ready 11:00:00", "12:04:00"), None, "before the rollback");
    assert_eq!(after("came-back 139 12:03:00", "12:04:00"), None, "in another way");
    assert_eq!(after("ready 11:00:00 *4", "12:04:00"), None);
}
