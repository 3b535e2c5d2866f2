"""A model directory of MLflow, read as data.

Nothing in here executes anything that a model brings along: YAML and JSON are parsed, the estimator's file is only
named. Training imports this module, and nothing else of this room, to write with the same types what is read here.
"""

import importlib.metadata
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, cast, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server import table
from server.errors import ExampleFailed, FlavorUnsupported, LoadFailed, PathEscapes
from server.table import Column, ColumnType, Row, Value

if TYPE_CHECKING:
    import pandas as pd

METADATA_KEY = "mlserving"
"""Where, in MLmodel's metadata, what this project adds to MLflow's format lives."""

Serialization: TypeAlias = Literal["pickle", "cloudpickle", "skops"]
Label: TypeAlias = bool | int | float | str
Finite: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
Range: TypeAlias = tuple[Finite | None, Finite | None]
"""Lowest and highest value, both inclusive; None leaves that side open."""


class Recorded(BaseModel):
    """A part of the record; a key that a later version adds is no reason not to serve."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Answer(Recorded):
    """What a pipeline answered to some rows. JSON values only, so that two answers can be compared anywhere."""

    predictions: list[Label | list[Label]]
    """predict(): a label or a number a row; a list of them where the model has several outputs."""
    probabilities: list[list[float]] | None = None
    """predict_proba(): one list a row; None where the model has none."""
    classes: list[Label] | None = None
    """The labels in the order of the probability columns; None likewise."""


class Bounds(Recorded):
    """Which values a numeric column can have, by column name."""

    seen: dict[str, Range] = {}
    """The lowest and the highest value in the training data: outside is remarkable."""
    declared: dict[str, Range] = {}
    """What a person declared as possible: outside is a mistake."""


class Record(Recorded):
    """All that this project adds to an MLflow model.

    It is written as `metadata={METADATA_KEY: record.model_dump(exclude_none=True)}`.
    """

    format: Literal[1] = 1
    example: Answer | None = None
    """The answer to the rows of the input example, given by the pipeline as it was trained."""
    bounds: Bounds = Bounds()
    data: dict[str, Any] | None = None
    """Fingerprint and size of the training data."""
    target: str | None = None
    """The column that was predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """A signature with names: a row is a JSON object."""

    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """No names, only positions: a row is an array of numbers. `width` is None where only the estimator knows it."""

    width: int | None


