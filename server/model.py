"""The engine that is scikit-learn itself: what form its estimator wants rows in, and its answers as JSON values."""

import math
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import pandas as pd
from sklearn.utils import get_tags

from server import estimators, forests, frame, table, trust
from server.artifact import Artifact, Label
from server.engine import Predicted
from server.errors import FlavorUnsupported, LoadFailed, text_of
from server.forests import Forest
from server.settings import Trust
from server.signature import Columns, Inputs, Vector, texts
from server.table import Rows

Form: TypeAlias = Literal["Numbers", "Columns", "Texts", "Unknown"]
"""What the estimator gets: an array or a frame of numbers, a frame with each column's type, a list of texts, or a frame whose
types pandas finds out."""

MAX_TRIED = 1_000_000
"""Columns of a row that is tried: a signature may claim more than memory holds."""

PREDICTS_THE_MOST_PROBABLE = frozenset(
    f"sklearn.{module}.{name}"
    for module, name in (
        ("calibration", "CalibratedClassifierCV"),
        ("ensemble._bagging", "BaggingClassifier"),
        ("ensemble._forest", "ExtraTreesClassifier"),
        ("ensemble._forest", "RandomForestClassifier"),
        ("ensemble._hist_gradient_boosting.gradient_boosting", "HistGradientBoostingClassifier"),
        ("ensemble._voting", "VotingClassifier"),
        ("neighbors._classification", "KNeighborsClassifier"),
        ("tree._classes", "DecisionTreeClassifier"),
    )
)
"""Classifiers whose predict() is, by their source, the class with the highest predict_proba(): one evaluation is enough.
All others are asked twice, since some (support vectors, tuned thresholds) disagree with their own probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """An estimator with all that is decided once about how to ask it."""

    name: ClassVar[str] = "sklearn"
    fast: ClassVar[bool] = False
    """scikit-learn takes a tenth of a millisecond for the simplest of models."""
    estimator: Any
    inputs: Inputs
    """As in the artifact, with what only the estimator knows."""
    form: Form
    names: tuple[str, ...] | None
    """What a table's columns are called; None: the estimator was trained on an array and gets one."""
    classes: list[Label] | None
    """The labels of a classifier; None for everything else."""
    has_probabilities: bool
    by_probability: bool
    """Whether the most probable class is the prediction."""
    forest: Forest | None = None
    """Its last step, where there is a shorter way to the same answers."""

    def predict(self, rows: Rows) -> Predicted:
        """The answers to these rows, in their order. A ValueError says that some row can't be answered."""
        try:
            return self._apart(rows) if self.form == "Unknown" else self._predicted(self._data(rows))
        except (ValueError, MemoryError):
            raise
        except Exception as e:  # at values that they can't take, estimators raise errors of every kind
            raise ValueError(text_of(e)) from e

    def _apart(self, rows: Rows) -> Predicted:
        """By the types of their values, so that the company of a row can't change what pandas takes it for."""
        alike: dict[tuple[type, ...], list[int]] = {}
        for number, row in enumerate(rows):
            alike.setdefault(tuple(map(type, row)), []).append(number)
        parts = {tuple(numbers): self._predicted(self._data([rows[number] for number in numbers])) for numbers in alike.values()}
        where = {number: (part, at) for numbers, part in parts.items() for at, number in enumerate(numbers)}
        places = [where[number] for number in range(len(rows))]
        return Predicted(
            predictions=[part.predictions[at] for part, at in places],
            probabilities=[part.probabilities[at] for part, at in places if part.probabilities]
            if self.has_probabilities
            else None,
        )

    def _predicted(self, data: Any) -> Predicted:
        with np.errstate(all="ignore"):
            steps, last = _taken_apart(self.estimator)
            for step in steps:  # once, however often the last one is asked
                data = step.transform(data)
            last = self.forest or last
            if not self.has_probabilities:
                return Predicted(predictions=labels(last.predict(data)), probabilities=None)
            probabilities = np.asarray(last.predict_proba(data))
            if not self.by_probability or self.classes is None:
                return Predicted(predictions=labels(last.predict(data)), probabilities=probabilities.tolist())
            best = [self.classes[index] for index in probabilities.argmax(axis=1).tolist()]
            return Predicted(predictions=best, probabilities=probabilities.tolist())

    def _data(self, rows: Rows) -> Any:
        if self.form == "Texts":
            return [np.nan if row[0] is None else row[0] for row in rows]  # which vectorizers refuse as a value
        if self.form == "Unknown":
            return frame.guessed(rows, self.names)
        if isinstance(self.inputs, Columns) and self.form == "Columns":
            typed = frame.frame(self.inputs.columns, rows)
            return typed if self.names else typed.set_axis(range(typed.shape[1]), axis="columns")
        numbers = table.array(rows).astype(self.inputs.dtype, copy=False)
        return numbers if self.names is None else pd.DataFrame(numbers, columns=list(self.names), copy=False)


def load(artifact: Artifact, trusted: Trust) -> Model:
    """Execute the model's file and find out how to ask the estimator in it."""
    estimator = estimators.load(artifact, trusted)
    classes = getattr(estimator, "classes_", None)
    known = labels(classes) if isinstance(classes, np.ndarray) and classes.ndim == 1 else None
    inputs = _inputs(artifact.inputs, estimator)
    _, last = _taken_apart(estimator)
    model = Model(
        estimator=estimator,
        inputs=inputs,
        form=_form(inputs, estimator),
        names=_names(inputs, estimator),
        classes=known,
        has_probabilities=known is not None and hasattr(estimator, "predict_proba"),
        by_probability=_decides_by_probability(last),
        forest=forests.forest(last),
    )
    if artifact.predict_function == "predict_proba" and not model.has_probabilities:
        raise FlavorUnsupported(
            f"The model was logged with pyfunc_predict_fn='predict_proba', and its {type(estimator).__name__} has no "
            "probabilities of a single label. Log it without pyfunc_predict_fn."
        )
    if isinstance(inputs, Vector) and inputs.numbers:
        return replace(model, inputs=replace(inputs, optional=_takes_missing(model)))
    return model


