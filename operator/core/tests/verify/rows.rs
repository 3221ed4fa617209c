//! Each field of a decision: a world in which everything is in order but for what this field asks. Without the field it moves, with it
//! it does not, and the sentence says why.

use std::collections::{BTreeMap, BTreeSet};

use rollforward_core::evidence::{Answer, Attached, Budget, FaultKind, Item, RuleAnswer, Shape};
use rollforward_core::gate::{Layer, Word};
use rollforward_core::image::Repository;
use rollforward_core::reason::Reason;
use rollforward_core::trust::standing::standing;
use rollforward_core::trust::{
    AttestationRule, Binding, Decision, Demand, Exception, Kept, Listed, Means, Origin, Pattern, Root,
    RootContent, Roots, Soak, Unreadable, Unsigned,
};

use crate::build;
use crate::papers::{
    DEV, ISSUER, RELEASE, RULE, SLSA, World, attached, attested, badly_logged, decision, faulty, key,
    keyless, shape, signed, signed_by_key, signed_for, signer, unreadable, with_claim, world,
};
use crate::threats::report;

/// Everything in order: signed by release.yml, logged, bound, with provenance and an SBOM.
fn in_order(decisions: Vec<Decision>) -> World {
    let mut world = world(decisions, None);
    let bound = with_claim(signer(RELEASE), "sourceRepositoryRef", "refs/tags/v1.0.1");
    world.attach(
        "1.0.1",
        attached(vec![
            signed(bound.clone()),
            attested(bound.clone(), SLSA, Some("refs/tags/v1.0.1"), Some(RuleAnswer::Holds)),
            attested(bound, "https://spdx.dev/Document", None, None),
        ]),
    );
    world
}

fn provenance() -> AttestationRule {
    AttestationRule {
        predicate_type: SLSA.to_owned(),
        authorities: Vec::new(),
        rule: Some(RULE.to_owned()),
        required: true,
    }
}

#[track_caller]
fn holds(world: &World, starts: &str, says: &str) {
    let decided = world.decided();
    assert!(
        decided.starts_with(starts) && decided.contains(says),
        "expected {starts} … {says} in: {decided}"
    );
}

#[test]
fn with_everything_in_order_it_moves() {
    let own = decision(vec![keyless("ci")]);
    let world = in_order(vec![Decision { attestations: vec![provenance()], ..own }]);
    assert_eq!(world.decided(), "move");
    for (_, verdict) in world.candidate().verdicts {
        assert_eq!(verdict.word, Word::Pass, "{verdict:?}");
    }
}

#[test]
fn an_unsigned_image_an_unknown_place_and_an_exhausted_budget_are_three_things() {
    let mut world = in_order(vec![decision(vec![keyless("ci")])]);
    world.attach("1.0.1", Answer::Absent);
    holds(
        &world,
        "SignatureAbsent: expected authority ci (github",
        "observed nothing attached to the digest. No pod was started. Sign the digest by ci, as VerificationPolicy acme asks.",
    );
    world.attach("1.0.1", attached(vec![unreadable()]));
    holds(&world, "SignatureAbsent", "no signature in referrers, .sig tag; 1 unreadable");
    world.attach("1.0.1", build::unknown(Reason::RegistryRateLimited, "429 until 12:05"));
    holds(&world, "SignatureUnknown", "observed 429 until 12:05. Nothing is concluded from silence");
    let silent = |items| match attached(items) {
        Answer::Found(found) => Answer::Found(Attached {
            looked_in: vec![(
                rollforward_core::evidence::Place::SignatureTag,
                build::unknown(Reason::RegistryUnavailable, "connection refused"),
            )],
            ..found
        }),
        other => other,
    };
    world.attach("1.0.1", silent(Vec::new()));
    holds(&world, "SignatureUnknown", "the .sig tag could not be read: connection refused");
    world.attach("1.0.1", silent(vec![signed(signer(RELEASE))]));
    assert_eq!(world.decided(), "move", "what is found is enough, whatever is silent");
    for (budget, says) in [(Budget::Count, "number"), (Budget::Bytes, "size"), (Budget::Time, "time")] {
        let Answer::Found(found) = attached(vec![faulty(FaultKind::Signature); 3]) else { panic!() };
        world.attach("1.0.1", Answer::Found(Attached { n_left_out: 61, exhausted: Some(budget), ..found }));
        let sentence = format!("none among the first 3; 61 more were not read (limit of {says})");
        holds(&world, "EvidenceBudgetExhausted", &sentence);
    }
}

#[test]
fn issuer_subject_and_claims_each_refuse_alone() {
    let narrowed = |change: fn(&mut Means)| {
        let mut authority = keyless("ci");
        change(&mut authority.means);
        in_order(vec![decision(vec![authority])])
    };
    let world = narrowed(|means| {
        let Means::Keyless { issuer, .. } = means else { panic!() };
        *issuer = Pattern::Exact("https://accounts.google.com".to_owned());
    });
    holds(
        &world,
        "SignatureIdentityMismatch",
        "3 found: 3 by github.com/acme/web/.github/workflows/release.yml",
    );
    let world = narrowed(|means| {
        let Means::Keyless { issuer, .. } = means else { panic!() };
        *issuer = Pattern::matching("https://token\\.actions").unwrap();
    });
    holds(&world, "SignatureIdentityMismatch", "");
    let world = narrowed(|means| {
        let Means::Keyless { subject, .. } = means else { panic!() };
        *subject = Pattern::matching("release.yml").unwrap();
    });
    holds(
        &world,
        "SignatureIdentityMismatch",
        "No pod was started. Sign it by ci, or correct VerificationPolicy acme.",
    );
    let world = narrowed(|means| {
        let Means::Keyless { subject, .. } = means else { panic!() };
        *subject = Pattern::Exact(format!("{RELEASE}x"));
    });
    holds(&world, "SignatureIdentityMismatch", "");
    let world = narrowed(|means| {
        let Means::Keyless { claims, .. } = means else { panic!() };
        claims.insert("runnerEnvironment".to_owned(), "github-hosted".to_owned());
    });
    holds(&world, "SignatureClaimMismatch", "runnerEnvironment not named, not github-hosted");
    let world = narrowed(|means| {
        let Means::Keyless { claims, .. } = means else { panic!() };
        claims.insert("sourceRepositoryRef".to_owned(), "refs/tags/v1.0.2".to_owned());
    });
    holds(&world, "RepositoryMismatch", "sourceRepositoryRef refs/tags/v1.0.1, not refs/tags/v1.0.2");
    // `a|b` stays together under the anchors.
    let either = Pattern::matching("a|b").unwrap();
    assert!(either.matches("a") && either.matches("b") && !either.matches("ab") && !either.matches("xb"));
    assert!(ISSUER.starts_with("https"));
}

#[test]
fn a_root_that_is_missing_unreadable_or_expired_is_said_and_proves_nothing() {
    let mut world = in_order(vec![decision(vec![keyless("ci")])]);
    let mut root = world.facts.seen.roots.remove("public").unwrap();
    holds(
        &world,
        "TrustRootMissing: expected TrustRoot public, by which ci of VerificationPolicy acme is known",
        "observed none of that name in the namespace. Create it, or correct VerificationPolicy acme.",
    );
    root.content = RootContent::Unreadable { why: Unreadable::NoConfigMap(kept("roots", "root.json")) };
    world.facts.seen.roots.insert("public".to_owned(), root.clone());
    holds(
        &world,
        "TrustRootMissing: expected ConfigMap roots with entry root.json, the content of TrustRoot public, observed that there is no such ConfigMap",
        "Create it, or correct TrustRoot public. Seen by itself within 10 s.",
    );
    root.content = RootContent::PublicGood;
    root.expires = Some(build::at("2026-11-02T12:00:00Z"));
    world.facts.seen.roots.insert("public".to_owned(), root.clone());
    holds(
        &world,
        "TrustRootExpired: expected TrustRoot public, by which ci of VerificationPolicy acme is known, to be valid",
        "observed that it expired 2026-11-02 12:00Z. Give TrustRoot public a current trusted_root.json",
    );
    root.expires = Some(build::at("2026-11-02T12:00:01Z"));
    world.facts.seen.roots.insert("public".to_owned(), root);
    assert_eq!(world.decided(), "move");
}

