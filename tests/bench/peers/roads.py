"""How servers are asked: rows into a body, and an answer into labels."""

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Rows = Sequence[Sequence[float]]


def plain(names: Sequence[str], count: int) -> dict[str, str]:
    return {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Road:
    """One way to ask one server."""

    path: str
    encode: Callable[[Sequence[str], Rows], bytes]
    """From the names of the features and rows to a body."""
    labels: Callable[[Any], list[int]]
    """From the JSON of an answer to what it says of each row."""
    headers: Callable[[Sequence[str], int], dict[str, str]] = plain
    """For so many rows."""


def objects(names: Sequence[str], rows: Rows) -> bytes:
    """An object for one row, a list of them for several."""
    told = [dict(zip(names, row, strict=True)) for row in rows]
    return json.dumps(told[0] if len(told) == 1 else told).encode()


def numbered(names: Sequence[str], rows: Rows) -> bytes:
    """The same with x0, x1, … as names."""
    return objects([f"x{number}" for number in range(len(names))], rows)


def numbered_list(names: Sequence[str], rows: Rows) -> bytes:
    """The same, always a list."""
    return json.dumps([{f"x{number}": cell for number, cell in enumerate(row)} for row in rows]).encode()


def listed(names: Sequence[str], rows: Rows) -> bytes:
    return json.dumps({"rows": rows}).encode()


def v1(names: Sequence[str], rows: Rows) -> bytes:
    return json.dumps({"instances": rows}).encode()


def v2(names: Sequence[str], rows: Rows) -> bytes:
    """One tensor, flat."""
    cells = [cell for row in rows for cell in row]
    tensor = {"name": "input-0", "shape": [len(rows), len(names)], "datatype": "FP64", "data": cells}
    return json.dumps({"inputs": [tensor]}).encode()


def v2_binary_head(names: Sequence[str], count: int) -> bytes:
    size = {"binary_data_size": 8 * count * len(names)}
    tensor = {"name": "input-0", "shape": [count, len(names)], "datatype": "FP64", "parameters": size}
    return json.dumps({"inputs": [tensor]}).encode()


def v2_binary(names: Sequence[str], rows: Rows) -> bytes:
    """The same with its numbers as they lie in memory."""
    cells = [cell for row in rows for cell in row]
    return v2_binary_head(names, len(rows)) + struct.pack(f"<{len(cells)}d", *cells)


def v2_binary_headers(names: Sequence[str], count: int) -> dict[str, str]:
    """How long the part is that is JSON."""
    size = len(v2_binary_head(names, count))
    return {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(size)}


def split(names: Sequence[str], rows: Rows) -> bytes:
    return json.dumps({"dataframe_split": {"columns": list(names), "data": rows}}).encode()


def of_objects(answer: Any) -> list[int]:
    return [one["prediction"] for one in (answer if isinstance(answer, list) else [answer])]


def of_predictions(answer: Any) -> list[int]:
    return [int(label) for label in answer["predictions"]]


def of_outputs(answer: Any) -> list[int]:
    return [int(label) for label in answer["outputs"][0]["data"]]


def of_list(answer: Any) -> list[int]:
    return [int(label) for label in answer]
