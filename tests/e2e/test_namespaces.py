"""The operator for a list of namespaces: it serves those, and the API server refuses it everything elsewhere. What is elsewhere
another release can serve, of the same name."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
import yaml

from tests import operator
from tests.e2e.local_volume import CLASS, SIZE, local_volume
from tests.e2e.team import NAME, Team
from tests.installation import CHART, RELEASE, SYSTEM_NAMESPACE
from tests.kubernetes import CommandFailedError, Kubernetes, Object, until

pytestmark = pytest.mark.timeout(600)

SECOND = "e2e-namespaces-too"
ELSEWHERE = "e2e-elsewhere"
ITS_OPERATOR = "e2e-elsewhere-operator"

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
    for namespace in (SECOND, ELSEWHERE, ITS_OPERATOR):
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


@pytest.fixture(scope="module")
def neighbor(teams: tuple[Team, Team], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """The namespace that is not listed, where a second release serves. It has one pod, with its store on a volume."""
    _, elsewhere = teams
    cluster, values = elsewhere.cluster, tmp_path_factory.mktemp("neighbor") / "values.json"
    values.write_text(cluster.helm("get", "values", RELEASE, "-n", SYSTEM_NAMESPACE, "-o", "json"))
    persistence = {"enabled": True, "storageClassName": CLASS, "whenDeleted": "Delete"}
    own = {
        "watchNamespaces": [ELSEWHERE],
        "replicas": 1,
        "crds": {"enabled": False},
        "store": {"persistence": persistence, "sizeLimit": SIZE},
    }
    options = [part for name, value in own.items() for part in ("--set-json", f"{name}={json.dumps(value)}")]
    release = (RELEASE, "-n", ITS_OPERATOR)
    with local_volume(cluster, elsewhere.installation.server_image):
        cluster.helm("install", *release, str(CHART), "--values", str(values), *options, "--wait", "--timeout=5m")
        try:
            yield elsewhere
        finally:
            cluster.helm("uninstall", *release, "--wait", "--timeout=5m")
            cluster.kubectl("delete", "namespace", ITS_OPERATOR, "--wait=false")
            elsewhere.kubectl("delete", "mdep", NAME)
            elsewhere.apply(replicas=0)  # of which the first release is to know nothing


def may(cluster: Kubernetes, verb: str, resource: str, *where: str, release: str = SYSTEM_NAMESPACE) -> bool:
    account = f"system:serviceaccount:{release}:{RELEASE}"
    try:
        return cluster.kubectl("auth", "can-i", verb, resource, f"--as={account}", *where).strip() == "yes"
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
    # As the API server made it: nobody has looked.
    assert elsewhere.resource()["status"] == {"observedGeneration": -1, "replicas": 0, "readyReplicas": 0}
    for kind in ("deployments", "services", "networkpolicies", "poddisruptionbudgets"):
        assert elsewhere.cluster.list(kind, ELSEWHERE) == []


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


def test_another_release_of_its_name_serves_what_is_elsewhere(teams: tuple[Team, Team], neighbor: Team) -> None:
    """What belongs to no namespace is named after the release's, so neither takes it from the other."""
    cluster = neighbor.cluster
    for kind in ("clusterroles", "clusterrolebindings"):
        names = cluster.kubectl("get", kind, "-l", f"app.kubernetes.io/instance={RELEASE}", "-o", "name").split()
        stores = [name.partition("/")[2] for name in names if name.endswith("-store")]
        assert sorted(stores) == sorted(f"{namespace}:{RELEASE}-store" for namespace in (SYSTEM_NAMESPACE, ITS_OPERATOR))
    for release, own, others in ((SYSTEM_NAMESPACE, SECOND, ELSEWHERE), (ITS_OPERATOR, ELSEWHERE, SECOND)):
        assert may(cluster, "create", "tokenreviews.authentication.k8s.io", "--all-namespaces", release=release)
        assert may(cluster, "create", "deployments.apps", "-n", own, release=release)
        assert not may(cluster, "create", "deployments.apps", "-n", others, release=release)
    neighbor.patch({"replicas": 1})
    until("a pod", lambda: neighbor.ready() == ("True", "Serving") or None)


def test_a_store_on_a_volume_outlives_every_pod_of_the_operator(neighbor: Team) -> None:
    """Promise 4: also where MLflow is away, a model's pod starts with what the volume has kept."""
    cluster, about = neighbor.cluster, f"mlserving.dev/modeldeployment={NAME}"
    (before,) = cluster.list("pod", neighbor.namespace, about)
    version = neighbor.serving()
    with neighbor.mlflow_hanging():
        cluster.kubectl("delete", "pod", "--all", "-n", ITS_OPERATOR)
        neighbor.kubectl("delete", "pod", before["metadata"]["name"], "--grace-period=1")
        until("another pod", lambda: cluster.list("pod", neighbor.namespace, about), 60)
        neighbor.kubectl("wait", "pod", "-l", about, "--for=condition=Ready", "--timeout=120s")
        assert neighbor.predict()["model_version"] == version


def test_a_namespace_that_goes_takes_nothing_with_it_and_is_served_when_it_is_back(teams: tuple[Team, Team]) -> None:
    listed, _ = teams
    cluster, second = listed.cluster, replace(listed, namespace=SECOND)
    started = operator.restarts(cluster)
    second.apply(replicas=0)
    second.until_ready_is("True", "Stopped")
    cluster.kubectl("delete", "namespace", SECOND)
    listed.patch({"replicas": 0})
    listed.until_ready_is("True", "Stopped")
    rights = [each for each in manifests(cluster) if each["metadata"].get("namespace") == SECOND]
    assert sorted(each["kind"] for each in rights) == ["Role", "RoleBinding"]
    listed.installation.make_namespace(SECOND)
    cluster.apply(yaml.safe_dump_all(rights))
    second.apply(replicas=0)
    second.until_ready_is("True", "Stopped")
    assert operator.restarts(cluster) == started


def manifests(cluster: Kubernetes) -> list[Object]:
    """Everything that the release consists of."""
    return list(yaml.safe_load_all(cluster.helm("get", "manifest", RELEASE, "-n", SYSTEM_NAMESPACE)))


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
