"""Encoders of categories: what each category becomes is asked of the encoder itself."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from server import program
from server.compile_flow import Flow, Made, NotPossible, floats, named, quiet
from server.table import Value

UNKNOWN_TEXT = "\x00 no category"
ASKED_AT_ONCE = 200
MAX_CATEGORIES = 20_000
"""Of all columns of one encoder: more would be asked for minutes."""


def _one_hot(part: Any, flow: Flow) -> Made:
    """Which column each category lights up is asked of the encoder itself: it knows of dropped and infrequent ones."""
    asked = _Asked(part)
    columns = []
    for index, categories in enumerate(part.categories_):
        first, last = sum(part._n_features_outs[:index]), sum(part._n_features_outs[: index + 1])

        def position(codes: npt.NDArray[np.float64], first: int = first, last: int = last) -> int:
            lit = np.flatnonzero(codes[first:last])
            return int(lit[0]) if len(lit) else -1

        rows = [position(codes) for codes in asked.about(index, categories)]
        unknown = asked.unknown(index)
        columns.append(
            program.Positions(
                keys=_keys(categories),
                positions=tuple(rows),
                width=last - first,
                unknown=None if unknown is None else position(unknown),
            )
        )
    return [program.OneHot(columns=tuple(columns))], Flow.numbers(int(sum(part._n_features_outs)))


def _codes(part: Any, flow: Flow) -> Made:
    """The same for encoders that give numbers, the same count for each column."""
    asked = _Asked(part)
    columns = []
    each = 0
    for index, categories in enumerate(part.categories_):
        rows = list(asked.about(index, categories))
        each = len(rows[0]) // len(part.categories_)
        here = slice(index * each, (index + 1) * each)
        unknown = asked.unknown(index)
        columns.append(
            program.Codes(
                keys=_keys(categories),
                codes=tuple(floats(codes[here]) for codes in rows),
                unknown=None if unknown is None else floats(unknown[here]),
            )
        )
    return [program.Encode(columns=tuple(columns))], Flow.numbers(each * len(columns))


def _keys(categories: npt.NDArray[Any]) -> tuple[Value, ...]:
    keys: list[Value] = [None if value is None or value != value else value for value in categories.tolist()]
    if any(not isinstance(key, bool | int | float | str) for key in keys if key is not None):
        raise NotPossible("categories that are neither text nor numbers are not compiled")
    return tuple(keys)


class _Asked:
    """An encoder, asked about one column at a time; the others have their first category."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        if sum(map(len, encoder.categories_)) > MAX_CATEGORIES:
            raise NotPossible(f"{named(encoder)} has more than {MAX_CATEGORIES} categories")
        self._names = getattr(encoder, "feature_names_in_", None)

    def about(self, index: int, values: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.float64]]:
        """What it says for each of these values in a column."""
        for first in range(0, len(values), ASKED_AT_ONCE):
            yield from self._some(index, values[first : first + ASKED_AT_ONCE])

    def _some(self, index: int, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        import pandas as pd  # only who compiles needs it

        columns = [
            values if number == index else categories[:1].repeat(len(values))
            for number, categories in enumerate(self._encoder.categories_)
        ]
        frame = pd.DataFrame(dict(enumerate(columns)))
        if self._names is not None:
            frame.columns = self._names
        quiet()
        result = self._encoder.transform(frame if self._names is not None else frame.to_numpy())
        return np.asarray(result.toarray() if hasattr(result, "toarray") else result, float)

    def unknown(self, index: int) -> npt.NDArray[np.float64] | None:
        """What it says to a category that it does not know; None: it refuses."""
        categories = self._encoder.categories_[index]
        match categories.dtype.kind:
            case "b":
                value = np.array([np.nan], dtype=object)  # a truth value can only be missing
            case "i" | "u" | "f":
                known = categories[~np.isnan(categories)]
                value = np.array([known.max() + 1 if len(known) else 0], categories.dtype)
            case _:
                value = np.array([UNKNOWN_TEXT], dtype=object)
        try:
            answer: npt.NDArray[np.float64] = self._some(index, value)[0]
        except ValueError:
            return None
        return answer


ENCODERS: Mapping[str, Callable[[Any, Flow], Made]] = {
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _codes,
    "TargetEncoder": _codes,
}
