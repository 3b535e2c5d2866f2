"""A model directory is data: what it says is read whole, and what it should not say is refused with a sentence."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from server import artifact
from server.errors import ExampleFailed, FlavorUnsupported, LoadFailed, ModelAtFault, PathEscapes
from server.signature import Columns, Vector
from tests.unit.server import factories
from tests.unit.server.conftest import Model


def test_everything_that_was_recorded_is_read(model: Model) -> None:
    read = artifact.read(model("forest"))
    assert isinstance(read.inputs, Columns)
    assert [(c.name, c.type, c.required) for c in read.inputs.columns] == [
        (name, "double", True) for name in factories.FOREST_ROW
    ]
    assert read.example is not None and list(read.example[0]) == list(factories.FOREST_ROW.values())
    assert read.record.example is not None and read.record.example.classes == [0, 1]
    assert read.record.bounds.declared == {"mean radius": (0, 100)}
    features, _ = factories.cancer()
    assert read.example_frame is not None
    pd.testing.assert_frame_equal(read.example_frame, features.head(3))


def test_columns_of_every_type_keep_the_dtypes_of_training(model: Model) -> None:
    read = artifact.read(model("mixed"))
    assert isinstance(read.inputs, Columns) and read.example_frame is not None
    assert [(c.type, c.required) for c in read.inputs.columns] == [
        ("long", True),
        ("double", False),
        ("string", True),
        ("boolean", True),
    ]
    assert [str(dtype) for dtype in read.example_frame.dtypes] == ["int64", "float64", "str", "bool"]


def test_a_model_without_names_takes_a_vector(model: Model) -> None:
    assert artifact.read(model("array")).inputs == Vector(width=4)
    without = artifact.read(model("without_signature"))
    assert (without.inputs, without.example, without.record.example) == (Vector(width=None, numbers=False), None, None)
    assert [artifact.read(model(name)).signature for name in ("forest", "array", "without_signature")] == [
        "Columns", "Arrays", "NoSignature"
    ]  # fmt: skip


def flavor(**changes: Any) -> Any:
    return lambda mlmodel: mlmodel["flavors"]["sklearn"].update(changes)


def signature(*columns: dict[str, Any]) -> Any:
    return lambda mlmodel: mlmodel["signature"].update(inputs=json.dumps(columns))


IMAGE = {"dtype": "float32", "shape": [-1, 8, 8]}
TENSOR = {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}

REFUSALS = {
    "another flavor": (
        lambda m: m.update(flavors={"pytorch": {}}),
        FlavorUnsupported,
        "flavors pytorch. Supported is sklearn, serialized as skops, cloudpickle or pickle",
    ),
    "code of its own": (flavor(code="code"), FlavorUnsupported, "code_paths"),
    "another format": (flavor(serialization_format="dill"), FlavorUnsupported, "'dill'"),
    "a path outside": (flavor(pickled_model="../../etc/passwd"), PathEscapes, "passwd"),
    "bytes": (signature({"name": "t", "type": "binary"}), LoadFailed, "'t' of type binary"),
    "a column that was empty": (signature({"name": "t", "type": "any", "required": False}), LoadFailed, "'t' of type any"),
    "a list": (signature({"name": "t", "type": "array", "items": {"type": "long"}}), LoadFailed, "'t' of type array"),
    "no name": (signature({"name": "t", "type": "double"}, {"type": "double"}), LoadFailed, "without a name"),
    "lists of texts": (signature({"type": "array", "items": {"type": "string"}}), LoadFailed, "lists of type string"),
    "a name twice": (signature({"name": "a", "type": "double"}, {"name": "a", "type": "long"}), LoadFailed, "more than once: a"),
    "a column that the example lacks": (signature({"name": "b", "type": "double"}), ExampleFailed, "lacks columns.*: b"),
    "an image": (signature({"type": "tensor", "tensor-spec": IMAGE}), LoadFailed, "one or two dimensions"),
    "arrays by name": (signature({"name": "a", **TENSOR}), LoadFailed, "tensors with names"),
    "an array of anything": (
        signature({"type": "tensor", "tensor-spec": {"dtype": "object", "shape": [-1, 2]}}),
        LoadFailed,
        "tensor of object",
    ),
    "a score": (
        lambda m: m["flavors"]["python_function"].update(predict_fn="score"),
        FlavorUnsupported,
        "predict or predict_proba",
    ),
    "a later format": (lambda m: m["metadata"]["mlserving"].update(format=2), LoadFailed, "mlserving.format"),
    "no signature any more": (lambda m: m.update(signature={"inputs": "{"}), LoadFailed, "signature can't be read"),
    "flavors as a text": (lambda m: m.update(flavors="sklearn"), LoadFailed, "flavors is not a mapping"),
}


@pytest.mark.parametrize(("change", "error", "words"), REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_served_is_refused_by_name(
    model: Model, tmp_path: Path, change: Any, error: type[ModelAtFault], words: str
) -> None:
    directory = factories.altered(model("forest"), tmp_path / "model", change)
    with pytest.raises(error, match=words):
        artifact.read(directory)


def test_yaml_that_builds_objects_is_only_unreadable(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("!!python/object/apply:os.system [exit 1]")
    with pytest.raises(LoadFailed, match="can't be read"):
        artifact.read(tmp_path)


def test_a_directory_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="no file MLmodel"):
        artifact.read(tmp_path)


EXAMPLES = {
    "a row": {"a": 1, "b": "x"},
    "columns": {"a": [1], "b": ["x"]},
    "records": [{"b": "x", "a": 1}],
    "a frame": {"columns": ["b", "a"], "data": [["x", 1]]},
    "a frame without names": {"data": [[1, "x"]]},
}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_is_read_in_every_form_that_mlflow_writes(model: Model, tmp_path: Path, example: Any) -> None:
    columns = signature({"name": "a", "type": "long"}, {"name": "b", "type": "string"})
    directory = factories.altered(model("forest"), tmp_path / "model", columns)
    (directory / "input_example.json").write_text(json.dumps(example))
    assert artifact.read(directory).example == ((1, "x"),)


@pytest.mark.parametrize("example", [[], None, {"a": {"b": 1}}, [1, {"a": 1}], {"a": []}], ids=str)
def test_an_example_that_is_no_table_is_refused(model: Model, tmp_path: Path, example: Any) -> None:
    directory = factories.altered(model("forest"), tmp_path / "model", signature({"name": "a", "type": "long"}))
    (directory / "input_example.json").write_text(json.dumps(example))
    with pytest.raises(ExampleFailed):
        artifact.read(directory)


def test_missing_values_of_an_example_are_missing(model: Model, tmp_path: Path) -> None:
    columns = signature({"name": "a", "type": "long", "required": False}, {"name": "b", "type": "string", "required": False})
    directory = factories.altered(model("forest"), tmp_path / "model", columns)
    (directory / "input_example.json").write_text(json.dumps({"columns": ["a", "b"], "data": [[math.nan, math.nan], [1, "x"]]}))
    read = artifact.read(directory)
    assert read.example == ((None, None), (1, "x")) and read.example_frame is not None
    assert read.example_frame.isna().sum().to_list() == [1, 1]
