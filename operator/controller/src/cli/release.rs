//! `rollforward release`: lets a quarantined digest, or a version that a person left, go on. Writes
//! `metadata.annotations["rollforward.dev/release"]` of the policy; the operator carries it out and removes it.

use std::process::ExitCode;

use anyhow::bail;
use rollforward_core::image::Digest;

use crate::convert::policy::RELEASE_ANNOTATION;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The policy.
    policy: String,
    /// The digest, `sha256:` and 64 digits; without it everything that is held.
    digest: Option<String>,
    /// Its namespace; without it the kubeconfig's.
    #[arg(short, long)]
    namespace: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let value = match &arguments.digest {
        None => "all".to_owned(),
        Some(digest) => match Digest::parse(digest) {
            Ok(digest) => digest.to_string(),
            Err(error) => {
                bail!("{error}; `kubectl describe updatepolicy {}` shows it in full", arguments.policy)
            }
        },
    };
    let client = super::client().await?;
    let namespace = super::namespace(arguments.namespace, &client);
    super::check::annotate(client, &namespace, &arguments.policy, RELEASE_ANNOTATION, &value).await?;
    super::tell(&format!("updatepolicy/{} in {namespace}: release of {value} asked for\n", arguments.policy));
    Ok(ExitCode::SUCCESS)
}
