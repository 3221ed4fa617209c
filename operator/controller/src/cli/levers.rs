//! `rollforward pause | resume | abort | promote | retry`: each writes one annotation (`--all`: one key of a ConfigMap), with who
//! and when, and says which. What the operator makes of it: core's `levers.rs`.
//!
//! A pause is an annotation and not `spec.suspend`: a policy whose spec is kept by Git is paused all the same, for what
//! reconciles it leaves alone an annotation that is not in Git.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use rollforward_api::policy::UpdatePolicy;
use rollforward_api::run::UpdateRun;
use rollforward_core::image::Digest;
use serde_json::json;

use crate::clock;
use crate::convert;
use crate::convert::levers::{
    ABORT_ANNOTATION, PAUSED_ANNOTATION, PROMOTE_ANNOTATION, RESUME_ANNOTATION, RETRY_ANNOTATION, written,
};
use crate::kubernetes::brake::{CONFIG_MAP, PAUSED_KEY};

/// A policy, or everything.
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyOrAll {
    /// The policy.
    #[arg(required_unless_present = "all")]
    policy: Option<String>,
    /// Every policy of the operator.
    #[arg(long, conflicts_with_all = ["policy", "namespace"])]
    all: bool,
    /// The policy's namespace; without it the kubeconfig's.
    #[arg(short, long)]
    namespace: Option<String>,
    /// With --all: the namespace in which the operator runs.
    #[arg(long, default_value = "rollforward-system")]
    operator_namespace: String,
}

/// A run, or the policy whose run is open.
#[derive(Debug, clap::Args)]
pub(crate) struct RunOrPolicy {
    /// The run, or the policy whose run is open.
    name: String,
    /// Its namespace; without it the kubeconfig's.
    #[arg(short, long)]
    namespace: Option<String>,
}

/// A policy and what failed.
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyAndDigest {
    /// The policy.
    pub(crate) policy: String,
    /// The digest, `sha256:` and 64 digits; without it everything that failed or is held.
    pub(crate) digest: Option<String>,
    /// Its namespace; without it the kubeconfig's.
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
}

/// The apiserver's name for whoever runs the command.
pub(crate) async fn who(client: &Client) -> anyhow::Result<String> {
    let api = Api::<SelfSubjectReview>::all(client.clone());
    let review = api.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let user =
        review.context("could not ask the apiserver who you are")?.status.and_then(|status| status.user_info);
    user.and_then(|user| user.username).context("the apiserver did not say who you are")
}

async fn token(client: &Client) -> anyhow::Result<String> {
    Ok(written(clock::now(), &who(client).await?))
}

pub(crate) async fn pause(arguments: PolicyOrAll) -> anyhow::Result<ExitCode> {
    let client = super::client().await?;
    let value = token(&client).await?;
    let Some(policy) = &arguments.policy else {
        return brake(&client, &arguments.operator_namespace, Some(&value)).await;
    };
    let namespace = super::namespace(arguments.namespace, &client);
    annotate_policy(&client, &namespace, policy, &[(PAUSED_ANNOTATION, Some(&value))]).await
}

pub(crate) async fn resume(arguments: PolicyOrAll) -> anyhow::Result<ExitCode> {
    let client = super::client().await?;
    let Some(policy) = &arguments.policy else {
        return brake(&client, &arguments.operator_namespace, None).await;
    };
    let value = token(&client).await?;
    let namespace = super::namespace(arguments.namespace, &client);
    let found = Api::<UpdatePolicy>::namespaced(client.clone(), &namespace).get(policy).await;
    let found = found.with_context(|| format!("no updatepolicy/{policy} in namespace {namespace}"))?;
    if found.spec.suspend == Some(true) {
        bail!("updatepolicy/{policy} has `spec.suspend: true`: set it to false where the policy is kept");
    }
    if !found.annotations().contains_key(PAUSED_ANNOTATION) {
        super::tell(&format!("updatepolicy/{policy} in {namespace} is not paused; nothing was written\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let both = [(PAUSED_ANNOTATION, None), (RESUME_ANNOTATION, Some(value.as_str()))];
    annotate_policy(&client, &namespace, policy, &both).await
}

/// Pulls or frees the brake for everything.
async fn brake(client: &Client, namespace: &str, value: Option<&str>) -> anyhow::Result<ExitCode> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let missing = || {
        format!(
            "could not write configmap/{CONFIG_MAP} in {namespace}; where the operator runs elsewhere, name it by --operator-namespace"
        )
    };
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {PAUSED_KEY: value}});
    let there = api.get_opt(CONFIG_MAP).await.with_context(missing)?;
    if there.is_none() && value.is_none() {
        super::tell(&format!(
            "configmap/{CONFIG_MAP} in {namespace}: nothing is paused; nothing was written\n"
        ));
        return Ok(ExitCode::SUCCESS);
    }
    if there.is_none() {
        let new: ConfigMap =
            serde_json::from_value(json!({"metadata": {"name": CONFIG_MAP}, "data": {PAUSED_KEY: value}}))?;
        api.create(&PostParams::default(), &new).await.with_context(missing)?;
    } else {
        api.patch(CONFIG_MAP, &PatchParams::default(), &Patch::Merge(&body)).await.with_context(missing)?;
    }
    let words = value.map_or_else(
        || format!("removed data.{PAUSED_KEY}"),
        |value| format!("wrote data.{PAUSED_KEY}: {value}"),
    );
    super::tell(&format!("configmap/{CONFIG_MAP} in {namespace}: {words}\n"));
    Ok(ExitCode::SUCCESS)
}

