"""The controller is killed, without a word of warning, at random moments of rollouts and undos.

A script of what people do runs again and again while whoever leads is killed; each time it has to end in the state in which
it ends undisturbed.
"""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest

from tests import operator
from tests.clusters.progress import Trouble
from tests.e2e.team import Team, told
from tests.faults import node
from tests.faults.conftest import Shelf
from tests.installation import SYSTEM_NAMESPACE
from tests.kubernetes import CommandFailedError, until

pytestmark = pytest.mark.timeout(3600)

SEED = 20261123
LONGEST_DELAY = 8.0
"""Seconds that a new leader has at most: kills meet it at its first looks, at its writes and while pods start."""

STEP_SECONDS = 600.0  # with a leader that is killed again and again


def the_script(team: Team, shelf: Shelf, name: str, *, whole: bool) -> None:
    """Rollouts by alias, an undo, a change on top of it, a retry, a version that fails, a rollback, an undo of that.

    Otherwise without the first undo and what comes of it: three kills are over before the rest begins.
    """

    def seen(version: str, status: str, reason: str) -> None:
        def same() -> bool:
            found = team.status_that_is_up_to_date(name)
            return found is not None and told(found) == (version, status, reason)

        until(f"{name}: version {version}, Ready={status} {reason}", same, STEP_SECONDS)

    alias = name
    team.move_alias(shelf.first, alias)
    team.apply(name, model={"name": team.model, "alias": alias}, replicas=1)
    seen(shelf.first, "True", "Serving")
    team.move_alias(shelf.second, alias)
    seen(shelf.second, "True", "Serving")
    if whole:
        team.undo(name=name)
        seen(shelf.first, "True", "HeldByPerson")
        team.patch({"resources": {"limits": {"memory": "768Mi"}}}, name)
        until("the change on top of what is held", lambda: rolled_out(team, name) == 3, STEP_SECONDS)
        seen(shelf.first, "True", "HeldByPerson")
        team.retry(name)
        seen(shelf.second, "True", "Serving")
    team.move_alias(shelf.broken, alias)
    seen(shelf.second, "False", "ExampleMismatch")
    team.ask_for(shelf.first, name)
    seen(shelf.first, "True", "Serving")
    team.undo(name=name)
    seen(shelf.second, "True", "HeldByPerson")


def rolled_out(team: Team, name: str) -> int:
    """The number of the live rollout."""
    deployment = team.cluster.get("deployment", name, team.namespace) or {}
    annotations = deployment.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
    return int(annotations.get("mlserving.dev/rollout", 0))


def state(team: Team, name: str) -> dict[str, Any]:
    """What matters in the end, without times."""
    status = team.status(name)
    deployment = team.cluster.get("deployment", name, team.namespace) or {}
    template = deployment["spec"]["template"]
    replica_sets = team.cluster.list("replicaset", team.namespace, f"mlserving.dev/modeldeployment={name}")
    live = template["metadata"]["annotations"]["mlserving.dev/model-digest"]
    return {
        "conditions": {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]},
        "serving": (status["serving"]["version"], status["serving"]["verified"], status["serving"]["digest"] == live),
        "target": status.get("target", {}).get("version"),
        "hold": (status["hold"]["by"], status["hold"]["version"], status["hold"]["reason"]) if "hold" in status else None,
        "quarantined": [(each["version"], each["reason"]) for each in status.get("quarantined", [])],
        "history": [(each["version"], each["cause"]) for each in status["history"]],
        "rollouts": sorted(
            int(each["spec"]["template"]["metadata"]["annotations"]["mlserving.dev/rollout"]) for each in replica_sets
        ),
        "memory": template["spec"]["containers"][0]["resources"]["limits"]["memory"],
        "pods": (status["replicas"], status["readyReplicas"]),
    }


def end_of_the_script(shelf: Shelf, *, whole: bool) -> dict[str, Any]:
    """The state that the script leaves, whoever is killed meanwhile."""
    first_undo = [(shelf.second, "Retry"), (shelf.first, "SpecChanged"), (shelf.first, "Undo")]
    return {
        "conditions": {
            "Ready": ("True", "HeldByPerson"),
            "Available": ("True", "PodsReady"),
            "Reconciling": ("False", "HeldByPerson"),
            "Stalled": ("False", "HeldByPerson"),
            "ModelResolved": ("True", "Resolved"),
            "GatesPassed": ("True", "Passed"),
        },
        "serving": (shelf.second, "Answered", True),
        "target": shelf.first,
        "hold": ("Person", shelf.second, "kubectl rollout undo"),
        "quarantined": [(shelf.broken, "ExampleMismatch")],
        "history": [
            (shelf.second, "Undo"),
            (shelf.first, "ModelChanged"),
            (shelf.second, "RolledBack"),
            (shelf.broken, "ModelChanged"),
            *(first_undo if whole else []),
            (shelf.second, "ModelChanged"),
            (shelf.first, "Created"),
        ],
        "rollouts": list(range(1, 7 if whole else 5)),
        "memory": "768Mi" if whole else "1Gi",
        "pods": (1, 1),
    }


def ended(team: Team, name: str, end: dict[str, Any]) -> bool:
    return state(team, name) == end


class Killer:
    """Kills whoever leads, a random while after it began to lead; again and again, `kills` times."""

    def __init__(self, team: Team, kills: int) -> None:
        self._cluster = team.cluster
        self._wanted = kills
        self._since = operator.now()
        self._random = random.Random(SEED)
        self._stop = threading.Event()
        self.kills = 0
        self.unforeseen: list[str] = []
        """What the killed ones logged that no fault may bring about."""

    @contextmanager
    def at_work(self) -> Iterator[None]:
        thread = threading.Thread(target=self._work)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            operator.settled(self._cluster)

    def _work(self) -> None:
        last = ""
        while not self._stop.is_set() and self.kills < self._wanted:
            identity = operator.leader(self._cluster)
            if not identity or identity == last:
                self._stop.wait(0.5)
                continue
            if self._stop.wait(self._random.uniform(0, LONGEST_DELAY)):
                return
            pod = identity.partition("_")[0]
            try:
                self.unforeseen += operator.unforeseen(self._cluster, self._since, pod)
                node.kill(self._cluster, SYSTEM_NAMESPACE, pod, "controller")
                # Its successor would wait for the kubelet, longer after each crash; this one is to fail thirty times.
                self._cluster.kubectl("delete", "pod", pod, "-n", SYSTEM_NAMESPACE, "--wait=false")
            except (CommandFailedError, Trouble):
                continue  # it went by itself in this moment
            last, self.kills = identity, self.kills + 1


@pytest.mark.parametrize("kills", [pytest.param(0, marks=pytest.mark.long), 3, pytest.param(30, marks=pytest.mark.long)])
def test_kills_change_nothing_about_where_it_ends(team: Team, shelf: Shelf, kills: int) -> None:
    """Promises 3 and 4: decisions are made from what the cluster has, so a crash between any two steps loses none."""
    killer, rounds, whole = Killer(team, kills), 0, kills != 3
    end = end_of_the_script(shelf, whole=whole)
    with killer.at_work():
        while not rounds or killer.kills < kills:
            rounds += 1
            name = f"killed-{kills}-{rounds}"
            the_script(team, shelf, name, whole=whole)
            with suppress(TimeoutError):
                until(f"{name} to end as it should", partial(ended, team, name, end), 120)
            assert state(team, name) == end
            team.kubectl("delete", "mdep", name)
    assert killer.kills == kills
    assert killer.unforeseen == []
