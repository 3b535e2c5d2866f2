"""The figures: right on answers that can be counted by hand, and the same each time."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.unit.training.factories import customers, settings, table
from training.evaluate import Scores, Spread, evaluate, folds, positive_class, spread
from training.pipeline import fit
from training.table import Part


class Answers:
    """A pipeline with fixed probabilities, a row each."""

    def __init__(self, classes: list[Any], probabilities: list[list[float]]) -> None:
        self.classes_ = np.array(classes)
        self.probabilities = np.array(probabilities)

    def predict_proba(self, rows: pd.DataFrame) -> Any:
        return self.probabilities[: len(rows)]

    def predict(self, rows: pd.DataFrame) -> Any:
        return self.classes_[self.predict_proba(rows).argmax(axis=1)]


def part(labels: list[Any]) -> Part:
    return Part(features=pd.DataFrame({"a": range(len(labels))}), labels=np.array(labels))


@pytest.mark.parametrize("classes", [[0, 1], ["no", "yes"], [False, True]])
def test_two_classes_by_hand(classes: list[Any]) -> None:
    no, yes = classes
    scores = evaluate(
        Answers(classes, [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3], [0.1, 0.9]]), part([no, no, yes, yes, yes])
    )
    assert scores == {
        "accuracy": pytest.approx(3 / 5),
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
        "roc_auc": pytest.approx(5 / 6),
    }


def test_three_classes_are_the_mean_of_each_against_the_rest() -> None:
    pipeline = Answers(["a", "b", "c"], [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.7, 0.2]])
    scores = evaluate(pipeline, part(["a", "b", "c"]))
    assert scores["recall"] == pytest.approx(2 / 3)
    assert scores["precision"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert scores["roc_auc"] == pytest.approx(1.0)
    assert positive_class(pipeline) is None


def test_a_class_that_is_never_answered_has_no_precision_and_no_warning() -> None:
    assert evaluate(Answers([0, 1], [[0.9, 0.1]] * 4), part([0, 1, 0, 1]))["precision"] == 0


def over_folds(frame: pd.DataFrame, **changes: Any) -> list[Scores]:
    found, chosen = table(frame), settings(**changes)
    return [evaluate(fit(fold.train, found.columns, chosen), fold.test) for fold in folds(found.all, chosen)]


def test_folds_judge_each_row_once_by_what_has_not_seen_it() -> None:
    whole = table(customers(100)).all
    judged: list[int] = []
    for fold in folds(whole, settings(folds=4)):
        assert sorted([*fold.train.features.index, *fold.test.features.index]) == list(range(100))
        assert abs(np.mean(fold.test.labels == "yes") - np.mean(whole.labels == "yes")) < 0.05
        judged.extend(fold.test.features.index)
    assert sorted(judged) == list(range(100))


def test_folds_give_the_same_figures_again() -> None:
    first = over_folds(customers(100))
    assert first == over_folds(customers(100))
    assert first != over_folds(customers(100), seed=7)
    assert len(first) == 5
    assert set(first[0]) == {"accuracy", "precision", "recall", "f1", "roc_auc"}


def test_the_spread_by_hand() -> None:
    assert spread([{"f1": 0.5}, {"f1": 1.0}]) == {"f1": Spread(mean=0.75, std=0.25)}


def test_no_fold_knows_labels_that_are_random() -> None:
    """With a text that names each row, a forest that had seen the row would know its label."""
    random = np.random.default_rng(0)
    frame = customers(100).assign(plan=[f"p{row}" for row in range(100)], churn=random.permutation(["yes", "no"] * 50))
    assert spread(over_folds(frame, max_depth=100, trees=20))["accuracy"].mean < 0.7
