"""Registers versions that something is wrong with, each as a person could have made it by mistake.

    python -m tests.e2e.odd_models KIND --name MODEL --tracking-uri URI     prints the number of the version

A process of its own: MLflow's warnings are not this project's.
"""

import argparse
import os
import sys
from typing import Any

import mlflow
import mlflow.pyfunc
import mlflow.sklearn
from mlflow.models import infer_signature
from mlflow.tracking import MlflowClient
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


class Unsupported(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow ships no types
    """A flavor that is not scikit-learn's."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return model_input


class Bomb:
    """An estimator that cannot be loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_raise, ())


class Greedy:
    """An estimator that takes a gigabyte to load."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_take, ())


def _take() -> bytes:
    return b"x" * 2**30


def _raise() -> None:
    raise RuntimeError("this model was pickled with code that is gone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("wrong-answer", "unloadable", "greedy", "pyfunc", "plain", "renamed"))
    parser.add_argument("--name", required=True)
    parser.add_argument("--tracking-uri", required=True)
    arguments = parser.parse_args()
    mlflow.set_tracking_uri(arguments.tracking_uri)
    table, target = load_breast_cancer(as_frame=True, return_X_y=True)
    if arguments.kind == "renamed":
        table = table.rename(columns=lambda name: name.replace("mean", "average"))
    example = table.head(2)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(table, target)
    signature = infer_signature(table, pipeline.predict(table))
    estimators = {"unloadable": Bomb(), "greedy": Greedy()}
    flipped = [int(1 - label) for label in pipeline.predict(example)]
    metadata = {"mlserving": {"format": 1, "example": {"predictions": flipped}}}
    requirements = ["scikit-learn"]
    with mlflow.start_run():
        if arguments.kind == "pyfunc":
            info = mlflow.pyfunc.log_model(name="model", python_model=Unsupported(), pip_requirements=requirements)
        else:
            info = mlflow.sklearn.log_model(
                estimators.get(arguments.kind, pipeline),
                name="model",
                signature=signature,
                input_example=None if arguments.kind in estimators else example,
                metadata=metadata if arguments.kind == "wrong-answer" else None,
                serialization_format="cloudpickle",
                pip_requirements=requirements,
            )
    client = MlflowClient()
    if not client.search_registered_models(f"name = '{arguments.name}'"):
        client.create_registered_model(arguments.name)
    version = client.create_model_version(arguments.name, info.model_uri, model_id=info.model_id)
    print(version.version)


if __name__ == "__main__":
    sys.stdout.flush()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    main()
