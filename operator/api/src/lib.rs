//! The custom resources: their wire form and their schema. No client, no logic.
//!
//! What a person can get wrong is refused by `kubectl apply` with a sentence (CEL rules in the schema); every string, list
//! and map is bounded. Changes within `v1alpha1` are additive. Core's types are made from these by the controller.
#![allow(unreachable_pub, reason = "the schema derive trips it")]

pub mod exception;
pub mod ledger;
pub mod policy;
pub mod run;
pub mod schema;
pub mod trust_root;
pub mod verification;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The definitions, in the order in which a user meets them.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        policy::UpdatePolicy::crd(),
        run::UpdateRun::crd(),
        ledger::ImageLedger::crd(),
        verification::VerificationPolicy::crd(),
        trust_root::TrustRoot::crd(),
        exception::VerificationException::crd(),
    ]
}
