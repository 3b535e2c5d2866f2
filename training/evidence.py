"""What a version carries along so that a server can prove it right: an example, its answer, bounds, where it came from.

Pure. The types are those that the server reads them back with.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from server.artifact import Answer, Bounds, Record
from server.model import labels
from training.columns import Column
from training.settings import RunSettings
from training.table import Part, Table

SPLIT = ("seed", "test_size")
"""What decides, beside the table, which rows are in the test part."""


def example_rows(part: Part, count: int) -> pd.DataFrame:
    """A few rows: the first of each class, then whatever comes first."""
    first = [] if part.labels.dtype.kind == "f" else sorted(np.unique(part.labels, return_index=True)[1].tolist())
    rows = list(dict.fromkeys([*first, *range(min(count, len(part.labels)))]))[:count]
    return part.features.iloc[sorted(rows)].reset_index(drop=True)


def written(rows: pd.DataFrame) -> pd.DataFrame:
    """The same as JSON can hold them. None is missing."""
    cells = rows.astype(object)
    return cells.where(cells.notna(), None)


def answer(fitted: Any, rows: Any) -> Answer:
    """What a model says to some rows, to the last bit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictions = labels(fitted.predict(rows))
        classes = classes_of(fitted)
        if classes is None or not hasattr(fitted, "predict_proba"):
            return Answer(predictions=predictions)
        return Answer(predictions=predictions, probabilities=fitted.predict_proba(rows).tolist(), classes=classes)


def classes_of(fitted: Any) -> list[Any] | None:
    """The labels of a classifier with one output."""
    classes = getattr(fitted, "classes_", None)
    return labels(classes) if getattr(classes, "ndim", None) == 1 else None


def bounds(part: Part, columns: Sequence[Column], settings: RunSettings) -> Bounds:
    """The lowest and the highest number that training saw in each column, and what a person declared."""
    numbers = part.features[[column.name for column in columns if column.kind == "number"]]
    lows, highs = numbers.min(), numbers.max()
    seen = {name: (float(lows[name]), float(highs[name])) for name in numbers.columns if not np.isnan(lows[name])}
    return Bounds(seen=seen, declared=settings.ranges)


def record(table: Table, train: Part, metrics: Mapping[str, float], settings: RunSettings) -> Record:
    """All that this project adds to an MLflow model. A metric that is no number says nothing."""
    return Record(
        bounds=bounds(train, table.columns, settings),
        data={
            "fingerprint": table.fingerprint,
            "rows": len(train.labels),
            "columns": len(table.columns),
            **settings.model_dump(include=set(SPLIT)),
        },
        target=table.target,
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
    )
