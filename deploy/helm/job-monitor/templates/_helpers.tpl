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

{{/* The labels of an object: a dict of "root" and its own "labels". The chart's own come first. */}}
{{- define "job-monitor.labelled" -}}
{{- $ours := include "job-monitor.labels" .root | fromYaml -}}
{{- merge $ours (.labels | default dict | deepCopy) (deepCopy .root.Values.commonLabels) | toYaml -}}
{{- end -}}

{{/* The metadata of an object: a dict of "root", and perhaps "suffix", "namespace" and its values, "own". */}}
{{- define "job-monitor.meta" -}}
{{- $own := .own | default dict -}}
name: {{ include "job-monitor.fullname" .root }}{{ .suffix }}
namespace: {{ $own.namespace | default .root.Release.Namespace }}
labels: {{- include "job-monitor.labelled" (dict "root" .root "labels" $own.labels) | nindent 2 }}
{{- with $own.annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
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

{{/* "yes" where OpenShift chooses the ids of the user and its groups. */}}
{{- define "job-monitor.openshift" -}}
{{- $there := .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- if or (eq .Values.openshift "always") (and (eq .Values.openshift "auto") $there) -}}yes{{- end -}}
{{- end -}}

{{- define "job-monitor.podSecurity" -}}
{{- $context := .Values.podSecurityContext -}}
{{- if include "job-monitor.openshift" . -}}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{/* The parts of externalUrl: "host" without the port, and "path", which begins with a slash. */}}
{{- define "job-monitor.external" -}}
{{- $url := urlParse .Values.externalUrl -}}
host: {{ $url.hostname | quote }}
path: {{ printf "/%s" (trimAll "/" $url.path) | quote }}
{{- end -}}

{{/* Where the runbook is, without the anchor of an alert; empty: where its file says. */}}
{{- define "job-monitor.runbookUrl" -}}
{{- if .Values.runbookUrl -}}
{{- trimSuffix "#" .Values.runbookUrl -}}
{{- else if .Values.docsUrl -}}
{{- trimSuffix "/" .Values.docsUrl }}/runbook.md
{{- end -}}
{{- end -}}

{{/* A dashboard, "text", whose links lead to the addresses among the values of "root". */}}
{{- define "job-monitor.dashboard" -}}
{{- $text := .text -}}
{{- $docs := trimSuffix "/" .root.Values.docsUrl -}}
{{- $page := trimSuffix "/" .root.Values.externalUrl -}}
{{- $ours := dict "docs" $docs "runbook" (include "job-monitor.runbookUrl" .root) "page" $page -}}
{{- range (fromJson $text).templating.list -}}
{{- $address := get $ours .name -}}
{{- if and (eq .type "constant") $address -}}
{{- $text = replace (printf "\"query\": %s" (toJson .query)) (printf "\"query\": %s" (toJson $address)) $text -}}
{{- end -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{/* What the NetworkPolicy keeps from the pod, in words: a list in YAML. */}}
{{- define "job-monitor.shutOut" -}}
{{- with .Values.networkPolicy -}}
{{- if and .enabled (not .ingressNamespaces) (not .extraIngress) -}}
{{- if $.Values.serviceMonitor.enabled }}
- Prometheus, which scrapes the ServiceMonitor
{{- end }}
{{- if $.Values.ingress.enabled }}
- the controller of the Ingress
{{- end }}
{{- if $.Values.httpRoute.enabled }}
- the Gateway of the HTTPRoute
{{- end }}
{{- if ne $.Values.service.type "ClusterIP" }}
- clients of the {{ $.Values.service.type }} Service
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the daemon reads from its environment besides its files. */}}
{{- define "job-monitor.settings" -}}
- name: JOB_MONITOR_SERVER__LISTEN
  value: "{{ .Values.listenAddress }}:9847"
{{- with .Values.externalUrl }}
- name: JOB_MONITOR_SERVER__EXTERNAL_URL
  value: {{ . | quote }}
{{- end }}
{{- if .Values.jobTypes }}
- name: JOB_MONITOR_JOB_TYPES_DIR
  value: {{ include "job-monitor.typesDirectory" . }}
{{- end }}
{{- with .Values.store.postgresql }}
{{- $url := include "job-monitor.storeUrl" $ }}
{{- if and .existingSecret (not $url) }}
- name: JOB_MONITOR_STORE__URL
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret }}, key: {{ .urlKey }}}
{{- else if or .url .existingSecret }}
- name: JOB_MONITOR_STORE__URL
  value: {{ $url | quote }}
{{- with .existingSecret }}
- name: JOB_MONITOR_STORE__PASSWORD_FILE
  value: /run/secrets/{{ . }}/{{ $.Values.store.postgresql.passwordKey }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The URL of PostgreSQL as far as the values have it. */}}
{{- define "job-monitor.storeUrl" -}}
{{- $written := .Values.config.store | default "" -}}
{{- if kindIs "map" $written }}{{ $written = dig "url" "" $written }}{{ end -}}
{{- if .Values.store.postgresql.url -}}
{{- .Values.store.postgresql.url -}}
{{- else if and (hasPrefix "postgres" $written) (not .Values.existingConfigMap) -}}
{{- $written -}}
{{- end -}}
{{- end -}}

