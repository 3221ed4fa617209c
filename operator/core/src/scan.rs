//! What a registry listed, when, and whether the list was complete.
//!
//! One scan serves every policy that needs the same repository with the same credential. A short list is never read as a
//! deletion: `select.rs` chooses among what is there and never goes below the floor.

use jiff::Timestamp;

/// One listing of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The names as the registry gave them: not all are valid tags.
    pub tags: Vec<String>,
    /// Whether the listing reached its end.
    pub complete: bool,
    /// When it was taken.
    pub at: Timestamp,
}
