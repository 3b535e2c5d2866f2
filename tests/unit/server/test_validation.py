"""A body becomes a row, or a list of everything that is wrong with it."""

import json
import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server import jsontext, validation
from server.artifact import Bounds
from server.checked import MAX_DETAILS, Checked
from server.errors import Detail, InvalidBody, InvalidFeatures, OutOfBounds
from server.signature import Columns, Vector
from server.table import Column, ColumnType
from server.validation import Validator


def column(kind: ColumnType, **changes: Any) -> Column:
    return Column(name="x", type=kind, **changes)


def one(kind: ColumnType, bounds: Bounds | None = None, **changes: Any) -> Validator:
    return validation.validator(Columns(columns=(column(kind, **changes),)), bounds or Bounds())


def check(checks: Validator, body: Any) -> Checked:
    return checks.records((body,), numbered=False)


def row_of(checks: Validator, body: Any) -> list[Any]:
    rows = check(checks, body).rows
    return list((rows.tolist() if isinstance(rows, np.ndarray) else rows)[0])


TAKEN: dict[ColumnType, list[tuple[Any, Any]]] = {
    "double": [(1.5, 1.5), (3, 3.0), (-0.0, 0.0), (2**70, float(2**70))],
    "float": [(1.5, 1.5), (3, 3.0)],
    "long": [(3, 3), (3.0, 3), (2**63 - 1, 2**63 - 1), (-(2**63), -(2**63))],
    "integer": [(3, 3), (2**31 - 1, 2**31 - 1)],
    "string": [("", ""), ("élite", "élite"), ("😀", "😀")],
    "boolean": [(True, True), (False, False)],
}
REFUSED: dict[ColumnType, list[Any]] = {
    "double": ["1.5", True, [], {}, 10**400, float("inf")],
    "float": ["1", False, 1e39],
    "long": [2**63, 1.5, True, "3", 1e300],
    "integer": [2**31, 0.5, False],
    "string": [1, True, "\ud83d", ["a"]],
    "boolean": [0, 1, "true"],
}


@pytest.mark.parametrize(("kind", "value", "cell"), [(kind, *pair) for kind, pairs in TAKEN.items() for pair in pairs])
def test_a_value_of_the_right_type_is_taken(kind: ColumnType, value: Any, cell: Any) -> None:
    (taken,) = row_of(one(kind), {"x": value})
    assert taken == cell and (type(taken) is type(cell) or type(taken) is float)


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in REFUSED.items() for value in values])
def test_a_value_of_another_type_is_refused_with_what_is_expected(kind: ColumnType, value: Any) -> None:
    with pytest.raises(InvalidFeatures, match="expected") as caught:
        check(one(kind), {"x": value})
    assert [detail.feature for detail in caught.value.details] == ["x"]


@pytest.mark.parametrize("body", [{}, {"x": None}])
def test_only_what_is_optional_may_be_missing(body: dict[str, Any]) -> None:
    (cell,) = row_of(one("long", required=False), body)
    assert math.isnan(cell)
    assert row_of(one("string", required=False), body) == [None]
    with pytest.raises(InvalidFeatures, match=r"x is (missing|null), a whole number of 64 bits is expected"):
        check(one("long"), body)


def test_all_mistakes_come_at_once() -> None:
    columns = (column("double"), Column(name="age", type="long"), Column(name="plan", type="string"))
    checks = validation.validator(Columns(columns=columns), Bounds(declared={"age": (0, 120)}))
    with pytest.raises(InvalidFeatures) as caught:
        check(checks, {"x": "wrong", "age": 130, "plann": "pro"})
    assert caught.value.details == (
        Detail("x", 'is "wrong", a number is expected'),
        Detail("plan", "is missing, a text is expected"),
        Detail("plann", "is not a feature of this model (did you mean 'plan'?)"),
        Detail("age", "is 130, 0 to 120 is possible"),
    )


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "words"),
    [((0, 120), 120, 121, "0 to 120"), ((0, None), 10**6, -1, "at least 0"), ((None, 5.5), -(10**6), 6, r"at most 5\.5")],
)
def test_declared_bounds_are_a_limit(bounds: Any, inside: int, outside: int, words: str) -> None:
    checks = one("long", Bounds(declared={"x": bounds}))
    assert row_of(checks, {"x": inside}) == [inside]
    with pytest.raises(OutOfBounds, match=f"x is {outside}, {words} is possible"):
        check(checks, {"x": outside})


def test_seen_bounds_are_a_remark() -> None:
    checks = one("double", Bounds(seen={"x": (0, 1)}))
    assert check(checks, {"x": 1}).out_of_range == {}
    seen = check(checks, {"x": 1.5})
    assert (seen.rows[0], seen.out_of_range) == ([1.5], {"x": 1})


