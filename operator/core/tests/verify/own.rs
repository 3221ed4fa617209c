//! What an UpdatePolicy's own authority signs counts for the policy alone: it answers nothing that others ask, and shortens no soak
//! of theirs.

use std::collections::BTreeMap;

use rollforward_core::evidence::{Answer, Content, Item};
use rollforward_core::gate::{Layer, Word};
use rollforward_core::ledger::Ledger;
use rollforward_core::trust::{Binding, Decision, Demand, Origin, Soak, Unsigned};

use crate::build;
use crate::papers::{
    RELEASE, SLSA, World, attached, attested, decision, key, keyless, signed, signed_by_key, signed_for,
    signer, with_claim, world,
};

const SPDX: &str = "https://spdx.dev/Document";
const VERSION: &str = "org.opencontainers.image.version";

/// The policy's own decision: a key of its author's.
fn own() -> Decision {
    Decision { origin: Origin::UpdatePolicy, ..decision(vec![key("own")]) }
}

fn team() -> Decision {
    decision(vec![keyless("ci")])
}

/// Signed by a key, for a repository or with the version as an annotation.
fn by_key(name: &str, repository: Option<&str>, version: Option<&str>) -> Item {
    let annotations: BTreeMap<_, _> =
        version.map(|version| (VERSION.to_owned(), version.to_owned())).into_iter().collect();
    let content = Content::Signature { repository: repository.map(str::to_owned), annotations };
    Item { content, ..signed_by_key(name, true) }
}

fn ci(git_ref: &str) -> Item {
    signed(with_claim(signer(RELEASE), "sourceRepositoryRef", git_ref))
}

fn with(decisions: &[Decision], own: Option<Decision>, items: &[Item]) -> World {
    let mut world = world(decisions.to_vec(), own);
    world.attach("1.0.1", attached(items.to_vec()));
    world
}

#[track_caller]
fn says(world: &World, starts: &str, part: &str) {
    let said = world.decided();
    assert!(said.starts_with(starts) && said.contains(part), "expected {starts} … {part} in: {said}");
}

fn stored(world: &World) -> Ledger {
    world.assessment().ledgers[&build::repository()].clone()
}

#[test]
fn a_policys_own_claim_answers_no_claim_of_others_against_the_name_now_or_when_it_was_taken_away() {
    let rows = [
        (ci("refs/heads/dev"), "BranchBuild", "observed certificate refs/heads/dev"),
        (ci("refs/tags/v0.9.0"), "VersionMismatch", "observed certificate refs/tags/v0.9.0"),
        (
            attested(signer(RELEASE), SLSA, Some("refs/heads/dev"), None),
            "BranchBuild",
            "observed provenance refs/heads/dev",
        ),
        (
            signed_for(signer(RELEASE), "ghcr.io/acme/api"),
            "RepositoryMismatch",
            "expected a signature for ghcr.io/acme/web, observed one for ghcr.io/acme/api",
        ),
    ];
    let answer = by_key("own", Some("ghcr.io/acme/web"), Some("1.0.1"));
    for (against, code, observed) in rows {
        let mut world = with(&[team()], Some(own()), &[against, answer.clone()]);
        says(&world, code, &format!("{observed}. "));
        let learned = stored(&world);
        assert_eq!(learned.contradictions.len(), 1, "remembered");
        world.facts.seen.repositories.get_mut(&build::repository()).unwrap().ledger = learned;
        world.attach("1.0.1", attached(vec![signed(signer(RELEASE)), answer.clone()]));
        let seen = format!(
            "{observed}, seen 2026-11-02 12:00Z and answered by none but this policy's own authorities. "
        );
        says(&world, code, &seen);
        let digest = build::digest("1.0.1");
        let hint = format!(
            "What the others' signers claimed still counts until somebody says `kubectl rollforward release web {digest}`."
        );
        says(&world, code, &hint);
        says(&world, code, "by an authority of theirs.");
        let good = signed_for(
            with_claim(signer(RELEASE), "sourceRepositoryRef", "refs/tags/v1.0.1"),
            "ghcr.io/acme/web",
        );
        world.attach("1.0.1", attached(vec![good, answer.clone()]));
        assert_eq!(world.decided(), "move", "the others' own word answers");
    }
    // Where nobody else names a signer it is the policy's own matter.
    let alone = [by_key("own", None, Some("0.9.0")), answer];
    assert_eq!(with(&[], Some(own()), &alone).decided(), "move");
}

