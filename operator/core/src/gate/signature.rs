//! Whether a named signer vouches for the digest: k of n authorities of each decision. What is found instead is told by name.
//!
//! A silent place is `Unknown`, for the signature may be there; a budget that ended the reading is its own reason, for what was
//! not read may be the good one. Neither is "unsigned".

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::evidence::{Attached, Budget, Content, FaultKind, Item};
use crate::gate::{Layer, SILENCE, Subject, Verdict, Word, worst};
use crate::reason::Reason;
use crate::text;
use crate::trust::signers::Missing;
use crate::trust::unreadable::Needed;
use crate::trust::{Authority, Decision, Demand, Effective, Means, Unreadable};

/// A missing signature is looked for again so soon after the first sighting, then each time after twice as long.
const SOONEST: SignedDuration = SignedDuration::from_secs(30);
/// And never later than this.
const LATEST: SignedDuration = SignedDuration::from_mins(10);
/// The same in words, without an instant: the sentence stays while nothing changes.
const AGAIN: &str = "A signature is looked for again within 10 min, sooner while the image is new.";

/// How long an answer without a good signature counts that was found when the digest had been known for so long: a signature
/// mostly comes some seconds or minutes after its image.
#[must_use]
pub fn looked_for_again_after(known_for: SignedDuration) -> SignedDuration {
    known_for.clamp(SOONEST, LATEST)
}

/// `None` where nobody names an authority and unsigned images are allowed: then there is nothing to look for.
pub fn judge(subject: &Subject<'_>, effective: &Effective<'_>, now: Timestamp) -> Option<Verdict> {
    if !effective.speaks() {
        return None;
    }
    if !effective.has_authorities() {
        return denied_by_all(effective);
    }
    let found = match subject.looked() {
        Ok(Some(attached)) => attached,
        Ok(None) => return Some(absent(effective)),
        Err(silence) => return Some(unanswered(effective, &silence)),
    };
    let n_holding =
        effective.with_authorities().filter(|decision| effective.holds(decision, found, now)).count();
    let verdicts = effective.with_authorities().map(|decision| {
        let verdict = of_decision(effective, decision, found, now);
        verdict.demanded(demand(effective, decision, n_holding))
    });
    worst(verdicts)
}

/// A decision that allows unsigned images makes its own authorities advisory, as long as no other one denies them: one that
/// names no authority is satisfied by whoever signed, and where nobody did each of those who could have is missed.
fn demand(effective: &Effective<'_>, decision: &Decision, n_holding: usize) -> Demand {
    let others_deny =
        effective.decisions.iter().any(|other| other.authorities.is_empty() && !other.allows_unsigned());
    let demanded = decision.demand(Layer::Signature);
    if others_deny && n_holding == 0 {
        Demand::Required
    } else if decision.allows_unsigned() {
        demanded.min(Demand::Advisory)
    } else {
        demanded
    }
}

fn denied_by_all(effective: &Effective<'_>) -> Option<Verdict> {
    let denies = effective.decisions.iter().find(|decision| !decision.allows_unsigned())?;
    Some(
        Verdict::new(
            Word::Fail,
            Reason::NoAuthority,
            format!("a signature, as {} denies unsigned images", denies.origin),
            "no authority that could have signed",
        )
        .hint(format!("Name an authority in {}, or write `unsigned: Allow` there.", denies.origin)),
    )
}

fn unanswered(effective: &Effective<'_>, why: &str) -> Verdict {
    let demand = if effective.allows_unsigned() { Demand::Advisory } else { Demand::Required };
    Verdict::new(Word::Unknown, Reason::SignatureUnknown, expected_of_all(effective), why.to_owned())
        .hint(SILENCE)
        .demanded(demand)
}

fn absent(effective: &Effective<'_>) -> Verdict {
    let demand = if effective.allows_unsigned() { Demand::Advisory } else { Demand::Required };
    let by = effective.with_authorities().next().map_or_else(String::new, |decision| {
        let names: Vec<&str> = decision.authorities.iter().map(|one| one.name.as_str()).collect();
        format!(" by {}, as {} asks", names.join(" or "), decision.origin)
    });
    let observed = "nothing attached to the digest";
    Verdict::new(Word::Absent, Reason::SignatureAbsent, expected_of_all(effective), observed)
        .hint(format!("No pod was started. Sign the digest{by}. {AGAIN}"))
        .demanded(demand)
}

