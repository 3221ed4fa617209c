//! What is attached to a digest: found in all four places, each with an answer of its own, and never more than the budgets.

use std::collections::BTreeMap;

use rollforward::registry::{Attachments, Form};
use rollforward_core::evidence::{Budget, Place};
use rollforward_testkit::image::{Image, attachment};
use serde_json::json;

use super::*;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn none() -> BTreeMap<String, String> {
    BTreeMap::new()
}

fn subject() -> Digest {
    digest_of(b"image")
}

fn name(ending: &str) -> String {
    format!("{}{ending}", subject().as_str().replace(':', "-"))
}

/// Pushes a manifest with layers of these bytes under a tag, or as a referrer where there is none.
fn attach(fake: &HostileRegistry, tag: Option<&str>, media_type: &str, layers: &[Vec<u8>]) -> Digest {
    let annotations = BTreeMap::from([("note".to_owned(), "beside it".to_owned())]);
    let layered: Vec<_> = layers.iter().map(|bytes| (media_type, bytes.as_slice(), &annotations)).collect();
    let manifest = attachment(tag.is_none().then(subject).as_ref(), &layered);
    let digest = fake.store("web", &manifest, layers);
    if let Some(tag) = tag {
        fake.push("web", tag, &manifest);
    }
    digest
}

async fn ask(registry: &Registry, repository: &Repository) -> Attachments {
    registry.attachments(repository, &subject(), None).await
}

fn place(attachments: &Attachments, place: Place) -> Option<Answer<usize>> {
    attachments.looked_in.iter().find(|(one, _)| *one == place).map(|(_, answer)| answer.clone())
}

#[tokio::test]
async fn signatures_are_found_in_every_place_where_signers_put_them_and_nothing_is_asked_twice() {
    let (fake, registry, repository) = world().await;
    fake.switch(|switches| switches.referrers = true);
    attach(&fake, None, BUNDLE, &[b"a bundle".to_vec()]);
    attach(&fake, None, "application/spdx+json", &[b"an SBOM that nobody signed".to_vec()]);
    attach(&fake, Some(&name(".sig")), SIMPLE, &[b"one payload".to_vec(), b"another".to_vec()]);
    attach(&fake, Some(&name(".att")), ENVELOPE, &[b"an envelope".to_vec()]);
    let all = ask(&registry, &repository).await;
    let found: Vec<_> = all
        .listed
        .iter()
        .map(|one| (one.place, one.form, String::from_utf8(one.content.clone().unwrap().to_vec()).unwrap()))
        .collect();
    // The places in turn: what is many in one does not hide another.
    let expected = [
        (Place::Referrers, Form::Bundle, "a bundle"),
        (Place::SignatureTag, Form::SimpleSigning, "one payload"),
        (Place::AttestationTag, Form::Envelope, "an envelope"),
        (Place::SignatureTag, Form::SimpleSigning, "another"),
    ];
    assert_eq!(found, expected.map(|(place, form, text)| (place, form, text.to_owned())));
    assert_eq!(all.listed[1].annotations.get("note").map(String::as_str), Some("beside it"));
    assert_eq!((all.n_left_out, all.exhausted), (0, None));
    assert_eq!(place(&all, Place::Referrers), Some(Answer::Found(1)), "an SBOM without a signature is none");
    assert_eq!(place(&all, Place::SignatureTag), Some(Answer::Found(2)));
    // Three lists, two manifests, four blobs; then the three lists alone, for what has a digest cannot change.
    assert_eq!(fake.lines().len(), 9);
    fake.forget_requests();
    assert_eq!(ask(&registry, &repository).await, all);
    let mut lines = fake.lines();
    lines.sort();
    let [attestations, signatures] =
        [".att", ".sig"].map(|ending| format!("GET /v2/web/manifests/{}", name(ending)));
    assert_eq!(lines, [attestations, signatures, format!("GET /v2/web/referrers/{}", subject())]);
}

