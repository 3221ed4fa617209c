//! Signals that are measured: the new pods' number against a limit and against the old pods' number at the same time.
//!
//! Too little data waits, a broken meter is Unknown and never rolls back, and what the old pods show too is not the image's.
//! Queries are asked by the controller's `prometheus.rs`; here they are numbers. Frozen into the run: `policy.rs`.

use jiff::{SignedDuration, Timestamp};

use crate::policy::{Analysis, OnUnknown, Signal};
use crate::text;

/// How long a limit must be exceeded without a break: one scrape may be an outlier.
pub const EXCEEDED_FOR: SignedDuration = SignedDuration::from_secs(15);

/// What a query answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// A number.
    Value(f64),
    /// No series: nothing was measured yet.
    NoData,
    /// The meter did not answer, or not with one number; why.
    Unknown(String),
}

/// The readings of one signal.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalSeen {
    /// Its name.
    pub name: String,
    /// Of the new pods.
    pub canary: Reading,
    /// Of the old pods, where the signal asks for it.
    pub stable: Option<Reading>,
    /// How many requests the new pods served, where the signal asks for it.
    pub requests: Option<Reading>,
}

/// What a signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Within its limits.
    Pass,
    /// Beyond them.
    Fail,
    /// Too little is known.
    Waiting,
    /// The meter is broken.
    Unknown,
}

impl Word {
    /// As it is published.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Word::Pass => "Pass",
            Word::Fail => "Fail",
            Word::Waiting => "Waiting",
            Word::Unknown => "Unknown",
        }
    }

    /// Reads a published word.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        [Word::Pass, Word::Fail, Word::Waiting]
            .into_iter()
            .find(|word| word.name() == name)
            .unwrap_or(Word::Unknown)
    }
}

/// What a signal says, with its numbers, and since when it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalVerdict {
    /// Its name.
    pub name: String,
    /// What it says.
    pub word: Word,
    /// In words, with the numbers.
    pub words: String,
    /// Since when it has said this word.
    pub since: Timestamp,
}

/// A number as people write it: at most four significant decimals.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A decimal as the policy writes it. Checked when the policy was read.
#[must_use]
pub fn decimal(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite() && 0.0 <= *value)
}

/// What each signal says now; `before` is what was stored, so that `since` outlives a restart.
#[must_use]
pub fn judge(
    analysis: &Analysis,
    seen: &[SignalSeen],
    before: &[SignalVerdict],
    now: Timestamp,
) -> Vec<SignalVerdict> {
    analysis
        .signals
        .iter()
        .map(|signal| {
            let (word, words) = match seen.iter().find(|one| one.name == signal.name) {
                Some(seen) => one(signal, seen),
                None => (Word::Unknown, "not asked yet".to_owned()),
            };
            let known = before.iter().find(|known| known.name == signal.name && known.word == word);
            SignalVerdict {
                name: signal.name.clone(),
                word,
                words,
                since: known.map_or(now, |known| known.since),
            }
        })
        .collect()
}

