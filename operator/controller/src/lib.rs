//! Stub.

pub mod registry;
