"""The journey of a model, in the order in which a team would live it: each test goes on where the one before ended.

A load of 50 requests a second comes through the Service from the first rollout to the last; not one may be lost.
"""

from collections.abc import Iterator

import pytest

from tests import operator
from tests.e2e.team import NAME, Team
from tests.installation import RELEASE, SYSTEM_NAMESPACE
from tests.kubernetes import until
from tests.traffic import Account, Traffic

pytestmark = pytest.mark.timeout(600)


class Journey:
    """What the tests hand on to each other."""

    first = ""
    second = ""


@pytest.fixture(scope="module", autouse=True)
def deployed(team: Team) -> None:
    Journey.first = team.train("--trees", "20", "--max-depth", "5")
    team.apply()
    team.cluster.kubectl("wait", "-n", team.namespace, f"mdep/{NAME}", "--for=condition=Ready", "--timeout=180s")


@pytest.fixture(scope="module")
def load(team: Team, deployed: None) -> Iterator[Traffic]:
    with team.load() as running:
        yield running


def none_lost(load: Traffic) -> Account:
    account = load.account()
    assert account.failures == ()
    assert account.lost == 0
    return account


def test_ten_lines_become_a_model_that_answers_as_it_was_trained(team: Team) -> None:
    answer = team.predict()
    assert answer["prediction"] in (0, 1)
    assert answer["model_version"] == Journey.first
    assert answer["probability"] == max(answer["probabilities"].values())
    assert answer["latency_ms"] > 0
    status = team.status()
    assert status["serving"]["verified"] == "Answered"
    assert status["url"] == f"http://{NAME}.{team.namespace}.svc"


def test_kubectl_get_reads_well(team: Team) -> None:
    header, row = team.kubectl("get", "mdep").splitlines()
    assert header.split() == ["NAME", "MODEL", "VERSION", "READY", "REPLICAS", "REASON", "AGE"]
    assert row.split()[:6] == [NAME, team.model, Journey.first, "True", "2", "Serving"]
    wide = team.kubectl("get", "mdep", "-o", "wide").splitlines()[0].split()
    assert wide[-5:] == ["TARGET", "DIGEST", "ENGINE", "VERIFIED", "URL"]


def test_kubectl_describe_tells_what_happened(team: Team) -> None:
    team.until_event("RolloutStarted", "Serving", f"version {Journey.first} answers from 2 pods")


def test_what_serves_holds_no_credentials(team: Team) -> None:
    (pod, _) = team.cluster.list("pod", team.namespace, f"mlserving.dev/modeldeployment={NAME}")
    mounts = [mount["mountPath"] for container in pod["spec"]["containers"] for mount in container["volumeMounts"]]
    assert sorted(mounts) == ["/model", "/tmp"]
    credentials = [volume["name"] for volume in pod["spec"]["volumes"] if "secret" in volume or "projected" in volume]
    assert credentials == ["store-token"], "which is the init step's alone"


def test_the_alias_is_followed_without_a_lost_request(team: Team, load: Traffic) -> None:
    Journey.second = team.train("--trees", "10", "--max-depth", "3", "--seed", "7")
    team.until_serving(Journey.second)
    account = none_lost(load)
    assert account.versions[Journey.second] > 0
    assert account.versions[Journey.first] > 0


def test_rollout_history_tells_the_story(team: Team, load: Traffic) -> None:
    told = team.kubectl("rollout", "history", f"deployment/{NAME}")
    assert f"version {Journey.first} ({team.model}@champion)" in told
    assert f"version {Journey.second} ({team.model}@champion)" in told
    assert "successfully rolled out" in team.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=60s")


def test_an_undo_is_honored_and_explained(team: Team, load: Traffic) -> None:
    team.undo()
    team.until_serving(Journey.first, "HeldByPerson")
    none_lost(load)
    status = team.status()
    assert status["hold"]["version"] == Journey.first
    assert status["target"]["version"] == Journey.second
    assert status["history"][0]["cause"] == "Undo"
    message = team.condition("Ready")["message"]
    assert "kubectl annotate" in message
    team.until_event("HeldByPerson")


