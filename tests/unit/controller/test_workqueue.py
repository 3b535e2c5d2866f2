"""The queue: once in line, never twice at once, and the last event always counts."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from controller import workqueue
from controller.cluster import Conflict
from controller.workqueue import WorkQueue


@asynccontextmanager
async def running(work: Callable[[str], Awaitable[float | None]], concurrency: int = 4) -> AsyncIterator[WorkQueue[str]]:
    queue: WorkQueue[str] = WorkQueue(work, concurrency)
    task = asyncio.create_task(queue.run())
    yield queue
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_key_is_in_line_once() -> None:
    done: Counter[str] = Counter()
    finished = asyncio.Event()

    async def work(key: str) -> None:
        done[key] += 1
        if key == "last":
            finished.set()

    async with running(work, concurrency=1) as queue:
        for key in ("a", "a", "b", "a", "last"):
            queue.add(key)
        await asyncio.wait_for(finished.wait(), 5)
    assert done == {"a": 1, "b": 1, "last": 1}


async def test_an_event_during_the_work_has_it_done_again_and_never_twice_at_once() -> None:
    active, most, runs = 0, 0, 0
    gate, first, second = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(key: str) -> None:
        nonlocal active, most, runs
        active, runs = active + 1, runs + 1
        most = max(most, active)
        (first if runs == 1 else second).set()
        await gate.wait()
        active -= 1

    async with running(work) as queue:
        queue.add("a")
        await asyncio.wait_for(first.wait(), 5)
        queue.add("a")
        queue.add("a")
        gate.set()
        await asyncio.wait_for(second.wait(), 5)
    assert (runs, most) == (2, 1)


@pytest.mark.parametrize("error", [RuntimeError("boom"), Conflict(409, "Conflict", "")])
async def test_a_failure_is_tried_again(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workqueue, "FIRST_BACKOFF", 0.001)
    monkeypatch.setattr(workqueue, "CONFLICT_DELAY", 0.001)
    tries = 0
    succeeded = asyncio.Event()

    async def work(key: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise error
        succeeded.set()

    async with running(work) as queue:
        queue.add("a")
        await asyncio.wait_for(succeeded.wait(), 5)
    assert tries == 3


async def test_work_that_asks_for_it_is_done_again_later() -> None:
    runs = 0
    twice = asyncio.Event()

    async def work(key: str) -> float | None:
        nonlocal runs
        runs += 1
        if runs == 2:
            twice.set()
            return None
        return 0.001

    async with running(work) as queue:
        queue.add("a")
        await asyncio.wait_for(twice.wait(), 5)


async def test_one_key_that_hangs_does_not_hold_up_the_others() -> None:
    other = asyncio.Event()

    async def work(key: str) -> None:
        if key == "hangs":
            await asyncio.Event().wait()
        other.set()

    async with running(work, concurrency=2) as queue:
        queue.add("hangs")
        queue.add("other")
        await asyncio.wait_for(other.wait(), 5)
