"""The steps before the estimator, turned into functions of numpy: bit for bit scikit-learn's own arithmetic, in its order."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import numpy as np

from server import program
from server.program import Numbers, Step
from server.scores import Matrix
from server.table import Value

Cells: TypeAlias = list[list[Value]]
"""A list a column."""
Data: TypeAlias = Matrix | Cells
Change: TypeAlias = Callable[[Any], Any]
"""From data to data: a step."""


def steps(parts: Sequence[Step]) -> Change:
    """Several, one after the other."""
    changes = [_step(part) for part in parts]
    if len(changes) == 1:
        return changes[0]

    def change(data: Data) -> Data:
        for each in changes:
            data = each(data)
        return data

    return change


def _step(part: Step) -> Change:
    match part:
        case program.Arithmetic():
            operation = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide}[part.operator]
            operand = np.array(part.operand)
            return lambda data: operation(data, operand)
        case program.Clip():
            return lambda data: np.clip(data, part.low, part.high)
        case program.Apply():
            return cast(Change, getattr(np, part.function))
        case program.Select():
            columns = np.array(part.columns, np.intp)
            return lambda data: [data[i] for i in part.columns] if isinstance(data, list) else data[:, columns]
        case program.Impute():
            return _impute(part)
        case program.ImputeCells():
            return lambda data: [
                [fill if value is None else value for value in column]
                for column, fill in zip(_cells(data), part.fill, strict=True)
            ]
        case program.OneHot():
            return _one_hot(part)
        case program.Encode():
            return _encode(part)
        case program.Numeric():
            return lambda data: np.array(data, dtype=np.float64).T if isinstance(data, list) else data
        case program.Branches():
            return _branches(part)


def _impute(part: program.Impute) -> Change:
    columns, fill, indicated = np.array(part.columns, np.intp), np.array(part.fill), np.array(part.indicated, np.intp)

    def impute(data: Matrix) -> Matrix:
        kept = data[:, columns]
        filled = np.where(np.isnan(kept), fill, kept)
        return np.hstack([filled, np.isnan(data[:, indicated])]) if len(indicated) else filled

    return impute


def _one_hot(part: program.OneHot) -> Change:
    tables = [(dict(zip(column.keys, column.positions, strict=True)), column.unknown) for column in part.columns]
    widths = [column.width for column in part.columns]
    starts = [sum(widths[:number]) for number in range(len(widths))]

    def encode(data: Data) -> Matrix:
        columns = _cells(data)
        out = np.zeros((len(columns[0]), sum(widths)))
        rows = np.arange(len(out))
        for (table, unknown), start, column in zip(tables, starts, columns, strict=True):
            found = [table.get(value, unknown) for value in column]
            if None in found:
                raise ValueError("a category that training has not seen")
            positions = np.array(found, np.intp)
            lit = positions >= 0
            out[rows[lit], start + positions[lit]] = 1.0
        return out

    return encode


def _encode(part: program.Encode) -> Change:
    tables = [(dict(zip(column.keys, column.codes, strict=True)), column.unknown) for column in part.columns]

    def encode(data: Data) -> Matrix:
        found: list[list[Numbers]] = []
        for (table, unknown), column in zip(tables, _cells(data), strict=True):
            codes = [table.get(value, unknown) for value in column]
            if None in codes:
                raise ValueError("a category that training has not seen")
            found.append(cast(list[Numbers], codes))
        return np.hstack([np.array(codes, dtype=np.float64) for codes in found])

    return encode


def _branches(part: program.Branches) -> Change:
    branches = [
        (each.columns, np.array(each.columns, np.intp), steps(each.steps) if each.steps else None) for each in part.branches
    ]

    def change(data: Data) -> Matrix:
        results: list[Any] = []
        for columns, indices, steps_ in branches:
            taken = [data[i] for i in columns] if isinstance(data, list) else data[:, indices]
            results.append(taken if steps_ is None else steps_(taken))
        return np.hstack(results)

    return change


def _cells(data: Data) -> Cells:
    """Categories by column, None for what is missing."""
    if isinstance(data, list):
        return data
    return [[None if value != value else value for value in column] for column in data.T.tolist()]
