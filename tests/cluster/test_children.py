"""The children beside the Deployment on the real API server: what it refuses, and what it adds by default."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import client, config

from controller import metrics
from controller.api import ModelDeploymentSpec
from controller.children import Children
from controller.cluster import Cluster, Conflict
from controller.errors import Stalling
from controller.index import Index
from controller.resources.identity import Owner, metadata, selector
from tests.kubernetes import MONITORS, MONITORS_DEFINITION, CommandFailedError, Kubernetes
from tests.unit.controller.factories import settings

NAMESPACE = "children-under-test"
NAME = "fraud"
MODEL = {"name": "fraud", "version": 3}
KINDS = ("service", "hpa", "pdb", "networkpolicy", "servicemonitors")
OWN_DEFINITION = Path(__file__).parents[2] / "charts" / "modeldeployment-operator" / "files" / "crd.yaml"
OWN_NAME = "modeldeployments.mlserving.dev"

# Everything that the spec can say of its children, so that the API server has a word on each field.
FULL: dict[str, Any] = {
    "autoscaling": {
        "minReplicas": 2,
        "maxReplicas": 5,
        "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}
        ],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
    },
    "service": {"port": 81, "annotations": {"example.com/owner": "risk"}},
    "monitoring": {"serviceMonitor": {"labels": {"release": "stack"}}},
    "networkPolicy": {
        "ingressFrom": [
            {"podSelector": {"matchLabels": {"app": "shop"}}, "namespaceSelector": {}},
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
        ]
    },
    "disruptionBudget": {"enabled": True},
}
SPECS: list[dict[str, Any]] = [{}, {"autoscaling": {"maxReplicas": 3}}, FULL]


class Team:
    """A namespace with a Deployment that no pod comes from, and the children's part of the operator."""

    def __init__(self, cluster: Kubernetes, api: Cluster, index: Index, owner: Owner) -> None:
        self.cluster = cluster
        self.api = api
        self.index = index
        self.owner = owner
        self.children = Children(api, index, settings())

    async def bring(self, **spec: Any) -> None:
        """One reconcile of the children: begun anew, as the queue does it, when the Deployment's controller wrote in between."""
        while True:
            deployment = await self.api.get("Deployment", NAMESPACE, NAME)
            try:
                return await self.children.bring(
                    self.owner, ModelDeploymentSpec.model_validate({"model": MODEL, **spec}), deployment
                )
            except Conflict:
                continue

    def child(self, kind: str) -> dict[str, Any] | None:
        return self.cluster.get(kind, NAME, NAMESPACE)

    def versions(self) -> dict[str, str]:
        found = {kind: self.child(kind) for kind in (*KINDS, "deployment")}
        return {kind: body["metadata"]["resourceVersion"] for kind, body in found.items() if body is not None}


@pytest.fixture(scope="module")
def definitions(cluster: Kubernetes) -> Iterator[None]:
    """ModelDeployments and ServiceMonitors; those that were there before stay."""
    before = cluster.kubectl("get", "crd", "-o", "name")
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(OWN_DEFINITION))
    if MONITORS not in before:
        cluster.apply(MONITORS_DEFINITION.read_text())
    names = (OWN_NAME, MONITORS)
    for name in names:
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=30s")
    yield
    for name in names:
        if name not in before:
            cluster.kubectl("delete", "crd", name)


@pytest.fixture
async def team(cluster: Kubernetes, definitions: None) -> AsyncIterator[Team]:
    configuration = client.Configuration()
    await config.load_kube_config(config_file=str(cluster.kubeconfig), client_configuration=configuration)
    index = Index()
    api = Cluster(client.ApiClient(configuration), index)
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    cluster.kubectl("create", "namespace", NAMESPACE)
    # The garbage collection removes what belongs to nobody, so the owner is there; an operator that runs here leaves it alone.
    owning = {
        "apiVersion": "mlserving.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "annotations": {"mlserving.dev/reconcile": "disabled"}},
        "spec": {"model": MODEL},
    }
    cluster.apply(json.dumps(owning))
    found = cluster.get("modeldeployment", NAME, NAMESPACE)
    assert found is not None
    owner = Owner(namespace=NAMESPACE, name=NAME, uid=found["metadata"]["uid"])
    await api.create("Deployment", _deployment(owner))
    yield Team(cluster, api, index, owner)
    await api.close()
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def _deployment(owner: Owner) -> dict[str, Any]:
    """Paused, so that it makes no pods."""
    template = {"metadata": {"labels": selector(owner)}, "spec": {"containers": [{"name": "server", "image": "none"}]}}
    spec = {"replicas": 3, "paused": True, "progressDeadlineSeconds": 300, "selector": {"matchLabels": selector(owner)}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(owner), "spec": {**spec, "template": template}}


