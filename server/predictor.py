"""An engine asked by requests: on the event loop where that is faster than a hop to a thread, else in line; and measured."""

import asyncio
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import threadpoolctl

from server.admission import Place
from server.artifact import Label
from server.batching import TOO_SLOW, Line
from server.engine import Engine, Predicted
from server.errors import PredictionTooSlow, Unanswerable
from server.metrics import Metrics, PredictionClasses
from server.settings import Batching
from server.table import Row, Rows

FEWEST = 20
"""So many a warm-up makes however long they take: of fewer, the slowest says nothing."""

AT_ONCE_ROWS = 32
"""So many rows of a fast engine hold the event loop up for no longer than a few requests do."""


class Predictor:
    """The engine, and the thread in which it works."""

    def __init__(self, engine: Engine, metrics: Metrics, version: str, *, batching: Batching, timeout: float) -> None:
        self._engine = engine
        self._metrics = metrics
        self._version = version
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="predict", initializer=one_thread_each)
        self._line = Line(
            self._measured, self._pool, max_size=batching.max_size, max_waiting=batching.max_waiting, timeout=timeout
        )
        self._at_once = AT_ONCE_ROWS if engine.fast else 0
        self._timeout = timeout
        self._classes = PredictionClasses(engine.classes)
        metrics.waiting.set_function(self._line.__len__)

    @property
    def hung(self) -> bool:
        """Whether the engine has not come back from a call, and will not."""
        return self._line.hung

    def start(self) -> None:
        """Start the thread now, so that no request waits for it."""
        self._pool.submit(threading.get_ident).result()

    def warm_up(self, row: Row, times: int, seconds: float) -> list[float]:
        """How long predictions of one row take, as requests will have them made: `times`, or as many as fit into `seconds`."""

        def work() -> list[float]:
            took: list[float] = []
            while len(took) < times and (len(took) < FEWEST or sum(took) < seconds):
                started = time.perf_counter()
                _, cost = self._measured((row,))
                took.append(time.perf_counter() - started)
                self._line.cost.observe(1, cost, took[-1] - cost)
            return took

        return self._pool.submit(work).result()

    async def predict(self, rows: Rows, started: float, place: Place | None = None) -> tuple[Predicted, float]:
        """The answer to the rows of a request that was complete at `started` (on `time.perf_counter`), and its seconds."""
        try:
            if len(rows) <= self._at_once:
                predicted = self._engine.predict(rows)
            else:
                predicted = await self._line.predict(rows, place)
        except ValueError as e:
            raise Unanswerable("The model does not take these values, although each is of the right type.") from e
        require_finite(predicted)
        seconds = time.perf_counter() - started
        self.count(predicted.predictions, seconds)
        return predicted, seconds

    def place(self) -> Place | None:
        """In the line of an engine, for a request of one row; None if it would not be answered soon."""
        return self._line.place()

    def in_line(self, row: Rows, place: Place) -> "asyncio.Future[Predicted]":
        """The answer to a row that has a place; an error, if there is none in time."""
        place.leave()
        answered = self._line.enter(row)
        late = asyncio.get_running_loop().call_later(self._timeout, _give_up, answered)
        answered.add_done_callback(lambda _: late.cancel())
        return answered

    def at_once(self, rows: Rows) -> Predicted:
        """The answer of a fast engine to the rows of several requests. Raises if there is none to only one of them."""
        predicted = self._engine.predict(rows)
        if len(predicted.predictions) != len(rows):
            raise RuntimeError(f"{len(rows)} rows were asked about, and {len(predicted.predictions)} answered")
        require_finite(predicted)
        return predicted

    def count(self, predictions: Sequence[Label | list[Label]], seconds: float) -> None:
        """A request has got these predictions, after so many seconds."""
        self._metrics.latency.observe(seconds)
        for label in predictions:
            self._metrics.predictions.count(self._version, self._classes.of(label))

    def close(self) -> None:
        """Let go of the thread; what it is at is finished first."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _measured(self, rows: Rows) -> tuple[Predicted, float]:
        """The answer, and the seconds of processor time that it cost: those that pass on a busy node say nothing of the model."""
        started = time.thread_time()
        return self._engine.predict(rows), time.thread_time() - started


def require_finite(predicted: Predicted) -> None:
    """Numbers that JSON has, or an error that says for which row there is none."""
    rows = predicted.probabilities
    for number, label in enumerate(predicted.predictions):
        if (type(label) is int or type(label) is str or all(math.isfinite(x) for x in _flat(label) if isinstance(x, float))) and (
            rows is None or math.isfinite(sum(rows[number]))
        ):
            continue
        where = f" (row {number + 1})" if len(predicted.predictions) > 1 else ""
        raise Unanswerable(f"The model's answer to these values is not a number{where}.")


def _give_up(answered: "asyncio.Future[Predicted]") -> None:
    if not answered.done():
        answered.set_exception(PredictionTooSlow(TOO_SLOW))


def _flat(label: Label | list[Label]) -> Sequence[Label]:
    return label if isinstance(label, list) else (label,)


def one_thread_each() -> None:
    """For what this thread computes. Parallelism comes from the requests: BLAS and OpenMP would fight over the same cores."""
    threadpoolctl.threadpool_limits(limits=1)