fn kept(config_map: &str, entry: &str) -> Kept {
    Kept { config_map: config_map.to_owned(), entry: entry.to_owned() }
}

/// What is said of the candidate, and of what runs.
#[track_caller]
fn tells(why: Unreadable, candidate: &str, running: Option<&str>) {
    let mut authority = key("ci");
    authority.means = Means::Unreadable { why };
    let mut world = in_order(vec![decision(vec![authority])]);
    holds(&world, candidate, "");
    let text = report(&world).join("\n");
    assert!(text.contains("A security check could not be made; the application is not at fault"), "{text}");
    let runs = text.lines().find(|line| line.starts_with("1.0.0 runs: ")).unwrap_or_default();
    let only = build::scan(&["1.0.0"], world.facts.now);
    world.facts.seen.repositories.get_mut(&build::repository()).unwrap().scan = only;
    let alone = report(&world).join("\n");
    let blocked = alone.lines().find(|line| line.starts_with("Blocked true: "));
    match running {
        Some(says) => {
            assert!(blocked.is_some_and(|line| line.contains(says)), "{alone}");
            assert!(runs.contains("; cannot be verified ("), "{runs}");
        }
        None => {
            assert_eq!(blocked, None, "{alone}");
            assert!(runs.contains("; not known whether it is still verified (AuthorityUnknown"), "{runs}");
        }
    }
    assert!(!alone.contains("RunningImageNoLongerVerified"), "{alone}");
}

#[test]
fn what_cannot_be_read_is_told_with_where_it_should_be_and_of_what_runs_too_and_silence_is_neither() {
    tells(
        Unreadable::NoConfigMap(kept("keys", "ci.pub")),
        "AuthorityUnreadable: expected ConfigMap keys with entry ci.pub, the key of authority ci, observed that there is no such ConfigMap. Create it, or correct VerificationPolicy acme. Seen by itself within 10 s.",
        Some(
            "AuthorityUnreadable: 1.0.0 for ghcr.io/acme/web:1.0.0@59253ca8 runs and cannot be verified: expected ConfigMap keys with entry ci.pub, the key of authority ci, observed that there is no such ConfigMap. Affected: Deployment/web, 4 of 4 pods. Nothing is said against the image, and nothing is rolled back by this. Create it, or correct VerificationPolicy acme.",
        ),
    );
    tells(
        Unreadable::NoEntry(kept("keys", "ci.pub"), vec!["ci.pem".to_owned()]),
        "AuthorityUnreadable: expected ConfigMap keys with entry ci.pub, the key of authority ci, observed no such entry, only ci.pem. Add the entry, or correct VerificationPolicy acme.",
        Some("observed no such entry, only ci.pem. Affected"),
    );
    tells(
        Unreadable::Forbidden(kept("keys", "ci.pub"), "configmaps \"keys\" is forbidden".to_owned()),
        "AuthorityUnreadable: expected ConfigMap keys with entry ci.pub, the key of authority ci, observed that the operator may not read it: configmaps \"keys\" is forbidden. Let the operator get ConfigMaps in this namespace, or write it inline into VerificationPolicy acme.",
        Some("the operator may not read it"),
    );
    tells(
        Unreadable::Content(Some(kept("keys", "ci.pub")), "no PEM".to_owned()),
        "AuthorityUnreadable: expected a public key in PEM in entry ci.pub of ConfigMap keys, the key of authority ci, observed no PEM. Write the public key there, as `cosign public-key` prints it, or correct VerificationPolicy acme.",
        Some("observed no PEM"),
    );
    tells(
        Unreadable::Content(None, "no PEM".to_owned()),
        "AuthorityUnreadable: expected a public key in PEM as the key of authority ci in VerificationPolicy acme, observed no PEM. Write the public key there",
        Some("observed no PEM"),
    );
    tells(
        Unreadable::Object(Reason::NewerApi, "spec.unsigned: a value that this version does not know; upgrade the operator, or use a value it knows".to_owned()),
        "DecisionUnreadable: expected VerificationPolicy acme to be one that this version can read, observed spec.unsigned: a value that this version does not know; upgrade the operator, or use a value it knows. Until then VerificationPolicy acme denies what it is about.",
        Some("DecisionUnreadable: 1.0.0 for "),
    );
    tells(
        Unreadable::Silent(kept("keys", "ci.pub"), "connection refused".to_owned()),
        "AuthorityUnknown: expected ConfigMap keys with entry ci.pub, the key of authority ci, observed no answer of the apiserver: connection refused. Nothing is concluded from silence; asked again by itself within 10 s.",
        None,
    );
    tells(
        Unreadable::Unlisted("not listed yet".to_owned()),
        "AuthorityUnknown: expected the VerificationPolicies and TrustRoots of the namespace, observed not listed yet. Nothing is concluded",
        None,
    );
}

#[test]
fn another_authority_that_signed_is_enough_whatever_key_is_gone() {
    let mut gone = key("ci");
    gone.means = Means::Unreadable { why: Unreadable::NoConfigMap(kept("keys", "ci.pub")) };
    let both = |require: usize| Decision { require, ..decision(vec![gone.clone(), key("security")]) };
    let mut world = in_order(vec![both(1)]);
    world.attach("1.0.1", attached(vec![signed_by_key("security", true)]));
    assert_eq!(world.decided(), "move");
    world.facts.seen.decisions = vec![both(2)];
    holds(
        &world,
        "AuthorityUnreadable: expected ConfigMap keys with entry ci.pub",
        "there is no such ConfigMap",
    );
    // Where unsigned images may run, a key that is gone stops nothing.
    let allowing = Decision {
        unsigned: Some(Unsigned::Allow),
        soak: Soak { routine: None, unsigned: Some(build::duration("0s")) },
        ..both(2)
    };
    world.facts.seen.decisions = vec![allowing];
    assert_eq!(world.decided(), "move");
}

#[test]
fn each_kind_of_fault_has_a_code_of_its_own() {
    let mut world = in_order(vec![decision(vec![keyless("ci")])]);
    for (kind, code) in [
        (FaultKind::Signature, "SignatureInvalid"),
        (FaultKind::Certificate, "SignatureInvalid"),
        (FaultKind::Malformed, "SignatureInvalid"),
        (FaultKind::Subject, "SignatureSubjectMismatch"),
        (FaultKind::Expired, "SigningTimeUntrusted"),
        (FaultKind::Time, "SigningTimeUntrusted"),
        (FaultKind::Log, "LogProofInvalid"),
        (FaultKind::Unsupported, "SignatureUnsupported"),
    ] {
        world.attach("1.0.1", attached(vec![faulty(kind)]));
        holds(&world, code, "1 found: the engine's words");
    }
}

#[test]
fn k_of_n_authorities_have_to_sign_and_one_identity_counts_once() {
    let of =
        |require: usize| Decision { require, ..decision(vec![key("ci"), key("security"), key("legal")]) };
    let mut world = in_order(vec![of(2)]);
    world.attach("1.0.1", attached(vec![signed_by_key("ci", false)]));
    holds(
        &world,
        "SignaturesTooFew: expected 2 of the authorities ci, security, legal",
        "1 of 2 (ci); of legal: no signature in referrers",
    );
    world.attach("1.0.1", attached(vec![signed_by_key("ci", false), signed_by_key("legal", false)]));
    assert_eq!(world.decided(), "move");
    let world = in_order(vec![of(4)]);
    assert_ne!(world.decided(), "move");
    // Two authorities that the same signature satisfies are one signer.
    let twice = Decision { require: 2, ..decision(vec![keyless("ci"), keyless("release")]) };
    let world = in_order(vec![twice]);
    holds(&world, "SignaturesTooFew", "one identity that several of them mean (ci, release)");
    // One authority with many identities does not make up for two that mean the same one.
    let of = |require: usize, subjects: [&str; 3]| {
        let authority = |index: usize, subject: &str| {
            let mut authority = keyless(["ci", "release", "any"][index]);
            let Means::Keyless { subject: own, .. } = &mut authority.means else { panic!() };
            *own = Pattern::matching(subject).unwrap();
            authority
        };
        let authorities = subjects.iter().enumerate().map(|(index, subject)| authority(index, subject));
        let own = Decision { require, ..decision(authorities.collect()) };
        let mut world = in_order(vec![own]);
        let names = ["release", "test", "docs"];
        let by = |name: &str| signed(signer(&RELEASE.replace("release", name)));
        world.attach("1.0.1", attached(names.map(by).to_vec()));
        world.decided()
    };
    let (release, any) = (".*release.*", ".*");
    assert!(
        of(3, [release, release, any]).starts_with("SignaturesTooFew"),
        "{}",
        of(3, [release, release, any])
    );
    assert_eq!(of(2, [release, release, any]), "move");
    assert_eq!(of(3, [any, any, release]), "move", "each has one of its own");
    assert_eq!(of(3, [any, ".*(release|test).*", release]), "move");
}

