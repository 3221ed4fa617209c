//! `verification`: what every namespace's images must show, in addition to the decisions of the namespace. The same fields as in
//! an `UpdatePolicy`, checked here, for no apiserver has seen them.

use rollforward_api::verification::Verification;
use rollforward_core::trust::{Decision, Origin};
use serde_json::Value;

use super::ConfigError;
use crate::convert::policy::Faults;
use crate::convert::verification::{self, Entries};

/// Reads the floor.
///
/// # Errors
/// Where a key is not known, a value is not valid, or a key lies in a ConfigMap: there is no namespace to read it from.
pub(super) fn checked(written: Option<Value>) -> Result<Option<Decision>, ConfigError> {
    let Some(written) = written else { return Ok(None) };
    let refused = |value: String, expected: &'static str| {
        Err(ConfigError::Value { field: "verification", value, expected })
    };
    let read: Verification = match serde_json::from_value(written.clone()) {
        Ok(read) => read,
        Err(error) => return refused(error.to_string(), "the fields of an UpdatePolicy's verification"),
    };
    let known = serde_json::to_value(&read).unwrap_or_default();
    if let Some(unknown) = unknown(&written, &known) {
        return refused(unknown, "the fields of an UpdatePolicy's verification");
    }
    if verification::wanted(&read).next().is_some() {
        return refused("a key in a ConfigMap".to_owned(), "inline keys");
    }
    let mut faults = Faults::default();
    let decision = verification::decision(Origin::Floor, Vec::new(), &read, &Entries::new(), &mut faults);
    match faults.0.first() {
        Some(fault) => refused(fault.to_string(), "valid values"),
        None => Ok(Some(decision)),
    }
}

/// A key that was written and means nothing.
fn unknown(written: &Value, known: &Value) -> Option<String> {
    match (written, known) {
        (Value::Object(written), Value::Object(known)) => written.iter().find_map(|(key, value)| {
            let Some(other) = known.get(key) else {
                return (!value.is_null()).then(|| format!("the key {key}"));
            };
            unknown(value, other)
        }),
        (Value::Array(written), Value::Array(known)) => {
            written.iter().zip(known).find_map(|(value, other)| unknown(value, other))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_floor_is_read_and_a_misspelt_one_is_refused_with_its_key() {
        assert!(checked(None).unwrap().is_none());
        let floor = checked(Some(json!({"unsigned": "Deny", "soak": {"routine": "48h"}}))).unwrap().unwrap();
        assert!(!floor.allows_unsigned() && floor.speaks());
        let refused = |written: Value| checked(Some(written)).unwrap_err().to_string();
        assert!(refused(json!({"unsignd": "Deny"})).contains("the key unsignd"));
        assert!(refused(json!({"soak": {"routin": "1h"}})).contains("the key routin"));
        assert!(refused(json!({"unsigned": "Perhaps"})).contains("does not know"));
        assert!(refused(json!({"soak": {"routine": "1d"}})).contains("hours, minutes and seconds"));
        let key =
            json!({"authorities": [{"name": "ci", "key": {"configMap": {"name": "keys", "key": "ci.pub"}}}]});
        assert!(refused(key).contains("inline keys"));
        let empty = json!({"authorities": [{"name": "ci", "keyless": {"trustRoot": "pg", "issuer": "", "subjectRegExp": ".*"}}]});
        assert!(refused(empty).contains("anybody"));
    }
}
