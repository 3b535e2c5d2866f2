"""`python -m tests.bench.in_process`, in the environment of our server: rows a second without HTTP, one thread: scikit-learn as
people call it, and our compiled engine, in turns. Prints JSON."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import threadpoolctl

from server import compiled
from server.report import ENGINE

ROUNDS = 5


def main() -> None:
    told: dict[str, Any] = json.loads(sys.argv[1])
    rows = np.array(json.loads(Path(told["rows"]).read_text()))
    model, engine = joblib.load(told["model"]), compiled.load(Path(told["compiled"]) / ENGINE)
    figures: dict[str, dict[str, float]] = {}
    with threadpoolctl.threadpool_limits(limits=1):
        for size in told["sizes"]:
            some = np.resize(rows, (size, rows.shape[1]))
            listed = some.tolist()
            taken = in_turns([partial(model.predict, some), partial(engine.predict, listed)], told["seconds"] / ROUNDS)
            figures[str(size)] = {"scikit-learn": size / taken[0], "engine": size / taken[1]}
    print(json.dumps(figures))


def in_turns(asked: list[Callable[[], Any]], seconds: float) -> list[float]:
    """The median of the seconds of a call of each."""
    taken: list[list[float]] = [[] for _ in asked]
    for _ in range(ROUNDS):
        for ask, times in zip(asked, taken, strict=True):
            until = time.perf_counter() + seconds
            while (started := time.perf_counter()) < until:
                ask()
                times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in taken]


if __name__ == "__main__":
    main()
