//! Who gets through the door, how many clients stand before it, and what there is instead of a panic.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what cannot be set up is the failure")]

use oci_distribution::secrets::RegistryAuth;

use super::*;
use crate::registry::Registry;

const SECRET: &str = "5ec4e7";

async fn door() -> Door {
    Door::open(&Settings::default()).await.unwrap()
}

fn repository(name: &str) -> Repository {
    Repository::parse(name).unwrap()
}

/// A stranger's client with this door as its proxy.
fn stranger(door: &Door, shown: &str) -> reqwest::Client {
    let proxy = reqwest::Proxy::all(format!("http://{shown}{}", door.address)).unwrap();
    reqwest::Client::builder().proxy(proxy).build().unwrap()
}

#[tokio::test]
async fn who_does_not_hold_the_secret_of_a_client_or_asks_for_something_else_is_refused_at_the_door() {
    let door = door().await;
    let session = door.admit(&repository("r.test/web"), &Secret::new(SECRET)).unwrap();
    let mut call = Arc::clone(&session).begin(repository("r.test/web")).await;
    let (good, asked) =
        (format!("{USER}:{SECRET}@"), format!("http://r.test/v2/{}/web/manifests/1", call.id));
    let rows = [
        ("GET", "", asked.as_str(), 407),
        ("GET", "rollforward:other@", &asked, 407),
        ("GET", "rollforward:@", "http://r.test/v2/", 407),
        ("GET", &good, "http://other.test/v2/1/web/manifests/1", 403),
        ("GET", &good, "http://r.test:5000/v2/1/web/manifests/1", 403),
        ("GET", &good, "http://r.test/v2/2/web/manifests/1", 403),
        ("GET", &good, "http://r.test/v2/web/manifests/1", 403),
        ("GET", &good, "http://r.test/", 403),
        ("PUT", &good, &asked, 405),
        ("DELETE", &good, &asked, 405),
        ("GET", &good, "http://r.test/v2/", 200),
    ];
    for (method, shown, url, expected) in rows {
        let client = stranger(&door, shown);
        let method = method.parse().unwrap();
        let status = client.request(method, url).send().await.unwrap().status();
        assert_eq!(status.as_u16(), expected, "{url} with {shown}");
    }
    assert!(stranger(&door, &good).get("https://r.test/v2/").send().await.is_err(), "no tunnel is made");
    assert!(call.visits.try_recv().is_err(), "nothing of it came to the call");
    // Another repository of the same registry comes to the call and is refused there.
    let other = stranger(&door, &good).get(format!("http://r.test/v2/{}/other/manifests/1", call.id));
    let other = tokio::spawn(other.send());
    match call.next(std::pin::pin!(other)).await {
        Step::Done(answer) => assert_eq!(answer.unwrap().unwrap().status(), 403),
        Step::Asked(visit) => panic!("{} was let through", visit.path()),
    }
    drop(call);
    let after = stranger(&door, &good).get(&asked).send().await.unwrap();
    assert_eq!(after.status(), 403, "a call that has ended");
}

#[tokio::test]
async fn the_crate_asks_by_the_door_alone_and_for_what_it_was_told() {
    let door = door().await;
    let repository = repository("docker.io/library/web");
    let mut call = door.call(Asker { repository: &repository, credential: None }).await.unwrap();
    let (client, image) = (call.client(), call.reference("1.4"));
    let mut question =
        std::pin::pin!(client.pull_manifest_raw(&image, &RegistryAuth::Anonymous, &["application/json"]));
    let Step::Asked(visit) = call.next(question.as_mut()).await else { panic!("nothing was asked") };
    assert_eq!(visit.path(), "manifests/1.4");
    let limited = unknown(Reason::RegistryRateLimited, "429");
    assert_eq!(visit.answer(Err(limited.clone())).unwrap_err(), limited);
    let Step::Done(pulled) = call.next(question.as_mut()).await else { panic!("asked twice") };
    assert!(pulled.is_err());
}

#[tokio::test]
async fn the_seventeenth_client_takes_the_place_of_the_one_used_longest_ago() {
    let door = door().await;
    let repository = repository("r.test/web");
    let credential = |n: usize| Credential::new(format!("user-{n}"), Secret::new("x"));
    let ask = async |n: usize| {
        let credential = credential(n);
        door.call(Asker { repository: &repository, credential: Some(&credential) }).await.unwrap()
    };
    let known = |n: usize| {
        let clients = door.clients.lock().unwrap();
        clients.iter().any(|((_, identity), _)| *identity == Some(credential(n).identity()))
    };
    for n in 0..MAX_CLIENTS {
        ask(n).await;
    }
    let under_way = ask(1).await;
    ask(0).await;
    assert_eq!(door.clients.lock().unwrap().len(), MAX_CLIENTS, "one client a credential");
    for n in MAX_CLIENTS..2 * MAX_CLIENTS {
        ask(n).await;
        assert_eq!(door.clients.lock().unwrap().len(), MAX_CLIENTS);
        assert_eq!((known(0), known(1)), (n < 2 * MAX_CLIENTS - 1, n < 2 * MAX_CLIENTS - 2), "{n}");
        assert!(!known(2), "{n}");
    }
    // A call that is under way keeps its client, and its secret opens the door until it ends.
    assert_eq!(door.sessions.lock().unwrap().len(), MAX_CLIENTS + 1);
    drop(under_way);
    assert_eq!(door.sessions.lock().unwrap().len(), MAX_CLIENTS);
}

/// Runs itself in a process that finds no bundle.
#[tokio::test]
async fn without_a_ca_bundle_there_is_a_sentence_and_no_panic() {
    const NAME: &str = "registry::door::tests::without_a_ca_bundle_there_is_a_sentence_and_no_panic";
    const NOWHERE: &str = "/nowhere";
    if std::env::var_os("SSL_CERT_FILE").is_some_and(|file| file == NOWHERE) {
        let sentence = Registry::new(Settings::default()).unwrap_err().to_string();
        assert!(sentence.contains("is there a CA bundle"), "{sentence}");
        // The bundle was there at the start and has gone since.
        let repository = repository("r.test/web");
        let call = door().await.call(Asker { repository: &repository, credential: None }).await;
        let Err(refusal) = call else { panic!("a client without a bundle") };
        assert!(refusal.message.contains("is there a CA bundle"), "{refusal:?}");
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME])
        .envs([("SSL_CERT_FILE", NOWHERE), ("SSL_CERT_DIR", NOWHERE)])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && words.contains("1 passed"), "{words}");
}
