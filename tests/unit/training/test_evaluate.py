"""The figures: right on answers that can be counted by hand, and the same each time."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier

from tests.unit.training.factories import customers, settings, table
from training.estimators import Recipe, recipe
from training.evaluate import ROWS_AT_ONCE, Scores, Spread, evaluate, folds, judge, spread
from training.evaluate import scores as scored
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


def test_a_forest_goes_through_its_trees_once_and_is_told_as_it_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    known = table(customers(60))
    fitted = fit(known.all, known.columns, Recipe(kind="forest", trees=2), known.task, settings())  # two trees: votes can be even
    expected = fitted.predict(known.all.features)
    monkeypatch.setattr(RandomForestClassifier, "predict", None)
    judged = judge(fitted, known.all)
    assert 0.5 in (judged.probabilities if judged.probabilities is not None else ())
    assert judged.predictions.tolist() == expected.tolist()


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
        "pr_auc": pytest.approx(1 / 3 + 1 / 3 + 1 / 3 * 3 / 4),
        "brier": pytest.approx((0.01 + 0.36 + 0.04 + 0.49 + 0.01) / 5),
    }


def test_the_class_that_is_meant_is_the_one_that_counts() -> None:
    answers = Answers(["fraud", "legit"], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]])
    judged = judge(answers, part(["fraud", "fraud", "legit", "legit"]), "fraud")
    assert (judged.positive, judged.column) == ("fraud", 0)
    found = scored(judged)
    assert (found["precision"], found["recall"], found["roc_auc"]) == (0.5, 0.5, 0.75)
    assert found["pr_auc"] == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.04 + 0.49) / 4)


def test_three_classes_are_the_mean_of_each_against_the_rest() -> None:
    pipeline = Answers(["a", "b", "c"], [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.7, 0.2]])
    scores = evaluate(pipeline, part(["a", "b", "c"]))
    assert scores["recall"] == pytest.approx(2 / 3)
    assert scores["precision"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert scores["roc_auc"] == pytest.approx(1.0)
    assert scores["brier"] == pytest.approx((0.06 + 0.06 + 0.01 + 0.49 + 0.64) / 3)
    assert judge(pipeline, part(["a"])).positive is None


class Numbers:
    """A pipeline that answers each row with its first number, and half of it more."""

    def predict(self, rows: pd.DataFrame) -> Any:
        return rows.iloc[:, 0].to_numpy() * 1.5


def test_quantities_by_hand() -> None:
    rows = Part(features=pd.DataFrame({"a": [0.0, 2.0, 4.0]}), labels=np.array([0.0, 2.0, 4.0]))
    assert evaluate(Numbers(), rows) == {
        "rmse": pytest.approx(np.sqrt(5 / 3)),
        "mae": pytest.approx(1.0),
        "r2": pytest.approx(1 - 5 / 8),
    }


def test_many_rows_are_answered_in_turns_and_in_their_order() -> None:
    asked: list[int] = []

    class Noted(Numbers):
        def predict(self, rows: pd.DataFrame) -> Any:
            asked.append(len(rows))
            return super().predict(rows)

    count = 2 * ROWS_AT_ONCE + 1
    rows = Part(features=pd.DataFrame({"a": np.arange(count, dtype=float)}), labels=np.zeros(count))
    np.testing.assert_array_equal(judge(Noted(), rows).predictions, np.arange(count) * 1.5)
    assert sorted(asked) == [1, ROWS_AT_ONCE, ROWS_AT_ONCE]


def test_a_class_that_is_never_answered_has_no_precision_and_no_warning() -> None:
    assert evaluate(Answers([0, 1], [[0.9, 0.1]] * 4), part([0, 1, 0, 1]))["precision"] == 0


def over_folds(frame: pd.DataFrame, **changes: Any) -> list[Scores]:
    found, chosen = table(frame, **changes), settings(**changes)
    return [
        evaluate(fit(fold.train, found.columns, recipe(chosen), found.task, chosen), fold.test)
        for fold in folds(found.all, found.task, chosen)
    ]


def test_folds_judge_each_row_once_by_what_has_not_seen_it() -> None:
    whole = table(customers(100)).all
    judged: list[int] = []
    for fold in folds(whole, "classification", settings(folds=4)):
        assert sorted([*fold.train.features.index, *fold.test.features.index]) == list(range(100))
        assert abs(np.mean(fold.test.labels == "yes") - np.mean(whole.labels == "yes")) < 0.05
        judged.extend(fold.test.features.index)
    assert sorted(judged) == list(range(100))


def test_folds_give_the_same_figures_again() -> None:
    first = over_folds(customers(100), folds=3)
    assert first == over_folds(customers(100), folds=3)
    assert first != over_folds(customers(100), folds=3, seed=7)
    assert len(first) == 3
    assert set(first[0]) == {"accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "brier"}


def test_folds_of_quantities() -> None:
    frame = customers(100)
    found = over_folds(frame.assign(churn=frame["age"] * 1.25 + np.random.default_rng(1).normal(size=100)), trees=10)
    assert len(found) == 5
    assert min(each["r2"] for each in found) > 0.5


def test_the_spread_by_hand() -> None:
    assert spread([{"f1": 0.5}, {"f1": 1.0}]) == {"f1": Spread(mean=0.75, std=0.25)}


def test_no_fold_knows_labels_that_are_random() -> None:
    """With a text that names each row, a forest that had seen the row would know its label."""
    random = np.random.default_rng(0)
    frame = customers(100).assign(plan=[f"p{row}" for row in range(100)], churn=random.permutation(["yes", "no"] * 50))
    assert spread(over_folds(frame, max_depth=100, trees=20))["accuracy"].mean < 0.7
