"""Fifty ModelDeployments that pass or nearly pass the schema: each is answered in words, and none disturbs anybody."""

import json

import pytest

from tests import operator
from tests.e2e.team import Team
from tests.faults.conftest import Shelf
from tests.faults.malformed import generate
from tests.kubernetes import CommandFailedError, Object, until

pytestmark = pytest.mark.timeout(600)

SEED = 20261123
COUNT = 50


def test_each_is_refused_with_a_sentence_or_told_in_a_condition(team: Team, shelf: Shelf) -> None:
    """Promises 7 and 8: a mistake is named where it was made, and others go on being reconciled."""
    restarts = operator.restarts(team.cluster)
    spec = {"model": {"name": team.model, "version": int(shelf.first)}, "replicas": 0}
    metadata = {"namespace": team.namespace}
    sound = {"apiVersion": "mlserving.dev/v1alpha1", "kind": "ModelDeployment", "metadata": metadata, "spec": spec}
    accepted: dict[str, str] = {}
    refused: dict[str, str] = {}
    for malformed in generate(sound, COUNT, SEED):
        try:
            team.kubectl("create", "-f", "-", stdin=json.dumps(malformed.document))
            accepted[malformed.document["metadata"]["name"]] = malformed.wrong
        except CommandFailedError as error:
            refused[malformed.wrong] = error.output.strip()
    for wrong, answer in refused.items():
        assert "error:" in answer.lower() or "is invalid" in answer, wrong
        assert "internal error" not in answer.lower(), (wrong, answer)
        assert len(answer.split()) > 3, (wrong, answer)
    assert len(accepted) > COUNT / 10
    assert len(refused) > COUNT / 10

    until("each to have a condition", lambda: told(team).keys() >= accepted.keys() or None, 120)
    for name, ready in told(team).items():
        assert (ready["reason"], ready["message"] or ready["status"] == "True") > ("", ""), (accepted.get(name), ready)

    team.apply("bystander", model={"name": team.model, "version": int(shelf.first)}, replicas=1)
    team.until_serving(shelf.first, name="bystander")
    assert operator.restarts(team.cluster) == restarts


def told(team: Team) -> dict[str, Object]:
    """The Ready condition of each resource that has one about what its spec says now."""
    found = {}
    for resource in team.cluster.list("modeldeployment", team.namespace):
        status = resource.get("status", {})
        ready = next((each for each in status.get("conditions", []) if each["type"] == "Ready"), None)
        if ready is not None and status.get("observedGeneration") == resource["metadata"]["generation"]:
            found[resource["metadata"]["name"]] = ready
    return found
