"""A fitted model as the directory that a pod will get: one standard file of MLflow's, and its proof in the metadata.

What is written is read back with the server's own code, and must answer there as it does here.
"""

import importlib.metadata
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow.sklearn
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

from server import artifact, compilation, engine, manifest, model, replay
from server.artifact import Artifact, Compiling, Record
from server.errors import ModelAtFault
from server.settings import MAX_TREE_NODES, Trust
from training import evidence, foreign, skops_file
from training.errors import InputError, RegistryError

REQUIREMENTS = {
    "skops": ("scikit-learn", "numpy", "pandas", "scipy", "joblib", "skops"),
    "cloudpickle": ("scikit-learn", "numpy", "pandas", "scipy", "joblib", "cloudpickle"),
}
"""What the estimator's file needs, by its format. Named, since MLflow would start processes to find out."""
LABEL_TYPES = {"i": "long", "u": "long", "b": "boolean", "O": "string", "U": "string", "f": "double", "M": "datetime"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A directory that is ready to be logged."""

    directory: Path
    estimator: Path
    """The model's file in it."""
    serialization: str
    compiling: Compiling

    def save_model(self, path: str, mlflow_model: Model, **_: Any) -> None:
        """What MLflow calls of a flavor: the files, with what MLflow now knows of itself in MLmodel."""
        copied = Path(path)
        for file in self.directory.rglob("*"):
            if file.is_file() and file.name != "registered_model_meta":
                place = copied / file.relative_to(self.directory)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(file.read_bytes())
        described = Model.load(str(copied))
        for name in ("artifact_path", "run_id", "model_uuid", "model_id", "utc_time_created"):
            setattr(described, name, getattr(mlflow_model, name))
        described.save(str(copied / "MLmodel"))


def save(
    fitted: Any,
    directory: Path,
    *,
    inputs: Schema,
    output: Schema | None,
    rows: Any,
    example: Any,
    record: Record,
    image: bool = False,
) -> Saved:
    """Write it, read it back, compare. `rows` is the example as the model takes it, `example` as MLflow can write it.

    Raises InputError where no server could load it (unless it will be an image of its own), or where it answers otherwise.
    """
    trusted = skops_file.types_of(fitted)
    if trusted is None and not image and (missing := foreign.needed(foreign.pickled(fitted))):
        raise foreign.refuse(missing)
    form = "cloudpickle" if trusted is None else "skops"
    description = {
        "signature": ModelSignature(inputs, output),
        "input_example": example,
        "pip_requirements": [f"{package}=={importlib.metadata.version(package)}" for package in REQUIREMENTS[form]],
        "serialization_format": form,
        **({} if trusted is None else {"skops_trusted_types": trusted}),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice on formats and whole numbers
        mlflow.sklearn.save_model(fitted, str(directory), **description)
    if trusted is not None:
        skops_file.put_in_order(directory / "model.skops")
    return finish(directory, record.model_copy(update={"example": evidence.answer(fitted, rows)}))


def finish(directory: Path, record: Record) -> Saved:
    """Prove what lies in a directory against the recorded answer, try to compile it, and write the record into it."""
    try:
        about = artifact.read(directory)
        loaded = model.load(about, Trust())
        if about.example is None or record.example is None:
            raise RegistryError("MLflow saved no input example: this is a defect of this program or of MLflow.")
        try:
            given = engine.answer(loaded, about.example)
        except ValueError as e:
            raise InputError(
                f"The model answers X_sample, and the saved file refuses the same rows as a server gets them, out of JSON: {e}. "
                "Train with plain types (float64, int64, str, bool, datetime64)."
            ) from e
    except ModelAtFault as e:
        raise InputError(str(e)) from e
    if difference := replay.compare(record.example, given, classifier=loaded.classes is not None):
        raise InputError(
            "The saved file does not answer as the model does here, when it gets the same rows as a server does, out of JSON: "
            f"{difference}. Train with plain types (float64, int64, str, bool, datetime64), and without anything random in "
            "predict()."
        )
    known = replace(about, record=record)  # its bounds say which rows to compare
    compiling = _compiling(loaded, known, directory.with_name(f"{directory.name}-compiled"))
    record = record.model_copy(update={"compiling": compiling})
    described = Model.load(str(directory))
    described.metadata = {
        **(described.metadata or {}),
        artifact.METADATA_KEY: record.model_dump(mode="json", exclude_none=True),
    }
    described.model_size_bytes = sum(file.size for file in manifest.of_directory(directory).files)
    described.save(str(directory / "MLmodel"))
    return Saved(directory=directory, estimator=about.estimator, serialization=about.serialization, compiling=compiling)


def output(predictions: Any, name: str | None) -> Schema | None:
    """What the model says, for people and for the gate that compares signatures."""
    if predictions.dtype.kind not in LABEL_TYPES:
        return None
    if predictions.ndim == 1:
        return Schema([ColSpec(LABEL_TYPES[predictions.dtype.kind], name)])
    return Schema([TensorSpec(predictions.dtype, (-1, *predictions.shape[1:]))]) if predictions.dtype.kind in "iufb" else None


def _compiling(loaded: model.Model, about: Artifact, scratch: Path) -> Compiling:
    """What will come of compiling it in a pod, so that nobody learns only there that it stays slow."""
    report = compilation.attempt(loaded, about, "", scratch, MAX_TREE_NODES)
    return Compiling.model_validate(report.model_dump())
