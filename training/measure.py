"""How large and how fast a model is where it serves: the server's own engines, each in a process of its own."""

import gc
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import threadpoolctl

from server import artifact, compiled, model
from server.engine import Engine
from server.report import ENGINE
from server.settings import Trust
from server.table import Row

ROUNDS = 3
"""The calmest one counts: whatever else a machine does makes a row slower, and none faster."""
ROWS = 100
SECONDS = 0.5
"""After so long fewer rows have to do, a round."""
BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One engine."""

    load_seconds: float
    row_seconds: float
    batch_seconds: float
    memory: int


class Measuring:
    """Processes that have imported everything, so that what a model adds is seen."""

    def __enter__(self) -> "Measuring":
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._pool = ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def native(self, directory: Path) -> Measured:
        """scikit-learn itself."""
        return self._pool.submit(_measured, directory, None).result()

    def compiled(self, directory: Path, made: Path) -> Measured:
        """What was made of it."""
        return self._pool.submit(_measured, directory, made).result()


def _measured(directory: Path, made: Path | None) -> Measured:
    about = artifact.read(directory)
    gc.collect()
    before, began = _resident(), time.perf_counter()
    engine: Engine = model.load(about, Trust()) if made is None else compiled.load(made / ENGINE)
    load = time.perf_counter() - began
    rows = list(about.example or ())
    with threadpoolctl.threadpool_limits(1):  # as in a pod
        engine.predict(rows[:1])
        memory = _resident() - before
        row = row_seconds(engine, rows)
        many = (rows * BATCH)[:BATCH]
        engine.predict(many)
        began = time.perf_counter()
        engine.predict(many)
        batch = time.perf_counter() - began
    return Measured(load_seconds=load, row_seconds=row, batch_seconds=batch, memory=max(memory, 0))


def row_seconds(engine: Engine, rows: Sequence[Row]) -> float:
    """The 95th of a hundred rows, each asked for alone."""
    return min(_round(engine, rows) for _ in range(ROUNDS))


def _round(engine: Engine, rows: Sequence[Row]) -> float:
    took: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(took) < 5 or (len(took) < ROWS and time.perf_counter() < end):
        row = rows[len(took) % len(rows)]
        began = time.perf_counter()
        engine.predict([row])
        took.append(time.perf_counter() - began)
    return sorted(took)[int(0.95 * (len(took) - 1))]


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