#[test]
fn a_claim_of_the_version_that_others_require_is_theirs_and_the_policy_takes_anybodys() {
    let required = |one: Decision| Decision { binding: Binding::Required, ..one };
    let claims = [signed(signer(RELEASE)), by_key("own", None, Some("1.0.1"))];
    says(
        &with(&[required(team())], Some(own()), &claims),
        "VersionUnbound: expected a signed claim of the version, observed what was signed names no version.",
        "",
    );
    let theirs = [ci("refs/tags/v1.0.1"), signed_by_key("own", true)];
    let world = with(&[required(team())], Some(required(own())), &theirs);
    assert_eq!(
        (world.decided().as_str(), world.layer(Layer::Binding)),
        ("move", Some((Word::Pass, "VersionBound")))
    );
    // Nobody requires it: told of the others, and nothing waits for it.
    let world = with(&[team()], Some(own()), &claims);
    assert_eq!(
        (world.decided().as_str(), world.layer(Layer::Binding)),
        ("move", Some((Word::Absent, "VersionUnbound")))
    );
    // Of two others each has its own signers; one that may be silent misses nothing where the other has named it.
    let security = || decision(vec![key("security")]);
    let both = [ci("refs/tags/v1.0.1"), signed_by_key("security", true)];
    let world = with(&[team(), security()], None, &both);
    assert_eq!(
        (world.decided().as_str(), world.layer(Layer::Binding)),
        ("move", Some((Word::Pass, "VersionBound")))
    );
    says(&with(&[team(), required(security())], None, &both), "VersionUnbound", "");
}

#[test]
fn an_sbom_that_others_require_is_signed_by_theirs() {
    let requiring = |one: Decision| Decision { layers: [(Layer::Sbom, Demand::Required)].into(), ..one };
    let list = |name: &str| {
        let content = Content::Attestation {
            predicate_type: SPDX.to_owned(),
            provenance: None,
            rules: BTreeMap::new(),
        };
        Item { content, ..signed_by_key(name, true) }
    };
    let signed_by_both = || vec![ci("refs/tags/v1.0.1"), signed_by_key("own", true)];
    let by_own = [signed_by_both(), vec![list("own")]].concat();
    let by_ci = [signed_by_both(), vec![attested(signer(RELEASE), SPDX, None, None)]].concat();
    let absent = "SbomAbsent: expected a signed list of what is in the image, observed none. Attach one";
    says(&with(&[requiring(team())], Some(own()), &by_own), absent, "or correct VerificationPolicy acme.");
    assert_eq!(with(&[requiring(team())], Some(own()), &by_ci).decided(), "move");
    // What the policy asks itself anybody answers.
    assert_eq!(with(&[team()], Some(requiring(own())), &by_own).decided(), "move");
    assert_eq!(with(&[team()], Some(requiring(own())), &by_ci).decided(), "move");
    // Whoever names no authority is answered by the others', and by the policy's own where there are none.
    let floor = || requiring(Decision::new(Origin::Floor));
    says(&with(&[team(), floor()], Some(own()), &by_own), absent, "or correct the operator's configuration.");
    assert_eq!(with(&[team(), floor()], Some(own()), &by_ci).decided(), "move");
    assert_eq!(with(&[floor()], Some(own()), &by_own).decided(), "move");
}

#[test]
fn a_policys_own_signature_shortens_no_soak_of_others() {
    let soak = |routine: Option<&str>, unsigned: Option<&str>| Soak {
        routine: routine.map(build::duration),
        unsigned: unsigned.map(build::duration),
    };
    let month = || Decision {
        unsigned: Some(Unsigned::Allow),
        soak: soak(None, Some("720h")),
        ..Decision::new(Origin::VerificationPolicy("acme".to_owned()))
    };
    let own =
        |routine: &str, unsigned: Option<&str>| Decision { soak: soak(Some(routine), unsigned), ..own() };
    let items = [signed_by_key("own", true)];
    let waits = "Soaking: expected 720h since first seen";
    says(
        &with(&[month()], Some(own("0s", None)), &items),
        waits,
        "create a VerificationException for layer Soak",
    );
    says(&with(&[month()], Some(own("0s", Some("2000h"))), &items), waits, "");
    says(&with(&[month()], Some(own("900h", None)), &items), "Soaking: expected 900h since", "");
    // Signed by an authority of others it counts as signed for all of them, and by the policy's own where nobody else decides.
    let both = [ci("refs/tags/v1.0.1"), signed_by_key("own", true)];
    let routine = Decision { soak: soak(Some("0s"), None), ..month() };
    let named = Decision { soak: soak(Some("0s"), None), ..team() };
    assert_eq!(with(&[routine, named], Some(own("0s", None)), &both).decided(), "move");
    let floor = Decision { soak: soak(None, Some("720h")), ..Decision::new(Origin::Floor) };
    assert_eq!(with(&[floor], Some(own("0s", None)), &items).decided(), "move");
    let mut unsigned = with(&[month()], Some(own("0s", None)), &[]);
    unsigned.attach("1.0.1", Answer::Absent);
    assert_ne!(unsigned.decided(), "move");
}
