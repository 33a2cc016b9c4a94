{{- define "paas.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "paas.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "paas.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "paas.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* The role is the cluster's, and releases of one name may be in several namespaces. */}}
{{- define "paas.clusterName" -}}
{{- if eq .Release.Namespace (include "paas.fullname" .) }}
{{- include "paas.fullname" . }}
{{- else }}
{{- printf "%s-%s" .Release.Namespace (include "paas.fullname" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "paas.selector" -}}
app.kubernetes.io/name: {{ include "paas.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "paas.labels" -}}
{{ include "paas.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "paas.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "paas.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: name the account that exists, or set serviceAccount.create" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "paas.secret" -}}
{{- default (include "paas.fullname" .) .Values.secret.name }}
{{- end }}

{{- define "paas.clusterOptions" -}}
{{ toYaml .Values.cluster.options }}
{{- end }}
