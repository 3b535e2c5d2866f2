"""What a notebook may pass as a sample, and what is said where it can't be served so."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.linear_model import LinearRegression

from training import sample
from training.errors import InputError

NUMBERS = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [3.0, 1.0, 2.0]})
KINDS = pd.DataFrame(
    {
        "whole": [1, 2, 3],
        "gappy": pd.array([1, None, 3], dtype="Int64"),
        "single": np.array([1, 2, 3], dtype="float32"),
        "word": ["x", None, "z"],
        "kind": pd.Categorical(["x", "y", "x"]),
        "flag": [True, False, True],
        "perhaps": pd.Series([True, None, False], dtype=object),
        "since": pd.date_range("2026-01-01", periods=3),
    }
)


class Fitted:
    """Knows what it was trained with, as scikit-learn's estimators do."""

    def __init__(self, *names: str) -> None:
        self.feature_names_in_ = np.array(names, dtype=object)
        self.n_features_in_ = len(names)

    def predict(self, rows: pd.DataFrame) -> Any:
        return rows[list(self.feature_names_in_)].sum(axis=1)


class OnArray:
    """Was trained on an array of two columns."""

    n_features_in_ = 2


def test_each_column_gets_the_type_that_the_server_gives_back() -> None:
    found = sample.read(Fitted(*KINDS.columns), KINDS)
    assert [(spec.name, spec.type.name, spec.required) for spec in found.inputs.inputs] == [
        ("whole", "long", True), ("gappy", "long", False), ("single", "float", True), ("word", "string", False),
        ("kind", "string", True), ("flag", "boolean", True), ("perhaps", "boolean", False), ("since", "datetime", True),
    ]  # fmt: skip
    assert found.bounds({}).seen == {"whole": (1, 3), "gappy": (1, 3), "single": (1, 3)}
    written = sample.example(found.rows([1]))
    assert written.iloc[0].drop("since").tolist() == [2, None, 2.0, None, "y", False, None]


def test_columns_come_in_the_order_of_training_and_the_index_is_left_behind() -> None:
    shuffled = NUMBERS[["b", "a"]].set_axis([7, 7, 9])
    found = sample.read(Fitted("a", "b"), shuffled)
    assert list(found.data.columns) == ["a", "b"]
    assert list(found.data.index) == [0, 1, 2]


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (np.eye(2), "float64"),
        (np.eye(2, dtype="float32"), "float32"),
        (sparse.eye_array(2).tocsr(), "float64"),
        ([[1, 2], [3, 4]], "int64"),
        (np.array([[1, 2], [3, 4]], dtype=object), "float64"),
        (np.array([["a", "b"]], dtype=object), "str"),
    ],
)
def test_an_array_has_positions_and_one_type(given: Any, dtype: str) -> None:
    (spec,) = sample.read(OnArray(), given).inputs.inputs
    assert spec.shape == (-1, 2)
    assert spec.type == np.dtype(dtype)


def test_an_array_for_what_was_trained_on_a_frame_gets_its_names() -> None:
    assert sample.read(Fitted("a", "b"), NUMBERS.to_numpy()).inputs.input_names() == ["a", "b"]


@pytest.mark.parametrize(
    "given", [["red sky", "blue"], ("red sky", "blue"), pd.Series(["red sky", "blue"]), np.array(["a", "b"])]
)
def test_texts_stay_as_they_are(given: Any) -> None:
    found = sample.read(object(), given)
    assert found.inputs.inputs[0].shape == (-1,)
    assert len(found) == 2
    assert sample.example(found.rows([0])).dtype.kind == "U"


