//! The causes as data: what is asked of Kubernetes, and what must be seen of it. What they stand on: `places.rs`.
//!
//! A row is one pod, or what a controller makes of one. `{registry}` and the other names in braces are addresses of
//! `Places`. What takes longest stands first, so that the rest is done meanwhile.

use e2e::recorded::Until;
use serde_json::{Value, json};

/// The kind of the object that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pod,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
}

/// What is done to a pod once it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    Evict,
    /// A pod of a higher priority wants what this one has.
    Preempt,
}

/// One cause.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cause {
    pub(crate) name: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) kind: Kind,
    pub(crate) until: Until,
    /// Fields of the container, as YAML between braces.
    container: &'static str,
    /// Fields of the pod's spec, as YAML between braces.
    spec: &'static str,
    pub(crate) then: Then,
}

const fn pod(name: &'static str, until: Until, container: &'static str, spec: &'static str) -> Cause {
    Cause { name, namespace: "recorded", kind: Kind::Pod, until, container, spec, then: Then::Nothing }
}

const fn denied(
    kind: Kind,
    name: &'static str,
    namespace: &'static str,
    container: &'static str,
    spec: &'static str,
) -> Cause {
    Cause { name, namespace, kind, until: Until::Denied, container, spec, then: Then::Nothing }
}

const fn pull(name: &'static str, image: &'static str) -> Cause {
    pod(name, Until::Waiting("ErrImagePull"), image, "")
}

/// The container cannot be made of what is there.
const CONFIG: Until = Until::Waiting("CreateContainerConfigError");
const CREATE: Until = Until::Waiting("CreateContainerError");
/// The end of the log is kept as the termination message.
const fn said(name: &'static str, container: &'static str, spec: &'static str) -> Cause {
    pod(name, Until::Crashed, container, spec)
}

