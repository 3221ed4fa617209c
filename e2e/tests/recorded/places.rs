//! What the causes stand on: namespaces with their limits, images that are broken in one way each, registries that fail,
//! admission that denies. All of it is the trial's own and is removed with it.

use std::io::Write as _;
use std::path::PathBuf;

use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::cluster::Cluster;
use e2e::image::{Image, archive, digest};
use e2e::recorded::Normal;
use e2e::shop::PATIENCE;
use e2e::wait::{Seen, wait_until};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota};
use kube::api::{Api, PostParams};
use rollforward_testkit::tls::TestAuthority;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

pub(crate) const NAMESPACES: &[&str] =
    &["recorded", "recorded-full", "recorded-asks", "recorded-limits", "recorded-strict", "recorded-ending"];

/// The addresses that rows name in braces.
pub(crate) struct Places {
    addresses: Vec<(&'static str, String)>,
    // Kept so that what is sent there is not refused.
    _far: TcpListener,
    _mute: TcpListener,
}

impl Places {
    /// A text with its names in braces replaced.
    pub(crate) fn fill(&self, text: &str) -> String {
        let addresses = self.addresses.iter();
        addresses.fold(text.to_owned(), |text, (name, address)| text.replace(&format!("{{{name}}}"), address))
    }

    /// What stands for addresses, folders and the like in a fixture.
    pub(crate) fn normal(&self, cluster: &Cluster) -> Normal {
        let hosts = self.addresses.iter().zip(5000..).filter(|((name, _), _)| *name != "nameless");
        let id = &cluster.id;
        let mut texts: Vec<(String, String)> =
            hosts.map(|((_, host), port)| (host.clone(), format!("172.30.100.1:{port}"))).collect();
        texts.push((cluster.folder.display().to_string(), "/var/lib/rollforward".to_owned()));
        texts.push((format!("172.30.{id}."), "172.30.100.".to_owned()));
        texts.push((format!("10.{id}."), "10.100.".to_owned()));
        // Another trial may drain the second node meanwhile.
        texts.push(("node(s) were unschedulable".to_owned(), "node(s) had untolerated taint(s)".to_owned()));
        Normal { texts }
    }

    /// Makes everything that the rows need.
    pub(crate) async fn prepare(cluster: &Cluster) -> anyhow::Result<Self> {
        for name in NAMESPACES {
            cluster.namespace(name).await?;
        }
        let authority = TestAuthority::default();
        let webhook = authority.serve(Router::new().fallback(denies)).await;
        let bundle = STANDARD.encode(authority.certificate());
        let objects = OBJECTS.replace("{webhook}", &webhook).replace("{bundle}", &bundle);
        cluster.apply("recorded", &objects)?;
        for (namespace, object) in LIMITS {
            cluster.apply(namespace, object)?;
        }
        let enforce = "pod-security.kubernetes.io/enforce=restricted";
        cluster.kubectl(&["label", "namespace", "recorded-strict", enforce])?;
        let token = r#"[{"op":"add","path":"/status/capacity/rollforward.dev~1token","value":"1"},{"op":"add","path":"/status/allocatable/rollforward.dev~1token","value":"1"}]"#;
        cluster.kubectl(&["patch", "node", "node-a", "--subresource=status", "--type=json", "-p", token])?;
        profile(cluster)?;
        let (addresses, mute) = addresses(cluster).await?;
        images(cluster).await?;
        let far = TcpListener::bind((cluster.address.as_str(), 0)).await?;
        let port = far.local_addr()?.port();
        cluster.drop_egress(1, port)?;
        let mut places = Self { addresses, _far: far, _mute: mute };
        places.addresses.push(("far", format!("{}:{port}", cluster.address)));
        let wrong = format!("--docker-server={}", places.fill("{guarded}"));
        let anna = ["--docker-username=anna", "--docker-password=falsch", wrong.as_str()];
        let create = ["-n", "recorded", "create", "secret", "docker-registry", "wrong"];
        cluster.kubectl(&[&create[..], &anna].concat())?;
        places.settle(cluster).await?;
        Ok(places)
    }

