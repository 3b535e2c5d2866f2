"""Parts of Kubernetes itself go away and come back while a load runs: no request notices, and the operator goes on."""

import time
from collections.abc import Iterator

import pytest

from tests.e2e.team import Team
from tests.faults import node
from tests.faults.conftest import Shelf
from tests.kubernetes import until
from tests.traffic import Traffic

pytestmark = pytest.mark.timeout(600)

NAME = "steady"
LONGER_THAN_THE_LEASE = 12.0  # seconds: whoever leads cannot renew, and ends


@pytest.fixture(scope="module")
def load(team: Team, shelf: Shelf) -> Iterator[Traffic]:
    team.apply(NAME, model={"name": team.model, "version": int(shelf.first)}, replicas=2)
    team.until_serving(shelf.first, name=NAME)
    with team.load(NAME) as running:
        yield running


@pytest.fixture
def no_request_is_lost(load: Traffic) -> Iterator[None]:
    """By any test here, from its beginning to its end."""
    before = load.account()
    yield
    after = load.account()
    assert (after.lost - before.lost, after.failures[len(before.failures) :]) == (0, ())
    assert after.answered > before.answered


def it_rolls_on(team: Team, version: str) -> None:
    team.ask_for(version, NAME)
    team.until_serving(version, name=NAME)


@pytest.mark.usefixtures("no_request_is_lost")
def test_the_api_server_is_restarted(team: Team, shelf: Shelf) -> None:
    """Promise 5, and that watches come back: a change after the restart is rolled out."""
    with node.stopped("kube-apiserver"):
        pass
    it_rolls_on(team, shelf.second)


@pytest.mark.long
@pytest.mark.usefixtures("no_request_is_lost")
def test_the_api_server_is_away_for_longer_than_the_lease(team: Team, shelf: Shelf) -> None:
    """Promise 5: the leader ends since it cannot know that it still leads; nothing else does."""
    with node.stopped("kube-apiserver"):
        time.sleep(LONGER_THAN_THE_LEASE)  # what is tested is an absence of that length
    it_rolls_on(team, shelf.first)


@pytest.mark.long
@pytest.mark.usefixtures("no_request_is_lost")
def test_containerd_is_restarted(team: Team, shelf: Shelf) -> None:
    """Promise 5: pods outlive what started them."""
    with node.stopped("containerd"):
        pass
    until("the node to be ready", lambda: node.ready(team.cluster) or None, 120)
    it_rolls_on(team, shelf.second)


@pytest.mark.long
def test_the_kubelet_is_restarted(team: Team, shelf: Shelf, load: Traffic) -> None:
    """Promise 7: nothing is rolled or started anew because of it, and the next rollout goes its way.

    Promise 5 is not the operator's to keep here: before Kubernetes 1.35 (KEP-4781) a kubelet calls its pods not ready until
    it has probed them once more. Where all of a model's pods are on that one node, its Service has none for a moment.
    """
    before = containers(team)
    with node.stopped("kubelet"):
        pass
    until("the node to be ready", lambda: node.ready(team.cluster) or None, 120)
    team.until_serving(team.serving(NAME), name=NAME)
    assert containers(team) == before
    it_rolls_on(team, shelf.first)
    answered = load.account().answered
    until("requests to be answered", lambda: load.account().answered > answered + 100 or None, 60)


@pytest.mark.long
@pytest.mark.usefixtures("no_request_is_lost")
def test_the_api_server_goes_away_in_the_middle_of_a_rollout(team: Team, shelf: Shelf) -> None:
    """Promise 5, and that what was begun is brought to its end."""
    version = shelf.another(shelf.second)
    team.ask_for(version, NAME)
    with node.stopped("kube-apiserver"):
        pass
    team.until_serving(version, name=NAME)


def containers(team: Team) -> set[str]:
    """The containers that serve, each start one of its own."""
    pods = team.cluster.list("pod", team.namespace, f"mlserving.dev/modeldeployment={NAME}")
    return {status["containerID"] for pod in pods for status in pod["status"].get("containerStatuses", [])}
