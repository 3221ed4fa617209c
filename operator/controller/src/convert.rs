//! api ↔ core, by hand: the wire form keeps its promises while core moves freely.
//!
//! Durations and enums of the policy are checked here once (`policy.rs`, `selection.rs`); what the operator wrote itself (runs, ledgers) is
//! read leniently, for an older version of it may have been the writer.

mod analysis;
pub mod ledger;
pub mod levers;
pub mod policy;
pub mod run;
pub mod selection;
pub mod status;
pub mod strict;
pub mod verification;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use rollforward_core::reason::Reason;

/// A core instant on the wire. Whole seconds: what the apiserver keeps, so that a comparison with it holds.
#[must_use]
pub fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// A reason by its code; `Unclassified` for one that this version does not know.
#[must_use]
pub fn reason(code: &str) -> Reason {
    Reason::ALL.iter().copied().find(|reason| reason.code() == code).unwrap_or(Reason::Unclassified)
}

/// A condition on the wire, given those that are stored: its transition time moves only with its status, `None` being `Unknown`.
#[must_use]
pub fn condition(
    (kind, status): (&str, Option<bool>),
    (reason, message): (Reason, String),
    generation: Option<i64>,
    stored: Option<&Vec<Condition>>,
    now: Timestamp,
) -> Condition {
    let status = match status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let known = stored.into_iter().flatten().find(|known| known.type_ == kind && known.status == status);
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.code().to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: known.map_or_else(|| time(now), |known| known.last_transition_time.clone()),
    }
}
