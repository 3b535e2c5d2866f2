"""A table that a model can be trained on: every rule that the data must keep, and the split.

Pure. What a column may hold stands in `columns`, what may be predicted in `target`, and rules across columns in `checks`.
"""

import difflib
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import train_test_split

from training import checks
from training import target as targets
from training.columns import Column, Reader, Where, refuse
from training.data import Raw
from training.errors import InputError
from training.settings import RunSettings, Task
from training.target import Labels, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some rows: to train on, or to judge by."""

    features: pd.DataFrame
    labels: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What was read, checked."""

    all: Part
    """Every row; none after it was divided."""
    rows: int
    columns: tuple[Column, ...]
    task: Task
    positive: Any
    """Of two classes the one that precision, recall and F1 are about; None where there are not two."""
    target: str
    source: str
    fingerprint: str
    """sha256 over names and values: the same table as CSV or as Parquet has the same one."""
    notes: tuple[str, ...]
    """The task, and what is no mistake, but remarkable."""

    def summary(self) -> str:
        """One line for a person."""
        kinds = {kind: sum(column.kind == kind for column in self.columns) for kind in ("number", "boolean", "string")}
        mix = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        gaps = sum(column.optional for column in self.columns)
        missing = f", {gaps} with missing values" if gaps else ""
        return f"{self.rows} rows; columns: {mix}{missing}"

    def without_rows(self) -> "Table":
        """What is known of it, for when its parts are made: a large table need not be held twice."""
        return replace(self, all=Part(features=self.all.features.iloc[:0].copy(), labels=self.all.labels[:0].copy()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Two parts that share no row and have the same shares of classes."""

    train: Part
    test: Part


def checked(raw: Raw, settings: RunSettings) -> Table:
    """The table, or the first mistake in it."""
    frame = _chosen(raw.frame, raw.source.name, settings)
    where: Where = raw.source.where
    reader = Reader(where=where, require=settings.require, numeric_share=settings.numeric_share, typed=raw.typed)
    target = targets.read(frame[settings.target], where, reader, settings)
    columns: list[Column] = []
    cells: dict[str, pd.Series] = {}
    for name in frame.columns.drop(settings.target):
        column, cells[name] = reader.read(name, frame[name])
        columns.append(column)
    features = pd.DataFrame(cells)
    _in_ranges(features, columns, where, settings)
    notes = [target.told]
    first = checks.repeated(features, target)
    if settings.duplicates == "refuse":
        checks.refuse_repeated(first, where)
    elif settings.duplicates == "keep":
        notes += [f"note: {remark}" for remark in checks.told_repeated(first, where)]
    else:
        features, target, where = _once(features, target, first, where)
        notes.append(f"{len(first) - len(features)} rows that repeat another one are left out")
    targets.enough(target, where, settings)
    positive = targets.positive(target, settings)
    checks.refuse_copies(features, columns, target, settings)
    notes += [f"note: {remark}" for remark in checks.remarks(features, columns, target, positive, settings)]
    return Table(
        all=Part(features=features, labels=target.labels),
        rows=len(features),
        columns=tuple(columns),
        task=target.task,
        positive=positive,
        target=settings.target,
        source=raw.source.name,
        fingerprint=fingerprint(features, settings.target, target.labels),
        notes=tuple(notes),
    )


def _once(
    features: pd.DataFrame, target: Target, first: npt.NDArray[np.int64], where: Where
) -> tuple[pd.DataFrame, Target, Where]:
    """Without the rows that are there already; those that stay are still called what the file calls them."""
    kept = np.flatnonzero(first == np.arange(len(first)))
    return (
        features.iloc[kept].reset_index(drop=True),
        replace(target, labels=target.labels[kept]),
        lambda row: where(int(kept[row])),
    )


def split(table: Table, settings: RunSettings) -> Split:
    """The same rows in the same parts for the same table and seed."""
    train_x, test_x, train_y, test_y = train_test_split(
        table.all.features,
        table.all.labels,
        test_size=settings.test_size,
        stratify=table.all.labels if table.task == "classification" else None,
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
