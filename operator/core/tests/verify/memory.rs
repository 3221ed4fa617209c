//! What the ledger remembers of evidence, over several looks: a contradiction that was taken away goes on counting, and who
//! signed what runs is known. Each look begins with what the one before it stored, merged as two passes are.

use proptest::prelude::*;
use rollforward_core::evidence::{Answer, Item, Shape};
use rollforward_core::gate::{Layer, Word};
use rollforward_core::ledger::rebase::rebase;
use rollforward_core::ledger::{Claim, ClaimedBy, Ledger};
use rollforward_core::levers::{Asked, Lever, Request};
use rollforward_core::reason::Reason;
use rollforward_core::trust::{Binding, Decision, Exception, Unsigned};

use crate::build;
use crate::papers::{
    RELEASE, SLSA, World, attached, attested, badly_logged, decision, key, keyless, shape, signed,
    signed_by_key, signed_for, signer, with_claim, world,
};
use crate::threats::{decisions, item};

impl World {
    fn ledger(&mut self) -> &mut Ledger {
        &mut self.facts.seen.repositories.get_mut(&build::repository()).unwrap().ledger
    }

    /// Looks, and stores what was learned: the next look begins with it.
    fn look(&mut self) -> String {
        let said = self.decided();
        let learned = self.assessment().ledgers[&build::repository()].clone();
        let stored = self.ledger().clone();
        *self.ledger() = rebase(&stored, &learned, &stored);
        said
    }

    fn look_at(&mut self, items: &[Item]) -> String {
        self.attach("1.0.1", attached(items.to_vec()));
        self.look()
    }
}

fn claiming(at: &str) -> Item {
    signed(with_claim(signer(RELEASE), "sourceRepositoryRef", at))
}

fn silent() -> Item {
    signed(signer(RELEASE))
}

#[track_caller]
fn says(said: &str, starts: &str, part: &str) {
    assert!(said.starts_with(starts) && said.contains(part), "expected {starts} … {part} in: {said}");
}

fn contradicted(claim: Item) -> World {
    let mut world = world(vec![decision(vec![keyless("ci")])], None);
    assert_ne!(world.look_at(&[silent(), claim]), "move");
    world
}

#[test]
fn a_contradiction_that_is_taken_away_goes_on_counting_and_the_sentence_says_when_it_was_seen() {
    let digest = build::digest("1.0.1");
    let release = format!(
        "counts until somebody says `kubectl rollforward release web {digest}`. Publish a new build, or sign it "
    );
    let rows = [
        (
            claiming("refs/tags/v0.9.0"),
            "VersionMismatch: expected 1.0.1 to be signed as 1.0.1, observed certificate refs/tags/v0.9.0, seen 2026-11-02 12:00Z and attached no longer. No pod was started. What is taken away still counts until",
        ),
        (
            claiming("refs/heads/try-it"),
            "BranchBuild: expected 1.0.1 to be signed as 1.0.1, observed certificate refs/heads/try-it, seen 2026-11-02 12:00Z and attached no longer.",
        ),
        (
            attested(signer(RELEASE), SLSA, Some("refs/tags/v0.9.0"), None),
            "VersionMismatch: expected 1.0.1 to be signed as 1.0.1, observed provenance refs/tags/v0.9.0, seen 2026-11-02 12:00Z and",
        ),
        (
            signed_for(signer(RELEASE), "ghcr.io/acme/api"),
            "RepositoryMismatch: expected a signature for ghcr.io/acme/web, observed one for ghcr.io/acme/api, seen 2026-11-02 12:00Z and attached no longer. No pod was started. What is taken away still counts until",
        ),
    ];
    for (claim, sentence) in rows {
        let mut world = contradicted(claim);
        world.facts.now = build::at("2026-12-24T12:00:00Z");
        for _ in 0..3 {
            says(&world.look_at(&[silent()]), sentence, &release);
        }
        // Without the memory nobody would know.
        world.ledger().contradictions.clear();
        assert_eq!(world.look_at(&[silent()]), "move");
    }
}

