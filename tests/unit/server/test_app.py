"""The contract of the port for clients and of the one for the cluster, on real models."""

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.admission import Cost
from server.app import create_app
from server.batching import Line
from server.management import create_management
from server.metrics import Metrics
from server.pod import Pod
from tests.unit.server import factories
from tests.unit.server.conftest import Model, Served, sample
from tests.unit.server.local import Client


@pytest.fixture(scope="module")
def forest(serve: Served) -> tuple[Client, Pod]:
    return serve("forest")


@pytest.fixture(scope="module")
def client(forest: tuple[Client, Pod]) -> Client:
    return forest[0]


def test_a_row_is_answered(forest: tuple[Client, Pod]) -> None:
    client, pod = forest
    before = sample(pod, "ml_predictions_total", model_version="3", prediction_class="0")
    answer = client.post("/predict", json=factories.FOREST_ROW)
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"prediction", "probability", "probabilities", "model_version", "latency_ms"}
    assert (body["prediction"], body["model_version"]) == (0, "3")
    assert body["probability"] == body["probabilities"]["0"] > 0.5
    assert sum(body["probabilities"].values()) == pytest.approx(1)
    assert body["latency_ms"] > 0
    assert sample(pod, "ml_predictions_total", model_version="3", prediction_class="0") == before + 1
    assert sample(pod, "ml_prediction_latency_seconds_count") >= 1


def test_a_client_that_says_nothing_of_its_body_is_answered_too(client: Client) -> None:
    assert client.post("/predict", content=json.dumps(factories.FOREST_ROW)).status_code == 200


def test_texts_truth_values_and_labels_that_are_texts(serve: Served) -> None:
    client, pod = serve("mixed")
    body = client.post("/predict", json=factories.MIXED_ROW).json()
    assert body["prediction"] in ("leaves", "stays") and set(body["probabilities"]) == {"leaves", "stays"}
    assert sample(pod, "ml_predictions_total", model_version="3", prediction_class=body["prediction"]) == 1
    unknown = client.post("/predict", json=factories.MIXED_ROW | {"plan": "secret"})
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (422, "Unanswerable")
    assert "secret" not in unknown.text


def test_a_regressor_and_a_classifier_without_probabilities_have_none(serve: Served) -> None:
    client, pod = serve("regressor")
    body = client.post("/predict", json={"mean radius": 14}).json()
    assert set(body) == {"prediction", "model_version", "latency_ms"} and 500 < body["prediction"] < 700
    assert sample(pod, "ml_predictions_total", model_version="3", prediction_class="value") == 1
    body = serve("without_probabilities")[0].post("/predict", json=factories.FOREST_ROW).json()
    assert set(body) == {"prediction", "model_version", "latency_ms"} and body["prediction"] == "bad"


@pytest.mark.parametrize("name", ["array", "without_signature"])
def test_a_model_without_names_takes_numbers_in_order(serve: Served, name: str) -> None:
    client, _ = serve(name)
    assert client.post("/predict", json={"features": list(factories.FOREST_ROW.values())}).json()["prediction"] == 0
    assert client.post("/predict", json={"features": [1]}).status_code == 422


def test_an_answer_that_is_no_number_is_none(serve: Served) -> None:
    answer = serve("regressor")[0].post("/predict", json={"mean radius": 1.7e308})
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "Unanswerable")


REFUSALS: list[tuple[Any, int, str]] = [
    (b"{", 400, "InvalidBody"),
    (b'{"a": NaN}', 400, "InvalidBody"),
    (b'{"a": 1, "a": 2}', 400, "InvalidBody"),
    (b"1", 400, "InvalidBody"),
    (b"[1]", 422, "InvalidFeatures"),
    (factories.FOREST_ROW | {"mean radius": 100.5}, 400, "OutOfBounds"),
    ({}, 422, "InvalidFeatures"),
    (factories.FOREST_ROW | {"mean radius": "x"}, 422, "InvalidFeatures"),
    (factories.FOREST_ROW | {"more": 1}, 422, "InvalidFeatures"),
    (b" " * (2 * 1024 * 1024 + 1), 413, "BodyTooLarge"),
]


@pytest.mark.parametrize(("body", "status", "kind"), REFUSALS, ids=[f"{status} {str(body)[:30]}" for body, status, _ in REFUSALS])
def test_a_mistake_has_its_status_its_name_and_its_count(forest: tuple[Client, Pod], body: Any, status: int, kind: str) -> None:
    client, pod = forest
    before = sample(pod, "ml_prediction_errors_total", error_type=kind)
    answer = client.post("/predict", content=body if isinstance(body, bytes) else json.dumps(body))
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert set(answer.json()["error"]) == {"type", "message", "details"}
    assert sample(pod, "ml_prediction_errors_total", error_type=kind) == before + 1


