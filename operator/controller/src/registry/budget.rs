//! What a registry says of its limits beside a normal answer: so many requests are left until then.
//!
//! Three spellings are read: Docker Hub's (`ratelimit-remaining: 76;w=21600`, pulls only), the IETF draft's and GitLab's
//! (`RateLimit-Remaining` with `RateLimit-Reset`), and the draft's later single field (`RateLimit: "x";r=5;t=30`). They are
//! foreign: bounded, and never a reason to wait for longer than an hour.

use jiff::{SignedDuration, Timestamp};
use reqwest::header::HeaderMap;

/// The longest wait that a budget may cause. A 429 says more, and is heeded for longer.
const LONGEST: SignedDuration = SignedDuration::from_hours(1);

/// Below a tenth of its limit a budget is spent evenly over what is left of its time.
const LOW_SHARE: u64 = 10;

/// Reset times above this many seconds are moments, not spans: 2001.
const A_MOMENT: i64 = 1_000_000_000;

/// What is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) remaining: u64,
    limit: Option<u64>,
    pub(super) resets_in: SignedDuration,
    /// Counts pulls alone: lists and HEADs are free.
    pub(super) is_of_pulls: bool,
}

impl Budget {
    /// Reads the headers; `None` where they say nothing that can be used.
    pub(super) fn read(headers: &HeaderMap, now: Timestamp) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let either = |name: &str| text(&format!("ratelimit-{name}")).or(text(&format!("x-ratelimit-{name}")));
        if let Some(one) = text("ratelimit") {
            return Self::single(one, now);
        }
        let remaining = either("remaining")?;
        let limit = either("limit").and_then(leading);
        let window = remaining.split(';').find_map(|part| part.trim().strip_prefix("w="));
        if let Some(window) = window {
            let window = SignedDuration::from_secs(window.parse().ok()?);
            let limit = limit.unwrap_or(1).max(1);
            // A window that slides gives one back after its share.
            let share = window.checked_div(i32::try_from(limit).unwrap_or(i32::MAX))?;
            return Self {
                remaining: leading(remaining)?,
                limit: Some(limit),
                resets_in: share,
                is_of_pulls: true,
            }
            .bounded();
        }
        let resets_in = span(either("reset")?.parse().ok()?, now)?;
        Self { remaining: leading(remaining)?, limit, resets_in, is_of_pulls: false }.bounded()
    }

    /// `"default";r=50;t=30` or `limit=100, remaining=50, reset=30`.
    fn single(text: &str, now: Timestamp) -> Option<Self> {
        let value = |names: [&str; 2]| {
            text.split([';', ',']).filter_map(|part| part.trim().split_once('=')).find_map(|(name, value)| {
                names.contains(&name.trim()).then(|| value.trim().parse::<i64>().ok()).flatten()
            })
        };
        Self {
            remaining: u64::try_from(value(["r", "remaining"])?).ok()?,
            limit: value(["limit", "q"]).and_then(|limit| u64::try_from(limit).ok()),
            resets_in: span(value(["t", "reset"])?, now)?,
            is_of_pulls: false,
        }
        .bounded()
    }

    fn bounded(self) -> Option<Self> {
        let resets_in = self.resets_in.clamp(SignedDuration::ZERO, LONGEST);
        Some(Self { resets_in, ..self })
    }

    /// How far apart requests should start: nothing while there is plenty.
    pub(super) fn apart(&self) -> SignedDuration {
        let is_low = self
            .limit
            .map_or(self.remaining <= LOW_SHARE, |limit| self.remaining.saturating_mul(LOW_SHARE) <= limit);
        if !is_low {
            return SignedDuration::ZERO;
        }
        let n = i32::try_from(self.remaining.saturating_add(1)).unwrap_or(i32::MAX);
        self.resets_in.checked_div(n).unwrap_or(SignedDuration::ZERO)
    }
}

fn leading(text: &str) -> Option<u64> {
    text.split([';', ',']).next()?.trim().parse().ok()
}

fn span(seconds: i64, now: Timestamp) -> Option<SignedDuration> {
    match seconds {
        moment if A_MOMENT < moment => Some(Timestamp::from_second(moment).ok()?.duration_since(now)),
        span => Some(SignedDuration::from_secs(span)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a row that does not parse is the failure")]
mod tests {
    use super::*;

    /// Remaining, seconds to the reset, pulls only, seconds between requests.
    fn check(headers: &[(&'static str, &str)], expected: Option<(u64, i64, bool, i64)>) {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let found = Budget::read(&map, now).map(|budget| {
            (budget.remaining, budget.resets_in.as_secs(), budget.is_of_pulls, budget.apart().as_secs())
        });
        assert_eq!(found, expected, "{headers:?}");
    }

    #[test]
    fn budgets_are_read_in_every_spelling_seen_and_bounded() {
        let hub = |remaining| [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", remaining)];
        check(&hub("76;w=21600"), Some((76, 216, true, 0)));
        check(&hub("0;w=21600"), Some((0, 216, true, 216)));
        let plain = |remaining, reset| {
            [("ratelimit-limit", "100"), ("ratelimit-remaining", remaining), ("ratelimit-reset", reset)]
        };
        check(&plain("50", "30"), Some((50, 30, false, 0)));
        check(&plain("5", "30"), Some((5, 30, false, 5)));
        check(&plain("0", "1800000060"), Some((0, 60, false, 60)));
        check(&plain("0", "1799999999"), Some((0, 0, false, 0)));
        check(&plain("0", "99999999"), Some((0, 3600, false, 3600)));
        check(&[("x-ratelimit-remaining", "2"), ("x-ratelimit-reset", "30")], Some((2, 30, false, 10)));
        check(&[("ratelimit", "\"default\";r=1;t=20")], Some((1, 20, false, 10)));
        check(&[("ratelimit", "limit=100, remaining=50, reset=5")], Some((50, 5, false, 0)));
        check(&[("ratelimit-remaining", "5")], None);
        check(&plain("-1", "30"), None);
        check(&plain("soon", "30"), None);
        check(&hub("0;w=x"), None);
        check(&plain("18446744073709551615", "30"), Some((u64::MAX, 30, false, 0)));
        check(&[], None);
    }
}