/// Sets or removes annotations of a policy and says so.
pub(crate) async fn annotate_policy(
    client: &Client,
    namespace: &str,
    policy: &str,
    annotations: &[(&str, Option<&str>)],
) -> anyhow::Result<ExitCode> {
    let api = Api::<UpdatePolicy>::namespaced(client.clone(), namespace);
    let all: serde_json::Map<_, _> =
        annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let body = json!({"metadata": {"annotations": all}});
    let patched = api.patch_metadata(policy, &PatchParams::default(), &Patch::Merge(&body)).await;
    patched.with_context(|| {
        format!("could not write the annotations of updatepolicy/{policy} in {namespace}")
    })?;
    say(&format!("updatepolicy/{policy} in {namespace}"), annotations);
    Ok(ExitCode::SUCCESS)
}

fn say(object: &str, annotations: &[(&str, Option<&str>)]) {
    for (key, value) in annotations {
        let words = value.map_or_else(|| format!("removed {key}"), |value| format!("wrote {key}: {value}"));
        super::tell(&format!("{object}: metadata.annotations: {words}\n"));
    }
}

pub(crate) async fn abort(arguments: RunOrPolicy) -> anyhow::Result<ExitCode> {
    pull(arguments, ABORT_ANNOTATION).await
}

pub(crate) async fn promote(arguments: RunOrPolicy) -> anyhow::Result<ExitCode> {
    pull(arguments, PROMOTE_ANNOTATION).await
}

async fn pull(arguments: RunOrPolicy, key: &str) -> anyhow::Result<ExitCode> {
    let client = super::client().await?;
    let namespace = super::namespace(arguments.namespace, &client);
    let run = open_run(&client, &namespace, &arguments.name).await?;
    let value = token(&client).await?;
    let api = Api::<UpdateRun>::namespaced(client, &namespace);
    let body = json!({"metadata": {"annotations": {key: value}}});
    let name = run.name_any();
    let patched = api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(&body)).await;
    patched.with_context(|| {
        format!("could not write the annotation {key} of updaterun/{name} in {namespace}")
    })?;
    say(&format!("updaterun/{name} in {namespace}"), &[(key, Some(&value))]);
    Ok(ExitCode::SUCCESS)
}

/// The open run of this name, or of the policy of this name.
pub(crate) async fn open_run(client: &Client, namespace: &str, name: &str) -> anyhow::Result<UpdateRun> {
    let api = Api::<UpdateRun>::namespaced(client.clone(), namespace);
    let all = api.list(&ListParams::default()).await.context("could not list the UpdateRuns")?.items;
    if let Some(run) = all.iter().find(|run| run.name_any() == name) {
        if !convert::run::is_open(run) {
            let ended = run.status.as_ref().and_then(|status| status.result.as_ref());
            let how = ended.map_or_else(String::new, |result| format!(": {}", result.message));
            bail!("updaterun/{name} in {namespace} has ended{how}");
        }
        return Ok(run.clone());
    }
    let mut open: Vec<&UpdateRun> =
        all.iter().filter(|run| run.spec.policy.name == name && convert::run::is_open(run)).collect();
    match (open.pop(), open.is_empty()) {
        (Some(run), true) => Ok(run.clone()),
        (Some(run), false) => {
            let names: Vec<String> = open.iter().map(|run| run.name_any()).collect();
            bail!(
                "updatepolicy/{name} in {namespace} has several open runs; name one: {}, {}",
                run.name_any(),
                names.join(", ")
            )
        }
        (None, _) => {
            bail!("no open run and no policy with an open run is named {name} in namespace {namespace}")
        }
    }
}

pub(crate) async fn retry(arguments: PolicyAndDigest) -> anyhow::Result<ExitCode> {
    ask(arguments, RETRY_ANNOTATION).await
}

/// Asks something of the memory: of everything, or of one digest.
pub(crate) async fn ask(arguments: PolicyAndDigest, key: &str) -> anyhow::Result<ExitCode> {
    let what = match &arguments.digest {
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
    let value = format!("{what} {}", token(&client).await?);
    annotate_policy(&client, &namespace, &arguments.policy, &[(key, Some(&value))]).await
}
