"""The pipeline: two steps for numbers, more for texts and gaps, and the same bytes for the same seed."""

import io
import pickle
import pickletools
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from server.compile import compile_model
from server.model import Model
from server.signature import Columns
from server.table import Column as ServerColumn
from tests.unit.training.factories import customers, numbers, settings, table, with_gaps
from training.estimators import Kind, Recipe, recipe
from training.pipeline import fit
from training.table import Part


def fitted(frame: pd.DataFrame, **changes: Any) -> Pipeline:
    found, chosen = table(frame), settings(**changes)
    return fit(found.all, found.columns, recipe(chosen), found.task, chosen)


def dumped(pipeline: Pipeline) -> bytes:
    file = io.BytesIO()
    joblib.dump(pipeline, file, compress=3)
    return file.getvalue()


def test_numbers_are_scaled_and_go_to_the_forest() -> None:
    pipeline = fitted(numbers(), trees=7, max_depth=3, seed=11)
    assert [type(step) for _, step in pipeline.steps] == [StandardScaler, RandomForestClassifier]
    forest = pipeline[-1]
    assert (len(forest.estimators_), forest.max_depth, forest.random_state) == (7, 3, 11)


@pytest.mark.parametrize("frame", [numbers(), customers(), with_gaps(customers())], ids=["numbers", "mixed", "gaps"])
def test_the_same_seed_gives_the_same_bytes(frame: pd.DataFrame) -> None:
    assert dumped(fitted(frame)) == dumped(fitted(frame.copy()))
    assert dumped(fitted(frame)) != dumped(fitted(frame, seed=7))


def test_quantities_get_a_regressor_and_the_same_bytes() -> None:
    frame = with_gaps(customers()).assign(churn=np.random.default_rng(0).normal(size=60))
    assert type(fitted(frame)[-1]) is RandomForestRegressor
    assert dumped(fitted(frame)) == dumped(fitted(frame.copy()))


@pytest.mark.parametrize("kind", ["forest", "boosting", "linear"])
def test_the_bytes_are_the_same_on_one_thread_and_on_two(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads of joblib, of OpenMP and of the linear algebra."""
    few = HistGradientBoostingClassifier(max_iter=3, random_state=0)  # its threads wait for each other where other tests run
    if kind == "boosting":
        monkeypatch.setattr(Recipe, "estimator", lambda *_: clone(few))
    found, bytes_ = table(with_gaps(customers())), []
    for threads in (1, 2):
        with threadpool_limits(threads):
            recipe_ = Recipe(kind=kind, trees=5, max_depth=3)
            bytes_.append(dumped(fit(found.all, found.columns, recipe_, found.task, settings(jobs=threads))))
    assert bytes_[0] == bytes_[1]


@pytest.mark.parametrize("kind", ["boosting", "linear"])
@pytest.mark.parametrize("target", ["classes", "quantities"])
def test_other_estimators_take_the_same_table_and_are_compiled(kind: Kind, target: str) -> None:
    """Texts, truth values and gaps; with the server's own code, as a pod would."""
    frame = with_gaps(customers(120))
    found = table(frame if target == "classes" else frame.assign(churn=np.random.default_rng(0).normal(size=120)))
    with threadpool_limits(1):  # boosting's threads wait for each other where other tests run
        pipeline = fit(found.all, found.columns, Recipe(kind=kind), found.task, settings())
    columns = tuple(
        ServerColumn(name=c.name, type="double" if c.kind == "number" else c.kind, required=not c.optional) for c in found.columns
    )
    classes = getattr(pipeline, "classes_", None)
    native = Model(
        estimator=pipeline, inputs=Columns(columns=columns), form="Columns", names=tuple(c.name for c in columns),
        classes=None if classes is None else classes.tolist(), has_probabilities=classes is not None, by_probability=True,
    )  # fmt: skip
    assert compile_model(native, "", 100_000).files


def test_a_rare_class_can_weigh_as_much_as_the_other() -> None:
    assert fitted(customers(), balance=True)[-1].class_weight == "balanced"


def test_it_answers_on_one_thread() -> None:
    """Else the votes are added in another order each time, and the last bits of an answer differ."""
    assert fitted(numbers())[-1].n_jobs == 1


def test_its_file_needs_nothing_of_this_project() -> None:
    bytes_ = pickle.dumps(fitted(with_gaps(customers())))
    texts = {str(argument) for _, argument, _ in pickletools.genops(bytes_) if isinstance(argument, str)}
    modules = {text.split(".")[0] for text in texts if text.split(".")[0] in {"sklearn", "training", "server"}}
    assert modules == {"sklearn"}


def test_what_is_missing_is_the_same_in_every_form() -> None:
    """A server may hand over None or NaN, in a column of objects or of texts."""
    pipeline = fitted(with_gaps(customers()))
    rows = [
        pd.DataFrame({"Größe": [np.nan], "age": [40.0], "plan": plan, "active": active})
        for plan in (pd.Series([None], dtype=object), pd.Series([np.nan], dtype=object), pd.Series([None], dtype="str"))
        for active in (pd.Series([None], dtype=object), pd.Series([np.nan], dtype=object))
    ]
    prepared = [pipeline[0].transform(row) for row in rows]
    for other in prepared[1:]:
        np.testing.assert_array_equal(other, prepared[0])


def test_a_column_without_a_value_in_this_fold_is_no_obstacle() -> None:
    found = table(with_gaps(customers()).assign(rare=[1.0] + [np.nan] * 59))
    fold = Part(features=found.all.features[1:], labels=found.all.labels[1:])
    pipeline = fit(fold, found.columns, recipe(settings()), found.task, settings())
    assert len(pipeline.predict(found.all.features)) == 60


def test_a_text_never_seen_is_answered() -> None:
    row = table(customers()).all.features[:1].assign(plan=pd.Series(["gratis"], dtype="str"))
    assert fitted(customers()).predict(row)[0] in {"yes", "no"}


def test_rare_texts_are_taken_together() -> None:
    frame = customers(200).assign(plan=[f"p{row}" for row in range(200)])
    encoder = fitted(frame, max_categories=10)[0].named_transformers_["texts"][-1]
    assert len(encoder.get_feature_names_out()) == 10


def test_columns_are_taken_by_name() -> None:
    rows = table(customers()).all.features
    pipeline = fitted(customers())
    np.testing.assert_array_equal(pipeline.predict_proba(rows), pipeline.predict_proba(rows[rows.columns[::-1]]))
