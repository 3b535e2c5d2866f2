"""The gates in the story: what is refused is not pulled or rolled out, what served before always comes back."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from controller.api import RETRY_ANNOTATION
from tests.unit.controller.factories import catalogue, pod_settings, resource
from tests.unit.controller.fake_registry import MLMODEL, model_files
from tests.unit.controller.world import KEY, World, deployed, image

ONE_COLUMN = [{"name": "age", "type": "long", "required": True}]
TWO_COLUMNS = [*ONE_COLUMN, {"name": "plan", "type": "string", "required": True}]
FAST = {"maxLatencyP95Milliseconds": 20}
TAGS = {"tags": [{"key": "validation_status", "value": "approved"}]}


def signed(columns: list[dict[str, Any]], mlmodel: str = MLMODEL) -> str:
    return mlmodel + "signature:\n  inputs: '" + json.dumps(columns) + "'\n"


def with_catalogue(world: World, **others: str) -> None:
    world.pods = pod_settings(catalogue=catalogue("server:1", **others))
    world.restart()


def message(world: World) -> str:
    found = world.status.condition("GatesPassed")
    assert found is not None
    return found.message


def judged_by(world: World) -> dict[str, Any] | None:
    (container,) = world.deployment["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] | None = json.loads(container["env"][0]["value"]).get("gates")
    return found


async def move(world: World, version: int) -> None:
    world.registry.aliases["champion"] = str(version)
    await world.settle()


class TestBeforeTheDownload:
    @pytest.mark.parametrize(
        ("gates", "reason"),
        [
            (TAGS, "TagMissing"),
            ({"metrics": [{"name": "f1", "min": 0.8}]}, "MetricMissing"),
            ({"maxSize": "10"}, "ModelTooLarge"),
        ],
    )
    async def test_what_the_registry_can_tell_costs_no_download(self, world: World, gates: dict[str, Any], reason: str) -> None:
        await deployed(world, gates=gates)
        assert world.condition("Ready") == ("False", reason)
        assert world.condition("GatesPassed") == ("False", reason)
        assert world.registry.downloads == 0

    async def test_a_tag_that_is_set_later_lets_it_in(self, world: World) -> None:
        await deployed(world, gates=TAGS)
        world.registry.tags["1"] = {"validation_status": "approved"}
        await world.settle()
        assert world.condition("Ready") == ("True", "Serving")

    async def test_it_is_looked_at_again_though_no_event_comes(self, world: World) -> None:
        await deployed(world, gates={"metrics": [{"name": "f1", "min": 0.8}]})
        delay = await world.reconciler.reconcile(KEY)
        assert delay is not None
        assert delay <= 60
        world.registry.measured["1"] = {"f1": 0.9}
        await world.settle()
        assert world.condition("Ready") == ("True", "Serving")


class TestSignature:
    async def breaking(self, world: World, **spec: Any) -> None:
        world.registry.versions["1"] = model_files(1, signed(ONE_COLUMN))
        world.registry.versions["2"] = model_files(2, signed(TWO_COLUMNS))
        await deployed(world, **spec)
        await move(world, 2)

    async def test_a_breaking_version_is_refused_and_the_old_one_goes_on(self, world: World) -> None:
        await self.breaking(world)
        assert world.live_version == "1"
        assert world.condition("Ready") == ("False", "SignatureBreaking")
        assert "input 'plan' (string) is required, and clients do not send it" in message(world)

    async def test_it_is_compared_with_what_serves_after_a_restart_on_an_empty_disk(self, world: World) -> None:
        await self.breaking(world)
        for file in world.directory.rglob("*"):
            if file.is_file():
                file.unlink()
        world.restart()
        await world.settle()
        assert world.live_version == "1"
        assert world.condition("Ready") == ("False", "SignatureBreaking")

    async def test_what_serves_and_is_nowhere_any_more_stops_nobody_without_a_sentence(self, world: World) -> None:
        await self.breaking(world)
        for file in world.directory.rglob("*"):
            if file.is_file():
                file.unlink()
        world.registry.versions["1"] = {"MLmodel": b"another"}
        world.restart()
        await world.settle()
        assert world.condition("Ready") == ("False", "SignatureUnknown")

    async def test_it_is_compared_with_what_served_last_while_no_pod_is_ready(self, world: World) -> None:
        await self.breaking(world, gates={"signature": "Any"}, model={"name": "fraud", "version": 1})
        world.cluster.roll(ready=False)
        await world.reconciler.reconcile(KEY)
        assert world.status.serving is None
        world.cluster.edit("ModelDeployment", "fraud", gates={}, model={"name": "fraud", "version": 2})
        await world.reconciler.reconcile(KEY)
        assert world.live_version == "1"
        assert world.condition("GatesPassed") == ("False", "SignatureBreaking")
        assert "clients of version 1, which served last, would break" in message(world)

    async def test_what_was_stopped_has_clients_too(self, world: World) -> None:
        world.registry.versions["1"] = model_files(1, signed(ONE_COLUMN))
        world.registry.versions["2"] = model_files(2, signed(TWO_COLUMNS))
        await deployed(world, replicas=1)
        world.cluster.edit("ModelDeployment", "fraud", replicas=0)
        await world.settle()
        await move(world, 2)
        assert world.live_version == "1"
        assert world.condition("GatesPassed") == ("False", "SignatureBreaking")

    async def test_a_version_that_never_served_is_nothing_to_compare_with(self, world: World) -> None:
        world.registry.versions["1"] = model_files(1, signed(ONE_COLUMN))
        world.registry.versions["2"] = model_files(2, signed(TWO_COLUMNS))
        world.cluster.put("ModelDeployment", resource())
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        await world.reconciler.reconcile(KEY)
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        assert world.live_version == "2"

    async def test_a_waiver_lets_it_through_and_stays_visible(self, world: World) -> None:
        waiver = {"version": 2, "gate": "Signature", "reason": "clients know"}
        await self.breaking(world, gates={"waivers": [waiver]})
        assert world.live_version == "2"
        assert world.condition("Ready") == ("True", "Serving")
        assert message(world) == "version 2 passed every check; waived: Signature for version 2 (clients know)"

    @pytest.mark.parametrize(("columns", "reason"), [(TWO_COLUMNS, "SignatureBreaking"), (ONE_COLUMN, "RollingOut")])
    async def test_a_registration_with_other_files_than_it_served_is_checked_like_any_other(
        self, world: World, columns: list[dict[str, Any]], reason: str
    ) -> None:
        world.registry.measured = {"1": {"f1": 0.9}, "2": {"f1": 0.9}}
        world.registry.versions = {"1": model_files(1, signed(ONE_COLUMN)), "2": model_files(2, signed(ONE_COLUMN))}
        gates = {"metrics": [{"name": "f1", "min": 0.8}]} if columns == ONE_COLUMN else {}
        await deployed(world, gates=gates)
        await move(world, 2)
        world.registry.versions["1"] = model_files(3, signed(columns))
        for file in world.directory.rglob("*"):
            if file.is_file():
                file.unlink()
        world.restart()
        world.registry.aliases["champion"] = "1"
        await world.reconciler.reconcile(KEY)
        assert world.condition("Ready") == ("False", reason)

    async def test_a_rollback_by_version_is_always_possible(self, world: World) -> None:
        await self.breaking(world, gates={"signature": "Any"})
        assert world.live_version == "2"
        model = {"name": "fraud", "version": 1}
        world.cluster.edit("ModelDeployment", "fraud", model=model, gates={"signature": "Compatible", **TAGS, "maxSize": "1"})
        await world.settle()
        assert world.live_version == "1"
        assert world.condition("Ready") == ("True", "Serving")

    async def test_a_gate_that_is_tightened_takes_nothing_away(self, world: World) -> None:
        await deployed(world)
        world.cluster.edit("ModelDeployment", "fraud", gates=TAGS)
        await world.settle()
        assert world.condition("Ready") == ("True", "Serving")
        assert world.live_version == "1"


class TestRuntime:
    OLD = MLMODEL.replace("1.9.1", "1.8.0")

    async def test_each_model_gets_the_image_that_it_was_logged_for(self, world: World) -> None:
        with_catalogue(world, v1_8="server:1.8")
        world.registry.versions["2"] = model_files(2, self.OLD)
        await deployed(world)
        assert image(world) == "server:1"
        await move(world, 2)
        assert image(world) == "server:1.8"
        assert world.status.serving is not None
        assert (world.status.serving.image, world.status.serving.runtime) == ("server:1.8", "sklearn-1.8")

    async def test_without_one_the_version_is_refused(self, world: World) -> None:
        world.registry.versions["2"] = model_files(2, self.OLD)
        await deployed(world)
        await move(world, 2)
        assert world.live_version == "1"
        assert world.condition("Ready") == ("False", "EnvironmentMismatch")

    async def test_the_image_is_found_again_without_the_registry(self, world: World) -> None:
        with_catalogue(world, v1_8="server:1.8")
        world.registry.versions["1"] = model_files(1, self.OLD)
        await deployed(world)
        await move(world, 2)
        world.registry.away = True
        world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", "version": 1})
        await world.settle()
        assert (world.live_version, image(world)) == ("1", "server:1.8")
        world.cluster.edit(
            "ModelDeployment", "fraud", model={"name": "fraud", "version": 1}, resources={"requests": {"cpu": "1"}}
        )
        await world.settle()
        assert (world.live_version, image(world)) == ("1", "server:1.8")

    async def test_the_image_is_found_again_when_the_deployment_is_gone_too(self, world: World) -> None:
        with_catalogue(world, v1_8="server:1.8")
        world.registry.versions["1"] = model_files(1, self.OLD)
        await deployed(world)
        world.registry.away = True
        for key in [key for key in world.cluster.objects if key[0] in ("Deployment", "ReplicaSet")]:
            del world.cluster.objects[key]
        await world.settle()
        assert (world.live_version, image(world)) == ("1", "server:1.8")

    async def test_a_named_runtime_or_an_own_image_is_a_rollout(self, world: World) -> None:
        with_catalogue(world, v1_8="server:1.8")
        await deployed(world)
        world.cluster.edit("ModelDeployment", "fraud", server={"runtime": "sklearn-1.8"})
        await world.settle()
        assert image(world) == "server:1.8"
        world.cluster.edit("ModelDeployment", "fraud", server={"image": "mine:1"})
        await world.settle()
        assert image(world) == "mine:1"

    async def test_a_runtime_that_is_not_there_is_named_and_nothing_moves(self, world: World) -> None:
        await deployed(world)
        world.cluster.edit("ModelDeployment", "fraud", server={"runtime": "sklearn-2.0"})
        await world.settle()
        assert image(world) == "server:1"
        assert world.condition("Ready") == ("False", "RuntimeUnknown")

    async def test_another_catalogue_rolls_no_pod(self, world: World) -> None:
        await deployed(world)
        before = list(world.cluster.writes)
        world.pods = pod_settings(image="server:2")
        world.restart()
        await world.settle()
        assert world.cluster.writes == before


class TestInPods:
    """Version 1 serves; the pods of 2 judge themselves."""

    async def started(self, world: World) -> World:
        """Version 2 is being rolled out, and none of its pods is ready yet."""
        await deployed(world, gates=FAST)
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        await world.reconciler.reconcile(KEY)
        return world

    async def too_slow(self, world: World) -> World:
        """Version 2 was taken back, since its pods found it too slow."""
        await self.started(world)
        world.cluster.crash(code=65, message='{"reason": "LatencyTooHigh", "message": "raise the gate or waive Latency."}')
        await self.taken_back(world)
        assert (world.live_version, world.condition("Ready")) == ("1", ("False", "LatencyTooHigh"))
        return world

    async def unreachable(self, world: World) -> World:
        """Version 2 was taken back, since its pods could not reach the store."""
        await self.started(world)
        await self.without_store(world)
        assert (world.live_version, world.condition("Ready")) == ("1", ("False", "StoreUnavailable"))
        return world

    async def without_store(self, world: World) -> None:
        world.cluster.crash(code=69, message='{"reason": "StoreUnavailable", "message": "no route"}')
        world.cluster.roll(ready=False, deadline_exceeded=True)
        await self.taken_back(world)

    async def taken_back(self, world: World) -> None:
        await world.reconciler.reconcile(KEY)
        world.cluster.forget_pods()
        world.cluster.roll()
        await world.settle()

    def judging_now(self, world: World) -> bool:
        """Whether a pod of the live template that starts now judges itself."""
        judged = judged_by(world)
        return judged is not None and world.now < datetime.fromisoformat(judged["until"])

    def edit(self, world: World, **gates: Any) -> None:
        world.cluster.edit("ModelDeployment", "fraud", gates=gates)

    async def test_files_that_served_are_not_judged_again(self, world: World) -> None:
        await deployed(world, gates=FAST)
        first = judged_by(world)
        assert first is not None
        assert first["maxLatencyP95Milliseconds"] == 20
        world.cluster.edit("ModelDeployment", "fraud", resources={"requests": {"cpu": "1"}})
        await world.settle()
        assert judged_by(world) is None
        await move(world, 2)
        assert judged_by(world) is not None
        await move(world, 1)
        assert judged_by(world) is None

    async def test_only_a_rollout_that_was_complete_has_served(self, world: World) -> None:
        await self.started(world)
        assert [(entry.version, entry.served) for entry in world.status.history] == [("2", False), ("1", True)]
        world.cluster.roll()
        await world.settle()
        world.cluster.roll(ready=False)
        await world.reconciler.reconcile(KEY)
        assert [(entry.version, entry.served) for entry in world.status.history] == [("2", True), ("1", True)]

    async def test_other_settings_in_the_middle_of_its_first_rollout_spare_it_nothing(self, world: World) -> None:
        await self.started(world)
        world.now += timedelta(minutes=4)
        world.cluster.edit("ModelDeployment", "fraud", resources={"limits": {"memory": "2Gi"}})
        await world.reconciler.reconcile(KEY)
        world.now += timedelta(minutes=4)
        assert (world.live_version, self.judging_now(world)) == ("2", True)

    async def test_a_retry_after_its_time_is_judged_anew(self, world: World) -> None:
        await self.unreachable(world)
        world.now += timedelta(minutes=10)
        await world.reconciler.reconcile(KEY)
        assert (world.live_version, self.judging_now(world)) == ("2", True)
        world.cluster.roll()
        await world.settle()
        assert world.condition("Ready") == ("True", "Serving")
        assert world.status.history[0].cause == "Retry"

    async def test_such_retries_too_wait_longer_each_time(self, world: World) -> None:
        await self.unreachable(world)
        delays = []
        for _ in range(3):
            world.now += timedelta(minutes=10)
            await world.reconciler.reconcile(KEY)
            await self.without_store(world)
            delays.append(await world.reconciler.reconcile(KEY))
        assert delays == [120, 240, 480]

    async def test_a_retry_within_its_time_needs_no_other_template(self, world: World) -> None:
        await self.unreachable(world)
        sets = len(world.cluster.replica_sets("fraud"))
        world.now += timedelta(seconds=61)
        await world.settle()
        assert (world.live_version, self.judging_now(world)) == ("2", True)
        assert len(world.cluster.replica_sets("fraud")) == sets

    async def test_a_quarantine_that_a_retry_of_another_version_ended_proves_nothing(self, world: World) -> None:
        await self.too_slow(world)
        await move(world, 3)
        world.cluster.annotate("ModelDeployment", "fraud", **{RETRY_ANNOTATION: "1"})
        await world.settle()
        world.registry.aliases["champion"] = "2"
        await world.reconciler.reconcile(KEY)
        assert (world.live_version, self.judging_now(world)) == ("2", True)

    @pytest.mark.parametrize("on", [{"replicas": 2}, {"autoscaling": {"minReplicas": 2, "maxReplicas": 3}, "replicas": None}])
    async def test_what_was_rolled_out_to_no_pods_is_judged_when_they_come(self, world: World, on: dict[str, Any]) -> None:
        await deployed(world, gates=FAST, replicas=0)
        world.now += timedelta(days=1)
        before = list(world.cluster.writes)
        await world.settle()
        assert world.cluster.writes == before
        world.cluster.edit("ModelDeployment", "fraud", **on)
        await world.reconciler.reconcile(KEY)
        assert (world.deployment["spec"]["replicas"], self.judging_now(world)) == (2, True)

    @pytest.mark.parametrize(("gates", "later"), [({}, 86400), (FAST, 60)])
    async def test_otherwise_pods_come_without_another_rollout(self, world: World, gates: dict[str, Any], later: int) -> None:
        await deployed(world, gates=gates, replicas=0)
        before = world.deployment["spec"]["template"]
        world.now += timedelta(seconds=later)
        world.cluster.edit("ModelDeployment", "fraud", replicas=2)
        await world.settle()
        assert world.deployment["spec"]["template"] == before
        assert world.condition("Ready") == ("True", "Serving")

    async def test_what_served_is_stopped_and_started_without_a_rollout(self, world: World) -> None:
        await deployed(world, gates=FAST, replicas=1)
        before = world.deployment["spec"]["template"]
        for replicas in (0, 1):
            world.now += timedelta(days=1)
            world.cluster.edit("ModelDeployment", "fraud", replicas=replicas)
            await world.settle()
        assert world.deployment["spec"]["template"] == before

    async def test_the_way_out_that_is_told_is_one(self, world: World) -> None:
        await self.too_slow(world)
        ready = world.status.condition("Ready")
        assert ready is not None
        assert "the settings of its pods change, or the gate is raised or waived" in ready.message
        assert world.status.quarantined[0].limit == 20

    @pytest.mark.parametrize(
        "gates",
        [
            {"maxLatencyP95Milliseconds": 2000},
            {"maxLatencyP95Milliseconds": 20, "waivers": [{"version": 2, "gate": "Latency", "reason": "x"}]},
            {"maxLoadSeconds": 5},
        ],
    )
    @pytest.mark.parametrize("remembered", [True, False])
    async def test_a_gate_that_is_raised_or_waived_ends_the_quarantine(
        self, world: World, gates: dict[str, Any], remembered: bool
    ) -> None:
        await self.too_slow(world)
        if not remembered:  # its ReplicaSet is gone: only the status knows
            await move(world, 3)
            for each in world.cluster.replica_sets("fraud"):
                if each["spec"]["template"]["metadata"]["annotations"]["mlserving.dev/model-version"] == "2":
                    del world.cluster.objects["ReplicaSet", "team", each["metadata"]["name"]]
            await move(world, 2)
            assert world.live_version == "3"
        self.edit(world, **gates)
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("2", ("True", "Serving"))
        assert world.status.quarantined == []

    @pytest.mark.parametrize(
        "gates",
        [
            {"maxLatencyP95Milliseconds": 10},
            {"maxLatencyP95Milliseconds": 20, "maxLoadSeconds": 100},
            {"maxLatencyP95Milliseconds": 20, "waivers": [{"version": 2, "gate": "Load", "reason": "x"}]},
            {"maxLatencyP95Milliseconds": 20, "waivers": [{"version": 3, "gate": "Latency", "reason": "x"}]},
        ],
    )
    async def test_no_other_change_of_the_gates_does(self, world: World, gates: dict[str, Any]) -> None:
        await self.too_slow(world)
        self.edit(world, **gates)
        await world.settle()
        assert (world.live_version, world.condition("Ready")) == ("1", ("False", "LatencyTooHigh"))

    async def test_what_served_since_is_not_quarantined_when_the_gate_is_lowered_again(self, world: World) -> None:
        await self.too_slow(world)
        self.edit(world, maxLatencyP95Milliseconds=2000)
        await world.settle()
        self.edit(world, **FAST)
        await move(world, 3)
        await move(world, 2)
        assert (world.live_version, world.condition("Ready")) == ("2", ("True", "Serving"))
        assert world.status.quarantined == []

    async def test_the_first_version_of_all_is_let_through_in_the_same_way(self, world: World) -> None:
        world.cluster.put("ModelDeployment", resource(gates=FAST))
        await world.reconciler.reconcile(KEY)
        world.cluster.roll(ready=False)
        world.cluster.crash(code=65, message='{"reason": "LatencyTooHigh", "message": "m"}')
        await world.reconciler.reconcile(KEY)
        assert world.condition("Ready") == ("False", "LatencyTooHigh")
        self.edit(world, maxLatencyP95Milliseconds=2000)
        await world.reconciler.reconcile(KEY)
        judged = judged_by(world)
        assert judged is not None
        assert judged["maxLatencyP95Milliseconds"] == 2000
        world.cluster.forget_pods()
        world.cluster.roll()
        await world.settle()
        assert world.condition("Ready") == ("True", "Serving")


async def test_pickles_that_are_denied_are_not_rolled_out(world: World) -> None:
    await deployed(world, trust={"pickle": "Deny"})
    assert world.condition("Ready") == ("False", "PickleDenied")
    assert ("Deployment", *KEY) not in world.cluster.objects
