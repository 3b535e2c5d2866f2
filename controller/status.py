"""Everything in status, derived from one outcome: what serves, what is held, the history, the conditions; and the events.

Pure: `now` is part of the outcome, and the status before is only asked for what cannot be seen any more, such as since when
something has been so. The sentences of the conditions are in `controller.conditions`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from controller import api
from controller.api import HistoryEntry, Hold, ModelDeploymentStatus, QuarantinedVersion, ServingModel
from controller.conditions import REGISTRY_AWAY, Outcome, as_known_before, condition, conditions, held_message, is_of
from controller.resources.service import url
from controller.rollout import Cause, Decision, Failure, Kind, PinnedModel, Quarantined, Rollout, Word

_ON_ITS_WAY = {"Pulling", "Creating", "RollingOut"}  # reasons of Ready that are no trouble


@dataclass(frozen=True, slots=True)
class Announcement:
    """An event to be."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


def next_status(outcome: Outcome, before: ModelDeploymentStatus) -> ModelDeploymentStatus:
    """The status after `outcome`."""
    outcome = as_known_before(outcome, before)
    pods = outcome.workload
    serving = _serving(outcome, before)
    asked = outcome.asked
    settled = asked is None or (
        serving is not None and (asked.name, asked.version, asked.digest) == (serving.name, serving.version, serving.digest)
    )
    return ModelDeploymentStatus(
        observed_generation=outcome.generation,
        serving=serving,
        target=None if settled else asked,
        hold=_hold(outcome, before),
        quarantined=_quarantined(outcome, before),
        history=_history(outcome, before),
        replicas=pods.total if pods else 0,
        ready_replicas=pods.ready if pods else 0,
        selector=f"{api.NAME_LABEL}={outcome.owner.name}",
        url=url(outcome.owner, outcome.spec),
        conditions=conditions(outcome, serving, before),
    )