def test_an_error_stays_small_whatever_is_sent() -> None:
    body = {f"{'n' * 1000}{number}": "v" * 10_000 for number in range(1000)} | {"x": "y" * 100_000}
    with pytest.raises(InvalidFeatures) as caught:
        check(one("double"), body)
    assert len(caught.value.details) == MAX_DETAILS
    assert len(json.dumps([(d.feature, d.message) for d in caught.value.details])) < 30_000


def test_a_vector_has_the_right_number_of_numbers() -> None:
    checks = validation.validator(Vector(width=2), Bounds())
    assert row_of(checks, {"features": [1, 2.5]}) == [1.0, 2.5]
    for wrong, words in {
        "[1]": "has 1 values, this model takes",
        "1": "is 1, this model takes",
        "[1, null]": r"features\[1\] is null, a number is expected",
        "[1, true]": r"features\[1\] is true",
    }.items():
        with pytest.raises(InvalidFeatures, match=words):
            check(checks, {"features": json.loads(wrong)})
    with pytest.raises(InvalidFeatures, match=r"a is not known.*features is missing"):
        check(checks, {"a": 1})


BODIES = {
    b"": "empty",
    b" \n": "empty",
    b"{": "not JSON",
    b"{'a': 1}": "not JSON",
    b'{"a": 1} x': "not JSON",
    b'{"a": NaN}': "has NaN",
    b'{"a": -Infinity}': "has -Infinity",
    b'{"a": 1, "a": 1}': "'a' stands in the body more than once",
    b'{"b": {"a": 1, "a": 1}}': "more than once",
    b'{"a": 1' + b"0" * 5000 + b"}": "too many digits",
    b"[" * 100_000: "too deeply",
    b'{"a":' * 100_000: "too deeply",
    b"\xff\xfe{\x00}\x00": "not UTF-8",
    b"\x1f\x8b\x08\x00": "not UTF-8",
}


@pytest.mark.parametrize(("body", "words"), BODIES.items(), ids=[body[:20].decode(errors="replace") for body in BODIES])
def test_what_is_not_json_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(InvalidBody, match=words):
        jsontext.loads(body)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["x", "y", "z"]) | st.text(), JSON))
def test_any_object_is_either_a_row_of_the_right_types_or_refused(body: dict[str, Any]) -> None:
    columns = (column("double"), Column(name="y", type="long", required=False), Column(name="z", type="string"))
    checks = validation.validator(Columns(columns=columns), Bounds())
    try:
        x, y, z = row_of(checks, body)
    except InvalidFeatures as refused:
        assert refused.details
    else:
        assert (type(x), type(y), type(z)) in ((float, int, str), (float, type(None), str))


NUMBERS = st.none() | st.booleans() | st.integers() | st.integers(-3, 3) | st.floats() | st.just("1")
KINDS: list[ColumnType] = ["double", "float", "long", "integer"]


@example([dict.fromkeys(KINDS, -0.0)], False)
@example([dict.fromkeys(KINDS, math.inf)], False)
@settings(max_examples=150, deadline=None)
@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(KINDS, NUMBERS)), min_size=1, max_size=3), st.booleans())
def test_numbers_checked_together_are_checked_as_they_are_one_by_one(rows: list[dict[str, Any]], reject: bool) -> None:
    columns = tuple(Column(name=kind, type=kind, required=kind != "float") for kind in KINDS)
    text = Column(name="text", type="string")  # with it, nothing is checked together
    bounds = Bounds(seen=dict.fromkeys(KINDS, (-1, 2)), declared={"double": (-2.5, None), "long": (None, 2**60)})

    def outcome(columns: tuple[Column, ...], rows: list[dict[str, Any]]) -> Any:
        try:
            checked = validation.validator(Columns(columns=columns), bounds, reject_unseen=reject).records(rows)
        except (InvalidFeatures, OutOfBounds) as e:
            return type(e), e.details
        cells: Any = checked.rows.tolist() if isinstance(checked.rows, np.ndarray) else checked.rows
        found = [[math.nan if cell is None else cell + 0 for cell in row[:4]] for row in cells]  # -0 is 0
        return found, sorted(checked.out_of_range.items())

    together, apart = outcome(columns, rows), outcome((*columns, text), [row | {"text": ""} for row in rows])
    assert repr(together).replace(".0", "") == repr(apart).replace(".0", "")


def test_six_hundred_columns_take_less_than_a_millisecond() -> None:
    names = [f"feature {number}" for number in range(600)]
    columns = tuple(Column(name=name, type="double") for name in names)
    checks = validation.validator(Columns(columns=columns), Bounds(seen=dict.fromkeys(names, (0, 1))))
    body = json.dumps(dict.fromkeys(names, 0.5)).encode()
    seconds = []
    for _ in range(50):
        started = time.perf_counter()
        check(checks, jsontext.loads(body))
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.001
