//! Whether the tag still names what it named, and whether the digest is new. A moved tag starts its soak again; an old
//! digest under a newer name is refused: that is how a known-bad image is brought back. A digest that a person left under
//! this tag is refused as well: a rebuild is told apart from the one they left by when it was first seen.

use std::cmp::Ordering;

use jiff::Timestamp;

use crate::evidence::Answer;
use crate::gate::{SILENCE, Subject, Verdict, Word};
use crate::policy::{Policy, Rebuilds};
use crate::reason::Reason;
use crate::text;
use crate::trust::Effective;

/// Passes where the digest is new under this tag.
pub fn judge(subject: &Subject<'_>, effective: &Effective<'_>, policy: &Policy, now: Timestamp) -> Verdict {
    let Some(digest) = subject.digest else {
        return Verdict::skipped(Reason::LedgerClean);
    };
    if let Some(refusal) = left_by_a_person(subject, &policy.id.name) {
        return refusal;
    }
    if let Some(refusal) = foreign_rebuild(subject, effective, policy.rebuilds, now) {
        return refusal;
    }
    // `1.4` names what the newest of 1.4 is: the digest of 1.4.2 under it is no old one.
    let older = subject.ledger.other_names(subject.tag, digest).find(|name| {
        subject.order.compare(name, subject.tag) == Some(Ordering::Less)
            && !subject.order.is_alias(name, subject.tag)
    });
    if let Some(older) = older {
        return Verdict::new(
            Word::Fail,
            Reason::RetaggedDigest,
            "a new build under a new tag",
            format!("the digest of {older}"),
        )
        .hint("Publish a new build, or delete the tag.");
    }
    match subject.ledger.moved_from(subject.tag, digest) {
        Some(before) => Verdict::new(
            Word::Pass,
            Reason::TagMoved,
            "the tag to keep its content",
            format!(
                "pushed again: {} since {}, {} now; its soak started again",
                before.digest.short(),
                text::instant(before.first_seen),
                digest.short()
            ),
        ),
        None => Verdict::new(Word::Pass, Reason::LedgerClean, "a new digest", "a new digest"),
    }
}

/// A rebuild of what runs is followed by itself only where an authority that signed what runs signed this one too.
fn foreign_rebuild(
    subject: &Subject<'_>,
    effective: &Effective<'_>,
    rebuilds: Rebuilds,
    now: Timestamp,
) -> Option<Verdict> {
    let running_attached = subject.running_attached.filter(|_| rebuilds == Rebuilds::Auto)?;
    let (running, digest) = (subject.running?, subject.digest?);
    if running == digest {
        return None;
    }
    let expected = format!("the authority that signed what runs ({}) to have signed this", running.short());
    let unknown = |observed: String| {
        Verdict::new(Word::Unknown, Reason::SignatureUnknown, expected.clone(), observed).hint(SILENCE)
    };
    let observed = match (running_attached, subject.attached) {
        (Answer::Unknown(silence), _) | (_, Some(Answer::Unknown(silence))) => {
            return Some(unknown(silence.message.clone()));
        }
        (_, None) => return Some(unknown("not asked yet".to_owned())),
        (Answer::Found(before), Some(Answer::Found(after))) => {
            let silence = before.silence().or_else(|| after.silence());
            let (before, after) = (effective.names(before, now), effective.names(after, now));
            if before.intersection(&after).next().is_some() {
                return None;
            }
            if let Some(silence) = silence {
                return Some(unknown(silence));
            }
            let named = |names: std::collections::BTreeSet<&str>| {
                if names.is_empty() {
                    "nobody".to_owned()
                } else {
                    names.into_iter().collect::<Vec<_>>().join(", ")
                }
            };
            format!("that one by {}, this one by {}", named(before), named(after))
        }
        (Answer::Absent | Answer::Found(_), Some(Answer::Absent | Answer::Found(_))) => {
            "no signature by the same authority on both".to_owned()
        }
    };
    let verdict = Verdict::new(Word::Fail, Reason::TagMoved, expected, observed);
    Some(
        verdict.hint(
            "Publish a new tag, or set `image.rebuilds: Follow` to take a re-pushed tag after its soak",
        ),
    )
}

/// A rebuild that a person went back from, and every one seen before that, is held; a later one goes on.
fn left_by_a_person(subject: &Subject<'_>, policy: &str) -> Option<Verdict> {
    let left = subject.left.filter(|left| left.tag == *subject.tag)?;
    let first_seen = subject.ledger.first_seen(subject.tag, subject.digest?)?;
    (first_seen <= left.at).then(|| {
        Verdict::new(
            Word::Fail,
            Reason::HumanRollback,
            format!("{} to stay as it runs", left.tag),
            format!("{} went back from it at {}", text::clean(&left.by, 64), text::instant_seconds(left.at)),
        )
        .hint(format!("Respected. A later push goes on by itself, or: kubectl rollforward release {policy}."))
    })
}
