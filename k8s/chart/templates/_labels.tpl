{{/* Labels and names. Selectors use three labels, which cannot change while a workload exists. */}}

{{/* The labels of a selector: a list of root, name and component. */}}
{{- define "sociable.selector" -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 2 }}
{{- end }}

{{/* All labels of an object, from the same list. */}}
{{- define "sociable.labels" -}}
{{ include "sociable.selector" . }}
app.kubernetes.io/part-of: sociable
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
{{- end }}

{{- define "sociable.node" -}}
{{ include "sociable.selector" (list . "sociable-node" "node") }}
{{- end }}

{{- define "sociable.balancer" -}}
{{ include "sociable.selector" (list . "sociable-balancer" "balancer") }}
{{- end }}

{{- define "sociable.nats" -}}
{{ include "sociable.selector" (list . "nats" "broker") }}
{{- end }}

{{/* An image, from its values. */}}
{{- define "sociable.image" -}}
{{ .repository }}:{{ .tag }}
{{- end }}

{{/* Pods are spread over machines and zones: a list of the selector, what happens where no machine is left, and the label of a version. */}}
{{- define "sociable.spread" -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: {{ index . 1 }}
  {{- with index . 2 }}
  matchLabelKeys: [{{ . }}]
  {{- end }}
  labelSelector:
    matchLabels:
      {{- index . 0 | nindent 6 }}
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
  {{- with index . 2 }}
  matchLabelKeys: [{{ . }}]
  {{- end }}
  labelSelector:
    matchLabels:
      {{- index . 0 | nindent 6 }}
{{- end }}

{{/* The hook before the stop signal: a list of root and seconds. */}}
{{- define "sociable.pause" -}}
preStop:
  {{- if (index . 0).Values.sleepAction }}
  sleep:
    seconds: {{ index . 1 }}
  {{- else }}
  exec:
    command: [sleep, {{ index . 1 | quote }}]
  {{- end }}
{{- end }}

{{/* The volume of the authority's certificate. */}}
{{- define "sociable.natsCa" -}}
- name: nats-ca
  secret:
    secretName: {{ include "sociable.secret" (list . "nats-tls") }}
    items:
      - key: ca.crt
        path: ca.crt
{{- end }}
