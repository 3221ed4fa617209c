//! The layers, and what each says of the best candidates.
//!
//! No layer is believed alone and none hides another: every one that has its inputs speaks. A layer is a function in
//! `gate/`, of its inputs and `now`; what it needs from outside is named as a [`Need`] and fetched by the controller.

pub mod label;
pub mod ledger;
pub mod platform;
pub mod quarantine;
pub mod resolved;
pub mod soak;
pub mod trust;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::current::{Choice, Chosen};
use crate::evidence::{Answer, Attached, Manifest};
use crate::image::{Digest, Repository, Tag};
use crate::ledger::{Abandoned, Ledger};
use crate::policy::{Facts, Rebuilds, Track};
use crate::reason::Reason;
use crate::select::{Order, Rule};

/// How many candidates of a track are resolved and judged: all that a pass keeps.
pub const MAX_ASSESSED: usize = crate::select::MAX_SHORTLIST;

/// One kind of check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Somebody decided what to trust.
    Trust,
    /// The tag is resolved to a digest, once.
    Digest,
    /// The image runs on the nodes in use.
    Platform,
    /// The tag has not moved; the digest is new.
    Ledger,
    /// The digest has not failed here.
    Quarantine,
    /// The digest has been known for long enough.
    Soak,
}

impl Layer {
    /// The layer's name as it is published.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Layer::Trust => "Trust",
            Layer::Digest => "Digest",
            Layer::Platform => "Platform",
            Layer::Ledger => "Ledger",
            Layer::Quarantine => "Quarantine",
            Layer::Soak => "Soak",
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
}

impl Verdict {
    /// A verdict without a hint.
    pub fn new(word: Word, reason: Reason, expected: impl Into<String>, observed: impl Into<String>) -> Self {
        Self { word, reason, expected: expected.into(), observed: observed.into(), hint: String::new() }
    }

    /// The same with what a person can do.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    /// A layer that had nothing to look at.
    pub fn skipped(reason: Reason) -> Self {
        Self::new(Word::Skipped, reason, "", "")
    }

    /// Whether the candidate may go on.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.word == Word::Pass
    }
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
}

impl Assessed {
    /// The first layer that does not let it through.
    #[must_use]
    pub fn blocking(&self) -> Option<(Layer, &Verdict)> {
        let refusals = || self.verdicts.iter().filter(|(_, verdict)| !verdict.passes());
        // A refusal says more than a wait: a quarantined digest that also soaks is not "waiting".
        refusals()
            .find(|(_, verdict)| matches!(verdict.word, Word::Fail | Word::Absent | Word::Unknown))
            .or_else(|| refusals().max_by_key(|(_, verdict)| waits_until(verdict)))
            .map(|(layer, verdict)| (*layer, verdict))
    }

    /// When it passes by time alone; `None` where it needs more than time.
    #[must_use]
    pub fn passes_at(&self) -> Option<Timestamp> {
        self.verdicts.iter().try_fold(Timestamp::MIN, |latest, (_, verdict)| match verdict.word {
            Word::Pass => Some(latest),
            Word::Waiting(until) => Some(latest.max(until)),
            Word::Fail | Word::Absent | Word::Unknown | Word::Skipped => None,
        })
    }
}

fn waits_until(verdict: &Verdict) -> Timestamp {
    match verdict.word {
        Word::Waiting(until) => until,
        Word::Pass | Word::Fail | Word::Absent | Word::Unknown | Word::Skipped => Timestamp::MIN,
    }
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
    let mut running_tag = Vec::new();
    for choice in &chosen {
        let Some(track) = facts.seen.tracks.get(choice.track) else {
            continue;
        };
        let ledger = ledgers.get(&track.repository);
        let unresolved = choice.probe.iter().map(|tag| (facts.asked(track).clone(), tag.clone()));
        let unresolved = unresolved.filter(|key| !evidence.digests.contains_key(key));
        needs.extend(unresolved.map(|(repository, tag)| Need::Digest(repository, tag)));
        candidates.push(assess_track(facts, track, choice, ledger, evidence, &mut needs));
        running_tag.push(running(facts, track, choice, evidence, &mut needs));
    }
    needs.sort();
    needs.dedup();
    (Assessment { chosen, candidates, ledgers, running_tag }, needs)
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
        moved && facts.policy.rebuilds == Rebuilds::Follow
    });
    best.chain(rebuilt).collect()
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

fn assess_track(
    facts: &Facts,
    track: &Track,
    choice: &Chosen,
    ledger: Option<&Ledger>,
    evidence: &Evidence,
    needs: &mut Vec<Need>,
) -> Vec<Assessed> {
    let Some(ledger) = ledger else { return Vec::new() };
    best(facts, track, choice, evidence)
        .into_iter()
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
            let manifest = digest.and_then(|digest| {
                let answer = evidence.manifests.get(&(repository.clone(), digest.clone()));
                if answer.is_none() {
                    needs.push(Need::Manifest(repository.clone(), digest.clone()));
                }
                answer
            });
            let mirror = facts
                .mirror(track)
                .map(|mirror| (mirror, digest.and_then(|digest| served(mirror, digest, evidence, needs))));
            let subject = Subject {
                tag,
                digest,
                answer,
                manifest,
                mirror,
                ledger,
                running: choice.current.as_ref().and_then(|current| current.digest.as_ref()),
                left: choice.memory.abandoned.as_ref(),
                order: facts.policy.order(),
            };
            Assessed { tag: tag.clone(), digest: digest.cloned(), verdicts: verdicts(facts, &subject) }
        })
        .collect()
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
}

fn verdicts(facts: &Facts, subject: &Subject<'_>) -> Vec<(Layer, Verdict)> {
    let policy = &facts.policy;
    vec![
        (Layer::Trust, trust::judge(policy.trust.as_ref())),
        (Layer::Digest, resolved::judge(subject)),
        (Layer::Platform, platform::judge(subject, &facts.seen.platforms)),
        (Layer::Ledger, ledger::judge(subject)),
        (Layer::Quarantine, quarantine::judge(subject, &policy.id.name, facts.now)),
        (Layer::Soak, soak::judge(subject, policy.trust.as_ref(), facts.now)),
    ]
}
