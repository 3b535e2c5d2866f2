"""Trees: from what scikit-learn keeps of them to files that ONNX Runtime follows, and what is made of their sums.

Which trees, and which estimator: `TREES`, by scikit-learn's names.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from server import onnx, program
from server.compile_flow import Flow, NotPossible, named
from server.onnx import Tree
from server.program import Ensemble, Final, Indices

LARGEST_EXACT = 2**24
"""Up to here every whole number is a float32, and so is the number of every leaf."""


@dataclass(slots=True, kw_only=True)
class Forest:
    """All trees of one compilation, while it goes on."""

    max_nodes: int
    files: dict[str, bytes] = field(default_factory=dict)
    nodes: int = 0
    trees: int = 0
    thresholds: list[tuple[int, float]] = field(default_factory=list)
    """Column and value: where trees divide the rows that the whole model's final estimator gets."""

    def ensemble(self, trees: Sequence[Tree], flow: Flow, targets: int, *, single: bool, missing: bool, top: bool) -> Ensemble:
        """Trees whose leaves' weights are added up, as a file. `top`: what they get is what the final estimator gets."""
        return self._ensemble(trees, flow, targets, single=single, missing=missing, top=top, in_single=False)

    def votes(self, estimators: Sequence[Any], features: Sequence[Any], size: int, flow: Flow, top: bool) -> program.Votes:
        """Trees that say for each class how probable it is: trees to find the leaves, and a table of them."""
        trees, tables, first = [], [], 0
        for number, (estimator, columns) in enumerate(zip(estimators, features, strict=True)):
            tree = _tree(estimator.tree_, columns, number)
            leaf = tree.left < 0
            values = np.zeros((int(leaf.sum()), size))
            values[:, np.asarray(estimator.classes_, int) if len(estimator.classes_) != size else slice(None)] = (
                estimator.tree_.value[leaf, 0, :]
            )
            numbers = np.zeros(len(leaf))
            numbers[leaf] = np.arange(first, first + len(values))
            trees.append(replace(tree, weight=numbers))
            tables.append(values)
            first += len(values)
        leaves = np.concatenate(tables)
        ensemble = self._ensemble(
            trees, flow, len(trees), single=True, missing=_missing(estimators[0]), top=top, in_single=first < LARGEST_EXACT
        )
        file = f"leaves-{len(self.files)}.npy"
        written = io.BytesIO()
        np.save(written, leaves, allow_pickle=False)
        self.files[file] = written.getvalue()
        return program.Votes(trees=ensemble, leaves=file, members=len(trees))

    def _ensemble(
        self, trees: Sequence[Tree], flow: Flow, targets: int, *, single: bool, missing: bool, top: bool, in_single: bool
    ) -> Ensemble:
        self.trees += len(trees)
        self.nodes += sum(len(tree.left) for tree in trees)
        if self.nodes > self.max_nodes:
            raise NotPossible(f"its trees have {self.nodes} nodes or more, and at most {self.max_nodes} are compiled")
        file, apart = f"trees-{len(self.files)}.onnx", f"trees-{len(self.files)}-apart.onnx"
        alone = [[replace(tree, target=0)] for tree in trees]
        self.files[file] = onnx.encode([trees], len(flow.text), targets, single=in_single)
        self.files[apart] = onnx.encode(alone, len(flow.text), 1, single=in_single)
        if top:
            for tree in trees:
                inner = np.flatnonzero((tree.left >= 0) & np.isfinite(tree.threshold))
                self.thresholds += zip(tree.feature[inner].tolist(), tree.threshold[inner].tolist(), strict=True)
        return Ensemble(file=file, apart=apart, targets=tuple(tree.target for tree in trees), single=single, missing=missing)


# --- what scikit-learn keeps of a tree ----------------------------------------------------------------------------------


def _tree(tree: Any, columns: Any, target: int, weight: npt.NDArray[np.float64] | None = None) -> Tree:
    """A tree of scikit-learn's; `columns`: which of the columns it was shown, None: all."""
    feature = np.where(tree.feature < 0, 0, tree.feature)
    return Tree(
        left=tree.children_left,
        right=tree.children_right,
        feature=feature if columns is None else np.asarray(columns)[feature],
        threshold=tree.threshold,
        missing_left=tree.missing_go_to_left.astype(bool),
        sets={},
        target=target,
        weight=tree.value[:, 0, 0] if weight is None else weight,
    )


def _missing(estimator: Any) -> bool:
    return bool(estimator.__sklearn_tags__().input_tags.allow_nan)


def _tree_classifier(forest: Forest, estimator: Any, flow: Flow, top: bool) -> Final:
    return forest.votes([estimator], [None], len(estimator.classes_), flow, top)


def _forest_classifier(forest: Forest, estimator: Any, flow: Flow, top: bool) -> Final:
    members = estimator.estimators_
    return forest.votes(members, [None] * len(members), len(estimator.classes_), flow, top)


def _bagging_classifier(forest: Forest, estimator: Any, flow: Flow, top: bool) -> Final:
    members = estimator.estimators_
    _only_trees(members, "DecisionTreeClassifier", "ExtraTreeClassifier")
    return forest.votes(members, estimator.estimators_features_, len(estimator.classes_), flow, top)


def _tree_regressor(forest: Forest, estimator: Any, flow: Flow, top: bool) -> Final:
    return _sum_of(forest, [estimator], [None], flow, top)


def _forest_regressor(forest: Forest, estimator: Any, flow: Flow, top: bool) -> Final:
    members = estimator.estimators_
    return _sum_of(forest, members, [None] * len(members), flow, top)