    /// Waits until quotas count, claims are bound or lost, the holder has its place, and admission denies.
    async fn settle(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let client = cluster.client().await?;
        cluster.apply("recorded", &self.fill(HOLDER))?;
        let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), "recorded");
        let pods = Api::<Pod>::namespaced(client.clone(), "recorded");
        for (name, phase) in [("held", "Bound"), ("elsewhere", "Bound"), ("lost", "Lost")] {
            wait_until(&format!("the claim {name}"), PATIENCE, || async {
                let seen = claims.get(name).await?.status.and_then(|status| status.phase);
                Ok(if seen.as_deref() == Some(phase) {
                    Seen::Yes(())
                } else {
                    Seen::NotYet(format!("{seen:?}"))
                })
            })
            .await?;
        }
        wait_until("the holder to be placed", PATIENCE, || async {
            let holder = pods.get("holder").await?;
            Ok(match holder.spec.and_then(|spec| spec.node_name) {
                Some(_) => Seen::Yes(()),
                None => Seen::NotYet(format!("{:?}", holder.status)),
            })
        })
        .await?;
        for namespace in ["recorded-full", "recorded-asks"] {
            let quotas = Api::<ResourceQuota>::namespaced(client.clone(), namespace);
            wait_until("the quota to count", PATIENCE, || async {
                let used = quotas.get("limits").await?.status.and_then(|status| status.used);
                Ok(if used.is_some() { Seen::Yes(()) } else { Seen::NotYet("nothing".to_owned()) })
            })
            .await?;
        }
        for label in [
            "create-policy",
            "create-policy-silent",
            "create-webhook",
            "create-webhook-silent",
            "create-webhook-down",
        ] {
            let probe = json!({
                "metadata": {"name": "probe", "labels": {"app": label}},
                "spec": {"containers": [{"name": "app", "image": "x:1"}]},
            });
            let probe: Pod = serde_json::from_value(probe)?;
            let rehearse = PostParams { dry_run: true, ..PostParams::default() };
            wait_until(&format!("{label} to be denied"), PATIENCE, || async {
                let admitted = pods.create(&rehearse, &probe).await.is_ok();
                Ok(if admitted { Seen::NotYet("still admitted".to_owned()) } else { Seen::Yes(()) })
            })
            .await?;
        }
        Ok(())
    }
}

/// Removes what `prepare` made outside of a namespace, and the namespaces.
pub(crate) fn remove(cluster: &Cluster) -> anyhow::Result<()> {
    let token = r#"[{"op":"remove","path":"/status/capacity/rollforward.dev~1token"},{"op":"remove","path":"/status/allocatable/rollforward.dev~1token"}]"#;
    cluster.kubectl(&["patch", "node", "node-a", "--subresource=status", "--type=json", "-p", token])?;
    cluster.kubectl(&[
        "delete",
        "validatingwebhookconfiguration/recorded",
        "validatingadmissionpolicy/recorded",
        "validatingadmissionpolicy/recorded-silent",
        "validatingadmissionpolicybinding/recorded",
        "validatingadmissionpolicybinding/recorded-silent",
        "runtimeclass/recorded-none",
        "priorityclass/recorded-low",
        "csidriver/none.rollforward.dev",
    ])?;
    let patch = r#"{"metadata":{"finalizers":null}}"#;
    cluster.kubectl(&["-n", "recorded-ending", "patch", "configmap", "held", "--type=merge", "-p", patch])?;
    let all = [&["delete", "namespace", "--wait=false", "--ignore-not-found"][..], NAMESPACES].concat();
    cluster.kubectl(&all)?;
    cluster
        .kubectl(&["delete", "persistentvolume", "recorded-held", "recorded-elsewhere", "--wait=false"])
        .map(drop)
}

/// Where images are asked for: the real registry with and without its door, and places that fail in one way each.
async fn addresses(cluster: &Cluster) -> anyhow::Result<(Vec<(&'static str, String)>, TcpListener)> {
    let listen = || async {
        let listener = TcpListener::bind((cluster.address.as_str(), 0)).await?;
        let host = listener.local_addr()?.to_string();
        anyhow::Ok((listener, host))
    };
    let (faulting, faulting_host) = listen().await?;
    let (plain, plain_host) = listen().await?;
    for listener in [faulting, plain] {
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(fails)).await });
    }
    let (closed, closed_host) = listen().await?;
    drop(closed);
    let (cut, cut_host) = listen().await?;
    tokio::spawn(hangs_up(cut));
    for host in [&faulting_host, &closed_host, &cut_host] {
        cluster.speaks_plain_http(host)?;
    }
    // Listens and never accepts: the kernel takes the connection and nobody speaks.
    let (mute, mute_host) = listen().await?;
    let addresses = vec![
        ("registry", cluster.registry_host().to_owned()),
        ("guarded", cluster.guarded_registry("recorded-guarded")?),
        ("faulting", faulting_host),
        ("plain", plain_host),
        ("closed", closed_host),
        ("mute", mute_host),
        ("cut", cut_host),
        ("apiserver", format!("{}:{}", cluster.address, cluster.apiserver_port())),
        ("nowhere", format!("172.30.{}.99:5000", cluster.id)),
        // Longer than a label of a name may be: it is known without asking anybody that there is no such host.
        ("nameless", format!("{}.example:5000", "n".repeat(64))),
    ];
    Ok((addresses, mute))
}