fn expected_of_all(effective: &Effective<'_>) -> String {
    effective.with_authorities().next().map_or_else(String::new, expected)
}

/// `authority ci (…/release.yml@refs/tags/v.*)`, or `2 of ci, security`.
pub fn expected(decision: &Decision) -> String {
    match decision.authorities.as_slice() {
        [one] => format!("authority {}", described(one)),
        several => {
            let names: Vec<&str> = several.iter().map(|one| one.name.as_str()).collect();
            format!("{} of the authorities {}", decision.require, names.join(", "))
        }
    }
}

fn described(authority: &Authority) -> String {
    match &authority.means {
        Means::Keyless { subject, .. } => {
            format!("{} ({})", authority.name, text::clean(&bare(&subject.to_string()), 120))
        }
        Means::Key { .. } | Means::Unreadable { .. } => format!("{} (key)", authority.name),
    }
}

/// Without the scheme: it is the same in all of them and the line is short.
fn bare(identity: &str) -> String {
    identity.strip_prefix("https://").unwrap_or(identity).to_owned()
}

fn of_decision(
    effective: &Effective<'_>,
    decision: &Decision,
    attached: &Attached,
    now: Timestamp,
) -> Verdict {
    let words: Vec<_> = decision
        .authorities
        .iter()
        .map(|authority| (authority, effective.word_of(authority, attached, now)))
        .collect();
    let n_held = effective.n_held(decision, attached, now);
    let held: Vec<&str> =
        words.iter().filter(|(_, word)| word.is_ok()).map(|(authority, _)| authority.name.as_str()).collect();
    if decision.require <= n_held {
        let n_bad = words.iter().filter_map(|(_, word)| word.as_ref().ok()).flatten();
        let n_bad = n_bad.filter(|vouch| vouch.signer.log_fault.is_some()).count();
        let mut observed = held.join(", ");
        if 0 < n_bad {
            observed.push_str(&format!(
                "; {n_bad} with a log entry that does not hold, which counts for nothing"
            ));
        }
        return Verdict::new(Word::Pass, Reason::SignatureVerified, expected(decision), observed);
    }
    if let Some(silence) = attached.silence() {
        return Verdict::new(Word::Unknown, Reason::SignatureUnknown, expected(decision), silence)
            .hint(SILENCE);
    }
    let missing =
        words.iter().filter_map(|(authority, word)| word.as_ref().err().map(|why| (*authority, why)));
    let (lacking, mut verdict) = missing
        .map(|(authority, why)| (authority.name.as_str(), refusal(decision, authority, why, attached)))
        .max_by_key(|(_, verdict)| gravity(verdict.reason))
        .unwrap_or_else(|| ("", short_of(decision, &held)));
    if let Some(budget) = attached.exhausted.filter(|_| !is_unusable(verdict.reason)) {
        return exhausted(decision, budget, attached);
    }
    if !held.is_empty() && !lacking.is_empty() && !is_unusable(verdict.reason) {
        let of = format!("{} of {} ({})", held.len(), decision.require, held.join(", "));
        verdict.observed = format!("{of}; of {lacking}: {}", verdict.observed);
        verdict.reason = Reason::SignaturesTooFew;
    }
    verdict
}

/// Which of several reasons is told, the last first: the one that says most of what to do.
const BY_GRAVITY: [Reason; 14] = [
    Reason::SignatureAbsent,
    Reason::SignatureUnsupported,
    Reason::SignatureInvalid,
    Reason::LogProofInvalid,
    Reason::SigningTimeUntrusted,
    Reason::SignatureSubjectMismatch,
    Reason::SignatureIdentityMismatch,
    Reason::SignatureClaimMismatch,
    Reason::RepositoryMismatch,
    Reason::AuthorityUnknown,
    Reason::AuthorityUnreadable,
    Reason::TrustRootMissing,
    Reason::TrustRootExpired,
    Reason::DecisionUnreadable,
];

fn gravity(reason: Reason) -> usize {
    BY_GRAVITY.iter().position(|one| *one == reason).unwrap_or_default()
}

/// Whether the authority itself could not be asked, for want of its key or root: that says nothing of the image, and what was left
/// unread does not matter.
#[must_use]
pub fn is_unusable(reason: Reason) -> bool {
    gravity(Reason::AuthorityUnknown) <= gravity(reason)
}

