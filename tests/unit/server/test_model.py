"""Loading, trusting and asking real estimators."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from server import artifact, engine, loading, model, trust
from server.errors import DigestMismatch, ExampleFailed, ExampleMismatch, FlavorUnsupported, LoadFailed
from server.metrics import Metrics
from server.model import labels
from server.replay import replay
from server.settings import Trust
from server.signature import Vector
from tests.unit.server import factories
from tests.unit.server.conftest import Model


@pytest.mark.parametrize(
    ("name", "proof", "classes", "probabilities"),
    [
        ("forest", "Answered", [0, 1], True),
        ("skops", "Answered", [0, 1], True),
        ("regressor", "Answered", None, False),
        ("mixed", "Executed", ["leaves", "stays"], True),
        ("without_probabilities", "Executed", ["bad", "good"], False),
        ("array", "Executed", [0, 1], True),
        ("without_signature", "Loaded", [0, 1], True),
    ],
)
def test_each_kind_of_model_proves_what_it_can(
    model: Model, name: str, proof: str, classes: list[Any] | None, probabilities: bool
) -> None:
    about = artifact.read(model(name))
    loaded = load(about)
    assert (replay(loaded, about), loaded.classes, loaded.has_probabilities) == (proof, classes, probabilities)


def load(about: artifact.Artifact) -> model.Model:
    return model.load(about, Trust())


MALFORMED: dict[str, Callable[[Any], Any]] = {
    "a width that is a text": lambda m: m["signature"].update(inputs=tensor({"dtype": "float64", "shape": [-1, "x"]})),
    "a tensor that is a text": lambda m: m["signature"].update(inputs=tensor("x")),
    "a name of a file with a zero byte": lambda m: m["flavors"]["sklearn"].update(pickled_model="a\0b"),
    "a signature that is nested too deeply": lambda m: m["signature"].update(inputs="[" * 100_000 + "]" * 100_000),
}


def tensor(spec: Any) -> str:
    return json.dumps([{"type": "tensor", "tensor-spec": spec}])


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_a_model_that_is_malformed_in_a_way_of_its_own_is_at_fault(
    model: Model, tmp_path: Path, change: Callable[[Any], Any]
) -> None:
    directory = factories.altered(model("forest"), tmp_path / "model", change)
    with pytest.raises(LoadFailed, match="Log the model again"):
        loading.load(factories.told(directory), Metrics())


def test_other_files_than_those_asked_for_are_not_even_read(model: Model) -> None:
    other = {"name": "fraud", "version": "3", "digest": "sha256:" + "0" * 64}
    with pytest.raises(DigestMismatch, match="sha256:0000"):
        loading.load(factories.told(model("forest"), model=other), Metrics())


def test_a_row_by_itself_is_answered_as_in_a_table(model: Model) -> None:
    about = artifact.read(model("forest"))
    loaded = load(about)
    assert about.example is not None
    together = engine.answer(loaded, about.example)
    alone = [engine.answer(loaded, [row]).probabilities for row in about.example]
    assert alone == [[row] for row in together.probabilities or ()]


class Asked:
    """An estimator that must not be asked for labels."""

    def __init__(self, estimator: Any) -> None:
        self.predict_proba = estimator.predict_proba


TIES = np.random.default_rng(0).integers(0, 3, size=(60, 2)).astype(float)
OF_TIES = np.array(["a", "b", "c"])[np.random.default_rng(1).integers(0, 3, 60)]
ONCE: dict[str, Any] = {
    "forest": RandomForestClassifier(4, max_depth=2, random_state=0),
    "trees": ExtraTreesClassifier(4, max_depth=2, random_state=0),
    "tree": DecisionTreeClassifier(max_depth=1),
    "bagging": BaggingClassifier(n_estimators=2, random_state=0),
    "boosting": HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2),
    "neighbors": KNeighborsClassifier(4),
    "calibrated": CalibratedClassifierCV(DecisionTreeClassifier(max_depth=1), cv=2),
    "voting": VotingClassifier([("a", KNeighborsClassifier(2)), ("b", DecisionTreeClassifier(max_depth=1))], voting="soft"),
}


@pytest.mark.parametrize("classifier", ONCE.values(), ids=ONCE)
def test_what_predicts_the_most_probable_is_asked_once_and_says_what_predict_says(
    classifier: Any, model: Model, tmp_path: Path
) -> None:
    """Also where classes are equally probable, which on this grid they often are."""
    about = replaced(model, tmp_path, classifier.fit(TIES, OF_TIES))
    loaded = load(replace(about, inputs=Vector(width=2)))
    expected = classifier.predict(TIES).tolist()
    assert replace(loaded, estimator=Asked(classifier)).predict(TIES).predictions == expected


@pytest.mark.parametrize("classifier", [LogisticRegression(), KNeighborsClassifier(weights="distance")])
def test_what_may_disagree_with_its_probabilities_is_asked_twice(classifier: Any, model: Model, tmp_path: Path) -> None:
    about = replaced(model, tmp_path, make_pipeline(StandardScaler(), classifier).fit(TIES, OF_TIES))
    assert not load(replace(about, inputs=Vector(width=2))).by_probability


class Counted(StandardScaler):  # type: ignore[misc]  # scikit-learn has no types
    """Knows how often it was asked."""

    asked = 0

    def transform(self, X: Any, copy: Any = None) -> Any:  # noqa: N803 - scikit-learn's name
        Counted.asked += 1
        return super().transform(X, copy)


def test_data_is_transformed_once_also_where_the_last_step_is_asked_twice(model: Model, tmp_path: Path) -> None:
    features, target = factories.cancer()
    nested = make_pipeline("passthrough", make_pipeline(Counted(), LogisticRegression()))
    search = GridSearchCV(nested, {"pipeline__logisticregression__C": [1]}, cv=2).fit(features, target)
    loaded, rows = load(replaced(model, tmp_path, search)), features.head(5).to_numpy().tolist()
    Counted.asked = 0
    predicted = loaded.predict(rows)
    assert Counted.asked == 1
    assert predicted.predictions == search.predict(features.head(5)).tolist()
    np.testing.assert_allclose(predicted.probabilities or [], search.predict_proba(features.head(5)), rtol=1e-9)


def test_nothing_inside_starts_threads_of_its_own(tmp_path: Path, model: Model) -> None:
    features, target = factories.cancer()
    voting = VotingClassifier([("a", RandomForestClassifier(2))]).fit(features, target)
    voting.n_jobs = voting.estimators_[0].n_jobs = voting.estimators[0][1].n_jobs = 4
    about = replaced(model, tmp_path, voting)
    loaded = load(about).estimator
    assert {part.n_jobs for part in trust.parts(loaded) if hasattr(part, "n_jobs")} == {1}
    assert loaded.estimators_[0].n_jobs == 1


def replaced(model: Model, target: Path, estimator: object) -> artifact.Artifact:
    """The forest's directory with another estimator in its file."""
    directory = factories.altered(model("forest"), target / "model", lambda mlmodel: None)
    (directory / "model.pkl").write_bytes(pickle.dumps(estimator))
    return artifact.read(directory)


