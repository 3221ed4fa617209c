//! Pull secrets, read by name: those the policy names, or the workload's and its ServiceAccount's.
//!
//! The operator may read only the Secrets it was given; what it may not read is said with the Role that would allow it.

use k8s_openapi::api::core::v1::{LocalObjectReference, PodTemplateSpec, Secret, ServiceAccount};
use kube::Client;
use kube::api::Api;
use rollforward_core::reason::Reason;

use super::{status, words};
use crate::registry::pull_secret::Keyring;

/// A pull secret that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The code.
    pub reason: Reason,
    /// The sentence.
    pub message: String,
}

/// The credentials of a workload, and the first secret that could not be used.
pub async fn keyring(
    client: &Client,
    namespace: &str,
    named: &[String],
    template: Option<&PodTemplateSpec>,
) -> (Keyring, Option<Trouble>) {
    let mut keyring = Keyring::default();
    let mut trouble = None;
    let names = if named.is_empty() {
        of_workload(client, namespace, template).await.unwrap_or_else(|problem| {
            trouble = Some(problem);
            Vec::new()
        })
    } else {
        named.to_vec()
    };
    for name in names {
        match read(client, namespace, &name).await {
            Ok(one) => keyring.merge(one),
            Err(problem) => trouble = trouble.or(Some(problem)),
        }
    }
    (keyring, trouble)
}

/// The pull secrets of the pod template; those of its ServiceAccount where it names none, as the apiserver fills them in.
async fn of_workload(
    client: &Client,
    namespace: &str,
    template: Option<&PodTemplateSpec>,
) -> Result<Vec<String>, Trouble> {
    let spec = template.and_then(|template| template.spec.as_ref());
    let names = local(spec.and_then(|spec| spec.image_pull_secrets.as_ref()));
    if !names.is_empty() {
        return Ok(names);
    }
    let name = spec.and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
    let api = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    match api.get_opt(name).await {
        Ok(account) => Ok(local(account.as_ref().and_then(|account| account.image_pull_secrets.as_ref()))),
        Err(error) => Err(unreadable(&error, namespace, "serviceaccounts", name)),
    }
}

fn local(references: Option<&Vec<LocalObjectReference>>) -> Vec<String> {
    references.into_iter().flatten().map(|reference| reference.name.clone()).collect()
}

async fn read(client: &Client, namespace: &str, name: &str) -> Result<Keyring, Trouble> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let secret = match api.get(name).await {
        Ok(secret) => secret,
        Err(error) => return Err(unreadable(&error, namespace, "secrets", name)),
    };
    let data = secret.data.unwrap_or_default();
    let keys = [".dockerconfigjson", ".dockercfg"];
    let found = keys.iter().find_map(|key| data.get(*key).map(|bytes| (*key, &bytes.0)));
    let Some((key, bytes)) = found else {
        let message = format!("pull secret {name} has neither .dockerconfigjson nor .dockercfg");
        return Err(Trouble { reason: Reason::PullSecretInvalid, message });
    };
    let parsed = if key == ".dockercfg" {
        Keyring::from_docker_cfg(bytes)
    } else {
        Keyring::from_docker_config_json(bytes)
    };
    parsed.map_err(|error| Trouble {
        reason: Reason::PullSecretInvalid,
        message: format!("pull secret {name}: {error}"),
    })
}

/// Why an object could not be read, with the Role that would allow it.
fn unreadable(error: &kube::Error, namespace: &str, resource: &str, name: &str) -> Trouble {
    let kind = if resource == "secrets" { "pull secret" } else { "ServiceAccount" };
    match status(error).map(|status| status.code) {
        Some(404) => Trouble {
            reason: Reason::PullSecretMissing,
            message: format!("{kind} {name} does not exist in namespace {namespace}"),
        },
        Some(403) => Trouble {
            reason: Reason::PullSecretForbidden,
            message: format!(
                "{kind} {name} may not be read; grant a Role in {namespace}: apiGroups [\"\"], resources [{resource}], resourceNames [{name}], verbs [get]"
            ),
        },
        _ => Trouble {
            reason: Reason::PullSecretMissing,
            message: format!("{kind} {name} could not be read: {}", words(error)),
        },
    }
}
