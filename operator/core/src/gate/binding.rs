//! Whether what was signed is this version of this repository: a genuinely signed old image under a newer name is the attack
//! that only an updater meets.
//!
//! Claims come from the certificate's or the provenance's ref, from labels below the signed digest and from the repository that
//! a signature names. One that agrees is enough; one that contradicts and none that agrees fails; silence is `Absent`.

use jiff::Timestamp;

use crate::evidence::{Answer, Attached, Content};
use crate::gate::{Layer, Subject, Verdict, Word, source, worst};
use crate::image::Repository;
use crate::reason::Reason;
use crate::text;
use crate::trust::signers::Vouch;
use crate::trust::{Binding, Demand, Effective};
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

fn version(subject: &Subject<'_>, effective: &Effective<'_>, now: Timestamp) -> Option<Verdict> {
    let binding = effective.binding();
    let demand = effective.demand(Layer::Binding);
    if binding == Binding::Off || demand == Demand::Off {
        return None;
    }
    let silent = |observed: &str| {
        let demand = if binding == Binding::Required { demand } else { Demand::Advisory };
        Verdict::new(Word::Absent, Reason::VersionUnbound, "a signed claim of the version", observed)
            .hint("Sign from the tag, or label the image with its version.")
            .demanded(demand)
    };
    let Some(Answer::Found(attached)) = subject.attached else {
        return Some(silent("no signature to read it from"));
    };
    let vouching = effective.vouching(attached, now);
    if vouching.is_empty() {
        return Some(silent("no signature to read it from"));
    }
    if let Some(refusal) = foreign_repository(subject, &vouching) {
        return Some(refusal.demanded(demand));
    }
    let claims = claims(subject, effective, attached, &vouching, now);
    Some(match weigh(subject, &claims, binding) {
        Weighed::Agrees(claim) => Verdict::new(
            Word::Pass,
            Reason::VersionBound,
            format!("a signed claim of {}", subject.tag),
            claim,
        ),
        Weighed::Contradicts(reason, claim) => contradiction(subject, reason, &claim).demanded(demand),
        Weighed::Silent => silent("what was signed names no version"),
    })
}

fn contradiction(subject: &Subject<'_>, reason: Reason, claim: &str) -> Verdict {
    let hint = if reason == Reason::BranchBuild {
        "No pod was started. Build and sign the version from its tag."
    } else {
        "No pod was started. An old or other image under this name: publish a new build, or delete the tag."
    };
    Verdict::new(
        Word::Fail,
        reason,
        format!("{} to be signed as {}", subject.tag, subject.tag),
        claim.to_owned(),
    )
    .hint(hint)
}

/// A signature that names a repository must name this one, or the one that it is mirrored from. One that names it is enough.
fn foreign_repository(subject: &Subject<'_>, vouching: &[Vouch<'_>]) -> Option<Verdict> {
    let named: Vec<&String> = vouching
        .iter()
        .filter_map(|vouch| match &vouch.item.content {
            Content::Signature { repository, annotations: _ } => repository.as_ref(),
            Content::Attestation { .. } | Content::Unreadable { .. } => None,
        })
        .collect();
    let own = |name: &&String| {
        let parsed = Repository::parse(name).map_or_else(|_| (*name).clone(), |name| name.to_string());
        subject.repositories.contains(&parsed)
    };
    let foreign = named.iter().find(|name| !own(name))?;
    if named.iter().any(own) {
        return None;
    }
    let repository = subject.repositories.first().map_or("", String::as_str);
    Some(
        Verdict::new(
            Word::Fail,
            Reason::RepositoryMismatch,
            format!("a signature for {repository}"),
            format!("one for {}", text::clean(foreign, 120)),
        )
        .hint("No pod was started. An image of another repository was copied here: sign it for this one."),
    )
}

/// One claim: where it is from, and what it says.
struct Claim {
    from: &'static str,
    text: String,
    is_ref: bool,
}

fn claims(
    subject: &Subject<'_>,
    effective: &Effective<'_>,
    attached: &Attached,
    vouching: &[Vouch<'_>],
    now: Timestamp,
) -> Vec<Claim> {
    let mut claims = Vec::new();
    for vouch in vouching {
        let certificate = &vouch.signer.claims;
        let named = certificate.get("sourceRepositoryRef").or_else(|| certificate.get("githubWorkflowRef"));
        claims.extend(named.map(|text| Claim { from: "certificate", text: text.clone(), is_ref: true }));
        if let Content::Signature { annotations, repository: _ } = &vouch.item.content {
            let version = annotations.get("org.opencontainers.image.version");
            claims.extend(version.map(|text| Claim { from: "signature", text: text.clone(), is_ref: false }));
        }
    }
    let authorities = effective.with_authorities().flat_map(|decision| &decision.authorities);
    for vouch in authorities.flat_map(|authority| effective.of_authority(authority, attached, now, |_| true))
    {
        if let Content::Attestation { provenance: Some(provenance), .. } = &vouch.item.content {
            let named = provenance.source_ref.clone();
            claims.extend(named.map(|text| Claim { from: "provenance", text, is_ref: true }));
        }
    }
    // A label may be inherited from a base image: it counts where it names a version that this repository has.
    let label = subject.shape.and_then(|shape| shape.labels.get("version"));
    let label = label.filter(|label| subject.lists_version(label));
    claims.extend(label.map(|text| Claim { from: "label", text: text.clone(), is_ref: false }));
    claims
}

enum Weighed {
    Agrees(String),
    Contradicts(Reason, String),
    Silent,
}

fn weigh(subject: &Subject<'_>, claims: &[Claim], binding: Binding) -> Weighed {
    let mut against = None;
    for claim in claims {
        let told = format!("{} {}", claim.from, text::clean(&claim.text, 100));
        match of_claim(subject.tag.as_str(), claim, binding) {
            Says::This => return Weighed::Agrees(told),
            Says::Other => against = Some((Reason::VersionMismatch, told)),
            Says::Branch => against = against.or(Some((Reason::BranchBuild, told))),
            Says::Nothing => {}
        }
    }
    against.map_or(Weighed::Silent, |(reason, claim)| Weighed::Contradicts(reason, claim))
}

enum Says {
    This,
    Other,
    Branch,
    Nothing,
}

fn of_claim(tag: &str, claim: &Claim, binding: Binding) -> Says {
    if !claim.is_ref {
        return of_version(tag, &claim.text);
    }
    if let Some(named) = claim.text.strip_prefix("refs/tags/") {
        return of_version(tag, named);
    }
    let Some(branch) = claim.text.strip_prefix("refs/heads/") else {
        // A change that nobody has accepted yet.
        return if claim.text.starts_with("refs/pull/") { Says::Branch } else { Says::Nothing };
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
    let read =
        |text: &str| Version::parse(text).map(|version| version.numbers().map(trimmed).collect::<Vec<_>>());
    let (Some(own), Some(other)) = (read(tag), read(claimed)) else { return Says::Nothing };
    let length = own.len().min(other.len());
    let same = own.iter().take(length).eq(other.iter().take(length));
    let early = |text: &str| Version::parse(text).is_some_and(|version| version.is_prerelease());
    if same && early(tag) == early(claimed) { Says::This } else { Says::Other }
}

fn trimmed(digits: &str) -> String {
    let trimmed = digits.trim_start_matches('0');
    if trimmed.is_empty() { "0".to_owned() } else { trimmed.to_owned() }
}
