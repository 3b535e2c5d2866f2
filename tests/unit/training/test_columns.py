"""What a column holds, and what is said of a cell that does not belong there."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training.columns import Reader
from training.errors import InputError

NAN = float("nan")


def read(cells: pd.Series, **require: Any) -> tuple[str, bool, list[object], str]:
    reader = Reader(where=lambda row: f"row {row + 1}", require=require, numeric_share=0.5, typed=False)
    column, read = reader.read("x", cells)
    return column.kind, column.optional, [None if pd.isna(cell) else cell for cell in read], str(read.dtype)


@pytest.mark.parametrize(
    ("cells", "kind", "values", "dtype"),
    [
        (pd.Series([1, 2, 3]), "number", [1.0, 2.0, 3.0], "float64"),
        (pd.Series([1.5, NAN]), "number", [1.5, None], "float64"),
        (pd.Series([1, None], dtype="Int64"), "number", [1.0, None], "float64"),
        (pd.Series([Decimal("1.5"), None], dtype=object), "number", [1.5, None], "float64"),
        (pd.Series([1, 2], dtype="category"), "number", [1.0, 2.0], "float64"),
        (pd.Series(["1", "2.5", None]), "number", [1.0, 2.5, None], "float64"),
        (pd.Series([True, False]), "boolean", [True, False], "bool"),
        (pd.Series([True, None], dtype=object), "boolean", [True, None], "object"),
        (pd.Series([True, None], dtype="boolean"), "boolean", [True, None], "object"),
        (pd.Series(["a", "1"], dtype="category"), "number", None, ""),
        (pd.Series(["a", "b", "1"]), "string", ["a", "b", "1"], "str"),
        (pd.Series(["a", None], dtype=object), "string", ["a", None], "str"),
        (pd.Series(["a", None], dtype="string"), "string", ["a", None], "str"),
        (pd.Series(["a", "b"], dtype="category"), "string", ["a", "b"], "str"),
    ],
)
def test_cells_get_the_dtypes_of_the_server(cells: pd.Series, kind: str, values: list[Any] | None, dtype: str) -> None:
    if values is None:
        with pytest.raises(InputError):
            read(cells)
        return
    assert read(cells) == (kind, None in values, values, dtype)


@pytest.mark.parametrize(
    ("cells", "required", "complaint"),
    [
        (["1", "2", "n/v", "3", "?"], None, 'Column "x", row 3: "n/v" is no number. (1 more like it.)'),
        (["1", "2", "n/v"], None, '--require "x:string"'),
        (["a", "b"], "number", 'Column "x", row 1: "a" is no number. (1 more like it.) Correct it'),
        ([1.0, np.inf], None, 'Column "x", row 2: inf is infinite'),
        ([1.0, 1e200], None, 'Column "x", row 2: 1e+200 is too large'),
        ([1.0, 2.5], "integer", 'Column "x", row 2: 2.5 is no whole number'),
        ([1.0, 2.5], "boolean", 'Column "x", row 1: 1 is neither true nor false'),
        ([True, False], "number", 'Column "x", row 1: True is no number'),
        ([1, 2], "string", 'Column "x", row 1: 1 is no text'),
        ([NAN, NAN], None, 'Column "x" has no value in any row. Leave it out with --drop "x"'),
        ([{}, "a"], None, 'Column "x", row 1: {} is neither number, text nor true/false'),
        ([b"1", b"2"], None, "Column \"x\", row 1: b'1' is neither number, text nor true/false. (1 more"),
        (["y" * 50, "1", "2"], None, f'"{"y" * 40}…" is no number'),
    ],
)
def test_a_cell_that_does_not_belong_is_named(cells: list[Any], required: str | None, complaint: str) -> None:
    with pytest.raises(InputError) as raised:
        read(pd.Series(cells), **({"x": required} if required else {}))
    assert complaint in str(raised.value)


DATES = pd.Series(pd.date_range("2024-01-31", periods=2))


@pytest.mark.parametrize(
    "cells",
    [
        DATES,
        DATES.dt.tz_localize("Europe/Berlin"),
        DATES.dt.date,
        DATES.dt.strftime("%Y-%m-%d"),
        DATES.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        DATES.dt.strftime("%d.%m.%Y"),
    ],
    ids=["timestamps", "with a zone", "dates of Python", "ISO", "ISO with time", "day first"],
)
def test_dates_are_refused_with_the_lines_that_make_numbers_of_them(cells: pd.Series) -> None:
    with pytest.raises(InputError, match=r'Column "x".*numbers, texts and true/false only') as raised:
        read(cells)
    said = str(raised.value)
    assert '--drop "x"' in said
    scope: dict[str, Any] = {"pd": pd, "table": pd.DataFrame({"x": cells})}
    exec("\n".join(line.strip() for line in said.splitlines() if line.startswith("    ")), scope)
    assert scope["table"].to_dict("list") == {"x year": [2024, 2024], "x month": [1, 2], "x day_of_week": [2, 3]}


def test_a_length_of_time_is_refused_with_a_way_out() -> None:
    with pytest.raises(InputError, match=r'has the type timedelta64.*total_seconds\(\)\), or leave it out with --drop "x"'):
        read(pd.Series([pd.Timedelta(hours=1)]))


@pytest.mark.parametrize(
    ("cells", "complaint"),
    [
        (["2024-01-05", "2024-02-01 10:00", None], 'Column "x", row 1: "2024-01-05" is a date, like most of the column.'),
        ([None, "5.1.2024", "31.12.2023"], 'Column "x", row 2: "5.1.2024" is a date'),
        (["1,5", "2,25", "1.000,0"], 'Column "x", row 1: "1,5" is a number with a comma, like most of the column. Write numbers'),
        (
            ["12.5%", "3 %", None],
            'Column "x", row 1: "12.5%" is a number with a sign, like most of the column. Write plain numbers',
        ),
        (["1,234.50", "1,000,000", "$ 12"], 'Column "x", row 1: "1,234.50" is a number with a sign'),
    ],
)
def test_what_only_looks_like_text_is_refused_unless_it_is_required(cells: list[Any], complaint: str) -> None:
    with pytest.raises(InputError) as raised:
        read(pd.Series(cells))
    assert complaint in str(raised.value)
    assert '--drop "x"' in str(raised.value)
    assert read(pd.Series(cells), x="string")[0] == "string"


def test_a_date_among_texts_is_a_text() -> None:
    assert read(pd.Series(["2024-01-05", "soon", "1,5"]))[0] == "string"


def test_texts_are_required_where_most_of_them_are_numbers() -> None:
    assert read(pd.Series(["1", "2", "3+"]), x="string")[:3] == ("string", False, ["1", "2", "3+"])
