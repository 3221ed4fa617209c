//! What a policy measures of a canary: checked against what the operator's configuration allows, and frozen into the run.

use rollforward_api::policy::{Analysis, OnInsufficientData, OnUnknown, Prometheus, Signal, SignalQuery};
use rollforward_core::judge::signals::decimal;
use rollforward_core::policy;

use super::policy::Faults;
use crate::prometheus::{Allowed, is_allowed};

/// Checks an analysis: what the schema cannot see, and whether the operator may ask there at all.
pub(super) fn checked(analysis: &Analysis, allowed: &Allowed, faults: &mut Faults) -> policy::Analysis {
    const FIELD: &str = "spec.rollout.analysis";
    let url = &analysis.prometheus.url;
    if !is_allowed(allowed, url) {
        let found = rollforward_core::text::clean(url, 100);
        faults.invalid(
            "spec.rollout.analysis.prometheus.url",
            format!("expected one of those that `prometheus.allowed` of the operator's configuration names; got {found:?}"),
        );
    }
    for signal in &analysis.signals {
        if decimal(&signal.max).is_none()
            || signal.max_ratio.as_deref().is_some_and(|text| decimal(text).is_none())
        {
            faults.invalid(FIELD, "expected decimals such as 0.05 for max and maxRatio");
        }
        if signal.on_unknown == Some(OnUnknown::Newer) {
            faults.newer("spec.rollout.analysis.signals.onUnknown");
        }
    }
    if analysis.on_insufficient_data == Some(OnInsufficientData::Newer) {
        faults.newer("spec.rollout.analysis.onInsufficientData");
    }
    from_api(analysis)
}

/// An analysis that was checked when its run began.
pub(super) fn from_api(analysis: &Analysis) -> policy::Analysis {
    let signal = |signal: &Signal| policy::Signal {
        name: signal.name.clone(),
        canary: signal.query.canary.clone(),
        stable: signal.query.stable.clone(),
        requests: signal.query.requests.clone(),
        max: signal.max.clone(),
        max_ratio: signal.max_ratio.clone(),
        min_requests: signal.min_requests.and_then(|least| u32::try_from(least).ok()),
        on_unknown: match signal.on_unknown {
            Some(OnUnknown::Wait | OnUnknown::Newer) | None => policy::OnUnknown::Wait,
            Some(OnUnknown::Ignore) => policy::OnUnknown::Ignore,
        },
    };
    policy::Analysis {
        url: analysis.prometheus.url.clone(),
        signals: analysis.signals.iter().map(signal).collect(),
        on_insufficient: match analysis.on_insufficient_data {
            Some(OnInsufficientData::Promote) | None => policy::OnInsufficientData::Promote,
            Some(OnInsufficientData::Hold | OnInsufficientData::Newer) => policy::OnInsufficientData::Hold,
            Some(OnInsufficientData::RollBack) => policy::OnInsufficientData::RollBack,
        },
    }
}

/// An analysis as it is recorded in a run.
pub(super) fn to_api(analysis: &policy::Analysis) -> Analysis {
    let signal = |signal: &policy::Signal| Signal {
        name: signal.name.clone(),
        query: SignalQuery {
            canary: signal.canary.clone(),
            stable: signal.stable.clone(),
            requests: signal.requests.clone(),
        },
        max: signal.max.clone(),
        max_ratio: signal.max_ratio.clone(),
        min_requests: signal.min_requests.and_then(|least| i32::try_from(least).ok()),
        on_unknown: Some(match signal.on_unknown {
            policy::OnUnknown::Wait => OnUnknown::Wait,
            policy::OnUnknown::Ignore => OnUnknown::Ignore,
        }),
    };
    Analysis {
        prometheus: Prometheus { url: analysis.url.clone() },
        signals: analysis.signals.iter().map(signal).collect(),
        on_insufficient_data: Some(match analysis.on_insufficient {
            policy::OnInsufficientData::Promote => OnInsufficientData::Promote,
            policy::OnInsufficientData::Hold => OnInsufficientData::Hold,
            policy::OnInsufficientData::RollBack => OnInsufficientData::RollBack,
        }),
    }
}
