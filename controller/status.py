"""Everything in status, derived from one outcome: what serves, what is held, the history, the conditions; and the events.

Pure: `now` is part of the outcome, and the status before is only asked for what cannot be seen any more, such as since when
something has been so. The sentences of the conditions are in `controller.conditions`.
"""

from datetime import datetime
from typing import Any

from controller import api
from controller.api import HistoryEntry, Hold, ModelDeploymentStatus, QuarantinedVersion, ServingModel
from controller.conditions import Outcome, as_known_before, condition, conditions, is_of
from controller.decision import Pause
from controller.resources.service import url
from controller.rollout import Cause, Failure, PinnedModel, Quarantined, Rollout, newest_of, taken_back
from controller.workload import Workload


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


def unsupported(before: ModelDeploymentStatus, generation: int, now: datetime, message: str) -> ModelDeploymentStatus:
    """The status of a resource whose spec this version of the operator does not understand: nothing else is touched."""
    said = {"Ready": False, "Reconciling": False, "Stalled": True}
    others = [other for other in before.conditions if other.type not in said]
    new = [condition(kind, truth, "SpecUnsupported", message, generation, now, before) for kind, truth in said.items()]
    return before.model_copy(update={"observed_generation": generation, "conditions": [*new, *others]})


def pinned(status: ModelDeploymentStatus, digest: str) -> PinnedModel | None:
    """The model with that digest, as the history remembers it."""
    return next((_pin(entry) for entry in status.history if entry.digest == digest), None)


def last_served(status: ModelDeploymentStatus) -> PinnedModel | None:
    """What answers, or answered last where no pod is ready or none is wanted."""
    if status.serving is not None:
        return pinned(status, status.serving.digest) or _pin(status.serving)
    return next((_pin(entry) for entry in status.history if entry.served), None)


def served(status: ModelDeploymentStatus) -> set[str]:
    """The digests that all pods of a rollout were once ready with."""
    return {entry.digest for entry in status.history if entry.served}


def _pin(known: HistoryEntry | ServingModel) -> PinnedModel:
    return PinnedModel(
        name=known.name,
        version=known.version,
        digest=known.digest,
        run_id=known.run_id or "",
        registry=known.registry,
        size_bytes=known.size_bytes,
        verified=known.verified,
        scikit_learn=known.scikit_learn if isinstance(known, HistoryEntry) else "",
    )


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
    model, engine = answers.model, outcome.engines.get(answers.number)
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
        engine=engine.name if engine else None,
        engine_reason=(engine.reason or None) if engine else None,
        rollout=answers.number if pods.complete else None,
        since=outcome.now,
    )
    same = before.serving is not None and is_of(before.serving, answers)
    if not same or before.serving is None:
        return new
    kept: dict[str, Any] = {"since": before.serving.since, "rollout": new.rollout or before.serving.rollout}
    if engine is None and answers.number == before.serving.rollout:  # the pods that told it are not seen at the moment
        kept |= {"engine": before.serving.engine, "engine_reason": before.serving.engine_reason}
    return new.model_copy(update=kept)


def _still_answering(outcome: Outcome, before: ModelDeploymentStatus) -> ServingModel | None:
    if before.serving is not None and any(is_of(before.serving, rollout) for rollout in outcome.answering):
        return before.serving
    return None


def _hold(outcome: Outcome, before: ModelDeploymentStatus) -> Hold | None:
    model = outcome.decision.model
    if not outcome.decision.held or model is None:
        untouched = outcome.decision.pause in (Pause.DEPLOYMENT, Pause.DISABLED)
        return before.hold if untouched else _operator_hold(outcome)
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
    marked = {
        each.number: QuarantinedVersion(
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
            limit=each.failed.limit,
        )
        for each in outcome.remembered
        if each.failed is not None and each.failed.by_version and not each.failed.lifted and each.cause != Cause.SERVER_UPDATE
    }
    remembered = {each.number for each in outcome.remembered}
    gone = [entry for entry in before.quarantined if entry.rollout not in remembered]
    standing = [
        entry for entry in (*marked.values(), *gone) if entry.retry == outcome.word.retry and not _serves_as_asked(outcome, entry)
    ]
    return sorted(standing, key=lambda entry: entry.rollout, reverse=True)[: api.QUARANTINE_LIMIT]


def _serves_as_asked(outcome: Outcome, entry: QuarantinedVersion) -> bool:
    """What failed with some settings serves with those that are asked for now."""
    live, pods = outcome.live, outcome.workload
    if live is None or pods is None or outcome.decision.failed is not None:
        return False
    return pods.complete and (entry.name, entry.version, entry.digest) == (live.model.name, live.model.version, live.model.digest)


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
            failure=Failure(
                reason=entry.reason, message=entry.message, by_version=True, at=entry.time, retry=entry.retry, limit=entry.limit
            ),
        )
        for entry in before.quarantined
    )


def _history(outcome: Outcome, before: ModelDeploymentStatus) -> list[HistoryEntry]:
    """What was live when this pass began, and what is now, go on top when they are not there yet.

    Both: a leader that comes late finds a rollout that nobody has written down, and may start another one at once.
    """
    history, found, live = list(before.history), outcome.found, outcome.live
    replaced = found is not None and live is not None and found.number != live.number
    for rollout, pods in ((found if replaced else None, outcome.found_workload), (live, outcome.workload)):
        if rollout is not None and pods is not None and pods.seen:  # otherwise not numbered yet; it soon is
            history = _with_rollout(history, rollout, pods, outcome)
    return history


def _with_rollout(history: list[HistoryEntry], live: Rollout, pods: Workload, outcome: Outcome) -> list[HistoryEntry]:
    """The history with that rollout on top; the one below it has ended."""
    served = pods.complete and pods.ready > 0
    if history and (history[0].revision, history[0].rollout) == (live.revision, live.number):
        return [history[0].model_copy(update={"served": served or history[0].served}), *history[1:]]
    if history and history[0].ended_at is None:
        history = [history[0].model_copy(update={"ended_at": outcome.now}), *history[1:]]
    put_back = taken_back(live, newest_of(live, outcome.remembered))
    numbers = [entry.rollout for entry in history]
    served = served or any(entry.served and entry.rollout == live.number for entry in history)
    if put_back and history and (history[0].rollout, history[0].cause) != (live.number, Cause.ROLLED_BACK):
        cause: str = Cause.ROLLED_BACK
    elif live.number not in numbers:
        cause = live.cause
    elif live.number == numbers[0]:
        cause = Cause.RESTART
    else:
        cause = Cause.UNDO  # nobody else brings an old number back
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
        message=live.told,
        served=served,
    )
    return _shortened([entry, *history])


def _shortened(history: list[HistoryEntry]) -> list[HistoryEntry]:
    """As many as are kept. First go those that nobody goes back to: what never served, and what stands there again above."""
    while len(history) > api.HISTORY_LIMIT:
        spare = [
            entry
            for place, entry in enumerate(history)
            if place and (not entry.served or any(newer.rollout == entry.rollout for newer in history[:place]))
        ]
        gone = spare[-1] if spare else history[-1]
        history = [entry for entry in history if entry is not gone]
    return history