{{/* "yes" with a store in PostgreSQL, which several pods share. */}}
{{- define "job-monitor.postgresql" -}}
{{- if or (include "job-monitor.storeUrl" .) .Values.store.postgresql.existingSecret -}}yes{{- end -}}
{{- end -}}

{{/* "yes" where more than one pod may run. */}}
{{- define "job-monitor.several" -}}
{{- if and (include "job-monitor.postgresql" .) (or .Values.autoscaling.enabled (gt (int .Values.replicas) 1)) -}}yes{{- end -}}
{{- end -}}

{{/* The configuration as the ConfigMap has it: the store of the values wins over its own. */}}
{{- define "job-monitor.config" -}}
{{- $config := .Values.config -}}
{{- if and (include "job-monitor.postgresql" .) (kindIs "string" $config.store) (not (hasPrefix "postgres" $config.store)) -}}
{{- $config = omit $config "store" -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* The ports of PostgreSQL, as a list in YAML: those of the URL, else its usual one. */}}
{{- define "job-monitor.databasePorts" -}}
{{- $url := include "job-monitor.storeUrl" . -}}
{{- $hosts := regexReplaceAll "^[a-z]+://([^@/]*@)?([^/?]*).*$" $url "${2}" -}}
{{- $named := regexFindAll ":[0-9]+(,|$)" $hosts -1 -}}
{{- $asked := regexReplaceAll "^.*[?&]port=([0-9,]+).*$|^.*$" $url "${1}" -}}
{{- range concat $named (splitList "," $asked) (ternary list (list "5432") (or (gt (len $named) 0) (ne $asked ""))) | uniq -}}
{{- with trimAll ":," . }}
- {{ . }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The Secrets to mount, that of PostgreSQL among them: a list in YAML. */}}
{{- define "job-monitor.secrets" -}}
{{- $secrets := .Values.secrets -}}
{{- with .Values.store.postgresql.existingSecret -}}
{{- $known := false -}}
{{- range $secrets }}{{ $known = or $known (eq .name $.Values.store.postgresql.existingSecret) }}{{ end -}}
{{- if and (include "job-monitor.storeUrl" $) (not $known) -}}
{{- $secrets = append $secrets (dict "name" .) -}}
{{- end -}}
{{- end -}}
{{- toYaml $secrets -}}
{{- end -}}

{{/* Whether the state is in a volume that is "claimed", or "none" is. */}}
{{- define "job-monitor.volume" -}}
{{- if include "job-monitor.postgresql" . -}}
none
{{- else -}}
{{- ternary "none" "claimed" (eq (toString .Values.persistence.enabled) "false") -}}
{{- end -}}
{{- end -}}

