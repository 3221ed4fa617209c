//! Rollforward's decisions as functions of data.
//!
//! Nothing in this crate reads a clock, a file, a socket or the environment: what is known comes in as an argument, what is
//! decided goes out as a value. The walk, in order: `scan`, `select`, `gate`, `decide`, `rollout` (with `judge`), `report`.
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

pub mod approval;
pub mod breaker;
pub mod current;
pub mod decide;
pub mod delegate;
pub mod evidence;
pub mod gate;
pub mod image;
pub mod judge;
pub mod ledger;
pub mod levers;
pub mod ownership;
pub mod policy;
pub mod preflight;
pub mod reason;
pub mod report;
pub mod rollout;
pub mod scan;
pub mod select;
pub mod text;
pub mod trust;
pub mod version;
pub mod workload;
