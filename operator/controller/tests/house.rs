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
        may("reqwest", "registry");
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
        for needle in
            ["\"*\"", "['*']", "[*]", "pods/exec", "pods/log", "portforward", "impersonate", "escalate"]
        {
            assert!(!text.contains(needle), "{file} grants {needle}");
        }
        for (at, line) in text.lines().enumerate().filter(|(_, line)| line.contains("[secrets]")) {
            let next = text.lines().nth(at + 1).unwrap_or_default();
            assert!(next.contains("resourceNames"), "{file}: {line} without names");
        }
    }
}

/// The packages that the shipped binary is made of.
fn shipped(metadata: &Value) -> BTreeSet<String> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let id = |name: &str| {
        let packages = metadata["packages"].as_array().unwrap();
        packages.iter().find(|one| one["name"] == name).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let mut open = vec![id("rollforward")];
    let mut seen = BTreeSet::new();
    while let Some(next) = open.pop() {
        if !seen.insert(next.clone()) {
            continue;
        }
        let node = nodes.iter().find(|node| node["id"] == next.as_str()).unwrap();
        for dependency in node["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            let linux = |kind: &Value| {
                kind["kind"].is_null()
                    && kind["target"].as_str().is_none_or(|target| {
                        !target.contains("windows")
                            && !target.contains("wasm")
                            && !target.contains("macos")
                            && !target.contains("apple")
                    })
            };
            if kinds.iter().any(linux) {
                open.push(dependency["pkg"].as_str().unwrap().to_owned());
            }
        }
    }
    seen
}

#[test]
fn the_shipped_tree_has_one_crypto_provider_and_licences_that_may_be_shipped() {
    let metadata = metadata();
    let shipped = shipped(&metadata);
    let allowed = [
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
    let mut count = 0;
    for package in metadata["packages"].as_array().unwrap() {
        if !shipped.contains(package["id"].as_str().unwrap()) {
            continue;
        }
        count += 1;
        let name = package["name"].as_str().unwrap();
        assert!(
            !["ring", "openssl", "openssl-sys", "native-tls"].contains(&name),
            "{name} is in the shipped tree"
        );
        let licence =
            package["license"].as_str().unwrap_or("none").replace(['(', ')'], "").replace('/', " OR ");
        let choices: Vec<bool> = licence
            .split(" OR ")
            .map(|choice| choice.split(" AND ").all(|one| allowed.contains(&one.trim())))
            .collect();
        assert!(choices.contains(&true), "{name}: licence {licence}");
    }
    assert!(100 < count, "the walk over the tree found only {count} packages");
}
