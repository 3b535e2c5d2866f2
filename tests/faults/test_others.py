"""Others who write what the operator writes: nobody is fought, and what was lost is found again."""

import json
import time
from functools import partial

import pytest

from tests.e2e.team import Team
from tests.e2e.test_trouble import operator_writes
from tests.faults.conftest import Shelf
from tests.kubernetes import Object, until

pytestmark = pytest.mark.timeout(600)

NAME = "shared"
QUIET_SECONDS = 20.0


@pytest.fixture(scope="module")
def shared(team: Team, shelf: Shelf) -> str:
    team.apply(NAME, model={"name": team.model, "version": int(shelf.first)})
    team.until_serving(shelf.first, name=NAME)
    team.kubectl("scale", f"deployment/{NAME}", "--replicas=1")  # the number is left to whoever writes it
    return NAME


def deployment(team: Team) -> Object:
    return team.cluster.get("deployment", NAME, team.namespace) or {}


def rival(team: Team, patch: dict[str, object]) -> None:
    """Another manager of fields writes to the Deployment."""
    team.kubectl("patch", f"deployment/{NAME}", "--field-manager=rival", "--type=strategic", "-p", json.dumps(patch))


def test_a_lost_status_is_found_again_and_nothing_is_rolled(team: Team, shelf: Shelf, shared: str) -> None:
    """Promise 4: what a person chose does not stand in the status alone."""
    team.ask_for(shelf.second, NAME)
    team.until_serving(shelf.second, name=NAME)
    team.undo(name=NAME)
    team.until_serving(shelf.first, "HeldByPerson", NAME)
    before, template = team.status(NAME), deployment(team)["spec"]["template"]
    wipe = '[{"op": "remove", "path": "/status"}]'
    team.kubectl("patch", f"mdep/{NAME}", "--subresource=status", "--type=json", "-p", wipe)
    team.until_serving(shelf.first, "HeldByPerson", NAME)
    until("the target to be found", lambda: team.status(NAME).get("target", {}).get("version") == shelf.second or None)
    after = team.status(NAME)
    assert deployment(team)["spec"]["template"] == template
    for field in ("version", "digest", "verified", "image", "rollout"):
        assert after["serving"][field] == before["serving"][field]
    assert after["hold"]["version"] == before["hold"]["version"]
    team.retry(NAME)
    team.until_serving(shelf.second, name=NAME)


@pytest.mark.long
def test_fields_that_the_spec_does_not_declare_belong_to_who_writes_them(team: Team, shared: str) -> None:
    """Promise 7: the number of pods, labels and annotations of somebody else cost the operator no write to the Deployment."""
    until("it to be quiet", lambda: team.ready(NAME) == ("True", "Serving") or None)
    template = deployment(team)["spec"]["template"]
    since = operator_writes(team)
    for number in range(10):
        annotations = {"rival.example/turn": str(number)}
        rival(
            team,
            {"metadata": {"annotations": annotations, "labels": {"rival": str(number)}}, "spec": {"replicas": 1 + number % 2}},
        )
    until("the last number of pods", lambda: team.status(NAME).get("readyReplicas") == 2 or None, 120)
    after = deployment(team)
    assert (after["spec"]["replicas"], after["metadata"]["labels"]["rival"]) == (2, "9")
    assert after["spec"]["template"] == template
    assert on_deployments(operator_writes(team)) == on_deployments(since)


@pytest.mark.long
def test_who_keeps_changing_the_template_is_named_and_not_fought(team: Team, shared: str) -> None:
    """Promises 7 and 8: put back three times, then left alone and told, with the manager's name."""
    for number in range(6):
        image = f"localhost/rival:{number}"
        rival(team, {"spec": {"template": {"spec": {"containers": [{"name": "server", "image": image}]}}}})
        until("it to be put back, or told", partial(answered, team, image), 60)
        if team.ready(NAME)[1] == "TemplateContested":
            break
    assert team.ready(NAME) == ("False", "TemplateContested")
    assert "rival" in team.condition("Ready", NAME)["message"]
    assert team.condition("Available", NAME)["status"] == "True"
    generation = deployment(team)["metadata"]["generation"]
    deadline = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < deadline:
        assert deployment(team)["metadata"]["generation"] == generation
        time.sleep(2)  # what is awaited here is that nothing happens


def answered(team: Team, image: str) -> bool:
    """The operator put the template back, or says that it no longer does."""
    live = deployment(team)["spec"]["template"]["spec"]["containers"][0]["image"]
    return live != image or team.ready(NAME)[1] == "TemplateContested"


def on_deployments(writes: dict[str, str]) -> dict[str, str]:
    return {series: count for series, count in writes.items() if "deployments" in series and "modeldeployments" not in series}
