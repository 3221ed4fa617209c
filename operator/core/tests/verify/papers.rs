//! Decisions, signatures and a world of one workload that runs 1.0.0 and could move to 1.0.1.

use std::collections::BTreeMap;

use rollforward_core::current;
use rollforward_core::decide::{Course, decide};
use rollforward_core::evidence::{
    Answer, Attached, Content, Fault, FaultKind, Item, Place, Provenance, RuleAnswer, Shape, Signer, Verifier,
};
use rollforward_core::gate::{self, Assessed, Evidence, Layer, Need, Word};
use rollforward_core::image::Digest;
use rollforward_core::policy::{Facts, Policy};
use rollforward_core::trust::{Authority, Decision, Means, Origin, Pattern, Root, RootContent, Soak};

use crate::build;

pub const ISSUER: &str = "https://token.actions.githubusercontent.com";
pub const RELEASE: &str = "https://github.com/acme/web/.github/workflows/release.yml@refs/tags/v1.0.1";
pub const DEV: &str = "https://github.com/acme/web/.github/workflows/dev.yml@refs/heads/main";
pub const SLSA: &str = "https://slsa.dev/provenance/v1";
pub const RULE: &str = "predicate.runDetails.builder.id.startsWith('https://github.com/')";

pub fn keyless(name: &str) -> Authority {
    let subject = r"https://github\.com/acme/web/\.github/workflows/release\.yml@refs/tags/v.*";
    Authority {
        name: name.to_owned(),
        means: Means::Keyless {
            root: "public".to_owned(),
            issuer: Pattern::Exact(ISSUER.to_owned()),
            subject: Pattern::matching(subject).unwrap(),
            claims: BTreeMap::new(),
        },
        require_log: false,
    }
}

pub fn key(name: &str) -> Authority {
    Authority { name: name.to_owned(), means: Means::Key { pem: format!("PEM {name}") }, require_log: false }
}

/// The security team's decision: one keyless authority, no soak.
pub fn decision(authorities: Vec<Authority>) -> Decision {
    Decision {
        authorities,
        soak: Soak { routine: Some(build::duration("0s")), unsigned: None },
        ..Decision::new(Origin::VerificationPolicy("acme".to_owned()))
    }
}

pub fn root() -> Root {
    Root {
        name: "public".to_owned(),
        hash: "h1".to_owned(),
        content: RootContent::PublicGood,
        expires: Some(build::at("2027-06-01T00:00:00Z")),
        has_logs: true,
    }
}

pub fn signer(subject: &str) -> Signer {
    Signer {
        issuer: Some(ISSUER.to_owned()),
        subject: Some(subject.to_owned()),
        claims: BTreeMap::new(),
        in_log: true,
        log_fault: None,
        logged_at: Some(build::at("2026-11-02T09:31:00Z")),
        timestamped_at: None,
    }
}

pub fn with_claim(signer: Signer, name: &str, value: &str) -> Signer {
    let mut signer = signer;
    signer.claims.insert(name.to_owned(), value.to_owned());
    signer
}

fn checked(verifier: Verifier, check: Result<Signer, Fault>, content: Content) -> Item {
    Item { place: Place::Referrers, content, checks: [(verifier, check)].into() }
}

fn plain() -> Content {
    Content::Signature { repository: None, annotations: BTreeMap::new() }
}

pub fn signed(signer: Signer) -> Item {
    checked(root().verifier(), Ok(signer), plain())
}

pub fn signed_for(signer: Signer, repository: &str) -> Item {
    let content =
        Content::Signature { repository: Some(repository.to_owned()), annotations: BTreeMap::new() };
    checked(root().verifier(), Ok(signer), content)
}

pub fn signed_by_key(name: &str, in_log: bool) -> Item {
    let signer = Signer { in_log, ..Signer::default() };
    checked(Verifier::Key { pem: format!("PEM {name}") }, Ok(signer), plain())
}

/// Signed by a key, with an entry in a log that does not hold.
pub fn badly_logged(name: &str) -> Item {
    let signer = Signer { log_fault: Some("the engine's words".to_owned()), ..Signer::default() };
    checked(Verifier::Key { pem: format!("PEM {name}") }, Ok(signer), plain())
}

pub fn faulty(kind: FaultKind) -> Item {
    let fault = Fault { kind, message: "the engine's words".to_owned() };
    checked(root().verifier(), Err(fault), plain())
}

pub fn unreadable() -> Item {
    let content = Content::Unreadable { why: "no JSON".to_owned() };
    Item { place: Place::Referrers, content, checks: BTreeMap::new() }
}

