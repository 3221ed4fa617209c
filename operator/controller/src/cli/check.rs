//! `rollforward check`: asks for a look now. Writes `metadata.annotations["rollforward.dev/requestedAt"]` of the policy.

use std::process::ExitCode;

use crate::clock;
use crate::convert::policy::REQUEST_ANNOTATION;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The policy.
    policy: String,
    /// Its namespace; without it the kubeconfig's.
    #[arg(short, long)]
    namespace: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let client = super::client().await?;
    let namespace = super::namespace(arguments.namespace, &client);
    let now = clock::now().to_string();
    super::levers::annotate_policy(
        &client,
        &namespace,
        &arguments.policy,
        &[(REQUEST_ANNOTATION, Some(&now))],
    )
    .await
}