fn short_of(decision: &Decision, held: &[&str]) -> Verdict {
    Verdict::new(
        Word::Fail,
        Reason::SignaturesTooFew,
        expected(decision),
        format!("one identity that several of them mean ({})", held.join(", ")),
    )
    .hint(format!("Sign it by another authority, or correct {}.", decision.origin))
}

fn exhausted(decision: &Decision, budget: Budget, attached: &Attached) -> Verdict {
    // Time may suffice at the next look; junk stays until somebody deletes it.
    let junk = "Delete what is attached to the digest and is no signature of yours.";
    let slow = "The registry was too slow for all of it: read again by itself; where it stays so, delete what is no signature of yours.";
    let (word, what, hint) = match budget {
        Budget::Count => (Word::Fail, "number", junk),
        Budget::Bytes => (Word::Fail, "size", junk),
        Budget::Time => (Word::Unknown, "time", slow),
    };
    let n_read = attached.items.len();
    Verdict::new(
        word,
        Reason::EvidenceBudgetExhausted,
        expected(decision),
        format!(
            "none among the first {n_read}; {} more were not read (limit of {what})",
            attached.n_left_out
        ),
    )
    .hint(hint)
}

fn refusal(decision: &Decision, authority: &Authority, why: &Missing<'_>, attached: &Attached) -> Verdict {
    let origin = &decision.origin;
    let name = &authority.name;
    let told = |word, reason, observed: String, hint: String| {
        Verdict::new(word, reason, expected(decision), observed).hint(format!("No pod was started. {hint}"))
    };
    match why {
        Missing::Nothing => told(
            Word::Absent,
            Reason::SignatureAbsent,
            nothing(attached),
            format!("Sign the digest by {name}, as {origin} asks. {AGAIN}"),
        ),
        Missing::OtherIdentity => told(
            Word::Fail,
            Reason::SignatureIdentityMismatch,
            found_instead(attached),
            format!("Sign it by {name}, or correct {origin}."),
        ),
        Missing::Claim(claim, wanted, found) => told(
            Word::Fail,
            if claim.contains("epository") {
                Reason::RepositoryMismatch
            } else {
                Reason::SignatureClaimMismatch
            },
            format!(
                "{claim} {}, not {}",
                found.map_or_else(|| "not named".to_owned(), |found| text::clean(found, 120)),
                text::clean(wanted, 120)
            ),
            format!("Build it where {name} expects it, or correct {origin}."),
        ),
        Missing::Faults(kind, message) => {
            let (reason, hint) = of_fault(*kind, decision, authority);
            let found = format!("{}: {}", count(attached), text::clean(message, 160));
            told(Word::Fail, reason, found, hint)
        }
        Missing::NoRoot(_)
        | Missing::RootExpired(..)
        | Missing::RootUnreadable(..)
        | Missing::KeyUnreadable(_) => {
            unusable(decision, authority, why.clone()).unwrap_or_else(|| short_of(decision, &[]))
        }
    }
}

/// The word on an authority that cannot be asked; `None` for one that can.
pub(crate) fn unusable(decision: &Decision, authority: &Authority, why: Missing<'_>) -> Option<Verdict> {
    let origin = &decision.origin;
    let name = &authority.name;
    Some(match why {
        Missing::NoRoot(root) => Verdict::new(
            Word::Fail,
            Reason::TrustRootMissing,
            format!("TrustRoot {root}, by which {name} of {origin} is known"),
            "none of that name in the namespace",
        )
        .hint(format!("Create it, or correct {origin}.")),
        Missing::RootExpired(root, at) => Verdict::new(
            Word::Fail,
            Reason::TrustRootExpired,
            format!("TrustRoot {root}, by which {name} of {origin} is known, to be valid"),
            format!("that it expired {}", text::instant(at)),
        )
        .hint(format!("Give TrustRoot {root} a current trusted_root.json; until then it proves nothing.")),
        Missing::RootUnreadable(root, why) => unreadable(why, Needed::Root(root)),
        Missing::KeyUnreadable(why) => unreadable(why, Needed::Key { authority: name, origin }),
        Missing::Nothing | Missing::OtherIdentity | Missing::Claim(..) | Missing::Faults(..) => return None,
    })
}