def announcements(outcome: Outcome, before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> list[Announcement]:
    """What a person who looks at the events should read: changes only."""
    told = []
    decision = outcome.decision
    if outcome.acted and decision.kind in (Kind.CREATE, Kind.REPLACE) and decision.model is not None:
        was = f", after version {before.serving.version}" if before.serving else ""
        told.append(Announcement("Normal", "RolloutStarted", f"{change_cause(decision, outcome.word)}{was}"))
    if outcome.acted and decision.kind is Kind.RESTORE:
        told.append(_restored(outcome))
    if after.hold is not None and after.hold.by == "Person" and (before.hold is None or before.hold.since != after.hold.since):
        told.append(Announcement("Normal", "HeldByPerson", held_message(outcome)))
    if after.hold is None and before.hold is not None:
        told.append(Announcement("Normal", "HoldEnded", f"version {before.hold.version} is no longer held"))
    old, new = before.condition("Ready"), after.condition("Ready")
    if new is not None and (old is None or (old.status, old.reason) != (new.status, new.reason)):
        trouble = new.status == "False" and new.reason not in _ON_ITS_WAY
        if trouble or new.reason == "Serving":
            told.append(Announcement("Warning" if trouble else "Normal", new.reason, new.message))
    resolved = after.condition("ModelResolved")
    earlier = before.condition("ModelResolved")
    if resolved is not None and resolved.reason in REGISTRY_AWAY and (earlier is None or earlier.reason != resolved.reason):
        told.append(Announcement("Warning", resolved.reason, resolved.message))
    return list(dict.fromkeys(told))


def _restored(outcome: Outcome) -> Announcement:
    """What was put back, and why."""
    decision = outcome.decision
    model = decision.model.label if decision.model is not None else "the model"
    if decision.cause is Cause.EDIT_REVERTED:
        told = (
            "somebody changed the Deployment's pod template by hand; it was put back. Change the ModelDeployment's spec instead"
        )
        return Announcement("Warning", "EditReverted", told)
    if decision.failed is not None and decision.failed_model is not None:
        return Announcement("Warning", "RolledBack", f"{decision.failed_model.label} failed and is taken back to {model}")
    return Announcement("Normal", "RolloutStarted", f"{model}, tried again after the cluster let it fail")


def change_cause(decision: Decision, word: Word) -> str:
    """A line of `kubectl rollout history`."""
    model = decision.model
    if model is None:
        return ""
    if decision.cause is Cause.SERVER_UPDATE:
        return f"{model.label}, another server image"
    if decision.held:
        return f"{model.label}, as a person chose; other settings changed"
    if decision.cause is Cause.SPEC_CHANGED:
        return f"{model.label}, settings changed"
    if decision.cause is Cause.RETRY:
        return f"{model.label} ({word.request}), tried again"
    return f"{model.label} ({word.request})"


def put_back_cause(decision: Decision) -> str:
    """The line of `kubectl rollout history` for a template that the operator put back; empty where its own still fits."""
    if (
        decision.cause is not Cause.ROLLED_BACK
        or decision.failed is None
        or decision.failed_model is None
        or decision.model is None
    ):
        return ""
    return f"{decision.model.label}, put back by the operator: {decision.failed_model.label} failed ({decision.failed.reason})"


def unsupported(before: ModelDeploymentStatus, generation: int, now: datetime, message: str) -> ModelDeploymentStatus:
    """The status of a resource whose spec this version of the operator does not understand: nothing else is touched."""
    said = {"Ready": False, "Reconciling": False, "Stalled": True}
    others = [other for other in before.conditions if other.type not in said]
    new = [condition(kind, truth, "SpecUnsupported", message, generation, now, before) for kind, truth in said.items()]
    return before.model_copy(update={"observed_generation": generation, "conditions": [*new, *others]})


def pinned(status: ModelDeploymentStatus, digest: str) -> PinnedModel | None:
    """The model with that digest, as the history remembers it."""
    for entry in status.history:
        if entry.digest == digest:
            return PinnedModel(
                name=entry.name,
                version=entry.version,
                digest=digest,
                run_id=entry.run_id or "",
                registry=entry.registry,
                size_bytes=entry.size_bytes,
                verified=entry.verified,
                scikit_learn=entry.scikit_learn,
            )
    return None


def _serving(outcome: Outcome, before: ModelDeploymentStatus) -> ServingModel | None:
    pods, live = outcome.workload, outcome.live
    if pods is None or live is None:
        return None
    if pods.complete and pods.ready:
        answers = live
    elif (earlier := _still_answering(outcome, before)) is not None:
        return earlier
    elif outcome.answering:
        answers = outcome.answering[-1]
    else:
        return None
    model = answers.model
    alias = outcome.spec.model.alias if outcome.word == answers.word else None
    new = ServingModel(
        name=model.name,
        version=model.version,
        alias=alias,
        registry=model.registry,
        run_id=model.run_id or None,
        digest=model.digest,
        size_bytes=model.size_bytes,
        image=answers.image,
        runtime=answers.runtime,
        verified=model.verified,
        rollout=answers.number if pods.complete else 0,
        since=outcome.now,
    )
    same = before.serving is not None and is_of(before.serving, answers)
    if not same or before.serving is None:
        return new
    return new.model_copy(update={"since": before.serving.since, "rollout": new.rollout or before.serving.rollout})


def _still_answering(outcome: Outcome, before: ModelDeploymentStatus) -> ServingModel | None:
    if before.serving is not None and any(is_of(before.serving, rollout) for rollout in outcome.answering):
        return before.serving
    return None


def _hold(outcome: Outcome, before: ModelDeploymentStatus) -> Hold | None:
    model = outcome.decision.model
    if not outcome.decision.held or model is None:
        return _operator_hold(outcome)
    earlier = before.hold
    word = outcome.live.word if outcome.live is not None else outcome.word  # of the moment in which it was chosen
    same = earlier is not None and (earlier.digest, earlier.request, earlier.retry) == (model.digest, word.request, word.retry)
    return Hold(
        by="Person",
        reason="kubectl rollout undo",
        version=model.version,
        digest=model.digest,
        request=word.request,
        retry=word.retry,
        since=earlier.since if same and earlier is not None else outcome.now,
    )


def _operator_hold(outcome: Outcome) -> Hold | None:
    decision, failed = outcome.decision, outcome.decision.failed
    if failed is None or decision.model is None:
        return None
    return Hold(
        by="Operator",
        reason=failed.reason,
        version=decision.model.version,
        digest=decision.model.digest,
        request=outcome.word.request,
        retry=outcome.word.retry,
        since=failed.at,
    )


def _quarantined(outcome: Outcome, before: ModelDeploymentStatus) -> list[QuarantinedVersion]:
    """What failed and is not tried again by itself; what ReplicaSets remember counts, the status for those that are gone."""
    marked = [
        QuarantinedVersion(
            name=each.model.name,
            version=each.model.version,
            digest=each.model.digest,
            registry=each.model.registry,
            reason=each.failed.reason,
            message=each.failed.message,
            time=each.failed.at,
            rollout=each.number,
            inputs=each.inputs,
            retry=each.failed.retry,
        )
        for each in outcome.remembered
        if each.failed is not None and each.failed.by_version
    ]
    remembered = {each.number for each in outcome.remembered}
    gone = [entry for entry in before.quarantined if entry.rollout not in remembered]
    standing = [entry for entry in (*marked, *gone) if entry.retry == outcome.word.retry]
    return sorted(standing, key=lambda entry: entry.rollout, reverse=True)[: api.QUARANTINE_LIMIT]


def quarantined(before: ModelDeploymentStatus) -> tuple[Quarantined, ...]:
    """What the status remembers of failed versions."""
    return tuple(
        Quarantined(
            model=PinnedModel(
                name=entry.name,
                version=entry.version,
                digest=entry.digest,
                run_id="",
                registry=entry.registry,
                size_bytes=0,
                verified="",
            ),
            inputs=entry.inputs,
            failure=Failure(reason=entry.reason, message=entry.message, by_version=True, at=entry.time, retry=entry.retry),
        )
        for entry in before.quarantined
    )


def _history(outcome: Outcome, before: ModelDeploymentStatus) -> list[HistoryEntry]:
    """The live rollout goes on top when it is not there yet; the one below it has ended."""
    live = outcome.live
    history = list(before.history)
    if live is None or outcome.workload is None or not outcome.workload.seen:  # not numbered yet; it soon is
        return history
    if history and history[0].revision == live.revision:
        return history
    if history and history[0].ended_at is None:
        history[0] = history[0].model_copy(update={"ended_at": outcome.now})
    decision = outcome.decision
    if not history:
        cause: str = Cause.CREATED
    elif _taken_back(outcome, live) and (history[0].rollout, history[0].cause) != (live.number, Cause.ROLLED_BACK):
        cause = Cause.ROLLED_BACK
    elif history[0].rollout == live.number:
        cause = Cause.RESTART
    elif decision.undone is not None and decision.kind is not Kind.REPLACE:
        cause = Cause.UNDO
    else:
        cause = live.cause
    model = live.model
    entry = HistoryEntry(
        revision=live.revision,
        rollout=live.number,
        name=model.name,
        version=model.version,
        digest=model.digest,
        registry=model.registry,
        run_id=model.run_id or None,
        size_bytes=model.size_bytes,
        verified=model.verified,
        image=live.image,
        runtime=live.runtime,
        scikit_learn=model.scikit_learn,
        deployed_at=outcome.now,
        cause=cause,
        message=_history_message(cause, live),
    )
    return [entry, *history][: api.HISTORY_LIMIT]


def _taken_back(outcome: Outcome, live: Rollout) -> bool:
    """What is live was put back by the operator when the newest rollout failed."""
    newest = max(outcome.remembered, key=lambda rollout: rollout.number, default=live)
    return newest.number > live.number and newest.failed is not None and newest.failed.back_to == live.number


def _history_message(cause: str, live: Rollout) -> str:
    if cause == Cause.UNDO:
        return f"{live.model.label}, by kubectl rollout undo"
    if cause == Cause.ROLLED_BACK:
        return f"{live.model.label}, by the operator: the rollout after it failed"
    if cause == Cause.SERVER_UPDATE:
        return f"{live.model.label}, another server image"
    if cause == Cause.SPEC_CHANGED:
        return f"{live.model.label}, settings changed"
    if cause == Cause.RESTART:
        return f"{live.model.label}, pods restarted or changed by hand"
    return f"{live.model.label} ({live.word.request})"
