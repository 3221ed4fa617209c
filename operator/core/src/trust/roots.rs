//! How a trust root stands: usable, expired, and said sixty days ahead: keys of logs rotate about twice a year, so a root that nobody
//! refreshes is an outage with a date.

use jiff::{SignedDuration, Timestamp};

use crate::reason::Reason;
use crate::text;
use crate::trust::unreadable::Needed;
use crate::trust::{Root, RootContent};

/// How long before the end it is said: 60 days.
pub const WARN_AHEAD: SignedDuration = SignedDuration::from_hours(60 * 24);

/// A condition of a trust root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootCondition {
    /// `Usable` or `ExpiresSoon`.
    pub kind: &'static str,
    /// Whether it holds.
    pub is_true: bool,
    /// The code.
    pub reason: Reason,
    /// The sentence.
    pub message: String,
}

/// The condition of a root that ends soon; it is there only while it holds.
pub const EXPIRES_SOON: &str = "ExpiresSoon";

/// The conditions of a root: `Usable` always, `ExpiresSoon` only while it holds.
#[must_use]
pub fn conditions(root: &Root, since: Timestamp, now: Timestamp) -> Vec<RootCondition> {
    let usable = |is_true: bool, reason: Reason, said: String| RootCondition {
        kind: "Usable",
        is_true,
        reason,
        message: format!("{reason}: {said}"),
    };
    if let RootContent::Unreadable { why } = &root.content {
        let needed = Needed::Root(&root.name);
        let (expected, observed, hint) = (why.expected(needed), why.observed(), why.hint(needed));
        let said = format!("expected {expected}, observed {observed}. {hint}");
        return vec![usable(false, why.reason(needed), said)];
    }
    match root.expires {
        Some(at) if at <= now => {
            let said = format!(
                "expected a root whose keys are valid, observed that it expired {}. Give it a current trusted_root.json; until then it proves nothing.",
                text::instant(at)
            );
            vec![usable(false, Reason::TrustRootExpired, said)]
        }
        Some(at) => {
            let said = format!("in use since {}, ends {}.", text::instant(since), text::instant(at));
            let mut all = vec![usable(true, Reason::TrustRootUsable, said)];
            if at.duration_since(now) <= WARN_AHEAD {
                all.push(RootCondition {
                    kind: EXPIRES_SOON,
                    is_true: true,
                    reason: Reason::TrustRootExpiresSoon,
                    message: format!(
                        "{}: expected 60 days or more until its end, observed {}. Give it a current trusted_root.json before then; after it nothing keyless can be verified.",
                        Reason::TrustRootExpiresSoon,
                        text::instant(at)
                    ),
                });
            }
            all
        }
        None => {
            let said = format!("in use since {}, without an end.", text::instant(since));
            vec![usable(true, Reason::TrustRootUsable, said)]
        }
    }
}

/// When its conditions may change by time alone.
#[must_use]
pub fn changes_at(root: &Root, now: Timestamp) -> Option<Timestamp> {
    let end = root.expires?;
    let warning = end.checked_sub(WARN_AHEAD).unwrap_or(end);
    [warning, end].into_iter().find(|at| now < *at)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's row that does not parse is the failure")]
mod tests {
    use super::*;
    use crate::trust::Unreadable;

    #[test]
    fn an_expiring_root_is_told_sixty_days_ahead_and_an_expired_one_is_not_usable() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let root = Root {
            name: "acme".to_owned(),
            hash: "x".to_owned(),
            content: RootContent::PublicGood,
            expires: Some(at("2026-12-31T00:00:00Z")),
            has_logs: true,
        };
        let says = |now: &str| -> Vec<(&'static str, bool, Reason)> {
            let all = conditions(&root, at("2026-01-01T00:00:00Z"), at(now));
            all.into_iter().map(|one| (one.kind, one.is_true, one.reason)).collect()
        };
        assert_eq!(says("2026-10-31T00:00:00Z"), [("Usable", true, Reason::TrustRootUsable)]);
        assert_eq!(
            says("2026-11-01T00:00:00Z"),
            [("Usable", true, Reason::TrustRootUsable), ("ExpiresSoon", true, Reason::TrustRootExpiresSoon)]
        );
        assert_eq!(says("2026-12-31T00:00:00Z"), [("Usable", false, Reason::TrustRootExpired)]);
        assert_eq!(changes_at(&root, at("2026-10-01T00:00:00Z")), Some(at("2026-11-01T00:00:00Z")));
        assert_eq!(changes_at(&root, at("2026-11-05T00:00:00Z")), root.expires);
        assert_eq!(changes_at(&root, at("2027-01-01T00:00:00Z")), None);
        let why = Unreadable::Content(None, "no JSON".to_owned());
        let broken = Root { content: RootContent::Unreadable { why }, ..root.clone() };
        let told = conditions(&broken, at("2026-01-01T00:00:00Z"), at("2026-10-01T00:00:00Z"));
        assert_eq!(
            told.first().unwrap().message,
            "TrustRootMissing: expected a trusted_root.json in TrustRoot acme, observed no JSON. Write the instance's trusted_root.json there."
        );
    }
}