def labels(predicted: Any) -> list[Any]:
    """What an estimator predicts, or its classes, as JSON values: a label each, or a list of labels where it has several outputs.

    A moment in time becomes text in ISO 8601, bytes become the text that they spell, and what JSON has no word for its name.
    """
    values = np.asarray(predicted.toarray() if hasattr(predicted, "toarray") else predicted)
    if values.dtype.kind == "M":
        values = np.datetime_as_string(values)
    elif values.dtype.kind == "f":
        values = values.astype(np.float64, copy=False)
    plain: list[Any] = values.tolist()
    if values.dtype.kind in "biufU":
        return plain
    return [[_label(one) for one in value] if isinstance(value, list) else _label(value) for value in plain]


# --- how to ask -------------------------------------------------------------------------------------------------------


def _inputs(recorded: Inputs, estimator: Any) -> Inputs:
    if isinstance(recorded, Columns):
        return recorded
    if not recorded.numbers and _reads_texts(estimator):
        return texts()
    fitted = getattr(estimator, "n_features_in_", None)
    if None not in (recorded.width, fitted) and recorded.width != fitted:
        raise LoadFailed(f"The model's signature has {recorded.width} features, and its estimator was trained on {fitted}.")
    numbers = recorded.numbers or not _encodes(estimator)
    return replace(
        recorded,
        width=recorded.width if fitted is None else int(fitted),
        numbers=numbers,
        optional=not numbers,
        names=_trained_names(estimator),
    )


def _form(inputs: Inputs, estimator: Any) -> Form:
    if isinstance(inputs, Vector):
        return "Numbers" if inputs.numbers else "Unknown"
    if [column.type for column in inputs.columns] == ["string"] and (inputs.flat or _reads_texts(estimator)):
        return "Texts"
    on_array = _names(inputs, estimator) is None
    return "Numbers" if on_array and all(column.numeric for column in inputs.columns) else "Columns"


def _names(inputs: Inputs, estimator: Any) -> tuple[str, ...] | None:
    """What was trained on a DataFrame gets one with these names, and so does whatever can't tell."""
    if isinstance(inputs, Vector):
        return inputs.names
    on_array = _trained_names(estimator) is None and hasattr(estimator, "n_features_in_")
    return None if on_array else tuple(column.name for column in inputs.columns)


def _trained_names(estimator: Any) -> tuple[str, ...] | None:
    fitted = getattr(estimator, "feature_names_in_", None)
    return None if fitted is None else tuple(fitted)


def _takes_missing(model: Model) -> bool:
    """Whether a row of nothing is answered: asking is surer than all that could be read."""
    width = model.inputs.width if isinstance(model.inputs, Vector) else None
    if width is None or width > MAX_TRIED:
        return False
    try:
        (answer,) = model.predict(np.full((1, width), np.nan)).predictions
    except Exception:  # estimators refuse in many ways
        return False
    return not any(isinstance(one, float) and math.isnan(one) for one in (answer if isinstance(answer, list) else [answer]))


def _reads_texts(estimator: Any) -> bool:
    """Whether its first step takes a list of texts (TfidfVectorizer and its like)."""
    tags = _input_tags(_first(estimator))
    return tags is not None and tags.string and not tags.two_d_array


def _encodes(estimator: Any) -> bool:
    """Whether some part of it turns texts or categories into numbers, so that a row may have some."""
    return any(tags is not None and (tags.string or tags.categorical) for tags in map(_input_tags, trust.parts(estimator)))


def _input_tags(part: Any) -> Any:
    try:
        return get_tags(part).input_tags
    except Exception:  # no estimator, or somebody's own that has none
        return None


def _first(estimator: Any) -> Any:
    """What gets the data as it is: in pipelines, searches, and what is wrapped around or voted on."""
    while True:
        if steps := getattr(estimator, "steps", None) or getattr(estimator, "estimators", None):
            estimator = steps[0][1] if isinstance(steps[0], tuple) else steps[0]
        elif (inner := getattr(estimator, "estimator", None)) is not None and not isinstance(inner, str):
            estimator = inner
        else:
            return estimator


def _taken_apart(estimator: Any) -> tuple[tuple[Any, ...], Any]:
    """Transforming steps, and what decides in the end: out of scikit-learn's own pipelines and searches, which do no more."""
    steps: list[Any] = []
    while type(estimator).__module__ in ("sklearn.pipeline", "sklearn.model_selection._search"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            steps += [step for _, step in estimator.steps[:-1] if step is not None and step != "passthrough"]
            estimator = estimator.steps[-1][1]
    return tuple(steps), estimator


def _decides_by_probability(last: Any) -> bool:
    kind = type(last)
    if kind.__name__ == "KNeighborsClassifier" and last.weights != "uniform":  # adds up distances, in another order
        return False
    return f"{kind.__module__}.{kind.__name__}" in PREDICTS_THE_MOST_PROBABLE


def _label(value: object) -> Label:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if isinstance(value, bool | int | float | str) else str(value)
