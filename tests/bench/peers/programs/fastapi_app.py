"""The app that people write by hand: a type for the row, joblib, predict and predict_proba, a plain `def`.

EVALUATIONS=1 asks the model once, since the largest probability names the class.
"""

import json
import os
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from fastapi import FastAPI
from pydantic import create_model

MODEL = joblib.load(os.environ["MODEL"])
FEATURES = json.loads(Path(os.environ["FEATURES"]).read_text())
ONCE = os.environ.get("EVALUATIONS") == "1"

FIELDS: Any = {f"x{number}": (float, ...) for number in range(len(FEATURES))}
Row: Any = create_model("Row", **FIELDS)
app = FastAPI()


def asked(rows: list[Any]) -> list[dict[str, Any]]:
    table = np.array([[getattr(row, name) for name in Row.model_fields] for row in rows])
    probabilities = MODEL.predict_proba(table)
    labels = MODEL.classes_[probabilities.argmax(axis=1)] if ONCE else MODEL.predict(table)
    return [{"prediction": int(label), "probability": float(row.max())} for label, row in zip(labels, probabilities, strict=True)]


@app.post("/predict")
def predict(row: Row) -> dict[str, Any]:
    return asked([row])[0]


@app.post("/predict_many")
def predict_many(rows: list[Row]) -> list[dict[str, Any]]:
    return asked(rows)
