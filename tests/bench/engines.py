"""`python -m tests.bench.engines [WORD...]`: what compiling gains, estimator by estimator, in one process and one thread; of
those whose names have one of the words.

scikit-learn is asked as the server asks it where it serves a model as it is, in turns with the compiled form.
"""

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import threadpoolctl
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from server import compilation, compiled
from server.engine import Engine
from server.report import ENGINE
from server.signature import Columns, Inputs, Vector
from server.table import Column, Rows
from tests.unit.server import compiling

SIZES = (1, 32, 1024, 8192)
ROUNDS, SECONDS = 7, 0.05
"""The best of so many rounds counts, each of about so many seconds: what else the machine does only ever adds."""

TWO = make_classification(4096, 30, n_informative=12, random_state=0)
FIVE = make_classification(4096, 30, n_informative=12, n_classes=5, random_state=0)
NUMBERS = make_regression(4096, 30, noise=10, random_state=0)


def forest() -> Any:
    """The model of the comparison with other servers."""
    return make_pipeline(StandardScaler(), RandomForestClassifier(100, max_depth=10))


MODELS: dict[str, tuple[Any, Any]] = {
    "scaler, random forest (100 trees, depth 10)": (
        make_pipeline(StandardScaler(), RandomForestClassifier(100, max_depth=10)),
        TWO,
    ),
    "the same, 5 classes": (make_pipeline(StandardScaler(), RandomForestClassifier(100, max_depth=10)), FIVE),
    "random forest (500 trees, any depth)": (RandomForestClassifier(500), TWO),
    "extra trees (100)": (ExtraTreesClassifier(100), TWO),
    "bagging (50 trees)": (BaggingClassifier(n_estimators=50), TWO),
    "decision tree": (DecisionTreeClassifier(), TWO),
    "gradient boosting (100)": (GradientBoostingClassifier(), TWO),
    "histogram gradient boosting (100)": (HistGradientBoostingClassifier(), TWO),
    "the same, 5 classes ": (HistGradientBoostingClassifier(), FIVE),
    "random forest, regression (100)": (RandomForestRegressor(100), NUMBERS),
    "histogram gradient boosting, regression": (HistGradientBoostingRegressor(), NUMBERS),
    "scaler, logistic regression": (make_pipeline(StandardScaler(), LogisticRegression()), TWO),
    "ridge": (Ridge(), NUMBERS),
    "calibrated linear SVC": (CalibratedClassifierCV(make_pipeline(StandardScaler(), LinearSVC()), method="isotonic"), TWO),
    "soft vote of forest and logistic regression": (
        VotingClassifier([("a", RandomForestClassifier(50)), ("b", LogisticRegression(max_iter=1000))], voting="soft"),
        TWO,
    ),
    "stack of forest and linear SVC": (StackingClassifier([("a", RandomForestClassifier(50)), ("b", LinearSVC())], cv=2), TWO),
}


def main() -> None:
    """A table in Markdown: microseconds for one row, thousands of rows a second for more, and how many times faster."""
    warnings.simplefilter("ignore")
    print(f"| model | 1 row | {' | '.join(f'{size:,} rows' for size in SIZES[1:])} | largest difference | compiling |")
    print(f"| --- | {' | '.join('---' for _ in SIZES)} | --- | --- |")
    with threadpoolctl.threadpool_limits(limits=1):
        for name, (estimator, (features, target)) in MODELS.items():
            if _wanted(name):
                _line(name.strip(), estimator.fit(features, target), features, None)
        if _wanted(MIXED):
            table, target = people()
            _line(MIXED, mixed().fit(table, target), table, PEOPLE)


def _wanted(name: str) -> bool:
    words = sys.argv[1:]
    return not words or any(word in name for word in words)


MIXED = "imputer, scaler, one-hot encoder, forest (100)"
PEOPLE = Columns(
    columns=(
        Column(name="age", type="long"),
        Column(name="income", type="double", required=False),
        Column(name="plan", type="string"),
        Column(name="city", type="string"),
        Column(name="active", type="boolean"),
    )
)


def people() -> tuple[pd.DataFrame, Any]:
    """A table of all types."""
    random, count = np.random.default_rng(0), 4096
    table = pd.DataFrame(
        {
            "age": random.integers(18, 90, count),
            "income": np.where(random.random(count) > 0.8, np.nan, random.normal(30_000, 9_000, count)),
            "plan": pd.Series(random.choice(["basic", "pro", "free"], count), dtype="str"),
            "city": pd.Series(random.choice([f"city {number}" for number in range(50)], count), dtype="str"),
            "active": random.random(count) > 0.5,
        }
    )
    return table, (table["age"] > 50) ^ (table["plan"] == "pro")


def mixed() -> Any:
    """A pipeline for it."""
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["plan", "city"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income"]),
        remainder="passthrough",
    )
    return make_pipeline(columns, RandomForestClassifier(100, max_depth=10))


def _line(name: str, estimator: Any, features: Any, inputs: Inputs | None) -> None:
    with TemporaryDirectory() as scratch:
        directory = Path(scratch)
        about = compiling.artifact(estimator, directory, inputs or Vector(width=features.shape[1]))
        native = compiling.native(estimator, directory, about.inputs)
        made = compilation.attempt(native, about, compiling.DIGEST, directory, 10**7)
        if made.reason is not None:
            print(f"| {name} | {made.reason} |")
            return
        engine = compiled.load(directory / ENGINE)
        cells = [_compared(native, engine, _rows(features, size)) for size in SIZES]
        print(f"| {name} | {' | '.join(cells)} | {made.worst:.0e} | {made.seconds:.1f} s |", flush=True)


def _rows(features: Any, size: int) -> Rows:
    if isinstance(features, np.ndarray):
        return np.resize(features, (size, features.shape[1]))
    cells = [[None if cell != cell else cell for cell in row] for row in features.astype(object).to_numpy().tolist()]
    return [cells[number % len(cells)] for number in range(size)]


def _compared(native: Engine, engine: Engine, rows: Rows) -> str:
    was, now = _seconds([lambda: native.predict(rows), lambda: engine.predict(rows)])
    if len(rows) == 1:
        return f"{was * 1e6:,.0f} → {now * 1e6:,.0f} µs, {was / now:,.0f} times"
    return f"{len(rows) / was / 1000:,.0f} → {len(rows) / now / 1000:,.0f} k/s, {was / now:,.1f} times"


def _seconds(asked: Sequence[Callable[[], Any]]) -> list[float]:
    """The best time of each, measured in turns."""
    times = []
    for ask in asked:
        started = time.perf_counter()
        ask()
        times.append(max(1, int(SECONDS / (time.perf_counter() - started))))
    best = [float("inf")] * len(asked)
    for _ in range(ROUNDS):
        for number, ask in enumerate(asked):
            started = time.perf_counter()
            for _ in range(times[number]):
                ask()
            best[number] = min(best[number], (time.perf_counter() - started) / times[number])
    return best


if __name__ == "__main__":
    main()
