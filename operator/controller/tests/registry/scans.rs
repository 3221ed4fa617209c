//! Scans against a counting registry: what a poll costs, what it can see, and what makes it read the whole list again.
//!
//! Each case says the requests line by line, so that a poll which cannot see a new tag is seen here.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rollforward::scans::{Ask, Scans};
use rollforward_core::scan::{Reach, Scan};
use rollforward_testkit::registry::{ListOrder, LostCursor};

use super::*;

/// 5 majors, 50 minors, 10 patches: 2,500 tags, more than two pages.
fn push_many(fake: &HostileRegistry) {
    let image = image("linux", "amd64", "x");
    for (major, minor) in (1..=5).flat_map(|major| (0..50).map(move |minor| (major, minor))) {
        for patch in 0..10 {
            fake.push("web", &format!("{major}.{minor}.{patch}"), &image);
        }
    }
}

struct Polls {
    fake: HostileRegistry,
    registry: Registry,
    repository: Repository,
    scans: Scans,
}

impl Polls {
    async fn of(order: ListOrder) -> Self {
        let fake = HostileRegistry::start().await;
        push_many(&fake);
        fake.switch(|switches| switches.order = order);
        let registry = registry_for(&[&fake]);
        let repository = fake.repository("web");
        Self { fake, registry, repository, scans: Scans::default() }
    }

    /// One poll that may not use an older look, and the lines that it cost.
    async fn poll(&self, beginnings: &[&str]) -> (Scan, Vec<String>) {
        self.ask(beginnings, false).await
    }

    /// What a policy asks that could choose any tag and may not use an older look.
    fn plain(&self) -> Ask<'_> {
        Ask {
            repository: &self.repository,
            credential: None,
            not_before: Timestamp::now(),
            interval: SignedDuration::from_mins(5),
            beginnings: None,
            follows: None,
            hinted: false,
        }
    }

    async fn ask(&self, beginnings: &[&str], hinted: bool) -> (Scan, Vec<String>) {
        let texts: BTreeSet<String> = beginnings.iter().map(|text| (*text).to_owned()).collect();
        self.fake.forget_requests();
        let beginnings = Some(&texts).filter(|texts| !texts.is_empty());
        let ask = Ask { beginnings, hinted, ..self.plain() };
        let (answer, taken) = self.scans.latest(&self.registry, ask).await;
        assert!(taken);
        (found(answer), self.fake.lines())
    }
}

fn has(scan: &Scan, tag: &str) -> bool {
    scan.tags.iter().any(|name| name == tag)
}

const PAGES: [&str; 3] = [
    "GET /v2/web/tags/list?n=1000",
    "GET /v2/web/tags/list?n=1000&from=1000",
    "GET /v2/web/tags/list?n=1000&from=2000",
];

#[tokio::test]
async fn a_list_by_name_is_asked_for_the_part_in_which_the_rule_could_find_something() {
    let polls = Polls::of(ListOrder::Name).await;
    let (scan, lines) = polls.poll(&["1.4."]).await;
    assert_eq!(lines, PAGES);
    assert_eq!((scan.tags.len(), &scan.reach, scan.requests), (2500, &Reach::Whole, 3));
    let habit = "bounded to tags that begin with 1.4., 1 request a look; any other is seen within 6 h";
    assert_eq!(scan.habit.sentence(), habit);
    for _ in 0..3 {
        let (again, lines) = polls.poll(&["1.4."]).await;
        assert_eq!(lines, ["GET /v2/web/tags/list?n=42&last=1.39.9"]);
        assert_eq!((again.tags.len(), again.changed_at, again.requests), (2500, scan.changed_at, 1));
        assert_eq!(again.reach, Reach::Beginning(vec!["1.4.".to_owned()]));
        assert_eq!(again.listed_at, scan.listed_at);
        assert_eq!(again.habit.sentence(), habit, "the status is not written again");
    }
    let hours = scan.relisted_by.duration_since(scan.at).as_secs_f64() / 3600.0;
    assert!((4.5..=6.0).contains(&hours), "the whole list is read again after {hours} h");
    polls.fake.push("web", "1.4.10", &image("linux", "amd64", "new"));
    let (new, lines) = polls.poll(&["1.4."]).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(has(&new, "1.4.10") && new.changed_at == new.at && new.tags.is_sorted());
}

