"""Whether a compiled model answers like scikit-learn: on its example, on seeded rows, where its trees divide, and on odd rows."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from server import compiled, compiled_steps, compiled_trees, program, table
from server.artifact import Artifact
from server.compile import Compilation
from server.compile_categories import UNKNOWN_TEXT
from server.compile_flow import quiet
from server.engine import Engine, Predicted
from server.model import Model
from server.program import Step
from server.replay import NEGLIGIBLE, TOLERANCE
from server.signature import Columns, Vector
from server.table import Column, ColumnType, Rows, Value

SEED = 20_24
SEEDED_ROWS = 2000
THRESHOLDS = 1000
"""So many of the places where the trees divide are looked at, from six sides each."""
ODD_ROWS = 24
ODD_SHARE = 0.02
"""How often a seeded number lies outside the range that training has seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """What a comparison has shown."""

    rows: int
    worst: float
    """The largest difference of a probability, or of a number relative to its size or spread."""
    difference: str | None
    """The first one that matters, in words; None: there is none."""


def compare(native: Model, engine: Engine, alone: Engine | None, artifact: Artifact, made: Compilation) -> Parity:
    """Both are asked the same. `alone`: what became of the final estimator without the steps before it."""
    found = _Found()
    columns = _columns(native)
    maker = _Maker(random.Random(SEED), columns, artifact, made)  # noqa: S311 - the same rows each time, on purpose
    quiet()
    rows = [*(artifact.example or ()), *(maker.row() for _ in range(SEEDED_ROWS))]
    found.rows(native, engine, rows)
    for row, oddity in maker.odd():
        found.one(native, engine, row, oddity)
    if alone is not None and made.width is not None and made.thresholds:
        last = _as_model(made.last, made.width)
        before = compiled_steps.steps(made.before) if made.before else None
        base = before(cast(compiled.Compiled, engine).data(rows)) if before else table.array(rows)
        found.rows(last, alone, _at_thresholds(np.asarray(base, float), made.thresholds))
    return Parity(rows=found.count, worst=found.worst, difference=found.difference)


class _Found:
    """What was seen so far."""

    def __init__(self) -> None:
        self.count = 0
        self.worst = 0.0
        self.difference: str | None = None

    def rows(self, native: Engine, engine: Engine, rows: Rows) -> None:
        """Many at once; one by one if scikit-learn refuses some of them."""
        try:
            expected = native.predict(rows)
        except ValueError:
            for row in rows[:SEEDED_ROWS]:
                self.one(native, engine, row)
            return
        few = compiled_trees.FEW
        slices = [rows[first : first + few] for first in range(0, len(rows), few)]
        answers = [_asked(engine, rows), _joined([_asked(engine, some) for some in slices])]
        for answered in answers:  # many and few go through trees in two ways
            if answered is None:
                self._differs("it refuses rows that scikit-learn answers")
            else:
                self._compare(expected, answered, numbers=native.classes is None)
        self.count += len(rows)

    def one(self, native: Engine, engine: Engine, row: Any, oddity: str = "") -> None:
        """A row that may be refused: then by both."""
        rows = np.asarray([row]) if isinstance(row, np.ndarray) else [row]
        expected, answered = _asked(native, rows), _asked(engine, rows)
        if expected is None or answered is None:
            self.count += 1
            if (expected is None) != (answered is None):
                self._differs(f"{'scikit-learn' if expected is None else 'it'} refuses a row{oddity} that the other answers")
            return
        self.count += 1
        self._compare(expected, answered, numbers=native.classes is None)

    def _compare(self, expected: Predicted, answered: Predicted, *, numbers: bool) -> None:
        if numbers:
            was, now = np.array(expected.predictions, float), np.array(answered.predictions, float)
            scale = np.maximum(np.abs(was), np.ptp(was[np.isfinite(was)]) if np.isfinite(was).any() else 0.0)
            apart = np.abs(was - now) / np.maximum(scale, NEGLIGIBLE / TOLERANCE)
        else:
            for was_label, now_label in zip(expected.predictions, answered.predictions, strict=True):
                if was_label != now_label:
                    self._differs(f"a row is predicted as {now_label!r}, and scikit-learn says {was_label!r}")
            if expected.probabilities is None or answered.probabilities is None:
                if expected.probabilities is not answered.probabilities:
                    self._differs("only one of them has probabilities")
                return
            was, now = np.array(expected.probabilities), np.array(answered.probabilities)
            if was.shape != now.shape:
                self._differs(f"its probabilities are {now.shape}, and scikit-learn's {was.shape}")
                return
            apart = np.abs(was - now)
        apart = np.where((was == now) | np.isnan(was) & np.isnan(now), 0.0, apart)
        worst = np.unravel_index(int(np.nan_to_num(apart, nan=math.inf).argmax()), apart.shape)
        self.worst = max(self.worst, float(np.nan_to_num(apart, nan=math.inf)[worst]))
        if self.worst > TOLERANCE:
            self._differs(f"the worst row differs by {self.worst:.3g}: {now[worst]!r}, and scikit-learn says {was[worst]!r}")

    def _differs(self, text: str) -> None:
        self.difference = self.difference or text


