"""From cells to rows that a model can take, or to all that is wrong with them at once. What is allowed is compiled once,
from the signature.

Numbers are checked all together in an array. Whatever stands out there, and whatever is no number, is looked at cell by cell.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from itertools import chain
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from server.artifact import Bounds, Range
from server.errors import Detail, InvalidFeatures, OutOfBounds
from server.jsontext import MAX_SHOWN
from server.signature import Columns, Inputs, Vector
from server.table import Column, ColumnType, Row, Rows, Value

MAX_DETAILS = 100
MAX_SUGGESTIONS = 5

VECTOR_KEY = "features"
"""Under which a model without names takes its numbers."""

_ABSENT, _WRONG = object(), object()
_NUMBERS = frozenset((float, int))


@dataclass(frozen=True, slots=True)
class Checked:
    """Rows that the model can take, and how many values of which features lie outside what training has seen."""

    rows: Rows
    out_of_range: Mapping[str, int] = field(default_factory=dict)


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


@dataclass(frozen=True, slots=True)
class _Rule:
    """What one column takes. Bounds are always there, if need be infinite ones: the loop over them asks nothing."""

    column: Column
    take: Callable[[Any], Any]
    seen: tuple[float, float]
    declared: tuple[float, float]


class ColumnsValidator:
    """Rows with a value for each feature."""

    def __init__(self, columns: Sequence[Column], bounds: Bounds, *, reject_unseen: bool = False) -> None:
        self._reject_unseen = reject_unseen
        self._names = tuple(column.name for column in columns)
        self._known = frozenset(self._names)
        self._pick = _picker(self._names)
        self._rules = tuple(
            _Rule(column, _TAKES[column.type], _limits(column, bounds.seen), _limits(column, bounds.declared))
            for column in columns
        )
        self._numeric = bool(columns) and all(column.numeric for column in columns)
        if self._numeric:
            possible = [_both(_EXACT[rule.column.type], rule.declared) for rule in self._rules]
            self._lowest, self._highest = np.array(possible, dtype=np.float64).T.copy()
            self._usual_low = np.maximum(self._lowest, [rule.seen[0] for rule in self._rules])
            self._usual_high = np.minimum(self._highest, [rule.seen[1] for rule in self._rules])
            self._whole = np.array([rule.column.type in ("integer", "long") for rule in self._rules])
            self._any_whole = bool(self._whole.any())

    @property
    def width(self) -> int | None:
        """One for each feature."""
        return len(self._names) if self._numeric else None

    def unusual(self, rows: npt.NDArray[np.float64]) -> Sequence[int]:
        """Those with a value outside what training has seen, or with a fraction where there is none."""
        strange = (rows < self._usual_low) | (rows > self._usual_high)
        if self._any_whole:
            strange |= self._whole & (rows % 1 != 0)
        return strange.any(axis=1).nonzero()[0].tolist() if np.count_nonzero(strange) else ()

    def records(self, records: Sequence[Any], *, numbered: bool = True) -> Checked:
        """Rows from JSON objects."""
        if self._numeric:
            try:
                picked = [self._pick(record) for record in records]
            except (KeyError, TypeError):
                return self._one_by_one(records, numbered=numbered)
            width = len(self._names)
            if all(len(record) == width for record in records) and (checked := self._numbers(picked)):
                return checked
        return self._one_by_one(records, numbered=numbered)

    def cells(self, rows: Sequence[Any] | npt.NDArray[Any], names: Sequence[str] | None = None) -> Checked:
        """Rows from lists of values."""
        order = tuple(names) if names is not None else self._names
        ragged = [] if isinstance(rows, np.ndarray) else _ragged(rows, len(order))
        twice = [Detail(name[:MAX_SHOWN], "is named more than once") for name, count in Counter(order).items() if count > 1]
        if mistakes := twice + ragged:
            raise InvalidFeatures(_sentence(mistakes), mistakes[:MAX_DETAILS])
        if isinstance(rows, np.ndarray) and rows.shape[1] != len(order):
            raise InvalidFeatures(f"The model can't take this: there are {rows.shape[1]} columns, {len(order)} are expected.")
        if self._numeric and self._known == frozenset(order):
            where = [order.index(name) for name in self._names]
            in_order: Sequence[Any] | npt.NDArray[Any] = rows
            if order != self._names:
                in_order = rows[:, where] if isinstance(rows, np.ndarray) else list(map(_picker(tuple(where)), rows))
            if checked := self._numbers(in_order):
                return checked
        listed = _lists(rows) if isinstance(rows, np.ndarray) else rows
        return self._one_by_one([dict(zip(order, row, strict=True)) for row in listed], numbered=True)

    def _numbers(self, rows: Sequence[Row] | npt.NDArray[Any]) -> Checked | None:
        """All at once; None where a cell must be looked at by itself."""
        if isinstance(rows, np.ndarray):
            if rows.dtype.kind not in "fiu" or not len(rows) or (rows.dtype.kind == "f" and np.isnan(rows).any()):
                return None
        elif not _NUMBERS.issuperset(map(type, chain.from_iterable(rows))) or not rows:
            return None
        try:
            array = np.array(rows, dtype=np.float64)
        except OverflowError:
            return None
        if self._any_whole and np.count_nonzero(array[:, self._whole] % 1):
            return None
        below, above = array < self._usual_low, array > self._usual_high
        if not np.count_nonzero(below) and not np.count_nonzero(above):
            return Checked(array)
        if self._reject_unseen or (array < self._lowest).any() or (array > self._highest).any():
            return None
        unusual = below | above
        return Checked(array, {self._names[index]: int(unusual[:, index].sum()) for index in np.flatnonzero(unusual.any(axis=0))})

    def _one_by_one(self, records: Sequence[Any], *, numbered: bool) -> Checked:
        rows: list[Row] = []
        mistakes: list[Detail] = []
        impossible: list[Detail] = []
        unusual: Counter[str] = Counter()
        for number, record in enumerate(records, start=1):
            row = number if numbered else None
            if isinstance(record, dict):
                rows.append(self._row(record, row, mistakes, impossible, unusual))
            else:
                mistakes.append(Detail("", f"is {_shown(record)}, an object with a key for each feature is expected", row))
            if len(mistakes) > MAX_DETAILS:
                break
        if not records:
            mistakes.append(Detail("", "there are no rows, at least one is expected"))
        if mistakes:
            raise InvalidFeatures(_sentence(mistakes + impossible), (mistakes + impossible)[:MAX_DETAILS])
        if impossible:
            raise OutOfBounds(_sentence(impossible), impossible[:MAX_DETAILS])
        return Checked(self._as_array(rows) if self._numeric else rows, dict(unusual))

    def _as_array(self, rows: list[Row]) -> Rows:
        """Numbers in the form that they nearly always have; rows where a whole number is too large for it."""
        array = np.array(rows, dtype=np.float64)
        return rows if self._any_whole and (np.abs(array[:, self._whole]) > _EXACT["long"][1]).any() else array

    def _row(
        self,
        record: Mapping[str, Any],
        number: int | None,
        mistakes: list[Detail],
        impossible: list[Detail],
        unusual: Counter[str],
    ) -> Row:
        row: list[Value] = []
        found = 0
        for rule in self._rules:
            name = rule.column.name
            value = record.get(name, _ABSENT)
            found += value is not _ABSENT
            if value is None or value is _ABSENT:
                if rule.column.required:
                    what = "null" if value is None else "missing"
                    mistakes.append(Detail(name, f"is {what}, {_EXPECTED[rule.column.type]}", number))
                row.append(None)
                continue
            taken = rule.take(value)
            row.append(taken)
            if taken is _WRONG:
                mistakes.append(Detail(name, f"is {_shown(value)}, {_EXPECTED[rule.column.type]}", number))
            elif rule.column.numeric:
                if not rule.declared[0] <= taken <= rule.declared[1]:
                    impossible.append(Detail(name, f"is {_shown(value)}, {_between(rule.declared)}", number))
                elif not rule.seen[0] <= taken <= rule.seen[1]:
                    if self._reject_unseen:
                        words = f"is {_shown(value)}, {_between(rule.seen)}: training has seen no other"
                        impossible.append(Detail(name, words, number))
                    unusual[name] += 1
        if found < len(record):
            mistakes.extend(self._unknown(record, number))
        return row

    def _unknown(self, record: Mapping[str, Any], number: int | None) -> list[Detail]:
        details: list[Detail] = []
        for name in record:
            if name in self._known:
                continue
            close = get_close_matches(name[:MAX_SHOWN], self._names, n=1) if len(details) < MAX_SUGGESTIONS else ()
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            details.append(Detail(name[:MAX_SHOWN], f"is not a feature of this model{hint}", number))
        return details


class VectorValidator:
    """For a model without names in its signature: rows of values, or `{"features": [1.0, 2.0]}`.

    Where the estimator remembers names from its training, clients that send a table with these names are understood too.
    """

    def __init__(self, inputs: Vector) -> None:
        self._width = inputs.width
        self._names = inputs.names
        self._numbers = inputs.numbers
        self._optional = inputs.optional
        self._value = _EXPECTED["double"] if inputs.numbers else "a single value is expected"

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
                mistakes.append(Detail("", f"is {_shown(record)}, {self._expected}", row))
                continue
            mistakes += [Detail(key[:MAX_SHOWN], f"is not known, {self._expected}", row) for key in record if key != VECTOR_KEY]
            if not isinstance(record.get(VECTOR_KEY), list):
                mistakes.append(Detail(VECTOR_KEY, f"is {_shown(record.get(VECTOR_KEY, _ABSENT))}, {self._expected}", row))
        if mistakes:
            raise InvalidFeatures(_sentence(mistakes), mistakes[:MAX_DETAILS])
        return self._checked([record[VECTOR_KEY] for record in records], numbered=numbered)

    def cells(self, rows: Sequence[Any] | npt.NDArray[Any], names: Sequence[str] | None = None) -> Checked:
        """Rows of values, in the order of training or under the names of training. Numbers for names are positions."""
        listed = _lists(rows) if isinstance(rows, np.ndarray) else rows
        if mistakes := _ragged(listed, None if names is None else len(names)):
            raise InvalidFeatures(_sentence(mistakes), mistakes[:MAX_DETAILS])
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
            raise InvalidFeatures(_sentence(mistakes), mistakes[:MAX_DETAILS])
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
                    Detail(f"{VECTOR_KEY}[{index}]", f"is {_shown(row[index])}, {self._value}", of)
                    for index, cell in enumerate(taken)
                    if cell is _WRONG
                )
                row = taken
            taken_rows.append(row)
        if not rows:
            mistakes.append(Detail("", "there are no rows, at least one is expected"))
        if mistakes:
            raise InvalidFeatures(_sentence(mistakes), mistakes[:MAX_DETAILS])
        return Checked(np.array(taken_rows, dtype=np.float64) if self._numbers else taken_rows)

    def _taken(self, value: Any) -> Any:
        if value is None and self._optional:
            return None
        if self._numbers or type(value) in _NUMBERS:
            return _double(value)
        return value if type(value) is bool else _string(value)

    @property
    def _expected(self) -> str:
        count = "the" if self._width is None else str(self._width)
        return f'this model takes {{"{VECTOR_KEY}": [{count} {"numbers" if self._numbers else "values"}]}}'


def _picker(keys: tuple[Any, ...]) -> Callable[[Any], Sequence[Any]]:
    """The values under these keys, also where there is one: itemgetter would give it without a tuple around."""
    if len(keys) == 1:
        return lambda record: (record[keys[0]],)
    return itemgetter(*keys) if keys else lambda _: ()


def _ragged(rows: Sequence[Any], width: int | None) -> list[Detail]:
    """The rows that are no list of this many values."""
    details: list[Detail] = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list | tuple):
            details.append(Detail("", f"is {_shown(row)}, a list of values is expected", number))
        elif width is not None and len(row) != width:
            details.append(Detail("", f"has {len(row)} values, {width} are expected", number))
    return details


def _lists(rows: npt.NDArray[Any]) -> list[list[Any]]:
    """The same as JSON would bring them: NaN is a missing value."""
    return [[None if type(cell) is float and cell != cell else cell for cell in row] for row in rows.tolist()]


# --- one value --------------------------------------------------------------------------------------------------------


def _double(value: Any) -> Any:
    """A finite number; JSON knows only one kind, so an integer is one too. Booleans are none."""
    if type(value) is float:
        return value if math.isfinite(value) else _WRONG
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            return _WRONG
    return _WRONG


def _float(value: Any) -> Any:
    taken = _double(value)
    return taken if taken is not _WRONG and abs(taken) <= _SINGLE else _WRONG


def _whole(bits: int) -> Callable[[Any], Any]:
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def take(value: Any) -> Any:
        if type(value) is float and value.is_integer():
            value = int(value)  # many clients write 3 as 3.0, and to JSON that is the same number
        return value if type(value) is int and lowest <= value <= highest else _WRONG

    return take


def _boolean(value: Any) -> Any:
    return value if type(value) is bool else _WRONG


def _string(value: Any) -> Any:
    """Text, without the halves of a character that JSON can smuggle in."""
    return value if type(value) is str and not any("\ud800" <= character <= "\udfff" for character in value) else _WRONG


def _datetime(value: Any) -> Any:
    """A date, with or without a time, that pandas can count in nanoseconds. A zone would have to be thrown away."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return _WRONG
    return value if moment.tzinfo is None and 1678 <= moment.year <= 2261 else _WRONG


