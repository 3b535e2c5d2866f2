"""One prediction at a time for each thread, off the event loop, measured; and no more in line than can be answered soon."""

import asyncio
import math
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import threadpoolctl

from server.artifact import Label
from server.engine import Engine, Predicted
from server.errors import Overloaded, PredictionTooSlow, Unanswerable
from server.metrics import Metrics, PredictionClasses, label_text
from server.table import Row

FEWEST = 20
"""So many a warm-up makes however long they take: of fewer, the slowest says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The answer to one row."""

    label: Label | list[Label]
    probability: float | None
    """Of the predicted class; None where the model has no probabilities."""
    probabilities: dict[str, float] | None
    seconds: float
    """From the complete request to the answer."""


class Predictor:
    """The model behind a bounded line."""

    def __init__(self, engine: Engine, metrics: Metrics, version: str, *, threads: int, max_waiting: int, timeout: float) -> None:
        self._engine = engine
        self._metrics = metrics
        self._version = version
        self._timeout = timeout
        self._places = threading.BoundedSemaphore(threads + max_waiting)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict", initializer=_one_thread_each)
        self._texts = [label_text(label) for label in engine.classes or ()]
        self._classes = PredictionClasses(engine.classes)

    def start(self) -> None:
        """Start every thread now, so that no request waits for it: each stays here until all are."""
        together = threading.Barrier(self._threads)
        for started in [self._pool.submit(together.wait) for _ in range(self._threads)]:
            started.result()

    def warm_up(self, row: Row, times: int, seconds: float) -> list[float]:
        """How long predictions of one row take, as requests will have them made: `times`, or as many as fit into `seconds`."""

        def work() -> list[float]:
            took: list[float] = []
            while len(took) < times and (len(took) < FEWEST or sum(took) < seconds):
                started = time.perf_counter()
                self._engine.predict((row,))
                took.append(time.perf_counter() - started)
            return took

        return self._pool.submit(work).result()

    async def predict(self, row: Row, started: float) -> Prediction:
        """The answer to one row of a request that was complete at `started` (on `time.perf_counter`)."""
        if not self._places.acquire(blocking=False):
            raise Overloaded("This pod has more requests than it can answer soon. Try again in a second.")
        job = self._pool.submit(self._engine.predict, (row,))
        job.add_done_callback(self._leave)
        with self._metrics.waiting.track_inprogress():
            try:
                async with asyncio.timeout(self._timeout):
                    predicted = await asyncio.wrap_future(job)
            except TimeoutError as e:
                raise PredictionTooSlow("The model did not answer in time.") from e
            except ValueError as e:
                raise Unanswerable("The model does not take these values, although each is of the right type.") from e
        prediction = self._prediction(predicted, started)
        self._metrics.latency.observe(prediction.seconds)
        self._metrics.predictions.labels(self._version, self._classes.of(prediction.label)).inc()
        return prediction

    def close(self) -> None:
        """Let go of the threads; what they are at is finished first."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _: Future[Predicted]) -> None:
        self._places.release()

    def _prediction(self, predicted: Predicted, started: float) -> Prediction:
        label, row = predicted.predictions[0], predicted.probabilities[0] if predicted.probabilities else []
        if not all(map(math.isfinite, row)) or any(isinstance(x, float) and not math.isfinite(x) for x in _flat(label)):
            raise Unanswerable("The model's answer to these values is not a number.")
        probabilities = dict(zip(self._texts, row, strict=True)) if row else None
        return Prediction(
            label=label,
            probability=probabilities[label_text(label)] if probabilities and not isinstance(label, list) else None,
            probabilities=probabilities,
            seconds=time.perf_counter() - started,
        )


def _flat(label: Label | list[Label]) -> list[Label]:
    return label if isinstance(label, list) else [label]


def _one_thread_each() -> None:
    """Parallelism comes from the line of requests: BLAS and OpenMP would only fight each other over the same cores."""
    threadpoolctl.threadpool_limits(limits=1)
