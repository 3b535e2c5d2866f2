"""`make bench-training`: a whole training run beside the bare scikit-learn fits in it, and the optimizer on real tables.

Both read the same file and fit the same pipeline as often, one after the other, each in a process of its own. Writes
`.bench/training.json`, and prints tables.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from tests.bench import report
from tests.clusters.settings import Settings
from tests.contract.mlflow_server import mlflow_server
from training import optimize, search

SIZES = (10_000, 100_000, 1_000_000)
COLUMNS = 30
TREES = 100
DEPTH = 10
FOLDS = 5
LIMITS = {"--max-drop": "0.005", "--max-size": "100MB", "--max-p95": "5ms"}
REAL: dict[str, tuple[Callable[..., Any], str]] = {
    "breast cancer": (load_breast_cancer, "accuracy"),
    "digits": (load_digits, "accuracy"),
    "diabetes": (load_diabetes, "r2"),
}

Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="numbers of rows")
    asked = parser.parse_args()
    out = Settings.read().checkout / ".bench"
    out.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        place = Path(folder)
        with mlflow_server(place, "--serve-artifacts", "--artifacts-destination", str(place / "artifacts")) as uri:
            growth = [_measured(place, uri, rows) for rows in asked.sizes]
            found = [_optimized(place, uri, name) for name in REAL]
    largest = max(growth, key=lambda row: int(row["rows"]))
    figures = {
        **{name: largest[name] for name in ("rows", "peak_memory_ratio", "overhead_ratio")},
        **{name: found[0].get(name) for name in ("size_reduction", "accuracy_drop")},
        **_divided(growth),
        "growth": growth,
        "optimized": found,
        "machine": report.machine(),
    }
    (out / "training.json").write_text(json.dumps(figures, indent=2) + "\n")
    for rows in (growth, found):
        print(f"\n| {' | '.join(rows[0])} |\n|{' --- |' * len(rows[0])}")
        for row in rows:
            print(f"| {' | '.join(str(value) for value in row.values())} |")


# --- a run beside its fits --------------------------------------------------------------------------------------------


def table(rows: int) -> pd.DataFrame:
    """Numbers, half of which say something about two classes."""
    random = np.random.default_rng(rows)
    values = random.normal(size=(rows, COLUMNS))
    weights = np.concatenate([random.normal(size=COLUMNS // 2), np.zeros(COLUMNS - COLUMNS // 2)])
    score = values @ weights + values[:, 0] * values[:, 1] + random.normal(size=rows)
    return pd.DataFrame(values, columns=[f"x{number}" for number in range(COLUMNS)]).assign(y=(score > 0).astype(int))


def _measured(place: Path, uri: str, rows: int) -> Figures:
    path = place / f"{rows}.parquet"
    table(rows).to_parquet(path, index=False)
    print(f"{rows} rows: bare", file=sys.stderr, flush=True)
    bare = _process([sys.executable, "-m", "tests.bench.bare_fits", str(path), str(TREES), str(DEPTH), str(FOLDS)], place)
    fits = json.loads((place / "out").read_text())
    print(f"{rows} rows: run", file=sys.stderr, flush=True)
    run = _process(
        [
            sys.executable, "-m", "training", "run", "--data", str(path), "--target", "y", "--name", f"bench-{rows}",
            "--trees", str(TREES), "--max-depth", str(DEPTH), "--tracking-uri", uri,
        ],
        place,
    )  # fmt: skip
    print((place / "out").read_text(), file=sys.stderr, flush=True)
    path.unlink()
    return {
        "rows": rows,
        "bare fits, s": round(fits["fits"], 1),
        "bare process, s": round(bare["seconds"], 1),
        "run, s": round(run["seconds"], 1),
        "overhead_ratio": round(run["seconds"] / fits["fits"] - 1, 3),
        "CPU bare, s": round(bare["cpu"], 1),
        "CPU run, s": round(run["cpu"], 1),
        "bare peak, MB": round(bare["peak"] / 1e6),
        "run peak, MB": round(run["peak"] / 1e6),
        "peak_memory_ratio": round(run["peak"] / bare["peak"], 2),
    }


def _divided(growth: list[Figures]) -> Figures:
    """What is around the fits, as seconds and megabytes that are the same at any size, and the share that grows with the fits."""
    small, large = (pick(growth, key=lambda row: int(row["rows"])) for pick in (min, max))
    if small is large:
        return {}
    around = [row["run, s"] - row["bare fits, s"] for row in (small, large)]
    share = (around[1] - around[0]) / (large["bare fits, s"] - small["bare fits, s"])
    return {
        "overhead_constant_seconds": round(around[0] - share * small["bare fits, s"], 1),
        "overhead_share_that_grows": round(share, 3),
        "peak_memory_constant_mb": small["run peak, MB"] - small["bare peak, MB"],
    }


def _process(command: list[str], place: Path, *, may_fail: bool = False) -> Figures:
    """A command to its end: seconds, processor time and the peak of its memory."""
    began = time.monotonic()
    with (place / "out").open("wb") as out:
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), 1)])
        _, status, used = os.wait4(pid, 0)
    if status and not may_fail:
        sys.exit(f"error: {' '.join(command)} ended with {status}: {(place / 'out').read_text()}")
    return {
        "failed": bool(status),
        "seconds": time.monotonic() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss * 1024,
    }


# --- the optimizer ----------------------------------------------------------------------------------------------------


def _optimized(place: Path, uri: str, name: str) -> Figures:
    """The choice beside the large model; where only the large one is good enough, it is the choice."""
    load, metric = REAL[name]
    frame = load(as_frame=True).frame
    path, results = place / "real.parquet", place / f"{name}.jsonl"
    frame.to_parquet(path, index=False)
    print(f"{name}: optimize", file=sys.stderr, flush=True)
    command = [
        sys.executable, "-m", "training", "optimize", "--data", str(path), "--target", "target", "--name", name,
        "--metric", metric, "--results", str(results), "--tracking-uri", uri, *(part for pair in LIMITS.items() for part in pair),
    ]  # fmt: skip
    took = _process(command, place, may_fail=True)
    said = (place / "out").read_text()
    print(said, file=sys.stderr, flush=True)
    if took["failed"]:  # none is within the limits, and why stands above
        return {"table": name, "rows": len(frame), "seconds": round(took["seconds"]), "chosen": "none"}
    found = list(optimize.known(results).values())
    limits = search.Limits(
        metric=metric, max_size=search.size(LIMITS["--max-size"]), max_p95=search.duration(LIMITS["--max-p95"])
    )
    choice = search.choose(found, limits)
    tested = next(line.split() for line in said.splitlines() if line.startswith(f"  test {metric}"))
    return {
        "table": name,
        "rows": len(frame),
        "seconds": round(took["seconds"]),
        "chosen": choice.best.spec.short,
        "size_reduction": round(choice.large.size / choice.best.size, 1),
        "accuracy_drop": -float(tested[-1]),
        "fold_drop": round(choice.drop, 4),
        "large file": search.bytes_shown(choice.large.size),
        "chosen file": search.bytes_shown(choice.best.size),
        "large row, p95": search.time_shown(choice.large.row_seconds),
        "chosen row, p95": search.time_shown(choice.best.row_seconds),
        "large memory": search.bytes_shown(choice.large.memory),
        "chosen memory": search.bytes_shown(choice.best.memory),
    }


if __name__ == "__main__":
    main()
