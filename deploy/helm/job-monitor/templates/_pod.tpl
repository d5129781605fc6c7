{{/* The template of the pod: metadata and spec. */}}
{{- define "job-monitor.pod" -}}
metadata:
  labels:
    {{- include "job-monitor.selector" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "job-monitor.account" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext: {{- include "job-monitor.podSecurity" . | nindent 4 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with include "job-monitor.spread" . | fromYamlArray }}
  topologySpreadConstraints:
    {{- range . }}
    {{- $selector := dict "matchLabels" (include "job-monitor.selector" $ | fromYaml) }}
    - {{- merge (deepCopy .) (hasKey . "labelSelector" | ternary dict (dict "labelSelector" $selector)) | toYaml | nindent 6 }}
    {{- end }}
  {{- end }}
  containers:
    - name: job-monitor
      image: {{ include "job-monitor.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [run, --config, /etc/job-monitor]
      env:
        {{- include "job-monitor.settings" . | nindent 8 }}
        {{- with concat .Values.env .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.envFrom }}
      envFrom: {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: http
          containerPort: 9847
          protocol: TCP
      securityContext: {{- toYaml .Values.securityContext | nindent 8 }}
      # Two minutes to upgrade the schema of the store.
      startupProbe:
        {{- include "job-monitor.get" (dict "root" . "path" "/-/ready") | nindent 8 }}
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: 60
      livenessProbe:
        {{- include "job-monitor.get" (dict "root" . "path" "/-/healthy") | nindent 8 }}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        {{- include "job-monitor.get" (dict "root" . "path" "/-/ready") | nindent 8 }}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      resources: {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        # Whole directories, no subPath: only these follow a change of the ConfigMap or Secret.
        - name: config
          mountPath: /etc/job-monitor
          readOnly: true
        {{- range include "job-monitor.secrets" . | fromYamlArray }}
        - name: secret-{{ .name }}
          mountPath: /run/secrets/{{ .name }}
          readOnly: true
        {{- end }}
        {{- range include "job-monitor.folders" . | fromYamlArray }}
        - name: {{ .name }}
          mountPath: {{ .path }}
          readOnly: true
        {{- end }}
        - name: state
          mountPath: /var/lib/job-monitor
        - name: tmp
          mountPath: /tmp
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ default (include "job-monitor.fullname" .) .Values.existingConfigMap }}
    {{- range include "job-monitor.secrets" . | fromYamlArray }}
    - name: secret-{{ .name }}
      secret:
        secretName: {{ .name }}
        optional: {{ .optional | default false }}
        defaultMode: 288 # 0440
    {{- end }}
    {{- range include "job-monitor.folders" . | fromYamlArray }}
    - name: {{ .name }}
      configMap:
        name: {{ include "job-monitor.fullname" $ }}-{{ .name }}
    {{- end }}
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
    {{- if ne (include "job-monitor.volume" .) "claimed" }}
    - name: state
      emptyDir: {}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
