"""Who spoke last, told to an API server in memory: what a person chose stays, through rollbacks, refusals and crashes, until
they say something else; and what they say is never lost in what somebody else does."""

import itertools
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from controller.api import RECONCILE_ANNOTATION
from controller.cluster import ApiError, Conflict
from tests.unit.controller.fake_registry import model_files
from tests.unit.controller.world import KEY, World, broken, deployed, image, settled, undone

REVISION = "deployment.kubernetes.io/revision"


def ask_for(world: World, **model: Any) -> None:
    world.cluster.edit("ModelDeployment", "fraud", model={"name": "fraud", **model})


async def follow(world: World, *versions: str) -> None:
    """The alias goes from one version to the next, and each serves."""
    for version in versions:
        world.registry.aliases["champion"] = version
        await world.settle()


async def go_back(world: World, revision: int | None = None) -> None:
    """A person does, and the operator has looked at it."""
    world.cluster.undo(to_revision=revision) if revision is not None else world.cluster.undo()
    world.cluster.forget_pods()
    world.cluster.roll()
    await world.settle()


def held(world: World) -> tuple[str, str] | None:
    hold = world.status.hold
    return (hold.by, hold.version) if hold is not None else None


def edit_template(world: World, **annotations: str) -> None:
    world.deployment["spec"]["template"]["metadata"]["annotations"] |= annotations
    world.cluster.edit("Deployment", "fraud")
    world.cluster.roll()


def prune(world: World, limit: int = 10) -> None:
    """Of the empty ReplicaSets, the Deployment controller keeps so many."""

    def revision(of: dict[str, Any]) -> int:
        return int(of["metadata"]["annotations"][REVISION])

    live = revision(world.deployment)
    old = sorted((each for each in world.cluster.replica_sets("fraud") if revision(each) != live), key=revision)
    for each in old[: max(0, len(old) - limit)]:
        del world.cluster.objects["ReplicaSet", "team", each["metadata"]["name"]]


class TestAfterARollback:
    async def test_what_a_person_took_back_is_not_put_back_by_the_operator(self, world: World) -> None:
        await undone(world)
        ask_for(world, version=3)
        await world.reconciler.reconcile(KEY)
        for each in world.cluster.replica_sets("fraud"):
            each["status"] = {"readyReplicas": 0}
        world.cluster.roll(ready=False)
        world.cluster.crash(code=65, message=json.dumps({"reason": "LoadFailed", "message": "m"}))
        await settled(world)
        assert world.live_version == "1"

    async def test_an_undo_that_knows_of_an_unmet_wish_is_held(self, world: World) -> None:
        await deployed(world)
        await follow(world, "3")
        await settled(await broken_again(world, "2"))
        assert (world.live_version, held(world)) == ("3", ("Operator", "3"))
        await ask_while_away(world, 4)
        await go_back(world, 1)
        world.registry.away = False
        await world.settle()
        assert (world.live_version, held(world)) == ("1", ("Person", "1"))

    async def test_an_undo_between_the_mark_and_the_rollback_is_a_persons(self, world: World) -> None:
        await deployed(world)
        await fail_by_the_cluster(world, "2")
        world.cluster.broken_patch = "Deployment"  # the leader is killed when it has left the mark
        with pytest.raises(ConnectionError):
            await world.reconciler.reconcile(KEY)
        world.cluster.undo()
        world.cluster.forget_pods()
        world.cluster.roll()
        world.restart()
        await world.settle()
        assert held(world) == ("Person", "1")
        world.now += timedelta(hours=2)
        await world.settle()
        assert world.live_version == "1"

    async def test_an_undo_of_a_rollback_and_back_again_is_a_persons(self, world: World) -> None:
        await deployed(world)
        await follow(world, "2")
        await fail_by_the_cluster(world, "3")
        await settled(world)
        assert held(world) == ("Operator", "2")
        await go_back(world, 1)
        world.now += timedelta(days=3)
        await world.settle()
        (second,) = (
            int(each["metadata"]["annotations"][REVISION])
            for each in world.cluster.replica_sets("fraud")
            if each["spec"]["template"]["metadata"]["annotations"]["mlserving.dev/model-version"] == "2"
        )
        await go_back(world, second)
        assert (world.live_version, held(world)) == ("2", ("Person", "2"))


