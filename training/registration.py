"""What a training run has to show, on its way to a version: files, figures, proof."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
from mlflow.types import ColSpec, Schema
from sklearn.pipeline import Pipeline

from server.artifact import Record
from training import evidence, saving
from training.evaluate import Scores, Spread
from training.registry import Registry, Version
from training.settings import RunSettings
from training.table import Split, Table

TYPES = {"number": "double", "boolean": "boolean", "string": "string"}
DUMP = "pipeline.joblib"
"""Beside the standard file: what joblib.load reads."""


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
    files: Mapping[str, bytes]
    """The report and its pictures, by their names among the run's artifacts."""

    def metrics(self) -> dict[str, float]:
        """All figures, under the names that the run has them."""
        return {
            **{f"test_{metric}": value for metric, value in self.test.items()},
            **{f"cv_{metric}_mean": spread.mean for metric, spread in self.folds.items()},
            **{f"cv_{metric}_std": spread.std for metric, spread in self.folds.items()},
        }


def register(registry: Registry, candidate: Candidate, settings: RunSettings) -> Version:
    """A run with all there is to know, a new version, and at last the alias: it is what deploys."""
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch) / "files"
        files.mkdir()
        joblib.dump(candidate.pipeline, files / DUMP, compress=3)
        for name, content in candidate.files.items():
            (files / name).parent.mkdir(exist_ok=True)
            (files / name).write_bytes(content)
        version = registry.register(
            saved(candidate, settings, Path(scratch)),
            name=settings.name,
            params=_parameters(candidate, settings),
            metrics=candidate.metrics(),
            tags=settings.tags,
            description="",
            files=files,
        )
    if settings.alias is not None:
        registry.move(settings.name, settings.alias, version.number)
    return version


def saved(candidate: Candidate, settings: RunSettings, scratch: Path) -> saving.Saved:
    """The directory that a pod will get, under `scratch`, with what it was compiled to beside it."""
    table, split = candidate.table, candidate.split
    rows = evidence.example_rows(split.test, settings.example_rows)
    labels = ColSpec(saving.LABEL_TYPES[table.all.labels.dtype.kind], table.target)
    record: Record = evidence.record(table, split.train, candidate.metrics(), settings)
    return saving.save(
        candidate.pipeline,
        scratch / "model",
        inputs=_inputs(table),
        output=Schema([labels]),
        rows=rows,
        example=evidence.written(rows),
        record=record,
    )


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


def _inputs(table: Table) -> Schema:
    """Numbers are doubles, whole or not: a whole number today can be 2.5, or missing, tomorrow."""
    return Schema([ColSpec(TYPES[column.kind], column.name, required=not column.optional) for column in table.columns])
