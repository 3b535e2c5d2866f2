"""training/README.md: its notebook cell and its shell commands, as a reader would run them."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.contract.training_registry import Registry
from training.__main__ import parser
from training.configuration import parsed

pytestmark = pytest.mark.timeout(300)

README = (Path(__file__).parents[2] / "training" / "README.md").read_text()
RESOURCE = """\
apiVersion: mlserving.dev/v1alpha1
kind: ModelDeployment
metadata: {name: demo}
spec:
  model: {name: demo, alias: champion}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_notebook_cell_registers_a_version(registry: Registry) -> None:
    (cell,) = blocks("python")
    exec(cell, {})
    assert str(registry.client.get_model_version_by_alias("iris", "champion").version) == "1"


def test_every_command_on_versions_works(registry: Registry, tmp_path: Path) -> None:
    (commands,) = blocks("shell")
    (tmp_path / "demo.yaml").write_text(RESOURCE)
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": registry.uri,
    }
    done = subprocess.run(["bash", "-euc", commands], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "demo@champion is version 2, was version 1" in done.stdout
    assert "version: 2, digest: sha256:" in (tmp_path / "demo.yaml").read_text()


def test_the_settings_of_the_example_are_settings(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    (tmp_path / "train.toml").write_text(text)
    found = parsed(parser(), ["run", "--config", str(tmp_path / "train.toml")])
    assert found.trees == tomllib.loads(text)["trees"]
