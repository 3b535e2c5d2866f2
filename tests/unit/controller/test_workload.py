"""How pods are read: what counts as complete, and which of several troubles is told."""

from typing import Any

import pytest

from controller.index import telling
from controller.resources.rollouts import ROLLOUT
from controller.workload import fault, workload
from tests.unit.controller.factories import rollout

LIVE = rollout(2, 2)


def deployment(**status: Any) -> dict[str, Any]:
    whole = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    return {"metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": {**whole, **status}}


def pod(number: int = 2, *, ready: bool = False, deleted: bool = False, **status: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}, *status.pop("conditions", [])]
    metadata = {"annotations": {ROLLOUT: str(number)}, **({"deletionTimestamp": "now"} if deleted else {})}
    return {"metadata": metadata, "status": {"conditions": conditions, **status}}


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    terminated = {"exitCode": code, "message": message, "reason": reason}
    return {"containerStatuses": [{"name": "server", "state": {"waiting": {}}, "lastState": {"terminated": terminated}}]}


def waiting(reason: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": "m"}}
    return {"containerStatuses": [{"name": "server", "image": "server:1", "state": state}]}


def test_complete_is_what_kubectl_rollout_status_calls_done() -> None:
    assert workload(deployment()).complete


@pytest.mark.parametrize(
    "status",
    [{"observedGeneration": 2}, {"updatedReplicas": 1}, {"replicas": 3}, {"availableReplicas": 1}],
    ids=["template not seen", "pods missing", "old pods there", "pods not ready"],
)
def test_incomplete(status: dict[str, int]) -> None:
    assert not workload(deployment(**status)).complete


def test_a_pod_that_found_its_model_at_fault_is_quoted() -> None:
    found = fault([pod(**ended(65, '{"reason": "ExampleMismatch", "message": "row 1"}'))], LIVE)
    assert found is not None
    assert (found.reason, found.message, found.by_model) == ("ExampleMismatch", "row 1", True)


def test_what_the_model_did_comes_before_what_the_cluster_did() -> None:
    found = fault([pod(**waiting("ImagePullBackOff")), pod(**ended(65, '{"reason": "LoadFailed", "message": "m"}'))], LIVE)
    assert found is not None
    assert found.reason == "LoadFailed"


@pytest.mark.parametrize(
    ("status", "reason", "by_model"),
    [
        (ended(137, reason="OOMKilled"), "OutOfMemory", True),
        (ended(0, reason="OOMKilled"), "OutOfMemory", True),
        (ended(69, '{"reason": "StoreUnavailable", "message": "m"}'), "StoreUnavailable", False),
        (ended(1, "Traceback"), "PodCrashed", False),
        (waiting("ErrImagePull"), "ImagePullFailed", False),
        (waiting("CreateContainerConfigError"), "PodNotStarted", False),
        ({"conditions": [{"type": "PodScheduled", "status": "False", "message": "no node"}]}, "Unschedulable", False),
    ],
)
def test_each_trouble_has_a_reason(status: dict[str, Any], reason: str, by_model: bool) -> None:
    found = fault([pod(**status)], LIVE)
    assert found is not None
    assert (found.reason, found.by_model) == (reason, by_model)
    assert telling("Pod", pod(**status)) is not None, "the watch makes somebody look at it"


@pytest.mark.parametrize(
    "healthy",
    [pod(ready=True, **ended(65)), pod(number=1, **ended(65)), pod(deleted=True, **ended(65)), pod(**ended(0)), pod()],
    ids=["ready again", "of another rollout", "on its way out", "ended well", "just starting"],
)
def test_no_trouble(healthy: dict[str, Any]) -> None:
    assert fault([healthy], LIVE) is None


def test_last_words_are_bounded_and_stripped() -> None:
    words = '{"reason": "Load\\u001b[31mFailed", "message": "%s\\u0007\\n"}' % ("x" * 5000)
    found = fault([pod(**ended(65, words))], LIVE)
    assert found is not None
    assert found.reason == "ModelFailed"
    assert len(found.message) <= 1000
    assert found.message.isprintable()
