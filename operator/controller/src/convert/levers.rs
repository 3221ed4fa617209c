//! The annotations by which people pull a lever → core's levers. Each holds who and when: `2026-11-25T09:40:00Z alice`, for a
//! release or a retry with what comes first: `all 2026-11-25T09:40:00Z alice`, or a digest.
//!
//! What a person wrote by hand counts as well: a pause without a time or a name is a pause by somebody.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt;
use rollforward_api::policy::UpdatePolicy;
use rollforward_api::run::UpdateRun;
use rollforward_core::image::Digest;
use rollforward_core::levers::{Asked, Lever, Pause, Request, RunLevers};

use super::policy::RELEASE_ANNOTATION;

/// On a policy: nothing starts and no canary goes on while it is there.
pub const PAUSED_ANNOTATION: &str = "rollforward.dev/paused";
/// On a policy: who ended the pause. Told and removed by the operator.
pub const RESUME_ANNOTATION: &str = "rollforward.dev/resume";
/// On a policy: tries what failed once more now. Carried out and removed by the operator.
pub const RETRY_ANNOTATION: &str = "rollforward.dev/retry";
/// On a run: ends it; image and fields are restored.
pub const ABORT_ANNOTATION: &str = "rollforward.dev/abort";
/// On a run: skips what is left of its observation.
pub const PROMOTE_ANNOTATION: &str = "rollforward.dev/promote";

/// A lever as a command writes it: whole seconds, then the name.
#[must_use]
pub fn written(at: Timestamp, by: &str) -> String {
    format!("{} {by}", super::time(at).0)
}

/// Reads who and when; whatever was written counts.
///
/// A name counts only behind an instant that ends in `Z`, and to the letter: that is what the chart's admission policy holds to
/// the name of who writes it. Any other spelling of an instant passes it in anybody's hands.
#[must_use]
pub fn lever(text: &str) -> Lever {
    let (at, by) = text.split_once(' ').unwrap_or((text, ""));
    let is_checked = at.ends_with('Z') && !by.trim().is_empty();
    let at: Option<Timestamp> = at.parse().ok();
    let by = if is_checked && at.is_some() { by } else { "somebody" };
    Lever { by: by.to_owned(), at }
}

/// What a pause of everything says, where there is one.
#[must_use]
pub fn everywhere(configured: bool, text: Option<&str>) -> Option<Pause> {
    match text {
        Some(text) => Some(Pause::Everywhere(lever(text))),
        None => configured.then_some(Pause::Configuration),
    }
}

/// The pause of one policy.
#[must_use]
pub fn paused(object: &UpdatePolicy) -> Option<Pause> {
    object.annotations().get(PAUSED_ANNOTATION).map(|text| Pause::Policy(lever(text)))
}

/// What was asked of a policy once, with the annotation that asks it.
#[must_use]
pub fn asked(object: &UpdatePolicy) -> Vec<(&'static str, Asked)> {
    let all = object.annotations();
    let memory = |key, what| {
        let (digest, rest) = of_memory(all, key)?;
        Some((key, Asked { what, digest, lever: lever(rest) }))
    };
    let resume = all
        .get(RESUME_ANNOTATION)
        .map(|text| (RESUME_ANNOTATION, Asked { what: Request::Resume, digest: None, lever: lever(text) }));
    [memory(RELEASE_ANNOTATION, Request::Release), memory(RETRY_ANNOTATION, Request::Retry), resume]
        .into_iter()
        .flatten()
        .collect()
}

/// `all` or a digest, and the rest.
fn of_memory<'a>(all: &'a BTreeMap<String, String>, key: &str) -> Option<(Option<Digest>, &'a str)> {
    let text = all.get(key)?.trim_start();
    let (what, rest) = text.split_once(' ').unwrap_or((text, ""));
    if what.trim() == "all" {
        return Some((None, rest));
    }
    Some((Some(Digest::parse(what.trim()).ok()?), rest))
}