#[test]
fn a_log_is_wanted_of_keyless_signers_and_of_keys_only_where_somebody_asks() {
    let keyed = |require_log: bool| {
        let authority = rollforward_core::trust::Authority { require_log, ..key("ci") };
        let mut world = in_order(vec![decision(vec![authority])]);
        world.attach("1.0.1", attached(vec![signed_by_key("ci", false)]));
        world
    };
    assert_eq!(keyed(false).decided(), "move");
    holds(
        &keyed(true),
        "LogProofAbsent: expected the signature of ci in a transparency log",
        "No pod was started",
    );
    let mut undated = signer(RELEASE);
    (undated.in_log, undated.logged_at) = (false, None);
    let mut world = in_order(vec![decision(vec![keyless("ci")])]);
    world.attach("1.0.1", attached(vec![signed(undated.clone())]));
    holds(&world, "LogProofAbsent", "no log and no timestamp authority");
    // A timestamp says as well when it was signed, but not in public: it suffices where the trust root has no logs.
    undated.timestamped_at = Some(build::at("2026-11-02T09:00:00Z"));
    world.attach("1.0.1", attached(vec![signed(undated.clone())]));
    holds(
        &world,
        "LogProofAbsent",
        "observed a signature with a timestamp and without an entry in a log. No pod",
    );
    world.facts.seen.roots.insert("public".to_owned(), Root { has_logs: false, ..crate::papers::root() });
    assert_eq!(world.decided(), "move");
    // An entry that does not hold is its own refusal where a log is asked for, and is counted where none is.
    let mut world = keyed(true);
    world.attach("1.0.1", attached(vec![badly_logged("ci")]));
    holds(
        &world,
        "LogProofInvalid",
        "observed an entry in a log that does not hold: the engine's words. No pod was started. Sign it anew with a log entry",
    );
    world.attach("1.0.1", attached(vec![badly_logged("ci"), signed_by_key("ci", true)]));
    assert_eq!(world.decided(), "move", "one good one suffices");
    let mut world = keyed(false);
    world.attach("1.0.1", attached(vec![badly_logged("ci")]));
    assert_eq!(world.decided(), "move");
    let said = world.candidate();
    let signature = said.verdicts.iter().find(|(layer, _)| *layer == Layer::Signature).unwrap();
    assert_eq!(signature.1.observed, "ci; 1 with a log entry that does not hold, which counts for nothing");
    let logged = rollforward_core::trust::Authority { require_log: true, ..keyless("ci") };
    let mut world = in_order(vec![decision(vec![logged])]);
    world.facts.seen.roots.insert("public".to_owned(), Root { has_logs: false, ..crate::papers::root() });
    world.attach("1.0.1", attached(vec![signed(undated.clone())]));
    holds(&world, "LogProofAbsent", "in a transparency log");
    // Two authorities that one logged identity satisfies are one that is logged.
    let mut other = keyless("other");
    let Means::Keyless { subject, .. } = &mut other.means else { panic!() };
    *subject = Pattern::Exact(DEV.to_owned());
    let three = Decision { require: 2, ..decision(vec![keyless("ci"), keyless("release"), other]) };
    let mut world = in_order(vec![three]);
    let mut unlogged = signer(DEV);
    (unlogged.in_log, unlogged.logged_at) = (false, None);
    world.attach("1.0.1", attached(vec![signed(signer(RELEASE)), signed(unlogged)]));
    holds(&world, "LogProofAbsent", "");
    let mut own = decision(vec![keyless("ci")]);
    own.layers.insert(Layer::Log, Demand::Advisory);
    let mut world = in_order(vec![own]);
    let mut undated = signer(RELEASE);
    (undated.in_log, undated.logged_at) = (false, None);
    world.attach("1.0.1", attached(vec![signed(undated)]));
    assert_eq!(
        (world.decided().as_str(), world.layer(Layer::Log)),
        ("move", Some((Word::Fail, "LogProofAbsent")))
    );
}

#[test]
fn a_log_is_wanted_of_keys_too_where_a_layer_says_required_and_a_key_without_one_is_no_evidence() {
    let layer = |one: Decision, demand: Demand| Decision { layers: [(Layer::Log, demand)].into(), ..one };
    let team = || decision(vec![key("ci")]);
    let by_key = |decisions: Vec<Decision>, own: Option<Decision>, in_log: bool| {
        let mut world = world(decisions, own);
        world.attach("1.0.1", attached(vec![signed_by_key("ci", in_log)]));
        world
    };
    let required = |origin: Origin| layer(Decision::new(origin), Demand::Required);
    let refused = "LogProofAbsent: expected the signature of ci in a transparency log, observed a signature that no log";
    let off = || layer(team(), Demand::Off);
    for (decisions, own, by) in [
        (vec![layer(team(), Demand::Required)], None, "VerificationPolicy acme"),
        (vec![team()], Some(required(Origin::UpdatePolicy)), "this policy's verification"),
        (vec![team(), required(Origin::Floor)], None, "the operator's configuration"),
        (vec![off(), required(Origin::Floor)], None, "the operator's configuration"),
    ] {
        let says = format!("Sign it with a log entry, or correct {by}.");
        holds(&by_key(decisions.clone(), own.clone(), false), refused, &says);
        let logged = by_key(decisions, own, true);
        assert_eq!(
            (logged.decided().as_str(), logged.layer(Layer::Log)),
            ("move", Some((Word::Pass, "LogProofPresent")))
        );
    }
    // Somebody else's signers are none of a decision that names its own.
    let own =
        Decision { origin: Origin::UpdatePolicy, ..layer(decision(vec![key("own")]), Demand::Required) };
    let mut two = by_key(vec![team()], Some(own), false);
    two.attach("1.0.1", attached(vec![signed_by_key("ci", false), signed_by_key("own", true)]));
    assert_eq!(two.decided(), "move");
    let told = by_key(vec![layer(team(), Demand::Advisory)], None, false);
    assert_eq!(
        (told.decided().as_str(), told.layer(Layer::Log)),
        ("move", Some((Word::Fail, "LogProofAbsent")))
    );
    // A timestamp still suffices of a keyless signer whose root has no log.
    let mut world = world(vec![layer(decision(vec![keyless("ci")]), Demand::Required)], None);
    let mut undated = signer(RELEASE);
    (undated.in_log, undated.logged_at) = (false, None);
    undated.timestamped_at = Some(build::at("2026-11-02T09:00:00Z"));
    world.attach("1.0.1", attached(vec![signed(undated)]));
    world.facts.seen.roots.insert("public".to_owned(), Root { has_logs: false, ..crate::papers::root() });
    assert_eq!(world.decided(), "move");
    // Of several one is enough: where that is a key that nobody asked for a log there is nothing to tell, and nothing to count.
    let either = || vec![decision(vec![keyless("release"), key("ci")])];
    let papers = |in_log: bool| {
        let world = by_key(either(), None, in_log);
        let score = world.candidate().score.unwrap();
        let papers = score.entries.iter().find(|(family, _, _)| *family == "papers").unwrap().2;
        (world.decided(), world.layer(Layer::Log), papers)
    };
    assert_eq!(papers(false), ("move".to_owned(), None, 40));
    assert_eq!(papers(true), ("move".to_owned(), Some((Word::Pass, "LogProofPresent")), 50));
}

