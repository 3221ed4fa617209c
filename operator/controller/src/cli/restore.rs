//! `rollforward restore`: restores every workload that an open run still holds, and lets its objects go. For uninstalling,
//! and for when the operator is gone.
//!
//! A workload whose image is still ours goes back to the image before; one that somebody else changed keeps theirs and gets
//! its rollout fields back.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::{Client, ResourceExt};
use rollforward_api::policy::UpdatePolicy;
use rollforward_api::run::UpdateRun;
use rollforward_core::reason::Reason;
use rollforward_core::rollout::{Patch as Change, Phase, Run, patch as change};
use serde_json::json;

use crate::clock;
use crate::convert;
use crate::kubernetes::{patch, store, workloads};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Every namespace, or those of the configuration.
    #[arg(long, conflicts_with = "namespace")]
    all: bool,
    /// Only this namespace.
    #[arg(short, long)]
    namespace: Option<String>,
    /// The operator's configuration file: names the namespaces that `--all` means.
    #[arg(long)]
    config: Option<std::path::PathBuf>,
    /// The operator's own Deployment, as namespace/name: scaled to 0 and waited for first, or it would begin again.
    #[arg(long)]
    stop: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let client = super::client().await?;
    let config = crate::config::Config::load(arguments.config.as_deref())?;
    if let Some(operator) = &arguments.stop {
        stop(&client, operator).await?;
    }
    let spaces: Vec<Option<String>> = match (&arguments.namespace, arguments.all) {
        (Some(namespace), _) => vec![Some(namespace.clone())],
        (None, true) if config.watch_namespaces.is_empty() => vec![None],
        (None, true) => config.watch_namespaces.iter().cloned().map(Some).collect(),
        (None, false) => bail!("expected --all or --namespace"),
    };
    let mut failures: usize = 0;
    for space in &spaces {
        for run in runs(&client, space.as_deref()).await? {
            match restore(&client, &run).await {
                Ok(words) => super::tell(&format!(
                    "{}/{}: {words}\n",
                    run.namespace().unwrap_or_default(),
                    run.name_any()
                )),
                Err(error) => {
                    failures += 1;
                    super::tell_error(&format!(
                        "{}/{}: {error:#}\n",
                        run.namespace().unwrap_or_default(),
                        run.name_any()
                    ));
                }
            }
        }
        if failures == 0 {
            release_policies(&client, space.as_deref()).await?;
        }
    }
    if 0 < failures {
        bail!(
            "{failures} runs could not be restored; they and their policies keep their finalizers, so nothing is lost"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// How long the operator's pods may take to end.
const STOPPED_WITHIN: Duration = Duration::from_secs(120);

/// Scales the operator's own Deployment to 0 and waits until its pods are gone.
async fn stop(client: &Client, operator: &str) -> anyhow::Result<()> {
    let (namespace, name) = operator.split_once('/').context("--stop: expected namespace/name")?;
    let api = Api::<Deployment>::namespaced(client.clone(), namespace);
    let scale = Patch::Merge(json!({"spec": {"replicas": 0}}));
    let scaled = api.patch(name, &PatchParams::default(), &scale).await;
    let scaled = scaled.with_context(|| format!("could not scale deployment/{name} in {namespace} to 0"))?;
    let labels = workloads::selector(&scaled.spec.selector)
        .context("the operator's Deployment selects by no label")?;
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let started = Instant::now();
    while !pods
        .list(&ListParams::default().labels(&labels))
        .await
        .context("the operator's pods")?
        .items
        .is_empty()
    {
        if STOPPED_WITHIN < started.elapsed() {
            bail!("the operator's pods in {namespace} did not end within {} s", STOPPED_WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The runs that are open, or ended and still bound by our finalizer.
async fn runs(client: &Client, namespace: Option<&str>) -> anyhow::Result<Vec<UpdateRun>> {
    let api: Api<DeserializeGuard<UpdateRun>> = api(client, namespace);
    let all = api.list(&ListParams::default()).await.context("could not list the UpdateRuns")?;
    let bound = |run: &UpdateRun| run.finalizers().iter().any(|one| one == store::FINALIZER);
    let all = all.items.into_iter().filter_map(|run| run.0.ok());
    Ok(all.filter(|run| convert::run::is_open(run) || bound(run)).collect())
}

async fn restore(client: &Client, object: &UpdateRun) -> anyhow::Result<String> {
    if !convert::run::is_open(object) {
        store::finalizer(client, object, false).await?;
        return Ok("had ended; let go".to_owned());
    }
    let run = convert::run::from_api(object).context("the run's record cannot be read")?;
    let id = &run.workload;
    let found = workloads::get(client, id.kind, &id.namespace, &id.name).await?;
    let found = found.filter(|object| object.uid() == id.uid);
    let words = match found.as_ref().map(workloads::Object::workload) {
        None => "its workload is gone".to_owned(),
        Some(workload) => match restoring(&run, &workload) {
            None => "held nothing".to_owned(),
            Some(change) => {
                patch::apply(client, &change)
                    .await
                    .map_err(|refused| anyhow::anyhow!("{}: {}", refused.reason, refused.message))?;
                format!("{} restored", workload.title())
            }
        },
    };
    let mut status = run.status.clone();
    status.phase = Phase::Aborted;
    status.result = Some((Reason::Aborted, "restored by `rollforward restore`".to_owned()));
    status.finished_at = Some(clock::now());
    store::run_status(client, &id.namespace, &run.name, &convert::run::to_status(&status)).await?;
    let runs: Api<UpdateRun> = Api::namespaced(client.clone(), &id.namespace);
    // Read again: the status was written a moment ago.
    if let Some(object) = runs.get_opt(&run.name).await.context("could not read the run again")? {
        store::finalizer(client, &object, false).await?;
    }
    Ok(words)
}

/// The patch that leaves nothing of ours; `None` where nothing is held. A promoted workload keeps what passed.
fn restoring(run: &Run, workload: &rollforward_core::workload::Workload) -> Option<Change> {
    if change::restores(run, workload).is_empty() {
        return None;
    }
    let is_ours = run.containers.iter().all(|container| {
        workload.containers.iter().any(|seen| seen.name == container.name && seen.image == container.to)
    });
    Some(if is_ours { change::revert(run, workload) } else { change::restore_ours(run, workload) })
}

async fn release_policies(client: &Client, namespace: Option<&str>) -> anyhow::Result<()> {
    let policies: Api<DeserializeGuard<UpdatePolicy>> = api(client, namespace);
    let all = policies.list(&ListParams::default()).await.context("could not list the UpdatePolicies")?;
    for policy in &all.items {
        store::finalizer(client, policy, false).await?;
    }
    Ok(())
}
