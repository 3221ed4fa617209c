//! `rollforward resolve` as a user runs it: the real binary, every source of tags, every form of answer, and batches that
//! nothing can stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use rollforward_testkit::image::image;
use rollforward_testkit::registry::HostileRegistry;
use serde_json::{Value, json};

const TAGS: &str = "1.4.1\n1.4.2\n1.4.3\n1.4.4\n1.4.5-rc.1\n1.5.0\n1.4.4-alpine\nv1.4.4\nlatest\n1.4.4.sig\n";

fn run(arguments: &[&str], input: impl Into<Vec<u8>>) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rollforward"))
        .arg("resolve")
        .args(arguments)
        .env("DOCKER_CONFIG", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.into());
    // A command that refuses its options reads nothing.
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn text(arguments: &[&str], input: &str) -> String {
    let output = run(arguments, input);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = run(arguments, "1.0.0\n");
    assert!(!output.status.success(), "{arguments:?} was accepted");
    String::from_utf8(output.stderr).unwrap()
}

/// The candidates, best first, of a rule given by options.
fn chosen(arguments: &[&str], tags: &str) -> Vec<String> {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["-o", "json"]).collect();
    let answer: Value = serde_json::from_str(&text(&arguments, &tags.replace(' ', "\n"))).unwrap();
    assert_eq!(answer["selected"], answer["candidates"].get(0).cloned().unwrap_or(Value::Null));
    answer["candidates"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
}

