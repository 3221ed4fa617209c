//! `UpdatePolicy`: which workloads may move, how far, how sure we must be, and how carefully to go.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::schema::{self, PodsOrShare};
use crate::verification::Verification;

/// Which workloads may move, how far, how sure we must be, and how carefully to go.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "rollforward.dev",
    version = "v1alpha1",
    kind = "UpdatePolicy",
    plural = "updatepolicies",
    shortname = "upol",
    category = "rollforward",
    namespaced,
    status = "UpdatePolicyStatus",
    derive = "PartialEq",
    doc = "Which workloads may move to newer image versions, how far, how sure we must be, and how carefully to go.",
    printcolumn = r#"{"name":"Targets","type":"string","jsonPath":".status.targets"}"#,
    printcolumn = r#"{"name":"Current","type":"string","jsonPath":".status.images[0].current"}"#,
    printcolumn = r#"{"name":"Latest","type":"string","jsonPath":".status.images[0].latest"}"#,
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.images[0].state"}"#,
    printcolumn = r#"{"name":"Why","type":"string","jsonPath":".status.conditions[?(@.type==\"UpToDate\")].reason"}"#,
    printcolumn = r#"{"name":"Until","type":"string","jsonPath":".status.images[0].until"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct UpdatePolicySpec {
    /// The workloads, 1 to 16. They are moved in this order, then by name; the first is the canary of the rest.
    #[schemars(length(min = 1, max = 16))]
    pub targets: Vec<Target>,
    /// `Enforce` judges and acts; `DryRun` judges and says, and writes nothing to workloads. Without it: `Enforce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Stops everything for this policy; an open run is ended and reverted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Which versions count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// When to look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Whether a run begins by itself. Without it: it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// What to trust, in addition to every VerificationPolicy of the namespace that matches. Without any decision nothing moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// How carefully to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

/// Workloads by name or by labels.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.name) != has(self.selector)").message("expected exactly one of name and selector"),
    validation = Rule::new("(self.apiVersion == 'apps/v1' && self.kind in ['Deployment', 'StatefulSet', 'DaemonSet']) || (self.apiVersion == 'batch/v1' && self.kind == 'CronJob') || (self.apiVersion == 'argoproj.io/v1alpha1' && self.kind == 'Rollout')")
        .message(Message::Expression("'expected apiVersion apps/v1 with kind Deployment, StatefulSet or DaemonSet, batch/v1 with CronJob, or argoproj.io/v1alpha1 with Rollout; got ' + self.apiVersion + ' ' + self.kind".into()))
)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// `apps/v1`, `batch/v1` for a CronJob, or `argoproj.io/v1alpha1` for a Rollout.
    #[schemars(length(max = 64))]
    pub api_version: String,
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `CronJob` or `Rollout`. CronJobs are moved last, and nothing waits for their runs.
    #[schemars(length(max = 64))]
    pub kind: String,
    /// One workload by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// All workloads of the kind with these labels; a node-critical DaemonSet only by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Only these containers, by name, init containers too; without it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63)))]
    pub containers: Option<Vec<String>>,
}

/// Labels that a workload must carry.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Label keys and values, all of which must match; 1 to 16.
    #[schemars(schema_with = "labels")]
    pub match_labels: BTreeMap<String, String>,
}

fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "Label keys and values, all of which must match; 1 to 16.",
        "minProperties": 1,
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}

/// Whether the operator may write.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Judge and act.
    Enforce,
    /// Judge and say, write nothing to workloads.
    DryRun,
    /// Written by a newer version of the schema.
    #[serde(other)]
    #[schemars(skip)]
    Newer,
}

