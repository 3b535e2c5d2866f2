"""Everything in status, derived from one outcome: the conditions, what serves, what is held, the history, the events.

Pure: `now` is an argument, and the status before is only asked for what cannot be seen any more, such as since when
something has been so. The sentences that `kubectl describe` shows are here.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from controller import api
from controller.api import Condition, HistoryEntry, Hold, ModelDeploymentSpec, ModelDeploymentStatus, ServingModel, TargetModel
from controller.errors import ReconcileError, Stalling
from controller.gates import Refusal
from controller.resources.deployment import DEFAULT_REPLICAS
from controller.resources.identity import Owner
from controller.resources.service import url
from controller.rollout import Cause, Decision, Kind, PinnedModel, Rollout, Word
from controller.workload import Fault, Workload

_ALSO = ("Reconciling", "Stalled")

# The registry being away says nothing about what runs.
_REGISTRY_AWAY = {"RegistryUnavailable", "RegistryRefused"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a reconcile saw and did."""

    owner: Owner
    spec: ModelDeploymentSpec
    generation: int
    word: Word
    now: datetime
    decision: Decision
    asked: TargetModel | None = None
    """The version that the spec asks for, where that is known."""
    unresolved: ReconcileError | None = None
    refusal: Refusal | None = None
    blocked: ReconcileError | None = None
    """Why a child could not be written."""
    live: Rollout | None = None
    """The template that is live once the decision was carried out."""
    workload: Workload | None = None
    answering: tuple[Rollout, ...] = ()
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """An event to be."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Ready, and what goes with it."""

    ready: bool
    reason: str
    message: str
    also: Literal["", "Reconciling", "Stalled"] = ""


def retry_command(owner: Owner) -> str:
    return f'kubectl annotate --overwrite -n {owner.namespace} mdep/{owner.name} {api.RETRY_ANNOTATION}="$(date +%s)"'


def next_status(outcome: Outcome, before: ModelDeploymentStatus) -> ModelDeploymentStatus:
    """The status after `outcome`."""
    outcome = _as_known_before(outcome, before)
    pods = outcome.workload
    serving = _serving(outcome, before)
    verdict = _verdict(outcome, serving)
    asked = outcome.asked
    settled = asked is None or (
        serving is not None and (asked.name, asked.version, asked.digest) == (serving.name, serving.version, serving.digest)
    )
    return ModelDeploymentStatus(
        observed_generation=outcome.generation,
        serving=serving,
        target=None if settled else asked,
        hold=_hold(outcome, before),
        history=_history(outcome, before),
        replicas=pods.total if pods else 0,
        ready_replicas=pods.ready if pods else 0,
        selector=f"{api.NAME_LABEL}={outcome.owner.name}",
        url=url(outcome.owner, outcome.spec),
        conditions=[
            _condition(kind, truth, reason, message, outcome.generation, outcome.now, before)
            for kind, truth, reason, message in (
                ("Ready", verdict.ready, verdict.reason, verdict.message),
                ("Available", *_available(outcome)),
                *(
                    (also, verdict.also == also, verdict.reason, verdict.message if verdict.also == also else "")
                    for also in _ALSO
                ),
                ("ModelResolved", *_resolved(outcome)),
                ("GatesPassed", *_gates_passed(outcome)),
            )
        ],
    )


def _as_known_before(outcome: Outcome, before: ModelDeploymentStatus) -> Outcome:
    """While the registry is away, what it said last is still the best that is known: a refused version stays refused."""
    error, live = outcome.unresolved, outcome.live
    if error is None or error.reason not in _REGISTRY_AWAY or outcome.asked is not None or before.target is None:
        return outcome
    if live is None or live.word != outcome.word:
        return outcome
    gates = before.condition("GatesPassed")
    refused = Refusal(gates.reason, gates.message) if gates is not None and gates.status == "False" else None
    return replace(outcome, asked=before.target, refusal=refused)


