"""The line in front of an engine that takes longer than a thread hop: whoever waits while it works is asked about together.

A batch collects itself while the engine works. After an answer to several, the engine rests for a moment: their clients are
about to ask again, and a call for all of them takes hardly longer than one for half of them. A request on its own never waits.

A short call is made on the event loop. What scikit-learn does is mostly Python: in a thread it would take turns with the loop,
request by request, and on a busy machine each turn takes milliseconds. What a call takes is told by the number of its rows, so a
model for which that is not so is asked in a thread.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import numpy as np

from server.admission import Admission, Cost, Place
from server.engine import Predicted
from server.errors import Overloaded, PredictionTooSlow
from server.table import Rows

REST = 0.25
SHORTEST_REST = 0.001
"""The engine rests for this part of what even an empty call would take, if the event loop's clock knows so short a time; less if
all those come back sooner who have just been answered."""

BACK = 2.0
"""Whoever is not back after so many times what an empty call takes is not expected any more."""

SHORT_CALL_SECONDS = 0.01
"""A call that takes no longer is made on the event loop: probes may wait for a few of them."""

FAR_TOO_LONG_SECONDS = 0.25
MISTRUST_SECONDS = 60.0
"""Where such a call held the event loop up for so long, none is made there for a minute."""

LONG_TEXT = 1000
"""Characters. What a call with a longer text takes, its rows do not tell."""

HUNG = 2.0
"""A call that takes so many times as long as anybody waits for it will not end."""

TOO_SLOW = "The model did not answer in time."

Outcome: TypeAlias = Predicted | Exception


@dataclass(frozen=True, slots=True)
class _Waiting:
    rows: Rows
    answered: "asyncio.Future[Predicted]"


class Line:
    """Requests of one event loop, in the order in which they came."""

    def __init__(
        self, ask: Callable[[Rows], tuple[Predicted, float]], pool: Executor, *, max_size: int, max_waiting: int, timeout: float
    ) -> None:
        self._ask = ask
        self._pool = pool
        self._max_size = max_size
        self._timeout = timeout
        self._waiting: deque[_Waiting] = deque()
        self._rows_waiting = 0
        self._asked: Sequence[_Waiting] = ()
        self._asked_at = 0.0
        self._mistrusted_until = 0.0
        self._rows_awaited = 0
        self._awaited_until = 0.0
        self._rest: asyncio.TimerHandle | None = None
        self._begins = False
        self.cost = Cost()
        self._admission = Admission(self.cost, max_size=max_size, max_waiting=max_waiting)

    def __len__(self) -> int:
        """How many requests have no answer yet."""
        return len(self._waiting) + len(self._asked)

    @property
    def hung(self) -> bool:
        """Whether the engine is at a call that nobody has waited for since long."""
        return bool(self._asked) and time.perf_counter() - self._asked_at > HUNG * self._timeout

    async def predict(self, rows: Rows, place: Place | None = None) -> Predicted:
        """The answer to these rows and to no other. A place is for one row: of more, it is asked whether they may wait."""
        if place is not None:
            place.leave()
        if (place is None or len(rows) > 1) and not self._admits(len(rows)):
            raise Overloaded("This pod has more requests than it can answer soon. Try again in a second.")
        answered = self.enter(rows)
        try:
            async with asyncio.timeout(self._timeout):
                return await answered
        except TimeoutError as e:
            raise PredictionTooSlow(TOO_SLOW) from e

    def enter(self, rows: Rows) -> "asyncio.Future[Predicted]":
        """Wait in line, admitted already."""
        loop = asyncio.get_running_loop()
        mine = _Waiting(rows, loop.create_future())
        self._waiting.append(mine)
        self._rows_waiting += len(rows)
        if self._rows_waiting < self._rows_awaited and loop.time() < self._awaited_until:
            self._linger()
        else:
            self._soon()
        return mine.answered

    def place(self) -> Place | None:
        """For a request of one row, until it enters or is given up; None if it would not be answered soon."""
        return Place(self._admission) if self._admits(1) else None

    def _admits(self, rows: int) -> bool:
        """Whether so many more would be answered soon. To be asked once for each request."""
        return self._admission.admits(
            rows,
            waiting=len(self._waiting),
            rows_waiting=self._rows_waiting,
            busy=bool(self._asked),
            now=asyncio.get_running_loop().time(),
        )

    def _soon(self) -> None:
        """Ask when all have come whom this turn of the event loop brings."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if not self._begins:
            self._begins = True
            asyncio.get_running_loop().call_soon(self._next)

    def _linger(self) -> None:
        """Leave the engine alone for a moment, from the first on who could ask it."""
        if self._rest is None and not self._begins:
            rest = max(REST * self.cost.of(0), SHORTEST_REST)
            self._rest = asyncio.get_running_loop().call_later(rest, self._soon)

    def _next(self) -> None:
        """Ask about all who wait, if the engine is free: as many as fit, and of one form."""
        self._begins = False
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
        if not batch:
            return
        self._asked, self._asked_at = batch, time.perf_counter()
        self._admission.called()
        if self._is_short(batch, size):
            outcomes = self._work(batch)
            now = time.perf_counter()
            if now - self._asked_at > FAR_TOO_LONG_SECONDS:
                self._mistrusted_until = now + MISTRUST_SECONDS
            self._tell(outcomes)
        else:
            asyncio.get_running_loop().run_in_executor(self._pool, self._work, batch).add_done_callback(self._done)

    def _is_short(self, batch: Sequence[_Waiting], size: int) -> bool:
        """Whether a call of so many rows can be made on the event loop."""
        trusted = self._asked_at >= self._mistrusted_until and self.cost.surely(size, SHORT_CALL_SECONDS)
        return trusted and not any(_has_long_text(one.rows) for one in batch)

    def _work(self, batch: Sequence[_Waiting]) -> list[Outcome]:
        """Wherever the engine works. A batch that fails is asked in halves, until only the one at fault has no answer."""
        started = time.perf_counter()
        try:
            predicted, seconds = self._ask(_joined([one.rows for one in batch]))
        except Exception as e:
            if len(batch) == 1:
                return [e]
            middle = len(batch) // 2
            return self._work(batch[:middle]) + self._work(batch[middle:])
        self.cost.observe(len(predicted.predictions), seconds, time.perf_counter() - started - seconds)
        return list(_apart(predicted, [len(one.rows) for one in batch]))

    def _done(self, worked: "asyncio.Future[list[Outcome]]") -> None:
        failed = worked.exception()
        self._tell([failed] * len(self._asked) if failed else worked.result())

    def _tell(self, outcomes: Sequence[BaseException | Predicted]) -> None:
        """Give everybody their own, and go on."""
        asked, self._asked = self._asked, ()
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
        elif self._waiting:
            self._soon()


def _has_long_text(rows: Rows) -> bool:
    return not isinstance(rows, np.ndarray) and any(type(cell) is str and len(cell) > LONG_TEXT for cell in chain(*rows))


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