#[test]
fn a_statement_must_be_there_of_its_type_signed_and_hold() {
    let with = |rule: AttestationRule| {
        in_order(vec![Decision { attestations: vec![rule], ..decision(vec![keyless("ci")]) }])
    };
    let good = || signed(signer(RELEASE));
    let say = |answer: Option<RuleAnswer>| attested(signer(RELEASE), SLSA, None, answer);
    let mut world = with(provenance());
    world.attach("1.0.1", attached(vec![good()]));
    holds(
        &world,
        "AttestationAbsent: expected a signed statement https://slsa.dev/provenance/v1",
        "none of that type",
    );
    world.attach(
        "1.0.1",
        attached(vec![
            good(),
            attested(signer(RELEASE), "https://slsa.dev/provenance/v0.2", None, Some(RuleAnswer::Holds)),
        ]),
    );
    holds(&world, "AttestationAbsent", "none of that type");
    world.attach("1.0.1", attached(vec![good(), attested(signer(DEV), SLSA, None, Some(RuleAnswer::Holds))]));
    holds(&world, "AttestationUntrusted", "1 of that type, none by an authority that may sign it");
    let fails = RuleAnswer::Fails { observed: "runner_environment = self-hosted".to_owned() };
    world.attach("1.0.1", attached(vec![good(), say(Some(fails.clone()))]));
    holds(
        &world,
        "ProvenanceRuleFailed: expected https://slsa.dev/provenance/v1 to satisfy `predicate",
        "observed runner_environment = self-hosted",
    );
    world.attach(
        "1.0.1",
        attached(vec![good(), say(Some(RuleAnswer::Error { why: "no such key".to_owned() }))]),
    );
    holds(&world, "RuleNotRun", "the rule cannot be run over it: no such key");
    let unasked = RuleAnswer::Unasked { why: "other rules have not ended yet".to_owned() };
    for items in [vec![say(Some(unasked.clone()))], vec![say(Some(fails.clone())), say(Some(unasked))]] {
        world.attach("1.0.1", attached([vec![good()], items].concat()));
        holds(
            &world,
            "RuleNotRun",
            "was not run over it: other rules have not ended yet. Asked again by itself",
        );
        assert_eq!(world.layer(Layer::Provenance), Some((Word::Unknown, "RuleNotRun")));
    }
    world.attach("1.0.1", attached(vec![good(), say(None)]));
    holds(&world, "RuleNotRun", "the rule was not run over it");
    world.attach("1.0.1", attached(vec![good(), say(Some(fails.clone())), say(Some(RuleAnswer::Holds))]));
    assert_eq!(world.decided(), "move", "one that holds is enough");
    world.attach("1.0.1", build::unknown(Reason::RegistryUnavailable, "connection refused"));
    assert_ne!(world.decided(), "move");
    let mut optional = with(AttestationRule { required: false, ..provenance() });
    optional.attach("1.0.1", attached(vec![good(), say(Some(fails))]));
    assert_eq!(optional.decided(), "move");
    assert_eq!(optional.layer(Layer::Provenance), Some((Word::Fail, "ProvenanceRuleFailed")));
    let other = AttestationRule { authorities: vec!["security".to_owned()], ..provenance() };
    let own = Decision { attestations: vec![other], ..decision(vec![keyless("ci"), key("security")]) };
    holds(&in_order(vec![own]), "AttestationUntrusted", "none by an authority that may sign it");
    let scan = AttestationRule { predicate_type: "https://acme.test/scan".to_owned(), ..provenance() };
    let mut world = with(scan);
    let failed = RuleAnswer::Fails { observed: "critical = 1".to_owned() };
    world.attach(
        "1.0.1",
        attached(vec![good(), attested(signer(RELEASE), "https://acme.test/scan", None, Some(failed))]),
    );
    holds(&world, "AttestationRuleFailed", "critical = 1");
}

#[test]
fn an_sbom_is_told_unless_somebody_requires_it() {
    let mut own = decision(vec![keyless("ci")]);
    let bare =
        || attached(vec![signed(with_claim(signer(RELEASE), "sourceRepositoryRef", "refs/tags/v1.0.1"))]);
    let mut world = in_order(vec![own.clone()]);
    world.attach("1.0.1", bare());
    assert_eq!(
        (world.decided().as_str(), world.layer(Layer::Sbom)),
        ("move", Some((Word::Absent, "SbomAbsent")))
    );
    own.layers.insert(Layer::Sbom, Demand::Required);
    let mut world = in_order(vec![own.clone()]);
    assert_eq!(world.decided(), "move");
    world.attach("1.0.1", bare());
    holds(
        &world,
        "SbomAbsent: expected a signed list of what is in the image, observed none",
        "cosign attest",
    );
    let foreign = attested(signer(DEV), "https://cyclonedx.org/bom", None, None);
    let Answer::Found(mut found) = bare() else { panic!() };
    found.items.push(foreign);
    world.attach("1.0.1", Answer::Found(found));
    holds(&world, "SbomAbsent", "observed none");
    own.layers.insert(Layer::Sbom, Demand::Off);
    assert_eq!(in_order(vec![own]).layer(Layer::Sbom), None);
}

#[test]
fn the_version_that_was_signed_is_compared_with_the_tag() {
    let signed_as = |binding: Binding, git_ref: Option<&str>| {
        let mut world = in_order(vec![Decision { binding, ..decision(vec![keyless("ci")]) }]);
        let own = signer(RELEASE);
        let own = git_ref.map_or(own.clone(), |git_ref| with_claim(own, "sourceRepositoryRef", git_ref));
        world.attach("1.0.1", attached(vec![signed(own)]));
        world
    };
    let auto = |git_ref: &str| signed_as(Binding::Auto, Some(git_ref));
    for good in [
        "refs/tags/v1.0.1",
        "refs/tags/1.0.1",
        "refs/tags/web/v1.0.1",
        "refs/tags/v1.0.1-alpine",
        "refs/tags/v1.0",
    ] {
        assert_eq!(auto(good).layer(Layer::Binding), Some((Word::Pass, "VersionBound")), "{good}");
    }
    holds(
        &auto("refs/tags/v1.0.0"),
        "VersionMismatch: expected 1.0.1 to be signed as 1.0.1, observed certificate refs/tags/v1.0.0",
        "No pod was started",
    );
    holds(&auto("refs/tags/v1.0.1-rc1"), "VersionMismatch", "");
    holds(
        &auto("refs/heads/feature"),
        "BranchBuild",
        "certificate refs/heads/feature. No pod was started. Build and sign the version from its tag.",
    );
    holds(&auto("refs/pull/12/merge"), "BranchBuild", "");
    for silent in [Some("refs/heads/main"), Some("refs/tags/nightly"), None] {
        let world = signed_as(Binding::Auto, silent);
        assert_eq!(
            (world.decided().as_str(), world.layer(Layer::Binding)),
            ("move", Some((Word::Absent, "VersionUnbound")))
        );
    }
    holds(
        &signed_as(Binding::Required, None),
        "VersionUnbound: expected a signed claim of the version",
        "names no version",
    );
    holds(&signed_as(Binding::Required, Some("refs/heads/main")), "BranchBuild", "");
    assert_eq!(signed_as(Binding::Off, Some("refs/tags/v1.0.0")).decided(), "move");
    assert_eq!(signed_as(Binding::Off, None).layer(Layer::Binding), None);
    // A signature of the release candidate beside the one of the release: one that agrees is enough.
    let mut world = auto("refs/tags/v1.0.1");
    let both = ["refs/tags/v1.0.1-rc1", "refs/tags/v1.0.1"]
        .map(|at| signed(with_claim(signer(RELEASE), "sourceRepositoryRef", at)));
    world.attach("1.0.1", attached(both.to_vec()));
    assert_eq!(world.decided(), "move");
}

