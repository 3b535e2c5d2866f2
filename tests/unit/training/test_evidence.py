"""What a version carries along as its proof."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from server.artifact import Record
from tests.unit.training.factories import customers, settings, table, with_gaps
from training import evidence
from training.estimators import recipe
from training.pipeline import fit
from training.table import Part, split


def test_the_example_has_a_row_of_each_class_and_is_json() -> None:
    frame = with_gaps(customers(100)).assign(age=[1] * 7 + [2] * 53 + [3] * 40)
    found = table(frame.assign(churn=["rare"] * 7 + ["no"] * 53 + ["yes"] * 40), require={"age": "number"})
    test = split(found, settings()).test
    rows = evidence.written(evidence.example_rows(test, 5))
    assert len(rows) == 5
    assert set(rows["age"]) == {1, 2, 3}
    assert rows.isna().to_numpy().any()
    json.dumps(rows.to_dict("split"), allow_nan=False)
    assert len(evidence.example_rows(test, 2)) == 2


def test_an_example_of_quantities_takes_no_time_on_a_large_table() -> None:
    labels = np.random.default_rng(0).normal(size=100_000)
    rows = evidence.example_rows(Part(features=pd.DataFrame({"a": np.arange(100_000)}), labels=labels), 5)
    assert rows["a"].tolist() == [0, 1, 2, 3, 4]


def test_the_answer_survives_yaml_bit_for_bit() -> None:
    found = table(customers(100))
    parts = split(found, settings())
    chosen = settings(trees=7)
    pipeline = fit(parts.train, found.columns, recipe(chosen), found.task, chosen)
    given = evidence.answer(pipeline, parts.test.features)
    record = evidence.record(found, parts.train, {}, settings()).model_copy(update={"example": given})
    written = record.model_dump(mode="json", exclude_none=True)
    read = Record.model_validate(yaml.safe_load(yaml.safe_dump(written)))
    assert read.example is not None
    assert read.example.classes == ["no", "yes"]
    assert read.example.predictions == pipeline.predict(parts.test.features).tolist()
    np.testing.assert_array_equal(np.array(read.example.probabilities), pipeline.predict_proba(parts.test.features))


@pytest.mark.parametrize("labels", [[0, 1], [False, True], ["no", "yes"]])
def test_labels_keep_their_type_in_the_answer(labels: list[Any]) -> None:
    found = table(customers().assign(churn=labels * 30))
    pipeline = fit(found.all, found.columns, recipe(settings()), found.task, settings())
    given = evidence.answer(pipeline, found.all.features[:4])
    assert {type(label) for label in [*given.predictions, *(given.classes or [])]} == {type(labels[0])}


def test_bounds_are_those_of_the_training_part() -> None:
    frame = with_gaps(customers(100))
    found = table(frame, ranges={"age": (0, None)})
    train = split(found, settings()).train
    bounds = evidence.bounds(train, found.columns, settings(ranges={"age": (0, None)}))
    assert set(bounds.seen) == {"Größe", "age"}
    assert bounds.seen["age"] == (train.features["age"].min(), train.features["age"].max())
    assert bounds.declared == {"age": (0, None)}


def test_the_record_names_the_data_and_how_good_the_model_is() -> None:
    found = table(customers())
    train = Part(features=found.all.features[:10], labels=found.all.labels[:10])
    metrics = {"test_f1": 0.9, "test_roc_auc": math.nan}
    record = evidence.record(found, train, metrics, settings())
    assert record.data == {"fingerprint": found.fingerprint, "rows": 10, "columns": 4, "seed": 42, "test_size": 0.2}
    assert record.bounds == evidence.bounds(train, found.columns, settings())
    assert (record.format, record.target) == (1, "churn")
    assert record.metrics == {"test_f1": 0.9}
