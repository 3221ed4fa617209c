//! Which decisions count for a repository, and what they want together: all that match must pass, so the strictest word of
//! each counts. An `UpdatePolicy`'s own can only add to them, and so can the floor of the operator's configuration.

use jiff::{SignedDuration, Timestamp};

use crate::evidence::{Questions, Verifier};
use crate::gate::Layer;
use crate::image::{Repository, is_named_by};
use crate::policy::{Facts, Track};
use crate::trust::{
    Authority, Binding, Decision, Demand, Means, RECHECK, Root, RootContent, Roots, SOAK_ROUTINE, Soak,
    Unreadable,
};

/// The decisions that count for one track, and the roots that they name.
#[derive(Debug, Clone)]
pub struct Effective<'a> {
    /// At least one of them speaks, or nobody decided.
    pub decisions: Vec<&'a Decision>,
    /// The trust roots of the namespace.
    pub roots: &'a Roots,
    /// The soak of an unsigned digest where nobody says.
    pub soak_unsigned: SignedDuration,
}

impl<'a> Effective<'a> {
    /// The decisions for a track: those whose patterns match the repository that is asked, or the mirror that is written.
    #[must_use]
    pub fn of(facts: &'a Facts, track: &Track) -> Self {
        Self::of_repositories(facts, &[facts.asked(track), &track.repository])
    }

    /// The decisions that match one of these repositories.
    #[must_use]
    pub fn of_repositories(facts: &'a Facts, repositories: &[&Repository]) -> Self {
        let names: Vec<String> = repositories.iter().map(ToString::to_string).collect();
        let all = facts.seen.decisions.iter().chain(&facts.policy.trust);
        Self::among(all, &names, &facts.seen.roots, facts.policy.soak_unsigned)
    }

    /// Those of some decisions that are about a repository of these names.
    #[must_use]
    pub fn among(
        all: impl Iterator<Item = &'a Decision>,
        names: &[String],
        roots: &'a Roots,
        soak_unsigned: SignedDuration,
    ) -> Self {
        let decisions = all.filter(|decision| matches(&decision.repositories, names)).collect();
        Self { decisions, roots, soak_unsigned }
    }

    /// Whether anybody decided what to trust.
    #[must_use]
    pub fn speaks(&self) -> bool {
        self.decisions.iter().any(|decision| decision.speaks())
    }

    /// Whether every decision allows unsigned images.
    #[must_use]
    pub fn allows_unsigned(&self) -> bool {
        self.speaks() && self.decisions.iter().all(|decision| decision.allows_unsigned())
    }

    /// The decisions that name authorities.
    pub fn with_authorities(&self) -> impl Iterator<Item = &'a Decision> + '_ {
        self.decisions.iter().copied().filter(|decision| !decision.authorities.is_empty())
    }

    /// Whether anybody names an authority.
    #[must_use]
    pub fn has_authorities(&self) -> bool {
        self.with_authorities().next().is_some()
    }

    /// The strictest demand on a layer.
    #[must_use]
    pub fn demand(&self, layer: Layer) -> Demand {
        self.decisions.iter().map(|decision| decision.demand(layer)).max().unwrap_or(Demand::Off)
    }

    /// The strictest wish for a version in what is signed, where anybody could sign. A decision without authorities counts where it
    /// writes that silence is refused: its default lifts nobody's `Off`.
    #[must_use]
    pub fn binding(&self) -> Binding {
        let counts = |one: &&&Decision| !one.authorities.is_empty() || one.binding == Binding::Required;
        let counting = self.decisions.iter().filter(counts).filter(|_| self.has_authorities());
        counting.map(|decision| decision.binding).max().unwrap_or(Binding::Off)
    }

