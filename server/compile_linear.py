"""Linear models: a plane for each class or for each number, and what makes a probability of it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from server import program
from server.compile_flow import NotPossible, floats, named
from server.program import Final


def _linear_classifier(estimator: Any) -> Final:
    planes = np.atleast_2d(np.asarray(estimator.coef_, float))
    intercepts = np.broadcast_to(np.asarray(estimator.intercept_, float).ravel(), (len(planes),))
    link: Any = None
    if hasattr(estimator, "predict_proba"):
        link = "softmax" if len(planes) > 1 and named(estimator) not in ("SGDClassifier",) else "logistic"
        if getattr(estimator, "loss", None) == "modified_huber":
            link = "huber"
    return program.LinearClassifier(
        coefficients=tuple(floats(plane) for plane in planes), intercepts=floats(intercepts), probabilities=link
    )


def _linear(estimator: Any) -> Final:
    planes = np.atleast_2d(np.asarray(estimator.coef_, float))
    if len(planes) != 1 or (np.ndim(estimator.intercept_) and np.size(estimator.intercept_) != 1):
        raise NotPossible(f"{named(estimator)} has several outputs")
    return program.Linear(coefficients=floats(planes), intercept=float(np.asarray(estimator.intercept_).ravel()[0]))


def _generalized(estimator: Any) -> Final:
    links = {"IdentityLink": "identity", "LogLink": "exp"}
    link: Any = links.get(type(estimator._base_loss.link).__name__)
    if link is None:
        raise NotPossible(f"{named(estimator)} with {type(estimator._base_loss.link).__name__} is not compiled")
    return program.Linear(coefficients=floats(estimator.coef_), intercept=float(estimator.intercept_), link=link)


LINEAR: Mapping[str, Callable[[Any], Final]] = {
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
