"""The rules for a table as a whole, and the split."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.unit.training.factories import customers, numbers, raw, settings, table, with_gaps
from training import target as targets
from training.errors import InputError
from training.table import checked, split
from training.target import Target


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
        ([0, 1] * 29 + [0, np.inf], 'Column "churn", row 60: inf is infinite'),
        (["0", "1"] * 29 + ["0", "x"], 'Column "churn", row 60: "x" is no number'),
    ],
)  # fmt: skip
def test_a_target_that_can_not_be_learned(labels: list[Any], expected: str) -> None:
    assert expected in complaint(numbers().assign(churn=labels))


@pytest.mark.parametrize(
    ("labels", "task", "told"),
    [
        (["no", "yes", "yes"] * 20, "classification", '2 classes, no (33.3 %), yes (66.7 %); since "churn" has texts'),
        ([0, 1] * 30, "classification", "--task regression, if they are quantities"),
        (
            [0.5, 1.0] * 30,
            "regression",
            'regression: 0.5 to 1, mean 0.75; since "churn" has numbers with fractions; --task class',
        ),
        (range(60), "regression", "60 different numbers in 60 rows"),
        ([*range(21), 0, 0] * 8, "regression", "21 different numbers in 184 rows"),
        ([*range(20), 0, 0] * 8, "classification", "20 classes, 0 (13.6 %)"),
    ],
)
def test_the_task_is_told_from_the_target_and_said_aloud(labels: Any, task: str, told: str) -> None:
    found = table(numbers(len(labels)).assign(churn=list(labels)))
    assert found.task == task
    assert told in found.notes[0]
    assert found.all.labels.dtype == "float64" or task == "classification"


def test_the_task_that_is_asked_for_is_the_one() -> None:
    frame = numbers(60).assign(churn=[1, 2] * 30)
    assert table(frame, task="regression").all.labels.dtype == "float64"
    assert table(numbers(200).assign(churn=[*range(25)] * 8), task="classification").all.labels.dtype == "int64"
    assert "row 2: 1.5 is no class, but a quantity. (29 more like it.) Leave --task out" in complaint(
        frame.assign(churn=[1, 1.5] * 30), task="classification"
    )
    assert "has texts, and regression predicts numbers" in complaint(customers(), task="regression")


def test_quantities_need_rows_and_have_to_differ() -> None:
    frame = numbers(12).assign(churn=np.arange(12) + 0.5)
    assert "There are 12 rows, 9 of them to train on and 3 to test with. 5 folds need at least 10" in complaint(frame)
    assert table(frame, folds=3).task == "regression"
    assert "is 0.5 in every row: there is nothing to predict" in complaint(numbers().assign(churn=0.5))


def test_what_is_known_of_a_table_stays_without_its_rows() -> None:
    found = table(customers(100))
    empty = found.without_rows()
    assert (empty.rows, len(empty.all.features), len(empty.all.labels)) == (100, 0, 0)
    assert empty.all.labels.dtype == found.all.labels.dtype
    assert empty.summary() == found.summary()


def test_the_split_of_quantities_shares_no_row() -> None:
    found = table(numbers(50).assign(churn=np.arange(50) / 3))
    parts = split(found, settings())
    assert sorted([*parts.train.labels, *parts.test.labels]) == sorted(found.all.labels)
    assert len(parts.test.labels) == 10


def test_rows_that_are_there_twice() -> None:
    frame = with_gaps(customers(60)).assign(Größe=np.arange(60.0))
    twice = pd.concat([frame, frame.iloc[[3, 3, 7]]], ignore_index=True)
    said = "3 rows repeat another one in every column, row 61 that of row 4."
    assert any(note.startswith(f"note: {said}") for note in table(twice).notes)
    assert complaint(twice, duplicates="refuse").startswith(said)
    once = table(twice, duplicates="drop")
    assert once.fingerprint == table(frame).fingerprint
    assert "3 rows that repeat another one are left out" in once.notes
    other = pd.concat([frame, frame.iloc[[3]].assign(churn="yes" if frame["churn"][3] == "no" else "no")], ignore_index=True)
    assert not any("repeat" in note for note in table(other).notes)


@pytest.mark.parametrize(
    ("copy", "kind"),
    [
        (lambda churn: churn.map({"yes": 7, "no": -1}), "number"),
        (lambda churn: churn == "yes", "boolean"),
        (lambda churn: churn.map({"yes": "Y", "no": None}), "string"),
    ],
)
def test_a_column_that_copies_the_classes_is_refused_unless_it_is_required(copy: Any, kind: str) -> None:
    frame = customers()
    frame["left"] = copy(frame["churn"])
    said = complaint(frame)
    assert 'Column "left" has a value of its own for each class of the target "churn"' in said
    assert f'--drop "left". If it is really known before the prediction is asked for, say so: --require "left:{kind}"' in said
    assert table(frame, require={"left": kind})
    frame.loc[0, "left"] = frame["left"][frame["churn"] != frame["churn"][0]].iloc[0]
    assert table(frame)


def test_a_column_that_copies_a_quantity_is_refused() -> None:
    frame = numbers().assign(churn=lambda f: f["a"] * 3.7 + 1)
    assert 'Column "a" is only another unit of the target "churn"' in complaint(frame)
    assert 'Column "b" is the same as the target' in complaint(frame.assign(a=0.0, b=frame["churn"]))
    assert table(frame.assign(churn=frame["churn"] + np.random.default_rng(0).normal(scale=0.01, size=60)))


def test_a_rare_class_and_a_column_without_differences_are_remarked_upon() -> None:
    rare = table(numbers(1000).assign(churn=[1] * 10 + [0] * 990, c=2.0))
    assert any("class 1 is one row in 100: whoever never answers it has an accuracy of 0.990" in note for note in rare.notes)
    assert any('column "c" is the same in every row' in note for note in rare.notes)


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
    assert len(found.notes) == 2
    assert 'column "id" has 200 different texts' in found.notes[1]


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


@pytest.mark.parametrize(
    ("labels", "asked", "positive"),
    [
        (["no", "yes"] * 30, None, "yes"),
        (["fraud"] + ["legit"] * 59, None, "fraud"),
        ([0] + [1] * 59, None, 0),
        (["no", "yes"] * 30, "no", "no"),
        ([0, 1] * 30, "0", 0),
        ([False, True] * 30, "false", False),
        (["a", "b", "c"] * 20, None, None),
    ],
)
def test_a_rare_class_is_the_one_that_figures_are_about_unless_another_is_asked_for(
    labels: list[Any], asked: str | None, positive: Any
) -> None:
    target = Target(task="classification", labels=np.array(labels, dtype=object if isinstance(labels[0], str) else None), told="")
    assert targets.positive(target, settings(positive=asked)) == positive


@pytest.mark.parametrize(("labels", "asked"), [(["a", "b"] * 30, "c"), (["a", "b", "c"] * 20, "a"), (np.arange(60) / 7, "1")])
def test_a_class_that_can_not_be_meant_is_told(labels: Any, asked: str) -> None:
    assert f"--positive {asked}" in complaint(customers(60).assign(churn=labels), positive=asked)


def test_classes_that_a_number_can_not_tell_apart_are_refused() -> None:
    for least in (2**53, 2**53 + 1, -(2**53) - 1, 2**63):
        said = complaint(customers(60).assign(churn=[least + (row > 30) for row in range(60)]))
        assert f'Column "churn", row 1: {least} has more digits' in said
        assert '--require "churn:string"' in said
    kept = table(customers(60).assign(churn=[2**53 - 2 + row % 2 for row in range(60)])).all.labels
    assert set(kept.tolist()) == {2**53 - 2, 2**53 - 1}


def test_long_identifiers_get_a_remark() -> None:
    (note,) = [note for note in table(customers().assign(id=[2**62 + row for row in range(60)])).notes if '"id"' in note]
    assert "more than 15 digits" in note


def test_a_copy_of_the_target_is_seen_where_cells_are_missing() -> None:
    copied = customers(60)
    assert "would only copy it" in complaint(copied.assign(copy=copied["churn"].where(copied.index > 3)))
    assert "would only copy it" in complaint(copied.assign(copy=copied["churn"].where(copied["churn"] == "yes")))
