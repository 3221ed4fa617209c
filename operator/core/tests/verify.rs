//! The layers of verification on facts as a registry and a signature engine give them: who may let what through, and the sentence
//! where nobody may. Each field of a decision has a row that only it can fail; each threat of the design that these layers answer
//! has a test of its name.
//!
//! Threats answered elsewhere: T4 (forged log entries), T6 and T7 (the wire), in the tests of `rollforward verify`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

#[path = "scenarios/build.rs"]
mod build;
#[path = "verify/memory.rs"]
mod memory;
#[path = "verify/own.rs"]
mod own;
#[path = "verify/papers.rs"]
mod papers;
#[path = "verify/rows.rs"]
mod rows;
#[path = "verify/table.rs"]
mod table;
#[path = "verify/threats.rs"]
mod threats;
