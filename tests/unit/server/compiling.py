"""Fitted estimators on their way to an engine, without MLflow; each call names only what its test is about."""

import pickle
from pathlib import Path
from typing import Any

import sklearn

from server import compilation, compiled, model
from server.artifact import Artifact, Record
from server.compiled import Compiled
from server.model import Model
from server.report import ENGINE, Report
from server.settings import Trust
from server.signature import Columns, Inputs, Vector
from server.table import Column, ColumnType

DIGEST = "sha256:" + "0" * 64
MAX_NODES = 100_000


def artifact(estimator: Any, directory: Path, inputs: Inputs | None = None) -> Artifact:
    """A model of which nothing is recorded."""
    path = directory / "model.pkl"
    path.write_bytes(pickle.dumps(estimator))
    return Artifact(
        directory=directory,
        estimator=path,
        serialization="pickle",
        sklearn_version=sklearn.__version__,
        inputs=inputs or Vector(width=None),
        predict_function="predict",
        example=None,
        record=Record(),
    )


def columns(**types: ColumnType) -> Columns:
    """A signature of columns that may be missing."""
    return Columns(columns=tuple(Column(name=name, type=kind, required=False) for name, kind in types.items()))


def native(estimator: Any, directory: Path, inputs: Inputs | None = None) -> Model:
    """The engine that is scikit-learn itself."""
    return model.load(artifact(estimator, directory, inputs), Trust())


def report(estimator: Any, directory: Path, inputs: Inputs | None = None, max_nodes: int = MAX_NODES) -> Report:
    """What comes of compiling it."""
    about = artifact(estimator, directory, inputs)
    return compilation.attempt(model.load(about, Trust()), about, DIGEST, directory, max_nodes)


def engine(estimator: Any, directory: Path, inputs: Inputs | None = None) -> Compiled:
    """Its compiled form, which must be one."""
    made = report(estimator, directory, inputs)
    assert made.reason is None, made.reason
    return compiled.load(directory / ENGINE)
