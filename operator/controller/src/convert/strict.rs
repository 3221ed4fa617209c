//! What an apiserver would have refused, for objects that none has seen: fields that are not known, values of another type,
//! out of their bounds or not one of those that there are. By the schema of the definition itself; what its rules in CEL say
//! beyond that is checked where an object becomes core's.

use rollforward_core::text::clean;
use rollforward_core::trust::Pattern;
use serde_json::Value;

/// The first thing in a value that its schema does not allow, with the path of the field.
#[must_use]
pub fn fault(schema: &Value, value: &Value, path: &str) -> Option<String> {
    if schema["x-kubernetes-int-or-string"] == true {
        let fits = value.is_i64() || value.is_string();
        return (!fits).then(|| expected(path, "a whole number or a text", value));
    }
    match schema["type"].as_str() {
        Some("object") => object(schema, value, path),
        Some("array") => array(schema, value, path),
        Some("string") => string(schema, value, path),
        Some("integer") => integer(schema, value, path),
        Some("boolean") => (!value.is_boolean()).then(|| expected(path, "true or false", value)),
        Some(_) | None => None,
    }
}

fn expected(path: &str, what: &str, value: &Value) -> String {
    format!("{path}: expected {what}, got {}", clean(&value.to_string(), 80))
}

fn object(schema: &Value, value: &Value, path: &str) -> Option<String> {
    let Some(fields) = value.as_object() else { return Some(expected(path, "an object", value)) };
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let below = format!("{path}.{name}");
        let known = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        let Some(known) = known else {
            let names: Vec<&str> = schema["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str())
                .collect();
            return Some(format!("{}: expected one of the fields {}", clean(&below, 200), names.join(", ")));
        };
        if let Some(fault) = fault(known, value, &clean(&below, 200)) {
            return Some(fault);
        }
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let missing = |name: &&str| fields.get(*name).is_none_or(Value::is_null);
    required.into_iter().find(missing).map(|name| format!("{path}: expected the field {name}, got none"))
}

fn array(schema: &Value, value: &Value, path: &str) -> Option<String> {
    let Some(items) = value.as_array() else { return Some(expected(path, "a list", value)) };
    let n_items = u64::try_from(items.len()).unwrap_or(u64::MAX);
    if let Some(bounds) = outside(n_items, &schema["minItems"], &schema["maxItems"]) {
        return Some(format!("{path}: expected {bounds} entries, got {n_items}"));
    }
    let key = schema["x-kubernetes-list-map-keys"][0].as_str();
    let named = |item: &Value| key.and_then(|key| item.get(key)).cloned();
    for (n, item) in items.iter().enumerate() {
        if let Some(fault) = fault(&schema["items"], item, &format!("{path}[{n}]")) {
            return Some(fault);
        }
        let name = named(item);
        if name.is_some() && items.iter().take(n).any(|other| named(other) == name) {
            return Some(expected(&format!("{path}[{n}]"), "a name that no other has", item));
        }
    }
    None
}

fn string(schema: &Value, value: &Value, path: &str) -> Option<String> {
    let Some(text) = value.as_str() else { return Some(expected(path, "a text", value)) };
    if let Some(allowed) = schema["enum"].as_array() {
        let words: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        return (!words.contains(&text))
            .then(|| expected(path, &format!("one of {}", words.join(", ")), value));
    }
    let n_letters = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    if let Some(bounds) = outside(n_letters, &schema["minLength"], &schema["maxLength"]) {
        return Some(format!("{path}: expected {bounds} characters, got {n_letters}"));
    }
    let pattern = schema["pattern"].as_str()?;
    // Every pattern of ours spans the whole text.
    let fits = Pattern::matching(pattern).is_ok_and(|pattern| pattern.matches(text));
    (!fits).then(|| expected(path, &format!("a text of the form {pattern}"), value))
}

fn integer(schema: &Value, value: &Value, path: &str) -> Option<String> {
    let Some(number) = value.as_i64() else { return Some(expected(path, "a whole number", value)) };
    // Bounds are written as decimals in a definition, and are whole numbers.
    let bound =
        |name: &str| schema[name].as_i64().or_else(|| schema[name].as_f64()?.to_string().parse().ok());
    let (least, most) = (bound("minimum"), bound("maximum"));
    let fits = least.is_none_or(|least| least <= number) && most.is_none_or(|most| number <= most);
    let range = match (least, most) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("at least {least}"),
        (None, Some(most)) => format!("at most {most}"),
        (None, None) => String::new(),
    };
    (!fits).then(|| expected(path, &range, value))
}

/// The bounds in words, where a number is outside of them.
fn outside(number: u64, least: &Value, most: &Value) -> Option<String> {
    let (least, most) = (least.as_u64(), most.as_u64());
    let fits = least.is_none_or(|least| least <= number) && most.is_none_or(|most| number <= most);
    if fits {
        return None;
    }
    Some(match (least, most) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("at least {least}"),
        (None, Some(most)) => format!("at most {most}"),
        (None, None) => String::new(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_schema_does_not_allow_is_named_with_its_path_and_what_was_expected() {
        let schema = json!({"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 3},
            "mode": {"type": "string", "enum": ["On", "Off"]},
            "n": {"type": "integer", "minimum": 1.0, "maximum": 8.0},
            "share": {"x-kubernetes-int-or-string": true},
            "digest": {"type": "string", "pattern": "^sha256:.*$"},
            "on": {"type": "boolean"},
            "list": {"type": "array", "minItems": 1, "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
        }});
        let check = |value: Value, expected: Option<&str>| {
            assert_eq!(fault(&schema, &value, "spec").as_deref(), expected, "{value}");
        };
        check(
            json!({"name": "a", "mode": "On", "n": 8, "share": "1%", "digest": "sha256:0", "on": true, "list": [{"name": "x"}], "map": {"x": "y"}}),
            None,
        );
        check(json!({"name": "a", "mode": null}), None);
        check(json!({}), Some("spec: expected the field name, got none"));
        check(json!([]), Some("spec: expected an object, got []"));
        check(json!({"name": 1}), Some("spec.name: expected a text, got 1"));
        check(json!({"name": "long"}), Some("spec.name: expected 1 to 3 characters, got 4"));
        check(json!({"name": "a", "mode": "Up"}), Some("spec.mode: expected one of On, Off, got \"Up\""));
        check(json!({"name": "a", "n": 9}), Some("spec.n: expected 1 to 8, got 9"));
        check(json!({"name": "a", "n": "1"}), Some("spec.n: expected a whole number, got \"1\""));
        check(json!({"name": "a", "on": "no"}), Some("spec.on: expected true or false, got \"no\""));
        check(
            json!({"name": "a", "share": true}),
            Some("spec.share: expected a whole number or a text, got true"),
        );
        check(
            json!({"name": "a", "digest": "x"}),
            Some("spec.digest: expected a text of the form ^sha256:.*$, got \"x\""),
        );
        check(json!({"name": "a", "list": []}), Some("spec.list: expected at least 1 entries, got 0"));
        check(
            json!({"name": "a", "list": [{"nam": "x"}]}),
            Some("spec.list[0].nam: expected one of the fields name"),
        );
        check(
            json!({"name": "a", "list": [{"name": "x"}, {"name": "x"}]}),
            Some("spec.list[1]: expected a name that no other has, got {\"name\":\"x\"}"),
        );
        check(json!({"name": "a", "map": {"x": 1}}), Some("spec.map.x: expected a text, got 1"));
    }
}
