//! The layers, and what each says of the best candidates.
//!
//! No layer is believed alone and none hides another: every one that has its inputs speaks. A layer is a function in
//! `gate/`, of its inputs and `now`; what it needs from outside is named as a [`Need`] and fetched by the controller.

pub mod binding;
pub mod drift;
pub mod label;
pub mod ledger;
pub mod log;
pub mod offline;
pub mod platform;
pub mod provenance;
pub mod quarantine;
pub mod reference;
pub mod resolved;
pub mod running;
pub mod signature;
pub mod soak;
pub mod source;
pub mod trust;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::current::{self, Choice, Chosen};
use crate::evidence::{Answer, Attached, Manifest, Shape};
use crate::image::{Digest, Repository, Tag};
use crate::ledger::{Abandoned, Claim, Ledger};
use crate::policy::{Facts, Rebuilds, Track};
use crate::reason::Reason;
use crate::scan::Scan;
use crate::select::{Order, Rule};
use crate::trust::score::{self, Score, Witness};
use crate::trust::{Demand, Effective, Exception};

/// How many candidates of a track are resolved and judged: all that a pass keeps.
pub const MAX_ASSESSED: usize = crate::select::MAX_SHORTLIST;

/// One kind of check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The repository and the digest may be used.
    Reference,
    /// Somebody decided what to trust.
    Trust,
    /// The tag is resolved to a digest, once.
    Digest,
    /// The image runs on the nodes in use.
    Platform,
    /// The tag has not moved; the digest is new.
    Ledger,
    /// A named signer vouches for the digest.
    Signature,
    /// What was signed is this version of this repository.
    Binding,
    /// Signing was public, or dated by somebody else.
    Log,
    /// The statements that are asked for are there and say what they must.
    Provenance,
    /// What is in the image is listed.
    Sbom,
    /// The image has the shape of what runs.
    Drift,
    /// The digest has not failed here.
    Quarantine,
    /// The digest has been known for long enough.
    Soak,
    /// The evidence together suffices.
    Score,
}

impl Layer {
    /// The layer's name as it is published.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Layer::Reference => "Reference",
            Layer::Trust => "Trust",
            Layer::Digest => "Digest",
            Layer::Platform => "Platform",
            Layer::Ledger => "Ledger",
            Layer::Signature => "Signature",
            Layer::Binding => "Binding",
            Layer::Log => "Log",
            Layer::Provenance => "Provenance",
            Layer::Sbom => "Sbom",
            Layer::Drift => "Drift",
            Layer::Quarantine => "Quarantine",
            Layer::Soak => "Soak",
            Layer::Score => "Score",
        }
    }

    /// Whether its refusal is a security check's, and not the application's fault.
    #[must_use]
    pub fn is_security(self) -> bool {
        match self {
            Layer::Reference
            | Layer::Ledger
            | Layer::Signature
            | Layer::Binding
            | Layer::Log
            | Layer::Provenance
            | Layer::Sbom
            | Layer::Drift
            | Layer::Score => true,
            Layer::Trust | Layer::Digest | Layer::Platform | Layer::Quarantine | Layer::Soak => false,
        }
    }
}

/// The kind of word that a layer gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Let through by this layer.
    Pass,
    /// Refused.
    Fail,
    /// What it looks for is not there.
    Absent,
    /// It could not look.
    Unknown,
    /// Let through at this moment, by time alone.
    Waiting(Timestamp),
    /// Not asked, because a layer before it gave it nothing to look at.
    Skipped,
}

/// What one layer says of one candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a verdict that nobody reads lets an image through"]
pub struct Verdict {
    /// The kind.
    pub word: Word,
    /// The code.
    pub reason: Reason,
    /// What the layer wanted to see.
    pub expected: String,
    /// What it saw.
    pub observed: String,
    /// What a person can do.
    pub hint: String,
    /// How much it counts.
    pub demand: Demand,
    /// The exception that lifts it: its name and when it ends, as a sentence names them.
    pub lifted: Option<String>,
}