pub(crate) const CAUSES: &[Cause] = &[
    // The slow ones.
    pull("pull-tls-timeout", "image: '{mute}/web:1'"),
    pod("pull-back-off", Until::Waiting("ImagePullBackOff"), "image: '{registry}/recorded/web:gone'", ""),
    pull("pull-no-route", "image: '{nowhere}/web:1'"),
    pull("pull-429", "image: '{faulting}/429/web:1'"),
    pull("pull-500", "image: '{faulting}/500/web:1'"),
    pull("pull-502", "image: '{faulting}/502/web:1'"),
    pull("pull-503", "image: '{faulting}/503/web:1'"),
    pull("pull-504", "image: '{faulting}/504/web:1'"),
    pod(
        "end-liveness-0",
        Until::Ended("Killing"),
        "livenessProbe: {httpGet: {path: /live, port: 8080}, periodSeconds: 1, failureThreshold: 1}, args: [--never-ready]",
        "terminationGracePeriodSeconds: 5",
    ),
    pod(
        "end-liveness-143",
        Until::Ended("Killing"),
        "livenessProbe: {httpGet: {path: /live, port: 8080}, periodSeconds: 1, failureThreshold: 1}, args: [--never-ready, --term, '143']",
        "terminationGracePeriodSeconds: 5",
    ),
    pod(
        "end-liveness-137",
        Until::Ended("Killing"),
        "livenessProbe: {httpGet: {path: /live, port: 8080}, periodSeconds: 1, failureThreshold: 1}, args: [--never-ready, --deaf]",
        "terminationGracePeriodSeconds: 1",
    ),
    pod(
        "end-startup-143",
        Until::Ended("Killing"),
        "startupProbe: {tcpSocket: {port: 9999}, periodSeconds: 1, failureThreshold: 1}, args: [--sleep, --term, '143']",
        "terminationGracePeriodSeconds: 5",
    ),
    said("silent-egress", "args: [--connect, '{far}'], terminationMessagePolicy: FallbackToLogsOnError", ""),
    Cause {
        then: Then::Evict,
        ..pod("taken-evicted", Until::Disrupted, "args: [--deaf]", "terminationGracePeriodSeconds: 20")
    },
    Cause {
        then: Then::Preempt,
        ..pod(
            "taken-preempted",
            Until::Disrupted,
            "args: [--deaf], resources: {limits: {rollforward.dev/token: 1}}",
            "terminationGracePeriodSeconds: 20, priorityClassName: recorded-low",
        )
    },
    pod("refused-deadline", Until::Refused, "args: [--sleep]", "activeDeadlineSeconds: 1"),
    // The image.
    pull("pull-tag-missing", "image: '{registry}/recorded/web:gone'"),
    pull(
        "pull-digest-missing",
        "image: '{registry}/recorded/web@sha256:4290a1b24290a1b24290a1b24290a1b24290a1b24290a1b24290a1b24290a1b2'",
    ),
    pull("pull-manifest-unknown", "image: '{faulting}/404/web:1'"),
    pull("pull-403", "image: '{faulting}/403/web:1'"),
    pull("pull-token-401", "image: '{faulting}/401/web:1'"),
    pull("pull-no-secret", "image: '{guarded}/recorded/web:1'"),
    pod(
        "pull-secret-missing",
        Until::Waiting("ErrImagePull"),
        "image: '{guarded}/recorded/web:1'",
        "imagePullSecrets: [{name: nowhere}]",
    ),
    pod(
        "pull-secret-wrong",
        Until::Waiting("ErrImagePull"),
        "image: '{guarded}/recorded/web:1'",
        "imagePullSecrets: [{name: wrong}]",
    ),
    pull("pull-refused", "image: '{closed}/web:1'"),
    pull("pull-cut-off", "image: '{cut}/web:1'"),
    pull("pull-no-such-host", "image: '{nameless}/web:1'"),
    pull("pull-unknown-authority", "image: '{apiserver}/web:1'"),
    pull("pull-plain-http", "image: '{plain}/web:1'"),
    pull("pull-platform-index", "image: '{registry}/recorded/riscv:index'"),
    pod("pull-name", Until::Waiting("InvalidImageName"), "image: '{registry}/Recorded:1'", ""),
    pod(
        "pull-never",
        Until::Waiting("ErrImageNeverPull"),
        "image: '{registry}/recorded/unseen:1', imagePullPolicy: Never",
        "",
    ),
    pull("pull-diff-id", "image: '{registry}/recorded/diff-id:1'"),
    pull("pull-no-tar", "image: '{registry}/recorded/no-tar:1'"),
    pull("pull-no-gzip", "image: '{registry}/recorded/no-gzip:1'"),
    pull("pull-truncated", "image: '{registry}/recorded/truncated:1'"),
    pull("pull-layer-gone", "image: '{registry}/recorded/layer-gone:1'"),
    pull("pull-layer-changed", "image: '{registry}/recorded/layer-changed:1'"),
    pull("pull-layer-uncounted", "image: '{registry}/recorded/uncounted:1'"),
    pod("pull-artifact", CREATE, "image: '{registry}/recorded/artifact:1'", ""),
    // Creating and starting the container.
    pod("start-root", CONFIG, "securityContext: {runAsNonRoot: true}", ""),
    pod(
        "start-named-user",
        CONFIG,
        "image: '{registry}/recorded/named:1', securityContext: {runAsNonRoot: true}",
        "",
    ),
    pod("start-uid-0", CONFIG, "securityContext: {runAsNonRoot: true, runAsUser: 0}", ""),
    pod("start-user-unknown", CREATE, "image: '{registry}/recorded/named:1'", ""),
    pod("start-secret-missing", CONFIG, "envFrom: [{secretRef: {name: database}}]", ""),
    pod("start-configmap-missing", CONFIG, "envFrom: [{configMapRef: {name: database}}]", ""),
    pod(
        "start-secret-key",
        CONFIG,
        "env: [{name: A, valueFrom: {secretKeyRef: {name: settings, key: url}}}]",
        "",
    ),
    pod(
        "start-configmap-key",
        CONFIG,
        "env: [{name: A, valueFrom: {configMapKeyRef: {name: settings, key: url}}}]",
        "",
    ),
    pod("start-missing", Until::Waiting("RunContainerError"), "command: [/renamed]", ""),
    pod("start-not-in-path", Until::Crashed, "command: [serve]", ""),
    pod("start-not-executable", Until::Crashed, "command: [/VERSION]", ""),
    pod("start-directory", Until::Crashed, "command: [/etc]", ""),
    pod("start-working-directory", Until::Crashed, "workingDir: /VERSION", ""),
    said(
        "start-other-machine",
        "image: '{registry}/recorded/foreign:1', terminationMessagePolicy: FallbackToLogsOnError",
        "",
    ),
    pod("start-other-machine-silent", Until::Crashed, "image: '{registry}/recorded/foreign:1'", ""),
    pod(
        "start-hook",
        Until::Waiting("PostStartHookError"),
        "args: [--sleep], lifecycle: {postStart: {exec: {command: [/nope]}}}",
        "",
    ),
    pod(
        "start-mount",
        Until::Crashed,
        "volumeMounts: [{name: room, mountPath: /app}]",
        "volumes: [{name: room, emptyDir: {}}]",
    ),
    pod(
        "start-sub-path",
        CONFIG,
        "volumeMounts: [{name: settings, mountPath: /settings, subPath: level/more}]",
        "volumes: [{name: settings, configMap: {name: settings}}]",
    ),
    pod(
        "start-seccomp",
        CREATE,
        "securityContext: {seccompProfile: {type: Localhost, localhostProfile: missing.json}}",
        "",
    ),
    // A container that ended.
    pod("end-exit-1", Until::Crashed, "args: [--exit, '1']", ""),
    pod("end-exit-126", Until::Crashed, "args: [--exit, '126']", ""),
    pod("end-exit-127", Until::Crashed, "args: [--exit, '127']", ""),
    pod("end-exit-255", Until::Crashed, "args: [--exit, '255']", ""),
    pod("end-completed", Until::Crashed, "args: [--exit, '0']", ""),
    pod("end-segv", Until::Crashed, "args: [--signal, '11']", ""),
    pod("end-ill", Until::Crashed, "args: [--raise, '4']", "shareProcessNamespace: true"),
    pod("end-abrt", Until::Crashed, "args: [--raise, '6']", "shareProcessNamespace: true"),
    pod("end-bus", Until::Crashed, "args: [--raise, '7']", "shareProcessNamespace: true"),
    pod("end-fpe", Until::Crashed, "args: [--raise, '8']", "shareProcessNamespace: true"),
    pod("end-kill", Until::Crashed, "args: [--raise, '9']", "shareProcessNamespace: true"),
    pod(
        "end-kill-limited",
        Until::Crashed,
        "args: [--raise, '9'], resources: {limits: {memory: 64Mi}}",
        "shareProcessNamespace: true",
    ),
    pod("end-term", Until::Crashed, "args: [--raise, '15']", "shareProcessNamespace: true"),
    pod("end-memory", Until::Crashed, "args: [--alloc], resources: {limits: {memory: 16Mi}}", ""),
    pod(
        "end-seccomp-kill",
        Until::Crashed,
        "args: [--unshare], securityContext: {seccompProfile: {type: Localhost, localhostProfile: kill.json}}",
        "",
    ),
    pod(
        "end-init",
        Until::Crashed,
        "args: [--sleep]",
        "initContainers: [{name: migrate, image: '{registry}/recorded/web:1', args: [--exit, '3']}]",
    ),
    pod("end-beside", Until::Crashed, "name: proxy, args: [--exit, '1']", ""),
    // What a program wrote last, beside one security setting of its pod.
    said(
        "silent-read-only",
        "args: [--write, /cache], terminationMessagePolicy: FallbackToLogsOnError, securityContext: {readOnlyRootFilesystem: true}",
        "",
    ),
    said(
        "silent-capability",
        "args: [--chown, /VERSION], terminationMessagePolicy: FallbackToLogsOnError, securityContext: {capabilities: {drop: [ALL]}}",
        "",
    ),
    said(
        "silent-seccomp",
        "args: [--unshare], terminationMessagePolicy: FallbackToLogsOnError, securityContext: {seccompProfile: {type: RuntimeDefault}}",
        "",
    ),
    said(
        "silent-file",
        "args: [--write, /VERSION], terminationMessagePolicy: FallbackToLogsOnError, securityContext: {runAsUser: 1000}",
        "",
    ),
    // It runs and is not Ready.
    pod(
        "probe-503",
        Until::Told("Unhealthy", "503"),
        "args: [--never-ready], readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}",
        "",
    ),
    pod(
        "probe-404",
        Until::Told("Unhealthy", "404"),
        "args: [--ready-path, /healthz], readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}",
        "",
    ),
    pod(
        "probe-refused",
        Until::Told("Unhealthy", "refused"),
        "args: [--sleep], readinessProbe: {httpGet: {path: /ready, port: 9999}, periodSeconds: 1}",
        "",
    ),
    pod(
        "probe-command",
        Until::Told("Unhealthy", "Readiness probe failed"),
        "args: [--sleep], readinessProbe: {exec: {command: [/app, --exit, '3']}, periodSeconds: 1}",
        "",
    ),
    pod(
        "probe-errored",
        Until::Told("Unhealthy", "errored"),
        "args: [--sleep], readinessProbe: {exec: {command: [/nope]}, periodSeconds: 1}",
        "",
    ),
    pod(
        "probe-startup",
        Until::Told("Unhealthy", "Startup probe failed"),
        "args: [--never-ready], startupProbe: {httpGet: {path: /live, port: 8080}, periodSeconds: 1, failureThreshold: 60}",
        "",
    ),
    // What the kubelet does not start.
    pod(
        "refused-apparmor",
        Until::Refused,
        "securityContext: {appArmorProfile: {type: Localhost, localhostProfile: web}}",
        "",
    ),
    pod(
        "refused-sysctl",
        Until::Refused,
        "",
        "securityContext: {sysctls: [{name: net.core.somaxconn, value: '1024'}]}",
    ),
    pod("refused-cpu", Until::Refused, "resources: {requests: {cpu: 1000}}", "nodeName: node-a"),
    pod("refused-memory", Until::Refused, "resources: {requests: {memory: 1000Ti}}", "nodeName: node-a"),
    pod("refused-affinity", Until::Refused, "", "nodeName: node-a, nodeSelector: {disk: ssd}"),
    pod(
        "refused-port",
        Until::Refused,
        "ports: [{containerPort: 8080, hostPort: 18098}]",
        "nodeName: node-a",
    ),
    pod("refused-system", Until::Refused, "", "nodeName: node-a, os: {name: windows}"),
    // What no node takes.
    pod("sched-cpu", Until::Unscheduled, "resources: {requests: {cpu: 1000}}", ""),
    pod("sched-memory", Until::Unscheduled, "resources: {requests: {memory: 1000Ti}}", ""),
    pod("sched-device", Until::Unscheduled, "resources: {limits: {acme.io/gpu: 1}}", ""),
    pod(
        "sched-taint",
        Until::Unscheduled,
        "",
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [node-b]}]}]}}}",
    ),
    pod("sched-selector", Until::Unscheduled, "", "nodeSelector: {disk: ssd}"),
    pod(
        "sched-anti-affinity",
        Until::Unscheduled,
        "",
        "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: holder}}}]}}",
    ),
    pod(
        "sched-affinity",
        Until::Unscheduled,
        "",
        "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: nobody}}}]}}",
    ),
    pod(
        "sched-spread",
        Until::Unscheduled,
        "",
        "topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchExpressions: [{key: app, operator: In, values: [holder, sched-spread]}]}}]",
    ),
    pod("sched-port", Until::Unscheduled, "ports: [{containerPort: 8080, hostPort: 18099}]", ""),
    pod(
        "sched-claim-missing",
        Until::Unscheduled,
        "",
        "volumes: [{name: data, persistentVolumeClaim: {claimName: nowhere}}]",
    ),
    pod(
        "sched-claim-unbound",
        Until::Unscheduled,
        "",
        "volumes: [{name: data, persistentVolumeClaim: {claimName: unbound}}]",
    ),
    pod(
        "sched-claim-lost",
        Until::Unscheduled,
        "",
        "volumes: [{name: data, persistentVolumeClaim: {claimName: lost}}]",
    ),
    pod(
        "sched-volume-elsewhere",
        Until::Unscheduled,
        "",
        "volumes: [{name: data, persistentVolumeClaim: {claimName: elsewhere}}]",
    ),
    pod(
        "sched-claim-in-use",
        Until::Unscheduled,
        "",
        "volumes: [{name: data, persistentVolumeClaim: {claimName: held}}]",
    ),
    pod("sched-gate", Until::Unscheduled, "", "schedulingGates: [{name: rollforward.dev/wait}]"),
    // What stops a pod before its containers.
    pod(
        "mount-configmap",
        Until::Told("FailedMount", "not found"),
        "volumeMounts: [{name: room, mountPath: /room}]",
        "volumes: [{name: room, configMap: {name: nowhere}}]",
    ),
    pod(
        "mount-secret",
        Until::Told("FailedMount", "not found"),
        "volumeMounts: [{name: room, mountPath: /room}]",
        "volumes: [{name: room, secret: {secretName: nowhere}}]",
    ),
    pod(
        "mount-key",
        Until::Told("FailedMount", "non-existent"),
        "volumeMounts: [{name: room, mountPath: /room}]",
        "volumes: [{name: room, configMap: {name: settings, items: [{key: url, path: url}]}}]",
    ),
    pod(
        "mount-host",
        Until::Told("FailedMount", "hostPath"),
        "volumeMounts: [{name: room, mountPath: /room}]",
        "volumes: [{name: room, hostPath: {path: /nowhere, type: Directory}}]",
    ),
    pod(
        "mount-driver",
        Until::Told("FailedMount", "driver"),
        "volumeMounts: [{name: room, mountPath: /room}]",
        "volumes: [{name: room, csi: {driver: none.rollforward.dev}}]",
    ),
    pod("sandbox", Until::Told("FailedCreatePodSandBox", ""), "", "runtimeClassName: recorded-none"),
    pod(
        "sandbox-memory",
        Until::Told("FailedCreatePodSandBox", ""),
        "resources: {limits: {memory: 1Mi}}",
        "",
    ),
    // What cannot be created.
    denied(Kind::ReplicaSet, "create-security", "recorded-strict", "", ""),
    denied(Kind::ReplicaSet, "create-quota", "recorded-full", "", ""),
    denied(Kind::StatefulSet, "create-quota-set", "recorded-full", "", ""),
    denied(Kind::DaemonSet, "create-quota-daemon", "recorded-full", "", ""),
    denied(Kind::Job, "create-quota-job", "recorded-full", "", "restartPolicy: Never"),
    denied(Kind::ReplicaSet, "create-quota-asks", "recorded-asks", "", ""),
    denied(
        Kind::ReplicaSet,
        "create-limit-max",
        "recorded-limits",
        "resources: {limits: {memory: 128Mi, cpu: 100m}}",
        "",
    ),
    denied(Kind::ReplicaSet, "create-limit-min", "recorded-limits", "resources: {limits: {cpu: 50m}}", ""),
    denied(
        Kind::ReplicaSet,
        "create-limit-ratio",
        "recorded-limits",
        "resources: {limits: {cpu: 400m}, requests: {cpu: 100m}}",
        "",
    ),
    denied(Kind::ReplicaSet, "create-policy", "recorded", "", ""),
    denied(Kind::ReplicaSet, "create-policy-silent", "recorded", "", ""),
    denied(Kind::ReplicaSet, "create-webhook", "recorded", "", ""),
    denied(Kind::ReplicaSet, "create-webhook-silent", "recorded", "", ""),
    denied(Kind::ReplicaSet, "create-webhook-down", "recorded", "", ""),
    denied(Kind::ReplicaSet, "create-account", "recorded", "", "serviceAccountName: nobody"),
    denied(Kind::ReplicaSet, "create-priority", "recorded", "", "priorityClassName: none"),
    denied(Kind::ReplicaSet, "create-runtime", "recorded", "", "runtimeClassName: none"),
];

