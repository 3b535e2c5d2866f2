"""From a fitted pipeline to a registered version: the only place that talks to MLflow."""

import importlib.metadata
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import mlflow
import mlflow.sklearn
from mlflow import MlflowClient
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from sklearn.pipeline import Pipeline

from server import artifact, compilation, model
from server.artifact import Artifact, Compiling
from server.settings import MAX_TREE_NODES, Trust
from training import evidence
from training.errors import RegistryError
from training.evaluate import Scores, Spread
from training.settings import RunSettings
from training.table import Split, Table

REQUIREMENTS = ("scikit-learn", "numpy", "pandas", "scipy", "joblib", "cloudpickle")
"""What the estimator's file needs. Named, since MLflow would start processes to find out."""
TYPES = {"number": "double", "boolean": "boolean", "string": "string"}
LABEL_TYPES = {"i": "long", "b": "boolean", "O": "string", "f": "double"}
SERIALIZATION = "cloudpickle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is worth a version: a pipeline, what it was trained on, and how good it is."""

    table: Table
    split: Split
    pipeline: Pipeline
    parameters: Mapping[str, Any]
    """Of the estimator, as MLflow records them."""
    folds: Mapping[str, Spread]
    test: Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A registered version, and where to look at it."""

    name: str
    number: str
    run_id: str
    url: str | None
    """Of the version's page; None where MLflow is a file and no server."""
    not_compiled: str | None = None
    """Why the server will answer with scikit-learn itself; None: it will with the faster, compiled form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """An MLflow that has answered."""

    client: MlflowClient
    settings: RunSettings

    def register(self, candidate: Candidate) -> Version:
        """A run with all there is to know, a new version, and at last the alias: it is what deploys."""
        settings = self.settings
        with _told(settings.tracking_uri), tempfile.TemporaryDirectory() as scratch:
            with mlflow.start_run(experiment_id=self._experiment(), run_name=settings.name, tags=settings.tags) as run:
                mlflow.log_params(_parameters(candidate, settings))
                mlflow.log_metrics(_metrics(candidate))
                dump = Path(scratch) / "pipeline.joblib"
                joblib.dump(candidate.pipeline, dump, compress=3)
                mlflow.log_artifact(str(dump))
                description = _description(candidate, settings, Path(scratch))
                logged = mlflow.sklearn.log_model(candidate.pipeline, name="model", **description)
                number = self._version(logged, run.info.run_id)
            if settings.alias is not None:
                self.client.set_registered_model_alias(settings.name, settings.alias, number)
        compiling = description["metadata"][artifact.METADATA_KEY]["compiling"]
        return Version(
            name=settings.name,
            number=number,
            run_id=run.info.run_id,
            url=self._url(number),
            not_compiled=compiling.get("reason"),
        )

    def _experiment(self) -> str:
        """One experiment a model, under the same name."""
        found = self.client.get_experiment_by_name(self.settings.name)
        return str(found.experiment_id if found else self.client.create_experiment(self.settings.name))

    def _version(self, logged: Any, run_id: str) -> str:
        try:
            self.client.create_registered_model(self.settings.name)
        except MlflowException as e:
            if e.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        made = self.client.create_model_version(
            self.settings.name, logged.model_uri, run_id=run_id, tags=self.settings.tags, model_id=logged.model_id
        )
        return str(made.version)

    def _url(self, number: str) -> str | None:
        uri = self.settings.tracking_uri.rstrip("/")
        return f"{uri}/#/models/{self.settings.name}/versions/{number}" if uri.startswith("http") else None


def connect(settings: RunSettings) -> Registry:
    """An MLflow that answers within seconds, or an error that says why not."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(settings.retries)
    MLFLOW_HTTP_REQUEST_TIMEOUT.set(settings.check_seconds)
    with _told(settings.tracking_uri):
        mlflow.set_tracking_uri(settings.tracking_uri)
        client = MlflowClient()
        client.search_registered_models(max_results=1)
    MLFLOW_HTTP_REQUEST_TIMEOUT.set(settings.request_seconds)
    return Registry(client=client, settings=settings)


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """What goes wrong with MLflow, as one sentence."""
    try:
        yield
    except (MlflowException, OSError) as e:
        text = str(e)
        refused = re.search(r"Max retries exceeded.*?(Connection refused|Name or service not known|timed out)", text)
        if refused:
            raise RegistryError(
                f"MLflow does not answer at {uri} ({refused[1].lower()}). Give the address of a running MLflow with "
                "--tracking-uri or MLFLOW_TRACKING_URI."
            ) from e
        if re.search(r"<(!doctype )?html", text, re.IGNORECASE):
            raise RegistryError(f"What answers at {uri} is no MLflow: it sent a page, not JSON.") from e
        raise RegistryError(f"MLflow at {uri} refused: {' '.join(text.split())[:500]}") from e