#[tokio::test]
async fn policies_with_other_rules_share_the_look_and_each_sees_its_tags() {
    let polls = Polls::of(ListOrder::Name).await;
    polls.poll(&["1.4."]).await;
    let (_, lines) = polls.poll(&["3.2."]).await;
    assert_eq!(lines, ["GET /v2/web/tags/list?n=42&last=1.39.9", "GET /v2/web/tags/list?n=42&last=3.19.9"]);
    polls.fake.push("web", "3.2.10", &image("linux", "amd64", "new"));
    let (scan, _) = polls.poll(&["1.4."]).await;
    assert!(has(&scan, "3.2.10"), "another policy's look saw it");
    // Who could choose any tag is not served by a bound.
    let (_, lines) = polls.poll(&[]).await;
    assert_eq!(lines, PAGES);
}

#[tokio::test]
async fn a_bound_that_does_not_fit_a_page_is_no_bound() {
    let polls = Polls::of(ListOrder::Name).await;
    polls.poll(&["1.", "2.", "3.", "4.", "5."]).await;
    let (scan, lines) = polls.poll(&["1.", "2.", "3.", "4.", "5."]).await;
    assert_eq!(lines, PAGES);
    let sentence = "the whole list, 3 requests a look: it fits no page and no bound";
    assert_eq!(scan.habit.sentence(), sentence);
}

#[tokio::test]
async fn a_list_by_age_is_asked_for_what_was_added_once_a_push_has_shown_the_order() {
    let polls = Polls::of(ListOrder::Age).await;
    // 1.10 after 1.9: not by name. Whether by age, nobody knows yet.
    polls.poll(&["1.4."]).await;
    assert_eq!(polls.poll(&["1.4."]).await.1, PAGES);
    polls.fake.push("web", "1.4.10", &image("linux", "amd64", "new"));
    let (scan, lines) = polls.poll(&["1.4."]).await;
    assert_eq!(lines.len(), 3);
    assert!(has(&scan, "1.4.10"));
    let (scan, lines) = polls.poll(&["1.4."]).await;
    assert_eq!(lines, ["GET /v2/web/tags/list?n=1000&last=5.49.9"]);
    assert_eq!((&scan.reach, scan.tags.len()), (&Reach::Added, 2501));
    polls.fake.push("web", "9.0.0", &image("linux", "amd64", "new"));
    let (scan, lines) = polls.poll(&[]).await;
    assert_eq!(lines.len(), 1, "by age, any tag is seen: {lines:?}");
    assert!(has(&scan, "9.0.0"));
}

#[tokio::test]
async fn a_list_with_the_newest_first_is_read_as_far_as_it_is_new() {
    let polls = Polls::of(ListOrder::NewestFirst).await;
    polls.poll(&["1.4."]).await;
    polls.fake.push("web", "1.4.10", &image("linux", "amd64", "new"));
    polls.poll(&["1.4."]).await;
    polls.fake.push("web", "1.4.11", &image("linux", "amd64", "new"));
    let (scan, lines) = polls.poll(&["1.4."]).await;
    assert_eq!(lines, ["GET /v2/web/tags/list?n=32"]);
    assert!(has(&scan, "1.4.11") && scan.tags.len() == 2502);
    for patch in 12..80 {
        polls.fake.push("web", &format!("1.4.{patch}"), &image("linux", "amd64", "new"));
    }
    let (scan, lines) = polls.poll(&["1.4."]).await;
    assert_eq!(lines.len(), 1 + 3, "more than a page is new: the whole list");
    assert_eq!(scan.tags.len(), 2502 + 68);
}

