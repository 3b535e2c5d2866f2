"""What computes the answers: a compiled engine, or scikit-learn itself, as the pods tell it. Pure.

The step that fetches a pod's model compiles it, where it can, and leaves its outcome as its termination message.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from controller.pod_faults import is_ready, rollout_number
from controller.ports import Object
from controller.text import bounded

FETCH = "fetch"  # the container that tells it

_NAMES: dict[str, Literal["Compiled", "Native"]] = {"compiled": "Compiled", "sklearn": "Native"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What computes the answers, in the words of the spec."""

    name: Literal["Compiled", "Native"]
    reason: str = ""
    """Why that one; of the model's influence, so bounded."""


def engine(pod: Object) -> Engine | None:
    """The engine of a pod that answers; None where it does not, or where nobody told."""
    if not is_ready(pod):
        return None
    for container in (pod.get("status") or {}).get("initContainerStatuses") or []:
        ended = (container.get("state") or {}).get("terminated") or {}
        if container["name"] == FETCH and not ended.get("exitCode"):
            return _read(str(ended.get("message", "")))
    return None


def _read(text: str) -> Engine | None:
    try:
        said = json.loads(text)
        return Engine(name=_NAMES[said["engine"]], reason=bounded(str(said.get("engineReason") or ""), 300))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def engines(pods: Sequence[Object]) -> dict[int, Engine]:
    """The engine of each rollout that answers. Where its pods differ, those tell that do not run compiled."""
    by_rollout: dict[int, list[Engine]] = {}
    for pod in pods:
        if (number := rollout_number(pod)) is not None and (told := engine(pod)) is not None:
            by_rollout.setdefault(number, []).append(told)
    return {number: _of_all(told) for number, told in by_rollout.items()}


def _of_all(told: list[Engine]) -> Engine:
    native = sorted((each for each in told if each.name == "Native"), key=lambda each: each.reason)
    if not native or len(native) == len(told):
        return min(told, key=lambda each: each.reason)
    return Engine(name="Native", reason=f"in {len(native)} of {len(told)} pods: {native[0].reason}")