impl Verdict {
    /// A verdict without a hint.
    pub fn new(word: Word, reason: Reason, expected: impl Into<String>, observed: impl Into<String>) -> Self {
        let (expected, observed, hint) = (expected.into(), observed.into(), String::new());
        Self { word, reason, expected, observed, hint, demand: Demand::Required, lifted: None }
    }

    /// The same, counting so much.
    pub fn demanded(self, demand: Demand) -> Self {
        Self { demand, ..self }
    }

    /// The same, counting so much unless it had nothing to look at.
    pub fn demanded_if_judged(self, demand: Demand) -> Self {
        if self.word == Word::Skipped { self } else { self.demanded(demand) }
    }

    /// The same with what a person can do.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    /// A layer that had nothing to look at.
    pub fn skipped(reason: Reason) -> Self {
        Self::new(Word::Skipped, reason, "", "")
    }

    /// Whether the layer is satisfied.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.word == Word::Pass
    }

    /// Whether the candidate may go on: the layer is satisfied, is only advisory, or a person lifted it.
    #[must_use]
    pub fn lets_through(&self) -> bool {
        self.passes() || self.demand != Demand::Required || self.lifted.is_some()
    }
}

/// The one of several words on one layer that counts: what stops, then what is only told, then what passes.
pub fn worst(verdicts: impl Iterator<Item = Verdict>) -> Option<Verdict> {
    let rank = |verdict: &Verdict| {
        let word = match verdict.word {
            Word::Fail => 5,
            Word::Absent => 4,
            Word::Unknown => 3,
            Word::Waiting(_) => 2,
            Word::Skipped => 1,
            Word::Pass => 0,
        };
        (!verdict.lets_through(), word)
    };
    // The first of equals: the decisions come in the order in which a reader finds them.
    verdicts.reduce(|one, other| if rank(&one) < rank(&other) { other } else { one })
}

/// A question to the outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Which digest a tag names now.
    Digest(Repository, Tag),
    /// The manifest of a digest.
    Manifest(Repository, Digest),
    /// Whether a mirror serves a digest.
    Served(Repository, Digest),
    /// What is attached to a digest. What is to be found out about it: [`Facts::questions`].
    Attached(Repository, Digest),
}

/// What a person does about silence.
pub(crate) const SILENCE: &str = "Nothing is concluded from silence; asked again by itself.";

/// What was fetched so far.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Digests by tag.
    pub digests: BTreeMap<(Repository, Tag), Answer<Digest>>,
    /// Manifests by digest.
    pub manifests: BTreeMap<(Repository, Digest), Answer<Manifest>>,
    /// Whether mirrors serve digests.
    pub served: BTreeMap<(Repository, Digest), Answer<()>>,
    /// What is attached to digests.
    pub attached: BTreeMap<(Repository, Digest), Answer<Attached>>,
}

/// One candidate with the word of every layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessed {
    /// The candidate's tag.
    pub tag: Tag,
    /// The digest that the tag names now.
    pub digest: Option<Digest>,
    /// The layers' words, in their order.
    pub verdicts: Vec<(Layer, Verdict)>,
    /// What the evidence together is worth; `None` where nobody decided what to trust.
    pub score: Option<Score>,
    /// Where signatures were looked for; empty where none were.
    pub looked_in: String,
    /// Who vouches for the digest, by identity.
    pub signers: BTreeSet<String>,
    /// A claim that is attached and contradicts the name, for the ledger to remember.
    pub contradicted: Option<(Claim, Reason)>,
}

