"""Whoever leads is killed, or stopped and woken up again: somebody goes on within 20 seconds, and there are never two."""

import json
from datetime import UTC, datetime

import pytest

from tests import operator
from tests.e2e.team import Team
from tests.faults import node
from tests.faults.conftest import Shelf
from tests.installation import RELEASE, SYSTEM_NAMESPACE
from tests.kubernetes import Kubernetes, Object, until

pytestmark = pytest.mark.timeout(600)

GOES_ON_SECONDS = 20.0


def lease(cluster: Kubernetes) -> Object:
    found = cluster.get("lease", RELEASE, SYSTEM_NAMESPACE)
    assert found is not None
    spec: Object = found["spec"]
    return spec


def led_by_a_pod_that_is_ready(cluster: Kubernetes) -> str:
    """Both replicas are there, and one of them leads; its identity."""
    operator.settled(cluster)
    return until("a leader", lambda: operator.leader(cluster) or None, 60)


def another_leads(cluster: Kubernetes, than: str) -> None:
    until("another leader", lambda: operator.leader(cluster) not in ("", than) or None, 60)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def ask_for(team: Team, shelf: Shelf, name: str) -> None:
    team.apply(name, model={"name": team.model, "version": int(shelf.first)}, replicas=0)


def container(cluster: Kubernetes, pod: str) -> Object:
    found = cluster.get("pod", pod, SYSTEM_NAMESPACE) or {}
    statuses: list[Object] = found.get("status", {}).get("containerStatuses", [])
    return next((status for status in statuses if status["name"] == "controller"), {})


def test_the_leader_is_killed(team: Team, shelf: Shelf) -> None:
    """Not a word of warning, so the Lease has to run out first."""
    cluster = team.cluster
    before = led_by_a_pod_that_is_ready(cluster)
    pod = before.partition("_")[0]
    killed = datetime.now(UTC)
    node.kill(cluster, SYSTEM_NAMESPACE, pod, "controller")
    ask_for(team, shelf, "orphan")
    another_leads(cluster, before)
    team.until_ready_is("True", "Stopped", "orphan")
    led = (moment(lease(cluster)["acquireTime"]) - killed).total_seconds()
    told = (moment(team.condition("Ready", "orphan")["lastTransitionTime"]) - killed).total_seconds()
    print(f"another led after {led:.1f} s, and had told of the new resource after {told:.0f} s")
    assert led <= GOES_ON_SECONDS
    assert told <= GOES_ON_SECONDS
    team.kubectl("delete", "mdep", "orphan")


@pytest.mark.long
def test_the_leader_is_stopped_for_longer_than_its_lease(team: Team, shelf: Shelf) -> None:
    """It wakes up to changes that it has not seen, and ends: what they ask for is done once, by the other."""
    cluster = team.cluster
    ask_for(team, shelf, "sleeper")
    team.until_ready_is("True", "Stopped", "sleeper")
    before = led_by_a_pod_that_is_ready(cluster)
    pod = before.partition("_")[0]
    transitions, restarts = lease(cluster)["leaseTransitions"], container(cluster, pod)["restartCount"]
    node.send("SIGSTOP", cluster, SYSTEM_NAMESPACE, pod, "controller")
    try:
        team.patch({"service": {"port": 8080}}, "sleeper")
        another_leads(cluster, before)
        until("the other to act", lambda: port(team, "sleeper") == 8080 or None, 60)
        written = versions(team, "sleeper")
    finally:
        woken = operator.now()
        node.send("SIGCONT", cluster, SYSTEM_NAMESPACE, pod, "controller")
    until("its end", lambda: container(cluster, pod).get("restartCount") == restarts + 1 or None, 60)
    assert container(cluster, pod)["lastState"]["terminated"]["exitCode"] == 1
    log = cluster.kubectl("logs", "-n", SYSTEM_NAMESPACE, pod, "-c", "controller", "--previous", f"--since-time={woken}")
    said = [json.loads(line)["event"] for line in log.splitlines()]
    assert "LeadershipLost" in said
    assert set(said) <= {"LeadershipLost", "WriteHeldBack", "WatchBroken", "WatchFailed"}, log
    assert versions(team, "sleeper") == written
    assert lease(cluster)["leaseTransitions"] == transitions + 1
    team.kubectl("delete", "mdep", "sleeper")


def port(team: Team, name: str) -> int:
    service = team.cluster.get("service", name, team.namespace) or {}
    return int(service["spec"]["ports"][0]["port"])


def versions(team: Team, name: str) -> list[str]:
    """The resourceVersions of the resource and of its Service."""
    found = (team.cluster.get(kind, name, team.namespace) or {} for kind in ("mdep", "service"))
    return [str(each["metadata"]["resourceVersion"]) for each in found]
