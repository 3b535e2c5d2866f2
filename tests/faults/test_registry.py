"""MLflow down, slow, answering nonsense or handing out other bytes than it was given: what serves goes on, and says why."""

from collections.abc import Iterator

import pytest

from tests.e2e.team import Team
from tests.faults import faulty_registry
from tests.faults.conftest import Shelf
from tests.faults.faulty_registry import FaultyRegistry
from tests.kubernetes import until
from tests.traffic import Traffic

pytestmark = pytest.mark.timeout(600)

NAME = "follower"
ALIAS = "faulty"


def reference(team: Team, version: str) -> dict[str, object]:
    return {"name": team.model, "version": int(version), "registryRef": {"name": faulty_registry.NAME}}


@pytest.fixture(scope="module")
def follower(team: Team, shelf: Shelf, faulty: FaultyRegistry) -> str:
    """A resource that follows an alias of the faulty registry, while that is still in order; what it is called."""
    team.move_alias(shelf.first, ALIAS)
    model = {"name": team.model, "alias": ALIAS, "registryRef": {"name": faulty_registry.NAME}}
    team.apply(NAME, model=model, replicas=1)
    team.until_serving(shelf.first, name=NAME)
    return NAME


@pytest.fixture(scope="module")
def load(team: Team, follower: str) -> Iterator[Traffic]:
    with team.load(follower) as running:
        yield running


def resolved(team: Team, name: str = NAME) -> tuple[str, str]:
    found = team.condition("ModelResolved", name)
    return found.get("status", ""), found.get("reason", "")


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "says"),
    [("hang", "answer"), ("error", "500"), ("page", "JSON")],
)
def test_a_registry_that_does_not_answer_as_it_should_stops_nothing_that_runs(
    team: Team, shelf: Shelf, faulty: FaultyRegistry, load: Traffic, fault: str, says: str
) -> None:
    """Promises 4, 5 and 8: what runs goes on, scales and answers; the condition names the cause; it heals by itself."""
    with faulty.that(fault):
        until("the registry to be missed", lambda: resolved(team) == ("False", "RegistryUnavailable") or None, 90)
        assert says in team.condition("ModelResolved", NAME)["message"]
        team.until_serving(shelf.first, name=NAME)
        team.patch({"replicas": 2}, NAME)
        until("a second pod", lambda: team.status(NAME).get("readyReplicas") == 2 or None, 120)
        team.patch({"replicas": 1}, NAME)
        until("one pod again", lambda: team.status(NAME).get("replicas") == 1 or None, 60)
    until("the registry to be found again", lambda: resolved(team) == ("True", "Resolved") or None, 120)
    account = load.account()
    assert (account.failures, account.lost) == ((), 0)


@pytest.mark.long
def test_a_registry_that_is_gone_stops_nothing_that_runs(team: Team, faulty: FaultyRegistry, load: Traffic) -> None:
    """Promises 4 and 5."""
    with faulty.gone():
        until("the registry to be missed", lambda: resolved(team) == ("False", "RegistryUnavailable") or None, 90)
        assert team.ready(NAME) == ("True", "Serving")
    until("the registry to be found again", lambda: resolved(team) == ("True", "Resolved") or None, 120)
    account = load.account()
    assert (account.failures, account.lost) == ((), 0)


@pytest.mark.long
def test_a_slow_registry_only_takes_longer(team: Team, shelf: Shelf, faulty: FaultyRegistry, load: Traffic) -> None:
    """Promise 8: while the pull goes on, Ready says so; others are not kept waiting."""
    version = shelf.another(shelf.second)
    with faulty.that("slow"):
        team.move_alias(version, ALIAS)
        until("the pull to be told", lambda: team.ready(NAME) == ("False", "Pulling") or None, 60)
        team.apply("unhurried", model={"name": team.model, "version": int(shelf.first)}, replicas=0)
        until("another resource meanwhile", lambda: team.ready("unhurried") == ("True", "Stopped") or None, 20)
        team.until_serving(version, name=NAME)
    team.kubectl("delete", "mdep", "unhurried")
    assert (load.account().failures, load.account().lost) == ((), 0)


@pytest.mark.parametrize("fault", [pytest.param("cut", marks=pytest.mark.long), "short"])
def test_half_a_file_is_never_rolled_out(team: Team, shelf: Shelf, faulty: FaultyRegistry, load: Traffic, fault: str) -> None:
    """Promise 2: a version is in the store whole, or not at all; it comes when the registry has mended."""
    before = team.serving(NAME)
    version = shelf.another(shelf.first if before == shelf.second else shelf.second)
    with faulty.that(fault):
        team.move_alias(version, ALIAS)
        until("Ready to say so", lambda: team.ready(NAME) == ("False", "DownloadIncomplete") or None, 60)
        assert f"version {version}" in team.condition("Ready", NAME)["message"]
        assert team.condition("Reconciling", NAME)["status"] == "True"
        assert team.serving(NAME) == before
    team.until_serving(version, name=NAME)
    assert (load.account().failures, load.account().lost) == ((), 0)


@pytest.mark.long
def test_a_damaged_file_in_mlflow_never_answers(team: Team, shelf: Shelf, faulty: FaultyRegistry, load: Traffic) -> None:
    """Promise 1: what does not load never gets a request; the version before it goes on and status says why."""
    before = team.serving(NAME)
    version = shelf.another(shelf.first)
    with faulty.that("beginning"):
        team.move_alias(version, ALIAS)
        until("the version to be taken back", lambda: team.ready(NAME) == ("False", "LoadFailed") or None, 180)
    assert team.serving(NAME) == before
    assert [entry["version"] for entry in team.status(NAME)["quarantined"]] == [version]
    assert set(load.account().versions) & {version} == set()
    assert (load.account().failures, load.account().lost) == ((), 0)


@pytest.mark.long
def test_a_single_wrong_bit_is_refused_where_the_spec_names_the_digest(
    team: Team, shelf: Shelf, faulty: FaultyRegistry, follower: str
) -> None:
    """Promise 2: what was pinned is what runs, or nothing does; before a pod starts."""
    version = shelf.another(shelf.first)
    team.apply("sound", model={"name": team.model, "version": int(shelf.first)}, replicas=1)
    team.until_serving(shelf.first, name="sound")
    digest = team.status("sound")["serving"]["digest"]
    with faulty.that("middle"):
        team.apply("pinned", model={**reference(team, version), "digest": digest}, replicas=1)
        until("the digest to be missed", lambda: team.ready("pinned") == ("False", "DigestMismatch") or None, 60)
    assert team.cluster.get("deployment", "pinned", team.namespace) is None
    team.kubectl("delete", "mdep", "sound", "pinned")