def _parameters(candidate: Candidate, settings: RunSettings) -> dict[str, Any]:
    return {
        "data": candidate.table.source,
        "data_fingerprint": candidate.table.fingerprint,
        "rows": len(candidate.table.all.labels),
        "columns": len(candidate.table.columns),
        "task": candidate.table.task,
        **settings.model_dump(include={"target", "folds", "test_size", "seed"}),
        **candidate.parameters,
    }


def _metrics(candidate: Candidate) -> dict[str, float]:
    folds = candidate.folds.items()
    return {
        **{f"test_{metric}": value for metric, value in candidate.test.items()},
        **{f"cv_{metric}_mean": spread.mean for metric, spread in folds},
        **{f"cv_{metric}_std": spread.std for metric, spread in folds},
    }


def _description(candidate: Candidate, settings: RunSettings, scratch: Path) -> dict[str, Any]:
    """Everything that log_model is told about a pipeline, with the answer to the example as it will be read back."""
    table, split = candidate.table, candidate.split
    description: dict[str, Any] = {
        "serialization_format": SERIALIZATION,
        "signature": _signature(table),
        "input_example": evidence.example(split.test, settings.example_rows),
        "pip_requirements": [f"{package}=={importlib.metadata.version(package)}" for package in REQUIREMENTS],
    }
    saved = _read_back(candidate.pipeline, description, scratch / "description")
    rows = saved.example_frame
    if rows is None:
        raise RegistryError("MLflow saved no input example: this is a defect of this program or of MLflow.")
    record = evidence.record(table, split.train, evidence.answer(candidate.pipeline, rows), _metrics(candidate), settings)
    known = replace(saved, record=record)  # its bounds say which rows to compare
    record = record.model_copy(update={"compiling": _compiling(known, scratch / "compiled")})
    return {**description, "metadata": {artifact.METADATA_KEY: record.model_dump(mode="json", exclude_none=True)}}


def _read_back(pipeline: Pipeline, description: Mapping[str, Any], directory: Path) -> Artifact:
    """What was saved, as the server reads it: the example's rows have been through MLflow's JSON, as they will in each pod."""
    mlflow.sklearn.save_model(pipeline, str(directory), **description)
    return artifact.read(directory)


def _compiling(saved: Artifact, scratch: Path) -> Compiling:
    """What will come of compiling it in a pod, so that nobody learns only there that it stays slow."""
    report = compilation.attempt(model.load(saved, Trust()), saved, "", scratch, MAX_TREE_NODES)
    return Compiling.model_validate(report.model_dump())


def _signature(table: Table) -> ModelSignature:
    """Numbers are doubles, whole or not: a whole number today can be 2.5, or missing, tomorrow."""
    inputs = [ColSpec(TYPES[column.kind], column.name, required=not column.optional) for column in table.columns]
    output = ColSpec(LABEL_TYPES[table.all.labels.dtype.kind], table.target)
    return ModelSignature(Schema(inputs), Schema([output]))
