//! What a repository costs its registry: requests and bytes on the wire, first and per later poll, a JSON line a row.
//!
//! `cargo bench -p rollforward --bench polling`. The registry is the counting one of the testkit: it lists as the one named
//! in `order` does and asks for tokens where `auth` says so. Peers on the same work: the README.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark that cannot be set up has failed, and its rows are its output"
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rollforward::registry::{Credential, Registry, Secret, Settings};
use rollforward::scans::{Ask, Scans};
use rollforward_core::evidence::Answer;
use rollforward_core::image::{Repository, Tag};
use rollforward_testkit::image::{self, Image};
use rollforward_testkit::registry::{Auth, HostileRegistry, ListOrder};
use serde_json::json;

/// Later polls that are averaged.
const POLLS: u64 = 20;

/// Manifests and HEADs whose times are compared by their medians.
const FETCHES: usize = 1000;

/// A repository of `n_tags`: minors 0 to 49 of as many majors as it takes, ten patches each.
fn push(fake: &HostileRegistry, n_tags: usize, image: &Image) {
    for n in 0..n_tags {
        fake.push("web", &format!("{}.{}.{}", 1 + n / 500, n / 10 % 50, n % 10), image);
    }
}

struct Case {
    fake: HostileRegistry,
    registry: Registry,
    repository: Repository,
    credential: Option<Credential>,
    scans: Scans,
}

impl Case {
    async fn new(n_tags: usize, order: ListOrder, bearer: bool) -> Self {
        let fake = HostileRegistry::start().await;
        push(&fake, n_tags, &image::image("linux", "amd64", "x"));
        fake.switch(|switches| {
            switches.order = order;
            if bearer {
                switches.auth = Auth::Bearer { realm: None, expires_in: Some(3600) };
                switches.users.insert("anna".to_owned(), "secret".to_owned());
            }
        });
        let settings = Settings { plain_http: vec![fake.host()], ..Settings::default() };
        let repository = fake.repository("web");
        Self {
            fake,
            registry: Registry::new(settings).unwrap(),
            repository,
            credential: bearer.then(|| Credential::new("anna", Secret::new("secret"))),
            scans: Scans::default(),
        }
    }

    async fn look(&self, beginnings: Option<&BTreeSet<String>>, not_before: Timestamp) {
        let ask = Ask {
            repository: &self.repository,
            credential: self.credential.as_ref(),
            not_before,
            interval: SignedDuration::from_mins(5),
            beginnings,
            follows: None,
            hinted: false,
        };
        let (answer, _) = Box::pin(self.scans.latest(&self.registry, ask)).await;
        assert!(matches!(answer, Answer::Found(_)), "{answer:?}");
    }

    /// Requests, bytes and time of what is done.
    async fn cost(&self, work: impl Future<Output = ()>) -> (usize, u64, Duration) {
        let (requests, bytes, started) = (self.fake.lines().len(), self.fake.bytes(), Instant::now());
        work.await;
        (self.fake.lines().len() - requests, self.fake.bytes() - bytes, started.elapsed())
    }
}

#[tokio::main]
async fn main() {
    let patch = BTreeSet::from(["1.4.".to_owned()]);
    let minor = BTreeSet::from(["1.".to_owned()]);
    for bearer in [false, true] {
        for n_tags in [100, 2500] {
            polls("Patch", n_tags, ListOrder::Name, bearer, Some(&patch)).await;
        }
        polls("Minor", 2500, ListOrder::Name, bearer, Some(&minor)).await;
        polls("Major", 2500, ListOrder::Name, bearer, None).await;
        polls("any", 2500, ListOrder::Age, bearer, None).await;
        floating(bearer).await;
        workloads(100, bearer, &patch).await;
        door(bearer).await;
    }
}

