{{/* What every object and pod is labelled with; the part is one of coordinator, worker, simulator. */}}
{{- define "tokenstorm.labels" -}}
app.kubernetes.io/name: tokenstorm
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .part }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "tokenstorm.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "tokenstorm.fleetSecret" -}}
{{ .Values.fleetSecret.name | default (printf "%s-fleet" .Release.Name) }}
{{- end }}

{{- define "tokenstorm.coordinatorHost" -}}
{{ .Values.coordinatorHost | default (printf "%s-coordinator" .Release.Name) }}
{{- end }}

{{/* Not root, nothing to gain by being it, and no token of the cluster. */}}
{{- define "tokenstorm.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- if .Values.hostNetwork }}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "tokenstorm.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "tokenstorm.container" -}}
image: {{ include "tokenstorm.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* Where a member finds its secrets. */}}
{{- define "tokenstorm.secretEnvironment" -}}
- name: TOKENSTORM_CA
  value: /fleet/ca.pem
- name: TOKENSTORM_CERT
  value: /fleet/{{ .part }}.pem
- name: TOKENSTORM_KEY
  value: /fleet/{{ .part }}.key
- name: TOKENSTORM_COOKIE_FILE
  value: /fleet/cookie
- name: OPENAI_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .root.Values.apiKeySecret }}
      key: OPENAI_API_KEY
      optional: true
{{- end }}

{{- define "tokenstorm.fleetVolume" -}}
- name: fleet
  secret:
    secretName: {{ include "tokenstorm.fleetSecret" .root }}
    defaultMode: 288 # 0440: the group is the pod's
    items:
      - { key: ca.pem, path: ca.pem }
      - { key: {{ .part }}.pem, path: {{ .part }}.pem }
      - { key: {{ .part }}.key, path: {{ .part }}.key }
      - { key: cookie, path: cookie }
{{- end }}

{{- define "tokenstorm.undisturbed" -}}
cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
karpenter.sh/do-not-disrupt: "true"
{{- end }}
