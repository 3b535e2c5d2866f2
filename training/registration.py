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
from training import card, evidence, saving, surroundings
from training.errors import NotGoodEnough
from training.evaluate import Scores, Spread
from training.figures import told
from training.incumbent import Incumbent
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
    incumbent: Incumbent | None = None
    """What has the alias that this is to take."""

    def metrics(self) -> dict[str, float]:
        """All figures, under the names that the run has them."""
        return {
            **{f"test_{metric}": value for metric, value in self.test.items()},
            **{f"cv_{metric}_mean": spread.mean for metric, spread in self.folds.items()},
            **{f"cv_{metric}_std": spread.std for metric, spread in self.folds.items()},
        }

    def beside(self) -> dict[str, float]:
        """What the version that has the alias now says to the same test part."""
        return {} if self.incumbent is None else {f"before_{metric}": value for metric, value in self.incumbent.scores.items()}


def register(registry: Registry, candidate: Candidate, settings: RunSettings) -> Version:
    """A run with all there is to know, a new version, and at last the alias: it is what deploys."""
    table = candidate.table
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch) / "files"
        files.mkdir()
        joblib.dump(candidate.pipeline, files / DUMP, compress=3)
        record, params = _record(candidate, settings), _parameters(candidate, settings)
        own = {card.NAME: _card(candidate, record, params, settings), surroundings.NAME: surroundings.packages()}
        for name, content in {**candidate.files, **{name: text.encode() for name, text in own.items()}}.items():
            (files / name).parent.mkdir(exist_ok=True)
            (files / name).write_bytes(content)
        version = registry.register(
            saved(candidate, settings, Path(scratch)),
            name=settings.name,
            params=params,
            metrics={**candidate.metrics(), **candidate.beside()},
            tags=settings.tags,
            description=f"Predicts {table.target}, trained on {table.source}: {told(candidate.test)} on the test part.",
            files=files,
        )
    if settings.alias is not None:
        compared = None if candidate.incumbent is None else candidate.incumbent.version
        insist_on_what_was_compared(registry, compared, settings.name, settings.alias, version.number)
        registry.move(settings.name, settings.alias, version.number)
    return version


def insist_on_what_was_compared(registry: Registry, compared: str | None, name: str, alias: str, number: str) -> None:
    """On the alias being where it was: nobody has compared with a version that got it in the meantime."""
    now = registry.at(name, alias)
    if now is not None and str(now.version) != compared:
        raise NotGoodEnough(
            f'Version {number} of "{name}" is registered, but "{alias}" has moved to version {now.version} in the meantime, with '
            f"which it was not compared: it stays there. Run `compare {name} {now.version} {number}`, and then promote."
        )


def _record(candidate: Candidate, settings: RunSettings) -> Record:
    return evidence.record(candidate.table, candidate.split.train, candidate.metrics(), settings)


def _card(candidate: Candidate, record: Record, params: Mapping[str, Any], settings: RunSettings) -> str:
    table = candidate.table
    return card.card(
        name=settings.name,
        target=table.target,
        task=table.task,
        columns=table.columns,
        bounds=record.bounds,
        metrics=record.metrics,
        params=params,
    )


def saved(candidate: Candidate, settings: RunSettings, scratch: Path) -> saving.Saved:
    """The directory that a pod will get, under `scratch`, with what it was compiled to beside it."""
    table, split = candidate.table, candidate.split
    rows = evidence.example_rows(split.test, settings.example_rows)
    labels = ColSpec(saving.LABEL_TYPES[table.all.labels.dtype.kind], table.target)
    return saving.save(
        candidate.pipeline,
        scratch / "model",
        inputs=_inputs(table),
        output=Schema([labels]),
        rows=rows,
        example=evidence.written(rows),
        record=_record(candidate, settings),
    )


def _parameters(candidate: Candidate, settings: RunSettings) -> dict[str, Any]:
    return {
        "data": candidate.table.source,
        "data_fingerprint": candidate.table.fingerprint,
        "rows": candidate.table.rows,
        "rows_trained_on": len(candidate.split.train.labels),
        "columns": len(candidate.table.columns),
        "task": candidate.table.task,
        **settings.model_dump(include={"target", "folds", "test_size", "seed"}),
        **({} if candidate.table.positive is None else {"positive": candidate.table.positive}),
        **candidate.parameters,
        **surroundings.params(),
    }


def _inputs(table: Table) -> Schema:
    """Numbers are doubles, whole or not: a whole number today can be 2.5, or missing, tomorrow."""
    return Schema([ColSpec(TYPES[column.kind], column.name, required=not column.optional) for column in table.columns])
