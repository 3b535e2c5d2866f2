"""The recorded input example: rows again, out of the JSON that MLflow made of whatever it was given."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from server.errors import ExampleFailed
from server.table import Column, Row, Value

MAX_CELLS = 10_000_000
"""Of a sparse example, zeros included: a few bytes could stand for all memory there is."""


def read(path: Path, info: Mapping[str, Any], columns: Sequence[Column] = (), *, named: bool = False) -> tuple[Row, ...]:
    """The rows, in the order of the columns; None is missing. Where no columns are named, cells are taken in their order."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as e:
        raise ExampleFailed(f"The recorded input example can't be read ({type(e).__name__}).") from e
    try:
        if info.get("params") or info.get("format") == "tf-serving":  # beside parameters, and by MLflow 1, under a key
            content = content["inputs"]
        if info.get("type") in ("sparse_matrix_csr", "sparse_matrix_csc"):
            content = _dense(content, by_row=info["type"] == "sparse_matrix_csr")
    except (TypeError, ValueError, KeyError, IndexError) as e:
        raise ExampleFailed(f"The recorded input example is not what MLflow writes ({type(e).__name__}).") from e
    rows = [_ordered(row, columns) for row in _named(content, columns)] if named else _plain(content)
    if not rows or not rows[0] or len({len(row) for row in rows}) != 1:
        raise ExampleFailed("The recorded input example has no rows, or rows of different lengths.")
    return tuple(tuple(_cell(cell) for cell in row) for row in rows)


def _named(content: object, columns: Sequence[Column]) -> list[Mapping[str, Any]]:
    """A mapping a row. A DataFrame is written as {columns, data}, and a dictionary as one row or as a list for each column."""
    match content:
        case {"columns": list(names), "data": list(data)}:
            return [dict(zip(map(str, names), row, strict=True)) for row in data]
        case dict() if not isinstance(content.get("data"), list):
            lists = {name: cells if isinstance(cells, list) else [cells] for name, cells in content.items()}
            return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
        case list() if content and all(isinstance(row, dict) for row in content):
            return content
    return [dict(zip((column.name for column in columns), row, strict=False)) for row in _plain(content)]


def _plain(content: object) -> list[list[Any]]:
    """A list a row. An array is written as it is, and so is a list, which is a column; a DataFrame without names as {data}."""
    match content:
        case {"data": list(rows)} | list(rows):
            return [row if isinstance(row, list) else [row] for row in rows]
        case str() | int() | float():
            return [[content]]
    raise ExampleFailed("The recorded input example is no table. Log the model with a DataFrame as example.")


def _ordered(row: Mapping[str, Any], columns: Sequence[Column]) -> list[Any]:
    if absent := sorted(column.name for column in columns if column.required and column.name not in row):
        raise ExampleFailed(f"The recorded input example lacks columns of the signature: {', '.join(absent)}.")
    return [row.get(column.name) for column in columns]


def _dense(content: Mapping[str, Any], *, by_row: bool) -> list[list[Any]]:
    """A matrix of SciPy with all its zeros. Plain loops: an example is small, and this module needs no SciPy."""
    height, width = content["shape"]
    if height * width > MAX_CELLS:
        raise ExampleFailed(
            f"The recorded input example has {height} x {width} values. Log the model with fewer rows as example."
        )
    rows = [[0.0] * width for _ in range(height)]
    starts, others, values = content["indptr"], content["indices"], content["data"]
    for line, (start, end) in enumerate(pairwise(starts)):
        for other, value in zip(others[start:end], values[start:end], strict=True):
            row, column = (line, other) if by_row else (other, line)
            rows[row][column] = value
    return rows


def _cell(value: object) -> Value:
    """MLflow writes missing values as NaN."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ExampleFailed("The recorded input example has nested values; a flat table is expected.")
