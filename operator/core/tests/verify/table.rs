//! The table of refusals in `docs/verification.md`: each sentence is what the layers say in a world that has just this fault.
//! `UPDATE=1 cargo test -p rollforward-core --test verify` writes it anew: read the difference.

use std::collections::BTreeSet;
use std::path::Path;

use rollforward_core::evidence::{Answer, Attached, Budget, FaultKind, Place, RuleAnswer, Shape, Signer};
use rollforward_core::gate::Layer;
use rollforward_core::reason::Reason;
use rollforward_core::trust::{
    AttestationRule, Binding, Decision, Demand, Kept, Listed, Means, Origin, RootContent, Soak, Unreadable,
};

use crate::build;
use crate::papers::{
    DEV, RELEASE, RULE, SLSA, World, attached, attested, badly_logged, decision, faulty, key, keyless, root,
    shape, signed, signed_by_key, signed_for, signer, with_claim, world,
};

fn own() -> Decision {
    decision(vec![keyless("ci")])
}

/// A world where 1.0.1 has these things attached.
fn with(own: Decision, items: Vec<rollforward_core::evidence::Item>) -> World {
    let mut world = world(vec![own], None);
    world.attach("1.0.1", attached(items));
    world
}

fn good() -> rollforward_core::evidence::Item {
    signed(signer(RELEASE))
}

fn claiming(name: &str, value: &str) -> Vec<rollforward_core::evidence::Item> {
    vec![signed(with_claim(signer(RELEASE), name, value))]
}

fn rule(kind: &str) -> Decision {
    let rule = AttestationRule {
        predicate_type: kind.to_owned(),
        authorities: Vec::new(),
        rule: Some(RULE.to_owned()),
        required: true,
    };
    Decision { attestations: vec![rule], ..own() }
}

fn requiring(layer: Layer) -> Decision {
    Decision { layers: [(layer, Demand::Required)].into(), ..own() }
}

fn listed(repositories: &[&str], digests: &[&str]) -> Listed {
    Listed {
        repositories: repositories.iter().map(|text| (*text).to_owned()).collect(),
        digests: digests.iter().map(|content| build::digest(content)).collect(),
    }
}

fn from_source() -> Decision {
    let source = rollforward_core::trust::Pattern::Exact("https://github.com/acme/web".to_owned());
    Decision { source: Some(source), ..own() }
}

fn logged_key() -> rollforward_core::trust::Authority {
    rollforward_core::trust::Authority { require_log: true, ..key("ci") }
}

fn claim_wanted(name: &str, value: &str) -> Decision {
    let mut authority = keyless("ci");
    if let Means::Keyless { claims, .. } = &mut authority.means {
        claims.insert(name.to_owned(), value.to_owned());
    }
    decision(vec![authority])
}

fn lists() -> Vec<World> {
    vec![
        with(Decision { deny: listed(&["ghcr.io/acme/*"], &[]), ..own() }, vec![good()]),
        with(Decision { allow: listed(&["quay.io/acme/*"], &[]), ..own() }, vec![good()]),
        with(Decision { deny: listed(&[], &["1.0.1"]), ..own() }, vec![good()]),
        with(Decision { allow: listed(&[], &["other"]), ..own() }, vec![good()]),
        world(Vec::new(), None),
        world(vec![Decision::new(Origin::VerificationPolicy("acme".to_owned()))], None),
    ]
}

