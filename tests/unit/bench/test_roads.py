"""The same rows in every protocol."""

import json
import struct

from tests.bench.peers import roads

NAMES, ROWS = ["a", "b"], [[1.5, 2.0], [0.1, -3.0]]


def test_rows_arrive_in_their_order() -> None:
    assert json.loads(roads.objects(NAMES, ROWS)) == [{"a": 1.5, "b": 2.0}, {"a": 0.1, "b": -3.0}]
    assert json.loads(roads.objects(NAMES, ROWS[:1])) == {"a": 1.5, "b": 2.0}
    assert json.loads(roads.numbered(NAMES, ROWS[:1])) == {"x0": 1.5, "x1": 2.0}
    assert json.loads(roads.numbered_list(NAMES, ROWS[:1])) == [{"x0": 1.5, "x1": 2.0}]
    assert json.loads(roads.split(NAMES, ROWS))["dataframe_split"] == {"columns": NAMES, "data": ROWS}
    (tensor,) = json.loads(roads.v2(NAMES, ROWS))["inputs"]
    assert (tensor["shape"], tensor["data"]) == ([2, 2], [1.5, 2.0, 0.1, -3.0])


def test_a_binary_tensor_says_where_it_begins() -> None:
    body, headers = roads.v2_binary(NAMES, ROWS), roads.v2_binary_headers(NAMES, 2)
    size = int(headers["Inference-Header-Content-Length"])
    assert json.loads(body[:size])["inputs"][0]["parameters"] == {"binary_data_size": 32}
    assert struct.unpack("<4d", body[size:]) == (1.5, 2.0, 0.1, -3.0)


def test_answers_become_labels() -> None:
    assert roads.of_objects({"prediction": 1}) == [1]
    assert roads.of_objects([{"prediction": 1}, {"prediction": 0}]) == [1, 0]
    assert roads.of_predictions({"predictions": [1, 0]}) == [1, 0]
    assert roads.of_outputs({"outputs": [{"data": [0, 1]}]}) == [0, 1]
    assert roads.of_list([0, 1]) == [0, 1]
