"""What answers rows, whatever computes it: the seam between HTTP and scikit-learn, and all that HTTP knows of a model."""

from dataclasses import dataclass
from typing import Protocol

from server.artifact import Answer, Label
from server.signature import Inputs
from server.table import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """What an engine says about some rows, as JSON values."""

    predictions: list[Label | list[Label]]
    probabilities: list[list[float]] | None
    """In the order of the engine's classes."""


class Engine(Protocol):
    """A model that can be asked."""

    @property
    def name(self) -> str:
        """What computes the answers: sklearn or compiled."""

    @property
    def inputs(self) -> Inputs:
        """What a row is: as in the artifact, but a vector's width is known if anybody knows it."""

    @property
    def classes(self) -> list[Label] | None:
        """The labels of a classifier; None for everything else."""

    @property
    def has_probabilities(self) -> bool:
        """Whether it gives a probability for each class."""

    @property
    def fast(self) -> bool:
        """Whether one row takes less time than a hop to another thread, so that it may be asked on the event loop."""

    def predict(self, rows: Rows) -> Predicted:
        """The answers to these rows, in their order. A ValueError says that some row can't be answered."""


def answer(engine: Engine, rows: Rows) -> Answer:
    """The same in the form in which an answer is recorded."""
    predicted = engine.predict(rows)
    classes = engine.classes if engine.has_probabilities else None
    return Answer(predictions=predicted.predictions, probabilities=predicted.probabilities, classes=classes)
