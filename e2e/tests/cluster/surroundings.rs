//! Surroundings that fail a release on a real node: rolled back or held, never counted against the image.

use std::sync::Arc;

use e2e::cluster::Cluster;
use e2e::fault::{Action, Fault, When};
use e2e::harness::{Named, trial};
use e2e::image::Image;
use e2e::shop::Shop;

pub(crate) fn trials() -> Vec<Named> {
    vec![
        trial("a missing Secret key is the environment's fault: rolled back, not quarantined", missing_key),
        trial(
            "a pull secret removed before the node pulls is named, and not held against the image",
            pull_secret,
        ),
        trial("Pod Security enforced in mid-canary stops the next step and is named", pod_security),
        trial("a ValidatingAdmissionPolicy that denies the canary's pod is named with its words", denied),
        trial("a webhook that is down is not taken for a denial", webhook_down),
        trial("a quota without room beside the old pods is named before anything is written", quota),
        trial(
            "egress that the network drops is told beside the NetworkPolicy that is likely to be why",
            egress,
        ),
        trial("a host port that the old pod holds leaves no room beside it, and that is named", host_port),
    ]
}

async fn missing_key(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        container: "        env: [{name: LEVEL, valueFrom: {secretKeyRef: {name: settings, key: level}}}]",
        prepare: Some(|shop| {
            shop.kubectl(&[
                "create",
                "secret",
                "generic",
                "settings",
                "--from-literal=level=1",
                "--from-literal=more=1",
            ])
            .map(drop)
        }),
        change: Some((When::Before, |shop, _| {
            let remove = "[{\"op\":\"remove\",\"path\":\"/data/level\"}]";
            shop.kubectl(&["patch", "secret", "settings", "--type=json", "-p", remove]).map(drop)
        })),
        deadline: "12s",
        action: Action::RolledBack,
        reason: "ConfigMissing",
        says: &[
            "couldn't find key level in Secret missing-key/settings",
            "The environment is at fault, not the image.",
        ],
        ..Fault::new("missing-key")
    };
    fault.check(cluster).await
}

async fn pull_secret(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    // The operator has a credential of its own: the policy's. The workload's is what the node pulls with.
    let fault = Fault {
        prepare: Some(|shop| {
            let host = shop.cluster.guarded_registry("guarded")?;
            shop.image = format!("{host}/{}:1.0.0", shop.repository);
            shop.plain_http.push(host.clone());
            shop.policy_settings = "  image: {imagePullSecrets: [{name: own}]}\n".to_owned();
            for name in ["own", "pull"] {
                let server = format!("--docker-server={host}");
                let anna = [server.as_str(), "--docker-username=anna", "--docker-password=geheim"];
                shop.kubectl(&[&["create", "secret", "docker-registry", name][..], &anna].concat())?;
            }
            let patch = "{\"imagePullSecrets\":[{\"name\":\"pull\"}]}";
            shop.kubectl(&["patch", "serviceaccount", "default", "--type=merge", "-p", patch]).map(drop)
        }),
        change: Some((When::Before, |shop, _| shop.kubectl(&["delete", "secret", "pull"]).map(drop))),
        deadline: "12s",
        action: Action::RolledBack,
        reason: "PullUnauthorized",
        says: &[
            "expected the node to pull the image, observed ",
            "The environment is at fault, not the image.",
        ],
        ..Fault::new("pull-secret")
    };
    fault.check(cluster).await
}

async fn pod_security(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        replicas: 4,
        rollout: ", steps: [1, \"50%\", \"100%\"]",
        change: Some((When::Canary, |shop, _| {
            let label = "pod-security.kubernetes.io/enforce=restricted";
            shop.cluster.kubectl(&["label", "namespace", &shop.namespace, label]).map(drop)
        })),
        deadline: "15s",
        action: Action::RolledBack,
        reason: "PodSecurity",
        says: &["the security layer refused it, not the application: ", "is forbidden: violates "],
        ..Fault::new("pod-security-mid")
    };
    fault.check(cluster).await
}