impl Assessed {
    /// The first layer that does not let it through.
    #[must_use]
    pub fn blocking(&self) -> Option<(Layer, &Verdict)> {
        let refusals = || self.verdicts.iter().filter(|(_, verdict)| !verdict.lets_through());
        // A refusal says more than a wait: a quarantined digest that also soaks is not "waiting".
        refusals()
            .find(|(_, verdict)| matches!(verdict.word, Word::Fail | Word::Absent | Word::Unknown))
            .or_else(|| refusals().max_by_key(|(_, verdict)| waits_until(verdict)))
            .map(|(layer, verdict)| (*layer, verdict))
    }

    /// When it passes by time alone; `None` where it needs more than time.
    #[must_use]
    pub fn passes_at(&self) -> Option<Timestamp> {
        let counting = self.verdicts.iter().filter(|(_, verdict)| !verdict.lets_through());
        let mut counting = counting.map(|(_, verdict)| verdict.word);
        counting.try_fold(Timestamp::MIN, |latest, word| match word {
            Word::Pass => Some(latest),
            Word::Waiting(until) => Some(latest.max(until)),
            Word::Fail | Word::Absent | Word::Unknown | Word::Skipped => None,
        })
    }
}

/// Whether a layer lacks something that somebody could still attach to the digest. Of the signature also where an unsigned image
/// is allowed: a signed one soaks for less.
#[must_use]
pub fn lacks_evidence(layer: Layer, verdict: &Verdict) -> bool {
    match layer {
        Layer::Signature => !verdict.passes() && verdict.demand != Demand::Off,
        Layer::Binding | Layer::Log | Layer::Provenance | Layer::Sbom => !verdict.lets_through(),
        // A rebuild that the authority of what runs has not signed yet.
        Layer::Ledger => !verdict.lets_through() && verdict.reason == Reason::TagMoved,
        Layer::Reference
        | Layer::Trust
        | Layer::Digest
        | Layer::Platform
        | Layer::Drift
        | Layer::Quarantine
        | Layer::Soak
        | Layer::Score => false,
    }
}

fn waits_until(verdict: &Verdict) -> Timestamp {
    match verdict.word {
        Word::Waiting(until) => until,
        Word::Pass | Word::Fail | Word::Absent | Word::Unknown | Word::Skipped => Timestamp::MIN,
    }
}

/// What a rollback of a track would start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayBack {
    /// What ran, by the image as it stands in the template.
    AsItWas,
    /// What ran is this; the template's tag names something else by now.
    Digest(Digest),
    /// What ran is not to be had any more; the template's tag names something else by now.
    Gone,
}

/// All that the layers say in a pass.
#[derive(Debug, Clone)]
pub struct Assessment {
    /// The choices that it was made from.
    pub chosen: Vec<Chosen>,
    /// The candidates of each track, best first; empty where nothing could be chosen.
    pub candidates: Vec<Vec<Assessed>>,
    /// The ledgers as they are after this pass has looked.
    pub ledgers: BTreeMap<Repository, Ledger>,
    /// What the running tag names in the registry now, by track: tells a rebuild.
    pub running_tag: Vec<Option<Digest>>,
    /// What a rollback would start, by track.
    pub ways_back: Vec<WayBack>,
    /// What the layers say of what runs, by track; `None` where nobody asks for its signatures.
    pub running: Vec<Option<Assessed>>,
}

impl Assessment {
    /// The digests, of candidates and of what runs, that lack something that could be attached to them by now.
    #[must_use]
    pub fn lacking(&self, facts: &Facts) -> BTreeSet<(Repository, Digest)> {
        let lacks =
            |one: &&Assessed| one.verdicts.iter().any(|(layer, verdict)| lacks_evidence(*layer, verdict));
        let judged = self.chosen.iter().zip(self.candidates.iter().zip(&self.running));
        judged
            .filter_map(|(choice, judged)| Some((facts.seen.tracks.get(choice.track)?, judged)))
            .flat_map(|(track, (candidates, running))| {
                let digests =
                    candidates.iter().chain(running).filter(lacks).filter_map(|one| one.digest.clone());
                digests.map(|digest| (facts.asked(track).clone(), digest))
            })
            .collect()
    }
}

