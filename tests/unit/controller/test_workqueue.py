"""The queue: once in line, never twice at once, and the last event always counts."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from controller import workqueue
from controller.cluster import ApiError, Conflict
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


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (aiohttp.ClientConnectionError("refused"), "ApiServerUnavailable"),
        (ConnectionResetError(), "ApiServerUnavailable"),
        (ApiError(503, "ServiceUnavailable", "apiserver is shutting down"), "ApiServerUnavailable"),
        (ApiError(429, "TooManyRequests", "slow down"), "ApiServerUnavailable"),
        (ApiError(403, "Forbidden", "no such right"), "ReconcileFailed"),
        (KeyError("spec"), "ReconcileFailed"),
    ],
)
async def test_an_api_server_that_is_away_is_told_without_a_traceback(
    error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    worked = asyncio.Event()

    async def work(key: str) -> None:
        worked.set()
        raise error

    async with running(work) as queue:
        queue.add("a")
        await asyncio.wait_for(worked.wait(), 5)
    (record,) = caplog.records
    assert (record.message, record.exc_info is None) == (told, told == "ApiServerUnavailable")


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


async def test_what_was_half_done_does_not_wait_for_a_thousand_new_ones() -> None:
    done: list[str] = []
    finished = asyncio.Event()

    async def work(key: str) -> None:
        done.append(key)
        if len(done) == 1:
            for number in range(100):
                queue.add(f"new-{number}")
            queue.add("half-done")
        if key == "new-99":
            finished.set()

    async with running(work, concurrency=1) as queue:
        queue.add("half-done")
        await asyncio.wait_for(finished.wait(), 5)
    assert done.index("half-done", 1) <= 2
    assert len(done) == 102


async def test_a_key_whose_resource_is_gone_is_remembered_no_longer() -> None:
    """What comes under its name later is new, as it would be for another name."""
    done: list[str] = []
    finished = asyncio.Event()

    async def work(key: str) -> None:
        done.append(key)
        if key == "first":
            queue.know_only({"half-done"})
            queue.add("gone")
            queue.add("new")
            queue.add("half-done")
        if len(done) == 6:
            finished.set()

    async with running(work, concurrency=1) as queue:
        queue.add("gone")
        queue.add("half-done")
        queue.add("first")
        await asyncio.wait_for(finished.wait(), 5)
    assert done == ["gone", "half-done", "first", "half-done", "gone", "new"]


async def test_new_ones_do_not_wait_for_what_comes_again_and_again() -> None:
    done: list[str] = []
    finished = asyncio.Event()

    async def work(key: str) -> None:
        await asyncio.sleep(0)  # as real work does, which waits for the API server: else nobody else ever gets a turn
        done.append(key)
        if key == "new":
            finished.set()
        else:
            queue.add("busy-1" if key == "busy-2" else "busy-2")
            if len(done) == 10:
                queue.add("new")

    async with running(work, concurrency=1) as queue:
        queue.add("busy-1")
        queue.add("busy-2")
        await asyncio.wait_for(finished.wait(), 5)
    assert done.index("new") <= 12


async def test_a_burst_of_events_is_one_pass_and_a_pass_covers_what_came_before_it() -> None:
    done: Counter[str] = Counter()
    finished = asyncio.Event()

    async def work(key: str) -> None:
        done[key] += 1
        if key == "last":
            finished.set()

    async with running(work) as queue:
        for _ in range(50):
            queue.add_after("burst", 0.01)
            queue.add_after("covered", 0.01)
        queue.add("covered")
        queue.add_after("last", 0.03)
        await asyncio.wait_for(finished.wait(), 5)
    assert done == {"burst": 1, "covered": 1, "last": 1}


async def test_a_pass_that_hangs_is_ended_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workqueue, "DEADLINE", 0.01)
    monkeypatch.setattr(workqueue, "FIRST_BACKOFF", 0.001)
    again, tries = asyncio.Event(), 0

    async def work(key: str) -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            again.set()
        else:
            await asyncio.Event().wait()

    async with running(work, concurrency=1) as queue:
        queue.add("a")
        await asyncio.wait_for(again.wait(), 5)


async def test_a_queue_that_does_not_move_says_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    started = asyncio.Event()

    async def work(key: str) -> None:
        started.set()
        await asyncio.Event().wait()

    async with running(work, concurrency=1) as queue:
        queue.add("hangs")
        await asyncio.wait_for(started.wait(), 5)
        queue.add("waits")
        assert queue.stuck() is None
        assert queue.depth == 1
        later = time.monotonic() + workqueue.STUCK_SECONDS + 1
        monkeypatch.setattr(time, "monotonic", lambda: later)
        assert queue.stuck() == "hangs is being worked on for 181 s; 1 keys are in line and none was taken for 181 s"
        assert queue.oldest_seconds > workqueue.STUCK_SECONDS
        monkeypatch.undo()


async def test_a_line_that_was_empty_for_long_is_not_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    queue: WorkQueue[str] = WorkQueue(lambda key: asyncio.sleep(0), 1)
    later = time.monotonic() + workqueue.STUCK_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    queue.add("a")
    assert queue.stuck() is None