{{/* How pods are spread: by the values, else several of them over the nodes. A list in YAML. */}}
{{- define "job-monitor.spread" -}}
{{- if .Values.topologySpreadConstraints -}}
{{- toYaml .Values.topologySpreadConstraints -}}
{{- else if include "job-monitor.several" . -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  # Each version by itself, or the old pods would count while they are replaced.
  matchLabelKeys: [pod-template-hash]
{{- end -}}
{{- end -}}

{{- define "job-monitor.typesDirectory" -}}/etc/job-monitor-types{{- end -}}
{{- define "job-monitor.templatesDirectory" -}}/etc/job-monitor-templates{{- end -}}

{{/* The ConfigMaps of files besides the configuration: a list of "name", "files" and "path". */}}
{{- define "job-monitor.folders" -}}
{{- if .Values.jobTypes }}
- name: job-types
  path: {{ include "job-monitor.typesDirectory" . }}
  suffix: .yaml
  files: {{- toYaml .Values.jobTypes | nindent 4 }}
{{- end }}
{{- if .Values.templates }}
- name: templates
  path: {{ include "job-monitor.templatesDirectory" . }}
  suffix: ""
  files: {{- toYaml .Values.templates | nindent 4 }}
{{- end }}
{{- end -}}

{{/* Refuse values that do not fit each other, where a schema has no words for it; each message says what to write. */}}
{{- define "job-monitor.validated" -}}
{{- if regexMatch "^[a-z]+://[^@/]*:[^@/]*@" .Values.store.postgresql.url -}}
{{- fail "store.postgresql.url has a password: leave it out, and name a Secret with it in store.postgresql.existingSecret" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail (printf "autoscaling.minReplicas is %d: write at most autoscaling.maxReplicas, %d" (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and .Values.jobTypes .Values.config.job_types_dir -}}
{{- fail "jobTypes and config.job_types_dir are both set: leave out config.job_types_dir, which jobTypes sets" -}}
{{- end -}}
{{- $folder := printf "%s/" (include "job-monitor.templatesDirectory" .) -}}
{{- range $name, $sink := .Values.config.sinks -}}
{{- $file := dig "template" "" (default (dict) $sink) | toString -}}
{{- if and (hasPrefix $folder $file) (not (hasKey $.Values.templates (trimPrefix $folder $file))) -}}
{{- fail (printf "config.sinks.%s.template is %s: add %q to templates" $name $file (trimPrefix $folder $file)) -}}
{{- end -}}
{{- end -}}
{{- range $kind, $way := dict "ingress" .Values.ingress "httpRoute" .Values.httpRoute -}}
{{- $named := or $way.hosts $way.hostnames -}}
{{- if and $way.enabled (not $named) (not $.Values.externalUrl) -}}
{{- fail (printf "%s.enabled needs a host: set externalUrl, or %s.%s" $kind $kind (ternary "hosts" "hostnames" (eq $kind "ingress"))) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs: name your Gateway, as [{name: GATEWAY, namespace: NAMESPACE}]" -}}
{{- end -}}
{{- end -}}

{{- define "job-monitor.excuses" -}}
{{- if not .Values.image.digest }}
checkov.io/skip1: CKV_K8S_43=The digest is that of the registry you keep it in
{{- end }}
{{- if ne .Values.image.pullPolicy "Always" }}
checkov.io/skip2: CKV_K8S_15=A tag is one version; a restart needs no registry
{{- end }}
{{- if and .Values.store.postgresql.existingSecret (not (include "job-monitor.storeUrl" .)) }}
checkov.io/skip7: CKV_K8S_35=The URL is in a Secret; with store.postgresql.url its password is a file
{{- end }}
{{- if include "job-monitor.openshift" . }}
checkov.io/skip6: CKV_K8S_40=OpenShift gives the pod a high id of its namespace
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