/// Silence of the apiserver is `Unknown`; all else needs a person, and is said of what runs too.
fn unreadable(why: &Unreadable, needed: Needed<'_>) -> Verdict {
    let word = if why.is_silent() { Word::Unknown } else { Word::Fail };
    Verdict::new(word, why.reason(needed), why.expected(needed), why.observed()).hint(why.hint(needed))
}

/// The code of a fault, and what ends it.
fn of_fault(kind: FaultKind, decision: &Decision, authority: &Authority) -> (Reason, String) {
    let (name, origin) = (&authority.name, &decision.origin);
    let by = match &authority.means {
        Means::Keyless { root, .. } => format!("TrustRoot {root}"),
        Means::Key { .. } | Means::Unreadable { .. } => format!("its key in {origin}"),
    };
    match kind {
        FaultKind::Signature => {
            (Reason::SignatureInvalid, format!("Sign this digest by {name}, or correct {by}."))
        }
        FaultKind::Certificate => {
            (Reason::SignatureInvalid, format!("Sign it with a certificate of {by}, or correct {origin}."))
        }
        FaultKind::Malformed => (
            Reason::SignatureInvalid,
            format!("What is attached is no signature that can be read: sign the digest anew by {name}."),
        ),
        FaultKind::Subject => (
            Reason::SignatureSubjectMismatch,
            format!("It was made for another image: treat it as an attempt, and sign this digest by {name}."),
        ),
        FaultKind::Expired => (
            Reason::SigningTimeUntrusted,
            format!(
                "Sign it anew by {name}, with a log entry or timestamp from while the certificate is valid."
            ),
        ),
        FaultKind::Time => (
            Reason::SigningTimeUntrusted,
            format!("Sign it anew by {name}, with an entry or timestamp of a log or authority in {by}."),
        ),
        FaultKind::Log => (
            Reason::LogProofInvalid,
            format!("Sign it anew by {name} with a log entry; where the log has a new key, refresh {by}."),
        ),
        FaultKind::Root => (Reason::TrustRootMissing, format!("Correct {by}.")),
        FaultKind::Unsupported => {
            (Reason::SignatureUnsupported, format!("Sign the digest anew by {name} with a current cosign."))
        }
    }
}

fn nothing(attached: &Attached) -> String {
    let unreadable = attached.items.iter().filter(|item| is_unreadable(item)).count();
    let places = attached.places();
    match unreadable {
        0 => format!("no signature in {places}"),
        n => format!("no signature in {places}; {n} unreadable"),
    }
}

fn is_unreadable(item: &Item) -> bool {
    match &item.content {
        Content::Unreadable { .. } => true,
        Content::Signature { .. } | Content::Attestation { .. } => false,
    }
}

fn count(attached: &Attached) -> String {
    let unreadable = attached.items.iter().filter(|item| is_unreadable(item)).count();
    match unreadable {
        0 => format!("{} found", attached.items.len()),
        n => format!("{} found, {n} unreadable", attached.items.len()),
    }
}

/// `2 found: 1 by github.com/acme/web/…/dev.yml@refs/heads/main, 1 unreadable (not counted against it)`.
pub fn found_instead(attached: &Attached) -> String {
    let mut by: BTreeMap<String, usize> = BTreeMap::new();
    let (mut unverified, mut unreadable) = (0_usize, 0_usize);
    for item in &attached.items {
        let signers = || item.checks.values().filter_map(|check| check.as_ref().ok());
        if is_unreadable(item) {
            unreadable = unreadable.saturating_add(1);
        } else if let Some(signer) = signers().next() {
            let subject = signer.subject.as_deref().map_or_else(|| "a key".to_owned(), bare);
            let counted = by.entry(text::clean(&subject, 120)).or_default();
            *counted = counted.saturating_add(1);
        } else {
            unverified = unverified.saturating_add(1);
        }
    }
    let others = by.len().saturating_sub(3);
    let mut parts: Vec<String> =
        by.iter().take(3).map(|(subject, count)| format!("{count} by {subject}")).collect();
    if 0 < others {
        parts.push(format!("{others} more identities"));
    }
    if 0 < unverified {
        parts.push(format!("{unverified} not verified"));
    }
    if 0 < unreadable {
        parts.push(format!("{unreadable} unreadable (not counted against it)"));
    }
    format!("{} found: {}", attached.items.len(), parts.join(", "))
}
