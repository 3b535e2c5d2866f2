"""Every protocol asks the same model, with the same checks, and gets the same answer."""

import importlib.metadata
import json
import shlex
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server import web
from server.artifact import Bounds
from server.errors import InvalidBody
from server.protocols import Language, Model, Request, predict, read, v2
from server.protocols.mlflow import Invocations
from server.signature import Columns, Vector
from server.table import Column
from server.validation import validator
from tests.unit.server import factories
from tests.unit.server.conftest import Served
from tests.unit.server.local import Client

ROW = factories.FOREST_ROW
OTHER = {"mean radius": 9.5, "mean texture": 12.4, "mean perimeter": 60.3, "mean area": 273.9}
NAMES, CELLS = list(ROW), [list(ROW.values()), list(OTHER.values())]
BY_COLUMN = {name: [ROW[name], OTHER[name]] for name in NAMES}
INFER = "/v2/models/fraud/infer"


@pytest.fixture(scope="module")
def client(serve: Served) -> Client:
    return serve("forest")[0]


@pytest.fixture(scope="module")
def expected(client: Client) -> list[Any]:
    return [client.post("/predict", json=row).json()["prediction"] for row in (ROW, OTHER)]


def tensors(datatype: str = "FP64", **more: Any) -> list[dict[str, Any]]:
    return [{"name": name, "shape": [2], "datatype": datatype, "data": cells, **more} for name, cells in BY_COLUMN.items()]


def test_a_list_of_objects_is_answered_by_a_list(client: Client, expected: list[Any]) -> None:
    answers = client.post("/predict", json=[ROW, OTHER]).json()
    assert [answer["prediction"] for answer in answers] == expected == [0, 1]
    assert all(answer["probabilities"][str(answer["prediction"])] == answer["probability"] for answer in answers)
    single = client.post("/predict", json=OTHER).json()
    assert answers[1] | {"latency_ms": 0} == single | {"latency_ms": 0}


INVOCATIONS: dict[str, Any] = {
    "dataframe_split": {"columns": NAMES, "data": CELLS},
    "dataframe_split of pandas": {"index": [0, 1], "columns": NAMES[::-1], "data": [row[::-1] for row in CELLS]},
    "dataframe_split without columns": {"data": CELLS},
    "dataframe_split with a column too many": {"columns": ["id", *NAMES], "data": [["a", *CELLS[0]], ["b", *CELLS[1]]]},
    "dataframe_records": [ROW, OTHER],
    "dataframe_records with a key too many": [ROW | {"id": 1}, OTHER],
    "instances": [ROW, OTHER],
    "instances in order": CELLS,
    "inputs": BY_COLUMN,
    "inputs in rows": [ROW, OTHER],
    "inputs in order": CELLS,
}


@pytest.mark.parametrize("name", INVOCATIONS)
def test_mlflows_forms(client: Client, expected: list[Any], name: str) -> None:
    answer = client.post("/invocations", json={name.split()[0]: INVOCATIONS[name]})
    assert (answer.status_code, answer.json()) == (200, {"predictions": expected})


def test_mlflows_csv(client: Client, expected: list[Any]) -> None:
    lines = [",".join(NAMES), *(",".join(map(str, row)) for row in CELLS)]
    for content in ("\n".join(lines), "\r\n".join(lines) + "\r\n", "\ufeff" + "\n".join(lines)):
        answer = client.post("/invocations", content=content, headers={"content-type": "text/csv; charset=utf-8"})
        assert answer.json() == {"predictions": expected}
    with_index = "\n".join([f",{lines[0]}", *(f"{number},{line}" for number, line in enumerate(lines[1:]))])
    answer = client.post("/invocations", content=with_index, headers={"content-type": "text/csv"})
    assert answer.json() == {"predictions": expected}


