"""Estimators made of trees: ONNX Runtime follows the trees, and numbers are added up tree by tree, as scikit-learn does it."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from server import program
from server.program import Ensemble
from server.scores import Ask, Matrix, Outcome, expit, of_two, softmax

FEW = 64
"""Up to so many rows go through the trees one by one."""


class Trees:
    """Trees that rows go through: row by row, or tree by tree, which spares the processor's cache where rows are many."""

    def __init__(self, part: Ensemble, directory: Path) -> None:
        self._part = part
        self._apart = directory / part.apart
        self._session = _session(directory / part.file)
        self._run = self._session._sess.run  # what run() calls, after checks that take nearly as long as the trees
        self._dtype = np.float32 if self._session.get_inputs()[0].type == "tensor(float)" else np.float64

    def rows(self, data: Matrix) -> npt.NDArray[Any]:
        """The data as the trees take it; a ValueError where scikit-learn insists on numbers."""
        rows = data.astype(np.float32) if self._part.single else data
        if not math.isfinite(np.vdot(rows, rows)) and (np.isinf(rows).any() or (not self._part.missing and np.isnan(rows).any())):
            raise ValueError("a number that is missing, or too large for the model")
        return np.ascontiguousarray(rows, dtype=self._dtype)

    def together(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What all trees add to each output."""
        outputs: list[npt.NDArray[Any]] = self._run(["y0"], {"x": rows}, None)
        return outputs[0]

    def apart(self, rows: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """What each tree says to each row."""
        return [output[:, 0] for output in self._many.run(None, {"x": rows})]

    def sums(self, data: Matrix) -> Matrix:
        """The sum of each output, added up in the order of the trees."""
        rows = self.rows(data)
        if len(rows) <= FEW:
            return self.together(rows)
        total = np.zeros((len(rows), max(self._part.targets) + 1))
        for target, output in zip(self._part.targets, self.apart(rows), strict=True):
            total[:, target] += output
        return total

    @cached_property
    def _many(self) -> Any:
        """Read when it is needed: most servers never get so many rows at once."""
        return _session(self._apart)


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def votes(part: program.Votes, directory: Path) -> Ask:
    trees = Trees(part.trees, directory)
    leaves = np.load(directory / part.leaves, allow_pickle=False)

    def ask(data: Matrix) -> Outcome:
        rows = trees.rows(data)
        if len(rows) <= FEW:
            total = np.add.reduce(leaves.take(trees.together(rows).astype(np.intp), axis=0), axis=1)
        else:
            total = np.zeros((len(rows), leaves.shape[1]))
            for reached in trees.apart(rows):
                total += leaves.take(reached.astype(np.intp), axis=0)
        total /= part.members
        return Outcome(total.argmax(axis=1), total)

    return ask


def boosted(part: program.Boosted, directory: Path) -> Ask:
    trees = Trees(part.trees, directory)
    zero_is_second, link = part.zero_is_second, part.link

    def ask(data: Matrix) -> Outcome:
        raw = trees.sums(data)
        if link == "softmax":
            return Outcome(raw.argmax(axis=1), softmax(raw), raw)
        score = raw[:, 0]
        second = expit(2 * score if link == "exponential" else score)
        return Outcome((score >= 0 if zero_is_second else score > 0).astype(np.intp), of_two(second), score)

    return ask


def summed(part: program.Sum, directory: Path) -> Ask:
    trees = Trees(part.trees, directory)
    members, exponential = part.members, part.link == "exp"

    def ask(data: Matrix) -> Outcome:
        total = trees.sums(data)[:, 0]
        if members > 1:
            total = total / members
        return Outcome(np.exp(total) if exponential else total)

    return ask
