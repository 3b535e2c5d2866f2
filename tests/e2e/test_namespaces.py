"""The operator for a list of namespaces: it serves those, and the API server refuses it everything elsewhere."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.e2e.team import NAME, Team
from tests.installation import CHART, RELEASE, SYSTEM_NAMESPACE
from tests.kubernetes import CommandFailedError, Kubernetes, Object

pytestmark = pytest.mark.timeout(600)

SECOND = "e2e-namespaces-too"
ELSEWHERE = "e2e-elsewhere"
ACCOUNT = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{RELEASE}"

WORK = [
    ("list", "modeldeployments.mlserving.dev"),
    ("watch", "pods"),
    ("create", "deployments.apps"),
    ("patch", "deployments.apps"),
    ("create", "services"),
    ("delete", "networkpolicies.networking.k8s.io"),
]
NOWHERE = [("get", "secrets"), ("get", "configmaps"), ("delete", "deployments.apps"), ("create", "pods"), ("*", "*")]


@pytest.fixture(scope="module")
def teams(team: Team) -> Iterator[tuple[Team, Team]]:
    """One whose namespace is listed, and one whose namespace is not."""
    cluster = team.cluster
    for namespace in (SECOND, ELSEWHERE):
        cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found")
        team.installation.make_namespace(namespace)
    release = (RELEASE, "-n", SYSTEM_NAMESPACE)
    before = json.loads(cluster.helm("history", *release, "-o", "json"))[-1]["revision"]
    listed = f"watchNamespaces={{{team.namespace},{SECOND}}}"
    cluster.helm("upgrade", release[0], str(CHART), *release[1:], "--reuse-values", "--set", listed, "--wait", "--timeout=5m")
    elsewhere = replace(team, namespace=ELSEWHERE)
    try:
        yield team, elsewhere
    finally:
        cluster.helm("rollback", release[0], str(before), *release[1:], "--wait", "--timeout=5m")
        elsewhere.until_ready_is("True", "Stopped")  # the list alone has kept it from being served
        cluster.kubectl("delete", "namespace", SECOND, ELSEWHERE, "--wait=false")


def may(cluster: Kubernetes, verb: str, resource: str, *where: str) -> bool:
    try:
        return cluster.kubectl("auth", "can-i", verb, resource, f"--as={ACCOUNT}", *where).strip() == "yes"
    except CommandFailedError as error:  # "no" is exit code 1
        assert error.output.strip().splitlines()[-1].startswith("no"), error
        return False


def test_only_resources_in_the_listed_namespaces_are_served(teams: tuple[Team, Team]) -> None:
    listed, elsewhere = teams
    version = listed.train("--trees", "5", "--max-depth", "2")
    elsewhere.apply(replicas=0)
    listed.apply(replicas=1)
    listed.until_serving(version)
    assert listed.predict()["model_version"] == version
    assert "status" not in elsewhere.resource()
    for kind in ("deployments", "services", "networkpolicies", "poddisruptionbudgets"):
        assert elsewhere.cluster.list(kind, ELSEWHERE) == []
    listed.kubectl("delete", "mdep", NAME)


def test_its_rights_end_with_the_listed_namespaces(teams: tuple[Team, Team]) -> None:
    cluster = teams[0].cluster
    for namespace in (teams[0].namespace, SECOND):
        assert [task for task in WORK if not may(cluster, *task, "-n", namespace)] == []
    for where in (("-n", ELSEWHERE), ("-n", SYSTEM_NAMESPACE), ("-n", "default"), ("--all-namespaces",)):
        assert [task for task in WORK if may(cluster, *task, *where)] == []
    for where in (("-n", teams[0].namespace), ("-n", SYSTEM_NAMESPACE), ("--all-namespaces",)):
        assert [task for task in NOWHERE if may(cluster, *task, *where)] == []


def test_what_it_is_bound_to_says_so(teams: tuple[Team, Team]) -> None:
    """Whose token a pod shows is asked of the whole cluster, as a token belongs to no namespace; nothing else is."""
    cluster, listed = teams[0].cluster, {teams[0].namespace, SECOND}
    (cluster_wide,) = bindings(cluster, "clusterrolebindings")
    assert rules(cluster, cluster_wide) == [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
    ]
    namespaced = bindings(cluster, "rolebindings", "--all-namespaces")
    assert {binding["metadata"]["namespace"] for binding in namespaced} == listed | {SYSTEM_NAMESPACE}
    for binding in namespaced:
        assert binding["roleRef"]["kind"] == "Role"
        words = [word for rule in rules(cluster, binding) for said in rule.values() for word in said]
        assert words
        assert not [word for word in words if "*" in word]


def bindings(cluster: Kubernetes, kind: str, *where: str) -> list[Object]:
    """Those of the operator's ServiceAccount."""
    found: list[Object] = json.loads(cluster.kubectl("get", kind, *where, "-o", "json"))["items"]
    account = {"kind": "ServiceAccount", "name": RELEASE, "namespace": SYSTEM_NAMESPACE}
    return [binding for binding in found if account in binding.get("subjects", [])]


def rules(cluster: Kubernetes, binding: Object) -> list[Object]:
    role, where = binding["roleRef"], binding["metadata"].get("namespace")
    named = (role["kind"], role["name"], *(("-n", where) if where else ()))
    found: list[Object] = json.loads(cluster.kubectl("get", *named, "-o", "json"))["rules"]
    return found
