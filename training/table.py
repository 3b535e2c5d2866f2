"""A table that a classifier can be trained on: every rule that the data must keep, and the split.

Pure. What a column may hold stands in `columns`; this is about the table as a whole.
"""

import difflib
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import train_test_split

from training.columns import Column, Reader, Where, refuse
from training.data import Raw
from training.errors import InputError
from training.settings import RunSettings

Labels = npt.NDArray[Any]
"""int64, bool, or texts as objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some rows: to train on, or to judge by."""

    features: pd.DataFrame
    labels: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What was read, checked."""

    all: Part
    columns: tuple[Column, ...]
    target: str
    source: str
    fingerprint: str
    """sha256 over names and values: the same table as CSV or as Parquet has the same one."""
    notes: tuple[str, ...]
    """What is no mistake, but remarkable."""

    def summary(self) -> str:
        """One line for a person."""
        kinds = {kind: sum(column.kind == kind for column in self.columns) for kind in ("number", "boolean", "string")}
        mix = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        gaps = sum(column.optional for column in self.columns)
        missing = f", {gaps} with missing values" if gaps else ""
        return f"{len(self.all.labels)} rows; columns: {mix}{missing}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Two parts that share no row and have the same shares of classes."""

    train: Part
    test: Part


def checked(raw: Raw, settings: RunSettings) -> Table:
    """The table, or the first mistake in it."""
    frame, target = _chosen(raw.frame, raw.source.name, settings), settings.target
    where = raw.source.where
    reader = Reader(where=where, require=settings.require, numeric_share=settings.numeric_share)
    labels = _labels(frame[target], where, reader, settings)
    columns: list[Column] = []
    cells: dict[str, pd.Series] = {}
    for name in frame.columns.drop(target):
        column, cells[name] = reader.read(name, frame[name])
        columns.append(column)
    features = pd.DataFrame(cells)
    _in_ranges(features, columns, where, settings)
    _enough_of_each(labels, where, settings)
    return Table(
        all=Part(features=features, labels=labels),
        columns=tuple(columns),
        target=target,
        source=raw.source.name,
        fingerprint=fingerprint(features, target, labels),
        notes=tuple(_notes(features, columns, settings)),
    )


def split(table: Table, settings: RunSettings) -> Split:
    """The same rows in the same parts for the same table and seed."""
    train_x, test_x, train_y, test_y = train_test_split(
        table.all.features,
        table.all.labels,
        test_size=settings.test_size,
        stratify=table.all.labels,
        random_state=settings.seed,
    )
    return Split(train=Part(features=train_x, labels=train_y), test=Part(features=test_x, labels=test_y))


def _chosen(frame: pd.DataFrame, source: str, settings: RunSettings) -> pd.DataFrame:
    """The columns to work with. Those that are named must be there."""
    for asked, names in (
        ("target column", [settings.target]),
        ("column to drop", settings.drop),
        ("required column", settings.require),
        ("column with a range", settings.ranges),
    ):
        for name in names:
            if name not in frame.columns:
                raise InputError(f'There is no column "{name}" ({asked}) in {source}. {_there_are(frame, name)}')
    if settings.target in settings.drop:
        raise InputError(f'Column "{settings.target}" is the target: it can\'t be dropped.')
    if frame.empty:
        raise InputError(f"{source} has no rows, only the names of columns.")
    frame = frame.drop(columns=list(settings.drop))
    if len(frame.columns) == 1:
        raise InputError(f'{source} has no column to predict "{settings.target}" from.')
    return frame


def _there_are(frame: pd.DataFrame, name: str) -> str:
    names = list(frame.columns)
    folded = {column.casefold().strip(): column for column in names}
    close = difflib.get_close_matches(name.casefold().strip(), folded, n=3)
    hint = f"Did you mean {_quoted([folded[match] for match in close], ' or ')}? " if close else ""
    more = f" and {len(names) - 30} more" if len(names) > 30 else ""
    return f"{hint}There are {_quoted(names[:30], ', ')}{more}."


def _quoted(names: Sequence[str], between: str) -> str:
    return between.join(f'"{name}"' for name in names)


