"""Tables, settings and pipelines for these tests; each call names only what its test is about."""

from typing import Any

import numpy as np
import pandas as pd

from training.data import Raw, Source
from training.settings import RunSettings
from training.table import Table, checked


def settings(**changes: Any) -> RunSettings:
    """On one processor: threads for five trees would cost more than the trees."""
    given: dict[str, Any] = {"target": "churn", "name": "fraud", "tracking_uri": "http://127.0.0.1:1", "trees": 5, "jobs": 1}
    return RunSettings(**{**given, **changes})


def customers(rows: int = 60, seed: int = 0) -> pd.DataFrame:
    """Numbers, texts, truth values, names that are not ASCII, and a target that can be learned from them."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "Größe": random.normal(170, 10, rows).round(1),
            "age": random.integers(18, 90, rows),
            "plan": random.choice(["basic", "pro", "élite"], rows),
            "active": random.random(rows) > 0.5,
        }
    )
    frame["churn"] = np.where((frame["age"] > 50) | (frame["plan"] == "pro"), "yes", "no")
    return frame


def with_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with a missing value in every third row of each feature."""
    gappy = frame.copy()
    for position, name in enumerate(frame.columns.drop("churn")):
        cells = frame[name].astype(object)
        cells.iloc[position::3] = None
        gappy[name] = cells.infer_objects()
    return gappy


def numbers(rows: int = 60, seed: int = 0) -> pd.DataFrame:
    """Nothing but numbers."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(rows, 3)), columns=["a", "b", "c"])
    frame["churn"] = (frame["a"] + frame["b"] > 0).astype(int)
    return frame


def raw(frame: pd.DataFrame) -> Raw:
    return Raw(frame=frame, source=Source(name="table"))


def table(frame: pd.DataFrame, **changes: Any) -> Table:
    return checked(raw(frame), settings(**changes))
