//! The operator's own credentials, and hosts that have an authority, a certificate or a proxy of their own.
//!
//! Each case asserts what was shown to whom: the requests that came, with their `Authorization`.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rollforward::registry::pull_secret::Keyring;
use rollforward::registry::{HostSettings, OwnCredentialError, ProviderSettings};
use rollforward_testkit::provider::{TestProvider, answer};
use rollforward_testkit::tls::TestAuthority;

use super::*;

fn repository(text: &str) -> Repository {
    Repository::parse(text).unwrap()
}

fn docker_config(host: &str, user: &str) -> String {
    format!(r#"{{"auths": {{"{host}": {{"username": "{user}", "password": "{user}-secret"}}}}}}"#)
}

async fn user_of(registry: &Registry, text: &str) -> Option<String> {
    let credential = registry.own_credential(&repository(text)).await.unwrap();
    credential.map(|credential| credential.username().to_owned())
}

#[tokio::test]
async fn a_docker_configuration_is_for_its_host_alone_and_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, docker_config("r.test", "alice")).unwrap();
    let settings = Settings {
        credential_files: vec![("r.test".to_owned(), path.clone()), ("s.test".to_owned(), path.clone())],
        ..Settings::default()
    };
    let registry = Registry::new(settings).unwrap();
    assert_eq!(user_of(&registry, "r.test/web").await.as_deref(), Some("alice"));
    assert_eq!(user_of(&registry, "s.test/web").await, None, "the file's key is for r.test");
    assert_eq!(user_of(&registry, "other.test/web").await, None);
    // Replaced as a mounted Secret is: another file under the same name.
    std::fs::write(folder.path().join("new"), docker_config("r.test", "bob")).unwrap();
    std::fs::rename(folder.path().join("new"), &path).unwrap();
    assert_eq!(user_of(&registry, "r.test/web").await.as_deref(), Some("bob"));
    for (content, part) in [
        (Some(r#"{"auths": {"r.test": "bob-secret"}}"#), "expected a docker configuration"),
        (None, "No such file"),
    ] {
        std::fs::remove_file(&path).unwrap();
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let error = registry.own_credential(&repository("r.test/web")).await.unwrap_err();
        let mut words = error.to_string();
        assert!(words.contains("docker configuration for r.test cannot be used"), "{words}");
        assert!(words.contains(part) && words.contains("config.json"), "{words}");
        words.push_str(&format!("{error:?}"));
        assert!(!words.contains("bob-secret"), "{words}");
    }
}

fn provider(folder: &Path, match_images: &[&str], default_cache: Duration) -> Registry {
    Registry::new(Settings {
        credential_providers: vec![ProviderSettings {
            name: "plugin".to_owned(),
            folder: folder.to_owned(),
            match_images: match_images.iter().map(|text| (*text).to_owned()).collect(),
            default_cache,
            arguments: vec!["get-credentials".to_owned()],
            variables: vec![("TEST_VARIABLE".to_owned(), "set".to_owned())],
        }],
        ..Settings::default()
    })
    .unwrap()
}

#[tokio::test]
async fn a_credential_provider_is_asked_as_the_kubelet_asks_and_kept_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let all = [("*.ecr.test", "AWS", "token-secret")];
    // The kind of key, the duration, and how often the program runs for two images of one host and one of another.
    for (kind, kept, n_runs) in [
        ("Image", Some("12h0m0s"), 3),
        ("Registry", Some("12h0m0s"), 2),
        ("Global", None, 1),
        ("Global", Some("0s"), 6),
    ] {
        let _ = std::fs::remove_file(folder.path().join("plugin.log"));
        let plugin = TestProvider::new(folder.path(), "plugin", &answer(kind, kept, &all), 0);
        let registry = provider(folder.path(), &["*.ecr.test"], hour);
        for text in ["one.ecr.test/web", "one.ecr.test/api", "two.ecr.test/web"].iter().cycle().take(6) {
            assert_eq!(user_of(&registry, text).await.as_deref(), Some("AWS"), "{kind} {text}");
        }
        assert_eq!(plugin.asked().len(), n_runs, "{kind} {kept:?}: {:?}", plugin.asked());
        assert_eq!(
            plugin.asked().first().unwrap(),
            "{\"kind\":\"CredentialProviderRequest\",\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",\
             \"image\":\"one.ecr.test/web\"} set get-credentials"
        );
        assert_eq!(user_of(&registry, "ecr.test/web").await, None);
        assert_eq!(user_of(&registry, "a.b.ecr.test/web").await, None);
        assert_eq!(plugin.asked().len(), n_runs, "asked only for what matches");
    }
}

