"""Rows become the frame that training had."""

import math

import numpy as np
import pandas as pd
import pytest

from server import frame as frames
from server import table
from server.table import Column, ColumnType, Value


@pytest.mark.parametrize(
    ("kind", "value", "dtype", "with_missing"),
    [
        ("boolean", True, "bool", "object"),
        ("integer", 1, "int32", "float64"),
        ("long", 2**53 + 1, "int64", "float64"),
        ("float", 0.5, "float32", "float32"),
        ("double", 0.1, "float64", "float64"),
        ("string", "a", "str", "str"),
    ],
)
def test_a_column_keeps_its_dtype_and_makes_place_for_missing_values(
    kind: ColumnType, value: Value, dtype: str, with_missing: str
) -> None:
    columns = (Column(name="x", type=kind, required=False), Column(name="other", type="string"))
    whole = frames.frame(columns, [[value, "a"]])
    assert (str(whole["x"].dtype), whole["x"][0]) == (dtype, value)
    partial = frames.frame(columns, [[value, "a"], [None, "b"]])
    assert str(partial["x"].dtype) == with_missing and partial["x"].isna().to_list() == [False, True]


def test_a_frame_of_numbers_has_its_columns_in_order() -> None:
    columns = [Column(name=name, type="double") for name in ("b", "a")]
    frame = frames.frame(columns, [[1.0, None], [2.0, 3.0]])
    assert list(frame.columns) == ["b", "a"] and frame["b"].to_list() == [1.0, 2.0] and math.isnan(frame["a"][0])


def test_an_array_of_numbers_is_the_frame_of_its_rows() -> None:
    columns = [Column(name="a", type="long"), Column(name="b", type="float"), Column(name="c", type="integer")]
    rows: list[list[Value]] = [[1, 0.5, None], [2, None, 3]]
    pd.testing.assert_frame_equal(frames.frame(columns, table.array(rows)), frames.frame(columns, rows))


def test_no_rows_are_a_frame_too() -> None:
    assert list(frames.frame([Column(name="a", type="string")], []).columns) == ["a"]


def test_an_array_has_nan_for_what_is_missing() -> None:
    np.testing.assert_array_equal(table.array([[1.0, None]]), [[1.0, np.nan]])


def test_dates_are_counted_in_nanoseconds_as_by_mlflow() -> None:
    dates = frames.frame(
        [Column(name="since", type="datetime", required=False)], [["2026-01-31T12:00:00"], [None], ["2026-02-01"]]
    )
    assert str(dates["since"].dtype) == "datetime64[ns]"
    assert [str(date) for date in dates["since"]] == ["2026-01-31 12:00:00", "NaT", "2026-02-01 00:00:00"]


def test_a_frame_that_nobody_describes_has_the_types_of_its_values() -> None:
    guessed = frames.guessed([[1, "a", None, True], [None, "b", None, False]], ["n", "s", "x", "t"])
    assert [str(dtype) for dtype in guessed.dtypes] == ["float64", "str", "object", "bool"]
    assert list(frames.guessed([[1.5]], None)) == [0]
