//! Registries under load: 429 with and without a time, budgets that run low, outages. Delays, and never a wrong answer.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::*;

async fn hundred() -> (HostileRegistry, Registry) {
    let fake = HostileRegistry::start().await;
    for n in 0..100 {
        fake.push(&format!("app{n}"), "1.0", &image("linux", "amd64", "x"));
    }
    let registry = registry_for(&[&fake]);
    (fake, registry)
}

fn held_back(registry: &Registry, fake: &HostileRegistry) -> u64 {
    registry.requests().get(&(fake.host(), Outcome::HeldBack)).copied().unwrap_or_default()
}

#[tokio::test]
async fn a_registry_that_asks_us_to_wait_is_not_asked_again_before_then() {
    let (fake, registry, repository) = world().await;
    let soon = jiff::fmt::rfc2822::DateTimePrinter::new();
    let date = Timestamp::now().checked_add(SignedDuration::from_hours(1)).unwrap();
    let date = soon.timestamp_to_rfc9110_string(&date).unwrap();
    for header in ["3600", date.as_str()] {
        fake.heal();
        fake.forget_requests();
        let registry = registry_for(&[&fake]);
        fake.fault("/tags/list", Fault::reply(429, &[("retry-after", header)], ""));
        let first = refused(registry.tags(&repository, None).await, Reason::RegistryRateLimited, "429");
        let answer = registry.resolve(&repository, &tag("1.0"), None).await;
        let second = refused(answer, Reason::RegistryRateLimited, "429");
        let wait = first.retry_at.unwrap().duration_since(Timestamp::now()).as_secs();
        assert!((3590..=3600).contains(&wait), "{header}: {wait} s");
        assert_eq!(first, second);
        assert_eq!(fake.lines(), [TAGS]);
        assert_eq!(held_back(&registry, &fake), 1);
    }
    drop(registry);
}

#[tokio::test]
async fn a_refusal_without_a_time_is_given_one_and_each_further_one_a_longer() {
    let (fake, registry, repository) = world().await;
    fake.push("web", "1.0", &image("linux", "amd64", "x"));
    fake.fault("/tags/list", Fault::status(429));
    let first = refused(registry.tags(&repository, None).await, Reason::RegistryRateLimited, "429");
    let wait = first.retry_at.unwrap().duration_since(Timestamp::now()).as_secs_f64();
    assert!((0.5..=2.0).contains(&wait), "{wait} s");
    refused(registry.tags(&repository, None).await, Reason::RegistryRateLimited, "429");
    assert_eq!(fake.lines().len(), 1, "held back");
    fake.heal();
    let limit = Instant::now() + Duration::from_secs(10);
    let answer = loop {
        match registry.tags(&repository, None).await {
            Answer::Unknown(_) => assert!(Instant::now() < limit, "never asked again"),
            answer => break answer,
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(found(answer).tags, ["1.0"]);
    assert_eq!(fake.lines().len(), 2, "asked once, when its time had come");
}

#[tokio::test]
async fn a_storm_of_refusals_reaches_the_registry_once_per_request_under_way() {
    let (fake, registry) = hundred().await;
    fake.fault("/tags/list", Fault::status(429));
    let repositories: Vec<Repository> = (0..100).map(|n| fake.repository(&format!("app{n}"))).collect();
    let answers = futures::future::join_all(repositories.iter().map(|one| registry.tags(one, None))).await;
    for answer in answers {
        let unknown = refused(answer, Reason::RegistryRateLimited, "429");
        assert!(unknown.retry_at.is_some(), "{unknown:?}");
    }
    let sent = fake.lines().len();
    assert!(sent <= 8, "{sent} of 100 requests were sent into the storm");
    assert_eq!(held_back(&registry, &fake), 100 - sent as u64);
}

#[tokio::test]
async fn many_questions_wait_for_their_turn_and_all_are_answered() {
    let (fake, registry) = hundred().await;
    fake.fault("/tags/list", Fault::Late(Duration::from_millis(20)));
    let repositories: Vec<Repository> = (0..100).map(|n| fake.repository(&format!("app{n}"))).collect();
    let answers = futures::future::join_all(repositories.iter().map(|one| registry.tags(one, None))).await;
    assert!(answers.into_iter().all(|answer| found(answer).complete));
    assert_eq!(fake.lines().len(), 100);
    assert!(fake.most_at_once() <= 16, "{} requests at once", fake.most_at_once());
    assert!(8 <= fake.most_at_once(), "{} requests at once", fake.most_at_once());
}

#[tokio::test]
async fn a_budget_that_is_used_up_holds_requests_back_before_they_are_refused() {
    let (fake, registry, repository) = world().await;
    let spent = [("ratelimit-limit", "100"), ("ratelimit-remaining", "0"), ("ratelimit-reset", "600")];
    fake.fault("/tags/list", Fault::reply(200, &spent, r#"{"tags": ["1.0"]}"#));
    assert_eq!(found(registry.tags(&repository, None).await).tags, ["1.0"]);
    let answer = registry.tags(&repository, None).await;
    let unknown = refused(answer, Reason::RegistryRateLimited, "its RateLimit headers leave us no request");
    let wait = unknown.retry_at.unwrap().duration_since(Timestamp::now()).as_secs();
    assert!((590..=600).contains(&wait), "{wait} s");
    assert_eq!(fake.lines(), [TAGS]);
}

#[tokio::test]
async fn where_pulls_are_counted_apart_a_list_is_still_read_when_they_are_used_up() {
    let (fake, registry, repository) = world().await;
    let digest = fake.push("web", "1.0", &index(&[("linux", "amd64")], "x"));
    let spent = [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "0;w=21600")];
    fake.fault("GET /v2/web/manifests/", Fault::reply(429, &spent, ""));
    let answer = registry.manifest(&repository, &digest, None).await;
    refused(answer, Reason::RegistryRateLimited, "429");
    let answer = registry.manifest(&repository, &digest, None).await;
    assert!(refused(answer, Reason::RegistryRateLimited, "429").retry_at.is_some());
    assert_eq!(fake.count("/manifests/"), 1);
    assert_eq!(found(registry.tags(&repository, None).await).tags, ["1.0"]);
    assert_eq!(found(registry.resolve(&repository, &tag("1.0"), None).await), digest);
}

#[tokio::test]
async fn a_host_that_is_down_is_left_alone_after_three_tries_and_the_next_is_said() {
    let fake = HostileRegistry::start().await;
    let registry = registry_for(&[&fake]);
    let repository = fake.repository("web");
    let host = fake.host();
    drop(fake);
    for n in 0..5 {
        let answer = registry.tags(&repository, None).await;
        let unknown = refused(answer, Reason::RegistryUnavailable, "/v2/web/tags/list: ");
        assert_eq!(unknown.retry_at.is_some(), 2 <= n, "{n}: {unknown:?}");
    }
    let requests = registry.requests();
    assert_eq!(requests.get(&(host.clone(), Outcome::NoAnswer)), Some(&3));
    assert_eq!(requests.get(&(host, Outcome::HeldBack)), Some(&2));
}

#[tokio::test]
async fn one_repository_that_fails_does_not_stop_its_neighbours() {
    let (fake, registry) = hundred().await;
    fake.fault("/app1/", Fault::status(500));
    for _ in 0..5 {
        let answer = registry.tags(&fake.repository("app1"), None).await;
        refused(answer, Reason::RegistryUnavailable, "500");
        found(registry.tags(&fake.repository("app2"), None).await);
    }
    assert_eq!(held_back(&registry, &fake), 0);
}