#[tokio::test]
async fn a_question_of_many_at_once_runs_the_program_once() {
    let folder = tempfile::tempdir().unwrap();
    let all = answer("Image", Some("1h"), &[("r.test", "robot", "token-secret")]);
    let plugin = TestProvider::new(folder.path(), "plugin", &all, 0);
    let registry = provider(folder.path(), &["r.test"], Duration::ZERO);
    let many = (0..20).map(|_| user_of(&registry, "r.test/web"));
    let found = futures::future::join_all(many).await;
    assert!(found.iter().all(|user| user.as_deref() == Some("robot")), "{found:?}");
    assert_eq!(plugin.asked().len(), 1);
}

#[tokio::test]
async fn a_provider_that_fails_is_named_and_its_output_is_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let registry = provider(folder.path(), &["r.test"], Duration::ZERO);
    let plugin = TestProvider::new(folder.path(), "plugin", "", 0);
    let good = answer("Image", None, &[("r.test", "robot", "token-secret")]);
    let mut cases = vec![
        (good.replace("\"Image\"", "\"Pod\""), "no valid cacheKeyType"),
        (good.replace("k8s.io/v1", "k8s.io/v1beta1"), "another kind or version"),
        (good.replace("\"kind\"", "\"token-secret\""), "another kind or version"),
        ("token-secret".to_owned(), "JSON of another form"),
        (good.replace("\"kind", "\"cacheDuration\":\"1d\",\"kind"), "a cacheDuration that is none"),
    ];
    for (printed, part) in cases.drain(..) {
        plugin.say(&printed, 0);
        refused_by(&registry, part).await;
    }
    plugin.say("token-secret", 3);
    refused_by(&registry, "ended with exit status: 3: \"words on standard error\"").await;
    plugin.script("#!/bin/sh\nexec yes token-secret\n");
    refused_by(&registry, "printed more than 1048576 bytes").await;
    std::fs::remove_file(folder.path().join("plugin")).unwrap();
    refused_by(&registry, "credential provider plugin cannot be run: No such file").await;
}

async fn refused_by(registry: &Registry, part: &str) {
    let error = registry.own_credential(&repository("r.test/web")).await.unwrap_err();
    assert!(matches!(error, OwnCredentialError::Provider(_)), "{error:?}");
    let words = format!("{error} {error:?}");
    assert!(words.contains(part), "{words} lacks {part}");
    assert!(!words.contains("token-secret"), "{words}");
}

fn host(fake: &HostileRegistry) -> HostSettings {
    HostSettings { host: fake.host(), ..HostSettings::default() }
}

fn registry_with(host: HostSettings) -> Result<Registry, RegistryError> {
    Registry::new(Settings { hosts: vec![host], ..Settings::default() })
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_for_its_host_alone() {
    let folder = tempfile::tempdir().unwrap();
    let authority = TestAuthority::default();
    let fake = HostileRegistry::start_tls(&authority, false).await;
    let other = HostileRegistry::start_tls(&authority, false).await;
    let ca_file = TestAuthority::write(folder.path(), "ca.crt", &authority.certificate());
    for registry in [&fake, &other] {
        registry.push("web", "1.0", &image("linux", "amd64", "x"));
    }
    let registry = registry_with(HostSettings { ca_file: Some(ca_file.clone()), ..host(&fake) }).unwrap();
    assert_eq!(found(registry.tags(&fake.repository("web"), None).await).tags, ["1.0"]);
    let answer = registry.tags(&other.repository("web"), None).await;
    refused(answer, Reason::RegistryUnavailable, "certificate");
    assert!(other.lines().is_empty());
    // Replaced by another authority: it counts from the next request on.
    std::fs::remove_file(&ca_file).unwrap();
    std::fs::write(&ca_file, TestAuthority::default().certificate()).unwrap();
    let answer = registry.tags(&fake.repository("web"), None).await;
    refused(answer, Reason::RegistryUnavailable, "certificate");
    std::fs::remove_file(&ca_file).unwrap();
    std::fs::write(&ca_file, "nothing").unwrap();
    let answer = registry.tags(&fake.repository("web"), None).await;
    refused(answer, Reason::RegistryUnavailable, "ca.crt: expected a bundle of certificates as PEM");
    assert_eq!(registry.requests().get(&(fake.host(), Outcome::NotSent)), Some(&1));
    // At the start it is no registry client at all.
    let error = registry_with(HostSettings { ca_file: Some(ca_file), ..host(&fake) }).unwrap_err();
    assert!(error.to_string().contains("expected a bundle of certificates"), "{error}");
    let missing = Some(folder.path().join("missing.crt"));
    let error = registry_with(HostSettings { ca_file: missing, ..host(&fake) }).unwrap_err();
    assert!(error.to_string().contains("missing.crt: No such file"), "{error}");
}

#[tokio::test]
async fn a_host_that_asks_for_a_client_certificate_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let authority = TestAuthority::default();
    let fake = HostileRegistry::start_tls(&authority, true).await;
    fake.push("web", "1.0", &image("linux", "amd64", "x"));
    let write = |name: &str, text: &str| TestAuthority::write(folder.path(), name, text);
    let ca_file = Some(write("ca.crt", &authority.certificate()));
    let (certificate, key) = authority.issue("client");
    let pair = (write("client.crt", &certificate), write("client.key", &key));
    let with =
        HostSettings { ca_file: ca_file.clone(), client_certificate: Some(pair.clone()), ..host(&fake) };
    let registry = registry_with(with).unwrap();
    assert_eq!(found(registry.tags(&fake.repository("web"), None).await).tags, ["1.0"]);
    let registry = registry_with(HostSettings { ca_file: ca_file.clone(), ..host(&fake) }).unwrap();
    refused(registry.tags(&fake.repository("web"), None).await, Reason::RegistryUnavailable, "");
    assert_eq!(fake.lines().len(), 1);
    let swapped = Some((pair.1, pair.0));
    for bad in [swapped, Some((write("c", &certificate), write("k", "none")))] {
        let with = HostSettings { ca_file: ca_file.clone(), client_certificate: bad.clone(), ..host(&fake) };
        // A pair in one order is the same pair in the other; a key that is none is said.
        match registry_with(with) {
            Ok(_) => assert!(bad.unwrap().0.ends_with("client.key")),
            Err(error) => {
                assert!(error.to_string().contains("a certificate, and beside it its key"), "{error}")
            }
        }
    }
}

