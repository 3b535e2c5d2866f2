"""What only shows in the table as a whole: rows that are there twice, a column that is the target under another name, and what
is no mistake, but worth a remark.

Pure.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.columns import EXACT, Column, Where
from training.errors import InputError
from training.settings import RunSettings
from training.target import Target

LINEAR = 1 - 1e-12
"""A squared correlation with the target above this is a change of units."""
SMALL = 10
"""In fewer rows than this a column is like the target by chance."""


def repeated(features: pd.DataFrame, target: Target) -> npt.NDArray[np.int64]:
    """For each row the first one that is the same in every column and in the target."""
    hashes = pd.util.hash_array(target.labels).astype(np.uint64)
    with np.errstate(over="ignore"):
        for _, cells in features.items():
            values = cells.to_numpy()
            if values.dtype.kind == "O":  # a missing value is None or NaN, and the same
                values = cells.astype(object).where(cells.notna(), None).to_numpy()
            hashes = hashes * np.uint64(1_000_003) + pd.util.hash_array(values)
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    return np.asarray(first[group], dtype=np.int64)


def refuse_repeated(first: npt.NDArray[np.int64], where: Where) -> None:
    """An error that names a row and the earlier one that it repeats."""
    again = np.flatnonzero(first != np.arange(len(first)))
    if len(again):
        raise InputError(
            f"{_sentence(first, again, where)} Remove them from the file, or say --duplicates drop, or --duplicates keep."
        )


def told_repeated(first: npt.NDArray[np.int64], where: Where) -> Iterator[str]:
    """The same as a remark."""
    again = np.flatnonzero(first != np.arange(len(first)))
    if len(again):
        yield (
            f"{_sentence(first, again, where)} Where one is trained on and the other tested with, the figures look better "
            "than they are; --duplicates drop leaves them out."
        )


def _sentence(first: npt.NDArray[np.int64], again: npt.NDArray[np.intp], where: Where) -> str:
    row = int(again[0])
    count = f"{len(again)} rows repeat" if len(again) > 1 else "One row repeats"
    return f"{count} another one in every column, {where(row)} that of {where(int(first[row]))}."


def refuse_copies(features: pd.DataFrame, columns: Sequence[Column], target: Target, settings: RunSettings) -> None:
    """An error for a column that says what the target says. One that is required by name is there on purpose."""
    if len(target.labels) < SMALL:
        return
    for column in columns:
        if column.name in settings.require:
            continue
        like = _like(features[column.name], column, target)
        if like:
            raise InputError(
                f'Column "{column.name}" {like} the target "{settings.target}": a model would only copy it. Leave it out with '
                f'--drop "{column.name}". If it is really known before the prediction is asked for, say so: '
                f'--require "{column.name}:{column.kind}".'
            )


def _like(cells: pd.Series, column: Column, target: Target) -> str | None:
    if target.task == "regression":
        if column.kind != "number":
            return None
        values, known = cells.to_numpy(), target.labels
        there = ~np.isnan(values)
        if there.sum() < max(SMALL, len(values) // 2):
            return None
        if np.array_equal(values[there], known[there]):
            return "is the same as"
        return "is only another unit of" if _linear(values[there], known[there]) else None
    classes, names = pd.factorize(target.labels)
    values, _ = pd.factorize(cells)
    there = values >= 0
    enough = there.sum() >= max(SMALL, len(values) // 2)
    copied = enough and _pairs(values[there], classes[there], len(names))
    if not copied:  # that it has none can be a value as well
        copied = _pairs(pd.factorize(cells, use_na_sentinel=False)[0], classes, len(names))
    return "has a value of its own for each class of" if copied else None


def _pairs(values: npt.NDArray[np.intp], classes: npt.NDArray[np.intp], count: int) -> bool:
    """Whether each value goes with one class only, and each of all classes with one value."""
    pairs = np.unique(values.astype(np.int64) * count + classes)
    return len(pairs) == count == len(np.unique(values)) == len(np.unique(classes))


def _linear(values: npt.NDArray[np.float64], known: npt.NDArray[np.float64]) -> bool:
    a, b = values - values.mean(), known - known.mean()
    size = float(np.vdot(a, a) * np.vdot(b, b))
    return bool(size > 0 and np.vdot(a, b) ** 2 >= LINEAR * size)


def remarks(
    features: pd.DataFrame, columns: Sequence[Column], target: Target, positive: Any, settings: RunSettings
) -> Iterator[str]:
    """What a person should know who reads the figures."""
    if target.task == "classification":
        classes, counts = np.unique(target.labels, return_counts=True)
        rarest = int(np.argmin(counts))
        if counts[rarest] < settings.rare_share * len(target.labels):
            about = "" if positive is None else f", which are those of class {positive}"
            yield (
                f"class {classes[rarest]} is one row in {len(target.labels) / counts[rarest]:.0f}: whoever never answers it has "
                f"an accuracy of {1 - counts[rarest] / len(target.labels):.3f}. Look at recall and PR AUC{about}; --balance "
                "gives each class the same weight."
            )
    for column in columns:
        if column.kind == "string":
            different = features[column.name].nunique()
            if different > settings.max_categories:
                yield (
                    f'column "{column.name}" has {different} different texts; only about {settings.max_categories} of them '
                    f'are told apart. If it is an identifier, leave it out with --drop "{column.name}".'
                )
                continue
            if column.name not in settings.require and _digits(features[column.name]):
                yield (
                    f'column "{column.name}" holds texts, and most of them are numbers: each is a category. If they are '
                    f'quantities, say so: --require "{column.name}:number".'
                )
        if column.kind == "number" and features[column.name].abs().max() >= EXACT and features[column.name].mod(1).max() == 0:
            yield (
                f'column "{column.name}" has whole numbers of more than 15 digits, of which the last ones are lost. If it is an '
                f'identifier, leave it out with --drop "{column.name}".'
            )
            continue
        if _constant(features[column.name], column):
            yield f'column "{column.name}" is the same in every row, so nothing can be learned from it.'


def _digits(texts: pd.Series) -> bool:
    different = pd.Series(texts.dropna().unique())
    return bool(pd.to_numeric(different, errors="coerce").notna().mean() > 0.5)


def _constant(cells: pd.Series, column: Column) -> bool:
    if column.optional:
        return False
    values = cells.to_numpy()
    return bool((values == values[0]).all())
