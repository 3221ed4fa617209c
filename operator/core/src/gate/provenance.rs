//! Whether the statements that somebody asks for are there, signed, and say what they must. The type is compared before the
//! content: a rule never runs over a statement of another kind, and one that cannot be run has not held.

use jiff::Timestamp;

use crate::evidence::{Answer, Attached, Content, Item, RuleAnswer};
use crate::gate::{Layer, Subject, Verdict, Word, worst};
use crate::reason::Reason;
use crate::text;
use crate::trust::signers::Vouch;
use crate::trust::{AttestationRule, Decision, Demand, Effective};

/// The types of an SBOM.
const SBOM: [&str; 2] = ["https://spdx.dev/Document", "https://cyclonedx.org/bom"];

/// `None` where nobody asks for a statement.
pub fn judge(subject: &Subject<'_>, effective: &Effective<'_>, now: Timestamp) -> Option<Verdict> {
    let rules = effective
        .decisions
        .iter()
        .flat_map(|decision| decision.attestations.iter().map(move |rule| (*decision, rule)));
    let verdicts = rules.filter(|(decision, _)| decision.demand(Layer::Provenance) != Demand::Off).map(
        |(decision, rule)| {
            let demand = if rule.required { decision.demand(Layer::Provenance) } else { Demand::Advisory };
            of_rule(subject, effective, decision, rule, now).demanded(demand)
        },
    );
    worst(verdicts)
}

/// Whether a signed SBOM is there; `None` where nobody asks.
pub fn sbom(subject: &Subject<'_>, effective: &Effective<'_>, now: Timestamp) -> Option<Verdict> {
    let demand = effective.demand(Layer::Sbom);
    if demand == Demand::Off {
        return None;
    }
    let expected = "a signed list of what is in the image";
    let is_sbom = |item: &Item| kind(item).is_some_and(|kind| SBOM.iter().any(|sbom| is_of(kind, sbom)));
    let verdict = match subject.attached {
        Some(Answer::Found(attached)) => {
            let authorities = effective.with_authorities().flat_map(|decision| &decision.authorities);
            let mut found =
                authorities.flat_map(|authority| effective.of_authority(authority, attached, now, is_sbom));
            match (found.next(), attached.silent(), attached.exhausted) {
                (Some(vouch), _, _) => Verdict::new(
                    Word::Pass,
                    Reason::SbomPresent,
                    expected,
                    format!("one by {}", vouch.authority.name),
                ),
                (None, Some((place, unknown)), _) => {
                    silent(expected, &format!("the {place} could not be read: {}", unknown.message))
                }
                (None, None, Some(_)) => silent(expected, "not all that is attached was read"),
                (None, None, None) => Verdict::new(Word::Absent, Reason::SbomAbsent, expected, "none")
                    .hint("Attach one with `cosign attest --type spdxjson`."),
            }
        }
        Some(Answer::Absent) => Verdict::new(Word::Absent, Reason::SbomAbsent, expected, "none")
            .hint("Attach one with `cosign attest --type spdxjson`."),
        Some(Answer::Unknown(unknown)) => silent(expected, &unknown.message),
        None => silent(expected, "not asked yet"),
    };
    Some(verdict.demanded(demand))
}

fn silent(expected: &str, why: &str) -> Verdict {
    Verdict::new(Word::Unknown, Reason::AttestationUnknown, expected, why.to_owned())
        .hint("Nothing is concluded from silence; asked again by itself.")
}

fn kind(item: &Item) -> Option<&str> {
    match &item.content {
        Content::Attestation { predicate_type, .. } => Some(predicate_type),
        Content::Signature { .. } | Content::Unreadable { .. } => None,
    }
}

/// Exactly that type, or a version of it: `https://spdx.dev/Document/v2.3`.
fn is_of(found: &str, wanted: &str) -> bool {
    found == wanted || found.strip_prefix(wanted).is_some_and(|rest| rest.starts_with("/v"))
}