#[tokio::test]
async fn a_host_with_a_proxy_is_asked_through_it_and_others_are_not() {
    let proxy = HostileRegistry::start().await;
    let (fake, _, _) = world().await;
    for registry in [&proxy, &fake] {
        registry.push("web", "1.0", &image("linux", "amd64", "x"));
    }
    let through = Some(Secret::new(format!("http://user:proxy-secret@{}", proxy.host())));
    let settings = Settings {
        plain_http: vec!["r.test:5000".to_owned(), fake.host()],
        page_size: 1000,
        hosts: vec![HostSettings {
            host: "r.test:5000".to_owned(),
            proxy: through,
            ..HostSettings::default()
        }],
        ..Settings::default()
    };
    let registry = Registry::new(settings).unwrap();
    assert!(!format!("{registry:?}").contains("proxy-secret"));
    assert_eq!(found(registry.tags(&repository("r.test:5000/web"), None).await).tags, ["1.0"]);
    found(registry.tags(&fake.repository("web"), None).await);
    assert_eq!(proxy.lines(), ["GET http://r.test:5000/v2/web/tags/list?n=1000"]);
    assert_eq!(fake.lines(), [TAGS]);
}

/// The environment cannot be changed in a process with threads, so this test runs itself in another.
#[tokio::test]
async fn proxies_of_the_environment_are_used_except_where_no_proxy_names_the_host() {
    const CHILD: &str = "ROLLFORWARD_TEST_PROXY_CHILD";
    let pushed = index(&[("linux", "amd64")], "x");
    if let Ok(direct) = std::env::var(CHILD) {
        let plain_http = vec!["r.test".to_owned(), direct.clone()];
        let registry =
            Registry::new(Settings { plain_http, page_size: 1000, ..Settings::default() }).unwrap();
        found(registry.tags(&repository("r.test/web"), None).await);
        found(registry.tags(&repository(&format!("{direct}/web")), None).await);
        for host in ["r.test", direct.as_str()] {
            found(registry.manifest(&repository(&format!("{host}/web")), &pushed.digest(), None).await);
        }
        return;
    }
    let (proxy, fake) = (HostileRegistry::start().await, HostileRegistry::start().await);
    for registry in [&proxy, &fake] {
        registry.push("web", "1.0", &pushed);
    }
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "credentials::proxies_of_the_environment_are_used_except_where_no_proxy_names_the_host",
        ])
        .env(CHILD, fake.host())
        .env("HTTP_PROXY", format!("http://{}", proxy.host()))
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    // What the crate asks goes to our own door first, whatever the environment says of loopback.
    let manifest = format!("/v2/web/manifests/{}", pushed.digest());
    let by_proxy =
        ["GET http://r.test/v2/web/tags/list?n=1000".to_owned(), format!("GET http://r.test{manifest}")];
    assert_eq!(proxy.lines(), by_proxy);
    assert_eq!(fake.lines(), [TAGS.to_owned(), format!("GET {manifest}")]);
}