/// Which versions count.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Only containers that run one of these repositories, `*` matches anything: `ghcr.io/acme/*`. Without it whatever the
    /// matched containers run; each repository is its own track.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 255)))]
    pub repositories: Option<Vec<String>>,
    /// Where the image comes from, if the containers run it from a mirror: tags are listed and digests judged there, and the
    /// mirror's name is written, with the same digest, once the mirror serves it. The containers must run one repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ImageSource>,
    /// The version rule. Without it: `level: Patch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<Select>,
    /// Whether variants (`-alpine`, `-slim`) may change. Without it: `Keep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<Variant>,
    /// Which tags count at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
    /// What happens when the running tag is pushed again with other content. Without it: `Auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilds: Option<Rebuilds>,
    /// Whether an older version than the floor may be chosen. Without it: `Deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downgrade: Option<Downgrade>,
    /// What happens when the running version cannot be known. Without it: `Hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adopt>,
    /// Secrets with the registry's credential; without them the workload's, then its ServiceAccount's. At most 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Option<Vec<SecretName>>,
}

/// Where an image comes from that the containers run from a mirror.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSource {
    /// The repository in full, without a tag: `quay.io/acme/web`.
    #[schemars(schema_with = "schema::repository")]
    pub repository: String,
}

/// Names a Secret in the policy's namespace.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretName {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The version rule: exactly one.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new(
    "[has(self.level), has(self.semver), has(self.calver), has(self.numeric), has(self.lexical), has(self.digest)].filter(one, one).size() == 1"
).message("expected exactly one of level, semver, calver, numeric, lexical and digest"))]
#[serde(rename_all = "camelCase")]
pub struct Select {
    /// How far from the running version: `Patch`, `Minor` or `Major`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// A range of versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semver: Option<Semver>,
    /// Dates by a format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calver: Option<Calver>,
    /// Numbers of any length, with a fraction or without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numeric: Option<Numeric>,
    /// Text by its bytes: `build-9` is above `build-10`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lexical: Option<Lexical>,
    /// One mutable tag, followed by its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<MutableTag>,
}

/// How far from the running version.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// The same major and minor version.
    Patch,
    /// The same major version.
    Minor,
    /// Any newer version.
    Major,
    /// Written by a newer version of the schema.
    #[serde(other)]
    #[schemars(skip)]
    Newer,
}

/// A range of versions.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Semver {
    /// Masterminds syntax: `~1.4`, `^1.2 || >=3`, `1.2 - 1.4`, `>=1.0.0-0`, `1.x`. A bare `1.2.3` is exact.
    #[schemars(length(min = 1, max = 512))]
    pub range: String,
}

/// Dates by a format.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calver {
    /// `YYYY.0M.0D`, `YYYYMMDD`, `YY.MM-N`: `YYYY`, `YY`, `MM`, `0M` (two digits), `WW`, `0W`, `DD`, `0D`, and `N`, `MAJOR`,
    /// `MINOR`, `MICRO` for numbers of any length; the rest stands for itself.
    #[schemars(length(min = 1, max = 64))]
    pub format: String,
}

/// Numbers.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numeric {
    /// `Ascending`: the greatest is the newest. Without it: `Ascending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Direction>,
}

/// Text.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lexical {
    /// `Ascending`: the last in the alphabet is the newest. `Descending`: the first.
    pub order: Direction,
}

/// Which end of an order is the newest.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// The greatest.
    Ascending,
    /// The least.
    Descending,
    /// Written by a newer version of the schema.
    #[serde(other)]
    #[schemars(skip)]
    Newer,
}

/// One mutable tag.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MutableTag {
    /// The tag, for example `latest`. A digest under it that differs from the running one is the candidate.
    #[schemars(schema_with = "schema::tag")]
    pub tag: String,
}

/// Whether variants may change.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("(self.mode == 'Pattern') == has(self.pattern)").message("expected pattern with mode Pattern, and with no other mode"))]
pub struct Variant {
    /// `Keep`: a `-alpine` stays a `-alpine`. `Any`: the highest version of any variant. `Pattern`: those that `pattern` matches.
    pub mode: VariantMode,
    /// Matches the variant without its hyphen: `^alpine3\.\d+$`; a tag without a variant is the empty text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::regexp")]
    pub pattern: Option<String>,
}

/// Whether variants may change.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VariantMode {
    /// The running tag's variant only.
    Keep,
    /// Any variant.
    Any,
    /// Those that a regular expression matches.
    Pattern,
    /// Written by a newer version of the schema.
    #[serde(other)]
    #[schemars(skip)]
    Newer,
}

