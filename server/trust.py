"""Which types a skops file may bring along, and whether the trees in it are trees.

The list is reviewed by people: a type is here only if building it from a file executes nothing. skops can check types,
not content, and scikit-learn follows the indices of a tree without looking; so trees are trusted for their type and then
checked for their content. Types with indices that nobody checks (KDTree, BallTree) are not here.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

TRUSTED = (
    "numpy.dtype",
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.DotProduct",
    "sklearn.gaussian_process.kernels.Matern",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.gaussian_process.kernels.RationalQuadratic",
    "sklearn.gaussian_process.kernels.Sum",
    "sklearn.gaussian_process.kernels.WhiteKernel",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
)


def parts(estimator: object) -> Iterator[object]:
    """The estimator and all that it is made of, each object once: steps, fitted members, trees."""
    seen: set[int] = set()
    rest = [estimator]
    while rest:
        part = rest.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        match part:
            case dict():
                rest.extend(part.values())
            case list() | tuple():
                rest.extend(part)
            case np.ndarray() if part.dtype == object:
                rest.extend(part.ravel().tolist())
            case _ if type(part).__module__.split(".")[0] not in ("builtins", "numpy", "scipy"):
                yield part
                rest.extend(getattr(part, "__dict__", {}).values())


def has_broken_tree(estimator: object) -> bool:
    """Whether following some tree inside would leave its arrays or never end."""
    return any(_is_broken(vars(part)) for part in parts(estimator) if hasattr(part, "__dict__"))


def _is_broken(own: dict[str, Any]) -> bool:
    """scikit-learn compares the width of the data with `n_features_in_`, of a forest with that of its first tree."""
    width = own.get("n_features_in_", 0)
    tree, members = own.get("tree_"), [member for member in _flat(own.get("estimators_")) if hasattr(member, "tree_")]
    if tree is not None and (tree.n_features != width or not _is_tree(tree)):
        return True
    widths = {member.n_features_in_ for member in members}
    if len(widths) > 1 or any(member > width for member in widths):
        return True
    return not all(_is_predictor(predictor, width) for predictor in _flat(own.get("_predictors")))


def _is_tree(tree: Any) -> bool:
    inner = tree.children_left != -1
    children = (tree.children_left, tree.children_right)
    return np.array_equal(inner, tree.children_right != -1) and _leads_on(inner, children, tree.feature, tree.n_features)


def _is_predictor(predictor: Any, width: int) -> bool:
    nodes = predictor.nodes
    inner = nodes["is_leaf"] == 0
    sets = nodes["bitset_idx"][inner & (nodes["is_categorical"] != 0)]
    known = bool(np.all(sets < len(predictor.raw_left_cat_bitsets)))
    return known and _leads_on(inner, (nodes["left"], nodes["right"]), nodes["feature_idx"], width)


def _leads_on(inner: npt.NDArray[np.bool_], children: Iterable[npt.NDArray[Any]], features: npt.NDArray[Any], width: int) -> bool:
    """scikit-learn writes every child after its parent; to insist on that rules out a circle too."""
    index, count = np.arange(len(inner))[inner], len(inner)
    ahead = all(np.all((child[inner] > index) & (child[inner] < count)) for child in children)
    return ahead and bool(np.all((features[inner] >= 0) & (features[inner] < width)))


def _flat(members: Any) -> list[Any]:
    """Ensembles keep their members in a list, in a list of lists or in an array."""
    if isinstance(members, np.ndarray):
        members = members.ravel().tolist()
    if not isinstance(members, list | tuple):
        return []
    return [one for member in members for one in (_flat(member) if isinstance(member, list | tuple) else [member])]
