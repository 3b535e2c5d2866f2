"""News are told once, whenever the operator is killed and whatever it is refused."""

import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kubernetes.aio import client

from controller.cluster import Cluster, Conflict
from controller.index import Index
from controller.ports import Key
from tests.unit.controller.factories import resource
from tests.unit.controller.world import KEY, World, deployed

VERBS = ("patch", "replace_status", "announce")


class Killed(BaseException):
    """As SIGKILL: nothing of the process goes on."""


class Mortal(World):
    """A world whose operator is killed just before each thing that it writes, once, and started again."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.kills: set[str] = set()
        for verb in VERBS:
            setattr(self.cluster, verb, self._watched(verb, getattr(self.cluster, verb)))

    def restart(self) -> None:
        super().restart()
        mortal = self.reconciler.reconcile

        async def reconcile(key: Key) -> float | None:
            try:
                return await mortal(key)
            except Killed:
                self.restart()
                return await self.reconciler.reconcile(key)

        self.reconciler.reconcile = reconcile  # type: ignore[method-assign]

    def _watched(self, verb: str, write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def written(*arguments: Any) -> Any:
            what = json.dumps([verb, *arguments], sort_keys=True)
            if what not in self.kills:
                self.kills.add(what)
                raise Killed
            return await write(*arguments)

        return written


async def told(world: World) -> list[str]:
    """What is told of a rollout, one that fails, and an edit by hand."""
    await deployed(world)
    world.registry.aliases["champion"] = "2"
    await world.reconciler.reconcile(KEY)
    world.cluster.roll(ready=False)
    await world.reconciler.reconcile(KEY)
    world.cluster.crash(code=65, message='{"reason": "ExampleMismatch", "message": "row 1"}')
    await world.reconciler.reconcile(KEY)
    world.cluster.forget_pods()
    world.cluster.roll()
    await world.settle()
    world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "somebodys:1"
    world.cluster.edit("Deployment", "fraud")
    world.cluster.roll()
    await world.settle()
    return [reason for _, reason, _ in world.cluster.events]


async def test_whatever_it_is_killed_before_each_is_told_once(world: World, tmp_path: Path) -> None:
    expected = ["RolloutStarted", "Serving", "RolloutStarted", "ExampleMismatch", "RolledBack", "EditReverted"]
    assert await told(world) == expected
    mortal = Mortal(tmp_path)
    assert await told(mortal) == expected
    assert len(mortal.kills) > len(expected) + 10


async def test_a_status_that_is_refused_is_told_of_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    written, refusals = world.cluster.replace_status, [Conflict(409, "Conflict", "somebody wrote first")] * 3

    async def refuse(*arguments: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return await written(*arguments)

    monkeypatch.setattr(world.cluster, "replace_status", refuse)
    world.registry.aliases["champion"] = "9"
    world.cluster.put("ModelDeployment", resource())
    for _ in range(3):
        with pytest.raises(Conflict):
            await world.reconciler.reconcile(KEY)
    await world.settle()
    assert [reason for _, reason, _ in world.cluster.events] == ["ModelNotFound"]


async def test_a_status_that_was_lost_starts_no_rollout(world: World) -> None:
    await deployed(world)
    world.cluster.objects["ModelDeployment", *KEY].pop("status")
    world.cluster.events.clear()
    world.cluster.event_names.clear()
    world.restart()
    await world.settle()
    assert [reason for _, reason, _ in world.cluster.events] == ["Serving"]


@pytest.mark.parametrize(
    ("answer", "logged"),
    [
        (201, ["Serving"]),
        ({"code": 409, "reason": "AlreadyExists"}, []),
        ({"code": 403, "reason": "Forbidden"}, ["EventRefused", "Serving"]),
        (TimeoutError(), ["EventRefused", "Serving"]),
    ],
    ids=["taken", "told before", "refused", "no answer"],
)
async def test_an_event_that_is_not_taken_stops_nothing(answer: Any, logged: list[str], caplog: pytest.LogCaptureFixture) -> None:
    class Wire:
        configuration = SimpleNamespace(host="")

        async def update_params_for_auth(self, *_: Any) -> None: ...

        async def call_api(self, *_: Any, **__: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer

            async def read() -> bytes:
                return json.dumps(answer if isinstance(answer, dict) else {}).encode()

            return SimpleNamespace(status=answer["code"] if isinstance(answer, dict) else answer, read=read)

    about = resource()
    about["metadata"] |= {"uid": "1", "resourceVersion": "1"}
    with caplog.at_level(logging.INFO):
        await Cluster(cast(client.ApiClient, Wire()), Index()).announce(about, "Normal", "Serving", "it does", "now")
    assert [record.getMessage() for record in caplog.records] == logged
