//! `rollforward release`: lets a quarantined digest, or a version that a person left, go on. Writes
//! `metadata.annotations["rollforward.dev/release"]` of the policy; the operator carries it out and removes it.

use std::process::ExitCode;

use super::levers::{PolicyAndDigest, ask};
use crate::convert::policy::RELEASE_ANNOTATION;

pub(crate) async fn run(arguments: PolicyAndDigest) -> anyhow::Result<ExitCode> {
    ask(arguments, RELEASE_ANNOTATION).await
}
