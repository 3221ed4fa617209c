//! The shape of an image: what its config says of how it is run and what it is made of. Hostile input, bounded where it is
//! read. Compared with what runs by `gate/drift.rs`; its labels are covered by a signature over the digest.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

/// What an image's config and manifest say of its shape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// Who it runs as; empty is root.
    pub user: String,
    /// Its entrypoint.
    pub entrypoint: Vec<String>,
    /// Its command.
    pub command: Vec<String>,
    /// The ports it says it opens: `8080/tcp`.
    pub ports: BTreeSet<String>,
    /// Its volumes.
    pub volumes: BTreeSet<String>,
    /// The names of its environment variables; their values are nobody's business here.
    pub environment: BTreeSet<String>,
    /// Its labels below `org.opencontainers.image.`, without that prefix.
    pub labels: BTreeMap<String, String>,
    /// When its builder says that it was made.
    pub created: Option<Timestamp>,
    /// The size of its layers, compressed, as the manifest says.
    pub size_bytes: u64,
    /// Its layers' digests, lowest first.
    pub layers: Vec<String>,
}
