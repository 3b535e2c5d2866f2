"""Why a pod is not ready, as the pod itself tells it, and whether the model or the cluster is the cause. Pure."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from controller.ports import Object
from controller.quantity import readable
from controller.resources.rollouts import ROLLOUT
from controller.rollout import PinnedModel, Rollout
from controller.text import bounded

EXIT_MODEL_AT_FAULT = 65  # what a pod exits with when its model, not the cluster, is the reason (EX_DATAERR)
EXIT_STORE_UNAVAILABLE = 69  # likewise, when it could not fetch its model (EX_UNAVAILABLE)
EXIT_MISCONFIGURED = 78  # likewise, when what it was told or given is of no use (EX_CONFIG)
EXIT_DISK_FULL = 74  # likewise, when its disk took no more (EX_IOERR)
CERTAIN_RESTARTS = 3  # of a pod that never became ready: no accident any more

_SERVER = "server"  # the container whose doings may be the version's
_IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
_CONFIG_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_START_REASONS = {"StartError", "ContainerCannotRun"}  # of an end whose process never began
_EXIT_NOT_STARTED = 128  # likewise, where the container runtime gives no reason
_LOST = "ContainerStatusUnknown"  # of an end that nobody saw: the node gave the pod up
_EXIT_KILLED = {137, 143}  # SIGKILL, SIGTERM: from outside, by a failed probe or by the node
_PULL_REMEDY = "correct spec.server.image or spec.pod.imagePullSecrets; where neither is set, ask the operator's administrator"
_PLACE_REMEDY = "free or add nodes, or change spec.resources or what spec.pod asks of a node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a pod of the live template is not ready."""

    reason: str
    message: str
    by_model: bool
    """The model version is the cause: no retry of the same helps."""


def fault(pods: Sequence[Object], live: Rollout) -> Fault | None:
    """The most telling reason why pods of the live template are not ready; what the model did comes first."""
    found = [reason for pod in _unready(pods, live) for reason in _pod_faults(pod, live.model)]
    # A pod that a node gave up stays to be read, and another has taken its place: what that one says is newer.
    return min(found, key=lambda reason: (not reason.by_model, reason.reason == "PodEvicted"), default=None)


def unstarted(pods: Sequence[Object], live: Rollout) -> Fault | None:
    """Why a version whose time is up had none: its server runs in no pod that is not ready, and ran in none."""
    late = _unready(pods, live)
    if any(container["name"] == _SERVER and _ran(container) for pod in late for container in _containers(pod)):
        return None
    how = next((each for pod in late for each in _unfinished(pod)), "not all of its pods are there")
    return Fault(reason="PodNotStarted", message=f"the server was not started in time: {how}", by_model=False)


def _unready(pods: Sequence[Object], live: Rollout) -> list[Object]:
    return [
        pod
        for pod in pods
        if rollout_number(pod) == live.number and not is_ready(pod) and not pod["metadata"].get("deletionTimestamp")
    ]


def rollout_number(pod: Object) -> int | None:
    """Number of the rollout that the pod belongs to."""
    number = (pod["metadata"].get("annotations") or {}).get(ROLLOUT, "")
    return int(number) if number.isdigit() else None


def is_ready(pod: Object) -> bool:
    """Whether the pod answers."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _containers(pod: Object) -> list[Object]:
    """The containers' states, in the order in which they start."""
    status: Object = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _waiting(container: Object) -> Object:
    waiting: Object = (container.get("state") or {}).get("waiting") or {}
    return waiting


def _ended(container: Object) -> Object | None:
    """How the container ended, the last time that it did."""
    ended: Object | None = (container.get("state") or {}).get("terminated") or (container.get("lastState") or {}).get(
        "terminated"
    )
    return ended


def _ran(container: Object) -> bool:
    """Whether the container's process runs, or is known to have run."""
    ended = _ended(container)
    return "running" in (container.get("state") or {}) or (
        ended is not None and ended.get("reason") != _LOST and not _never_began(ended)
    )


def _never_began(ended: Object) -> bool:
    return ended.get("reason") in _START_REASONS or ended.get("exitCode") == _EXIT_NOT_STARTED


def _unfinished(pod: Object) -> Iterator[str]:
    """What a pod is still at, before its server runs."""
    for container in _containers(pod):
        if "running" in (container.get("state") or {}) and not container.get("ready"):
            yield f"container {container['name']} is still at work"
        elif reason := _waiting(container).get("reason"):
            yield f"container {container['name']} still waits ({reason})"


