"""The model of the comparison with other servers, as each of them wants it: a forest of 100 trees of depth 10 behind a scaler,
30 features."""

import json
import logging
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.sklearn
import numpy as np
from mlflow.models import infer_signature
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from server.artifact import METADATA_KEY, Answer, Bounds, Record

SINGLE = 64
"""So many different rows are asked about in turns."""


@dataclass(frozen=True, slots=True)
class Forest:
    """Where it lies, what it is asked, and what scikit-learn says."""

    mlflow: Path
    """A directory of MLflow's, of a forest that has seen a DataFrame."""
    joblib: Path
    """A directory with `model.joblib`, of the same forest that has seen an array: whoever asks with one is then not warned
    about names, which would cost time."""
    names: list[str]
    rows: list[list[float]]
    labels: list[int]
    classes: list[int]

    @property
    def file(self) -> Path:
        return self.joblib / "model.joblib"

    @property
    def features(self) -> Path:
        return self.joblib / "features.json"

    def some(self, count: int) -> list[int]:
        """The numbers of so many rows; more than there are begin again."""
        return [number % len(self.rows) for number in range(count)]


def made(directory: Path) -> Forest:
    """Train and save it."""
    table, target = load_breast_cancer(return_X_y=True, as_frame=True)
    pipeline = _pipeline().fit(table, target)
    directory.mkdir(parents=True)
    _save_for_mlflow(pipeline, table, directory / "mlflow")
    plain = _pipeline().fit(table.to_numpy(), target)
    (directory / "joblib").mkdir()
    (directory / "joblib" / "model.joblib").write_bytes(pickle.dumps(plain))  # joblib.load reads it
    (directory / "joblib" / "features.json").write_text(json.dumps(list(table)))
    shuffled = table.sample(frac=1, random_state=0)
    labels = plain.predict(shuffled.to_numpy())
    if not np.array_equal(labels, pipeline.predict(shuffled)):
        raise SystemExit("the two forests differ")
    return Forest(
        mlflow=directory / "mlflow",
        joblib=directory / "joblib",
        names=[str(name) for name in table],
        rows=shuffled.to_numpy().tolist(),
        labels=labels.tolist(),
        classes=plain.classes_.tolist(),
    )


def _pipeline() -> Any:
    return make_pipeline(StandardScaler(), RandomForestClassifier(100, max_depth=10, random_state=0))


def _save_for_mlflow(pipeline: Any, table: Any, directory: Path) -> None:
    example = table.head(3)
    probabilities, classes = pipeline.predict_proba(example).tolist(), pipeline.classes_.tolist()
    answer = Answer(predictions=pipeline.predict(example).tolist(), probabilities=probabilities, classes=classes)
    seen = {str(name): (float(table[name].min()), float(table[name].max())) for name in table}
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            pipeline,
            directory,
            signature=infer_signature(example, pipeline.predict(example)),
            input_example=example,
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
            metadata={METADATA_KEY: Record(example=answer, bounds=Bounds(seen=seen)).model_dump(exclude_none=True)},
        )
