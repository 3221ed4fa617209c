//! Test doubles for what the real parts cannot be made to do. Never part of what ships.
//!
//! `registry.rs`: a registry on loopback that lies, stalls and redirects on demand; `token_server.rs`: tokens for the real
//! one; `tls.rs`: an authority; `provider.rs`: a credential provider; `sigstore.rs`: a Sigstore in memory; `image.rs`: images as bytes; `wire.rs`: what goes over
//! a connection, counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a fixture that cannot be made is a failed test"
)]

pub mod image;
pub mod provider;
pub mod registry;
pub mod sigstore;
pub mod tls;
pub mod token_server;
pub mod wire;