def _pod_faults(pod: Object, model: PinnedModel) -> Iterator[Fault]:
    status: Object = pod.get("status") or {}
    if status.get("phase") == "Failed":
        # No container's doing: those are restarted.
        message = bounded(f"{status.get('reason') or 'no reason given'}: {status.get('message') or ''}", 300).rstrip(": ")
        yield Fault(reason="PodEvicted", message=f"a node gave the pod up: {message}", by_model=False)
        return
    for container in _containers(pod):
        ended = _ended(container)
        if ended is not None and ended.get("reason") == "OOMKilled":
            yield _out_of_memory(container["name"], _memory_limit(pod, container["name"]), model)
        elif ended is not None and (said := _exit_fault(container, ended)) is not None:
            yield said
        waiting = _waiting(container)
        message = bounded(str(waiting.get("message", "")), 300)
        if waiting.get("reason") in _IMAGE_REASONS:
            image = container.get("image", "the server image")
            pulled = f"{image} cannot be pulled: {message.rstrip('.')}; {_PULL_REMEDY}"
            yield Fault(reason="ImagePullFailed", message=pulled, by_model=False)
        elif waiting.get("reason") in _CONFIG_REASONS:
            yield Fault(reason="PodNotStarted", message=f"the pod cannot be started: {message}", by_model=False)
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message = bounded(str(condition.get("message", "")), 300)
            placed = f"no node takes the pod: {message.rstrip('.')}; {_PLACE_REMEDY}"
            yield Fault(reason="Unschedulable", message=placed, by_model=False)


def _memory_limit(pod: Object, container: str) -> str:
    spec: Object = pod.get("spec") or {}
    for each in (*(spec.get("initContainers") or []), *(spec.get("containers") or [])):
        if each["name"] == container:
            return str(((each.get("resources") or {}).get("limits") or {}).get("memory", ""))
    return ""


def _out_of_memory(container: str, limit: str, model: PinnedModel) -> Fault:
    needed = f"needed more memory than its limit{f' of {limit}' if limit else ''}"
    if container != _SERVER:
        remedy = f"raise spec.resources.limits.memory{f' beyond {limit}' if limit else ''}"
        return Fault(reason="PodCrashed", message=f"container {container} {needed}; {remedy}", by_model=False)
    files = f"for a model whose files have {readable(model.size_bytes)}"
    return Fault(reason="OutOfMemory", message=f"it {needed}, {files}; raise spec.resources.limits.memory", by_model=True)


def _exit_fault(container: Object, ended: Object) -> Fault | None:
    name, restarts, code = container["name"], int(container.get("restartCount", 0)), int(ended.get("exitCode", 0))
    if code == 0:
        return None
    reason, message = _last_words(str(ended.get("message", "")))
    if code == EXIT_MODEL_AT_FAULT:
        return Fault(reason=reason or "ModelFailed", message=message or "the pod found its model at fault", by_model=True)
    if code == EXIT_STORE_UNAVAILABLE:
        return Fault(reason="StoreUnavailable", message=message or "the pod could not fetch its model", by_model=False)
    if code == EXIT_MISCONFIGURED:
        why = message or "what its pods were told or given is of no use to the server"
        return Fault(reason=reason or "SettingsInvalid", message=why, by_model=False)
    if _never_began(ended):
        why = message or "the container runtime gives no reason"
        return Fault(reason="PodNotStarted", message=f"container {name} cannot be started: {why}", by_model=False)
    words = f": {message}" if message else ""
    if ended.get("reason") == _LOST or code in _EXIT_KILLED:
        killed = f"container {name} was killed (code {code}), by a failed probe or by its node{words}"
        return Fault(reason="PodCrashed", message=killed, by_model=False)
    if name == _SERVER and code != EXIT_DISK_FULL and restarts >= CERTAIN_RESTARTS:
        message = f"the server ended with code {code}, {restarts} times in a row{words}"
        return Fault(reason="CrashLoop", message=message, by_model=True)
    return Fault(reason="PodCrashed", message=f"container {name} ended with code {code}{words}", by_model=False)


def _last_words(text: str) -> tuple[str, str]:
    """Reason and message that a pod of ours left behind; what it left is the model's influence, so it is bounded."""
    try:
        said = json.loads(text)
        reason, message = str(said["reason"]), str(said["message"])
    except (ValueError, TypeError, KeyError):
        return "", bounded(text, 300)
    return (reason if reason.isalnum() and len(reason) <= 50 else ""), bounded(message, 1000)
