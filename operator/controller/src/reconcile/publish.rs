//! Publishes a report: status, Events, logs, all from the same words.
//!
//! The status is written only when its meaning has changed. A hold is told by an Event when its code or its candidate has
//! changed against the stored status, never once a pass.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use rollforward_api::policy::{UpdatePolicy, UpdatePolicyStatus};
use rollforward_core::policy::Facts;
use rollforward_core::reason::Reason;
use rollforward_core::report::{ConditionKind, Event, Report};
use rollforward_core::trust::roots;

use super::{Context, Error};
use crate::convert;
use crate::convert::status;
use crate::kubernetes::store;
use crate::spread;

/// Publishes the report of a pass.
///
/// # Errors
/// Where the apiserver refused the status.
pub async fn publish(
    ctx: &Context,
    object: &UpdatePolicy,
    report: &Report,
    facts: &Facts,
) -> Result<(), Error> {
    let policy = object.object_ref(&());
    for event in report.events.iter().chain(changed_hold(object, report).as_ref()) {
        tracing::info!(policy = %object.name_any(), namespace = %facts.policy.id.namespace, reason = %event.reason, "{}", event.note);
        ctx.events.publish(event, &policy).await;
    }
    write(ctx, object, report, facts.now).await
}

/// Says that a generation is being looked at for the first time, before the registry is asked: that may take a while.
///
/// # Errors
/// Where the apiserver refused the status.
pub async fn begin(ctx: &Context, object: &UpdatePolicy, now: Timestamp) -> Result<(), Error> {
    let stored = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation;
    let said = stored.conditions.iter().flatten().any(|one| one.type_ == status::RECONCILING);
    if said || stored.observed_generation == generation {
        return Ok(());
    }
    let mut new = stored;
    new.conditions.get_or_insert_default().push(status::reconciling(generation, now));
    let namespace = object.namespace().unwrap_or_default();
    store::policy_status(&ctx.client, &namespace, &object.name_any(), &new).await?;
    ctx.metrics.wrote("UpdatePolicy");
    Ok(())
}

async fn write(ctx: &Context, object: &UpdatePolicy, report: &Report, now: Timestamp) -> Result<(), Error> {
    let mut new: UpdatePolicyStatus = status::to_status(object.status.as_ref(), report, now);
    new.last_handled_request = crate::convert::policy::request(object)
        .or_else(|| object.status.as_ref().and_then(|status| status.last_handled_request.clone()));
    if object.status.as_ref() == Some(&new) {
        return Ok(());
    }
    let namespace = object.namespace().unwrap_or_default();
    store::policy_status(&ctx.client, &namespace, &object.name_any(), &new).await?;
    ctx.metrics.wrote("UpdatePolicy");
    Ok(())
}

/// Tells on an object what its conditions say that those before did not: a reason of another code, never other words alone.
pub async fn changed(ctx: &Context, object: &ObjectReference, before: &[Condition], after: &[Condition]) {
    for event in news(before, after) {
        ctx.events.publish(&event, object).await;
    }
}

fn news(before: &[Condition], after: &[Condition]) -> Vec<Event> {
    let known = |one: &Condition| before.iter().any(|old| old.type_ == one.type_ && old.reason == one.reason);
    let new = after.iter().filter(|one| !known(one));
    let told = new.map(|one| Event {
        // `ExpiresSoon` is the one condition that is bad where it is true.
        warning: one.status != "True" || one.type_ == roots::EXPIRES_SOON,
        reason: convert::reason(&one.reason),
        note: without_code(&one.message).to_owned(),
        workload: None,
    });
    told.collect()
}

/// The Event of a hold whose code or candidate is another than the stored status tells.
fn changed_hold(object: &UpdatePolicy, report: &Report) -> Option<Event> {
    let find = |kind| report.conditions.iter().find(|condition| condition.kind == kind);
    let (condition, warning) = find(ConditionKind::Stalled)
        .or_else(|| find(ConditionKind::Blocked))
        .map(|condition| (condition, true))
        .or_else(|| find(ConditionKind::Ready).filter(|ready| !ready.is_true).map(|ready| (ready, true)))
        .or_else(|| find(ConditionKind::UpToDate).filter(|one| !one.is_true).map(|one| (one, false)))?;
    // The runs tell their own story.
    let told = report.events.iter().any(|event| event.reason == condition.reason)
        || matches!(condition.reason, Reason::CanaryWatching | Reason::Promoting | Reason::Preparing);
    let key = report.head.as_ref().map(|(key, _)| key);
    let latest = report.tracks.iter().find(|track| Some(&track.key) == key).map(|track| &track.latest);
    let same = object.status.as_ref().is_some_and(|status| {
        let mut conditions = status.conditions.iter().flatten();
        let mut images = status.images.iter().flatten();
        let known = images.find(|image| Some(&image.track) == key).and_then(|image| image.latest.as_ref());
        conditions
            .any(|known| known.type_ == condition.kind.name() && known.reason == condition.reason.code())
            && same_version(known, latest)
    });
    (!told && !same).then(|| Event {
        warning,
        reason: condition.reason,
        note: without_code(&condition.message).to_owned(),
        workload: report.head.as_ref().map(|(_, workload)| workload.clone()),
    })
}

