//! `VerificationException`: a person's dated permission for one digest to skip named layers.
//!
//! It ends by itself, cannot be changed, is shown wherever it acts, and lifts neither the deny list nor what a pod could not run by.

use kube::{CustomResource, KubeSchema};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::verification::LiftedLayer;

/// A person's dated permission for one digest to skip named layers. It cannot be changed; delete it to end it sooner.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "rollforward.dev",
    version = "v1alpha1",
    kind = "VerificationException",
    plural = "verificationexceptions",
    shortname = "vexc",
    category = "rollforward",
    namespaced,
    derive = "PartialEq",
    doc = "A person's dated permission for one digest to skip named layers. It cannot be changed; delete it to end it sooner.",
    printcolumn = r#"{"name":"Digest","type":"string","jsonPath":".spec.digest"}"#,
    printcolumn = r#"{"name":"Layers","type":"string","jsonPath":".spec.layers"}"#,
    printcolumn = r#"{"name":"Duration","type":"string","jsonPath":".spec.duration"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("an exception cannot be changed: delete it and create another"))]
#[serde(rename_all = "camelCase")]
pub struct VerificationExceptionSpec {
    /// The one digest: `sha256:` and 64 hexadecimal digits.
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
    /// The layers that it lifts, 1 to 9.
    #[schemars(length(min = 1, max = 9))]
    pub layers: Vec<LiftedLayer>,
    /// How long it counts from its creation, at most 72h.
    #[schemars(schema_with = "duration")]
    pub duration: String,
    /// Why, for whoever reads it later.
    #[schemars(length(min = 8, max = 256))]
    pub reason: String,
}

fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 16,
        "description": "Hours, minutes and seconds from its creation, from 1s to 72h.",
        "x-kubernetes-validations": [{
            "rule": "self.matches('^([0-9]{1,7}h)?([0-9]{1,7}m)?([0-9]{1,7}s)?$') && self != '' && duration(self) >= duration('1s') && duration(self) <= duration('72h')",
            "messageExpression": "'expected hours, minutes and seconds, at most 72h; got ' + self",
        }],
    })
}
