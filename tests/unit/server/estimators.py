"""Every estimator of scikit-learn, fitted on a few rows: what is promised for all is tried on all."""

import inspect
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators

ROWS = 16
FEATURES = np.random.default_rng(0).gamma(2, size=(ROWS, 3)).round(2) + (np.arange(ROWS) % 2)[:, np.newaxis] * 2
LABELS = np.array(["no", "yes"])[np.arange(ROWS) % 2]
NUMBERS = FEATURES @ [1.0, 2.0, 3.0] + 1
TWO_NUMBERS = np.stack([NUMBERS, -NUMBERS], axis=1)
TWO_LABELS = np.stack([np.arange(ROWS) % 2, np.arange(ROWS) // 4 % 2], axis=1)
TARGETS = (LABELS, NUMBERS, TWO_NUMBERS, TWO_LABELS, TWO_LABELS[:, 0])
"""The first of these that an estimator accepts is what it is fitted to."""

TEXTS = ["red apple", "blue sky", "red sky", "green apple"] * 4

QUICK: dict[str, Any] = {"n_estimators": 3, "cv": 2, "random_state": 0, "n_init": 1, "n_components": 2, "Cs": 2, "n_alphas": 3}
"""Settings that make a small estimator, wherever it has them; `max_iter` is a matter of patience too, but not of every one."""

CLASSIFIERS = frozenset(
    [
        "ClassifierChain",
        "FixedThresholdClassifier",
        "GridSearchCV",
        "MultiOutputClassifier",
        "OneVsOneClassifier",
        "OneVsRestClassifier",
        "OutputCodeClassifier",
        "Pipeline",
        "RFE",
        "RFECV",
        "RandomizedSearchCV",
        "SelfTrainingClassifier",
        "StackingClassifier",
        "TunedThresholdClassifierCV",
        "VotingClassifier",
        "SelectFromModel",
        "SequentialFeatureSelector",
        "BaggingClassifier",
        "AdaBoostClassifier",
    ]
)
"""What is wrapped around a classifier; everything else of its kind gets a regressor."""


APART = frozenset(("KernelCenterer", "LabelBinarizer", "LabelEncoder", "MultiLabelBinarizer", "PatchExtractor", "TSNE"))
"""No part of a model that takes rows: they are for labels, kernels or images, or keep nothing for new rows."""

KINDS: dict[str, Any] = {name: kind for name, kind in all_estimators() if name not in APART}


@cache
def fitted(name: str) -> Any:
    """One of them, small, fitted to the first data and target that it accepts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of so few rows and steps
        for features, target in _data(name):
            for settings in _settings(name):
                try:
                    return KINDS[name](**settings).fit(features, target)
                except Exception:  # in many ways they say that this is not for them
                    continue
    raise AssertionError(f"{name} can't be fitted: say how")


def _settings(name: str) -> Iterator[dict[str, Any]]:
    inner = LogisticRegression() if name in CLASSIFIERS else Ridge()
    given: dict[str, Any] = {
        "estimator": inner.fit(FEATURES, LABELS if name in CLASSIFIERS else NUMBERS),  # FrozenEstimator fits nothing
        "estimators": [("a", inner), ("b", inner)],
        "param_grid": {"C": [1]},
        "param_distributions": {"C": [1, 2]},
        "steps": [("a", StandardScaler()), ("b", inner)],
        "transformers": [("a", StandardScaler(), [0, 1])],
        "transformer_list": [("a", StandardScaler())],
        "dictionary": FEATURES[:2],
    }
    wanted = inspect.signature(KINDS[name]).parameters
    required = {
        n: value
        for n, value in given.items()
        if n in wanted and (name in CLASSIFIERS or wanted[n].default is inspect.Parameter.empty)
    }
    if name.startswith("HistGradientBoosting"):
        required["max_iter"] = 3
    yield required | {n: value for n, value in QUICK.items() if n in wanted}
    yield required


def rows(name: str) -> list[Any]:
    """Some that it answers."""
    if name in ("CountVectorizer", "HashingVectorizer", "TfidfVectorizer"):
        return TEXTS[:4]
    width = 1 if name == "IsotonicRegression" else 3
    return [row[:width] for row in FEATURES[:4].tolist()]


def _data(name: str) -> list[tuple[Any, Any]]:
    if name == "IsotonicRegression":
        return [(FEATURES[:, :1], NUMBERS)]
    if name in ("DictVectorizer", "FeatureHasher"):
        return [([{"a": 1}], None)]
    if name.endswith("Regressor"):  # some of these take any labels, and fail on them later
        return [(FEATURES, NUMBERS), (FEATURES, TWO_NUMBERS)]
    return [(FEATURES, target) for target in TARGETS] + [(TEXTS, LABELS), (FEATURES.astype(int), LABELS)]