_SINGLE = 3.4028234663852886e38

_EXACT: Mapping[ColumnType, tuple[float, float]] = {
    "integer": (-(2.0**31), 2.0**31 - 1),
    "long": (-(2.0**53), 2.0**53),
    "float": (-_SINGLE, _SINGLE),
    "double": (-1.7976931348623157e308, 1.7976931348623157e308),
}
"""What an array of doubles holds exactly of these types; a larger whole number stays one of Python's."""

_TAKES: Mapping[ColumnType, Callable[[Any], Any]] = {
    "boolean": _boolean,
    "integer": _whole(32),
    "long": _whole(64),
    "float": _float,
    "double": _double,
    "string": _string,
    "datetime": _datetime,
}

_EXPECTED: Mapping[ColumnType, str] = {
    "boolean": "true or false is expected",
    "integer": "a whole number of 32 bits is expected",
    "long": "a whole number of 64 bits is expected",
    "float": "a number of single precision is expected",
    "double": "a number is expected",
    "string": "a text is expected",
    "datetime": 'a date such as "2026-01-31" or "2026-01-31T12:00:00", without a zone, is expected',
}


# --- words ------------------------------------------------------------------------------------------------------------


def _limits(column: Column, ranges: Mapping[str, Range]) -> tuple[float, float]:
    low, high = ranges.get(column.name, (None, None))
    return -math.inf if low is None else low, math.inf if high is None else high


def _both(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return max(one[0], other[0]), min(one[1], other[1])


def _between(limits: tuple[float, float]) -> str:
    low, high = limits
    if high == math.inf:
        return f"at least {low:g} is possible"
    if low == -math.inf:
        return f"at most {high:g} is possible"
    return f"{low:g} to {high:g} is possible"


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "missing"
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "an object"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number too large to be one"
    text = json.dumps(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def _sentence(mistakes: Sequence[Detail]) -> str:
    first = "; ".join(str(mistake) for mistake in mistakes[:3])
    more = f"; and {len(mistakes) - 3} more" if len(mistakes) > 3 else ""
    return f"The model can't take this: {first}{more}."
