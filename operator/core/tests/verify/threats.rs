//! The threats of the design, by number, where these layers answer them, and the refused signature as `kubectl describe` shows it.
//! That taking evidence away lets nothing through: `memory.rs`.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rollforward_core::current;
use rollforward_core::decide::decide;
use rollforward_core::evidence::{Answer, Attached, Content, FaultKind, RuleAnswer, Shape};
use rollforward_core::gate::Layer;
use rollforward_core::image::Tag;
use rollforward_core::policy::{Policy, Rebuilds};
use rollforward_core::reason::Reason;
use rollforward_core::report::{self, Outcome};
use rollforward_core::rollout;
use rollforward_core::trust::{AttestationRule, Binding, Decision, Demand, Exception, Listed, Unsigned};

use crate::build;
use crate::papers::{
    DEV, RELEASE, RULE, SLSA, World, attached, attested, decision, faulty, key, keyless, signed,
    signed_by_key, signer, unreadable, with_claim, world,
};

#[track_caller]
fn holds(world: &World, starts: &str, says: &str) {
    let decided = world.decided();
    assert!(
        decided.starts_with(starts) && decided.contains(says),
        "expected {starts} … {says} in: {decided}"
    );
}

/// The running tag pushed again as `rebuilt`; what runs is signed by release.yml.
fn repushed(items: Vec<rollforward_core::evidence::Item>) -> World {
    let mut world = world(vec![decision(vec![keyless("ci"), key("security")])], None);
    let (tag, digest) = (build::tag("1.0.0"), build::digest("rebuilt"));
    let repository = build::repository();
    let seen = world.facts.seen.repositories.get_mut(&repository).unwrap();
    seen.scan = build::scan(&["1.0.0"], world.facts.now);
    seen.ledger.saw(&tag, &digest, build::at("2026-11-02T11:00:00Z"));
    world.evidence.digests.insert((repository.clone(), tag), Answer::Found(digest.clone()));
    let manifest = build::manifest(&digest, &["linux/amd64"]);
    world.evidence.manifests.insert((repository, digest), Answer::Found(manifest));
    world.attach("rebuilt", attached(items));
    world
}

#[test]
fn t1_a_tag_that_moves_is_judged_by_the_digest_that_is_then_written_and_followed_only_where_the_same_authority_signed()
 {
    let same = repushed(vec![signed(signer(RELEASE))]);
    assert_eq!(same.decided(), "move", "rebuilds are followed where the same authority signed both");
    holds(
        &repushed(vec![signed_by_key("security", true)]),
        "TagMoved",
        "that one by ci, this one by security",
    );
    holds(&repushed(Vec::new()), "TagMoved", "that one by ci, this one by nobody");
    // However often it was pushed: it is the tag that runs, whether the ledger still knows what runs or not.
    let mut often = repushed(vec![signed_by_key("security", true)]);
    let seen = often.facts.seen.repositories.get_mut(&build::repository()).unwrap();
    for push in ["second", "third", "fourth", "rebuilt"] {
        seen.ledger.saw(&build::tag("1.0.0"), &build::digest(push), build::at("2026-11-02T11:30:00Z"));
    }
    assert_eq!(seen.ledger.first_seen(&build::tag("1.0.0"), &build::digest("1.0.0")), None);
    holds(&often, "TagMoved", "that one by ci, this one by security");
    let mut silent = repushed(vec![signed(signer(RELEASE))]);
    silent.attach("1.0.0", build::unknown(Reason::RegistryUnavailable, "connection refused"));
    holds(
        &silent,
        "SignatureUnknown: expected the authority that signed what runs (",
        "observed connection refused. Nothing is concluded",
    );
    let mut held = repushed(vec![signed(signer(RELEASE))]);
    held.facts.policy = Policy { rebuilds: Rebuilds::Hold, ..held.facts.policy };
    assert_eq!(held.decided(), "nothing");
    let mut followed = repushed(vec![signed_by_key("security", true)]);
    followed.facts.policy = Policy { rebuilds: Rebuilds::Follow, ..followed.facts.policy };
    assert_eq!(followed.decided(), "move");
    // Its soak began when it was pushed again, however long the tag has been known.
    same.facts.seen.decisions.iter().for_each(|one| assert!(one.soak.routine.is_some()));
    let mut soaking = repushed(vec![signed(signer(RELEASE))]);
    soaking.facts.seen.decisions[0].soak.routine = Some(build::duration("2h"));
    holds(&soaking, "Soaking: expected 2h since first seen, observed first sighting 2026-11-02 11:00Z", "");
}

