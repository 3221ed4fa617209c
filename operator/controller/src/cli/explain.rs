//! `rollforward explain`: a policy told from beginning to end: conditions, why, candidates, runs with every write, settings.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use rollforward_api::policy::{ImageStatus, UpdatePolicy};
use rollforward_api::run::UpdateRun;
use rollforward_api::verification::VerificationPolicy;
use rollforward_core::policy::{Policy, StepSize};
use rollforward_core::text;
use rollforward_core::trust::{Decision, Effective, Roots, settings};
use rollforward_core::workload::Kind;

use super::written::{coming, written};
use crate::config::Config;
use crate::convert;
use crate::convert::verification::Entries;
use crate::kubernetes::store;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The policy, or a workload as deployment/name: then every policy that watches it.
    policy: String,
    /// Its namespace; without it the kubeconfig's.
    #[arg(short, long)]
    namespace: Option<String>,
    /// The operator's configuration file: its defaults fill in what the policy leaves open.
    #[arg(long)]
    config: Option<std::path::PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let client = super::client().await?;
    let namespace = super::namespace(arguments.namespace, &client);
    let config = Config::load(arguments.config.as_deref())?;
    for policy in policies(&client, &namespace, &arguments.policy).await? {
        let mut runs = store::runs_of(&client, &namespace, &policy.name_any()).await?;
        runs.sort_by_key(|run| std::cmp::Reverse(run.creation_timestamp()));
        let decisions = decisions(&client, &namespace).await;
        super::tell(&explanation(&policy, &runs, &config, &decisions));
    }
    Ok(ExitCode::SUCCESS)
}

/// The decisions of the namespace, or why they are not known: whoever may read a policy may not read them by that alone.
async fn decisions(client: &Client, namespace: &str) -> Result<Vec<Decision>, String> {
    let api = Api::<VerificationPolicy>::namespaced(client.clone(), namespace);
    let all = api.list(&ListParams::default()).await;
    let mut all = all.map_err(|error| format!("VerificationPolicies could not be read: {error}"))?.items;
    all.sort_by_key(ResourceExt::name_any);
    // What a ConfigMap holds changes nothing of who asks for what.
    Ok(all.iter().map(|policy| convert::verification::policy(policy, &Entries::new())).collect())
}

/// The policy of that name, or those that watch the workload.
async fn policies(client: &Client, namespace: &str, asked: &str) -> anyhow::Result<Vec<UpdatePolicy>> {
    let api = Api::<UpdatePolicy>::namespaced(client.clone(), namespace);
    let Some((kind, name)) = asked.split_once('/') else {
        let found = api.get(asked).await;
        return found
            .map(|policy| vec![policy])
            .with_context(|| format!("no updatepolicy/{asked} in namespace {namespace}"));
    };
    let Some(kind) = kind_of(kind) else {
        bail!("expected a policy's name, or a workload as deployment/name; got {asked:?}");
    };
    let watches = |policy: &UpdatePolicy| {
        let mut images = policy.status.iter().flat_map(|status| status.images.iter().flatten());
        images.any(|image| image.workload.as_deref() == Some(name))
    };
    let all = api.list(&ListParams::default()).await.context("could not list the UpdatePolicies")?;
    let found: Vec<UpdatePolicy> = all.items.into_iter().filter(watches).collect();
    if found.is_empty() {
        bail!("no updatepolicy in namespace {namespace} watches {kind}/{name}");
    }
    Ok(found)
}

/// A kind as `kubectl` takes it: singular, plural or short.
fn kind_of(word: &str) -> Option<Kind> {
    let word = word.to_ascii_lowercase();
    let short = |kind: Kind| match kind {
        Kind::Deployment => "deploy",
        Kind::StatefulSet => "sts",
        Kind::DaemonSet => "ds",
        Kind::CronJob => "cj",
        Kind::Rollout => "ro",
    };
    let fits = |kind: &Kind| {
        let name = kind.name().to_ascii_lowercase();
        word == name || word == format!("{name}s") || word == short(*kind)
    };
    Kind::ALL.into_iter().find(fits)
}

