"""From the last release to this one, under load: what runs is not touched, and what comes after it is this one's."""

import json
from collections.abc import Iterator

import pytest
import yaml

from tests.e2e.team import NAME, Team
from tests.e2e.test_chart import running, templates
from tests.installation import CHART, install_operator, load_images
from tests.traffic import Traffic
from tests.upgrade.conftest import NEEDED

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def first(team: Team) -> str:
    """What the release before has rolled out."""
    version = team.train("--trees", "10", "--max-depth", "3")
    team.apply()
    team.until_serving(version)
    return version


@pytest.fixture(scope="module")
def load(team: Team, first: str) -> Iterator[Traffic]:
    with team.load() as load:
        yield load


def test_the_upgrade_touches_nothing_that_runs(team: Team, first: str, load: Traffic) -> None:
    templates_before, running_before = templates(team), running(team)
    names, keys = load_images(NEEDED)
    install_operator(team.cluster, names, keys)
    team.until_looked_at()
    assert (templates(team), running(team)) == (templates_before, running_before)
    assert (team.serving(), *team.ready()) == (first, "True", "Serving")


def test_it_brings_the_definition_of_now(team: Team) -> None:
    def fields(definition: dict[str, object]) -> object:
        spec = json.loads(json.dumps(definition))["spec"]
        return spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]

    there = json.loads(team.cluster.kubectl("get", "crd", "modeldeployments.mlserving.dev", "-o", "json"))
    assert fields(there) == fields(yaml.safe_load((CHART / "files" / "crd.yaml").read_text()))


def test_what_comes_next_is_rolled_out_and_taken_back(team: Team, first: str, load: Traffic) -> None:
    second = team.train("--trees", "5", "--max-depth", "2", "--seed", "3")
    team.until_serving(second)
    team.undo()
    team.until_serving(first, reason="HeldByPerson")
    assert team.status()["hold"]["version"] == first
    assert team.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=120s")
    account = load.account()
    assert account.failures == ()
    assert account.lost == 0
