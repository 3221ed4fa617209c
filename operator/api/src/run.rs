//! `UpdateRun`: one attempt to move one workload to one digest, with everything that a rollback needs. The audit trail.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::schema::{self, IntOrShare};

/// One attempt to move one workload to one digest. Written by the operator.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "rollforward.dev",
    version = "v1alpha1",
    kind = "UpdateRun",
    plural = "updateruns",
    shortname = "urun",
    category = "rollforward",
    namespaced,
    status = "UpdateRunStatus",
    derive = "PartialEq",
    doc = "One attempt to move one workload to one digest: trigger, evidence, originals, every write, verdict. Written by the operator.",
    printcolumn = r#"{"name":"Workload","type":"string","jsonPath":".spec.workload.name"}"#,
    printcolumn = r#"{"name":"From","type":"string","jsonPath":".spec.fromTag"}"#,
    printcolumn = r#"{"name":"To","type":"string","jsonPath":".spec.toTag"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Result","type":"string","jsonPath":".status.result.reason"}"#,
    printcolumn = r#"{"name":"Next","type":"string","jsonPath":".status.next.action"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(
    validation = Rule::new("self.policy == oldSelf.policy \
         && self.workload == oldSelf.workload \
         && self.track == oldSelf.track \
         && self.repository == oldSelf.repository \
         && self.containers == oldSelf.containers \
         && self.toTag == oldSelf.toTag \
         && self.toDigest == oldSelf.toDigest \
         && self.attempt == oldSelf.attempt \
         && self.trigger == oldSelf.trigger \
         && self.originals == oldSelf.originals \
         && self.hold == oldSelf.hold \
         && self.rollout == oldSelf.rollout \
         && self.canary == oldSelf.canary \
         && has(self.fromTag) == has(oldSelf.fromTag) \
         && (!has(self.fromTag) || self.fromTag == oldSelf.fromTag) \
         && has(self.fromDigest) == has(oldSelf.fromDigest) \
         && (!has(self.fromDigest) || self.fromDigest == oldSelf.fromDigest) \
         && has(self.evidence) == has(oldSelf.evidence) \
         && (!has(self.evidence) || self.evidence == oldSelf.evidence)")
        .message("the spec of an UpdateRun is the record of what was done and does not change, but for its approval"),
    validation = Rule::new("!has(oldSelf.approval) || (has(self.approval) && self.approval == oldSelf.approval)")
        .message("an approval that was given stays as it is; to end the run: kubectl rollforward abort")
)]
#[serde(rename_all = "camelCase")]
pub struct UpdateRunSpec {
    /// The policy that opened the run, as it was then.
    pub policy: PolicyRef,
    /// The workload.
    pub workload: WorkloadRef,
    /// The track of the policy's status.
    #[schemars(schema_with = "schema::label_text")]
    pub track: String,
    /// The repository.
    #[schemars(schema_with = "schema::image_text")]
    pub repository: String,
    /// The containers that are moved, 1 to 16.
    #[schemars(length(min = 1, max = 16))]
    pub containers: Vec<RunContainer>,
    /// The tag before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_text")]
    pub from_tag: Option<String>,
    /// The digest before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_text")]
    pub from_digest: Option<String>,
    /// The tag that is moved to.
    #[schemars(schema_with = "schema::label_text")]
    pub to_tag: String,
    /// The digest that is moved to: what was verified and what runs.
    #[schemars(schema_with = "schema::label_text")]
    pub to_digest: String,
    /// 1, or more for a retry.
    #[schemars(range(min = 1, max = 100))]
    pub attempt: i32,
    /// What started the run.
    pub trigger: Trigger,
    /// What each layer said when it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "evidence")]
    pub evidence: Option<BTreeMap<String, String>>,
    /// The workload's rollout fields before the run: what a rollback restores.
    pub originals: Originals,
    /// The values that hold the canary.
    pub hold: Hold,
    /// The policy's rollout settings, frozen.
    pub rollout: Settings,
    /// False where no canary fits and the policy allows to go without.
    pub canary: bool,
    /// Somebody's yes: the one part that a person writes, `kubectl rollforward approve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<RunApproval>,
}

/// Somebody's yes to one run.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunApproval {
    /// Who, by the apiserver's name for them.
    #[schemars(length(min = 1, max = 253))]
    pub by: String,
    /// When.
    pub at: Time,
    /// Why, if they want to say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub comment: Option<String>,
}

fn evidence(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "What each layer said when it started.",
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 512},
    })
}

