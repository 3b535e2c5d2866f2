"""The engine that answers without scikit-learn: a program (server.program), turned into functions of numpy and ONNX Runtime.

Bit for bit scikit-learn's own arithmetic, in its order: ONNX Runtime follows the trees, and numbers are added up tree by tree.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import onnxruntime

from server import program
from server.artifact import Label
from server.engine import Predicted
from server.program import Ensemble, Final, Numbers, Pipe, Program, Step
from server.signature import Inputs
from server.table import Rows, Value

PROGRAM = "program.json"
ROWS_AT_ONCE = 8192
"""More rows are answered in turns, so that memory has a bound."""
FAST_TREES = 500
"""So many take a row about as long as a hop to another thread does."""
FEW = 64
"""Up to so many rows go through the trees one by one."""

Matrix: TypeAlias = npt.NDArray[np.float64]
Cells: TypeAlias = list[list[Value]]
"""A list a column."""
Data: TypeAlias = Matrix | Cells
Change: TypeAlias = Callable[[Any], Any]
"""From data to data: a step."""


class Outcome(NamedTuple):
    """What a part says about some rows."""

    chosen: npt.NDArray[Any]
    """The number of the predicted class, or the predicted number."""
    probabilities: Matrix | None = None
    decision: Matrix | None = None
    """Scores, as scikit-learn's decision_function gives them."""


Ask: TypeAlias = Callable[[Any], Outcome]


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
    ask = _pipe(found.pipe, directory)
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


# --- steps ------------------------------------------------------------------------------------------------------------


def steps(parts: Sequence[Step]) -> Change:
    """Several, one after the other."""
    changes = [_step(part) for part in parts]
    if len(changes) == 1:
        return changes[0]

    def change(data: Data) -> Data:
        for each in changes:
            data = each(data)
        return data

    return change


def _step(part: Step) -> Change:
    match part:
        case program.Arithmetic():
            operation = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide}[part.operator]
            operand = np.array(part.operand)
            return lambda data: operation(data, operand)
        case program.Clip():
            return lambda data: np.clip(data, part.low, part.high)
        case program.Apply():
            return cast(Change, getattr(np, part.function))
        case program.Select():
            columns = np.array(part.columns, np.intp)
            return lambda data: [data[i] for i in part.columns] if isinstance(data, list) else data[:, columns]
        case program.Impute():
            return _impute(part)
        case program.ImputeCells():
            return lambda data: [
                [fill if value is None else value for value in column]
                for column, fill in zip(_cells(data), part.fill, strict=True)
            ]
        case program.OneHot():
            return _one_hot(part)
        case program.Encode():
            return _encode(part)
        case program.Numeric():
            return lambda data: np.array(data, dtype=np.float64).T if isinstance(data, list) else data
        case program.Branches():
            return _branches(part)


def _impute(part: program.Impute) -> Change:
    columns, fill, indicated = np.array(part.columns, np.intp), np.array(part.fill), np.array(part.indicated, np.intp)

    def impute(data: Matrix) -> Matrix:
        kept = data[:, columns]
        filled = np.where(np.isnan(kept), fill, kept)
        return np.hstack([filled, np.isnan(data[:, indicated])]) if len(indicated) else filled

    return impute


def _one_hot(part: program.OneHot) -> Change:
    tables = [(dict(zip(column.keys, column.positions, strict=True)), column.unknown) for column in part.columns]
    widths = [column.width for column in part.columns]
    starts = [sum(widths[:number]) for number in range(len(widths))]

    def encode(data: Data) -> Matrix:
        columns = _cells(data)
        out = np.zeros((len(columns[0]), sum(widths)))
        rows = np.arange(len(out))
        for (table, unknown), start, column in zip(tables, starts, columns, strict=True):
            found = [table.get(value, unknown) for value in column]
            if None in found:
                raise ValueError("a category that training has not seen")
            positions = np.array(found, np.intp)
            lit = positions >= 0
            out[rows[lit], start + positions[lit]] = 1.0
        return out

    return encode


def _encode(part: program.Encode) -> Change:
    tables = [(dict(zip(column.keys, column.codes, strict=True)), column.unknown) for column in part.columns]

    def encode(data: Data) -> Matrix:
        found: list[list[Numbers]] = []
        for (table, unknown), column in zip(tables, _cells(data), strict=True):
            codes = [table.get(value, unknown) for value in column]
            if None in codes:
                raise ValueError("a category that training has not seen")
            found.append(cast(list[Numbers], codes))
        return np.hstack([np.array(codes, dtype=np.float64) for codes in found])

    return encode