#[test]
fn t2_an_old_signed_image_under_a_newer_name_is_refused() {
    let mut world = world(vec![decision(vec![keyless("ci")])], None);
    let old = with_claim(signer(RELEASE), "sourceRepositoryRef", "refs/tags/v0.9.0");
    world.attach("1.0.1", attached(vec![signed(old)]));
    holds(
        &world,
        "VersionMismatch: expected 1.0.1 to be signed as 1.0.1, observed certificate refs/tags/v0.9.0",
        "",
    );
    let provenance = attested(signer(RELEASE), SLSA, Some("refs/tags/v0.9.0"), None);
    world.attach("1.0.1", attached(vec![provenance]));
    holds(&world, "VersionMismatch", "observed provenance refs/tags/v0.9.0");
    // The digest itself is known under the older name.
    let seen = world.facts.seen.repositories.get_mut(&build::repository()).unwrap();
    seen.ledger.saw(&build::tag("0.9.0"), &build::digest("1.0.1"), build::at("2026-10-01T00:00:00Z"));
    holds(&world, "RetaggedDigest", "the digest of 0.9.0");
}

#[test]
fn t3_a_signed_image_of_another_repository_or_a_dev_build_is_refused() {
    let mut authority = keyless("ci");
    if let rollforward_core::trust::Means::Keyless { claims, .. } = &mut authority.means {
        claims.insert("sourceRepositoryURI".to_owned(), "https://github.com/acme/web".to_owned());
    }
    let mut world = world(vec![decision(vec![authority])], None);
    let from = |uri: &str| with_claim(signer(RELEASE), "sourceRepositoryURI", uri);
    world.attach("1.0.1", attached(vec![signed(from("https://github.com/acme/api"))]));
    holds(
        &world,
        "RepositoryMismatch",
        "sourceRepositoryURI https://github.com/acme/api, not https://github.com/acme/web",
    );
    world.attach("1.0.1", attached(vec![signed(from("https://github.com/acme/web"))]));
    assert_eq!(world.decided(), "move");
    let dev = with_claim(from("https://github.com/acme/web"), "sourceRepositoryRef", "refs/heads/try-it");
    world.attach("1.0.1", attached(vec![signed(dev)]));
    holds(&world, "BranchBuild", "observed certificate refs/heads/try-it");
}

#[test]
fn t3_a_branch_build_that_labels_itself_as_a_release_and_is_tagged_as_one_is_refused() {
    // The team trusts whatever the workflow builds, from any ref.
    let mut authority = keyless("ci");
    if let rollforward_core::trust::Means::Keyless { subject, .. } = &mut authority.means {
        let any = r"https://github\.com/acme/web/\.github/workflows/release\.yml@refs/.*";
        *subject = rollforward_core::trust::Pattern::matching(any).unwrap();
    }
    let mut world = world(vec![decision(vec![authority])], None);
    let dev = signer("https://github.com/acme/web/.github/workflows/release.yml@refs/heads/dev");
    world.attach("1.0.1", attached(vec![signed(with_claim(dev, "sourceRepositoryRef", "refs/heads/dev"))]));
    let labels = [("version".to_owned(), "1.0.1".to_owned())].into();
    world.shape("1.0.1", Shape { labels, ..crate::papers::shape() });
    holds(
        &world,
        "BranchBuild: expected 1.0.1 to be signed as 1.0.1, observed certificate refs/heads/dev",
        "",
    );
}

#[test]
fn t5_one_good_signature_suffices_among_junk_and_an_exhausted_budget_is_not_unsigned() {
    let mut world = world(vec![decision(vec![keyless("ci")])], None);
    let mut items = vec![faulty(FaultKind::Malformed); 30];
    items.extend(vec![unreadable(); 32]);
    items.push(signed(signer(DEV)));
    let Answer::Found(junk) = attached(items.clone()) else { panic!() };
    let spent =
        Attached { n_left_out: 9_936, exhausted: Some(rollforward_core::evidence::Budget::Count), ..junk };
    world.attach("1.0.1", Answer::Found(spent));
    holds(&world, "EvidenceBudgetExhausted", "9936 more were not read");
    items.push(signed(signer(RELEASE)));
    world.attach("1.0.1", attached(items));
    assert_eq!(world.decided(), "move");
}

