"""What a model says of itself is somebody else's text: read in bounded time and memory, whatever it is."""

import json
import zipfile
from pathlib import Path

import pytest

from controller.artifact import MAX_MLMODEL_BYTES, inspect
from controller.errors import Stalling
from controller.skops_file import MAX_SCHEMA_BYTES, foreign_types
from controller.store import Store
from tests.unit.controller.fake_registry import MLMODEL, FakeRegistry, model_files
from tests.unit.controller.test_store import version

MERGES = "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))


async def read(tmp_path: Path, mlmodel: str) -> str:
    registry = FakeRegistry(1)
    registry.versions["1"] = model_files(1, mlmodel)
    store = Store(tmp_path, 10**8)
    return inspect(store, await store.pull(version(), registry)).verified


@pytest.mark.parametrize(
    "mlmodel",
    [
        MERGES,
        LAUGHS + "flavors: {sklearn: {pickled_model: *a8}}",
        "flavors: {sklearn: {a: !!bool maybe}}",
        "flavors: {sklearn: {a: !!int ''}}",
        "flavors: {sklearn: {a: !!timestamp foo}}",
        "flavors: {sklearn: {a: !!python/object/apply:os.system [true]}}",
        "[" * 5000,
        "flavors: {}\n" + "#" * MAX_MLMODEL_BYTES,
        "flavors: 3",
        "",
    ],
)
async def test_odd_text_is_refused_with_a_reason(tmp_path: Path, mlmodel: str) -> None:
    with pytest.raises(Stalling, match="ModelUnreadable"):
        await read(tmp_path, mlmodel)


@pytest.mark.parametrize(
    ("mlmodel", "verified"),
    [
        (MLMODEL, "Answered"),
        (MLMODEL.replace("metadata", "other"), "Executed"),
        (MLMODEL.replace("saved_input_example_info", "other"), "Loaded"),
        ("flavors: {sklearn: {pickled_model: [model.pkl]}}", "Loaded"),
    ],
)
async def test_what_a_pod_can_prove_is_read(tmp_path: Path, mlmodel: str, verified: str) -> None:
    assert await read(tmp_path, mlmodel) == verified


def skops_file(directory: Path, schema: str) -> Path:
    with zipfile.ZipFile(directory / "model.skops", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", schema)
    return directory / "model.skops"


def test_the_types_of_a_skops_file_are_read_as_text(tmp_path: Path) -> None:
    said = [{"__class__": name, "__module__": module} for module, name in (("sklearn.tree._tree", "Tree"), ("own.part", "Type"))]
    content = {"__class__": "str", "__module__": "builtins", "content": json.dumps({"__class__": "No", "__module__": "no"})}
    assert foreign_types(skops_file(tmp_path, json.dumps([*said, *said, content]))) == ("own.part.Type",)


@pytest.mark.parametrize("content", [b"no zip", b""])
def test_a_skops_file_that_cannot_be_read_is_left_to_the_pod(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.skops").write_bytes(content)
    assert foreign_types(tmp_path / "model.skops") == ()


def test_a_skops_file_that_blows_up_is_left_to_the_pod(tmp_path: Path) -> None:
    assert foreign_types(skops_file(tmp_path, " " * (MAX_SCHEMA_BYTES + 1))) == ()