/// Which tags count at all.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tags {
    /// Only tags that this matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::regexp")]
    pub include: Option<String>,
    /// No tag that this matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::regexp")]
    pub exclude: Option<String>,
    /// Only tags that this matches; what its group `version` matches is what is ordered: `^main-(?P<version>[0-9]+)$`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::extraction")]
    pub extract: Option<String>,
}

/// What happens when the running tag is pushed again with other content.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rebuilds {
    /// Told (`TagMoved`) and not followed: this version checks no signatures, so nothing says who pushed it.
    Auto,
    /// Followed, after its own soak.
    Follow,
    /// Not followed and no hold.
    Hold,
    /// Written by a newer version of the schema.
    #[serde(other)]
    #[schemars(skip)]
    Newer,
}

/// Whether an older version may be chosen.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Downgrade {
    /// Never below the floor.
    Deny,
    /// The rule alone decides.
    Allow,
    /// Written by a newer version of the schema.
    #[serde(other)]
    #[schemars(skip)]
    Newer,
}

/// What happens when the running version cannot be known.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Adopt {
    /// Wait for a person.
    Hold,
    /// Move to the newest version that the rule allows.
    Allow,
    /// Written by a newer version of the schema.
    #[serde(other)]
    #[schemars(skip)]
    Newer,
}

/// When to look.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// How often the registry is asked. Without it: the operator's default, 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::positive_duration")]
    pub interval: Option<String>,
}

/// Whether a run begins by itself.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// `Automatic`, or `Manual`: each run waits for somebody's approval.
    pub mode: ApprovalMode,
}

/// Whether a run begins by itself.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApprovalMode {
    /// It does.
    Automatic,
    /// It is recorded, and begins when somebody approved it: `kubectl rollforward approve RUN`.
    Manual,
    /// Written by a newer version of the schema.
    #[serde(other)]
    #[schemars(skip)]
    Newer,
}

/// What follows when somebody else writes an older image than ours.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnExternalChange {
    /// Respected: all versions up to the one they left are held, newer ones go on.
    Hold,
    /// For what applies an old tag on every run: the newer version is rolled out again, at most 3 times.
    Reapply,
    /// Written by a newer version of the schema.
    #[serde(other)]
    #[schemars(skip)]
    Newer,
}

/// What follows a failure.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RollbackMode {
    /// The old image and fields are restored.
    Automatic,
    /// The failed canary is kept and a person is asked.
    Ask,
    /// The failure is told and remembered, and nothing is undone: new pods that are held stay held, else the image stays.
    Never,
    /// Written by a newer version of the schema.
    #[serde(other)]
    #[schemars(skip)]
    Newer,
}

/// How carefully to go.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.bake) || !has(self.deadline) || duration(self.bake) <= duration(self.deadline)")
        .message(Message::Expression("'expected bake to be at most deadline; got bake ' + self.bake + ' and deadline ' + self.deadline".into())),
    validation = Rule::new("!has(self.steps) || self.steps[self.steps.size() - 1] == '100%'")
        .message("expected the last of steps to be \"100%\"")
)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Numbers of new pods, then shares of the replicas; the last is `100%`. Without it: `[1, \"100%\"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub steps: Option<Vec<PodsOrShare>>,
    /// How long each step is watched. Without it: the operator's default, 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::positive_duration")]
    pub bake: Option<String>,
    /// How long a step may take, counted from its write; where pods are replaced one after another, counted from the last new
    /// pod that became Ready. Without it: the operator's default, 60m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::positive_duration")]
    pub deadline: Option<String>,
    /// What happens at the deadline without an answer. Without it: `RollBack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_deadline: Option<OnDeadline>,
    /// How long the new pods of a Deployment stay held if the operator is gone. Without it: `Timed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldMode>,
    /// What happens where no canary fits beside the old pods (strategy Recreate, updateStrategy OnDelete). Without it: `Hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_impossible: Option<WhenImpossible>,
    /// What follows when somebody else writes an older image than ours. Without it: `Hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_external_change: Option<OnExternalChange>,
    /// When a failing digest is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
    /// How a failed version is rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// What is measured of a canary beside its pods. Without it: the pods alone decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
}