/// Judges the best candidates with the evidence at hand, and names what is still needed.
///
/// The assessment is complete when the needs are empty; a caller that gives up fetching leaves an `Unknown` in the
/// evidence, so that the verdict says what could not be asked.
#[must_use = "the assessment decides"]
pub fn assess(facts: &Facts, chosen: Vec<Chosen>, evidence: &Evidence) -> (Assessment, Vec<Need>) {
    let mut ledgers: BTreeMap<Repository, Ledger> = facts
        .seen
        .repositories
        .iter()
        .map(|(repository, seen)| (repository.clone(), seen.ledger.clone()))
        .collect();
    let mut needs = Vec::new();
    let chosen: Vec<Chosen> =
        chosen.into_iter().map(|choice| label::heeded(facts, choice, evidence, &mut needs)).collect();
    record_sightings(facts, &chosen, evidence, &mut ledgers);
    let mut candidates = Vec::new();
    let (mut running_tag, mut ways_back, mut running_digest) = (Vec::new(), Vec::new(), Vec::new());
    for choice in &chosen {
        let Some(track) = facts.seen.tracks.get(choice.track) else {
            continue;
        };
        let ran = ledgers
            .get(&track.repository)
            .and_then(|ledger| running::judge(facts, track, choice, ledger, evidence, &mut needs));
        remember_signers(facts, track, ran.as_ref(), &mut ledgers);
        let ledger = ledgers.get(&track.repository);
        let unresolved = choice.probe.iter().map(|tag| (facts.asked(track).clone(), tag.clone()));
        let unresolved = unresolved.filter(|key| !evidence.digests.contains_key(key));
        needs.extend(unresolved.map(|(repository, tag)| Need::Digest(repository, tag)));
        let judged = assess_track(facts, track, choice, ledger, evidence, &mut needs);
        remember_claims(facts, track, judged.iter().chain(&ran), &mut ledgers);
        candidates.push(judged);
        let named = running(facts, track, choice, evidence, &mut needs);
        ways_back.push(way_back(facts, track, choice, named.as_ref(), evidence, &mut needs));
        running_tag.push(named);
        running_digest.push(ran);
    }
    needs.sort();
    needs.dedup();
    (Assessment { chosen, candidates, ledgers, running_tag, ways_back, running: running_digest }, needs)
}

/// Who vouches for what runs is known from now on. Not for what is only tried: its run may yet fail.
fn remember_signers(
    facts: &Facts,
    track: &Track,
    ran: Option<&Assessed>,
    ledgers: &mut BTreeMap<Repository, Ledger>,
) {
    let is_tried = current::open_run(facts, track).is_some();
    if let (Some(ran), Some(ledger)) = (ran.filter(|_| !is_tried), ledgers.get_mut(&track.repository)) {
        ledger.vouched(&ran.signers, facts.now);
    }
}

/// What a signer claimed against a name is remembered: it counts when it is attached no longer.
fn remember_claims<'a>(
    facts: &Facts,
    track: &Track,
    judged: impl Iterator<Item = &'a Assessed>,
    ledgers: &mut BTreeMap<Repository, Ledger>,
) {
    let Some(ledger) = ledgers.get_mut(&track.repository) else { return };
    for (claim, reason) in judged.filter_map(|one| one.contradicted.as_ref()) {
        ledger.contradicted(claim.clone(), *reason, facts.now);
    }
}

