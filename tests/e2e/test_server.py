"""What a spec says of the server, on the real cluster: what computes the answers, and who may ask."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.e2e.team import NAME, Team
from tests.kubernetes import until

pytestmark = pytest.mark.timeout(600)

SECRET = "clients"


@pytest.fixture(scope="module")
def version(team: Team) -> Iterator[str]:
    found = team.train("--trees", "10", "--max-depth", "3")
    team.apply(replicas=1)
    team.until_serving(found)
    yield found


def engine(team: Team) -> str:
    return str(team.status()["serving"].get("engine", ""))


def asked(team: Team, token: str = "") -> int:
    """The status of an answer to that token; 0 where none came, as from a pod that was just about to go."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with team.cluster.forwarded(f"service/{NAME}", 80, team.namespace) as address:
        request = urllib.request.Request(f"{address}/predict", json.dumps(team.example).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0


def test_status_says_what_computes_the_answers(team: Team, version: str) -> None:
    until("the engine to be told", lambda: engine(team) == "Compiled" or None, 60)
    team.patch({"server": {"engine": "Native"}})
    until("scikit-learn itself to answer", lambda: engine(team) == "Native" or None, 180)
    team.until_serving(version)


def test_only_who_has_a_token_is_answered_and_a_missing_secret_is_named(team: Team, version: str) -> None:
    team.patch({"server": {"engine": "Native", "auth": {"tokenSecretRef": {"name": SECRET}}}})
    team.until_ready_is("False", "TokensMissing")
    assert f"the Secret {SECRET} in the namespace {team.namespace} is not there" in team.condition("Ready")["message"]
    assert asked(team) == 200, "the earlier pods go on"
    team.kubectl("create", "secret", "generic", SECRET, "--from-literal=shop=a-token")
    # The kubelet brings it by itself, and waits longer after each start that failed; a new pod has it at once.
    for pod in team.cluster.list("pod", team.namespace, f"mlserving.dev/modeldeployment={NAME}"):
        if not all(container["ready"] for container in pod["status"].get("containerStatuses", [])):
            team.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
    until("the Secret to be taken up", lambda: (asked(team, "a-token"), asked(team)) == (200, 401) or None, 180)
    team.until_serving(version)
    assert asked(team, "another-token") == 401