/// How a failed version is rolled back.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// `Automatic` restores the old image. `Ask` keeps the failed canary for a person, who aborts or promotes. `Never` tells
    /// and remembers the failure, and undoes nothing. Without it: `Automatic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RollbackMode>,
    /// Whether the operator deletes the broken pods of a failed version that a StatefulSet's controller would wait for under
    /// `OrderedReady`; it needs the right `delete` on pods (`rights.deletePods` of the chart). Without it the command is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_broken_pods: Option<bool>,
}

/// What is measured of a canary: one number a signal, of the new pods, against a limit and against the old pods.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// Where queries are asked.
    pub prometheus: Prometheus,
    /// The signals; at most 8. All must pass for a step to pass.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub signals: Vec<Signal>,
    /// What happens at the deadline where a signal has too little data. Without it: `Promote`, the pods alone decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_insufficient_data: Option<OnInsufficientData>,
}

/// A Prometheus.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prometheus {
    /// Its address, one of those that the operator's configuration allows (`prometheus.allowed`); never with a password.
    #[schemars(schema_with = "schema::prometheus_url")]
    pub url: String,
}

/// One number.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.maxRatio) || has(self.query.stable)")
        .message("expected query.stable, for maxRatio compares with it"),
    validation = Rule::new("has(self.minRequests) == has(self.query.requests)")
        .message("expected query.requests and minRequests together")
)]
#[serde(rename_all = "camelCase")]
pub struct Signal {
    /// Its name, as sentences tell it.
    #[schemars(schema_with = "schema::signal_name")]
    pub name: String,
    /// The queries. `$namespace`, `$canary` and `$stable` (regular expressions of pod names) and `$window` (a duration) are filled in.
    pub query: SignalQuery,
    /// The largest number that is allowed, a decimal such as `\"0.05\"`.
    #[schemars(schema_with = "schema::decimal")]
    pub max: String,
    /// A number beyond `max` is allowed up to so many times that of the old pods, a decimal such as `\"2\"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::decimal")]
    pub max_ratio: Option<String>,
    /// How many requests the new pods must have served before the number means something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_requests: Option<i32>,
    /// What happens while Prometheus does not answer. Without it: `Wait`. It never rolls back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_unknown: Option<OnUnknown>,
}

/// The queries of a signal. Each must answer with one number: wrap it in `sum()`.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalQuery {
    /// For the new pods.
    #[schemars(schema_with = "schema::promql")]
    pub canary: String,
    /// For the old pods at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::promql")]
    pub stable: Option<String>,
    /// For how many requests the new pods served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::promql")]
    pub requests: Option<String>,
}

/// What happens while Prometheus does not answer.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnUnknown {
    /// The canary waits for it, beyond the deadline too.
    Wait,
    /// The signal is passed over.
    Ignore,
    /// Written by a newer version of the schema.
    #[serde(other)]
    #[schemars(skip)]
    Newer,
}

/// What happens at the deadline where a signal has too little data.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnInsufficientData {
    /// The pods alone decide.
    Promote,
    /// The canary is kept and waits for a person.
    Hold,
    /// The old image is restored; nothing is held against the digest.
    RollBack,
    /// Written by a newer version of the schema.
    #[serde(other)]
    #[schemars(skip)]
    Newer,
}

/// What happens at the deadline.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnDeadline {
    /// Restore the old image.
    RollBack,
    /// Keep the canary and wait for a person.
    Hold,
    /// Written by a newer version of the schema.
    #[serde(other)]
    #[schemars(skip)]
    Newer,
}

/// How long the new pods of a Deployment stay held if the operator is gone.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HoldMode {
    /// Until five minutes after the deadline: new pods that were Ready for as long are rolled on by the native controller. While
    /// the operator is there and waits, it makes the hold longer.
    Timed,
    /// For a year: until an operator, a person or `rollforward restore` ends it.
    Indefinite,
    /// Written by a newer version of the schema.
    #[serde(other)]
    #[schemars(skip)]
    Newer,
}

