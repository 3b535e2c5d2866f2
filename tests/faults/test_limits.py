"""What the cluster does not give: memory, pods, and a namespace that stays."""

import json
import uuid
from collections.abc import Iterator

import pytest

from tests.e2e.team import Team
from tests.faults.conftest import Shelf
from tests.kubernetes import Object, until

pytestmark = [pytest.mark.timeout(600), pytest.mark.long]

DEADLINE_SECONDS = 90  # what a pod takes to start on a busy machine, and then some


def quota(pods: int) -> str:
    spec = {"hard": {"pods": str(pods)}}
    return json.dumps({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": spec})


@pytest.fixture(autouse=True)
def nothing_left_for_the_next(team: Team) -> Iterator[None]:
    """Pods that a failed test leaves behind would count against the next one's quota."""
    yield
    team.kubectl("delete", "mdep,resourcequota", "--all")


def test_a_model_that_needs_more_memory_than_its_limit_is_taken_back(team: Team, shelf: Shelf) -> None:
    """Promises 4 and 8: the old version serves, the reason is the limit and the way out is to raise it."""
    name = "hungry"
    limits = {"resources": {"requests": {"memory": "128Mi"}, "limits": {"memory": "512Mi"}}, "replicas": 1}
    team.apply(name, model={"name": team.model, "version": int(shelf.first)}, **limits)
    team.until_serving(shelf.first, name=name)
    version = team.register_odd("greedy")
    team.ask_for(version, name)
    until("the version to be taken back", lambda: team.ready(name) == ("False", "OutOfMemory") or None, 180)
    assert "resources.limits.memory" in team.condition("Ready", name)["message"]
    assert (team.serving(name), team.condition("Stalled", name)["status"]) == (shelf.first, "True")
    assert [entry["version"] for entry in team.status(name)["quarantined"]] == [version]
    assert team.predict(name=name)["model_version"] == shelf.first


def test_a_quota_that_forbids_the_surge_delays_a_rollout_and_loses_nothing(team: Team, shelf: Shelf) -> None:
    """Promises 4, 5 and 8: told while it lasts, taken back when its time is up, and tried again until there is room."""
    name = "tight"
    model = {"name": team.model, "version": int(shelf.first)}
    team.apply(name, model=model, replicas=2, rollout={"progressDeadlineSeconds": DEADLINE_SECONDS})
    team.until_serving(shelf.first, name=name)
    with team.load(name) as load:
        team.kubectl("apply", "-f", "-", stdin=quota(pods=3))  # two, and the load's own
        until("the quota to count", lambda: used(team).get("pods") == "3" or None, 60)
        team.ask_for(shelf.second, name)
        until("the quota to be named", lambda: team.ready(name) == ("False", "PodsNotCreated") or None, 60)
        assert "exceeded quota" in team.condition("Ready", name)["message"]
        until("the rollout to be taken back", lambda: live_version(team, name) == shelf.first or None, 2 * DEADLINE_SECONDS)
        assert team.status(name).get("quarantined", []) == []
        assert team.condition("Reconciling", name)["status"] == "True"
        team.kubectl("delete", "resourcequota", "few")
        team.until_serving(shelf.second, name=name)
        account = load.finish()
    assert (account.failures, account.lost) == ((), 0)


def used(team: Team) -> Object:
    found = team.cluster.get("resourcequota", "few", team.namespace) or {}
    counted: Object = found.get("status", {}).get("used", {})
    return counted


def live_version(team: Team, name: str) -> str:
    deployment = team.cluster.get("deployment", name, team.namespace) or {}
    return str(deployment["spec"]["template"]["metadata"]["annotations"]["mlserving.dev/model-version"])


def test_a_namespace_that_is_deleted_in_the_middle_of_a_rollout_takes_nobody_along(team: Team, shelf: Shelf) -> None:
    """Promise 7: the operator lets go of it; others are served meanwhile, and so is a namespace of that name later."""
    installation, cluster = team.installation, team.cluster
    doomed = Team(installation, f"{team.namespace}-{uuid.uuid4().hex[:6]}", team.model)
    for _ in range(2):
        installation.make_namespace(doomed.namespace)
        doomed.apply("gone", model={"name": team.model, "version": int(shelf.first)}, replicas=1)
        doomed.until_serving(shelf.first, name="gone")
        doomed.ask_for(shelf.second, "gone")
        until("the rollout to begin", lambda: live_version(doomed, "gone") == shelf.second or None, 60)
        cluster.kubectl("delete", "namespace", doomed.namespace, "--wait=false")
        team.apply("bystander", model={"name": team.model, "version": int(shelf.first)}, replicas=0)
        team.until_ready_is("True", "Stopped", "bystander")
        team.kubectl("delete", "mdep", "bystander")
        cluster.kubectl("wait", f"namespace/{doomed.namespace}", "--for=delete", "--timeout=180s")
