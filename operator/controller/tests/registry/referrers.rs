//! What refers to an image: asked by the API and by the fallback tag, and never "nothing" where the registry did not say so.

use rollforward_core::evidence::Referrers;
use serde_json::json;

use super::*;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn listed(n: usize) -> String {
    let entries: Vec<_> = (0..n)
        .map(|n| {
            json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 700 + n,
                "digest": digest_of(n.to_string().as_bytes()).as_str(),
                "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json\u{1b}"})
        })
        .collect();
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string()
}

fn index_reply(body: impl Into<Vec<u8>>) -> Fault {
    Fault::reply(200, &[("content-type", INDEX)], body)
}

async fn ask(registry: &Registry, repository: &Repository) -> Answer<Referrers> {
    registry.referrers(repository, &digest_of(b"image"), None).await
}

#[tokio::test]
async fn referrers_are_listed_by_one_request_bounded_and_cleaned() {
    let (fake, registry, repository) = world().await;
    for (n, n_listed, n_more) in [(1, 1, 0), (64, 64, 0), (65, 64, 1), (150, 64, 86)] {
        fake.heal();
        fake.forget_requests();
        fake.fault("/referrers/", index_reply(listed(n)));
        let all = found(ask(&registry, &repository).await);
        assert_eq!((all.listed.len(), all.n_more), (n_listed, n_more), "of {n}");
        let first = all.listed.first().unwrap();
        assert_eq!((&first.digest, first.size_bytes), (&digest_of(b"0"), 700));
        assert_eq!(first.artifact_type.as_deref(), Some("application/vnd.dev.sigstore.bundle.v0.3+json"));
        assert_eq!(fake.lines(), [format!("GET /v2/web/referrers/{}", digest_of(b"image"))]);
    }
}

#[tokio::test]
async fn without_the_api_the_fallback_tag_is_asked_and_only_its_absence_is_none() {
    let (fake, registry, repository) = world().await;
    fake.push("web", "1.0", &image("linux", "amd64", "x"));
    let tag = digest_of(b"image").as_str().replace(':', "-");
    for status in [404, 405] {
        fake.heal();
        fake.forget_requests();
        fake.fault("/referrers/", Fault::status(status));
        assert_eq!(ask(&registry, &repository).await, Answer::Absent, "{status}");
        assert_eq!(fake.lines().len(), 2);
        assert_eq!(fake.lines()[1], format!("GET /v2/web/manifests/{tag}"));
    }
    let body = rollforward_testkit::image::Image {
        media_type: INDEX.to_owned(),
        manifest: listed(2).into_bytes(),
        config: None,
    };
    fake.push("web", &tag, &body);
    assert_eq!(found(ask(&registry, &repository).await).listed.len(), 2);
    let lie = digest_of(b"other");
    fake.fault("/manifests/", Fault::reply(200, &[("docker-content-digest", lie.as_str())], listed(1)));
    refused(ask(&registry, &repository).await, Reason::DigestMismatch, lie.as_str());
}

#[tokio::test]
async fn a_refusal_a_cut_list_or_a_page_that_is_none_never_looks_like_nothing() {
    let json = [("content-type", "application/json")];
    let limited = Fault::error(429, "TOOMANYREQUESTS", "slow down");
    let rows = [
        (limited.clone(), Reason::RegistryRateLimited, "429"),
        (Fault::status(500), Reason::RegistryUnavailable, "500"),
        (Fault::status(403), Reason::RegistryUnauthorized, "403"),
        (
            index_reply(r#"{"schemaVersion": 2, "manifests": ["#),
            Reason::RegistryUnavailable,
            "no list of referrers",
        ),
        (
            Fault::reply(200, &[("content-type", "text/html")], "<html>"),
            Reason::RegistryUnavailable,
            "text/html",
        ),
        (Fault::reply(200, &json, "{}"), Reason::RegistryUnavailable, "no list of referrers"),
        (Fault::Endless, Reason::RegistryUnavailable, "more than 65536 bytes"),
    ];
    // The API refuses; the API is missing and the fallback tag refuses.
    for (fault, reason, part) in rows {
        for by_tag in [false, true] {
            let (fake, registry, repository) = world().await;
            fake.push("web", "1.0", &image("linux", "amd64", "x"));
            if by_tag {
                fake.fault("/referrers/", Fault::status(404));
                fake.fault("/manifests/", fault.clone());
            } else {
                fake.fault("/referrers/", fault.clone());
            }
            refused(ask(&registry, &repository).await, reason, part);
            assert_eq!(fake.lines().len(), 1 + usize::from(by_tag));
        }
    }
    let (fake, registry, _) = world().await;
    fake.fault("/referrers/", Fault::status(404));
    refused(ask(&registry, &fake.repository("none")).await, Reason::RepositoryNotFound, "NAME_UNKNOWN");
}

#[tokio::test]
async fn pages_of_referrers_are_followed_on_the_same_host_and_not_for_ever() {
    let (fake, registry, repository) = world().await;
    let link =
        |target: &str| [("content-type", INDEX), ("link", target)].map(|(a, b)| (a.to_owned(), b.to_owned()));
    let page = |target: &str, n| Fault::Reply {
        status: 200,
        headers: link(target).to_vec(),
        body: listed(n).into(),
    };
    // The second page lists those of the first again: each is one.
    fake.fault("?next=2", index_reply(listed(5)));
    fake.fault("/referrers/", page("<?next=2>; rel=\"next\"", 2));
    assert_eq!(found(ask(&registry, &repository).await).listed.len(), 5);
    fake.heal();
    fake.forget_requests();
    fake.fault("/referrers/", page("<?next=1>; rel=\"next\"", 1));
    let all = found(ask(&registry, &repository).await);
    assert_eq!((all.listed.len(), all.n_more, fake.lines().len()), (1, 1, 8));
    fake.heal();
    fake.fault("/referrers/", page("<http://elsewhere.test/>; rel=\"next\"", 1));
    refused(ask(&registry, &repository).await, Reason::RegistryUnavailable, "on another host");
}
