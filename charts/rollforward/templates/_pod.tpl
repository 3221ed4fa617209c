{{- /* The pod of the operator, and of the Job that restores before an uninstall: root, arguments, serve. */}}
{{- define "rollforward.pod" -}}
{{- $root := .root -}}
serviceAccountName: {{ $root.Release.Name }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets: {{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
containers:
- name: rollforward
  image: {{ include "rollforward.image" $root | quote }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  args: {{ toJson .arguments }}
  {{- with $root.Values.extraEnv }}
  env: {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- if .serve }}
  ports: [{name: http, containerPort: 8080}]
  livenessProbe: {httpGet: {path: /health, port: http}, periodSeconds: 10}
  readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 2}
  {{- end }}
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
  resources: {{- toYaml $root.Values.resources | nindent 4 }}
  volumeMounts:
  - {name: config, mountPath: /etc/rollforward, readOnly: true}
  {{- with $root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
- {name: config, configMap: {name: {{ $root.Release.Name }}}}
{{- with $root.Values.extraVolumes }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with $root.Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