#[tokio::test]
async fn a_deleted_cursor_or_a_missing_tag_means_the_whole_list_at_once() {
    for (lost, n_bounded) in
        [(LostCursor::NotFound, 1), (LostCursor::FromTheStart, 3), (LostCursor::Nothing, 1)]
    {
        let polls = Polls::of(ListOrder::Age).await;
        polls.fake.switch(|switches| switches.lost_cursor = lost);
        polls.poll(&[]).await;
        polls.fake.push("web", "6.0.0", &image("linux", "amd64", "new"));
        polls.poll(&[]).await;
        // 5.49.9 is the cursor.
        polls.fake.untag("web", "5.49.9");
        polls.fake.push("web", "6.0.1", &image("linux", "amd64", "new"));
        let (scan, lines) = polls.poll(&[]).await;
        assert_eq!(lines.len(), n_bounded + 3, "{lost:?}: {lines:?}");
        assert!(has(&scan, "6.0.1") && !has(&scan, "5.49.9"), "{lost:?}");
    }
    let polls = Polls::of(ListOrder::Name).await;
    polls.poll(&["1.4."]).await;
    polls.fake.untag("web", "1.4.9");
    let (scan, lines) = polls.poll(&["1.4."]).await;
    assert_eq!(lines.len(), 1 + 3, "{lines:?}");
    assert_eq!((scan.tags.len(), &scan.reach), (2499, &Reach::Whole));
}