/// Names a policy as it was.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRef {
    /// Its name.
    #[schemars(schema_with = "schema::name_text")]
    pub name: String,
    /// Its uid.
    #[schemars(schema_with = "schema::code_text")]
    pub uid: String,
    /// Its generation: an edit acts on the next run.
    pub generation: i64,
}

/// Names a workload as it was.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    /// `apps/v1` or `batch/v1`.
    #[schemars(schema_with = "schema::code_text")]
    pub api_version: String,
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `CronJob` or `Rollout`.
    #[schemars(schema_with = "schema::code_text")]
    pub kind: String,
    /// Its name.
    #[schemars(schema_with = "schema::name_text")]
    pub name: String,
    /// Its uid: a recreated workload is another.
    #[schemars(schema_with = "schema::code_text")]
    pub uid: String,
    /// Its generation when the originals were read.
    pub generation: i64,
}

/// One container that is moved.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunContainer {
    /// Its name.
    #[schemars(schema_with = "schema::code_text")]
    pub name: String,
    /// Its index in the pod template.
    pub index: i32,
    /// Whether it is an init container.
    pub init: bool,
    /// The image before, to the letter.
    #[schemars(schema_with = "schema::image_text")]
    pub from: String,
    /// The image that is written.
    #[schemars(schema_with = "schema::image_text")]
    pub to: String,
    /// `from` with the digest that ran, where its tag named something else when the run began: what a rollback writes, but for a
    /// canary beside all old pods, which is taken away by `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::image_text")]
    pub back: Option<String>,
}

/// What started a run.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// When the digest was first seen under the tag.
    pub first_seen: Time,
    /// In words.
    #[schemars(schema_with = "schema::line")]
    pub reason: String,
}

/// The rollout fields of the workload, those of its kind.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Originals {
    /// A Deployment's `spec.minReadySeconds`, seconds; 0 where it was absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ready_seconds: Option<i32>,
    /// A Deployment's `spec.progressDeadlineSeconds`, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline_seconds: Option<i32>,
    /// A Deployment's `spec.strategy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// A StatefulSet's `spec.updateStrategy.rollingUpdate.partition`; 0 where it was absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// A DaemonSet's `spec.updateStrategy.rollingUpdate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling_update: Option<RollingUpdate>,
}

/// How a DaemonSet replaces pods.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RollingUpdate {
    /// Nodes that may have two pods.
    pub max_surge: IntOrShare,
    /// Nodes whose pod may be missing.
    pub max_unavailable: IntOrShare,
}

/// The strategy of a Deployment.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// `RollingUpdate` or `Recreate`.
    #[serde(rename = "type")]
    #[schemars(schema_with = "schema::code_text")]
    pub kind: String,
    /// Pods above the replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<IntOrShare>,
    /// Pods that may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrShare>,
}

/// The values that hold the new pods while they are watched, those of the workload's kind.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// A Deployment's `spec.minReadySeconds`, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ready_seconds: Option<i32>,
    /// A Deployment's `spec.progressDeadlineSeconds`, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline_seconds: Option<i32>,
    /// A StatefulSet's partition at each step, falling; at most 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub partitions: Option<Vec<i32>>,
    /// A DaemonSet's `spec.updateStrategy.rollingUpdate`: one node at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling_update: Option<RollingUpdate>,
    /// Set where Argo Rollouts or Flagger rolls the workload out and nothing is held: what its verdict stood on before the first write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub delegated: Option<String>,
}

/// The policy's rollout settings, with the defaults filled in.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Pods, then shares.
    #[schemars(length(min = 1, max = 8))]
    pub steps: Vec<IntOrShare>,
    /// How long each step is watched, seconds.
    pub bake_seconds: i64,
    /// How long a step may take without a further new pod that is Ready, seconds.
    pub deadline_seconds: i64,
    /// `RollBack` or `Hold`.
    #[schemars(schema_with = "schema::code_text")]
    pub on_deadline: String,
    /// `Automatic` or `Manual`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::code_text")]
    pub approval: Option<String>,
    /// `Automatic`, `Ask` or `Never`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::code_text")]
    pub rollback: Option<String>,
    /// After how many equal failures a digest is quarantined.
    pub quarantine_after_fails: i32,
    /// How long until a retry, seconds.
    pub retry_after_seconds: i64,
    /// Whether a StatefulSet's broken pods are deleted after a revert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_broken_pods: Option<bool>,
    /// What is measured of the canary, as the policy said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<crate::policy::Analysis>,
}

