"""How good a classifier is: over folds of the training part, then once on the test part that nothing else touched."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline

from training.settings import RunSettings
from training.table import Part, Split

Scores: TypeAlias = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One metric over all folds."""

    mean: float
    std: float


def folds(part: Part, settings: RunSettings) -> Iterator[Split]:
    """Each part of the training rows once to judge by, with the others to train on."""
    stratified = StratifiedKFold(settings.folds, shuffle=True, random_state=settings.seed)
    for train, judge in stratified.split(part.features, part.labels):
        yield Split(train=_rows(part, train), test=_rows(part, judge))


def spread(scores: Sequence[Scores]) -> dict[str, Spread]:
    """Each metric over all folds."""
    values = {metric: [score[metric] for score in scores] for metric in scores[0]}
    return {metric: Spread(mean=float(np.mean(those)), std=float(np.std(those))) for metric, those in values.items()}


def evaluate(pipeline: Pipeline, part: Part) -> Scores:
    """Accuracy, precision, recall, F1 and ROC AUC.

    With two classes they are those of the second one in sorted order (1 of 0 and 1, "yes" of "no" and "yes");
    with more they are the mean over the classes, each against the rest.
    """
    classes, positive = pipeline.classes_, positive_class(pipeline)
    answers, probabilities = pipeline.predict(part.features), pipeline.predict_proba(part.features)
    binary = positive is not None
    how: dict[str, Any] = {"average": "binary", "pos_label": positive} if binary else {"average": "macro"}
    return {
        "accuracy": float(accuracy_score(part.labels, answers)),
        "precision": float(precision_score(part.labels, answers, zero_division=0, **how)),
        "recall": float(recall_score(part.labels, answers, zero_division=0, **how)),
        "f1": float(f1_score(part.labels, answers, zero_division=0, **how)),
        "roc_auc": float(
            roc_auc_score(part.labels, probabilities[:, 1])
            if binary
            else roc_auc_score(part.labels, probabilities, multi_class="ovr", labels=classes)
        ),
    }


def positive_class(pipeline: Pipeline) -> Any:
    """The second of two classes in sorted order; None where there are more."""
    return pipeline.classes_[1] if len(pipeline.classes_) == 2 else None


def _rows(part: Part, rows: Any) -> Part:
    return Part(features=part.features.iloc[rows], labels=part.labels[rows])
