"""`training.register(...)`: from a pipeline that a notebook has fitted to a version that a ModelDeployment can take."""

import math
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.base import is_clusterer, is_outlier_detector
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score
from sklearn.utils.validation import check_is_fitted

from server.artifact import Range, Record
from server.signature import TEXT
from training import names, sample, saving, surroundings
from training.errors import InputError
from training.evaluate import Judged, scores
from training.evidence import classes_of
from training.registration import DUMP
from training.registry import borrowed, connect, tracking_uri_of
from training.sample import Sample
from training.summary import resource_yaml, to_apply

EXAMPLE_ROWS = 5
TRIED_ROWS = 10_000
"""Rows of a sample that are predicted at once, to see that it can be done and which classes come out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A version in MLflow that the operator can take, and what to apply."""

    name: str
    version: str
    digest: str = field(repr=False)
    """sha256 over its files, as spec.model.digest has it."""
    uri: str = field(repr=False)
    """What MLflow loads: models:/NAME/VERSION."""
    yaml: str = field(repr=False)
    """A ModelDeployment for kubectl apply."""
    url: str | None = field(default=None, repr=False)
    """Its page; None where MLflow is a file and no server."""
    alias: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict, repr=False)
    serialization: str = field(default="skops", repr=False)
    not_compiled: str | None = field(default=None, repr=False)
    """Why scikit-learn itself will answer, and not its faster, compiled form."""
    sent_as: str | None = field(default=None, repr=False)
    """The name under which clients send a text to a model that takes texts without one."""

    def __str__(self) -> str:
        alias = f", alias {self.alias}" if self.alias else ""
        file = (
            "skops file, loads without pickle"
            if self.serialization == "skops"
            else "pickle: a server loads it where trust allows"
        )
        engine = f"scikit-learn itself, more slowly: {self.not_compiled}" if self.not_compiled else "its compiled form"
        figures = [f"{metric} {value:.4g}" for metric, value in self.metrics.items()]
        return "\n".join(
            [
                f"{self.name} version {self.version}{alias}",
                f"  digest   {self.digest}",
                f"  file     {file}",
                f"  answers  {engine}",
                *([f'  clients  send a row as {{"{self.sent_as}": "a text"}}'] if self.sent_as else []),
                *([f"  metrics  {', '.join(figures)}"] if figures else []),
                *([f"  page     {self.url}"] if self.url else []),
                "",
                to_apply(self.yaml),
            ]
        )


