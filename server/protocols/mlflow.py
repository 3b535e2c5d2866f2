"""MLflow's scoring protocol: `POST /invocations` with one of four forms of JSON, or with CSV.

As MLflow does it, columns that are not in the signature are left out, and NaN is a missing value: its clients write a
DataFrame as it is. What remains is checked as in every other protocol.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from server.checked import Checked
from server.engine import Predicted
from server.errors import Detail, InvalidBody, UnsupportedMedia
from server.jsontext import dumps, loads
from server.protocols import Asked, Model, Reply, Request, Typed, described, table
from server.protocols.typed import Form, Many, Single, names_of_numbers, read_lists
from server.signature import Columns
from server.table import ColumnType

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")

T = TypeVar("T")

ERROR_CODES: Mapping[int, str] = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    408: "DEADLINE_EXCEEDED",
    413: "BAD_REQUEST",
    415: "BAD_REQUEST",
    422: "INVALID_PARAMETER_VALUE",
    503: "TEMPORARILY_UNAVAILABLE",
}


class _Split(msgspec.Struct, Generic[T], forbid_unknown_fields=True):
    columns: list[str]
    data: T


class _Indexed(msgspec.Struct, Generic[T], forbid_unknown_fields=True):
    columns: list[str]
    index: list[int]
    data: T


class _Frame(msgspec.Struct, Generic[T], forbid_unknown_fields=True):
    dataframe_split: _Split[T]


class _IndexedFrame(msgspec.Struct, Generic[T], forbid_unknown_fields=True):
    dataframe_split: _Indexed[T]


_SINGLE = Form(_Frame[Single], colons=3), Form(_IndexedFrame[Single], colons=4)
_MANY = Form(_Frame[Many], colons=3), Form(_IndexedFrame[Many], colons=4)


class Invocations:
    """The protocol."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._known = {c.name: c.type for c in model.inputs.columns} if isinstance(model.inputs, Columns) else None
        names = names_of_numbers(model.inputs)
        self._names = None if names is None else list(names)

    def decode(self, request: Request) -> Asked:
        """Rows in whichever form the content type and the keys say."""
        if request.media_type == "text/csv":
            return Asked(self._csv(request.content), self._reply)
        if request.media_type not in ("", "application/json"):
            raise UnsupportedMedia(
                f"The content type is {request.media_type[:60]}; application/json and text/csv are what this server takes."
            )
        body = loads(request.content, nan_is_null=True)
        found = [key for key in FORMS if key in body] if isinstance(body, dict) else []
        if len(found) != 1 or body.keys() - {found[0], "params"}:
            raise InvalidBody(f"The body is not a JSON object with exactly one of {', '.join(FORMS)}.")
        if body.get("params"):
            raise InvalidBody("The body has params, which models of scikit-learn do not take.")
        form = found[0]
        if form == "dataframe_split":
            return Asked(self._split(body[form]), self._reply)
        return Asked(self._columns_or_rows(body[form], form), self._reply)

    def typed(self, content: bytes, *, single: bool) -> Typed | None:
        """A DataFrame with its columns as the signature has them; or lists of numbers."""
        plain, indexed = _SINGLE if single else _MANY
        if frame := plain.read(content) or indexed.read(content):
            split = frame.dataframe_split
            return Typed(split.data, self._reply) if split.columns == self._names else None
        rows = read_lists(content, single=single)
        return None if rows is None else Typed(rows, self._reply)

    def _split(self, value: Any) -> Checked:
        if not isinstance(value, dict) or not isinstance(value.get("data"), list):
            raise InvalidBody("dataframe_split is not an object with the lists columns and data.")
        if "columns" not in value:
            return self._model.validator.cells(value["data"])
        names = value["columns"]
        if not isinstance(names, list):
            raise InvalidBody("dataframe_split has columns that are no list of names.")
        return self._cells([str(name) for name in names], value["data"])

    def _columns_or_rows(self, value: Any, form: str) -> Checked:
        if isinstance(value, dict) and form != "dataframe_records":
            lists = {str(name): cells if isinstance(cells, list) else [cells] for name, cells in value.items()}
            if len({len(cells) for cells in lists.values()}) > 1:
                raise InvalidBody(f"The columns of {form} are not of one length.")
            return self._cells(list(lists), [list(row) for row in zip(*lists.values(), strict=True)])
        if isinstance(value, list) and self._known is not None:
            known = self._known
            if any(isinstance(row, dict) and row.keys() - known for row in value):
                value = [{k: v for k, v in row.items() if k in known} if isinstance(row, dict) else row for row in value]
        return table(self._model, value, form)

    def _cells(self, names: Sequence[str], rows: Sequence[Any]) -> Checked:
        """Without the columns that nobody asks for. A row of another length is left as it is, to be named."""
        if self._known is None:
            return self._model.validator.cells(rows, names)
        kept = [index for index, name in enumerate(names) if name in self._known]
        if len(kept) < len(names):
            rows = [[row[index] for index in kept] if isinstance(row, list) and len(row) == len(names) else row for row in rows]
            names = [names[index] for index in kept]
        return self._model.validator.cells(rows, names)

    def _csv(self, content: bytes) -> Checked:
        try:
            lines = list(csv.reader(content.decode("utf-8-sig").splitlines(), strict=True))
        except UnicodeDecodeError as e:
            raise InvalidBody("The body is not UTF-8.") from e
        except csv.Error as e:
            raise InvalidBody(f"The body is not CSV: {e}.") from e
        if not lines:
            raise InvalidBody("The body is empty; CSV with a line of names is expected.")
        names, rows = lines[0], [line for line in lines[1:] if line]
        reads = [_READS.get((self._known or {}).get(name, "double"), _text) for name in names]
        cells = [[read(cell) for read, cell in zip(reads, row, strict=True)] if len(row) == len(names) else row for row in rows]
        return self._cells(names, cells)

    def _reply(self, predicted: Predicted, _: float) -> Reply:
        """What the function that the model was logged with says (pyfunc_predict_fn)."""
        by_label = self._model.predict_function == "predict"
        return Reply(dumps({"predictions": predicted.predictions if by_label else predicted.probabilities}))


def failure(status: int, kind: str, message: str, details: Sequence[Detail]) -> Any:
    """As MLflow says it, with the mistakes beside it."""
    code = ERROR_CODES.get(status, "INTERNAL_ERROR")
    return {"error_code": code, "message": message, "type": kind, "details": described(details)}


# --- one cell of CSV: what can't be read stays text, and is refused as such ---------------------------------------------


def _number(cell: str) -> Any:
    if cell.strip().lower() in ("", "nan", "na", "null"):
        return None
    try:
        return float(cell)
    except ValueError:
        return cell


def _whole(cell: str) -> Any:
    try:
        return int(cell)
    except ValueError:
        return _number(cell)


def _boolean(cell: str) -> Any:
    return {"true": True, "false": False, "": None}.get(cell.strip().lower(), cell)


def _text(cell: str) -> Any:
    return cell or None


_READS: Mapping[ColumnType, Callable[[str], Any]] = {
    "boolean": _boolean,
    "integer": _whole,
    "long": _whole,
    "float": _number,
    "double": _number,
    "string": _text,
}
