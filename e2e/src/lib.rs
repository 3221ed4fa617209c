//! Real Kubernetes parts on one small machine: what the demo and the end-to-end tests stand on.
//!
//! Begin at `cluster.rs`. The operator is seen only through the apiserver and its command line: nothing of core or of the
//! controller is linked here. What a process leaves behind is swept by `keeper.rs`, also after a kill.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "test tooling: a failure here ends the test or the demo"
)]

pub mod cluster;
pub mod delegates;
pub mod demo;
pub mod door;
pub mod fault;
pub mod harness;
pub mod image;
pub mod keeper;
pub mod operator;
pub mod parts;
pub mod prometheus;
pub mod recorded;
pub mod shop;
pub mod sign;
pub mod simulated;
pub mod wait;