const DENIAL: &str = r#"apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: rollforward-no-patch}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: denied}}
  validations:
  - {expression: "!object.spec.containers.exists(one, one.image.contains(':1.0.1@'))", message: 1.0.1 is not welcome here}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: rollforward-no-patch}
spec: {policyName: rollforward-no-patch, validationActions: [Deny]}
"#;

async fn denied(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        change: Some((When::Before, |shop, _| {
            shop.cluster.apply(&shop.namespace, DENIAL)?;
            // The apiserver takes a moment to enforce a new policy: asked until it does.
            refused(
                shop,
                &[
                    "run",
                    "probe",
                    "--dry-run=server",
                    "--image=x:1.0.1@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                ],
            )
        })),
        deadline: "12s",
        action: Action::RolledBack,
        reason: "AdmissionDenied",
        says: &[
            "ValidatingAdmissionPolicy 'rollforward-no-patch'",
            "denied request: 1.0.1 is not welcome here",
        ],
        ..Fault::new("denied")
    };
    fault.check(cluster).await
}

/// Asks until admission refuses it.
fn refused(shop: &Shop, arguments: &[&str]) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    while shop.kubectl(arguments).is_ok() {
        anyhow::ensure!(begun.elapsed() < e2e::shop::PATIENCE, "still admitted: {arguments:?}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Ok(())
}

const WEBHOOK: &str = r#"apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: rollforward-down}
webhooks:
- name: down.rollforward.dev
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  timeoutSeconds: 1
  clientConfig: {url: "https://127.0.0.1:1/review"}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: webhook-down}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
"#;

async fn webhook_down(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        change: Some((When::Before, |shop, _| {
            shop.cluster.apply(&shop.namespace, WEBHOOK)?;
            refused(shop, &["run", "probe", "--dry-run=server", "--image=x:1"])
        })),
        deadline: "12s",
        action: Action::RolledBack,
        reason: "WebhookDown",
        says: &[
            "failed calling webhook \"down.rollforward.dev\"",
            "The environment is at fault, not the image.",
        ],
        ..Fault::new("webhook-down")
    };
    fault.check(cluster).await
}

async fn quota(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        prepare: Some(|shop| {
            let quota =
                "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: two}\nspec: {hard: {pods: \"2\"}}";
            shop.cluster.apply(&shop.namespace, quota).map(drop)
        }),
        action: Action::Held,
        reason: "QuotaExceeded",
        says: &[
            "expected room for a canary beside the old pods, observed quota two allows pods 2, 2 used",
            "No pod was started.",
        ],
        ..Fault::new("no-surge")
    };
    fault.check(cluster).await
}

async fn host_port(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let fault = Fault {
        replicas: 1,
        container: "        ports: [{containerPort: 8080, hostPort: 18080}]",
        deadline: "12s",
        action: Action::RolledBack,
        reason: "HostPortTaken",
        says: &["expected a node to take the canary pod, observed ", "1 node(s) didn't have fre"],
        ..Fault::new("host-port")
    };
    fault.check(cluster).await
}

async fn egress(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    // The new image calls a place that the old one did not; the network drops it, as a plugin would for the policy.
    let place = std::net::TcpListener::bind((cluster.address.as_str(), 0))?;
    let port = place.local_addr()?.port();
    cluster.drop_egress(1, port)?;
    let reached = format!("{}:{port}", cluster.address);
    let fault = Fault {
        new: Image::new("1.0.1").arguments(&["--connect", &reached]),
        prepare: Some(|shop| {
            let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: no-egress}\nspec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}";
            shop.cluster.apply(&shop.namespace, policy).map(drop)
        }),
        container: "        terminationMessagePolicy: FallbackToLogsOnError",
        reason: "EgressBlocked",
        says: &["Connection timed out\", and the pod has egress by NetworkPolicy no-egress", "likely"],
        ..Fault::new("egress")
    };
    fault.check(cluster).await?;
    drop(place);
    Ok(())
}
