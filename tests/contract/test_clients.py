"""The clients that people already have, as they are, against a server process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from tests.installation import CHECKOUT
from tests.unit.server import factories
from tests.unit.server.process import Process, started

pytestmark = pytest.mark.timeout(300)

FEATURES, _ = factories.cancer()
ROWS = FEATURES.iloc[[0, 19, 300]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    directory = tmp_path_factory.mktemp("forest")
    model = factories.forest(directory / "model")
    with started(model, directory) as process:
        process.wait_ready()
        yield process


@pytest.fixture(scope="module")
def url(served: Process) -> str:
    return f"http://127.0.0.1:{served.port}"


@pytest.fixture(scope="module")
def expected(url: str) -> list[int]:
    answers = requests.post(f"{url}/predict", json=ROWS.to_dict(orient="records"), timeout=10).json()
    labels = [answer["prediction"] for answer in answers]
    assert set(labels) == {0, 1}
    return labels


def columns(binary: bool) -> list[triton.InferInput]:
    inputs = []
    for name in ROWS:
        cells = ROWS[name].to_numpy()
        inputs.append(triton.InferInput(str(name), list(cells.shape), "FP64"))
        inputs[-1].set_data_from_numpy(cells, binary_data=binary)
    return inputs


@pytest.mark.parametrize("binary", [False, True])
def test_tritons_client(url: str, expected: list[int], binary: bool) -> None:
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("fraud") and client.is_model_ready("fraud", "3")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        assert [tensor["name"] for tensor in client.get_model_metadata("fraud")["inputs"]] == list(FEATURES)
        outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("predict", "predict_proba")]
        answer = client.infer("fraud", columns(binary), outputs=outputs, request_id="a-1", headers={"x-request-id": "b-2"})
        assert answer.get_response()["id"] == "a-1"
        assert answer.as_numpy("predict").tolist() == expected
        assert answer.as_numpy("predict_proba").argmax(axis=1).tolist() == expected
        table = triton.InferInput("input-0", list(ROWS.shape), "FP32")
        table.set_data_from_numpy(ROWS.to_numpy(dtype=np.float32), binary_data=binary)
        assert client.infer("fraud", [table], model_version="3").as_numpy("predict").tolist() == expected
        with pytest.raises(InferenceServerException, match="mean radius is missing"):
            client.infer("fraud", columns(binary)[1:])
        with pytest.raises(InferenceServerException, match="The only model here is 'fraud'"):
            client.infer("other", columns(binary))


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")  # as MLflow is imported
def test_mlflows_client(url: str, served: Process, expected: list[int]) -> None:
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    client = ScoringServerClient("127.0.0.1", served.port)
    client.ping()
    assert client.get_version()
    for data in (ROWS, ROWS.to_dict(orient="list"), ROWS.assign(id="a")[["id", *FEATURES]]):
        sent = data if isinstance(data, pd.DataFrame) else json.dumps({"inputs": data})
        assert client.invoke(sent).get_predictions().iloc[:, 0].tolist() == expected
    content = ROWS.to_csv()  # with its index, which is no column of the model
    answer = requests.post(f"{url}/invocations", data=content, headers={"content-type": "text/csv"}, timeout=10)
    assert answer.json() == {"predictions": expected}


def test_kserves_client(url: str, expected: list[int], tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "kserve"], check=True)
    python = tmp_path / "kserve" / "bin" / "python"
    locked = CHECKOUT / "tests" / "contract" / "kserve-requirements.txt"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", locked], check=True)
    arguments = [url, json.dumps(list(FEATURES)), json.dumps(ROWS.to_numpy().tolist())]
    script = CHECKOUT / "tests" / "contract" / "kserve_client.py"
    done = subprocess.run([python, script, *arguments], check=False, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    heard = json.loads(done.stdout.splitlines()[-1])
    assert [heard.pop(road) for road in ("v1", "v2 table", "v2 columns, binary")] == [expected] * 3
    assert heard == {"live": True, "ready": True, "model ready": [True, True]}


CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance"
MORE_CHECKS = "response_schema_conformance,negative_data_rejection,unsupported_method,missing_required_header"


def test_the_openapi_document_is_true(url: str, served: Process, tmp_path: Path) -> None:
    """Whatever it allows, and what it does not, is answered as it says. That what it allows is always answered with a
    prediction is not asked: a document can't say that two columns of a table have the same length."""
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "run", f"{url}/openapi.json", "--checks", f"{CHECKS},{MORE_CHECKS}", "--max-examples", "40"]
    options = ["--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all", "--seed", "1", "--no-color"]
    done = subprocess.run([*command, *options], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:]
    assert not [line for line in served.events() if line["event"] == "unexpected error"]
