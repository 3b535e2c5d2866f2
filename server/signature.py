"""A model's signature: what a row is, out of what MLflow wrote. Training may have had columns with names, an array, or a list."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast, get_args

from server.errors import LoadFailed
from server.table import Column, ColumnType

Dtype: TypeAlias = Literal["float64", "float32"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Features with names: a row is a JSON object."""

    columns: tuple[Column, ...]
    named: bool = True
    """False: the signature has no names, and these are made up. An example has its cells in their order."""

    @property
    def flat(self) -> bool:
        """Whether the estimator was trained on a list of texts, and gets one: one dimension, and no name."""
        return not self.named and self.columns[0].name == TEXT

    @property
    def dtype(self) -> Dtype:
        """The precision of training, where all columns are numbers."""
        return "float32" if all(column.type == "float" for column in self.columns) else "float64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """No names, only positions: a row is an array of numbers."""

    width: int | None
    """None where only the estimator knows it."""
    dtype: Dtype = "float64"
    """The precision of training, in which the estimator gets the numbers."""
    numbers: bool = True
    """False: nobody says that the values are numbers; they can be texts and truth values as well."""
    optional: bool = False
    """Whether a value may be missing, as far as the estimator's first step can tell."""
    names: tuple[str, ...] | None = None
    """What the columns were called in training, where the estimator knows it; no signature says so."""


Inputs: TypeAlias = Columns | Vector

TEXT = "text"
"""The name of the only column of a model that takes a text and has no name for it."""

MAX_COLUMNS = 10_000
"""Of an array that is no array of numbers: a few bytes could claim more than memory holds."""

TENSOR_TYPES: Mapping[str, ColumnType] = {"bool": "boolean", "str": "string"}
"""Of an array that is no array of numbers: the type of each of its columns, which are named by their positions."""


def read(signature: object) -> Inputs:
    """What rows are, out of the key of that name in MLmodel. Raises what makes it impossible to ask the model anything."""
    specs = _specs(signature)
    if not specs or [(spec.get("type"), spec.get("name")) for spec in specs] == [("any", None)]:  # of what MLflow does not know
        return Vector(width=None, numbers=False)
    if any(spec.get("type") == "tensor" for spec in specs):
        return _tensor(specs)
    if not any("name" in spec for spec in specs):
        return _nameless(specs)
    columns = tuple(_column(spec, spec.get("name")) for spec in specs)
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LoadFailed(f"The model's signature has these columns more than once: {', '.join(twice)}.")
    return Columns(columns=columns)


def _specs(signature: object) -> list[dict[str, Any]]:
    if not signature:
        return []
    try:
        specs = json.loads(_mapping(signature).get("inputs") or "[]")
    except (TypeError, ValueError, RecursionError) as e:
        raise LoadFailed("The model's signature can't be read. Log the model again with MLflow.") from e
    if not isinstance(specs, list) or not all(isinstance(spec, dict) for spec in specs):
        raise LoadFailed("The model's signature is not a list of columns. Log the model again with MLflow.")
    return specs


def _column(spec: Mapping[str, Any], name: object) -> Column:
    kind = spec.get("type")
    if name is None:
        raise LoadFailed(
            "The model's signature has a column without a name. Log the model with a signature made from a DataFrame."
        )
    if kind not in get_args(ColumnType):
        raise LoadFailed(
            f"The model's signature has column {name!r} of type {kind}, which this server does not take. "
            f"Supported are {', '.join(get_args(ColumnType))}; give the pipeline one of these."
        )
    return Column(name=str(name), type=cast(ColumnType, kind), required=bool(spec.get("required", True)))


def _nameless(specs: list[dict[str, Any]]) -> Inputs:
    """Made from a list: of numbers, of lists of numbers, or of texts."""
    if len(specs) == 1 and specs[0].get("type") == "array":
        specs = [dict(_mapping(specs[0].get("items")))]
        width = None
    else:
        width = len(specs)
    columns = tuple(_column(spec, str(position)) for position, spec in enumerate(specs))
    if all(column.numeric for column in columns):
        return Vector(width=width, dtype=Columns(columns=columns).dtype)
    if width is None:
        raise LoadFailed(
            f"The model's signature has lists of type {columns[0].type}, which have no columns to tell apart. "
            "Log the model with a signature made from a DataFrame."
        )
    return texts() if [column.type for column in columns] == ["string"] else Columns(columns=columns, named=False)


def _tensor(specs: list[dict[str, Any]]) -> Inputs:
    tensor = _mapping(specs[0].get("tensor-spec"))
    shape, dtype = tensor.get("shape"), str(tensor.get("dtype"))
    if len(specs) != 1 or "name" in specs[0]:
        raise LoadFailed(
            "The model's signature is made of tensors with names, which scikit-learn's estimators do not take. "
            "Log the model with a signature made from a DataFrame."
        )
    numbers = dtype.startswith(("float", "int", "uint"))
    precision: Dtype = "float32" if dtype == "float32" else "float64"
    match shape:
        case [int(), int(width)] if numbers:
            return Vector(width=width if width >= 0 else None, dtype=precision)
        case [int()] if numbers:
            return Vector(width=1, dtype=precision)
        case [int(), int(width)] if dtype in TENSOR_TYPES and 0 < width <= MAX_COLUMNS:
            columns = tuple(Column(name=str(number), type=TENSOR_TYPES[dtype]) for number in range(width))
            return Columns(columns=columns, named=False)
        case [int()] if dtype in ("str", "object"):
            return texts()
    raise LoadFailed(
        f"The model's signature is a tensor of {dtype} with the shape {shape}, which this server does not take. Supported are "
        "tables of numbers, truth values or texts, of one or two dimensions. Log the model again with a signature made from a "
        "DataFrame."
    )


def texts() -> Columns:
    """One text a row."""
    return Columns(columns=(Column(name=TEXT, type="string"),), named=False)


def _mapping(value: object) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise LoadFailed("The model's signature can't be read. Log the model again with MLflow.")
