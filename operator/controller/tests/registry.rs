//! The registry door against a registry that lies, stalls and redirects.
//!
//! Each case asserts the answer, its sentence, and the requests that it cost. The fake: `rollforward_testkit::registry`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a fixture that cannot be made is a failed test"
)]

#[path = "registry/attached.rs"]
mod attached;
#[path = "registry/credentials.rs"]
mod credentials;
#[path = "registry/door.rs"]
mod door;
#[path = "registry/referrers.rs"]
mod referrers;
#[path = "registry/scans.rs"]
mod scans;
#[path = "registry/storm.rs"]
mod storm;

use std::time::Duration;

use rollforward::registry::{Credential, Outcome, Registry, RegistryError, Secret, Settings};
use rollforward_core::evidence::{Answer, Unknown};
use rollforward_core::image::{Digest, Repository, Tag};
use rollforward_core::reason::Reason;
use rollforward_testkit::image::{annotate, digest_of, image, image_with_config, index};
use rollforward_testkit::registry::{Auth, Fault, HostileRegistry};

const TAGS: &str = "GET /v2/web/tags/list?n=1000";

fn registry_for(hosts: &[&HostileRegistry]) -> Registry {
    Registry::new(Settings {
        plain_http: hosts.iter().map(|host| host.host()).collect(),
        page_size: 1000,
        max_page_bytes: 64 * 1024,
        max_manifest_bytes: 64 * 1024,
        ..Settings::default()
    })
    .unwrap()
}

async fn world() -> (HostileRegistry, Registry, Repository) {
    let fake = HostileRegistry::start().await;
    let registry = registry_for(&[&fake]);
    let repository = fake.repository("web");
    (fake, registry, repository)
}

fn alice() -> Credential {
    Credential::new("alice", Secret::new("alice-secret"))
}

fn bob() -> Credential {
    Credential::new("bob", Secret::new("bob-secret"))
}

fn with_users(fake: &HostileRegistry, auth: Auth) {
    fake.switch(|switches| {
        switches.auth = auth;
        for user in ["alice", "bob"] {
            switches.users.insert(user.to_owned(), format!("{user}-secret"));
        }
    });
}

