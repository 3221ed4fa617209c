//! `TrustRoot`: by what keyless signatures are checked: a Sigstore instance's certificate authority, logs and timestamp authorities.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;
use crate::verification::ConfigMapKey;

/// By what keyless signatures are checked: a Sigstore instance's certificate authority, logs and timestamp authorities.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "rollforward.dev",
    version = "v1alpha1",
    kind = "TrustRoot",
    plural = "trustroots",
    shortname = "troot",
    category = "rollforward",
    namespaced,
    status = "TrustRootStatus",
    derive = "PartialEq",
    doc = "By what keyless signatures are checked: a Sigstore instance's certificate authority, logs and timestamp authorities.",
    printcolumn = r#"{"name":"Usable","type":"string","jsonPath":".status.conditions[?(@.type==\"Usable\")].status"}"#,
    printcolumn = r#"{"name":"Why","type":"string","jsonPath":".status.conditions[?(@.type==\"Usable\")].reason"}"#,
    printcolumn = r#"{"name":"Expires","type":"string","jsonPath":".status.expires"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(validation = Rule::new("[has(self.publicGood), has(self.gitHub), has(self.trustedRoot)].filter(one, one).size() == 1")
    .message("expected exactly one of publicGood, gitHub and trustedRoot"))]
#[serde(rename_all = "camelCase")]
pub struct TrustRootSpec {
    /// The public-good instance of Sigstore, as it is built into this version: `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_good: Option<BuiltIn>,
    /// GitHub's instance for private repositories, as it is built into this version: `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_hub: Option<BuiltIn>,
    /// A `trusted_root.json`, for an instance of your own or a newer one of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_root: Option<TrustedRoot>,
}

/// Nothing to set.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltIn {}

/// A `trusted_root.json`.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.inline) != has(self.configMap)").message("expected exactly one of inline and configMap"))]
#[serde(rename_all = "camelCase")]
pub struct TrustedRoot {
    /// The file itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 262_144))]
    pub inline: Option<String>,
    /// Where it is, in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapKey>,
}

/// How the root stands.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustRootStatus {
    /// The generation that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The hash of its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_text")]
    pub hash: Option<String>,
    /// When the first kind of what it needs ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::instant_text")]
    pub expires: Option<String>,
    /// Since when this content is used here: its age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// `Usable`, and `ExpiresSoon` within 60 days of the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
}
