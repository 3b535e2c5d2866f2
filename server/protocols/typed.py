"""Rows of numbers as clients usually send them, read and checked for their types in one call of a parser that knows the model.

Whatever is not exactly of the expected form is None here, right or wrong: the protocols decode it with care, and find the words.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from server.signature import Columns, Inputs
from server.validation import VECTOR_KEY

Cells: TypeAlias = Sequence[float]
"""The numbers of one row, in the order of the model's features."""

T = TypeVar("T")


class Form(Generic[T]):
    """One form of JSON: a type, and how many colons a body of it has. With more of them, a key stands in it twice."""

    def __init__(self, kind: type[T], colons: int) -> None:
        self._decode: Callable[[bytes], T] = msgspec.json.Decoder(kind).decode
        self._colons = colons

    def read(self, content: bytes) -> T | None:
        """The value of a body of this form; None for every other body."""
        if content.count(b":") != self._colons:
            return None
        try:
            return self._decode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None


def row_reader(inputs: Inputs) -> Callable[[bytes], Cells | None] | None:
    """What reads one JSON object, a key for each feature; None if the model takes more than numbers."""
    if not isinstance(inputs, Columns):
        return _vector_reader() if inputs.numbers else None
    names = names_of_numbers(inputs)
    if names is None:
        return None
    fields = {f"_{number}": name for number, name in enumerate(names)}
    kind = msgspec.defstruct("Row", [(field, float) for field in fields], rename=fields, forbid_unknown_fields=True, gc=False)
    form: Form[msgspec.Struct] = Form(kind, len(names))

    def read(content: bytes) -> Cells | None:
        found = form.read(content)
        return None if found is None else msgspec.structs.astuple(found)

    return read


def _vector_reader() -> Callable[[bytes], Cells | None]:
    form: Form[Any] = Form(dict[str, list[float]], 1)

    def read(content: bytes) -> Cells | None:
        found = form.read(content)
        return None if found is None else found.get(VECTOR_KEY)

    return read


class _Lists(msgspec.Struct, forbid_unknown_fields=True):
    instances: list[list[float]] | None = None
    inputs: list[list[float]] | None = None


_LISTS = Form(_Lists, colons=1)


def read_list(content: bytes) -> Cells | None:
    """The only list of numbers under `instances`, or under `inputs`."""
    found = _LISTS.read(content)
    rows = found and (found.instances or found.inputs)
    return rows[0] if rows and len(rows) == 1 else None


def names_of_numbers(inputs: Inputs) -> tuple[str, ...] | None:
    """The features, if all are numbers and no name has a colon in it, which would not be counted as one of JSON."""
    if not isinstance(inputs, Columns) or not all(column.numeric and ":" not in column.name for column in inputs.columns):
        return None
    return tuple(column.name for column in inputs.columns)