class Missing:
    """Pickled as something that no module has."""

    def __reduce__(self) -> Any:
        return __import__, ("no_such_package",)


class Exits:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> Any:
        return exit, (3,)


def test_a_module_that_the_image_lacks_is_named(model: Model, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="'no_such_package'"):
        load(replaced(model, tmp_path, Missing()))


def test_a_file_that_does_not_load_says_so_with_both_versions(model: Model, tmp_path: Path) -> None:
    directory = factories.altered(
        model("forest"), tmp_path / "a", lambda m: m["flavors"]["sklearn"].update(sklearn_version="0.1")
    )
    (directory / "model.pkl").write_bytes(b"\x80garbage")
    with pytest.raises(LoadFailed, match=r"model\.pkl does not load.*scikit-learn 0\.1, and this server has"):
        load(artifact.read(directory))
    with pytest.raises(LoadFailed, match="SystemExit"):
        load(replaced(model, tmp_path / "b", Exits()))


def test_what_cannot_predict_is_no_model(model: Model, tmp_path: Path) -> None:
    with pytest.raises(FlavorUnsupported, match="dict, which has no predict"):
        load(replaced(model, tmp_path, {}))


LABELS = {
    "numbers": (np.array([1, 2]), [1, 2]),
    "truth values": (np.array([True, False]), [True, False]),
    "texts": (np.array(["a", "b"]), ["a", "b"]),
    "texts of numpy in a column of objects": (np.array([np.str_("a"), np.int64(1)], dtype=object), ["a", 1]),
    "bytes": (np.array([b"a", "ü".encode()], dtype=object), ["a", "ü"]),
    "moments": (np.array(["2026-01-31T12:00"], dtype="datetime64[s]"), ["2026-01-31T12:00:00"]),
    "dates": (np.array([date(2026, 1, 31), datetime(2026, 1, 31, 12)], dtype=object), ["2026-01-31", "2026-01-31T12:00:00"]),
    "nothing": (np.array([None, "a"], dtype=object), ["None", "a"]),
    "long numbers": (np.array([0.5], dtype=np.longdouble), [0.5]),
    "several": (np.array([["a", 1]], dtype=object), [["a", 1]]),
    "a frame": (pd.DataFrame({"a": [1.5], "b": [2.5]}), [[1.5, 2.5]]),
    "sparse": (OneHotEncoder().fit_transform([["a"], ["b"]]), [[1.0, 0.0], [0.0, 1.0]]),
}


