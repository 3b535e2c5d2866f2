"""How good a model is: over folds of the training part, then once on the test part that nothing else touched."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    mean_absolute_error,
    precision_score,
    r2_score,
    recall_score,
    roc_auc_score,
    root_mean_squared_error,
)
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline

from training.settings import RunSettings, Task
from training.table import Part, Split
from training.target import Labels

Scores: TypeAlias = dict[str, float]

ROWS_AT_ONCE = 10_000
"""More are answered in turns, so that memory has a bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One metric over all folds."""

    mean: float
    std: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a pipeline answered to some rows, beside what is right."""

    labels: Labels
    predictions: npt.NDArray[Any]
    probabilities: npt.NDArray[np.float64] | None
    """A column a class; None where quantities are predicted."""
    classes: npt.NDArray[Any] | None
    meant: Any = None
    """Of two classes the one that figures are about, where it is not the second."""

    @property
    def positive(self) -> Any:
        """The one of two classes that figures are about; None where there are not two."""
        if self.classes is None or len(self.classes) != 2:
            return None
        return self.classes[1] if self.meant is None else self.meant

    @property
    def column(self) -> int:
        """That of the positive class among the probabilities."""
        return int(np.flatnonzero(self.classes == self.positive)[0])

    @property
    def truth(self) -> npt.NDArray[np.bool_]:
        """Whether a row is of a class, a column a class."""
        assert self.classes is not None  # noqa: S101 - only where there are classes
        return np.asarray(self.labels[:, None] == self.classes[None, :], dtype=bool)


def folds(part: Part, task: Task, settings: RunSettings) -> Iterator[Split]:
    """Each part of the training rows once to judge by, with the others to train on."""
    kind = StratifiedKFold if task == "classification" else KFold
    for train, judge in kind(settings.folds, shuffle=True, random_state=settings.seed).split(part.features, part.labels):
        yield Split(train=_rows(part, train), test=_rows(part, judge))


def spread(scores: Sequence[Scores]) -> dict[str, Spread]:
    """Each metric over all folds."""
    values = {metric: [score[metric] for score in scores] for metric in scores[0]}
    return {metric: Spread(mean=float(np.mean(those)), std=float(np.std(those))) for metric, those in values.items()}


def judge(pipeline: Pipeline, part: Part, positive: Any = None) -> Judged:
    """Ask it. `positive`: of two classes the one that figures are about, else the second in sorted order."""
    classes = getattr(pipeline, "classes_", None)
    probabilities = None if classes is None else _asked(pipeline.predict_proba, part.features)
    if probabilities is not None and _answers_the_likeliest(pipeline):
        predictions = pipeline.classes_.take(probabilities.argmax(axis=1))
    else:
        predictions = _asked(pipeline.predict, part.features)
    return Judged(labels=part.labels, predictions=predictions, probabilities=probabilities, classes=classes, meant=positive)


def _answers_the_likeliest(pipeline: Any) -> bool:
    """Whether predict() is just this of predict_proba(): to ask a forest both would take it through its trees twice."""
    return type(pipeline[-1] if isinstance(pipeline, Pipeline) else pipeline) is RandomForestClassifier


def scores(judged: Judged) -> Scores:
    """Every figure of a part.

    Precision, recall and F1 of two classes are those of the positive one; of more they are the mean over the classes, each
    against the rest, and so are both areas under curves.
    """
    labels, predictions = judged.labels, judged.predictions
    if judged.probabilities is None:
        return {
            "rmse": float(root_mean_squared_error(labels, predictions)),
            "mae": float(mean_absolute_error(labels, predictions)),
            "r2": float(r2_score(labels, predictions)),
        }
    two = judged.positive is not None
    how: dict[str, Any] = {"average": "binary", "pos_label": judged.positive} if two else {"average": "macro"}
    truth, probabilities = judged.truth, judged.probabilities
    squares = np.square(probabilities - truth).sum(axis=1).mean()
    if two:
        truth, probabilities = truth[:, judged.column], probabilities[:, judged.column]
    return {
        "accuracy": float(accuracy_score(labels, predictions)),
        "precision": float(precision_score(labels, predictions, zero_division=0, **how)),
        "recall": float(recall_score(labels, predictions, zero_division=0, **how)),
        "f1": float(f1_score(labels, predictions, zero_division=0, **how)),
        "roc_auc": float(roc_auc_score(truth, probabilities, average="macro")),
        "pr_auc": float(average_precision_score(truth, probabilities, average="macro")),
        "brier": float(squares / 2 if two else squares),
    }


def evaluate(pipeline: Pipeline, part: Part, positive: Any = None) -> Scores:
    """Ask it, and count."""
    return scores(judge(pipeline, part, positive))


def _asked(ask: Callable[[pd.DataFrame], npt.NDArray[Any]], rows: pd.DataFrame) -> npt.NDArray[Any]:
    if len(rows) <= ROWS_AT_ONCE:
        return ask(rows)
    # One after the other: scikit-learn's estimators change Python's filters of warnings, which all threads have in common.
    return np.concatenate([ask(rows.iloc[first : first + ROWS_AT_ONCE]) for first in range(0, len(rows), ROWS_AT_ONCE)])


def _rows(part: Part, rows: Any) -> Part:
    return Part(features=part.features.iloc[rows], labels=part.labels[rows])
