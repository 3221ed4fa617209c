//! Whether the repository and the digest may be used at all, by the lists of the decisions. The deny list is the one word that
//! no exception lifts and no score outweighs.

use crate::gate::{Subject, Verdict, Word};
use crate::image::{Digest, is_named_by};
use crate::reason::Reason;
use crate::trust::{Decision, Effective};

/// The refusal of a digest by a list, where there is one: what ends an open run too.
#[must_use]
pub fn denied(effective: &Effective<'_>, repositories: &[String], digest: &Digest) -> Option<Verdict> {
    effective.decisions.iter().find_map(|decision| refused(repositories, Some(digest), decision))
}

/// `None` where nobody keeps a list.
pub fn judge(subject: &Subject<'_>, effective: &Effective<'_>) -> Option<Verdict> {
    let lists = |decision: &Decision| {
        let lists = [&decision.deny, &decision.allow];
        lists.iter().any(|list| !list.repositories.is_empty() || !list.digests.is_empty())
    };
    let mut listed = effective.decisions.iter().filter(|decision| lists(decision)).peekable();
    listed.peek()?;
    let refusal = listed.find_map(|decision| refused(subject.repositories, subject.digest, decision));
    Some(refusal.unwrap_or_else(|| {
        Verdict::new(
            Word::Pass,
            Reason::ReferenceAllowed,
            "a name and digest that the lists allow",
            "allowed",
        )
    }))
}

/// Of an image from a mirror both names count, the source's and the one that is written: whoever names a source chooses neither.
fn refused(repositories: &[String], digest: Option<&Digest>, decision: &Decision) -> Option<Verdict> {
    let named = |patterns: &[String], name: &String| {
        patterns.iter().find(|pattern| is_named_by(name, pattern)).cloned()
    };
    let origin = &decision.origin;
    let mut denied =
        repositories.iter().filter_map(|name| Some((name, named(&decision.deny.repositories, name)?)));
    if let Some((repository, pattern)) = denied.next() {
        return Some(fail(
            Reason::RepositoryDenied,
            "a repository that is not denied",
            format!("{repository} on the deny list ({pattern})"),
            format!("Use another repository, or have {origin} changed: no exception lifts a deny list."),
        ));
    }
    let allows = |name: &String| named(&decision.allow.repositories, name).is_some();
    let mut foreign = repositories.iter().filter(|name| !allows(name));
    if let Some(repository) = foreign.next().filter(|_| !decision.allow.repositories.is_empty()) {
        return Some(fail(
            Reason::RepositoryNotAllowed,
            format!("a repository that {origin} allows ({})", decision.allow.repositories.join(", ")),
            repository.clone(),
            format!("Use an allowed one, or have it added to {origin}: no exception lifts an allow list."),
        ));
    }
    let digest = digest?;
    if decision.deny.digests.contains(digest) {
        return Some(fail(
            Reason::DigestDenied,
            "a digest that is not denied",
            format!("{} on the deny list", digest.short()),
            format!("Publish a newer version, or have {origin} changed: no exception lifts a deny list."),
        ));
    }
    (!decision.allow.digests.is_empty() && !decision.allow.digests.contains(digest)).then(|| {
        fail(
            Reason::DigestNotAllowed,
            match decision.allow.digests.len() {
                1 => format!("the digest that {origin} allows"),
                n => format!("one of the {n} digests that {origin} allows"),
            },
            format!("another, {}", digest.short()),
            format!("Have {digest} added to {origin}, or use an allowed one."),
        )
    })
}

fn fail(reason: Reason, expected: impl Into<String>, observed: String, hint: String) -> Verdict {
    Verdict::new(Word::Fail, reason, expected, observed).hint(hint)
}
