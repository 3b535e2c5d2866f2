"""How the pods are doing, read from a Deployment, its ReplicaSets and its pods. Pure."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controller.resources.rollouts import ROLLOUT, read_rollout
from controller.rollout import Failure, Rollout
from controller.text import bounded

Object = dict[str, Any]

EXIT_MODEL_AT_FAULT = 65  # what a pod exits with when its model, not the cluster, is the reason (EX_DATAERR)
EXIT_DISK_FULL = 74  # likewise, when its disk took no more (EX_IOERR)
CERTAIN_RESTARTS = 3  # of a pod that never became ready: no accident any more
EXIT_STORE_UNAVAILABLE = 69  # likewise, when it could not fetch its model (EX_UNAVAILABLE)

_IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
_CONFIG_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A Deployment's own account of its pods."""

    wanted: int
    total: int
    updated: int
    ready: int
    available: int
    seen: bool
    """The Deployment controller has seen the template that is live."""
    deadline_exceeded: bool
    failure: str
    """Why no pod can be created (a quota, an admission policy), or empty."""

    @property
    def complete(self) -> bool:
        """As `kubectl rollout status` counts: every pod is of the live template, and available."""
        return self.seen and self.updated == self.wanted == self.total and self.available >= self.wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a pod of the live template is not ready."""

    reason: str
    message: str
    by_model: bool
    """The model version is the cause: no retry of the same helps."""


def certain_failure(pods: Workload, trouble: Fault | None, live: Rollout, now: datetime) -> Failure | None:
    """The first certain sign that a rollout will not come about: what the version did, or that its time is up."""
    if pods.complete or not pods.seen:
        return None
    if trouble is not None and trouble.by_model:
        return Failure(reason=trouble.reason, message=trouble.message, by_version=True, at=now)
    if not pods.deadline_exceeded:
        return None
    if pods.failure:
        return Failure(reason="PodsNotCreated", message=f"no pod can be created: {pods.failure}", by_version=False, at=now)
    if trouble is not None:
        return Failure(reason=trouble.reason, message=trouble.message, by_version=False, at=now)
    message = f"its pods run but did not become ready in time ({pods.updated} new ones, {pods.available} of all are ready)"
    return Failure(reason="ProgressDeadlineExceeded", message=message, by_version=True, at=now)


def workload(deployment: Object) -> Workload:
    status: Object = deployment.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    progressing, failure = conditions.get("Progressing", {}), conditions.get("ReplicaFailure", {})
    return Workload(
        wanted=int(deployment["spec"].get("replicas", 1)),
        total=int(status.get("replicas", 0)),
        updated=int(status.get("updatedReplicas", 0)),
        ready=int(status.get("readyReplicas", 0)),
        available=int(status.get("availableReplicas", 0)),
        seen=int(status.get("observedGeneration", 0)) >= int(deployment["metadata"].get("generation", 0)),
        deadline_exceeded=progressing.get("reason") == "ProgressDeadlineExceeded",
        failure=bounded(str(failure.get("message", "")), 400) if failure.get("status") == "True" else "",
    )


def answering(replica_sets: Sequence[Object]) -> tuple[Rollout, ...]:
    """The rollouts that have a pod which is ready, newest first."""
    rollouts = [
        rollout
        for replica_set in replica_sets
        if (replica_set.get("status") or {}).get("readyReplicas") and (rollout := read_rollout(replica_set)) is not None
    ]
    return tuple(sorted(rollouts, key=lambda rollout: rollout.number, reverse=True))


def fault(pods: Sequence[Object], live: Rollout) -> Fault | None:
    """The most telling reason why pods of the live template are not ready; what the model did comes first."""
    found = [
        reason
        for pod in pods
        if _rollout_number(pod) == live.number and not _is_ready(pod) and not pod["metadata"].get("deletionTimestamp")
        for reason in _pod_faults(pod)
    ]
    return min(found, key=lambda reason: not reason.by_model, default=None)


def _rollout_number(pod: Object) -> int | None:
    number = (pod["metadata"].get("annotations") or {}).get(ROLLOUT, "")
    return int(number) if number.isdigit() else None


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _pod_faults(pod: Object) -> Iterator[Fault]:
    status: Object = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        ended = (container.get("state") or {}).get("terminated") or (container.get("lastState") or {}).get("terminated")
        if (
            ended is not None
            and (said := _exit_fault(container["name"], ended, int(container.get("restartCount", 0)))) is not None
        ):
            yield said
        waiting: Object = (container.get("state") or {}).get("waiting") or {}
        message = bounded(str(waiting.get("message", "")), 300)
        if waiting.get("reason") in _IMAGE_REASONS:
            image = container.get("image", "the server image")
            yield Fault(reason="ImagePullFailed", message=f"{image} cannot be pulled: {message}", by_model=False)
        elif waiting.get("reason") in _CONFIG_REASONS:
            yield Fault(reason="PodNotStarted", message=f"the pod cannot be started: {message}", by_model=False)
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message = bounded(str(condition.get("message", "")), 300)
            yield Fault(reason="Unschedulable", message=f"no node has room for the pod: {message}", by_model=False)


def _exit_fault(container: str, ended: Object, restarts: int) -> Fault | None:
    if ended.get("reason") == "OOMKilled":
        if container != "server":
            return Fault(reason="PodCrashed", message=f"container {container} needed more memory than its limit", by_model=False)
        way_out = "it needed more memory than its limit; raise spec.resources.limits.memory"
        return Fault(reason="OutOfMemory", message=way_out, by_model=True)
    code = int(ended.get("exitCode", 0))
    if code == 0:
        return None
    reason, message = _last_words(str(ended.get("message", "")))
    if code == EXIT_MODEL_AT_FAULT:
        return Fault(reason=reason or "ModelFailed", message=message or "the pod found its model at fault", by_model=True)
    if code == EXIT_STORE_UNAVAILABLE:
        return Fault(reason="StoreUnavailable", message=message or "the pod could not fetch its model", by_model=False)
    told = message or "see `kubectl logs` of the pod, with --previous"
    if container == "server" and code != EXIT_DISK_FULL and restarts >= CERTAIN_RESTARTS:
        message = f"the server ended with code {code}, {restarts} times in a row: {told}"
        return Fault(reason="CrashLoop", message=message, by_model=True)
    return Fault(reason="PodCrashed", message=f"container {container} ended with code {code}: {told}", by_model=False)


def _last_words(text: str) -> tuple[str, str]:
    """Reason and message that a pod of ours left behind; what it left is the model's influence, so it is bounded."""
    try:
        said = json.loads(text)
        reason, message = str(said["reason"]), str(said["message"])
    except (ValueError, TypeError, KeyError):
        return "", bounded(text, 300)
    return (reason if reason.isalnum() and len(reason) <= 50 else ""), bounded(message, 1000)