def register(
    model: Any,
    X_sample: Any,  # noqa: N803 - as scikit-learn calls it
    *,
    name: str,
    alias: str | None = None,
    metrics: Mapping[str, float] | None = None,
    X_test: Any = None,  # noqa: N803 - as scikit-learn calls it
    y_test: Any = None,
    target: str | None = None,
    ranges: Mapping[str, Range] | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    image: str | None = None,
    tracking_uri: str | None = None,
) -> Registered:
    """Register a fitted scikit-learn estimator or pipeline, with the proof that each pod repeats, and print what to apply.

    model: anything of scikit-learn that is fitted and has predict().
    X_sample: rows that it was trained on, in the form in which it takes them: a DataFrame, an array, a sparse matrix or texts.
        Their types are the contract for requests, a column without a gap is required, and the lowest and the highest number
        of each column are the bounds that training has seen; five rows are recorded with their answer.
    name, alias: of the registered model; the alias is moved to the new version, which deploys it where it is followed.
    metrics: figures of your own. With X_test and y_test the usual ones are counted, as test_...
    target: the name of what is predicted.
    ranges: what is possible, {"age": (0, 120)} or {"price": (0, None)}; a request outside is refused.
    params, tags: for MLflow; a ModelDeployment's gates can ask for tags.
    image: a server image of your own, where the model needs packages that the operator's images do not have.
    tracking_uri: where MLflow answers; else what mlflow.set_tracking_uri or MLFLOW_TRACKING_URI said.

    An InputError says what has to change first; nothing is registered then.
    """
    names.insist(name, alias)
    _insist_on_kinds(target, metrics=metrics, ranges=ranges, params=params, tags=tags)
    _insist_on_fitted(model)
    given = sample.read(model, X_sample)
    predictions = _asked(model, given)
    chosen = sample.chosen(given, None if classes_of(model) is None else list(predictions), EXAMPLE_ROWS)
    rows = given.rows(chosen)
    figures = {**_figures(model, X_test, y_test), **_finite(metrics or {})}
    record = Record(
        bounds=given.bounds(ranges or {}),
        data={"sample_rows": len(given), "columns": given.gaps.shape[1]},  # it may have been trained on more
        target=target,
        metrics=figures,
    )
    with borrowed(), tempfile.TemporaryDirectory() as scratch:
        registry = connect(tracking_uri_of(tracking_uri))
        saved = saving.save(
            model,
            Path(scratch) / "model",
            inputs=given.inputs,
            output=saving.output(predictions, target),
            rows=rows,
            example=sample.example(rows),
            record=record,
            image=image is not None,
        )
        files = Path(scratch) / "files"
        files.mkdir()
        if saved.serialization == "skops":  # else code of the notebook's own may be in it, which joblib can't write
            joblib.dump(model, files / DUMP, compress=3)
        (files / surroundings.NAME).write_text(surroundings.packages())
        version = registry.register(
            saved,
            name=name,
            params={"estimator": type(model).__name__, **surroundings.params(), **(params or {})},
            metrics=figures,
            tags={key: str(value) for key, value in (tags or {}).items()},
            description=f"{type(model).__name__}, registered with training.register.",
            files=files,
        )
        if alias is not None:
            registry.move(name, alias, version.number)
    registered = Registered(
        name=name,
        version=version.number,
        digest=version.digest,
        uri=f"models:/{name}/{version.number}",
        yaml=resource_yaml(name, version.number, alias, image=image),
        url=version.url,
        alias=alias,
        metrics=figures,
        serialization=saved.serialization,
        not_compiled=version.not_compiled,
        sent_as=TEXT if given.one_text else None,
    )
    print(registered)
    return registered


def _insist_on_kinds(target: Any, **named: Any) -> None:
    """A notebook checks no types."""
    if target is not None and not isinstance(target, str):
        raise InputError(f'target is {target!r}. Pass the name of what is predicted: target="{target}".')
    for argument, given in named.items():
        if given is not None and not isinstance(given, Mapping):
            raise InputError(f"{argument} is a {type(given).__name__}. Pass a dict: {argument}={{name: value}}.")


def _insist_on_fitted(model: Any) -> None:
    kind = type(model).__name__
    if isinstance(model, type):
        raise InputError(f"{model.__name__} is a class. Pass what is fitted: {model.__name__}().fit(X, y).")
    if not hasattr(model, "predict"):
        if getattr(model, "refit", None) is False:
            raise InputError(f"A {kind} with refit=False has no predict(). Search with refit=True.")
        if hasattr(model, "fit") or hasattr(model, "transform"):
            raise InputError(f"A {kind} has no predict(). Pass a pipeline that ends in an estimator that has one.")
        raise InputError(f"A {kind} is no model. Pass a fitted estimator or pipeline of scikit-learn.")
    try:
        check_is_fitted(model)
    except NotFittedError as e:
        raise InputError(f"The {kind} is not fitted. Call fit(X, y) before register().") from e
    except (TypeError, AttributeError):  # an estimator of somebody's own, of which scikit-learn can't tell
        return


def _asked(model: Any, given: Sample) -> Any:
    """What the model says to the sample, a label or a number a row."""
    rows = given.rows(range(min(len(given), TRIED_ROWS)))
    try:
        predictions = _quietly(model.predict, rows)
    except Exception as e:
        raise InputError(_why_not(model, given, e)) from e
    if hasattr(predictions, "toarray"):
        predictions = predictions.toarray()
    predictions = np.asarray(predictions)
    if len(np.atleast_1d(predictions)) != min(len(given), TRIED_ROWS):
        raise InputError(
            f"The model gives {np.size(predictions)} answers to {len(rows)} rows of X_sample. A model that reads texts wants the "
            'column, not a table: X_sample["..."].'
        )
    return predictions


