//! `VerificationPolicy`: what the images of a namespace must show before they run, and the same as a part of an `UpdatePolicy`.
//!
//! Expressions are anchored by the operator; an empty issuer or subject is refused, for it would mean anybody. No reference
//! leaves the namespace.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::schema;

/// What images must show before they run: all VerificationPolicies that match a repository must be satisfied.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "rollforward.dev",
    version = "v1alpha1",
    kind = "VerificationPolicy",
    plural = "verificationpolicies",
    shortname = "vpol",
    category = "rollforward",
    namespaced,
    status = "VerificationPolicyStatus",
    derive = "PartialEq",
    doc = "What images must show before they run: all VerificationPolicies that match a repository must be satisfied.",
    printcolumn = r#"{"name":"Repositories","type":"string","jsonPath":".spec.repositories"}"#,
    printcolumn = r#"{"name":"Unsigned","type":"string","jsonPath":".spec.unsigned"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(
    validation = Rule::new("!has(self.require) || !has(self.authorities) || self.require <= self.authorities.size()")
        .message("expected require to be at most the number of authorities"),
    validation = Rule::new("!has(self.attestations) || has(self.authorities)")
        .message("expected authorities with attestations: a statement that nobody signed says nothing"),
    validation = Rule::new("!has(self.sourceRepository) || has(self.authorities)")
        .message("expected authorities with sourceRepository: a source that nobody signed says nothing"),
    validation = Rule::new("!has(self.layers) || !has(self.layers.signature) || self.layers.signature == 'Required' || (has(self.unsigned) && self.unsigned == 'Allow')")
        .message("expected `unsigned: Allow` to be written where layers.signature is not Required")
)]
#[serde(rename_all = "camelCase")]
pub struct VerificationPolicySpec {
    /// The repositories that it is about, by pattern (`*` stands for anything): `ghcr.io/acme/*`. Without it: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 255)))]
    pub repositories: Option<Vec<String>>,
    /// Who may sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub authorities: Option<Vec<Authority>>,
    /// How many of the authorities have to sign. Without it: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8))]
    pub require: Option<i32>,
    /// Statements about the digest that are looked for: provenance, scans and others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub attestations: Option<Vec<Attestation>>,
    /// How much each layer counts, where that is not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Layers>,
    /// Whether what is signed must name the version. Without it: `Auto`, where a contradiction is refused and silence is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_binding: Option<VersionBinding>,
    /// The source that a certificate or provenance must name. A contradiction is refused, and so is silence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_repository: Option<SourceRepository>,
    /// How long a digest must have been known. Without it the defaults of its fields are asked for; no UpdatePolicy shortens them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<Soak>,
    /// Whether unsigned images may run. Without it: `Deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsigned: Option<Unsigned>,
    /// What is never let through; no exception lifts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Listed>,
    /// What alone is let through, by each of the lists that is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Listed>,
    /// How often the running digests are verified again. Without it: 6h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "recheck")]
    pub recheck: Option<String>,
    /// Whether the trust ledger may add delay. Without it: `Report`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_ledger: Option<TrustLedger>,
}

/// Whether everything that the policy names can be used.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationPolicyStatus {
    /// The generation that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: `Usable`, or why an authority cannot be asked or the policy cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
}

/// What to trust, as a part of an `UpdatePolicy`: in addition to every matching VerificationPolicy, never instead.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.unsigned) || has(self.authorities) || has(self.soak) || has(self.layers) || has(self.versionBinding) || has(self.sourceRepository) || has(self.deny) || has(self.allow) || has(self.recheck) || has(self.trustLedger)")
        .message("expected a decision: unsigned, authorities, or what makes those of the namespace stricter"),
    validation = Rule::new("!has(self.require) || !has(self.authorities) || self.require <= self.authorities.size()")
        .message("expected require to be at most the number of authorities"),
    validation = Rule::new("!has(self.attestations) || has(self.authorities)")
        .message("expected authorities with attestations: a statement that nobody signed says nothing"),
    validation = Rule::new("!has(self.sourceRepository) || has(self.authorities)")
        .message("expected authorities with sourceRepository: a source that nobody signed says nothing"),
    validation = Rule::new("!has(self.layers) || !has(self.layers.signature) || self.layers.signature == 'Required' || (has(self.unsigned) && self.unsigned == 'Allow')")
        .message("expected `unsigned: Allow` to be written where layers.signature is not Required")
)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Whether unsigned images may run. `Allow` has to be written: silence is not consent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsigned: Option<Unsigned>,
    /// Who may sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub authorities: Option<Vec<Authority>>,
    /// How many of the authorities have to sign. Without it: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8))]
    pub require: Option<i32>,
    /// Statements about the digest that are looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub attestations: Option<Vec<Attestation>>,
    /// How much each layer counts, where that is not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Layers>,
    /// Whether what is signed must name the version. Without it: `Auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_binding: Option<VersionBinding>,
    /// The source that a certificate or provenance must name. A contradiction is refused, and so is silence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_repository: Option<SourceRepository>,
    /// How long a digest must have been known. Beside other decisions it can only be longer; what they leave out is their default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<Soak>,
    /// What is never let through; no exception lifts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Listed>,
    /// What alone is let through, by each of the lists that is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Listed>,
    /// How often the running digests are verified again. Without it: 6h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "recheck")]
    pub recheck: Option<String>,
    /// Whether the trust ledger may add delay. Without it: `Report`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_ledger: Option<TrustLedger>,
}

