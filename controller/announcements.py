"""What is told in passing: events of a ModelDeployment, and the lines of `kubectl rollout history`. Pure."""

from dataclasses import dataclass
from typing import Literal

from controller.api import Condition, ModelDeploymentStatus
from controller.conditions import REGISTRY_AWAY, Outcome, held_message
from controller.decision import Decision, Pause
from controller.rollout import Cause, Rollout, Word

_ON_ITS_WAY = {"Pulling", "Creating", "RollingOut"}  # reasons of Ready that are no trouble
_TOLD_OTHERWISE = {"HeldByPerson", *_ON_ITS_WAY}  # by an event of their own, or by what comes of them


@dataclass(frozen=True, slots=True)
class Announcement:
    """An event to be."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


EDIT_REVERTED = Announcement(
    "Warning",
    "EditReverted",
    "somebody changed the Deployment's pod template by hand; it is put back. Change the ModelDeployment's spec instead",
)


def changes(outcome: Outcome, before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> list[Announcement]:
    """What a person who looks at the events should read of what the status is about to say, and did not say before."""
    told = _rollouts(outcome, before, after)
    if after.hold is not None and after.hold.by == "Person" and (before.hold is None or before.hold.since != after.hold.since):
        told.append(Announcement("Normal", "HeldByPerson", held_message(outcome)))
    if after.hold is None and before.hold is not None:
        told.append(Announcement("Normal", "HoldEnded", f"version {before.hold.version} is no longer held"))
    old, new = before.condition("Ready"), after.condition("Ready")
    if new is not None and new.reason not in _TOLD_OTHERWISE and _is_news(old, new, before, after):
        told.append(Announcement("Warning" if new.status == "False" else "Normal", new.reason, new.message))
    resolved = after.condition("ModelResolved")
    earlier = before.condition("ModelResolved")
    if resolved is not None and resolved.reason in REGISTRY_AWAY and (earlier is None or earlier.reason != resolved.reason):
        told.append(Announcement("Warning", resolved.reason, resolved.message))
    return told


def _is_news(old: Condition | None, new: Condition, before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> bool:
    if old is None or (old.status, old.reason) != (new.status, new.reason):
        return True
    return new.reason == Pause.APPROVAL and before.target != after.target  # another version waits for a person


def _rollouts(outcome: Outcome, before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> list[Announcement]:
    """What of the history is new, the oldest first. What a person did themselves, they know."""
    if not before.conditions and outcome.workload is not None and outcome.workload.complete:
        return []  # the status was lost; no rollout has begun
    known = {(entry.revision, entry.rollout) for entry in before.history}
    was = f", after version {before.serving.version}" if before.serving else ""
    told = []
    for entry in reversed(after.history):
        if (entry.revision, entry.rollout) in known or entry.cause in (Cause.UNDO, Cause.RESTART):
            continue
        if entry.cause == Cause.ROLLED_BACK:
            told.append(Announcement("Warning", "RolledBack", entry.message))
        else:
            told.append(Announcement("Normal", "RolloutStarted", f"{entry.message}{was}"))
    return told


def change_cause(decision: Decision, word: Word, live: Rollout | None = None) -> str:
    """A line of `kubectl rollout history`, for what takes the place of `live`."""
    model, cause = decision.model, decision.cause
    if model is None:
        return ""
    if cause is Cause.ROLLED_BACK and decision.failed is not None and decision.failed_model is not None:
        return f"{model.label}, put back by the operator: {decision.failed_model.label} failed ({decision.failed.reason})"
    if cause is Cause.UNDO:
        return f"{model.label}, by kubectl rollout undo"
    if cause is Cause.SERVER_UPDATE:
        return f"{model.label}, another server image"
    if decision.held:
        return f"{model.label}, as a person chose; other settings changed"
    if cause is Cause.SPEC_CHANGED:
        return f"{model.label}, settings changed"
    if cause is Cause.RETRY:
        return f"{model.label} ({word.request}), tried again"
    if live is not None and live.model.label == model.label and live.model.digest != model.digest:
        return f"{model.label} ({word.request}), whose files in the registry are others now"
    return f"{model.label} ({word.request})"
