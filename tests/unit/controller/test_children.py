"""The children beside the Deployment: what counts as drift, what is taken back, and whose things are left alone."""

from typing import Any

import pytest

from controller.api import ModelDeploymentSpec
from controller.children import APPLIED, Children, covers
from controller.cluster import ApiError
from controller.errors import Stalling
from controller.resource import read_resource
from controller.resources.identity import Owner
from controller.resources.network_policy import NetworkSurroundings, network_policy
from tests.unit.controller.factories import resource, settings
from tests.unit.controller.fake_cluster import FakeCluster

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


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Team:
    """A cluster with a Deployment of ours, and what brings the other children."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.time = Time()
        self.children = Children(self.cluster, settings(), self.time)
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


async def test_a_part_of_an_autoscaler_that_the_spec_no_longer_says_is_taken_back(team: Team) -> None:
    behavior = {"scaleUp": {"stabilizationWindowSeconds": 30}, "scaleDown": {"stabilizationWindowSeconds": 900}}
    bounds = SCALED["autoscaling"]
    await team.bring(autoscaling={**bounds, "behavior": behavior})
    await team.bring(autoscaling={**bounds, "behavior": {"scaleUp": behavior["scaleUp"]}})
    assert team.child("HorizontalPodAutoscaler")["spec"]["behavior"] == {"scaleUp": behavior["scaleUp"]}


async def test_monitors_come_when_their_definition_does_and_it_is_asked_for_once_a_minute(team: Team) -> None:
    team.cluster.undefined.add("ServiceMonitor")
    await team.bring()
    assert "ServiceMonitor" not in team.there()
    team.cluster.undefined.clear()
    team.time.now += 59
    await team.bring()
    assert "ServiceMonitor" not in team.there()
    assert not await team.children.wanted_anew()
    team.time.now += 1
    await team.bring()
    assert "ServiceMonitor" in team.there()
    assert await team.children.wanted_anew(), "the others of the team have none yet"
    assert not await team.children.wanted_anew()


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
