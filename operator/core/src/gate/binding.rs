//! Whether what was signed is this version of this repository: a genuinely signed old image under a newer name is the attack
//! that only an updater meets.
//!
//! Claims come from the certificate's or the provenance's ref, from labels below the signed digest and from the repository that
//! a signature names. One that agrees is enough; one that contradicts and none that agrees fails; silence is `Absent`, unless
//! the ledger remembers a contradiction that was taken away since. A label is the image's own word: it agrees only where
//! nothing that was signed contradicts, now or before. The signers of all decisions are heard together, and those of each
//! decision alone: what a policy's own authority says answers for nobody else.

use jiff::Timestamp;

use crate::evidence::{Answer, Attached, Content};
use crate::gate::{Layer, Subject, Verdict, Word, source, worst};
use crate::image::ImageRef;
use crate::ledger::{Claim, ClaimedBy, Contradicted};
use crate::reason::Reason;
use crate::text;
use crate::trust::signers::Vouch;
use crate::trust::{Authority, Binding, Decision, Demand, Effective};
use crate::version::Version;

/// `None` where it is off. Where nothing is named by a tag, the version is not asked: `has_tag` is false.
pub fn judge(
    subject: &Subject<'_>,
    effective: &Effective<'_>,
    has_tag: bool,
    now: Timestamp,
) -> Option<Verdict> {
    let version = version(subject, effective, now).filter(|_| has_tag);
    worst(version.into_iter().chain(source::judge(subject, effective, now)))
}

/// Who is heard, and what silence means then.
struct Asked<'a> {
    authorities: Vec<&'a Authority>,
    /// Who answers a claim that was taken away: whose it was nobody knows any more.
    answering: Vec<&'a Authority>,
    binding: Binding,
    demand: Demand,
    /// Whether a policy's own authorities are not among them, though it has some.
    is_of_others: bool,
}

/// All together by the strictest wish, then each decision that is not answered by all of them.
fn asked<'a>(effective: &Effective<'a>) -> Vec<Asked<'a>> {
    let (all, others) = (effective.authorities(), effective.of_others());
    let together = Asked {
        authorities: all.clone(),
        answering: all.clone(),
        binding: effective.binding(),
        demand: effective.demand(Layer::Binding),
        is_of_others: others.len() == all.len(),
    };
    let asks = |one: &&Decision| !one.authorities.is_empty() || one.binding == Binding::Required;
    let each = effective.decisions.iter().copied().filter(asks).map(|decision| Asked {
        authorities: effective.answering(decision),
        answering: others.clone(),
        binding: decision.binding,
        demand: decision.demand(Layer::Binding),
        is_of_others: true,
    });
    let each = each.filter(|one| one.authorities.len() < all.len());
    [together].into_iter().chain(each).filter(|one| one.binding != Binding::Off).collect()
}

fn version(subject: &Subject<'_>, effective: &Effective<'_>, now: Timestamp) -> Option<Verdict> {
    let asked = asked(effective);
    let asked = asked.iter().filter(|one| one.demand != Demand::Off);
    let verdicts: Vec<(bool, Verdict)> =
        asked.map(|one| (one.is_of_others, of_asked(subject, effective, one, now))).collect();
    // Where one has named the version, nothing is missed of another one that was free to be silent.
    let is_named = verdicts.iter().any(|(is_of_others, verdict)| *is_of_others && verdict.passes());
    let is_free = |verdict: &Verdict| verdict.reason == Reason::VersionUnbound && verdict.lets_through();
    worst(verdicts.into_iter().map(|(_, verdict)| verdict).filter(|verdict| !(is_named && is_free(verdict))))
}

