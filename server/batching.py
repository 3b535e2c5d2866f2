"""The line in front of an engine that takes longer than a thread hop: whoever waits while it works is asked about together.

A batch collects itself while the engine works. After an answer to several, the engine rests for a moment: their clients are
about to ask again, and a call for all of them takes hardly longer than one for half of them. A request on its own never waits.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import numpy as np

from server.engine import Predicted
from server.errors import Overloaded, PredictionTooSlow
from server.table import Rows

PATIENCE = 2.0
"""A request may wait, its own time included, for so many times what it takes alone on average. With the batch that runs when it
comes, that is within three times of what the slower answers of an idle server take."""

SHORT_SECONDS = 0.01
SHORT_LINE = 4
"""Nobody is turned away for a wait that is no longer than this, or because of so few others."""

REST = 0.25
SHORTEST_REST = 0.001
"""The engine rests for this part of what even an empty call would take, if the event loop's clock knows so short a time; less if
all those come back sooner who have just been answered."""

BACK = 2.0
"""Whoever is not back after so many times what an empty call takes is not expected any more."""

Outcome: TypeAlias = Predicted | Exception


@dataclass(frozen=True, slots=True)
class _Waiting:
    rows: Rows
    answered: "asyncio.Future[Predicted]"


class Cost:
    """What a call of the engine takes, in processor time: a fixed part and a part for each row, fitted to the latest calls.

    How the one part relates to the other is the model's nature, and can be told only from calls of different sizes; how long
    both take is the machine's, and can be told from any call.
    """

    FORGETS = 0.98
    """What an observation is still worth when the next one comes."""
    KNOWN = 8
    OUTLIER = 3.0
    """After so many observations, one that is so many times what was expected counts as no more: it was the machine."""
    SPREAD = 0.05
    """From so much variance of the sizes, as a part of their mean square, the two parts can be told from each other."""

    def __init__(self) -> None:
        self._share = 0.0
        """Of what a call for one row takes: the part that each further row takes too."""
        self._n = self._x = self._y = self._xx = self._xy = 0.0

    def observe(self, rows: int, seconds: float) -> None:
        """One call."""
        if self._n > self.KNOWN:
            seconds = min(seconds, self.OUTLIER * self.of(rows))
        keep = self.FORGETS
        self._n = self._n * keep + 1
        self._x = self._x * keep + rows
        self._y = self._y * keep + seconds
        self._xx = self._xx * keep + rows * rows
        self._xy = self._xy * keep + rows * seconds
        variance = self._n * self._xx - self._x * self._x
        if self._y and variance > self.SPREAD * self._n * self._xx:
            slope = min(max((self._n * self._xy - self._x * self._y) / variance, 0.0), self._y / self._x)
            self._share = slope / ((self._y - slope * self._x) / self._n + slope)

    def of(self, rows: int) -> float:
        """The expected seconds; 0 while nothing is known."""
        if not self._n:
            return 0.0
        fixed = 1 - self._share
        return self._y / (fixed * self._n + self._share * self._x) * (fixed + self._share * rows)


class Line:
    """Requests of one event loop, in the order in which they came."""

    def __init__(
        self, ask: Callable[[Rows], tuple[Predicted, float]], pool: Executor, *, max_size: int, max_waiting: int, timeout: float
    ) -> None:
        self._ask = ask
        self._pool = pool
        self._max_size = max_size
        self._max_waiting = max_waiting
        self._timeout = timeout
        self._waiting: deque[_Waiting] = deque()
        self._rows_waiting = 0
        self._asked: Sequence[_Waiting] = ()
        self._rows_awaited = 0
        self._awaited_until = 0.0
        self._rest: asyncio.TimerHandle | None = None
        self.cost = Cost()

    def __len__(self) -> int:
        """How many requests have no answer yet."""
        return len(self._waiting) + len(self._asked)

    async def predict(self, rows: Rows) -> Predicted:
        """The answer to these rows and to no other."""
        if not self.has_room(len(rows)):
            raise Overloaded("This pod has more requests than it can answer soon. Try again in a second.")
        mine = _Waiting(rows, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        self._rows_waiting += len(rows)
        if self._rows_waiting < self._rows_awaited and asyncio.get_running_loop().time() < self._awaited_until:
            self._linger()
        else:
            self._next()
        try:
            async with asyncio.timeout(self._timeout):
                return await mine.answered
        except TimeoutError as e:
            raise PredictionTooSlow("The model did not answer in time.") from e

    def has_room(self, rows: int) -> bool:
        """Whether so many more would be answered soon."""
        if len(self._waiting) < min(SHORT_LINE, self._max_waiting):
            return True
        in_line = self._rows_waiting + rows
        expected = self.cost.of(in_line) + (math.ceil(in_line / self._max_size) - 1) * self.cost.of(0)
        allowed = max(PATIENCE * self.cost.of(rows), SHORT_SECONDS)
        return expected <= allowed and len(self._waiting) < self._max_waiting

    def _next(self) -> None:
        """Ask about all who wait, if the engine is free: as many as fit, and of one form."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._rows_awaited = 0
        if self._asked:
            return
        batch: list[_Waiting] = []
        size = 0
        while self._waiting:
            first = self._waiting[0]
            if batch and (size + len(first.rows) > self._max_size or type(first.rows) is not type(batch[0].rows)):
                break
            self._waiting.popleft()
            self._rows_waiting -= len(first.rows)
            if not first.answered.done():  # whoever gave up is not asked about
                batch.append(first)
                size += len(first.rows)
        if batch:
            self._asked = batch
            asyncio.get_running_loop().run_in_executor(self._pool, self._work, batch).add_done_callback(self._done)

    def _work(self, batch: Sequence[_Waiting]) -> list[Outcome]:
        """In the engine's thread. A batch that fails is asked in halves, until only the one at fault has no answer."""
        try:
            predicted, seconds = self._ask(_joined([one.rows for one in batch]))
        except Exception as e:
            if len(batch) == 1:
                return [e]
            middle = len(batch) // 2
            return self._work(batch[:middle]) + self._work(batch[middle:])
        self.cost.observe(len(predicted.predictions), seconds)
        return list(_apart(predicted, [len(one.rows) for one in batch]))

    def _done(self, worked: "asyncio.Future[list[Outcome]]") -> None:
        asked, self._asked = self._asked, ()
        failed = worked.exception()
        outcomes: Sequence[BaseException | Predicted] = [failed] * len(asked) if failed else worked.result()
        for one, outcome in zip(asked, outcomes, strict=True):
            if one.answered.done():
                continue
            if isinstance(outcome, BaseException):
                one.answered.set_exception(outcome)
            else:
                one.answered.set_result(outcome)
        call, loop = self.cost.of(0), asyncio.get_running_loop()
        several = len(asked) + len(self._waiting) > 1
        if several and call * REST >= SHORTEST_REST / 2 and self._rows_waiting < self._max_size:
            self._rows_awaited = min(self._rows_waiting + sum(len(one.rows) for one in asked), self._max_size)
            self._awaited_until = loop.time() + BACK * call
            if self._waiting:
                self._linger()
        else:
            self._next()

    def _linger(self) -> None:
        """Leave the engine alone for a moment, from the first on who could ask it."""
        if self._rest is None:
            rest = max(REST * self.cost.of(0), SHORTEST_REST)
            self._rest = asyncio.get_running_loop().call_later(rest, self._next)


def _joined(parts: Sequence[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if len(arrays) == len(parts):
        return np.concatenate(arrays)
    return list(chain.from_iterable(parts))


def _apart(predicted: Predicted, sizes: Sequence[int]) -> list[Predicted]:
    if len(sizes) == 1:
        return [predicted]
    if len(predicted.predictions) != sum(sizes):
        raise RuntimeError(f"{sum(sizes)} rows were asked about, and {len(predicted.predictions)} answered")
    parts: list[Predicted] = []
    start = 0
    for size in sizes:
        end = start + size
        probabilities = predicted.probabilities[start:end] if predicted.probabilities is not None else None
        parts.append(Predicted(predictions=predicted.predictions[start:end], probabilities=probabilities))
        start = end
    return parts
