"""The README: each command in it, in its order, as a reader would run it; and `make demo`."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.team import Team
from tests.installation import CHECKOUT, Installation

pytestmark = pytest.mark.timeout(900)

MODEL = "breast-cancer"


def commands() -> list[str]:
    """The shell blocks of the README but the first, which is `make demo` and `make test`."""
    blocks = re.findall(r"^```shell\n(.*?)^```$", (CHECKOUT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert blocks[0].split("\n")[:2] == ["make demo", "make test"]
    return blocks[1:]


@pytest.fixture
def shell(team: Team) -> Iterator[dict[str, str]]:
    """A reader's shell, with the team's namespace as the current one."""
    namespace = team.cluster.kubectl("config", "view", "--minify", "-o", "jsonpath={..namespace}")
    team.cluster.kubectl("config", "set-context", "--current", f"--namespace={team.namespace}")
    forget_model(team.installation)
    yield {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "MLFLOW_TRACKING_URI")}
    team.cluster.kubectl("config", "set-context", "--current", f"--namespace={namespace or 'default'}")


def forget_model(installation: Installation) -> None:
    """The README counts versions from 1."""
    script = (
        "import sys; from mlflow.tracking import MlflowClient as C; c = C(sys.argv[1]); "
        f"[c.delete_registered_model(m.name) for m in c.search_registered_models(\"name = '{MODEL}'\")]"
    )
    with installation.mlflow() as address:
        subprocess.run([sys.executable, "-c", script, address], check=True, capture_output=True)


def test_every_command_of_the_readme_works(shell: dict[str, str]) -> None:
    script = "\n".join(["set -euo pipefail", "trap 'kill $(jobs -p)' EXIT", *commands()])
    done = subprocess.run(
        ["bash", "-c", script], cwd=CHECKOUT, env=shell, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0
    assert '"model_version":"1"' in done.stdout
    assert "HeldByPerson" in done.stdout
    assert f"{MODEL} version 2 ({MODEL}@champion)" in done.stdout


def test_make_demo_loses_no_request(installation: Installation) -> None:
    try:
        done = subprocess.run(
            ["make", "demo"], cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        print(done.stdout, done.stderr)
        assert done.returncode == 0
        assert re.search(r"[1-9]\d+ answered .* 0 lost", done.stdout)
    finally:
        installation.cluster.kubectl("delete", "namespace", "demo", "--ignore-not-found", "--wait=false")