fn signatures() -> Vec<World> {
    let mut worlds = vec![with(own(), Vec::new()), with(own(), vec![signed(signer(DEV))])];
    let mut silent = with(own(), Vec::new());
    silent.attach("1.0.1", build::unknown(Reason::RegistryRateLimited, "429, asked to wait until 12:05"));
    worlds.push(silent);
    worlds.push(with(
        claim_wanted("runnerEnvironment", "github-hosted"),
        claiming("runnerEnvironment", "self-hosted"),
    ));
    let kinds = [
        FaultKind::Signature,
        FaultKind::Certificate,
        FaultKind::Malformed,
        FaultKind::Subject,
        FaultKind::Unsupported,
        FaultKind::Expired,
        FaultKind::Time,
        FaultKind::Log,
    ];
    worlds.extend(kinds.map(|kind| with(own(), vec![faulty(kind)])));
    let two = Decision { require: 2, ..decision(vec![key("ci"), key("security")]) };
    worlds.push(with(two, vec![signed_by_key("ci", true)]));
    let Answer::Found(junk) = attached(vec![faulty(FaultKind::Malformed); 64]) else { return worlds };
    worlds.extend([Budget::Count, Budget::Bytes, Budget::Time].map(|budget| {
        let mut spent = with(own(), Vec::new());
        let left = Attached { n_left_out: 9_936, exhausted: Some(budget), ..junk.clone() };
        spent.attach("1.0.1", Answer::Found(left));
        spent
    }));
    let mut missing = with(own(), vec![good()]);
    missing.facts.seen.roots.clear();
    worlds.push(missing);
    let mut unread = with(own(), vec![good()]);
    let kept =
        |config_map: &str, entry: &str| Kept { config_map: config_map.to_owned(), entry: entry.to_owned() };
    let why = Unreadable::NoConfigMap(kept("roots", "root.json"));
    let content = RootContent::Unreadable { why };
    unread.facts.seen.roots.insert("public".to_owned(), rollforward_core::trust::Root { content, ..root() });
    worlds.push(unread);
    let mut expired = with(own(), vec![good()]);
    let ended = rollforward_core::trust::Root { expires: Some(build::at("2026-11-01T00:00:00Z")), ..root() };
    expired.facts.seen.roots.insert("public".to_owned(), ended);
    worlds.push(expired);
    let keys = || kept("keys", "ci.pub");
    let reasons = [
        Unreadable::NoConfigMap(keys()),
        Unreadable::NoEntry(keys(), vec!["ci.pem".to_owned()]),
        Unreadable::Forbidden(keys(), "the apiserver's words".to_owned()),
        Unreadable::Silent(keys(), "the apiserver's words".to_owned()),
        Unreadable::Content(Some(keys()), "the engine's words".to_owned()),
        Unreadable::Content(None, "the engine's words".to_owned()),
        Unreadable::Object(Reason::NewerApi, "spec.unsigned: a value that this version does not know; upgrade the operator, or use a value it knows".to_owned()),
    ];
    worlds.extend(reasons.map(|why| {
        let mut unreadable = key("ci");
        unreadable.means = Means::Unreadable { why };
        with(decision(vec![unreadable]), vec![good()])
    }));
    worlds
}

fn bindings_and_logs() -> Vec<World> {
    let mut undated = signer(RELEASE);
    (undated.in_log, undated.logged_at) = (false, None);
    let timestamped = Signer { timestamped_at: Some(build::at("2026-11-02T09:00:00Z")), ..undated.clone() };
    let repository = claim_wanted("sourceRepositoryURI", "https://github.com/acme/web");
    vec![
        with(own(), claiming("sourceRepositoryRef", "refs/tags/v0.9.0")),
        with(own(), claiming("sourceRepositoryRef", "refs/heads/try-it")),
        with(repository, claiming("sourceRepositoryURI", "https://github.com/acme/api")),
        with(own(), vec![signed_for(signer(RELEASE), "ghcr.io/acme/api")]),
        with(Decision { binding: Binding::Required, ..own() }, vec![good()]),
        with(from_source(), claiming("sourceRepositoryURI", "https://github.com/acme/api")),
        with(from_source(), vec![good()]),
        with(own(), vec![signed(undated)]),
        with(own(), vec![signed(timestamped)]),
        with(decision(vec![logged_key()]), vec![badly_logged("ci")]),
    ]
}

/// A claim was attached an hour ago, and is gone.
fn taken_away() -> Vec<World> {
    let claims = [
        claiming("sourceRepositoryRef", "refs/tags/v0.9.0"),
        claiming("sourceRepositoryRef", "refs/heads/try-it"),
        vec![signed_for(signer(RELEASE), "ghcr.io/acme/api")],
    ];
    let worlds = claims.map(|items| {
        let mut world = with(own(), items);
        world.facts.now = build::at("2026-11-02T11:00:00Z");
        let learned = world.assessment().ledgers;
        world.facts.now = build::at("2026-11-02T12:00:00Z");
        let seen = world.facts.seen.repositories.get_mut(&build::repository()).unwrap();
        seen.ledger = learned[&build::repository()].clone();
        world.attach("1.0.1", attached(vec![good()]));
        world
    });
    worlds.into()
}

