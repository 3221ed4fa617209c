//! What a decision names beside itself: entries of ConfigMaps; and the one thing that is written to a trust root, its status.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use rollforward_api::trust_root::{TrustRoot, TrustRootStatus};
use serde_json::json;

use super::{ApiError, optional, words};

/// A ConfigMap; `None` where there is none.
///
/// # Errors
/// The apiserver's words: a key that may not be read is said, and is no missing signature.
pub async fn config_map(client: &Client, namespace: &str, name: &str) -> Result<Option<ConfigMap>, String> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    optional(api.get(name).await).map_err(|error| format!("ConfigMap {name}: {}", words(&error)))
}

/// Writes the status of a trust root.
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
    let patch = Patch::Merge(json!({ "status": status }));
    let params = PatchParams::default();
    api.patch_status(name, &params, &patch).await.map_err(ApiError::of("write the TrustRoot's status"))?;
    Ok(())
}
