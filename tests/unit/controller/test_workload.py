"""How pods are read: what counts as complete, which of several troubles is told, and when a rollout has failed for certain."""

from dataclasses import replace
from typing import Any

import pytest

from controller.index import telling
from controller.pod_faults import fault, unstarted
from controller.resources.rollouts import ROLLOUT
from controller.rollout import Failure, Rollout
from controller.workload import certain_failure, workload
from tests.unit.controller.factories import NOW, rollout

LIVE = rollout(2, 2)
NO_ROUTE = Failure(reason="StoreUnavailable", message="m", by_version=False, at=NOW)


def deployment(**status: Any) -> dict[str, Any]:
    whole = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    return {"metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": {**whole, **status}}


def pod(number: int = 2, *, ready: bool = False, deleted: bool = False, **status: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}, *status.pop("conditions", [])]
    metadata = {"annotations": {ROLLOUT: str(number)}, **({"deletionTimestamp": "now"} if deleted else {})}
    return {"metadata": metadata, "status": {"conditions": conditions, **status}}


def ended(code: int, message: str = "", reason: str = "Error", restarts: int = 0) -> dict[str, Any]:
    last = {"terminated": {"exitCode": code, "message": message, "reason": reason}}
    return {"containerStatuses": [{"name": "server", "state": {"waiting": {}}, "lastState": last, "restartCount": restarts}]}


def starting(fetch: dict[str, Any], server: dict[str, Any] | None = None) -> dict[str, Any]:
    """A pod that has a node, and where its two containers are."""
    waiting = {"waiting": {"reason": "PodInitializing"}}
    return {
        "conditions": [{"type": "PodScheduled", "status": "True"}],
        "initContainerStatuses": [{"name": "fetch", "state": fetch}],
        "containerStatuses": [{"name": "server", "state": server or waiting}],
    }


def overdue(**status: Any) -> dict[str, Any]:
    """A Deployment whose time is up."""
    conditions = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    return deployment(**{"availableReplicas": 0, "readyReplicas": 0, "conditions": conditions, **status})


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
        (ended(78, '{"reason": "TokensMissing", "message": "m"}', restarts=9), "TokensMissing", False),
        (ended(78, restarts=9), "SettingsInvalid", False),
        (ended(1, "Traceback"), "PodCrashed", False),
        (waiting("ErrImagePull"), "ImagePullFailed", False),
        (waiting("CreateContainerConfigError"), "PodNotStarted", False),
        ({"conditions": [{"type": "PodScheduled", "status": "False", "message": "no node"}]}, "Unschedulable", False),
        (ended(1, restarts=3), "CrashLoop", True),
        (ended(128, "exec: not found", "StartError", restarts=3), "PodNotStarted", False),
        (ended(128, reason="", restarts=3), "PodNotStarted", False),
        (ended(143, restarts=3), "PodCrashed", False),
        (ended(137, restarts=3), "PodCrashed", False),
        (ended(137, reason="ContainerStatusUnknown", restarts=3), "PodCrashed", False),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory", **ended(137, restarts=3)}, "PodEvicted", False),
    ],
)
def test_each_trouble_has_a_reason(status: dict[str, Any], reason: str, by_model: bool) -> None:
    found = fault([pod(**status)], LIVE)
    assert found is not None
    assert (found.reason, found.by_model) == (reason, by_model)
    assert telling("Pod", pod(**status)) is not None, "the watch makes somebody look at it"


def test_a_pod_without_a_node_says_what_to_change() -> None:
    said = "0/1 nodes are available: 1 Insufficient cpu."
    found = fault([pod(conditions=[{"type": "PodScheduled", "status": "False", "message": said}])], LIVE)
    assert found is not None
    remedy = "free or add nodes, or change spec.resources or what spec.pod asks of a node"
    assert found.message == f"no node takes the pod: 0/1 nodes are available: 1 Insufficient cpu; {remedy}"


@pytest.mark.parametrize(
    "healthy",
    [pod(ready=True, **ended(65)), pod(number=1, **ended(65)), pod(deleted=True, **ended(65)), pod(**ended(0)), pod()],
    ids=["ready again", "of another rollout", "on its way out", "ended well", "just starting"],
)
def test_no_trouble(healthy: dict[str, Any]) -> None:
    assert fault([healthy], LIVE) is None


def test_a_pod_that_a_node_gave_up_is_told_of_after_those_that_are_there() -> None:
    evicted = pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory")
    alone, beside = fault([evicted], LIVE), fault([evicted, pod(**waiting("ErrImagePull"))], LIVE)
    assert alone is not None
    assert beside is not None
    assert alone.message == "a node gave the pod up: Evicted: The node was low on resource: memory"
    assert beside.reason == "ImagePullFailed"


def test_the_memory_limit_that_was_too_low_is_named() -> None:
    containers = [{"name": "server", "resources": {"limits": {"memory": "64Mi"}}}]
    found = fault([{**pod(**ended(137, reason="OOMKilled")), "spec": {"containers": containers}}], LIVE)
    assert found is not None
    needed = "it needed more memory than its limit of 64Mi, for a model whose files have 1000 bytes"
    assert found.message == f"{needed}; raise spec.resources.limits.memory"


