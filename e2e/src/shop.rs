//! A namespace with one workload, one policy and an operator of its own: what most trials stand on.
//!
//! The operator watches this namespace alone, so that trials run side by side and one may kill its operator.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;
use rollforward_api::policy::UpdatePolicy;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::image::{Image, Pusher};
use crate::operator::Operator;
use crate::wait::{Seen, wait_until};

/// How long a trial waits for what should take seconds.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A namespace, its repository and its operator.
pub struct Shop {
    pub cluster: Arc<Cluster>,
    pub namespace: String,
    pub repository: String,
    pub operator: Option<Operator>,
    /// What the workload runs where it is not the repository's 1.0.0.
    pub image: String,
    /// Further registries that the operator speaks plain http to, as `host:port`.
    pub plain_http: Vec<String>,
    /// Lines below the policy's `spec:`, two spaces deep.
    pub policy_settings: String,
    client: kube::Client,
}

/// A workload's shape.
pub struct Workload<'a> {
    pub replicas: u32,
    /// The image; `{repository}:1.0.0` where empty.
    pub image: &'a str,
    /// Lines below `spec:`, two spaces deep.
    pub spec: &'a str,
    /// Lines below the container, eight spaces deep.
    pub container: &'a str,
}

impl Default for Workload<'_> {
    fn default() -> Self {
        Self { replicas: 2, image: "", spec: "", container: "" }
    }
}

impl Shop {
    /// A new namespace with 1.0.0 in its repository and no workload yet.
    pub async fn open(cluster: &Arc<Cluster>, name: &str) -> anyhow::Result<Self> {
        cluster.namespace(name).await?;
        let repository = format!("{name}/web");
        cluster.pusher().push(&repository, "1.0.0", &Image::new("1.0.0")).await?;
        let client = cluster.client().await?;
        Ok(Self {
            cluster: Arc::clone(cluster),
            namespace: name.to_owned(),
            repository,
            operator: None,
            image: String::new(),
            plain_http: Vec::new(),
            policy_settings: String::new(),
            client,
        })
    }

    /// Starts the operator for this namespace; `extra` is YAML of further configuration keys.
    pub async fn start_operator(&mut self, extra: &str) -> anyhow::Result<()> {
        let own = self.cluster.registry_host();
        let hosts = self.plain_http.iter().map(String::as_str).chain([own]);
        let hosts: Vec<String> = hosts.map(|host| format!("\"{host}\"")).collect();
        let config = format!(
            "watchNamespaces: [{}]\nregistries: {{plainHttp: [{}]}}\n{extra}\n",
            self.namespace,
            hosts.join(", ")
        );
        let name = format!("operator-{}", self.namespace);
        self.operator = Some(Operator::start_with(&self.cluster, &name, &config).await?);
        Ok(())
    }

    /// The repository with its registry.
    pub fn full_repository(&self) -> String {
        format!("{}/{}", self.cluster.registry_host(), self.repository)
    }

    /// The repository without its registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Pushes to the sample registry.
    pub fn pusher(&self) -> &Pusher {
        self.cluster.pusher()
    }

    /// Pushes a version.
    pub async fn push(&self, tag: &str, image: Image) -> anyhow::Result<String> {
        self.cluster.pusher().push(&self.repository, tag, &image).await
    }

