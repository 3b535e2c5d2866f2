"""The estimator: loaded, made single-threaded, and asked. The only file that executes what a model brings along."""

import pickle
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from server import frame, table, trust
from server.artifact import Artifact, Columns, Inputs, Label, Vector, versions
from server.engine import Predicted
from server.errors import FlavorUnsupported, LoadFailed, ModelAtFault, PickleDenied, TypesUntrusted, text_of
from server.settings import Trust
from server.table import Rows

PREDICTS_THE_MOST_PROBABLE = frozenset(
    f"sklearn.{module}.{name}"
    for module, name in (
        ("ensemble._bagging", "BaggingClassifier"),
        ("ensemble._forest", "ExtraTreesClassifier"),
        ("ensemble._forest", "RandomForestClassifier"),
        ("ensemble._hist_gradient_boosting.gradient_boosting", "HistGradientBoostingClassifier"),
        ("tree._classes", "DecisionTreeClassifier"),
    )
)
"""Classifiers whose predict() is, by their source, the class with the highest predict_proba(): one evaluation is enough.
All others are asked twice, since some (support vectors, tuned thresholds) disagree with their own probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The engine that is scikit-learn itself: an estimator with all that is decided once about how to ask it."""

    name: ClassVar[str] = "sklearn"
    fast: ClassVar[bool] = False
    """scikit-learn takes a tenth of a millisecond for the simplest of models."""
    estimator: Any
    inputs: Inputs
    """As in the artifact, but a vector's width is known if anybody knows it."""
    names: tuple[str, ...] | None
    """The column names of the frame that the estimator gets; None: it was trained on an array and gets one."""
    classes: list[Label] | None
    """The labels of a classifier; None for everything else."""
    has_probabilities: bool
    by_probability: bool
    """Whether the most probable class is the prediction."""

    def predict(self, rows: Rows) -> Predicted:
        """The answers to these rows, in their order."""
        data = self._data(rows)
        with np.errstate(all="ignore"):
            if not self.has_probabilities:
                return Predicted(predictions=self._predictions(data), probabilities=None)
            probabilities = np.asarray(self.estimator.predict_proba(data))
            if not self.by_probability or self.classes is None:
                return Predicted(predictions=self._predictions(data), probabilities=probabilities.tolist())
            best = [self.classes[index] for index in probabilities.argmax(axis=1).tolist()]
            return Predicted(predictions=best, probabilities=probabilities.tolist())

    def _predictions(self, data: object) -> list[Label | list[Label]]:
        return [
            [_label(one) for one in value] if isinstance(value, list) else _label(value)
            for value in np.asarray(self.estimator.predict(data)).tolist()
        ]

    def _data(self, rows: Rows) -> pd.DataFrame | npt.NDArray[np.float64]:
        if self.names is None:
            return table.array(rows)
        if isinstance(self.inputs, Columns):
            return frame.frame(self.inputs.columns, rows)
        return pd.DataFrame(table.array(rows), columns=list(self.names), copy=False)


def load(artifact: Artifact, trusted: Trust) -> Model:
    """Execute the model's file and find out how to ask the estimator in it."""
    estimator = _estimator(artifact, trusted)
    if not hasattr(estimator, "predict"):
        raise FlavorUnsupported(f"The model is a {type(estimator).__name__}, which has no predict().")
    for part in trust.parts(estimator):
        if hasattr(part, "__dict__") and "n_jobs" in vars(part):
            vars(part)["n_jobs"] = 1  # processes and threads for one row cost ten times what they save
    classes = getattr(estimator, "classes_", None)
    labels = [_label(c) for c in classes.tolist()] if isinstance(classes, np.ndarray) and classes.ndim == 1 else None
    last = type(_last(estimator))
    return Model(
        estimator=estimator,
        inputs=_inputs(artifact, estimator),
        names=_names(artifact, estimator),
        classes=labels,
        has_probabilities=labels is not None and hasattr(estimator, "predict_proba"),
        by_probability=f"{last.__module__}.{last.__name__}" in PREDICTS_THE_MOST_PROBABLE,
    )


def _estimator(artifact: Artifact, trusted: Trust) -> Any:
    path = artifact.estimator
    if artifact.serialization != "skops" and trusted.pickle == "Deny":
        raise PickleDenied(
            f"The model was written with {artifact.serialization}, which executes what its author put into it, and "
            "spec.trust.pickle is Deny. Log it with serialization_format='skops'."
        )
    try:
        if artifact.serialization == "skops":
            import skops.io  # imports all of scikit-learn, and most models are pickled

            allowed = {*trust.TRUSTED, *trusted.skops_types}
            if untrusted := sorted(set(skops.io.get_untrusted_types(file=path)) - allowed):
                raise TypesUntrusted(
                    "The model's skops file has types that nobody has allowed. Review them, and allow them with "
                    f"spec.trust.skopsTypes: [{', '.join(untrusted)}]; or log the model with estimators that need none of them."
                )
            estimator = skops.io.load(path, trusted=sorted(allowed))
            if trust.has_broken_tree(estimator):
                raise LoadFailed("The model has a tree whose nodes lead out of it: its file was not written by scikit-learn.")
            return estimator
        with path.open("rb") as stream:
            return pickle.load(stream)  # noqa: S301 - the digest was verified; whether pickle is allowed is the spec's policy
    except ModelAtFault:
        raise
    except ImportError as e:
        raise LoadFailed(
            f"The model needs the Python module {e.name or e.msg!r}, which this server does not have. "
            f"Use scikit-learn's own classes, or a server image with that module.{versions(artifact)}"
        ) from e
    except (Exception, SystemExit) as e:
        raise LoadFailed(
            f"The model's file {path.name} does not load: {text_of(e).rstrip('.')}.{versions(artifact)} "
            "Train and log it again with the scikit-learn of the server image."
        ) from e


def _inputs(artifact: Artifact, estimator: object) -> Inputs:
    if isinstance(artifact.inputs, Columns):
        return artifact.inputs
    declared, fitted = artifact.inputs.width, getattr(estimator, "n_features_in_", None)
    if declared is not None and fitted is not None and declared != fitted:
        raise LoadFailed(f"The model's signature has {declared} features, and its estimator was trained on {fitted}.")
    return Vector(width=declared if fitted is None else int(fitted))


def _names(artifact: Artifact, estimator: object) -> tuple[str, ...] | None:
    """What was trained on a DataFrame gets one, and so does whatever can't tell."""
    fitted = getattr(estimator, "feature_names_in_", None)
    if isinstance(artifact.inputs, Vector):
        return None if fitted is None else tuple(fitted)
    columns = artifact.inputs.columns
    on_array = fitted is None and hasattr(estimator, "n_features_in_")
    return None if on_array and all(column.numeric for column in columns) else tuple(column.name for column in columns)


def _last(estimator: Any) -> Any:
    """What decides in the end: behind pipelines and searches."""
    while True:
        if steps := getattr(estimator, "steps", None):
            estimator = steps[-1][1]
        elif (best := getattr(estimator, "best_estimator_", None)) is not None:
            estimator = best
        else:
            return estimator


def _label(value: object) -> Label:
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else str(value)
