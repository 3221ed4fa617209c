//! Whether the statements that somebody asks for are there, signed, and say what they must. The type is compared before the
//! content: a rule never runs over a statement of another kind, and one that cannot be run has not held.

use jiff::Timestamp;

use crate::evidence::{Attached, Budget, Content, Item, RuleAnswer};
use crate::gate::{Layer, SILENCE, Subject, Verdict, Word, worst};
use crate::reason::Reason;
use crate::text;
use crate::trust::signers::Vouch;
use crate::trust::{AttestationRule, Authority, Decision, Demand, Effective};

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

/// Whether a signed SBOM is there; `None` where nobody asks. Of those who ask most each is answered by its own signers.
pub fn sbom(subject: &Subject<'_>, effective: &Effective<'_>, now: Timestamp) -> Option<Verdict> {
    let demand = effective.demand(Layer::Sbom);
    if demand == Demand::Off {
        return None;
    }
    let asking = effective.decisions.iter().filter(|decision| decision.demand(Layer::Sbom) == demand);
    worst(asking.map(|decision| {
        // Nothing waits for what is only told.
        let answering =
            if demand == Demand::Required { effective.answering(decision) } else { effective.authorities() };
        sbom_by(&answering, decision, subject, effective, now).demanded(demand)
    }))
}

fn sbom_by<'a>(
    answering: &[&'a Authority],
    asking: &Decision,
    subject: &Subject<'a>,
    effective: &Effective<'a>,
    now: Timestamp,
) -> Verdict {
    let expected = "a signed list of what is in the image";
    let absent = || {
        Verdict::new(Word::Absent, Reason::SbomAbsent, expected, "none").hint(format!(
            "Attach one with `cosign attest --type spdxjson` or `cyclonedx`, or correct {}.",
            asking.origin
        ))
    };
    let is_sbom = |item: &Item| kind(item).is_some_and(|kind| SBOM.iter().any(|sbom| is_of(kind, sbom)));
    let attached = match subject.looked() {
        Ok(Some(attached)) => attached,
        Ok(None) => return absent(),
        Err(silence) => return silent(expected, &silence),
    };
    let mut found =
        answering.iter().flat_map(|authority| effective.of_authority(authority, attached, now, is_sbom));
    match (found.next(), attached.silence(), attached.exhausted) {
        (Some(vouch), _, _) => Verdict::new(
            Word::Pass,
            Reason::SbomPresent,
            expected,
            format!("one by {}", vouch.authority.name),
        ),
        (None, Some(silence), _) => silent(expected, &silence),
        (None, None, Some(budget)) => unread(expected, budget, attached),
        (None, None, None) => absent(),
    }
}

fn silent(expected: &str, why: &str) -> Verdict {
    Verdict::new(Word::Unknown, Reason::AttestationUnknown, expected, why.to_owned()).hint(SILENCE)
}

/// What was not read may be the statement that is looked for.
fn unread(expected: &str, budget: Budget, attached: &Attached) -> Verdict {
    let observed =
        format!("none among the first {}; {} more were not read", attached.items.len(), attached.n_left_out);
    let hint = match budget {
        Budget::Count | Budget::Bytes => {
            "Delete what is attached to the digest and is no statement of yours."
        }
        Budget::Time => "The registry was too slow for all of it; read again by itself.",
    };
    Verdict::new(Word::Unknown, Reason::EvidenceBudgetExhausted, expected, observed).hint(hint)
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
    let attached = match subject.looked() {
        Ok(Some(attached)) => attached,
        Ok(None) => return absent(decision, rule, expected, "nothing attached to the digest"),
        Err(silence) => return silent(&expected, &silence),
    };
    let of_type: Vec<&Item> =
        attached.items.iter().filter(|item| kind(item) == Some(rule.predicate_type.as_str())).collect();
    let signed = signed_by(effective, decision, rule, attached, now);
    if let Some(verdict) = best(rule, decision, &signed) {
        return verdict;
    }
    if let Some(silence) = attached.silence() {
        return silent(&expected, &silence);
    }
    if let Some(budget) = attached.exhausted {
        return unread(&expected, budget, attached);
    }
    if of_type.is_empty() {
        return absent(decision, rule, expected, "none of that type");
    }
    let may: Vec<&str> = match rule.authorities.as_slice() {
        [] => decision.authorities.iter().map(|one| one.name.as_str()).collect(),
        named => named.iter().map(String::as_str).collect(),
    };
    Verdict::new(
        Word::Fail,
        Reason::AttestationUntrusted,
        expected,
        format!("{} of that type, none by an authority that may sign it", of_type.len()),
    )
    .hint(format!(
        "No pod was started. Sign it by {}, or correct {}.",
        may.join(" or "),
        decision.origin
    ))
}

fn absent(decision: &Decision, rule: &AttestationRule, expected: String, observed: &str) -> Verdict {
    Verdict::new(Word::Absent, Reason::AttestationAbsent, expected, observed).hint(format!(
        "No pod was started. Attach it with `cosign attest --type {}`, or correct {}.",
        text::clean(&rule.predicate_type, 120),
        decision.origin
    ))
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
    // While one was not run nothing is concluded from the others.
    let is_unasked = |answer: &&RuleAnswer| matches!(answer, RuleAnswer::Unasked { .. });
    let told = answers.iter().flatten().find(is_unasked).or_else(|| answers.iter().flatten().next());
    let (word, reason, observed) = match told.cloned() {
        Some(RuleAnswer::Fails { observed }) => (Word::Fail, failed, text::clean(&observed, 160)),
        Some(RuleAnswer::Error { why }) => (
            Word::Fail,
            Reason::RuleNotRun,
            format!("the rule cannot be run over it: {}", text::clean(&why, 160)),
        ),
        Some(RuleAnswer::Unasked { why }) => (
            Word::Unknown,
            Reason::RuleNotRun,
            format!("the rule was not run over it: {}", text::clean(&why, 160)),
        ),
        Some(RuleAnswer::Holds) | None => {
            (Word::Unknown, Reason::RuleNotRun, "the rule was not run over it".to_owned())
        }
    };
    let origin = &decision.origin;
    let hint = match (reason, word) {
        (Reason::RuleNotRun, Word::Unknown) => "Asked again by itself.".to_owned(),
        (Reason::RuleNotRun, _) => format!(
            "No pod was started. Correct the rule in {origin}, or attach a statement that has what the rule reads."
        ),
        (Reason::ProvenanceRuleFailed, _) => {
            format!("No pod was started. Build it as the rule wants, or correct {origin}.")
        }
        (_, _) => format!(
            "No pod was started. Mend what the statement says and attach a new one, or correct the rule in {origin}."
        ),
    };
    Some(Verdict::new(word, reason, expected, observed).hint(hint))
}
