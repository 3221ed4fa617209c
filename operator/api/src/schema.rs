//! Pieces of schema that several fields share: bounded texts, durations, numbers of pods or shares.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A schema for a text of at most so many characters.
fn text(most: u32, description: &str) -> Schema {
    json_schema!({"type": "string", "maxLength": most, "description": description})
}

macro_rules! texts {
    ($($name:ident $most:literal $description:literal;)+) => {
        $(
            #[doc = $description]
            pub fn $name(_: &mut SchemaGenerator) -> Schema {
                text($most, $description)
            }
        )+
    };
}

texts! {
    name_text 253 "A name.";
    code_text 64 "A code in CamelCase.";
    label_text 320 "A key or a short text.";
    image_text 512 "An image reference, as it is written in the workload.";
    sentence 1024 "A sentence.";
    line 512 "A line of an explanation.";
    instant_text 64 "An instant, RFC 3339.";
}

/// A duration: hours, minutes and seconds, at most 30 days.
pub fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 16,
        "description": "Hours, minutes and seconds, such as `1h30m`, `10m` or `45s`; at most 30 days.",
        "x-kubernetes-validations": [{
            "rule": "self.matches('^([0-9]{1,7}h)?([0-9]{1,7}m)?([0-9]{1,7}s)?$') && self != '' && duration(self) <= duration('720h')",
            "messageExpression": "'expected hours, minutes and seconds such as 1h30m, 10m or 45s, at most 30 days (720h); got ' + self",
        }],
    })
}

/// A duration that may not be zero.
pub fn positive_duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 16,
        "description": "Hours, minutes and seconds, such as `1h30m`, `10m` or `45s`; at least 1 second, at most 30 days.",
        "x-kubernetes-validations": [{
            "rule": "self.matches('^([0-9]{1,7}h)?([0-9]{1,7}m)?([0-9]{1,7}s)?$') && self != '' && duration(self) <= duration('720h') && duration(self) >= duration('1s')",
            "messageExpression": "'expected hours, minutes and seconds such as 1h30m, 10m or 45s, at least 1s and at most 30 days (720h); got ' + self",
        }],
    })
}

/// The address of a Prometheus.
pub fn prometheus_url(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 256,
        "description": "The address of a Prometheus, such as `http://prometheus.monitoring:9090`; one of those that the operator's configuration allows (`prometheus.allowed`).",
        "x-kubernetes-validations": [{
            "rule": "self.matches('^https?://[A-Za-z0-9.:\\\\[\\\\]-]+(/[A-Za-z0-9._/-]*)?$')",
            "messageExpression": "'expected an address such as http://prometheus.monitoring:9090, without user, password and query; got ' + self",
        }],
    })
}

/// The name of a signal.
pub fn signal_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "description": "Letters, digits and -.",
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[A-Za-z][A-Za-z0-9-]*$')",
            "messageExpression": "'expected letters, digits and -, beginning with a letter; got ' + self",
        }],
    })
}

/// A decimal that is not negative.
pub fn decimal(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 16,
        "description": "A decimal such as `0.05`; quote it.",
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[0-9]{1,9}([.][0-9]{1,6})?$')",
            "messageExpression": "'expected a decimal such as 0.05; got ' + self",
        }],
    })
}

/// A PromQL query.
pub fn promql(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 1024,
        "description": "A PromQL query that answers with one number.",
    })
}

/// A regular expression, compiled by the apiserver before it is accepted.
pub fn regexp(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 256,
        "description": "A regular expression of at most 256 characters (RE2 syntax: linear time, no look-around).",
        // matches() fails to evaluate on an invalid expression, and a rule that fails to evaluate refuses with its words.
        "x-kubernetes-validations": [{
            "rule": "''.matches(self) in [true, false]",
            "messageExpression": "'expected a regular expression in RE2 syntax; got ' + self",
        }],
    })
}

/// A regular expression that cuts out what is ordered.
pub fn extraction(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 256,
        "description": "A regular expression of at most 256 characters with a group named version: `^main-(?P<version>[0-9]+)$`. Only tags that it matches count; what the group matches is what is ordered.",
        "x-kubernetes-validations": [
            {
                "rule": "''.matches(self) in [true, false]",
                "messageExpression": "'expected a regular expression in RE2 syntax; got ' + self",
            },
            {
                "rule": "self.contains('(?P<version>') || self.contains('(?<version>')",
                "messageExpression": "'expected a group named version, such as ^main-(?P<version>[0-9]+)$; got ' + self",
            },
        ],
    })
}

/// A tag, by the grammar of references.
pub fn tag(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 128,
        "description": "A tag, for example `latest`.",
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[A-Za-z0-9_][A-Za-z0-9._-]*$')",
            "messageExpression": "'expected a tag of letters, digits, _, . and -; got ' + self",
        }],
    })
}

/// A repository with its registry: `quay.io/acme/web`.
pub fn repository(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 3,
        "maxLength": 255,
        "description": "The repository in full, without a tag: `quay.io/acme/web`.",
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9._-]+)+$')",
            "messageExpression": "'expected a registry and a path without a tag, such as quay.io/acme/web; got ' + self",
        }],
    })
}

/// A number of pods, or a share of the replicas such as `25%`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PodsOrShare {
    /// A number of pods, 1 or more.
    Pods(i32),
    /// A share: a whole number and `%`.
    Share(String),
}

impl JsonSchema for PodsOrShare {
    fn schema_name() -> Cow<'static, str> {
        "PodsOrShare".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 4,
            "description": "A number of pods (1 to 1000), or a share of the replicas (\"1%\" to \"100%\").",
            "x-kubernetes-validations": [{
                "rule": "type(self) == int ? (self >= 1 && self <= 1000) : self.matches('^([1-9][0-9]?|100)%$')",
                "messageExpression": "'expected a number of pods from 1 to 1000, or a share from \"1%\" to \"100%\"; got ' + string(self)",
            }],
        })
    }
}

/// A number of pods or a share, as `maxSurge` is written in a Deployment: 0 is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrShare {
    /// A number of pods.
    Pods(i32),
    /// A share.
    Share(String),
}

impl JsonSchema for IntOrShare {
    fn schema_name() -> Cow<'static, str> {
        "IntOrShare".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 16,
            "description": "A number of pods, or a share such as `25%`.",
        })
    }
}