fn bearer() -> Auth {
    Auth::Bearer { realm: None, expires_in: Some(300) }
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

fn found<T: std::fmt::Debug>(answer: Answer<T>) -> T {
    match answer {
        Answer::Found(found) => found,
        other => panic!("not found: {other:?}"),
    }
}

/// The answer is `Unknown` for this reason, its sentence holds this part, and no secret.
fn refused<T: std::fmt::Debug>(answer: Answer<T>, reason: Reason, part: &str) -> Unknown {
    match answer {
        Answer::Unknown(unknown) => {
            assert_eq!(unknown.reason, reason, "{unknown:?}");
            assert!(unknown.message.contains(part), "{unknown:?} lacks {part}");
            assert!(!unknown.message.contains("-secret"), "{unknown:?}");
            assert!(!unknown.message.contains(char::is_control), "{unknown:?}");
            unknown
        }
        other => panic!("not unknown: {other:?}"),
    }
}

#[tokio::test]
async fn a_listing_is_followed_over_its_pages_and_costs_one_request_each() {
    let (fake, registry, repository) = world().await;
    for n in 0..5 {
        fake.push("web", &format!("1.{n}"), &image("linux", "amd64", "x"));
    }
    fake.switch(|switches| switches.page_size = Some(2));
    let list = found(registry.tags(&repository, None).await);
    assert_eq!(list.tags, ["1.0", "1.1", "1.2", "1.3", "1.4"]);
    assert!(list.complete);
    assert_eq!(fake.lines().len(), 3);
    let counted = registry.requests();
    assert_eq!(counted.get(&(fake.host(), Outcome::Answered)), Some(&3));
}

#[tokio::test]
async fn a_listing_that_ends_early_is_no_short_list() {
    let (fake, registry, repository) = world().await;
    for n in 0..5 {
        fake.push("web", &format!("1.{n}"), &image("linux", "amd64", "x"));
    }
    fake.switch(|switches| switches.page_size = Some(2));
    for (fault, part) in [
        (Fault::status(503), "after 1 pages: GET"),
        (Fault::reply(200, &[], r#"{"tags": ["1"#), "not a list of tags"),
        (Fault::Endless, "more than 65536 bytes"),
        (Fault::reply(200, &[("link", "<?n=1000>; rel=next")], r#"{"tags": []}"#), "in a circle"),
    ] {
        fake.heal();
        fake.forget_requests();
        fake.fault("from=2", fault);
        refused(registry.tags(&repository, None).await, Reason::TagListIncomplete, part);
        assert_eq!(fake.lines().len(), 2);
    }
    fake.heal();
    fake.switch(|switches| switches.link_prefix = "http://elsewhere.test".to_owned());
    fake.forget_requests();
    let answer = registry.tags(&repository, None).await;
    refused(answer, Reason::TagListIncomplete, "on another host");
    assert_eq!(fake.lines().len(), 1);
}

#[tokio::test]
async fn our_own_limits_give_a_list_that_says_it_is_not_complete() {
    let (fake, _, repository) = world().await;
    for n in 0..5 {
        fake.push("web", &format!("1.{n}"), &image("linux", "amd64", "x"));
    }
    fake.switch(|switches| switches.page_size = Some(2));
    for (max_pages, max_tags, expected) in [(1, 100, 2), (100, 3, 3)] {
        let settings = Settings { plain_http: vec![fake.host()], max_pages, max_tags, ..Settings::default() };
        let list = found(Registry::new(settings).unwrap().tags(&repository, None).await);
        assert_eq!((list.tags.len(), list.complete), (expected, false));
    }
}

#[tokio::test]
async fn no_tags_are_an_empty_list_and_hostile_names_are_no_tags() {
    let (fake, registry, repository) = world().await;
    fake.fault("/tags/list", Fault::reply(200, &[], r#"{"tags": null}"#));
    let list = found(registry.tags(&repository, None).await);
    assert!(list.tags.is_empty() && list.complete);
    fake.heal();
    for name in ["1.0", "../../x", "\u{1b}[2J", "", "a b", "1.0@sha256:x"] {
        fake.push("web", name, &image("linux", "amd64", "x"));
    }
    assert_eq!(found(registry.tags(&repository, None).await).tags, ["1.0"]);
}

#[tokio::test]
async fn what_is_no_listing_is_unknown_and_never_absent() {
    let (fake, registry, repository) = world().await;
    let html = [("content-type", "text/html; charset=utf-8")];
    for (fault, reason, part) in [
        (Fault::status(500), Reason::RegistryUnavailable, "500 Internal Server Error"),
        (
            Fault::error(503, "X", "down\u{7}"),
            Reason::RegistryUnavailable,
            "/v2/web/tags/list: 503 Service Unavailable, \"X: down\"",
        ),
        (
            Fault::error(404, "NAME_UNKNOWN", "gone"),
            Reason::RepositoryNotFound,
            "404 Not Found, \"NAME_UNKNOWN: gone\"",
        ),
        (Fault::status(404), Reason::RegistryUnavailable, "404 Not Found"),
        (
            Fault::reply(200, &html, "<html>log in</html>"),
            Reason::RegistryUnavailable,
            "a body of type text/html",
        ),
        (Fault::reply(200, &[], "{}"), Reason::RegistryUnavailable, "not a list of tags"),
        (Fault::Endless, Reason::RegistryUnavailable, "more than 65536 bytes"),
        (
            Fault::redirect("http://elsewhere.test/"),
            Reason::RegistryUnavailable,
            "a redirect to http://elsewhere.test/, which is not followed",
        ),
        (Fault::status(403), Reason::RegistryUnauthorized, "asked without a credential"),
    ] {
        fake.heal();
        fake.forget_requests();
        fake.fault("/tags/list", fault);
        let unknown = refused(registry.tags(&repository, None).await, reason, part);
        assert_eq!(unknown.retry_at, None);
        assert_eq!(fake.lines(), [TAGS]);
    }
}

#[tokio::test]
async fn silence_ends_with_the_time_limit() {
    let fake = HostileRegistry::start().await;
    fake.fault("/v2/", Fault::Silence);
    let settings = |timeout, max_time| Settings {
        plain_http: vec![fake.host()],
        timeout,
        max_time,
        ..Settings::default()
    };
    let (short, long) = (Duration::from_millis(200), Duration::from_secs(20));
    let repository = fake.repository("web");
    let registry = Registry::new(settings(short, long)).unwrap();
    let answer = registry.tags(&repository, None).await;
    refused(answer, Reason::RegistryUnavailable, "no complete answer within 0.2 s");
    let registry = Registry::new(settings(long, short)).unwrap();
    let answer = registry.tags(&repository, None).await;
    refused(answer, Reason::RegistryUnavailable, "not answered in full within 0.2 s");
}

#[tokio::test]
async fn http_is_spoken_only_to_hosts_that_are_allowed_to() {
    let fake = HostileRegistry::start().await;
    let registry = registry_for(&[]);
    let answer = registry.tags(&fake.repository("web"), Some(&alice())).await;
    refused(answer, Reason::InsecureRegistry, "answered https with plain http");
    assert!(fake.lines().is_empty());
    let settings = Settings { plain_http: vec!["http://r.test".to_owned()], ..Settings::default() };
    let error = Registry::new(settings).unwrap_err();
    assert!(matches!(error, RegistryError::PlainHttp { index: 0 }), "{error}");
}

#[tokio::test]
async fn a_tag_is_resolved_by_one_head_and_by_its_bytes_where_there_is_no_header() {
    let (fake, registry, repository) = world().await;
    let digest = fake.push("web", "1.0", &image("linux", "amd64", "x"));
    assert_eq!(found(registry.resolve(&repository, &tag("1.0"), None).await), digest);
    assert_eq!(fake.lines(), ["HEAD /v2/web/manifests/1.0"]);
    fake.switch(|switches| switches.without_digest = true);
    assert_eq!(found(registry.resolve(&repository, &tag("1.0"), None).await), digest);
    assert_eq!(fake.lines().len(), 3);
    fake.fault("HEAD", Fault::reply(200, &[("docker-content-digest", "sha256:short\u{9}")], ""));
    let answer = registry.resolve(&repository, &tag("1.0"), None).await;
    refused(answer, Reason::ManifestInvalid, "the digest \"sha256:short\", which is none");
    fake.heal();
    let lie = digest_of(b"other");
    fake.fault("HEAD", Fault::status(405));
    fake.fault("GET", Fault::reply(200, &[("docker-content-digest", lie.as_str())], "x"));
    let answer = registry.resolve(&repository, &tag("1.0"), None).await;
    refused(answer, Reason::DigestMismatch, lie.as_str());
}

#[tokio::test]
async fn a_tag_is_absent_only_in_the_registrys_own_words() {
    let (fake, registry, repository) = world().await;
    fake.push("web", "1.0", &image("linux", "amd64", "x"));
    let answer = registry.resolve(&repository, &tag("2.0"), None).await;
    assert_eq!(answer, Answer::Absent);
    assert_eq!(fake.lines().len(), 2);
    let answer = registry.resolve(&fake.repository("none"), &tag("2.0"), None).await;
    refused(answer, Reason::RepositoryNotFound, "NAME_UNKNOWN");
    fake.fault("/manifests/", Fault::reply(404, &[], "<html>no such page</html>"));
    let answer = registry.resolve(&repository, &tag("2.0"), None).await;
    refused(answer, Reason::RegistryUnavailable, "404");
}

fn names(manifest: &rollforward_core::evidence::Manifest) -> Vec<String> {
    let platforms = manifest.platforms.iter();
    platforms.map(|platform| format!("{}/{}", platform.os, platform.architecture)).collect()
}

#[tokio::test]
async fn platforms_come_from_an_index_or_from_the_config_of_a_single_image() {
    let (fake, registry, repository) = world().await;
    let both = fake.push("web", "1", &index(&[("linux", "arm64"), ("linux", "amd64")], "x"));
    let manifest = found(registry.manifest(&repository, &both, None).await);
    assert_eq!(names(&manifest), ["linux/amd64", "linux/arm64"]);
    assert_eq!(manifest.digest, both);
    assert_eq!(fake.lines().len(), 1);
    let single = fake.push("web", "2", &image("linux", "arm64", "x"));
    let manifest = found(registry.manifest(&repository, &single, None).await);
    assert_eq!(names(&manifest), ["linux/arm64"]);
    assert_eq!(fake.lines().len(), 3);
    let bare = fake.push("web", "3", &image_with_config(serde_json::json!({})));
    let manifest = found(registry.manifest(&repository, &bare, None).await);
    assert!(manifest.platforms.is_empty());
    let answer = registry.manifest(&repository, &digest_of(b"none"), None).await;
    assert_eq!(answer, Answer::Absent);
}

#[tokio::test]
async fn a_version_comes_from_an_annotation_or_a_label_and_of_an_index_its_first_image_is_named() {
    let key = "org.opencontainers.image.version";
    let (fake, registry, repository) = world().await;
    let version = async |digest: &Digest| found(registry.manifest(&repository, digest, None).await).version;
    let labels =
        serde_json::json!({"os": "linux", "architecture": "amd64", "config": {"Labels": {key: "1.4.7"}}});
    let labelled = image_with_config(labels);
    assert_eq!(version(&fake.push("web", "1", &labelled)).await.as_deref(), Some("1.4.7"));
    assert_eq!(fake.lines().len(), 2, "the config is read anyway");
    let annotated = annotate(&labelled, &serde_json::json!({key: "1.4.8"}));
    assert_eq!(version(&fake.push("web", "2", &annotated)).await.as_deref(), Some("1.4.8"));
    let odd = image_with_config(
        serde_json::json!({"os": "linux", "architecture": "amd64", "config": {"Labels": 7}}),
    );
    let odd = found(registry.manifest(&repository, &fake.push("web", "3", &odd), None).await);
    assert_eq!(
        (odd.version.as_ref(), names(&odd)),
        (None, vec!["linux/amd64".to_owned()]),
        "nothing is held by it"
    );
    fake.forget_requests();
    let plain = index(&[("linux", "arm64"), ("linux", "amd64")], "x");
    let plain = found(registry.manifest(&repository, &fake.push("web", "4", &plain), None).await);
    assert_eq!((plain.version, plain.child), (None, Some(image("linux", "arm64", "x").digest())));
    let own = annotate(&index(&[("linux", "amd64")], "x"), &serde_json::json!({key: "1.4.9"}));
    let own = found(registry.manifest(&repository, &fake.push("web", "5", &own), None).await);
    assert_eq!((own.version.as_deref(), own.child), (Some("1.4.9"), None));
    assert_eq!(fake.lines().len(), 2, "an index costs one request");
}

#[tokio::test]
async fn a_push_between_two_questions_changes_neither_answer_nor_digest() {
    let (fake, registry, repository) = world().await;
    let first = fake.push("web", "1.0", &index(&[("linux", "amd64")], "first"));
    let second = index(&[("linux", "arm64")], "second");
    fake.push_after("HEAD", "web", "1.0", &second);
    let resolved = found(registry.resolve(&repository, &tag("1.0"), None).await);
    assert_eq!(resolved, first);
    // The tag names another digest by now; what was resolved is what is read.
    let manifest = found(registry.manifest(&repository, &resolved, None).await);
    assert_eq!((names(&manifest), &manifest.digest), (vec!["linux/amd64".to_owned()], &first));
    assert_eq!(found(registry.resolve(&repository, &tag("1.0"), None).await), second.digest());
    assert_eq!(fake.lines().len(), 3);
}

#[tokio::test]
async fn bytes_that_are_not_their_digest_are_not_read() {
    let (fake, registry, repository) = world().await;
    let digest = fake.push("web", "1", &image("linux", "amd64", "x"));
    let other = image("linux", "amd64", "evil");
    let fault = Fault::reply(200, &[("docker-content-digest", digest.as_str())], other.manifest);
    fake.fault("/manifests/", fault);
    let answer = registry.manifest(&repository, &digest, None).await;
    refused(answer, Reason::DigestMismatch, digest.as_str());
    fake.heal();
    fake.fault("/blobs/", Fault::reply(200, &[], "{}"));
    let answer = registry.manifest(&repository, &digest, None).await;
    refused(answer, Reason::DigestMismatch, "/blobs/");
    fake.heal();
    fake.fault("/manifests/", Fault::Endless);
    let answer = registry.manifest(&repository, &digest, None).await;
    refused(answer, Reason::ManifestInvalid, "more than 65536 bytes");
    fake.heal();
    let old = br#"{"schemaVersion": 1, "name": "web"}"#;
    fake.fault("/manifests/", Fault::reply(200, &[], old.as_slice()));
    let answer = registry.manifest(&repository, &digest_of(old), None).await;
    refused(answer, Reason::ManifestInvalid, "schema 1");
}

#[tokio::test]
async fn a_blob_may_be_elsewhere_and_is_asked_there_without_a_credential() {
    let (fake, store) = (HostileRegistry::start().await, HostileRegistry::start().await);
    let registry = registry_for(&[&fake, &store]);
    with_users(&fake, bearer());
    let single = image("linux", "arm64", "x");
    let digest = fake.push("web", "1", &single);
    fake.fault("/blobs/", Fault::redirect(&format!("http://{}/signed", store.host())));
    store.fault("/signed", Fault::reply(200, &[], single.config.unwrap()));
    let repository = fake.repository("web");
    let manifest = found(registry.manifest(&repository, &digest, Some(&alice())).await);
    assert_eq!(names(&manifest), ["linux/arm64"]);
    let received = store.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received.first().unwrap().authorization, None);
    store.heal();
    store.forget_requests();
    store.fault("/signed", Fault::redirect("/signed"));
    let answer = registry.manifest(&repository, &digest, Some(&alice())).await;
    refused(answer, Reason::RegistryUnavailable, "redirect");
    assert_eq!(store.lines().len(), 3);
    fake.heal();
    fake.fault("/blobs/", Fault::redirect("http://elsewhere.test/"));
    let answer = registry.manifest(&repository, &digest, Some(&alice())).await;
    refused(answer, Reason::RegistryUnavailable, "which is not followed");
}

#[tokio::test]
async fn a_token_is_fetched_once_and_kept() {
    let (fake, registry, repository) = world().await;
    fake.push("web", "1.0", &image("linux", "amd64", "x"));
    with_users(&fake, bearer());
    found(registry.tags(&repository, Some(&alice())).await);
    assert_eq!(fake.lines().len(), 3);
    assert_eq!(fake.count("GET /token"), 1);
    found(registry.tags(&repository, Some(&alice())).await);
    found(registry.resolve(&repository, &tag("1.0"), Some(&alice())).await);
    assert_eq!(fake.lines().len(), 5);
    let last = fake.received().pop().unwrap();
    assert_eq!(last.authorization.as_deref(), Some("Bearer token-alice-0"));
}

#[tokio::test]
async fn a_token_that_has_ended_is_replaced_without_asking_the_registry_first() {
    let (fake, registry, repository) = world().await;
    fake.push("web", "1.0", &image("linux", "amd64", "x"));
    // Within the slack of 10 s, so it has ended when it comes.
    with_users(&fake, Auth::Bearer { realm: None, expires_in: Some(5) });
    found(registry.tags(&repository, Some(&alice())).await);
    fake.forget_requests();
    found(registry.tags(&repository, Some(&alice())).await);
    assert_eq!((fake.lines().len(), fake.count("/token")), (2, 1));
}

#[tokio::test]
async fn one_tenants_token_is_never_used_for_another() {
    let (fake, registry, repository) = world().await;
    fake.push("web", "1.0", &image("linux", "amd64", "x"));
    with_users(&fake, bearer());
    found(registry.tags(&repository, Some(&alice())).await);
    fake.forget_requests();
    found(registry.tags(&repository, Some(&bob())).await);
    refused(
        registry.tags(&repository, None).await,
        Reason::RegistryUnauthorized,
        "asked without a credential",
    );
    let wrong = Credential::new("alice", Secret::new("wrong-secret"));
    let answer = registry.tags(&repository, Some(&wrong)).await;
    refused(answer, Reason::RegistryUnauthorized, "with the credential of user \"alice\"");
    let used: Vec<_> = fake.received().into_iter().filter_map(|one| one.authorization).collect();
    assert!(used.iter().all(|value| !value.contains("token-alice")), "{used:?}");
    assert!(used.contains(&"Bearer token-bob-1".to_owned()), "{used:?}");
}

#[tokio::test]
async fn a_credential_is_not_sent_to_a_foreign_realm() {
    let (fake, thief) = (HostileRegistry::start().await, HostileRegistry::start().await);
    let registry = registry_for(&[&fake]);
    let realm = format!("http://{}/token", thief.host());
    with_users(&fake, Auth::Bearer { realm: Some(realm.clone()), expires_in: None });
    let answer = registry.tags(&fake.repository("web"), Some(&alice())).await;
    let unknown = refused(answer, Reason::RegistryUnauthorized, &realm);
    assert!(unknown.message.contains("no credential was sent"), "{unknown:?}");
    assert!(thief.received().is_empty());
    assert_eq!(fake.lines(), [TAGS]);
}

#[tokio::test]
async fn a_realm_that_redirects_or_has_no_token_gives_none() {
    let (fake, registry, repository) = world().await;
    let thief = HostileRegistry::start().await;
    with_users(&fake, bearer());
    for (fault, part) in [
        (Fault::redirect(&format!("http://{}/", thief.host())), "not followed"),
        (Fault::reply(200, &[], "{}"), "no token in it"),
        (Fault::reply(200, &[], "alice-secret"), "no token in it"),
        (Fault::Endless, "more than 65536 bytes"),
        (Fault::status(500), "/token: 500"),
    ] {
        fake.heal();
        fake.forget_requests();
        fake.fault("/token", fault);
        let answer = registry.tags(&repository, Some(&alice())).await;
        refused(answer, Reason::RegistryUnavailable, part);
        assert_eq!(fake.lines().len(), 2);
    }
    assert!(thief.received().is_empty());
}

#[tokio::test]
async fn an_identity_token_is_posted_and_the_password_is_not_sent() {
    let (fake, registry, repository) = world().await;
    fake.push("web", "1.0", &image("linux", "amd64", "x"));
    with_users(&fake, bearer());
    fake.switch(|switches| switches.refresh_token = Some("refresh".to_owned()));
    let credential = alice().with_identity_token(Secret::new("refresh"));
    found(registry.tags(&repository, Some(&credential)).await);
    assert_eq!(fake.count("POST /token"), 1);
    let received = fake.received();
    assert!(
        received
            .iter()
            .filter_map(|one| one.authorization.as_ref())
            .all(|value| value.starts_with("Bearer ")),
        "{received:?}"
    );
}

#[tokio::test]
async fn basic_is_answered_after_it_was_asked_for_and_remembered() {
    let (fake, registry, repository) = world().await;
    fake.push("web", "1.0", &image("linux", "amd64", "x"));
    with_users(&fake, Auth::Basic);
    found(registry.tags(&repository, Some(&alice())).await);
    found(registry.tags(&repository, Some(&alice())).await);
    assert_eq!(fake.lines().len(), 3);
    assert_eq!(fake.received().first().unwrap().authorization, None);
    let answer = registry.tags(&repository, None).await;
    refused(answer, Reason::RegistryUnauthorized, "there is no credential for it");
}

#[tokio::test]
async fn a_public_repository_is_read_with_an_anonymous_token() {
    let (fake, registry, repository) = world().await;
    let digest: Digest = fake.push("web", "1.0", &image("linux", "amd64", "x"));
    with_users(&fake, bearer());
    fake.switch(|switches| switches.anonymous = true);
    assert_eq!(found(registry.resolve(&repository, &tag("1.0"), None).await), digest);
    assert_eq!(fake.lines().len(), 3);
}

#[tokio::test]
async fn requests_are_exported_by_registry_and_outcome_when_somebody_scrapes() {
    use rollforward::server::{self, Readiness};
    let (fake, registry, repository) = world().await;
    let (_, exported) = rollforward::telemetry::Metrics::new(registry.clone());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    tokio::spawn(server::serve(listener, Readiness::waiting("a test"), exported));
    let scrape = || async { reqwest::get(&url).await.unwrap().text().await.unwrap() };
    assert!(!scrape().await.contains("registry_requests"), "no registry was asked yet");
    fake.push("web", "1.0.0", &image("linux", "amd64", "x"));
    for _ in 0..2 {
        found(registry.tags(&repository, None).await);
    }
    fake.fault("tags/list", Fault::status(503));
    assert!(matches!(registry.tags(&repository, None).await, Answer::Unknown(_)));
    let text = scrape().await;
    let line = |outcome: &str, n: u32| {
        let host = fake.host();
        format!("rollforward_registry_requests_total{{registry=\"{host}\",outcome=\"{outcome}\"}} {n}\n")
    };
    for expected in [line("answered", 2), line("server_error", 1)] {
        assert!(text.contains(&expected), "{expected} in {text}");
    }
    assert_eq!(text.matches("# TYPE rollforward_registry_requests counter").count(), 1, "{text}");
}

#[tokio::test]
async fn whether_a_mirror_serves_a_digest_is_one_head_and_its_absence_is_said_in_words() {
    let (fake, registry, repository) = world().await;
    let here = fake.push("web", "1.0.0", &image("linux", "amd64", "x"));
    found(registry.serves(&repository, &here, None).await);
    assert_eq!(fake.lines(), [format!("HEAD /v2/web/manifests/{here}")]);
    fake.forget_requests();
    let elsewhere = digest_of(b"never pushed");
    assert_eq!(registry.serves(&repository, &elsewhere, None).await, Answer::Absent);
    let lines = ["HEAD", "GET"].map(|method| format!("{method} /v2/web/manifests/{elsewhere}"));
    assert_eq!(fake.lines(), lines);
    fake.fault("manifests", Fault::status(503));
    assert!(matches!(registry.serves(&repository, &here, None).await, Answer::Unknown(_)));
    fake.heal();
    let other = elsewhere.to_string();
    fake.fault("manifests", Fault::reply(200, &[("docker-content-digest", &other)], ""));
    let Answer::Unknown(unknown) = registry.serves(&repository, &here, None).await else { panic!() };
    assert_eq!(unknown.reason, Reason::DigestMismatch);
}
