"""What is to be predicted: classes or quantities, and whether there are enough of them to learn from and to judge by.

Pure.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.columns import EXACT, Reader, Where, refuse
from training.errors import InputError
from training.settings import RunSettings, Task

Labels: TypeAlias = npt.NDArray[Any]
"""Classes as int64, bool, or texts as objects; quantities as float64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The column to predict, read."""

    task: Task
    labels: Labels
    told: str
    """The task and why it is this one, for a person."""


def read(cells: pd.Series, where: Where, reader: Reader, settings: RunSettings) -> Target:
    """The target as the task wants it. Raises InputError where it has none or another."""
    name = settings.target
    missing = cells.isna().to_numpy()
    if missing.any():
        first, count = where(int(np.argmax(missing))), int(missing.sum())
        raise InputError(
            f'The target column "{name}" has no value in {first}{f" and {count - 1} more" if count > 1 else ""}. '
            f"Fill it in, or leave such rows out.{_none_or_missing(cells, reader, settings)}"
        )
    found = cells
    column, cells = reader.read(name, cells)
    values: Labels = cells.to_numpy()
    if column.kind == "number":
        task, why = _looks_like(values, settings)
    else:
        task, why = "classification", f"{'true and false' if column.kind == 'boolean' else 'texts'}"
    asked = settings.task or task
    if asked == "regression":
        if column.kind != "number":
            raise InputError(
                f'The target column "{name}" has {why}, and regression predicts numbers. Ask for --task classification.'
            )
        return Target(task="regression", labels=values, told=_of_quantities(name, values, None if settings.task else why))
    if column.kind == "number":
        fractional = values != np.floor(values)
        if fractional.any():
            refuse(
                name, cells, fractional, where, "is no class, but a quantity.",
                "Leave --task out, or ask for --task regression.",
            )  # fmt: skip
        large = np.abs(values) >= EXACT
        if large.any():
            refuse(
                name, found, large, where, "has more digits than a number can hold, so classes would be taken for each other.",
                "Give the classes names, or shorter numbers." if reader.typed else f'Read it as text: --require "{name}:string".',
            )  # fmt: skip
        values = values.astype("int64")
    elif column.kind == "string":
        values = values.astype(object)
    return Target(task="classification", labels=values, told=_of_classes(name, values, None if settings.task else why))


def _none_or_missing(cells: pd.Series, reader: Reader, settings: RunSettings) -> str:
    """The way out for a class that is called as pandas calls a missing value, which only texts of a CSV can be."""
    if reader.typed or settings.target in settings.require or pd.api.types.is_numeric_dtype(cells):
        return ""
    return f' If "None" or "NA" is a class there, say so: --require "{settings.target}:string".'


def enough(target: Target, where: Where, settings: RunSettings) -> None:
    """Enough rows for the folds and the test part, and where there are classes, enough of each of them."""
    rows = len(target.labels)
    tests = math.ceil(settings.test_size * rows)
    if target.task == "regression":
        _enough_quantities(target.labels, tests, settings)
        return
    name = settings.target
    classes, first, counts = np.unique(target.labels, return_index=True, return_counts=True)
    if len(classes) == 1:
        raise InputError(f'The target column "{name}" has one class only: every row is {classes[0]}.')
    # Each fold needs a row of each class, and so does the test part; shares are rounded down.
    least = max(math.ceil(settings.folds * rows / max(rows - tests, 1)), math.ceil(rows / tests))
    rarest = int(np.argmin(counts))
    if counts[rarest] < least:
        raise InputError(
            f'The target column "{name}" has {counts[rarest]} of class {classes[rarest]} (first in '
            f"{where(int(first[rarest]))}), but {settings.folds} folds and a test part of {settings.test_size:g} need "
            f"at least {least} of each class. Add rows, leave the class out or merge it with another, or ask for fewer "
            "--folds."
        )


def positive(target: Target, settings: RunSettings) -> Any:
    """Of two classes the one that precision, recall, F1 and PR AUC are about: the one that is asked for, else a rare one, else
    the second in sorted order (1 of 0 and 1, "yes" of "no" and "yes")."""
    asked = settings.positive
    if target.task == "regression":
        if asked is not None:
            raise InputError(f"--positive {asked} names a class, and quantities are predicted.")
        return None
    classes, counts = np.unique(target.labels, return_counts=True)
    if asked is not None:
        named = {str(label).casefold() if isinstance(label, bool | np.bool_) else str(label): label for label in classes}
        if len(classes) != 2 or (found := named.get(asked, named.get(asked.casefold()))) is None:
            raise InputError(f"--positive {asked} must be one of two classes; there are {', '.join(map(str, classes[:20]))}.")
        return found
    if len(classes) != 2:
        return None
    rarer = int(np.argmin(counts))
    return classes[rarer if counts[rarer] < settings.rare_share * len(target.labels) else 1]


def _enough_quantities(labels: Labels, tests: int, settings: RunSettings) -> None:
    rows, least = len(labels), 2 * settings.folds
    if rows - tests < least or tests < 2:
        raise InputError(
            f"There are {rows} rows, {rows - tests} of them to train on and {tests} to test with. {settings.folds} folds need at "
            f"least {least} to train on, and a test at least 2. Add rows, or ask for fewer --folds."
        )
    if np.ptp(labels) == 0:
        raise InputError(f'The target column "{settings.target}" is {labels[0]:g} in every row: there is nothing to predict.')


def _looks_like(values: Labels, settings: RunSettings) -> tuple[Task, str]:
    if (values != np.floor(values)).any():
        return "regression", "numbers with fractions"
    different = len(np.unique(values))
    if different > settings.max_classes or 2 * different > len(values):
        return "regression", f"{different} different numbers in {len(values)} rows"
    return "classification", f"{different} different whole numbers"


def _of_quantities(name: str, values: Labels, why: str | None) -> str:
    because = f' since "{name}" has {why}; --task classification, if they are classes' if why else ""
    return f"regression: {values.min():g} to {values.max():g}, mean {values.mean():g}{';' if because else ''}{because}"


def _of_classes(name: str, values: Labels, why: str | None) -> str:
    classes, counts = np.unique(values, return_counts=True)
    shares = ", ".join(f"{label} ({_percent(count / len(values))})" for label, count in zip(classes[:5], counts[:5], strict=True))
    because = f'; since "{name}" has {why}' if why else ""
    if why and values.dtype.kind == "i":
        because += "; --task regression, if they are quantities"
    return f"classification: {len(classes)} classes, {shares}{' …' if len(classes) > 5 else ''}{because}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 else f"{100 * share:.1g} %"
