"""What lets the operator into a registry, as Secrets that a real kubelet mounts: missing, wrong, and taken up when corrected."""

import time
import uuid

import pytest

from tests import operator
from tests.e2e.team import Team
from tests.faults import guarded_registry
from tests.faults.guarded_registry import AUTHORITY, LOGIN, USER, GuardedRegistry
from tests.installation import SYSTEM_NAMESPACE
from tests.kubernetes import until

pytestmark = pytest.mark.timeout(600)

NAME = "inside"
TAKEN_UP_SECONDS = 120
"""What the messages of the operator promise."""


@pytest.fixture(scope="module")
def model(guarded: GuardedRegistry) -> str:
    """A model that only that registry has, which knows the operator."""
    guarded.await_start()
    guarded.tell("POST", "users/create", username=USER, password="the first password")
    name = f"guarded-{uuid.uuid4().hex[:6]}"
    guarded.train(name)
    return name


def remounted(team: Team) -> None:
    """A kubelet brings the volumes of a pod up to date within a minute or so; and at once, where the pod is changed."""
    team.cluster.kubectl(
        "annotate", "pod", *operator.pods(team.cluster), "-n", SYSTEM_NAMESPACE, f"e2e={time.time()}", "--overwrite"
    )


def refused(team: Team, reason: str) -> str:
    """What a person then reads."""
    team.until_ready_is("False", reason, NAME)
    return str(team.condition("Ready", NAME)["message"])


def test_what_is_missing_or_wrong_is_named_and_what_is_corrected_is_taken_up(
    team: Team, guarded: GuardedRegistry, model: str
) -> None:
    """Promise 8; and a login, an authority or a password that is rotated needs no restart of the operator."""
    started = operator.restarts(team.cluster)
    team.apply(NAME, model={"name": model, "alias": "champion", "registryRef": {"name": guarded_registry.NAME}}, replicas=1)
    missing = refused(team, "RegistrySecretUnusable")
    assert f"needs the key 'username' of the Secret '{LOGIN}' in the operator's namespace, and it is not there" in missing

    guarded.secret(LOGIN, username=USER, password="another password")
    guarded.secret(AUTHORITY, **{"ca.crt": guarded.another_authority})
    remounted(team)
    assert "name the certificate authority that signed it in the registry's caSecret" in refused(team, "RegistryUntrusted")

    guarded.secret(AUTHORITY, **{"ca.crt": guarded.authority})
    remounted(team)
    wrong = refused(team, "RegistryRefused")
    assert f"refuses the username and the password of the Secret '{LOGIN}' in the operator's namespace" in wrong
    assert "correct them there, and they are taken up within two minutes" in wrong
    assert "another password" not in str(team.resource(NAME))

    guarded.secret(LOGIN, username=USER, password="the first password")
    remounted(team)
    team.until_serving("1", name=NAME)
    assert team.predict(name=NAME)["model_version"] == "1"
    assert operator.restarts(team.cluster) == started


@pytest.mark.long
def test_a_rotated_password_is_taken_up_within_two_minutes(team: Team, guarded: GuardedRegistry, model: str) -> None:
    """As the message promises, by the kubelet's own pace; what runs goes on."""
    started = operator.restarts(team.cluster)
    guarded.tell("PATCH", "users/update-password", username=USER, password="the second password")
    until("the old one to be refused", lambda: resolved(team) == ("False", "RegistryRefused") or None, 60)
    assert team.ready(NAME) == ("True", "Serving")
    guarded.secret(LOGIN, username=USER, password="the second password")
    until("the new one to be taken up", lambda: resolved(team)[0] == "True" or None, TAKEN_UP_SECONDS)
    assert operator.restarts(team.cluster) == started


def resolved(team: Team) -> tuple[str, str]:
    found = team.condition("ModelResolved", NAME)
    return found.get("status", ""), found.get("reason", "")
