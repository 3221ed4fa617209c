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
#[path = "cluster/walk.rs"]
mod walk;

use std::process::ExitCode;

use e2e::cluster::Options;
use e2e::harness;

fn main() -> ExitCode {
    let trials = walk::trials().into_iter().chain(chart::trials()).chain(faults::trials()).collect();
    harness::main(Options { nodes: 1 }, trials)
}
