{{- define "llm-gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "llm-gateway.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "llm-gateway.labels" -}}
{{ include "llm-gateway.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "llm-gateway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "llm-gateway.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "llm-gateway.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The port of a `host:port`. */}}
{{- define "llm-gateway.port" -}}
{{- $port := regexFind "[0-9]+$" . -}}
{{- if or (eq $port "") (eq $port "0") -}}
{{- fail (printf "config: listen: %q names no port that a Service could send to" .) -}}
{{- end -}}
{{- $port -}}
{{- end -}}

{{/* A duration of the configuration in whole seconds, rounded up. */}}
{{- define "llm-gateway.seconds" -}}
{{- if not (regexMatch "^[0-9]+(ms|s|m|h)$" .) -}}
{{- fail (printf "config: %q is not a duration such as 500ms, 30s, 5m or 2h" .) -}}
{{- end -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- if hasSuffix "ms" . -}}{{- div (add $number 999) 1000 -}}
{{- else if hasSuffix "s" . -}}{{- $number -}}
{{- else if hasSuffix "m" . -}}{{- mul $number 60 -}}
{{- else -}}{{- mul $number 3600 -}}{{- end -}}
{{- end -}}

{{/* What the end of a process may take: drain_delay, drain_timeout, half a second for those that are cut, ten to settle. */}}
{{- define "llm-gateway.graceSeconds" -}}
{{- $server := .Values.config.server -}}
{{- $delay := include "llm-gateway.seconds" (default "3s" $server.drain_delay) | int64 -}}
{{- $timeout := include "llm-gateway.seconds" (default "30s" $server.drain_timeout) | int64 -}}
{{- $needed := add .Values.preStopSleepSeconds $delay $timeout 15 -}}
{{- $given := .Values.terminationGracePeriodSeconds -}}
{{- if and (not (kindIs "invalid" $given)) (lt (int64 $given) $needed) -}}
{{- fail (printf "terminationGracePeriodSeconds: %d is less than the drain may take (%d): calls would be cut and receipts left to the next start" (int64 $given) $needed) -}}
{{- end -}}
{{- if kindIs "invalid" $given -}}{{- $needed -}}{{- else -}}{{- int64 $given -}}{{- end -}}
{{- end -}}

{{/* The configuration file: the values, and what the sections of the chart add. */}}
{{- define "llm-gateway.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- range $path := list "admin_key" "data_dir" -}}
{{- if hasKey $config $path -}}{{- fail (printf "config.%s: the chart sets it; see secrets and persistence" $path) -}}{{- end -}}
{{- end -}}
{{- range $section := list "database" "redis" -}}
{{- if hasKey (default dict (get $config $section)) "url" -}}
{{- fail (printf "config.%s.url: put it into the Secret and set %s.enabled" $section $section) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $config "data_dir" "/data" -}}
{{- if .Values.secrets.adminKey -}}
{{- $_ := set $config "admin_key" (printf "env:%s" .Values.secrets.adminKey) -}}
{{- end -}}
{{- if .Values.database.enabled -}}
{{- $database := set (default dict $config.database) "url" (printf "env:%s" .Values.database.urlKey) -}}
{{- if ne .Values.database.migrations "start" -}}{{- $_ := set $database "migrate" false -}}{{- end -}}
{{- $_ := set $config "database" $database -}}
{{- end -}}
{{- if .Values.redis.enabled -}}
{{- $_ := set $config "redis" (set (default dict $config.redis) "url" (printf "env:%s" .Values.redis.urlKey)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* What would lose or split data is refused here, and not found out in production. */}}
{{- define "llm-gateway.checks" -}}
{{- $many := or (gt (int .Values.replicaCount) 1) (ne .Values.autoscaling.kind "none") -}}
{{- if and $many (not .Values.database.enabled) -}}
{{- fail "database.enabled: more than one replica needs PostgreSQL; with SQLite each would have keys and a ledger of its own" -}}
{{- end -}}
{{- if and (not .Values.persistence.enabled) (not .Values.database.enabled) -}}
{{- fail "persistence.enabled: without PostgreSQL, keys and ledger are in SQLite, which must be on a volume that lasts" -}}
{{- end -}}
{{- if and (ne .Values.autoscaling.kind "none") (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling: minReplicas is greater than maxReplicas" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.host: name the host" -}}
{{- end -}}
{{- end -}}