def test_csv_has_the_types_of_the_signature(serve: Served) -> None:
    client, _ = serve("mixed")
    rows = client.post("/predict", json=[factories.MIXED_ROW, factories.MIXED_ROW | {"income": None, "active": False}]).json()
    content = "age,income,plan,active\n41,30500.5,pro,True\n41,,pro,false\n"
    answer = client.post("/invocations", content=content, headers={"content-type": "text/csv"})
    assert answer.json() == {"predictions": [row["prediction"] for row in rows]}
    wrong = client.post("/invocations", content="age,income,plan,active\nx,1,pro,1\n", headers={"content-type": "text/csv"})
    assert [detail["feature"] for detail in wrong.json()["details"]] == ["age", "active"]


def test_nan_is_a_missing_value_to_mlflows_clients_alone(serve: Served) -> None:
    client, _ = serve("mixed")
    split = {"columns": list(factories.MIXED_ROW), "data": [[41, float("nan"), "pro", True]]}
    content = json.dumps({"dataframe_split": split})
    assert "NaN" in content and client.post("/invocations", content=content).status_code == 200
    assert client.post("/predict", content=json.dumps(factories.MIXED_ROW | {"income": float("nan")})).status_code == 400
    assert client.post("/invocations", content=content.replace("NaN", "Infinity")).status_code == 400


def test_v1(client: Client, expected: list[Any]) -> None:
    for rows in ([ROW, OTHER], CELLS):
        for key in ("instances", "inputs"):
            answer = client.post("/v1/models/fraud:predict", json={key: rows})
            assert (answer.status_code, answer.json()) == (200, {"predictions": expected})
    assert client.get("/v1/models").json() == {"models": ["fraud"]}
    assert client.get("/v1/models/fraud").json() == {"name": "fraud", "ready": True}


def inferred(answer: Response) -> dict[str, list[Any]]:
    assert answer.status_code == 200, answer.text
    return {output["name"]: output["data"] for output in answer.json()["outputs"]}


def test_v2_takes_a_tensor_for_each_feature_or_one_for_all(client: Client, expected: list[Any]) -> None:
    flat = [cell for row in CELLS for cell in row]
    for inputs in (
        tensors(),
        [tensor | {"shape": [2, 1]} for tensor in tensors("FP32")][::-1],
        [{"name": "input-0", "shape": [2, 4], "datatype": "FP64", "data": flat}],
        [{"name": "x", "shape": [2, 4], "datatype": "FP64", "data": CELLS}],
    ):
        for path in (INFER, "/v2/models/fraud/versions/3/infer"):
            answer = client.post(path, json={"id": "a-7", "inputs": inputs})
            assert inferred(answer) == {"predict": expected}
            assert (answer.json()["id"], answer.json()["model_name"], answer.json()["model_version"]) == ("a-7", "fraud", "3")
    output = answer.json()["outputs"][0]
    assert (output["shape"], output["datatype"]) == ([2], "INT64")


def test_v2_gives_the_outputs_that_are_asked_for(client: Client, expected: list[Any]) -> None:
    wanted = [{"name": name} for name in ("classes", "predict_proba", "predict")]
    answer = client.post(INFER, json={"inputs": tensors(), "outputs": wanted})
    found = inferred(answer)
    assert (list(found), found["classes"], found["predict"]) == (["classes", "predict_proba", "predict"], [0, 1], expected)
    single = client.post("/predict", json=[ROW, OTHER]).json()
    assert found["predict_proba"] == [p for one in single for p in one["probabilities"].values()]
    assert [output["shape"] for output in answer.json()["outputs"]] == [[2], [2, 2], [2]]


def test_v2_has_the_binary_extension(client: Client, expected: list[Any]) -> None:
    described, pieces = [], []
    for name, datatype in zip(NAMES, ("FP64", "FP32", "FP64", "FP64"), strict=True):
        pieces.append(np.array(BY_COLUMN[name], v2.DTYPES[datatype]).tobytes())
        parameters = {"binary_data_size": len(pieces[-1])}
        described.append({"name": name, "shape": [2, 1], "datatype": datatype, "parameters": parameters})
    head = json.dumps({"inputs": described, "parameters": {"binary_data_output": True}}).encode()
    sent = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    answer = client.post(INFER, content=head + b"".join(pieces), headers=sent)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")
    size = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:size])["outputs"]
    assert output["parameters"] == {"binary_data_size": 16} and "data" not in output
    assert np.frombuffer(answer.content[size:], "<i8").tolist() == expected
    for wrong in (len(head) + 10**6, len(head) - 1, "x"):
        assert client.post(INFER, content=head, headers={"inference-header-content-length": str(wrong)}).status_code == 400
    assert client.post(INFER, content=head + pieces[0], headers=sent).status_code == 400
    assert client.post(INFER, content=head + b"".join(pieces) + b"x", headers=sent).status_code == 400


