//! Whether what runs is still verified: the papers of the running digest, judged again at each pass with evidence that is
//! refreshed on a schedule and as soon as a decision or a trust root changes. Nothing is rolled back by this.

use std::collections::BTreeSet;

use crate::current::Chosen;
use crate::evidence::{Answer, Attached};
use crate::gate::{
    Assessed, Evidence, Layer, Need, Subject, Verdict, attached, binding, lift, log, names, provenance,
    reference, signature,
};
use crate::image::Tag;
use crate::ledger::Ledger;
use crate::policy::{Facts, Track};
use crate::reason::Reason;
use crate::trust::{Demand, Effective};

/// `None` where nothing that runs is known, or nobody asks for its signatures or lists what is denied.
pub fn judge(
    facts: &Facts,
    track: &Track,
    choice: &Chosen,
    ledger: &Ledger,
    evidence: &Evidence,
    needs: &mut Vec<Need>,
) -> Option<Assessed> {
    let current = choice.current.as_ref()?;
    let digest = current.digest.as_ref()?;
    // What runs by its digest alone is judged as well. Layers compare a tag only where there is one.
    let unnamed = Tag::parse(digest.short()).ok()?;
    let (tag, has_tag) = current.named().map_or((&unnamed, false), |tag| (tag, true));
    let effective = Effective::of(facts, track);
    let repositories = names(facts, track);
    let subject = Subject {
        policy: &facts.policy.id.name,
        tag,
        digest: Some(digest),
        answer: None,
        manifest: None,
        mirror: None,
        ledger,
        running: Some(digest),
        left: None,
        order: facts.policy.order(),
        repositories: &repositories,
        attached: attached(facts, track, digest, &effective, evidence, needs),
        running_attached: None,
        shape: None,
        running_shape: None,
        scan: None,
    };
    let now = facts.now;
    let all = [
        (Layer::Reference, reference::judge(&subject, &effective)),
        (
            Layer::Signature,
            signature::judge(&subject, &effective, now).filter(|_| effective.has_authorities()),
        ),
        (Layer::Binding, binding::judge(&subject, &effective, has_tag, now).filter(names_or_contradicts)),
        (Layer::Log, log::judge(&subject, &effective, now)),
        (Layer::Provenance, provenance::judge(&subject, &effective, now)),
    ];
    let mut verdicts: Vec<(Layer, Verdict)> = all
        .into_iter()
        .filter_map(|(layer, verdict)| Some((layer, verdict?)))
        .filter(|(_, verdict)| verdict.demand != Demand::Off)
        .collect();
    if verdicts.is_empty() {
        return None;
    }
    lift(&facts.seen.exceptions, Some(digest), &mut verdicts, now);
    let (looked_in, signers) = match subject.attached {
        Some(Answer::Found(attached)) => (Attached::places(attached), effective.identities(attached, now)),
        Some(Answer::Absent | Answer::Unknown(_)) | None => (String::new(), BTreeSet::new()),
    };
    let contradicted = if has_tag { binding::contradiction(&subject, &effective, now) } else { None };
    let (tag, digest) = (tag.clone(), Some(digest.clone()));
    Some(Assessed { tag, digest, verdicts, score: None, looked_in, signers, contradicted })
}

/// Labels are not read of what runs, and one may have been the claim by which it passed: no claim is no loss.
fn names_or_contradicts(verdict: &Verdict) -> bool {
    verdict.reason != Reason::VersionUnbound
}
