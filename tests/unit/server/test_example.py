"""Examples in forms that today's MLflow does not write any more, or should not: rows again, or a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from server import example
from server.errors import ExampleFailed
from server.table import Column

NAMED = (Column(name="a", type="long"), Column(name="b", type="string", required=False))


def read(directory: Path, content: Any, info: dict[str, Any], columns: tuple[Column, ...] = ()) -> Any:
    path = directory / "input_example.json"
    path.write_text(json.dumps(content))
    return example.read(path, info, columns, named=bool(columns))


def test_arrays_of_older_versions_stand_under_a_key(tmp_path: Path) -> None:
    old = {"type": "ndarray", "format": "tf-serving"}
    assert read(tmp_path, {"inputs": [[1.5, 2.5]]}, old) == ((1.5, 2.5),)
    assert read(tmp_path, {"inputs": [1.5, 2.5]}, old) == ((1.5,), (2.5,))


def test_a_column_named_as_a_part_of_the_format_is_a_column(tmp_path: Path) -> None:
    column = (Column(name="data", type="long"),)
    assert read(tmp_path, {"data": 3}, {"type": "json_object"}, column) == ((3,),)


def test_a_sparse_example_has_its_zeros(tmp_path: Path) -> None:
    matrix = {"data": [5.0, 7.0], "indices": [1, 0], "indptr": [0, 1, 2], "shape": [2, 3]}
    assert read(tmp_path, matrix, {"type": "sparse_matrix_csr"}) == ((0.0, 5.0, 0.0), (7.0, 0.0, 0.0))
    by_column = {"data": [5.0, 7.0], "indices": [1, 0], "indptr": [0, 1, 2, 2], "shape": [2, 3]}
    assert read(tmp_path, by_column, {"type": "sparse_matrix_csc"}) == ((0.0, 7.0, 0.0), (5.0, 0.0, 0.0))


WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "zeros beyond all memory": (
        {"data": [], "indices": [], "indptr": [0], "shape": [10**9, 10**9]},
        {"type": "sparse_matrix_csr"},
        "fewer rows",
    ),
    "a value outside of its matrix": (
        {"data": [1.0], "indices": [9], "indptr": [0, 1], "shape": [1, 2]},
        {"type": "sparse_matrix_csr"},
        "not what MLflow writes",
    ),
    "a matrix without a shape": ({"data": [1.0]}, {"type": "sparse_matrix_csr"}, "not what MLflow writes"),
    "parameters without rows": ({"params": {}}, {"params": "true"}, "not what MLflow writes"),
    "rows of different lengths": ([[1, 2], [1]], {}, "different lengths"),
    "a name in place of rows": ({"a": 1}, {}, "no table"),
}


@pytest.mark.parametrize(("content", "info", "words"), WRONG.values(), ids=WRONG)
def test_what_is_no_example_is_refused_with_a_sentence(content: Any, info: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ExampleFailed, match=words):
        read(tmp_path, content, info)


def test_an_optional_column_may_be_absent(tmp_path: Path) -> None:
    assert read(tmp_path, [{"a": 1}, {"a": 2, "b": "x"}], {"type": "json_object"}, NAMED) == ((1, None), (2, "x"))