/// What has happened to a run since.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateRunStatus {
    /// `Preparing`, `AwaitingApproval`, `Canary`, `Promoting`, `Succeeded`, `RolledBack` or `Aborted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::code_text")]
    pub phase: Option<String>,
    /// When the first write to the workload succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the step ends without an answer; put off by each further new pod where they are replaced one after another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// Index of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<i32>,
    /// New pods of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_pods: Option<i32>,
    /// When the step was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_started_at: Option<Time>,
    /// How far the step has come, where its pods are replaced one after another; written a few times at most until the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The end that the run is on the way to; written before the patch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// The cause of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What the old pods showed before the first write, where they were failing: then nothing is compared with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::line")]
    pub baseline: Option<String>,
    /// What each signal says of the canary, with its numbers; stored when a verdict changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub signals: Option<Vec<SignalStatus>>,
    /// Every write to the workload; at most 24.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24))]
    pub writes: Option<Vec<Write>>,
    /// What the operator does next with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// What people did to it; at most 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub levers: Option<Vec<LeverRecord>>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Outcome>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// True where it succeeded although nothing that runs the version was seen well (0 replicas, suspended, `OnDelete`): it is no
    /// proof of the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<bool>,
}

/// How far the new pods of a step have come.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The most new pods that were Ready at once.
    pub ready: i32,
    /// The fewest that were missing.
    pub missing: i32,
    /// When the last of them became Ready: the deadline counts from there.
    pub at: Time,
}

/// What a signal says.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalStatus {
    /// Its name.
    #[schemars(schema_with = "schema::code_text")]
    pub name: String,
    /// `Pass`, `Fail`, `Waiting` or `Unknown`.
    #[schemars(schema_with = "schema::code_text")]
    pub verdict: String,
    /// In words, with the numbers.
    #[schemars(schema_with = "schema::line")]
    pub message: String,
    /// Since when it has said this.
    pub since: Time,
}

/// What a person did to a run.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeverRecord {
    /// `abort`, `promote` or `approve`.
    #[schemars(schema_with = "schema::code_text")]
    pub verb: String,
    /// The person, by the apiserver's name for them.
    #[schemars(schema_with = "schema::name_text")]
    pub by: String,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}

/// The end that a run is on the way to.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// `RolledBack` or `Aborted`.
    #[schemars(schema_with = "schema::code_text")]
    pub action: String,
    /// The cause's code.
    #[schemars(schema_with = "schema::code_text")]
    pub reason: String,
    /// The cause as a sentence.
    #[schemars(schema_with = "schema::sentence")]
    pub message: String,
    /// When it was decided.
    pub at: Time,
}

/// The cause of a failure.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The code.
    #[schemars(schema_with = "schema::code_text")]
    pub reason: String,
    /// What was wanted.
    #[schemars(schema_with = "schema::line")]
    pub expected: String,
    /// What was seen.
    #[schemars(schema_with = "schema::line")]
    pub observed: String,
    /// The pod that showed it first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::name_text")]
    pub pod: Option<String>,
    /// Its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::name_text")]
    pub node: Option<String>,
    /// Equal for equal failures.
    #[schemars(schema_with = "schema::line")]
    pub signature: String,
    /// Whether the environment is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<bool>,
    /// Whose fault it is, image or environment, with what the old pods showed at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::line")]
    pub judged: Option<String>,
}

/// One write to the workload.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// When.
    pub at: Time,
    /// What, in words.
    #[schemars(schema_with = "schema::line")]
    pub what: String,
    /// Field by field, with what stood there before; at most 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub changes: Option<Vec<Change>>,
}

/// One field of a write.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The field's path in the workload, a container by its name; or the pod or Job.
    #[schemars(schema_with = "schema::line")]
    pub field: String,
    /// What stood there; absent where there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::line")]
    pub before: Option<String>,
    /// What was put there; absent where it was taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::line")]
    pub after: Option<String>,
}

/// What the operator does next with a run.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Next {
    /// `Begin`, `Step`, `Promote`, `Complete`, `RollBack`, `Retry`, `WaitForPerson`, `Wait` or `Nothing`.
    #[schemars(schema_with = "schema::code_text")]
    pub action: String,
    /// When, where time alone brings it about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// On what it depends, in words.
    #[schemars(schema_with = "schema::line")]
    pub message: String,
}

/// How a run ended.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The code.
    #[schemars(schema_with = "schema::code_text")]
    pub reason: String,
    /// The sentence.
    #[schemars(schema_with = "schema::sentence")]
    pub message: String,
}
