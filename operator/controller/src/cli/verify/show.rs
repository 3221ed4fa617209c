//! The answer of `rollforward verify` as a table for people and as data for programs.

use rollforward_core::evidence::{Answer, Attached, Content, Item, Signer};
use rollforward_core::gate::offline::{ELSEWHERE, Outcome};
use rollforward_core::gate::{Layer, Verdict, Word};
use rollforward_core::text::{clean, instant};
use rollforward_core::trust::Demand;
use serde_json::{Value, json};

use super::{Decided, Verified};

/// A line a layer, a line a signature, and the sentence that counts.
pub(super) fn table(verified: &Verified) -> String {
    let short = verified.digest.as_ref().map_or(String::new(), |digest| format!("@{}", digest.short()));
    let image = format!("{}{short}", named(verified));
    let mut text = format!("{:<11} {:<8} {:<26} {}\n", "LAYER", "WORD", "CODE", "WHAT");
    for (layer, verdict) in &verified.verdicts {
        let word = shown(verdict);
        text.push_str(&format!(
            "{:<11} {:<8} {:<26} {}\n",
            layer.name(),
            word,
            verdict.reason.code(),
            what(verdict)
        ));
    }
    if verified.image.tag.is_none() && verified.digest.is_some() {
        text.push_str("Binding is not judged: the reference names no tag.\n");
    }
    if let Some(decided) = &verified.decided {
        text.push_str(&whose_word(decided));
    }
    text.push_str(&signatures(verified.attached.as_ref()));
    let verdict = match (verified.outcome, blocking(verified)) {
        (Outcome::Refused | Outcome::Unknown, Some((_, verdict))) => sentence(&image, verdict),
        (_, _) => format!("Verified: {image}."),
    };
    text.push_str(&format!("\n{verdict}\n"));
    text
}

/// Whose word counted, whose did not, and what the file asks that only a cluster can answer.
fn whose_word(decided: &Decided) -> String {
    let mut text = String::from("\n");
    let listed = |names: &[String]| clean(&names.join("; "), 400);
    if decided.by.is_empty() {
        text.push_str("Decided by: nobody.\n");
    } else {
        text.push_str(&format!("Decided by: {}.\n", listed(&decided.by)));
    }
    if !decided.not_about.is_empty() {
        text.push_str(&format!("Not about this repository: {}.\n", listed(&decided.not_about)));
    }
    let elsewhere: Vec<&str> = ELSEWHERE.iter().map(|layer| layer.name()).collect();
    text.push_str(&format!("Not judged without a cluster: {}.\n", elsewhere.join(", ")));
    text
}

/// The same as data. The digest is whole: it is what may be deployed.
pub(super) fn json(verified: &Verified) -> Value {
    let layers = verified.verdicts.iter().map(|(layer, verdict)| {
        json!({
            "layer": layer.name(), "word": word(verdict), "code": verdict.reason.code(),
            "demand": if verdict.demand == Demand::Required { "Required" } else { "Advisory" },
            "expected": verdict.expected, "observed": verdict.observed, "hint": hint(verdict),
            "liftedBy": verdict.lifted,
        })
    });
    let items = verified.attached.iter().flat_map(|attached| &attached.items);
    let code = blocking(verified).map(|(_, verdict)| verdict.reason.code());
    json!({
        "image": named(verified),
        "digest": verified.digest.as_ref().map(|digest| digest.as_str()),
        "outcome": outcome(verified.outcome),
        "code": code,
        "decidedBy": verified.decided.as_ref().map(|decided| &decided.by),
        "notAbout": verified.decided.as_ref().map(|decided| &decided.not_about),
        "layers": layers.collect::<Vec<_>>(),
        "signatures": items.map(item_as_json).collect::<Vec<_>>(),
        "leftOut": verified.attached.as_ref().map_or(0, |attached| attached.n_left_out),
    })
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Verified => "Verified",
        Outcome::Refused => "Refused",
        Outcome::Unknown => "Unknown",
    }
}

/// The reference as it was written, without its digest.
fn named(verified: &Verified) -> String {
    let tag = verified.image.tag.as_ref().map_or(String::new(), |tag| format!(":{tag}"));
    format!("{}{tag}", verified.image.repository)
}

/// What decides: a refusal before what could not be asked.
fn blocking(verified: &Verified) -> Option<&(Layer, Verdict)> {
    let blocking = |words: fn(Word) -> bool| {
        verified.verdicts.iter().find(move |(_, verdict)| !verdict.lets_through() && words(verdict.word))
    };
    blocking(|word| matches!(word, Word::Fail | Word::Absent))
        .or_else(|| blocking(|word| matches!(word, Word::Unknown | Word::Waiting(_))))
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict.word {
        Word::Pass => "Pass",
        Word::Fail => "Fail",
        Word::Absent => "Absent",
        Word::Unknown => "Unknown",
        Word::Waiting(_) => "Waiting",
        Word::Skipped => "Skipped",
    }
}

