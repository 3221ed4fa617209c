//! `oci_distribution` behind our door, before a registry that is hostile: what the crate alone would read, follow or forget.
//!
//! Alone it reads a body of any length, follows redirects to any host and down to http, and calls a 429 at the fallback tag
//! an empty list: `operator/decisions/0004-registry-client.md`. Who gets through the door: `src/registry/door/tests.rs`.

use rollforward_core::evidence::Referrers;

use super::*;

const MEGABYTE: usize = 1024 * 1024;

/// What stands in the buffers of a connection was sent, and not read.
const IN_BUFFERS: u64 = 16 * MEGABYTE as u64;

#[tokio::test]
async fn neither_a_manifest_nor_an_error_of_any_length_is_read_in_full() {
    let long = vec![b'x'; 32 * MEGABYTE];
    let whole = Fault::reply(200, &[], long.clone());
    let error = Fault::reply(500, &[], long);
    let rows = [
        ("/manifests/", whole.clone(), Reason::ManifestInvalid, "more than 65536 bytes"),
        ("/manifests/", Fault::Endless, Reason::ManifestInvalid, "more than 65536 bytes"),
        ("/manifests/", error.clone(), Reason::RegistryUnavailable, "500"),
        ("/blobs/", error, Reason::RegistryUnavailable, "500"),
        ("/blobs/", whole, Reason::ManifestInvalid, "more than 4194304 bytes"),
    ];
    for (part, fault, reason, words) in rows {
        let (fake, registry, repository) = world().await;
        let digest = fake.push("web", "1", &image("linux", "amd64", "x"));
        fake.fault(part, fault);
        refused(registry.manifest(&repository, &digest, None).await, reason, words);
        assert!(fake.bytes() < IN_BUFFERS, "{part}: {} bytes of {words}", fake.bytes());
        assert_eq!(fake.count(part), 1);
    }
}

#[tokio::test]
async fn no_redirect_of_a_manifest_and_none_of_a_blob_to_another_host_by_http_is_followed() {
    let inner = HostileRegistry::start().await;
    for part in ["/manifests/", "/blobs/", "/referrers/"] {
        let (fake, registry, repository) = world().await;
        let digest = fake.push("web", "1", &image("linux", "amd64", "x"));
        fake.fault(part, Fault::redirect(&format!("http://{}/inside", inner.host())));
        let message = if part == "/referrers/" {
            refused(registry.referrers(&repository, &digest, None).await, Reason::RegistryUnavailable, "307")
        } else {
            refused(registry.manifest(&repository, &digest, None).await, Reason::RegistryUnavailable, "307")
        };
        assert!(message.message.contains("not followed"), "{message:?}");
    }
    assert!(inner.lines().is_empty(), "{:?}", inner.lines());
}

#[tokio::test]
async fn a_refusal_at_the_fallback_tag_is_no_empty_list_and_keeps_the_time_of_the_next_try() {
    let (fake, registry, repository) = world().await;
    let digest = fake.push("web", "1", &image("linux", "amd64", "x"));
    fake.fault("/referrers/", Fault::status(404));
    fake.fault("/manifests/sha256-", Fault::reply(429, &[("retry-after", "30")], "slow down"));
    let refusal =
        refused(registry.referrers(&repository, &digest, None).await, Reason::RegistryRateLimited, "429");
    assert!(refusal.retry_at.is_some(), "{refusal:?}");
}

/// The crate tells no two questions apart; the door does.
#[tokio::test]
async fn of_many_questions_at_once_each_gets_its_own_answer() {
    let (fake, registry, repository) = world().await;
    let there = fake.push("web", "1", &index(&[("linux", "amd64")], "x"));
    let (refusing, missing) = (digest_of(b"refusing"), digest_of(b"missing"));
    fake.fault(refusing.as_str(), Fault::error(403, "DENIED", "no"));
    let ask = async |n: usize| match n % 4 {
        0 => assert_eq!(found(registry.manifest(&repository, &there, None).await).digest, there),
        1 => {
            refused(
                registry.manifest(&repository, &refusing, None).await,
                Reason::RegistryUnauthorized,
                "DENIED",
            );
        }
        2 => assert_eq!(registry.manifest(&repository, &missing, None).await, Answer::Absent),
        _ => {
            let answer: Answer<Referrers> = registry.referrers(&repository, &there, None).await;
            assert_eq!(answer, Answer::Absent);
        }
    };
    futures::future::join_all((0..200).map(ask)).await;
    // The lists of referrers cost a second request each: this registry has no such API.
    assert_eq!(fake.lines().len(), 250);
}

#[tokio::test]
async fn what_the_registry_hears_is_our_name_our_types_and_no_number_of_a_call() {
    let (fake, registry, repository) = world().await;
    let digest = fake.push("web", "1", &image("linux", "amd64", "x"));
    found(registry.manifest(&repository, &digest, None).await);
    assert_eq!(registry.referrers(&repository, &digest, None).await, Answer::Absent);
    let received = fake.received();
    let heard: Vec<_> =
        received.iter().map(|one| (one.line.as_str(), one.accept.as_deref().unwrap())).collect();
    let [(manifest, types), (blob, any), (referrers, of_list), (tag, of_tag)] = heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!(manifest, format!("GET /v2/web/manifests/{digest}"));
    for part in
        ["oci.image.index.v1", "oci.image.manifest.v1", "manifest.list.v2", "distribution.manifest.v2"]
    {
        assert!(types.contains(part), "{types}");
    }
    assert!(!types.contains("manifest.v1+prettyjws"), "{types}");
    assert!(blob.starts_with("GET /v2/web/blobs/sha256:"), "{blob}");
    assert_eq!(any, "*/*");
    assert_eq!(referrers, format!("GET /v2/web/referrers/{digest}"));
    assert_eq!(tag, format!("GET /v2/web/manifests/{}", digest.as_str().replace(':', "-")));
    assert_eq!([of_list, of_tag], ["application/vnd.oci.image.index.v1+json"; 2]);
    let name = concat!("rollforward/", env!("CARGO_PKG_VERSION"));
    assert!(received.iter().all(|one| one.user_agent.as_deref() == Some(name)), "{received:?}");
}
