"""Registers the models of the benchmark: `python -m tests.bench.register TRACKING_URI COUNT`. Small ones, but real."""

import sys

import mlflow
import mlflow.sklearn
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.bench.models import name


def main() -> None:
    address, count = sys.argv[1], int(sys.argv[2])
    mlflow.set_tracking_uri(address)
    table, target = load_iris(as_frame=True, return_X_y=True)
    for seed, number in enumerate((*range(count), 0)):
        # Every version from a table of its own, so that no two have the same files.
        rows = table.sample(frac=0.9, random_state=seed)
        pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, target[rows.index])
        example = rows.head(2)
        with mlflow.start_run():
            mlflow.sklearn.log_model(
                pipeline,
                name="model",
                registered_model_name=name(number),
                input_example=example,
                signature=infer_signature(example, pipeline.predict(example)),
                pip_requirements=["scikit-learn"],
            )


if __name__ == "__main__":
    main()