    /// Applies the Deployment `web`.
    pub fn workload(&self, workload: &Workload<'_>) -> anyhow::Result<()> {
        let own = format!("{}:1.0.0", self.full_repository());
        let image = if workload.image.is_empty() { &own } else { workload.image };
        let yaml = format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {}
  selector: {{matchLabels: {{app: web}}}}
{}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: {image}
{}
",
            workload.replicas, workload.spec, workload.container
        );
        self.cluster.apply(&self.namespace, &yaml).map(drop)
    }

    /// Applies the policy `web`; `more` are further lines below `spec:`, two spaces deep.
    pub fn policy(&self, more: &str) -> anyhow::Result<String> {
        self.policy_named("web", more)
    }

    /// Applies a policy for the Deployment `web` that looks every second.
    pub fn policy_named(&self, name: &str, more: &str) -> anyhow::Result<String> {
        self.policy_every(name, "1s", more)
    }

    /// Applies a policy for the Deployment `web` that looks so often.
    pub fn policy_every(&self, name: &str, interval: &str, more: &str) -> anyhow::Result<String> {
        self.cluster.apply(
            &self.namespace,
            &format!(
                "apiVersion: rollforward.dev/v1alpha1
kind: UpdatePolicy
metadata: {{name: {name}}}
spec:
  targets: [{{apiVersion: apps/v1, kind: Deployment, name: web}}]
  schedule: {{interval: {interval}}}
{more}
"
            ),
        )
    }

    /// kubectl in this namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let all: Vec<&str> = ["-n", &self.namespace].into_iter().chain(arguments.iter().copied()).collect();
        self.cluster.kubectl(&all)
    }

    /// The policy as it is now.
    pub async fn read_policy(&self, name: &str) -> anyhow::Result<UpdatePolicy> {
        Ok(Api::namespaced(self.client.clone(), &self.namespace).get(name).await?)
    }

    /// The Deployment as it is now.
    pub async fn read_workload(&self) -> anyhow::Result<Deployment> {
        Ok(Api::namespaced(self.client.clone(), &self.namespace).get("web").await?)
    }

    /// Waits for a condition of the policy `web` with this reason and answers its message.
    pub async fn wait_condition(&self, kind: &str, status: &str, reason: &str) -> anyhow::Result<String> {
        self.wait_condition_of("web", kind, status, reason).await
    }

    /// The same for a policy by name.
    pub async fn wait_condition_of(
        &self,
        policy: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> anyhow::Result<String> {
        wait_until(&format!("{kind}={status} {reason} of {policy}"), PATIENCE, || async {
            let read = self.read_policy(policy).await?;
            let all = read.status.and_then(|status| status.conditions).unwrap_or_default();
            let found =
                all.iter().find(|one| one.type_ == kind && one.status == status && one.reason == reason);
            Ok(match found {
                Some(found) => Seen::Yes(found.message.clone()),
                None => {
                    let seen: Vec<String> = all
                        .iter()
                        .map(|one| format!("{}={} {}", one.type_, one.status, one.message))
                        .collect();
                    Seen::NotYet(seen.join(" | "))
                }
            })
        })
        .await
        .with_context(|| self.operator.as_ref().map_or(String::new(), |operator| tail(&operator.log())))
    }

    /// Waits until the condition's message says all of these and answers it.
    pub async fn wait_says(&self, kind: &str, reason: &str, parts: &[&str]) -> anyhow::Result<String> {
        wait_until(&format!("{kind} {reason} that says {parts:?}"), PATIENCE, || async {
            let read = self.read_policy("web").await?;
            let all = read.status.and_then(|status| status.conditions).unwrap_or_default();
            let message =
                all.iter().find(|one| one.type_ == kind && one.reason == reason).map(|one| &one.message);
            Ok(match message {
                Some(message) if parts.iter().all(|part| message.contains(part)) => {
                    Seen::Yes(message.clone())
                }
                _ => Seen::NotYet(
                    all.iter()
                        .map(|one| format!("{}: {}", one.type_, one.message))
                        .collect::<Vec<_>>()
                        .join(" | "),
                ),
            })
        })
        .await
        .with_context(|| self.operator.as_ref().map_or(String::new(), |operator| tail(&operator.log())))
    }

    /// Waits for a state word of the first track.
    pub async fn wait_state(&self, state: &str) -> anyhow::Result<()> {
        wait_until(&format!("the state {state}"), PATIENCE, || async {
            let status = self.read_policy("web").await?.status.unwrap_or_default();
            let seen = status
                .images
                .iter()
                .flatten()
                .next()
                .and_then(|image| image.state.clone())
                .unwrap_or_default();
            Ok(if seen == state { Seen::Yes(()) } else { Seen::NotYet(format!("{seen}; {:?}", status.why)) })
        })
        .await
        .with_context(|| self.operator.as_ref().map_or(String::new(), |operator| tail(&operator.log())))
    }

    /// Waits until the policy knows a version, whether it may move or not.
    pub async fn wait_latest(&self, tag: &str) -> anyhow::Result<()> {
        wait_until(&format!("the policy to know {tag}"), PATIENCE, || async {
            let status = self.read_policy("web").await?.status.unwrap_or_default();
            let latest = status.images.iter().flatten().next().and_then(|image| image.latest.clone());
            Ok(match latest {
                Some(latest) if latest.starts_with(&format!("{tag}@")) => Seen::Yes(()),
                other => Seen::NotYet(format!("{other:?}")),
            })
        })
        .await
    }

    /// The first lever in a run's record: what was pulled, and by whom.
    pub fn first_lever(&self, run: &str) -> anyhow::Result<String> {
        let path = "jsonpath={.status.levers[0].verb} {.status.levers[0].by}";
        self.kubectl(&["get", "updaterun", run, "-o", path])
    }

    /// Waits until the Deployment's image contains a text and answers the image.
    pub async fn wait_image(&self, part: &str) -> anyhow::Result<String> {
        wait_until(&format!("the image {part}"), PATIENCE, || async {
            let image = image(&self.read_workload().await?);
            Ok(if image.contains(part) { Seen::Yes(image) } else { Seen::NotYet(image) })
        })
        .await
        .with_context(|| self.operator.as_ref().map_or(String::new(), |operator| tail(&operator.log())))
    }

    /// Waits until the Deployment's pods are all available.
    pub async fn wait_available(&self, replicas: i32) -> anyhow::Result<()> {
        wait_until(&format!("{replicas} available pods"), PATIENCE, || async {
            let status = self.read_workload().await?.status.unwrap_or_default();
            let seen = (status.available_replicas.unwrap_or(0), status.replicas.unwrap_or(0));
            Ok(if seen == (replicas, replicas) { Seen::Yes(()) } else { Seen::NotYet(format!("{seen:?}")) })
        })
        .await
    }

    /// Waits until the run of a tag has ended and answers its result: reason and message.
    pub async fn wait_run(&self, tag: &str) -> anyhow::Result<(String, String)> {
        wait_until(&format!("the run to {tag} to end"), PATIENCE, || async {
            let text = self.kubectl(&["get", "updateruns", "-o", "json"])?;
            let all: Value = serde_json::from_str(&text)?;
            let ended = all["items"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|run| run["spec"]["toTag"] == tag && run["status"]["finishedAt"].is_string());
            Ok(match ended {
                Some(run) => {
                    let text =
                        |field: &str| run["status"]["result"][field].as_str().unwrap_or_default().to_owned();
                    Seen::Yes((text("reason"), text("message")))
                }
                None => Seen::NotYet(all["items"].to_string().chars().take(2000).collect()),
            })
        })
        .await
    }

    /// The Events on an object, as "reason: message" lines.
    pub fn events(&self, object: &str) -> anyhow::Result<String> {
        let path = "jsonpath={range .items[*]}{.reason}: {.message}{\"\\n\"}{end}";
        self.kubectl(&[
            "get",
            "events",
            "--field-selector",
            &format!("involvedObject.name={object}"),
            "-o",
            path,
        ])
    }

    /// Waits for an Event on an object that says all of this: Events are sent after what they tell is stored.
    pub async fn wait_event(&self, object: &str, says: &str) -> anyhow::Result<()> {
        wait_until(&format!("an Event on {object} that says {says:?}"), PATIENCE, || async {
            let events = self.events(object)?;
            Ok(if events.contains(says) { Seen::Yes(()) } else { Seen::NotYet(events) })
        })
        .await
    }

    /// Demands that the Deployment holds nothing of ours: the fields as a Deployment without settings has them.
    pub async fn assert_no_held_field(&self) -> anyhow::Result<()> {
        let workload = self.read_workload().await?;
        let held = held(&workload);
        anyhow::ensure!(held.is_empty(), "the workload still holds {}", held.join(", "));
        Ok(())
    }

    /// Ends a trial: the operator first, then the namespace in the background.
    pub fn close(mut self) -> anyhow::Result<()> {
        self.operator.take();
        self.cluster.kubectl(&[
            "delete",
            "updateruns,updatepolicies",
            "--all",
            "-n",
            &self.namespace,
            "--wait=false",
        ])?;
        self.cluster.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]).map(drop)
    }
}

/// The image of the first container.
pub fn image(workload: &Deployment) -> String {
    let spec = workload.spec.template.spec.as_ref();
    spec.and_then(|spec| spec.containers.first()?.image.clone()).unwrap_or_default()
}

/// What of ours a Deployment without settings of its own holds.
pub fn held(workload: &Deployment) -> Vec<String> {
    let spec = &workload.spec;
    let mut held = Vec::new();
    if spec.min_ready_seconds.unwrap_or(0) != 0 {
        held.push(format!("minReadySeconds {:?}", spec.min_ready_seconds));
    }
    if spec.progress_deadline_seconds != Some(600) {
        held.push(format!("progressDeadlineSeconds {:?}", spec.progress_deadline_seconds));
    }
    let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.clone());
    let surge = rolling.and_then(|rolling| rolling.max_surge);
    let default = k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String("25%".to_owned());
    if surge.as_ref().is_some_and(|surge| *surge != default) {
        held.push(format!("maxSurge {surge:?}"));
    }
    let annotations = workload.metadata.annotations.as_ref();
    if let Some(run) = annotations.and_then(|all| all.get("rollforward.dev/run")) {
        held.push(format!("the annotation of run {run}"));
    }
    held
}

/// The last lines of a log.
pub fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
