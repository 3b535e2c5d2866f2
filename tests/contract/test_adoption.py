"""A version that plain MLflow has logged, adopted: what was missing is there, and the estimator is the same file."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow.sklearn
import pandas as pd
import pytest
from mlflow.models import Model
from sklearn.linear_model import LogisticRegression

import training
from server import model
from server.replay import replay
from server.settings import Trust
from tests.contract.test_any_model import FRAME, MIXED, TWO, mixed
from tests.contract.training_registry import Registry
from training.errors import InputError

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
    pytest.mark.filterwarnings("ignore:.*(Any type hint is inferred|Add type hints|Hint. Inferred schema):UserWarning"),
]


def logged(name: str, fitted: Any, **more: Any) -> str:
    """As people do it."""
    with mlflow.start_run():
        mlflow.log_metric("test_f1", 0.9)
        options = {"serialization_format": "cloudpickle", "pip_requirements": ["scikit-learn"], **more}
        made = mlflow.sklearn.log_model(fitted, name="model", registered_model_name=name, **options)
    return f"models:/{name}/{made.registered_model_version}"


def test_a_bare_version_gets_all_from_a_table(registry: Registry, tmp_path: Path) -> None:
    uri = logged("bare", LogisticRegression().fit(FRAME, TWO))
    FRAME.assign(churn=TWO).to_csv(tmp_path / "rows.csv", index=False)
    before = registry.model("bare", "1")
    assert (before.signature, before.example) == ("NoSignature", None)
    options = ("--data", str(tmp_path / "rows.csv"), "--range", "a=0:", "--alias", "new")
    command = [sys.executable, "-m", "training", "adopt", uri, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "bare version 2, adopted from version 1" in done.stdout
    assert "added    a signature" in done.stdout
    after = registry.model("bare", "2")
    assert after.signature == "Columns"
    assert replay(model.load(after, Trust()), after) == "Answered"
    assert after.record.bounds.seen["b"] == (FRAME["b"].min(), FRAME["b"].max())
    assert after.record.bounds.declared == {"a": (0, None)}
    assert after.record.compiling is not None
    assert after.estimator.read_bytes() == before.estimator.read_bytes()
    as_mlflow_reads_it = Model.load(str(after.directory)).load_input_example(str(after.directory))
    pd.testing.assert_frame_equal(as_mlflow_reads_it, FRAME[:5])
    version = registry.client.get_model_version_by_alias("bare", "new")
    assert (version.version, version.tags) == ("2", {"adopted_from": "1"})
    assert registry.client.get_run(version.run_id).data.metrics == {"test_f1": 0.9}


def test_an_example_that_was_logged_gets_its_answer(registry: Registry) -> None:
    uri = logged("exampled", mixed(MIXED), input_example=MIXED[:4], signature=False)
    done = training.adopt(uri)
    assert "a signature" in done.added
    after = registry.model("exampled", done.version)
    assert replay(model.load(after, Trust()), after) == "Answered"
    assert after.signature == "Columns"
    assert after.record.bounds.seen == {}
    with pytest.raises(InputError, match="there is nothing to add"):
        training.adopt(f"models:/exampled/{done.version}")


def test_what_can_not_be_adopted_is_told(registry: Registry, tmp_path: Path) -> None:
    uri = logged("unknown", LogisticRegression().fit(FRAME, TWO))
    with pytest.raises(InputError, match="Give rows that it was trained on: --data FILE"):
        training.adopt(uri)
    FRAME[["a", "b"]].to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(InputError, match=r'rows\.csv lacks columns that the model was trained with: "c"'):
        training.adopt(uri, data=tmp_path / "rows.csv")
    with pytest.raises(InputError, match="must be models:/NAME/VERSION or models:/NAME@ALIAS"):
        training.adopt("unknown/1")
    assert len(training.versions("unknown")) == 1
