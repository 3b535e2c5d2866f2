"""From a fitted scikit-learn estimator to a program (server.program) that answers like it, or a sentence on why not.

No code of scikit-learn is called here that computes: what an estimator is called, and the numbers in it, is what is looked at.
What comes out is believed only after server.parity has compared it with the estimator.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from server import compile_steps, onnx, program
from server.compile_steps import Flow, NotPossible, named
from server.compiled import PROGRAM
from server.model import Model
from server.onnx import Tree
from server.program import Ensemble, Final, Indices, Numbers, Pipe, Program, Step
from server.signature import Columns

LARGEST_EXACT = 2**24
"""Up to here every whole number is a float32, and so is the number of every leaf."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """A program, and what parity should look at closely."""

    program: Program
    files: Mapping[str, bytes]
    """The program's own file, and those that its parts name."""
    nodes: int
    last: Any
    """The estimator at the end, behind pipelines and searches."""
    before: tuple[Step, ...]
    """The steps before it."""
    alone: Pipe
    """What was made of it, without those."""
    width: int | None
    """How many numbers it gets; None: it gets text too."""
    thresholds: tuple[tuple[int, float], ...]
    """Column and value: where its trees divide the rows that it gets."""


def compile_model(model: Model, digest: str, max_nodes: int) -> Compilation:
    """The program of a loaded model. Raises NotPossible."""
    work = _Work(max_nodes=max_nodes)
    names, flow = _columns(model)
    text, single = flow.text, flow.single
    steps: tuple[Step, ...] = ()
    fitted = getattr(model.estimator, "feature_names_in_", None)
    if names is not None and fitted is not None and tuple(fitted) != names:
        if missing := sorted(set(fitted) - set(names)):
            raise NotPossible(f"the signature lacks columns of the estimator: {', '.join(missing)}")
        order = tuple(names.index(name) for name in fitted)
        steps, flow = (program.Select(columns=order),), flow.taken(order)
        if any(text) and not any(flow.text):
            steps = (*steps, program.Numeric())
    pipe = work.pipe(model.estimator, flow, top=True)
    whole = Program(
        model=digest,
        classes=None if model.classes is None else tuple(model.classes),
        inputs=model.inputs,
        cells=any(text),
        single=tuple(number for number, each in enumerate(single) if each),
        trees=work.trees,
        pipe=Pipe(steps=(*steps, *pipe.steps), final=pipe.final),
    )
    files = {**work.files, PROGRAM: whole.model_dump_json().encode()}
    last, alone, columns = work.last
    return Compilation(
        program=whole,
        files=files,
        nodes=work.nodes,
        last=last,
        before=whole.pipe.steps[: len(whole.pipe.steps) - len(alone.steps)],
        alone=alone,
        width=None if any(columns.text) else len(columns.text),
        thresholds=tuple(work.thresholds),
    )


def _columns(model: Model) -> tuple[tuple[str, ...] | None, Flow]:
    """What the columns are called, and what scikit-learn gets of each."""
    if model.form in ("Texts", "Unknown"):
        raise NotPossible("it takes a text" if model.form == "Texts" else "it has no signature that says what its columns are")
    if isinstance(model.inputs, Columns) and model.form == "Columns":
        columns = model.inputs.columns
        if any(column.type == "datetime" for column in columns):
            raise NotPossible("columns of dates are not compiled")
        names = tuple(column.name for column in columns) if model.names else None
        text = tuple(column.type == "string" for column in columns)
        return names, Flow(text=text, single=tuple(column.type == "float" for column in columns))
    width = len(model.inputs.columns) if isinstance(model.inputs, Columns) else model.inputs.width
    if width is None:
        raise NotPossible("nobody knows how many features it has")
    return model.names, Flow(text=(False,) * width, single=(model.inputs.dtype == "float32",) * width)


