{{/* The name of everything in the release. Of at most 50 characters: a StatefulSet's pods carry it in a label, with a hash. */}}
{{- define "modeldeployment-operator.name" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) -}}
{{- $name = printf "%s-%s" $name .Chart.Name -}}
{{- end -}}
{{- $name | replace "." "-" | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of what belongs to no namespace: two releases of one name, in namespaces of their own, share none of it. RBAC
     takes a colon, and no namespace or release has one in its name. */}}
{{- define "modeldeployment-operator.clusterWideName" -}}
{{- printf "%s:%s" .Release.Namespace (include "modeldeployment-operator.name" .) -}}
{{- end -}}

{{/* What selects the operator's pods. It can never change: selectors are immutable. */}}
{{- define "modeldeployment-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What `helm test` starts carries these: nothing of it may be selected with the operator's pods. */}}
{{- define "modeldeployment-operator.testLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "modeldeployment-operator.labels" -}}
{{ include "modeldeployment-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{- define "modeldeployment-operator.serviceAccountName" -}}
{{- $default := ternary (include "modeldeployment-operator.name" .) "default" .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default $default -}}
{{- end -}}

{{/* An image reference, from (image values, chart). */}}
{{- define "modeldeployment-operator.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default (index . 1).AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Everything that the operator is told: one JSON value, the same in both containers (controller/settings.py).
     Kubernetes puts the pod's own name and namespace into it. */}}
{{- define "modeldeployment-operator.settings" -}}
{{- $name := include "modeldeployment-operator.name" . -}}
{{- $peers := list -}}
{{- range $ordinal := until (int .Values.replicas) -}}
{{- $peers = append $peers (printf "http://%s-%d.%s-peers.%s.svc:8082" $name $ordinal $name $.Release.Namespace) -}}
{{- end -}}
{{- dict
  "namespace" "$(POD_NAMESPACE)"
  "identity" "$(POD_NAME)"
  "leaseName" $name
  "watchNamespaces" .Values.watchNamespaces
  "registries" .Values.registries
  "serverImage" (include "modeldeployment-operator.image" (list .Values.serverImage .Chart))
  "serverImagePullPolicy" .Values.serverImage.pullPolicy
  "serverScikitLearn" .Values.serverImage.scikitLearn
  "serverPython" .Values.serverImage.python
  "runtimes" .Values.runtimes
  "defaultGates" (ternary .Values.defaults.gates (omit .Values.defaults.gates "maxSize") (not (empty .Values.defaults.gates.maxSize)))
  "defaultTrust" .Values.defaults.trust
  "defaultServer" .Values.defaults.server
  "compileMemory" (toString .Values.defaults.compileMemory)
  "defaultResources" .Values.defaults.resources
  "defaultRollout" .Values.defaults.rollout
  "defaultChildren" (pick .Values.defaults "disruptionBudget" "networkPolicy" "serviceMonitor")
  "serverUpdate" .Values.serverUpdate
  "storeUrl" (printf "http://%s-store.%s.svc:8082" $name .Release.Namespace)
  "storePods" (include "modeldeployment-operator.selector" . | fromYaml)
  "storePeers" $peers
  "pollSeconds" .Values.pollSeconds
  "maxModelBytes" (int64 .Values.store.maxModelBytes)
  "storeAuthentication" .Values.store.authentication
  "storeTokenFile" "/var/run/secrets/mlserving.dev/store/token"
  "serviceAccount" (include "modeldeployment-operator.serviceAccountName" .)
  "storeSizeLimit" (toString .Values.store.sizeLimit)
  "storeKeepUnusedSeconds" (int64 .Values.store.keepUnusedSeconds)
| toJson -}}
{{- end -}}

{{/* What is secret about the registries, as files by their place in the list (controller/registry_client.py). Optional: a
     Secret that is missing is the trouble of its registry alone, and is told by the resources that need it. */}}
{{- define "modeldeployment-operator.registryFiles" -}}
{{- range $place, $registry := .Values.registries -}}
{{- $files := list -}}
{{- with ($registry.auth).basicSecret -}}
{{- $files = append $files (list "secret" .name "username" "username") -}}
{{- $files = append $files (list "secret" .name "password" "password") -}}
{{- end -}}
{{- with ($registry.auth).bearerSecret -}}
{{- $files = append $files (list "secret" .name .key "token") -}}
{{- end -}}
{{- range $number, $header := $registry.headers -}}
{{- with $header.secret -}}
{{- $files = append $files (list "secret" .name .key (printf "header-%d" $number)) -}}
{{- end -}}
{{- end -}}
{{- with $registry.caSecret -}}
{{- $files = append $files (list "secret" .name .key "ca.crt") -}}
{{- end -}}
{{- with $registry.caConfigMap -}}
{{- $files = append $files (list "configMap" .name .key "ca.crt") -}}
{{- end -}}
{{- range $files }}
- {{ index . 0 }}:
    name: {{ index . 1 | quote }}
    optional: true
    items: [{key: {{ index . 2 | quote }}, path: {{ printf "%d/%s" $place (index . 3) | quote }}}]
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the schema cannot say in a sentence that helps. */}}
{{- define "modeldeployment-operator.check" -}}
{{- if not .Values.registries -}}
{{- fail "registries is empty: name the MLflow server that holds the models, such as --set 'registries[0].name=main' --set 'registries[0].uri=http://mlflow.mlflow.svc:5000'" -}}
{{- end -}}
{{- $names := list -}}
{{- range .Values.registries -}}
{{- if has .name $names -}}
{{- fail (printf "registries has two entries named %q: a ModelDeployment names its registry, so each needs a name of its own" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- if regexMatch "^https?://[^/]*@" .uri -}}
{{- fail (printf "the uri of the registry %q holds a user name: put name and password into a Secret, under the keys username and password, and name it in auth.basicSecret" .name) -}}
{{- end -}}
{{- range .headers -}}
{{- if and (hasKey . "value") (has (lower .name) (list "authorization" "proxy-authorization" "cookie")) -}}
{{- fail (printf "the header %s of a registry lets its holder in: put its value into a Secret, and name that in secret: {name, key}" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $runtimes := list (printf "sklearn-%s" .Values.serverImage.scikitLearn) "Auto" -}}
{{- $minors := list .Values.serverImage.scikitLearn -}}
{{- range .Values.runtimes -}}
{{- if has .name $runtimes -}}
{{- fail (printf "runtimes has an entry named %q, and that name is taken: serverImage is called sklearn- and its scikitLearn" .name) -}}
{{- end -}}
{{- if has .scikitLearn $minors -}}
{{- fail (printf "runtimes has a second image for scikit-learn %s: a model is served by the one that has its minor version, so there is one of each" .scikitLearn) -}}
{{- end -}}
{{- $runtimes = append $runtimes .name -}}
{{- $minors = append $minors .scikitLearn -}}
{{- end -}}
{{- $policies := list -}}
{{- range .Values.policies -}}
{{- if has .name $policies -}}
{{- fail (printf "policies has two entries named %q: each is an object of its own, so each needs a name of its own" .name) -}}
{{- end -}}
{{- $policies = append $policies .name -}}
{{- end -}}
{{- end -}}

{{/* What the operator does with ModelDeployments and their children, wherever it serves them. */}}
{{- define "modeldeployment-operator.rules" -}}
- apiGroups: [mlserving.dev]
  resources: [modeldeployments]
  verbs: [get, list, watch]
- apiGroups: [mlserving.dev]
  resources: [modeldeployments/status]
  verbs: [update]
# For owner references that block deletion, where the API server checks them (OwnerReferencesPermissionEnforcement).
- apiGroups: [mlserving.dev]
  resources: [modeldeployments/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list, patch, delete] # patch: the mark on a rollout that failed; delete: earlier attempts of it
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- define "modeldeployment-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "modeldeployment-operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* What both containers have in common. The settings come after what they name: Kubernetes expands only variables that stand
     above. The environment comes last, for a container to add to it. */}}
{{- define "modeldeployment-operator.container" -}}
image: {{ include "modeldeployment-operator.image" (list .Values.image .Chart) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "modeldeployment-operator.containerSecurity" . | nindent 2 }}
env:
  - name: POD_NAME
    valueFrom:
      fieldRef: {fieldPath: metadata.name}
  - name: POD_NAMESPACE
    valueFrom:
      fieldRef: {fieldPath: metadata.namespace}
  - name: MLSERVING_OPERATOR_SETTINGS
    value: {{ include "modeldeployment-operator.settings" . | replace "'" "''" | squote }}
{{- end -}}

{{- define "modeldeployment-operator.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- end -}}

{{/* Where pods of this chart may run, and with which pull secrets. */}}
{{- define "modeldeployment-operator.placement" -}}
{{- $said := dict -}}
{{- range $field := list "imagePullSecrets" "priorityClassName" "nodeSelector" "tolerations" -}}
{{- with get $.Values $field -}}
{{- $said = set $said $field . -}}
{{- end -}}
{{- end -}}
{{- if $said -}}
{{- toYaml $said -}}
{{- end -}}
{{- end -}}