impl Cause {
    /// The object that is made; names in braces are replaced by addresses.
    pub(crate) fn object(&self, fill: &dyn Fn(&str) -> String) -> anyhow::Result<Value> {
        let labels = json!({"app": self.name});
        let spec = self.spec(fill)?;
        let template = json!({"metadata": {"labels": labels}, "spec": spec});
        let selector = json!({"matchLabels": labels});
        let (version, kind, spec) = match self.kind {
            Kind::Pod => ("v1", "Pod", spec),
            Kind::ReplicaSet => {
                ("apps/v1", "ReplicaSet", json!({"replicas": 1, "selector": selector, "template": template}))
            }
            Kind::StatefulSet => {
                let spec =
                    json!({"replicas": 1, "serviceName": "", "selector": selector, "template": template});
                ("apps/v1", "StatefulSet", spec)
            }
            Kind::DaemonSet => ("apps/v1", "DaemonSet", json!({"selector": selector, "template": template})),
            Kind::Job => ("batch/v1", "Job", json!({"template": template})),
        };
        let metadata = json!({"name": self.name, "namespace": self.namespace, "labels": labels});
        Ok(json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}))
    }

    fn spec(&self, fill: &dyn Fn(&str) -> String) -> anyhow::Result<Value> {
        let read = |text: &str| -> anyhow::Result<Value> {
            Ok(serde_saphyr::from_str(&format!("{{{}}}", fill(text)))?)
        };
        let image = fill("{registry}/recorded/web:1");
        let mut container = json!({"name": "app", "image": image});
        merge(&mut container, read(self.container)?);
        let mut containers = vec![container];
        // A container beside the judged one, which is always called app.
        if containers[0]["name"] != "app" {
            containers.insert(0, json!({"name": "app", "image": image, "args": ["--sleep"]}));
        }
        let mut spec = json!({
            "automountServiceAccountToken": false, "dnsPolicy": "Default", "terminationGracePeriodSeconds": 1, "containers": containers,
        });
        merge(&mut spec, read(self.spec)?);
        Ok(spec)
    }
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}