def _why_not(model: Any, given: Sample, error: Exception) -> str:
    """With the column and the row, where it is a missing value that the model does not take."""
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if "no attribute 'items'" in said:
        return (
            f"The model can't predict {given.called} as a table, and no server brings it dicts, which a DictVectorizer reads. "
            "Train with a DataFrame and a OneHotEncoder in its place."
        )
    whole = np.flatnonzero(~given.gaps.any(axis=1))
    if given.gaps.any() and len(whole):
        try:
            _quietly(model.predict, given.rows(whole[:1].tolist()))
        except Exception:  # it is something else as well
            return f"The model can't predict {given.called}. {said}"
        row, column = np.argwhere(given.gaps)[0]
        named = f'"{given.data.columns[column]}"' if isinstance(given.data, pd.DataFrame) else str(column + 1)
        return (
            f"Column {named}, row {row + 1} of {given.called} has no value, and the model takes none that are missing. Put an "
            f"imputer into the pipeline and fit it again, or leave such rows out of {given.called}. {said}"
        )
    return f"The model can't predict {given.called}. Pass rows in the form in which it was trained. {said}"


def _quietly(ask: Any, rows: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on names of features, mostly
        return ask(rows)


def _figures(model: Any, rows: Any, labels: Any) -> dict[str, float]:
    """The usual ones, of a part that the model was not trained on."""
    if (rows is None) != (labels is None):
        raise InputError("X_test and y_test go together: pass both, or neither.")
    if rows is None:
        return {}
    right = np.asarray(labels)
    test = sample.read(model, rows, "X_test")
    if right.ndim != 1 or len(right) != len(test):
        raise InputError(
            f"y_test has the shape {right.shape}, and X_test {len(test)} rows: one label a row is needed. Pass a table of one "
            "column as y_test.squeeze(); for a model of several outputs count the figures yourself and pass metrics={...}."
        )
    try:
        _quietly(model.predict, test.rows([*range(min(len(test), TRIED_ROWS))]))
    except Exception as e:
        raise InputError(_why_not(model, test, e)) from e
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a class that is not in y_test, say
            counted = _counted(model, test.data, right)
    except Exception as e:
        said = " ".join(str(e).split())[:300]
        raise InputError(
            f"The figures of X_test and y_test can't be counted: {type(e).__name__}: {said} Pass labels of the kind that "
            "the model was trained on, or count them yourself and pass metrics={...}."
        ) from e
    return _finite({f"test_{metric}": value for metric, value in counted.items()})


def _has_nothing_to_be_right_about(model: Any) -> bool:
    try:
        return bool(is_clusterer(model) or is_outlier_detector(model))
    except AttributeError:  # an estimator of another library, of which scikit-learn can't tell
        return False


def _counted(model: Any, rows: Any, right: Any) -> dict[str, float]:
    classes = getattr(model, "classes_", None)
    if classes is None and _has_nothing_to_be_right_about(model):
        raise ValueError("it predicts neither classes nor quantities.")
    predictions = np.asarray(model.predict(rows))
    if classes is not None and not hasattr(model, "predict_proba"):
        two = len(classes) == 2
        how: dict[str, Any] = {"average": "binary", "pos_label": classes[1]} if two else {"average": "macro"}
        return {
            "accuracy": accuracy_score(right, predictions),
            "precision": precision_score(right, predictions, zero_division=0, **how),
            "recall": recall_score(right, predictions, zero_division=0, **how),
            "f1": f1_score(right, predictions, zero_division=0, **how),
        }
    probabilities = None if classes is None else model.predict_proba(rows)
    return scores(Judged(labels=right, predictions=predictions, probabilities=probabilities, classes=classes))


def _finite(metrics: Mapping[str, Any]) -> dict[str, float]:
    for metric, value in metrics.items():
        try:
            float(value)
        except (TypeError, ValueError) as e:
            raise InputError(f"metrics: {metric} is {value!r}, which is no number.") from e
    return {metric: float(value) for metric, value in metrics.items() if math.isfinite(value)}
