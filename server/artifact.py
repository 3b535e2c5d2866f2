"""A model directory of MLflow, read as data.

Nothing in here executes anything that a model brings along: YAML and JSON are parsed, the estimator's file is only
named. Training imports this module, and nothing else of this room, to write with the same types what is read here.
"""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, cast, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server import example, signature, table
from server.errors import FlavorUnsupported, LoadFailed, PathEscapes
from server.signature import Columns, Inputs
from server.table import Row

if TYPE_CHECKING:
    import pandas as pd

METADATA_KEY = "mlserving"
"""Where, in MLmodel's metadata, what this project adds to MLflow's format lives."""

FLAVOR = "sklearn"
Serialization: TypeAlias = Literal["skops", "cloudpickle", "pickle"]
SERIALIZATIONS = get_args(Serialization)
PredictFunction: TypeAlias = Literal["predict", "predict_proba"]
"""What MLflow's own scoring calls; `pyfunc_predict_fn` of its log_model."""
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


class Compiling(Recorded):
    """What came of compiling the pipeline when it was registered. The pods compile it again, and believe only that."""

    reason: str | None = None
    """Why scikit-learn itself will answer; None: a compiled form will."""
    nodes: int
    """Of all trees."""
    rows: int
    """So many rows were answered by both."""
    worst: float
    """The largest difference between them."""


class Record(Recorded):
    """All that this project adds to an MLflow model.

    It is written as `metadata={METADATA_KEY: record.model_dump(exclude_none=True)}`.
    """

    format: Literal[1] = 1
    example: Answer | None = None
    """The answer to the rows of the input example, given by the pipeline as it was trained."""
    bounds: Bounds = Bounds()
    data: dict[str, Any] | None = None
    """Fingerprint of the table, and `rows`: how many of it were trained on."""
    target: str | None = None
    """The column that was predicted."""
    compiling: Compiling | None = None
    """Whether the server will need scikit-learn, as far as that could be told in training."""
    metrics: dict[str, float] = {}
    """How good it was in training, under the names that its run in MLflow has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What can be known about a model without executing it."""

    directory: Path
    estimator: Path
    serialization: Serialization
    sklearn_version: str
    inputs: Inputs
    predict_function: PredictFunction
    example: tuple[Row, ...] | None
    """The rows of the recorded input example, in the order of the columns; None where there is none."""
    record: Record

    @property
    def signature(self) -> Literal["Columns", "Arrays", "NoSignature"]:
        """What MLflow recorded of the inputs: columns with names, arrays, or nothing."""
        if isinstance(self.inputs, Columns):
            return "Columns"
        return "Arrays" if self.inputs.numbers else "NoSignature"

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
    if FLAVOR not in flavors:
        found = ", ".join(sorted(str(name) for name in flavors)) or "none"
        raise FlavorUnsupported(
            f"The model has the flavors {found}. Supported is {FLAVOR}, serialized as {_or(SERIALIZATIONS)}: "
            "log it with mlflow.sklearn.log_model."
        )
    flavor = _mapping(flavors[FLAVOR], f"flavors.{FLAVOR}")
    if flavor.get("code"):
        raise FlavorUnsupported(
            "The model brings code of its own along (code_paths), which this server does not execute. "
            "Use scikit-learn's own classes, or a package that is in the server image."
        )
    serialization = flavor.get("serialization_format", "pickle")
    if serialization not in SERIALIZATIONS:
        raise FlavorUnsupported(f"The model is serialized as {serialization!r}. Supported is {_or(SERIALIZATIONS)}.")
    inputs = signature.read(mlmodel.get("signature"))
    return Artifact(
        directory=directory,
        estimator=_inside(directory, flavor.get("pickled_model", "model.pkl")),
        serialization=serialization,
        sklearn_version=str(flavor.get("sklearn_version", "unknown")),
        inputs=inputs,
        predict_function=_predict_function(flavors),
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


def _or(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _predict_function(flavors: Mapping[str, Any]) -> PredictFunction:
    """What MLflow's scoring would call; a client of it expects the same here."""
    found = _mapping(flavors.get("python_function") or {}, "flavors.python_function").get("predict_fn", "predict")
    if found not in get_args(PredictFunction):
        raise FlavorUnsupported(
            f"The model was logged with pyfunc_predict_fn={found!r}. Supported is {_or(get_args(PredictFunction))}."
        )
    return cast(PredictFunction, found)


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


# --- the recorded example ---------------------------------------------------------------------------------------------


def _example(directory: Path, mlmodel: Mapping[str, Any], inputs: Inputs) -> tuple[Row, ...] | None:
    info = mlmodel.get("saved_input_example_info")
    if not isinstance(info, Mapping):
        return None
    path = _inside(directory, info.get("artifact_path", "input_example.json"))
    if isinstance(inputs, Columns):
        return example.read(path, info, inputs.columns, named=inputs.named)
    return example.read(path, info)
