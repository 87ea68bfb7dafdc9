{{/* The pod, the same in a Deployment and in a StatefulSet. */}}
{{- define "llm-gateway.pod" -}}
metadata:
  labels:
    {{- include "llm-gateway.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if or .Values.rolloutOnConfigChange .Values.podAnnotations }}
  annotations:
    {{- if .Values.rolloutOnConfigChange }}
    checksum/config: {{ include "llm-gateway.config" . | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
spec:
  serviceAccountName: {{ include "llm-gateway.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ include "llm-gateway.graceSeconds" . }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  {{- if and .Values.database.enabled (eq .Values.database.migrations "initContainer") }}
  initContainers:
    - name: migrate
      image: {{ include "llm-gateway.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: ["migrate", "--config", "/config/gateway.yaml"]
      {{- include "llm-gateway.environment" (dict "root" . "urlSecret" .Values.database.migrationSecret) | nindent 6 }}
      {{- include "llm-gateway.confined" . | nindent 6 }}
      resources:
        requests: { cpu: 100m, memory: 64Mi }
        limits: { memory: 256Mi }
      {{- include "llm-gateway.mounts" . | nindent 6 }}
  {{- end }}
  containers:
    - name: gateway
      image: {{ include "llm-gateway.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: ["serve", "--config", "/config/gateway.yaml"]
      {{- include "llm-gateway.environment" (dict "root" . "urlSecret" "" "serves" true) | nindent 6 }}
      {{- include "llm-gateway.confined" . | nindent 6 }}
      ports:
        - { name: api, containerPort: {{ include "llm-gateway.port" .Values.config.server.listen }}, protocol: TCP }
        - { name: ops, containerPort: {{ include "llm-gateway.port" .Values.config.ops.listen }}, protocol: TCP }
      # On the ops listener: a full public one must not look like a dead process.
      startupProbe:
        httpGet: { path: /health/ready, port: ops }
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: { path: /health/live, port: ops }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      readinessProbe:
        httpGet: { path: /health/ready, port: ops }
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      {{- if .Values.preStopSleepSeconds }}
      lifecycle:
        preStop:
          sleep: { seconds: {{ .Values.preStopSleepSeconds }} }
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      {{- include "llm-gateway.mounts" . | nindent 6 }}
  volumes:
    - name: config
      configMap: { name: {{ include "llm-gateway.fullname" . }} }
    - name: tmp
      emptyDir: { sizeLimit: 64Mi }
    {{- if not .Values.persistence.enabled }}
    - name: data
      emptyDir: { sizeLimit: {{ .Values.ephemeralVolume.size }} }
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  topologySpreadConstraints:
    {{- if .Values.topologySpreadConstraints }}
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "llm-gateway.selectorLabels" $ | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Every entry of the Secret is a variable; a migration may have a URL of its own. */}}
{{- define "llm-gateway.environment" -}}
{{- $values := .root.Values -}}
envFrom:
  - secretRef: { name: {{ $values.secrets.existingSecret }} }
{{- $workers := and .serves (not (hasKey $values.config.server "workers")) }}
{{- if or $workers .urlSecret $values.extraEnv }}
env:
  {{- if $workers }}
  # Without a limit the process would count the processors of the node.
  - name: LLM_GATEWAY__SERVER__WORKERS
    valueFrom: { resourceFieldRef: { containerName: gateway, resource: requests.cpu, divisor: "1" } }
  {{- end }}
  {{- with .urlSecret }}
  - name: {{ $values.database.urlKey }}
    valueFrom: { secretKeyRef: { name: {{ . }}, key: {{ $values.database.urlKey }} } }
  {{- end }}
  {{- with $values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "llm-gateway.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: { drop: [ALL] }
  seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "llm-gateway.mounts" -}}
volumeMounts:
  - { name: config, mountPath: /config, readOnly: true }
  - { name: data, mountPath: /data }
  - { name: tmp, mountPath: /tmp }
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
