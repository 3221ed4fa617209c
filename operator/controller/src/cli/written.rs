//! What a run wrote and what it does next, as lines: the same in `explain` and in `history --writes`.

use rollforward_api::run::{Change, Next, Write};
use rollforward_core::text;

/// A write, then one line for each field.
pub(super) fn written(label: &str, write: &Write) -> Vec<String> {
    let indent = " ".repeat(label.chars().count().saturating_add(2));
    let mut lines = vec![format!("{label}{} {}", text::instant_seconds(write.at.0), write.what)];
    lines.extend(write.changes.iter().flatten().map(|one| format!("{indent}{}", changed(one))));
    lines
}

/// `spec.minReadySeconds: 0 -> 3900`.
fn changed(change: &Change) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(nothing)".to_owned());
    format!("{}: {} -> {}", change.field, shown(&change.before), shown(&change.after))
}

/// `Promote at 2026-11-25 09:40:12Z: all pods, if the new pods stay Ready until then`.
pub(super) fn coming(next: &Next) -> String {
    let at = next.at.as_ref().map_or(String::new(), |at| format!(" at {}", text::instant_seconds(at.0)));
    format!("{}{at}: {}", next.action, next.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_told_field_by_field_with_what_stood_there() {
        let change = |field: &str, before: Option<&str>, after: Option<&str>| Change {
            field: field.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        let at = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH);
        let write = Write {
            at: at.clone(),
            what: "1.0.0 -> 1.0.1@4290a1b2; 1 new pod beside 4 old, held".to_owned(),
            changes: Some(vec![
                change("spec.minReadySeconds", Some("0"), Some("3900")),
                change("pod db-3", Some("db:1.0.1"), None),
            ]),
        };
        assert_eq!(
            written("  write ", &write),
            [
                "  write 1970-01-01 00:00:00Z 1.0.0 -> 1.0.1@4290a1b2; 1 new pod beside 4 old, held",
                "          spec.minReadySeconds: 0 -> 3900",
                "          pod db-3: db:1.0.1 -> (nothing)",
            ]
        );
        let next = Next { action: "Promote".to_owned(), at: Some(at), message: "all pods".to_owned() };
        assert_eq!(coming(&next), "Promote at 1970-01-01 00:00:00Z: all pods");
    }
}