/// What the way of `oci_distribution` through our door costs: a manifest by it beside a HEAD by our own transport, in turn.
async fn door(bearer: bool) {
    let case = Case::new(10, ListOrder::Name, bearer).await;
    let digest = case.fake.push("web", "index", &image::index(&[("linux", "amd64")], "x"));
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for _ in 0..FETCHES {
        let started = Instant::now();
        let answer = case.registry.serves(&case.repository, &digest, case.credential.as_ref()).await;
        direct.push(started.elapsed());
        assert!(matches!(answer, Answer::Found(())), "{answer:?}");
        let started = Instant::now();
        let answer = case.registry.manifest(&case.repository, &digest, case.credential.as_ref()).await;
        through.push(started.elapsed());
        assert!(matches!(answer, Answer::Found(_)), "{answer:?}");
    }
    let first = through[0].as_micros();
    let [direct, through] = [direct, through].map(|mut times| {
        times.sort();
        times[times.len() / 2].as_micros()
    });
    println!(
        "{}",
        json!({"bench": "door", "auth": auth(bearer), "fetches": FETCHES, "head_micros": direct,
            "manifest_micros": through, "first_manifest_micros": first})
    );
}

/// A rule that could choose from the whole list, beside a `latest` that has moved with three releases.
async fn floating(bearer: bool) {
    let case = Case::new(2500, ListOrder::Name, bearer).await;
    for patch in 0..=4 {
        for tag in ["latest".to_owned(), format!("9.0.{patch}")] {
            case.fake.push("web", &tag, &image::image("linux", "amd64", &patch.to_string()));
        }
        case.look(None, Timestamp::now()).await;
    }
    let (requests, bytes, time) = case
        .cost(async {
            for _ in 0..POLLS {
                case.look(None, Timestamp::now()).await;
            }
        })
        .await;
    println!(
        "{}",
        json!({"bench": "polling", "rule": "Major, floating tag", "tags": 2506, "order": "Name", "auth": auth(bearer),
            "poll": "later", "requests": requests as f64 / POLLS as f64, "bytes": bytes / POLLS,
            "micros": time.as_micros() / u128::from(POLLS)})
    );
}

fn auth(bearer: bool) -> &'static str {
    if bearer { "bearer" } else { "open" }
}

async fn polls(
    rule: &str,
    n_tags: usize,
    order: ListOrder,
    bearer: bool,
    beginnings: Option<&BTreeSet<String>>,
) {
    let case = Case::new(n_tags, order, bearer).await;
    let first = case.cost(case.look(beginnings, Timestamp::now())).await;
    if order == ListOrder::Age {
        // A push shows the order, once.
        case.fake.push("web", "9.0.0", &image::image("linux", "amd64", "x"));
        case.look(beginnings, Timestamp::now()).await;
    }
    let later = case.cost(async {
        for _ in 0..POLLS {
            case.look(beginnings, Timestamp::now()).await;
        }
    });
    let (requests, bytes, time) = later.await;
    let order = format!("{order:?}");
    println!(
        "{}",
        json!({"bench": "polling", "rule": rule, "tags": n_tags, "order": order, "auth": auth(bearer), "poll": "first",
            "requests": first.0, "bytes": first.1, "micros": first.2.as_micros()})
    );
    println!(
        "{}",
        json!({"bench": "polling", "rule": rule, "tags": n_tags, "order": order, "auth": auth(bearer), "poll": "later",
            "requests": requests as f64 / POLLS as f64, "bytes": bytes / POLLS,
            "micros": time.as_micros() / u128::from(POLLS)})
    );
}

/// A hundred policies, each with its own look at the same repository within one interval.
async fn workloads(n: usize, bearer: bool, beginnings: &BTreeSet<String>) {
    let case = Case::new(2500, ListOrder::Name, bearer).await;
    for poll in ["first", "later"] {
        let since = Timestamp::now();
        let looks = (0..n).map(|_| case.look(Some(beginnings), since));
        let (requests, bytes, time) = case.cost(async { drop(futures::future::join_all(looks).await) }).await;
        println!(
            "{}",
            json!({"bench": "workloads", "workloads": n, "tags": 2500, "auth": auth(bearer), "poll": poll,
                "requests": requests, "bytes": bytes, "micros": time.as_micros()})
        );
    }
    let tag = Tag::parse("1.4.2").unwrap();
    let (requests, bytes, _) = case
        .cost(async {
            let answer = case.registry.resolve(&case.repository, &tag, case.credential.as_ref()).await;
            assert!(matches!(answer, Answer::Found(_)), "{answer:?}");
        })
        .await;
    println!("{}", json!({"bench": "resolve", "auth": auth(bearer), "requests": requests, "bytes": bytes}));
}
