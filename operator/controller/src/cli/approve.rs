//! `rollforward approve`: a yes to one run that waits for it. Writes `spec.approval` of the UpdateRun, in one's own name: the chart's
//! ValidatingAdmissionPolicy lets only holders of the verb `approve` do so.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use rollforward_api::run::UpdateRun;
use serde_json::json;

use super::levers::{open_run, who};
use crate::clock;
use crate::convert;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The run; its name is in the policy's status.
    run: String,
    /// Its namespace; without it the kubeconfig's.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Why, for the record.
    #[arg(long)]
    comment: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let client = super::client().await?;
    let namespace = super::namespace(arguments.namespace, &client);
    let run = open_run(&client, &namespace, &arguments.run).await?;
    let name = run.name_any();
    if name != arguments.run {
        bail!("an approval is for one run: name it, updatepolicy/{} waits with {name}", arguments.run);
    }
    if let Some(given) = &run.spec.approval {
        bail!("updaterun/{name} in {namespace} was approved by {} at {}", given.by, given.at.0);
    }
    if run.spec.rollout.approval.as_deref() != Some("Manual") {
        bail!(
            "updaterun/{name} in {namespace} waits for no approval: its policy's `approval.mode` was not Manual"
        );
    }
    let (by, at) = (who(&client).await?, convert::time(clock::now()));
    let approval = json!({"by": by, "at": at, "comment": arguments.comment});
    let body = json!({"spec": {"approval": approval}});
    let api = Api::<UpdateRun>::namespaced(client, &namespace);
    let patched = api.patch(&name, &PatchParams::default(), &Patch::Merge(&body)).await;
    patched.with_context(|| format!("could not write spec.approval of updaterun/{name} in {namespace}"))?;
    let what = format!(
        "{} -> {} of {}/{}",
        run.spec.from_tag.as_deref().unwrap_or("untagged"),
        run.spec.to_tag,
        run.spec.workload.kind,
        run.spec.workload.name
    );
    super::tell(&format!(
        "updaterun/{name} in {namespace}: wrote spec.approval: {by} at {} ({what})\n",
        at.0
    ));
    Ok(ExitCode::SUCCESS)
}