def test_v2_texts_and_truth_values(serve: Served) -> None:
    client, _ = serve("mixed")
    plan = struct.pack("<I", 3) + b"pro"
    inputs = [
        {"name": "age", "shape": [1], "datatype": "INT64", "data": [41]},
        {"name": "income", "shape": [1], "datatype": "FP64", "data": [None]},
        {"name": "plan", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(plan)}},
        {"name": "active", "shape": [1], "datatype": "BOOL", "data": [True]},
    ]
    head = json.dumps({"inputs": inputs, "outputs": [{"name": "predict", "parameters": {"binary_data": True}}]}).encode()
    answer = client.post(INFER, content=head + plan, headers={"inference-header-content-length": str(len(head))})
    assert answer.status_code == 200, answer.text
    piece = answer.content[int(answer.headers["inference-header-content-length"]) :]
    said = client.post("/predict", json=factories.MIXED_ROW | {"income": None}).json()["prediction"]
    assert piece == struct.pack("<I", len(said)) + said.encode()
    broken = client.post(INFER, content=head + plan[:-1], headers={"inference-header-content-length": str(len(head))})
    assert broken.status_code == 400


def test_v2_health_and_metadata(client: Client) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").json() == {"live": True} and client.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/fraud", "/v2/models/fraud/versions/3"):
        found = client.get(path).json()
        assert (found["name"], found["versions"], found["platform"]) == ("fraud", ["3"], "sklearn")
        assert found["inputs"] == [{"name": name, "datatype": "FP64", "shape": [-1]} for name in NAMES]
        assert {output["name"]: output["shape"] for output in found["outputs"]} == {
            "predict": [-1],
            "predict_proba": [-1, 2],
            "classes": [2],
        }
        assert client.get(f"{path}/ready").json() == {"name": "fraud", "ready": True}


def test_v2_metadata_is_of_what_is_answered(serve: Served) -> None:
    """Also where no classes are known that would tell: then the recorded example does."""
    client, _ = serve("several_outputs")
    (described,) = client.get("/v2/models/fraud").json()["outputs"]
    assert described == {"name": "predict", "datatype": "INT64", "shape": [-1, 2]}
    inputs = [{"name": "input-0", "shape": [3, 4], "datatype": "FP64", "data": [CELLS[0]] * 3}]
    (given,) = client.post(INFER, json={"inputs": inputs}).json()["outputs"]
    assert given == {"name": "predict", "datatype": "INT64", "shape": [3, 2], "data": [0, 1] * 3}
    assert client.post("/predict", json=factories.FOREST_ROW).json()["prediction"] == [0, 1]
    (number,) = serve("regressor")[0].get("/v2/models/fraud").json()["outputs"]
    assert number == {"name": "predict", "datatype": "FP64", "shape": [-1]}


def test_the_name_is_the_resources_unless_a_person_says_otherwise(serve: Served) -> None:
    client, _ = serve("regressor", resource={"namespace": "team", "name": "fraud-eu"})
    assert client.get("/v2/models/fraud-eu").status_code == 200
    client, _ = serve("regressor", resource={"namespace": "team", "name": "fraud-eu"}, modelName="other")
    assert client.get("/v1/models").json() == {"models": ["other"]}
    for method, path in (
        ("GET", "/v2/models/fraud-eu"),
        ("POST", "/v2/models/fraud-eu/infer"),
        ("POST", "/v2/models/other/versions/9/infer"),
        ("POST", "/v1/models/fraud-eu:predict"),
    ):
        answer = client.request(method, path, json={})
        assert (answer.status_code, answer.json()["type"]) == (404, "UnknownModel")
        assert "'other', version '3'" in answer.json()["error"]