@dataclass(slots=True, kw_only=True)
class _Work:
    """One compilation while it goes on."""

    max_nodes: int
    files: dict[str, bytes] = field(default_factory=dict)
    nodes: int = 0
    trees: int = 0
    thresholds: list[tuple[int, float]] = field(default_factory=list)
    last: tuple[Any, Pipe, Flow] = field(init=False)
    """The final estimator that was done last, so at the end the whole model's."""

    def pipe(self, estimator: Any, flow: Flow, *, top: bool = False) -> Pipe:
        """An estimator, with the steps before it. `top`: what it gets at last is what the whole model's final estimator gets."""
        while named(estimator) in _WRAPPERS:
            estimator = getattr(estimator, _WRAPPERS[named(estimator)])
        if named(estimator) == "Pipeline":
            steps: list[Step] = []
            for _, step in estimator.steps[:-1]:
                more, flow = compile_steps.transformer(step, flow)
                steps += more
            end = self.pipe(estimator.steps[-1][1], flow, top=top)
            return Pipe(steps=(*steps, *end.steps), final=end.final)
        make = _FINALS.get(named(estimator))
        if make is None:
            raise NotPossible(f"{named(estimator)} is not compiled")
        if np.ndim(getattr(estimator, "n_outputs_", 1)) or getattr(estimator, "n_outputs_", 1) != 1:
            raise NotPossible(f"{named(estimator)} has several outputs")
        own, encoded = _categories(estimator, flow)
        if named(estimator) not in _COMPOSED and any(encoded.text):
            raise NotPossible(f"{named(estimator)} gets columns of text")
        made = Pipe(steps=own, final=make(self, estimator, encoded, top))
        self.last = estimator, made, flow
        return made

    def member(self, estimator: Any, flow: Flow, *, top: bool) -> Pipe:
        """One of the estimators that another is made of: the rows that it gets are the other's, unless it changes them first."""
        return self.pipe(estimator, flow, top=top and named(estimator) != "Pipeline")

    def ensemble(self, trees: Sequence[Tree], flow: Flow, targets: int, *, single: bool, missing: bool, top: bool) -> Ensemble:
        """Trees whose leaves' weights are added up, as a file."""
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


# --- trees ------------------------------------------------------------------------------------------------------------


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


