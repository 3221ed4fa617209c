//! Core's `Report` → the policy's status. The transition time of a condition moves only with its value.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use rollforward_api::policy::{Candidate, ImageStatus, UpdatePolicyStatus};
use rollforward_core::reason::Reason;
use rollforward_core::report::{self, Report, TrackReport};
use rollforward_core::text::clean;

use super::time;

/// The condition that is there only while a generation of the policy has not been looked at once.
pub const RECONCILING: &str = "Reconciling";

/// That a generation is being looked at for the first time.
#[must_use]
pub fn reconciling(generation: Option<i64>, now: Timestamp) -> Condition {
    let reason = Reason::FirstLook;
    Condition {
        type_: RECONCILING.to_owned(),
        status: "True".to_owned(),
        reason: reason.code().to_owned(),
        message: format!("{reason}: this generation of the policy is being looked at for the first time."),
        observed_generation: generation,
        last_transition_time: time(now),
    }
}

/// The status that a report makes, given the one that is stored.
#[must_use]
pub fn to_status(stored: Option<&UpdatePolicyStatus>, report: &Report, now: Timestamp) -> UpdatePolicyStatus {
    let conditions =
        report.conditions.iter().map(|new| condition(stored, new, report.generation, now)).collect();
    UpdatePolicyStatus {
        observed_generation: Some(report.generation),
        conditions: Some(conditions),
        targets: Some(report.targets.clone()).filter(|targets| !targets.is_empty()),
        images: Some(report.tracks.iter().map(image).collect::<Vec<_>>()).filter(|images| !images.is_empty()),
        more_images: i32::try_from(report.more_tracks).ok().filter(|more| 0 < *more),
        last_handled_request: None,
        why: Some(report.why.clone()).filter(|why| !why.is_empty()),
    }
}

fn condition(
    stored: Option<&UpdatePolicyStatus>,
    new: &report::Condition,
    generation: i64,
    now: Timestamp,
) -> Condition {
    let status = if new.is_true { "True" } else { "False" };
    let before = stored
        .and_then(|stored| stored.conditions.as_ref())
        .and_then(|all| all.iter().find(|known| known.type_ == new.kind.name() && known.status == status));
    Condition {
        type_: new.kind.name().to_owned(),
        status: status.to_owned(),
        reason: new.reason.code().to_owned(),
        message: new.message.clone(),
        observed_generation: Some(generation),
        last_transition_time: before.map_or_else(|| time(now), |known| known.last_transition_time.clone()),
    }
}

fn instant(at: Timestamp) -> String {
    time(at).0.to_string()
}

fn image(track: &TrackReport) -> ImageStatus {
    let candidates: Vec<Candidate> = track
        .candidates
        .iter()
        .map(|candidate| Candidate {
            tag: candidate.tag.clone(),
            digest: candidate.digest.clone(),
            verdict: candidate.verdict.to_owned(),
            code: candidate.code.to_owned(),
            until: candidate.until.map(instant),
        })
        .collect();
    ImageStatus {
        track: clean(&track.key, 320),
        repository: Some(track.repository.clone()),
        listing: track.listing.as_ref().map(|listing| clean(listing, 500)),
        workload: Some(track.workload.clone()),
        container: Some(clean(&track.containers, 500)),
        current: Some(track.current.clone()),
        latest: Some(track.latest.clone()),
        state: Some(track.state.to_owned()),
        until: track.until.map(instant),
        run: track.run.clone(),
        candidates: Some(candidates).filter(|all| !all.is_empty()),
        layers: Some(track.layers.iter().cloned().collect::<std::collections::BTreeMap<_, _>>())
            .filter(|all| !all.is_empty()),
    }
}
