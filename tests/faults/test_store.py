"""The operator's store when it is full, and when a file in it is no longer what it was."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests import operator
from tests.e2e.team import Team
from tests.faults import faulty_registry
from tests.faults.conftest import Shelf
from tests.faults.faulty_registry import FaultyRegistry
from tests.installation import SYSTEM_NAMESPACE
from tests.kubernetes import Object, until

pytestmark = [pytest.mark.timeout(1000), pytest.mark.long]

NAME = "stored"

# Each runs in the store's container with nothing but Python's standard library.
_FILL = """
import os, pathlib
path = pathlib.Path("/store/files/" + "f" * 64)
path.touch()
os.truncate(path, 20 * 1024**3)  # a hole takes no room on the disk
"""
_EMPTY = "import pathlib; pathlib.Path('/store/files/' + 'f' * 64).unlink(missing_ok=True)"
_DAMAGE = """
import hashlib, json, pathlib, sys
manifest = pathlib.Path("/store/manifests/{digest}")
if not manifest.exists():
    sys.exit()  # this replica has not copied it yet
files = json.loads(manifest.read_text())["files"]
path = pathlib.Path("/store/files/" + max(files, key=lambda file: file["size"])["sha256"])
content = bytearray(path.read_bytes())
if hashlib.sha256(content).hexdigest() == path.name:  # otherwise it is damaged already
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
print("damaged")
"""


@pytest.fixture(scope="module")
def stored(team: Team, shelf: Shelf, faulty: FaultyRegistry) -> str:
    """A resource that comes from the faulty registry, while that is in order; what it is called."""
    registry = {"name": faulty_registry.NAME}
    team.apply(NAME, model={"name": team.model, "version": int(shelf.first), "registryRef": registry}, replicas=1)
    team.until_serving(shelf.first, name=NAME)
    return NAME


def test_a_full_store_is_told_and_what_runs_goes_on(team: Team, shelf: Shelf, stored: str) -> None:
    """Promises 4 and 8: no version comes in, the condition says what to do; what is in the store scales and rolls back."""
    version = shelf.another(shelf.second)
    with ExitStack() as full:
        for pod in operator.pods(team.cluster):
            full.enter_context(filled(team, pod))
        team.ask_for(version, NAME)
        until("the store to be full", lambda: team.ready(NAME) == ("False", "StoreFull") or None, 60)
        message = team.condition("Ready", NAME)["message"]
        assert "store.sizeLimit" in message
        assert team.serving(NAME) == shelf.first
        team.patch({"replicas": 2}, NAME)
        until("a second pod", lambda: team.status(NAME).get("readyReplicas") == 2 or None, 120)
        team.patch({"replicas": 1}, NAME)
    team.until_serving(version, name=NAME)


def test_a_damaged_file_in_one_replica_is_not_what_a_pod_runs(team: Team, shelf: Shelf, stored: str) -> None:
    """Promise 2: each pod verifies every byte, and asks again; the store mends itself from the other replica."""
    team.ask_for(shelf.first, NAME)
    team.until_serving(shelf.first, name=NAME)
    pod, *_ = operator.pods(team.cluster)
    damage(team, pod)
    team.patch({"replicas": 3}, NAME)
    until("more pods", lambda: team.status(NAME).get("readyReplicas") == 3 or None, 240)
    team.until_ready_is("True", "Serving", NAME)
    team.patch({"replicas": 1}, NAME)
    until("fewer pods", lambda: team.status(NAME).get("replicas") == 1 or None, 120)


def test_a_file_that_is_damaged_wherever_it_was_is_named_and_never_answers(
    team: Team, faulty: FaultyRegistry, shelf: Shelf, stored: str
) -> None:
    """Promises 1, 2 and 8: pods that cannot have the right bytes do not become ready; those that have them go on."""
    with faulty.that("error"):
        for pod in operator.pods(team.cluster):
            damage(team, pod)
        team.patch({"replicas": 2}, NAME)
        until("a pod to say so", lambda: termination_reasons(team) & {"StoreUnavailable"} or None, 400)
        until("Ready to say so", lambda: "o store delivered" in team.condition("Ready", NAME)["message"] or None, 60)
        assert team.status(NAME)["readyReplicas"] == 1
        assert team.status(NAME).get("quarantined", []) == []
        assert team.condition("Available", NAME)["status"] == "True"
        assert team.predict(name=NAME)["model_version"] == shelf.first
    until("the pod to come up by itself", lambda: team.status(NAME).get("readyReplicas") == 2 or None, 400)


def termination_reasons(team: Team) -> set[str]:
    """The reasons that the fetch step of the pods gave when it gave up."""
    pods = team.cluster.list("pod", team.namespace, f"mlserving.dev/modeldeployment={NAME}")
    found = set()
    for status in (each for pod in pods for each in pod["status"].get("initContainerStatuses", [])):
        ended: Object = status["state"].get("terminated") or status.get("lastState", {}).get("terminated") or {}
        said = json.loads(ended.get("message") or "{}")  # a step that has come to its end tells its engine, and no reason
        found |= {str(said["reason"])} if "reason" in said else set()
    return found


@contextmanager
def filled(team: Team, pod: str) -> Iterator[None]:
    in_store(team, pod, _FILL)
    try:
        yield
    finally:
        in_store(team, pod, _EMPTY)


def damage(team: Team, pod: str) -> None:
    """One bit of the largest file of what serves is wrong in the store of that replica, as soon as it has copied that."""
    digest = team.status(NAME)["serving"]["digest"].removeprefix("sha256:")
    script = _DAMAGE.format(digest=digest)
    until(f"{pod} to have {digest}", lambda: "damaged" in in_store(team, pod, script) or None, 120)


def in_store(team: Team, pod: str, script: str) -> str:
    return team.cluster.kubectl("exec", "-n", SYSTEM_NAMESPACE, pod, "-c", "store", "--", "python", "-c", script)
