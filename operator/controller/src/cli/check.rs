//! `rollforward check`: asks for a look now. Writes `metadata.annotations["rollforward.dev/requestedAt"]` of the policy.

use std::process::ExitCode;

use anyhow::Context as _;
use kube::api::{Api, Patch, PatchParams};
use rollforward_api::policy::UpdatePolicy;
use serde_json::json;

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
    annotate(client, &namespace, &arguments.policy, REQUEST_ANNOTATION, &now).await?;
    super::tell(&format!("updatepolicy/{} in {namespace}: asked to look now ({now})\n", arguments.policy));
    Ok(ExitCode::SUCCESS)
}

/// Sets one annotation of a policy.
pub(crate) async fn annotate(
    client: kube::Client,
    namespace: &str,
    policy: &str,
    key: &str,
    value: &str,
) -> anyhow::Result<()> {
    let api = Api::<UpdatePolicy>::namespaced(client, namespace);
    let body = json!({"metadata": {"annotations": {key: value}}});
    api.patch_metadata(policy, &PatchParams::default(), &Patch::Merge(&body)).await.with_context(|| {
        format!("could not write the annotation {key} of updatepolicy/{policy} in {namespace}")
    })?;
    Ok(())
}
