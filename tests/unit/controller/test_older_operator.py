"""This operator as the older one: it starts after a newer one has ended, over what that has written, and rolls nothing."""

import json
from typing import Any

import pytest

from controller.resources.rollouts import FAILED
from tests.unit.controller.world import KEY, World, broken, deployed, undone

Object = dict[str, Any]


def as_a_newer_one_leaves_it(world: World) -> None:
    """Fields, annotations, labels, variables and a condition that this version has never heard of."""
    objects = world.cluster.objects
    status = objects["ModelDeployment", *KEY]["status"]
    status["drift"] = {"score": 0.1}
    status["serving"]["drift"] = 0.1
    for entry in status["history"] + status.get("quarantined", []):
        entry["approvedBy"] = "ada"
    if "hold" in status:
        status["hold"]["until"] = "2099-01-01T00:00:00Z"
    status["conditions"].append({**status["conditions"][0], "type": "DriftFree"})
    for (kind, _, _), body in objects.items():
        if kind == "ModelDeployment":
            continue
        annotations = body["metadata"].setdefault("annotations", {})
        annotations["mlserving.dev/drift"] = "0.1"
        if FAILED in annotations:
            annotations[FAILED] = json.dumps({**json.loads(annotations[FAILED]), "node": "n1"})
        if kind in ("Deployment", "ReplicaSet"):
            template = body["spec"]["template"]
            template["metadata"]["annotations"]["mlserving.dev/drift"] = "0.1"
            template["metadata"]["labels"]["mlserving.dev/drift"] = "0.1"
            template["spec"]["containers"][0]["env"].append({"name": "MLSERVING_DRIFT", "value": "0.1"})


def what_runs(world: World) -> tuple[Object, str]:
    return world.deployment["spec"]["template"], world.live_version


async def serves(world: World) -> None:
    await deployed(world)


async def held_by_a_person(world: World) -> None:
    await undone(world)


async def taken_back(world: World) -> None:
    await broken(world)
    await world.reconciler.reconcile(KEY)
    world.cluster.forget_pods()
    world.cluster.roll()
    await world.settle()


def claims(world: World) -> Object:
    """What status says, apart from when it said so."""
    status = world.status
    return {
        "conditions": {each.type: (each.status, each.reason) for each in status.conditions},
        "serving": status.serving and status.serving.model_dump(exclude={"since"}),
        "hold": status.hold and status.hold.model_dump(exclude={"since"}),
        "quarantined": [(each.version, each.reason) for each in status.quarantined],
        "history": [(each.version, each.rollout, each.cause) for each in status.history],
    }


@pytest.mark.parametrize("story", [serves, held_by_a_person, taken_back])
async def test_what_a_newer_operator_added_is_no_reason_to_roll(world: World, story: Any) -> None:
    await story(world)
    before = claims(world)
    as_a_newer_one_leaves_it(world)
    running = what_runs(world)
    world.cluster.writes.clear()
    world.restart()
    await world.settle()
    assert what_runs(world) == running
    assert claims(world) == before
    assert {(verb, kind) for verb, kind, _ in world.cluster.writes} <= {("status", "ModelDeployment")}
    written = json.dumps(world.cluster.objects["ModelDeployment", *KEY]["status"])
    assert "drift" not in written.lower(), "nobody would keep it true"


@pytest.mark.parametrize("story", [serves, held_by_a_person, taken_back])
@pytest.mark.parametrize(
    "unknown",
    [
        {"hold": {"by": "Schedule", "version": "7"}},
        {"serving": "version 7"},
        {"history": "none"},
        {"conditions": [{"type": "Ready", "status": "Perhaps"}]},
    ],
    ids=lambda unknown: next(iter(unknown)),
)
async def test_what_cannot_be_read_in_a_status_is_found_again(world: World, story: Any, unknown: Object) -> None:
    """A newer operator may know a third word where this one knows two. The rest of the status is as good as before."""
    await story(world)
    before = claims(world)
    running = what_runs(world)
    world.cluster.objects["ModelDeployment", *KEY]["status"].update(unknown)
    world.restart()
    await world.settle()
    assert what_runs(world) == running
    after = claims(world)
    if "history" in unknown:  # of the past, only what is live can be told
        assert [entry[:2] for entry in after.pop("history")] == [entry[:2] for entry in before.pop("history")[:1]]
    assert after == before


async def test_an_entry_of_the_history_that_cannot_be_read_costs_no_other(world: World) -> None:
    await held_by_a_person(world)
    entries = world.cluster.objects["ModelDeployment", *KEY]["status"]["history"]
    wanted = [entry["revision"] for entry in entries]
    entries.insert(1, {"revision": "the seventh"})
    world.restart()
    await world.settle()
    assert [entry.revision for entry in world.status.history] == wanted