/// Reads what is asked and ends the connection without a word. One that asks nothing stays open: whoever ends it before the
/// question is read is told as an idle server, in other words.
async fn hangs_up(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move { stream.read(&mut [0; 4096]).await });
    }
}

/// A registry that answers with the status that the path begins with.
async fn fails(uri: Uri, asked: HeaderMap) -> (StatusCode, HeaderMap, String) {
    let code = uri.path().split('/').find_map(|part| part.parse::<u16>().ok()).unwrap_or(401);
    let mut headers = HeaderMap::new();
    if let Some(host) = asked.get("host").filter(|_| uri.path().starts_with("/v2/401")) {
        // Who wants a token goes on to a place that refuses one.
        let realm = format!(
            "Bearer realm=\"http://{}/token\",service=\"registry\"",
            host.to_str().unwrap_or_default()
        );
        headers.extend(HeaderValue::from_str(&realm).map(|realm| (WWW_AUTHENTICATE, realm)));
    }
    let body = match code {
        404 => "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"manifest unknown\"}]}",
        429 => {
            "{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"You have reached your pull rate limit.\"}]}"
        }
        _ => "",
    };
    (StatusCode::from_u16(code).unwrap_or(StatusCode::IM_A_TEAPOT), headers, body.to_owned())
}

/// A webhook that denies, with words or without.
async fn denies(Json(review): Json<Value>) -> Json<Value> {
    let request = &review["request"];
    let label = &request["object"]["metadata"]["labels"]["app"];
    let status =
        (label == "create-webhook").then(|| json!({"message": "image is not from the approved registry"}));
    let response = json!({"uid": request["uid"], "allowed": false, "status": status});
    Json(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))
}

/// A profile that ends whoever wants a namespace of his own.
fn profile(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = cluster.kubelet_folder("node-a").join("seccomp");
    std::fs::create_dir_all(&folder)?;
    let rule = json!({"names": ["unshare"], "action": "SCMP_ACT_KILL_PROCESS"});
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    Ok(std::fs::write(folder.join("kill.json"), serde_json::to_vec(&profile)?)?)
}

/// Images that are broken in one way each.
async fn images(cluster: &Cluster) -> anyhow::Result<()> {
    let pusher = cluster.pusher();
    let push = |name: &'static str, image: Image| async move {
        pusher.push(&format!("recorded/{name}"), "1", &image).await
    };
    push("web", Image::new("1")).await?;
    push("named", Image::new("1").user("app")).await?;
    push("foreign", Image::new("1").foreign()).await?;
    let riscv = push("riscv", Image::new("1").architecture("riscv64")).await?;
    let size = std::fs::metadata(blob(cluster, &riscv))?.len();
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": riscv, "size": size,
                       "platform": {"os": "linux", "architecture": "riscv64"}}],
    });
    let kind = "application/vnd.oci.image.index.v1+json";
    pusher.manifest("recorded/riscv", "index", kind, serde_json::to_vec(&index)?).await?;
    layers(cluster).await
}

async fn layers(cluster: &Cluster) -> anyhow::Result<()> {
    const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
    const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    let file = |name: &str| archive(&[(name.to_owned(), 0o644, name.repeat(2000).into_bytes())]);
    let config = |layers: &[&[u8]]| {
        let layers: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        json!({"architecture": e2e::image::native_architecture(), "os": "linux", "config": {"Entrypoint": ["/app"]},
               "rootfs": {"type": "layers", "diff_ids": layers}})
    };
    let pusher = cluster.pusher();
    let push = |name: &'static str, config: Value, layers: Vec<(&'static str, Vec<u8>)>| async move {
        pusher.push_parts(&format!("recorded/{name}"), "1", &config, &layers).await
    };
    let other = file("other")?;
    push("diff-id", config(&[&other]), vec![(TAR, file("diff-id")?)]).await?;
    push("uncounted", config(&[]), vec![(TAR, file("uncounted")?)]).await?;
    let junk = b"not an archive, and long enough to be read as one ".repeat(40);
    push("no-tar", config(&[&junk]), vec![(TAR, junk.clone())]).await?;
    push("no-gzip", config(&[&junk]), vec![(GZIP, junk)]).await?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(&other)?;
    let mut half = gzip.finish()?;
    half.truncate(half.len() / 2);
    push("truncated", config(&[&other]), vec![(GZIP, half)]).await?;
    let gone = file("layer-gone")?;
    push("layer-gone", config(&[&gone]), vec![(TAR, gone.clone())]).await?;
    std::fs::remove_file(blob(cluster, &digest(&gone)))?;
    let changed = file("layer-changed")?;
    push("layer-changed", config(&[&changed]), vec![(TAR, changed.clone())]).await?;
    let mut content = changed.clone();
    content[600] ^= 1;
    std::fs::write(blob(cluster, &digest(&changed)), content)?;
    let chart = file("chart")?;
    push(
        "artifact",
        json!({"name": "chart"}),
        vec![("application/vnd.cncf.helm.chart.content.v1.tar+gzip", chart)],
    )
    .await
    .map(drop)
}

