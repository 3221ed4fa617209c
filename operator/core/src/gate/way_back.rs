//! What a rollback would start: an image without a digest starts what its tag names then, and that may be something else by now.

use super::fetched::manifest;
use super::{Evidence, Need, best};
use crate::current::{Choice, Chosen};
use crate::evidence::Answer;
use crate::image::Digest;
use crate::policy::{Facts, Track};

/// What a rollback of a track would start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayBack {
    /// What ran, by the image as it stands in the template.
    AsItWas,
    /// What ran is this; the template's tag names something else by now.
    Digest(Digest),
    /// What ran is not to be had any more; the template's tag names something else by now.
    Gone,
}

pub(super) fn running_tag(
    facts: &Facts,
    track: &Track,
    choice: &Chosen,
    evidence: &Evidence,
    needs: &mut Vec<Need>,
) -> Option<Digest> {
    let Choice::Candidates(_) = choice.choice else {
        return None;
    };
    let tag = choice.current.as_ref()?.tag.clone()?;
    let key = (facts.asked(track).clone(), tag);
    match evidence.digests.get(&key) {
        Some(Answer::Found(digest)) => Some(digest.clone()),
        Some(Answer::Absent | Answer::Unknown(_)) => None,
        None => {
            needs.push(Need::Digest(key.0, key.1));
            None
        }
    }
}

/// An image without a digest starts what its tag names then. Asked only where something could be rolled out.
pub(super) fn judge(
    facts: &Facts,
    track: &Track,
    choice: &Chosen,
    named: Option<&Digest>,
    evidence: &Evidence,
    needs: &mut Vec<Need>,
) -> WayBack {
    let current = choice.current.as_ref().filter(|current| current.image.digest.is_none());
    let ran = current.and_then(|current| current.digest.as_ref());
    let (Some(ran), Some(named)) = (ran, named) else { return WayBack::AsItWas };
    if ran == named || best(facts, track, choice, evidence).is_empty() {
        return WayBack::AsItWas;
    }
    match manifest(&track.repository, ran, evidence, needs) {
        Some(Answer::Absent) => WayBack::Gone,
        Some(Answer::Found(_) | Answer::Unknown(_)) | None => WayBack::Digest(ran.clone()),
    }
}