@pytest.mark.parametrize(
    ("names", "given", "complaint"),
    [
        ("a b", NUMBERS[:0], "X_sample has no rows"),
        ("a b c", NUMBERS, 'lacks columns that the model was trained with: "c".'),
        ("a amount", NUMBERS.rename(columns={"b": "Amount "}), 'Did you mean "Amount "?'),
        ("a b", NUMBERS.set_index("b"), '"b". "b" is in its index: pass X_sample.reset_index().'),
        ("a b", NUMBERS.assign(churn=1), 'was not trained with: "churn". Pass X_sample[list(model.feature_names_in_)].'),
        ("a b", NUMBERS.set_axis(["a", "a"], axis=1), 'more than one column with the name "a"'),
        ("a b", NUMBERS.set_axis(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]), axis=1), "columns of several levels"),
        ("a b", NUMBERS["a"], "X_sample is one column, or one row."),
        ("a b", NUMBERS.assign(b=[1.0, np.inf, 2.0]), 'Column "b", row 2 of X_sample: inf'),
        ("a b", NUMBERS.assign(b=pd.date_range("2026", periods=3, tz="UTC")), "has times with a time zone"),
        ("a b", NUMBERS.assign(b=pd.to_timedelta([1, 2, 3])), "has the type timedelta64"),
        ("a b", NUMBERS.assign(b=["x", 1, "y"]), "row 2 of X_sample: '1' is a int, in a column of mixed"),
        ("a b", NUMBERS.assign(b=pd.Series([1, 2, 3], dtype=object)), "has numbers in a column of objects"),
    ],
)  # fmt: skip
def test_what_can_not_be_served_is_named(names: str, given: Any, complaint: str) -> None:
    with pytest.raises(InputError) as raised:
        sample.read(Fitted(*names.split()), given)
    assert complaint in str(raised.value)


def test_no_column_is_suggested_that_is_one_of_the_others() -> None:
    with pytest.raises(InputError) as raised:
        sample.read(Fitted("sepal_length", "petal_length"), NUMBERS[["a"]].set_axis(["sepal_length"], axis=1))
    assert str(raised.value).endswith('trained with: "petal_length".')


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (np.zeros((2, 2, 2)), "X_sample has 3 dimensions"),
        (None, "X_sample is a NoneType. Pass a table"),
        (np.zeros((2, 3)), "X_sample has 3 columns, and the model was trained with 2"),
        (np.zeros(2), "for a single row, X_sample.reshape(1, -1)"),
        (np.array([[1, np.inf]]), "Column 2, row 1 of X_sample is infinite"),
        (np.array([[1, "a"]], dtype=object), "an array of objects of several types"),
        ([[1, 2], [3]], "Pass rows of the same length"),
        (np.zeros((2, 2), dtype=complex), "an array of complex128"),
    ],
)
def test_what_is_no_table_is_named(given: Any, complaint: str) -> None:
    with pytest.raises(InputError) as raised:
        sample.read(OnArray(), given)
    assert complaint in str(raised.value)


def test_columns_that_the_model_drops_need_not_be_there() -> None:
    class Dropping(Fitted):
        def predict(self, rows: pd.DataFrame) -> Any:
            return rows["a"]

    assert sample.read(Dropping("a", "b"), NUMBERS[["a"]]).inputs.input_names() == ["a"]


def test_the_example_has_each_class_and_a_gap() -> None:
    gappy = pd.DataFrame({"a": [1.0] * 20}).assign(a=lambda f: f["a"].where(f.index != 12))
    found = sample.read(Fitted("a"), gappy)
    rows = sample.chosen(found, ["no"] * 15 + ["yes"] * 5, 5)
    assert rows == [0, 1, 2, 12, 15]
    assert sample.chosen(found, None, 3) == [0, 1, 12]
    assert len(sample.chosen(found, list(map(str, range(20))), 5)) == 5


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        ({"A": (0, 1)}, 'no column of numbers "A" to declare a range for. Did you mean "a"?'),
        ({"a": 5}, 'The range of column "a" is 5. Give its lowest and highest number: (0, 120), or (0, None).'),
        ({"a": (float("nan"), 5)}, 'The range of column "a" is (nan, 5).'),
        ({"a": ("0", 1)}, """The range of column "a" is ('0', 1)."""),
        ({"a": (np.int64(1), 0)}, 'The range of column "a" ends (0) below its start (1).'),
        ({"a": (0, 2)}, 'Column "a", row 3 of X_sample: 3 is outside the declared range 0 to 2.'),
    ],
)
def test_a_range_fits_the_sample(declared: Any, complaint: str) -> None:
    with pytest.raises(InputError) as raised:
        sample.read(Fitted("a", "b"), NUMBERS).bounds(declared)
    assert complaint in str(raised.value)


def test_bounds_are_those_of_every_row() -> None:
    found = sample.read(LinearRegression().fit(NUMBERS, [1, 2, 3]), NUMBERS)
    assert found.bounds({"a": (0, None)}).model_dump() == {"seen": {"a": (1, 3), "b": (1, 3)}, "declared": {"a": (0, None)}}
    assert found.bounds({"a": (0, np.inf)}).declared == {"a": (0, None)}