fn of_asked(subject: &Subject<'_>, effective: &Effective<'_>, asked: &Asked<'_>, now: Timestamp) -> Verdict {
    match said(subject, effective, asked, now) {
        Said::Agrees(claim) => Verdict::new(
            Word::Pass,
            Reason::VersionBound,
            format!("a signed claim of {}", subject.tag),
            claim,
        ),
        Said::Contradicts(claim, reason) => contradicts(subject, &claim, reason, None).demanded(asked.demand),
        Said::Silent(observed) => {
            let demand = if asked.binding == Binding::Required { asked.demand } else { Demand::Advisory };
            Verdict::new(Word::Absent, Reason::VersionUnbound, "a signed claim of the version", observed)
                .hint("Sign from the tag, or label the image with its version.")
                .demanded(demand)
        }
        Said::Before(claim, known) => {
            let is_answered_by_own =
                asked.is_of_others && asked.authorities.len() < effective.authorities().len();
            let seen = Seen { at: known.first_seen, is_answered_by_own };
            contradicts(subject, claim, known.reason, Some(seen)).demanded(asked.demand)
        }
    }
}

/// The claim that is attached now and contradicts the name, for the ledger to remember: whoever takes it away lets nothing
/// through by that. What contradicts a decision alone goes before what contradicts all together: nobody else answers it.
#[must_use]
pub fn contradiction(
    subject: &Subject<'_>,
    effective: &Effective<'_>,
    now: Timestamp,
) -> Option<(Claim, Reason)> {
    asked(effective).iter().rev().find_map(|asked| match said(subject, effective, asked, now) {
        Said::Contradicts(claim, reason) => Some((claim, reason)),
        Said::Agrees(_) | Said::Silent(_) | Said::Before(..) => None,
    })
}

/// What the claims together say of the name.
enum Said<'a> {
    Agrees(String),
    Contradicts(Claim, Reason),
    Silent(&'static str),
    /// Nothing now. Once this was claimed.
    Before(&'a Claim, &'a Contradicted),
}

fn said<'a>(subject: &Subject<'a>, effective: &Effective<'a>, asked: &Asked<'a>, now: Timestamp) -> Said<'a> {
    let binding = asked.binding;
    let copied = |known: &Contradicted| known.reason == Reason::RepositoryMismatch;
    let Some(Answer::Found(attached)) = subject.attached else {
        let known = before(subject, |known| !copied(known), binding);
        return before(subject, copied, binding).or(known).unwrap_or(Said::Silent(UNSIGNED));
    };
    let vouching = effective.vouching_of(&asked.authorities, attached, now);
    let answering = effective.vouching_of(&asked.answering, attached, now);
    match repository(subject, &vouching) {
        Named::Own => {}
        Named::Other(claim) => return Said::Contradicts(claim, Reason::RepositoryMismatch),
        Named::Nothing => {
            let is_answered = matches!(repository(subject, &answering), Named::Own);
            if let Some(before) = before(subject, copied, binding).filter(|_| !is_answered) {
                return before;
            }
        }
    }
    let weighed = |authorities: &[&'a Authority], vouching: &[Vouch<'a>]| {
        weigh(subject, claims(subject, effective, (authorities, attached, vouching), now), binding)
    };
    let before = || {
        let is_answered = match weighed(&asked.answering, &answering) {
            Weighed::Agrees(by, _) => by != ClaimedBy::Label,
            Weighed::Contradicts(..) | Weighed::Silent => false,
        };
        before(subject, |known| !copied(known), binding).filter(|_| !is_answered)
    };
    if vouching.is_empty() {
        return before().unwrap_or(Said::Silent(UNSIGNED));
    }
    match weighed(&asked.authorities, &vouching) {
        Weighed::Agrees(ClaimedBy::Label, claim) => before().unwrap_or(Said::Agrees(claim)),
        Weighed::Agrees(
            ClaimedBy::Certificate | ClaimedBy::Signature | ClaimedBy::Provenance | ClaimedBy::Reference,
            claim,
        ) => Said::Agrees(claim),
        Weighed::Contradicts(claim, reason) => Said::Contradicts(claim, reason),
        Weighed::Silent => before().unwrap_or(Said::Silent("what was signed names no version")),
    }
}

/// Nobody who is heard has signed.
const UNSIGNED: &str = "no signature to read it from";