@pytest.mark.timeout(20)
def test_a_key_that_is_doubled_is_found_in_the_largest_body_too(forest: tuple[Client, Pod]) -> None:
    client, pod = forest
    pairs = [f'"{number:x}":0' for number in range(205_000)]
    body = "{" + ",".join([*pairs, pairs[-1]]) + "}"
    assert 0.9 * pod.settings.max_body_bytes < len(body) <= pod.settings.max_body_bytes
    answer = client.post("/predict", content=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "InvalidBody")
    assert "'320c7'" in answer.json()["error"]["message"]


def test_charset_and_compression_are_looked_at(client: Client) -> None:
    for headers in ({"content-type": 'application/json; charset="latin-1"'}, {"content-encoding": "gzip"}):
        assert client.post("/predict", json=factories.FOREST_ROW, headers=headers).status_code == 400
    utf8 = {"content-type": "application/json; Charset=UTF-8"}
    assert client.post("/predict", content=json.dumps(factories.FOREST_ROW), headers=utf8).status_code == 200


def test_what_training_has_not_seen_is_answered_and_flagged(forest: tuple[Client, Pod]) -> None:
    client, pod = forest
    answer = client.post("/predict", json=factories.FOREST_ROW | {"mean area": 9999, "mean texture": -1})
    assert answer.status_code == 200
    assert answer.headers["x-out-of-range"] == "mean texture,mean area"
    assert sample(pod, "ml_out_of_range_total", feature="mean area") == 1
    assert "x-out-of-range" not in client.post("/predict", json=factories.FOREST_ROW).headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/predict", 200), ("GET", "/predict", 405), ("GET", "/nope", 404), ("GET", "/docs", 200)],
)
def test_every_response_says_which_model_and_which_request(client: Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path, json=factories.FOREST_ROW, headers={"x-request-id": "abc-1"})
    assert answer.status_code == status
    assert answer.headers["x-model-version"] == "3"
    assert re.fullmatch("sha256:[0-9a-f]{64}", answer.headers["x-model-digest"])
    assert answer.headers["x-request-id"] == "abc-1"


def test_a_request_id_that_is_not_sane_is_replaced(client: Client) -> None:
    for name in (b"a b", b"x" * 129, b"<script>", b""):
        assert re.fullmatch("[0-9a-f]{32}", client.get("/health", headers={b"x-request-id": name}).headers["x-request-id"])