/// A keyring of users that all are for the same registry, in this order.
fn keyring(host: &str, users: &[&str]) -> Keyring {
    let mut keyring = Keyring::default();
    for user in users {
        let one = format!(r#"{{"{host}": {{"username": "{user}", "password": "{user}-secret"}}}}"#);
        keyring.merge(Keyring::from_docker_cfg(one.as_bytes()).unwrap());
    }
    keyring
}

#[tokio::test]
async fn a_refused_credential_is_followed_by_the_next_and_the_one_that_was_let_in_is_remembered() {
    for auth in [Auth::Basic, bearer()] {
        let (fake, registry, repository) = world().await;
        with_users(&fake, auth);
        fake.push("web", "1.0.0", &image("linux", "amd64", "x"));
        let credential = keyring(&fake.host(), &["mallory", "bob"]).credential_for(&repository).unwrap();
        found(registry.tags(&repository, Some(&credential)).await);
        fake.forget_requests();
        for _ in 0..3 {
            found(registry.tags(&repository, Some(&credential)).await);
        }
        assert_eq!(fake.lines(), [TAGS; 3], "one request a poll, with the one that was let in");
        // Taken from bob, the others are tried again.
        fake.switch(|switches| {
            switches.users.remove("bob");
            switches.users.insert("mallory".to_owned(), "mallory-secret".to_owned());
        });
        found(registry.tags(&repository, Some(&credential)).await);
    }
}

#[tokio::test]
async fn the_operators_own_credential_comes_after_the_workloads_and_only_where_that_is_refused() {
    for auth in [Auth::Basic, bearer()] {
        let fake = HostileRegistry::start().await;
        with_users(&fake, auth);
        fake.push("web", "1.0.0", &index(&[("linux", "amd64")], "x"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, docker_config(&fake.host(), "bob")).unwrap();
        let registry = Registry::new(Settings {
            plain_http: vec![fake.host()],
            page_size: 1000,
            credential_files: vec![(fake.host(), path.clone())],
            ..Settings::default()
        })
        .unwrap();
        let repository = fake.repository("web");
        let of_workload = |users: &[&str]| keyring(&fake.host(), users).credential_for(&repository);
        let basic = |user: &str| Credential::new(user, Secret::new(format!("{user}-secret")));
        // Refused, the workload's are followed by the operator's; then it is one request a question again.
        let chained = registry.credential(&repository, of_workload(&["mallory", "eve"])).await.unwrap();
        found(registry.tags(&repository, chained.as_ref()).await);
        fake.forget_requests();
        for _ in 0..3 {
            found(registry.tags(&repository, chained.as_ref()).await);
        }
        assert_eq!(fake.lines(), [TAGS; 3], "one request a poll, with the one that was let in");
        // Let in, the workload's is the only one that is shown.
        let chained = registry.credential(&repository, of_workload(&["alice"])).await.unwrap();
        fake.forget_requests();
        found(registry.tags(&repository, chained.as_ref()).await);
        let shown: Vec<_> = fake.received().into_iter().filter_map(|one| one.authorization).collect();
        let bobs = format!("Basic {}", STANDARD.encode("bob:bob-secret"));
        assert!(!shown.is_empty() && !shown.contains(&bobs), "{shown:?}");
        // Without one of the workload's it is the operator's; a file that cannot be read hides no credential of a workload's.
        assert_eq!(registry.credential(&repository, None).await.unwrap(), Some(basic("bob")));
        std::fs::remove_file(&path).unwrap();
        assert!(registry.credential(&repository, None).await.is_err());
        assert_eq!(
            registry.credential(&repository, of_workload(&["alice"])).await.unwrap(),
            Some(basic("alice"))
        );
    }
}

#[tokio::test]
async fn refused_with_every_credential_the_first_is_named_and_the_others_are_counted() {
    let (fake, registry, repository) = world().await;
    with_users(&fake, Auth::Basic);
    let credential = keyring(&fake.host(), &["mallory", "trudy", "eve"]).credential_for(&repository).unwrap();
    let Answer::Unknown(unknown) = registry.tags(&repository, Some(&credential)).await else { panic!() };
    assert_eq!(unknown.reason, Reason::RegistryUnauthorized);
    let end = "asked with the credential of user \"mallory\"; 2 more that match were refused too";
    assert!(unknown.message.ends_with(end), "{}", unknown.message);
    assert!(!unknown.message.contains("secret"), "{}", unknown.message);
    // A failure that is no refusal is not one: the next credential would not help.
    fake.fault("tags/list", Fault::status(503));
    fake.forget_requests();
    let Answer::Unknown(unknown) = registry.tags(&repository, Some(&credential)).await else { panic!() };
    assert_eq!((unknown.reason, fake.lines().len()), (Reason::RegistryUnavailable, 1));
}