#[tokio::test]
async fn a_short_or_failed_look_never_takes_a_tag_away() {
    let polls = Polls::of(ListOrder::Name).await;
    polls.poll(&["1.4."]).await;
    for fault in [
        Fault::status(503),
        Fault::reply(429, &[], ""),
        Fault::reply(200, &[], r#"{"tags": ["1.4.0"#),
        Fault::reply(200, &[], "<html>"),
    ] {
        polls.fake.fault("last=", fault);
        let texts = BTreeSet::from(["1.4.".to_owned()]);
        let ask = Ask {
            repository: &polls.repository,
            credential: None,
            not_before: Timestamp::now(),
            interval: SignedDuration::from_mins(5),
            beginnings: Some(&texts),
            follows: None,
            hinted: false,
        };
        let fresh = Scans::default();
        let (first, _) = fresh.latest(&registry_for(&[&polls.fake]), ask).await;
        assert_eq!(found(first).tags.len(), 2500);
        let ask = Ask { not_before: Timestamp::now(), ..ask };
        let (answer, _) = fresh.latest(&registry_for(&[&polls.fake]), ask).await;
        let Answer::Unknown(unknown) = answer else { panic!("{answer:?}") };
        assert!(unknown.retry_at.is_some_and(|at| Timestamp::now() < at), "{unknown:?}");
        polls.fake.heal();
    }
    // An empty page is well-formed, and wrong: the whole list is read, and it has all tags.
    polls.fake.fault("last=", Fault::reply(200, &[], r#"{"tags": []}"#));
    let (scan, lines) = polls.poll(&["1.4."]).await;
    assert_eq!((scan.tags.len(), lines.len()), (2500, 1 + 3));
}

#[tokio::test]
async fn a_list_that_fits_one_page_is_always_read_whole_and_a_hint_reads_everything() {
    let (fake, registry, repository) = world().await;
    for n in 0..100 {
        fake.push("web", &format!("1.{n}.0"), &image("linux", "amd64", "x"));
    }
    fake.switch(|switches| switches.order = ListOrder::Name);
    let polls = Polls { fake, registry, repository, scans: Scans::default() };
    let (first, _) = polls.poll(&["1.4."]).await;
    let (again, lines) = polls.poll(&["1.4."]).await;
    assert_eq!(lines, [TAGS]);
    assert_eq!((again.reach, again.changed_at), (Reach::Whole, first.changed_at));
    let (hinted, lines) = polls.ask(&["1.4."], true).await;
    assert_eq!(lines, [TAGS]);
    assert_eq!(hinted.changed_at, hinted.at, "known digests are resolved again");
    let many = Polls::of(ListOrder::Name).await;
    many.poll(&["1.4."]).await;
    assert_eq!(many.ask(&["1.4."], true).await.1, PAGES);
}

#[tokio::test]
async fn a_long_list_in_one_page_is_one_request_for_any_rule_and_few_bytes_for_a_narrow_one() {
    let mut polls = Polls::of(ListOrder::Name).await;
    let settings = Settings { plain_http: vec![polls.fake.host()], ..Settings::default() };
    polls.registry = Registry::new(settings).unwrap();
    assert_eq!(polls.poll(&["1.4."]).await.1, ["GET /v2/web/tags/list?n=10000"]);
    assert_eq!(polls.poll(&["1.4."]).await.1, ["GET /v2/web/tags/list?n=42&last=1.39.9"]);
    // With a rule for which half of the list counts, or any tag, the page is as good.
    assert_eq!(polls.poll(&["1.", "2.", "3."]).await.1, ["GET /v2/web/tags/list?n=10000"]);
    assert_eq!(polls.poll(&[]).await.1, ["GET /v2/web/tags/list?n=10000"]);
}

#[tokio::test]
async fn a_hundred_policies_on_one_repository_cost_one_look() {
    let polls = Polls::of(ListOrder::Name).await;
    let before = Timestamp::now();
    polls.fake.forget_requests();
    let texts = BTreeSet::from(["1.4.".to_owned()]);
    let ask = Ask {
        repository: &polls.repository,
        credential: None,
        not_before: before,
        interval: SignedDuration::from_mins(5),
        beginnings: Some(&texts),
        follows: None,
        hinted: false,
    };
    let all = (0..100).map(|_| polls.scans.latest(&polls.registry, ask));
    let answers = futures::future::join_all(all).await;
    assert_eq!(answers.iter().filter(|(_, taken)| *taken).count(), 1);
    assert!(answers.iter().all(|(answer, _)| matches!(answer, Answer::Found(_))));
    assert_eq!(polls.fake.lines(), PAGES);
}

#[tokio::test]
async fn a_page_size_that_is_refused_is_asked_smaller_and_remembered() {
    let (fake, registry, repository) = world().await;
    for n in 0..150 {
        fake.push("web", &format!("1.{n}"), &image("linux", "amd64", "x"));
    }
    fake.switch(|switches| switches.refused_above = Some(100));
    let list = found(registry.tags(&repository, None).await);
    assert_eq!((list.tags.len(), list.n_pages), (150, 2));
    assert_eq!(fake.lines()[..2], [TAGS, "GET /v2/web/tags/list?n=100"]);
    fake.forget_requests();
    found(registry.tags(&repository, None).await);
    assert_eq!(fake.lines().first().unwrap(), "GET /v2/web/tags/list?n=100");
    let settings = || Settings { plain_http: vec![fake.host()], ..Settings::default() };
    fake.forget_requests();
    fake.switch(|switches| switches.refused_above = Some(1000));
    found(Registry::new(settings()).unwrap().tags(&repository, None).await);
    assert_eq!(fake.lines(), ["GET /v2/web/tags/list?n=10000", TAGS]);
    fake.switch(|switches| switches.refused_above = Some(0));
    let list = found(registry_for(&[&fake]).tags(&repository, None).await);
    assert_eq!((list.tags.len(), list.n_pages), (150, 1));
}

#[tokio::test]
async fn a_full_page_without_a_link_is_not_believed_to_be_the_end() {
    let (fake, _, repository) = world().await;
    for n in 0..5 {
        fake.push("web", &format!("1.{n}"), &image("linux", "amd64", "x"));
    }
    fake.switch(|switches| switches.without_link = true);
    let settings = Settings { plain_http: vec![fake.host()], page_size: 2, ..Settings::default() };
    let list = found(Registry::new(settings).unwrap().tags(&repository, None).await);
    assert_eq!((list.tags.len(), list.complete), (5, true));
    assert_eq!(fake.lines().len(), 3);
}

/// One poll of a policy that follows a tag, as a pass makes it: what is known, then the digest. And the lines that it cost.
async fn follow(polls: &Polls, followed: &str, hinted: bool) -> (Answer<Digest>, Scan, Vec<String>) {
    let (followed, texts) = (tag(followed), BTreeSet::from([followed.to_owned()]));
    polls.fake.forget_requests();
    let ask = Ask { beginnings: Some(&texts), follows: Some(&followed), hinted, ..polls.plain() };
    let (answer, _) = polls.scans.latest(&polls.registry, ask).await;
    let scan = found(answer);
    assert!(ask.not_before <= scan.at, "the gates ask for the digest once a look");
    let digest = polls.registry.resolve(&polls.repository, &followed, None).await;
    (digest, scan, polls.fake.lines())
}

#[tokio::test]
async fn a_followed_tag_is_one_head_a_poll_and_no_list() {
    let polls = Polls::of(ListOrder::Name).await;
    polls.fake.push("web", "stable", &image("linux", "amd64", "one"));
    let head = "HEAD /v2/web/manifests/stable";
    let (first, scan, lines) = follow(&polls, "stable", false).await;
    let habit = scan.habit.clone();
    assert_eq!(habit.sentence(), "no list but the digest of stable, 1 request a look");
    assert_eq!((lines.len(), &scan.reach), (3 + 1, &Reach::Whole), "{lines:?}");
    for _ in 0..3 {
        let (same, scan, lines) = follow(&polls, "stable", false).await;
        assert_eq!(lines, [head]);
        assert_eq!(scan.habit, habit);
        assert_eq!((scan.reach, scan.tags.len()), (Reach::Followed(tag("stable")), 2501));
        assert_eq!(same, first);
    }
    polls.fake.push("web", "stable", &image("linux", "amd64", "two"));
    let (moved, _, lines) = follow(&polls, "stable", false).await;
    assert_eq!(lines, [head]);
    assert_ne!(moved, first);
    // Who asks to look is answered from the whole list.
    assert_eq!(follow(&polls, "stable", true).await.2.len(), 3 + 1);
    assert_eq!(follow(&polls, "stable", false).await.2, [head]);
}

#[tokio::test]
async fn a_followed_tag_that_nobody_has_pushed_yet_is_looked_for_in_the_list() {
    let polls = Polls::of(ListOrder::Name).await;
    follow(&polls, "stable", false).await;
    let (answer, _, lines) = follow(&polls, "stable", false).await;
    assert_eq!(answer, Answer::Absent);
    assert_eq!(lines.first().unwrap(), "GET /v2/web/tags/list?n=32&last=5.9.9");
    polls.fake.push("web", "stable", &image("linux", "amd64", "one"));
    let (answer, scan, _) = follow(&polls, "stable", false).await;
    assert!(has(&scan, "stable") && matches!(answer, Answer::Found(_)));
    assert_eq!(follow(&polls, "stable", false).await.2.len(), 1);
}

#[tokio::test]
async fn who_follows_a_tag_and_who_needs_the_list_do_not_pay_for_each_other() {
    let polls = Polls::of(ListOrder::Name).await;
    polls.fake.push("web", "stable", &image("linux", "amd64", "one"));
    let bounded = "GET /v2/web/tags/list?n=42&last=1.39.9";
    polls.poll(&["1.4."]).await;
    for _ in 0..2 {
        assert_eq!(follow(&polls, "stable", false).await.2, ["HEAD /v2/web/manifests/stable"]);
        assert_eq!(polls.poll(&["1.4."]).await.1, [bounded], "the followed tag is no part of the bound");
    }
}

/// A release: its tag, and the floating tag with it.
fn release(polls: &Polls, tag: &str, moves: bool) {
    let image = image("linux", "amd64", tag);
    polls.fake.push("web", tag, &image);
    if moves {
        polls.fake.push("web", "latest", &image);
    }
}

const HEAD: &str = "HEAD /v2/web/manifests/latest";

/// A rule that could choose from the whole list of three pages, and `latest` that has moved with three releases since.
async fn with_a_floating_tag() -> Polls {
    let polls = Polls::of(ListOrder::Name).await;
    release(&polls, "5.50.0", true);
    let (_, lines) = polls.poll(&[]).await;
    assert_eq!(lines, PAGES, "nothing is watched before a list told the names");
    let seen_once = [&[HEAD][..], &PAGES[..]].concat();
    assert_eq!(polls.poll(&[]).await.1, seen_once);
    for patch in 1..=3 {
        release(&polls, &format!("5.50.{patch}"), true);
        let (scan, lines) = polls.poll(&[]).await;
        assert_eq!(lines, seen_once);
        assert!(has(&scan, &format!("5.50.{patch}")));
    }
    polls
}

#[tokio::test]
async fn a_floating_tag_that_moves_with_every_release_spares_a_list_of_many_pages() {
    let polls = with_a_floating_tag().await;
    for _ in 0..3 {
        let (scan, lines) = polls.poll(&[]).await;
        assert_eq!(lines, [HEAD]);
        assert_eq!((scan.requests, &scan.reach), (1, &Reach::Sentinel(tag("latest"))));
        assert_eq!(
            scan.habit.sentence(),
            "no list while latest, which moved with every release seen, stays as it is, 1 request a look; any other tag is seen within 6 h"
        );
    }
    // A bound that one request can ask for is still preferred: it sees every tag that the rule could choose.
    assert_eq!(
        polls.poll(&["5.50."]).await.1,
        [HEAD],
        "and the looks are shared with whoever could choose any"
    );
    release(&polls, "6.0.0", true);
    let (scan, lines) = polls.poll(&[]).await;
    assert_eq!(lines, [&[HEAD, HEAD][..], &PAGES[..]].concat());
    assert!(has(&scan, "6.0.0"));
    assert_eq!(polls.poll(&[]).await.1, [HEAD]);
}

#[tokio::test]
async fn a_floating_tag_that_moved_before_its_release_is_listed_does_not_hide_it() {
    let polls = with_a_floating_tag().await;
    polls.fake.push("web", "latest", &image("linux", "amd64", "6.0.0"));
    let (scan, lines) = polls.poll(&[]).await;
    assert_eq!(lines.len(), 2 + PAGES.len());
    assert!(!has(&scan, "6.0.0"));
    release(&polls, "6.0.0", false);
    let (scan, _) = polls.poll(&[]).await;
    assert!(has(&scan, "6.0.0"), "the list is read again after a move that brought nothing");
    assert_eq!(polls.poll(&[]).await.1, [HEAD]);
}

#[tokio::test]
async fn a_floating_tag_that_missed_a_release_is_never_believed_again_and_its_silence_is_none() {
    let polls = with_a_floating_tag().await;
    polls.fake.fault("/manifests/latest", Fault::error(429, "TOOMANYREQUESTS", "slow down"));
    let (answer, _) = polls.scans.latest(&polls.registry, polls.plain()).await;
    refused(answer, Reason::RegistryRateLimited, "429");
    let polls = with_a_floating_tag().await;
    release(&polls, "4.9.99", false);
    assert_eq!(
        polls.poll(&[]).await.1,
        [HEAD],
        "a release that did not move it: seen by the next whole listing"
    );
    let (scan, _) = polls.ask(&[], true).await;
    assert!(has(&scan, "4.9.99"));
    assert_eq!(polls.poll(&[]).await.1, [&[HEAD][..], &PAGES[..]].concat(), "it may still move");
    for _ in 0..2 {
        let (scan, lines) = polls.poll(&[]).await;
        assert_eq!((lines, scan.reach), (PAGES.map(str::to_owned).to_vec(), Reach::Whole));
    }
}