def _branches(part: program.Branches) -> Change:
    branches = [
        (each.columns, np.array(each.columns, np.intp), steps(each.steps) if each.steps else None) for each in part.branches
    ]

    def change(data: Data) -> Matrix:
        results: list[Any] = []
        for columns, indices, steps_ in branches:
            taken = [data[i] for i in columns] if isinstance(data, list) else data[:, indices]
            results.append(taken if steps_ is None else steps_(taken))
        return np.hstack(results)

    return change


def _cells(data: Data) -> Cells:
    """Categories by column, None for what is missing."""
    if isinstance(data, list):
        return data
    return [[None if value != value else value for value in column] for column in data.T.tolist()]


# --- what answers -----------------------------------------------------------------------------------------------------


def _pipe(pipe: Pipe, directory: Path) -> Ask:
    ask = _FINALS[type(pipe.final)](pipe.final, directory)
    if not pipe.steps:
        return ask
    change = steps(pipe.steps)
    return lambda data: ask(change(data))


class _Trees:
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
        return cast(npt.NDArray[Any], self._run(["y0"], {"x": rows}, None)[0])

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


def _votes(part: program.Votes, directory: Path) -> Ask:
    trees = _Trees(part.trees, directory)
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


def _boosted(part: program.Boosted, directory: Path) -> Ask:
    trees = _Trees(part.trees, directory)
    zero_is_second, link = part.zero_is_second, part.link

    def ask(data: Matrix) -> Outcome:
        raw = trees.sums(data)
        if link == "softmax":
            return Outcome(raw.argmax(axis=1), _softmax(raw), raw)
        score = raw[:, 0]
        second = _expit(2 * score if link == "exponential" else score)
        return Outcome((score >= 0 if zero_is_second else score > 0).astype(np.intp), _two(second), score)

    return ask


def _sum(part: program.Sum, directory: Path) -> Ask:
    trees = _Trees(part.trees, directory)
    members, exponential = part.members, part.link == "exp"

    def ask(data: Matrix) -> Outcome:
        total = trees.sums(data)[:, 0]
        if members > 1:
            total = total / members
        return Outcome(np.exp(total) if exponential else total)

    return ask


def _linear_classifier(part: program.LinearClassifier, _: Path) -> Ask:
    coefficients, intercepts = np.array(part.coefficients).T, np.array(part.intercepts)
    two, link = len(part.coefficients) == 1, part.probabilities

    def ask(data: Matrix) -> Outcome:
        scores = _finite(data) @ coefficients + intercepts
        if two:
            score = scores[:, 0]
            chosen = (score > 0).astype(np.intp)
            if link is None:
                return Outcome(chosen, None, score)
            return Outcome(chosen, _two(_expit(score) if link == "logistic" else _huber(score)), score)
        chosen = scores.argmax(axis=1)
        match link:
            case None:
                return Outcome(chosen, None, scores)
            case "softmax":
                return Outcome(chosen, _softmax(scores), scores)
            case "logistic":
                return Outcome(chosen, _normalized(_expit(scores)), scores)
            case "huber":
                return Outcome(chosen, _normalized(_huber(scores)), scores)

    return ask


def _linear(part: program.Linear, _: Path) -> Ask:
    coefficients, intercept, exponential = np.array(part.coefficients), part.intercept, part.link == "exp"

    def ask(data: Matrix) -> Outcome:
        value = _finite(data) @ coefficients + intercept
        return Outcome(np.exp(value) if exponential else value)

    return ask


def _calibrated(part: program.Calibrated, directory: Path) -> Ask:
    members = [
        (_pipe(member.of, directory), list(zip(member.classes, map(_correction, member.corrections), strict=True)))
        for member in part.members
    ]

    def ask(data: Any) -> Outcome:
        total: Any = 0.0
        for of, corrections in members:
            scores = _scores(of(data))
            probabilities = np.zeros((len(scores), part.size))
            for (index, correct), column in zip(corrections, scores.T, strict=True):
                probabilities[:, index] = correct(column)
            if part.size == 2:
                probabilities[:, 0] = 1.0 - probabilities[:, 1]
            else:
                probabilities = _normalized(probabilities)
            probabilities[(probabilities > 1.0) & (probabilities <= 1.0 + 1e-5)] = 1.0
            total = total + probabilities
        total /= len(members)
        return Outcome(total.argmax(axis=1), total)

    return ask