@pytest.mark.parametrize("spec", SPECS, ids=["nothing said", "an autoscaler on CPU", "everything said"])
async def test_what_was_brought_once_is_not_written_again(team: Team, spec: dict[str, Any]) -> None:
    """Whatever the API server adds by default is no difference."""
    await team.bring(**spec)
    before = team.versions()
    assert before.keys() >= set(KINDS) - {"hpa"}
    await team.bring(**spec)
    await team.bring(**spec)
    assert team.versions() == before


def requests() -> Counter[tuple[str, str]]:
    """What was asked of the API server so far, by verb and resource."""
    (family,) = metrics.api_requests.collect()
    counted: Counter[tuple[str, str]] = Counter()
    for sample in family.samples:
        counted[sample.labels["verb"], sample.labels["resource"]] += int(sample.value)
    return counted


async def test_what_the_operator_wrote_is_seen_without_being_read(team: Team) -> None:
    """As after the first lists, with watches that have not told of anything yet."""
    for kind in ("Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor"):
        team.index.listed(kind, "", [], 0)
    for spec in SPECS:
        await team.bring(**spec)
        before = requests()
        await team.bring(**spec)
        assert requests() - before == Counter({("GET", "deployments"): 1}), "the test's own"
    await team.bring()
    assert team.child("hpa") is None


@pytest.mark.parametrize("kind", KINDS)
async def test_a_child_that_was_deleted_comes_back(team: Team, kind: str) -> None:
    await team.bring(**FULL)
    team.cluster.kubectl("delete", kind, NAME, "-n", NAMESPACE)
    await team.bring(**FULL)
    assert team.child(kind) is not None


async def test_from_everything_to_nothing_and_back_leaves_no_trace(team: Team) -> None:
    def said(kind: str) -> dict[str, Any]:
        body = team.child(kind)
        assert body is not None
        spec = {key: value for key, value in body["spec"].items() if key not in ("clusterIP", "clusterIPs")}
        return {"labels": body["metadata"]["labels"], "spec": spec}

    kinds = [kind for kind in KINDS if kind != "hpa"]
    await team.bring()
    before = {kind: said(kind) for kind in kinds}
    await team.bring(**FULL)
    assert all(said(kind) != before[kind] for kind in ("service", "networkpolicy", "servicemonitors"))
    await team.bring()
    assert {kind: said(kind) for kind in kinds} == before
    assert team.child("hpa") is None
    deployment = team.child("deployment")
    assert deployment is not None
    assert deployment["spec"]["replicas"] == 3, "autoscaling that came and went left the number"


async def test_a_child_of_somebody_else_is_not_touched(team: Team) -> None:
    theirs = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"minAvailable": 7},
    }
    team.cluster.apply(json.dumps(theirs))
    before = team.child("pdb")
    with pytest.raises(Stalling, match="a PodDisruptionBudget named fraud"):
        await team.bring(**FULL)
    assert all(team.child(kind) is not None for kind in KINDS)
    with pytest.raises(Stalling, match="NameConflict"):
        await team.bring()
    await team.bring(disruptionBudget={"enabled": False})
    after = team.child("pdb")
    assert before is not None
    assert after is not None
    assert (after["spec"], after["metadata"]["uid"]) == (before["spec"], before["metadata"]["uid"])


async def test_the_number_is_set_through_the_scale_subresource_and_the_deadline_without_a_rollout(team: Team) -> None:
    await team.bring(replicas=5, rollout={"progressDeadlineSeconds": 77})
    deployment = team.child("deployment")
    assert deployment is not None
    assert (deployment["spec"]["replicas"], deployment["spec"]["progressDeadlineSeconds"]) == (5, 77)


def test_kubectl_scale_sets_the_number_and_is_refused_under_an_autoscaler(cluster: Kubernetes, team: Team) -> None:
    cluster.kubectl("scale", f"mdep/{NAME}", "--replicas=4", "-n", NAMESPACE)
    found = cluster.get("mdep", NAME, NAMESPACE)
    assert found is not None
    assert found["spec"]["replicas"] == 4
    change = {"spec": {"replicas": None, "autoscaling": {"maxReplicas": 3}}}
    cluster.kubectl("patch", f"mdep/{NAME}", "-n", NAMESPACE, "--type=merge", "-p", json.dumps(change))
    with pytest.raises(CommandFailedError, match="set replicas or autoscaling, not both"):
        cluster.kubectl("scale", f"mdep/{NAME}", "--replicas=4", "-n", NAMESPACE)
