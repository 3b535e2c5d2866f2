"""The languages that clients speak. Each one only decodes a body into checked rows, and encodes what the engine says of them.

Pure: bytes in, bytes out. Every protocol has the same checks, since all of them end in the same validator.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from server.artifact import Label, PredictFunction
from server.checked import Checked
from server.engine import Predicted
from server.errors import Detail, InvalidBody
from server.protocols.typed import Cells
from server.signature import Columns, Inputs
from server.validation import Validator

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a protocol knows of the model that it speaks for."""

    name: str
    """By which clients address it."""
    version: str
    inputs: Inputs
    validator: Validator
    classes: list[Label] | None
    has_probabilities: bool
    predict_function: PredictFunction = "predict"
    answer: Label | list[Label] | None = None
    """What it said of the first row of its example, where it has one: what its answers are."""


@dataclass(slots=True)
class Request:
    """What a protocol sees of HTTP."""

    content: bytes
    media_type: str = ""
    json_size: int | None = None
    """How many bytes of the content are JSON, where something else follows (Inference-Header-Content-Length)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A body that answers, and what its headers say beyond what every response says."""

    content: bytes
    media_type: bytes = b"application/json"
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """Rows to be predicted, and how to answer: from what was predicted, and the seconds that it took."""

    checked: Checked
    reply: Callable[[Predicted, float], Reply]


@dataclass(frozen=True, slots=True)
class Typed:
    """Rows of numbers, not yet compared with any bounds; and how to answer."""

    rows: Sequence[Cells]
    reply: Callable[[Predicted, float], Reply]


class Language(Protocol):
    """One protocol, for one model."""

    def decode(self, request: Request) -> Asked:
        """The rows in a request; raises what is wrong with it."""

    def typed(self, content: bytes, *, single: bool) -> Typed | None:
        """The same for the usual body, in a fraction of the time; None for all others, right or wrong. Where a single row is
        wanted, none is read beyond it."""


class Failures(Protocol):
    """How a protocol says that there is no answer."""

    def __call__(self, status: int, kind: str, message: str, details: Sequence[Detail]) -> Any:
        """The JSON value of the body."""


def read(language: Language, validator: Validator, request: Request) -> Asked:
    """The rows in a request: at a glance, if it is as usual, else with care. Raises what is wrong with it."""
    if typed := glance(language, validator, request, single=False):
        rows = np.array(typed.rows, dtype=np.float64)
        if not len(validator.unusual(rows)):
            return Asked(Checked(rows), typed.reply)
    return language.decode(request)


def glance(language: Language, validator: Validator, request: Request, *, single: bool) -> Typed | None:
    """The rows in a request that is as usual: JSON alone, in the usual form, with as many numbers in each row as there are
    features. Their bounds are still to be looked at."""
    if request.media_type not in ("", "application/json") or request.json_size is not None:
        return None
    typed = language.typed(request.content, single=single)
    return typed if typed and typed.rows and {validator.width}.issuperset(map(len, typed.rows)) else None


def table(model: Model, value: Any, where: str) -> Checked:
    """Rows as most protocols write them: a list of objects, a list of lists, or a list of values for a single feature."""
    if not isinstance(value, list):
        raise InvalidBody(f"{where} is not a list of rows.")
    if value and all(isinstance(row, list) for row in value):
        return model.validator.cells(value)
    if _is_single(model.inputs) and value and not any(isinstance(row, list | dict) for row in value):
        return model.validator.cells([[cell] for cell in value])
    return model.validator.records(value)


def described(details: Sequence[Detail]) -> list[Mapping[str, Any]]:
    """The mistakes of a request as JSON."""
    return [{"feature": one.feature, "message": one.message, **({} if one.row is None else {"row": one.row})} for one in details]


def plain_failure(status: int, kind: str, message: str, details: Sequence[Detail]) -> Any:
    """As V1 and V2 want it: the error is a sentence. What kind it is stands beside it."""
    return {"error": message, "type": kind, "details": described(details)}


def _is_single(inputs: Inputs) -> bool:
    return len(inputs.columns) == 1 if isinstance(inputs, Columns) else inputs.width == 1