#[test]
fn that_the_version_is_named_may_be_asked_without_naming_an_authority() {
    let asks = |origin: Origin, binding: Binding| Decision { binding, ..Decision::new(origin) };
    let unbound =
        "VersionUnbound: expected a signed claim of the version, observed what was signed names no version.";
    let team = || Decision {
        unsigned: Some(Unsigned::Allow),
        soak: Soak { routine: Some(build::duration("0s")), unsigned: Some(build::duration("0s")) },
        ..asks(Origin::VerificationPolicy("team".to_owned()), Binding::Required)
    };
    for (others, own) in [
        (None, Some(asks(Origin::UpdatePolicy, Binding::Required))),
        (Some(asks(Origin::Floor, Binding::Required)), None),
        (Some(team()), None),
    ] {
        for binding in [Binding::Auto, Binding::Off] {
            let mut ci = Decision { binding, ..decision(vec![keyless("ci")]) };
            ci.unsigned = Some(Unsigned::Allow);
            let decisions = [ci].into_iter().chain(others.clone()).collect();
            let mut world = world(decisions, own.clone());
            world.attach("1.0.1", attached(vec![signed(signer(RELEASE))]));
            holds(&world, unbound, "");
            let bound = with_claim(signer(RELEASE), "sourceRepositoryRef", "refs/tags/v1.0.1");
            world.attach("1.0.1", attached(vec![signed(bound)]));
            assert_eq!(world.decided(), "move");
        }
    }
    // What is not written lifts nobody's `Off`, and where nobody could sign there is nothing to read.
    let off = Decision { binding: Binding::Off, ..decision(vec![keyless("ci")]) };
    let mut world = world(vec![off], Some(asks(Origin::UpdatePolicy, Binding::Auto)));
    world.attach("1.0.1", attached(vec![signed(signer(RELEASE))]));
    assert_eq!(world.layer(Layer::Binding), None);
    world.facts.seen.decisions = vec![team()];
    world.attach("1.0.1", Answer::Absent);
    assert_eq!((world.decided().as_str(), world.layer(Layer::Binding)), ("move", None));
}

#[test]
fn a_label_below_a_signature_counts_where_the_repository_has_that_version() {
    let labelled = |version: &str| {
        let mut world = in_order(vec![decision(vec![keyless("ci")])]);
        world.attach("1.0.1", attached(vec![signed(signer(RELEASE))]));
        let labels = [("version".to_owned(), version.to_owned())].into();
        world.shape("1.0.1", Shape { labels, ..shape() });
        world
    };
    holds(&labelled("1.0.0"), "VersionMismatch", "observed label 1.0.0");
    assert_eq!(labelled("v1.0.1").layer(Layer::Binding), Some((Word::Pass, "VersionBound")));
    assert_eq!(labelled("24.04").decided(), "move", "inherited from a base image");
    // The image's own word agrees only where nothing that was signed contradicts it.
    let beside = |git_ref: &str, binding: Binding| {
        let mut world = labelled("1.0.1");
        world.facts.seen.decisions[0].binding = binding;
        world.attach(
            "1.0.1",
            attached(vec![signed(with_claim(signer(RELEASE), "sourceRepositoryRef", git_ref))]),
        );
        world
    };
    assert_eq!(
        beside("refs/heads/main", Binding::Auto).layer(Layer::Binding),
        Some((Word::Pass, "VersionBound"))
    );
    let branch =
        "observed certificate refs/heads/dev. No pod was started. Build and sign the version from its tag.";
    for binding in [Binding::Auto, Binding::Required] {
        holds(&beside("refs/heads/dev", binding), "BranchBuild", branch);
        holds(
            &beside("refs/tags/v1.0.1-rc1", binding),
            "VersionMismatch",
            "observed certificate refs/tags/v1.0.1-rc1",
        );
    }
    // Once it runs, the label is not read again, and nothing is lost by that; a signed claim against it is told.
    let running = |items: Vec<Item>| {
        let own = Decision { binding: Binding::Required, ..decision(vec![keyless("ci")]) };
        let mut world = in_order(vec![own]);
        world.attach("1.0.0", attached(items));
        report(&world).join("\n")
    };
    let told = running(vec![signed(signer(RELEASE))]);
    assert!(told.contains("1.0.0 runs: 4 of 4 pods available; still verified."), "{told}");
    let told = running(vec![signed(with_claim(signer(RELEASE), "sourceRepositoryRef", "refs/heads/dev"))]);
    assert!(told.contains("1.0.0 runs: 4 of 4 pods available; not verified any more."), "{told}");
    let mut provenance = labelled("1.0.1");
    let built = attested(signer(RELEASE), SLSA, Some("refs/heads/dev"), None);
    provenance.attach("1.0.1", attached(vec![signed(signer(RELEASE)), built]));
    holds(&provenance, "BranchBuild", "observed provenance refs/heads/dev");
}

#[test]
fn the_repository_that_was_signed_is_compared_too() {
    let mut world = in_order(vec![decision(vec![keyless("ci")])]);
    world.attach("1.0.1", attached(vec![signed_for(signer(RELEASE), "ghcr.io/acme/api")]));
    holds(
        &world,
        "RepositoryMismatch: expected a signature for ghcr.io/acme/web, observed one for ghcr.io/acme/api",
        "copied here",
    );
    world.attach(
        "1.0.1",
        attached(vec![
            signed_for(signer(RELEASE), "ghcr.io/acme/api"),
            signed_for(signer(RELEASE), "ghcr.io/acme/web"),
        ]),
    );
    assert_eq!(world.decided(), "move");
}

#[test]
fn a_signature_that_names_the_image_with_its_tag_is_read_for_both() {
    let named = |names: &[&str]| {
        let mut world = in_order(vec![decision(vec![keyless("ci")])]);
        let items = names.iter().map(|name| signed_for(signer(RELEASE), name));
        world.attach("1.0.1", attached(items.collect()));
        world
    };
    for good in ["ghcr.io/acme/web:1.0.1", "ghcr.io/acme/web:v1.0.1", "ghcr.io/acme/web:1.0.1-alpine"] {
        let world = named(&[good]);
        assert_eq!(
            (world.decided().as_str(), world.layer(Layer::Binding)),
            ("move", Some((Word::Pass, "VersionBound"))),
            "{good}"
        );
    }
    // Pushed under a name that is no version, and signed by it.
    for silent in ["ghcr.io/acme/web:latest", "ghcr.io/acme/web:nightly", "ghcr.io/acme/web"] {
        assert_eq!(
            named(&[silent]).layer(Layer::Binding),
            Some((Word::Absent, "VersionUnbound")),
            "{silent}"
        );
    }
    for foreign in ["ghcr.io/acme/api:1.0.1", "quay.io/acme/web:1.0.1", "ghcr.io/acme/web:1.0.1:1.0.1"] {
        let says = format!("observed one for {foreign}. No pod was started.");
        holds(&named(&[foreign]), "RepositoryMismatch: expected a signature for ghcr.io/acme/web", &says);
    }
    let other = named(&["ghcr.io/acme/web:1.0.0"]);
    holds(&other, "VersionMismatch", "observed docker-reference 1.0.0. No pod was started.");
    assert_eq!(named(&["ghcr.io/acme/web:1.0.0", "ghcr.io/acme/web:1.0.1"]).decided(), "move");
}

#[test]
fn soak_is_shorter_for_what_is_signed_and_an_unsigned_one_never_waits_less() {
    let with = |routine: Option<&str>, unsigned: Option<&str>, allow: bool, signed: bool| {
        let soak = Soak { routine: routine.map(build::duration), unsigned: unsigned.map(build::duration) };
        let own =
            Decision { soak, unsigned: allow.then_some(Unsigned::Allow), ..decision(vec![keyless("ci")]) };
        let mut world = in_order(vec![own]);
        if !signed {
            world.attach("1.0.1", Answer::Absent);
        }
        world.decided()
    };
    // Seen at 10:00; it is 12:00.
    assert_eq!(with(Some("2h"), None, false, true), "move");
    assert!(with(Some("3h"), None, false, true).starts_with("Soaking: expected 3h since first seen"));
    assert!(with(None, None, false, true).starts_with("Soaking: expected 24h since first seen"));
    assert!(with(None, None, true, false).starts_with("Soaking: expected 72h since first seen"));
    assert_eq!(with(None, Some("1h"), true, false), "move");
    assert_eq!(with(None, Some("1h"), true, true), "move");
    assert!(with(Some("3h"), Some("1h"), true, false).starts_with("Soaking: expected 3h since first seen"));
    assert!(with(Some("3h"), None, false, true).contains("create a VerificationException for layer Soak"));
}

