//! What a registry said, made fit to be repeated: cut, cleaned, and the standard error codes read.

use reqwest::header::{HeaderMap, RETRY_AFTER};
use rollforward_core::evidence::Unknown;
use rollforward_core::reason::Reason;
use serde::Deserialize;

use jiff::{SignedDuration, Timestamp};

/// How much of a foreign text is repeated, in characters.
const FOREIGN_TEXT_CHARS: usize = 200;

/// The longest wait that a registry may ask for. Docker Hub's window is 6 h; a broken one must not silence us for ever.
const MAX_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(6);

/// An answer that is none.
pub(super) fn unknown(reason: Reason, message: impl Into<String>) -> Unknown {
    Unknown { reason, message: message.into(), retry_at: None }
}

/// A foreign text without control characters or invisible direction marks, and not longer than 200 characters.
pub(super) fn clean(text: &str) -> String {
    let hidden = |character: char| {
        character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let mut characters = text.chars().filter(|character| !hidden(*character));
    let mut cleaned: String = characters.by_ref().take(FOREIGN_TEXT_CHARS).collect();
    if characters.next().is_some() {
        cleaned.push('…');
    }
    cleaned
}

/// The first error of an answer in the form that the distribution specification gives.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Complaint {
    /// For example `MANIFEST_UNKNOWN`; empty where the body was of another form.
    pub(super) code: String,
    pub(super) message: String,
}

impl Complaint {
    pub(super) fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            errors: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let first = serde_json::from_slice::<Body>(body).ok().and_then(|body| body.errors.into_iter().next());
        first.map_or_else(Self::default, |entry| Self {
            code: clean(&entry.code),
            message: clean(&entry.message),
        })
    }

    /// `, "NAME_UNKNOWN: repository name not known"`, or nothing.
    pub(super) fn quoted(&self) -> String {
        match (self.code.is_empty(), self.message.is_empty()) {
            (true, _) => String::new(),
            (false, true) => format!(", \"{}\"", self.code),
            (false, false) => format!(", \"{}: {}\"", self.code, self.message),
        }
    }
}

/// When the other side wants to be asked again: seconds or a date, bounded.
pub(super) fn retry_at(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let latest = now.checked_add(MAX_RETRY_AFTER).ok()?;
    let named = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        match text.parse::<i64>() {
            Ok(seconds) => now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(latest),
            Err(_) if text.is_empty() => return None,
            Err(_) => latest, // more digits than an integer holds
        }
    } else {
        jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?
    };
    Some(named.clamp(now, latest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a row that does not parse is the failure")]
mod tests {
    use super::*;

    fn check(header: &str, expected: Option<&str>) {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, header.parse().unwrap());
        let expected = expected.map(|text| text.parse::<Timestamp>().unwrap());
        assert_eq!(retry_at(&headers, now), expected, "{header}");
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        check("30", Some("2026-11-24T12:00:30Z"));
        check("0", Some("2026-11-24T12:00:00Z"));
        check("99999999999999999999999", Some("2026-11-24T18:00:00Z"));
        check("9223372036854775807", Some("2026-11-24T18:00:00Z"));
        check("Tue, 24 Nov 2026 12:05:00 GMT", Some("2026-11-24T12:05:00Z"));
        check("Tue, 24 Nov 2020 12:05:00 GMT", Some("2026-11-24T12:00:00Z"));
        check("", None);
        check("-1", None);
        check("soon", None);
    }

    #[test]
    fn foreign_text_is_cut_and_cleaned() {
        assert_eq!(clean("a\u{1b}[2J\r\nb\u{202e}c"), "a[2Jbc");
        assert_eq!(clean(&"x".repeat(300)).chars().count(), 201);
    }

    #[test]
    fn an_error_body_of_another_form_is_no_complaint() {
        assert_eq!(Complaint::read(b"<html>"), Complaint::default());
        assert_eq!(Complaint::read(br#"{"errors": []}"#), Complaint::default());
        let body = br#"{"errors": [{"code": "NAME_UNKNOWN", "message": "no\u0007"}]}"#;
        assert_eq!(Complaint::read(body).quoted(), ", \"NAME_UNKNOWN: no\"");
    }
}
