//! What a decision names beside itself: entries of ConfigMaps; and the one thing that is written to a VerificationPolicy or a trust
//! root, its status.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use rollforward_api::trust_root::{TrustRoot, TrustRootStatus};
use rollforward_api::verification::{VerificationPolicy, VerificationPolicyStatus};
use thiserror::Error;
use tokio::time::timeout;

use super::store::write_status;
use super::{ApiError, optional, status, words};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A ConfigMap; `None` where there is none.
///
/// # Errors
/// Where the apiserver refused, or gave no answer in time: neither is an absence.
pub async fn config_map(client: &Client, namespace: &str, name: &str) -> Result<Option<ConfigMap>, NotRead> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    match timeout(PATIENCE, api.get(name)).await.map(optional) {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) if status(&error).is_some_and(|status| status.code == 403) => {
            Err(NotRead::Forbidden(words(&error)))
        }
        Ok(Err(error)) => Err(NotRead::Silent(words(&error))),
        Err(_) => Err(NotRead::Silent(format!("none within {} s", PATIENCE.as_secs()))),
    }
}

/// Why a ConfigMap was not read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotRead {
    /// It may not be, in the apiserver's words.
    #[error("{0}")]
    Forbidden(String),
    /// The apiserver gave no answer.
    #[error("{0}")]
    Silent(String),
}

/// Writes the status of a VerificationPolicy. One that was deleted meanwhile has none.
///
/// # Errors
/// Where the apiserver refused.
pub async fn policy_status(
    client: &Client,
    namespace: &str,
    name: &str,
    status: &VerificationPolicyStatus,
) -> Result<(), ApiError> {
    // By metadata: one that cannot be read as a VerificationPolicy is told so too.
    let resource = ApiResource::erase::<VerificationPolicy>(&());
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
    write_status(&api, name, status).await.map_err(ApiError::of("write the VerificationPolicy's status"))
}

/// Writes the status of a trust root. One that was deleted meanwhile has none.
///
/// # Errors
/// Where the apiserver refused.
pub async fn root_status(
    client: &Client,
    namespace: &str,
    name: &str,
    status: &TrustRootStatus,
) -> Result<(), ApiError> {
    let api = Api::<TrustRoot>::namespaced(client.clone(), namespace);
    write_status(&api, name, status).await.map_err(ApiError::of("write the TrustRoot's status"))
}