/// An attestation of a type, with the answer of the rule where it was run.
pub fn attested(signer: Signer, kind: &str, source_ref: Option<&str>, answer: Option<RuleAnswer>) -> Item {
    let provenance = kind.contains("slsa").then(|| Provenance {
        builder: Some("https://github.com/actions/runner".to_owned()),
        source: Some("git+https://github.com/acme/web".to_owned()),
        source_ref: source_ref.map(str::to_owned),
    });
    let rules = answer.into_iter().map(|answer| (RULE.to_owned(), answer)).collect();
    let content = Content::Attestation { predicate_type: kind.to_owned(), provenance, rules };
    checked(root().verifier(), Ok(signer), content)
}

pub fn attached(items: Vec<Item>) -> Answer<Attached> {
    let n_items = items.len();
    Answer::Found(Attached {
        items,
        looked_in: vec![(Place::Referrers, Answer::Found(n_items)), (Place::SignatureTag, Answer::Absent)],
        n_left_out: 0,
        exhausted: None,
    })
}

/// What is known of the two digests.
pub struct World {
    pub facts: Facts,
    pub evidence: Evidence,
}

/// 1.0.0 runs, 1.0.1 was seen two hours ago; the time is noon.
pub fn world(decisions: Vec<Decision>, own: Option<Decision>) -> World {
    let now = build::at("2026-11-02T12:00:00Z");
    let mut ledger = rollforward_core::ledger::Ledger::new(build::repository());
    let seen = build::at("2026-11-02T10:00:00Z");
    ledger.saw(&build::tag("1.0.0"), &build::digest("1.0.0"), build::at("2026-10-01T00:00:00Z"));
    ledger.saw(&build::tag("1.0.1"), &build::digest("1.0.1"), seen);
    let image = format!("{}:1.0.0@{}", build::REPOSITORY, build::digest("1.0.0"));
    let track = build::track(build::workload("web", 4, &image), Vec::new(), Vec::new());
    let policy = Policy { trust: own, ..build::policy() };
    let scan = build::scan(&["1.0.0", "1.0.1"], now);
    let mut facts = build::facts(policy, vec![track], (scan, ledger), (Vec::new(), Vec::new()), now);
    facts.seen.decisions = decisions;
    facts.seen.roots = [("public".to_owned(), root())].into();
    let mut evidence = Evidence::default();
    for version in ["1.0.0", "1.0.1"] {
        let digest = build::digest(version);
        evidence.digests.insert((build::repository(), build::tag(version)), Answer::Found(digest.clone()));
        let mut manifest = build::manifest(&digest, &["linux/amd64"]);
        manifest.shape = Some(shape());
        evidence.manifests.insert((build::repository(), digest), Answer::Found(manifest));
    }
    let mut world = World { facts, evidence };
    world.attach("1.0.0", attached(vec![signed(signer(RELEASE))]));
    world
}

pub fn shape() -> Shape {
    Shape {
        user: "1000".to_owned(),
        entrypoint: vec!["/app".to_owned()],
        ports: ["8080/tcp".to_owned()].into(),
        environment: ["PATH".to_owned()].into(),
        created: Some(build::at("2026-10-01T00:00:00Z")),
        size_bytes: 50 << 20,
        layers: vec!["sha256:base".to_owned()],
        ..Shape::default()
    }
}

impl World {
    pub fn attach(&mut self, version: &str, answer: Answer<Attached>) -> &mut Self {
        self.evidence.attached.insert((build::repository(), build::digest(version)), answer);
        self
    }

    pub fn shape(&mut self, version: &str, shape: Shape) -> &mut Self {
        let key = (build::repository(), build::digest(version));
        if let Some(Answer::Found(manifest)) = self.evidence.manifests.get_mut(&key) {
            manifest.shape = Some(shape);
        }
        self
    }

    pub fn assessment(&self) -> gate::Assessment {
        let (assessment, needs) = gate::assess(&self.facts, current::choose(&self.facts), &self.evidence);
        let missing: Vec<_> = needs.iter().filter(|need| !matches!(need, Need::Attached(..))).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assessment
    }

    /// What the layers say of 1.0.1.
    pub fn candidate(&self) -> Assessed {
        self.assessment().candidates[0][0].clone()
    }

    /// What is decided, in a word: `move`, or the reason and sentence of the hold.
    pub fn decided(&self) -> String {
        match &decide(&self.facts, self.assessment()).tracks[0] {
            Course::Move { .. } => "move".to_owned(),
            Course::Hold(hold) => {
                format!(
                    "{}: expected {}, observed {}. {}",
                    hold.reason, hold.expected, hold.observed, hold.hint
                )
            }
            Course::Continue => "continue".to_owned(),
            Course::Nothing => "nothing".to_owned(),
        }
    }

    /// The word and reason of a layer for 1.0.1.
    pub fn layer(&self, layer: Layer) -> Option<(Word, &'static str)> {
        let candidate = self.candidate();
        let found = candidate.verdicts.iter().find(|(one, _)| *one == layer)?;
        Some((found.1.word, found.1.reason.code()))
    }
}

pub fn digest(version: &str) -> Digest {
    build::digest(version)
}
