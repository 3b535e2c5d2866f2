"""Two answers are the same, or the first difference is named with both values."""

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest
import sklearn
from sklearn.svm import LinearSVC

from server import model
from server.artifact import Answer, Artifact, Record
from server.errors import ExampleMismatch
from server.replay import compare, replay
from server.settings import Trust
from server.signature import Vector

CLASSIFIED = {"predictions": [0, 1], "probabilities": [[0.9, 0.1], [0.2, 0.8]], "classes": [0, 1]}


def answer(**changes: Any) -> Answer:
    return Answer.model_validate(CLASSIFIED | changes)


def test_rounding_is_no_difference() -> None:
    assert compare(answer(), answer(probabilities=[[0.9 + 9e-7, 0.1 - 9e-7], [0.2, 0.8]]), classifier=True) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"predictions": [0, 0]}, "row 2 is predicted as 0, recorded is 1"),
        ({"predictions": [0, True]}, "row 2 is predicted as True"),
        ({"predictions": ["0", 1]}, "row 1 is predicted as '0'"),
        ({"predictions": [0]}, "1 predictions, recorded are 2"),
        ({"probabilities": [[0.9, 0.1], [0.200002, 0.799998]]}, "row 2 has the probabilities"),
        ({"probabilities": [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]]}, "another shape"),
        ({"probabilities": [[float("nan"), 0.1], [0.2, 0.8]]}, "row 1 has the probabilities"),
        ({"classes": [1, 0]}, "the classes are"),
        ({"probabilities": None, "classes": None}, "no probabilities"),
    ],
)
def test_a_difference_is_named(changes: dict[str, Any], words: str) -> None:
    difference = compare(answer(), answer(**changes), classifier=True)
    assert difference is not None and words in difference


@pytest.mark.parametrize(
    ("was", "now", "same"),
    [
        ([1000.0, 1001.0], [1000.0009, 1001.0], True),  # a millionth of its size
        ([1000.0, 1001.0], [1000.0011, 1001.0], False),
        ([0.001, 1000.0], [0.0019, 1000.0], True),  # a millionth of the spread
        ([0.001, 0.0011], [0.0012, 0.0011], False),
        ([0.0, 0.0], [1e-13, 0.0], True),
        ([0.0, 0.0], [1e-9, 0.0], False),
        ([5], [5.0], True),
        ([1.0], [float("nan")], False),
        ([[1.0, 2.0]], [[1.0, 2.0000001]], True),
        ([[1.0, 2.0]], [[1.0]], False),
    ],
)
def test_numbers_are_compared_by_size_and_spread(was: list[Any], now: list[Any], same: bool) -> None:
    assert (compare(Answer(predictions=was), Answer(predictions=now), classifier=False) is None) is same


def test_labels_are_no_numbers_also_where_there_are_no_probabilities(tmp_path: Path) -> None:
    classifier = LinearSVC().fit([[0.0], [1.0], [8.0], [9.0]], [1_000_001, 1_000_001, 1_000_002, 1_000_002])
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(classifier))
    right = Artifact(
        directory=tmp_path,
        estimator=path,
        serialization="pickle",
        sklearn_version=sklearn.__version__,
        inputs=Vector(width=1),
        predict_function="predict",
        example=((0.0,), (9.0,)),
        record=Record(example=Answer(predictions=[1_000_001, 1_000_002])),
    )
    assert replay(model.load(right, Trust()), right) == "Answered"
    wrong = dataclasses.replace(right, record=Record(example=Answer(predictions=[1_000_001, 1_000_001])))
    with pytest.raises(ExampleMismatch, match="row 2 is predicted as 1000002, recorded is 1000001"):
        replay(model.load(wrong, Trust()), wrong)