def announcements(outcome: Outcome, before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> list[Announcement]:
    """What a person who looks at the events should read: changes only."""
    told = []
    decision = outcome.decision
    if decision.kind in (Kind.CREATE, Kind.REPLACE) and decision.model is not None:
        was = f", after version {before.serving.version}" if before.serving else ""
        told.append(Announcement("Normal", "RolloutStarted", f"{change_cause(decision, outcome.word)}{was}"))
    if after.hold is not None and (before.hold is None or before.hold.since != after.hold.since):
        told.append(Announcement("Normal", "HeldByPerson", _held_message(outcome)))
    if after.hold is None and before.hold is not None:
        told.append(Announcement("Normal", "HoldEnded", f"version {before.hold.version} is no longer held"))
    old, new = before.condition("Ready"), after.condition("Ready")
    if new is not None and (old is None or (old.status, old.reason) != (new.status, new.reason)):
        trouble = new.status == "False" and new.reason != "RollingOut"
        if trouble or new.reason == "Serving":
            told.append(Announcement("Warning" if trouble else "Normal", new.reason, new.message))
    resolved = after.condition("ModelResolved")
    earlier = before.condition("ModelResolved")
    if resolved is not None and resolved.reason in _REGISTRY_AWAY and (earlier is None or earlier.reason != resolved.reason):
        told.append(Announcement("Warning", resolved.reason, resolved.message))
    return list(dict.fromkeys(told))


def change_cause(decision: Decision, word: Word) -> str:
    """A line of `kubectl rollout history`."""
    model = decision.model
    if model is None:
        return ""
    if decision.held:
        return f"{model.label}, as a person chose; other settings changed"
    if decision.cause is Cause.SPEC_CHANGED:
        return f"{model.label}, settings changed"
    if decision.cause is Cause.RETRY:
        return f"{model.label} ({word.request}), tried again"
    return f"{model.label} ({word.request})"


def unsupported(before: ModelDeploymentStatus, generation: int, now: datetime, message: str) -> ModelDeploymentStatus:
    """The status of a resource whose spec this version of the operator does not understand: nothing else is touched."""
    said = {"Ready": False, "Reconciling": False, "Stalled": True}
    others = [condition for condition in before.conditions if condition.type not in said]
    new = [_condition(kind, truth, "SpecUnsupported", message, generation, now, before) for kind, truth in said.items()]
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
        verified=model.verified,
        since=outcome.now,
    )
    same = before.serving is not None and _is_of(before.serving, answers)
    return new.model_copy(update={"since": before.serving.since}) if same and before.serving else new


def _still_answering(outcome: Outcome, before: ModelDeploymentStatus) -> ServingModel | None:
    if before.serving is not None and any(_is_of(before.serving, rollout) for rollout in outcome.answering):
        return before.serving
    return None


def _is_of(serving: ServingModel, rollout: Rollout) -> bool:
    model = rollout.model
    return (serving.name, serving.version, serving.digest, serving.image) == (
        model.name,
        model.version,
        model.digest,
        rollout.image,
    )


def _verdict(outcome: Outcome, serving: ServingModel | None) -> _Verdict:
    """The first of these that applies is what Ready says."""
    if outcome.blocked is not None:
        return _Verdict(False, outcome.blocked.reason, outcome.blocked.message, _also(outcome.blocked))
    live, pods = outcome.live, outcome.workload
    if live is None or pods is None:
        return _nothing_there(outcome)
    if pods.wanted == 0 and pods.total == 0:
        if outcome.spec.replicas == 0:
            return _Verdict(True, "Stopped", "spec.replicas is 0: no pod runs, as the spec asks")
        way_on = f"kubectl scale -n {outcome.owner.namespace} deployment/{outcome.owner.name} --replicas={DEFAULT_REPLICAS}"
        wanted = outcome.spec.autoscaling is None  # an autoscaler never chooses 0, and lets a Deployment with 0 alone
        return _Verdict(
            wanted, "ScaledToZero", f"somebody scaled the Deployment to 0; to go on: {way_on}", "" if wanted else "Stalled"
        )
    if not (pods.complete or _settled(outcome, serving)):
        return _rolling(outcome, live, pods)
    if outcome.decision.held and live.word == outcome.word:
        return _Verdict(True, "HeldByPerson", _held_message(outcome))
    if outcome.refusal is not None:
        return _Verdict(False, outcome.refusal.reason, _refused(outcome, outcome.refusal, serving), "Stalled")
    if (error := outcome.unresolved) is not None and not _as_asked(outcome, live):
        return _Verdict(False, error.reason, f"{error.message}. {live.model.label} goes on serving", _also(error))
    few = "" if pods.available >= pods.wanted else f" ({pods.available} of {pods.wanted} ready)"
    return _Verdict(True, "Serving", f"{live.model.label} answers from {_count(pods.available)}{few}")


def _as_asked(outcome: Outcome, live: Rollout) -> bool:
    """Whether what is live is what the spec asks for, as far as that can be known while the registry does not tell."""
    asked, model, error = outcome.asked, live.model, outcome.unresolved
    if asked is not None and asked.digest is not None:
        return (asked.name, asked.version, asked.digest) == (model.name, model.version, model.digest)
    return error is not None and error.reason in _REGISTRY_AWAY and live.word.request == outcome.word.request


def _also(error: ReconcileError) -> Literal["Reconciling", "Stalled"]:
    return "Stalled" if isinstance(error, Stalling) else "Reconciling"


def _nothing_there(outcome: Outcome) -> _Verdict:
    if outcome.refusal is not None:
        return _Verdict(False, outcome.refusal.reason, _refused(outcome, outcome.refusal, None), "Stalled")
    if outcome.unresolved is not None:
        return _Verdict(False, outcome.unresolved.reason, outcome.unresolved.message, _also(outcome.unresolved))
    return _Verdict(False, "Creating", "the Deployment is being created", "Reconciling")


def _settled(outcome: Outcome, serving: ServingModel | None) -> bool:
    """The rollout was complete once; since then a pod came or went, as pods do."""
    pods, live = outcome.workload, outcome.live
    return (
        serving is not None
        and live is not None
        and pods is not None
        and pods.available > 0
        and _is_of(serving, live)
        and all(rollout.number == live.number for rollout in outcome.answering)
        and pods.updated == pods.total
    )


