// Whose definitions the samples are tried against; no Go code of our own.
module modeldeployment-operator/tests/definitions

go 1.26.0

require (
	github.com/argoproj/argo-cd/v3 v3.3.14
	github.com/fluxcd/kustomize-controller v1.7.3
	github.com/fluxcd/source-controller v1.8.0
	sigs.k8s.io/gateway-api v1.5.0
)