/// The candidates to judge: the best of the selection; for `digest` the tag once it names something else than what runs;
/// last the running tag, where it was pushed again and rebuilds are followed.
fn best<'a>(facts: &Facts, track: &Track, choice: &'a Chosen, evidence: &Evidence) -> Vec<&'a Tag> {
    let Choice::Candidates(selection) = &choice.choice else {
        return Vec::new();
    };
    let running = choice.current.as_ref().and_then(|current| current.digest.as_ref());
    let named = |tag: &Tag| found(facts, evidence, track, tag);
    let best = selection.best.iter().take(MAX_ASSESSED);
    if matches!(facts.policy.rule, Rule::Digest(_)) {
        return best.filter(|tag| running.is_none() || named(tag) != running).collect();
    }
    let rebuilt = choice.current.as_ref().and_then(|current| current.rebuilt_tag()).filter(|tag| {
        let moved = named(tag).is_some_and(|now| running.is_some_and(|running| now != running));
        moved && follows_rebuilds(facts, track)
    });
    best.chain(rebuilt).collect()
}

/// Whether a rebuild of the running tag is a candidate: always where the policy follows them; where it is left to us, if
/// somebody could vouch that the same authority signed both.
fn follows_rebuilds(facts: &Facts, track: &Track) -> bool {
    match facts.policy.rebuilds {
        Rebuilds::Follow => true,
        Rebuilds::Auto => Effective::of(facts, track).has_authorities(),
        Rebuilds::Hold => false,
    }
}

/// The digest that a tag was found to name.
fn found<'a>(facts: &Facts, evidence: &'a Evidence, track: &Track, tag: &Tag) -> Option<&'a Digest> {
    match evidence.digests.get(&(facts.asked(track).clone(), tag.clone()))? {
        Answer::Found(digest) => Some(digest),
        Answer::Absent | Answer::Unknown(_) => None,
    }
}

fn record_sightings(
    facts: &Facts,
    chosen: &[Chosen],
    evidence: &Evidence,
    ledgers: &mut BTreeMap<Repository, Ledger>,
) {
    for choice in chosen {
        let Some(track) = facts.seen.tracks.get(choice.track) else {
            continue;
        };
        let Some(ledger) = ledgers.get_mut(&track.repository) else {
            continue;
        };
        ledger.workloads.insert(track.key.clone(), choice.memory.clone());
        if let Some(current) = &choice.current
            && let (Some(tag), Some(digest)) = (&current.tag, &current.digest)
            && !ledger.tags.contains_key(tag)
        {
            ledger.saw(tag, digest, facts.now);
        }
        let rebuilt = choice.current.as_ref().and_then(|current| current.rebuilt_tag());
        for tag in best(facts, track, choice, evidence).into_iter().chain(&choice.probe).chain(rebuilt) {
            if let Some(digest) = found(facts, evidence, track, tag) {
                ledger.saw(tag, digest, facts.now);
            }
        }
    }
}

fn running(
    facts: &Facts,
    track: &Track,
    choice: &Chosen,
    evidence: &Evidence,
    needs: &mut Vec<Need>,
) -> Option<Digest> {
    let Choice::Candidates(_) = choice.choice else {
        return None;
    };
    let tag = choice.current.as_ref()?.tag.clone()?;
    let key = (facts.asked(track).clone(), tag);
    match evidence.digests.get(&key) {
        Some(Answer::Found(digest)) => Some(digest.clone()),
        Some(Answer::Absent | Answer::Unknown(_)) => None,
        None => {
            needs.push(Need::Digest(key.0, key.1));
            None
        }
    }
}

/// An image without a digest starts what its tag names then. Asked only where something could be rolled out.
fn way_back(
    facts: &Facts,
    track: &Track,
    choice: &Chosen,
    named: Option<&Digest>,
    evidence: &Evidence,
    needs: &mut Vec<Need>,
) -> WayBack {
    let current = choice.current.as_ref().filter(|current| current.image.digest.is_none());
    let ran = current.and_then(|current| current.digest.as_ref());
    let (Some(ran), Some(named)) = (ran, named) else { return WayBack::AsItWas };
    if ran == named || best(facts, track, choice, evidence).is_empty() {
        return WayBack::AsItWas;
    }
    match manifest(&track.repository, ran, evidence, needs) {
        Some(Answer::Absent) => WayBack::Gone,
        Some(Answer::Found(_) | Answer::Unknown(_)) | None => WayBack::Digest(ran.clone()),
    }
}