/// The file in which the registry keeps a blob.
fn blob(cluster: &Cluster, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    let root = cluster.folder.join("registry/docker/registry/v2/blobs/sha256");
    root.join(&hex[..2]).join(hex).join("data")
}

/// Holds a port and a claim, and is what others do not want to be beside.
const HOLDER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: holder, labels: {app: holder}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: app, image: '{registry}/recorded/web:1', args: [--sleep], ports: [{containerPort: 8080, hostPort: 18099}, {containerPort: 8081, hostPort: 18098}]}
  volumes: [{name: data, persistentVolumeClaim: {claimName: held}}]
";

/// What is in one namespace alone.
const LIMITS: &[(&str, &str)] = &[
    (
        "recorded-full",
        r#"apiVersion: v1
kind: ResourceQuota
metadata: {name: limits}
spec: {hard: {pods: "0"}}"#,
    ),
    (
        "recorded-asks",
        r#"apiVersion: v1
kind: ResourceQuota
metadata: {name: limits}
spec: {hard: {limits.cpu: "1"}}"#,
    ),
    (
        "recorded-limits",
        r#"apiVersion: v1
kind: LimitRange
metadata: {name: limits}
spec:
  limits:
  - {type: Container, max: {memory: 64Mi}, maxLimitRequestRatio: {cpu: "2"}}
  - {type: Pod, min: {cpu: 100m}}"#,
    ),
    (
        "recorded-ending",
        r#"apiVersion: v1
kind: ConfigMap
metadata: {name: held, finalizers: [rollforward.dev/recorded]}"#,
    ),
];

const OBJECTS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: recorded}
data: {level: "1"}
---
apiVersion: v1
kind: Secret
metadata: {name: settings, namespace: recorded}
stringData: {level: "1"}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: no-egress, namespace: recorded}
spec: {podSelector: {matchLabels: {app: silent-egress}}, policyTypes: [Egress]}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: recorded-low}
value: -10
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: recorded-none}
handler: none
---
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: none.rollforward.dev}
spec: {attachRequired: false, volumeLifecycleModes: [Ephemeral]}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: recorded-held}
spec:
  capacity: {storage: 1Mi}
  accessModes: [ReadWriteOncePod]
  storageClassName: recorded
  claimRef: {namespace: recorded, name: held}
  hostPath: {path: /tmp}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: recorded-elsewhere}
spec:
  capacity: {storage: 1Mi}
  accessModes: [ReadWriteOnce]
  storageClassName: recorded
  claimRef: {namespace: recorded, name: elsewhere}
  local: {path: /tmp}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-z]}]}]}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: held, namespace: recorded}
spec: {accessModes: [ReadWriteOncePod], storageClassName: recorded, volumeName: recorded-held, resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: elsewhere, namespace: recorded}
spec: {accessModes: [ReadWriteOnce], storageClassName: recorded, volumeName: recorded-elsewhere, resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: unbound, namespace: recorded}
spec: {accessModes: [ReadWriteOnce], storageClassName: recorded-nowhere, resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: lost, namespace: recorded, annotations: {pv.kubernetes.io/bind-completed: "yes"}}
spec: {accessModes: [ReadWriteOnce], storageClassName: recorded, volumeName: recorded-nowhere, resources: {requests: {storage: 1Mi}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: recorded}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
    objectSelector: {matchLabels: {app: create-policy}}
  validations: [{expression: "false", message: "images come from ghcr.io/acme"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: recorded}
spec: {policyName: recorded, validationActions: [Deny]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: recorded-silent}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
    objectSelector: {matchLabels: {app: create-policy-silent}}
  validations: [{expression: "object.spec.containers.all(c, c.image.startsWith('ghcr.io/acme/'))"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: recorded-silent}
spec: {policyName: recorded-silent, validationActions: [Deny]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: recorded}
webhooks:
- name: guard.rollforward.dev
  admissionReviewVersions: [v1]
  sideEffects: None
  timeoutSeconds: 5
  clientConfig: {url: "https://{webhook}/review", caBundle: "{bundle}"}
  objectSelector: {matchExpressions: [{key: app, operator: In, values: [create-webhook, create-webhook-silent]}]}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
- name: down.rollforward.dev
  admissionReviewVersions: [v1]
  sideEffects: None
  timeoutSeconds: 1
  clientConfig: {url: "https://127.0.0.1:1/review"}
  objectSelector: {matchLabels: {app: create-webhook-down}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
"#;
