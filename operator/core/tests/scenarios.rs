//! Weeks of simulated time: pushes, soak, crashes, restarts, rollback. The transcript is what a user would read.
//!
//! Scripts are `scenarios/*.txt`, transcripts `scenarios/*.out`; `UPDATE=1 cargo test` rewrites those, and the difference is
//! reviewed like code. The same runner, under random histories, holds the invariants: `scenarios/property.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests; scripts and transcripts are files"
)]

#[path = "scenarios/build.rs"]
mod build;
#[path = "scenarios/cron.rs"]
mod cron;
#[path = "scenarios/daemon.rs"]
mod daemon;
#[path = "scenarios/delegates.rs"]
mod delegates;
#[path = "scenarios/invariants.rs"]
mod invariants;
#[path = "scenarios/kubelet.rs"]
mod kubelet;
#[path = "scenarios/native.rs"]
mod native;
#[path = "scenarios/ordinal.rs"]
mod ordinal;
#[path = "scenarios/property.rs"]
mod property;
#[path = "scenarios/registry.rs"]
mod registry;
#[path = "scenarios/script.rs"]
mod script;
#[path = "scenarios/world.rs"]
mod world;

use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

fn scripts() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "txt")).collect();
    scripts.sort();
    scripts
}

#[test]
fn every_script_leaves_the_transcript_beside_it() {
    let update = std::env::var("UPDATE").is_ok();
    let mut different = Vec::new();
    for path in scripts() {
        let script = std::fs::read_to_string(&path).unwrap();
        let Ok(transcript) = std::panic::catch_unwind(|| script::run(&script)) else {
            different.push(format!("{}: an invariant is broken, see above", path.display()));
            continue;
        };
        let golden = path.with_extension("out");
        if update {
            std::fs::write(&golden, &transcript).unwrap();
        }
        let known = std::fs::read_to_string(&golden).unwrap_or_default();
        let first = transcript.lines().zip(known.lines()).find(|(now, known)| now != known);
        if transcript != known {
            different.push(format!("{}: {first:#?}", path.display()));
        }
    }
    assert!(
        different.is_empty(),
        "UPDATE=1 cargo test rewrites; read the difference:\n{}",
        different.join("\n")
    );
}
