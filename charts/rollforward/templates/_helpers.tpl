{{- define "rollforward.labels" -}}
app.kubernetes.io/name: rollforward
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- define "rollforward.selector" -}}
app.kubernetes.io/name: rollforward
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "rollforward.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}
{{- /* What the operator may do in a namespace that it watches. Each rule names the function that needs it. */}}
{{- define "rollforward.rules" -}}
# cli/run.rs watches the policies; kubernetes/store.rs sets their finalizer and clears a release that was carried out.
- apiGroups: [rollforward.dev]
  resources: [updatepolicies]
  verbs: [get, list, watch, patch]
# kubernetes/store.rs: create_run records a run, delete_run prunes old ones, finalizer holds an open one.
- apiGroups: [rollforward.dev]
  resources: [updateruns]
  verbs: [get, list, watch, create, patch, delete]
# kubernetes/store.rs: ledger, store_ledger.
- apiGroups: [rollforward.dev]
  resources: [imageledgers]
  verbs: [get, create, patch]
# cli/run.rs watches what the namespace trusts; nothing of it is written but how it stands.
- apiGroups: [rollforward.dev]
  resources: [verificationpolicies, trustroots, verificationexceptions]
  verbs: [get, list, watch]
# kubernetes/trust.rs: policy_status says whether a VerificationPolicy can be used, root_status how long a trust root lasts.
- apiGroups: [rollforward.dev]
  resources: [verificationpolicies/status, trustroots/status]
  verbs: [patch]
# kubernetes/trust.rs: config_map reads the keys and roots that a VerificationPolicy or TrustRoot names there; kubernetes/named.rs
# asks whether they changed. By name: no list, no watch.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
# kubernetes/store.rs: policy_status, run_status, store_ledger.
- apiGroups: [rollforward.dev]
  resources: [updatepolicies/status, updateruns/status, imageledgers/status]
  verbs: [patch]
# An owner reference that may block deletion needs the owner's finalizers where that admission plugin is on.
- apiGroups: [rollforward.dev]
  resources: [updatepolicies/finalizers]
  verbs: [update]
# kubernetes/workloads.rs reads workloads, cli/run.rs watches them, kubernetes/patch.rs is the only write to a workload.
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets]
  verbs: [get, list, watch, patch]
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [get, list, watch, patch]
# kubernetes/delegates.rs finds who rolls a workload out and reads the verdict, cli/run.rs watches it; where the kinds are not
# served nothing is asked. kubernetes/patch.rs sets the image of a Rollout; a Canary is never written.
- apiGroups: [argoproj.io]
  resources: [rollouts]
  verbs: [get, list, watch, patch]
- apiGroups: [flagger.app]
  resources: [canaries]
  verbs: [get, list, watch]
# kubernetes/kinds.rs: runs counts how a CronJob's Jobs ended; kubernetes/patch.rs: run_errand ends one that cannot start.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, patch]
# kubernetes/workloads.rs and kinds.rs tell the new pods from the old ones by the templates that they were made from.
- apiGroups: [apps]
  resources: [replicasets, controllerrevisions]
  verbs: [list]
# kubernetes/workloads.rs: pods_by; kubernetes/pod_watch.rs: the pods of open runs. No exec; logs only where `podLogs` is set.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- if .Values.rights.deletePods }}
# kubernetes/patch.rs: run_errand deletes a StatefulSet's broken pod where `rollout.rollback.deleteBrokenPods` says so.
- apiGroups: [""]
  resources: [pods]
  verbs: [delete]
{{- end }}
# kubernetes/preflight.rs: room asks before the first write whether an extra pod finds room in the quotas.
- apiGroups: [""]
  resources: [resourcequotas]
  verbs: [list]
# kubernetes/preflight.rs: room asks whether a second pod may mount the claims.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
{{- if .Values.podLogs }}
# kubernetes/logs.rs: tail, the last words of a crashed program. Opt-in.
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
{{- end }}
{{- if .Values.networkPolicies }}
# kubernetes/logs.rs: egress_policies names what seems to have stopped a program from calling out. Opt-in.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list]
{{- end }}
# kubernetes/workloads.rs: warnings, the probe's and the mount's own words.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
# kubernetes/secrets.rs: of_workload finds the names of pull secrets; the Secrets themselves are granted by name.
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get]
# kubernetes/events.rs.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
