"""Which types a skops file may bring along, and whether the trees in it are trees.

The list is reviewed by people: a type is here only if building it from a file executes nothing. skops can check types,
not content, and scikit-learn follows the indices of a tree without looking; so trees are trusted for their type and then
checked for their content. Types with indices that nobody checks (splines, sparse matrices) are not here.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

REVIEWED = {
    "builtins": "object",  # says nothing; a column selector may name it
    "functools": "partial",  # of a function that is here itself
    "numpy": "asarray dtype mean median nan_to_num",
    "sklearn._loss.loss": "HalfTweedieLoss HalfTweedieLossIdentity",
    "sklearn.calibration": "_CalibratedClassifier _SigmoidCalibration _TemperatureScaling",
    "sklearn.cluster._bisect_k_means": "_BisectingTree",
    "sklearn.cluster._kmeans": "_kmeans_single_elkan _kmeans_single_lloyd",
    "sklearn.compose._column_transformer": "make_column_selector",
    "sklearn.ensemble._hist_gradient_boosting.predictor": "TreePredictor",  # its content is checked
    "sklearn.feature_selection._mutual_info": "mutual_info_classif mutual_info_regression",
    "sklearn.feature_selection._univariate_selection": "chi2 f_classif f_oneway f_regression r_regression",
    "sklearn.gaussian_process._gpc": "_BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels": "CompoundKernel ConstantKernel DotProduct ExpSineSquared Exponentiation Matern"
    " PairwiseKernel Product RBF RationalQuadratic Sum WhiteKernel",
    "sklearn.impute._iterative": "IterativeImputer _ImputerTriplet",
    "sklearn.metrics._classification": "accuracy_score balanced_accuracy_score brier_score_loss cohen_kappa_score"
    " d2_brier_score d2_log_loss_score f1_score fbeta_score jaccard_score log_loss matthews_corrcoef precision_score"
    " recall_score",
    "sklearn.metrics._dist_metrics": "ChebyshevDistance64 EuclideanDistance64 ManhattanDistance64 MinkowskiDistance64",
    "sklearn.metrics._ranking": "average_precision_score roc_auc_score top_k_accuracy_score",
    "sklearn.metrics._regression": "d2_absolute_error_score explained_variance_score max_error mean_absolute_error"
    " mean_absolute_percentage_error mean_gamma_deviance mean_pinball_loss mean_poisson_deviance mean_squared_error"
    " mean_squared_log_error median_absolute_error r2_score root_mean_squared_error root_mean_squared_log_error",
    "sklearn.metrics._scorer": "_CurveScorer _MultimetricScorer _PassthroughScorer _Scorer negative_likelihood_ratio"
    " positive_likelihood_ratio",
    "sklearn.metrics.cluster._supervised": "adjusted_mutual_info_score adjusted_rand_score completeness_score"
    " fowlkes_mallows_score homogeneity_score mutual_info_score normalized_mutual_info_score rand_score v_measure_score",
    "sklearn.model_selection._search_successive_halving": "HalvingGridSearchCV HalvingRandomSearchCV",
    "sklearn.model_selection._split": "GroupKFold GroupShuffleSplit KFold LeaveOneGroupOut LeaveOneOut PredefinedSplit"
    " RepeatedKFold RepeatedStratifiedKFold ShuffleSplit StratifiedGroupKFold StratifiedKFold StratifiedShuffleSplit"
    " TimeSeriesSplit",
    "sklearn.multiclass": "_ConstantPredictor",
    "sklearn.neighbors._ball_tree": "BallTree",  # its content is checked
    "sklearn.neighbors._kd_tree": "KDTree",  # likewise
    "sklearn.neural_network._stochastic_optimizers": "AdamOptimizer SGDOptimizer",
    "sklearn.tree._tree": "Tree",  # likewise
    "sklearn.utils._bunch": "Bunch",
    "sklearn.utils._metadata_requests": "MetadataRequest MethodMetadataRequest",
    "sklearn.utils.validation": "check_array",
}
"""By module, beside what skops trusts by itself: scikit-learn's public estimators, and functions of numpy that are ufuncs."""

TRUSTED = tuple(f"{module}.{name}" for module, names in REVIEWED.items() for name in names.split())


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
    return any(_is_broken(part) for part in parts(estimator))


def _is_broken(part: Any) -> bool:
    if _kind(part) in ("sklearn.neighbors._ball_tree.BallTree", "sklearn.neighbors._kd_tree.KDTree"):
        return not _is_search_tree(part)
    return hasattr(part, "__dict__") and _has_broken(vars(part))


def _has_broken(own: dict[str, Any]) -> bool:
    """scikit-learn compares the width of the data with `n_features_in_`, of a forest with that of its first tree."""
    width = own.get("n_features_in_", 0)
    tree: Any = own.get("tree_")
    members = [member for member in _flat(own.get("estimators_")) if hasattr(member, "tree_")]
    if _kind(tree) == "sklearn.tree._tree.Tree" and (tree.n_features != width or not _is_tree(tree)):
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


def _kind(part: object) -> str:
    """Its type's name: to import all these types takes longer than most models do."""
    return f"{type(part).__module__}.{type(part).__name__}"


def _is_search_tree(tree: Any) -> bool:
    """Of nodes in levels: those below node n are 2n + 1 and 2n + 2, and a leaf's rows are a slice of an order of all rows."""
    data, order, nodes, bounds, *_, metric, weights = tree.__getstate__()
    (rows, width), count = data.shape, len(nodes)
    starts, ends, leaves = nodes["idx_start"], nodes["idx_end"], nodes["is_leaf"] != 0
    return (
        _kind(metric) in TRUSTED
        and (type(metric).__name__ != "MinkowskiDistance64" or len(metric.__getstate__()[1]) in (0, width))
        and (weights is None or len(weights) == rows)
        and bounds.shape == (2 if type(tree).__name__ == "KDTree" else 1, count, width)
        and len(order) == rows
        and bool(np.all((order >= 0) & (order < rows)))
        and bool(np.all((starts >= 0) & (starts <= ends) & (ends <= rows)))
        and bool(np.all(leaves | (2 * np.arange(count) + 2 < count)))
    )


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