fn assess_track(
    facts: &Facts,
    track: &Track,
    choice: &Chosen,
    ledger: Option<&Ledger>,
    evidence: &Evidence,
    needs: &mut Vec<Need>,
) -> Vec<Assessed> {
    let Some(ledger) = ledger else { return Vec::new() };
    let effective = Effective::of(facts, track);
    let repositories = names(facts, track);
    let running = choice.current.as_ref().and_then(|current| current.digest.as_ref());
    let tags = best(facts, track, choice, evidence);
    let looks_at_shape = !tags.is_empty() && effective.demand(Layer::Drift) != Demand::Off;
    let running_shape = running
        .filter(|_| looks_at_shape)
        .and_then(|digest| shape(facts, &track.repository, digest, evidence, needs));
    let rebuilt = choice.current.as_ref().and_then(|current| current.rebuilt_tag());
    let running_attached = running.and_then(|digest| {
        rebuilt.filter(|tag| tags.contains(tag))?;
        attached(facts, track, digest, &effective, evidence, needs)
    });
    tags.into_iter()
        .map(|tag| {
            let repository = facts.asked(track);
            let answer = evidence.digests.get(&(repository.clone(), tag.clone()));
            let digest = match answer {
                Some(Answer::Found(digest)) => Some(digest),
                Some(Answer::Absent | Answer::Unknown(_)) => None,
                None => {
                    needs.push(Need::Digest(repository.clone(), tag.clone()));
                    None
                }
            };
            let manifest = digest.and_then(|digest| manifest(repository, digest, evidence, needs));
            let mirror = facts
                .mirror(track)
                .map(|mirror| (mirror, digest.and_then(|digest| served(mirror, digest, evidence, needs))));
            let reads_shape = looks_at_shape || effective.has_authorities();
            let subject = Subject {
                policy: &facts.policy.id.name,
                tag,
                digest,
                answer,
                manifest,
                mirror,
                ledger,
                running,
                left: choice.memory.abandoned.as_ref(),
                order: facts.policy.order(),
                repositories: &repositories,
                attached: digest
                    .and_then(|digest| attached(facts, track, digest, &effective, evidence, needs)),
                running_attached: running_attached.filter(|_| rebuilt == Some(tag)),
                shape: digest
                    .filter(|_| reads_shape)
                    .and_then(|digest| shape(facts, repository, digest, evidence, needs)),
                running_shape,
                scan: facts.seen.repositories.get(&track.repository).map(|seen| &seen.scan),
            };
            assessed(facts, &effective, &subject)
        })
        .collect()
}

/// The names of the repository: the one that is asked, then the one that is written where that is a mirror.
pub(crate) fn names(facts: &Facts, track: &Track) -> Vec<String> {
    let mut names = vec![facts.asked(track).to_string(), track.repository.to_string()];
    names.dedup();
    names
}

fn manifest<'a>(
    repository: &Repository,
    digest: &Digest,
    evidence: &'a Evidence,
    needs: &mut Vec<Need>,
) -> Option<&'a Answer<Manifest>> {
    let answer = evidence.manifests.get(&(repository.clone(), digest.clone()));
    if answer.is_none() {
        needs.push(Need::Manifest(repository.clone(), digest.clone()));
    }
    answer
}

/// The shape of a digest: its own, or that of an index's image for a platform of the nodes in use.
fn shape<'a>(
    facts: &Facts,
    repository: &Repository,
    digest: &Digest,
    evidence: &'a Evidence,
    needs: &mut Vec<Need>,
) -> Option<&'a Shape> {
    let found = |answer: Option<&'a Answer<Manifest>>| match answer {
        Some(Answer::Found(manifest)) => Some(manifest),
        Some(Answer::Absent | Answer::Unknown(_)) | None => None,
    };
    let whole = found(manifest(repository, digest, evidence, needs))?;
    if whole.shape.is_some() {
        return whole.shape.as_ref();
    }
    let nodes = || facts.seen.platforms.iter();
    let serving = whole.images.iter().find(|(platform, _)| nodes().any(|node| platform.serves(node)));
    let child =
        serving.or_else(|| whole.images.iter().next()).map(|(_, child)| child).or(whole.child.as_ref())?;
    found(manifest(repository, child, evidence, needs))?.shape.as_ref()
}

