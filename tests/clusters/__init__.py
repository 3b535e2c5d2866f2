"""The throwaway cluster: where tests, the demo and a curious person get a real Kubernetes from, and its images.

`python -m tests.clusters up` gives a kubeconfig, whichever provider stands behind it; `down` takes everything away again.
Tests and the demo start with `chosen()` from `tests.clusters.provider`.
"""
