"""Columns, their types, and rows: the one form in which data reaches a model, whichever way it came in.

Pure. A protocol decodes into rows and knows nothing of pandas; a model takes a frame and knows nothing of JSON.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

ColumnType: TypeAlias = Literal["boolean", "integer", "long", "float", "double", "string"]
"""The types of an MLflow signature that a table can have. Dates and nested types are refused when a model is read."""

Value: TypeAlias = bool | int | float | str | None
"""One cell; None is a missing value."""

Row: TypeAlias = Sequence[Value]

DTYPES: Mapping[ColumnType, str] = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "str",
}
"""The dtypes that pandas gives these columns when a person reads them from a file, hence those of training."""

WITH_MISSING: Mapping[ColumnType, str] = {
    **DTYPES,
    "boolean": "object",
    "integer": "float64",
    "long": "float64",
}
"""The same for a column with missing values, for which bool and the integers have no place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One feature: its name, its type, and whether every row must have it."""

    name: str
    type: ColumnType
    required: bool = True

    @property
    def numeric(self) -> bool:
        """Whether its values have an order, and so can have bounds."""
        return self.type not in ("boolean", "string")


def frame(columns: Sequence[Column], rows: Sequence[Row]) -> pd.DataFrame:
    """The rows as scikit-learn wants them: columns by name, dtypes as in training, NaN for what is missing."""
    types = {column.type for column in columns}
    if types == {"double"}:
        return pd.DataFrame(array(rows), columns=[column.name for column in columns], copy=False)
    cells = zip(*rows, strict=True) if rows else ((),) * len(columns)
    return pd.DataFrame({c.name: _series(c, list(values)) for c, values in zip(columns, cells, strict=True)})


def array(rows: Sequence[Row]) -> npt.NDArray[np.float64]:
    """The rows as numbers without names, for a model that was trained on such; None becomes NaN."""
    return np.array(rows, dtype=np.float64)


def _series(column: Column, values: list[Value]) -> pd.Series:
    if None not in values:
        return pd.Series(values, dtype=DTYPES[column.type])
    filled = [np.nan if value is None else value for value in values]
    return pd.Series(filled, dtype=WITH_MISSING[column.type])