#[test]
fn a_policy_that_writes_a_soak_takes_none_from_a_team_or_an_operator_that_writes_none() {
    let soak = |routine: Option<&str>, unsigned: Option<&str>| Soak {
        routine: routine.map(build::duration),
        unsigned: unsigned.map(build::duration),
    };
    let team = |soak| Decision { soak, ..decision(vec![keyless("ci")]) };
    let floor = |soak| Decision { origin: Origin::Floor, ..team(soak) };
    let allowing = |own: Decision| Decision { unsigned: Some(Unsigned::Allow), ..own };
    let own = |soak| Decision { soak, ..Decision::new(Origin::UpdatePolicy) };
    let check = |theirs: Decision, own: Decision, is_signed: bool, expected: &str| {
        let mut world = in_order(vec![theirs]);
        if !is_signed {
            world.attach("1.0.1", Answer::Absent);
        }
        world.facts.policy.trust = Some(own);
        let decided = world.decided();
        assert!(decided.starts_with(expected), "expected {expected} in: {decided}");
    };
    // Seen at 10:00; it is 12:00.
    let (nothing, zero) = (soak(None, None), soak(Some("0s"), Some("0s")));
    let day = "Soaking: expected 24h since first seen";
    check(team(nothing), own(zero), true, day);
    check(team(nothing), own(soak(None, Some("0s"))), true, day);
    check(floor(nothing), own(zero), true, day);
    check(team(soak(None, Some("72h"))), own(zero), true, day);
    let days = "Soaking: expected 72h since first seen";
    check(allowing(team(nothing)), allowing(own(soak(None, Some("0s")))), false, days);
    check(allowing(team(soak(Some("0s"), None))), allowing(own(zero)), false, days);
    check(allowing(floor(nothing)), allowing(own(zero)), false, days);
    // A policy that is silent adds no default of its own; one that asks for more is heard.
    check(team(soak(Some("0s"), None)), allowing(own(nothing)), true, "move");
    check(team(nothing), own(soak(Some("48h"), None)), true, "Soaking: expected 48h since first seen");
    check(team(soak(Some("0s"), None)), own(soak(Some("3h"), None)), true, "Soaking: expected 3h since");
    check(team(soak(None, Some("1h"))), own(zero), true, "move");
}

#[test]
fn all_decisions_count_and_a_policy_can_only_be_stricter() {
    let allow = |origin: Origin| Decision {
        unsigned: Some(Unsigned::Allow),
        soak: Soak { routine: None, unsigned: Some(build::duration("0s")) },
        ..Decision::new(origin)
    };
    let silent = Decision::new(Origin::VerificationPolicy("acme".to_owned()));
    let mut unsigned = world(vec![silent.clone()], Some(allow(Origin::UpdatePolicy)));
    holds(
        &unsigned,
        "NoAuthority: expected a signature, as VerificationPolicy acme denies unsigned images",
        "write `unsigned: Allow` there",
    );
    unsigned.facts.seen.decisions = vec![allow(Origin::VerificationPolicy("acme".to_owned()))];
    assert_eq!(unsigned.decided(), "move");
    unsigned.facts.policy.trust =
        Some(Decision { unsigned: Some(Unsigned::Deny), ..Decision::new(Origin::UpdatePolicy) });
    holds(&unsigned, "NoAuthority", "this policy's verification denies unsigned images");
    unsigned.facts.policy.trust = None;
    unsigned
        .facts
        .seen
        .decisions
        .push(Decision { unsigned: Some(Unsigned::Deny), ..Decision::new(Origin::Floor) });
    holds(&unsigned, "NoAuthority", "the operator's configuration denies unsigned images");
    unsigned.facts.seen.decisions.clear();
    holds(&unsigned, "NoTrustDecision", "neither signatures are demanded nor unsigned images allowed");
    // What only makes others stricter is no decision.
    let soak = Soak { routine: Some(build::duration("48h")), unsigned: None };
    unsigned.facts.policy.trust = Some(Decision { soak, ..Decision::new(Origin::UpdatePolicy) });
    holds(&unsigned, "NoTrustDecision", "");
    // A policy that names an authority and asks nothing of it has not allowed what another denies.
    let own = |demand: Demand| Decision {
        authorities: vec![key("own")],
        layers: [(Layer::Signature, demand)].into(),
        ..allow(Origin::UpdatePolicy)
    };
    let floor = Decision { unsigned: Some(Unsigned::Deny), ..Decision::new(Origin::Floor) };
    for (denies, demand) in [&floor, &silent]
        .into_iter()
        .flat_map(|one| [Demand::Advisory, Demand::Off].map(|demand| (one, demand)))
    {
        let mut denied = world(vec![denies.clone()], Some(own(demand)));
        for nothing in [Answer::Absent, attached(Vec::new()), attached(vec![signed_by_key("other", true)])] {
            denied.attach("1.0.1", nothing);
            holds(&denied, "SignatureAbsent: expected authority own (key)", "Sign the digest by own");
        }
        denied.attach("1.0.1", attached(vec![signed_by_key("own", true)]));
        denied.facts.now = build::at("2026-12-02T12:00:00Z");
        assert_eq!(denied.decided(), "move");
        denied.facts.seen.decisions = vec![allow(Origin::Floor)];
        denied.attach("1.0.1", attached(Vec::new()));
        assert_eq!(denied.decided(), "move", "nobody denies");
    }
    // Another decision's authority does not stand for this one's.
    let mut two = in_order(vec![decision(vec![keyless("ci")]), decision(vec![key("security")])]);
    holds(&two, "SignatureAbsent: expected authority security (key)", "");
    let Some(Answer::Found(found)) =
        two.evidence.attached.get(&(build::repository(), build::digest("1.0.1"))).cloned()
    else {
        panic!()
    };
    let items = found.items.into_iter().chain([signed_by_key("security", true)]).collect();
    two.attach("1.0.1", attached(items));
    assert_eq!(two.decided(), "move");
    // A decision about another repository does not count; one about this does.
    let elsewhere = Decision { repositories: vec!["ghcr.io/other/*".to_owned()], ..silent };
    let mut world =
        in_order(vec![decision(vec![keyless("ci")]), Decision { deny: denied(), ..elsewhere.clone() }]);
    assert_eq!(world.decided(), "move");
    world.facts.seen.decisions[1].repositories = vec!["ghcr.io/acme/*".to_owned()];
    holds(&world, "DigestDenied", "");
}

fn denied() -> Listed {
    Listed { repositories: Vec::new(), digests: BTreeSet::from([build::digest("1.0.1")]) }
}

#[test]
fn lists_deny_and_allow_by_repository_and_digest() {
    let list = |repositories: &[&str], digests: &[&str]| Listed {
        repositories: repositories.iter().map(|text| (*text).to_owned()).collect(),
        digests: digests.iter().map(|content| build::digest(content)).collect(),
    };
    let with = |deny: Listed, allow: Listed| {
        in_order(vec![Decision { deny, allow, ..decision(vec![keyless("ci")]) }])
    };
    let none = Listed::default;
    holds(
        &with(list(&["ghcr.io/acme/*"], &[]), none()),
        "RepositoryDenied",
        "ghcr.io/acme/web on the deny list (ghcr.io/acme/*)",
    );
    holds(&with(denied(), none()), "DigestDenied", "no exception lifts a deny list");
    holds(
        &with(none(), list(&["quay.io/*"], &[])),
        "RepositoryNotAllowed: expected a repository that VerificationPolicy acme allows (quay.io/*)",
        "observed ghcr.io/acme/web",
    );
    holds(
        &with(none(), list(&[], &["other"])),
        "DigestNotAllowed: expected the digest that VerificationPolicy acme allows, observed another, 59253da8",
        "Have sha256:",
    );
    assert_eq!(
        with(list(&["quay.io/*"], &["other"]), list(&["ghcr.io/*"], &["1.0.0", "1.0.1"])).decided(),
        "move"
    );
}

#[test]
fn another_spelling_of_the_registry_escapes_no_pattern_and_no_memory() {
    for spelled in ["GHCR.IO/acme/web", "ghcr.io:443/acme/web", "Ghcr.io:443/acme/web"] {
        let image = format!("{spelled}:1.0.0@{}", build::digest("1.0.0"));
        let with = |own: Decision| {
            let mut world = in_order(vec![own]);
            let workload = build::workload("web", 4, &image);
            world.facts.seen.tracks = vec![build::track(workload, Vec::new(), Vec::new())];
            world
        };
        let own = || decision(vec![keyless("ci")]);
        let deny = Listed { repositories: vec!["ghcr.io/acme/*".to_owned()], ..Listed::default() };
        holds(
            &with(Decision { deny, ..own() }),
            "RepositoryDenied",
            "observed ghcr.io/acme/web on the deny list",
        );
        let about = vec!["ghcr.io/acme/*".to_owned()];
        let unsigned = Decision { repositories: about, ..own() };
        let mut world = with(unsigned);
        assert_eq!(world.decided(), "move", "its memory is the one of ghcr.io/acme/web");
        world.attach("1.0.1", Answer::Absent);
        holds(&world, "SignatureAbsent", "");
        let written = &world.facts.seen.tracks[0].containers[0].1;
        let written = written.pinned(&build::tag("1.0.1"), &build::digest("1.0.1")).to_string();
        assert_eq!(written, format!("{spelled}:1.0.1@{}", build::digest("1.0.1")), "written as it was");
    }
}

