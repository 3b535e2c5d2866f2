"""A sample of what a fitted model takes, as a notebook has it: its columns and types, the rows to record, the bounds. Pure.

The types of the sample are the contract: a request is checked against them, and each pod turns JSON into them again.
"""

import difflib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.types import ColSpec, Schema, TensorSpec
from pandas.api import types

from server.artifact import Bounds, Range
from training.errors import InputError

NUMBERS = {
    "int8": "integer", "int16": "integer", "int32": "integer", "int64": "long",
    "uint8": "integer", "uint16": "integer", "uint32": "long", "uint64": "long",
    "float16": "float", "float32": "float", "float64": "double",
}  # fmt: skip
"""What MLflow calls the types that pandas and numpy have for numbers."""
TEXTS = {"string", "empty"}
MAX_SHOWN = 5
"""Names in one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows in the form in which the model was trained on them, and what a signature says of that form."""

    data: Any
    inputs: Schema
    numbers: Mapping[str, npt.NDArray[np.float64]]
    """The columns of numbers, by name; none where columns have no names."""
    gaps: npt.NDArray[np.bool_]
    """Which cells are missing: a row of columns each."""
    called: str
    """By whoever passed it."""

    @property
    def one_text(self) -> bool:
        """Whether a row is a text, and no column says what it is called."""
        first = self.inputs.inputs[0]
        return isinstance(first, TensorSpec) and first.shape == (-1,) and first.type.kind == "U"

    def __len__(self) -> int:
        return len(self.gaps)

    def rows(self, chosen: Sequence[int]) -> Any:
        """Some of them, in the same form."""
        if isinstance(self.data, pd.DataFrame | pd.Series):
            return self.data.iloc[list(chosen)].reset_index(drop=True)
        return [self.data[row] for row in chosen] if isinstance(self.data, list) else self.data[list(chosen)]

    def bounds(self, declared: Mapping[str, Range]) -> Bounds:
        """The lowest and the highest number of each column, and what a person declares as possible."""
        limits: dict[str, Range] = {}
        for name, given in declared.items():
            if name not in self.numbers:
                raise InputError(f'There is no column of numbers "{name}" to declare a range for.{_close(name, self.numbers)}')
            limits[name] = low, high = _range(name, given)
            least, most = -math.inf if low is None else low, math.inf if high is None else high
            if least > most:
                raise InputError(f'The range of column "{name}" ends ({most:g}) below its start ({least:g}).')
            outside = (self.numbers[name] < least) | (self.numbers[name] > most)
            if outside.any():
                row = int(np.argmax(outside))
                raise InputError(
                    f'Column "{name}", row {row + 1} of {self.called}: {self.numbers[name][row]:g} is outside the declared range '
                    f"{least:g} to {most:g}. Declare a wider one, or leave the row out."
                )
        seen = {
            name: (float(np.nanmin(values)), float(np.nanmax(values)))
            for name, values in self.numbers.items()
            if not np.isnan(values).all()
        }
        return Bounds(seen=seen, declared=limits)


def read(model: Any, given: Any, called: str = "X_sample") -> Sample:
    """Whatever a notebook has: a DataFrame, an array, a sparse matrix, or texts. `called`: what errors call it."""
    data = _plain(given, called)
    if isinstance(data, pd.DataFrame):
        return _columns(_as_trained(model, data, called), called)
    if data.ndim == 1 and data.dtype.kind in "OUT":
        return _texts(data, given, called)
    return _array(model, data, called)


def chosen(sample: Sample, labels: Sequence[object] | None, count: int) -> list[int]:
    """The rows to record: the first of each class, the first with a gap in each column, then whatever comes first."""
    firsts = [] if labels is None else sorted({repr(label): row for row, label in reversed(list(enumerate(labels)))}.values())
    gaps = [int(np.argmax(column)) for column in sample.gaps.T if column.any()]
    order = dict.fromkeys([*firsts[: max(count - len(gaps[:2]), 1)], *gaps[:2], *firsts, *range(min(count, len(sample)))])
    return sorted(list(order)[:count])


def example(rows: Any) -> Any:
    """Rows as MLflow can write them: JSON values, with None for what is missing."""
    if isinstance(rows, pd.DataFrame):
        cells = pd.DataFrame({name: _written(rows[name]) for name in rows.columns})
        return cells.set_axis([str(name) for name in rows.columns], axis="columns")
    if isinstance(rows, pd.Series):
        return np.array([str(text) for text in rows])
    return np.array(rows) if isinstance(rows, list) else rows


def _range(name: str, given: Any) -> Range:
    """A notebook checks no types."""
    match given:
        case (None | Real() as low, None | Real() as high) if low == low and high == high:
            return _limit(low), _limit(high)
    raise InputError(f'The range of column "{name}" is {given!r}. Give its lowest and highest number: (0, 120), or (0, None).')


def _limit(number: Any) -> float | None:
    """Infinity is no limit, and JSON has no word for it."""
    return None if number is None or math.isinf(number) else float(number)


