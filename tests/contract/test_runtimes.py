"""A model of each scikit-learn that a server image has: logged under it, read as data, and served by it alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from controller import artifact
from controller.catalogue import Catalogue, Runtime
from controller.policy import Server
from controller.registry import ModelVersion
from controller.store import Store
from tests.contract.test_controller_and_server import Directory
from tests.e2e import older_sklearn

CATALOGUE = Catalogue(
    tuple(
        Runtime(name=f"sklearn-{minor}", image=f"server:{minor}", scikit_learn=minor, python="3.11") for minor in ("1.9", "1.8")
    )
)
pytestmark = pytest.mark.timeout(180)


def run(minor: str, *arguments: str) -> str:
    if minor == "1.8":
        return older_sklearn.run(minor, "tests.contract.forest", *arguments)
    command = [sys.executable, "-m", "tests.contract.forest", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("minor", ["1.9", "1.8"])
async def test_a_model_gets_the_image_of_its_scikit_learn_and_is_answered_there(tmp_path: Path, minor: str) -> None:
    directory = tmp_path / "model"
    run(minor, "save", str(directory))
    store = Store(tmp_path / "store", 10**8)
    version = ModelVersion(registry="main", name="fraud", version="1", run_id="", model_id="", created="")
    found = artifact.inspect(store, await store.pull(version, Directory(directory)))
    assert found.environment.scikit_learn.startswith(f"{minor}.")
    assert found.environment.python.startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert found.signature.recorded
    assert CATALOGUE.runtime_for(Server(), found.environment.scikit_learn).image == f"server:{minor}"
    loaded = json.loads(run(minor, "load", str(directory)).splitlines()[-1])
    assert loaded["verified"] == "Answered"
    assert loaded["sklearn"].startswith(f"{minor}.")
