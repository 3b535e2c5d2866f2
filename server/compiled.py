"""The engine that answers without scikit-learn: a program (server.program), turned into functions of numpy and ONNX Runtime.

Bit for bit scikit-learn's own arithmetic, in its order; but of linear models, the sums are taken row by row, so that the last
digits of an answer do not depend on which rows are asked about together.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import numpy as np

from server import program
from server.artifact import Label
from server.compiled_estimators import pipe
from server.compiled_steps import Data
from server.engine import Predicted
from server.program import Final, Program
from server.scores import Ask
from server.signature import Inputs
from server.table import Rows

PROGRAM = "program.json"
ROWS_AT_ONCE = 8192
"""More rows are answered in turns, so that memory has a bound."""
FAST_TREES = 500
"""So many take a row about as long as a hop to another thread does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A compiled model."""

    name: ClassVar[str] = "compiled"
    fast: bool
    inputs: Inputs
    classes: list[Label] | None
    has_probabilities: bool
    cells: bool
    single: list[int]
    ask: Ask

    def predict(self, rows: Rows) -> Predicted:
        """The answers to these rows, in their order."""
        if len(rows) <= ROWS_AT_ONCE:
            return self._predict(rows)
        parts = [self._predict(rows[first : first + ROWS_AT_ONCE]) for first in range(0, len(rows), ROWS_AT_ONCE)]
        return Predicted(
            predictions=[label for part in parts for label in part.predictions],
            probabilities=[row for part in parts for row in part.probabilities or ()] if self.has_probabilities else None,
        )

    def _predict(self, rows: Rows) -> Predicted:
        with np.errstate(all="ignore"):
            outcome = self.ask(self.data(rows))
        chosen = outcome.chosen.tolist()
        return Predicted(
            predictions=chosen if self.classes is None else [self.classes[index] for index in chosen],
            probabilities=None if outcome.probabilities is None else outcome.probabilities.tolist(),
        )

    def data(self, rows: Rows) -> Data:
        """Rows as the first step gets them."""
        if self.cells and not isinstance(rows, np.ndarray):
            columns = [list(column) for column in zip(*rows, strict=True)]
            for index in self.single:
                columns[index] = [None if value is None else float(np.float32(cast(float, value))) for value in columns[index]]
            return columns
        matrix = np.array(rows, dtype=np.float64)
        if self.single:
            matrix[:, self.single] = matrix[:, self.single].astype(np.float32)
        return matrix


def load(directory: Path) -> Compiled:
    """The engine in a directory that `server.compilation` has written."""
    return engine(Program.model_validate_json((directory / PROGRAM).read_bytes()), directory)


def engine(found: Program, directory: Path) -> Compiled:
    """The engine of a program whose files are in a directory."""
    ask = pipe(found.pipe, directory)
    return Compiled(
        fast=found.trees <= FAST_TREES,
        inputs=found.inputs,
        classes=None if found.classes is None else list(found.classes),
        has_probabilities=has_probabilities(found.pipe.final),
        cells=found.cells,
        single=list(found.single),
        ask=ask,
    )


def has_probabilities(final: Final) -> bool:
    """Whether a classifier gives any."""
    match final:
        case program.Votes() | program.Boosted() | program.Calibrated():
            return True
        case program.LinearClassifier():
            return final.probabilities is not None
        case program.Vote():
            return final.soft
        case program.Stacked() | program.Threshold():
            return has_probabilities(final.of.final)
    return False
