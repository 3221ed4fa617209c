//! The door to the apiserver: functions over a client, each one request or one list.
//!
//! The only importer of `kube::Api`. Objects become core's types in `workloads.rs`
//! and `kinds.rs`; writes to workloads are JSON patches
//! (`patch.rs`); Events go out by `events.rs`; pull secrets are read by name (`secrets.rs`), the end of a crashed
//! program's log by `logs.rs`; what would stop new pods is asked by `preflight.rs`; who
//! rolls a workload out in our place is found by `delegates.rs`.

pub mod brake;
pub mod delegates;
pub mod events;
mod kinds;
pub mod lease;
pub mod logs;
pub mod named;
pub mod patch;
pub mod pod_watch;
pub mod preflight;
pub mod secrets;
pub mod store;
pub mod trust;
pub mod workloads;

use thiserror::Error;

/// The apiserver did not do what was asked.
#[derive(Debug, Error)]
pub enum ApiError {
    /// A request failed.
    #[error("{what}: {}", words(.cause))]
    Request {
        /// What was attempted.
        what: &'static str,
        /// The apiserver's answer; told in our words, for its own print the whole object.
        cause: Box<kube::Error>,
    },
}

impl ApiError {
    /// Wraps a failed request with what was attempted.
    pub fn of(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |cause| ApiError::Request { what, cause: Box::new(cause) }
    }

    /// The HTTP status, where the apiserver answered at all.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        let ApiError::Request { cause, .. } = self;
        status(cause).map(|status| status.code)
    }
}

/// The apiserver's answer to a failed request, where there is one.
#[must_use]
pub fn status(error: &kube::Error) -> Option<&kube::core::Status> {
    if let kube::Error::Api(status) = error { Some(status) } else { None }
}

/// A failed request in words: the apiserver's own message, or the transport's.
#[must_use]
pub fn words(error: &kube::Error) -> String {
    match status(error) {
        Some(status) => rollforward_core::text::clean(&status.message, 200),
        None => rollforward_core::text::clean(&error.to_string(), 200),
    }
}

/// `None` for a 404: the object is not there, which is an answer.
pub(crate) fn optional<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if status(&error).is_some_and(|status| status.code == 404) => Ok(None),
        Err(error) => Err(error),
    }
}
