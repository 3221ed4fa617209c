//! `ImageLedger`: the memory of a repository in a namespace. Survives restarts and backups; written by the operator.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// The memory of one repository: first-seen times, failed digests, what completed. Written by the operator.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "rollforward.dev",
    version = "v1alpha1",
    kind = "ImageLedger",
    plural = "imageledgers",
    shortname = "iledger",
    category = "rollforward",
    namespaced,
    status = "ImageLedgerStatus",
    derive = "PartialEq",
    doc = "The memory of one repository: first-seen times, failed digests, what completed. Written by the operator.",
    printcolumn = r#"{"name":"Repository","type":"string","jsonPath":".spec.repository"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a ledger belongs to one repository for ever"))]
pub struct ImageLedgerSpec {
    /// The repository.
    #[schemars(schema_with = "schema::image_text")]
    pub repository: String,
}

/// What is remembered.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageLedgerStatus {
    /// Digests by tag; at most 200 tags.
    #[schemars(length(max = 200), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["tag"]))]
    pub tags: Vec<TagEntry>,
    /// Digests that failed here; at most 256.
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["digest"]))]
    pub quarantine: Vec<Failure>,
    /// Claims of signers that contradicted a name, whether they are still attached or not; at most 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub contradictions: Option<Vec<Contradiction>>,
    /// Who signed what runs or ran here; at most 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub signers: Option<Vec<KnownSigner>>,
    /// What is remembered of each track; at most 256.
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub workloads: Vec<WorkloadMemory>,
}

/// The digests that a tag named, oldest first.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TagEntry {
    /// The tag.
    #[schemars(schema_with = "schema::label_text")]
    pub tag: String,
    /// At most 4.
    #[schemars(length(max = 4))]
    pub digests: Vec<Sighting>,
}

/// A digest, and since when this operator knows it under the tag.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sighting {
    /// The digest.
    #[schemars(schema_with = "schema::label_text")]
    pub digest: String,
    /// When the tag first resolved to it, by this operator's clock.
    pub first_seen: Time,
}

/// A digest that failed here.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The digest.
    #[schemars(schema_with = "schema::label_text")]
    pub digest: String,
    /// The tag it was tried under.
    #[schemars(schema_with = "schema::label_text")]
    pub tag: String,
    /// The cause's code.
    #[schemars(schema_with = "schema::code_text")]
    pub reason: String,
    /// What was observed.
    #[schemars(schema_with = "schema::line")]
    pub message: String,
    /// The run that failed last.
    #[schemars(schema_with = "schema::name_text")]
    pub run: String,
    /// Those that failed before it, oldest first; at most 7.
    #[schemars(length(max = 7), inner(length(max = 253)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_runs: Vec<String>,
    /// Equal failures so far.
    pub fails: i32,
    /// Equal for equal failures.
    #[schemars(schema_with = "schema::line")]
    pub signature: String,
    /// When it failed last.
    pub since: Time,
    /// When it is tried again; absent once quarantined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Time>,
    /// Whether only a person lets it go on.
    pub quarantined: bool,
    /// Who asked for the retry, where a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_by: Option<AskedBy>,
}

/// A claim that contradicted the name under which a digest was offered. It counts when it is attached no longer.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contradiction {
    /// The digest.
    #[schemars(schema_with = "schema::label_text")]
    pub digest: String,
    /// The tag under which it was offered.
    #[schemars(schema_with = "schema::label_text")]
    pub tag: String,
    /// What it led to: `VersionMismatch`, `BranchBuild` or `RepositoryMismatch`.
    #[schemars(schema_with = "schema::code_text")]
    pub reason: String,
    /// Where it was found: `certificate`, `signature`, `provenance`, `label` or `docker-reference`.
    #[schemars(schema_with = "schema::code_text")]
    pub claimed_by: String,
    /// What it says, cleaned and cut.
    #[schemars(schema_with = "schema::line")]
    pub claim: String,
    /// When this operator first read it.
    pub first_seen: Time,
}

/// Who signed what runs or ran here.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownSigner {
    /// Issuer and subject without the ref behind `@`, or the last letters of a key.
    #[schemars(schema_with = "schema::line")]
    pub identity: String,
    /// When this operator first saw something run that they signed.
    pub first_seen: Time,
    /// When it last did, to the day.
    pub last_used: Time,
}

/// Who asked for something, and when.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AskedBy {
    /// The person, by the apiserver's name for them.
    #[schemars(schema_with = "schema::name_text")]
    pub by: String,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}

/// What is remembered of a track.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadMemory {
    /// The track's key.
    #[schemars(schema_with = "schema::label_text")]
    pub key: String,
    /// The workload's uid.
    #[schemars(schema_with = "schema::code_text")]
    pub uid: String,
    /// The floor: the highest version that completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_text")]
    pub completed: Option<String>,
    /// The image in the template when the memory was last brought up to date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::image_text")]
    pub wrote: Option<String>,
    /// True where nothing that runs that image was seen well yet: it is no proof of its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<bool>,
    /// A manual rollback that is respected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned: Option<Abandoned>,
    /// A version that somebody else keeps taking away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reapplied: Option<Reapplied>,
    /// The newest version in the rule's range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_inside: Option<Newest>,
    /// The newest version that only the rule hides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_outside: Option<Newest>,
    /// How the runs of a CronJob ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<RunMemory>,
}

/// How the runs of a CronJob ended: its own history keeps three successes and one failure.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunMemory {
    /// By image; at most 4.
    #[schemars(length(max = 4))]
    pub tallies: Vec<Tally>,
    /// The uids of the runs that were counted and are still there; at most 32.
    #[schemars(length(max = 32), inner(length(max = 64)))]
    pub counted: Vec<String>,
}

/// How the runs of one image ended, by their first attempt; halved at 200.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// The image as the template had it.
    #[schemars(schema_with = "schema::image_text")]
    pub image: String,
    /// Runs that failed.
    pub failures: i32,
    /// Runs that did not.
    pub successes: i32,
    /// Failures by how the program ended: `exit 1`, `OOMKilled`; at most 9.
    #[schemars(length(max = 9))]
    pub exits: Vec<Exit>,
}

/// One way to fail.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    /// How the program ended.
    #[schemars(schema_with = "schema::code_text")]
    pub by: String,
    /// How often.
    pub count: i32,
}

/// A version that somebody else keeps taking away.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reapplied {
    /// Its tag.
    #[schemars(schema_with = "schema::label_text")]
    pub tag: String,
    /// How often it was rolled out again.
    pub times: i32,
}

/// A newest version, and since when this operator knows it as that.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Newest {
    /// Its tag.
    #[schemars(schema_with = "schema::label_text")]
    pub tag: String,
    /// By this operator's clock; at the first look the moment of that look.
    pub first_seen: Time,
}

/// A version that a person went back from.
#[derive(JsonSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Abandoned {
    /// The tag they left.
    #[schemars(schema_with = "schema::label_text")]
    pub tag: String,
    /// When.
    pub at: Time,
    /// The field manager that wrote the image.
    #[schemars(schema_with = "schema::name_text")]
    pub by: String,
}
