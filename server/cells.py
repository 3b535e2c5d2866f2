"""One value of a request: whether a column of some type takes it, and how an error shows it."""

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from server.jsontext import MAX_SHOWN
from server.table import ColumnType

ABSENT, WRONG = object(), object()
"""In the place of a value: there is none; it can't be taken."""

NUMBERS = frozenset((float, int))
"""The types of JSON's numbers. A truth value is none."""


def double(value: Any) -> Any:
    """A finite number; JSON knows only one kind, so an integer is one too. Booleans are none."""
    if type(value) is float:
        return value if math.isfinite(value) else WRONG
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            return WRONG
    return WRONG


def _float(value: Any) -> Any:
    taken = double(value)
    return taken if taken is not WRONG and abs(taken) <= _SINGLE else WRONG


def _whole(bits: int) -> Callable[[Any], Any]:
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def take(value: Any) -> Any:
        if type(value) is float and value.is_integer():
            value = int(value)  # many clients write 3 as 3.0, and to JSON that is the same number
        return value if type(value) is int and lowest <= value <= highest else WRONG

    return take


def _boolean(value: Any) -> Any:
    return value if type(value) is bool else WRONG


def string(value: Any) -> Any:
    """Text, without the halves of a character that JSON can smuggle in."""
    return value if type(value) is str and not any("\ud800" <= character <= "\udfff" for character in value) else WRONG


def _datetime(value: Any) -> Any:
    """A date, with or without a time, that pandas can count in nanoseconds. A zone would have to be thrown away."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return WRONG
    return value if moment.tzinfo is None and 1678 <= moment.year <= 2261 else WRONG


_SINGLE = 3.4028234663852886e38

EXACT: Mapping[ColumnType, tuple[float, float]] = {
    "integer": (-(2.0**31), 2.0**31 - 1),
    "long": (-(2.0**53 - 1), 2.0**53 - 1),
    "float": (-_SINGLE, _SINGLE),
    "double": (-1.7976931348623157e308, 1.7976931348623157e308),
}
"""What an array of doubles holds exactly of these types; a larger whole number stays one of Python's."""

TAKES: Mapping[ColumnType, Callable[[Any], Any]] = {
    "boolean": _boolean,
    "integer": _whole(32),
    "long": _whole(64),
    "float": _float,
    "double": double,
    "string": string,
    "datetime": _datetime,
}

EXPECTED: Mapping[ColumnType, str] = {
    "boolean": "true or false is expected",
    "integer": "a whole number of 32 bits is expected",
    "long": "a whole number of 64 bits is expected",
    "float": "a number of single precision is expected",
    "double": "a number is expected",
    "string": "a text is expected",
    "datetime": 'a date such as "2026-01-31" or "2026-01-31T12:00:00", without a zone, is expected',
}


def shown(value: Any) -> str:
    """As an error repeats it: bounded."""
    if value is ABSENT:
        return "missing"
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "an object"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number too large to be one"
    text = json.dumps(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