def test_names_that_json_escapes_are_understood_in_every_protocol(serve: Served) -> None:
    client, pod = serve("hostile_numbers")
    names, row = list(factories.HOSTILE_NUMBERS), CELLS[0]
    record = dict(zip(names, row, strict=True))
    assert pod.serving is not None
    (expected,) = pod.serving.engine.predict([row]).predictions
    for path, body in {
        "/predict": record,
        "/invocations": {"dataframe_split": {"columns": names, "data": [row]}},
        "/v1/models/fraud:predict": {"instances": [record]},
        INFER: {"inputs": [{"name": name, "shape": [1], "datatype": "FP64", "data": [cell]} for name, cell in record.items()]},
    }.items():
        answer = client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json().get("prediction", expected) == expected


@pytest.mark.parametrize("name", ["array", "without_signature"])
def test_a_model_without_names_is_asked_by_position(serve: Served, name: str) -> None:
    client, _ = serve(name)
    row = CELLS[0]
    for path, body in {
        "/invocations": {"inputs": [row]},
        "/v1/models/fraud:predict": {"instances": [row]},
        INFER: {"inputs": [{"name": "input-0", "shape": [1, 4], "datatype": "FP64", "data": row}]},
    }.items():
        answer = client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert said.get("predictions", said.get("outputs", [{}])[0].get("data") if "outputs" in said else None) == [0]


def test_what_mlflows_clients_ask_beside(client: Client) -> None:
    assert client.get("/ping").status_code == 200
    assert client.get("/version").text == web.SCORING_PROTOCOL == importlib.metadata.version("mlflow")


README = (Path(__file__).parents[3] / "server" / "README.md").read_text().splitlines()
CURLS = [(line, README[at + 1]) for at, line in enumerate(README) if line.startswith("    $ curl http://fraud.team.svc")]


@pytest.mark.parametrize(("line", "said"), CURLS, ids=[line.split()[2] for line, _ in CURLS])
def test_what_the_readme_shows_is_what_happens(client: Client, line: str, said: str) -> None:
    _, _, url, option, body = shlex.split(line)
    assert option == "-d"
    answer = client.post(url.removeprefix("http://fraud.team.svc"), content=body)
    assert answer.status_code == 200
    if url.endswith("/predict"):
        assert list(answer.json()) == list(json.loads(said))
    else:
        assert answer.json() == json.loads(said)


def test_the_readme_shows_every_protocol() -> None:
    assert {line.split()[2].removeprefix("http://fraud.team.svc") for line, _ in CURLS} == {*SAME}


SAME: dict[str, dict[str, Any]] = {
    "/predict": [ROW, OTHER | {"mean area": "x"}],  # type: ignore[dict-item]  # the one protocol whose body is no object
    "/invocations": {"dataframe_records": [ROW, OTHER | {"mean area": "x"}]},
    "/v1/models/fraud:predict": {"instances": [CELLS[0], [*CELLS[1][:3], "x"]]},
    INFER: {"inputs": [*tensors()[:3], {"name": "mean area", "shape": [2], "datatype": "BYTES", "data": [1.5, "x"]}]},
}


@pytest.mark.parametrize("path", SAME)
def test_the_same_mistake_is_told_in_the_words_of_each_protocol(client: Client, path: str) -> None:
    answer = client.post(path, json=SAME[path])
    said = answer.json()
    told = said["error"] if path == "/predict" else said
    message = said["error"] if path.startswith("/v") else told["message"]
    assert (answer.status_code, told["type"]) == (422, "InvalidFeatures")
    assert message == 'The model can\'t take this: row 2: mean area is "x", a number is expected.'
    assert told["details"] == [{"feature": "mean area", "message": 'is "x", a number is expected', "row": 2}]
    if path == "/invocations":
        assert said["error_code"] == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("path", SAME)
