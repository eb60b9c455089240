{{/* The data of ConfigMaps as JSON, and the names of ConfigMaps and Secrets. */}}

{{/* The variables of an env file in `files/`: a list of root and name. */}}
{{- define "sociable.env" -}}
{{- $data := dict -}}
{{- range regexFindAll "(?m)^[A-Z_]+=.*$" ((index . 0).Files.Get (printf "files/%s.env" (index . 1))) -1 -}}
{{- $pair := splitn "=" 2 . -}}
{{- $_ := set $data $pair._0 $pair._1 -}}
{{- end -}}
{{- $data | toJson -}}
{{- end }}

{{- define "sociable.data.sociable-cluster" -}}
{{- $data := include "sociable.env" (list . "cluster") | fromJson -}}
{{- $_ := set $data "SOCIABLE_NATS" (include "sociable.natsUrl" .) -}}
{{- if .Values.nats.tls -}}
{{- $_ := set $data "SOCIABLE_NATS_CA" "/etc/sociable/nats/ca.crt" -}}
{{- end -}}
{{- mergeOverwrite $data .Values.cluster.settings | toJson -}}
{{- end }}

{{- define "sociable.natsUrl" -}}
{{- if .Values.nats.enabled -}}
{{- range $n := until (int .Values.nats.servers) }}{{ if $n }},{{ end }}nats://nats-{{ $n }}.nats:4222{{ end -}}
{{- else -}}
{{- .Values.nats.outside.url -}}
{{- end -}}
{{- end }}

{{- define "sociable.data.sociable-node" -}}
{{- $data := include "sociable.env" (list . "node") | fromJson -}}
{{- if .Values.backend.enabled -}}
{{- $_ := set $data "SOCIABLE_CONFIG" "/etc/sociable/settings/settings.toml" -}}
{{- $_ := set $data "SOCIABLE_API_ADDR" "0.0.0.0:3002" -}}
{{- $_ := set $data "SOCIABLE_API_KEYS" "/etc/sociable/api/keys.toml" -}}
{{- end -}}
{{- if .Values.tracing.enabled -}}
{{- $_ := set $data "SOCIABLE_OTLP_ENDPOINT" .Values.tracing.endpoint -}}
{{- $_ := set $data "SOCIABLE_OTLP_SHARE" .Values.tracing.share -}}
{{- end -}}
{{- mergeOverwrite $data .Values.node.settings | toJson -}}
{{- end }}

{{- define "sociable.data.sociable-balancer" -}}
{{- $data := include "sociable.env" (list . "balancer") | fromJson -}}
{{- if eq .Values.clients.by "load-balancer" -}}
{{- $_ := set $data "SOCIABLE_BALANCER_TLS_LISTEN" "0.0.0.0:8443" -}}
{{- $_ := set $data "SOCIABLE_BALANCER_TLS_CERT" "/etc/sociable/tls/tls.crt" -}}
{{- $_ := set $data "SOCIABLE_BALANCER_TLS_KEY" "/etc/sociable/tls/tls.key" -}}
{{- else if ne .Values.clients.by "service" -}}
{{- $_ := set $data "SOCIABLE_BALANCER_TRUSTED" .Values.clients.trusted -}}
{{- end -}}
{{- mergeOverwrite $data .Values.balancer.settings | toJson -}}
{{- end }}

{{- define "sociable.data.nats-config" -}}
{{- $tls := ternary "" "-off" .Values.nats.tls -}}
{{- $data := dict -}}
{{- $_ := set $data "nats.conf" (.Files.Get "files/nats.conf") -}}
{{- $_ := set $data "cluster.conf" (.Files.Get (printf "files/cluster-%v.conf" .Values.nats.servers)) -}}
{{- $_ := set $data "tls.conf" (.Files.Get (printf "files/tls%s.conf" $tls)) -}}
{{- $_ := set $data "routes-tls.conf" (.Files.Get (printf "files/routes-tls%s.conf" $tls)) -}}
{{- mergeOverwrite $data .Values.nats.files | toJson -}}
{{- end }}

{{- define "sociable.data.sociable-settings" -}}
{{- dict "settings.toml" (.Values.backend.settings | default (.Files.Get "files/settings.toml")) | toJson -}}
{{- end }}

{{/* A name with the hash of the content, as kustomize makes it for ConfigMaps: a list of name, kind and data. */}}
{{- define "sociable.hashed" -}}
{{- $hash := dict "kind" (index . 1) "name" "" "data" (index . 2) | toJson | sha256sum | trunc 10 -}}
{{ index . 0 }}-{{ $hash | replace "0" "g" | replace "1" "h" | replace "3" "k" | replace "a" "m" | replace "e" "t" }}
{{- end }}

{{/* The name of a ConfigMap, so that a change replaces its pods: a list of root and the name without a hash. */}}
{{- define "sociable.configMap" -}}
{{- $data := include (printf "sociable.data.%s" (index . 1)) (index . 0) | fromJson -}}
{{- include "sociable.hashed" (list (index . 1) "ConfigMap" $data) -}}
{{- end }}

{{/* The name of a Secret, from the same list: with a hash if the values have its content. */}}
{{- define "sociable.secret" -}}
{{- $values := (index . 0).Values -}}
{{- with get (merge (dict) $values.node.secrets $values.nats.secrets) (index . 1) -}}
{{- include "sociable.hashed" (list (index $ 1) "Secret" .) -}}
{{- else -}}
{{- index . 1 -}}
{{- end -}}
{{- end }}