/// The policy's author names the source: what the workload is written to pull counts all the same.
#[test]
fn of_an_image_from_a_mirror_the_source_and_the_name_that_is_written_must_both_be_allowed() {
    let lists = |deny: &[&str], allow: &[&str]| {
        let listed = |patterns: &[&str]| Listed {
            repositories: patterns.iter().map(|text| (*text).to_owned()).collect(),
            ..Listed::default()
        };
        let own = Decision { deny: listed(deny), allow: listed(allow), ..decision(vec![keyless("ci")]) };
        let mut world = in_order(vec![own]);
        world.facts.policy.source = Some(Repository::parse("quay.io/acme/web").unwrap());
        let (source, known) = (Repository::parse("quay.io/acme/web").unwrap(), world.evidence.clone());
        world.evidence.digests = rekeyed(&known.digests, &source);
        world.evidence.manifests.extend(rekeyed(&known.manifests, &source));
        world.evidence.attached = rekeyed(&known.attached, &source);
        let served = ((build::repository(), build::digest("1.0.1")), Answer::Found(()));
        world.evidence.served = [served].into();
        world
    };
    let refused = "RepositoryNotAllowed: expected a repository that VerificationPolicy acme allows";
    holds(&lists(&[], &["quay.io/acme/*"]), refused, "observed ghcr.io/acme/web.");
    holds(&lists(&[], &["ghcr.io/acme/*"]), refused, "observed quay.io/acme/web.");
    assert_eq!(lists(&[], &["ghcr.io/acme/*", "quay.io/acme/*"]).decided(), "move");
    let denied = "RepositoryDenied: expected a repository that is not denied";
    holds(&lists(&["ghcr.io/*"], &[]), denied, "observed ghcr.io/acme/web on the deny list (ghcr.io/*)");
    holds(&lists(&["quay.io/*"], &[]), denied, "observed quay.io/acme/web on the deny list (quay.io/*)");
}

fn rekeyed<K: Ord + Clone, T: Clone>(
    known: &BTreeMap<(Repository, K), T>,
    repository: &Repository,
) -> BTreeMap<(Repository, K), T> {
    known.iter().map(|((_, key), answer)| ((repository.clone(), key.clone()), answer.clone())).collect()
}

#[test]
fn an_exception_lifts_its_layers_for_its_digest_until_it_ends_and_never_the_deny_list() {
    let exception = |layers: &[Layer], digest: &str, ends: &str| Exception {
        name: "fix".to_owned(),
        digest: build::digest(digest),
        layers: layers.iter().copied().collect(),
        ends: build::at(ends),
        why: "an emergency".to_owned(),
    };
    let with = |exception: Exception, own: Decision| {
        let mut world = world(vec![own], None);
        world.attach("1.0.1", Answer::Absent);
        world.facts.seen.exceptions = vec![exception];
        world
    };
    let own = || decision(vec![keyless("ci")]);
    let (later, layers) = ("2026-11-02T12:00:01Z", [Layer::Signature, Layer::Soak]);
    let lifted = with(exception(&layers, "1.0.1", later), own());
    assert_eq!(lifted.decided(), "move");
    let said = lifted.candidate().verdicts.iter().find_map(|(_, verdict)| verdict.lifted.clone());
    assert_eq!(said.as_deref(), Some("VerificationException fix until 2026-11-02 12:00Z"));
    holds(&with(exception(&layers, "1.0.1", "2026-11-02T12:00:00Z"), own()), "SignatureAbsent", "");
    holds(&with(exception(&layers, "1.0.2", later), own()), "SignatureAbsent", "");
    holds(&with(exception(&[Layer::Soak], "1.0.1", later), own()), "SignatureAbsent", "");
    holds(&with(exception(&[Layer::Signature], "1.0.1", later), own()), "Soaking", "");
    let all = [Layer::Reference, Layer::Signature, Layer::Soak];
    holds(
        &with(exception(&all, "1.0.1", later), Decision { deny: denied(), ..own() }),
        "DigestDenied",
        "no exception",
    );
}

#[test]
fn drift_is_told_in_words_and_stops_only_where_somebody_asks() {
    let mut own = decision(vec![keyless("ci")]);
    let other = Shape {
        user: String::new(),
        entrypoint: vec!["/bin/sh".to_owned(), "-c".to_owned()],
        ports: ["8080/tcp".to_owned(), "4444/tcp".to_owned()].into(),
        volumes: ["/data".to_owned()].into(),
        environment: ["PATH".to_owned(), "LD_PRELOAD".to_owned()].into(),
        size_bytes: 100 << 20,
        created: Some(build::at("2026-09-01T00:00:00Z")),
        ..shape()
    };
    let mut world = in_order(vec![own.clone()]);
    assert_eq!(world.layer(Layer::Drift), Some((Word::Pass, "NoDrift")));
    world.shape("1.0.1", other.clone());
    assert_eq!(
        (world.decided().as_str(), world.layer(Layer::Drift)),
        ("move", Some((Word::Fail, "ConfigDrift")))
    );
    own.layers.insert(Layer::Drift, Demand::Required);
    world.facts.seen.decisions = vec![own.clone()];
    holds(
        &world,
        "ConfigDrift: expected the shape of what runs, observed USER 1000 -> root; ENTRYPOINT /app -> /bin/sh -c; new port 4444/tcp; new volume /data; new environment LD_PRELOAD; size 50 MiB -> 100 MiB; created 2026-09-01 00:00Z",
        "",
    );
    for same in [
        Shape { user: "root".to_owned(), ..shape() },
        Shape { command: vec!["serve".to_owned()], ..shape() },
        Shape { size_bytes: 25 << 20, ..shape() },
    ] {
        world.shape("1.0.1", same);
        holds(&world, "ConfigDrift", "");
    }
    world
        .shape("1.0.1", Shape { layers: vec!["sha256:patched".to_owned()], size_bytes: 99 << 20, ..shape() });
    assert_eq!(world.decided(), "move", "a patched base image is what is hoped for");
    own.layers.insert(Layer::Drift, Demand::Off);
    world.facts.seen.decisions = vec![own];
    assert_eq!(world.layer(Layer::Drift), None);
}

#[test]
fn the_trust_ledger_gates_only_on_request_and_then_only_adds_delay() {
    let mut own = decision(vec![keyless("ci")]);
    let world = in_order(vec![own.clone()]);
    let score = world.candidate().score.unwrap();
    assert_eq!(
        score.line(),
        "-40.0 dB, needed -45.0 (lower is safer): papers 5.0, meaning 3.0, shape 2.0, time 0.0"
    );
    assert_eq!(world.decided(), "move");
    own.score_gates = true;
    let mut gated = in_order(vec![own]);
    holds(
        &gated,
        "TrustShort: expected -45.0 dB in the trust ledger, observed -40.0 dB, short by 5.0",
        "time adds to it",
    );
    assert_eq!(
        gated.candidate().passes_at(),
        Some(build::at("2026-11-02T22:00:00Z")),
        "12 h after it was seen"
    );
    gated.facts.now = build::at("2026-11-02T22:00:00Z");
    assert_eq!(gated.decided(), "move");
    gated.attach("1.0.1", Answer::Absent);
    holds(&gated, "SignatureAbsent", "");
}