def test_an_undo_survives_a_restart_of_the_controller(team: Team, load: Traffic) -> None:
    before = team.cluster.get("deployment", NAME, team.namespace)
    operator.change_leader(team.cluster)
    team.until_looked_at()
    after = team.cluster.get("deployment", NAME, team.namespace)
    assert before is not None
    assert after is not None
    assert after["spec"]["template"] == before["spec"]["template"]
    assert team.ready() == ("True", "HeldByPerson")


def test_an_undo_survives_a_change_of_resources_which_is_applied(team: Team, load: Traffic) -> None:
    """And of the number of pods: from here on there is one, which makes each rollout half as long and none easier."""
    resources = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "768Mi"}}
    team.patch({"resources": resources, "replicas": 1})

    def resized() -> bool:
        pods = team.cluster.list("pod", team.namespace, f"mlserving.dev/modeldeployment={NAME}")
        staying = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        limits = [pod["spec"]["containers"][0]["resources"].get("limits", {}) for pod in staying]
        return [each.get("memory") for each in limits] == ["768Mi"]  # what else there is comes from the defaults

    until("a pod with the new resources", resized, 180)
    team.until_serving(Journey.first, "HeldByPerson")
    none_lost(load)


def test_an_undo_survives_an_alias_that_moves(team: Team, load: Traffic) -> None:
    team.move_alias(Journey.first)
    until("the target to follow the alias", lambda: "target" not in team.status(), 60)
    team.move_alias(Journey.second)
    until("the target to follow the alias", lambda: team.status().get("target", {}).get("version") == Journey.second, 60)
    assert team.ready() == ("True", "HeldByPerson")
    assert set(last_answers(load)) == {Journey.first}


def test_the_command_that_status_shows_goes_on(team: Team, load: Traffic) -> None:
    team.retry()
    team.until_serving(Journey.second)
    assert "hold" not in team.status()
    none_lost(load)


def test_a_rollback_by_version_needs_no_mlflow(team: Team, load: Traffic) -> None:
    with team.mlflow_away():
        assert team.ready() == ("True", "Serving")
        team.ask_for(Journey.first)
        team.until_serving(Journey.first)
    none_lost(load)


def test_an_undo_of_a_rollback_is_honored_too(team: Team, load: Traffic) -> None:
    team.undo()
    team.until_serving(Journey.second, "HeldByPerson")
    none_lost(load)


def test_no_request_was_lost_on_the_whole_way(load: Traffic) -> None:
    account = load.finish()
    assert account.failures == ()
    assert (account.lost, account.sent > 1000) == (0, True)


def test_deleting_the_resource_removes_its_children_also_without_a_controller(team: Team) -> None:
    team.cluster.kubectl("scale", f"statefulset/{RELEASE}", "-n", SYSTEM_NAMESPACE, "--replicas=0")
    try:
        team.kubectl("delete", "mdep", NAME)
        kinds = "deployment,replicaset,service,pod"
        until("no children", lambda: not team.cluster.list(kinds, team.namespace, f"mlserving.dev/modeldeployment={NAME}"), 120)
    finally:
        team.cluster.kubectl("scale", f"statefulset/{RELEASE}", "-n", SYSTEM_NAMESPACE, "--replicas=2")
        team.cluster.kubectl("rollout", "status", f"statefulset/{RELEASE}", "-n", SYSTEM_NAMESPACE, "--timeout=120s")


def last_answers(load: Traffic) -> dict[str, int]:
    """Answers by version, from now until a hundred more have come."""
    before = load.account()

    def enough() -> Account | None:
        now = load.account()
        return now if now.answered >= before.answered + 100 else None

    after = until("a hundred answers", enough, 60)
    return {version: more for version, count in after.versions.items() if (more := count - before.versions.get(version, 0))}