class TestDuringAHold:
    async def test_an_undo_that_knows_of_an_unmet_wish_is_held(self, world: World) -> None:
        await deployed(world)
        await follow(world, "3", "2")
        await go_back(world)
        await ask_while_away(world, 4)
        await go_back(world, 1)
        world.registry.away = False
        await world.settle()
        assert (world.live_version, held(world)) == ("1", ("Person", "1"))

    async def test_the_word_from_before_a_mistake_ends_it(self, world: World) -> None:
        await deployed(world)
        await follow(world, "2")
        ask_for(world, version=77)
        await world.settle()
        await go_back(world)
        assert held(world) == ("Person", "1")
        ask_for(world, alias="champion")
        await world.settle()
        assert (world.live_version, held(world)) == ("2", None)

    async def test_a_wish_from_before_it_that_is_said_again_ends_it(self, world: World) -> None:
        await deployed(world)
        await follow(world, "2")
        await ask_while_away(world, 3)
        ask_for(world, alias="champion")
        await world.settle()
        await go_back(world)
        world.registry.away = False
        await world.settle()
        assert held(world) == ("Person", "1")
        ask_for(world, version=3)
        await world.settle()
        assert world.live_version == "3"

    async def test_a_deleted_deployment_comes_back_with_it_while_the_spec_has_a_mistake(self, world: World) -> None:
        await undone(world)
        ask_for(world, version=77)
        await world.settle()
        for kind, *name in [key for key in world.cluster.objects if key[0] in ("Deployment", "ReplicaSet")]:
            del world.cluster.objects[kind, name[0], name[1]]
        await world.settle()
        ask_for(world, alias="champion")
        await world.settle()
        assert (world.live_version, held(world)) == ("1", ("Person", "1"))