def _bagging_regressor(forest: Forest, estimator: Any, flow: Flow, top: bool) -> Final:
    members = estimator.estimators_
    _only_trees(members, "DecisionTreeRegressor", "ExtraTreeRegressor")
    return _sum_of(forest, members, estimator.estimators_features_, flow, top)


def _only_trees(members: Sequence[Any], *allowed: str) -> None:
    if other := sorted({named(member) for member in members} - set(allowed)):
        raise NotPossible(f"bagging of {', '.join(other)} is not compiled")


def _sum_of(forest: Forest, members: Sequence[Any], features: Sequence[Any], flow: Flow, top: bool) -> Final:
    trees = [_tree(member.tree_, columns, 0) for member, columns in zip(members, features, strict=True)]
    ensemble = forest.ensemble(trees, flow, 1, single=True, missing=_missing(members[0]), top=top)
    return program.Sum(trees=ensemble, members=len(trees))


def _boosted_trees(estimator: Any) -> list[Tree]:
    """The start and the learning rate are in the leaves already, in the order in which scikit-learn adds them up."""
    width = estimator.n_features_in_
    named_start = "zero" if isinstance(estimator.init_, str) else named(estimator.init_)
    if named_start not in ("zero", "DummyClassifier", "DummyRegressor"):
        raise NotPossible(f"gradient boosting that starts from {named_start} is not compiled")
    start = np.asarray(estimator._raw_predict_init(np.zeros((1, width), np.float32)))[0]
    trees = []
    for stage, members in enumerate(estimator.estimators_):
        for target, member in enumerate(members):
            weight = estimator.learning_rate * member.tree_.value[:, 0, 0]
            trees.append(_tree(member.tree_, None, target, start[target] + weight if stage == 0 else weight))
    return trees


def _boosting_classifier(forest: Forest, estimator: Any, flow: Flow, top: bool) -> Final:
    targets = int(estimator.n_trees_per_iteration_)
    ensemble = forest.ensemble(_boosted_trees(estimator), flow, targets, single=True, missing=False, top=top)
    link = "softmax" if targets > 1 else "exponential" if estimator.loss == "exponential" else "logistic"
    return program.Boosted(trees=ensemble, link=link, zero_is_second=True)


def _boosting_regressor(forest: Forest, estimator: Any, flow: Flow, top: bool) -> Final:
    return program.Sum(trees=forest.ensemble(_boosted_trees(estimator), flow, 1, single=True, missing=False, top=top), members=1)


# --- histogram gradient boosting ---------------------------------------------------------------------------------------


def _histogram_trees(estimator: Any) -> list[Tree]:
    start = np.asarray(estimator._baseline_prediction).ravel()
    trees = []
    for stage, members in enumerate(estimator._predictors):
        for target, member in enumerate(members):
            nodes = member.nodes
            inner = nodes["is_leaf"] == 0
            weight = start[target] + nodes["value"] if stage == 0 else nodes["value"].copy()
            trees.append(
                Tree(
                    left=np.where(inner, nodes["left"].astype(np.int64), -1),
                    right=np.where(inner, nodes["right"].astype(np.int64), -1),
                    feature=np.where(inner, nodes["feature_idx"], 0),
                    threshold=nodes["num_threshold"].astype(np.float64),
                    missing_left=nodes["missing_go_to_left"].astype(bool),
                    sets={
                        node: _members(member.raw_left_cat_bitsets[nodes["bitset_idx"][node]])
                        for node in np.flatnonzero(inner & (nodes["is_categorical"] != 0)).tolist()
                    },
                    target=target,
                    weight=weight,
                )
            )
    if not trees:
        raise NotPossible("it has no trees")
    return trees


def _members(bits: npt.NDArray[np.uint32]) -> Indices:
    return tuple(32 * place + bit for place, word in enumerate(bits.tolist()) for bit in range(32) if word >> bit & 1)


def _histogram_classifier(forest: Forest, estimator: Any, flow: Flow, top: bool) -> Final:
    targets = int(estimator.n_trees_per_iteration_)
    ensemble = forest.ensemble(_histogram_trees(estimator), flow, targets, single=False, missing=True, top=top)
    return program.Boosted(trees=ensemble, link="softmax" if targets > 1 else "logistic", zero_is_second=False)


def _histogram_regressor(forest: Forest, estimator: Any, flow: Flow, top: bool) -> Final:
    ensemble = forest.ensemble(_histogram_trees(estimator), flow, 1, single=False, missing=True, top=top)
    return program.Sum(trees=ensemble, members=1, link="exp" if estimator.loss in ("poisson", "gamma") else "identity")


TREES: Mapping[str, Callable[[Forest, Any, Flow, bool], Final]] = {
    "BaggingClassifier": _bagging_classifier,
    "BaggingRegressor": _bagging_regressor,
    "DecisionTreeClassifier": _tree_classifier,
    "DecisionTreeRegressor": _tree_regressor,
    "ExtraTreeClassifier": _tree_classifier,
    "ExtraTreeRegressor": _tree_regressor,
    "ExtraTreesClassifier": _forest_classifier,
    "ExtraTreesRegressor": _forest_regressor,
    "GradientBoostingClassifier": _boosting_classifier,
    "GradientBoostingRegressor": _boosting_regressor,
    "HistGradientBoostingClassifier": _histogram_classifier,
    "HistGradientBoostingRegressor": _histogram_regressor,
    "RandomForestClassifier": _forest_classifier,
    "RandomForestRegressor": _forest_regressor,
}
