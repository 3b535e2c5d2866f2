"""The gates in the story: what is refused is not pulled or rolled out, what served before always comes back."""

import json
from typing import Any

import pytest

from tests.unit.controller.factories import catalogue, pod_settings
from tests.unit.controller.fake_registry import MLMODEL, model_files
from tests.unit.controller.world import KEY, World, deployed

ONE_COLUMN = [{"name": "age", "type": "long", "required": True}]
TWO_COLUMNS = [*ONE_COLUMN, {"name": "plan", "type": "string", "required": True}]
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


def image(world: World) -> str:
    return str(world.deployment["spec"]["template"]["spec"]["containers"][0]["image"])


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
    async def test_only_the_first_rollout_of_a_version_is_judged_by_its_pods(self, world: World) -> None:
        gates = {"maxLatencyP95Milliseconds": 20}
        await deployed(world, gates=gates)
        first = judged_by(world)
        assert first is not None
        assert first["maxLatencyP95Milliseconds"] == 20
        world.cluster.edit("ModelDeployment", "fraud", gates=gates, resources={"requests": {"cpu": "1"}})
        await world.settle()
        assert judged_by(world) is None
        await move(world, 2)
        assert judged_by(world) is not None
        await move(world, 1)
        assert judged_by(world) is None


async def test_pickles_that_are_denied_are_not_rolled_out(world: World) -> None:
    await deployed(world, trust={"pickle": "Deny"})
    assert world.condition("Ready") == ("False", "PickleDenied")
    assert ("Deployment", *KEY) not in world.cluster.objects
