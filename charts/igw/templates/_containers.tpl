{{/* Nothing that a container may do but run. */}}
{{- define "igw.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The container of the picker or the body-based router. */}}
{{- define "igw.container" -}}
{{- $own := include "igw.values" . | fromYaml }}
{{- $ports := include "igw.ports" . | fromYaml }}
{{- $certificate := include "igw.certificate" . }}
name: {{ ternary "bbr" "epp" (eq .Values.mode "bbr") }}
image: {{ with $own.image.registry }}{{ . }}/{{ end }}{{ $own.image.repository }}:{{ $own.image.tag | default .Chart.AppVersion }}
imagePullPolicy: {{ $own.image.pullPolicy }}
args:
{{- if eq .Values.mode "bbr" }}
- bbr
{{- if $own.adapters }}
- --file=/adapters
{{- end }}
{{- range $own.plugins }}
- {{ printf "--plugin=%s:%s%s" .type .name (ternary (printf ":%s" (.json | default "")) "" (not (empty .json))) | quote }}
{{- end }}
{{- else }}
- epp
{{- if include "igw.pool" . }}
- --pool-name={{ .Release.Name }}
{{- else }}
- {{ printf "--endpoint-selector=%s" (required "inferenceExtension.endpointsServer.endpointSelector says which Pods are served without an InferencePool" .Values.inferenceExtension.endpointsServer.endpointSelector) | quote }}
- --endpoint-target-ports={{ include "igw.targetPorts" . }}
{{- end }}
- --pool-namespace=$(NAMESPACE)
{{- if include "igw.several" . }}
- --ha-enable-leader-election
{{- end }}
{{- if $own.pluginsCustomConfig }}
- --config-file=/config/{{ $own.pluginsConfigFile }}
{{- end }}
- --model-server-metrics-scheme={{ $own.metricsDataSource.scheme }}
- --model-server-metrics-path={{ $own.metricsDataSource.path }}
{{- if $own.metricsDataSource.insecureSkipVerify }}
- --model-server-metrics-https-insecure-skip-verify
{{- end }}
- --metrics-endpoint-auth={{ not (empty (include "igw.metricsAuth" .)) }}
{{- end }}
- --secure-serving={{ and $own.secureServing (ne .Values.mode "standalone") }}
{{- if $certificate }}
- --cert-path=/certificate
{{- end }}
- --bind-address={{ .Values.bindAddress }}
- --grpc-port={{ $ports.grpc }}
- --grpc-health-port={{ $ports.health }}
- --metrics-port=9090
- --shutdown-delay={{ ternary "0s" "5s" (eq .Values.mode "standalone") }}
- --drain-timeout={{ $own.drainSeconds }}s
{{- range $flag, $value := $own.flags }}
- {{ printf "--%s=%v" $flag $value | quote }}
{{- end }}
env:
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- with $own.env }}
{{ toYaml . }}
{{- end }}
ports:
- {name: grpc, containerPort: {{ $ports.grpc }}}
- {name: grpc-health, containerPort: {{ $ports.health }}}
- {name: metrics, containerPort: 9090}
{{- with $own.extraContainerPorts }}
{{ toYaml . }}
{{- end }}
startupProbe:
  grpc: {port: {{ $ports.health }}, service: liveness}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  grpc: {port: {{ $ports.health }}, service: liveness}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  grpc: {port: {{ $ports.health }}, service: readiness}
  periodSeconds: 2
resources:
  {{- toYaml $own.resources | nindent 2 }}
securityContext:
  {{- include "igw.securityContext" . | nindent 2 }}
{{- $mounts := list }}
{{- if and (eq .Values.mode "bbr") $own.adapters }}{{ $mounts = append $mounts (dict "name" "adapters" "mountPath" "/adapters" "readOnly" true) }}{{ end }}
{{- if $own.pluginsCustomConfig }}{{ $mounts = append $mounts (dict "name" "config" "mountPath" "/config" "readOnly" true) }}{{ end }}
{{- if $certificate }}{{ $mounts = append $mounts (dict "name" "certificate" "mountPath" "/certificate" "readOnly" true) }}{{ end }}
{{- with concat $mounts ($own.volumeMounts | default list) }}
volumeMounts:
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The Envoy of a standalone picker. It goes on while the Pod leaves its Service, and answers end in it. */}}
{{- define "igw.proxy" -}}
name: envoy
image: {{ .Values.proxy.image }}
imagePullPolicy: IfNotPresent
args: [--config-path, /etc/envoy/envoy.yaml, --log-level, {{ .Values.proxy.logLevel }}, --concurrency, {{ .Values.proxy.concurrency | quote }}, --disable-hot-restart]
ports:
- {name: http, containerPort: {{ .Values.proxy.port }}}
readinessProbe:
  httpGet: {path: /ready, port: 19001}
  periodSeconds: 2
lifecycle:
  preStop: {sleep: {seconds: {{ .Values.inferenceExtension.drainSeconds }}}}
resources:
  {{- toYaml .Values.proxy.resources | nindent 2 }}
securityContext:
  {{- include "igw.securityContext" . | nindent 2 }}
volumeMounts:
- {name: envoy, mountPath: /etc/envoy, readOnly: true}
{{- end }}