class TestWhatIsRefused:
    async def test_an_undo_that_knows_of_it_is_held(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        await deployed(world)
        await follow(world, "2")
        patch = world.cluster.patch

        async def frozen(kind: str, live: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
            if any(operation["path"] == "/spec/template" for operation in operations):
                raise ApiError(403, "Forbidden", "no rollouts during the freeze")
            return await patch(kind, live, operations)

        with monkeypatch.context() as freeze:
            freeze.setattr(world.cluster, "patch", frozen)
            ask_for(world, version=3)
            await world.settle()
            assert world.condition("Ready") == ("False", "WriteRefused")
            await go_back(world)
        await world.settle()
        assert (world.live_version, held(world)) == ("1", ("Person", "1"))


class TestWhileTheRegistryIsAsked:
    async def test_what_is_said_meanwhile_counts(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        resolve = world.registry.resolve

        async def slow(reference: Any) -> Any:
            world.now += timedelta(seconds=12)
            world.cluster.annotate("ModelDeployment", "fraud", **{RECONCILE_ANNOTATION: "disabled"})
            return await resolve(reference)

        monkeypatch.setattr(world.registry, "resolve", slow)
        with pytest.raises(Conflict):
            await world.reconciler.reconcile(KEY)
        await world.settle()
        assert (world.live_version, world.condition("Ready")[1]) == ("1", "ReconcileDisabled")


class TestEdits:
    @pytest.mark.parametrize("annotation", ["kubectl.kubernetes.io/restartedAt", "reloader.example.com/last-reloaded-from"])
    async def test_the_twelfth_restart_is_left_alone_like_the_first(self, world: World, annotation: str) -> None:
        await deployed(world)
        for number in range(1, 13):
            edit_template(world, **{annotation: str(number)})
            prune(world)
            await world.settle()
        assert world.deployment["spec"]["template"]["metadata"]["annotations"][annotation] == "12"
        assert len(world.cluster.replica_sets("fraud")) == 11

    async def test_an_edit_that_never_ends_does_not_keep_a_rollback_out(self, world: World) -> None:
        await deployed(world)
        await follow(world, "2")
        ask_for(world, version=1)
        for _ in range(6):
            world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror:1"
            world.cluster.edit("Deployment", "fraud")
            world.cluster.roll()
            await world.reconciler.reconcile(KEY)
            world.now += timedelta(minutes=2)
        assert world.live_version == "1"

    @pytest.mark.parametrize(("story", "by"), [(broken, "Operator"), (undone, "Person")], ids=["the operator", "a person"])
    async def test_one_that_is_put_back_changes_nothing_of_a_hold(
        self, world: World, story: Callable[[World], Awaitable[World]], by: str
    ) -> None:
        await settled(await story(world))
        before = world.status.hold
        assert before is not None
        assert before.by == by
        world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror:1"
        world.cluster.edit("Deployment", "fraud")
        world.cluster.roll()
        await world.reconciler.reconcile(KEY)
        assert (image(world), world.status.hold) == ("server:1", before)
        world.cluster.roll()
        await world.settle()
        assert world.status.hold == before

    async def test_one_that_is_put_back_at_once_is_told_too(self, world: World) -> None:
        await deployed(world)
        before = image(world)
        world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror:1"
        world.cluster.edit("Deployment", "fraud")  # and the Deployment controller has not seen it yet
        await world.reconciler.reconcile(KEY)
        assert image(world) == before
        assert world.cluster.events[-1][1] == "EditReverted"


class TestWhatServedOnce:
    async def test_a_crash_weeks_later_is_no_failed_rollout(self, world: World) -> None:
        await deployed(world, replicas=1)
        await follow(world, "2")
        world.now += timedelta(days=20)
        for each in world.cluster.replica_sets("fraud"):
            each["status"] = {"readyReplicas": 0}
        world.cluster.roll(ready=False)
        world.cluster.crash(reason="OOMKilled", code=137)
        for _ in range(3):
            await world.reconciler.reconcile(KEY)
        assert (world.live_version, world.condition("Ready")) == ("2", ("False", "OutOfMemory"))
        await settled(world)
        assert (world.live_version, world.status.quarantined) == ("2", [])

    async def test_is_gone_back_to_after_many_attempts_that_left_nothing_ready(self, world: World) -> None:
        await deployed(world)
        world.registry.aliases["champion"] = "2"
        for attempt in itertools.count(1):
            world.now += timedelta(hours=2)
            await world.reconciler.reconcile(KEY)
            for each in world.cluster.replica_sets("fraud"):
                each["status"] = {"readyReplicas": 0}
            world.cluster.roll(ready=False)
            await world.reconciler.reconcile(KEY)
            if attempt == 8:
                break
            no_store(world)
            await world.reconciler.reconcile(KEY)
            world.cluster.forget_pods()
            world.cluster.roll(ready=False)
            await world.settle(ready=False)
        world.cluster.crash(code=65, message=json.dumps({"reason": "LoadFailed", "message": "m"}))
        await world.reconciler.reconcile(KEY)
        assert world.live_version == "1"


async def broken_again(world: World, version: str) -> World:
    """The alias moves on to a version whose pods find it at fault."""
    world.registry.aliases["champion"] = version
    await world.reconciler.reconcile(KEY)
    world.cluster.roll(ready=False)
    world.cluster.crash(code=65, message=json.dumps({"reason": "LoadFailed", "message": "m"}))
    return world


async def fail_by_the_cluster(world: World, version: str) -> None:
    """The alias moves on to a version whose pods do not get their model."""
    world.registry.aliases["champion"] = version
    await world.reconciler.reconcile(KEY)
    no_store(world)


def no_store(world: World) -> None:
    world.cluster.crash(code=69, message=json.dumps({"reason": "StoreUnavailable", "message": "no route"}))
    world.cluster.roll(ready=False, deadline_exceeded=True)


async def ask_while_away(world: World, version: int) -> None:
    """The spec asks for a version while the registry does not answer."""
    world.registry.versions[str(version)] = model_files(version)
    world.registry.away = True
    ask_for(world, version=version)
    await world.settle()