# --- what was given ---------------------------------------------------------------------------------------------------


def _plain(given: Any, called: str) -> Any:
    """A DataFrame or an array, at least one row long."""
    if isinstance(given, pd.Series):
        if len(given) and not all(isinstance(value, str) for value in given):
            raise InputError(f"{called} is one column, or one row. Pass a table: {called}.to_frame(), or {called}.to_frame().T.")
        data: Any = given.to_numpy(dtype=object)
    elif hasattr(given, "toarray"):
        data = given.toarray()
    elif isinstance(given, Mapping):
        data = pd.DataFrame([given])
    elif isinstance(given, list | tuple) and given and all(isinstance(row, Mapping) for row in given):
        data = pd.DataFrame(list(given))
    elif isinstance(given, pd.DataFrame):
        data = given
    elif hasattr(given, "to_pandas"):
        data = given.to_pandas()
    else:
        try:
            data = np.asarray(given)
        except ValueError as e:
            raise InputError(f"{called} is no table: {e}. Pass rows of the same length, as a DataFrame or an array.") from e
    if not isinstance(data, pd.DataFrame) and data.ndim not in (1, 2):
        what = f"is a {type(given).__name__}" if data.ndim == 0 else f"has {data.ndim} dimensions"
        raise InputError(f"{called} {what}. Pass a table of rows and columns.")
    if not len(data):
        raise InputError(f"{called} has no rows. Pass some, at least one of each class.")
    return data


def _as_trained(model: Any, frame: pd.DataFrame, called: str) -> pd.DataFrame:
    """The columns that the model was trained with, in their order."""
    if isinstance(frame.columns, pd.MultiIndex):
        raise InputError(
            f"{called} has columns of several levels, for which JSON has no names. Train with one level: "
            'frame.columns = ["_".join(name) for name in frame.columns].'
        )
    if not frame.columns.is_unique:
        twice = list(dict.fromkeys(map(str, frame.columns[frame.columns.duplicated()])))
        raise InputError(f"{called} has more than one column with the name {_named(twice)}. Rename or drop them, and fit again.")
    fitted = getattr(model, "feature_names_in_", None)
    if fitted is None:
        _insist_on_width(model, frame.shape[1], called)
        return frame.reset_index(drop=True)
    names = list(fitted)
    missing = [name for name in names if name not in frame.columns]
    if missing and not _does_without(model, frame):
        index = [name for name in missing if name in frame.index.names]
        unknown = [name for name in frame.columns if name not in names]  # the others are there under their own names
        hint = f" {_named(index)} is in its index: pass {called}.reset_index()." if index else _close(missing[0], unknown)
        raise InputError(f"{called} lacks columns that the model was trained with: {_named(missing)}.{hint}")
    if missing:
        return frame.reset_index(drop=True)
    if extra := [name for name in frame.columns if name not in names]:
        raise InputError(
            f"{called} has columns that the model was not trained with: {_named(extra)}. "
            f"Pass {called}[list(model.feature_names_in_)]."
        )
    return frame[names].reset_index(drop=True)


def _does_without(model: Any, frame: pd.DataFrame) -> bool:
    """A ColumnTransformer does not ask for columns that it drops."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.predict(frame.iloc[:1])
    except Exception:  # it needs them, whatever it says then
        return False
    return True


def _insist_on_width(model: Any, width: int, called: str) -> None:
    fitted = getattr(model, "n_features_in_", None)
    if fitted is not None and fitted != width:
        raise InputError(f"{called} has {width} columns, and the model was trained with {fitted}.")


# --- columns with names -----------------------------------------------------------------------------------------------


def _columns(frame: pd.DataFrame, called: str) -> Sample:
    specs, numbers = [], {}
    for name in frame.columns:
        kind = _kind(str(name), frame[name], called)
        specs.append(ColSpec(kind, str(name), required=not frame[name].isna().any()))
        if kind in NUMBERS.values():
            values = pd.to_numeric(frame[name]).to_numpy(dtype="float64", na_value=np.nan)
            if np.isinf(values).any():
                row = int(np.argmax(np.isinf(values)))
                raise InputError(
                    f'Column "{name}", row {row + 1} of {called}: {values[row]:g}, which JSON has no word for. Leave it empty '
                    "(NaN), in training too."
                )
            numbers[str(name)] = values
    return Sample(data=frame, inputs=Schema(specs), numbers=numbers, gaps=frame.isna().to_numpy(), called=called)


def _kind(name: str, cells: pd.Series, called: str) -> str:
    """MLflow's type of a column."""
    dtype: Any = cells.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        dtype, cells = dtype.categories.dtype, cells.astype(dtype.categories.dtype)
    if isinstance(dtype, pd.SparseDtype):
        dtype = dtype.subtype
    if isinstance(dtype, pd.StringDtype):
        return "string"
    if types.is_bool_dtype(dtype):
        return "boolean"
    if isinstance(dtype, pd.DatetimeTZDtype):
        raise InputError(
            f'Column "{name}" of {called} has times with a time zone, which MLflow\'s signatures have no type for. '
            f'Train with UTC and without a zone: frame["{name}"].dt.tz_convert("UTC").dt.tz_localize(None).'
        )
    if types.is_datetime64_dtype(dtype):
        return "datetime"
    if (kind := NUMBERS.get(str(getattr(dtype, "numpy_dtype", dtype)))) is not None:
        return kind
    if types.is_object_dtype(dtype):
        return _kind_of_objects(name, cells, called)
    raise InputError(
        f'Column "{name}" of {called} has the type {dtype}, which a JSON request can\'t bring. Train with numbers, texts, '
        "true and false, or datetime64."
    )