/// What is attached to a digest, where anybody asks.
pub(crate) fn attached<'a>(
    facts: &Facts,
    track: &Track,
    digest: &Digest,
    effective: &Effective<'_>,
    evidence: &'a Evidence,
    needs: &mut Vec<Need>,
) -> Option<&'a Answer<Attached>> {
    if !effective.has_authorities() {
        return None;
    }
    let key = (facts.asked(track).clone(), digest.clone());
    let answer = evidence.attached.get(&key);
    if answer.is_none() {
        needs.push(Need::Attached(key.0, key.1));
    }
    answer
}

/// Whether a mirror serves a digest; `None` where it was not asked yet.
fn served<'a>(
    mirror: &Repository,
    digest: &Digest,
    evidence: &'a Evidence,
    needs: &mut Vec<Need>,
) -> Option<&'a Answer<()>> {
    let answer = evidence.served.get(&(mirror.clone(), digest.clone()));
    if answer.is_none() {
        needs.push(Need::Served(mirror.clone(), digest.clone()));
    }
    answer
}

/// One candidate, as the layers read it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The policy, as commands name it.
    pub policy: &'a str,
    /// Its tag.
    pub tag: &'a Tag,
    /// The digest that the tag names now, where it is known.
    pub digest: Option<&'a Digest>,
    /// What the registry said of the tag; `None` where it was not asked yet.
    pub answer: Option<&'a Answer<Digest>>,
    /// What the registry said of the digest; `None` where it was not asked yet.
    pub manifest: Option<&'a Answer<Manifest>>,
    /// The mirror from which it would be pulled, where there is one, and whether it serves the digest; `None` where it was
    /// not asked yet.
    pub mirror: Option<(&'a Repository, Option<&'a Answer<()>>)>,
    /// The memory of the repository.
    pub ledger: &'a Ledger,
    /// The digest that runs.
    pub running: Option<&'a Digest>,
    /// A version that a person went back from.
    pub left: Option<&'a Abandoned>,
    /// How the policy orders tags.
    pub order: Order<'a>,
    /// The names of the repository, the one that is asked first.
    pub repositories: &'a [String],
    /// What is attached to the digest; `None` where nobody asks, or it was not asked yet.
    pub attached: Option<&'a Answer<Attached>>,
    /// What is attached to the digest that runs, where the candidate is a rebuild of it.
    pub running_attached: Option<&'a Answer<Attached>>,
    /// The shape of the digest.
    pub shape: Option<&'a Shape>,
    /// The shape of the digest that runs.
    pub running_shape: Option<&'a Shape>,
    /// What the repository listed.
    pub scan: Option<&'a Answer<Scan>>,
}

impl<'a> Subject<'a> {
    /// What is attached to the digest, nothing where that was answered.
    ///
    /// # Errors
    /// What was observed instead of an answer.
    pub fn looked(&self) -> Result<Option<&'a Attached>, String> {
        match self.attached {
            Some(Answer::Found(attached)) => Ok(Some(attached)),
            Some(Answer::Absent) => Ok(None),
            Some(Answer::Unknown(unknown)) => Err(unknown.message.clone()),
            None => Err("not asked yet".to_owned()),
        }
    }

    /// Whether the repository has a tag of that version.
    #[must_use]
    pub fn lists_version(&self, version: &str) -> bool {
        let plain = |text: &str| text.strip_prefix('v').unwrap_or(text).to_owned();
        let wanted = plain(version);
        let known = self.ledger.tags.keys().any(|tag| plain(tag.as_str()) == wanted);
        known
            || match self.scan {
                Some(Answer::Found(scan)) => scan.tags.iter().any(|tag| plain(tag) == wanted),
                Some(Answer::Absent | Answer::Unknown(_)) | None => false,
            }
    }
}

