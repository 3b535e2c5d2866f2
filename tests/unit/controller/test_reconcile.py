"""The story, told to an API server in memory: what a person does, and what they then see."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controller import store as store_module
from controller.cluster import ApiError
from controller.registry import ModelVersion
from tests.unit.controller.factories import pod_settings, resource
from tests.unit.controller.fake_registry import FakeRegistry, model_files
from tests.unit.controller.world import KEY, World, deployed, told


async def test_a_resource_becomes_ready_and_says_so(world: World) -> None:
    await deployed(world)
    status = world.status
    assert status.serving is not None
    assert (status.serving.version, status.serving.alias, status.serving.verified) == ("1", "champion", "Answered")
    assert {c.type: c.status for c in status.conditions} == {
        "Ready": "True",
        "Available": "True",
        "Reconciling": "False",
        "Stalled": "False",
        "ModelResolved": "True",
        "GatesPassed": "True",
    }
    assert status.target is None
    assert status.url == "http://fraud.team.svc"
    assert [entry.cause for entry in status.history] == ["Created"]


async def test_children_are_owned(world: World) -> None:
    await deployed(world)
    owner = world.cluster.objects["ModelDeployment", *KEY]["metadata"]["uid"]
    for kind in ("Deployment", "Service"):
        (reference,) = world.cluster.objects[kind, *KEY]["metadata"]["ownerReferences"]
        assert (reference["uid"], reference["controller"]) == (owner, True)


async def test_a_steady_state_writes_nothing(world: World) -> None:
    await deployed(world, autoscaling={"minReplicas": 2, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70})
    before = list(world.cluster.writes)
    for _ in range(5):
        await world.reconciler.reconcile(KEY)
    assert world.cluster.writes == before


async def test_what_is_decided_from_is_read_afresh_and_nothing_else_is(world: World) -> None:
    await deployed(world, autoscaling={"minReplicas": 2, "maxReplicas": 5})

    async def reads() -> list[tuple[str, str]]:
        world.cluster.reads.clear()
        await world.reconciler.reconcile(KEY)
        return world.cluster.reads

    always = [("get", "ModelDeployment"), ("get", "Deployment"), ("list", "ReplicaSet")]
    assert await reads() == always
    world.cluster.roll(ready=False)
    assert await reads() == always, "no pod was seen in trouble"
    world.cluster.roll(ready=False, deadline_exceeded=True)
    assert await reads() == [*always, ("list", "Pod")], "the watch may be late; what is said of a version is not"
    world.cluster.roll(ready=False)
    world.cluster.crash()
    assert await reads() == [*always, ("list", "Pod")]


async def test_an_alias_that_moves_is_followed_in_a_single_write(world: World) -> None:
    await deployed(world)
    world.registry.aliases["champion"] = "2"
    before = len(world.cluster.writes)
    await world.settle()
    assert world.live_version == "2"
    assert [write for write in world.cluster.writes[before:] if write[1] == "Deployment"] == [("patch", "Deployment", "fraud")]
    assert [(entry.version, entry.ended_at is None) for entry in world.status.history] == [("2", True), ("1", False)]


async def test_change_causes_are_readable(world: World) -> None:
    await deployed(world)
    assert world.deployment["metadata"]["annotations"]["kubernetes.io/change-cause"] == "fraud version 1 (fraud@champion)"


async def test_a_version_whose_files_are_others_now_says_so(world: World) -> None:
    """The registry lost its data, and the name and number were given to something else."""
    await deployed(world)
    world.registry.versions["1"]["model.pkl"] = b"another model"
    world.registry.created["1"] = "2"
    await world.settle()
    cause = "fraud version 1 (fraud@champion), whose files in the registry are others now"
    assert world.deployment["metadata"]["annotations"]["kubernetes.io/change-cause"] == cause
    assert ("Normal", "RolloutStarted", f"{cause}, after version 1") in world.cluster.events


async def test_while_new_pods_are_not_ready_the_old_version_serves(world: World) -> None:
    await deployed(world)
    world.registry.aliases["champion"] = "2"
    await world.settle(ready=False)
    assert world.status.serving is not None
    assert world.status.serving.version == "1"
    assert world.status.target is not None
    assert world.status.target.version == "2"
    assert world.condition("Ready") == ("False", "RollingOut")
    assert world.condition("Available") == ("True", "PodsReady")
    assert world.condition("Reconciling")[0] == "True"


class TestRegistryAway:
    @pytest.mark.parametrize("reason", ["RegistryUnavailable", "RegistryRefused", "RegistryUntrusted", "RegistrySecretUnusable"])
    async def test_what_runs_goes_on_and_ready_is_unchanged(self, world: World, reason: str) -> None:
        await deployed(world)
        world.registry.away, world.registry.away_for = True, reason
        await world.settle()
        assert world.condition("Ready") == ("True", "Serving")
        assert world.condition("ModelResolved") == ("False", reason)
        assert ("Warning", reason, "registry 'main' cannot be reached") in world.cluster.events
        world.registry.away = False
        await world.settle()
        assert world.condition("ModelResolved") == ("True", "Resolved")

    async def test_a_version_that_was_served_before_is_rolled_back_to(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        await world.settle()
        world.registry.away = True
        world.restart()
        world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", "version": 1})
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("True", "Serving"))

    async def test_a_refused_version_stays_refused(self, world: World) -> None:
        await deployed(world)
        world.registry.versions["2"] = {"MLmodel": b"flavors: {xgboost: {}}"}
        world.registry.aliases["champion"] = "2"
        await world.settle()
        world.registry.away = True
        await world.settle()
        assert world.condition("Ready") == ("False", "FlavorUnsupported")
        assert world.condition("ModelResolved") == ("False", "RegistryUnavailable")
        assert world.status.target is not None
        assert world.status.target.version == "2"

    async def test_the_same_number_of_another_registry_is_another_version(self, world: World) -> None:
        await deployed(world, model={"name": "fraud", "version": 1})
        world.registry.away = True
        elsewhere = {"name": "fraud", "version": 1, "registryRef": {"name": "staging"}}
        world.cluster.edit("ModelDeployment", "fraud", model=elsewhere)
        await world.settle()
        assert world.condition("Ready") == ("False", "RegistryUnavailable")

    async def test_a_fixed_version_that_serves_stays_ready_when_the_registry_loses_it(self, world: World) -> None:
        await deployed(world, model={"name": "fraud", "version": 1})
        del world.registry.versions["1"]
        await world.settle()
        assert world.condition("Ready") == ("True", "Serving")
        assert world.condition("ModelResolved") == ("False", "ModelNotFound")

    @pytest.mark.parametrize("ready", [True, False])
    async def test_a_deleted_deployment_comes_back(self, world: World, ready: bool) -> None:
        await deployed(world)
        world.cluster.roll(ready=ready)
        await world.reconciler.reconcile(KEY)
        world.registry.away = True
        del world.cluster.objects["Deployment", *KEY]
        for each in world.cluster.replica_sets("fraud"):
            del world.cluster.objects["ReplicaSet", "team", each["metadata"]["name"]]
        await world.settle()
        assert world.live_version == "1"

    async def test_another_version_whose_files_do_not_come_is_not_ready(self, world: World) -> None:
        """The registry said which version it is, and went away before it handed it out."""
        await deployed(world)
        world.registry.breaks_off = True
        world.registry.aliases["champion"] = "2"
        await world.settle()
        ready = world.status.condition("Ready")
        assert ready is not None
        assert (ready.status, ready.reason) == ("False", "RegistryUnavailable")
        assert "fraud version 1 goes on serving" in ready.message
        assert world.status.target is not None
        assert world.status.target.version == "2"
        world.registry.away = True
        await world.settle()
        assert world.condition("Ready") == ("False", "RegistryUnavailable")
        world.registry.away = world.registry.breaks_off = False
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("2", ("True", "Serving"))

    async def test_another_model_that_is_asked_for_is_not_ready(self, world: World) -> None:
        await deployed(world)
        world.registry.away = True
        world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", "version": 3})
        await world.settle()
        assert world.condition("Ready") == ("False", "RegistryUnavailable")
        assert world.condition("Available")[0] == "True"


async def test_a_model_that_is_not_there_yet_is_waited_for(world: World) -> None:
    world.registry.aliases.clear()
    await deployed(world)
    assert world.condition("Ready") == ("False", "ModelNotFound")
    assert world.condition("Reconciling")[0] == "True"
    assert await world.reconciler.reconcile(KEY)  # seconds until it looks again
    world.registry.aliases["champion"] = "1"
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


async def test_a_namespace_that_may_not_ask_gets_no_answer_that_another_one_got(world: World) -> None:
    await deployed(world)
    world.registry.forbidden_to.add("team")
    world.registry.aliases["champion"] = "2"
    await world.settle()
    assert world.condition("Ready") == ("False", "RegistryForbidden")
    assert world.condition("Stalled")[0] == "True"
    assert world.condition("Available")[0] == "True", "what serves goes on"
    assert world.live_version == "1"


async def test_a_template_brings_no_files_that_its_namespace_may_not_ask_for(world: World, tmp_path: Path) -> None:
    await deployed(world)
    world.directory = tmp_path / "empty"
    world.restart()
    world.registry.forbidden_to.add("team")
    downloads = world.registry.downloads
    world.cluster.edit("ModelDeployment", "fraud", resources={"limits": {"cpu": "3"}})
    await world.settle()
    assert world.registry.downloads == downloads
    assert world.condition("Ready") == ("False", "RegistryForbidden")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"MLmodel": b"flavors: {xgboost: {}}"}, "FlavorUnsupported"),
        ({"MLmodel": b"no: flavors"}, "ModelUnreadable"),
        ({"MLmodel": b"{{{"}, "ModelUnreadable"),
        ({"README": b""}, "ModelUnreadable"),
        ({**model_files(2), "../../etc/passwd": b"x"}, "PathEscapes"),
        ({**model_files(2), "/etc/passwd": b"x"}, "PathEscapes"),
        ({**model_files(2), "big": b"x" * 10**6}, "ModelTooLarge"),
        ({"MLmodel": model_files(2)["MLmodel"]}, "ModelUnreadable"),
        (model_files(2, "flavors: {sklearn: {pickled_model: model.pkl, code: code}}"), "CodeUnsupported"),
        (model_files(2, "flavors: {sklearn: {pickled_model: model.pkl, serialization_format: x}}"), "SerializationUnsupported"),
    ],
)
async def test_a_version_that_cannot_be_served_is_refused_and_the_old_one_goes_on(
    world: World, files: dict[str, bytes], reason: str
) -> None:
    await deployed(world)
    world.registry.versions["2"] = files
    world.registry.aliases["champion"] = "2"
    await world.settle()
    assert world.live_version == "1"
    assert world.condition("Ready") == ("False", reason)
    assert world.condition("Stalled") == ("True", reason)
    assert world.condition("GatesPassed") == ("False", reason)
    assert world.condition("Available")[0] == "True"


async def test_another_digest_than_the_spec_says_is_refused(world: World) -> None:
    await deployed(world, model={"name": "fraud", "version": 1, "digest": "sha256:" + "0" * 64})
    assert world.condition("Ready") == ("False", "DigestMismatch")
    assert "then correct spec.model.digest or register the model anew" in told(world)
    assert ("Deployment", *KEY) not in world.cluster.objects


async def test_what_a_pod_said_when_it_ended_is_in_the_condition(world: World) -> None:
    await deployed(world)
    world.registry.aliases["champion"] = "2"
    await world.settle(ready=False)
    template = world.deployment["spec"]["template"]
    last_words = '{"reason": "ExampleMismatch", "message": "row 1: recorded 0, answered 1"}'
    world.cluster.put(
        "Pod",
        {
            "metadata": {"name": "fraud-x", "namespace": "team", **template["metadata"]},
            "spec": {},
            "status": {
                "containerStatuses": [
                    {
                        "name": "server",
                        "lastState": {"terminated": {"exitCode": 65, "message": last_words}},
                        "state": {"waiting": {}},
                    }
                ]
            },
        },
    )
    await world.settle()
    assert world.condition("Ready") == ("False", "ExampleMismatch")
    assert world.condition("Stalled") == ("True", "ExampleMismatch")
    ready = world.status.condition("Ready")
    assert ready is not None
    assert "row 1: recorded 0, answered 1" in ready.message
    assert "version 1 goes on serving" in ready.message


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
async def test_a_write_that_the_api_server_refuses_is_told(world: World, kind: str) -> None:
    world.cluster.refused[kind] = ApiError(403, "Forbidden", "exceeded quota: count/things, used: 5, limited: 5")
    world.cluster.put("ModelDeployment", resource())
    delay = await world.reconciler.reconcile(KEY)
    assert delay is not None
    assert world.condition("Ready") == ("False", "WriteRefused")
    assert world.condition("Reconciling")[0] == "True"
    ready = world.status.condition("Ready")
    assert ready is not None
    assert "exceeded quota" in ready.message
    world.cluster.refused.clear()
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


async def test_a_spec_of_a_newer_definition_is_told_and_what_serves_goes_on(world: World) -> None:
    await deployed(world)
    world.cluster.edit("ModelDeployment", "fraud", fromTheFuture=True)
    await world.settle()
    assert world.condition("Ready") == ("False", "SpecUnsupported")
    assert world.condition("Available")[0] == "True"
    assert world.status.serving is not None
    ready = world.status.condition("Ready")
    assert ready is not None
    assert "fromTheFuture" in ready.message


@pytest.mark.parametrize("size", ["+500Mi", "524288000000000000n", "1e100"])
async def test_a_size_that_kubernetes_understands_is_understood(world: World, size: str) -> None:
    await deployed(world, gates={"maxSize": size}, server={"maxBodySize": size})
    assert world.condition("Ready") == ("True", "Serving")


@pytest.mark.parametrize("spec", [{"gates": {"maxSize": "1e9999999999"}}, {"server": {"maxBodySize": "1e9999999999"}}])
async def test_a_size_that_only_the_definition_lets_pass_is_told(world: World, spec: dict[str, Any]) -> None:
    await deployed(world, **spec)
    ready = world.status.condition("Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "SpecUnsupported")
    assert "is no size; write it as 500Mi" in ready.message
    assert "Size" in ready.message


async def test_a_slow_pull_holds_nobody_else_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "PATIENCE_SECONDS", 0.01)
    gate = asyncio.Event()

    class Slow(FakeRegistry):
        async def download(self, version: ModelVersion, path: str) -> AsyncIterator[bytes]:
            await gate.wait()
            async for chunk in super().download(version, path):
                yield chunk

    world.registry = Slow(1)
    world.restart()
    world.cluster.put("ModelDeployment", resource())
    assert await world.reconciler.reconcile(KEY)
    assert world.condition("Ready") == ("False", "Pulling")
    assert world.cluster.events == []  # no trouble, so no news
    gate.set()
    monkeypatch.setattr(store_module, "PATIENCE_SECONDS", 5)
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


async def test_a_refused_version_is_not_downloaded_again(world: World) -> None:
    world.registry.versions["1"] = {**model_files(1), "/etc/passwd": b"x"}
    await deployed(world)
    assert world.registry.downloads == 0


async def test_replica_sets_that_an_orphaning_left_behind_are_no_undo(world: World) -> None:
    await deployed(world)
    world.registry.aliases["champion"] = "2"
    await world.settle()
    del world.cluster.objects["Deployment", *KEY]
    await world.settle()
    assert (world.live_version, world.condition("Ready")) == ("2", ("True", "Serving"))


class TestReplicas:
    async def test_unset_are_left_to_whoever_scales(self, world: World) -> None:
        await deployed(world)
        await world.cluster.scale("Deployment", "team", "fraud", 5)
        world.registry.aliases["champion"] = "2"
        await world.settle()
        assert world.deployment["spec"]["replicas"] == 5

    async def test_set_are_brought_about_by_scaling(self, world: World) -> None:
        await deployed(world, replicas=3)
        world.cluster.edit("ModelDeployment", "fraud", replicas=1)
        await world.settle()
        assert world.deployment["spec"]["replicas"] == 1
        assert ("scale", "Deployment", "fraud") in world.cluster.writes

    async def test_zero_is_stopped_not_broken(self, world: World) -> None:
        await deployed(world, replicas=0)
        assert world.condition("Ready") == ("True", "Stopped")
        assert world.condition("Available") == ("False", "Stopped")

    async def test_from_zero_it_is_not_ready_before_its_pods_are(self, world: World) -> None:
        await deployed(world, replicas=0)
        world.cluster.edit("ModelDeployment", "fraud", replicas=2)
        await world.reconciler.reconcile(KEY)  # `kubectl wait --for=condition=Ready` looks now
        assert world.condition("Ready") == ("False", "RollingOut")
        assert world.condition("Reconciling") == ("True", "RollingOut")
        assert world.condition("Available") == ("False", "NoPodReady")
        await world.settle()
        assert world.condition("Ready") == ("True", "Serving")

    async def test_zero_that_the_spec_does_not_say_is_told(self, world: World) -> None:
        await deployed(world, autoscaling={"minReplicas": 2, "maxReplicas": 5})
        await world.cluster.scale("Deployment", "team", "fraud", 0)
        world.cluster.roll()
        await world.settle()
        assert world.condition("Ready") == ("False", "ScaledToZero")
        assert world.condition("Available") == ("False", "ScaledToZero")

    async def test_scaling_does_not_take_ready_away(self, world: World) -> None:
        await deployed(world)
        await world.cluster.scale("Deployment", "team", "fraud", 4)
        await world.reconciler.reconcile(KEY)
        assert world.condition("Ready") == ("True", "Serving")

    async def test_an_autoscaler_comes_and_goes_with_the_spec(self, world: World) -> None:
        await deployed(world, autoscaling={"minReplicas": 3, "maxReplicas": 5})
        assert world.deployment["spec"]["replicas"] == 3
        assert ("HorizontalPodAutoscaler", *KEY) in world.cluster.objects
        world.cluster.objects["ModelDeployment", *KEY]["spec"].pop("autoscaling")
        await world.settle()
        assert ("HorizontalPodAutoscaler", *KEY) not in world.cluster.objects
        assert world.deployment["spec"]["replicas"] == 3


class TestForeignChildren:
    @pytest.mark.parametrize("kind", ["Deployment", "Service"])
    async def test_are_never_touched(self, world: World, kind: str) -> None:
        theirs = {"replicas": 1, "template": {"metadata": {"labels": {}}, "mine": True}}
        world.cluster.put(kind, {"metadata": {"name": "fraud", "namespace": "team"}, "spec": theirs})
        await deployed(world)
        assert world.cluster.objects[kind, *KEY]["spec"] == theirs
        assert world.condition("Ready") == ("False", "NameConflict")
        assert world.condition("Stalled") == ("True", "NameConflict")

    @pytest.mark.parametrize("kind", ["Deployment", "Service"])
    async def test_of_a_resource_that_was_deleted_and_applied_again_are_waited_for(self, world: World, kind: str) -> None:
        await deployed(world)
        left = world.cluster.objects[kind, *KEY]
        world.cluster.objects.clear()  # the garbage collector, but for one
        world.cluster.objects[kind, *KEY] = left
        world.cluster.events.clear()
        world.cluster.put("ModelDeployment", resource())
        assert await world.reconciler.reconcile(KEY) == 2
        assert world.condition("Ready") == ("False", "Creating")
        assert world.condition("Reconciling") == ("True", "Creating")
        assert world.condition("Stalled")[0] == "False"
        assert not [event for event in world.cluster.events if event[0] == "Warning"]
        del world.cluster.objects[kind, *KEY]
        await world.settle()
        assert world.condition("Ready") == ("True", "Serving")

    async def test_a_service_follows_its_port(self, world: World) -> None:
        await deployed(world)
        world.cluster.edit("ModelDeployment", "fraud", service={"port": 8080})
        await world.settle()
        assert [port["port"] for port in world.cluster.objects["Service", *KEY]["spec"]["ports"]] == [8080]
        assert world.status.url == "http://fraud.team.svc:8080"

    async def test_a_service_deleted_by_hand_comes_back(self, world: World) -> None:
        await deployed(world)
        del world.cluster.objects["Service", *KEY]
        await world.settle()
        assert ("Service", *KEY) in world.cluster.objects


async def test_an_operator_with_another_server_image_rolls_no_pod(world: World) -> None:
    await deployed(world)
    before = list(world.cluster.writes)
    world.pods = pod_settings(image="server:2")
    world.restart()
    await world.settle()
    assert world.cluster.writes == before


async def test_a_version_is_pulled_once(world: World) -> None:
    await deployed(world)
    downloads = world.registry.downloads
    world.restart()
    await world.settle()
    assert world.registry.downloads == downloads


async def test_a_deleted_resource_is_no_longer_followed(world: World) -> None:
    await deployed(world)
    assert KEY in world.reconciler.followed
    del world.cluster.objects["ModelDeployment", *KEY]
    assert await world.reconciler.reconcile(KEY) is None
    assert KEY not in world.reconciler.followed


async def test_ready_waits_for_all_pods_of_the_first_rollout(world: World) -> None:
    """One pod of two is there and answers: the Deployment controller has not made the other yet."""
    world.cluster.put("ModelDeployment", resource())
    await world.reconciler.reconcile(KEY)
    world.cluster.roll()
    (replica_set,) = world.cluster.replica_sets("fraud")
    replica_set["status"] = {"readyReplicas": 1}
    world.deployment["status"] |= {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    for _ in range(2):
        await world.reconciler.reconcile(KEY)
        assert world.condition("Ready") == ("False", "RollingOut")
        assert world.condition("Available")[0] == "True"
    world.cluster.roll()
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


async def test_why_a_pod_of_what_serves_does_not_come_up_is_told(world: World) -> None:
    """Ready stays: pods come and go. But nobody has to look for the cause elsewhere."""
    await deployed(world)
    world.cluster.crash(code=69, message='{"reason": "StoreUnavailable", "message": "no store delivered the model"}')
    world.deployment["status"] |= {"readyReplicas": 1, "availableReplicas": 1}
    await world.reconciler.reconcile(KEY)
    ready = world.status.condition("Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("True", "Serving")
    assert ready.message == "fraud version 1 answers from 1 pod (1 of 2 ready: no store delivered the model)"


async def test_a_resource_that_is_deleted_while_it_is_looked_at_is_no_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deployed(world)
    world.cluster.edit("ModelDeployment", "fraud", replicas=3)
    scale = world.cluster.scale

    async def scale_as_it_goes(*arguments: Any) -> None:
        await scale(*arguments)
        del world.cluster.objects["ModelDeployment", *KEY]

    monkeypatch.setattr(world.cluster, "scale", scale_as_it_goes)
    before = len(world.cluster.events)
    await world.reconciler.reconcile(KEY)
    assert ("ModelDeployment", *KEY) not in world.cluster.objects
    assert len(world.cluster.events) == before
