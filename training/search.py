"""What the optimizer tries, what it has found, and which of it is chosen. Pure."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from training.errors import InputError
from training.estimators import Kind, Recipe
from training.settings import RunSettings
from training.table import Table

LARGE = (500, None, 2)
"""Trees, depth, rows to divide: the model that the others are measured against, as large as its trees grow."""
TREES = (50, 100, 200)
DEPTHS = (5, 10, 15)
SPLITS = (10, 20, 50)

UNITS = {
    "": 1,
    "b": 1,
    "kb": 1e3,
    "mb": 1e6,
    "gb": 1e9,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
SECONDS = {"ms": 1e-3, "us": 1e-6, "s": 1.0}


class Spec(BaseModel):
    """A recipe, as it is written to the file of results."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    trees: int = 0
    max_depth: int | None = None
    min_samples_split: int = 2
    balance: bool = False

    @property
    def recipe(self) -> Recipe:
        """What is trained."""
        return Recipe(**self.model_dump())

    @property
    def short(self) -> str:
        """For a table: trees x depth / rows to divide."""
        if self.kind != "forest":
            return str(self.recipe)
        return f"forest {self.trees} x {self.max_depth or 'any'} / {self.min_samples_split}"


class Found(BaseModel):
    """One of them, trained and measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    """Of the table, the settings, the recipe and scikit-learn: the same key, the same figures."""
    spec: Spec
    folds: dict[str, tuple[float, float]]
    """Mean and standard deviation of each metric over the folds."""
    test: dict[str, float] | None = None
    """Of the large model only: nothing is chosen by the test part."""
    size: int
    """Bytes of the model's file, as it is registered."""
    dump: int
    """Bytes of a joblib dump with compress=3."""
    plain: int
    """Bytes of one without compression."""
    engine: str
    """What would answer: compiled, or sklearn."""
    load_seconds: float
    row_seconds: float
    """The 95th of a hundred single rows, by that engine."""
    row_seconds_sklearn: float
    batch_seconds: float
    """A thousand rows at once."""
    memory: int
    """Bytes that loading the engine adds to a process."""
    seconds: float
    """How long all of it took to find."""


class Limits(BaseModel):
    """The rule of the choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    max_drop: Annotated[float, Field(ge=0)] = 0.005
    max_size: float | None = None
    max_p95: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What came of it."""

    large: Found
    best: Found
    drop: float
    """By so much the metric is lower than the large model's, over the folds."""


def specs(balance: bool) -> list[Spec]:
    """The large model, the grid, and two of other kinds."""
    trees, depth, split = LARGE
    return [
        Spec(kind="forest", trees=trees, max_depth=depth, min_samples_split=split, balance=balance),
        Spec(kind="linear", balance=balance),
        Spec(kind="boosting", balance=balance),
        *(
            Spec(kind="forest", trees=trees, max_depth=depth, min_samples_split=split, balance=balance)
            for trees, depth, split in product(TREES, DEPTHS, SPLITS)
        ),
    ]


def key(table: Table, spec: Spec, settings: RunSettings) -> str:
    """What a result depends on."""
    about = {
        "data": table.fingerprint,
        "columns": [(column.name, column.kind, column.optional) for column in table.columns],
        "task": table.task,
        "positive": str(table.positive),
        "settings": settings.model_dump(include={"folds", "test_size", "seed", "max_categories"}),
        "spec": spec.model_dump(),
        "scikit-learn": version("scikit-learn"),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def default_metric(table: Table, rare: bool) -> str:
    """What is compared where nobody says: with a rare class, accuracy says nothing."""
    return "r2" if table.task == "regression" else "pr_auc" if rare else "accuracy"


def failing(found: Found, large: Found, limits: Limits) -> list[str]:
    """The limits that one is beyond, in words."""
    drop = large.folds[limits.metric][0] - found.folds[limits.metric][0]
    beyond = []
    if drop > limits.max_drop + 1e-12:
        beyond.append(f"{limits.metric} {drop:.4f} lower")
    if limits.max_size is not None and found.size > limits.max_size:
        beyond.append(f"{bytes_shown(found.size)} large")
    if limits.max_p95 is not None and found.row_seconds > limits.max_p95:
        beyond.append(f"{time_shown(found.row_seconds)} a row")
    return beyond


def choose(found: Sequence[Found], limits: Limits) -> Choice:
    """The smallest of those within the limits; of two of one size the better one. Raises InputError where there is none."""
    large = found[0]
    within = [each for each in found if not failing(each, large, limits)]
    if not within:
        nearest = min(found, key=lambda each: (len(failing(each, large, limits)), -each.folds[limits.metric][0]))
        raise InputError(
            f"None of {len(found)} models is within the limits. Nearest is {nearest.spec.recipe}: "
            f"{', '.join(failing(nearest, large, limits))}. Nothing was registered; allow more with --max-drop, --max-size or "
            "--max-p95: what was measured is not measured again."
        )
    best = min(within, key=lambda each: (each.size, -each.folds[limits.metric][0]))
    return Choice(large=large, best=best, drop=large.folds[limits.metric][0] - best.folds[limits.metric][0])


def frontier(found: Sequence[Found], metric: str) -> list[Found]:
    """Those that no other one beats in size and in quality, the smallest first."""
    kept: list[Found] = []
    for each in sorted(found, key=lambda each: (each.size, -each.folds[metric][0])):
        if not kept or each.folds[metric][0] > kept[-1].folds[metric][0]:
            kept.append(each)
    return kept


def size(text: str) -> float:
    """Of `100MB`, `512Ki` or a number of bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if not found or found[2] not in UNITS:
        raise InputError(f'--max-size "{text}" is no size: write it like 100MB, 512Ki or 1.5Gi.')
    return float(found[1]) * UNITS[found[2]]


def duration(text: str) -> float:
    """Of `5ms`, `200us` or `0.01s`, in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|us|s)", text.strip().lower())
    if not found:
        raise InputError(f'--max-p95 "{text}" is no duration: write it like 5ms, 200us or 0.01s.')
    return float(found[1]) * SECONDS[found[2]]


def bytes_shown(count: float) -> str:
    """With a unit, three digits."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def time_shown(seconds: float) -> str:
    """Likewise."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


HEAD = ("estimator", "{metric}", "file", "dump", "plain", "load", "row p95", "native", "1000 rows", "memory", "engine")


def rows(found: Sequence[Found], chosen: Choice, limits: Limits) -> list[tuple[str, ...]]:
    """The table, the smallest first, with its head. A star: on the frontier; an arrow: chosen."""
    best = {each.key for each in frontier(found, limits.metric)}
    lines = [tuple(head.format(metric=limits.metric) for head in HEAD)]
    for each in sorted(found, key=lambda each: each.size):
        mark = "→ " if each.key == chosen.best.key else "* " if each.key in best else "  "
        mean, std = each.folds[limits.metric]
        lines.append(
            (
                mark + each.spec.short,
                f"{mean:.4f} ± {std:.4f}",
                bytes_shown(each.size),
                bytes_shown(each.dump),
                bytes_shown(each.plain),
                time_shown(each.load_seconds),
                time_shown(each.row_seconds),
                time_shown(each.row_seconds_sklearn),
                time_shown(each.batch_seconds),
                bytes_shown(each.memory),
                each.engine,
            )
        )
    return lines
