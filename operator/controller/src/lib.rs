//! Everything of Rollforward that touches the world: the apiserver, registries, the command line.
//!
//! Begin at `reconcile.rs` and read downwards. Each outside system is one module and the only importer of its library; they
//! meet in `reconcile/`. What is decided is decided in the core crate.

pub mod cli;
pub mod clock;
pub mod config;
pub mod convert;
pub mod kubernetes;
pub mod papers;
pub mod prometheus;
pub mod reconcile;
pub mod registry;
pub mod scans;
pub mod server;
pub mod sigstore;
mod spread;
pub mod telemetry;