/// The first claim against the digest that this operator read and that counts under this name.
fn before<'a>(
    subject: &Subject<'a>,
    asked: impl Fn(&Contradicted) -> bool,
    binding: Binding,
) -> Option<Said<'a>> {
    let digest = subject.digest.filter(|_| binding != Binding::Off)?;
    // What runs is not judged by its labels.
    let runs = subject.running == Some(digest);
    let against = subject.ledger.against(digest).into_iter().filter(|(_, known)| asked(known));
    let mut against = against.filter(|(claim, _)| !(runs && claim.by == ClaimedBy::Label));
    let found = against.find(|(claim, known)| still_counts(subject, claim, known.reason, binding))?;
    Some(Said::Before(found.0, found.1))
}

/// A copy of another repository's image is one under every tag. A version is compared with the tag; where the claim was read
/// under this very tag, what was found then counts, for the text may have been cut.
fn still_counts(subject: &Subject<'_>, claim: &Claim, reason: Reason, binding: Binding) -> bool {
    if reason == Reason::RepositoryMismatch {
        return !is_this(subject, &claim.text);
    }
    let says = of_claim(subject.tag.as_str(), claim.by, &claim.text, binding);
    if reason == Reason::BranchBuild {
        return matches!(says, Says::Branch);
    }
    claim.tag == *subject.tag || matches!(says, Says::Other)
}

/// When a claim was first read that has no answer.
#[derive(Clone, Copy)]
struct Seen {
    at: Timestamp,
    /// The policy's own authorities alone have named this version or repository since.
    is_answered_by_own: bool,
}

/// The refusal of a claim: of one that is attached, or of one that was seen at that time.
fn contradicts(subject: &Subject<'_>, claim: &Claim, reason: Reason, seen: Option<Seen>) -> Verdict {
    let copied = reason == Reason::RepositoryMismatch;
    let expected = if copied {
        format!("a signature for {}", subject.repositories.first().map_or("", String::as_str))
    } else {
        format!("{} to be signed as {}", subject.tag, subject.tag)
    };
    let named = text::clean(&claim.text, 120);
    let observed = if copied { format!("one for {named}") } else { format!("{} {named}", claim.by.name()) };
    let (observed, hint) = match seen {
        None if copied => {
            (observed, "An image of another repository was copied here: sign it for this one.".to_owned())
        }
        None if reason == Reason::BranchBuild => {
            (observed, "Build and sign the version from its tag.".to_owned())
        }
        None => (
            observed,
            "An old or other image under this name: publish a new build, or delete the tag.".to_owned(),
        ),
        Some(seen) => (
            format!("{observed}, seen {}{}", text::instant(seen.at), whereabouts(subject, claim, seen)),
            let_go(subject, reason, seen),
        ),
    };
    Verdict::new(Word::Fail, reason, expected, observed).hint(format!("No pod was started. {hint}"))
}

/// What became of a claim that was seen before.
fn whereabouts(subject: &Subject<'_>, claim: &Claim, seen: Seen) -> &'static str {
    if seen.is_answered_by_own {
        return " and answered by none but this policy's own authorities";
    }
    let read = match subject.attached {
        Some(Answer::Found(attached)) => attached.silence().is_none(),
        Some(Answer::Absent) => true,
        Some(Answer::Unknown(_)) | None => false,
    };
    match (claim.by, read) {
        (_, false) => "; what is attached now could not be read",
        (ClaimedBy::Label, true) => ", when the repository listed that version",
        (
            ClaimedBy::Certificate | ClaimedBy::Signature | ClaimedBy::Provenance | ClaimedBy::Reference,
            true,
        ) => " and attached no longer",
    }
}

/// What a person can do about a claim that was taken away.
fn let_go(subject: &Subject<'_>, reason: Reason, seen: Seen) -> String {
    let digest = subject.digest.map_or_else(String::new, ToString::to_string);
    let answer = if reason == Reason::RepositoryMismatch {
        "sign it for this repository".to_owned()
    } else {
        format!("sign it as {}", subject.tag)
    };
    let (what, by) = if seen.is_answered_by_own {
        ("What the others' signers claimed", " by an authority of theirs")
    } else {
        ("What is taken away", "")
    };
    format!(
        "{what} still counts until somebody says `kubectl rollforward release {} {digest}`. Publish a new build, or {answer}{by}.",
        subject.policy
    )
}

/// For which repository signatures are.
enum Named {
    Nothing,
    Own,
    Other(Claim),
}

/// A signature that names a repository must name this one, or the one that it is mirrored from. One that names it is enough.
fn repository(subject: &Subject<'_>, vouching: &[Vouch<'_>]) -> Named {
    let mut foreign = None;
    for named in vouching.iter().filter_map(reference) {
        if is_this(subject, named) {
            return Named::Own;
        }
        foreign = foreign.or(Some(named));
    }
    foreign.zip(subject.digest).map_or(Named::Nothing, |(foreign, digest)| {
        Named::Other(Claim::new(digest, subject.tag, ClaimedBy::Reference, foreign))
    })
}