fn explanation(
    policy: &UpdatePolicy,
    runs: &[UpdateRun],
    config: &Config,
    decisions: &Result<Vec<Decision>, String>,
) -> String {
    let mut lines = vec![format!("{}/{}", policy.namespace().unwrap_or_default(), policy.name_any())];
    let Some(status) = &policy.status else {
        lines.push("Not looked at yet: no operator has written a status.".to_owned());
        return lines.join("\n") + "\n";
    };
    for condition in status.conditions.iter().flatten() {
        lines.push(format!("{:<9} {:<6} {}", condition.type_, condition.status, condition.message));
    }
    for image in status.images.iter().flatten() {
        track(image, &mut lines);
    }
    lines.push(String::new());
    lines.push("Why".to_owned());
    lines.extend(status.why.iter().flatten().map(|line| format!("  {line}")));
    for run in runs {
        story(run, &mut lines);
    }
    lines.push(String::new());
    match convert::policy::policy(policy, &config.defaults) {
        Ok(effective) => {
            lines.extend(settings(&effective));
            let images = status.images.iter().flatten().filter_map(|image| image.repository.clone());
            let repositories: BTreeSet<String> = images.collect();
            for repository in repositories {
                lines.extend(trust(&effective, config, decisions, &repository));
            }
        }
        Err(faults) => lines.extend(faults.iter().map(|fault| format!("Not valid: {fault}"))),
    }
    // What others wrote into the status was cleaned when it was written; a status can be edited by hand.
    lines.iter().map(|line| text::printable(line, 1200) + "\n").collect()
}

fn track(image: &ImageStatus, lines: &mut Vec<String>) {
    let shown = |text: &Option<String>| text.clone().unwrap_or_default();
    lines.push(String::new());
    lines.push(format!("{} ({})", image.track, shown(&image.repository)));
    lines.push(format!(
        "  current {}, latest {}, {}",
        shown(&image.current),
        shown(&image.latest),
        shown(&image.state)
    ));
    lines.extend(image.listing.iter().map(|listing| format!("  listing {listing}")));
    for candidate in image.candidates.iter().flatten() {
        let until = candidate.until.as_ref().map_or(String::new(), |until| format!(" until {until}"));
        lines.push(format!("  candidate {}: {} {}{until}", candidate.tag, candidate.verdict, candidate.code));
    }
    for (layer, words) in image.layers.iter().flatten() {
        lines.push(format!("  layer {layer}: {words}"));
    }
}

fn story(run: &UpdateRun, lines: &mut Vec<String>) {
    let spec = &run.spec;
    let status = run.status.clone().unwrap_or_default();
    lines.push(String::new());
    lines.push(format!(
        "Run {}: {} {} -> {} ({}), attempt {}",
        run.name_any(),
        spec.workload.name,
        spec.from_tag.as_deref().unwrap_or("untagged"),
        spec.to_tag,
        status.phase.as_deref().unwrap_or("Preparing"),
        spec.attempt
    ));
    lines.push(format!("  trigger  {}", spec.trigger.reason));
    lines.extend(spec.evidence.iter().flatten().map(|(layer, words)| format!("  evidence {layer}: {words}")));
    lines.extend(status.writes.iter().flatten().flat_map(|write| written("  write    ", write)));
    lines.extend(status.levers.iter().flatten().map(|lever| {
        let at = lever.at.as_ref().map_or(String::new(), |at| format!("{} ", text::instant_seconds(at.0)));
        format!("  lever    {at}{} by {}", lever.verb, lever.by)
    }));
    if let Some(comment) = spec.approval.as_ref().and_then(|given| given.comment.as_ref()) {
        lines.push(format!("  approved {comment}"));
    }
    if let Some(cause) = &status.cause {
        lines.push(format!(
            "  cause    {}: expected {}, observed {}",
            cause.reason, cause.expected, cause.observed
        ));
        lines.extend(cause.judged.iter().map(|judged| format!("  judged   {judged}")));
    }
    if let Some(result) = &status.result {
        lines.push(format!("  ended    {}: {}", result.reason, result.message));
    }
    lines.extend(status.next.iter().map(|next| format!("  next     {}", coming(next))));
}