def _asked(engine: Engine, rows: Rows) -> Predicted | None:
    """An answer, or None where these rows are refused."""
    try:
        return engine.predict(rows)
    except ValueError:
        return None


def _joined(answers: Sequence[Predicted | None]) -> Predicted | None:
    found = [answer for answer in answers if answer is not None]
    if len(found) < len(answers):
        return None
    probabilities = [row for answer in found for row in answer.probabilities or ()]
    return Predicted(predictions=[label for answer in found for label in answer.predictions], probabilities=probabilities or None)


def _as_model(estimator: Any, width: int) -> Model:
    classes = getattr(estimator, "classes_", None)
    return Model(
        estimator=estimator,
        inputs=Vector(width=width),
        form="Numbers",
        names=None,
        classes=None if classes is None else classes.tolist(),
        has_probabilities=classes is not None and hasattr(estimator, "predict_proba"),
        by_probability=False,
    )


def _at_thresholds(base: np.ndarray[Any, Any], thresholds: Sequence[tuple[int, float]]) -> np.ndarray[Any, Any]:
    """Rows that lie exactly where a tree divides, and next to it on both sides, as float64 and as float32."""
    chosen = random.Random(SEED).sample(thresholds, min(THRESHOLDS, len(thresholds)))  # noqa: S311 - as above
    rows = base[np.arange(6 * len(chosen)) % len(base)].copy()
    for number, (column, value) in enumerate(chosen):
        single = np.float32(value)
        around = (
            value,
            np.nextafter(value, math.inf),
            np.nextafter(value, -math.inf),
            single,
            np.nextafter(single, np.float32(math.inf)),
            np.nextafter(single, np.float32(-math.inf)),
        )
        rows[6 * number : 6 * number + 6, column] = around
    return rows


# --- rows that could come -----------------------------------------------------------------------------------------------


def _columns(native: Model) -> tuple[Column, ...]:
    inputs = native.inputs
    if isinstance(inputs, Columns):
        return inputs.columns
    names = inputs.names or tuple(map(str, range(inputs.width or 0)))
    kind: ColumnType = "float" if inputs.dtype == "float32" else "double"
    return tuple(Column(name=name, type=kind, required=not inputs.optional) for name in names)


