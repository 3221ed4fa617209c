//! The words of the layers: which layer, what it says of a candidate, and what all of them together say.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::image::{Digest, Tag};
use crate::ledger::Claim;
use crate::reason::Reason;
use crate::trust::Demand;
use crate::trust::score::Score;

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