fn batch(input: impl Into<Vec<u8>>) -> Vec<Value> {
    let output = run(&["--batch"], input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_table_lists_every_tag_with_its_result_and_then_what_the_reasons_mean() {
    let table = text(&["--current", "1.4.2"], &format!("{TAGS}\u{1b}[2J-evil\n"));
    let rows: Vec<(&str, &str)> = table
        .lines()
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_once("  ").map(|(tag, result)| (tag.trim(), result.trim())).unwrap())
        .collect();
    let expected = [
        ("1.4.4", "selected"),
        ("1.4.3", "candidate"),
        ("[2J-evil", "NotATag"),
        ("1.4.1", "NotNewer"),
        ("1.4.2", "NotNewer"),
        ("1.4.4-alpine", "OtherVariant"),
        ("1.4.4.sig", "ArtefactTag"),
        ("1.4.5-rc.1", "PreRelease"),
        ("1.5.0", "OutsideRule"),
        ("latest", "NotAVersion"),
        ("v1.4.4", "Duplicate"),
    ];
    assert_eq!(rows, expected);
    assert!(table.contains("  2 NotNewer: The tag is not newer than what runs."), "{table}");
    assert!(!table.contains('\u{1b}'), "a terminal is not moved by a tag");
    assert!(text(&["--current", "9.0.0"], TAGS).contains("\nNothing is selected.\n"));
}

#[test]
fn json_and_yaml_say_the_same() {
    let as_json: Value = serde_json::from_str(&text(&["--current", "1.4.2", "-o", "json"], TAGS)).unwrap();
    let as_yaml: Value =
        serde_saphyr::from_str(&text(&["--current", "1.4.2", "--output", "yaml"], TAGS)).unwrap();
    assert_eq!(as_json, as_yaml);
    assert_eq!(as_json["selected"], "1.4.4");
    assert_eq!(as_json["candidates"], json!(["1.4.4", "1.4.3"]));
    assert_eq!(as_json["error"], Value::Null);
    let rejected = as_json["rejected"].as_array().unwrap();
    assert_eq!(rejected.len(), 8);
    assert!(rejected.iter().all(|one| one["message"].as_str().unwrap().len() > 20), "{rejected:?}");
}

#[test]
fn every_rule_has_its_option() {
    assert_eq!(chosen(&["--current", "1.4.2", "--level", "Minor"], "1.5.0 2.0.0"), ["1.5.0"]);
    assert_eq!(chosen(&["--range", "~1.4 || >=3"], "1.4.9 2.0.0 3.1.0"), ["3.1.0", "1.4.9"]);
    assert_eq!(
        chosen(&["--calver", "YYYY.0M.0D"], "2026.11.24 2026.13.01 2025.12.31"),
        ["2026.11.24", "2025.12.31"]
    );
    assert_eq!(chosen(&["--numeric"], "9 10 ten"), ["10", "9"]);
    assert_eq!(chosen(&["--numeric", "Descending"], "9 10"), ["9", "10"]);
    assert_eq!(chosen(&["--lexical", "Ascending"], "b a c"), ["c", "b", "a"]);
    assert_eq!(chosen(&["--digest", "latest"], "1.0 latest"), ["latest"]);
    assert_eq!(
        chosen(
            &["--numeric", "Ascending", "--extract", "^main-(?P<version>[0-9]+)$"],
            "main-9 main-10 dev-11"
        ),
        ["main-10", "main-9"]
    );
    assert_eq!(
        chosen(&["--current", "1.0.0-jdk17", "--variant-pattern", "^jdk17$"], "1.0.1-jdk21 1.0.1-jdk17"),
        ["1.0.1-jdk17"]
    );
    assert_eq!(chosen(&["--current", "1.0.0", "--any-variant"], "1.0.1-slim"), ["1.0.1-slim"]);
    assert_eq!(chosen(&["--include", "^1", "--exclude", "5$"], "1.0.4 1.0.5 2.0.0"), ["1.0.4"]);
}

#[test]
fn wrong_usage_is_refused_with_a_sentence() {
    assert!(refused(&["--level", "patch"]).contains("expected Patch, Minor or Major, got \"patch\""));
    assert!(refused(&["--level", "Patch", "--range", "~1"]).contains("cannot be used with"));
    assert!(refused(&["--lexical", "up"]).contains("expected Ascending or Descending, got \"up\""));
    assert!(refused(&["--range", ">>1"]).contains("select.semver.range: expected operators"));
    assert!(refused(&["--calver", "MM.DD"]).contains("select.calver.format: expected a year"));
    assert!(refused(&["--extract", "([0-9]+)"]).contains("expected a group named version"));
    assert!(refused(&["--current=-x"]).contains("current: a tag is 1 to 128 of letters"));
    assert!(refused(&["--current", "latest"]).contains("CurrentVersionUnknown"));
    assert!(
        refused(&["--tags", "/nonexistent/tags"]).contains("could not read the tags from /nonexistent/tags")
    );
    assert!(refused(&["--plain-http"]).contains("--repository"));
    assert!(refused(&["--batch", "--level", "Patch"]).contains("cannot be used with"));
}

#[test]
fn a_file_of_tags_and_the_file_of_a_policy_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (tags, policy) = (folder.path().join("tags"), folder.path().join("policy.yaml"));
    std::fs::write(&tags, b"build-1-main\r\nbuild-10-main\n\nbuild-9-main\nbuild-11-\xff\n").unwrap();
    let yaml = "apiVersion: rollforward.dev/v1alpha1\nkind: UpdatePolicy\nmetadata: {name: web}\nspec:\n  \
        targets: [{apiVersion: apps/v1, kind: Deployment, name: web}]\n  image:\n    select: {numeric: {}}\n    \
        tags: {extract: '^build-(?P<version>\\d+)-main$'}\n";
    std::fs::write(&policy, yaml).unwrap();
    let (tags, policy) = (tags.to_str().unwrap(), policy.to_str().unwrap());
    let arguments = ["--policy", policy, "--tags", tags, "--current", "build-1-main", "-o", "json"];
    let answer: Value = serde_json::from_str(&text(&arguments, "")).unwrap();
    assert_eq!(answer["candidates"], json!(["build-10-main", "build-9-main"]));
    assert_eq!(answer["rejected"].as_array().unwrap().len(), 2);
    std::fs::write(folder.path().join("policy.yaml"), "kind: Nothing").unwrap();
    assert!(refused(&["--policy", policy]).contains("is not an UpdatePolicy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_asked_and_its_refusal_is_told() {
    let registry = HostileRegistry::start().await;
    for tag in ["1.4.2", "1.4.3", "1.5.0"] {
        registry.push("acme/web", tag, &image("linux", "amd64", tag));
    }
    let name = format!("{}/acme/web", registry.host());
    let arguments = ["--repository", &name, "--plain-http", "--current", "1.4.2", "-o", "json"];
    let answer = tokio::task::block_in_place(|| text(&arguments, ""));
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["candidates"], json!(["1.4.3"]));
    let words = tokio::task::block_in_place(|| refused(&["--repository", &name]));
    assert!(words.contains("InsecureRegistry") || words.contains("RegistryUnavailable"), "{words}");
    let absent = format!("{}/acme/none", registry.host());
    let words = tokio::task::block_in_place(|| refused(&["--repository", &absent, "--plain-http"]));
    assert!(words.contains("RepositoryNotFound"), "{words}");
}

#[test]
fn a_batch_answers_every_line_with_one_line_whatever_it_holds() {
    let lines = [
        json!({"select": {"level": "Patch"}, "current": "1.4.2", "available": ["1.4.2", "1.4.3", "1.4.4", "1.5.0"]}),
        json!({"available": ["1.0.0", "1.0.1"]}),
        json!({"current": null, "select": {"digest": {"tag": "edge"}}, "available": ["edge", "1.0.0"]}),
        json!({"current": "1.0.0", "available": ["\u{1b}[2J", "1.0.1\u{202e}", "", "x".repeat(400)]}),
        json!({"select": {"semver": {"range": "~1.4", "rang": 1}}, "available": []}),
        json!({"select": {"levl": "Patch"}, "available": []}),
        json!({"tags": {"includes": "x"}, "available": []}),
        json!({"select": {}, "available": []}),
        json!({"select": {"level": "Patch", "numeric": {}}, "available": []}),
        json!({"select": {"semver": {"range": "latest"}}, "available": []}),
        json!({"tags": {"include": "("}, "available": []}),
        json!({"tags": {"include": "(a{1000}){1000}"}, "available": ["a"]}),
        json!({"current": "-", "available": []}),
        json!({"available": [1]}),
        json!({"avail": []}),
        json!([]),
        json!(null),
    ];
    let mut input: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
    input.extend(b"\n{\"available\": [\n\xff\xfe\n");
    input.extend("[".repeat(100_000).into_bytes());
    input.extend(b"\n{\"available\": [\"7.0.0\"]}");
    let answers = batch(input);
    assert_eq!(answers.len(), lines.len() + 5);
    assert_eq!(answers[0]["selected"], "1.4.4");
    assert_eq!(answers[0]["candidates"], json!(["1.4.4", "1.4.3"]));
    assert_eq!(answers[0]["rejected"][0]["code"], "NotNewer");
    assert_eq!(answers[0]["error"], Value::Null);
    assert_eq!(answers[1]["candidates"], json!(["1.0.1", "1.0.0"]));
    assert_eq!(answers[2]["candidates"], json!(["edge"]));
    assert_eq!(answers[3]["selected"], Value::Null);
    let codes: Vec<&Value> =
        answers[3]["rejected"].as_array().unwrap().iter().map(|one| &one["code"]).collect();
    assert_eq!(codes, ["NotATag"; 4]);
    for (at, answer) in answers.iter().enumerate().skip(4).take(lines.len()) {
        let words = answer["error"].as_str().unwrap_or_else(|| panic!("{at}: {answer}"));
        assert!(!words.is_empty() && words.chars().count() < 700, "{words}");
        assert_eq!(
            (&answer["selected"], &answer["candidates"], &answer["rejected"]),
            (&json!(null), &json!([]), &json!([]))
        );
    }
    assert!(answers[4]["error"].as_str().unwrap().contains("unknown key select.semver.rang"));
    assert!(answers[6]["error"].as_str().unwrap().contains("unknown key tags.includes"));
    assert_eq!(
        answers.last().unwrap()["selected"],
        "7.0.0",
        "a bad line does not stop the next, and no line end is needed"
    );
}

#[test]
fn a_line_without_end_is_skipped_and_told_and_the_next_is_answered() {
    let mut input = vec![b'x'; 40 * 1024 * 1024];
    input.extend(b"\n{\"available\": [\"1.0.0\"]}\n");
    let answers = batch(input);
    assert_eq!(answers.len(), 2);
    assert!(answers[0]["error"].as_str().unwrap().starts_with("expected a line of at most"));
    assert_eq!(answers[1]["selected"], "1.0.0");
}
