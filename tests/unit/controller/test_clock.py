"""A clock that jumps, by an hour or by ten years, either way: it is put in, and nothing is rolled or written because of it."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from tests.unit.controller.factories import NOW
from tests.unit.controller.world import KEY, World, broken, deployed, undone

JUMPS = [timedelta(days=-3650), timedelta(hours=-1), timedelta(hours=1), timedelta(days=3650)]


async def serving(world: World) -> None:
    await deployed(world)


async def held(world: World) -> None:
    await undone(world)


async def quarantined(world: World) -> None:
    await broken(world)
    await world.reconciler.reconcile(KEY)
    world.cluster.forget_pods()
    world.cluster.roll()
    await world.settle()


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("state", [serving, held, quarantined])
async def test_nothing_is_written(world: World, state: Callable[[World], Awaitable[None]], jump: timedelta) -> None:
    await state(world)
    before = list(world.cluster.writes)
    for now in (NOW + jump, NOW, NOW + jump):
        world.now = now
        await world.reconciler.reconcile(KEY)
        world.restart()
        await world.reconciler.reconcile(KEY)
    assert world.cluster.writes == before


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_rollout_in_progress_goes_on(world: World, jump: timedelta) -> None:
    await deployed(world)
    world.registry.aliases["champion"] = "2"
    await world.reconciler.reconcile(KEY)
    world.cluster.roll(ready=False)
    world.now += jump
    await world.reconciler.reconcile(KEY)
    assert (world.live_version, world.condition("Ready")) == ("2", ("False", "RollingOut"))
    world.cluster.roll()
    await world.settle()
    assert (world.live_version, world.condition("Ready")) == ("2", ("True", "Serving"))


@pytest.mark.parametrize("jump", JUMPS)
async def test_an_undo_is_held_all_the_same(world: World, jump: timedelta) -> None:
    await deployed(world)
    world.registry.aliases["champion"] = "2"
    await world.settle()
    world.now += jump
    world.cluster.undo()
    world.cluster.roll()
    await world.settle()
    assert (world.live_version, world.condition("Ready")) == ("1", ("True", "HeldByPerson"))


async def test_what_was_put_back_at_a_later_time_still_counts(world: World) -> None:
    """The clock goes back between one edit of the template and the next: who keeps editing is not fought for ever."""
    await deployed(world)
    for number in range(5):
        world.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = f"rival:{number}"
        world.now -= timedelta(hours=1)
        await world.reconciler.reconcile(KEY)
        world.cluster.roll()
    await world.reconciler.reconcile(KEY)
    assert world.condition("Ready") == ("False", "TemplateContested")