fn statements_and_shape() -> Vec<World> {
    let fails = |observed: &str| Some(RuleAnswer::Fails { observed: observed.to_owned() });
    let say = |kind: &str, answer| attested(signer(RELEASE), kind, None, answer);
    let partly = |budget: Option<Budget>| {
        let mut world = with(rule(SLSA), vec![good()]);
        let key = (build::repository(), build::digest("1.0.1"));
        if let Some(Answer::Found(found)) = world.evidence.attached.get_mut(&key) {
            found.exhausted = budget;
            found.n_left_out = 3;
            if budget.is_none() {
                let silence = build::unknown(Reason::RegistryUnavailable, "connection refused");
                found.looked_in.push((Place::AttestationTag, silence));
            }
        }
        world
    };
    let mut drifted = with(requiring(Layer::Drift), vec![good()]);
    let other = Shape { user: String::new(), entrypoint: vec!["/bin/sh".to_owned()], ..shape() };
    drifted.shape("1.0.1", other);
    let mut unread = with(requiring(Layer::Drift), vec![good()]);
    if let Some(Answer::Found(found)) =
        unread.evidence.manifests.get_mut(&(build::repository(), build::digest("1.0.1")))
    {
        found.shape = None;
    }
    let soak = Soak { routine: Some(build::duration("24h")), unsigned: None };
    vec![
        with(rule(SLSA), vec![good()]),
        partly(None),
        partly(Some(Budget::Bytes)),
        partly(Some(Budget::Time)),
        with(rule(SLSA), vec![good(), attested(signer(DEV), SLSA, None, Some(RuleAnswer::Holds))]),
        with(rule(SLSA), vec![good(), say(SLSA, fails("runDetails.builder.id = https://ci.example"))]),
        with(
            rule("https://acme.test/scan/v1"),
            vec![good(), say("https://acme.test/scan/v1", fails("critical = 1"))],
        ),
        with(
            rule(SLSA),
            vec![good(), say(SLSA, Some(RuleAnswer::Error { why: "no such key: builder".to_owned() }))],
        ),
        with(requiring(Layer::Sbom), vec![good()]),
        drifted,
        unread,
        with(Decision { score_gates: true, ..own() }, vec![good()]),
        with(Decision { soak, ..own() }, vec![good()]),
    ]
}

const BEGIN: &str = "<!-- refusals: written by core/tests/verify/table.rs -->\n";
const END: &str = "<!-- end of refusals -->";

#[test]
fn the_table_of_refusals_in_the_documentation_is_what_the_layers_say() {
    let worlds = [lists(), signatures(), bindings_and_logs(), taken_away(), statements_and_shape()];
    let mut table = String::from("\n| code | sentence |\n|---|---|\n");
    let mut told = BTreeSet::new();
    for world in worlds.into_iter().flatten() {
        let decided = world.decided();
        assert_ne!(decided, "move");
        let candidate = world.candidate();
        let (_, verdict) = candidate.blocking().unwrap();
        assert!(!verdict.expected.is_empty() && !verdict.observed.is_empty(), "{decided}");
        assert!(verdict.hint.ends_with('.'), "nothing to do: {decided}");
        let words = (verdict.reason, verdict.observed.clone(), verdict.hint.clone());
        // The engine's own words stand for all that it may say.
        assert!(told.insert(words), "another cause has the same words: {decided}");
        let (code, sentence) = decided.split_once(": ").unwrap();
        let sentence = sentence.replace('|', "\\|").trim().to_owned();
        table.push_str(&format!("| `{code}` | {sentence} |\n"));
    }
    table.push('\n');
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/verification.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(written, table, "UPDATE=1 cargo test rewrites; read the difference");
}
