"""Which server image a model gets, and what keeps a version out: on the real cluster, with real models."""

import pytest

from tests.e2e.team import NAME, Team
from tests.kubernetes import until

pytestmark = pytest.mark.timeout(600)

APPROVED = {"tags": [{"key": "validation_status", "value": "approved"}]}


@pytest.fixture(scope="module")
def good(team: Team) -> str:
    """A version of the present scikit-learn that serves."""
    version = team.train("--trees", "10", "--max-depth", "3")
    team.apply(model={"name": team.model, "version": int(version)}, replicas=1)
    team.until_serving(version)
    return version


def scikit_learn(team: Team) -> str:
    """What the pods that serve have inside."""
    command = ("python", "-c", "import sklearn; print(sklearn.__version__)")
    pod = ("-n", team.namespace, f"deployment/{NAME}", "-c", "server")
    return team.cluster.kubectl("exec", *pod, "--", *command).strip()


def message(team: Team) -> str:
    return str(team.condition("GatesPassed")["message"])


def test_each_model_is_served_by_the_scikit_learn_that_it_was_logged_with(team: Team, good: str) -> None:
    assert team.status()["serving"]["runtime"] == "sklearn-1.9"
    assert scikit_learn(team).startswith("1.9.")
    older = team.register_odd("plain", sklearn="1.8")
    team.ask_for(older)
    team.until_serving(older)
    serving = team.status()["serving"]
    assert serving["runtime"] == "sklearn-1.8"
    assert "sklearn-1.8" in serving["image"]
    assert scikit_learn(team).startswith("1.8.")
    assert team.predict()["model_version"] == older
    team.ask_for(good)
    team.until_serving(good)
    assert team.status()["serving"]["runtime"] == "sklearn-1.9"


def test_a_version_that_would_break_clients_waits_for_a_word(team: Team, good: str) -> None:
    other = team.register_odd("renamed")
    team.ask_for(other)
    team.until_ready_is("False", "SignatureBreaking")
    assert "input 'average radius' (double) is required, and clients do not send it" in message(team)
    assert f"version {good} goes on serving" in team.condition("Ready")["message"]
    assert team.predict()["model_version"] == good
    waiver = {"version": int(other), "gate": "Signature", "reason": "the clients have moved"}
    team.patch({"gates": {"waivers": [waiver]}})
    team.until_serving(other)
    assert f"waived: Signature for version {other} (the clients have moved)" in message(team)
    team.ask_for(good)  # clients of `other` would break too, but this one has served before
    team.until_serving(good)
    team.patch({"gates": None})


def test_a_tag_lets_a_version_in(team: Team, good: str) -> None:
    team.patch({"gates": APPROVED})
    version = team.train("--trees", "11", "--max-depth", "3", alias="candidate")
    team.ask_for(version)
    team.until_ready_is("False", "TagMissing")
    team.tag(version, "validation_status", "approved")
    team.until_serving(version)
    team.patch({"gates": None})


def test_a_model_that_is_too_slow_never_becomes_ready(team: Team, good: str) -> None:
    team.ask_for(good)
    team.until_serving(good)
    team.patch({"gates": {"maxLatencyP95Milliseconds": 0.001}})
    version = team.train("--trees", "12", "--max-depth", "3", alias="candidate")
    team.ask_for(version)
    until("the pod to say why", lambda: "LatencyTooHigh" in str(team.status()) or None, 180)
    assert "spec.gates.maxLatencyP95Milliseconds is 0.001" in str(team.status())
    assert team.predict()["model_version"] == good