@pytest.mark.parametrize(("predicted", "values"), LABELS.values(), ids=LABELS)
def test_whatever_is_predicted_becomes_json(predicted: Any, values: list[Any]) -> None:
    assert labels(predicted) == values
    assert json.loads(json.dumps(labels(predicted))) == values


class Picky(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
    """Fails at some values in a way of its own."""

    def predict_proba(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        if X.to_numpy()[0, 0] < 0:
            raise AttributeError("no such thing")
        return super().predict_proba(X)


def test_an_estimator_that_fails_at_values_says_so_as_every_other_does(model: Model, tmp_path: Path) -> None:
    features, target = factories.cancer()
    loaded = load(replaced(model, tmp_path, Picky(max_iter=5000).fit(features, target)))
    assert loaded.predict([[17.99, 10.38, 122.8, 1001.0]]).predictions == [0]
    with pytest.raises(ValueError, match="AttributeError: no such thing"):
        loaded.predict([[-1.0, 10.38, 122.8, 1001.0]])


def test_a_model_that_answers_otherwise_is_named_with_both_values(model: Model, tmp_path: Path) -> None:
    features, target = factories.cancer()
    about = replaced(model, tmp_path, RandomForestClassifier(2, max_depth=1, random_state=0).fit(features, 1 - target))
    with pytest.raises(ExampleMismatch, match="row 1 is predicted as 1, recorded is 0"):
        replay(load(about), about)


def test_a_model_that_fails_on_its_example_says_how(model: Model, tmp_path: Path) -> None:
    features, target = factories.cancer()
    about = replaced(model, tmp_path, RandomForestClassifier(2).fit(features[["mean radius"]], target))
    with pytest.raises(ExampleFailed, match="ValueError: The feature names should match"):
        replay(load(about), about)


def test_an_answer_to_no_example_is_refused(model: Model, tmp_path: Path) -> None:
    directory = factories.altered(model("forest"), tmp_path / "model", lambda m: m.pop("saved_input_example_info"))
    about = artifact.read(directory)
    with pytest.raises(ExampleFailed, match="no input example"):
        replay(load(about), about)
