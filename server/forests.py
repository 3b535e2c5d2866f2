"""A forest of scikit-learn's, asked tree by tree. Its own way to ask them takes ten times as long as the trees do for one row:
each goes through joblib, a copy of the configuration and of the warning filters, and checks of what has been checked.

The same trees, in the same order, added up in the same way: the same numbers, to the last bit.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

KINDS = frozenset((ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor))
TREES = frozenset((DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor))


class Forest:
    """One with a single output."""

    def __init__(self, forest: Any) -> None:
        self._forest = forest
        self._trees = [member.tree_ for member in forest.estimators_]

    def predict_proba(self, data: Any) -> npt.NDArray[np.float64]:
        """Of a classifier: what its trees say on average of each class."""
        return self._mean(data, self._forest.n_classes_)

    def predict(self, data: Any) -> npt.NDArray[np.float64]:
        """Of a regressor."""
        return self._mean(data, 1)[:, 0]

    def _mean(self, data: Any, width: int) -> npt.NDArray[np.float64]:
        rows = self._forest._validate_X_predict(data)
        total = np.zeros((rows.shape[0], width))
        for tree in self._trees:
            total += tree.predict(rows)[:, :width]
        total /= len(self._trees)
        return total


def forest(estimator: Any) -> Forest | None:
    """The same estimator, if it is such a forest; a subclass may do something else."""
    if type(estimator) not in KINDS or estimator.n_outputs_ > 1:
        return None
    return Forest(estimator) if TREES.issuperset(map(type, estimator.estimators_)) else None
