"""From cells to rows that a model can take, or to all that is wrong with them at once."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from server.artifact import Bounds
from server.checked import Checked
from server.columns import ColumnsValidator
from server.signature import Columns, Inputs
from server.vectors import VectorValidator


class Validator(Protocol):
    """What a model takes."""

    @property
    def width(self) -> int | None:
        """How many numbers a row has; None where it may have other values too, or where only the first row tells."""

    def records(self, records: Sequence[Any], *, numbered: bool = True) -> Checked:
        """Rows from JSON objects; raises with every mistake, by the number of its row if they are numbered."""

    def cells(self, rows: Sequence[Any] | npt.NDArray[Any], names: Sequence[str] | None = None) -> Checked:
        """Rows from lists of values under these names, or in the order of the model's features."""

    def unusual(self, rows: npt.NDArray[np.float64]) -> Sequence[int]:
        """Which of some rows of numbers, complete and in the model's order, must be looked at more closely."""


def validator(inputs: Inputs, bounds: Bounds, *, reject_unseen: bool = False) -> Validator:
    """The checks for these inputs; what training has not seen is refused only where that is asked for."""
    if isinstance(inputs, Columns):
        return ColumnsValidator(inputs.columns, bounds, reject_unseen=reject_unseen)
    return VectorValidator(inputs)
