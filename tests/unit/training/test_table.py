"""The rules for a table as a whole, and the split."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.unit.training.factories import customers, numbers, raw, settings, table, with_gaps
from training.errors import InputError
from training.table import checked, split


def complaint(frame: pd.DataFrame, **changes: Any) -> str:
    with pytest.raises(InputError) as raised:
        checked(raw(frame), settings(**changes))
    return str(raised.value)


def test_a_mixed_table_is_described_by_its_columns() -> None:
    found = table(with_gaps(customers()))
    assert [(c.name, c.kind, c.optional) for c in found.columns] == [
        ("Größe", "number", True),
        ("age", "number", True),
        ("plan", "string", True),
        ("active", "boolean", True),
    ]
    assert found.summary() == "60 rows; columns: 2 number, 1 boolean, 1 string, 4 with missing values"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([0, 1], "int64"), ([0.0, 1.0], "int64"), ([False, True], "bool"), (["no", "yes"], "object")],
)
def test_labels_keep_their_type(labels: list[Any], expected: str) -> None:
    assert table(numbers().assign(churn=labels * 30)).all.labels.dtype == expected


def test_a_missing_target_column_names_those_there_are() -> None:
    assert complaint(customers(), target="Chrn ") == (
        'There is no column "Chrn " (target column) in table. Did you mean "churn"? '
        'There are "Größe", "age", "plan", "active", "churn".'
    )
    assert "Did you mean" not in complaint(customers(), target="zzz")


def test_columns_that_are_named_must_be_there() -> None:
    assert '"wage" (required column) in table. Did you mean "age"?' in complaint(customers(), require={"wage": "number"})
    assert '"zzz" (column to drop)' in complaint(customers(), drop=("zzz",))
    assert '"zzz" (column with a range)' in complaint(customers(), ranges={"zzz": (0, 1)})


def test_a_dropped_column_is_neither_used_nor_judged() -> None:
    dates = customers().assign(when=pd.Timestamp("2024-01-01"))
    assert '"when"' in complaint(dates)
    assert "when" not in table(dates, drop=("when",)).all.features


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["yes"] * 60, 'The target column "churn" has one class only: every row is yes.'),
        (["yes", None, None] * 20, 'The target column "churn" has no value in row 2 and 39 more.'),
        (["no"] * 57 + ["yes"] * 3, 'has 3 of class yes (first in row 58), but 5 folds and a test part of 0.2 need at least 7'),
        ([0.5] + [1.0] * 59, 'Column "churn", row 1: 0.5 is no class, but a quantity. Predicting quantities (regression)'),
        ([0, 1] * 29 + [0, np.inf], 'Column "churn", row 60: inf is infinite'),
        (["0", "1"] * 29 + ["0", "x"], 'Column "churn", row 60: "x" is no number'),
    ],
)  # fmt: skip
def test_a_target_that_can_not_be_learned(labels: list[Any], expected: str) -> None:
    assert expected in complaint(numbers().assign(churn=labels))


def test_many_different_numbers_are_a_quantity() -> None:
    frame = pd.concat([numbers(101).assign(churn=range(101))] * 8, ignore_index=True)
    assert "has 101 different numbers, so it looks like a quantity" in complaint(frame)


@pytest.mark.parametrize(("rows", "test_size", "folds"), [(60, 0.2, 5), (21, 0.5, 3), (97, 0.33, 4), (50, 0.1, 2)])
def test_as_many_of_a_class_as_are_asked_for_are_enough(rows: int, test_size: float, folds: int) -> None:
    changes = {"test_size": test_size, "folds": folds}

    def frame(rare: int) -> pd.DataFrame:
        return numbers(rows).assign(churn=[1] * rare + [0] * (rows - rare))

    least = int(complaint(frame(1), **changes).split("at least ")[1].split()[0])
    assert f"has {least - 1} of class 1" in complaint(frame(least - 1), **changes)
    parts = split(table(frame(least), **changes), settings(**changes))
    assert parts.train.labels.sum() >= folds
    assert parts.test.labels.sum() >= 1


def test_a_table_needs_rows_and_features() -> None:
    assert complaint(customers()[:0]) == "table has no rows, only the names of columns."
    assert complaint(customers()[["churn"]]) == 'table has no column to predict "churn" from.'
    assert "can't be dropped" in complaint(customers(), drop=("churn",))


def test_three_rows_are_too_few() -> None:
    assert "need at least 8 of each class" in complaint(customers()[:3])


def test_a_mistake_in_a_cell_is_told_before_the_rows_are_counted() -> None:
    frame = customers(3).astype({"age": object})
    frame.loc[1, "age"] = "old"
    assert 'Column "age", row 2: "old" is no number' in complaint(frame)


def test_a_declared_range_is_kept_to() -> None:
    frame = customers().assign(age=[17] + [30] * 58 + [99])
    assert 'Column "age", row 60: 99 is outside the declared range 0:98.' in complaint(frame, ranges={"age": (0, 98)})
    assert "row 1: 17 is outside the declared range 18:." in complaint(frame, ranges={"age": (18, None)})
    assert 'Column "plan" has no numbers' in complaint(frame, ranges={"plan": (0, 1)})
    assert table(frame, ranges={"age": (17, 99)})


def test_a_text_for_every_row_is_remarked_upon() -> None:
    found = table(customers(200).assign(id=[f"c{row}" for row in range(200)]))
    assert len(found.notes) == 1
    assert 'column "id" has 200 different texts' in found.notes[0]


def test_the_fingerprint_knows_every_value_and_no_file_format() -> None:
    frame = with_gaps(customers())
    same = table(frame.astype({"age": "Int64", "active": "boolean", "plan": "category"}))
    assert table(frame).fingerprint == same.fingerprint
    changed = [
        frame.assign(Größe=frame["Größe"] * (1 + 1e-15)),
        frame.assign(churn=frame["churn"].replace({"yes": "no", "no": "yes"})),
        frame.rename(columns={"age": "years"}),
        frame[::-1].reset_index(drop=True),
    ]
    found = {table(other).fingerprint for other in (frame, *changed)}
    assert len(found) == 5


def test_the_split_shares_no_row_and_keeps_the_shares_of_classes() -> None:
    whole = table(customers(200))
    parts = split(whole, settings())
    assert not set(parts.train.features.index) & set(parts.test.features.index)
    assert len(parts.test.labels) == 40
    shares = [np.mean(part.labels == "yes") for part in (whole.all, parts.train, parts.test)]
    assert max(shares) - min(shares) < 0.02
    again = split(whole, settings())
    pd.testing.assert_frame_equal(parts.test.features, again.test.features)
    other = split(whole, settings(seed=7))
    assert not parts.test.features.index.equals(other.test.features.index)