#[test]
fn a_label_that_named_a_listed_version_counts_when_that_version_is_listed_no_longer() {
    let mut world = world(vec![decision(vec![keyless("ci")])], None);
    let labels = [("version".to_owned(), "0.9.0".to_owned())].into();
    world.shape("1.0.1", Shape { labels, ..shape() });
    let list = |world: &mut World, tags: &[&str]| {
        let scan = build::scan(tags, world.facts.now);
        world.facts.seen.repositories.get_mut(&build::repository()).unwrap().scan = scan;
    };
    list(&mut world, &["0.9.0", "1.0.0", "1.0.1"]);
    says(&world.look_at(&[silent()]), "VersionMismatch", "observed label 0.9.0. No pod");
    list(&mut world, &["1.0.0", "1.0.1"]);
    let sentence = "observed label 0.9.0, seen 2026-11-02 12:00Z, when the repository listed that version. ";
    says(&world.look_at(&[silent()]), "VersionMismatch", sentence);
}

#[test]
fn a_label_does_not_answer_for_a_signature_that_contradicted_it_and_was_taken_away() {
    let mut world = world(vec![decision(vec![keyless("ci")])], None);
    let labels = [("version".to_owned(), "1.0.1".to_owned())].into();
    world.shape("1.0.1", Shape { labels, ..shape() });
    assert_ne!(world.look_at(&[silent(), claiming("refs/heads/try-it")]), "move");
    says(
        &world.look_at(&[silent()]),
        "BranchBuild",
        "certificate refs/heads/try-it, seen 2026-11-02 12:00Z and",
    );
    assert_eq!(world.look_at(&[claiming("refs/tags/v1.0.1")]), "move");
}

#[test]
fn a_remembered_contradiction_is_answered_by_a_signature_that_names_this_version_or_this_repository() {
    let mut version = contradicted(claiming("refs/tags/v0.9.0"));
    assert_eq!(version.look_at(&[claiming("refs/tags/v1.0.1")]), "move");
    assert_ne!(version.look_at(&[silent()]), "move", "the answer was taken away again");
    let mut copied = contradicted(signed_for(signer(RELEASE), "ghcr.io/acme/api"));
    says(&copied.look_at(&[claiming("refs/tags/v1.0.1")]), "RepositoryMismatch", "attached no longer");
    assert_eq!(copied.look_at(&[signed_for(signer(RELEASE), "ghcr.io/acme/web")]), "move");
}

#[test]
fn a_remembered_name_of_this_repository_with_its_tag_is_no_copy_of_another() {
    let mut world = world(vec![decision(vec![keyless("ci")])], None);
    let (digest, tag, now) = (build::digest("1.0.1"), build::tag("1.0.1"), world.facts.now);
    let mut remember = |named: &str| {
        let claim = Claim::new(&digest, &tag, ClaimedBy::Reference, named);
        world.ledger().contradicted(claim, Reason::RepositoryMismatch, now);
        world.look_at(&[silent()])
    };
    assert_eq!(remember("ghcr.io/acme/web:1.0.1"), "move");
    says(&remember("ghcr.io/acme/api:1.0.1"), "RepositoryMismatch", "one for ghcr.io/acme/api:1.0.1, seen");
}

#[test]
fn the_version_is_compared_with_each_tag_and_the_repository_with_none() {
    let offered_as = |claim: Item, tag: &str| {
        let mut world = contradicted(claim);
        let digest = build::digest("1.0.1");
        // The same digest under another name, as if it had never been seen under this one.
        world.ledger().tags.remove(&build::tag("1.0.1"));
        let scan = build::scan(&["1.0.0", tag], world.facts.now);
        world.facts.seen.repositories.get_mut(&build::repository()).unwrap().scan = scan;
        world.evidence.digests.insert((build::repository(), build::tag(tag)), Answer::Found(digest));
        world.look_at(&[silent()])
    };
    assert_eq!(offered_as(claiming("refs/tags/v1.0.2"), "1.0.2"), "move", "the tag that the claim names");
    says(
        &offered_as(claiming("refs/tags/v1.0.2"), "1.0.3"),
        "VersionMismatch: expected 1.0.3 to be signed as 1.0.3, observed certificate refs/tags/v1.0.2, seen",
        "",
    );
    let copy = signed_for(signer(RELEASE), "ghcr.io/acme/api");
    says(&offered_as(copy, "1.0.2"), "RepositoryMismatch", "observed one for ghcr.io/acme/api, seen");
}

