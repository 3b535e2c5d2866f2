"""Keys that want a reconcile: each at most once in line, never twice at the same time, later again when that failed.

A key that is added while it is being worked on is worked on once more afterwards, so the last event always counts.
"""

import asyncio
import contextlib
import heapq
import itertools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from controller import metrics
from controller.cluster import AlreadyExists, Conflict

K = TypeVar("K", bound=Hashable)

log = logging.getLogger(__name__)

FIRST_BACKOFF = 0.5  # seconds
LAST_BACKOFF = 120.0
ORDINARY_CONFLICTS = 5  # in a row; more are worth a line in the log, and patience
CONFLICT_DELAY = 0.2  # somebody wrote between our read and our write: look again soon


class WorkQueue(Generic[K]):
    """Runs `work(key)` for added keys; `work` returns seconds until it wants to see the key again, or None."""

    def __init__(self, work: Callable[[K], Awaitable[float | None]], concurrency: int) -> None:
        self._work = work
        self._concurrency = concurrency
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: set[K] = set()  # in self._ready
        self._running: set[K] = set()
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
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)
            metrics.queue_depth.set(len(self._waiting))

    def add_after(self, key: K, delay: float) -> None:
        """Have `key` worked on in `delay` seconds, unless it is to be even sooner."""
        due = time.monotonic() + delay
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._later, (due, next(self._order), key))
            self._timer.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_timer())
            for _ in range(self._concurrency):
                group.create_task(self._run_worker())

    async def _run_worker(self) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            metrics.queue_depth.set(len(self._waiting))
            self._running.add(key)
            try:
                await self._run_once(key)
            finally:
                self._running.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    async def _run_once(self, key: K) -> None:
        started = time.monotonic()
        try:
            delay = await self._work(key)
        except (Conflict, AlreadyExists) as error:
            metrics.reconciles.labels(result="conflict").inc()
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            if failures <= ORDINARY_CONFLICTS:
                self.add_after(key, CONFLICT_DELAY)
            else:  # somebody keeps writing
                log.warning("Conflict", extra={"resource": str(key), "retry_seconds": self._back_off(key), "error": str(error)})
        except Exception as error:
            metrics.reconciles.labels(result="error").inc()
            self._failures[key] = self._failures.get(key, 0) + 1
            extra = {"resource": str(key), "retry_seconds": self._back_off(key), "error": str(error)}
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