def _labels(cells: pd.Series, where: Where, reader: Reader, settings: RunSettings) -> Labels:
    """The classes, as whole numbers, truth values or texts."""
    name = settings.target
    missing = cells.isna().to_numpy()
    if missing.any():
        first, count = where(int(np.argmax(missing))), int(missing.sum())
        raise InputError(
            f'The target column "{name}" has no value in {first}{f" and {count - 1} more" if count > 1 else ""}. '
            "Fill it in, or leave such rows out."
        )
    column, cells = reader.read(name, cells)
    labels: Labels = cells.to_numpy()
    if column.kind == "number":
        fractional = labels != np.floor(labels)
        if fractional.any():
            refuse(
                name, cells, fractional, where, "is no class, but a quantity.",
                "Predicting quantities (regression) comes later; this trains classifiers.",
            )  # fmt: skip
        labels = labels.astype("int64")
    elif column.kind == "string":
        labels = labels.astype(object)
    return labels


def _enough_of_each(labels: Labels, where: Where, settings: RunSettings) -> None:
    """At least two classes, each fit for a stratified split and for as many folds as are asked for."""
    name = settings.target
    classes, first, counts = np.unique(labels, return_index=True, return_counts=True)
    if len(classes) == 1:
        raise InputError(f'The target column "{name}" has one class only: every row is {classes[0]}.')
    if labels.dtype == np.int64 and len(classes) > settings.max_classes:
        raise InputError(
            f'The target column "{name}" has {len(classes)} different numbers, so it looks like a quantity. '
            "Predicting quantities (regression) comes later; this trains classifiers."
        )
    # Each fold needs a row of each class, and so does the test part; shares are rounded down.
    rows = len(labels)
    tests = math.ceil(settings.test_size * rows)
    least = max(math.ceil(settings.folds * rows / max(rows - tests, 1)), math.ceil(rows / tests))
    rarest = int(np.argmin(counts))
    if counts[rarest] < least:
        raise InputError(
            f'The target column "{name}" has {counts[rarest]} of class {classes[rarest]} (first in '
            f"{where(int(first[rarest]))}), but {settings.folds} folds and a test part of {settings.test_size:g} need "
            f"at least {least} of each class. Add rows, leave the class out or merge it with another, or ask for fewer "
            "--folds."
        )


def _in_ranges(features: pd.DataFrame, columns: Sequence[Column], where: Where, settings: RunSettings) -> None:
    kinds = {column.name: column.kind for column in columns}
    for name, (low, high) in settings.ranges.items():
        if kinds.get(name) != "number":
            raise InputError(f'Column "{name}" has no numbers to declare a range for.')
        cells = features[name]
        outside = ((cells < (-math.inf if low is None else low)) | (cells > (math.inf if high is None else high))).to_numpy()
        if outside.any():
            declared = f"{'' if low is None else f'{low:g}'}:{'' if high is None else f'{high:g}'}"
            refuse(name, cells, outside, where, f"is outside the declared range {declared}.")


def _notes(features: pd.DataFrame, columns: Sequence[Column], settings: RunSettings) -> list[str]:
    notes = []
    for column in columns:
        if column.kind != "string":
            continue
        different = features[column.name].nunique()
        if different > settings.max_categories:
            notes.append(
                f'column "{column.name}" has {different} different texts; only about {settings.max_categories} of them '
                f'are told apart. If it is an identifier or a date, leave it out with --drop "{column.name}".'
            )
    return notes


def fingerprint(features: pd.DataFrame, target: str, labels: Labels) -> str:
    """sha256 over names, kinds and values, so that a person can tell whether two versions saw the same table."""
    digest = hashlib.sha256()
    for name, cells in [*features.items(), (target, pd.Series(labels))]:
        values = cells.to_numpy()
        kind = values.dtype.kind
        digest.update(json.dumps([name, kind, len(values)]).encode())
        if kind == "O":
            digest.update(json.dumps(cells.where(cells.notna(), None).tolist()).encode())
        else:
            digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return f"sha256:{digest.hexdigest()}"
