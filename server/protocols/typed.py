"""Rows of numbers as clients usually send them, read and checked for their types in one call of a parser that knows the model.

Whatever is not exactly of the expected form is None here, right or wrong: the protocols decode it with care, and find the words.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from server.signature import Columns, Inputs
from server.vectors import VECTOR_KEY

Cells: TypeAlias = Sequence[float]
"""The numbers of one row, in the order of the model's features."""

Single: TypeAlias = tuple[list[float]]
Many: TypeAlias = list[list[float]]
"""Rows as lists: a parser that expects a single one stops where a second begins."""

NOT_PLAIN = frozenset(':"\\')

T = TypeVar("T")


class Form(Generic[T]):
    """One form of JSON: a type, and how many colons a body of it has. With more of them, a key stands in it twice."""

    def __init__(self, kind: type[T], colons: int, *, each: bool = False) -> None:
        """With `each`, so many for each element of a list."""
        self._decode: Callable[[bytes], T] = msgspec.json.Decoder(kind).decode
        self._colons = colons
        self._each = each

    def read(self, content: bytes) -> T | None:
        """The value of a body of this form; None for every other body."""
        colons = content.count(b":")
        if not self._each and colons != self._colons:
            return None
        try:
            value: Any = self._decode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return value if not self._each or colons == self._colons * len(value) else None


class Rows:
    """JSON objects with a key for each feature."""

    def __init__(self, names: tuple[str, ...]) -> None:
        fields = {f"_{number}": name for number, name in enumerate(names)}
        typed = [(field, float) for field in fields]
        kind: Any = msgspec.defstruct("Row", typed, rename=fields, forbid_unknown_fields=True, gc=False)
        self._one: Form[msgspec.Struct] = Form(kind, len(names))
        self._single: Form[tuple[msgspec.Struct]] = Form(tuple[kind], len(names))
        self._many: Form[list[msgspec.Struct]] = Form(list[kind], len(names), each=True)

    def one(self, content: bytes) -> Cells | None:
        """Of one object."""
        found = self._one.read(content)
        return None if found is None else msgspec.structs.astuple(found)

    def listed(self, content: bytes, *, single: bool) -> list[Cells] | None:
        """Of a list of objects, or of one."""
        found = self._single.read(content) if single else self._many.read(content)
        return None if found is None else list(map(msgspec.structs.astuple, found))


class Vectors:
    """JSON objects with the one key that a model without names has."""

    _one = Form(dict[str, list[float]], 1)
    _single = Form(tuple[dict[str, list[float]]], 1)
    _many = Form(list[dict[str, list[float]]], 1, each=True)

    def one(self, content: bytes) -> Cells | None:
        """Of one object."""
        found = self._one.read(content)
        return None if found is None else found.get(VECTOR_KEY)

    def listed(self, content: bytes, *, single: bool) -> list[Cells] | None:
        """Of a list of objects, or of one."""
        found = self._single.read(content) if single else self._many.read(content)
        return [row[VECTOR_KEY] for row in found] if found and all(VECTOR_KEY in row for row in found) else None


def row_forms(inputs: Inputs) -> Rows | Vectors | None:
    """What reads the objects that `/predict` takes; None if the model takes more than numbers."""
    if not isinstance(inputs, Columns):
        return Vectors() if inputs.numbers else None
    names = names_of_numbers(inputs)
    return None if names is None else Rows(names)


class _Lists(msgspec.Struct, Generic[T], forbid_unknown_fields=True):
    instances: T | None = None
    inputs: T | None = None


_SINGLE, _MANY = Form(_Lists[Single], colons=1), Form(_Lists[Many], colons=1)


def read_lists(content: bytes, *, single: bool) -> Sequence[Cells] | None:
    """The lists of numbers under `instances`, or under `inputs`."""
    found = _SINGLE.read(content) if single else _MANY.read(content)
    return (found.instances or found.inputs) if found else None


def names_of_numbers(inputs: Inputs) -> tuple[str, ...] | None:
    """The features, if all are numbers and JSON writes all their names as they are."""
    if not isinstance(inputs, Columns) or not all(column.numeric and _plain(column.name) for column in inputs.columns):
        return None
    return tuple(column.name for column in inputs.columns)


def _plain(name: str) -> bool:
    """Whether a parser of rows can know it: one that JSON escapes is not taken, and a colon would be counted as one of JSON."""
    return name.isprintable() and not NOT_PLAIN.intersection(name)
