"""`training.register` as a notebook calls it, on models of kinds that `run` never makes: what lands in a real MLflow serves."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

import training
from controller.registry import Registry as ControllersRegistry
from controller.settings import RegistrySettings
from server import manifest, model
from server.app import create_app
from server.loading import load
from server.metrics import Metrics
from server.pod import Pod
from server.replay import replay
from server.settings import Trust
from tests.contract.test_any_model import CASES, FRAME, THREE, TWO
from tests.contract.training_registry import Registry
from tests.unit.server import factories
from tests.unit.server.local import Client
from training.errors import NotGoodEnough, RegistryError
from training.notebook import Registered

pytestmark = pytest.mark.timeout(180)

KINDS = (
    "a search", "whole numbers with gaps", "a list of texts", "a sparse array", "columns with numbers for names", "categories",
    "several labels",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_registered_answers_over_http_as_it_did_in_the_notebook(kind: str, registry: Registry) -> None:
    fitted, rows = CASES[kind].fitted(), CASES[kind].example
    made = training.register(fitted, rows, name=kind)
    assert made.sent_as == ("text" if kind == "a list of texts" else None)
    about = registry.model(kind, made.version)
    assert replay(model.load(about, Trust()), about) == "Answered"
    pod = Pod(factories.told(about.directory), Metrics())
    pod.serving = load(pod.settings, pod.metrics)
    assert about.example is not None
    with Client(create_app(pod)) as client:
        answer = client.post("/v1/models/fraud:predict", json={"instances": [list(row) for row in about.example]}).json()
    assert answer["predictions"] == about.record.example.predictions if about.record.example else None
    pod.serving.predictor.close()


def test_a_version_has_all_that_the_operator_asks_for(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    fitted = LogisticRegression().fit(FRAME, TWO)
    made = training.register(
        fitted, FRAME, name="noted", alias="champion", metrics={"auc": 0.9}, X_test=FRAME[:12], y_test=TWO[:12], target="churn",
        ranges={"a": (0, None)}, tags={"validation_status": "approved"}, params={"C": 1},
    )  # fmt: skip
    version = registry.client.get_model_version_by_alias("noted", "champion")
    assert (version.version, version.tags, made.uri) == ("1", {"validation_status": "approved"}, "models:/noted/1")
    run = registry.client.get_run(version.run_id)
    assert run.data.params.items() >= {"estimator": "LogisticRegression", "C": "1"}.items()
    assert {"auc", "test_accuracy", "test_f1", "test_roc_auc"} <= set(run.data.metrics)
    about = registry.model("noted", "1")
    assert about.serialization == "skops"
    assert about.record.metrics == run.data.metrics
    assert about.record.target == "churn"
    assert about.record.bounds.seen["a"] == (FRAME["a"].min(), FRAME["a"].max())
    assert about.record.bounds.declared == {"a": (0, None)}
    assert about.record.compiling is not None
    assert about.record.compiling.reason is None
    printed = capsys.readouterr().out
    assert printed.endswith(f"{made.yaml}\n")
    assert made.digest in printed
    assert yaml.safe_load(made.yaml)["spec"] == {"model": {"name": "noted", "alias": "champion"}}
    assert len(made.yaml.splitlines()) <= 10


async def test_the_digest_is_the_one_that_the_operator_finds(registry: Registry, tmp_path: Path) -> None:
    made = training.register(LinearSVC().fit(FRAME, THREE), FRAME, name="digest")
    await download(registry.uri, "digest", made.version, tmp_path)
    assert manifest.of_directory(tmp_path).digest == made.digest


async def download(uri: str, name: str, number: str, directory: Path) -> None:
    """With the controller's own code."""
    from controller.api import ModelReference

    found = ControllersRegistry([RegistrySettings(name="main", uri=uri)], 30, directory)
    try:
        version = await found.resolve(ModelReference(name=name, version=number))
        for file in await found.files(version):
            place = directory / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"".join([part async for part in found.download(version, file.path)]))
    finally:
        await found.close()


def test_the_run_that_a_notebook_has_open_gets_the_model(registry: Registry) -> None:
    with mlflow.start_run() as opened:
        made = training.register(LogisticRegression().fit(FRAME, TWO), FRAME, name="opened", metrics={"f1": 0.1})
        training.register(LinearSVC().fit(FRAME, TWO), FRAME, name="opened", metrics={"f1": 0.9})
    assert registry.client.get_model_version("opened", made.version).run_id == opened.info.run_id
    assert [version.metrics for version in training.versions("opened")] == [{"f1": 0.9}, {"f1": 0.1}]
    with pytest.raises(NotGoodEnough, match=r"f1 is 0\.1"):
        training.promote("opened", made.version, "champion", minimum={"f1": 0.5})


def test_a_notebooks_own_code_travels_inside_the_file(registry: Registry, tmp_path: Path) -> None:
    """What a cell defines is in no module that another process could import."""
    cell = tmp_path / "cell.py"
    cell.write_text(
        "import training, pandas as pd\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import FunctionTransformer\n"
        "X = pd.DataFrame({'a': [1.0, 2.0, 3.0, 4.0], 'b': [4.0, 1.0, 2.0, 3.0]})\n"
        "ratio = lambda frame: frame.assign(r=frame['a'] / frame['b'])\n"
        "model = make_pipeline(FunctionTransformer(ratio), LogisticRegression()).fit(X, [0, 1, 0, 1])\n"
        "training.register(model, X, name='own code')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, str(cell)], capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    about = registry.model("own code", "1")
    assert about.serialization == "cloudpickle"
    assert replay(model.load(about, Trust()), about) == "Answered"


def test_mlflow_is_left_as_the_notebook_had_it(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (mlflow.get_tracking_uri(), dict(os.environ))
    with pytest.raises(RegistryError, match="MLflow does not answer at http://127"):
        training.register(LogisticRegression().fit(FRAME, TWO), FRAME, name="x", tracking_uri="http://127.0.0.1:9")
    assert (mlflow.get_tracking_uri(), dict(os.environ)) == before


def test_what_comes_back_can_be_used_by_the_next_cell(registry: Registry) -> None:
    made: Registered = training.register(LogisticRegression().fit(FRAME, TWO), FRAME, name="next")
    loaded: Any = mlflow.pyfunc.load_model(made.uri)
    assert np.asarray(loaded.predict(FRAME)).shape == (len(FRAME),)
