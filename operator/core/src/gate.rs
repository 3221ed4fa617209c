//! The layers, and what each says of the best candidates.
//!
//! No layer is believed alone and none hides another: every one that has its inputs speaks. A layer is a function in
//! `gate/`, of its inputs and `now`, that gives a `gate/verdict.rs`; what it needs from outside is named as a [`Need`]
//! (`gate/fetched.rs`) and fetched by the controller.

pub mod binding;
pub mod drift;
pub mod fetched;
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
pub mod subject;
pub mod trust;
pub mod verdict;
pub mod way_back;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use self::fetched::{attached, found, manifest, served, shape};
use crate::current::{self, Choice, Chosen};
use crate::evidence::{Answer, Attached};
use crate::image::{Digest, Repository, Tag};
use crate::ledger::Ledger;
use crate::policy::{Facts, Rebuilds, Track};
use crate::select::Rule;
use crate::trust::score::{self, Witness};
use crate::trust::{Demand, Effective, Exception};

pub use fetched::{Evidence, Need};
pub use subject::Subject;
pub use verdict::{Assessed, Layer, Verdict, Word, lacks_evidence, worst};
pub use way_back::WayBack;

/// How many candidates of a track are resolved and judged: all that a pass keeps.
pub const MAX_ASSESSED: usize = crate::select::MAX_SHORTLIST;

/// What a person does about silence.
pub(crate) const SILENCE: &str = "Nothing is concluded from silence; asked again by itself.";

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
        let named = way_back::running_tag(facts, track, choice, evidence, &mut needs);
        ways_back.push(way_back::judge(facts, track, choice, named.as_ref(), evidence, &mut needs));
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
