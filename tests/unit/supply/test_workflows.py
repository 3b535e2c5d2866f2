"""The GitHub workflows, which no machine of ours can run: what they call exists, and they say the same as the Makefile."""

import re
from typing import Any

import pytest
import yaml

from tests.clusters.settings import CHECKOUT
from tests.supply import locks

WORKFLOWS = {path.stem: path.read_text() for path in (CHECKOUT / ".github" / "workflows").glob("*.yaml")}
MAKEFILE = (CHECKOUT / "Makefile").read_text()


def jobs(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(WORKFLOWS[name])["jobs"]
    return found


def test_github_runs_what_make_test_runs() -> None:
    (everything,) = re.findall(r"^test: (.*?) *##", MAKEFILE, re.MULTILINE)
    matrix = jobs("ci")["make"]["strategy"]["matrix"]
    assert matrix["target"] == everything.split()
    (beside,) = matrix["include"]
    assert f"\n{beside['target']}: " in MAKEFILE


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_target_that_a_workflow_makes_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE))
    steps = [step.get("run", "") for job in jobs(name).values() for step in job["steps"]]
    called = [word for run in steps for line in re.findall(r"\bmake ([a-z][a-z ]*)", run) for word in line.split()]
    assert called
    assert set(called) <= targets


@pytest.mark.parametrize("name", WORKFLOWS)
def test_an_action_is_pinned_to_a_commit_and_a_job_ends(name: str) -> None:
    pinned = r"[\w.-]+/[\w.-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+"
    assert [used for used in re.findall(r"uses: (.*)", WORKFLOWS[name]) if not re.fullmatch(pinned, used)] == []
    assert [job for job in jobs(name).values() if "timeout-minutes" not in job] == []


def test_a_release_publishes_every_image_from_its_lock() -> None:
    published = {
        each["name"]: CHECKOUT / each["requirements"] for each in jobs("release")["image"]["strategy"]["matrix"]["include"]
    }
    assert published == locks.IN_IMAGES