#[test]
fn t8_hostile_text_in_claims_and_predicates_reaches_no_sentence() {
    let hostile = format!("https://evil/\u{1b}[31m\u{202e}{}", "x".repeat(5_000));
    let mut world = world(vec![decision(vec![keyless("ci")])], None);
    world.attach("1.0.1", attached(vec![signed(signer(&hostile))]));
    let decided = world.decided();
    assert!(decided.starts_with("SignatureIdentityMismatch") && decided.len() < 1_000, "{}", decided.len());
    assert!(!decided.chars().any(|letter| letter.is_control() || letter == '\u{202e}'), "{decided}");
    let rule = AttestationRule {
        predicate_type: SLSA.to_owned(),
        authorities: Vec::new(),
        rule: Some(RULE.to_owned()),
        required: true,
    };
    world.facts.seen.decisions[0].attestations = vec![rule];
    let fails = RuleAnswer::Fails { observed: hostile };
    world.attach("1.0.1", attached(vec![attested(signer(RELEASE), SLSA, None, Some(fails))]));
    let decided = world.decided();
    assert!(decided.starts_with("ProvenanceRuleFailed") && decided.len() < 1_000, "{decided}");
    assert!(!decided.chars().any(char::is_control), "{decided}");
}

#[test]
fn t13_an_exception_is_dated_shown_and_lifts_no_deny_list() {
    let mut world = world(vec![decision(vec![keyless("ci")])], None);
    world.attach("1.0.1", Answer::Absent);
    let fix = Exception {
        name: "fix".to_owned(),
        digest: build::digest("1.0.1"),
        layers: [Layer::Signature, Layer::Soak].into(),
        ends: build::at("2026-11-03T12:00:00Z"),
        why: "an emergency".to_owned(),
    };
    world.facts.seen.exceptions = vec![fix];
    let told = report(&world);
    let lifted = "Signature SignatureAbsent is lifted by VerificationException fix until 2026-11-03 12:00Z.";
    assert!(told.iter().any(|line| line.contains(lifted)), "{told:#?}");
    let digests = [build::digest("1.0.1")].into();
    world.facts.seen.decisions[0].deny = Listed { repositories: Vec::new(), digests };
    holds(&world, "DigestDenied", "no exception lifts a deny list");
    world.facts.now = build::at("2026-11-03T12:00:00Z");
    world.facts.seen.decisions[0].deny = Listed::default();
    holds(&world, "SignatureAbsent", "");
}

#[test]
fn t16_no_evidence_unread_evidence_and_rules_that_cannot_run_are_never_a_pass() {
    let rule = |required| AttestationRule {
        predicate_type: SLSA.to_owned(),
        authorities: Vec::new(),
        rule: Some(RULE.to_owned()),
        required,
    };
    let own = Decision { attestations: vec![rule(true)], ..decision(vec![keyless("ci")]) };
    let mut world = world(vec![own], None);
    let good = || signed(signer(RELEASE));
    let error = RuleAnswer::Error { why: "no such key: builder".to_owned() };
    for items in [
        Vec::new(),
        vec![unreadable()],
        vec![good()],
        vec![good(), attested(signer(RELEASE), SLSA, None, None)],
        vec![good(), attested(signer(RELEASE), SLSA, None, Some(error))],
        vec![good(), attested(signer(DEV), SLSA, None, Some(RuleAnswer::Holds))],
        vec![good(), attested(signer(RELEASE), "https://slsa.dev/provenance", None, Some(RuleAnswer::Holds))],
    ] {
        world.attach("1.0.1", attached(items.clone()));
        assert_ne!(world.decided(), "move", "{items:?}");
    }
    world.evidence.attached.clear();
    assert_ne!(world.decided(), "move", "what was not asked yet");
}

pub fn item(kind: u8) -> rollforward_core::evidence::Item {
    let bound = |at: &str| with_claim(signer(RELEASE), "sourceRepositoryRef", at);
    let answered = |answer| attested(bound("refs/tags/v1.0.1"), SLSA, Some("refs/tags/v1.0.1"), Some(answer));
    match kind {
        0 => signed(bound("refs/tags/v1.0.1")),
        1 => signed(bound("refs/tags/v0.9.0")),
        2 => signed(signer(RELEASE)),
        3 => signed(signer(DEV)),
        4 => signed_by_key("security", true),
        5 => signed_by_key("security", false),
        6 => faulty(FaultKind::Signature),
        7 => unreadable(),
        8 => answered(RuleAnswer::Holds),
        9 => answered(RuleAnswer::Fails { observed: "x".to_owned() }),
        11 => signed(with_claim(signer(RELEASE), "sourceRepositoryURI", "https://github.com/acme/api")),
        12 => signed(with_claim(signer(RELEASE), "sourceRepositoryURI", "https://github.com/acme/web")),
        10 => answered(RuleAnswer::Error { why: "x".to_owned() }),
        _ => attested(signer(RELEASE), "https://spdx.dev/Document", None, None),
    }
}