impl VerificationPolicySpec {
    /// The same as a part of a policy, without the repositories that it is about.
    #[must_use]
    pub fn verification(&self) -> Verification {
        let Self {
            repositories: _,
            authorities,
            require,
            attestations,
            layers,
            version_binding,
            source_repository,
            soak,
            unsigned,
            deny,
            allow,
            recheck,
            trust_ledger,
        } = self.clone();
        Verification {
            unsigned,
            authorities,
            require,
            attestations,
            layers,
            version_binding,
            source_repository,
            soak,
            deny,
            allow,
            recheck,
            trust_ledger,
        }
    }
}

/// Who may sign: a key, or whoever an identity provider vouches for.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.key) != has(self.keyless)").message("expected exactly one of key and keyless"))]
#[serde(rename_all = "camelCase")]
pub struct Authority {
    /// Its name in sentences.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// A public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// An identity that a trust root's certificates name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyless: Option<Keyless>,
    /// Whether its signatures must be in a transparency log. Keyless ones must be there anyway where their trust root has logs; else a timestamp authority must have dated them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_log: Option<bool>,
}

/// A public key in PEM: ECDSA P-256 or P-384, Ed25519 or RSA.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.inline) != has(self.configMap)").message("expected exactly one of inline and configMap"))]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// The key itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "pem")]
    pub inline: Option<String>,
    /// Where it is, in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapKey>,
}

/// One entry of a ConfigMap of this namespace.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKey {
    /// The ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The entry.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// An identity, as a certificate of the trust root names it.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.issuer) != has(self.issuerRegExp)").message("expected exactly one of issuer and issuerRegExp"),
    validation = Rule::new("has(self.subject) != has(self.subjectRegExp)").message("expected exactly one of subject and subjectRegExp"),
    validation = Rule::new("(!has(self.issuer) || self.issuer != '') && (!has(self.subject) || self.subject != '')")
        .message("expected an issuer and a subject that are not empty: empty would mean anybody")
)]
#[serde(rename_all = "camelCase")]
pub struct Keyless {
    /// The name of a TrustRoot of this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub trust_root: String,
    /// Who vouches for the identity, exactly: `https://token.actions.githubusercontent.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub issuer: Option<String>,
    /// The same as an expression that must match from beginning to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anchored")]
    pub issuer_reg_exp: Option<String>,
    /// Who signs, exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub subject: Option<String>,
    /// The same as an expression that must match from beginning to end:
    /// `https://github.com/acme/web/\.github/workflows/release\.yml@refs/tags/v.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anchored")]
    pub subject_reg_exp: Option<String>,
    /// What else the certificate must say, exactly: `sourceRepositoryURI: https://github.com/acme/web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "claims")]
    pub claims: Option<BTreeMap<String, String>>,
}

/// Where an image must have been built from, as a certificate (1.3.6.1.4.1.57264.1.12) and provenance name it, without `git+` and
/// `.git`.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.exact) != has(self.regExp)").message("expected exactly one of exact and regExp"))]
#[serde(rename_all = "camelCase")]
pub struct SourceRepository {
    /// Exactly this: `https://github.com/acme/web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub exact: Option<String>,
    /// An expression that must match from beginning to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anchored")]
    pub reg_exp: Option<String>,
}

/// A statement about the digest that is looked for. Its type is compared before its content.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attestation {
    /// Exactly this type: `https://slsa.dev/provenance/v1`.
    #[schemars(length(min = 1, max = 256))]
    pub predicate_type: String,
    /// Signed by one of these authorities. Without it: by any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 63)))]
    pub authorities: Option<Vec<String>>,
    /// What it must say, in CEL over `predicate`, in at most 1,024 bytes and 256 words and signs, brackets 8 and macros 2
    /// deep. Without it: being there is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub rule: Option<String>,
    /// Whether nothing moves without it. Without it: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
}

/// How much each layer counts, where that is not the default.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layers {
    /// A named signer. Default: Required where authorities are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Demand>,
    /// The version and repository that were signed. Default: Required where authorities are named; what silence means says `versionBinding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Demand>,
    /// Log and time. Default: Required for keyless authorities and those with `requireLog`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Demand>,
    /// The statements of `attestations`. Default: Required where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Demand>,
    /// A signed SPDX or CycloneDX list. Default: Advisory where authorities are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom: Option<Demand>,
    /// The shape of what runs. Default: Advisory; Off for an UpdatePolicy that speaks of nothing but unsigned images and soak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Demand>,
}

