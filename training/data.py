"""Reads a table from a file, as it is: names, cells, and where each row stands.

The only place that opens the user's data. What the table must be like is decided in `table`.
"""

import csv
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TextIO

import pandas as pd
import pyarrow.parquet
from pandas.errors import EmptyDataError, ParserError, ParserWarning
from sklearn.datasets import load_breast_cancer

from training.errors import InputError

BUILT_IN = "scikit-learn's breast cancer table"
DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}
ENCODING = "utf-8-sig"
MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN",
    "None", "n/a", "nan", "null",
)  # fmt: skip
"""pandas' own list. A column that is required as texts has only empty cells missing: "NA" is Namibia."""
MAX_CELL = 2**31 - 1
"""Characters of a cell that Python's csv takes: as many as pandas does, not its own 128 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a table came from, so that an error can send a person to the right line."""

    name: str
    csv: Path | None = None
    delimiter: str = field(default=",", repr=False)

    def where(self, row: int) -> str:
        """What to call the row with this index: rows count from 1, and a line is that of a text editor."""
        if self.csv is None:
            return f"row {row + 1}"
        return f"row {row + 1} (line {_line(self.csv, self.delimiter, row)} of {self.name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A table as it was found."""

    frame: pd.DataFrame
    source: Source
    typed: bool = False
    """Whether the file says itself what is a number and what a text. In CSV all is text."""


def load(path: Path | None, texts: frozenset[str] = frozenset()) -> Raw:
    """The table in a file, or the built-in one. Columns named in `texts` are not read as numbers ("007" stays)."""
    if path is None:
        return Raw(frame=load_breast_cancer(as_frame=True).frame, source=Source(name=BUILT_IN))
    if not path.exists():
        raise InputError(f"There is no file {path}.")
    if path.is_dir():
        raise InputError(f"{path} is a directory; name one CSV or Parquet file.")
    try:
        if path.suffix.lower() in DELIMITERS:
            return _csv(path, texts)
        if path.suffix.lower() in {".parquet", ".pq"}:
            return _parquet(path)
    except PermissionError as e:
        raise InputError(f"{path} can't be opened: permission denied.") from e
    raise InputError(f'{path.name} is of no known kind: "{path.suffix}" is neither .csv, .tsv nor .parquet.')


def _csv(path: Path, texts: frozenset[str]) -> Raw:
    try:
        delimiter, names = _header(path)
        _refuse_unnamed_and_doubled(names, path.name)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)
            frame = pd.read_csv(
                path, sep=delimiter, header=0, names=names, index_col=False, encoding=ENCODING, low_memory=False,
                dtype={name: "str" for name in names if name in texts},
                keep_default_na=False, na_values={name: [""] if name in texts else MISSING for name in names},
            )  # fmt: skip
    except UnicodeDecodeError as e:
        raise InputError(f"{_undecodable(path)}: {path.name} is not UTF-8. Save it as UTF-8.") from e
    except ParserWarning as e:
        raise InputError(f"The rows of {path.name} have more cells than its first line has names.") from e
    except (ParserError, csv.Error) as e:
        raise InputError(f"{path.name} can't be read as a table: {str(e).strip().removeprefix(_TOKENIZING)}.") from e
    except EmptyDataError as e:
        raise InputError(f"{path.name} is empty: its first line must name the columns.") from e
    _refuse_short(frame, path, delimiter)
    return Raw(frame=frame, source=Source(name=path.name, csv=path, delimiter=delimiter))


def _refuse_short(frame: pd.DataFrame, path: Path, delimiter: str) -> None:
    """pandas takes cells that a row ends without for missing values. Such a row has none in the last column either, so that
    few files have to be looked at again."""
    width = len(frame.columns)
    if not frame.iloc[:, -1].isna().any():
        return
    for row, (line, record) in enumerate(islice(_records(path, delimiter), 1, None), start=1):
        if len(record) < width:
            raise InputError(
                f'Row {row} (line {line} of {path.name}) ends before column "{frame.columns[len(record)]}": it has '
                f"{len(record)} of {width} cells. Write the file again if it was cut off; a value that is unknown is an empty "
                "cell between its delimiters."
            )


_TOKENIZING = "Error tokenizing data. C error: "


def _header(path: Path) -> tuple[str, list[str]]:
    """The delimiter that the first line has the most of, and the names in that line."""
    with path.open(encoding=ENCODING, newline="") as file:
        line = next((line for line in file if line.strip()), "")
    delimiter = max(DELIMITERS[path.suffix.lower()], key=line.count)
    names = next(_records(path, delimiter), (1, []))[1]
    if not names:
        raise EmptyDataError
    return delimiter, names


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line that it starts on. A quoted cell may span several lines, and a line that is empty or has
    only spaces and tabs is no record, as for pandas; one that quotes its spaces is."""
    csv.field_size_limit(MAX_CELL)
    blank = " \t\r\n".replace(delimiter, "")
    last = ""

    def lines(file: TextIO) -> Iterator[str]:
        nonlocal last
        for line in file:
            last = line
            yield line

    with path.open(encoding=ENCODING, newline="") as file:
        reader, start = csv.reader(lines(file), delimiter=delimiter), 1
        for record in reader:
            if last.strip(blank):
                yield start, record
            start = reader.line_num + 1


def _line(path: Path, delimiter: str, row: int) -> int:
    records = _records(path, delimiter)
    return next(line for index, (line, _) in enumerate(records) if index == row + 1)


def _undecodable(path: Path) -> str:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as e:
                return f"Line {number} has the byte {line[e.start]:#04x}"
    return "A line ends inside a character"


def _parquet(path: Path) -> Raw:
    try:
        names = pyarrow.parquet.read_schema(path).names
        _refuse_unnamed_and_doubled(names, path.name)
        frame = pd.read_parquet(path)
        named = [name for name in frame.index.names if name in names and name not in frame.columns]
        frame = (frame.reset_index(level=named) if named else frame).reset_index(drop=True)  # a column, for all but pandas
    except (pyarrow.ArrowException, OSError) as e:
        if isinstance(e, PermissionError):
            raise
        raise InputError(f"{path.name} can't be read as a Parquet file: {str(e).splitlines()[0]}") from e
    frame.columns = pd.Index([str(name) for name in frame.columns])
    return Raw(frame=frame, source=Source(name=path.name), typed=True)


def _refuse_unnamed_and_doubled(names: list[str], file: str) -> None:
    for position, name in enumerate(names, start=1):
        if not name.strip():
            raise InputError(
                f"Column {position} of {file} has no name. If it is the index of a DataFrame, "
                "save the file without it (index=False); else name it in the first line."
            )
        if name in names[: position - 1]:
            first = names.index(name) + 1
            raise InputError(f'{file} has two columns with the name "{name}" (columns {first} and {position}).')
