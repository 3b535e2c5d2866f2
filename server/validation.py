"""From bytes to a row, or to all that is wrong with them at once. What is allowed is compiled once, from the signature."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Protocol

from server.artifact import Bounds, Range
from server.errors import Detail, InvalidBody, InvalidFeatures, OutOfBounds
from server.signature import Columns, Inputs, Vector
from server.table import Column, ColumnType, Row, Value

MAX_DETAILS = 100
MAX_SUGGESTIONS = 5
MAX_SHOWN = 60
"""Characters of a name or a value that an error repeats."""

VECTOR_KEY = "features"
"""Under which a model without names takes its numbers."""

_ABSENT, _WRONG = object(), object()


@dataclass(frozen=True, slots=True)
class Checked:
    """A row that the model can take, and which of its features lie outside what training has seen."""

    row: Row
    out_of_range: tuple[str, ...] = ()


class Validator(Protocol):
    """What a model takes."""

    def check(self, body: Mapping[str, Any]) -> Checked:
        """The row in this object; raises with every mistake."""


def validator(inputs: Inputs, bounds: Bounds, *, reject_unseen: bool = False) -> Validator:
    """The checks for these inputs; what training has not seen is refused only where that is asked for."""
    if isinstance(inputs, Columns):
        return ColumnsValidator(inputs.columns, bounds, reject_unseen=reject_unseen)
    return VectorValidator(inputs)


def parse(body: bytes, charset: str | None = None, encoding: str | None = None) -> dict[str, Any]:
    """The JSON object in a body. Whatever Python takes beyond the standard is refused: a client would learn it too late."""
    if charset is not None and charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise InvalidBody(f"The body is declared as {charset[:MAX_SHOWN]}; JSON travels as UTF-8.")
    if encoding is not None and encoding.lower() != "identity":
        raise InvalidBody(f"The body is compressed ({encoding[:MAX_SHOWN]}); send it as it is.")
    if not body.strip():
        raise InvalidBody("The body is empty; a JSON object with the features is expected.")
    try:
        value = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError as e:
        raise InvalidBody("The body is not UTF-8.") from e
    except json.JSONDecodeError as e:
        raise InvalidBody(f"The body is not JSON: {e}.") from e
    except RecursionError as e:
        raise InvalidBody("The body is nested too deeply; one flat object is expected.") from e
    except ValueError as e:
        raise InvalidBody("The body has a number with too many digits.") from e
    if not isinstance(value, dict):
        raise InvalidBody("The body is not a JSON object; one with a key for each feature is expected.")
    return value


@dataclass(frozen=True, slots=True)
class _Rule:
    """What one column takes. Bounds are always there, if need be infinite ones: the loop over them asks nothing."""

    column: Column
    take: Callable[[Any], Any]
    seen: tuple[float, float]
    declared: tuple[float, float]


class ColumnsValidator:
    """One flat object with a key for each feature."""

    def __init__(self, columns: Sequence[Column], bounds: Bounds, *, reject_unseen: bool = False) -> None:
        self._reject_unseen = reject_unseen
        self._names = frozenset(column.name for column in columns)
        self._rules = tuple(
            _Rule(column, _TAKES[column.type], _limits(column, bounds.seen), _limits(column, bounds.declared))
            for column in columns
        )

    def check(self, body: Mapping[str, Any]) -> Checked:
        """The row in this object; raises with every mistake."""
        row: list[Value] = []
        mistakes: list[Detail] = []
        impossible: list[Detail] = []
        unusual: list[str] = []
        found = 0
        for rule in self._rules:
            name = rule.column.name
            value = body.get(name, _ABSENT)
            found += value is not _ABSENT
            if value is None or value is _ABSENT:
                if rule.column.required:
                    mistakes.append(Detail(name, f"is {'null' if value is None else 'missing'}, {_EXPECTED[rule.column.type]}"))
                row.append(None)
                continue
            taken = rule.take(value)
            row.append(taken)
            if taken is _WRONG:
                mistakes.append(Detail(name, f"is {_shown(value)}, {_EXPECTED[rule.column.type]}"))
            elif rule.column.numeric:
                if not rule.declared[0] <= taken <= rule.declared[1]:
                    impossible.append(Detail(name, f"is {_shown(value)}, {_between(rule.declared)}"))
                elif not rule.seen[0] <= taken <= rule.seen[1]:
                    if self._reject_unseen:
                        impossible.append(Detail(name, f"is {_shown(value)}, {_between(rule.seen)}: training has seen no other"))
                    unusual.append(name)
        if found < len(body):
            mistakes.extend(self._unknown(body))
        if mistakes:
            raise InvalidFeatures(_sentence(mistakes + impossible), (mistakes + impossible)[:MAX_DETAILS])
        if impossible:
            raise OutOfBounds(_sentence(impossible), impossible[:MAX_DETAILS])
        return Checked(row, tuple(unusual))

    def _unknown(self, body: Mapping[str, Any]) -> list[Detail]:
        details: list[Detail] = []
        for name in body:
            if name in self._names:
                continue
            close = get_close_matches(name[:MAX_SHOWN], self._names, n=1) if len(details) < MAX_SUGGESTIONS else ()
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            details.append(Detail(name[:MAX_SHOWN], f"is not a feature of this model{hint}"))
        return details


class VectorValidator:
    """For a model without names: `{"features": [1.0, 2.0]}`."""

    def __init__(self, inputs: Vector) -> None:
        self._width = inputs.width
        self._numbers = inputs.numbers
        self._optional = inputs.optional

    def check(self, body: Mapping[str, Any]) -> Checked:
        """The row in this object; raises with every mistake."""
        mistakes = [Detail(key[:MAX_SHOWN], f"is not known, {self._expected}") for key in body if key != VECTOR_KEY]
        values = body.get(VECTOR_KEY, _ABSENT)
        row: list[Any] = []
        if not isinstance(values, list) or not values or len(values) != (self._width or len(values)):
            what = f"has {len(values)} values" if isinstance(values, list) else f"is {_shown(values)}"
            mistakes.append(Detail(VECTOR_KEY, f"{what}, {self._expected}"))
        else:
            row = [self._taken(value) for value in values]
            expected = _EXPECTED["double"] if self._numbers else "a single value is expected"
            mistakes.extend(
                Detail(f"{VECTOR_KEY}[{index}]", f"is {_shown(value)}, {expected}")
                for index, (value, taken) in enumerate(zip(values, row, strict=True))
                if taken is _WRONG
            )
        if mistakes:
            raise InvalidFeatures(_sentence(mistakes), mistakes[:MAX_DETAILS])
        return Checked(row)

    def _taken(self, value: Any) -> Any:
        if value is None and self._optional:
            return None
        if self._numbers or type(value) in (int, float):
            return _double(value)
        return value if type(value) is bool else _string(value)

    @property
    def _expected(self) -> str:
        count = "the" if self._width is None else str(self._width)
        return f'this model takes {{"{VECTOR_KEY}": [{count} {"numbers" if self._numbers else "values"}]}}'


# --- JSON, without what Python allows beyond it -----------------------------------------------------------------------


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidBody(f"The key {name[:MAX_SHOWN]!r} stands in the body more than once.")
            seen.add(name)
    return value


def _constant(name: str) -> None:
    raise InvalidBody(f"The body has {name}, which is not JSON.")


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
    return taken if taken is not _WRONG and abs(taken) <= 3.4028234663852886e38 else _WRONG


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
    first = "; ".join(f"{mistake.feature} {mistake.message}" for mistake in mistakes[:3])
    more = f"; and {len(mistakes) - 3} more" if len(mistakes) > 3 else ""
    return f"The model can't take this: {first}{more}."