#[test]
fn the_source_is_compared_with_certificate_and_provenance_and_silence_is_no_agreement() {
    let web = "https://github.com/acme/web";
    let from = |source: Pattern, binding: Binding| {
        let own = Decision { binding, source: Some(source), ..decision(vec![keyless("ci")]) };
        world(vec![own], None)
    };
    let claims = |uri: &str| with_claim(signer(RELEASE), "sourceRepositoryURI", uri);
    // Without the field the source is nobody's business, with it only the source is wrong.
    let mut without = world(vec![decision(vec![keyless("ci")])], None);
    without.attach("1.0.1", attached(vec![signed(claims("https://github.com/acme/api"))]));
    assert_eq!(without.decided(), "move");
    let mut exact = from(Pattern::Exact(web.to_owned()), Binding::Off);
    exact.attach("1.0.1", attached(vec![signed(claims("https://github.com/acme/api"))]));
    holds(
        &exact,
        "RepositoryMismatch: expected a build of https://github.com/acme/web, observed certificate https://github.com/acme/api",
        "Build it from there, or correct VerificationPolicy acme.",
    );
    exact.attach("1.0.1", attached(vec![signed(signer(RELEASE))]));
    holds(&exact, "SourceUnbound", "observed what was signed names no source");
    exact.attach("1.0.1", attached(vec![signed(claims(web))]));
    assert_eq!(exact.decided(), "move");
    assert_eq!(exact.layer(Layer::Binding), Some((Word::Pass, "SourceBound")));
    // Provenance of `git+…` agrees, one of another source contradicts, also beside a certificate that agrees.
    let built = || attested(signer(RELEASE), SLSA, None, None);
    exact.attach("1.0.1", attached(vec![built()]));
    assert_eq!(exact.decided(), "move");
    let mut elsewhere = from(Pattern::Exact("https://github.com/acme/api".to_owned()), Binding::Auto);
    elsewhere.attach("1.0.1", attached(vec![built()]));
    holds(&elsewhere, "RepositoryMismatch", "observed provenance https://github.com/acme/web");
    let mixed = attested(claims("https://github.com/acme/api"), SLSA, None, None);
    elsewhere.attach("1.0.1", attached(vec![mixed]));
    holds(&elsewhere, "RepositoryMismatch", "observed provenance https://github.com/acme/web");
    // One that agrees is enough, whatever lies beside it; an expression is anchored.
    exact.attach("1.0.1", attached(vec![signed(claims("https://evil")), signed(claims(web))]));
    assert_eq!(exact.decided(), "move");
    let mut anchored = from(Pattern::matching("https://github.com/acme").unwrap(), Binding::Auto);
    anchored.attach("1.0.1", attached(vec![signed(claims(web))]));
    holds(&anchored, "RepositoryMismatch", "");
    let mut own = exact.facts.seen.decisions[0].clone();
    own.layers.insert(Layer::Binding, Demand::Advisory);
    exact.facts.seen.decisions = vec![own];
    exact.attach("1.0.1", attached(vec![signed(claims("https://evil"))]));
    assert_eq!(exact.decided(), "move", "advisory is told and stops nothing");
}

#[test]
fn a_decision_says_of_itself_what_cannot_be_used_and_what_that_means_for_images() {
    let now = build::at("2026-11-02T12:00:00Z");
    let roots = |expires: &str| -> Roots {
        let root = Root { expires: Some(build::at(expires)), ..crate::papers::root() };
        [("public".to_owned(), root)].into()
    };
    let good = roots("2027-06-01T00:00:00Z");
    let of = |own: &Decision, roots: &Roots, rules: &[(String, String)]| {
        let said = standing(own, roots, rules, now);
        (said.is_ready, said.message)
    };
    let gone = |name: &str, why: Unreadable| {
        let mut authority = key(name);
        authority.means = Means::Unreadable { why };
        authority
    };
    let no_map = || gone("ci", Unreadable::NoConfigMap(kept("keys", "ci.pub")));
    let check = |own: Decision, is_ready: Option<bool>, says: &str| {
        assert_eq!(of(&own, &good, &[]), (is_ready, says.to_owned()));
    };
    let two = Decision {
        repositories: vec!["ghcr.io/acme/*".to_owned()],
        ..decision(vec![keyless("ci"), key("security")])
    };
    check(
        two.clone(),
        Some(true),
        "Usable: about ghcr.io/acme/*; signed by 1 of: ci (TrustRoot public, ends 2027-06-01 00:00Z), security (key).",
    );
    check(
        Decision::new(Origin::VerificationPolicy("acme".to_owned())),
        Some(true),
        "Usable: about all repositories; no authority, unsigned images are denied.",
    );
    let missing = "authority ci cannot be asked: expected ConfigMap keys with entry ci.pub, the key of authority ci, observed that there is no such ConfigMap. Create it, or correct VerificationPolicy acme. Seen by itself within 10 s.";
    check(
        decision(vec![no_map()]),
        Some(false),
        &format!(
            "AuthorityUnreadable: {missing} Until then nothing that it is about moves; nothing is rolled back by this."
        ),
    );
    check(
        decision(vec![no_map(), key("security")]),
        Some(false),
        &format!("AuthorityUnreadable: {missing} Until then the other authorities have to sign."),
    );
    check(
        Decision { unsigned: Some(Unsigned::Allow), ..decision(vec![no_map(), no_map()]) },
        Some(false),
        &format!(
            "AuthorityUnreadable: {missing} Another authority cannot be asked either. Unsigned images are allowed: until then images count as unsigned."
        ),
    );
    check(
        decision(vec![
            gone("ci", Unreadable::Silent(kept("keys", "ci.pub"), "refused".to_owned())),
            no_map(),
        ]),
        None,
        "AuthorityUnknown: expected ConfigMap keys with entry ci.pub, the key of authority ci, observed no answer of the apiserver: refused. Nothing is concluded from silence; asked again by itself within 10 s.",
    );
    let newer = "spec.unsigned: a value that this version does not know; upgrade the operator, or use a value it knows";
    check(
        decision(vec![gone("unknown", Unreadable::Object(Reason::NewerApi, newer.to_owned()))]),
        Some(false),
        &format!(
            "NewerApi: expected VerificationPolicy acme to be one that this version can read, observed {newer}. Until then VerificationPolicy acme denies what it is about."
        ),
    );
    let (ready, said) = of(&two, &Roots::new(), &[]);
    assert_eq!(ready, Some(false));
    assert!(
        said.starts_with("TrustRootMissing: authority ci cannot be asked: expected TrustRoot public, by which ci of VerificationPolicy acme is known, observed none of that name in the namespace. Create it, or correct VerificationPolicy acme."),
        "{said}"
    );
    let (ready, said) = of(&two, &roots("2026-11-02T12:00:00Z"), &[]);
    assert_eq!(ready, Some(false));
    assert!(said.starts_with("TrustRootExpired: authority ci cannot be asked: "), "{said}");
    let rule = [(SLSA.to_owned(), "not a CEL expression: (".to_owned())];
    assert_eq!(
        of(&two, &good, &rule).1,
        "RuleNotRun: expected a rule over https://slsa.dev/provenance/v1 that can be run, observed not a CEL expression: (. Correct it; until then no statement satisfies it, and nothing that it is about moves."
    );
}

/// A digest without a tag that the ledger never saw: it is nobody's version, and judged all the same.
#[test]
fn what_runs_by_its_digest_alone_is_judged_and_told_without_a_tag() {
    let runs = |own: Decision, answer: Answer<Attached>| {
        let mut world = world(vec![own], None);
        let image = format!("{}@{}", build::REPOSITORY, build::digest("unseen"));
        world.facts.seen.tracks =
            vec![build::track(build::workload("web", 4, &image), Vec::new(), Vec::new())];
        world.attach("unseen", answer);
        report(&world).join("\n")
    };
    let short = build::digest("unseen").short().to_owned();
    let denied = Decision {
        deny: Listed { digests: [build::digest("unseen")].into(), ..Listed::default() },
        ..decision(vec![keyless("ci")])
    };
    let told = runs(denied, attached(vec![signed(signer(RELEASE))]));
    let sentence = format!(
        "RunningImageNoLongerVerified: an untagged image for ghcr.io/acme/web@{short}: expected a digest that is not denied, observed {short} on the deny list (DigestDenied)."
    );
    assert!(told.contains(&sentence), "{told}");
    let told = runs(decision(vec![keyless("ci")]), attached(Vec::new()));
    assert!(told.contains("observed no signature in referrers, .sig tag (SignatureAbsent)."), "{told}");
    // A claim of a version is compared with a tag, and there is none.
    let claims = signed(with_claim(signer(RELEASE), "sourceRepositoryRef", "refs/tags/v0.9.0"));
    let told = runs(decision(vec![keyless("ci")]), attached(vec![claims]));
    assert!(!told.contains("RunningImageNoLongerVerified"), "{told}");
}
