//! Whether what was signed was built from the source that a decision names: part of the layer Binding, beside the version.
//!
//! The certificate's SourceRepositoryURI (1.3.6.1.4.1.57264.1.12) and the provenance's source are read, of what the decision's own
//! authorities signed. A thing agrees where all that it says does; one that agrees is enough, a contradiction without one is
//! refused, and silence is `Absent`.

use jiff::Timestamp;

use crate::evidence::{Attached, Content};
use crate::gate::{Layer, SILENCE, Subject, Verdict, Word, worst};
use crate::reason::Reason;
use crate::text;
use crate::trust::signers::Vouch;
use crate::trust::{Decision, Demand, Effective, Pattern};

/// `None` where nobody names a source.
pub fn judge(subject: &Subject<'_>, effective: &Effective<'_>, now: Timestamp) -> Option<Verdict> {
    let naming = effective.with_authorities().filter_map(|one| Some((one, one.source.as_ref()?)));
    let naming = naming.filter(|(decision, _)| decision.demand(Layer::Binding) != Demand::Off);
    let verdicts = naming.map(|(decision, source)| {
        of_decision(subject, effective, decision, source, now).demanded(decision.demand(Layer::Binding))
    });
    worst(verdicts)
}

fn of_decision(
    subject: &Subject<'_>,
    effective: &Effective<'_>,
    decision: &Decision,
    wanted: &Pattern,
    now: Timestamp,
) -> Verdict {
    let expected = format!("a build of {}", text::clean(&wanted.to_string(), 120));
    let silent = |observed: &str| {
        Verdict::new(Word::Absent, Reason::SourceUnbound, expected.clone(), observed).hint(format!(
            "No pod was started. Sign with a certificate or provenance that names its source, or correct {}.",
            decision.origin
        ))
    };
    let unknown = |observed: String| {
        Verdict::new(Word::Unknown, Reason::SignatureUnknown, expected.clone(), observed).hint(SILENCE)
    };
    let attached = match subject.looked() {
        Ok(Some(attached)) => attached,
        Ok(None) => return silent("nothing attached to the digest"),
        Err(silence) => return unknown(silence),
    };
    let mut against = None;
    for vouch in signed(effective, decision, attached, now) {
        let named = named(&vouch);
        match named.iter().find(|(_, source)| !wanted.matches(source)) {
            None if named.is_empty() => {}
            None => {
                let (from, source) = named.into_iter().next().unwrap_or_default();
                let observed = format!("{from} {}", text::clean(&source, 120));
                return Verdict::new(Word::Pass, Reason::SourceBound, expected, observed);
            }
            Some((from, source)) => {
                against.get_or_insert_with(|| format!("{from} {}", text::clean(source, 120)));
            }
        }
    }
    match (against, attached.silence()) {
        (Some(against), _) => Verdict::new(Word::Fail, Reason::RepositoryMismatch, expected, against)
            .hint(format!("No pod was started. Build it from there, or correct {}.", decision.origin)),
        (None, Some(silence)) => unknown(silence),
        (None, None) => silent("what was signed names no source"),
    }
}

/// What the decision's authorities signed: the digest as such, and statements about it.
fn signed<'a>(
    effective: &Effective<'a>,
    decision: &'a Decision,
    attached: &'a Attached,
    now: Timestamp,
) -> Vec<Vouch<'a>> {
    let says = |item: &crate::evidence::Item| match &item.content {
        Content::Signature { .. } => true,
        Content::Attestation { provenance, .. } => provenance.is_some(),
        Content::Unreadable { .. } => false,
    };
    let authorities = decision.authorities.iter();
    authorities.flat_map(|authority| effective.of_authority(authority, attached, now, says)).collect()
}

/// The sources that one thing names: its certificate's, its provenance's.
fn named(vouch: &Vouch<'_>) -> Vec<(&'static str, String)> {
    let certificate = vouch.signer.claims.get("sourceRepositoryURI");
    let provenance = match &vouch.item.content {
        Content::Attestation { provenance: Some(provenance), .. } => provenance.source.as_ref(),
        Content::Attestation { provenance: None, .. }
        | Content::Signature { .. }
        | Content::Unreadable { .. } => None,
    };
    let certificate = certificate.map(|source| ("certificate", plain(source)));
    certificate.into_iter().chain(provenance.map(|source| ("provenance", plain(source)))).collect()
}

/// `git+https://github.com/acme/web.git` as a certificate writes it: `https://github.com/acme/web`.
#[must_use]
pub fn plain(source: &str) -> String {
    let source = source.strip_prefix("git+").unwrap_or(source);
    let source = source.trim_end_matches('/');
    source.strip_suffix(".git").unwrap_or(source).to_owned()
}
