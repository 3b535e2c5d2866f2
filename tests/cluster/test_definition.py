"""What `kubectl apply` says to a ModelDeployment, and `kubectl explain` about it: the definition in the real API server."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes import CommandFailedError, Kubernetes

CHECKOUT = Path(__file__).parents[2]
SAMPLES = sorted((CHECKOUT / "manifests" / "samples").glob("*.yaml"))

ONE_OF = "set exactly one of version and alias"
LOOKS = {"name": "fraud", "version": 3}


@pytest.fixture(scope="module")
def api(defined: Kubernetes) -> Kubernetes:
    return defined


def try_out(api: Kubernetes, spec: dict[str, Any], name: str = "fraud", namespace: str = "default") -> dict[str, Any]:
    """What the API server would store."""
    resource = {
        "apiVersion": "mlserving.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
    stored: dict[str, Any] = json.loads(
        api.kubectl("apply", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(resource))
    )
    return stored


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_samples_are_accepted(api: Kubernetes, sample: Path) -> None:
    assert "created (server dry run)" in api.kubectl("apply", "--dry-run=server", "-f", str(sample))


@pytest.mark.parametrize("version", [3, "3"])
def test_a_version_is_a_number_or_a_string_of_digits(api: Kubernetes, version: object) -> None:
    assert try_out(api, {"model": {"name": "fraud", "version": version}})["spec"]["model"]["version"] == version


def test_quantities_are_numbers_or_strings(api: Kubernetes) -> None:
    resources = {"requests": {"cpu": 1, "memory": "256Mi"}, "limits": {"cpu": "1500m", "memory": 10**9}}
    assert try_out(api, {"model": LOOKS, "resources": resources})["spec"]["resources"] == resources


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"model": {"name": "fraud", "version": 3, "alias": "champion"}}, ONE_OF),
        ({"model": {"name": "fraud"}}, ONE_OF),
        ({"model": {"name": "fraud", "version": "latest"}}, "to follow a name such as 'champion', use alias"),
        ({"model": {"name": "fraud", "version": 0}}, "number of a registered model version"),
        ({"model": {"name": "fraud", "version": 12345678901}}, "number of a registered model version"),
        ({"model": {"name": "fraud", "version": "12345678901"}}, "number of a registered model version"),
        ({"model": {"name": "fraud", "alias": "v3"}}, "for a fixed version, use version"),
        ({"model": {"name": "fraud/3", "version": 3}}, "no '/' and no ':'"),
        ({"model": {**LOOKS, "digest": "abc"}}, "'sha256:' and 64 hexadecimal digits"),
        ({"model": {"name": "fraud", "alias": "champion", "digest": "sha256:" + "0" * 64}}, "digest goes with version only"),
        ({"model": LOOKS, "replicas": 2, "autoscaling": {"maxReplicas": 3}}, "set replicas or autoscaling, not both"),
        ({"model": LOOKS, "replicas": -1}, "greater than or equal to 0"),
        ({"model": LOOKS, "autoscaling": {"minReplicas": 5, "maxReplicas": 3}}, "minReplicas must not be above maxReplicas"),
        ({"model": LOOKS, "resources": {"requests": {"cpu": 2}, "limits": {"cpu": "500m"}}}, "the cpu limit is below"),
        (
            {"model": LOOKS, "resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}},
            "the memory limit is below",
        ),
        ({"model": LOOKS, "resources": {"requests": {"cpu": "lots"}}}, "not a quantity"),
        ({"model": LOOKS, "gates": {"maxSize": "big"}}, "not a number of bytes"),
        ({"model": LOOKS, "gates": {"maxSize": "500m"}}, "not a number of bytes"),
        ({"model": LOOKS, "gates": {"maxSize": 0}}, "not a number of bytes"),
        ({"model": LOOKS, "gates": {"environment": "Lax"}}, 'supported values: "Strict", "Warn"'),
        ({"model": LOOKS, "gates": {"metrics": [{"name": "f1"}]}}, "set min, max, or both"),
        ({"model": LOOKS, "gates": {"metrics": [{"name": "f1", "min": 2, "max": 1}]}}, "min must not be above max"),
        ({"model": LOOKS, "gates": {"tags": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]}}, "Duplicate value"),
        ({"model": LOOKS, "gates": {"maxLoadSeconds": 0}}, "should be greater than 0"),
        ({"model": LOOKS, "gates": {"waivers": [{"version": 3, "gate": "Signature"}]}}, "reason: Required value"),
        ({"model": LOOKS, "gates": {"waivers": [{"version": 3, "gate": "Digest", "reason": "x"}]}}, "Unsupported value"),
        ({"model": LOOKS, "trust": {"skopsTypes": ["Tree"]}}, "a type is written with its module"),
        ({"model": LOOKS, "server": {"env": [{"name": "PYTHONPATH", "value": "/x"}]}}, "what the server itself stands on"),
        (
            {"model": LOOKS, "server": {"env": [{"name": "MLSERVING_SETTINGS", "value": "{}"}]}},
            "what the server itself stands on",
        ),
        ({"model": LOOKS, "server": {"env": [{"name": "a-b"}]}}, "letters, digits and '_'"),
        ({"model": LOOKS, "server": {"image": "my image"}}, "no spaces"),
        ({"model": LOOKS, "server": {"requestTimeoutSeconds": 0}}, "greater than or equal to 1"),
        ({"model": LOOKS, "server": {"engine": "Fast"}}, 'supported values: "Auto", "Compiled", "Native"'),
        ({"model": LOOKS, "server": {"modelName": "fraud/2"}}, "a name in paths has letters"),
        ({"model": LOOKS, "server": {"auth": {}}}, "spec.server.auth.tokenSecretRef: Required value"),
        ({"model": LOOKS, "server": {"auth": {"tokenSecretRef": {"name": "Tokens"}}}}, "should match"),
        ({"model": LOOKS, "server": {"batching": {"maxSize": 0}}}, "greater than or equal to 1"),
        ({"model": LOOKS, "replica": 2}, 'unknown field "spec.replica"'),
        ({"model": LOOKS, "pod": {"labels": {"mlserving.dev/x": "y"}}}, "keys that begin with mlserving.dev/"),
        ({"model": LOOKS, "pod": {"annotations": {"mlserving.dev/rollout": "9"}}}, "keys that begin with mlserving.dev/"),
        ({"model": LOOKS, "pod": {"labels": {"app.kubernetes.io/name": "x"}}}, "choose other keys"),
        ({"model": LOOKS, "pod": {"labels": {"team": "not a value"}}}, "a label's value has"),
        ({"model": LOOKS, "pod": {"tolerations": [{"value": "x"}]}}, "needs operator Exists"),
        ({"model": LOOKS, "pod": {"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]}}, "has no value"),
        ({"model": LOOKS, "service": {"annotations": {"mlserving.dev/applied": "{}"}}}, "keys that begin with mlserving.dev/"),
        (
            {"model": LOOKS, "autoscaling": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50, "metrics": [{"type": "x"}]}},
            "set metrics or targetCPUUtilizationPercentage, not both",
        ),
        ({"model": LOOKS, "monitoring": {"slo": {"availability": 100}}}, "from 50 to below 100"),
        ({"model": LOOKS, "networkPolicy": {"ingressFrom": [{}]}}, "set either ipBlock, or podSelector"),
        (
            {"model": LOOKS, "networkPolicy": {"ingressFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}},
            "set either ipBlock, or podSelector",
        ),
        ({"model": LOOKS, "pod": {"hostNetwork": True}}, 'unknown field "spec.pod.hostNetwork"'),
        ({}, "spec.model: Required value"),
    ],
)
def test_mistakes_are_refused_with_a_sentence(api: Kubernetes, spec: dict[str, Any], says: str) -> None:
    with pytest.raises(CommandFailedError) as refusal:
        try_out(api, spec)
    assert says in refusal.value.output


def test_a_spec_that_says_nothing_of_gates_is_stored_as_it_is(api: Kubernetes) -> None:
    assert try_out(api, {"model": LOOKS})["spec"].keys() <= {"model", "service"}


@pytest.mark.parametrize("name", ["9fraud", "fraud.x", "a" * 64])
def test_a_name_that_no_service_can_have_is_refused(api: Kubernetes, name: str) -> None:
    with pytest.raises(CommandFailedError, match="the name becomes that of a Service"):
        try_out(api, {"model": LOOKS}, name)


def test_kubectl_explain_reads_like_documentation(api: Kubernetes) -> None:
    told = api.kubectl("explain", "mdep.spec.model.alias")
    assert "Alias to follow, such as champion" in told
    assert "when it moves to another version" in " ".join(told.split())
    assert "Set it to an older one to roll back" in " ".join(api.kubectl("explain", "modeldeployment.spec.model").split())
