"""What a column holds: numbers, texts or truth values. Or a mistake, which is named with its row and its value.

Pure. Cells come out in the dtypes that the server gives them (float64, bool, str), so that a pipeline is trained on
exactly what it will be asked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types

from training.errors import InputError
from training.settings import Kind

Mask: TypeAlias = npt.NDArray[np.bool_]
Where: TypeAlias = Callable[[int], str]
"""What to call the row with this index."""

TRUTH: Mapping[str, bool] = {"true": True, "false": False}
DATE = r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2}))([T ].*)?"
DAY_FIRST = r"\d{1,2}\.\d{1,2}\..*"
COMMA = r"[-+]?(\d+|\d{1,3}(\.\d{3})+),\d+"
WRITTEN = r"(?=.*[,%$€£])[-+]?[$€£]? ?(\d+|\d{1,3}(,\d{3})+)(\.\d+)? ?[%$€£]?"
"""A number as people write it, and no program takes it: 12.5 %, 1,234.50, $ 3."""
EXACT = 2**53
"""Up to here every whole number is a float64 of its own."""
LARGEST = 1e150
LOOKED_AT = 1000
"""So many of a column's texts say what it holds."""
MOST = 0.9
NUMBERS = {"integer", "floating", "decimal", "mixed-integer-float"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One feature, as the signature will have it."""

    name: str
    kind: Literal["number", "boolean", "string"]
    optional: bool
    """Whether it has missing values, so that a request may leave it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Turns what was found in a file into one of three kinds of column."""

    where: Where
    require: Mapping[str, Kind]
    numeric_share: float
    typed: bool
    """Whether the file says itself what is a text: then one of digits ("00501") stays what it is."""

    def read(self, name: str, cells: pd.Series) -> tuple[Column, pd.Series]:
        """The column and its cells, or an error that names column, row and value."""
        cells = self._plain(name, cells)
        missing = cells.isna().to_numpy()
        if missing.all():
            raise InputError(f'Column "{name}" has no value in any row. Leave it out with --drop "{name}".')
        required = self.require.get(name)
        if required == "boolean" or (required is None and self._is_boolean(cells)):
            return self._boolean(name, cells, missing)
        if required in ("number", "integer") or (required is None and self._is_numeric(cells, missing)):
            return self._number(name, cells, missing)
        return self._string(name, cells, missing)

    def _plain(self, name: str, cells: pd.Series) -> pd.Series:
        """Cells of one simple type. Dates, lists and the like are refused."""
        if isinstance(cells.dtype, pd.CategoricalDtype):
            cells = cells.astype(cells.cat.categories.dtype)
        if types.is_bool_dtype(cells) or (types.is_numeric_dtype(cells) and not types.is_complex_dtype(cells)):
            return cells
        if isinstance(cells.dtype, pd.StringDtype):
            return cells
        if types.is_object_dtype(cells) and types.infer_dtype(cells, skipna=True) in ("date", "datetime", "datetime64"):
            raise InputError(f'Column "{name}" holds dates. {self._without_dates(name)}')
        if types.is_object_dtype(cells):
            odd = ~cells.map(lambda cell: isinstance(cell, str | bool | int | float) or _number(cell) is not None)
            self._refuse(name, cells, odd.to_numpy() & cells.notna().to_numpy(), "is neither number, text nor true/false",
                         f'Turn the column into one of them, or leave it out with --drop "{name}".')  # fmt: skip
            return cells
        if types.is_datetime64_any_dtype(cells):
            raise InputError(f'Column "{name}" holds dates ({cells.dtype}). {self._without_dates(name)}')
        raise InputError(
            f'Column "{name}" has the type {cells.dtype}, which a model can\'t be trained on. Turn it into numbers '
            f'(a timedelta with .dt.total_seconds()), or leave it out with --drop "{name}".'
        )

    def _without_dates(self, name: str, *options: str) -> str:
        """What to do about a column of dates: a server is asked in JSON, which has none."""
        given = ", ".join([f"table.pop({name!r})", *options])
        parts = ", ".join(f'"{name} {part}": dates.dt.{part}' for part in ("year", "month", "day_of_week"))
        return (
            f"A model is trained on, and served, numbers, texts and true/false only. Either make numbers of it with pandas:\n"
            f"    dates = pd.to_datetime({given})\n"
            f"    table = table.assign(**{{{parts}}})\n"
            f'or leave it out with --drop "{name}".'
        )

    def _is_boolean(self, cells: pd.Series) -> bool:
        return types.is_bool_dtype(cells) or types.infer_dtype(cells, skipna=True) == "boolean"

    def _is_numeric(self, cells: pd.Series, missing: Mask) -> bool:
        """Whether most of the values are numbers: then a text among them is a mistake, not a category."""
        if types.is_numeric_dtype(cells) or types.infer_dtype(cells, skipna=True) in NUMBERS:
            return True
        if self.typed:
            return False
        share = (~_numbers(cells).isna()).sum() / (~missing).sum()
        return bool(share >= self.numeric_share)

    def _number(self, name: str, cells: pd.Series, missing: Mask) -> tuple[Column, pd.Series]:
        if types.is_bool_dtype(cells):
            self._refuse(name, cells, ~missing, "is no number")
        numbers = _numbers(cells)
        unread = numbers.isna().to_numpy() & ~missing
        advice = "Correct it, or leave the cell empty if the value is unknown."
        if name not in self.require:
            advice += f' If the column holds texts, say so: --require "{name}:string".'
        self._refuse(name, cells, unread, "is no number", advice)
        values = numbers.to_numpy()
        self._refuse(name, cells, np.isinf(values), "is infinite", "Leave the cell empty if the value is unknown.")
        self._refuse(name, cells, np.abs(values) > LARGEST, "is too large: its square is no number any more",
                     f'Divide the column, or leave it out with --drop "{name}".')  # fmt: skip
        if self.require.get(name) == "integer":
            self._refuse(name, cells, ~missing & (values != np.floor(values)), "is no whole number")
        return Column(name=name, kind="number", optional=bool(missing.any())), numbers

    def _boolean(self, name: str, cells: pd.Series, missing: Mask) -> tuple[Column, pd.Series]:
        truth = cells.astype(object).map(lambda cell: TRUTH.get(str(cell).lower(), np.nan)).astype(object)
        self._refuse(name, cells, truth.isna().to_numpy() & ~missing, "is neither true nor false")
        optional = bool(missing.any())
        return Column(name=name, kind="boolean", optional=optional), truth if optional else truth.astype("bool")

    def _string(self, name: str, cells: pd.Series, missing: Mask) -> tuple[Column, pd.Series]:
        if not isinstance(cells.dtype, pd.StringDtype):
            texts = cells.map(lambda cell: isinstance(cell, str)).to_numpy(dtype=bool)
            self._refuse(name, cells, ~texts & ~missing, "is no text")
        if name not in self.require:
            self._refuse_what_only_looks_like_text(name, cells, missing)
        return Column(name=name, kind="string", optional=bool(missing.any())), cells.astype("str")

    def _refuse_what_only_looks_like_text(self, name: str, cells: pd.Series, missing: Mask) -> None:
        """Dates and numbers with a comma are texts in a file, and a category each would teach a model nothing."""
        there = np.flatnonzero(~missing)
        first = cells.iloc[there[:LOOKED_AT]].astype(str).str.strip()
        day_first = ["dayfirst=True"] if first.str.fullmatch(DAY_FIRST).mean() > MOST else []
        for pattern, what, advice in (
            (DATE, "is a date, like most of the column.", self._without_dates(name, *day_first)),
            (
                COMMA,
                "is a number with a comma, like most of the column.",
                f'Write numbers with a point, or leave the column out with --drop "{name}".',
            ),
            (
                WRITTEN,
                "is a number with a sign, like most of the column.",
                f'Write plain numbers, such as 1234.5, or leave the column out with --drop "{name}".',
            ),
        ):
            fits = first.str.fullmatch(pattern).to_numpy(dtype=bool)
            if fits.mean() > MOST:
                bad = np.zeros(len(cells), dtype=bool)
                bad[there[int(np.argmax(fits))]] = True
                advice += f' If each is a category, say so: --require "{name}:string".'
                refuse(name, cells, bad, self.where, what, advice)

    def _refuse(self, name: str, cells: pd.Series, bad: Mask, what: str, advice: str = "") -> None:
        if bad.any():
            refuse(name, cells, bad, self.where, f"{what}.", advice)


def refuse(name: str, cells: pd.Series, bad: Mask, where: Where, what: str, advice: str = "") -> NoReturn:
    """An error that names the column, the first of the bad rows, its value, and how many more there are."""
    rows = np.flatnonzero(bad)
    more = f" ({len(rows) - 1} more like it.)" if len(rows) > 1 else ""
    value = _shown(cells.iloc[rows[0]])
    raise InputError(f'Column "{name}", {where(int(rows[0]))}: {value} {what}{more} {advice}'.strip())


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return f"{value:g}" if isinstance(value, float) and value == round(value, 5) else str(value)
    return f'"{value}"' if len(value) <= 40 else f'"{value[:40]}…"'


def _numbers(cells: pd.Series) -> pd.Series:
    """As float64, with NaN for what is missing or no number."""
    if types.is_numeric_dtype(cells):
        return pd.Series(cells.to_numpy(dtype="float64", na_value=np.nan), index=cells.index)
    if types.infer_dtype(cells, skipna=True) == "string":
        return pd.to_numeric(cells, errors="coerce").astype("float64")
    return cells.map(_number).astype("float64")


def _number(cell: Any) -> float | None:
    try:
        return None if isinstance(cell, bool | bytes) else float(cell)
    except (TypeError, ValueError):
        return None
