//! What a run holds on a DaemonSet: one node at a time, watched.
//!
//! There is no partition and no canary: the native controller replaces node by node and stops at the first pod that is not
//! available, so at most one node is without its pod. `minReadySeconds` is never touched: old pods that count as unavailable
//! are replaced without limit.

use crate::rollout::patch::FieldWrite;
use crate::rollout::run::{Fields, Hold};
use crate::workload::{DaemonRolling, DaemonSet, IntOrPercent};

/// One node at a time: beside its old pod where the user surges, else in its place.
#[must_use]
pub fn hold(own: &DaemonSet) -> Hold {
    Hold::DaemonSet(own.rolling.as_ref().map(|rolling| {
        let surges = !matches!(rolling.max_surge, IntOrPercent::Int(0) | IntOrPercent::Percent(0));
        let (surge, unavailable) = if surges { (1, 0) } else { (0, 1) };
        DaemonRolling { max_unavailable: IntOrPercent::Int(unavailable), max_surge: IntOrPercent::Int(surge) }
    }))
}

/// What is written at the start; nothing where the user's own already says so.
#[must_use]
pub fn held(originals: &Fields, hold: Option<&DaemonRolling>) -> Vec<FieldWrite> {
    let Fields::DaemonSet(Some(original)) = originals else {
        return Vec::new();
    };
    hold.filter(|hold| *hold != original).cloned().map(FieldWrite::DaemonRolling).into_iter().collect()
}

/// The user's own, where what we wrote is there.
#[must_use]
pub fn restores(
    own: &DaemonSet,
    original: Option<&DaemonRolling>,
    hold: Option<&DaemonRolling>,
) -> Vec<FieldWrite> {
    let is_ours = own.rolling.as_ref() == hold && original != hold;
    original.filter(|_| is_ours).cloned().map(FieldWrite::DaemonRolling).into_iter().collect()
}