macro_rules! words {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $inner:literal])+ $variant:ident,)+ })+) => {
        $(
            $(#[doc = $doc])+
            #[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
            pub enum $name {
                $($(#[doc = $inner])+ $variant,)+
                /// Written by a newer version of the schema.
                #[serde(other)]
                #[schemars(skip)]
                Newer,
            }
        )+
    };
}

words! {
    /// How much a layer counts.
    Demand {
        /// Nothing moves without it.
        Required,
        /// Told, and nothing waits for it.
        Advisory,
        /// Not looked at.
        Off,
    }
    /// Whether what is signed must name the version.
    VersionBinding {
        /// A contradiction is refused; silence is not.
        Auto,
        /// Silence is refused as well.
        Required,
        /// Not compared.
        Off,
    }
    /// Whether unsigned images may run.
    Unsigned {
        /// They may, after a longer soak.
        Allow,
        /// They may not.
        Deny,
    }
    /// What the trust ledger does.
    TrustLedger {
        /// It is printed by `rollforward explain`.
        Report,
        /// It may add delay.
        Gate,
    }
    /// A layer that a person may lift for one digest.
    LiftedLayer {
        /// Whether the tag moved, or the digest is an old one.
        Ledger,
        /// A named signer.
        Signature,
        /// The version and repository that were signed.
        Binding,
        /// Log and time.
        Log,
        /// Statements.
        Provenance,
        /// The list of what is in the image.
        Sbom,
        /// The shape of what runs.
        Drift,
        /// Time since first seen.
        Soak,
        /// The trust ledger.
        Score,
    }
}

/// How long a digest must have been known, by this operator's own first sighting.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Soak {
    /// For signed digests. Without it: 24h, or the time for unsigned ones where that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub routine: Option<String>,
    /// For unsigned digests. Without it: the operator's default, 72h. Never shorter than `routine`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub unsigned: Option<String>,
}

/// A list of repositories and digests.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Repositories, by pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 255)))]
    pub repositories: Option<Vec<String>>,
    /// Digests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "digests")]
    pub digests: Option<Vec<String>>,
}

fn digests(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "description": "Digests: `sha256:` and 64 hexadecimal digits.",
        "minItems": 1,
        "maxItems": 256,
        "items": {"type": "string", "maxLength": 71, "pattern": "^sha256:[0-9a-f]{64}$"},
    })
}

fn pem(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 8192,
        "description": "A public key in PEM.",
        "x-kubernetes-validations": [{
            "rule": "self.contains('-----BEGIN PUBLIC KEY-----')",
            "message": "expected a public key in PEM, beginning with -----BEGIN PUBLIC KEY-----",
        }],
    })
}

fn anchored(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 512,
        "description": "A regular expression in RE2 syntax; it must match from beginning to end.",
        "x-kubernetes-validations": [
            {
                "rule": "''.matches(self) in [true, false]",
                "messageExpression": "'expected a regular expression in RE2 syntax; got ' + self",
            },
            {
                "rule": "!''.matches('^(?:' + self + ')$')",
                "message": "expected an expression that does not match the empty text: it would mean anybody",
            },
        ],
    })
}

fn recheck(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 16,
        "description": "Hours, minutes and seconds, from 10m to 168h.",
        "x-kubernetes-validations": [{
            "rule": "self.matches('^([0-9]{1,7}h)?([0-9]{1,7}m)?([0-9]{1,7}s)?$') && self != '' && duration(self) >= duration('10m') && duration(self) <= duration('168h')",
            "messageExpression": "'expected hours, minutes and seconds from 10m to 168h; got ' + self",
        }],
    })
}

fn claims(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "Claims of the certificate by name, each with the exact value.",
        "minProperties": 1,
        "maxProperties": 19,
        "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 512},
        "x-kubernetes-validations": [{
            "rule": "self.all(name, name in ['githubWorkflowTrigger', 'githubWorkflowSHA', 'githubWorkflowName', 'githubWorkflowRepository', 'githubWorkflowRef', 'buildSignerURI', 'buildSignerDigest', 'runnerEnvironment', 'sourceRepositoryURI', 'sourceRepositoryDigest', 'sourceRepositoryRef', 'sourceRepositoryIdentifier', 'sourceRepositoryOwnerURI', 'sourceRepositoryOwnerIdentifier', 'buildConfigURI', 'buildConfigDigest', 'buildTrigger', 'runInvocationURI', 'sourceRepositoryVisibilityAtSigning'])",
            "message": "expected the name of a claim that Fulcio certificates carry, such as sourceRepositoryURI, sourceRepositoryRef or runnerEnvironment",
        }],
    })
}
