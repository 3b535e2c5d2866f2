"""The checks of rows with a value for each feature, compiled once, from the signature.

Numbers are checked all together in an array. Whatever stands out there, and whatever is no number, is looked at cell by cell.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from server.artifact import Bounds, Range
from server.cells import ABSENT, EXACT, EXPECTED, NUMBERS, TAKES, WRONG, shown
from server.checked import MAX_DETAILS, Checked, lists, ragged, sentence
from server.errors import Detail, InvalidFeatures, OutOfBounds
from server.jsontext import MAX_SHOWN
from server.table import Column, Row, Rows, Value

MAX_SUGGESTIONS = 5


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
            _Rule(column, TAKES[column.type], _limits(column, bounds.seen), _limits(column, bounds.declared))
            for column in columns
        )
        self._numeric = bool(columns) and all(column.numeric for column in columns)
        if self._numeric:
            possible = [_both(EXACT[rule.column.type], rule.declared) for rule in self._rules]
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
        uneven = [] if isinstance(rows, np.ndarray) else ragged(rows, len(order))
        twice = [Detail(name[:MAX_SHOWN], "is named more than once") for name, count in Counter(order).items() if count > 1]
        if mistakes := twice + uneven:
            raise InvalidFeatures(sentence(mistakes), mistakes[:MAX_DETAILS])
        if isinstance(rows, np.ndarray) and rows.shape[1] != len(order):
            raise InvalidFeatures(f"The model can't take this: there are {rows.shape[1]} columns, {len(order)} are expected.")
        if self._numeric and self._known == frozenset(order):
            where = [order.index(name) for name in self._names]
            in_order: Sequence[Any] | npt.NDArray[Any] = rows
            if order != self._names:
                in_order = rows[:, where] if isinstance(rows, np.ndarray) else list(map(_picker(tuple(where)), rows))
            if checked := self._numbers(in_order):
                return checked
        listed = lists(rows) if isinstance(rows, np.ndarray) else rows
        return self._one_by_one([dict(zip(order, row, strict=True)) for row in listed], numbered=True)

    def _numbers(self, rows: Sequence[Row] | npt.NDArray[Any]) -> Checked | None:
        """All at once; None where a cell must be looked at by itself."""
        if isinstance(rows, np.ndarray):
            if rows.dtype.kind not in "fiu" or not len(rows) or (rows.dtype.kind == "f" and np.isnan(rows).any()):
                return None
        elif not NUMBERS.issuperset(map(type, chain.from_iterable(rows))) or not rows:
            return None
        try:
            array = np.array(rows, dtype=np.float64)
        except OverflowError:
            return None
        if self._any_whole:
            with np.errstate(invalid="ignore"):  # what is left of infinity is NaN
                if np.count_nonzero(array[:, self._whole] % 1):
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
                mistakes.append(Detail("", f"is {shown(record)}, an object with a key for each feature is expected", row))
            if len(mistakes) > MAX_DETAILS:
                break
        if not records:
            mistakes.append(Detail("", "there are no rows, at least one is expected"))
        if mistakes:
            raise InvalidFeatures(sentence(mistakes + impossible), (mistakes + impossible)[:MAX_DETAILS])
        if impossible:
            raise OutOfBounds(sentence(impossible), impossible[:MAX_DETAILS])
        return Checked(self._as_array(rows) if self._numeric else rows, dict(unusual))

    def _as_array(self, rows: list[Row]) -> Rows:
        """Numbers in the form that they nearly always have; rows where a whole number is too large for it."""
        array = np.array(rows, dtype=np.float64)
        return rows if self._any_whole and (np.abs(array[:, self._whole]) > EXACT["long"][1]).any() else array

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
            value = record.get(name, ABSENT)
            found += value is not ABSENT
            if value is None or value is ABSENT:
                if rule.column.required:
                    what = "null" if value is None else "missing"
                    mistakes.append(Detail(name, f"is {what}, {EXPECTED[rule.column.type]}", number))
                row.append(None)
                continue
            taken = rule.take(value)
            row.append(taken)
            if taken is WRONG:
                mistakes.append(Detail(name, f"is {shown(value)}, {EXPECTED[rule.column.type]}", number))
            elif rule.column.numeric:
                if not rule.declared[0] <= taken <= rule.declared[1]:
                    impossible.append(Detail(name, f"is {shown(value)}, {_between(rule.declared)}", number))
                elif not rule.seen[0] <= taken <= rule.seen[1]:
                    if self._reject_unseen:
                        words = f"is {shown(value)}, {_between(rule.seen)}: training has seen no other"
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


def _picker(keys: tuple[Any, ...]) -> Callable[[Any], Sequence[Any]]:
    """The values under these keys, also where there is one: itemgetter would give it without a tuple around."""
    if len(keys) == 1:
        return lambda record: (record[keys[0]],)
    return itemgetter(*keys) if keys else lambda _: ()


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