def test_bounds_hold_in_every_protocol(client: Client, serve: Served, path: str) -> None:
    def body(area: float, radius: float) -> Any:
        changed = json.dumps(SAME[path]).replace('"x"', str(area)).replace(str(OTHER["mean radius"]), str(radius))
        return json.loads(changed)

    flagged = client.post(path, json=body(9999.0, 9.5))
    assert (flagged.status_code, flagged.headers["x-out-of-range"]) == (200, "mean area")
    refused = client.post(path, json=body(300.0, 100.5))
    assert refused.status_code == 400 and "row 2: mean radius is 100.5, 0 to 100 is possible" in refused.text
    rejecting, _ = serve("forest", outOfRange="Reject")
    assert rejecting.post(path, json=body(9999.0, 9.5)).status_code == 400


WRONG: list[tuple[str, Any, int, str]] = [
    ("/predict", [], 422, "no rows"),
    ("/predict", "x", 400, "not a JSON object"),
    ("/predict", [ROW, 3], 422, "row 2 is 3"),
    ("/invocations", {}, 400, "exactly one of"),
    ("/invocations", {"inputs": [ROW], "instances": [ROW]}, 400, "exactly one of"),
    ("/invocations", [ROW], 400, "exactly one of"),
    ("/invocations", {"inputs": [ROW], "params": {"a": 1}}, 400, "params"),
    ("/invocations", {"dataframe_split": [1]}, 400, "columns and data"),
    ("/invocations", {"dataframe_split": {"columns": 1, "data": []}}, 400, "no list of names"),
    ("/invocations", {"dataframe_split": {"columns": NAMES, "data": [[1]]}}, 422, "row 1 has 1 values, 4 are expected"),
    ("/invocations", {"dataframe_split": {"columns": [*NAMES[:3], "mean radius"], "data": CELLS}}, 422, "more than once"),
    ("/invocations", {"inputs": {"a": [1], "b": [1, 2]}}, 400, "not of one length"),
    ("/invocations", {"inputs": 1}, 400, "not a list of rows"),
    ("/v1/models/fraud:predict", {"instance": [ROW]}, 400, "instances"),
    ("/v1/models/fraud:predict", {"instances": ROW}, 400, "not a list of rows"),
    (INFER, {}, 400, "missing required field `inputs`"),
    (INFER, {"inputs": [{"name": "x", "shape": "y"}]}, 400, r"Expected `array`, got `str` - at `$.inputs[0].shape`"),
    (INFER, {"inputs": []}, 400, "not one tensor"),
    (INFER, {"inputs": [{"name": "x", "shape": [-1, 2], "datatype": "FP64", "data": []}]}, 400, "has the shape"),
    (INFER, {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP8", "data": [1]}]}, 400, "is of type 'FP8'"),
    (INFER, {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [1]}]}, 400, "1 elements; its shape says 4"),
    (INFER, {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64"}]}, 400, "no data"),
    (INFER, {"inputs": [{"name": "x", "shape": [0, 4], "datatype": "FP64", "data": []}]}, 422, "no rows"),
    (INFER, {"inputs": tensors()[:3]}, 422, "mean area is missing"),
    (INFER, {"inputs": [*tensors(), tensors()[0] | {"name": "more"}]}, 422, "more is not a feature"),
    (INFER, {"inputs": [*tensors(), tensors()[0]]}, 422, "more than once"),
    (INFER, {"inputs": [*tensors()[:3], tensors()[3] | {"shape": [1], "data": [1]}]}, 400, "not of one length"),
    (INFER, {"inputs": tensors(), "outputs": [{"name": "transform"}]}, 400, "predict, predict_proba, classes"),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), WRONG, ids=[f"{path} {words}" for path, _, _, words in WRONG])
def test_what_a_protocol_does_not_have_is_said(client: Client, path: str, body: Any, status: int, words: str) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == status and words in json.dumps(answer.json()).replace('\\"', '"'), answer.text


def test_other_media_are_refused(client: Client) -> None:
    answer = client.post("/invocations", content=b"PAR1", headers={"content-type": "application/vnd.apache.parquet"})
    assert (answer.status_code, answer.json()["type"]) == (415, "UnsupportedMedia")
    for content in (b"", b"\xff\xfe", b'a"b,c\n"'):
        refused = client.post("/invocations", content=content, headers={"content-type": "text/csv"})
        assert refused.status_code in (400, 422), refused.text


HALF = "\ud800"
"""Of a character: JSON can escape it, UTF-8 has no place for it."""
TEXTS = st.text(max_size=5) | st.just(HALF)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*NAMES, "data", "columns"]) | TEXTS, inner),
    max_leaves=8,
)
KEYS = st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs", "outputs", "parameters", "id", HALF])
TENSORS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from([*NAMES, "x", HALF]),
            "shape": st.lists(st.integers(-1, 4), max_size=3),
            "datatype": st.sampled_from([*v2.DTYPES, "BYTES", "x", HALF]),
        },
        optional={"data": VALUES, "parameters": st.dictionaries(st.just("binary_data_size"), VALUES)},
    ),
    max_size=5,
)
BODIES = VALUES | st.dictionaries(KEYS, VALUES, max_size=2) | st.fixed_dictionaries({"inputs": TENSORS})


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([*SAME]), BODIES, st.sampled_from(["application/json", "text/csv"]), st.none() | st.integers(-1, 60))
def test_no_body_is_unexpected_in_any_protocol(client: Client, path: str, body: Any, media: str, size: int | None) -> None:
    headers = {"content-type": media} | ({} if size is None else {"inference-header-content-length": str(size)})
    answer = client.post(path, content=json.dumps(body), headers=headers)
    assert answer.status_code in (200, 400, 415, 422), answer.text


