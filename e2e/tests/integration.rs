//! The operator on a real apiserver and registry, without nodes: schema, refusals, people, restarts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

#[path = "integration/approvals.rs"]
mod approvals;
#[path = "integration/canary.rs"]
mod canary;
#[path = "integration/cosign.rs"]
mod cosign;
#[path = "integration/delegates.rs"]
mod delegates;
#[path = "integration/helm.rs"]
mod helm;
#[path = "integration/keys.rs"]
mod keys;
#[path = "integration/kills.rs"]
mod kills;
#[path = "integration/kinds.rs"]
mod kinds;
#[path = "integration/levers.rs"]
mod levers;
#[path = "integration/masterminds.rs"]
mod masterminds;
#[path = "integration/owners.rs"]
mod owners;
#[path = "integration/registries.rs"]
mod registries;
#[path = "integration/schema.rs"]
mod schema;
#[path = "integration/signals.rs"]
mod signals;
#[path = "integration/stalled.rs"]
mod stalled;
#[path = "integration/targets.rs"]
mod targets;
#[path = "integration/verify_schema.rs"]
mod verify_schema;
#[path = "integration/writes.rs"]
mod writes;

use std::process::ExitCode;

use e2e::cluster::Options;
use e2e::harness;

fn main() -> ExitCode {
    let trials = schema::trials()
        .into_iter()
        .chain(targets::trials())
        .chain(verify_schema::trials())
        .chain(keys::trials())
        .chain(registries::trials())
        .chain(canary::trials())
        .chain(stalled::trials())
        .chain(writes::trials())
        .chain(kills::trials())
        .chain(signals::trials())
        .chain(kinds::trials())
        .chain(levers::trials())
        .chain(approvals::trials())
        .chain(owners::trials())
        .chain(helm::trials())
        .chain(delegates::trials())
        .chain(masterminds::trials())
        .chain(cosign::trials());
    harness::main(Options { nodes: 0, parts: &[] }, trials.collect())
}
