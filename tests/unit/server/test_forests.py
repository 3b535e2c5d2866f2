"""Forests that are asked tree by tree say what scikit-learn's own way of asking them says, to the last bit."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor

from server import forests

CLASSIFIERS: tuple[Any, ...] = RandomForestClassifier, ExtraTreesClassifier
REGRESSORS: tuple[Any, ...] = RandomForestRegressor, ExtraTreesRegressor
ROWS = (1, 7, 300)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_probabilities_are_those_of_scikit_learn(kind: Any, seed: int) -> None:
    table, target = make_classification(300, n_informative=8, n_classes=2 + seed, random_state=seed)
    table[::7, seed] = np.nan
    fitted = kind(17, class_weight=(None, "balanced", "balanced_subsample")[seed] if kind is RandomForestClassifier else None)
    fitted.set_params(random_state=seed).fit(table, np.array(["a", "b", "c", "d"])[target])
    quick = forests.forest(fitted)
    assert quick is not None
    for rows in ROWS:
        assert np.array_equal(quick.predict_proba(table[:rows]), fitted.predict_proba(table[:rows]))


@pytest.mark.parametrize("kind", REGRESSORS)
@pytest.mark.parametrize("criterion", ["squared_error", "absolute_error"])
def test_numbers_are_those_of_scikit_learn(kind: Any, criterion: str) -> None:
    table, target = make_regression(300, n_features=8, random_state=0)
    fitted = kind(17, criterion=criterion, max_depth=5, random_state=0).fit(table, target)
    quick = forests.forest(fitted)
    assert quick is not None
    for rows in ROWS:
        assert np.array_equal(quick.predict(table[:rows]), fitted.predict(table[:rows]))


def test_what_it_is_asked_about_is_checked_as_ever() -> None:
    table, target = make_classification(100, random_state=0)
    table[table < 0] = 0
    fitted = RandomForestClassifier(5, random_state=0).fit(table, target)
    quick = forests.forest(fitted)
    assert quick is not None
    sparse = scipy.sparse.csr_array(table)
    assert np.array_equal(quick.predict_proba(sparse), fitted.predict_proba(table))
    for wrong in (table[:, 1:], np.full_like(table, np.inf)):
        with pytest.raises(ValueError):
            quick.predict_proba(wrong)


class Own(RandomForestClassifier):  # type: ignore[misc]  # untyped
    """Somebody's, whose answers may be others."""


def test_every_other_estimator_is_asked_by_scikit_learn() -> None:
    table, target = make_classification(60, random_state=0)
    for fitted in (
        Own(2).fit(table, target),
        RandomForestClassifier(2).fit(table, np.column_stack([target, target])),
        RandomForestRegressor(2).fit(table, np.column_stack([target, target])),
        RandomForestClassifier(2).fit(table, target).estimators_[0],
    ):
        assert forests.forest(fitted) is None