def _correction(part: program.Sigmoid | program.Isotonic) -> Callable[[Matrix], Matrix]:
    if isinstance(part, program.Sigmoid):
        return lambda scores: _expit(-(part.slope * scores + part.intercept))
    points, values = np.array(part.scores), np.array(part.probabilities)
    return lambda scores: np.interp(scores, points, values)


def _vote(part: program.Vote, directory: Path) -> Ask:
    members = [_pipe(member, directory) for member in part.members]
    weights = None if part.weights is None else np.array(part.weights)

    def soft(data: Any) -> Outcome:
        mean = np.average([member(data).probabilities for member in members], axis=0, weights=weights)
        return Outcome(mean.argmax(axis=1), mean)

    def hard(data: Any) -> Outcome:
        votes = np.zeros((len(data[0]) if isinstance(data, list) else len(data), part.size))
        for number, member in enumerate(members):
            chosen = member(data).chosen
            votes[np.arange(len(votes)), chosen] += 1.0 if weights is None else weights[number]
        return Outcome(votes.argmax(axis=1))

    return soft if part.soft else hard


def _mean(part: program.Mean, directory: Path) -> Ask:
    members = [_pipe(member, directory) for member in part.members]
    weights = None if part.weights is None else np.array(part.weights)
    return lambda data: Outcome(np.average(np.stack([member(data).chosen for member in members], 1), axis=1, weights=weights))


def _stacked(part: program.Stacked, directory: Path) -> Ask:
    members = list(zip((_pipe(member, directory) for member in part.members), part.responses, strict=True))
    last = _pipe(part.of, directory)

    def ask(data: Any) -> Outcome:
        answers = [_response(member(data), response) for member, response in members]
        return last(np.hstack([*answers, data] if part.passthrough else answers))

    return ask


def _response(outcome: Outcome, response: program.Response) -> Matrix:
    match response:
        case "predict":
            return outcome.chosen[:, None]
        case "predict_proba":
            probabilities = cast(Matrix, outcome.probabilities)
            return probabilities[:, 1:] if probabilities.shape[1] == 2 else probabilities
        case "decision_function":
            decision = cast(Matrix, outcome.decision)
            return decision[:, None] if decision.ndim == 1 else decision


def _threshold(part: program.Threshold, directory: Path) -> Ask:
    of = _pipe(part.of, directory)

    def ask(data: Any) -> Outcome:
        outcome = of(data)
        if part.response == "predict_proba":
            score = cast(Matrix, outcome.probabilities)[:, part.positive]
        else:
            score = cast(Matrix, outcome.decision) if part.positive == 1 else -cast(Matrix, outcome.decision)
        chosen = np.where(score >= part.threshold, part.positive, 1 - part.positive)
        return Outcome(chosen, outcome.probabilities, outcome.decision)

    return ask


_FINALS: dict[type[program.Part], Callable[[Any, Path], Ask]] = {
    program.Votes: _votes,
    program.Boosted: _boosted,
    program.Sum: _sum,
    program.LinearClassifier: _linear_classifier,
    program.Linear: _linear,
    program.Calibrated: _calibrated,
    program.Vote: _vote,
    program.Mean: _mean,
    program.Stacked: _stacked,
    program.Threshold: _threshold,
}


def _scores(outcome: Outcome) -> Matrix:
    """What a calibrator corrects: the decision, else the probabilities; of two classes, the second's."""
    if outcome.decision is not None:
        return outcome.decision[:, None] if outcome.decision.ndim == 1 else outcome.decision
    probabilities = cast(Matrix, outcome.probabilities)
    return probabilities[:, 1:] if probabilities.shape[1] == 2 else probabilities


def _finite(data: Matrix) -> Matrix:
    if not math.isfinite(np.vdot(data, data)) and not np.isfinite(data).all():
        raise ValueError("a number that is missing, or too large for the model")
    return data


def _expit(x: Matrix) -> Matrix:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def _softmax(raw: Matrix) -> Matrix:
    powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    return cast(Matrix, powers / powers.sum(axis=1, keepdims=True))


def _huber(scores: Matrix) -> Matrix:
    return (np.clip(scores, -1.0, 1.0) + 1.0) / 2.0


def _two(second: Matrix) -> Matrix:
    return np.stack([1.0 - second, second], axis=1)


def _normalized(probabilities: Matrix) -> Matrix:
    """To a sum of 1; where all are 0, all the same."""
    total = probabilities.sum(axis=1, keepdims=True)
    return np.where(total == 0, 1.0 / probabilities.shape[1], probabilities / np.where(total == 0, 1.0, total))
