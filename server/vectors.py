"""The checks of rows without names: values in the order of training."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from server.cells import ABSENT, EXPECTED, NUMBERS, WRONG, double, shown, string
from server.checked import MAX_DETAILS, Checked, lists, ragged, sentence
from server.errors import Detail, InvalidFeatures
from server.jsontext import MAX_SHOWN
from server.signature import Vector
from server.table import Row

VECTOR_KEY = "features"
"""Under which a model without names takes its numbers."""


class VectorValidator:
    """For a model without names in its signature: rows of values, or `{"features": [1.0, 2.0]}`.

    Where the estimator remembers names from its training, clients that send a table with these names are understood too.
    """

    def __init__(self, inputs: Vector) -> None:
        self._width = inputs.width
        self._names = inputs.names
        self._numbers = inputs.numbers
        self._optional = inputs.optional
        self._value = EXPECTED["double"] if inputs.numbers else "a single value is expected"

    @property
    def width(self) -> int | None:
        """As the signature or the estimator has it."""
        return self._width if self._numbers else None

    def unusual(self, rows: npt.NDArray[np.float64]) -> Sequence[int]:
        """Nobody knows what is."""
        return ()

    def records(self, records: Sequence[Any], *, numbered: bool = True) -> Checked:
        """Rows from JSON objects with the one key that there is."""
        if self._names and records and all(isinstance(record, dict) and VECTOR_KEY not in record for record in records):
            return self._checked(self._ordered(records, self._names, numbered=numbered), numbered=numbered)
        mistakes: list[Detail] = []
        for number, record in enumerate(records, start=1):
            row = number if numbered else None
            if not isinstance(record, dict):
                mistakes.append(Detail("", f"is {shown(record)}, {self._expected}", row))
                continue
            mistakes += [Detail(key[:MAX_SHOWN], f"is not known, {self._expected}", row) for key in record if key != VECTOR_KEY]
            if not isinstance(record.get(VECTOR_KEY), list):
                mistakes.append(Detail(VECTOR_KEY, f"is {shown(record.get(VECTOR_KEY, ABSENT))}, {self._expected}", row))
        if mistakes:
            raise InvalidFeatures(sentence(mistakes), mistakes[:MAX_DETAILS])
        return self._checked([record[VECTOR_KEY] for record in records], numbered=numbered)

    def cells(self, rows: Sequence[Any] | npt.NDArray[Any], names: Sequence[str] | None = None) -> Checked:
        """Rows of values, in the order of training or under the names of training. Numbers for names are positions."""
        listed = lists(rows) if isinstance(rows, np.ndarray) else rows
        if mistakes := ragged(listed, None if names is None else len(names)):
            raise InvalidFeatures(sentence(mistakes), mistakes[:MAX_DETAILS])
        if self._names and names is not None and list(names) != [str(position) for position in range(len(names))]:
            listed = self._ordered([dict(zip(names, row, strict=True)) for row in listed], self._names, numbered=True)
        return self._checked(listed, numbered=True)

    def _ordered(self, records: Sequence[Mapping[str, Any]], names: Sequence[str], *, numbered: bool) -> list[list[Any]]:
        known = frozenset(names)
        mistakes: list[Detail] = []
        for number, record in enumerate(records, start=1):
            if record.keys() != known:
                of = number if numbered else None
                mistakes += [Detail(name, f"is missing, {self._value}", of) for name in names if name not in record]
                mistakes += [Detail(n[:MAX_SHOWN], "is not a feature of this model", of) for n in record if n not in known]
        if mistakes:
            raise InvalidFeatures(sentence(mistakes), mistakes[:MAX_DETAILS])
        return [[record[name] for name in names] for record in records]

    def _checked(self, rows: Sequence[Any], *, numbered: bool) -> Checked:
        width = self._width or (len(rows[0]) if rows else 0)
        mistakes: list[Detail] = []
        taken_rows: list[Row] = []
        for number, row in enumerate(rows, start=1):
            of = number if numbered else None
            if not row or len(row) != width:
                mistakes.append(Detail(VECTOR_KEY, f"has {len(row)} values, {self._expected}", of))
            elif not all(type(cell) is float and math.isfinite(cell) for cell in row):
                taken = [self._taken(cell) for cell in row]
                mistakes.extend(
                    Detail(f"{VECTOR_KEY}[{index}]", f"is {shown(row[index])}, {self._value}", of)
                    for index, cell in enumerate(taken)
                    if cell is WRONG
                )
                row = taken
            taken_rows.append(row)
        if not rows:
            mistakes.append(Detail("", "there are no rows, at least one is expected"))
        if mistakes:
            raise InvalidFeatures(sentence(mistakes), mistakes[:MAX_DETAILS])
        return Checked(np.array(taken_rows, dtype=np.float64) if self._numbers else taken_rows)

    def _taken(self, value: Any) -> Any:
        if value is None and self._optional:
            return None
        if self._numbers or type(value) in NUMBERS:
            return double(value)
        return value if type(value) is bool else string(value)

    @property
    def _expected(self) -> str:
        count = "the" if self._width is None else str(self._width)
        return f'this model takes {{"{VECTOR_KEY}": [{count} {"numbers" if self._numbers else "values"}]}}'