/// What nothing waits for is in brackets.
fn shown(verdict: &Verdict) -> String {
    if verdict.passes() || verdict.demand == Demand::Required {
        word(verdict).to_owned()
    } else {
        format!("({})", word(verdict))
    }
}

fn what(verdict: &Verdict) -> String {
    let observed = clean(&verdict.observed, 200);
    if verdict.passes() {
        return observed;
    }
    let lifted = verdict.lifted.as_ref().map_or(String::new(), |lifted| format!("; lifted by {lifted}"));
    format!("expected {}, observed {observed}{lifted}", clean(&verdict.expected, 200))
}

fn sentence(image: &str, verdict: &Verdict) -> String {
    let hint = match hint(verdict) {
        hint if hint.is_empty() => hint,
        hint => format!(" {hint}"),
    };
    format!("{}: {image}: {}.{hint}", verdict.reason.code(), what(verdict).trim_end_matches('.'))
}

/// What a person can do, without what is only true of an operator that looks again and starts pods.
fn hint(verdict: &Verdict) -> String {
    if verdict.hint.is_empty() || verdict.hint.contains("asked again by itself") {
        let silent = matches!(verdict.word, Word::Unknown | Word::Waiting(_));
        return if silent {
            "Nothing is concluded from silence; ask again.".to_owned()
        } else {
            String::new()
        };
    }
    verdict.hint.replace("No pod was started. ", "").trim().to_owned()
}

/// What was found, each with whoever signed it, or why it does not hold.
fn signatures(attached: Option<&Attached>) -> String {
    let Some(attached) = attached.filter(|attached| !attached.items.is_empty()) else { return String::new() };
    let mut text = String::from("\nFound:\n");
    for item in &attached.items {
        text.push_str(&format!("  {}: {}, {}\n", item.place, kind(item), clean(&judged(item), 250)));
    }
    for (place, answer) in &attached.looked_in {
        if let Answer::Unknown(unknown) = answer {
            text.push_str(&format!("  {place}: not known: {}\n", clean(&unknown.message, 200)));
        }
    }
    if 0 < attached.n_left_out {
        text.push_str(&format!("  {} more were not read\n", attached.n_left_out));
    }
    text
}

fn kind(item: &Item) -> String {
    match &item.content {
        Content::Signature { .. } => "signature".to_owned(),
        Content::Attestation { predicate_type, .. } => format!("attestation {}", clean(predicate_type, 100)),
        Content::Unreadable { .. } => "unreadable".to_owned(),
    }
}

fn judged(item: &Item) -> String {
    if let Content::Unreadable { why } = &item.content {
        return why.clone();
    }
    let held = item.checks.values().find_map(|check| check.as_ref().ok());
    match (held, item.checks.values().find_map(|check| check.as_ref().err())) {
        (Some(signer), _) => by(signer),
        (None, Some(fault)) => format!("does not hold: {}", fault.message),
        (None, None) => "not checked".to_owned(),
    }
}

fn by(signer: &Signer) -> String {
    let who = signer.subject.as_deref().unwrap_or("the key");
    let issuer = signer.issuer.as_ref().map_or(String::new(), |issuer| format!(" ({issuer})"));
    let log = match &signer.log_fault {
        Some(fault) => format!(", with a log entry that does not hold ({fault})"),
        None if signer.in_log => ", in the log".to_owned(),
        None => ", in no log".to_owned(),
    };
    let time = signer.logged_at.or(signer.timestamped_at);
    let time = time.map_or(String::new(), |at| format!(", at {}", instant(at)));
    format!("by {who}{issuer}{log}{time}")
}

fn item_as_json(item: &Item) -> Value {
    let held = item.checks.values().find_map(|check| check.as_ref().ok());
    let fault = item.checks.values().find_map(|check| check.as_ref().err()).filter(|_| held.is_none());
    json!({
        "place": item.place.to_string(), "kind": kind(item), "holds": held.is_some(),
        "signer": held.map(|signer| json!({
            "subject": signer.subject, "issuer": signer.issuer, "claims": signer.claims, "inLog": signer.in_log,
            "logFault": signer.log_fault,
            "loggedAt": signer.logged_at.map(|at| at.to_string()),
            "timestampedAt": signer.timestamped_at.map(|at| at.to_string()),
        })),
        "fault": fault.map(|fault| json!({"kind": format!("{:?}", fault.kind), "message": fault.message})),
        "unreadable": if let Content::Unreadable { why } = &item.content { Some(why) } else { None },
    })
}
