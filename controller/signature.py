"""What clients send to a model and get from it, and whether another version breaks them.

Judged from the client's side: every request that was valid stays valid, and every answer stays what they can read. So an
input may take more than before, and an output may give less.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from controller.errors import Stalling
from controller.text import bounded

Range = tuple[float | None, float | None]

# What each type takes beside itself, without loss. A boolean is no number, and text is neither.
_WIDER = {"integer": {"long", "double"}, "long": {"double"}, "float": {"double"}}
_NUMBERS = {"integer", "long", "float", "double"}
_MAX_TOLD = 5
_MAX_COLUMNS = 10_000  # of an array that is no array of numbers: the pod refuses more


@dataclass(frozen=True, slots=True)
class Column:
    """A named input."""

    type: str
    required: bool


_TEXT = {"text": Column("string", required=True)}  # one text a row, without a name


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a model's MLmodel says about its inputs and outputs."""

    columns: dict[str, Column] | None = None
    """Inputs by name; None where a request is an array of numbers, `{"features": [...]}`."""
    width: int | None = None
    """Of that array, where it is known."""
    outputs: tuple[str, ...] | None = None
    """Types of the outputs; None where nothing is said."""
    declared: dict[str, Range] = field(default_factory=dict)
    """Bounds that a person declared: a value outside is refused."""
    recorded: bool = False
    """Whether there is a signature at all."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a signature differs from the one that serves."""

    kind: Literal["Same", "Widened", "Breaking"]
    differences: tuple[str, ...]

    @property
    def told(self) -> str:
        more = len(self.differences) - _MAX_TOLD
        return "; ".join(self.differences[:_MAX_TOLD]) + (f"; and {more} more" if more > 0 else "")


def parse(described: dict[str, Any]) -> Signature:
    """The signature in an MLmodel. Raises Stalling (ModelUnreadable)."""
    said = described.get("signature")
    if not said:
        return Signature()
    try:
        inputs, outputs = _specs(said.get("inputs")), _specs(said.get("outputs"))
        declared = _declared(described)
        if [(spec.get("type"), spec.get("name")) for spec in inputs] == [("any", None)]:  # of what MLflow does not know
            return Signature(declared=declared)
        columns, width = _columns(inputs)
        return Signature(columns=columns, width=width, outputs=_types(outputs), declared=declared, recorded=True)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise Stalling("ModelUnreadable", "the signature in its MLmodel file cannot be read; log the model anew") from error


def compare(serving: Signature, new: Signature) -> Comparison:
    """What clients of `serving` meet with `new`."""
    breaking: list[str] = []
    widened: list[str] = []
    if (serving.columns is None) != (new.columns is None):
        forms = {True: "an array of numbers without names", False: "named inputs"}
        breaking.append(f"it takes {forms[new.columns is None]}, and clients send {forms[serving.columns is None]}")
    elif serving.columns is not None and new.columns is not None:
        for tell, difference in _inputs(serving.columns, new.columns):
            (breaking if tell == "breaking" else widened).append(difference)
        breaking += _bounds(serving, new)
    elif new.width not in (None, serving.width) and serving.width is not None:
        breaking.append(f"it takes {new.width} numbers, and clients send {serving.width}")
    breaking += _outputs(serving.outputs, new.outputs)
    if breaking:
        return Comparison("Breaking", tuple(breaking))
    return Comparison("Widened", tuple(widened)) if widened else Comparison("Same", ())


def _inputs(old: dict[str, Column], new: dict[str, Column]) -> Iterator[tuple[Literal["breaking", "widened"], str]]:
    for name, column in new.items():
        before = old.get(name)
        if before is None:
            if column.required:
                yield "breaking", f"input {name!r} ({column.type}) is required, and clients do not send it"
            else:
                yield "widened", f"input {name!r} ({column.type}) is new and optional"
            continue
        if column.type in _WIDER.get(before.type, set()):
            yield "widened", f"input {name!r} takes {column.type}, before {before.type}"
        elif column.type != before.type:
            yield "breaking", f"input {name!r} takes {column.type}, and clients send {before.type}"
        if column.required and not before.required:
            yield "breaking", f"input {name!r} is required, and was optional"
        elif before.required and not column.required:
            yield "widened", f"input {name!r} is optional now"
    for name, column in old.items():
        if name not in new:
            # The server refuses what it does not know, since most of it is a misspelled feature.
            yield "breaking", f"input {name!r} ({column.type}) is gone, and a request that has it is refused"


