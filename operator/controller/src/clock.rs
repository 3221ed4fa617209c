//! The one reader of the wall clock. A pass reads it once and hands the time on.

use jiff::Timestamp;

/// The present moment.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}
