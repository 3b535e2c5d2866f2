"""What a part of a compiled model says about some rows, and scikit-learn's arithmetic from scores to probabilities."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Matrix: TypeAlias = npt.NDArray[np.float64]


class Outcome(NamedTuple):
    """What a part says about some rows."""

    chosen: npt.NDArray[Any]
    """The number of the predicted class, or the predicted number."""
    probabilities: Matrix | None = None
    decision: Matrix | None = None
    """Scores, as scikit-learn's decision_function gives them."""


Ask: TypeAlias = Callable[[Any], Outcome]


def finite(data: Matrix) -> Matrix:
    """The same; a ValueError if some number is missing or infinite, as where scikit-learn insists."""
    if not math.isfinite(np.vdot(data, data)) and not np.isfinite(data).all():
        raise ValueError("a number that is missing, or too large for the model")
    return data


def planes(data: Matrix, coefficients: Matrix) -> Matrix:
    """The product of each row with each of some planes, row by row: BLAS adds up otherwise for one row than for many, and the
    last digits of an answer must not depend on who else asks."""
    products: Matrix = np.matvec(coefficients, np.ascontiguousarray(data))
    return products


def expit(x: Matrix) -> Matrix:
    """The logistic function."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def softmax(raw: Matrix) -> Matrix:
    """Over the classes of each row."""
    powers: Matrix = np.exp(raw - raw.max(axis=1, keepdims=True))
    total: Matrix = powers.sum(axis=1, keepdims=True)
    return powers / total


def huber(scores: Matrix) -> Matrix:
    """Of the modified Huber loss, as SGDClassifier turns scores into probabilities."""
    return (np.clip(scores, -1.0, 1.0) + 1.0) / 2.0


def of_two(second: Matrix) -> Matrix:
    """The probabilities of two classes, from those of the second."""
    return np.stack([1.0 - second, second], axis=1)


def normalized(probabilities: Matrix) -> Matrix:
    """To a sum of 1; where all are 0, all the same."""
    total = probabilities.sum(axis=1, keepdims=True)
    return np.where(total == 0, 1.0 / probabilities.shape[1], probabilities / np.where(total == 0, 1.0, total))
