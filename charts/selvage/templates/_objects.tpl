{{/* What every object carries. */}}
{{- define "selvage.labels" -}}
app.kubernetes.io/name: selvage
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The selector's labels, and the component's. */}}
{{- define "selvage.component" -}}
app.kubernetes.io/name: selvage
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{/*
The objects of files that are copied from config/ (make generate), in the
release's namespace. With keep, they outlive the release; labels are added.
*/}}
{{- define "selvage.objects" -}}
{{- $root := .root -}}
{{- $keep := .keep -}}
{{- $labels := .labels -}}
{{- range $path, $_ := $root.Files.Glob .files -}}
{{- range $text := regexSplit "(?m)^---$" ($root.Files.Get $path) -1 -}}
{{- $object := fromYaml $text -}}
{{- if $object.kind -}}
{{- $metadata := $object.metadata -}}
{{- $_ := set $metadata "labels" (merge (fromYaml (include "selvage.labels" $root)) (default dict $labels) (default dict $metadata.labels)) -}}
{{- if $keep -}}
{{- $_ := set $metadata "annotations" (merge (dict "helm.sh/resource-policy" "keep") (default dict $metadata.annotations)) -}}
{{- end -}}
{{- if $metadata.namespace -}}
{{- $_ := set $metadata "namespace" $root.Release.Namespace -}}
{{- end -}}
{{- range $object.subjects -}}
{{- $_ := set . "namespace" $root.Release.Namespace -}}
{{- end }}
---
{{ toYaml $object }}
{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where the API server is, if not at its ClusterIP. */}}
{{- define "selvage.apiServer" -}}
{{- with .Values.apiServer.host }}
- {name: KUBERNETES_SERVICE_HOST, value: {{ . | quote }}}
- {name: KUBERNETES_SERVICE_PORT, value: {{ $.Values.apiServer.port | quote }}}
{{- end }}
{{- end -}}