#[test]
fn a_remembered_contradiction_is_asked_lifted_and_released_as_one_that_is_attached() {
    let mut world = contradicted(claiming("refs/tags/v0.9.0"));
    // A place that is silent has not said that it is gone.
    let silence = build::unknown(Reason::RegistryUnavailable, "connection refused");
    world.attach("1.0.1", silence);
    says(&world.look(), "SignatureUnknown", "connection refused");
    let candidate = world.candidate();
    let (_, binding) = candidate.verdicts.iter().find(|(layer, _)| *layer == Layer::Binding).unwrap();
    assert_eq!(
        binding.observed,
        "certificate refs/tags/v0.9.0, seen 2026-11-02 12:00Z; what is attached now could not be read"
    );
    // `versionBinding: Off` asks nothing, of what is remembered neither.
    let own = world.facts.seen.decisions[0].clone();
    world.facts.seen.decisions[0] = Decision { binding: Binding::Off, ..own.clone() };
    assert_eq!(world.look_at(&[silent()]), "move");
    assert_eq!(world.layer(Layer::Binding), None);
    // Unsigned images may run: a digest that was signed as another version may not.
    let allow = Decision { unsigned: Some(Unsigned::Allow), ..own.clone() };
    world.facts.seen.decisions[0] = allow;
    says(&world.look_at(&[]), "VersionMismatch", "attached no longer");
    world.facts.seen.decisions[0] = own;
    world.facts.seen.exceptions = vec![Exception {
        name: "fix".to_owned(),
        digest: build::digest("1.0.1"),
        layers: [Layer::Binding].into(),
        ends: build::at("2026-11-02T13:00:00Z"),
        why: "an emergency".to_owned(),
    }];
    assert_eq!(world.look_at(&[silent()]), "move");
    world.facts.seen.exceptions.clear();
    // A person who releases everything that failed has not spoken of it; one who names the digest has.
    let mut release = |digest| {
        let asked =
            Asked { what: Request::Release, digest, lever: Lever { by: "anna".to_owned(), at: None } };
        let now = world.facts.now;
        asked.carry_out(world.ledger(), now);
        world.look_at(&[silent()])
    };
    says(&release(None), "VersionMismatch", "attached no longer");
    assert_eq!(release(Some(build::digest("1.0.1"))), "move");
}

#[test]
fn what_only_a_stricter_binding_refused_is_not_held_against_a_digest_once_that_is_given_up() {
    let own = decision(vec![keyless("ci")]);
    let mut world = world(vec![Decision { binding: Binding::Required, ..own.clone() }], None);
    says(
        &world.look_at(&[claiming("refs/heads/main")]),
        "BranchBuild",
        "certificate refs/heads/main. No pod",
    );
    says(&world.look_at(&[silent()]), "BranchBuild", "seen 2026-11-02 12:00Z and attached no longer");
    world.facts.seen.decisions = vec![own];
    assert_eq!(world.look_at(&[silent()]), "move", "`Auto` takes main for a release, attached or not");
}

#[test]
fn what_runs_and_was_contradicted_is_told_as_not_verified_when_the_claim_is_gone() {
    let mut world = world(vec![decision(vec![keyless("ci")])], None);
    world.attach("1.0.1", Answer::Absent);
    world.attach("1.0.0", attached(vec![silent(), claiming("refs/tags/v0.9.0")]));
    let unverified = |world: &World| {
        let running = world.assessment().running[0].clone().unwrap();
        running.blocking().map(|(_, verdict)| verdict.observed.clone())
    };
    assert_eq!(unverified(&world).as_deref(), Some("certificate refs/tags/v0.9.0"));
    world.look();
    world.attach("1.0.0", attached(vec![silent()]));
    assert_eq!(
        unverified(&world).as_deref(),
        Some("certificate refs/tags/v0.9.0, seen 2026-11-02 12:00Z and attached no longer")
    );
}

