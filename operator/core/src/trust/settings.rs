//! What the decisions for a repository amount to together, a line a requirement, each with who asks for it: for
//! `rollforward explain`. The same functions as the layers use; nothing is decided here.

use crate::gate::Layer;
use crate::text;
use crate::trust::{Binding, Decision, Demand, Effective, Listed, Origin};

/// The layers that a decision can make required, advisory or off.
const ASKED: [Layer; 7] = [
    Layer::Signature,
    Layer::Binding,
    Layer::Log,
    Layer::Provenance,
    Layer::Sbom,
    Layer::Drift,
    Layer::Score,
];

/// The lines. Without a decision there is one: nothing moves.
#[must_use]
pub fn lines(effective: &Effective<'_>) -> Vec<String> {
    if !effective.speaks() {
        return vec!["nobody decided what to trust: nothing moves".to_owned()];
    }
    let mut lines = Vec::new();
    for decision in effective.with_authorities() {
        let names: Vec<&str> = decision.authorities.iter().map(|one| one.name.as_str()).collect();
        lines.push(format!("signed by {} of {}: {}", decision.require, names.join(", "), decision.origin));
    }
    lines.push(unsigned(effective));
    let asked = ASKED.iter().filter(|layer| **layer != Layer::Binding || effective.has_authorities());
    lines.extend(asked.filter_map(|layer| demanded(effective, *layer)));
    lines.extend(soaks(effective));
    if effective.binding() == Binding::Required {
        let who = origins(effective, |one| one.binding == Binding::Required);
        lines.push(format!("a signed claim of the version: {who}"));
    }
    for decision in &effective.decisions {
        let source = decision.source.iter();
        lines.extend(source.map(|source| format!("built from {source}: {}", decision.origin)));
        lines.extend(decision.attestations.iter().map(|rule| {
            let word = if rule.required { "required" } else { "advisory" };
            let rule_text = rule
                .rule
                .as_ref()
                .map_or(String::new(), |rule| format!(" with `{}`", text::clean(rule, 120)));
            format!("statement {}{rule_text}, {word}: {}", rule.predicate_type, decision.origin)
        }));
        lines.extend(listed("denied", &decision.deny, &decision.origin));
        lines.extend(listed("allowed alone", &decision.allow, &decision.origin));
    }
    if !effective.has_authorities() {
        return lines;
    }
    let recheck = effective.recheck();
    let who = origins(effective, |one| one.recheck == Some(recheck));
    lines.push(format!("what runs is verified again every {}: {who}", text::span(recheck)));
    lines
}

/// Who asks; the operator's default where nobody does.
fn origins(effective: &Effective<'_>, asks: impl Fn(&Decision) -> bool) -> String {
    let asking = effective.decisions.iter().filter(|one| asks(one));
    let names: Vec<String> = asking.map(|one| one.origin.to_string()).collect();
    if names.is_empty() { "the default".to_owned() } else { names.join(", ") }
}

fn unsigned(effective: &Effective<'_>) -> String {
    if effective.allows_unsigned() {
        return format!("unsigned images allowed: {}", origins(effective, Decision::speaks));
    }
    format!("unsigned images denied: {}", origins(effective, |one| !one.allows_unsigned()))
}

fn demanded(effective: &Effective<'_>, layer: Layer) -> Option<String> {
    let demand = effective.demand(layer);
    let word = match demand {
        Demand::Required => "required",
        Demand::Advisory => "advisory",
        Demand::Off => return None,
    };
    Some(format!("layer {} {word}: {}", layer.name(), origins(effective, |one| one.demand(layer) == demand)))
}

/// Signed ones where signatures count, unsigned ones where they may run.
fn soaks(effective: &Effective<'_>) -> Vec<String> {
    let line = |what: &str, signed: bool| {
        let soak = effective.soak(signed);
        let asks = |one: &Decision| match effective.is_signed_for(one, signed) {
            true => one.soak.routine,
            false => one.soak.unsigned.max(one.soak.routine),
        };
        let who = origins(effective, |one| asks(one) == Some(soak));
        format!("known for {} {what}: {who}", text::span(soak))
    };
    let signed = effective.has_authorities().then(|| line("where signed", true));
    let unsigned = effective.allows_unsigned().then(|| line("where unsigned", false));
    signed.into_iter().chain(unsigned).collect()
}

fn listed(what: &str, listed: &Listed, origin: &Origin) -> Vec<String> {
    let mut lines = Vec::new();
    if !listed.repositories.is_empty() {
        lines.push(format!("{what}: {}: {origin}", text::clean(&listed.repositories.join(", "), 200)));
    }
    if !listed.digests.is_empty() {
        lines.push(format!("{what}: {} digests: {origin}", listed.digests.len()));
    }
    lines
}
