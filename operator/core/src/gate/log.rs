//! Whether signing was public and at a time that somebody else vouches for: a key that leaked signs in secret, and a certificate
//! lives ten minutes.

use jiff::Timestamp;

use crate::evidence::{Answer, Attached, Signer};
use crate::gate::{Layer, Subject, Verdict, Word, worst};
use crate::reason::Reason;
use crate::text;
use crate::trust::{Authority, Decision, Demand, Effective};

/// `None` where nobody asks for it.
pub fn judge(subject: &Subject<'_>, effective: &Effective<'_>, now: Timestamp) -> Option<Verdict> {
    if effective.demand(Layer::Log) == Demand::Off {
        return None;
    }
    let Some(Answer::Found(attached)) = subject.attached else { return Some(nothing()) };
    let asking = effective.with_authorities().filter(|decision| decision.demand(Layer::Log) != Demand::Off);
    worst(asking.map(|decision| {
        of_decision(effective, decision, attached, now).demanded_if_judged(decision.demand(Layer::Log))
    }))
}

/// Nothing to look at: the signature layer has said so, and this one adds nothing.
fn nothing() -> Verdict {
    Verdict::skipped(Reason::LogProofPresent).demanded(Demand::Advisory)
}

fn of_decision(
    effective: &Effective<'_>,
    decision: &Decision,
    attached: &Attached,
    now: Timestamp,
) -> Verdict {
    let mut logged: Vec<(&Authority, &Signer)> = Vec::new();
    let mut n_held = 0_usize;
    for authority in &decision.authorities {
        let Ok(found) = effective.word_of(authority, attached, now) else { continue };
        n_held = n_held.saturating_add(1);
        let fits = |signer: &&Signer| !authority.wants_log() || is_dated(authority, signer);
        logged.extend(found.iter().map(|vouch| vouch.signer).find(fits).map(|signer| (authority, signer)));
    }
    let expected = "its signing to be proved by a log or a timestamp";
    if n_held < decision.require {
        return others(attached).map_or_else(nothing, |observed| {
            Verdict::new(Word::Pass, Reason::LogProofPresent, expected, observed)
        });
    }
    if decision.require <= logged.len() {
        let observed = logged.iter().find_map(|(_, signer)| dated(signer));
        return Verdict::new(
            Word::Pass,
            Reason::LogProofPresent,
            expected,
            observed.unwrap_or_else(|| "no log asked for".to_owned()),
        );
    }
    if let Some(fault) = fault(effective, decision, attached, now) {
        return Verdict::new(Word::Fail, Reason::LogProofInvalid, expected, fault).hint(format!(
            "No pod was started. Sign it anew with a log entry, give the TrustRoot that knows the log a current trusted_root.json, or correct {}.",
            decision.origin
        ));
    }
    let names: Vec<&str> = decision.authorities.iter().map(|authority| authority.name.as_str()).collect();
    Verdict::new(
        Word::Fail,
        Reason::LogProofAbsent,
        format!("the signature of {} in a transparency log", names.join(", ")),
        "a signature that no log and no timestamp authority has seen",
    )
    .hint(format!("No pod was started. Sign it with a log entry, or correct {}.", decision.origin))
}

/// Why the entry of a signature in a log proves nothing, where it has one: that is more than none.
fn fault(
    effective: &Effective<'_>,
    decision: &Decision,
    attached: &Attached,
    now: Timestamp,
) -> Option<String> {
    let asking = decision.authorities.iter().filter(|authority| authority.wants_log());
    let found = asking.filter_map(|authority| effective.word_of(authority, attached, now).ok()).flatten();
    let fault = found.filter_map(|vouch| vouch.signer.log_fault.as_ref()).next()?;
    Some(format!("an entry in a log that does not hold: {}", text::clean(fault, 160)))
}

/// A log is what was asked for; otherwise a timestamp says as well when it was signed.
fn is_dated(authority: &Authority, signer: &Signer) -> bool {
    signer.in_log || (!authority.require_log && signer.timestamped_at.is_some())
}

fn dated(signer: &Signer) -> Option<String> {
    match (signer.logged_at, signer.timestamped_at) {
        (Some(at), _) => Some(format!("logged {}", text::instant(at))),
        (None, Some(at)) => Some(format!("timestamped {}", text::instant(at))),
        (None, None) if signer.in_log => Some("logged".to_owned()),
        (None, None) => None,
    }
}

/// Of others' signatures: their proof holds, whoever they are.
fn others(attached: &Attached) -> Option<String> {
    let signers =
        attached.items.iter().flat_map(|item| item.checks.values()).filter_map(|check| check.as_ref().ok());
    signers.filter_map(dated).next()
}
