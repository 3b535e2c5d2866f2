"""Keys that want a reconcile: each at most once in line, never twice at the same time, later again when that failed.

A key that is added while it is being worked on is worked on once more afterwards, so the last event always counts. A pass
covers everything that happened before it, so what was put off until later is done with it.

Keys that were never worked on stand in a line of their own, and the two lines take turns: a thousand new resources, or all of
them after a restart, do not keep those waiting that were half done, nor a person who changes one of them.
"""

import asyncio
import contextlib
import heapq
import itertools
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Hashable
from http import HTTPStatus
from typing import Generic, TypeVar

import aiohttp

from controller import metrics
from controller.cluster import AlreadyExists, ApiError, Conflict

K = TypeVar("K", bound=Hashable)

log = logging.getLogger(__name__)

FIRST_BACKOFF = 0.5  # seconds
LAST_BACKOFF = 120.0
ORDINARY_CONFLICTS = 5  # in a row; more are worth a line in the log, and patience
CONFLICT_DELAY = 0.2  # somebody wrote between our read and our write: look again soon
DEADLINE = 120.0  # of one pass: a request that hangs must not hold a worker for ever
STUCK_SECONDS = DEADLINE + 60.0  # a pass that did not even end at its deadline, or keys in line that nobody takes


class WorkQueue(Generic[K]):
    """Runs `work(key)` for added keys; `work` returns seconds until it wants to see the key again, or None."""

    def __init__(self, work: Callable[[K], Awaitable[float | None]], concurrency: int) -> None:
        self._work = work
        self._concurrency = concurrency
        self._new: OrderedDict[K, float] = OrderedDict()  # never worked on; each with the time at which it came
        self._known: OrderedDict[K, float] = OrderedDict()
        self._seen: set[K] = set()
        self._new_is_next = False
        self._ready = asyncio.Semaphore(0)  # as many as there are keys in line
        self._taken = time.monotonic()  # when a key was last taken, or the line was empty
        self._running: dict[K, float] = {}
        self._again: set[K] = set()  # added while running
        self._failures: dict[K, int] = {}
        self._later: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._order = itertools.count()
        self._timer = asyncio.Event()

    def add(self, key: K) -> None:
        """Have `key` worked on soon."""
        if key in self._running:
            self._again.add(key)
        elif key not in self._new and key not in self._known:
            now = time.monotonic()
            if not self.depth:
                self._taken = now
            (self._known if key in self._seen else self._new)[key] = now
            self._ready.release()

    def add_after(self, key: K, delay: float) -> None:
        """Have `key` worked on in `delay` seconds, unless it is to be even sooner."""
        due = time.monotonic() + delay
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._later, (due, next(self._order), key))
            self._timer.set()

    def know_only(self, keys: Collection[K]) -> None:
        """Forget that others were ever worked on: what they were about is gone."""
        self._seen.intersection_update(keys)

    @property
    def depth(self) -> int:
        """How many keys are in line."""
        return len(self._new) + len(self._known)

    @property
    def oldest_seconds(self) -> float:
        """How long the key has been in line that came first."""
        heads = [next(iter(line.values())) for line in (self._new, self._known) if line]
        return time.monotonic() - min(heads) if heads else 0.0

    def stuck(self) -> str | None:
        """What does not move, for the liveness probe."""
        now = time.monotonic()
        hanging = [
            f"{key} is being worked on for {now - since:.0f} s"
            for key, since in self._running.items()
            if now - since > STUCK_SECONDS
        ]
        if self.depth and now - self._taken > STUCK_SECONDS:
            hanging.append(f"{self.depth} keys are in line and none was taken for {now - self._taken:.0f} s")
        return "; ".join(hanging) or None

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_timer())
            for _ in range(self._concurrency):
                group.create_task(self._run_worker())

    async def _run_worker(self) -> None:
        while True:
            await self._ready.acquire()
            key = self._take()
            self._running[key] = time.monotonic()
            try:
                await self._run_once(key)
            finally:
                del self._running[key]
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    def _take(self) -> K:
        lines = (self._new, self._known) if self._new_is_next else (self._known, self._new)
        line = lines[0] or lines[1]
        self._new_is_next = line is self._known
        key, _ = line.popitem(last=False)
        self._seen.add(key)
        self._due.pop(key, None)  # this pass sees it all
        self._taken = time.monotonic()
        return key

    async def _run_once(self, key: K) -> None:
        started = time.monotonic()
        try:
            async with asyncio.timeout(DEADLINE):
                delay = await self._work(key)
        except (Conflict, AlreadyExists) as error:
            metrics.reconciles.labels(result="conflict").inc()
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            if failures <= ORDINARY_CONFLICTS:
                self.add_after(key, CONFLICT_DELAY)
            else:  # somebody keeps writing
                log.warning("Conflict", extra={"retry_seconds": self._back_off(key), "error": str(error)})
        except Exception as error:
            metrics.reconciles.labels(result="error").inc()
            self._failures[key] = self._failures.get(key, 0) + 1
            extra = {"retry_seconds": self._back_off(key), "error": str(error) or type(error).__name__}
            if _away(error):  # where it was asked, and in what order, says nothing about that
                log.warning("ApiServerUnavailable", extra=extra)
            else:
                log.exception("ReconcileFailed", extra=extra)
        else:
            metrics.reconciles.labels(result="ok").inc()
            self._failures.pop(key, None)
            if delay is not None:
                self.add_after(key, delay)
        finally:
            metrics.reconcile_seconds.observe(time.monotonic() - started)

    def _back_off(self, key: K) -> float:
        exponent = min(self._failures[key] - 1, 20)
        delay: float = min(LAST_BACKOFF, FIRST_BACKOFF * 2**exponent) * random.uniform(0.8, 1.2)  # noqa: S311  jitter, no secret
        self.add_after(key, delay)
        return round(delay, 1)

    async def _run_timer(self) -> None:
        while True:
            self._timer.clear()
            now = time.monotonic()
            while self._later and self._later[0][0] <= now:
                due, _, key = heapq.heappop(self._later)
                if self._due.get(key) == due:  # otherwise it has been put off or brought forward since
                    del self._due[key]
                    self.add(key)
            wait = self._later[0][0] - now if self._later else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._timer.wait()


def _away(error: Exception) -> bool:
    """The API server is not there, or says that it cannot serve now."""
    if isinstance(error, ApiError):
        return error.status == HTTPStatus.TOO_MANY_REQUESTS or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return isinstance(error, aiohttp.ClientError | ConnectionError)
