"""This operator takes over from an older one that knew less, and rolls nothing."""

import json
from typing import Any

import pytest

from controller.policy import ServerDefaults
from tests.unit.controller.factories import pod_settings
from tests.unit.controller.test_older_operator import held_by_a_person, serves, taken_back, what_runs
from tests.unit.controller.world import KEY, World

Object = dict[str, Any]


def as_an_older_one_leaves_it(world: World) -> None:
    """Before there were engines: no word of them in a template, and less memory for the step that fetches."""
    for (kind, _, _), body in world.cluster.objects.items():
        if kind not in ("Deployment", "ReplicaSet"):
            continue
        (fetch,) = body["spec"]["template"]["spec"]["initContainers"]
        fetch["resources"] = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}
        assert "engine" not in json.loads(fetch["env"][0]["value"])
    status = world.cluster.objects["ModelDeployment", *KEY]["status"]
    assert "engine" not in status["serving"]


@pytest.mark.parametrize("story", [serves, held_by_a_person, taken_back])
@pytest.mark.parametrize("defaults", [ServerDefaults(), ServerDefaults(engine="Native", ui="Disabled")], ids=["plain", "own"])
async def test_engines_that_come_with_an_upgrade_reach_pods_with_their_next_rollout(
    world: World, story: Any, defaults: ServerDefaults
) -> None:
    await story(world)
    as_an_older_one_leaves_it(world)
    running = what_runs(world)
    world.cluster.writes.clear()
    world.pods = pod_settings(default_server=defaults)
    world.restart()
    await world.settle()
    assert what_runs(world) == running
    assert world.cluster.writes == []


async def test_the_next_rollout_brings_them(world: World) -> None:
    await serves(world)
    as_an_older_one_leaves_it(world)
    world.pods = pod_settings(default_server=ServerDefaults(engine="Native"))
    world.restart()
    world.registry.aliases["champion"] = "2"
    await world.settle()
    (fetch,) = world.deployment["spec"]["template"]["spec"]["initContainers"]
    assert json.loads(fetch["env"][0]["value"])["engine"] == "Native"
