{{/* The rule by which nodes and balancers reach NATS: its pods, or the peers that the values name. */}}
{{- define "sociable.toNats" -}}
{{- if .Values.nats.enabled }}
- to:
    - podSelector:
        matchLabels:
          {{- include "sociable.nats" . | nindent 10 }}
  ports:
    - port: 4222
{{- else }}
- to:
    {{- toYaml .Values.nats.outside.to | nindent 4 }}
  ports:
    - port: {{ .Values.nats.outside.port }}
{{- end }}
{{- end }}
