"""What the modules that compile share: what is known of the columns on their way, and how to say that something can't be done."""

import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from server.program import Indices, Numbers, Step


class NotPossible(Exception):
    """Something in a model has no compiled form. The text says what, as part of a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What is known of the columns between two steps."""

    text: tuple[bool, ...]
    """Whether a column has text."""
    single: tuple[bool, ...]
    """Whether it is float32."""

    @staticmethod
    def numbers(width: int) -> "Flow":
        """Columns of float64."""
        return Flow(text=(False,) * width, single=(False,) * width)

    def taken(self, columns: Indices) -> "Flow":
        """Some of the columns."""
        return Flow(text=tuple(self.text[i] for i in columns), single=tuple(self.single[i] for i in columns))


Made: TypeAlias = tuple[list[Step], Flow]


def named(part: object) -> str:
    """The name of scikit-learn's class; of any other, one that is on no list."""
    kind = type(part)
    own = kind.__module__.split(".")[0] == "sklearn"
    return kind.__qualname__ if own else f"{kind.__module__}.{kind.__qualname__}"


def floats(values: Any) -> Numbers:
    return tuple(float(value) for value in np.asarray(values, float).ravel())


def quiet() -> None:
    """scikit-learn warns of what is asked here on purpose: unknown categories, columns without names. The filter stays: to put
    filters back is not safe while other threads, such as MLflow's, do the same."""
    warnings.filterwarnings("ignore", module="sklearn")
