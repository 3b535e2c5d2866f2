{{/* A ValidatingAdmissionPolicy and its binding, from (root, policy, part, resource, caps). The dots make the name one that no
     other release has: neither a namespace nor what this release calls itself has one. */}}
{{- define "modeldeployment-operator.policy" -}}
{{- $name := printf "%s.%s.%s%s" .root.Release.Namespace (include "modeldeployment-operator.name" .root) .policy.name .part }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ $name }}
  labels:
    {{- include "modeldeployment-operator.labels" .root | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [mlserving.dev]
        apiVersions: [v1alpha1]
        operations: [CREATE, UPDATE]
        resources: [{{ .resource }}]
  # What is there already may stay as it is; whoever changes its spec complies.
  matchConditions:
    - name: spec-is-new
      expression: request.operation == 'CREATE' || object.spec != oldObject.spec
  validations:
    {{- toYaml .caps | nindent 4 }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}
  labels:
    {{- include "modeldeployment-operator.labels" .root | nindent 4 }}
spec:
  policyName: {{ $name }}
  validationActions: [Deny]
  {{- with .policy.namespaceSelector }}
  matchResources:
    namespaceSelector:
      {{- toYaml . | nindent 6 }}
  {{- end }}
{{- end -}}

{{/* What a policy says of a ModelDeployment, from (policy, defaults): what holds where a spec is silent is the chart's default. */}}
{{- define "modeldeployment-operator.caps" -}}
{{- $policy := index . 0 -}}
{{- $defaults := index . 1 -}}
{{- $said := printf "refused by the platform's policy %s:" $policy.name -}}
{{- $caps := list -}}
{{- $trust := $policy.trust | default dict -}}
{{- if $trust.pickle -}}
{{- $caps = append $caps (dict
  "expression" (printf "(has(object.spec.trust) && has(object.spec.trust.pickle) ? object.spec.trust.pickle : '%s') == 'Deny'" $defaults.trust.pickle)
  "message" (printf "%s models may not be pickles; set spec.trust.pickle to Deny, and register them with serialization_format='skops'" $said)) -}}
{{- $caps = append $caps (dict
  "expression" "!has(object.spec.gates) || !has(object.spec.gates.waivers) || object.spec.gates.waivers.all(waiver, waiver.gate != 'Trust')"
  "message" (printf "%s the gate Trust, which keeps pickles out, may not be waived; take it out of spec.gates.waivers" $said)) -}}
{{- end -}}
{{- if hasKey $trust "skopsTypes" -}}
{{- $caps = append $caps (dict
  "expression" (printf "!has(object.spec.trust) || !has(object.spec.trust.skopsTypes) || object.spec.trust.skopsTypes.all(type, type in [%s])" (include "modeldeployment-operator.celStrings" $trust.skopsTypes))
  "message" (printf "%s spec.trust.skopsTypes may list %s" $said (join ", " $trust.skopsTypes | default "nothing; ask the platform to trust a type for everybody"))) -}}
{{- end -}}
{{- if hasKey $policy "images" -}}
{{- $whole := list -}}
{{- $beginnings := list -}}
{{- range $policy.images -}}
{{- if regexMatch "[/:@]$" . -}}
{{- $beginnings = append $beginnings . -}}
{{- else -}}
{{- $whole = append $whole . -}}
{{- end -}}
{{- end -}}
{{- $caps = append $caps (dict
  "expression" (printf "!has(object.spec.server) || !has(object.spec.server.image) || object.spec.server.image in [%s] || [%s].exists(beginning, object.spec.server.image.startsWith(beginning))" (include "modeldeployment-operator.celStrings" $whole) (include "modeldeployment-operator.celStrings" $beginnings))
  "message" (printf "%s spec.server.image may %s; without it, the operator chooses one of its own" $said (ternary (printf "be, or begin with, %s" (join ", " $policy.images)) "not be set" (not (empty $policy.images))))) -}}
{{- end -}}
{{- with $policy.maxReplicas -}}
{{- $caps = append $caps (dict
  "expression" (printf "(has(object.spec.autoscaling) ? object.spec.autoscaling.maxReplicas : has(object.spec.replicas) ? object.spec.replicas : 2) <= %d" (int .))
  "message" (printf "%s at most %d pods, by spec.replicas (2 where it is not set) or spec.autoscaling.maxReplicas" $said (int .))) -}}
{{- end -}}
{{- range $resource, $most := $policy.maxResources -}}
{{- $default := get ($defaults.resources.limits | default dict) $resource | toString -}}
{{- $limit := printf "object.spec.?resources.?limits.?%s" $resource -}}
{{- $request := printf "object.spec.?resources.?requests.?%s" $resource -}}
{{- $within := printf "quantity(string(amount)).compareTo(quantity('%v')) <= 0" $most -}}
{{- $caps = append $caps (dict
  "expression" (printf "[%s.orValue('%s'), %s.orValue('0')].all(amount, amount != '' && %s)" $limit (ternary $default "" (ne $default "")) $request $within)
  "message" (printf "%s at most %v of %s for each pod; set spec.resources.limits.%s to no more" $said $most $resource $resource)) -}}
{{- end -}}
{{- toYaml $caps -}}
{{- end -}}

{{/* Strings as they stand in a CEL list; the schema lets none have a quote. */}}
{{- define "modeldeployment-operator.celStrings" -}}
{{- $quoted := list -}}
{{- range . -}}
{{- $quoted = append $quoted (printf "'%s'" .) -}}
{{- end -}}
{{- join ", " $quoted -}}
{{- end -}}