#[tokio::test]
async fn without_the_api_the_fallback_tag_is_read_whatever_its_index_says_of_types() {
    for status in [404, 405, 303] {
        let (fake, registry, repository) = world().await;
        fake.fault("/referrers/", Fault::status(status));
        let digest = attach(&fake, None, BUNDLE, &[b"a bundle".to_vec()]);
        let entry = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 700,
            "digest": digest.as_str(), "artifactType": "application/vnd.oci.empty.v1+json"});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
        let index =
            Image { media_type: INDEX.to_owned(), manifest: index.to_string().into_bytes(), config: None };
        fake.push("web", &name(""), &index);
        let all = ask(&registry, &repository).await;
        assert_eq!(all.listed.len(), 1, "{status}");
        assert_eq!(all.listed[0].place, Place::FallbackTag);
        assert_eq!(place(&all, Place::Referrers), Some(Answer::Absent));
        assert_eq!(place(&all, Place::SignatureTag), Some(Answer::Absent));
        // The same index under the tag of signatures is read as well.
        fake.untag("web", &name(""));
        fake.push("web", &name(".sig"), &index);
        let all = ask(&registry, &repository).await;
        assert_eq!(all.listed.iter().map(|one| one.place).collect::<Vec<_>>(), [Place::SignatureTag]);
    }
}

#[tokio::test]
async fn a_place_that_does_not_answer_is_unknown_and_hides_no_other() {
    let limited = Fault::error(429, "TOOMANYREQUESTS", "slow down");
    let (referrers, signatures, attestations) = ("/referrers/", name(".sig"), name(".att"));
    let rows: [(&str, Fault, Place, Reason); 5] = [
        (&signatures, Fault::status(403), Place::SignatureTag, Reason::RegistryUnauthorized),
        (
            &signatures,
            Fault::reply(200, &[("docker-content-digest", "sha256:0")], "{}"),
            Place::SignatureTag,
            Reason::ManifestInvalid,
        ),
        (&attestations, Fault::status(500), Place::AttestationTag, Reason::RegistryUnavailable),
        (&attestations, limited.clone(), Place::AttestationTag, Reason::RegistryRateLimited),
        (referrers, limited, Place::Referrers, Reason::RegistryRateLimited),
    ];
    for (part, fault, silent, reason) in rows {
        let (fake, registry, repository) = world().await;
        fake.switch(|switches| switches.referrers = true);
        fake.push("web", "1.0", &image("linux", "amd64", "x"));
        fake.fault(part, fault);
        let all = ask(&registry, &repository).await;
        match place(&all, silent) {
            Some(Answer::Unknown(unknown)) if reason != Reason::ManifestInvalid => {
                assert_eq!(unknown.reason, reason, "{part}");
            }
            // What is no manifest is junk that somebody pushed.
            Some(Answer::Absent) if reason == Reason::ManifestInvalid => assert_eq!(all.n_left_out, 1),
            other => panic!("{part}: {other:?}"),
        }
        assert_eq!(all.exhausted, None);
    }
    // A blob that does not come: the place is unknown, and the others are there.
    let (fake, registry, repository) = world().await;
    fake.switch(|switches| switches.referrers = true);
    attach(&fake, None, BUNDLE, &[b"a bundle".to_vec()]);
    attach(&fake, Some(&name(".sig")), SIMPLE, &[b"a payload".to_vec()]);
    fake.fault(digest_of(b"a bundle").as_str(), Fault::status(503));
    let all = ask(&registry, &repository).await;
    assert_eq!(all.listed.iter().map(|one| one.place).collect::<Vec<_>>(), [Place::SignatureTag]);
    assert!(matches!(place(&all, Place::Referrers), Some(Answer::Unknown(_))));
    // Bytes that are not their digest are a lie of the registry's, not of whoever signed.
    fake.heal();
    fake.fault(digest_of(b"a bundle").as_str(), Fault::reply(200, &[], "b bundle"));
    match place(&ask(&registry, &repository).await, Place::Referrers) {
        Some(Answer::Unknown(unknown)) => assert_eq!(unknown.reason, Reason::DigestMismatch),
        other => panic!("{other:?}"),
    }
}

