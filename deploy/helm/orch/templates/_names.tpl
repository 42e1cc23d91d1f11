{{- define "orch.name" -}}
{{- printf "%s" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "orch.labels" -}}
app.kubernetes.io/name: orch
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "orch.selector" -}}
app.kubernetes.io/name: orch
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
