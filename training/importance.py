"""How much worse a model answers when the values of one column are dealt out anew among the rows."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score
from sklearn.pipeline import Pipeline

from training.evaluate import Judged, judge
from training.table import Part

ROWS = 1000
"""So many are looked at, of each class about as many as of the others."""
REPEATS = 5
BUDGET = 100_000
"""So many rows are answered in all: with many columns fewer repeats are made, and then fewer rows looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Of one column."""

    column: str
    mean: float
    """By so much the measure falls, over all repeats."""
    std: float | None
    """Over the repeats; None where there was one only."""


def measure(pipeline: Pipeline) -> str:
    """What falls."""
    classes = getattr(pipeline, "classes_", None)
    return "R²" if classes is None else "ROC AUC" if len(classes) == 2 else "balanced accuracy"


def importances(pipeline: Pipeline, part: Part, seed: int) -> list[Importance]:
    """Of every column, the most important one first. The same for the same rows and seed."""
    columns = list(part.features.columns)
    rows = max(min(ROWS, BUDGET // len(columns)), 20)
    repeats = int(np.clip(BUDGET // (len(columns) * rows), 1, REPEATS))
    chosen = _sample(part, rows, np.random.default_rng(seed), classes=hasattr(pipeline, "classes_"))
    whole = _score(judge(pipeline, chosen))
    again = pd.concat([chosen.features] * repeats, ignore_index=True)

    def of(number: int) -> Importance:
        random = np.random.default_rng([seed, number])
        size = len(chosen.labels)
        order = np.concatenate([turn * size + random.permutation(size) for turn in range(repeats)])
        name = columns[number]
        dealt = again.copy(deep=False)
        dealt[name] = again[name].take(order).array
        judged = judge(pipeline, Part(features=dealt, labels=np.tile(chosen.labels, repeats)))
        falls = [whole - _score(_turn(judged, turn, size)) for turn in range(repeats)]
        return Importance(column=name, mean=float(np.mean(falls)), std=float(np.std(falls)) if repeats > 1 else None)

    return sorted(map(of, range(len(columns))), key=lambda each: -each.mean)


def _sample(part: Part, count: int, random: np.random.Generator, *, classes: bool) -> Part:
    if classes:
        found, numbers = np.unique(part.labels, return_inverse=True)
        share = max(count // len(found), 2)
        rows = np.concatenate([random.permutation(np.flatnonzero(numbers == each))[:share] for each in range(len(found))])
    else:
        rows = random.permutation(len(part.labels))[:count]
    rows.sort()
    return Part(features=part.features.iloc[rows].reset_index(drop=True), labels=part.labels[rows])


def _turn(judged: Judged, turn: int, size: int) -> Judged:
    these = slice(turn * size, (turn + 1) * size)
    return Judged(
        labels=judged.labels[these],
        predictions=judged.predictions[these],
        probabilities=None if judged.probabilities is None else judged.probabilities[these],
        classes=judged.classes,
    )


def _score(judged: Judged) -> float:
    """Unlike accuracy, none of these says less of a class that is rare."""
    if judged.probabilities is None:
        return float(r2_score(judged.labels, judged.predictions))
    if judged.positive is not None:
        positive: npt.NDArray[np.float64] = judged.probabilities[:, 1]
        return float(roc_auc_score(judged.labels == judged.positive, positive))
    return float(balanced_accuracy_score(judged.labels, judged.predictions))