def test_of_the_step_before_the_server_too() -> None:
    """Its limit is the operator's, or the server's where that is higher."""
    steps = [{"name": "fetch", "resources": {"limits": {"memory": "1Gi"}}}]
    killed = starting({"terminated": {"exitCode": 0, "reason": "OOMKilled"}})
    found = fault([{**pod(**killed), "spec": {"initContainers": steps, "containers": []}}], LIVE)
    assert found is not None
    assert (found.reason, found.by_model) == ("PodCrashed", False)
    assert (
        found.message == "container fetch needed more memory than its limit of 1Gi; raise spec.resources.limits.memory beyond 1Gi"
    )


@pytest.mark.parametrize(
    ("pods", "told"),
    [
        ([], "not all of its pods are there"),
        ([pod(ready=True, **starting({}, {"running": {}}))], "not all of its pods are there"),
        ([pod(**starting({"waiting": {"reason": "PodInitializing"}}))], "container fetch still waits (PodInitializing)"),
        ([pod(**starting({"running": {}}))], "container fetch is still at work"),
        (
            [pod(**starting({"terminated": {"exitCode": 0}}, {"waiting": {"reason": "ContainerCreating"}}))],
            "container server still waits (ContainerCreating)",
        ),
        ([pod(**ended(137, reason="ContainerStatusUnknown")), pod(**ended(128, reason="StartError"))], "not all of"),
    ],
    ids=["no pod", "one missing", "before its first container", "fetching", "before its server", "none that ran"],
)
def test_a_server_that_never_ran_is_the_clusters_doing(pods: list[dict[str, Any]], told: str) -> None:
    found = unstarted(pods, LIVE)
    assert found is not None
    assert (found.reason, found.by_model) == ("PodNotStarted", False)
    assert told in found.message


@pytest.mark.parametrize("server", [{"running": {}}, {"terminated": {"exitCode": 1}}], ids=["runs", "ran"])
def test_a_server_that_ran_had_its_time(server: dict[str, Any]) -> None:
    slow = pod(**starting({"terminated": {"exitCode": 0}}, server))
    assert unstarted([pod(**starting({"running": {}})), slow], LIVE) is None


class TestCertainFailure:
    def test_a_deadline_without_any_trouble_is_the_versions(self) -> None:
        failure = certain_failure(workload(overdue()), None, LIVE, [], NOW)
        assert failure is not None
        assert (failure.reason, failure.by_version) == ("ProgressDeadlineExceeded", True)
        assert "within 600 s" in failure.message

    @pytest.mark.parametrize(
        ("attempt", "by_version"),
        [
            (rollout(1, 2, failed=NO_ROUTE), False),
            (rollout(1, 1, failed=NO_ROUTE), True),
            (rollout(1, 2, failed=NO_ROUTE, inputs="others"), True),
            (rollout(1, 2, failed=replace(NO_ROUTE, retry="asked for since")), True),
            (rollout(1, 2, failed=replace(NO_ROUTE, by_version=True)), True),
            (rollout(1, 2), True),
        ],
        ids=["by the cluster", "of another version", "of other settings", "before a person's retry", "by itself", "none"],
    )
    def test_a_version_that_the_cluster_let_fail_before_may_be_slow(self, attempt: Rollout, by_version: bool) -> None:
        failure = certain_failure(workload(overdue()), None, LIVE, [attempt], NOW)
        assert failure is not None
        assert (failure.reason, failure.by_version) == ("ProgressDeadlineExceeded", by_version)

    def test_a_deadline_of_an_earlier_try_does_not_count(self) -> None:
        """The Deployment controller says it of a ReplicaSet that is there already, until a pod of that comes."""
        pods = workload(overdue(updatedReplicas=0))
        assert not pods.deadline_exceeded
        assert certain_failure(pods, None, LIVE, [], NOW) is None

    def test_pods_that_cannot_be_created_fail_with_the_deadline(self) -> None:
        said = [
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},
            {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"},
        ]
        failure = certain_failure(workload(overdue(updatedReplicas=0, conditions=said)), None, LIVE, [], NOW)
        assert failure is not None
        assert (failure.reason, failure.by_version) == ("PodsNotCreated", False)

    def test_a_replica_set_that_cannot_be_created_is_told_and_waited_for(self) -> None:
        """The Deployment controller stops there: it never says that it has seen the template."""
        said = [
            {"type": "Progressing", "status": "False", "reason": "ReplicaSetCreateError", "message": "exceeded quota"},
            {"type": "ReplicaFailure", "status": "True", "message": "of the template before"},
        ]
        pods = workload(deployment(observedGeneration=2, conditions=said))
        assert pods.failure == "exceeded quota"
        assert certain_failure(pods, None, LIVE, [], NOW) is None

    def test_a_replica_set_that_was_created_after_all_is_no_failure(self) -> None:
        said = [{"type": "Progressing", "status": "False", "reason": "ReplicaSetCreateError", "message": "exceeded quota"}]
        assert workload(deployment(conditions=said)).failure == ""


def test_last_words_are_bounded_and_stripped() -> None:
    words = '{"reason": "Load\\u001b[31mFailed", "message": "%s\\u0007\\n"}' % ("x" * 5000)
    found = fault([pod(**ended(65, words))], LIVE)
    assert found is not None
    assert found.reason == "ModelFailed"
    assert len(found.message) <= 1000
    assert found.message.isprintable()