Inputs: TypeAlias = Columns | Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What can be known about a model without executing it."""

    directory: Path
    estimator: Path
    serialization: Serialization
    sklearn_version: str
    inputs: Inputs
    example: tuple[Row, ...] | None
    """The rows of the recorded input example, in the order of the columns; None where there is none."""
    record: Record

    @property
    def example_frame(self) -> "pd.DataFrame | None":
        """The recorded rows as the trained pipeline gets them."""
        import pandas as pd  # takes longer than all else here, and a compiled model needs none

        from server import frame

        if self.example is None:
            return None
        if isinstance(self.inputs, Columns):
            return frame.frame(self.inputs.columns, self.example)
        return pd.DataFrame(table.array(self.example))


def read(directory: Path) -> Artifact:
    """Everything that a model directory says about itself. Raises what makes it impossible to serve."""
    mlmodel = _mlmodel(directory)
    flavors = _mapping(mlmodel.get("flavors"), "flavors")
    if "sklearn" not in flavors:
        found = ", ".join(sorted(str(name) for name in flavors)) or "none"
        raise FlavorUnsupported(f"The model has no scikit-learn flavor (found: {found}). Log it with mlflow.sklearn.log_model.")
    flavor = _mapping(flavors["sklearn"], "flavors.sklearn")
    if flavor.get("code"):
        raise FlavorUnsupported(
            "The model brings code of its own along (code_paths), which this server does not execute. "
            "Use scikit-learn's own classes, or a package that is in the server image."
        )
    serialization = flavor.get("serialization_format", "pickle")
    if serialization not in get_args(Serialization):
        raise FlavorUnsupported(
            f"The model is serialized as {serialization!r}. Supported are {', '.join(get_args(Serialization))}."
        )
    inputs = _inputs(mlmodel)
    return Artifact(
        directory=directory,
        estimator=_inside(directory, flavor.get("pickled_model", "model.pkl")),
        serialization=serialization,
        sklearn_version=str(flavor.get("sklearn_version", "unknown")),
        inputs=inputs,
        example=_example(directory, mlmodel, inputs),
        record=_record(mlmodel),
    )


def versions(artifact: Artifact) -> str:
    """A sentence where the model was saved by another scikit-learn than that of this server; else nothing."""
    installed = importlib.metadata.version("scikit-learn")
    if artifact.sklearn_version == installed:
        return ""
    return f" It was saved with scikit-learn {artifact.sklearn_version}, and this server has {installed}."


def _mlmodel(directory: Path) -> Mapping[str, Any]:
    path = directory / "MLmodel"
    try:
        return _mapping(yaml.safe_load(path.read_bytes()), "MLmodel")
    except FileNotFoundError as e:
        raise LoadFailed("There is no file MLmodel: this is not the directory of an MLflow model.") from e
    except (OSError, UnicodeError, yaml.YAMLError, RecursionError) as e:
        raise LoadFailed(f"The file MLmodel can't be read ({type(e).__name__}). Log the model again.") from e


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise LoadFailed(f"In the file MLmodel, {name} is not a mapping. Log the model again with MLflow.")


def _inside(directory: Path, name: object) -> Path:
    if not isinstance(name, str) or not name:
        raise LoadFailed("The file MLmodel does not name the estimator's file. Log the model again with MLflow.")
    path = (directory / name).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise PathEscapes(f"The file MLmodel names {name!r}, which lies outside the model's directory.")
    return path


def _record(mlmodel: Mapping[str, Any]) -> Record:
    metadata = mlmodel.get("metadata")
    if not isinstance(metadata, Mapping) or METADATA_KEY not in metadata:
        return Record()
    try:
        return Record.model_validate(metadata[METADATA_KEY])
    except ValidationError as e:
        first = e.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in (METADATA_KEY, *first["loc"]))
        raise LoadFailed(f"In the model's metadata, {where} can't be read: {first['msg']}. Register the model again.") from e


# --- the signature ----------------------------------------------------------------------------------------------------


def _inputs(mlmodel: Mapping[str, Any]) -> Inputs:
    signature = mlmodel.get("signature")
    if not signature or not _mapping(signature, "signature").get("inputs"):
        return Vector(width=None)
    try:
        specs = json.loads(signature["inputs"])
    except (TypeError, ValueError) as e:
        raise LoadFailed("The model's signature can't be read. Log the model again with MLflow.") from e
    if not isinstance(specs, list) or not all(isinstance(spec, dict) for spec in specs):
        raise LoadFailed("The model's signature is not a list of columns. Log the model again with MLflow.")
    if any(spec.get("type") == "tensor" for spec in specs):
        return _vector(specs)
    columns = tuple(_column(spec) for spec in specs)
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LoadFailed(f"The model's signature has these columns more than once: {', '.join(twice)}.")
    return Columns(columns=columns)


def _column(spec: Mapping[str, Any]) -> Column:
    name, kind = spec.get("name"), spec.get("type")
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


def _vector(specs: list[dict[str, Any]]) -> Vector:
    tensor = specs[0].get("tensor-spec") or {}
    shape, dtype = tensor.get("shape") or [], str(tensor.get("dtype"))
    if len(specs) != 1 or len(shape) != 2 or not dtype.startswith(("float", "int", "uint")):
        raise LoadFailed(
            "The model's signature is made of tensors that are no table of numbers. "
            "Log the model with a signature made from a DataFrame."
        )
    return Vector(width=int(shape[1]) if shape[1] >= 0 else None)


# --- the recorded example ---------------------------------------------------------------------------------------------


def _example(directory: Path, mlmodel: Mapping[str, Any], inputs: Inputs) -> tuple[Row, ...] | None:
    info = mlmodel.get("saved_input_example_info")
    if not isinstance(info, Mapping):
        return None
    path = _inside(directory, info.get("artifact_path", "input_example.json"))
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as e:
        raise ExampleFailed(f"The recorded input example can't be read ({type(e).__name__}).") from e
    rows = _named_rows(content, inputs.columns) if isinstance(inputs, Columns) else _plain_rows(content)
    if not rows or len({len(row) for row in rows}) != 1:
        raise ExampleFailed("The recorded input example has no rows, or rows of different lengths.")
    return rows


def _named_rows(content: object, columns: tuple[Column, ...]) -> tuple[Row, ...]:
    """MLflow writes a DataFrame as {columns, data}, and a dictionary or a list of them as it is."""
    match content:
        case {"columns": list(names), "data": list(data)}:
            records = [dict(zip(map(str, names), cells, strict=False)) for cells in data]
        case {"data": list(data)}:
            records = [dict(zip((column.name for column in columns), cells, strict=False)) for cells in data]
        case dict():
            lists = {name: cells if isinstance(cells, list) else [cells] for name, cells in content.items()}
            records = [dict(zip(lists, cells, strict=False)) for cells in zip(*lists.values(), strict=False)]
        case list() if all(isinstance(record, dict) for record in content):
            records = content
        case _:
            raise ExampleFailed("The recorded input example is no table. Log the model with a DataFrame as example.")
    absent = sorted({c.name for c in columns if c.required for record in records if c.name not in record})
    if absent:
        raise ExampleFailed(f"The recorded input example lacks columns of the signature: {', '.join(absent)}.")
    return tuple(tuple(_cell(record.get(column.name)) for column in columns) for record in records)


def _plain_rows(content: object) -> tuple[Row, ...]:
    match content:
        case {"data": list(data)}:
            rows = data
        case list():
            rows = content
        case _:
            raise ExampleFailed("The recorded input example is no array. Log the model with a signature.")
    if not all(isinstance(row, list) for row in rows):
        raise ExampleFailed("The recorded input example is no table of rows. Log the model with a signature.")
    return tuple(tuple(_cell(cell) for cell in row) for row in rows)


def _cell(value: object) -> Value:
    """MLflow writes missing values as NaN."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ExampleFailed("The recorded input example has nested values; a flat table is expected.")