fn assessed(facts: &Facts, effective: &Effective<'_>, subject: &Subject<'_>) -> Assessed {
    let (policy, now) = (&facts.policy, facts.now);
    let found = match subject.attached {
        Some(Answer::Found(attached)) => Some(attached),
        Some(Answer::Absent | Answer::Unknown(_)) | None => None,
    };
    let signed = effective.signed(found, now);
    let signers = found.map_or_else(BTreeSet::new, |attached| effective.identities(attached, now));
    let all = [
        (Layer::Reference, reference::judge(subject, effective)),
        (Layer::Trust, Some(trust::judge(effective))),
        (Layer::Digest, Some(resolved::judge(subject))),
        (Layer::Platform, Some(platform::judge(subject, &facts.seen.platforms))),
        (Layer::Ledger, Some(ledger::judge(subject, effective, policy, now))),
        (Layer::Signature, signature::judge(subject, effective, now)),
        (Layer::Binding, binding::judge(subject, effective, true, now)),
        (Layer::Log, log::judge(subject, effective, now)),
        (Layer::Provenance, provenance::judge(subject, effective, now)),
        (Layer::Sbom, provenance::sbom(subject, effective, now)),
        (Layer::Drift, drift::judge(subject, effective)),
        (Layer::Quarantine, Some(quarantine::judge(subject, &policy.id.name, now))),
        (Layer::Soak, Some(soak::judge(subject, effective, signed, now))),
    ];
    let mut verdicts: Vec<(Layer, Verdict)> =
        all.into_iter().filter_map(|(layer, verdict)| Some((layer, verdict?))).collect();
    let score = effective.speaks().then(|| {
        let witness = Witness {
            signed,
            n_signers: found.map_or(0, |attached| effective.names(attached, now).len()),
            shape: subject.running_shape.zip(subject.shape).map(|(running, candidate)| {
                drift::differences(running, candidate).iter().map(|difference| difference.weight).sum()
            }),
            first_seen: subject.digest.and_then(|digest| subject.ledger.first_seen(subject.tag, digest)),
            newly_signed: subject.ledger.are_new(&signers),
            n_elsewhere: subject.digest.and_then(|digest| facts.seen.crowd.get(digest)).map_or(0, |n| *n),
        };
        score::score(&verdicts, witness, now)
    });
    let demand = effective.demand(Layer::Score);
    if let Some(score) = score.as_ref().filter(|_| demand != Demand::Off) {
        verdicts.push((Layer::Score, score.verdict(now).demanded(demand)));
    }
    lift(&facts.seen.exceptions, subject.digest, &mut verdicts, now);
    let looked_in = found.map_or_else(String::new, Attached::places);
    let contradicted = binding::contradiction(subject, effective, now);
    let (tag, digest) = (subject.tag.clone(), subject.digest.cloned());
    Assessed { tag, digest, verdicts, score, looked_in, signers, contradicted }
}

/// Lifts what exceptions name, for exactly their digest and until they end.
fn lift(
    exceptions: &[Exception],
    digest: Option<&Digest>,
    verdicts: &mut [(Layer, Verdict)],
    now: Timestamp,
) {
    let Some(digest) = digest else { return };
    for (layer, verdict) in verdicts.iter_mut().filter(|(_, verdict)| !verdict.lets_through()) {
        let lifting = exceptions.iter().find(|exception| exception.lifts(*layer, digest, now));
        verdict.lifted = lifting.map(|exception| {
            let ends = crate::text::instant(exception.ends);
            format!("VerificationException {} until {ends}", exception.name)
        });
    }
}
