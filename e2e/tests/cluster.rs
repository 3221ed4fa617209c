//! The operator on a real node: promotion, and the causes of failure by name, each with the sentence a user reads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

#[path = "cluster/chart.rs"]
mod chart;
#[path = "cluster/faults.rs"]
mod faults;
#[path = "cluster/kinds.rs"]
mod kinds;
#[path = "cluster/noise.rs"]
mod noise;
#[path = "cluster/several.rs"]
mod several;
#[path = "cluster/surroundings.rs"]
mod surroundings;
#[path = "cluster/verify.rs"]
mod verify;
#[path = "cluster/walk.rs"]
mod walk;

use std::process::ExitCode;

use e2e::cluster::Options;
use e2e::harness;

fn main() -> ExitCode {
    // The long ones first, or the others wait for them at the end.
    let trials = noise::trials()
        .into_iter()
        .chain(kinds::trials())
        .chain(surroundings::trials())
        .chain(several::trials())
        .chain(faults::trials())
        .chain(walk::trials())
        .chain(chart::trials())
        .chain(verify::trials());
    harness::main(Options { nodes: 2, parts: &[] }, trials.collect())
}