fn of_rule(
    subject: &Subject<'_>,
    effective: &Effective<'_>,
    decision: &Decision,
    rule: &AttestationRule,
    now: Timestamp,
) -> Verdict {
    let expected = format!("a signed statement {}", rule.predicate_type);
    let attached = match subject.attached {
        Some(Answer::Found(attached)) => attached,
        Some(Answer::Unknown(unknown)) => return silent(&expected, &unknown.message),
        None => return silent(&expected, "not asked yet"),
        Some(Answer::Absent) => return absent(decision, expected, "nothing attached to the digest"),
    };
    let of_type: Vec<&Item> =
        attached.items.iter().filter(|item| kind(item) == Some(rule.predicate_type.as_str())).collect();
    let signed = signed_by(effective, decision, rule, attached, now);
    if let Some(verdict) = best(rule, decision, &signed) {
        return verdict;
    }
    if let Some((place, unknown)) = attached.silent() {
        return silent(&expected, &format!("the {place} could not be read: {}", unknown.message));
    }
    if attached.exhausted.is_some() {
        return silent(&expected, "not all that is attached was read");
    }
    if of_type.is_empty() {
        return absent(decision, expected, "none of that type");
    }
    Verdict::new(
        Word::Fail,
        Reason::AttestationUntrusted,
        expected,
        format!("{} of that type, none by an authority that may sign it", of_type.len()),
    )
    .hint(format!("No pod was started. Sign it by one of them, or correct {}.", decision.origin))
}

fn absent(decision: &Decision, expected: String, observed: &str) -> Verdict {
    Verdict::new(Word::Absent, Reason::AttestationAbsent, expected, observed)
        .hint(format!("No pod was started. Attach it with `cosign attest`, or correct {}.", decision.origin))
}

fn signed_by<'a>(
    effective: &Effective<'a>,
    decision: &'a Decision,
    rule: &AttestationRule,
    attached: &'a Attached,
    now: Timestamp,
) -> Vec<Vouch<'a>> {
    let may = |name: &String| rule.authorities.is_empty() || rule.authorities.contains(name);
    let of_type = |item: &Item| kind(item) == Some(rule.predicate_type.as_str());
    decision
        .authorities
        .iter()
        .filter(|authority| may(&authority.name))
        .flat_map(|authority| effective.of_authority(authority, attached, now, of_type))
        .collect()
}

/// One that holds is enough; otherwise what the first of them says instead. `None` where there is none.
fn best(rule: &AttestationRule, decision: &Decision, signed: &[Vouch<'_>]) -> Option<Verdict> {
    let first = signed.first()?;
    let Some(text) = &rule.rule else {
        return Some(Verdict::new(
            Word::Pass,
            Reason::AttestationVerified,
            format!("a signed statement {}", rule.predicate_type),
            format!("one by {}", first.authority.name),
        ));
    };
    let answer = |vouch: &Vouch<'_>| match &vouch.item.content {
        Content::Attestation { rules, .. } => rules.get(text).cloned(),
        Content::Signature { .. } | Content::Unreadable { .. } => None,
    };
    let expected = format!("{} to satisfy `{}`", rule.predicate_type, text::clean(text, 120));
    let answers: Vec<Option<RuleAnswer>> = signed.iter().map(answer).collect();
    if answers.contains(&Some(RuleAnswer::Holds)) {
        return Some(Verdict::new(Word::Pass, Reason::AttestationVerified, expected, "it does"));
    }
    let is_slsa = rule.predicate_type.contains("slsa.dev/provenance");
    let failed = if is_slsa { Reason::ProvenanceRuleFailed } else { Reason::AttestationRuleFailed };
    let (word, reason, observed) = match answers.into_iter().flatten().next() {
        Some(RuleAnswer::Fails { observed }) => (Word::Fail, failed, text::clean(&observed, 160)),
        Some(RuleAnswer::Error { why }) => (
            Word::Fail,
            Reason::RuleNotRun,
            format!("the rule cannot be run over it: {}", text::clean(&why, 160)),
        ),
        Some(RuleAnswer::Holds) | None => {
            (Word::Unknown, Reason::RuleNotRun, "the rule was not run over it".to_owned())
        }
    };
    let hint = format!("No pod was started. Build it as the rule wants, or correct {}.", decision.origin);
    Some(Verdict::new(word, reason, expected, observed).hint(hint))
}
