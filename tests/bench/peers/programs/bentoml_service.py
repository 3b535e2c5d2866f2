"""A BentoML service around a model of scikit-learn. BATCHES=1: requests share a call of the model."""

import os
from typing import Annotated

import bentoml
import joblib
import numpy as np
from bentoml.validators import DType, Shape

BATCHES = os.environ.get("BATCHES") == "1"
Rows = Annotated[np.ndarray, Shape((-1, 30)), DType("float64")]
Labels = Annotated[np.ndarray, Shape((-1,)), DType("int64")]


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Forest:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api(batchable=BATCHES, max_batch_size=64)  # type: ignore[untyped-decorator]  # BentoML is not installed where mypy runs
    def predict(self, rows: Rows) -> Labels:
        labels: np.ndarray = self.model.predict(rows)
        return labels