/// Threat T5: whoever may push attaches so much that the real signature is not found, or the operator dies of it.
#[tokio::test]
async fn t5_junk_is_bounded_and_counted_and_does_not_hide_what_is_in_another_place() {
    let (fake, registry, repository) = world().await;
    fake.switch(|switches| switches.referrers = true);
    for n in 0..150_u32 {
        attach(&fake, None, BUNDLE, &[n.to_string().into_bytes()]);
    }
    attach(&fake, Some(&name(".sig")), SIMPLE, &[b"the real one".to_vec()]);
    let all = ask(&registry, &repository).await;
    assert_eq!((all.listed.len(), all.exhausted), (64, Some(Budget::Count)));
    assert_eq!(all.n_left_out, 86 + 1, "of 150 in the list, and one of the 65 that were read");
    assert!(all.listed.iter().any(|one| one.place == Place::SignatureTag));
    // By bytes: one that is too large, and eight that are too large together.
    let (fake, registry, repository) = world().await;
    attach(&fake, Some(&name(".sig")), SIMPLE, &[vec![b'x'; 1024 * 1024 + 1], b"small".to_vec()]);
    let all = ask(&registry, &repository).await;
    assert_eq!((all.listed.len(), all.n_left_out, all.exhausted), (1, 1, Some(Budget::Bytes)));
    assert_eq!(fake.count("/blobs/"), 1, "what is too large is not fetched");
    let many: Vec<Vec<u8>> = (0..9).map(|n| vec![n; 1024 * 1024]).collect();
    attach(&fake, Some(&name(".att")), ENVELOPE, &many);
    let all = ask(&registry, &repository).await;
    let n_read = all.listed.iter().filter(|one| one.place == Place::AttestationTag).count();
    assert_eq!((n_read, all.exhausted), (7, Some(Budget::Bytes)), "with their manifests 7 fit into 8 MiB");
    // A blob that is longer than its descriptor says, one that is not there, and a listed manifest that is not there.
    let (fake, registry, repository) = world().await;
    fake.switch(|switches| switches.referrers = true);
    attach(&fake, Some(&name(".sig")), SIMPLE, &[b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    fake.fault(digest_of(b"one").as_str(), Fault::Endless);
    fake.fault(digest_of(b"two").as_str(), Fault::error(404, "BLOB_UNKNOWN", "blob unknown"));
    let all = ask(&registry, &repository).await;
    let read: Vec<bool> = all.listed.iter().map(|one| one.content.is_ok()).collect();
    assert_eq!(read, [false, false, true], "{:?}", all.listed);
    assert_eq!(place(&all, Place::SignatureTag), Some(Answer::Found(3)));
    assert_eq!(
        none(),
        all.listed[2]
            .annotations
            .iter()
            .filter(|(name, _)| *name != "note")
            .map(|(a, b)| (a.clone(), b.clone()))
            .collect()
    );
}

/// A world in which a manifest may be as large as in any.
async fn roomy() -> (HostileRegistry, Registry, Repository) {
    let fake = HostileRegistry::start().await;
    fake.switch(|switches| switches.referrers = true);
    let registry = Registry::new(Settings { plain_http: vec![fake.host()], ..Settings::default() }).unwrap();
    let repository = fake.repository("web");
    (fake, registry, repository)
}

fn n_manifests(fake: &HostileRegistry) -> usize {
    fake.count("GET /v2/web/manifests/sha256:")
}

/// Threat T5: manifests that are large themselves, of many layers or named many times.
#[tokio::test]
async fn t5_manifests_count_as_what_they_list_does_and_one_that_is_named_often_is_one() {
    // Two of these are all that a place has room for, and small ones come before them.
    let (fake, registry, repository) = roomy().await;
    for n in 0..12_u32 {
        let of_one = attachment(Some(&subject()), &[(BUNDLE, n.to_string().as_bytes(), &none())]);
        let large = annotate(&of_one, &json!({"padding": "x".repeat(900 * 1024)}));
        fake.store("web", &large, &[n.to_string().into_bytes()]);
    }
    for tag in [None, Some(name(".sig"))] {
        attach(&fake, tag.as_deref(), SIMPLE, &[b"the real one".to_vec()]);
    }
    let all = ask(&registry, &repository).await;
    assert_eq!(n_manifests(&fake), 2 + 1, "of 12 large ones and a small one");
    assert_eq!((all.n_left_out, all.exhausted), (10, Some(Budget::Bytes)));
    let real = all.listed.iter().filter(|one| one.form == Form::SimpleSigning);
    let places: Vec<Place> = real.map(|one| one.place).collect();
    assert_eq!(places, [Place::Referrers, Place::SignatureTag], "{all:?}");
    // A mebibyte of layers: as many are looked at as of anything, and none of them is asked for.
    let (fake, registry, repository) = roomy().await;
    let layers: Vec<_> =
        (0..12_000).map(|n| json!({"mediaType": ENVELOPE, "digest": n.to_string()})).collect();
    let of_many = json!({"schemaVersion": 2, "layers": layers, "subject": {"digest": subject().as_str()}});
    let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
    let of_many =
        Image { media_type: media_type.clone(), manifest: of_many.to_string().into_bytes(), config: None };
    fake.store("web", &of_many, &[]);
    attach(&fake, Some(&name(".sig")), SIMPLE, &[b"the real one".to_vec()]);
    let all = ask(&registry, &repository).await;
    assert_eq!((all.listed.len(), all.n_left_out, all.exhausted), (64, 12_001 - 64, Some(Budget::Count)));
    assert_eq!(place(&all, Place::Referrers), Some(Answer::Found(12_000)));
    assert_eq!(fake.count("/blobs/"), 1);
    assert!(all.listed.iter().any(|one| one.place == Place::SignatureTag));
    // The same manifest again and again, and one layer again and again.
    let (fake, registry, repository) = roomy().await;
    let twice = [b"a payload".to_vec(), b"a payload".to_vec()];
    let digest = attach(&fake, None, BUNDLE, &twice);
    let entry = json!({"mediaType": media_type, "digest": digest.as_str(), "size": 700});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": vec![entry; 500]}).to_string();
    let often = Image { media_type: INDEX.to_owned(), manifest: index.clone().into_bytes(), config: None };
    fake.push("web", &name(".sig"), &often);
    fake.fault("/referrers/", Fault::reply(200, &[("content-type", INDEX)], index));
    let all = ask(&registry, &repository).await;
    assert!(n_manifests(&fake) <= 2, "once a place at most: {:?}", fake.lines());
    let places: Vec<Place> = all.listed.iter().map(|one| one.place).collect();
    assert_eq!(places, [Place::Referrers, Place::SignatureTag]);
    assert_eq!((all.n_left_out, all.exhausted), (0, None));
    // Longer than it is listed: junk, whether its bytes are known or not.
    let (fake, registry, repository) = roomy().await;
    let large = annotate(
        &attachment(None, &[(BUNDLE, b"a bundle", &none())]),
        &json!({"padding": "x".repeat(200 * 1024)}),
    );
    let digest = fake.store("web", &large, &[b"a bundle".to_vec()]);
    let list = |size: usize| {
        let entry = json!({"mediaType": media_type, "digest": digest.as_str(), "size": size});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).to_string();
        fake.heal();
        fake.fault("/referrers/", Fault::reply(200, &[("content-type", INDEX)], index));
    };
    for (size, n_listed) in [(700, 0), (large.manifest.len(), 1), (700, 0)] {
        list(size);
        let all = ask(&registry, &repository).await;
        assert_eq!((all.listed.len(), all.n_left_out), (n_listed, 1 - n_listed), "{size}: {all:?}");
    }
    // Annotations without end beside a layer: nobody signs with so many.
    let (fake, registry, repository) = roomy().await;
    let many = (0..10_000).map(|n| (format!("{n:05}"), String::new())).collect();
    let beside = attachment(None, &[(SIMPLE, b"a payload", &many)]);
    fake.store("web", &beside, &[b"a payload".to_vec()]);
    fake.push("web", &name(".sig"), &beside);
    let all = ask(&registry, &repository).await;
    assert_eq!(all.listed.iter().map(|one| one.annotations.len()).collect::<Vec<_>>(), [32]);
}

#[tokio::test]
async fn a_registry_that_stalls_costs_five_seconds_and_what_was_found_is_kept() {
    let (fake, registry, repository) = world().await;
    fake.switch(|switches| switches.referrers = true);
    attach(&fake, Some(&name(".sig")), SIMPLE, &[b"a payload".to_vec()]);
    fake.fault("/referrers/", Fault::Silence);
    let started = std::time::Instant::now();
    let all = ask(&registry, &repository).await;
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert_eq!(all.exhausted, Some(Budget::Time));
    match place(&all, Place::Referrers) {
        Some(Answer::Unknown(unknown)) => {
            assert!(unknown.message.contains("not read in time, 5 s in all"), "{unknown:?}")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(place(&all, Place::SignatureTag), Some(Answer::Found(1)));
}