/// What happens where no canary fits.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenImpossible {
    /// Say so and wait.
    Hold,
    /// Let the native controller roll, watch, and roll back what fails.
    RollWithoutCanary,
    /// Written by a newer version of the schema.
    #[serde(other)]
    #[schemars(skip)]
    Newer,
}

/// When a failing digest is given up.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantine {
    /// After how many equal failures, 1 to 10; causes that a second try cannot change count at once. Without it: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub after_fails: Option<i32>,
    /// How long until a failed digest is tried once more. Without it: 30m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::positive_duration")]
    pub retry_after: Option<String>,
}

/// What the operator says about the policy. Written by the operator alone.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdatePolicyStatus {
    /// The generation of the policy that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Blocked`, `UpToDate`, `Ready`, `Stalled`; the first and the last only while they are True.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Option<Vec<Condition>>,
    /// The workloads, for the TARGETS column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_text")]
    pub targets: Option<String>,
    /// One entry a track: a workload's containers that run one repository. At most 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["track"]))]
    pub images: Option<Vec<ImageStatus>>,
    /// How many tracks there are beyond those in `images`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_images: Option<i32>,
    /// The value of the annotation `rollforward.dev/requestedAt` that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::instant_text")]
    pub last_handled_request: Option<String>,
    /// The explanation, line by line; at most 12.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), inner(length(max = 512)))]
    pub why: Option<Vec<String>>,
}

fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "description": "`Blocked`, `UpToDate`, `Ready`, `Stalled`; the first and the last only while they are True.",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One condition.",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"type": "string", "maxLength": 64, "description": "Which condition."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds."},
                "observedGeneration": {"type": "integer", "format": "int64", "description": "The generation that it is about."},
                "lastTransitionTime": {"type": "string", "format": "date-time", "description": "When the status changed last."},
                "reason": {"type": "string", "maxLength": 64, "description": "The code."},
                "message": {"type": "string", "maxLength": 1024, "description": "Cause, expectation, observation, action, next look."},
            },
        },
    })
}

/// One track: a workload's containers that run one repository.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageStatus {
    /// The track's key: kind, workload and first container.
    #[schemars(schema_with = "schema::label_text")]
    pub track: String,
    /// The repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::image_text")]
    pub repository: Option<String>,
    /// How its tags are looked at between two whole listings, what a look costs, and how old the rest may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::line")]
    pub listing: Option<String>,
    /// The workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::name_text")]
    pub workload: Option<String>,
    /// The containers, joined by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::line")]
    pub container: Option<String>,
    /// What runs, with the first eight digits of its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_text")]
    pub current: Option<String>,
    /// The newest that the rule allows, let through or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_text")]
    pub latest: Option<String>,
    /// `UpToDate`, `Waiting`, `Blocked`, `Canary`, `Promoting`, `RolledBack`, `Stalled`, `Unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::code_text")]
    pub state: Option<String>,
    /// When the state ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::instant_text")]
    pub until: Option<String>,
    /// The open or the last run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::name_text")]
    pub run: Option<String>,
    /// The best candidates; at most 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5))]
    pub candidates: Option<Vec<Candidate>>,
    /// What each layer says of the best candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "layers")]
    pub layers: Option<BTreeMap<String, String>>,
}

fn layers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "What each layer says of the best candidate.",
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 256},
    })
}

/// A candidate and what became of it.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its tag.
    #[schemars(schema_with = "schema::label_text")]
    pub tag: String,
    /// Its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_text")]
    pub digest: Option<String>,
    /// `Pass`, `Fail`, `Absent`, `Unknown`, `Waiting`.
    #[schemars(schema_with = "schema::code_text")]
    pub verdict: String,
    /// The code.
    #[schemars(schema_with = "schema::code_text")]
    pub code: String,
    /// When it passes by time alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::instant_text")]
    pub until: Option<String>,
}
