//! Why the crate's own client sends none of our requests: what `oci_distribution` does where a registry is hostile.
//!
//! Each case shows the crate and our door side by side. One that fails after an upgrade is good news: the crate can be
//! bounded there, and `operator/decisions/0004-registry-client.md` is to be read again.

use oci_distribution::client::{ClientConfig, ClientProtocol};
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::{Client, Reference};

use super::*;

fn their_client() -> Client {
    let protocol = ClientProtocol::Http;
    Client::try_from(ClientConfig { protocol, ..ClientConfig::default() }).unwrap()
}

fn their_reference(fake: &HostileRegistry, digest: &Digest) -> Reference {
    Reference::with_digest(fake.host(), "web".to_owned(), digest.to_string())
}

const MEGABYTE: usize = 1024 * 1024;

#[tokio::test]
async fn the_crate_reads_an_error_of_any_length_and_our_door_64_kib_of_it() {
    let (fake, registry, repository) = world().await;
    let digest = fake.push("web", "1", &image("linux", "amd64", "x"));
    fake.fault("/blobs/", Fault::reply(500, &[], vec![b'x'; 32 * MEGABYTE]));
    let blob = digest.as_str();
    assert!(their_client().pull_blob_stream(&their_reference(&fake, &digest), blob).await.is_err());
    let theirs = fake.bytes();
    assert!(32 * MEGABYTE as u64 <= theirs, "the crate read {theirs} bytes of an error");
    let answer = registry.manifest(&repository, &digest, None).await;
    refused(answer, Reason::RegistryUnavailable, "500");
    // What stands in the buffers of the connection was sent, and not read.
    let ours = fake.bytes() - theirs;
    assert!(ours < 16 * MEGABYTE as u64, "our door took {ours} bytes of an error");
}

#[tokio::test]
async fn the_crate_follows_a_redirect_to_any_host_by_http_and_our_door_does_not() {
    let (fake, registry, repository) = world().await;
    let inner = HostileRegistry::start().await;
    let digest = fake.push("web", "1", &image("linux", "amd64", "x"));
    fake.fault("/blobs/", Fault::redirect(&format!("http://{}/inside", inner.host())));
    let _ = their_client().pull_blob_stream(&their_reference(&fake, &digest), digest.as_str()).await;
    assert_eq!(inner.lines(), ["GET /inside"]);
    refused(registry.manifest(&repository, &digest, None).await, Reason::RegistryUnavailable, "not followed");
    assert_eq!(inner.lines().len(), 1);
}

#[tokio::test]
async fn the_crate_calls_a_refused_question_for_signatures_an_empty_list_and_our_door_unknown() {
    let (fake, registry, repository) = world().await;
    let digest = fake.push("web", "1", &image("linux", "amd64", "x"));
    fake.fault("/referrers/", Fault::status(404));
    fake.fault("/manifests/sha256-", Fault::error(429, "TOOMANYREQUESTS", "slow down"));
    let client = their_client();
    client.store_auth_if_needed(&fake.host(), &RegistryAuth::Anonymous).await;
    let theirs = client.pull_referrers(&their_reference(&fake, &digest), None).await.unwrap();
    assert!(theirs.manifests.is_empty());
    refused(registry.referrers(&repository, &digest, None).await, Reason::RegistryRateLimited, "429");
}