/// `1 pod, 25%, 100%`.
fn steps(steps: &[StepSize]) -> String {
    let words = steps.iter().map(|step| match step {
        StepSize::Pods(1) => "1 pod".to_owned(),
        StepSize::Pods(pods) => format!("{pods} pods"),
        StepSize::Percent(share) => format!("{share}%"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// What all that count for a repository want together, each with who asks.
fn trust(
    policy: &Policy,
    config: &Config,
    decisions: &Result<Vec<Decision>, String>,
    repository: &str,
) -> Vec<String> {
    let mut lines = vec![format!("Effective trust for {repository}")];
    let decisions = match decisions {
        Ok(decisions) => decisions.as_slice(),
        Err(why) => {
            lines.push(format!("  {why}; without them:"));
            &[]
        }
    };
    let source = policy.source.as_ref().map(ToString::to_string);
    let names: Vec<String> = source.into_iter().chain([repository.to_owned()]).collect();
    let all = decisions.iter().chain(&config.floor).chain(&policy.trust);
    let roots = Roots::new();
    let effective = Effective::among(all, &names, &roots, policy.soak_unsigned);
    lines.extend(settings::lines(&effective).iter().map(|line| format!("  {line}")));
    lines
}

fn settings(policy: &Policy) -> Vec<String> {
    let rollout = &policy.rollout;
    vec![
        "Effective settings".to_owned(),
        format!(
            "  rule {}, variant {:?}, looked at every {}",
            policy.rule_text,
            policy.variant,
            text::span(policy.interval)
        ),
        format!(
            "  rollout {}, each step watched {}, deadline {} then {:?}, hold {:?}, where impossible {:?}",
            steps(&rollout.steps),
            text::span(rollout.bake),
            text::span(rollout.deadline),
            rollout.on_deadline,
            rollout.hold,
            rollout.when_impossible
        ),
        format!(
            "  quarantine after {} equal failures, retry after {}",
            rollout.after_fails,
            text::span(rollout.retry_after)
        ),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_all_decisions_want_together_is_told_with_who_asks_for_each() {
        let of = |name: &str, spec: serde_json::Value| {
            let object = json!({"apiVersion": "rollforward.dev/v1alpha1", "kind": "VerificationPolicy",
                "metadata": {"name": name}, "spec": spec});
            let object: VerificationPolicy = serde_json::from_value(object).unwrap();
            convert::verification::policy(&object, &Entries::new())
        };
        let keyless = json!({"trustRoot": "pg", "issuer": "https://issuer", "subject": "https://subject"});
        let decisions = Ok(vec![
            of(
                "acme",
                json!({"repositories": ["ghcr.io/acme/*"], "recheck": "1h", "soak": {"routine": "48h"},
                "sourceRepository": {"exact": "https://github.com/acme/web.git"},
                "authorities": [{"name": "ci", "keyless": keyless}],
                "attestations": [{"predicateType": "https://slsa.dev/provenance/v1", "required": false}]}),
            ),
            of("other", json!({"repositories": ["quay.io/*"], "deny": {"repositories": ["*"]}})),
        ]);
        let policy = json!({"apiVersion": "rollforward.dev/v1alpha1", "kind": "UpdatePolicy",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"targets": [], "verification": {"layers": {"drift": "Required"}, "deny": {"repositories": ["*/evil"]}}}});
        let policy: UpdatePolicy = serde_json::from_value(policy).unwrap();
        let config = Config::load(None).unwrap();
        let policy = convert::policy::policy(&policy, &config.defaults).unwrap();
        let told = trust(&policy, &config, &decisions, "ghcr.io/acme/web").join("\n");
        let expected = "Effective trust for ghcr.io/acme/web
  signed by 1 of ci: VerificationPolicy acme
  unsigned images denied: VerificationPolicy acme
  layer Signature required: VerificationPolicy acme
  layer Binding required: VerificationPolicy acme
  layer Log required: VerificationPolicy acme
  layer Provenance required: VerificationPolicy acme
  layer Sbom advisory: VerificationPolicy acme
  layer Drift required: this policy's verification
  known for 48h where signed: VerificationPolicy acme
  built from https://github.com/acme/web: VerificationPolicy acme
  statement https://slsa.dev/provenance/v1, advisory: VerificationPolicy acme
  denied: */evil: this policy's verification
  what runs is verified again every 1h: VerificationPolicy acme";
        assert_eq!(told, expected, "{told}");
        let nobody = trust(
            &policy,
            &config,
            &Err("VerificationPolicies could not be read: 403".to_owned()),
            "ghcr.io/acme/web",
        );
        assert_eq!(
            nobody[1..],
            [
                "  VerificationPolicies could not be read: 403; without them:",
                "  nobody decided what to trust: nothing moves"
            ]
        );
    }
}
