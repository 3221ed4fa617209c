//! The invariants of the house: import direction, module headers, generated files, licences, rights.
//!
//! Each says what is absent. `UPDATE=1 cargo test -p rollforward --test house` rewrites generated files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rollforward::cli::crds;
use rollforward::config::Config;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every source file below a folder, as (path below the root, text).
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let shown = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((shown, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn metadata() -> Value {
    // Without the filter cargo would download what only other systems need.
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", &host])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn core_imports_no_client_no_runtime_and_no_wire_form() {
    let metadata = metadata();
    let allowed: BTreeSet<&str> = ["jiff", "regex", "thiserror"].into();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let of = |kind: Value| -> BTreeSet<&str> {
            let all = package["dependencies"].as_array().unwrap().iter();
            all.filter(|one| one["kind"] == kind).map(|one| one["name"].as_str().unwrap()).collect()
        };
        let normal = of(Value::Null);
        match name {
            "rollforward-core" => assert_eq!(normal, allowed),
            "rollforward-api" => {
                assert!(!normal.contains("rollforward-core") && !normal.contains("tokio"), "{normal:?}")
            }
            "rollforward" => assert!(!normal.contains("rollforward-testkit"), "{normal:?}"),
            "e2e" => {
                assert!(!normal.contains("rollforward") && !normal.contains("rollforward-core"), "{normal:?}")
            }
            _ => {}
        }
    }
}

#[test]
fn each_outside_system_has_one_importer() {
    for (path, text) in sources("operator/controller/src") {
        let may = |needle: &str, module: &str| {
            let inside = path.starts_with(&format!("operator/controller/src/{module}"));
            let used =
                text.lines().any(|line| line.trim_start().starts_with("use ") && line.contains(needle));
            assert!(inside || !used, "{path} imports {needle}, which belongs to {module}");
        };
        may("oci_distribution", "registry");
        if !path.starts_with("operator/controller/src/prometheus") {
            may("reqwest", "registry");
        }
        may("sigstore_verify", "sigstore");
        may("ed25519_dalek", "sigstore");
        may("cel::", "sigstore");
        if !path.starts_with("operator/controller/src/cli") {
            may("kube::api::", "kubernetes");
        }
    }
}

#[test]
fn core_reads_no_clock_and_keeps_no_hash_order() {
    for (path, text) in sources("operator/core/src") {
        for needle in
            ["Timestamp::now", "SystemTime", "Instant::now", "HashMap", "HashSet", "std::env", "std::fs"]
        {
            assert!(!text.contains(needle), "{path} has {needle}");
        }
    }
}

#[test]
fn every_file_says_what_lives_in_it() {
    for folder in ["operator", "e2e/src", "e2e/tests"] {
        for (path, text) in sources(folder) {
            assert!(text.starts_with("//! "), "{path} has no header");
            assert!(!path.ends_with("/mod.rs"), "{path}: foo.rs with foo/, never mod.rs");
        }
    }
}

#[test]
fn generated_files_are_current() {
    for (path, content) in crds::files().unwrap() {
        let file = root().join(&path);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&file, &content).unwrap();
        }
        let stored = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            stored == content,
            "{path} is not current: `rollforward crds --write .` in the project's root"
        );
    }
}

#[test]
fn the_commented_configuration_holds_the_defaults() {
    let written = Config::load(Some(&root().join("config/rollforward.yaml"))).unwrap();
    assert_eq!(format!("{written:?}"), format!("{:?}", Config::load(None).unwrap()));
}

#[test]
fn the_chart_grants_no_wildcard_no_exec_and_no_secret_by_default() {
    for file in ["_helpers.tpl", "rbac.yaml"] {
        let path = root().join("charts/rollforward/templates").join(file);
        let text = fs::read_to_string(&path).unwrap();
        for needle in ["\"*\"", "['*']", "[*]", "pods/exec", "portforward", "impersonate", "escalate"] {
            assert!(!text.contains(needle), "{file} grants {needle}");
        }
        // Logs hold what programs should not write: only by a value of the chart, which is off.
        let mut opted_in = false;
        for line in text.lines() {
            opted_in =
                line.contains("{{- if .Values.podLogs }}") || (opted_in && !line.contains("{{- end }}"));
            assert!(opted_in || !line.contains("pods/log"), "{file}: pods/log without its value");
        }
        for (at, line) in text.lines().enumerate().filter(|(_, line)| line.contains("[secrets]")) {
            let next = text.lines().nth(at + 1).unwrap_or_default();
            assert!(next.contains("resourceNames"), "{file}: {line} without names");
        }
    }
}

/// The packages that the shipped binary is made of, each with its licence. By `cargo tree`: `cargo metadata` also names
/// what an optional feature would bring.
fn shipped() -> BTreeSet<(String, String)> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--package=rollforward", "--edges=normal", "--target", &host])
        .args(["--prefix=none", "--format={p}|{l}"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once('|'));
    lines
        .map(|(package, licence)| (package.split(' ').next().unwrap().to_owned(), licence.to_owned()))
        .collect()
}

/// Licences under which the binary may be shipped.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "CDLA-Permissive-2.0",
    "0BSD",
    "OpenSSL",
    "Unlicense",
    "CC0-1.0",
    "BSL-1.0",
];

#[test]
fn the_shipped_tree_has_one_crypto_provider_and_licences_that_may_be_shipped() {
    let shipped = shipped();
    for (name, licence) in &shipped {
        assert!(
            !["ring", "openssl", "openssl-sys", "native-tls"].contains(&name.as_str()),
            "{name} is in the shipped tree"
        );
        let plain = licence.replace(['(', ')'], "").replace('/', " OR ");
        let may =
            plain.split(" OR ").any(|choice| choice.split(" AND ").all(|one| LICENCES.contains(&one.trim())));
        assert!(may, "{name}: licence {licence}");
    }
    assert!(100 < shipped.len(), "the tree has only {} packages", shipped.len());
}
