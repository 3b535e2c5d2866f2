"""The children beside the Deployment: what counts as drift, what is taken back, and whose things are left alone."""

from collections.abc import Sequence
from typing import Any

import pytest

from controller.api import ModelDeploymentSpec
from controller.children import APPLIED, Children, covers, difference, marked
from controller.cluster import ApiError
from controller.errors import Stalling, Waiting
from controller.index import LAST_APPLIED, Index
from controller.resource import read_resource
from controller.resources.identity import Owner
from controller.resources.network_policy import NetworkSurroundings, network_policy
from tests.unit.controller.factories import resource, settings
from tests.unit.controller.fake_cluster import FakeCluster, Watches

KEY = ("team", "fraud")
OWNER = Owner(namespace="team", name="fraud", uid="u")
KINDS = ("Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor")
SCALED = {"autoscaling": {"minReplicas": 2, "maxReplicas": 5}}

WANTED = {"spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}


@pytest.mark.parametrize(
    "live",
    [
        WANTED,
        {"spec": {"ports": [{"port": 80, "protocol": "TCP"}], "selector": {"a": "b"}, "clusterIP": "10.0.0.1"}, "status": {}},
    ],
    ids=["the same", "with defaults of the API server"],
)
def test_covered(live: object) -> None:
    assert covers(live, WANTED)


@pytest.mark.parametrize(
    "live",
    [
        {"spec": {"ports": [{"port": 81}], "selector": {"a": "b"}}},
        {"spec": {"ports": [{"port": 80}, {"port": 81}], "selector": {"a": "b"}}},
        {"spec": {"ports": [], "selector": {"a": "b"}}},
        {"spec": {"ports": [{"port": 80}]}},
        {"spec": None},
    ],
    ids=["another value", "an entry more", "an entry less", "a field less", "nothing"],
)
def test_drifted(live: object) -> None:
    assert not covers(live, WANTED)


class Team:
    """A cluster with a Deployment of ours, and what brings the other children."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.children = Children(self.cluster, Watches(self.cluster), settings())
        metadata = {"name": "fraud", "namespace": "team", "ownerReferences": [{"uid": "u", "controller": True}]}
        self.cluster.put("Deployment", {"metadata": metadata, "spec": {"replicas": 3, "progressDeadlineSeconds": 300}})

    async def bring(self, **spec: Any) -> None:
        body = resource(**spec)
        body["metadata"].update(uid="u", generation=1)
        deployment = await self.cluster.get("Deployment", *KEY)
        await self.children.bring(OWNER, read_resource(body).spec, deployment)

    def child(self, kind: str) -> dict[str, Any]:
        return self.cluster.objects[kind, *KEY]

    def there(self) -> set[str]:
        return {kind for kind, *_ in self.cluster.objects} - {"Deployment"}

    @property
    def replicas(self) -> int:
        found: int = self.child("Deployment")["spec"]["replicas"]
        return found


@pytest.fixture
def team() -> Team:
    return Team()


async def test_every_child_is_made_and_in_a_steady_state_nothing_is_written(team: Team) -> None:
    await team.bring(**SCALED)
    assert team.there() == set(KINDS)
    team.cluster.writes.clear()
    await team.bring(**SCALED)
    assert team.cluster.writes == []


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_deleted_comes_back(team: Team, kind: str) -> None:
    await team.bring(**SCALED)
    del team.cluster.objects[kind, *KEY]
    await team.bring(**SCALED)
    assert kind in team.there()


async def test_what_the_spec_no_longer_wants_goes(team: Team) -> None:
    await team.bring(**SCALED)
    off = {"enabled": False}
    await team.bring(disruptionBudget=off, networkPolicy=off, monitoring={"serviceMonitor": off})
    assert team.there() == {"Service"}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_belongs_to_somebody_else_is_left_alone_and_keeps_no_other_child_away(team: Team, kind: str) -> None:
    theirs = {"metadata": {"name": "fraud", "namespace": "team"}, "spec": {"scaleTargetRef": {"kind": "x", "name": "x"}}}
    before = team.cluster.put(kind, theirs)
    with pytest.raises(Stalling, match=f"a {kind} named fraud"):
        await team.bring(**SCALED)
    assert team.child(kind) == before
    assert team.there() == set(KINDS)
    off = {"enabled": False}
    if kind != "Service":
        await team.bring(disruptionBudget=off, networkPolicy=off, monitoring={"serviceMonitor": off})
        assert team.child(kind) == before


async def test_one_that_is_refused_keeps_no_other_child_away(team: Team) -> None:
    team.cluster.refused["Service"] = ApiError(403, "Forbidden", "exceeded quota")
    with pytest.raises(ApiError, match="exceeded quota"):
        await team.bring(**SCALED)
    assert team.there() == set(KINDS) - {"Service"}


async def test_what_the_spec_said_once_is_taken_back_and_what_others_added_stays(team: Team) -> None:
    await team.bring(
        service={"annotations": {"ours": "1", "stays": "2"}}, monitoring={"serviceMonitor": {"labels": {"release": "x"}}}
    )
    team.child("Service")["metadata"]["annotations"]["theirs"] = "3"
    team.child("ServiceMonitor")["metadata"]["labels"]["theirs"] = "3"
    await team.bring(service={"annotations": {"stays": "2"}})
    annotations = team.child("Service")["metadata"]["annotations"]
    assert {key: value for key, value in annotations.items() if key != APPLIED} == {"stays": "2", "theirs": "3"}
    found = team.child("ServiceMonitor")["metadata"]["labels"]
    assert "release" not in found
    assert found["theirs"] == "3"


async def test_what_is_not_kept_of_an_annotation_of_others_is_not_written_away(team: Team) -> None:
    await team.bring(service={"annotations": {"a/b~c": "1"}})
    live = team.child("Service")["metadata"]["annotations"]
    live[LAST_APPLIED] = "{}"
    await team.bring(service={"port": 81})
    assert live[LAST_APPLIED] == "{}"
    assert live.keys() == {APPLIED, LAST_APPLIED}
    for left in ({LAST_APPLIED: "{}"}, {}):  # somebody has removed ours
        team.child("Service")["metadata"]["annotations"] = left.copy()
        await team.bring(service={"annotations": {"a/b~c": "1"}})
        assert team.child("Service")["metadata"]["annotations"].keys() == {APPLIED, "a/b~c", *left}


@pytest.mark.parametrize("absent", [{}, {"labels": None, "annotations": None}])
def test_where_there_is_no_label_and_no_annotation_they_are_all_added(absent: dict[str, Any]) -> None:
    metadata = {"labels": {"a": "1"}, "annotations": {}}
    operations = difference({"metadata": absent, "spec": {}}, {"metadata": metadata, "spec": {}})
    assert [(each["op"], each["path"]) for each in operations] == [("add", "/metadata/labels"), ("add", "/metadata/annotations")]


def test_each_key_is_an_operation_of_its_own() -> None:
    before = marked({"metadata": {"labels": {"x/a": "1", "b": "2"}, "annotations": {}}, "spec": {}})
    wanted = {"metadata": {"labels": {"x/a": "3", "c~": "4"}, "annotations": {}}, "spec": {}}
    operations = [each for each in difference(before, wanted) if each["path"].startswith("/metadata/labels")]
    assert operations == [
        {"op": "add", "path": "/metadata/labels/x~1a", "value": "3"},
        {"op": "add", "path": "/metadata/labels/c~0", "value": "4"},
        {"op": "remove", "path": "/metadata/labels/b"},
    ]


async def test_a_part_of_an_autoscaler_that_the_spec_no_longer_says_is_taken_back(team: Team) -> None:
    behavior = {"scaleUp": {"stabilizationWindowSeconds": 30}, "scaleDown": {"stabilizationWindowSeconds": 900}}
    bounds = SCALED["autoscaling"]
    await team.bring(autoscaling={**bounds, "behavior": behavior})
    await team.bring(autoscaling={**bounds, "behavior": {"scaleUp": behavior["scaleUp"]}})
    assert team.child("HorizontalPodAutoscaler")["spec"]["behavior"] == {"scaleUp": behavior["scaleUp"]}


async def test_monitors_come_when_their_definition_does(team: Team) -> None:
    team.cluster.undefined.add("ServiceMonitor")
    await team.bring()
    assert "ServiceMonitor" not in team.there()
    assert ("get", "ServiceMonitor") not in team.cluster.reads
    team.cluster.undefined.clear()
    await team.bring()
    assert "ServiceMonitor" in team.there()


class Late(Team):
    """The watches stand still: what is seen is what was fed to them, and our own writes."""

    def __init__(self) -> None:
        super().__init__()
        self.index = Index()
        self.children = Children(Indexing(self.cluster, self.index), self.index, settings())

    def list_everything(self) -> None:
        for kind in KINDS:
            found = [body for (its_kind, *_), body in self.cluster.objects.items() if its_kind == kind]
            for body in found:
                self.index.put(kind, body)
            self.index.listed(kind, "", [(body["metadata"]["namespace"], body["metadata"]["name"]) for body in found], 1000)

    def touch(self, kind: str, **metadata: Any) -> None:
        """Somebody writes to a child."""
        live = self.child(kind)
        live["metadata"] |= {**metadata, "resourceVersion": str(int(live["metadata"]["resourceVersion"]) + 500)}


class Indexing(FakeCluster):
    """A client that tells the index what it writes, as the real one does."""

    def __init__(self, cluster: FakeCluster, index: Index) -> None:
        self.__dict__ = cluster.__dict__
        self._index = index

    async def create(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        made = await super().create(kind, body)
        self._index.put(kind, made)
        return made

    async def patch(self, kind: str, live: dict[str, Any], operations: Sequence[dict[str, Any]]) -> dict[str, Any]:
        made = await super().patch(kind, live, operations)
        self._index.put(kind, made)
        return made

    async def delete(self, kind: str, live: dict[str, Any]) -> None:
        await super().delete(kind, live)
        self._index.remove(kind, live)


CHANGED: dict[str, Any] = {
    "service": {"port": 81},
    "autoscaling": {"minReplicas": 3, "maxReplicas": 6},
    "networkPolicy": {"ingressFrom": [{"podSelector": {}}]},
    "monitoring": {"serviceMonitor": {"labels": {"release": "x"}}},
}


@pytest.fixture
def late() -> Late:
    return Late()


async def test_a_look_at_children_costs_no_request_and_our_own_writes_are_seen(late: Late) -> None:
    late.list_everything()
    await late.bring(**SCALED)
    assert late.there() == set(KINDS)
    written = list(late.cluster.writes)
    late.cluster.reads.clear()
    await late.bring(**SCALED)
    assert late.cluster.writes == written
    assert late.cluster.reads == [("get", "Deployment")], "the test's own"
    await late.bring(**CHANGED)
    changed = [("patch", kind, "fraud") for kind in KINDS if kind != "PodDisruptionBudget"]
    assert sorted(late.cluster.writes[len(written) :]) == sorted(changed)
    await late.bring()
    assert late.cluster.writes.count(("delete", "HorizontalPodAutoscaler", "fraud")) == 1
    await late.bring(**SCALED)
    assert late.cluster.writes.count(("create", "HorizontalPodAutoscaler", "fraud")) == 2


async def test_before_all_was_listed_children_are_read_one_by_one(late: Late) -> None:
    await late.bring(**SCALED)
    late.children = Children(late.cluster, Index(), settings())
    written = list(late.cluster.writes)
    late.cluster.reads.clear()
    await late.bring(**SCALED)
    assert late.cluster.writes == written
    assert {kind for verb, kind in late.cluster.reads if verb == "get"} >= set(KINDS)
    await late.bring(disruptionBudget={"enabled": False})
    assert late.there() == set(KINDS) - {"HorizontalPodAutoscaler", "PodDisruptionBudget"}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_came_without_being_seen_is_not_made_twice(late: Late, kind: str) -> None:
    await late.bring(**SCALED)
    late.index = Index()
    late.children = Children(Indexing(late.cluster, late.index), late.index, settings())
    late.list_everything()
    late.index.remove(kind, late.child(kind))
    written = list(late.cluster.writes)
    await late.bring(**SCALED)
    assert late.cluster.writes == written


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "PodDisruptionBudget"])
async def test_what_went_without_being_seen_comes_back_as_it_is_wanted_now(late: Late, kind: str) -> None:
    late.list_everything()
    await late.bring(**SCALED)
    del late.cluster.objects[kind, *KEY]
    await late.bring(**CHANGED)
    assert late.there() == set(KINDS)
    assert late.cluster.writes.count(("create", kind, "fraud")) == 2


async def test_what_others_added_without_being_seen_stays(late: Late) -> None:
    late.list_everything()
    await late.bring()
    late.touch("Service", annotations={**late.child("Service")["metadata"]["annotations"], "theirs": "1"})
    await late.bring(service={"port": 81})
    assert late.child("Service")["metadata"]["annotations"]["theirs"] == "1"
    assert late.child("Service")["spec"]["ports"][0]["port"] == 81


async def test_what_somebody_has_taken_over_without_being_seen_is_not_deleted(late: Late) -> None:
    late.list_everything()
    await late.bring()
    late.touch("PodDisruptionBudget", ownerReferences=[])
    await late.bring(disruptionBudget={"enabled": False})
    assert "PodDisruptionBudget" in late.there()


async def test_a_child_of_an_earlier_resource_of_the_name_that_is_gone_is_no_conflict(late: Late) -> None:
    late.list_everything()
    await late.bring()
    late.index.put("Service", {**late.cluster.objects.pop(("Service", *KEY)), "metadata": late_metadata("another")})
    await late.bring()
    assert "Service" in late.there()


def late_metadata(owner: str) -> dict[str, Any]:
    references = [
        {"apiVersion": "mlserving.dev/v1alpha1", "kind": "ModelDeployment", "name": "fraud", "uid": owner, "controller": True}
    ]
    return {"name": "fraud", "namespace": "team", "uid": "old", "resourceVersion": "900", "ownerReferences": references}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_child_of_an_earlier_resource_of_the_name_that_is_still_there_is_waited_for(team: Team, kind: str) -> None:
    theirs = {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "fraud"}}, "metadata": late_metadata("earlier")}
    team.cluster.put(kind, theirs)
    with pytest.raises(Waiting, match=f"the {kind} of the ModelDeployment that had this name before") as waited:
        await team.bring(**SCALED)
    assert (waited.value.reason, waited.value.delay) == ("Creating", 2)
    assert team.there() == set(KINDS)
    del team.cluster.objects[kind, *KEY]
    await team.bring(**SCALED)


@pytest.mark.parametrize("other", [{"kind": "Rollout"}, {"name": "other"}, {"apiVersion": "apps/v1"}, {"controller": False}])
async def test_a_child_of_anything_else_is_a_conflict(team: Team, other: dict[str, Any]) -> None:
    metadata = late_metadata("earlier")
    metadata["ownerReferences"][0] |= other
    team.cluster.put("Service", {"spec": {}, "metadata": metadata})
    with pytest.raises(Stalling, match="a Service named fraud is there already"):
        await team.bring()


@pytest.mark.parametrize("status", [404, 405])
async def test_a_definition_that_is_being_removed_is_no_trouble(team: Team, status: int) -> None:
    team.cluster.refused["ServiceMonitor"] = ApiError(status, "", "is being removed")
    await team.bring()
    assert "ServiceMonitor" not in team.there()
    team.cluster.refused["ServiceMonitor"] = ApiError(403, "Forbidden", "exceeded quota")
    with pytest.raises(ApiError, match="exceeded quota"):
        await team.bring()


class TestReplicas:
    async def test_autoscaling_that_comes_changes_and_goes_leaves_the_number(self, team: Team) -> None:
        for spec in (SCALED, {"autoscaling": {"minReplicas": 1, "maxReplicas": 9}}, {}):
            await team.bring(**spec)
            assert team.replicas == 3
        assert "HorizontalPodAutoscaler" not in team.there()

    async def test_a_number_that_the_spec_names_is_kept(self, team: Team) -> None:
        await team.bring(replicas=5)
        assert team.replicas == 5
        await team.cluster.scale("Deployment", *KEY, 1)
        await team.bring(replicas=5)
        assert team.replicas == 5

    async def test_what_was_stopped_starts_when_autoscaling_is_switched_on(self, team: Team) -> None:
        await team.bring(replicas=0)
        await team.bring(**SCALED)
        assert team.replicas == 2

    async def test_what_a_person_stopped_under_an_autoscaler_stays_stopped(self, team: Team) -> None:
        await team.bring(**SCALED)
        await team.cluster.scale("Deployment", *KEY, 0)
        await team.bring(**SCALED)
        assert team.replicas == 0

    def foreign_autoscaler(self, team: Team) -> None:
        target = {"kind": "Deployment", "name": "fraud"}
        metadata = {"name": "keda-hpa-fraud", "namespace": "team"}
        team.cluster.put("HorizontalPodAutoscaler", {"metadata": metadata, "spec": {"scaleTargetRef": target}})

    async def test_an_autoscaler_of_somebody_else_is_not_fought(self, team: Team) -> None:
        self.foreign_autoscaler(team)
        await team.cluster.scale("Deployment", *KEY, 7)
        await team.bring()
        assert team.replicas == 7
        with pytest.raises(Stalling, match="keda-hpa-fraud chooses a number of its own") as contested:
            await team.bring(replicas=2)
        assert contested.value.reason == "ReplicasContested"
        assert team.replicas == 7

    async def test_an_autoscaler_of_an_earlier_resource_of_the_name_is_no_contest(self, team: Team) -> None:
        target = {"kind": "Deployment", "name": "fraud"}
        team.cluster.put("HorizontalPodAutoscaler", {"metadata": late_metadata("earlier"), "spec": {"scaleTargetRef": target}})
        await team.bring(replicas=2)
        assert team.replicas == 2

    async def test_zero_is_zero_whoever_else_scales(self, team: Team) -> None:
        self.foreign_autoscaler(team)
        await team.bring(replicas=0)
        assert team.replicas == 0
        await team.bring(replicas=2)
        assert team.replicas == 2


async def test_the_deadline_of_a_rollout_follows_the_spec_without_a_rollout(team: Team) -> None:
    await team.bring(rollout={"progressDeadlineSeconds": 77})
    assert team.child("Deployment")["spec"] == {"replicas": 3, "progressDeadlineSeconds": 77}
    await team.bring()
    assert team.child("Deployment")["spec"]["progressDeadlineSeconds"] == 300


async def test_what_needs_a_person_is_told_first(team: Team) -> None:
    team.cluster.refused["Service"] = ApiError(403, "Forbidden", "exceeded quota")
    team.cluster.put("NetworkPolicy", {"metadata": {"name": "fraud", "namespace": "team"}, "spec": {}})
    with pytest.raises(Stalling, match="a NetworkPolicy named fraud"):
        await team.bring()


def test_what_is_empty_is_left_out_by_the_api_server_and_not_written_for_ever() -> None:
    peer: dict[str, Any] = {"namespaceSelector": {}, "podSelector": {"matchLabels": {}}}
    live: dict[str, Any] = {"namespaceSelector": {}, "podSelector": {}}
    assert covers(live, peer)
    assert not covers(live, {**peer, "podSelector": {"matchLabels": {"app": "a"}}})
    assert not covers(live, {**peer, "ipBlock": {"cidr": "::/0"}})


def test_nobody_for_the_metrics_is_no_rule_rather_than_an_empty_one_that_lets_everybody_in() -> None:
    surroundings = NetworkSurroundings(
        by_default=True, monitoring_from=(), operator_namespace="system", store_pods={"app": "store"}, store_port=8082
    )
    spec = ModelDeploymentSpec.model_validate(resource()["spec"])
    policy = network_policy(OWNER, spec, surroundings)
    assert policy is not None
    assert [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]] == [8080]