def _bounds(serving: Signature, new: Signature) -> Iterator[str]:
    for name in new.declared.keys() & (serving.columns or {}).keys() & (new.columns or {}).keys():
        before, now = serving.declared.get(name, (None, None)), new.declared[name]
        if _above(now[0], before[0]) or _above(_negative(now[1]), _negative(before[1])):
            yield f"input {name!r} takes {_range(now)}, before {_range(before)}"


def _above(bound: float | None, before: float | None) -> bool:
    return bound is not None and (before is None or bound > before)


def _negative(bound: float | None) -> float | None:
    return None if bound is None else -bound


def _range(of: Range) -> str:
    low, high = of
    if low is None and high is None:
        return "every number"
    return f"{'any' if low is None else f'{low:g}'} to {'any' if high is None else f'{high:g}'}"


def _outputs(old: tuple[str, ...] | None, new: tuple[str, ...] | None) -> Iterator[str]:
    if old is None or new is None:
        return
    if len(old) != len(new):
        yield f"it answers with {_count(len(new))}, and clients expect {_count(len(old))}"
        return
    for before, now in zip(old, new, strict=True):
        if now != before and before not in _WIDER.get(now, set()):
            yield f"it answers with {now}, and clients expect {before}"


def _count(outputs: int) -> str:
    return "1 output" if outputs == 1 else f"{outputs} outputs"


def _specs(text: object) -> list[dict[str, Any]]:
    if not text:
        return []
    specs = json.loads(str(text))
    if not isinstance(specs, list) or not all(isinstance(spec, dict) for spec in specs):
        raise TypeError
    return specs


def _type(spec: dict[str, Any]) -> str:
    return bounded(str(spec.get("type", "")), 50)


def _types(specs: list[dict[str, Any]]) -> tuple[str, ...] | None:
    return tuple(_output_type(spec) for spec in specs) or None


def _output_type(spec: dict[str, Any]) -> str:
    """An array tells its type elsewhere, under numpy's name."""
    return _NUMPY_TYPES.get(str(spec["tensor-spec"]["dtype"]), "tensor") if spec.get("type") == "tensor" else _type(spec)


_NUMPY_TYPES = {
    "bool": "boolean",
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "integer"),
    **dict.fromkeys(("int64", "uint32", "uint64"), "long"),
    "float32": "float",
    "float64": "double",
    **dict.fromkeys(("str", "object"), "string"),
}


def _columns(specs: list[dict[str, Any]]) -> tuple[dict[str, Column] | None, int | None]:
    """The inputs by name, or None and the width of an array of numbers, as far as it is known.

    Where there are no names and not all inputs are numbers, the server makes names up: positions, and `text` for one text.
    """
    if not specs:
        return None, None
    if any(spec.get("type") == "tensor" for spec in specs):
        return _of_tensor(specs[0]["tensor-spec"])
    if any("name" in spec for spec in specs):
        named = [spec for spec in specs if "name" in spec]
        return {bounded(str(spec["name"]), 200): Column(_type(spec), bool(spec.get("required", True))) for spec in named}, None
    if specs[0].get("type") == "array":
        return None, None
    types = [_type(spec) for spec in specs]
    if set(types) <= _NUMBERS:
        return None, len(types)
    return _TEXT if types == ["string"] else _by_position(types), None


def _of_tensor(tensor: dict[str, Any]) -> tuple[dict[str, Column] | None, int | None]:
    shape, kind = tensor["shape"], {"bool": "boolean", "str": "string", "object": "string"}.get(str(tensor["dtype"]))
    width = int(shape[1]) if len(shape) > 1 else 1
    if kind is None:
        return None, width if width >= 0 else None
    if width > _MAX_COLUMNS:
        raise ValueError
    return _by_position([kind] * width) if len(shape) > 1 else _TEXT, None


def _by_position(types: list[str]) -> dict[str, Column]:
    return {str(position): Column(kind, required=True) for position, kind in enumerate(types)}


def _declared(described: dict[str, Any]) -> dict[str, Range]:
    found: Any = described
    for key in ("metadata", "mlserving", "bounds", "declared"):
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        return {}
    return {bounded(str(name), 200): (_number(low), _number(high)) for name, (low, high) in found.items()}


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
