"""Rows as the DataFrame that training had: columns by name, with their dtypes. The only table that needs pandas."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from server import table
from server.table import Column, ColumnType, Rows, Value

DTYPES: Mapping[ColumnType, str] = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "str",
    "datetime": "datetime64[ns]",
}
"""The dtypes that pandas gives these columns when a person reads them from a file, hence those of training.
MLflow's for a date."""

WITH_MISSING: Mapping[ColumnType, str] = {
    **DTYPES,
    "boolean": "object",
    "integer": "float64",
    "long": "float64",
}
"""The same for a column with missing values, for which bool and the integers have no place."""


def frame(columns: Sequence[Column], rows: Rows) -> pd.DataFrame:
    """The rows as scikit-learn wants them: columns by name, dtypes as in training, NaN for what is missing."""
    types = {column.type for column in columns}
    if types == {"double"}:
        return pd.DataFrame(table.array(rows), columns=[column.name for column in columns], copy=False)
    if isinstance(rows, np.ndarray):
        return pd.DataFrame({column.name: _numbers(column, cells) for column, cells in zip(columns, rows.T, strict=True)})
    cells = zip(*rows, strict=True) if rows else ((),) * len(columns)
    return pd.DataFrame({c.name: _series(c, list(values)) for c, values in zip(columns, cells, strict=True)})


def guessed(rows: Rows, names: Sequence[str] | None) -> pd.DataFrame:
    """The rows as pandas understands them, where nobody says what they are; columns are numbered if they have no names."""
    cells = [[np.nan if value is None else value for value in row] for row in rows]
    data = pd.DataFrame(cells, columns=None if names is None else list(names))
    empty = data.columns[data.isna().all()]
    return data.astype(dict.fromkeys(empty, object))  # NaN of no type is missing to encoders and imputers alike


def _series(column: Column, values: list[Value]) -> pd.Series:
    if column.type == "datetime":
        return pd.Series(
            [None if value is None else datetime.fromisoformat(str(value)) for value in values], dtype=DTYPES["datetime"]
        )
    if None not in values:
        return pd.Series(values, dtype=DTYPES[column.type])
    filled = [np.nan if value is None else value for value in values]
    return pd.Series(filled, dtype=WITH_MISSING[column.type])


def _numbers(column: Column, values: npt.NDArray[np.float64]) -> pd.Series:
    dtypes = WITH_MISSING if np.isnan(values).any() else DTYPES
    return pd.Series(values.astype(dtypes[column.type]))
