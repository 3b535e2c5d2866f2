"""training/README.md: its notebook cell and its shell commands, as a reader would run them."""

import re
import shlex
import tomllib
import warnings
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

from tests.contract.test_adoption import logged
from tests.contract.test_any_model import FRAME, TWO
from tests.contract.test_optimize import measured
from tests.contract.training_registry import Registry
from tests.unit.training.factories import customers, settings
from training.__main__ import main, parser
from training.configuration import parsed
from training.data import load
from training.search import key, specs
from training.table import checked

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:.*(Any type hint is inferred|Add type hints|Hint. Inferred schema):UserWarning"),
]

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


def run(command: str) -> None:
    """In this process, which has imported everything."""
    python, module, name, *options = shlex.split(command, comments=True)
    assert (python, module, name) == ("python", "-m", "training")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(options) == 0, command


def test_the_notebook_cell_registers_a_version(registry: Registry) -> None:
    (cell,) = blocks("python")
    exec(cell, {})
    assert str(registry.client.get_model_version_by_alias("iris", "champion").version) == "1"


def test_every_command_that_is_shown_with_its_prompt_works(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what optimize measures, all but one model is known already."""
    monkeypatch.chdir(tmp_path)
    customers(120).rename(columns={"churn": "churned"}).to_csv("churn.csv", index=False)
    FRAME.assign(age=FRAME["a"]).to_csv("fraud.csv", index=False)
    for _ in range(3):
        logged("fraud", LogisticRegression().fit(FRAME.assign(age=FRAME["a"]), TWO))
    chosen = settings(target="target", name="breast-cancer", trees=100)
    table = checked(load(None), chosen)
    Path("optimize-breast-cancer.jsonl").write_text(
        "".join(
            measured(key(table, spec, chosen), number).model_dump_json() + "\n"
            for number, spec in enumerate(specs(balance=False))
            if spec.kind != "linear"
        )
    )
    commands = re.findall(r"^\$ (.*)$", README, re.MULTILINE)
    assert [command.split()[3] for command in commands] == ["run", "run", "optimize", "adopt"]
    for command in commands:
        run(command)
    assert str(registry.client.get_model_version_by_alias("churn", "champion").version) == "1"
    assert registry.client.get_model_version("fraud", "4").tags == {"adopted_from": "3"}


def test_every_command_on_versions_works(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo.yaml").write_text(RESOURCE)
    (commands,) = blocks("shell")
    for command in commands.splitlines():
        run(command)
    assert "demo@champion is version 2, was version 1" in capsys.readouterr().out
    assert "version: 2, digest: sha256:" in Path("demo.yaml").read_text()


def test_the_settings_of_the_example_are_settings(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    (tmp_path / "train.toml").write_text(text)
    found = parsed(parser(), ["run", "--config", str(tmp_path / "train.toml")])
    assert found.trees == tomllib.loads(text)["trees"]