/// The levers that were pulled on a run.
#[must_use]
pub fn of_run(object: &UpdateRun) -> RunLevers {
    let pulled = |key: &str| object.annotations().get(key).map(|text| lever(text));
    let approval = object.spec.approval.as_ref();
    RunLevers {
        abort: pulled(ABORT_ANNOTATION),
        promote: pulled(PROMOTE_ANNOTATION),
        approval: approval.map(|given| Lever { by: given.by.clone(), at: Some(given.at.0) }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]
mod tests {
    use super::*;

    fn policy(key: &str, value: &str) -> UpdatePolicy {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "rollforward.dev/v1alpha1",
            "kind": "UpdatePolicy",
            "metadata": {"name": "web", "annotations": {key: value}},
            "spec": {"targets": []},
        }))
        .unwrap()
    }

    #[test]
    fn whatever_a_person_wrote_is_a_pause_and_says_what_is_known_of_who_and_when() {
        let said = |text: &str| paused(&policy(PAUSED_ANNOTATION, text)).unwrap().observed();
        let at = "2026-11-25T09:40:00Z".parse().unwrap();
        assert_eq!(said(&written(at, "alice")), "paused by alice at 2026-11-25 09:40:00Z");
        assert_eq!(
            said("2026-11-25T09:40:00Z system:serviceaccount:shop:ci bot"),
            "paused by system:serviceaccount:shop:ci bot at 2026-11-25 09:40:00Z"
        );
        assert_eq!(said("2026-11-25T09:40:00Z"), "paused by somebody at 2026-11-25 09:40:00Z");
        for by_hand in ["true", "", "until monday please"] {
            assert_eq!(said(by_hand), "paused by somebody");
        }
    }

    /// What the admission policy of the chart checks of a value, in its own words: `value.split('Z ', 2)[1]` where there is one.
    fn checked(value: &str) -> Option<&str> {
        value.split_once("Z ").map(|(_, name)| name)
    }

    #[test]
    fn a_name_counts_only_where_the_admission_policy_holds_it_to_who_wrote_it() {
        let (digest, at) = (format!("sha256:{}", "a".repeat(64)), "2026-11-25T09:40:00Z");
        for instant in [
            at,
            "2026-11-25T09:40:00+00:00",
            "2026-11-25T09:40:00-00:00",
            "2026-11-25T10:40:00+01",
            "2026-11-25T09:40:00z",
            "2026-11-25T09:40:00Z[UTC]",
            "2026-11-25T09:40:00+00:00[Z]",
            "2026-11-25T09:40Z",
            "2026-11-25t09:40:00.5Z",
            "20261125T094000Z",
        ] {
            for name in ["alice", " alice", "alice ", "alice Z bob", "Z alice", "\talice"] {
                for what in ["", "all ", " all ", "all  ", &format!("{digest} ")] {
                    for space in [" ", "  ", "\t", "\n", "\u{a0}"] {
                        let value = format!("{what}{instant}{space}{name}");
                        let read = if what.is_empty() {
                            vec![lever(&value)]
                        } else {
                            let all = asked(&policy(RETRY_ANNOTATION, &value));
                            all.into_iter().map(|(_, asked)| asked.lever).collect()
                        };
                        for lever in read.iter().filter(|lever| lever.by != "somebody") {
                            assert_eq!(Some(lever.by.as_str()), checked(&value), "{value:?}");
                        }
                    }
                }
            }
        }
        assert_eq!(lever(&format!("{at} alice")).by, "alice");
        let offset = lever("2026-11-25T09:40:00+00:00 alice");
        assert_eq!((offset.by.as_str(), offset.at), ("somebody", at.parse().ok()));
    }

    #[test]
    fn a_release_or_a_retry_names_everything_or_one_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let one = |key: &str, text: &str| {
            asked(&policy(key, text)).pop().map(|(_, asked)| (asked.what, asked.digest, asked.lever.by))
        };
        assert_eq!(one(RELEASE_ANNOTATION, "all"), Some((Request::Release, None, "somebody".to_owned())));
        assert_eq!(
            one(RETRY_ANNOTATION, &format!("{digest} 2026-11-25T09:40:00Z alice")),
            Some((Request::Retry, Digest::parse(&digest).ok(), "alice".to_owned()))
        );
        assert_eq!(one(RETRY_ANNOTATION, "everything 2026-11-25T09:40:00Z alice"), None);
    }
}
