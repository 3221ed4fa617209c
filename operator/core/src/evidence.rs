//! What outside systems said, in three values, and the facts on a digest that layers read.
//!
//! `Unknown` is never `Absent`, and `Absent` is never a pass: a timeout is not an absence, and a registry that answers
//! 429 has not said that there is nothing. Who asks: the controller's `gather.rs`. Who judges: `gate.rs`.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::image::Digest;
use crate::reason::Reason;

/// What an outside system said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// It has it, and this is it.
    Found(T),
    /// It answered, and does not have it.
    Absent,
    /// It did not answer, or not in a way that can be believed.
    Unknown(Unknown),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The cause, as the user reads it.
    pub reason: Reason,
    /// What was observed: raw, cleaned where it is shown.
    pub message: String,
    /// When to ask again, where the other side said so (`Retry-After`).
    pub retry_at: Option<Timestamp>,
}

impl<T> Answer<T> {
    /// Applies a function to what was found.
    pub fn map<U>(self, function: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Answer::Found(found) => Answer::Found(function(found)),
            Answer::Absent => Answer::Absent,
            Answer::Unknown(unknown) => Answer::Unknown(unknown),
        }
    }

    /// The same answer, borrowed.
    pub fn as_ref(&self) -> Answer<&T> {
        match self {
            Answer::Found(found) => Answer::Found(found),
            Answer::Absent => Answer::Absent,
            Answer::Unknown(unknown) => Answer::Unknown(unknown.clone()),
        }
    }
}

/// An operating system and an architecture, as nodes and image indexes name them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform {
    /// For example `linux`.
    pub os: String,
    /// For example `amd64`.
    pub architecture: String,
}

/// What a manifest says about the platforms it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The digest of the manifest or index that the tag named: what is written and pinned.
    pub digest: Digest,
    /// The platforms it can run on. Empty where a single image's config named none.
    pub platforms: BTreeSet<Platform>,
}