/// Whether two spellings of `latest` mean one version: `1.0.4` and `1.0.4@sha256:…` do, two digests of a tag do not.
fn same_version(known: Option<&String>, latest: Option<&String>) -> bool {
    let (Some(known), Some(latest)) = (known, latest) else { return known == latest };
    let tag = |text: &str| text.split('@').next().unwrap_or_default().to_owned();
    known == latest || (tag(known) == tag(latest) && !(known.contains('@') && latest.contains('@')))
}

/// An Event shows its reason in a column of its own.
fn without_code(message: &str) -> &str {
    message.split_once(": ").map_or(message, |(_, rest)| rest)
}

/// When the controller looks again.
#[must_use]
pub fn action(report: &Report) -> Action {
    Action::requeue(Duration::try_from(report.look_again).unwrap_or(Duration::from_secs(1)))
}

/// How soon an open run is looked at again whose pods wake nobody.
const UNWATCHED: Duration = Duration::from_secs(1);

/// When the controller looks again at a policy that was looked at in full. A whole interval is this policy's own share of
/// it, so that policies which started together drift apart.
#[must_use]
pub fn apart(report: &Report, facts: &Facts, pods_wake: bool) -> Action {
    let policy = &facts.policy;
    if !pods_wake {
        let report_again = Duration::try_from(report.look_again).unwrap_or(UNWATCHED);
        return Action::requeue(report_again.min(UNWATCHED));
    }
    // Longer than the interval is only the pause after a write that was refused.
    if report.look_again != policy.interval {
        return action(report);
    }
    let own = spread::interval(policy.interval, &policy.id.uid);
    Action::requeue(Duration::try_from(own).unwrap_or(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_once_whether_its_digest_is_shown_or_not_and_again_when_it_is_pushed_again() {
        let same = |one: &str, other: &str| same_version(Some(&one.to_owned()), Some(&other.to_owned()));
        assert!(same("1.0.4", "1.0.4@sha256:9f3c77d0"));
        assert!(same("1.0.4@sha256:9f3c77d0", "1.0.4@sha256:9f3c77d0"));
        assert!(!same("1.0.4@sha256:9f3c77d0", "1.0.4@sha256:77aa01bc"));
        assert!(!same("1.0.4", "1.0.5"));
        assert!(same_version(None, None) && !same_version(None, Some(&"1.0.4".to_owned())));
    }

    #[test]
    fn an_object_is_told_what_its_conditions_did_not_say_before_and_bad_news_is_a_warning() {
        let now = Timestamp::UNIX_EPOCH;
        let one = |kind, is_true, reason: Reason, words: &str| {
            let message = format!("{reason}: {words}");
            convert::condition((kind, Some(is_true)), (reason, message), Some(1), None, now)
        };
        let usable = one("Usable", true, Reason::TrustRootUsable, "in use.");
        let soon = one(roots::EXPIRES_SOON, true, Reason::TrustRootExpiresSoon, "ends in a month.");
        let ended = one("Usable", false, Reason::TrustRootExpired, "ended.");
        let told = |before: &[Condition], after: &[Condition]| -> Vec<(bool, Reason, String)> {
            news(before, after).into_iter().map(|event| (event.warning, event.reason, event.note)).collect()
        };
        assert_eq!(
            told(&[], std::slice::from_ref(&usable)),
            [(false, Reason::TrustRootUsable, "in use.".to_owned())]
        );
        let both = [usable.clone(), soon];
        let warned = [(true, Reason::TrustRootExpiresSoon, "ends in a month.".to_owned())];
        assert_eq!(told(std::slice::from_ref(&usable), &both), warned);
        assert_eq!(told(&both, &both), []);
        assert_eq!(told(&both, &[ended]), [(true, Reason::TrustRootExpired, "ended.".to_owned())]);
        let other_words = one("Usable", true, Reason::TrustRootUsable, "in use since today.");
        assert_eq!(told(&[usable], &[other_words]), []);
    }
}
