//! The end of a crashed program's log, and the network policies that its pod lives under. Both only with opt-in rights.
//!
//! What comes back is foreign text with other people's secrets in it: it is masked here, before anything keeps it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt};
use rollforward_core::text::mask;

use super::{status, words};

/// How many lines are asked for.
const LINES: i64 = 20;
/// How many bytes are read: the limit counts from the first of the lines, so it is wider than what is kept.
const READ_BYTES: i64 = 64 * 1024;
/// How many bytes are kept, of the end.
const KEPT_BYTES: usize = 4 * 1024;

/// The last lines of a container, masked; or why they are not known.
///
/// # Errors
/// In words that complete "its last words are not known: …".
pub async fn tail(
    client: &Client,
    namespace: &str,
    pod: &str,
    container: &str,
    previous: bool,
) -> Result<String, String> {
    let params = LogParams {
        container: Some(container.to_owned()),
        previous,
        tail_lines: Some(LINES),
        limit_bytes: Some(READ_BYTES),
        ..LogParams::default()
    };
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    match pods.logs(pod, &params).await {
        Ok(log) => Ok(mask(end(&log, KEPT_BYTES))),
        Err(error) if status(&error).is_some_and(|status| status.code == 403) => {
            Err("no right to read pods/log (`podLogs: true` of the chart grants it)".to_owned())
        }
        Err(error) => Err(words(&error)),
    }
}

/// The last bytes of a text, from the beginning of a character.
fn end(text: &str, most: usize) -> &str {
    let mut from = text.len().saturating_sub(most);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

/// The names of the network policies that restrict what a pod may call. Without the right to list them there are none to
/// name, and nothing is claimed of them.
pub async fn egress_policies(client: &Client, namespace: &str, pod: &str) -> Vec<String> {
    let policies = Api::<NetworkPolicy>::namespaced(client.clone(), namespace);
    let Ok(policies) = policies.list(&ListParams::default().limit(100)).await else { return Vec::new() };
    let restricting: Vec<&NetworkPolicy> = policies.items.iter().filter(|one| is_egress(one)).collect();
    if restricting.is_empty() {
        return Vec::new();
    }
    let named = ListParams::default().fields(&format!("metadata.name={pod}"));
    let Ok(pods) = Api::<Pod>::namespaced(client.clone(), namespace).list(&named).await else {
        return Vec::new();
    };
    let Some(labels) = pods.items.first().map(|pod| pod.labels().clone()) else { return Vec::new() };
    restricting
        .into_iter()
        .filter(|policy| {
            let spec = policy.spec.as_ref();
            spec.is_some_and(|spec| {
                spec.pod_selector.as_ref().is_none_or(|selector| selects(selector, &labels))
            })
        })
        .map(ResourceExt::name_any)
        .collect()
}

fn is_egress(policy: &NetworkPolicy) -> bool {
    let Some(spec) = &policy.spec else { return false };
    match &spec.policy_types {
        Some(types) => types.iter().any(|one| one == "Egress"),
        None => spec.egress.is_some(),
    }
}

/// Whether a label selector means an object with these labels.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let fits = selector.match_expressions.iter().flatten().all(|one| {
        let value = labels.get(&one.key);
        let among = value.is_some_and(|value| one.values.iter().flatten().any(|known| known == value));
        match one.operator.as_str() {
            "In" => among,
            "NotIn" => !among,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    equal && fits
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a fixture that cannot be read is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept_and_no_character_is_cut() {
        assert_eq!(end("abc", 4), "abc");
        assert_eq!(end("aäb", 2), "b");
        assert_eq!(end("aäb", 3), "äb");
    }

    #[test]
    fn a_policy_restricts_egress_by_its_types_or_by_its_rules_and_only_the_pods_it_selects() {
        let policy = |spec: serde_json::Value| -> NetworkPolicy {
            serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
        };
        assert!(is_egress(&policy(serde_json::json!({"podSelector": {}, "policyTypes": ["Egress"]}))));
        assert!(is_egress(&policy(serde_json::json!({"podSelector": {}, "egress": []}))));
        assert!(!is_egress(&policy(serde_json::json!({"podSelector": {}, "policyTypes": ["Ingress"]}))));
        assert!(!is_egress(&policy(serde_json::json!({"podSelector": {}}))));
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let selector = |value: serde_json::Value| -> LabelSelector { serde_json::from_value(value).unwrap() };
        assert!(selects(&selector(serde_json::json!({})), &labels));
        assert!(selects(&selector(serde_json::json!({"matchLabels": {"app": "web"}})), &labels));
        assert!(!selects(&selector(serde_json::json!({"matchLabels": {"app": "api"}})), &labels));
        let not =
            serde_json::json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]});
        assert!(!selects(&selector(not), &labels));
    }
}
