"""Estimators that are made of other estimators: calibrated, voting, stacking, with another threshold."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from server import program
from server.compile_flow import Flow, NotPossible, floats, named
from server.program import Final, Numbers, Pipe


class Compiler(Protocol):
    """Who compiles the estimators inside."""

    def pipe(self, estimator: Any, flow: Flow, *, top: bool = False) -> Pipe: ...

    def member(self, estimator: Any, flow: Flow, *, top: bool) -> Pipe: ...


def _calibrated(compiler: Compiler, estimator: Any, flow: Flow, top: bool) -> Final:
    classes = estimator.classes_.tolist()
    members = []
    for member in estimator.calibrated_classifiers_:
        if member.method not in ("sigmoid", "isotonic"):
            raise NotPossible(f"calibration by {member.method} is not compiled")
        about = (1,) if len(classes) == 2 else tuple(classes.index(each) for each in member.estimator.classes_.tolist())
        corrections = tuple(_correction(calibrator) for calibrator in member.calibrators)
        of = compiler.member(member.estimator, flow, top=top)
        members.append(program.Calibrator(of=of, corrections=corrections, classes=about))
    return program.Calibrated(members=tuple(members), size=len(classes))


def _correction(calibrator: Any) -> program.Sigmoid | program.Isotonic:
    if named(calibrator) == "_SigmoidCalibration":
        return program.Sigmoid(slope=float(calibrator.a_), intercept=float(calibrator.b_))
    return program.Isotonic(scores=floats(calibrator.X_thresholds_), probabilities=floats(calibrator.y_thresholds_))


def _voting_classifier(compiler: Compiler, estimator: Any, flow: Flow, top: bool) -> Final:
    size = len(estimator.classes_)
    if any(len(member.classes_) != size for member in estimator.estimators_):
        raise NotPossible("not all of its classifiers know all classes")
    return program.Vote(
        members=tuple(compiler.member(member, flow, top=top) for member in estimator.estimators_),
        weights=_weights(estimator),
        soft=estimator.voting == "soft",
        size=size,
    )


def _voting_regressor(compiler: Compiler, estimator: Any, flow: Flow, top: bool) -> Final:
    members = tuple(compiler.member(member, flow, top=top) for member in estimator.estimators_)
    return program.Mean(members=members, weights=_weights(estimator))


def _weights(estimator: Any) -> Numbers | None:
    weights = estimator._weights_not_none
    return None if weights is None else floats(weights)


def _stacking(compiler: Compiler, estimator: Any, flow: Flow, top: bool) -> Final:
    if estimator.passthrough and any(flow.text):
        raise NotPossible("stacking that passes text on is not compiled")
    responses = tuple(response for response in estimator.stack_method_)
    width = int(estimator.final_estimator_.n_features_in_)
    return program.Stacked(
        members=tuple(compiler.member(member, flow, top=top) for member in estimator.estimators_),
        responses=responses,
        passthrough=bool(estimator.passthrough),
        of=compiler.pipe(estimator.final_estimator_, Flow.numbers(width)),
    )


def _threshold(compiler: Compiler, estimator: Any, flow: Flow, top: bool) -> Final:
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
    return program.Threshold(
        of=compiler.member(of, flow, top=top), response=response, positive=positive, threshold=float(threshold)
    )


COMPOSED: Mapping[str, Callable[[Compiler, Any, Flow, bool], Final]] = {
    "CalibratedClassifierCV": _calibrated,
    "FixedThresholdClassifier": _threshold,
    "StackingClassifier": _stacking,
    "StackingRegressor": _stacking,
    "TunedThresholdClassifierCV": _threshold,
    "VotingClassifier": _voting_classifier,
    "VotingRegressor": _voting_regressor,
}