@pytest.mark.parametrize("path", SAME)
def test_half_of_a_character_is_refused_as_a_key(client: Client, path: str) -> None:
    for body in ({HALF: 1}, {"instances": [{HALF: 1}]}, {"inputs": [{HALF: 1}]}, {"inputs": [], "parameters": {HALF: 1}}):
        answer = client.post(path, content=json.dumps(body))
        assert answer.status_code in (400, 422), answer.text


def model(*columns: Column) -> Model:
    inputs = Columns(columns=columns) if columns else Vector(width=2)
    checks = validator(inputs, Bounds())
    return Model(name="m", version="1", inputs=inputs, validator=checks, classes=None, has_probabilities=False)


def test_large_whole_numbers_stay_exact() -> None:
    large = 2**60 + 1
    long = model(Column(name="a", type="long"), Column(name="b", type="long"))
    asked = Invocations(long).decode(Request(json.dumps({"inputs": [[large, 1]]}).encode()))
    assert [list(row) for row in asked.checked.rows] == [[large, 1]]
    piece = np.array([large], "<i8").tobytes()
    inputs = [{"name": n, "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": 8}} for n in ("a", "b")]
    head = json.dumps({"inputs": inputs}).encode()
    asked = v2.Infer(long).decode(Request(head + piece * 2, "", len(head)))
    assert [list(row) for row in asked.checked.rows] == [[large, large]]


@pytest.mark.parametrize("large", [2**53, 2**53 + 1, -(2**53) - 1])
def test_the_first_whole_numbers_that_an_array_would_round_stay_exact(large: int) -> None:
    long = model(Column(name="a", type="long"))
    languages: dict[Language, Any] = {
        predict.Predict(long): {"a": large},
        Invocations(long): {"dataframe_split": {"columns": ["a"], "data": [[large]]}},
        v2.Infer(long): {"inputs": [{"name": "i", "shape": [1, 1], "datatype": "INT64", "data": [large]}]},
    }
    for language, body in languages.items():
        asked = read(language, long.validator, Request(json.dumps(body).encode()))
        assert [list(row) for row in asked.checked.rows] == [[large]]


def test_a_tensor_that_ends_early_is_refused() -> None:
    for datatype, piece in (
        ("BYTES", b"\x09\x00\x00\x00a"),
        ("BYTES", b"\x09"),
        ("BYTES", b"\x01\x00\x00\x00\xff"),
        ("FP64", b"1234"),
    ):
        tensor = {"name": "x", "shape": [1, 2], "datatype": datatype, "parameters": {"binary_data_size": len(piece)}}
        head = json.dumps({"inputs": [tensor]}).encode()
        with pytest.raises(InvalidBody, match=r"ends in the middle|not UTF-8"):
            v2.Infer(model()).decode(Request(head + piece, "", len(head)))
