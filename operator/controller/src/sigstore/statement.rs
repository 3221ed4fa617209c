//! In-toto statements: what an attestation is about, of which type it is, and what SLSA provenance says of a build.
//!
//! The type is read before the content is. Nothing here is believed because of where it was found: see `checks` beside it.

use std::collections::BTreeMap;

use rollforward_core::evidence::{Content, Fault, FaultKind, Provenance};
use rollforward_core::image::Digest;
use rollforward_core::text::clean;
use serde_json::Value;
use sigstore_verify::types::{Sha256Hash, Statement};

use super::COSIGN_SIGN;
use super::fault::faulty;

/// The longest type of a predicate: they are URLs.
const MAX_TYPE_BYTES: usize = 256;

/// The longest text of a provenance that is handed on. It is compared, so it is never cut: a longer one is not there.
const MAX_TEXT_BYTES: usize = 2048;

/// How many annotations of a signature are handed on.
const MAX_ANNOTATIONS: usize = 32;

/// Whether a statement speaks of this digest.
pub(super) fn names(payload: &[u8], hash: &Sha256Hash) -> Result<(), Fault> {
    let statement = read(payload)?;
    if statement.matches_sha256(hash) {
        return Ok(());
    }
    Err(faulty(FaultKind::Subject, "the statement is about other digests"))
}

fn read(payload: &[u8]) -> Result<Statement, Fault> {
    let statement: Statement =
        serde_json::from_slice(payload).map_err(|error| faulty(FaultKind::Malformed, error))?;
    if !statement.type_.starts_with("https://in-toto.io/Statement/") {
        let words = format!("a payload of type \"{}\" is no in-toto statement", statement.type_);
        return Err(faulty(FaultKind::Unsupported, words));
    }
    Ok(statement)
}

/// What an envelope's payload says.
pub(super) fn content(payload: &[u8], subject: &Digest) -> Content {
    let statement = match read(payload) {
        Ok(statement) => statement,
        Err(fault) => return Content::Unreadable { why: fault.message },
    };
    let predicate_type = statement.predicate_type;
    if predicate_type.is_empty()
        || MAX_TYPE_BYTES < predicate_type.len()
        || predicate_type.chars().any(char::is_control)
    {
        return Content::Unreadable { why: "its predicate type is empty, too long or no text".to_owned() };
    }
    if predicate_type == COSIGN_SIGN {
        return Content::Signature { repository: None, annotations: annotations(payload, subject) };
    }
    let provenance = provenance(&predicate_type, &statement.predicate);
    Content::Attestation { predicate_type, provenance, rules: BTreeMap::new() }
}

/// What a signer wrote beside the subject.
fn annotations(payload: &[u8], subject: &Digest) -> BTreeMap<String, String> {
    let statement: Value = serde_json::from_slice(payload).unwrap_or_default();
    let hex = subject.as_str().trim_start_matches("sha256:");
    let subjects = statement.get("subject").and_then(Value::as_array).into_iter().flatten();
    let ours = subjects.filter(|one| text(one, &["digest", "sha256"]).as_deref() == Some(hex));
    let texts = ours.filter_map(|one| one.get("annotations").and_then(Value::as_object)).flatten();
    texts
        .filter_map(|(name, value)| Some((clean(name, 200), clean(value.as_str()?, 200))))
        .take(MAX_ANNOTATIONS)
        .collect()
}

/// Builder and source of SLSA provenance, of both versions in use.
fn provenance(predicate_type: &str, predicate: &Value) -> Option<Provenance> {
    let first = |found: [Option<String>; 3]| found.into_iter().flatten().next();
    let (builder, source, written_ref) = match predicate_type {
        "https://slsa.dev/provenance/v1" => {
            let workflow = ["buildDefinition", "externalParameters", "workflow"];
            let of_workflow =
                |name: &'static str| text(predicate, &[workflow[0], workflow[1], workflow[2], name]);
            let dependency = list_item(predicate, &["buildDefinition", "resolvedDependencies"], "uri");
            (
                text(predicate, &["runDetails", "builder", "id"]),
                first([of_workflow("repository"), dependency, None]),
                of_workflow("ref"),
            )
        }
        "https://slsa.dev/provenance/v0.2" => {
            let config = text(predicate, &["invocation", "configSource", "uri"]);
            (
                text(predicate, &["builder", "id"]),
                first([config, list_item(predicate, &["materials"], "uri"), None]),
                None,
            )
        }
        _ => return None,
    };
    let (source, ref_of_source) = match source {
        Some(uri) => split_ref(&uri),
        None => (None, None),
    };
    Some(Provenance { builder, source, source_ref: written_ref.or(ref_of_source) })
}

/// `git+https://github.com/acme/web@refs/tags/v1.4.3`: the repository, and the ref.
fn split_ref(uri: &str) -> (Option<String>, Option<String>) {
    match uri.rsplit_once('@') {
        Some((source, name)) if name.starts_with("refs/") => (Some(source.to_owned()), Some(name.to_owned())),
        Some(_) | None => (Some(uri.to_owned()), None),
    }
}

fn text(value: &Value, path: &[&str]) -> Option<String> {
    let found = path.iter().try_fold(value, |value, name| value.get(name))?.as_str()?;
    (found.len() <= MAX_TEXT_BYTES && !found.is_empty()).then(|| found.to_owned())
}

fn list_item(value: &Value, path: &[&str], name: &str) -> Option<String> {
    let list = path.iter().try_fold(value, |value, name| value.get(name))?.as_array()?;
    text(list.first()?, &[name])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn provenance_of_both_versions_names_builder_source_and_ref() {
        let check = |kind: &str, predicate: Value, expected: [Option<&str>; 3]| {
            let read = provenance(kind, &predicate).unwrap();
            let actual = [read.builder, read.source, read.source_ref];
            assert_eq!(actual.each_ref().map(Option::as_deref), expected, "{predicate}");
        };
        let v1 = "https://slsa.dev/provenance/v1";
        check(
            v1,
            json!({"runDetails": {"builder": {"id": "b"}}, "buildDefinition": {"externalParameters":
                {"workflow": {"repository": "https://github.com/acme/web", "ref": "refs/tags/v1.4.3"}}}}),
            [Some("b"), Some("https://github.com/acme/web"), Some("refs/tags/v1.4.3")],
        );
        check(
            v1,
            json!({"buildDefinition": {"resolvedDependencies":
                [{"uri": "git+https://github.com/acme/web@refs/heads/dev"}]}}),
            [None, Some("git+https://github.com/acme/web"), Some("refs/heads/dev")],
        );
        check(
            "https://slsa.dev/provenance/v0.2",
            json!({"builder": {"id": "b"}, "invocation": {"configSource":
                {"uri": "git+https://github.com/acme/web@refs/tags/v1.4.3"}}}),
            [Some("b"), Some("git+https://github.com/acme/web"), Some("refs/tags/v1.4.3")],
        );
        check("https://slsa.dev/provenance/v0.2", json!([]), [None, None, None]);
        check(v1, json!({"runDetails": {"builder": {"id": "b".repeat(3000)}}}), [None, None, None]);
        assert_eq!(provenance("https://spdx.dev/Document", &json!({})), None);
    }
}
