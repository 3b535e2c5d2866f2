"""Columns, their types, and rows: the one form in which data reaches a model, whichever way it came in.

Pure. A protocol decodes into rows and knows nothing of scikit-learn; an engine takes rows and knows nothing of JSON.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

ColumnType: TypeAlias = Literal["boolean", "integer", "long", "float", "double", "string", "datetime"]
"""The types of an MLflow signature that a table can have. Bytes and nested types are refused when a model is read."""

NUMBERS: frozenset[ColumnType] = frozenset(("integer", "long", "float", "double"))

Value: TypeAlias = bool | int | float | str | None
"""One cell; None is a missing value, and a date with its time is a text in ISO 8601."""

Row: TypeAlias = Sequence[Value]

Rows: TypeAlias = Sequence[Row] | npt.NDArray[np.float64]
"""Cells in the order of the columns; or, where all columns are numbers, one array of a row each, NaN for what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One feature: its name, its type, and whether every row must have it."""

    name: str
    type: ColumnType
    required: bool = True

    @property
    def numeric(self) -> bool:
        """Whether its values have an order, and so can have bounds."""
        return self.type in NUMBERS


def array(rows: Rows) -> npt.NDArray[np.float64]:
    """The rows as numbers without names, for a model that was trained on such; None becomes NaN."""
    return np.asarray(rows, dtype=np.float64)
