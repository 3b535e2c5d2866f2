"""What comes of a check: rows that the model can take, or a sentence on what is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from server.cells import shown
from server.errors import Detail
from server.table import Rows

MAX_DETAILS = 100


@dataclass(frozen=True, slots=True)
class Checked:
    """Rows that the model can take, and how many values of which features lie outside what training has seen."""

    rows: Rows
    out_of_range: Mapping[str, int] = field(default_factory=dict)


def sentence(mistakes: Sequence[Detail]) -> str:
    """The first few of them, in words."""
    first = "; ".join(str(mistake) for mistake in mistakes[:3])
    more = f"; and {len(mistakes) - 3} more" if len(mistakes) > 3 else ""
    return f"The model can't take this: {first}{more}."


def ragged(rows: Sequence[Any], width: int | None) -> list[Detail]:
    """The rows that are no list of this many values."""
    details: list[Detail] = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list | tuple):
            details.append(Detail("", f"is {shown(row)}, a list of values is expected", number))
        elif width is not None and len(row) != width:
            details.append(Detail("", f"has {len(row)} values, {width} are expected", number))
    return details


def lists(rows: npt.NDArray[Any]) -> list[list[Any]]:
    """The same as JSON would bring them: NaN is a missing value."""
    return [[None if type(cell) is float and cell != cell else cell for cell in row] for row in rows.tolist()]