prop_compose! {
    pub fn decisions()(
        require in 1_usize..3, binding in 0..3, wants in any::<[bool; 6]>(),
    ) -> Decision {
        let [both, provenance, sbom, gates, log, source] = wants;
        let mut authorities = vec![keyless("ci")];
        if both || require == 2 {
            authorities.push(rollforward_core::trust::Authority { require_log: log, ..key("security") });
        }
        let rule = AttestationRule { predicate_type: SLSA.to_owned(), authorities: Vec::new(), rule: Some(RULE.to_owned()), required: true };
        let binding = match binding { 0 => Binding::Off, 1 => Binding::Auto, _ => Binding::Required };
        let mut own = Decision { require, binding, score_gates: gates, ..decision(authorities) };
        own.attestations.extend(provenance.then_some(rule));
        let web = || rollforward_core::trust::Pattern::Exact("https://github.com/acme/web".to_owned());
        own.source = source.then(web);
        if sbom {
            own.layers.insert(Layer::Sbom, Demand::Required);
        }
        own
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// The trust ledger on its own lets nothing through: where it gates, what passes passes without it too, and no sooner.
    #[test]
    fn the_trust_ledger_can_only_add_delay(
        own in decisions(), kinds in prop::collection::vec(0_u8..14, 0..6), n_elsewhere in 0_usize..9, ran_by in 0_u8..3,
    ) {
        let items: Vec<_> = kinds.iter().map(|kind| item(*kind)).collect();
        let judged = |score_gates: bool| {
            let mut world = world(vec![Decision { score_gates, ..own.clone() }], None);
            world.facts.seen.crowd = [(build::digest("1.0.1"), n_elsewhere)].into();
            match ran_by {
                0 => {}
                1 => drop(world.attach("1.0.0", attached(vec![signed_by_key("security", true)]))),
                _ => drop(world.attach("1.0.0", Answer::Absent)),
            }
            world.attach("1.0.1", attached(items.clone()));
            world.candidate().passes_at()
        };
        if let Some(gated) = judged(true) {
            prop_assert!(judged(false).is_some_and(|plain| plain <= gated));
        }
    }
}

/// What is said of a world: conditions, then the explanation.
pub fn report(world: &World) -> Vec<String> {
    let (assessment, _) =
        rollforward_core::gate::assess(&world.facts, current::choose(&world.facts), &world.evidence);
    let decision = decide(&world.facts, assessment);
    let plan = rollout::plan(&world.facts, decision);
    let report = report::report(&world.facts, &plan, &Outcome::default());
    let conditions =
        report.conditions.iter().map(|one| format!("{:?} {}: {}", one.kind, one.is_true, one.message));
    conditions.chain(report.why.clone()).collect()
}

#[test]
fn a_refused_signature_is_told_as_the_design_shows_it() {
    let mut world = world(vec![decision(vec![keyless("ci")])], None);
    world.attach("1.0.1", attached(vec![signed(signer(DEV)), unreadable()]));
    let told = report(&world).join("\n");
    let digest = build::digest("1.0.1");
    let expected =
        include_str!("refused.txt").replace("DIGEST", digest.as_str()).replace("SHORT", digest.short());
    assert_eq!(format!("{told}\n"), expected, "{told}");
}

#[test]
fn what_runs_is_verified_again_and_told_when_it_is_not_any_more_and_nothing_is_rolled_back() {
    let mut world = world(vec![decision(vec![keyless("ci")])], None);
    world.attach("1.0.1", Answer::Absent);
    let said = |world: &World| report(world).join("\n");
    assert!(said(&world).contains("1.0.0 runs: 4 of 4 pods available; still verified."), "{}", said(&world));
    // The team names another signer.
    world.facts.seen.decisions = vec![decision(vec![key("security")])];
    let sentence = "expected authority security (key), observed no signature in referrers, .sig tag (SignatureAbsent). Affected: Deployment/web, 4 of 4 pods. Nothing is rolled back by this.";
    assert!(
        said(&world).contains("RunningImageNoLongerVerified: 1.0.0 for ghcr.io/acme/web:1.0.0@"),
        "{}",
        said(&world)
    );
    assert!(said(&world).contains(sentence), "{}", said(&world));
    assert!(said(&world).contains("1.0.0 runs: 4 of 4 pods available; not verified any more."));
    // With nothing to move to it heads `Blocked`: it is what an alert is for.
    let only = build::scan(&["1.0.0"], world.facts.now);
    world.facts.seen.repositories.get_mut(&build::repository()).unwrap().scan = only;
    assert_eq!(world.decided(), "nothing");
    assert!(
        said(&world).contains("Blocked true: RunningImageNoLongerVerified: 1.0.0 for"),
        "{}",
        said(&world)
    );
    // An expired root proves nothing any more, of what runs neither.
    world.facts.seen.decisions = vec![decision(vec![keyless("ci")])];
    world.facts.seen.roots.get_mut("public").unwrap().expires = Some(world.facts.now);
    assert!(
        said(&world).contains("Blocked true: TrustRootExpired: 1.0.0 for ghcr.io/acme/web:1.0.0@")
            && said(&world).contains(
                " runs and cannot be verified: expected TrustRoot public, by which ci of VerificationPolicy acme is known, to be valid, observed that it expired 2026-11-02 12:00Z. Affected: Deployment/web, 4 of 4 pods."
            ),
        "{}",
        said(&world)
    );
    // A silent registry has not said that the signature is gone.
    world.facts.seen.roots.get_mut("public").unwrap().expires = None;
    world.attach("1.0.0", build::unknown(Reason::RegistryUnavailable, "connection refused"));
    assert!(!said(&world).contains("RunningImageNoLongerVerified"), "{}", said(&world));
    let unsigned = Decision { unsigned: Some(Unsigned::Allow), ..decision(vec![keyless("ci")]) };
    world.facts.seen.decisions = vec![unsigned];
    world.attach("1.0.0", Answer::Absent);
    assert!(!said(&world).contains("RunningImageNoLongerVerified"), "{}", said(&world));
    assert!(Tag::parse("1.0.0").is_ok() && matches!(unreadable().content, Content::Unreadable { .. }));
}

#[test]
fn a_digest_that_is_denied_in_mid_rollout_ends_the_run() {
    let mut world = world(vec![decision(vec![keyless("ci")])], None);
    world.attach("1.0.1", attached(vec![signed(signer(RELEASE))]));
    let plan = |world: &World| rollout::plan(&world.facts, decide(&world.facts, world.assessment()));
    let run = plan(&world).opening.unwrap();
    let workload = Some(world.facts.seen.tracks[0].workload.clone());
    let open = rollforward_core::rollout::OpenRun {
        run,
        workload,
        revisions: Vec::new(),
        pods: Vec::new(),
        readings: Vec::new(),
        unreadable: None,
    };
    world.facts.seen.open_runs = vec![open];
    assert!(plan(&world).runs[0].after.intent.is_none());
    let digests = [build::digest("1.0.1")].into();
    world.facts.seen.decisions[0].deny = Listed { repositories: Vec::new(), digests };
    let intent = plan(&world).runs[0].after.intent.clone();
    let result = plan(&world).runs[0].after.result.clone();
    let told = format!("{intent:?} {result:?}");
    assert!(told.contains("DigestDenied") && told.contains("on the deny list"), "{told}");
}

#[test]
fn a_missing_signature_is_looked_for_again_soon_while_the_image_is_new_and_every_ten_minutes_later() {
    let mut world = world(vec![decision(vec![keyless("ci")])], None);
    world.attach("1.0.1", attached(Vec::new()));
    world.facts.policy.interval = build::duration("1h");
    let look_again = |world: &World| {
        let plan = rollout::plan(&world.facts, decide(&world.facts, world.assessment()));
        report::report(&world.facts, &plan, &Outcome::default()).look_again
    };
    // First seen at ten; each wait is as long as it has been known for.
    for (now, after) in [
        ("10:00:00", "30s"),
        ("10:00:30", "30s"),
        ("10:01:00", "1m"),
        ("10:04:00", "4m"),
        ("12:00:00", "10m"),
    ] {
        world.facts.now = build::at(&format!("2026-11-02T{now}Z"));
        assert_eq!(look_again(&world), build::duration(after), "{now}");
    }
    holds(
        &world,
        "SignatureAbsent",
        "Sign the digest by ci, as VerificationPolicy acme asks. A signature is looked for again within 10 min, sooner while the image is new.",
    );
    // Somebody else's, or one that does not hold, is no other case; a silent registry is asked at each look.
    world.attach("1.0.1", attached(vec![signed(signer(DEV))]));
    assert_eq!(look_again(&world), build::duration("10m"));
    world.attach("1.0.1", build::unknown(Reason::RegistryUnavailable, "connection refused"));
    assert_eq!(look_again(&world), build::duration("1h"));
}

#[test]
fn whatever_could_still_be_attached_is_looked_for_again_where_something_else_verifies_already() {
    let statement = AttestationRule {
        predicate_type: SLSA.to_owned(),
        authorities: Vec::new(),
        rule: None,
        required: true,
    };
    let claim = |at: &str| with_claim(signer(RELEASE), "sourceRepositoryRef", at);
    let sbom = || attested(signer(RELEASE), "https://spdx.dev/Document", None, None);
    let own = || decision(vec![keyless("ci")]);
    let k_of_n = Decision { require: 2, ..decision(vec![keyless("ci"), key("security")]) };
    let mut logged = key("security");
    logged.require_log = true;
    let rows = [
        ("SignatureAbsent", own(), vec![sbom()]),
        ("SignatureIdentityMismatch", own(), vec![signed(signer(DEV))]),
        ("SignaturesTooFew", k_of_n, vec![signed(signer(RELEASE))]),
        (
            "AttestationAbsent",
            Decision { attestations: vec![statement], ..own() },
            vec![signed(signer(RELEASE))],
        ),
        (
            "SbomAbsent",
            Decision { layers: [(Layer::Sbom, Demand::Required)].into(), ..own() },
            vec![signed(signer(RELEASE))],
        ),
        ("VersionUnbound", Decision { binding: Binding::Required, ..own() }, vec![signed(signer(RELEASE))]),
        ("VersionMismatch", own(), vec![signed(claim("refs/tags/v0.9.0"))]),
        ("LogProofAbsent", decision(vec![logged]), vec![signed_by_key("security", false)]),
    ];
    for (code, own, items) in rows {
        let mut world = world(vec![own.clone()], None);
        world.facts.policy.interval = build::duration("1h");
        world.attach("1.0.1", attached(items));
        holds(&world, code, "");
        let lacking = world.assessment().lacking(&world.facts);
        assert!(lacking.contains(&(build::repository(), build::digest("1.0.1"))), "{code}: {lacking:?}");
        let plan = rollout::plan(&world.facts, decide(&world.facts, world.assessment()));
        let again = report::report(&world.facts, &plan, &Outcome::default()).look_again;
        assert_eq!(again, build::duration("10m"), "{code}");
    }
    // What suffices is not looked for, and what nobody waits for neither.
    let mut world = world(vec![own()], None);
    world.attach("1.0.1", attached(vec![signed(signer(RELEASE))]));
    assert_eq!((world.layer(Layer::Sbom).unwrap().1, world.decided().as_str()), ("SbomAbsent", "move"));
    assert_eq!(world.assessment().lacking(&world.facts), BTreeSet::new());
    // What runs is looked for as well: whoever signs it again need not wait for its next verification.
    world.facts.policy.interval = build::duration("1h");
    world.attach("1.0.0", attached(vec![signed(signer(DEV))]));
    assert_eq!(
        world.assessment().lacking(&world.facts),
        [(build::repository(), build::digest("1.0.0"))].into()
    );
    // A rebuild that another authority signed, until that of what runs has.
    let rebuilt = repushed(vec![signed_by_key("security", true)]);
    assert!(
        rebuilt
            .assessment()
            .lacking(&rebuilt.facts)
            .contains(&(build::repository(), build::digest("rebuilt")))
    );
}

#[test]
fn what_only_the_policy_itself_asks_is_changed_there_and_no_exception_is_spoken_of() {
    let told = |decisions: Vec<Decision>, own: Option<Decision>| {
        let mut world = world(decisions, own);
        world.attach("1.0.1", attached(Vec::new()));
        report(&world).join("\n")
    };
    let own = || Decision {
        origin: rollforward_core::trust::Origin::UpdatePolicy,
        ..decision(vec![keyless("ci")])
    };
    let alone = told(Vec::new(), Some(own()));
    assert!(alone.contains("Only this policy's own `verification` asks for it."), "{alone}");
    assert!(!alone.contains("VerificationException"), "{alone}");
    let team = told(vec![decision(vec![keyless("ci")])], Some(own()));
    assert!(team.contains("the security team may create a VerificationException"), "{team}");
}
