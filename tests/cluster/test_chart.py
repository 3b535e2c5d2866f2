"""The chart before the real API server: each of its options, and what its policies and roles let people do."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chart.documentation import VALUES, documented
from tests.chart.manifest import INSTALL
from tests.chart.rendering import NAME, NAMESPACE, Helm, Object
from tests.cluster.test_definition import LOOKS, try_out
from tests.clusters import binaries
from tests.clusters.settings import Settings
from tests.kubernetes import CommandFailedError, Kubernetes, until

SYSTEM = "chart-test-system"
TEAM = "chart-test-team"
FREE = "chart-test-free"
WHERE = ("--namespace", SYSTEM)
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}

DIGEST = f"sha256:{'0' * 64}"
SECRET = {"name": "login", "key": "token"}
PEER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
OPTIONS: dict[str, dict[str, Any]] = {
    "registries": {
        "registries": [
            {"name": "basic", "uri": "https://mlflow.example", "auth": {"basicSecret": {"name": "login"}}, "caSecret": SECRET},
            {"name": "bearer", "uri": "https://mlflow.example/base", "auth": {"bearerSecret": SECRET}, "caConfigMap": SECRET},
            {"name": "headers", "uri": "http://mlflow.example", "headers": [{"name": "X-Key", "secret": SECRET}]},
            {"name": "some", "uri": "http://mlflow", "allowedNamespaces": ["team-*"], "allowedModels": ["fraud*"]},
        ],
        "pollSeconds": 5,
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy"}],
    },
    "namespaces": {
        "watchNamespaces": [TEAM, FREE],
        "rbac": {"aggregateRoles": False},
        "crds": {"enabled": False},
        "store": {"authentication": False},
        "serviceAccount": {"create": False, "name": "mine"},
    },
    "images": {
        "image": {"repository": "registry.example/operator", "tag": "1.2.3", "digest": DIGEST, "pullPolicy": "Always"},
        "serverImage": {
            "repository": "registry.example/server",
            "tag": "1.2.3",
            "digest": DIGEST,
            "pullPolicy": "Never",
            "scikitLearn": "1.8",
            "python": "3.12",
        },
        "runtimes": [{"name": "new", "image": "server:1.9", "scikitLearn": "1.9", "python": "3.12"}],
        "imagePullSecrets": [{"name": "pull"}],
        "serverUpdate": {"policy": "Rolling", "maxConcurrent": 3},
    },
    "defaults": {
        "defaults": {
            "resources": {"requests": {"cpu": 1}, "limits": {"cpu": None, "memory": "2Gi"}},
            "rollout": {"mode": "Manual", "progressDeadlineSeconds": 600, "onFailure": "Hold"},
            "gates": {
                "environment": "Warn",
                "signature": "Any",
                "maxSize": "500Mi",
                "tags": [{"key": "a", "value": "b"}],
                "metrics": [{"name": "f1", "min": 0.8}],
            },
            "trust": {"pickle": "Deny", "skopsTypes": ["own.Type"]},
            "server": {"engine": "Native", "ui": "Disabled", "logLevel": "Error", "accessLogsPerSecond": 0},
            "compileMemory": "512Mi",
            "disruptionBudget": {"enabled": False},
            "networkPolicy": {"enabled": False, "monitoringFrom": [PEER]},
            "serviceMonitor": {"enabled": False, "labels": {"release": "stack"}},
        },
    },
    "store": {
        "store": {
            "maxModelBytes": 10**9,
            "sizeLimit": "5Gi",
            "keepUnusedSeconds": 600,
            "persistence": {"enabled": True, "storageClassName": "fast", "whenDeleted": "Delete", "fsGroup": 1000},
            "resources": {"limits": {"cpu": 1}},
        },
        "replicas": 3,
        "controller": {"resources": {"limits": {"memory": "1Gi"}}},
        "logs": {"level": "Error", "format": "text"},
    },
    "pods": {
        "podLabels": {"team": "platform"},
        "podAnnotations": {"team": "platform"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
        "priorityClassName": "system-cluster-critical",
        "serviceAccount": {"annotations": {"team": "platform"}},
        "networkPolicy": {"enabled": True, "monitoringFrom": [PEER], "egress": [{"ports": [{"port": 8443}]}]},
    },
}
ELSEWHERE = {"monitoring", "policies"}
"""Values whose objects are tried for real: in tests/monitoring, beside the Prometheus Operator; and below."""

CAPS = {
    "name": "teams",
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": TEAM}},
    "trust": {"pickle": "Deny", "skopsTypes": ["own.Type"]},
    "images": ["registry.example/team/", "server:1"],
    "maxReplicas": 4,
    "maxResources": {"cpu": 4, "memory": "8Gi"},
}
SAFE = {"model": LOOKS, "trust": {"pickle": "Deny"}}
DANGEROUS = {"model": LOOKS, "replicas": 9}


@pytest.fixture(scope="module")
def helm(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(binaries.binary(settings, "helm"), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def api(defined: Kubernetes) -> Iterator[Kubernetes]:
    """With the namespaces of the operator and of two teams, all under the strictest pod security."""
    names = (SYSTEM, TEAM, FREE)
    defined.kubectl("delete", "namespace", *names, "--ignore-not-found")
    for name in names:
        metadata = {"name": name, "labels": RESTRICTED}
        defined.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
    account = ("get", "serviceaccount", "default", "-n", SYSTEM, "-o", "name", "--ignore-not-found")
    until("pods to be possible", lambda: defined.kubectl(*account))
    yield defined
    defined.kubectl("delete", "namespace", *names, "--wait=false")


@pytest.mark.parametrize("values", OPTIONS.values(), ids=OPTIONS)
def test_the_api_server_takes_what_each_option_makes(api: Kubernetes, helm: Helm, values: dict[str, Any]) -> None:
    rendered = helm.render(*WHERE, **values)
    pod = {**rendered.pod, "serviceAccountName": "default"}
    if values.get("store", {}).get("persistence"):
        pod["volumes"] = [*pod["volumes"], {"name": "store", "emptyDir": {}}]  # what a claim's place is taken by
    alone = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alone", "namespace": SYSTEM}, "spec": pod}
    text = yaml.safe_dump_all([*rendered.objects, alone])
    said = api.kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", stdin=text)
    assert said.count("serverside-applied (server dry run)") == len(rendered.objects) + 1


def test_the_api_server_takes_what_there_is_for_those_without_helm(api: Kubernetes) -> None:
    text = INSTALL.read_text().replace(NAMESPACE, SYSTEM)  # one that is there: nothing else comes about in a dry run
    said = api.kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", stdin=text)
    assert said.count("serverside-applied (server dry run)") == text.count("\n---\n") + 1


def test_each_documented_option_is_tried() -> None:
    def set_by(values: dict[str, Any], path: str) -> bool:
        first, _, rest = path.partition(".")
        return first in values and (not rest or set_by(values[first], rest))

    paths = [path for path in documented(VALUES.read_text()) if path.partition(".")[0] not in ELSEWHERE]
    assert [path for path in paths if not any(set_by(values, path) for values in OPTIONS.values())] == []


@pytest.fixture(scope="module")
def policy(api: Kubernetes, helm: Helm) -> Iterator[Kubernetes]:
    """The policies in force, over a team that had a ModelDeployment which they would not have let in."""
    resource = {"apiVersion": "mlserving.dev/v1alpha1", "kind": "ModelDeployment", "spec": DANGEROUS}
    api.apply(json.dumps({**resource, "metadata": {"name": "old", "namespace": TEAM}}))
    shown = ("--show-only", "templates/validatingadmissionpolicy.yaml")
    text = helm.text(*WHERE, *shown, policies=[CAPS])
    api.apply(text)
    until("the policies to be in force", lambda: refusal(api, DANGEROUS) and scaled(api, 5) != "")
    yield api
    api.kubectl("delete", "--wait=false", "-f", "-", stdin=text)
    api.kubectl("delete", "mdep", "old", "-n", TEAM)


def refusal(api: Kubernetes, spec: dict[str, Any], namespace: str = TEAM) -> str:
    """What the API server says when it refuses this spec; empty where it does not."""
    try:
        try_out(api, spec, namespace=namespace)
    except CommandFailedError as error:
        return error.output
    return ""


def scaled(api: Kubernetes, replicas: int) -> str:
    try:
        api.kubectl("scale", "mdep/old", "-n", TEAM, f"--replicas={replicas}", "--dry-run=server")
    except CommandFailedError as error:
        return error.output
    return ""


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"trust": None}, "set spec.trust.pickle to Deny, and register them with serialization_format='skops'"),
        ({"trust": {"pickle": "Allow"}}, "set spec.trust.pickle to Deny"),
        ({"gates": {"waivers": [{"version": 3, "gate": "Trust", "reason": "mine"}]}}, "take it out of spec.gates.waivers"),
        ({"gates": {"waivers": [{"version": 3, "gate": "Size", "reason": "large"}]}}, ""),
        ({"trust": {"pickle": "Deny", "skopsTypes": ["other.Type"]}}, "spec.trust.skopsTypes may list own.Type"),
        ({"trust": {"pickle": "Deny", "skopsTypes": ["own.Type"]}}, ""),
        ({"server": {"image": "registry.example.evil/team/x"}}, "may be, or begin with, registry.example/team/, server:1;"),
        ({"server": {"image": "server:11"}}, "spec.server.image may be"),
        ({"server": {"image": "registry.example/team/x:1"}}, ""),
        ({"server": {"image": "server:1"}}, ""),
        ({"replicas": 5}, "at most 4 pods"),
        ({"autoscaling": {"maxReplicas": 5}}, "at most 4 pods"),
        ({"replicas": 4}, ""),
        ({"autoscaling": {"maxReplicas": 4}}, ""),
        ({"resources": {"limits": {"cpu": 5}}}, "at most 4 of cpu for each pod; set spec.resources.limits.cpu"),
        ({"resources": {"requests": {"cpu": "4001m"}}}, "at most 4 of cpu"),
        ({"resources": {"limits": {"memory": "8193Mi"}}}, "at most 8Gi of memory"),
        ({"resources": {"limits": {"cpu": 4, "memory": "8Gi"}, "requests": {"cpu": "4"}}}, ""),
        ({}, ""),
    ],
)
def test_a_policy_refuses_what_is_over_its_caps_and_says_what_to_do(policy: Kubernetes, spec: dict[str, Any], says: str) -> None:
    said = refusal(policy, {key: value for key, value in {**SAFE, **spec}.items() if value is not None})
    assert "refused by the platform's policy teams:" in said if says else said == ""
    assert says in said


def test_a_policy_ends_where_its_selector_does(policy: Kubernetes) -> None:
    assert refusal(policy, DANGEROUS, namespace=FREE) == ""


def test_kubectl_scale_is_no_way_around_a_policy(policy: Kubernetes) -> None:
    assert "at most 4 replicas" in scaled(policy, 5)
    assert (scaled(policy, 4), scaled(policy, 0)) == ("", "")


def test_what_was_there_before_a_policy_may_stay_and_is_refused_when_it_changes(policy: Kubernetes) -> None:
    policy.kubectl("annotate", "mdep/old", "-n", TEAM, "mlserving.dev/retry=1")
    with pytest.raises(CommandFailedError, match="refused by the platform's policy teams"):
        policy.kubectl("patch", "mdep/old", "-n", TEAM, "--type=merge", "-p", '{"spec": {"replicas": 8}}')


def test_the_api_server_finds_nothing_wrong_with_the_policies(policy: Kubernetes) -> None:
    def checked() -> list[Object]:
        items: list[Object] = json.loads(policy.kubectl("get", "validatingadmissionpolicies", "-o", "json"))["items"]
        found = [each for each in items if each["metadata"]["name"].startswith(f"{SYSTEM}.{NAME}.")]
        return found if all("typeChecking" in each.get("status", {}) for each in found) else []

    assert [each["status"]["typeChecking"] for each in until("the types to be checked", checked, 60)] == [{}, {}]


def test_view_reads_and_edit_writes_and_nobody_writes_status(api: Kubernetes, helm: Helm) -> None:
    text = helm.text(*WHERE, "--show-only", "templates/clusterrole.yaml", watchNamespaces=[TEAM], store={"authentication": False})
    api.apply(text)
    api.kubectl("create", "rolebinding", "viewer", "-n", TEAM, "--clusterrole=view", "--user=viewer")
    api.kubectl("create", "rolebinding", "editor", "-n", TEAM, "--clusterrole=edit", "--user=editor")

    def may(user: str, verb: str, *what: str) -> bool:
        try:
            return api.kubectl("auth", "can-i", verb, "modeldeployments", *what, "-n", TEAM, f"--as={user}").strip() == "yes"
        except CommandFailedError:  # "no" is exit code 1
            return False

    try:
        until("the roles to be aggregated", lambda: may("viewer", "get") and may("editor", "create"), 60)
        for user in ("viewer", "editor"):
            assert may(user, "watch")
            assert may(user, "get", "--subresource=status")
            assert not may(user, "update", "--subresource=status")
        assert not may("viewer", "create")
        assert not may("viewer", "patch", "--subresource=scale")
        assert may("editor", "delete")
        assert may("editor", "patch", "--subresource=scale")
    finally:
        api.kubectl("delete", "-f", "-", stdin=text)