class _Maker:
    """Makes rows: numbers from the range that training has seen, categories that the encoders know."""

    def __init__(self, chance: random.Random, columns: Sequence[Column], artifact: Artifact, made: Compilation) -> None:
        self._chance = chance
        self._columns = columns
        everything = tuple(range(len(columns)))
        self._known = dict(_categories(made.program.pipe, everything))
        self._choices = {number: [key for key in keys if key is not None] for number, keys in self._known.items()}
        ranges = _from_steps(made, len(columns))
        self._ranges: list[tuple[float, float]] = []
        for number, column in enumerate(columns):
            low, high = artifact.record.bounds.seen.get(column.name, (None, None))
            if low is None or high is None:
                low, high = ranges.get(number) or _from_example(artifact, number) or (-3.0, 3.0)
            self._ranges.append((low, high))

    def row(self) -> list[Value]:
        """One that nobody would wonder about."""
        return [self._value(number, column) for number, column in enumerate(self._columns)]

    def odd(self) -> Iterator[tuple[list[Value], str]]:
        """Rows with something missing, or of a category that no one knows."""
        optional = [number for number, column in enumerate(self._columns) if not column.required]
        kinds: list[tuple[int, Value, str]] = [(number, None, "without {!r}") for number in optional]
        kinds += [(number, self._unknown(keys), "with an unknown {!r}") for number, keys in self._known.items()]
        for number, value, oddity in (kinds * ODD_ROWS)[:ODD_ROWS]:
            row = self.row()
            row[number] = value
            yield row, " " + oddity.format(self._columns[number].name)

    @staticmethod
    def _unknown(keys: Sequence[Value]) -> Value:
        numbers = [key for key in keys if isinstance(key, int | float)]
        return int(max(numbers)) + 1 if numbers else UNKNOWN_TEXT

    def _value(self, number: int, column: Column) -> Value:
        if choices := self._choices.get(number):
            key = self._chance.choice(choices)
            return int(key) if column.type in ("integer", "long") else key
        if column.type == "boolean":
            return self._chance.random() < 0.5
        if column.type == "string":
            return self._chance.choice(("", "a", "b"))
        low, high = self._ranges[number]
        if self._chance.random() < ODD_SHARE:
            low, high = low - (high - low), high + (high - low)
        value = self._chance.uniform(low, high)
        if column.type in ("integer", "long"):
            return round(value)
        return float(np.float32(value)) if column.type == "float" else value


def _from_example(artifact: Artifact, number: int) -> tuple[float, float] | None:
    values = [row[number] for row in artifact.example or ()]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if not numbers:
        return None
    low, high = min(numbers), max(numbers)
    return (low, high) if low < high else (low - 1.0 - abs(low), high + 1.0 + abs(high))


def _from_steps(made: Compilation, width: int) -> dict[int, tuple[float, float]]:
    """The range of each column in which the trees divide, back through scalers."""
    if made.width != width or not made.thresholds:
        return {}
    lows, highs = np.full(width, math.inf), np.full(width, -math.inf)
    for column, value in made.thresholds:
        lows[column], highs[column] = min(lows[column], value), max(highs[column], value)
    for step in reversed(made.before):
        if not isinstance(step, program.Arithmetic):
            return {}
        back = {"add": np.subtract, "subtract": np.add, "multiply": np.divide, "divide": np.multiply}[step.operator]
        lows, highs = back(lows, np.array(step.operand)), back(highs, np.array(step.operand))
    ends = [(number, sorted((float(lows[number]), float(highs[number])))) for number in range(width)]
    found = [(number, low, high, (high - low) / 10 + 1e-3) for number, (low, high) in ends if math.isfinite(high - low)]
    return {number: (low - more, high + more) for number, low, high, more in found}


def _categories(pipe: program.Pipe, columns: Sequence[int]) -> Iterator[tuple[int, tuple[Value, ...]]]:
    """Which categories the columns of a row can have, as far as its encoders tell."""
    yield from _of_steps(pipe.steps, columns)
    for member in _members(pipe.final):
        yield from _categories(member, columns)


def _of_steps(steps: Sequence[Step], columns: Sequence[int]) -> Iterator[tuple[int, tuple[Value, ...]]]:
    for step in steps:
        match step:
            case program.Select():
                columns = [columns[index] for index in step.columns]
            case program.Branches():
                for branch in step.branches:
                    yield from _of_steps(branch.steps, [columns[index] for index in branch.columns])
                return  # what comes out are other columns
            case program.OneHot():
                yield from ((column, each.keys) for column, each in zip(columns, step.columns, strict=True))
                return
            case program.Encode():
                yield from ((column, each.keys) for column, each in zip(columns, step.columns, strict=True))
                return
            case program.Impute():
                return


def _members(final: program.Final) -> Sequence[program.Pipe]:
    match final:
        case program.Vote() | program.Mean() | program.Stacked():
            return final.members
        case program.Calibrated():
            return [member.of for member in final.members]
        case program.Threshold():
            return [final.of]
    return ()
