{{/* The picker or the body-based router: its values, which have one shape. */}}
{{- define "igw.values" -}}
{{- toYaml (ternary .Values.bbr .Values.inferenceExtension (eq .Values.mode "bbr")) }}
{{- end }}

{{/* What its objects are called. */}}
{{- define "igw.name" -}}
{{- if eq .Values.mode "bbr" }}{{ .Values.bbr.name }}{{ else }}{{ .Release.Name }}-epp{{ end }}
{{- end }}

{{- define "igw.selector" -}}
app.kubernetes.io/name: igw
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: {{ ternary "bbr" "epp" (eq .Values.mode "bbr") }}
{{- end }}

{{- define "igw.metadata" -}}
name: {{ include "igw.name" . | quote }}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "igw.selector" . | nindent 2 }}
  app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* The name of the pool's objects. */}}
{{- define "igw.poolMetadata" -}}
name: {{ .Release.Name | quote }}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "igw.selector" . | nindent 2 }}
{{- end }}

{{/* Target ports as a list of numbers. */}}
{{- define "igw.targetPorts" -}}
{{- $ports := list }}
{{- range .Values.inferencePool.targetPorts }}
{{- $ports = append $ports (int (ternary (get (ternary . dict (kindIs "map" .)) "number") . (kindIs "map" .))) }}
{{- end }}
{{- join "," $ports }}
{{- end }}

{{/* Whether there is an InferencePool: "true" or nothing. */}}
{{- define "igw.pool" -}}
{{- if or (eq .Values.mode "inferencepool") (and (eq .Values.mode "standalone") .Values.inferenceExtension.endpointsServer.createInferencePool) }}true{{ end }}
{{- end }}

{{- define "igw.poolLabels" -}}
{{- if not .Values.inferencePool.modelServers.matchLabels }}
{{- fail "inferencePool.modelServers.matchLabels says which Pods the pool has, such as `--set inferencePool.modelServers.matchLabels.app=llama`" }}
{{- end }}
{{- toYaml .Values.inferencePool.modelServers.matchLabels }}
{{- end }}

{{/* The ports of the gRPC service, of health. */}}
{{- define "igw.ports" -}}
{{- if eq .Values.mode "bbr" -}}
{grpc: 9004, health: 9005, service: {{ .Values.bbr.port }}}
{{- else -}}
{grpc: 9002, health: 9003, service: {{ .Values.inferenceExtension.extProcPort }}}
{{- end }}
{{- end }}

{{/* The Secret with the certificate of the gRPC port. Envoy in the same Pod needs none. */}}
{{- define "igw.certificate" -}}
{{- if ne .Values.mode "standalone" }}{{ (include "igw.values" . | fromYaml).certSecretName }}{{ end }}
{{- end }}

{{/* Whether there may be several replicas for long: "true" or nothing. */}}
{{- define "igw.several" -}}
{{- if or .Values.autoscaling.enabled (gt (int (include "igw.values" . | fromYaml).replicas) 1) }}true{{ end }}
{{- end }}

{{/* Whether the picker's metrics port asks the cluster who may read it: "true" or nothing. The body-based router has no access to ask. */}}
{{- define "igw.metricsAuth" -}}
{{- if and (ne .Values.mode "bbr") .Values.inferenceExtension.monitoring.prometheus.auth.enabled }}true{{ end }}
{{- end }}

{{/* The Secret with the token that monitoring shows. */}}
{{- define "igw.metricsSecret" -}}
{{- .Values.inferenceExtension.monitoring.prometheus.auth.secretName | default (printf "%s-metrics-reader" (include "igw.name" .)) }}
{{- end }}
