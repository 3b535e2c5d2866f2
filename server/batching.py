"""The line in front of an engine that takes longer than a thread hop: whoever waits while it works is asked about together.

No request is delayed for the sake of a batch: the line is empty and the engine idle, or the next batch collects itself.
"""

import asyncio
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

Outcome: TypeAlias = Predicted | Exception


@dataclass(frozen=True, slots=True)
class _Waiting:
    rows: Rows
    answered: "asyncio.Future[Predicted]"


class Cost:
    """What a call of the engine takes, in processor time: a fixed part and a part for each row, fitted to the latest calls."""

    FORGETS = 0.98
    """What an observation is still worth when the next one comes."""
    KNOWN = 8
    OUTLIER = 3.0
    """After so many observations, one that is so many times what was expected counts as no more: it was the machine."""

    def __init__(self) -> None:
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

    def of(self, rows: int) -> float:
        """The expected seconds; 0 while nothing is known."""
        if not self._n:
            return 0.0
        spread = self._n * self._xx - self._x * self._x
        slope = (self._n * self._xy - self._x * self._y) / spread if spread > 1e-9 * self._n * self._xx else 0.0
        slope = min(max(slope, 0.0), self._y / self._x)
        return (self._y - slope * self._x) / self._n + slope * rows


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
        self.cost = Cost()

    def __len__(self) -> int:
        """How many requests have no answer yet."""
        return len(self._waiting) + len(self._asked)

    async def predict(self, rows: Rows) -> Predicted:
        """The answer to these rows and to no other."""
        self._admit(len(rows))
        mine = _Waiting(rows, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        self._rows_waiting += len(rows)
        self._next()
        try:
            async with asyncio.timeout(self._timeout):
                return await mine.answered
        except TimeoutError as e:
            raise PredictionTooSlow("The model did not answer in time.") from e

    def _admit(self, rows: int) -> None:
        if len(self._waiting) < min(SHORT_LINE, self._max_waiting):
            return
        batches = 1 + (self._rows_waiting + rows) // self._max_size
        expected = self.cost.of(self._rows_waiting + rows) + (batches - 1) * self.cost.of(0)
        allowed = max(PATIENCE * self.cost.of(rows), SHORT_SECONDS)
        if expected > allowed or len(self._waiting) >= self._max_waiting:
            raise Overloaded("This pod has more requests than it can answer soon. Try again in a second.")

    def _next(self) -> None:
        """Ask about all who wait, if the engine is free: as many as fit, and of one form."""
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
        self._next()


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