    /// How long a digest must have been known, signed or not: the longest that any of them asks for.
    ///
    /// An unsigned one never for less than a signed one: else taking a signature away would let an image through sooner.
    #[must_use]
    pub fn soak(&self, signed: bool) -> SignedDuration {
        let asked: Vec<(bool, Soak)> = self
            .decisions
            .iter()
            .map(|decision| (self.is_signed_for(decision, signed), self.soak_of(decision)))
            .collect();
        let routine = asked.iter().filter_map(|(_, soak)| soak.routine).max();
        let routine = routine.unwrap_or(SOAK_ROUTINE.min(self.soak_unsigned));
        let unsigned = asked.iter().filter(|(signed, _)| !signed).filter_map(|(_, soak)| soak.unsigned).max();
        let unsigned = unsigned.or_else(|| (!signed).then_some(self.soak_unsigned));
        unsigned.map_or(routine, |unsigned| unsigned.max(routine))
    }

    /// The soak that a decision asks for. What it leaves out is its default: a silent security team has not left the soak to
    /// the policy. A policy's own word counts so only where it is the one that says what to trust.
    fn soak_of(&self, decision: &Decision) -> Soak {
        let others_speak = self.decisions.iter().any(|one| !one.is_own() && one.speaks());
        if !decision.speaks() || (decision.is_own() && others_speak) {
            return decision.soak;
        }
        let unsigned = decision.soak.unsigned.unwrap_or(self.soak_unsigned);
        let routine = decision.soak.routine.unwrap_or(SOAK_ROUTINE.min(unsigned));
        Soak { routine: Some(routine), unsigned: Some(unsigned) }
    }

    /// How often what runs is verified again.
    #[must_use]
    pub fn recheck(&self) -> SignedDuration {
        self.decisions.iter().filter_map(|decision| decision.recheck).min().unwrap_or(RECHECK)
    }

    /// The root that an authority names, where it can be used now.
    pub(crate) fn root(&self, name: &str, now: Timestamp) -> RootState<'a> {
        let Some(root) = self.roots.get(name) else { return RootState::Missing };
        match &root.content {
            RootContent::Unreadable { why } => RootState::Unreadable(why),
            RootContent::PublicGood | RootContent::GitHub | RootContent::Json(_) => match root.expires {
                Some(expires) if expires <= now => RootState::Expired(expires),
                Some(_) | None => RootState::Usable(root),
            },
        }
    }

    /// The verifier of an authority, where it can be asked.
    #[must_use]
    pub fn verifier(&self, authority: &Authority, now: Timestamp) -> Option<Verifier> {
        match &authority.means {
            Means::Key { pem } => Some(Verifier::Key { pem: pem.clone() }),
            Means::Keyless { root, .. } => match self.root(root, now) {
                RootState::Usable(root) => Some(root.verifier()),
                RootState::Missing | RootState::Unreadable(_) | RootState::Expired(_) => None,
            },
            Means::Unreadable { .. } => None,
        }
    }

    /// What is to be found out about digests.
    #[must_use]
    pub fn questions(&self, now: Timestamp) -> Questions {
        let mut questions = Questions::default();
        for decision in &self.decisions {
            let verifiers = decision.authorities.iter().filter_map(|authority| self.verifier(authority, now));
            questions.verifiers.extend(verifiers);
            for attestation in &decision.attestations {
                let rules = questions.rules.entry(attestation.predicate_type.clone()).or_default();
                rules.extend(attestation.rule.clone());
            }
        }
        questions
    }
}

/// How a trust root stands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RootState<'a> {
    /// It can be asked.
    Usable(&'a Root),
    /// There is none of this name.
    Missing,
    /// It cannot be read, and why.
    Unreadable(&'a Unreadable),
    /// Nothing can be proved by it any more.
    Expired(Timestamp),
}

impl RootState<'_> {
    /// Whether signing by it is public. Of one that cannot be asked nothing is given away.
    pub(crate) fn has_logs(self) -> bool {
        match self {
            RootState::Usable(root) => root.has_logs,
            RootState::Missing | RootState::Unreadable(_) | RootState::Expired(_) => true,
        }
    }
}

fn matches(patterns: &[String], names: &[String]) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| names.iter().any(|name| is_named_by(name, pattern)))
}