def _rolling(outcome: Outcome, live: Rollout, pods: Workload) -> _Verdict:
    others = [rollout for rollout in outcome.answering if rollout.number != live.number]
    old = f"; {others[0].model.label} goes on serving" if others else ""
    if outcome.fault is not None and outcome.fault.by_model:
        message = f"{live.model.label} does not become ready: {outcome.fault.message}{old}"
        return _Verdict(False, outcome.fault.reason, message, "Stalled")
    if pods.failure:
        return _Verdict(False, "PodsNotCreated", f"no pod can be created: {pods.failure}{old}", "Reconciling")
    if outcome.fault is not None:
        return _Verdict(False, outcome.fault.reason, f"{outcome.fault.message}{old}", "Reconciling")
    done = f"{pods.updated} of {pods.wanted} pods are new, {pods.available} of all are ready"
    if pods.deadline_exceeded:
        return _Verdict(False, "ProgressDeadlineExceeded", f"{live.model.label} takes too long: {done}{old}", "Reconciling")
    return _Verdict(False, "RollingOut", f"{live.model.label}: {done}{old}", "Reconciling")


def _refused(outcome: Outcome, refusal: Refusal, serving: ServingModel | None) -> str:
    asked = outcome.asked
    what = f"{asked.name} version {asked.version}" if asked else outcome.word.request
    old = f". {serving.name} version {serving.version} goes on serving" if serving else ""
    return f"{what} is not rolled out: {refusal.message}{old}"


def _held_message(outcome: Outcome) -> str:
    model, undone = outcome.decision.model, outcome.decision.undone
    if model is None:
        return ""
    way_on = f"To go on with {outcome.word.request}, change spec.model or run: {retry_command(outcome.owner)}"
    if undone is not None and undone.model == model:
        return (
            f"a person went back to earlier settings of the pods; the model is {model.label} in both revisions, so it stays."
            f" `kubectl rollout history deployment/{outcome.owner.name}` shows which revision has another model. {way_on}"
        )
    return f"a person went back to {model.label}; it is held, whatever else changes. {way_on}"


def _available(outcome: Outcome) -> tuple[bool, str, str]:
    pods = outcome.workload
    if pods is None:
        return False, "NotDeployed", "there are no pods yet"
    if pods.available:
        return True, "PodsReady", f"{_count(pods.available)} answer"
    if pods.wanted == 0:
        return False, "Stopped", "spec.replicas is 0"
    return False, "NoPodReady", f"none of {pods.wanted} pods is ready"


def _resolved(outcome: Outcome) -> tuple[bool | None, str, str]:
    if outcome.unresolved is not None:
        return False, outcome.unresolved.reason, outcome.unresolved.message
    if outcome.asked is None:
        return None, "NotAsked", "the registry was not asked yet"
    return True, "Resolved", f"{outcome.word.request} is version {outcome.asked.version}"


def _gates_passed(outcome: Outcome) -> tuple[bool | None, str, str]:
    if outcome.refusal is not None:
        return False, outcome.refusal.reason, outcome.refusal.message
    if outcome.unresolved is not None or outcome.asked is None:
        return None, "NotResolved", "there is no version to check"
    return True, "Passed", f"version {outcome.asked.version} passed every check"


def _hold(outcome: Outcome, before: ModelDeploymentStatus) -> Hold | None:
    model = outcome.decision.model
    if not outcome.decision.held or model is None:
        return None
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
    elif decision.undone is not None and decision.kind is not Kind.REPLACE:
        cause = Cause.UNDO
    else:
        cause = live.cause
    model = live.model
    entry = HistoryEntry(
        revision=live.revision,
        name=model.name,
        version=model.version,
        digest=model.digest,
        registry=model.registry,
        run_id=model.run_id or None,
        size_bytes=model.size_bytes,
        verified=model.verified,
        image=live.image,
        deployed_at=outcome.now,
        cause=cause,
        message=_history_message(cause, live),
    )
    return [entry, *history][: api.HISTORY_LIMIT]


def _history_message(cause: str, live: Rollout) -> str:
    if cause == Cause.UNDO:
        return f"{live.model.label}, by kubectl rollout undo"
    if cause == Cause.SPEC_CHANGED:
        return f"{live.model.label}, settings changed"
    return f"{live.model.label} ({live.word.request})"


def _condition(
    kind: str,
    truth: bool | None,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
    before: ModelDeploymentStatus,
) -> Condition:
    status: api.ConditionStatus = "Unknown" if truth is None else ("True" if truth else "False")
    earlier = before.condition(kind)
    since = earlier.last_transition_time if earlier is not None and earlier.status == status else now
    return Condition(
        type=kind, status=status, reason=reason, message=message, last_transition_time=since, observed_generation=generation
    )


def _count(number: int) -> str:
    return "1 pod" if number == 1 else f"{number} pods"
