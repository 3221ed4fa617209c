//! Whether signing was public and at a time that somebody else vouches for: a key that leaked signs in secret, and a certificate
//! lives ten minutes.

use jiff::Timestamp;

use crate::evidence::{Answer, Attached, Signer};
use crate::gate::{Layer, Subject, Verdict, Word, worst};
use crate::reason::Reason;
use crate::text;
use crate::trust::signers::{Vouch, n_distinct};
use crate::trust::{Authority, Decision, Demand, Effective, Means, Origin};

/// `None` where nobody asks for it.
pub fn judge(subject: &Subject<'_>, effective: &Effective<'_>, now: Timestamp) -> Option<Verdict> {
    if effective.demand(Layer::Log) == Demand::Off {
        return None;
    }
    let Some(Answer::Found(attached)) = subject.attached else { return Some(nothing()) };
    let asking = effective.with_authorities().map(|decision| Asked::of(effective, decision));
    let asking = asking.filter(|asked| asked.demand != Demand::Off);
    worst(asking.filter_map(|asked| {
        Some(of_decision(effective, &asked, attached, now)?.demanded_if_judged(asked.demand))
    }))
}

/// A decision whose signers are asked for a log.
struct Asked<'a> {
    decision: &'a Decision,
    demand: Demand,
    /// Whether somebody wrote so for all of its authorities, whatever they are.
    of_all: bool,
    /// Who can take it back.
    by: &'a Origin,
}

impl<'a> Asked<'a> {
    /// Its own `layers`, or `Required` in those of somebody who names no authority: that is meant of everybody's.
    fn of(effective: &Effective<'a>, decision: &'a Decision) -> Self {
        let written = |one: &Decision| one.layers.get(&Layer::Log).copied();
        let mut without = effective.decisions.iter().filter(|one| one.authorities.is_empty());
        match without.find(|one| written(one) == Some(Demand::Required)) {
            Some(other) if written(decision) != Some(Demand::Required) => {
                Self { decision, demand: Demand::Required, of_all: true, by: &other.origin }
            }
            Some(_) | None => Self {
                decision,
                demand: decision.demand(Layer::Log),
                of_all: written(decision).is_some(),
                by: &decision.origin,
            },
        }
    }

    fn wants(&self, authority: &Authority) -> bool {
        self.of_all || authority.wants_log()
    }
}

/// Nothing to look at: the signature layer has said so, and this one adds nothing.
fn nothing() -> Verdict {
    Verdict::skipped(Reason::LogProofPresent).demanded(Demand::Advisory)
}

/// `None` where none of those who signed had to be logged, and none was: that is no evidence of anything.
fn of_decision(
    effective: &Effective<'_>,
    asked: &Asked<'_>,
    attached: &Attached,
    now: Timestamp,
) -> Option<Verdict> {
    let decision = asked.decision;
    let mut logged: Vec<Vec<Vouch<'_>>> = Vec::new();
    for authority in &decision.authorities {
        let Ok(found) = effective.word_of(authority, attached, now) else { continue };
        let fits =
            |vouch: &Vouch<'_>| !asked.wants(authority) || is_dated(effective, authority, vouch.signer, now);
        logged.push(found.into_iter().filter(fits).collect());
    }
    let expected = "its signing to be proved by a log or a timestamp";
    let proved = |observed: String| Verdict::new(Word::Pass, Reason::LogProofPresent, expected, observed);
    if !effective.holds(decision, attached, now) {
        return Some(others(attached).map_or_else(nothing, proved));
    }
    if decision.require <= n_distinct(&logged) {
        return logged.iter().flatten().find_map(|vouch| dated(vouch.signer)).map(proved);
    }
    if let Some(fault) = fault(effective, asked, attached, now) {
        return Some(Verdict::new(Word::Fail, Reason::LogProofInvalid, expected, fault).hint(format!(
            "No pod was started. Sign it anew with a log entry, give the TrustRoot that knows the log a current trusted_root.json, or correct {}.",
            asked.by
        )));
    }
    let names: Vec<&str> = decision.authorities.iter().map(|authority| authority.name.as_str()).collect();
    let absent = Verdict::new(
        Word::Fail,
        Reason::LogProofAbsent,
        format!("the signature of {} in a transparency log", names.join(", ")),
        unlogged(effective, decision, attached, now),
    );
    Some(absent.hint(format!("No pod was started. Sign it with a log entry, or correct {}.", asked.by)))
}

/// Why the entry of a signature in a log proves nothing, where it has one: that is more than none.
fn fault(
    effective: &Effective<'_>,
    asked: &Asked<'_>,
    attached: &Attached,
    now: Timestamp,
) -> Option<String> {
    let asking = asked.decision.authorities.iter().filter(|authority| asked.wants(authority));
    let found = asking.filter_map(|authority| effective.word_of(authority, attached, now).ok()).flatten();
    let fault = found.filter_map(|vouch| vouch.signer.log_fault.as_ref()).next()?;
    Some(format!("an entry in a log that does not hold: {}", text::clean(fault, 160)))
}

/// What there is instead of an entry. A timestamp is named where it is there: it would suffice by a trust root without logs.
fn unlogged(
    effective: &Effective<'_>,
    decision: &Decision,
    attached: &Attached,
    now: Timestamp,
) -> &'static str {
    let words = decision.authorities.iter().filter_map(|one| effective.word_of(one, attached, now).ok());
    if words.flatten().any(|vouch| vouch.signer.timestamped_at.is_some()) {
        "a signature with a timestamp and without an entry in a log"
    } else {
        "a signature that no log and no timestamp authority has seen"
    }
}

/// By an entry in a log. A timestamp says as well when it was signed, but not in public: it suffices where no log is asked for
/// and the trust root has none.
fn is_dated(effective: &Effective<'_>, authority: &Authority, signer: &Signer, now: Timestamp) -> bool {
    let could_be_logged = match &authority.means {
        Means::Keyless { root, .. } => effective.root(root, now).has_logs(),
        Means::Key { .. } | Means::Unreadable { .. } => true,
    };
    signer.in_log || (!authority.require_log && !could_be_logged && signer.timestamped_at.is_some())
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