fn one(signal: &Signal, seen: &SignalSeen) -> (Word, String) {
    let readings = [
        ("canary", Some(&seen.canary)),
        ("stable", seen.stable.as_ref()),
        ("requests", seen.requests.as_ref()),
    ];
    for (which, reading) in readings {
        if let Some(Reading::Unknown(why)) = reading {
            return (Word::Unknown, format!("the {which} query has no answer: {}", text::clean(why, 160)));
        }
    }
    if let (Some(least), Some(reading)) = (signal.min_requests, &seen.requests) {
        let served = value(reading).unwrap_or(0.0);
        if served < f64::from(least) {
            return (Word::Waiting, format!("{} of {least} requests seen", number(served.floor())));
        }
    }
    let Some(canary) = value(&seen.canary) else {
        return (Word::Waiting, "no data of the new pods yet".to_owned());
    };
    let limit = decimal(&signal.max).unwrap_or(0.0);
    if canary <= limit {
        return (Word::Pass, format!("new {}, at most {} allowed", number(canary), signal.max));
    }
    let stable = seen.stable.as_ref().map(value);
    let ratio = signal.max_ratio.as_deref().and_then(decimal);
    match (stable, ratio) {
        (None, _) => (Word::Fail, format!("new {}, at most {} allowed", number(canary), signal.max)),
        (Some(None), _) => {
            (Word::Waiting, format!("new {}, and no data of the old pods to compare with", number(canary)))
        }
        (Some(Some(stable)), Some(ratio)) => {
            let words = format!(
                "new {}, old {}; at most {} or {} times the old allowed",
                number(canary),
                number(stable),
                signal.max,
                number(ratio)
            );
            (if stable * ratio < canary { Word::Fail } else { Word::Pass }, words)
        }
        (Some(Some(stable)), None) if limit < stable => (
            Word::Waiting,
            format!(
                "new {}, old {}: both beyond {}, so it is not the image",
                number(canary),
                number(stable),
                signal.max
            ),
        ),
        (Some(Some(stable)), None) => (
            Word::Fail,
            format!("new {}, old {}; at most {} allowed", number(canary), number(stable), signal.max),
        ),
    }
}

/// A number that means something: what is divided by nothing is no data.
fn value(reading: &Reading) -> Option<f64> {
    match reading {
        Reading::Value(value) if value.is_finite() => Some(*value),
        Reading::Value(_) | Reading::NoData | Reading::Unknown(_) => None,
    }
}