/// Whether a name is that of this repository. Some tools sign it with the tag that they pushed.
fn is_this(subject: &Subject<'_>, named: &str) -> bool {
    let parsed =
        ImageRef::parse(named).map_or_else(|_| named.to_owned(), |image| image.repository.to_string());
    subject.repositories.contains(&parsed)
}

/// The image that a signature names.
fn reference<'a>(vouch: &Vouch<'a>) -> Option<&'a String> {
    match &vouch.item.content {
        Content::Signature { repository, annotations: _ } => repository.as_ref(),
        Content::Attestation { .. } | Content::Unreadable { .. } => None,
    }
}

/// What these authorities signed and vouch for says of the version.
fn claims<'a>(
    subject: &Subject<'_>,
    effective: &Effective<'a>,
    (authorities, attached, vouching): (&[&'a Authority], &'a Attached, &[Vouch<'a>]),
    now: Timestamp,
) -> Vec<(ClaimedBy, String)> {
    let mut claims = Vec::new();
    for vouch in vouching {
        let certificate = &vouch.signer.claims;
        let named = certificate.get("sourceRepositoryRef").or_else(|| certificate.get("githubWorkflowRef"));
        claims.extend(named.map(|text| (ClaimedBy::Certificate, text.clone())));
        if let Content::Signature { annotations, repository: _ } = &vouch.item.content {
            let version = annotations.get("org.opencontainers.image.version");
            claims.extend(version.map(|text| (ClaimedBy::Signature, text.clone())));
        }
        let signed_tag = reference(vouch).and_then(|named| ImageRef::parse(named).ok()?.tag);
        claims.extend(signed_tag.map(|tag| (ClaimedBy::Reference, tag.to_string())));
    }
    let signed = authorities.iter();
    for vouch in signed.flat_map(|authority| effective.of_authority(authority, attached, now, |_| true)) {
        if let Content::Attestation { provenance: Some(provenance), .. } = &vouch.item.content {
            claims.extend(provenance.source_ref.clone().map(|text| (ClaimedBy::Provenance, text)));
        }
    }
    // Last, see `weigh`. It may be inherited from a base image: it counts where it names a version that this repository has.
    let label = subject.shape.and_then(|shape| shape.labels.get("version"));
    let label = label.filter(|label| subject.lists_version(label));
    claims.extend(label.map(|text| (ClaimedBy::Label, text.clone())));
    claims
}

enum Weighed {
    Agrees(ClaimedBy, String),
    Contradicts(Claim, Reason),
    Silent,
}

/// The label is the last of the claims: what was signed has spoken before it.
fn weigh(subject: &Subject<'_>, claims: Vec<(ClaimedBy, String)>, binding: Binding) -> Weighed {
    let mut against = None;
    for (by, said) in claims {
        match of_claim(subject.tag.as_str(), by, &said, binding) {
            // Whoever builds a branch writes the label too.
            Says::This if by == ClaimedBy::Label && against.is_some() => {}
            Says::This => return Weighed::Agrees(by, format!("{} {}", by.name(), text::clean(&said, 100))),
            Says::Other => against = Some((Reason::VersionMismatch, by, said)),
            Says::Branch => against = against.or(Some((Reason::BranchBuild, by, said))),
            Says::Nothing => {}
        }
    }
    against.zip(subject.digest).map_or(Weighed::Silent, |((reason, by, said), digest)| {
        Weighed::Contradicts(Claim::new(digest, subject.tag, by, &said), reason)
    })
}

enum Says {
    This,
    Other,
    Branch,
    Nothing,
}

fn of_claim(tag: &str, by: ClaimedBy, said: &str, binding: Binding) -> Says {
    if !by.is_ref() {
        return of_version(tag, said);
    }
    if let Some(named) = said.strip_prefix("refs/tags/") {
        return of_version(tag, named);
    }
    let Some(branch) = said.strip_prefix("refs/heads/") else {
        // A change that nobody has accepted yet.
        return if said.starts_with("refs/pull/") { Says::Branch } else { Says::Nothing };
    };
    // Many release straight from these; whoever wants more asks for `Required`.
    let releases = matches!(branch, "main" | "master" | "trunk") || branch.starts_with("release");
    if releases && binding != Binding::Required { Says::Nothing } else { Says::Branch }
}

/// `web/v1.4.3` names 1.4.3; a tag of fewer parts is meant by each of its versions; variants are built from one source tag.
fn of_version(tag: &str, claimed: &str) -> Says {
    let claimed = claimed.rsplit('/').next().unwrap_or(claimed);
    if claimed == tag {
        return Says::This;
    }
    let (Some(own), Some(other)) = (Version::parse(tag), Version::parse(claimed)) else {
        return Says::Nothing;
    };
    let numbers = |version: Version<'_>| version.numbers().map(trimmed).collect::<Vec<_>>();
    let length = own.parts().min(other.parts());
    let same = numbers(own).into_iter().take(length).eq(numbers(other).into_iter().take(length));
    if !same || !own.same_prerelease(&other) {
        return Says::Other;
    }
    // `-r1` and `-r9`, `-alpine3.20` and `-alpine3.21`: which of them it is that was signed is not said.
    let counted = own.same_shape(&other) && own.variant() != other.variant();
    if counted { Says::Nothing } else { Says::This }
}

fn trimmed(digits: &str) -> String {
    let trimmed = digits.trim_start_matches('0');
    if trimmed.is_empty() { "0".to_owned() } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_by_itself_its_alias_and_its_variants_and_by_no_other_candidate_or_revision() {
        let check = |tag: &str, claimed: &str, expected: &str| {
            let said = match of_version(tag, claimed) {
                Says::This => "this",
                Says::Other => "other",
                Says::Branch => "branch",
                Says::Nothing => "nothing",
            };
            assert_eq!(said, expected, "{tag} {claimed}");
        };
        check("1.4.3", "web/v1.4.3", "this");
        check("1.4", "v1.4.3", "this");
        check("1.4.3-alpine", "v1.4.3", "this");
        check("1.4.3-r9", "v1.4.3", "this");
        check("1.4.3", "v1.4.2", "other");
        check("1.4.3", "nightly", "nothing");
        check("1.4.3", "v1.4.3-rc1", "other");
        check("1.4.3-rc1", "v1.4.3", "other");
        check("1.4.3-rc2", "v1.4.3-rc1", "other");
        check("1.4.3-rc2", "v1.4.3-beta2", "other");
        check("1.4.3-rc2", "v1.4.3-rc2", "this");
        check("1.4.3-rc2", "v1.4.3-rc.2", "this");
        check("1.4.3-rc2-alpine", "v1.4.3-rc2", "this");
        check("1.4.3-r9", "1.4.3-r1", "nothing");
        check("1.4.3-debian-12-r9", "1.4.3-debian-12-r1", "nothing");
        check("1.4.3-alpine3.21", "1.4.3-alpine3.20", "nothing");
        check("1.4.3-alpine", "1.4.3-slim", "this");
        check("1.4.3-r9", "1.4.2-r9", "other");
    }
}