def _tree_classifier(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    return work.votes([estimator], [None], len(estimator.classes_), flow, top)


def _forest_classifier(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    members = estimator.estimators_
    return work.votes(members, [None] * len(members), len(estimator.classes_), flow, top)


def _bagging_classifier(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    members = estimator.estimators_
    _only_trees(members, "DecisionTreeClassifier", "ExtraTreeClassifier")
    return work.votes(members, estimator.estimators_features_, len(estimator.classes_), flow, top)


def _tree_regressor(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    return _sum_of(work, [estimator], [None], flow, top)


def _forest_regressor(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    members = estimator.estimators_
    return _sum_of(work, members, [None] * len(members), flow, top)


def _bagging_regressor(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    members = estimator.estimators_
    _only_trees(members, "DecisionTreeRegressor", "ExtraTreeRegressor")
    return _sum_of(work, members, estimator.estimators_features_, flow, top)


def _only_trees(members: Sequence[Any], *allowed: str) -> None:
    if other := sorted({named(member) for member in members} - set(allowed)):
        raise NotPossible(f"bagging of {', '.join(other)} is not compiled")


def _sum_of(work: _Work, members: Sequence[Any], features: Sequence[Any], flow: Flow, top: bool) -> Final:
    trees = [_tree(member.tree_, columns, 0) for member, columns in zip(members, features, strict=True)]
    ensemble = work.ensemble(trees, flow, 1, single=True, missing=_missing(members[0]), top=top)
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


def _boosting_classifier(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    targets = int(estimator.n_trees_per_iteration_)
    ensemble = work.ensemble(_boosted_trees(estimator), flow, targets, single=True, missing=False, top=top)
    link = "softmax" if targets > 1 else "exponential" if estimator.loss == "exponential" else "logistic"
    return program.Boosted(trees=ensemble, link=link, zero_is_second=True)


def _boosting_regressor(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    return program.Sum(trees=work.ensemble(_boosted_trees(estimator), flow, 1, single=True, missing=False, top=top), members=1)


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


def _histogram_classifier(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    targets = int(estimator.n_trees_per_iteration_)
    ensemble = work.ensemble(_histogram_trees(estimator), flow, targets, single=False, missing=True, top=top)
    return program.Boosted(trees=ensemble, link="softmax" if targets > 1 else "logistic", zero_is_second=False)


def _histogram_regressor(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    ensemble = work.ensemble(_histogram_trees(estimator), flow, 1, single=False, missing=True, top=top)
    return program.Sum(trees=ensemble, members=1, link="exp" if estimator.loss in ("poisson", "gamma") else "identity")


def _categories(estimator: Any, flow: Flow) -> tuple[tuple[Step, ...], Flow]:
    """Histogram gradient boosting encodes its categories itself."""
    preprocessor = getattr(estimator, "_preprocessor", None)
    if not named(estimator).startswith("HistGradientBoosting") or preprocessor is None:
        return (), flow
    steps, flow = compile_steps.transformer(preprocessor, flow)
    return tuple(steps), flow


# --- planes -----------------------------------------------------------------------------------------------------------


def _numbers(values: Any) -> Numbers:
    return tuple(float(value) for value in np.asarray(values, float).ravel())


def _linear_classifier(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    planes = np.atleast_2d(np.asarray(estimator.coef_, float))
    intercepts = np.broadcast_to(np.asarray(estimator.intercept_, float).ravel(), (len(planes),))
    link: Any = None
    if hasattr(estimator, "predict_proba"):
        link = "softmax" if len(planes) > 1 and named(estimator) not in ("SGDClassifier",) else "logistic"
        if getattr(estimator, "loss", None) == "modified_huber":
            link = "huber"
    return program.LinearClassifier(
        coefficients=tuple(_numbers(plane) for plane in planes), intercepts=_numbers(intercepts), probabilities=link
    )


def _linear(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    planes = np.atleast_2d(np.asarray(estimator.coef_, float))
    if len(planes) != 1 or (np.ndim(estimator.intercept_) and np.size(estimator.intercept_) != 1):
        raise NotPossible(f"{named(estimator)} has several outputs")
    return program.Linear(coefficients=_numbers(planes), intercept=float(np.asarray(estimator.intercept_).ravel()[0]))


def _generalized(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    links = {"IdentityLink": "identity", "LogLink": "exp"}
    link: Any = links.get(type(estimator._base_loss.link).__name__)
    if link is None:
        raise NotPossible(f"{named(estimator)} with {type(estimator._base_loss.link).__name__} is not compiled")
    return program.Linear(coefficients=_numbers(estimator.coef_), intercept=float(estimator.intercept_), link=link)


# --- what is made of other estimators ---------------------------------------------------------------------------------


def _calibrated(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    classes = estimator.classes_.tolist()
    members = []
    for member in estimator.calibrated_classifiers_:
        if member.method not in ("sigmoid", "isotonic"):
            raise NotPossible(f"calibration by {member.method} is not compiled")
        about = (1,) if len(classes) == 2 else tuple(classes.index(each) for each in member.estimator.classes_.tolist())
        corrections = tuple(_correction(calibrator) for calibrator in member.calibrators)
        of = work.member(member.estimator, flow, top=top)
        members.append(program.Calibrator(of=of, corrections=corrections, classes=about))
    return program.Calibrated(members=tuple(members), size=len(classes))


def _correction(calibrator: Any) -> program.Sigmoid | program.Isotonic:
    if named(calibrator) == "_SigmoidCalibration":
        return program.Sigmoid(slope=float(calibrator.a_), intercept=float(calibrator.b_))
    return program.Isotonic(scores=_numbers(calibrator.X_thresholds_), probabilities=_numbers(calibrator.y_thresholds_))


def _voting_classifier(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    size = len(estimator.classes_)
    if any(len(member.classes_) != size for member in estimator.estimators_):
        raise NotPossible("not all of its classifiers know all classes")
    return program.Vote(
        members=tuple(work.member(member, flow, top=top) for member in estimator.estimators_),
        weights=_weights(estimator),
        soft=estimator.voting == "soft",
        size=size,
    )


def _voting_regressor(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    members = tuple(work.member(member, flow, top=top) for member in estimator.estimators_)
    return program.Mean(members=members, weights=_weights(estimator))


def _weights(estimator: Any) -> Numbers | None:
    weights = estimator._weights_not_none
    return None if weights is None else _numbers(weights)


def _stacking(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    if estimator.passthrough and any(flow.text):
        raise NotPossible("stacking that passes text on is not compiled")
    responses = tuple(response for response in estimator.stack_method_)
    width = int(estimator.final_estimator_.n_features_in_)
    return program.Stacked(
        members=tuple(work.member(member, flow, top=top) for member in estimator.estimators_),
        responses=responses,
        passthrough=bool(estimator.passthrough),
        of=work.pipe(estimator.final_estimator_, Flow.numbers(width)),
    )


def _threshold(work: _Work, estimator: Any, flow: Flow, top: bool) -> Final:
    of = getattr(estimator, "estimator_", estimator.estimator)
    response = estimator.response_method
    if response == "auto":
        response = "predict_proba" if hasattr(of, "predict_proba") else "decision_function"
    threshold: Any = getattr(estimator, "best_threshold_", getattr(estimator, "threshold", "auto"))
    if threshold == "auto":
        threshold = 0.5 if response == "predict_proba" else 0.0
    label = getattr(estimator, "pos_label", None)
    if named(estimator) == "TunedThresholdClassifierCV":
        label = estimator._curve_scorer._get_pos_label()
    positive = 1 if label is None else estimator.classes_.tolist().index(label)
    return program.Threshold(of=work.member(of, flow, top=top), response=response, positive=positive, threshold=float(threshold))


_WRAPPERS: Mapping[str, str] = {
    "GridSearchCV": "best_estimator_",
    "RandomizedSearchCV": "best_estimator_",
    "HalvingGridSearchCV": "best_estimator_",
    "HalvingRandomSearchCV": "best_estimator_",
    "FrozenEstimator": "estimator",
}
"""What only asks another estimator."""

_Make = Callable[[_Work, Any, Flow, bool], Final]

_COMPOSED: Mapping[str, _Make] = {
    "CalibratedClassifierCV": _calibrated,
    "FixedThresholdClassifier": _threshold,
    "StackingClassifier": _stacking,
    "StackingRegressor": _stacking,
    "TunedThresholdClassifierCV": _threshold,
    "VotingClassifier": _voting_classifier,
    "VotingRegressor": _voting_regressor,
}

_FINALS: Mapping[str, _Make] = {
    **_COMPOSED,
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
    **dict.fromkeys(
        (
            "LinearDiscriminantAnalysis",
            "LinearSVC",
            "LogisticRegression",
            "LogisticRegressionCV",
            "PassiveAggressiveClassifier",
            "Perceptron",
            "RidgeClassifier",
            "RidgeClassifierCV",
            "SGDClassifier",
        ),
        _linear_classifier,
    ),
    **dict.fromkeys(
        (
            "ARDRegression",
            "BayesianRidge",
            "ElasticNet",
            "ElasticNetCV",
            "HuberRegressor",
            "Lars",
            "LarsCV",
            "Lasso",
            "LassoCV",
            "LassoLars",
            "LassoLarsCV",
            "LassoLarsIC",
            "LinearRegression",
            "LinearSVR",
            "OrthogonalMatchingPursuit",
            "OrthogonalMatchingPursuitCV",
            "PassiveAggressiveRegressor",
            "QuantileRegressor",
            "Ridge",
            "RidgeCV",
            "SGDRegressor",
            "TheilSenRegressor",
        ),
        _linear,
    ),
    **dict.fromkeys(("GammaRegressor", "PoissonRegressor", "TweedieRegressor"), _generalized),
}
"""What compiles, by scikit-learn's names. A subclass has another name, and may answer otherwise."""