def test_what_nobody_expected_has_no_internals(
    serve: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client, pod = serve("regressor")

    def fail(_: object) -> None:
        raise RuntimeError("secret internals")

    assert pod.serving is not None
    monkeypatch.setattr(type(pod.serving.engine), "predict", lambda *_: fail(0))
    answer = client.post("/predict", json={"mean radius": 14}, headers={"x-request-id": "abc-2"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "Internal")
    assert "secret" not in answer.text and answer.headers["x-request-id"] == "abc-2"
    assert sample(pod, "ml_prediction_errors_total", error_type="Internal") == 1
    assert "unexpected error" in caplog.text


def test_before_the_model_is_loaded_nothing_is_promised(model: Model) -> None:
    pod = Pod(factories.told(model("forest")), Metrics())
    with Client(create_app(pod)) as client, Client(create_management(pod)) as management:
        answer = client.post("/predict", json=factories.FOREST_ROW)
        assert (answer.status_code, answer.json()["error"]["type"], answer.headers["retry-after"]) == (503, "NotReady", "1")
        assert (client.get("/health").status_code, client.get("/health").json()["status"]) == (503, "Loading")
        assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 200
        assert (management.get("/livez").status_code, management.get("/readyz").status_code) == (200, 503)
        assert management.get("/readyz").json()["reason"] == "Loading"


def test_a_ready_pod_says_what_it_has_proved(forest: tuple[Client, Pod]) -> None:
    client, pod = forest
    assert (client.get("/health").status_code, client.get("/health").json()["status"]) == (200, "Ready")
    with Client(create_management(pod)) as management:
        ready = management.get("/readyz")
        assert (ready.status_code, ready.json()["verified"], ready.json()["engine"]) == (200, "Answered", "sklearn")
        assert ready.json()["signature"] == "Columns"
        metrics = management.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    for name in ("ml_model_load_seconds", 'verified="Answered"', "process_resident_memory_bytes", 'error_type="Overloaded"'):
        assert name in metrics.text


def test_a_pod_whose_model_hangs_is_to_be_restarted(serve: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    _, pod = serve("regressor")
    with Client(create_management(pod)) as management:
        assert (management.get("/livez").status_code, management.get("/livez").json()) == (200, {"alive": True})
        monkeypatch.setattr(Line, "hung", True)
        assert (management.get("/livez").status_code, management.get("/livez").json()) == (503, {"alive": False})


def test_a_draining_pod_answers_and_says_goodbye(serve: Served) -> None:
    client, pod = serve("regressor")
    pod.draining = True
    answer = client.post("/predict", json={"mean radius": 14})
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    for method, path in (("POST", "/invocations"), ("POST", "/v2/models/fraud/infer"), ("GET", "/v2"), ("GET", "/nothing")):
        assert client.request(method, path, json={}).headers["connection"] == "close"
    assert (client.get("/health").status_code, client.get("/health").json()["status"]) == (503, "Draining")
    with Client(create_management(pod)) as management:
        assert (management.get("/readyz").status_code, management.get("/livez").status_code) == (503, 200)


def test_more_than_can_be_answered_soon_is_told_so_at_once(serve: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    client, pod = serve("regressor", batching={"maxWaiting": 1})
    assert pod.serving is not None
    entered, leave = threading.Semaphore(0), threading.Event()
    monkeypatch.setattr(Cost, "surely", lambda *_: False)  # so that a thread waits, not the event loop
    predict = pod.serving.engine.predict

    def slow(_: object, rows: Any) -> Any:
        entered.release()
        leave.wait(10)
        return predict(rows)

    monkeypatch.setattr(type(pod.serving.engine), "predict", slow)
    with ThreadPoolExecutor(2) as clients:
        waiting = [clients.submit(client.post, "/predict", json={"mean radius": 14})]
        assert entered.acquire(timeout=10)  # of two that come in the same turn one would be too many
        waiting.append(clients.submit(client.post, "/predict", json={"mean radius": 14}))
        while sample(pod, "ml_predictions_in_progress") < 2:
            pass
        refused = client.post("/predict", json={"mean radius": 14})
        leave.set()
        monkeypatch.undo()
        assert [future.result().status_code for future in waiting] == [200, 200]
    assert (refused.status_code, refused.json()["error"]["type"], refused.headers["retry-after"]) == (503, "Overloaded", "1")
    assert client.post("/predict", json={"mean radius": 14}).status_code == 200


async def test_where_requests_are_looked_at_late_the_late_ones_are_turned_away(serve: Served) -> None:
    _, pod = serve("regressor")
    app, body = create_app(pod), json.dumps({"mean radius": 14}).encode()

    async def ask(late: float, crowd: int = 1000) -> int:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        arrived = time.perf_counter() - late
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": [], "arrived": arrived, "crowd": crowd}
        await app(scope, receive, send)
        return int(sent[0]["status"])

    assert [await ask(0.1) for _ in range(5)] == [200] * 5  # a pause of the process is no overload
    assert [await ask(0.1) for _ in range(100)][-1] == 503
    assert await ask(0) == 200
    assert await ask(0.1, crowd=10) == 200  # a slow machine, and nobody else who would be helped
    assert [await ask(0) for _ in range(100)][-1] == 200
    assert await ask(0.1) == 200


def test_a_model_that_takes_too_long_is_not_waited_for(serve: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    client, pod = serve("regressor", requestTimeoutSeconds=0.05)
    assert pod.serving is not None
    leave = threading.Event()
    monkeypatch.setattr(Cost, "surely", lambda *_: False)  # as above
    monkeypatch.setattr(type(pod.serving.engine), "predict", lambda *_: leave.wait(10))
    started = time.monotonic()
    answer = client.post("/predict", json={"mean radius": 14})
    took = time.monotonic() - started
    leave.set()
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "PredictionTooSlow")
    assert took < 5


def test_the_document_describes_the_features_of_this_model(client: Client, serve: Served) -> None:
    described = client.get("/openapi.json").json()
    operation = described["paths"]["/predict"]["post"]
    schema = described["components"]["schemas"]["Row"]
    assert list(schema["properties"]) == schema["required"] == list(factories.FOREST_ROW)
    assert (schema["example"], schema["additionalProperties"]) == (factories.FOREST_ROW, False)
    radius = schema["properties"]["mean radius"]
    assert (radius["type"], radius["minimum"], radius["maximum"]) == ("number", 0, 100) and "6.981 to 28.11" in radius[
        "description"
    ]
    assert {"200", "400", "408", "413", "422", "503"} <= set(operation["responses"])
    mixed = serve("mixed")[0].get("/openapi.json").json()["components"]["schemas"]["Row"]
    kinds = {name: kind["type"] for name, kind in mixed["properties"].items()}
    assert kinds == {"age": "integer", "income": ["number", "null"], "plan": "string", "active": "boolean"}


def test_the_example_of_the_document_is_answered(client: Client) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    assert client.post("/predict", json=example).status_code == 200


def test_the_documentation_is_for_people_too(client: Client) -> None:
    page = client.get("/docs").text
    for words in ("mean radius", "curl", "17.99", "0 to 100", "POST /predict"):
        assert words in page


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
CHANGES = st.dictionaries(st.sampled_from([*factories.FOREST_ROW]), VALUES, max_size=4)
ROWS = st.builds(dict[str, Any].__or__, st.sampled_from([{}, factories.FOREST_ROW]), CHANGES)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | ROWS.map(lambda row: json.dumps(row).encode()))
def test_no_body_is_unexpected(client: Client, body: bytes) -> None:
    assert client.post("/predict", content=body).status_code in (200, 400, 422)


@settings(max_examples=40, deadline=None)
@given(st.fixed_dictionaries({name: st.floats(allow_nan=False) for name in factories.FOREST_ROW}))
def test_no_number_is_unexpected(client: Client, row: dict[str, float]) -> None:
    answer = client.post("/predict", content=json.dumps(row))
    assert answer.status_code in (200, 400, 422), answer.text
