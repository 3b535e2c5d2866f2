"""What a version carries along so that a server can prove it right: an example, its answer, bounds, where it came from.

Pure. The types are those that the server reads them back with.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from server.artifact import Answer, Bounds, Record
from training.columns import Column
from training.settings import RunSettings
from training.table import Part, Table


def example(part: Part, count: int) -> pd.DataFrame:
    """A few rows, as JSON can hold them: the first of each class, then whatever comes first. None is missing."""
    _, first = np.unique(part.labels, return_index=True)
    others = [row for row in range(len(part.labels)) if row not in set(first)]
    rows = sorted([*sorted(first), *others][:count])
    cells = part.features.iloc[rows].reset_index(drop=True).astype(object)
    return cells.where(cells.notna(), None)


def answer(pipeline: Pipeline, rows: pd.DataFrame) -> Answer:
    """What the pipeline says to these rows, to the last bit."""
    classes = getattr(pipeline, "classes_", None)
    return Answer(
        predictions=pipeline.predict(rows).tolist(),
        probabilities=None if classes is None else pipeline.predict_proba(rows).tolist(),
        classes=None if classes is None else classes.tolist(),
    )


def bounds(part: Part, columns: Sequence[Column], settings: RunSettings) -> Bounds:
    """The lowest and the highest number that training saw in each column, and what a person declared."""
    numbers = part.features[[column.name for column in columns if column.kind == "number"]]
    lows, highs = numbers.min(), numbers.max()
    seen = {name: (float(lows[name]), float(highs[name])) for name in numbers.columns if not np.isnan(lows[name])}
    return Bounds(seen=seen, declared=settings.ranges)


def record(table: Table, train: Part, given: Answer, metrics: Mapping[str, float], settings: RunSettings) -> Record:
    """All that this project adds to an MLflow model. A metric that is no number says nothing."""
    return Record(
        example=given,
        bounds=bounds(train, table.columns, settings),
        data={"fingerprint": table.fingerprint, "rows": len(table.all.labels), "columns": len(table.columns)},
        target=table.target,
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
    )