/// What the signals say together of a canary whose pods are fine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Together<'a> {
    /// All pass, or may be passed over.
    Pass,
    /// One has been beyond its limits for long enough.
    Fail(&'a SignalVerdict),
    /// One is beyond its limits since a moment ago.
    Doubtful(&'a SignalVerdict),
    /// The meter is broken.
    Unknown(&'a SignalVerdict),
    /// One has too little data.
    Waiting(&'a SignalVerdict),
}

/// Weighs the verdicts: a failure first, then a broken meter, then too little data.
#[must_use]
pub fn together<'a>(analysis: &Analysis, verdicts: &'a [SignalVerdict], now: Timestamp) -> Together<'a> {
    let first = |word: Word| verdicts.iter().find(|verdict| verdict.word == word);
    let heeded = |verdict: &&SignalVerdict| {
        let signal = analysis.signals.iter().find(|signal| signal.name == verdict.name);
        signal.is_some_and(|signal| signal.on_unknown == OnUnknown::Wait)
    };
    let failing =
        verdicts.iter().filter(|verdict| verdict.word == Word::Fail).min_by_key(|verdict| verdict.since);
    if let Some(failing) = failing {
        let long = EXCEEDED_FOR <= now.duration_since(failing.since);
        return if long { Together::Fail(failing) } else { Together::Doubtful(failing) };
    }
    if let Some(unknown) = verdicts.iter().filter(|verdict| verdict.word == Word::Unknown).find(heeded) {
        return Together::Unknown(unknown);
    }
    first(Word::Waiting).map_or(Together::Pass, Together::Waiting)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's row that does not parse is the failure")]
mod tests {
    use super::*;
    use crate::policy::OnInsufficientData;

    fn signal(max_ratio: Option<&str>, min_requests: Option<u32>) -> Signal {
        Signal {
            name: "errors".to_owned(),
            canary: "c".to_owned(),
            stable: None,
            requests: None,
            max: "0.05".to_owned(),
            max_ratio: max_ratio.map(str::to_owned),
            min_requests,
            on_unknown: OnUnknown::Wait,
        }
    }

    fn check(signal: &Signal, readings: (Reading, Option<Reading>, Option<Reading>), said: &str) {
        let seen = SignalSeen {
            name: "errors".to_owned(),
            canary: readings.0,
            stable: readings.1,
            requests: readings.2,
        };
        let (word, words) = one(signal, &seen);
        assert_eq!(format!("{}: {words}", word.name()), said);
    }

    #[test]
    fn a_signal_is_told_with_its_numbers_and_only_the_new_pods_alone_fail() {
        use Reading::{NoData, Unknown, Value};
        let plain = signal(None, None);
        check(&plain, (Value(0.01), None, None), "Pass: new 0.01, at most 0.05 allowed");
        check(&plain, (Value(0.25), None, None), "Fail: new 0.25, at most 0.05 allowed");
        check(&plain, (NoData, None, None), "Waiting: no data of the new pods yet");
        check(&plain, (Value(f64::NAN), None, None), "Waiting: no data of the new pods yet");
        check(
            &plain,
            (Value(0.25), Some(Value(0.01)), None),
            "Fail: new 0.25, old 0.01; at most 0.05 allowed",
        );
        check(
            &plain,
            (Value(0.25), Some(Value(0.3)), None),
            "Waiting: new 0.25, old 0.3: both beyond 0.05, so it is not the image",
        );
        check(
            &plain,
            (Value(0.25), Some(NoData), None),
            "Waiting: new 0.25, and no data of the old pods to compare with",
        );
        check(
            &plain,
            (Unknown("timed out".to_owned()), None, None),
            "Unknown: the canary query has no answer: timed out",
        );
        let ratio = signal(Some("2"), None);
        check(
            &ratio,
            (Value(0.2), Some(Value(0.12)), None),
            "Pass: new 0.2, old 0.12; at most 0.05 or 2 times the old allowed",
        );
        check(
            &ratio,
            (Value(0.3), Some(Value(0.12)), None),
            "Fail: new 0.3, old 0.12; at most 0.05 or 2 times the old allowed",
        );
        check(
            &ratio,
            (Value(0.2), Some(Value(0.0)), None),
            "Fail: new 0.2, old 0; at most 0.05 or 2 times the old allowed",
        );
        check(
            &ratio,
            (Value(0.01), Some(Unknown("down".to_owned())), None),
            "Unknown: the stable query has no answer: down",
        );
        let least = signal(None, Some(20));
        check(&least, (Value(0.9), None, Some(Value(12.7))), "Waiting: 12 of 20 requests seen");
        check(&least, (Value(0.9), None, Some(NoData)), "Waiting: 0 of 20 requests seen");
        check(&least, (Value(0.9), None, Some(Value(20.0))), "Fail: new 0.9, at most 0.05 allowed");
    }

    #[test]
    fn a_limit_must_be_exceeded_for_a_while_and_a_restart_does_not_begin_it_anew() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let analysis = Analysis {
            url: "http://prometheus:9090".to_owned(),
            signals: vec![signal(None, None)],
            on_insufficient: OnInsufficientData::Hold,
        };
        let seen = |value: f64| {
            [SignalSeen {
                name: "errors".to_owned(),
                canary: Reading::Value(value),
                stable: None,
                requests: None,
            }]
        };
        let first = judge(&analysis, &seen(0.9), &[], at(100));
        assert!(matches!(together(&analysis, &first, at(100)), Together::Doubtful(_)));
        let second = judge(&analysis, &seen(0.8), &first, at(114));
        assert!(matches!(together(&analysis, &second, at(114)), Together::Doubtful(_)));
        assert!(matches!(together(&analysis, &second, at(115)), Together::Fail(_)));
        let better = judge(&analysis, &seen(0.0), &second, at(116));
        assert_eq!(together(&analysis, &better, at(116)), Together::Pass);
        let again = judge(&analysis, &seen(0.9), &better, at(117));
        assert!(
            matches!(together(&analysis, &again, at(117)), Together::Doubtful(_)),
            "the clock begins anew"
        );
        let silent = judge(&analysis, &[], &again, at(118));
        assert!(matches!(together(&analysis, &silent, at(999)), Together::Unknown(_)), "never a failure");
    }
}