/// What can be attached, with what names another version, another repository or a branch.
fn any_item(kind: u8) -> Item {
    match kind {
        14 => claiming("refs/heads/try-it"),
        15 => signed_for(signer(RELEASE), "ghcr.io/acme/api"),
        16 => signed_for(signer(RELEASE), "ghcr.io/acme/web"),
        17 => attested(signer(RELEASE), SLSA, Some("refs/tags/v0.9.0"), None),
        18 => badly_logged("security"),
        19 => {
            signed_for(with_claim(signer(RELEASE), "sourceRepositoryRef", "refs/tags/v1.0.1"), "quay.io/x/y")
        }
        other => item(other),
    }
}

/// What happens to the evidence before a look.
#[derive(Debug, Clone)]
enum Loss {
    /// One thing is deleted.
    One(prop::sample::Index),
    /// All of it.
    All,
    /// The version that a label names is listed no longer.
    Unlisted,
    /// The registry is silent at this look.
    Silence,
    /// Nothing.
    Nothing,
}

fn loss() -> impl Strategy<Value = Loss> {
    prop_oneof![
        5 => any::<prop::sample::Index>().prop_map(Loss::One),
        1 => Just(Loss::All),
        1 => Just(Loss::Unlisted),
        1 => Just(Loss::Silence),
        1 => Just(Loss::Nothing),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// For any looks at which the evidence only shrinks: what was once blocked by evidence is never let through. Where unsigned
    /// images are allowed by name, that is said of what contradicts the name; the rest they are allowed to lack.
    #[test]
    fn evidence_that_only_shrinks_never_lets_through_what_it_once_blocked(
        own in decisions(), kinds in prop::collection::vec(0_u8..20, 0..6), label in prop::option::of(prop::sample::select(vec!["0.9.0", "1.0.1"])), allow in any::<bool>(),
        known in any::<bool>(), losses in prop::collection::vec(loss(), 1..7),
    ) {
        let unsigned = allow.then_some(Unsigned::Allow);
        let mut world = world(vec![Decision { unsigned, ..own }], None);
        world.facts.now = build::at("2027-01-02T12:00:00Z");
        if !known {
            world.attach("1.0.0", attached(vec![signed_by_key("security", true)]));
        }
        let labels = label.map(|label| ("version".to_owned(), label.to_owned())).into_iter().collect();
        world.shape("1.0.1", Shape { labels, ..shape() });
        let mut items: Vec<Item> = kinds.iter().map(|kind| any_item(*kind)).collect();
        let mut listed = vec!["0.9.0", "1.0.0", "1.0.1"];
        let mut blocked: Option<String> = None;
        for loss in std::iter::once(Loss::Nothing).chain(losses) {
            match &loss {
                Loss::One(index) if !items.is_empty() => drop(items.remove(index.index(items.len()))),
                Loss::All => items.clear(),
                Loss::Unlisted => listed = vec!["1.0.0", "1.0.1"],
                Loss::One(_) | Loss::Silence | Loss::Nothing => {}
            }
            let scan = build::scan(&listed, world.facts.now);
            world.facts.seen.repositories.get_mut(&build::repository()).unwrap().scan = scan;
            let silent = matches!(loss, Loss::Silence);
            world.attach("1.0.1", if silent {
                build::unknown(Reason::RegistryUnavailable, "connection refused")
            } else {
                attached(items.clone())
            });
            let contradicted = world.candidate().verdicts.iter()
                .any(|(layer, verdict)| *layer == Layer::Binding && verdict.word == Word::Fail && !verdict.lets_through());
            let said = world.look();
            prop_assert!(blocked.is_none() || said != "move", "was blocked by {blocked:?}");
            if said != "move" && !silent && (!allow || contradicted) {
                blocked.get_or_insert(said);
            }
        }
    }
}

#[test]
fn a_candidate_signed_by_nobody_who_signed_before_is_told_and_weighed() {
    let own = Decision { score_gates: true, ..decision(vec![keyless("ci"), key("security")]) };
    let mut world = world(vec![own], None);
    let line = |world: &World| world.candidate().score.unwrap().line();
    // What runs is signed by release.yml: known from the first look on.
    world.look_at(&[signed_by_key("security", true)]);
    let known: Vec<&String> = world.ledger().signers.keys().collect();
    assert_eq!(
        known,
        [
            "https://token.actions.githubusercontent.com https://github.com/acme/web/.github/workflows/release.yml"
        ]
    );
    assert!(line(&world).ends_with("negative -3.0 (identity newly seen)"), "{}", line(&world));
    let new = world.candidate().passes_at();
    world.attach("1.0.1", attached(vec![signed_by_key("security", true), silent()]));
    assert!(!line(&world).contains("negative"), "one of them is known: {}", line(&world));
    world.attach("1.0.1", attached(vec![signed(signer(&RELEASE.replace("v1.0.1", "v9.9.9")))]));
    assert!(!line(&world).contains("negative"), "the ref is no part of it: {}", line(&world));
    world.attach("1.0.1", Answer::Absent);
    assert!(!line(&world).contains("negative"), "the unsigned are nobody: {}", line(&world));
    // Nothing that runs is signed: nobody is known, and nobody new.
    world.attach("1.0.0", Answer::Absent);
    world.ledger().signers.clear();
    world.look_at(&[signed_by_key("security", true)]);
    assert!(!line(&world).contains("negative") && world.ledger().signers.is_empty(), "{}", line(&world));
    assert!(world.candidate().passes_at() < new, "it only adds delay");
}

#[test]
fn who_signed_what_is_only_tried_is_not_known_by_that() {
    let own = decision(vec![keyless("ci"), key("security")]);
    let mut world = world(vec![own], None);
    world.look_at(&[signed_by_key("security", true)]);
    let before = world.ledger().signers.clone();
    let plan = |world: &World| {
        let decision = rollforward_core::decide::decide(&world.facts, world.assessment());
        rollforward_core::rollout::plan(&world.facts, decision)
    };
    let run = plan(&world).opening.unwrap();
    // The canary: the template names 1.0.1, and the run is open.
    let image = format!("{}:1.0.1@{}", build::REPOSITORY, build::digest("1.0.1"));
    let track = build::track(build::workload("web", 4, &image), Vec::new(), Vec::new());
    let workload = Some(track.workload.clone());
    let open = rollforward_core::rollout::OpenRun {
        run,
        workload,
        revisions: Vec::new(),
        pods: Vec::new(),
        readings: Vec::new(),
        unreadable: None,
    };
    world.facts.seen.tracks = vec![track];
    world.facts.seen.open_runs = vec![open];
    world.look();
    assert_eq!(world.ledger().signers, before);
    world.facts.seen.open_runs.clear();
    world.look();
    assert_eq!(world.ledger().signers.len(), before.len() + 1, "it runs, and no run is open any more");
}

#[test]
fn what_runs_well_elsewhere_counts_a_little_by_number_and_shortens_no_layer() {
    let own = Decision { score_gates: true, ..decision(vec![keyless("ci")]) };
    let mut world = world(vec![own], None);
    world.attach("1.0.1", attached(vec![silent()]));
    let line = |world: &World| world.candidate().score.unwrap().line();
    assert!(!line(&world).contains("crowd"), "nothing is told of nothing: {}", line(&world));
    let alone = world.candidate().score.unwrap().total;
    for (n, told, weight) in [
        (1, "crowd 0.5 (healthy in 1 other namespace)", 5),
        (3, "crowd 1.5 (healthy in 3 other namespaces)", 15),
        (400, "crowd 2.0 (healthy in 400 other namespaces)", 20),
    ] {
        world.facts.seen.crowd = [(build::digest("1.0.1"), n)].into();
        assert!(line(&world).contains(told), "{}", line(&world));
        assert_eq!(world.candidate().score.unwrap().total, alone - weight);
    }
    world.facts.seen.crowd = [(build::digest("1.0.0"), 9)].into();
    assert!(!line(&world).contains("crowd"), "another digest's: {}", line(&world));
    world.facts.seen.crowd = [(build::digest("1.0.1"), 400)].into();
    world.attach("1.0.1", Answer::Absent);
    says(&world.decided(), "SignatureAbsent", "");
}
