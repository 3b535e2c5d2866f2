"""What becomes of a rollout that fails, that has to wait, or that somebody changes by hand; and of every way back.

Under a load from the first rollout to the last: what served goes on serving, whatever fails beside it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import operator
from tests.e2e.team import NAME, Team
from tests.installation import RELEASE, SYSTEM_NAMESPACE
from tests.kubernetes import CommandFailedError, Object, until
from tests.traffic import Traffic

pytestmark = pytest.mark.timeout(600)


class Versions:
    """What was registered, in order."""

    first = ""
    second = ""
    third = ""


@pytest.fixture(scope="module", autouse=True)
def deployed(team: Team) -> None:
    Versions.first = team.train("--trees", "5", "--max-depth", "3")
    team.apply(replicas=1)
    team.until_serving(Versions.first)
    Versions.second = team.train("--trees", "6", "--max-depth", "3", "--seed", "2")
    team.until_serving(Versions.second)


@pytest.fixture(scope="module", autouse=True)
def load(team: Team, deployed: None) -> Iterator[Traffic]:
    with team.load() as running:
        yield running


def nothing_lost(load: Traffic) -> None:
    account = load.account()
    assert (account.failures, account.lost) == ((), 0)


def until_so(what: str, seen: Callable[[], Any], seconds: float = 120) -> None:
    until(what, lambda: seen() or None, seconds)


def cause_of_newest_rollout(team: Team) -> str | None:
    status = team.status_that_is_up_to_date()
    return status["history"][0]["cause"] if status else None


def template(team: Team) -> Object:
    found = team.cluster.get("deployment", NAME, team.namespace)
    assert found is not None
    spec: Object = found["spec"]["template"]
    return spec


class TestFailure:
    def test_a_version_at_fault_is_taken_back_and_quarantined(self, team: Team, load: Traffic) -> None:
        before = template(team)
        bad = team.register_odd("wrong-answer")
        team.move_alias(bad)
        until_so("the quarantine", lambda: [each["version"] for each in team.status().get("quarantined", [])] == [bad])
        until_so("the old template", lambda: template(team) == before)
        until_so("its history", lambda: cause_of_newest_rollout(team) == "RolledBack")
        team.until_ready_is("False", "ExampleMismatch")
        status, ready = team.status(), team.condition("Ready")
        assert (status["hold"]["by"], status["hold"]["version"], status["target"]["version"]) == (
            "Operator",
            Versions.second,
            bad,
        )
        assert "was taken back" in ready["message"]
        assert "kubectl annotate" in ready["message"]
        team.until_event("RolledBack")
        nothing_lost(load)

    def test_and_is_not_tried_again_by_itself_or_by_a_new_leader(self, team: Team, load: Traffic) -> None:
        before = template(team)
        operator.change_leader(team.cluster)
        team.until_looked_at()
        assert template(team) == before
        assert team.ready() == ("False", "ExampleMismatch")

    def test_a_retry_tries_it_again(self, team: Team, load: Traffic) -> None:
        revision = team.status()["history"][0]["revision"]
        team.retry()
        until_so(
            "another attempt that failed",
            lambda: team.status()["history"][0]["revision"] > revision + 1 and team.status().get("quarantined"),
        )
        nothing_lost(load)

    def test_an_alias_that_goes_back_ends_it(self, team: Team, load: Traffic) -> None:
        team.move_alias(Versions.second)
        team.until_serving(Versions.second)
        assert "hold" not in team.status()

    def test_too_little_memory_is_told_and_more_of_it_mends_it(self, team: Team, load: Traffic) -> None:
        team.patch({"resources": {"requests": {"cpu": "50m", "memory": "24Mi"}, "limits": {"memory": "24Mi"}}})
        team.until_ready_is("False", "OutOfMemory")
        assert "spec.resources.limits.memory" in team.condition("Ready")["message"]
        assert team.serving() == Versions.second
        team.patch({"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "768Mi"}}})
        team.until_serving(Versions.second)
        nothing_lost(load)


class TestUndo:
    def test_two_undos_in_a_row_go_there_and_back(self, team: Team, load: Traffic) -> None:
        Versions.third = team.train("--trees", "7", "--max-depth", "3", "--seed", "3")
        team.until_serving(Versions.third)
        team.undo()
        team.until_serving(Versions.second, "HeldByPerson")
        team.undo()
        team.until_serving(Versions.third)
        assert "hold" not in team.status()

    def test_an_undo_in_the_middle_of_a_rollout(self, team: Team, load: Traffic) -> None:
        before = team.status()["serving"]["version"]
        team.ask_for(Versions.first)
        until_so("the rollout to begin", lambda: begun(team) == Versions.first)
        team.undo()
        team.until_serving(before, "HeldByPerson")
        assert team.health() == "Suspended"
        nothing_lost(load)

    def test_followed_by_another_wish_goes_on(self, team: Team, load: Traffic) -> None:
        team.ask_for(Versions.second)
        team.until_serving(Versions.second)
        assert "hold" not in team.status()

    def test_while_the_controller_is_away_and_the_alias_moves(self, team: Team, load: Traffic) -> None:
        team.follow()
        team.until_serving(Versions.third)
        team.cluster.kubectl("scale", f"statefulset/{RELEASE}", "-n", SYSTEM_NAMESPACE, "--replicas=0")
        until_so("no operator", lambda: not operator_pods(team))
        team.undo()
        team.move_alias(Versions.first)
        team.cluster.kubectl("scale", f"statefulset/{RELEASE}", "-n", SYSTEM_NAMESPACE, "--replicas=2")
        team.until_serving(Versions.second, "HeldByPerson")
        assert team.status()["target"]["version"] == Versions.first
        team.retry()
        team.until_serving(Versions.first)

    def test_of_a_restart_holds_nothing(self, team: Team, load: Traffic) -> None:
        team.kubectl("rollout", "restart", f"deployment/{NAME}")
        until_so("the restart", lambda: team.status()["history"][0]["cause"] == "Restart")
        team.until_serving(Versions.first)
        team.undo()
        team.until_looked_at()
        team.until_serving(Versions.first)
        assert "hold" not in team.status()

    def test_to_a_revision_that_is_gone_is_refused_by_kubectl(self, team: Team, load: Traffic) -> None:
        before = generation_of_deployment(team)
        with pytest.raises(CommandFailedError, match="unable to find specified revision"):
            team.undo("--to-revision=4711")
        team.until_looked_at()
        assert (generation_of_deployment(team), team.ready()) == (before, ("True", "Serving"))

    def test_to_a_revision_while_mlflow_is_away(self, team: Team, load: Traffic) -> None:
        revision = next(each["revision"] for each in team.status()["history"] if each["version"] == Versions.second)
        with team.mlflow_away():
            team.undo(f"--to-revision={revision}")
            team.until_serving(Versions.second, "HeldByPerson")
        team.act("retry")
        team.until_serving(Versions.first)
        nothing_lost(load)


class TestByHand:
    def test_an_image_set_by_hand_is_put_back(self, team: Team, load: Traffic) -> None:
        before = template(team)
        team.kubectl("set", "image", f"deployment/{NAME}", "server=somewhere/else:1")
        until_so("the old template", lambda: template(team) == before)
        team.until_serving(Versions.first)
        team.until_event("EditReverted")
        nothing_lost(load)

    def test_what_is_added_by_hand_stays(self, team: Team, load: Traffic) -> None:
        team.kubectl("set", "env", f"deployment/{NAME}", "-c", "server", "TEAM_NOTE=kept")
        team.until_looked_at()
        names = [each["name"] for each in template(team)["spec"]["containers"][0]["env"]]
        assert "TEAM_NOTE" in names
        team.until_serving(Versions.first)

    def test_a_paused_deployment_waits_until_it_is_resumed(self, team: Team, load: Traffic) -> None:
        team.kubectl("rollout", "pause", f"deployment/{NAME}")
        team.move_alias(Versions.second)
        team.until_ready_is("True", "DeploymentPaused")
        assert "kubectl rollout resume" in team.condition("Ready")["message"]
        assert team.serving() == Versions.first
        team.kubectl("rollout", "resume", f"deployment/{NAME}")
        team.until_serving(Versions.second)

    def test_a_deployment_scaled_by_hand_goes_back_to_what_the_spec_says(self, team: Team, load: Traffic) -> None:
        team.kubectl("scale", f"deployment/{NAME}", "--replicas=3")
        until_so("one replica", lambda: replicas(team) == 1)
        team.kubectl("scale", f"mdep/{NAME}", "--replicas=2")
        until_so("two replicas", lambda: replicas(team) == 2)
        team.until_serving(Versions.second)


class TestModes:
    def test_manual_waits_for_the_approval_that_status_shows(self, team: Team, load: Traffic) -> None:
        team.patch({"rollout": {"mode": "Manual"}})
        team.move_alias(Versions.third)
        team.until_ready_is("True", "AwaitingApproval")
        assert (team.status()["target"]["version"], team.health()) == (Versions.third, "Suspended")
        team.act("approve")
        team.until_serving(Versions.third)

    def test_paused_waits_for_nobody(self, team: Team, load: Traffic) -> None:
        team.patch({"rollout": {"mode": "Paused"}})
        team.move_alias(Versions.second)
        team.until_ready_is("True", "RolloutsPaused")
        assert (team.serving(), team.health()) == (Versions.third, "Suspended")
        team.patch({"rollout": {"mode": "Automatic"}})
        team.until_serving(Versions.second)

    def test_disabled_touches_nothing(self, team: Team, load: Traffic) -> None:
        team.act("pause")
        team.until_ready_is("True", "ReconcileDisabled")
        assert team.health() == "Suspended"
        team.move_alias(Versions.third)
        team.patch({"service": {"port": 81}})
        until_so("the generation to be seen", lambda: team.status()["observedGeneration"] == generation(team))
        service = team.cluster.get("service", NAME, team.namespace)
        assert service is not None
        assert service["spec"]["ports"][0]["port"] == 80
        assert team.serving() == Versions.second
        team.patch({"service": {"port": 80}})
        team.act("resume")
        team.until_serving(Versions.third)

    def test_no_request_was_lost_on_the_whole_way(self, load: Traffic) -> None:
        account = load.finish()
        assert (account.failures, account.lost, account.sent > 1000) == ((), 0, True)


def begun(team: Team) -> str:
    """The version of the newest rollout that Kubernetes has begun: only then is it what an undo takes back."""
    found = team.cluster.get("deployment", NAME, team.namespace)
    assert found is not None
    if found["status"].get("observedGeneration") != found["metadata"]["generation"]:
        return ""
    return str(found["spec"]["template"]["metadata"]["annotations"]["mlserving.dev/model-version"])


def replicas(team: Team) -> int:
    found = team.cluster.get("deployment", NAME, team.namespace)
    assert found is not None
    return int(found["spec"]["replicas"])


def generation(team: Team) -> int:
    return int(team.resource()["metadata"]["generation"])


def generation_of_deployment(team: Team) -> int:
    found = team.cluster.get("deployment", NAME, team.namespace)
    assert found is not None
    return int(found["metadata"]["generation"])


def operator_pods(team: Team) -> list[Object]:
    return team.cluster.list("pod", SYSTEM_NAMESPACE, f"app.kubernetes.io/instance={RELEASE}")