def _kind_of_objects(name: str, cells: pd.Series, called: str) -> str:
    found = types.infer_dtype(cells, skipna=True)
    if found in TEXTS:
        return "string"
    if found == "boolean":
        return "boolean"
    if found in ("integer", "floating", "mixed-integer-float"):
        raise InputError(
            f'Column "{name}" of {called} has numbers in a column of objects. Give it a type and fit again: '
            f'frame["{name}"].astype("float64").'
        )
    present = [(row, cell) for row, cell in enumerate(cells) if not pd.isna(cell)]
    first = type(present[0][1])
    row, odd = next(((row, cell) for row, cell in present if type(cell) is not first), present[0])
    raise InputError(
        f'Column "{name}", row {row + 1} of {called}: {str(odd)[:40]!r} is a {type(odd).__name__}, in a column of {found} values.'
        " Give the column one type (numbers, texts, true and false, or datetime64) and fit again."
    )


def _written(cells: pd.Series) -> pd.Series:
    """Cells as MLflow's JSON has them: what is missing is null, a category is its value."""
    if isinstance(cells.dtype, pd.CategoricalDtype):
        cells = cells.astype(cells.dtype.categories.dtype)
    if isinstance(cells.dtype, pd.SparseDtype):
        cells = pd.Series(np.asarray(cells), index=cells.index)
    if types.is_datetime64_dtype(cells):
        return cells
    return cells.astype(object).where(cells.notna(), None)


# --- arrays and texts -------------------------------------------------------------------------------------------------


def _array(model: Any, data: npt.NDArray[Any], called: str) -> Sample:
    if data.dtype.kind == "O":
        data = _of_one_type(data, called)
    if data.dtype.kind not in "biufUT":
        raise InputError(f"{called} is an array of {data.dtype}, which a JSON request can't bring. Pass a DataFrame.")
    if data.ndim == 1 and getattr(model, "n_features_in_", 1) != 1:
        raise InputError(f"{called} has one dimension. Pass a table; for a single row, {called}.reshape(1, -1).")
    width = 1 if data.ndim == 1 else data.shape[1]
    _insist_on_width(model, width, called)
    if data.dtype.kind == "f" and np.isinf(data).any():
        row, column = np.argwhere(np.isinf(data.reshape(len(data), width)))[0]
        raise InputError(f"Column {column + 1}, row {row + 1} of {called} is infinite, which JSON has no word for.")
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        return _columns(pd.DataFrame(data.reshape(len(data), width), columns=list(names)), called)
    kind = np.dtype(str) if data.dtype.kind in "UT" else data.dtype
    gaps = np.isnan(data) if data.dtype.kind == "f" else np.zeros(data.shape, dtype=bool)
    spec = TensorSpec(kind, (-1, *data.shape[1:]))
    return Sample(data=data, inputs=Schema([spec]), numbers={}, gaps=gaps.reshape(len(data), width), called=called)


def _of_one_type(data: npt.NDArray[Any], called: str) -> npt.NDArray[Any]:
    if all(isinstance(cell, str) for cell in data.ravel()):
        return data.astype(str)
    try:
        if not any(isinstance(cell, str) for cell in data.ravel()):
            return data.astype(np.float64)
    except (TypeError, ValueError):
        pass
    raise InputError(
        f"{called} is an array of objects of several types, of which nobody can tell what a column holds. Train with a DataFrame "
        "whose columns have types, and pass that."
    )


def _texts(data: npt.NDArray[Any], given: Any, called: str) -> Sample:
    for row, text in enumerate(data):
        if not isinstance(text, str):
            raise InputError(f"Row {row + 1} of {called} is {str(text)[:40]!r} among texts. Pass texts, or a table.")
    inputs = Schema([TensorSpec(np.dtype(str), (-1,))])
    whole = list(given) if isinstance(given, tuple) else given
    return Sample(data=whole, inputs=inputs, numbers={}, gaps=np.zeros((len(data), 1), dtype=bool), called=called)


def _named(names: Sequence[object]) -> str:
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return ", ".join(f'"{name}"' for name in names[:MAX_SHOWN]) + more


def _close(name: object, names: Any) -> str:
    folded = {str(one).casefold().strip(): str(one) for one in names}
    close = difflib.get_close_matches(str(name).casefold().strip(), folded, n=1)
    return f' Did you mean "{folded[close[0]]}"?' if close else ""
