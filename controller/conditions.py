"""The six conditions, and the sentences that `kubectl describe` shows for them. Pure: `now` is part of the outcome."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from controller import api, commands
from controller.api import Condition, ModelDeploymentSpec, ModelDeploymentStatus, ServingModel, TargetModel
from controller.checks import Refusal
from controller.decision import Decision, Pause
from controller.engines import Engine
from controller.errors import ReconcileError, Stalling
from controller.pod_faults import Fault
from controller.resources.deployment import DEFAULT_REPLICAS
from controller.resources.identity import Owner
from controller.rollout import Failure, Mode, PinnedModel, Rollout, Word
from controller.workload import Workload, numbers

# That the registry does not answer, or not to us, says nothing about what runs.
REGISTRY_AWAY = {"RegistryUnavailable", "RegistryRefused", "RegistryUntrusted", "RegistrySecretUnusable"}

_WITH_READY = {"Reconciling", "Stalled"}

# Where the pods say more than their message does.
_IN_LOGS = {"PodCrashed", "CrashLoop", "ProgressDeadlineExceeded"}
_IN_EVENTS = {"PodNotStarted", "PodEvicted"}


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
    notes: tuple[str, ...] = ()
    """What the gates have to say of a version that passed."""
    approved: str = ""
    """The version that a person approved, as NAME/VERSION."""
    mode: Mode = Mode.AUTOMATIC
    mode_by_default: bool = False
    """The spec says nothing of a rollout mode: it is the operator's default."""
    blocked: ReconcileError | None = None
    """Why the Deployment or another child could not be written."""
    found: Rollout | None = None
    """The template that was live before the decision was carried out."""
    found_workload: Workload | None = None
    live: Rollout | None = None
    """The template that is live once the decision was carried out."""
    remembered: tuple[Rollout, ...] = ()
    """The rollouts that the ReplicaSets remember."""
    workload: Workload | None = None
    answering: tuple[Rollout, ...] = ()
    engines: dict[int, Engine] = field(default_factory=dict)
    """What computes the answers of each rollout's pods, as far as they told."""
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Ready, and what goes with it."""

    ready: bool
    reason: str
    message: str
    also: Literal["", "Reconciling", "Stalled"] = ""


def conditions(outcome: Outcome, serving: ServingModel | None, before: ModelDeploymentStatus) -> list[Condition]:
    """Ready first: it is what people look for."""
    verdict = _verdict(outcome, serving)
    said = (
        ("Ready", verdict.ready, verdict.reason, verdict.message),
        ("Available", *_available(outcome)),
        ("Reconciling", verdict.also == "Reconciling", verdict.reason, verdict.message),
        ("Stalled", verdict.also == "Stalled", verdict.reason, verdict.message),
        ("ModelResolved", *_resolved(outcome)),
        ("GatesPassed", *_gates_passed(outcome)),
    )
    return [
        # What does not hold of the two that go with Ready needs no message.
        condition(
            kind, truth, reason, "" if kind in _WITH_READY and not truth else message, outcome.generation, outcome.now, before
        )
        for kind, truth, reason, message in said
    ]


def condition(
    kind: str,
    truth: bool | None,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
    before: ModelDeploymentStatus,
) -> Condition:
    """A condition, since when it has been so included."""
    status: api.ConditionStatus = "Unknown" if truth is None else ("True" if truth else "False")
    earlier = before.condition(kind)
    since = earlier.last_transition_time if earlier is not None and earlier.status == status else now
    return Condition(
        type=kind, status=status, reason=reason, message=message, last_transition_time=since, observed_generation=generation
    )


def as_known_before(outcome: Outcome, before: ModelDeploymentStatus) -> Outcome:
    """While the registry is away, what it said last is still the best that is known: a refused version stays refused."""
    error, live = outcome.unresolved, outcome.live
    if error is None or error.reason not in REGISTRY_AWAY or outcome.asked is not None or before.target is None:
        return outcome
    if live is None or live.word != outcome.word:
        return outcome
    gates = before.condition("GatesPassed")
    refused = Refusal(gates.reason, gates.message) if gates is not None and gates.status == "False" else None
    return replace(outcome, asked=before.target, refusal=refused)


def _verdict(outcome: Outcome, serving: ServingModel | None) -> _Verdict:
    """The first of these that applies is what Ready says."""
    if outcome.blocked is not None:
        return _Verdict(False, outcome.blocked.reason, outcome.blocked.message, _also(outcome.blocked))
    live, pods = outcome.live, outcome.workload
    if live is None or pods is None:
        return _nothing_there(outcome)
    if pods.wanted == 0 and pods.total == 0:
        if _starts_again(outcome):
            return _Verdict(False, "RollingOut", f"the Deployment goes from 0 pods to {outcome.spec.replicas}", "Reconciling")
        wanted = outcome.spec.autoscaling is None  # an autoscaler never chooses 0, and lets a Deployment with 0 alone
        return _Verdict(wanted, *_at_zero(outcome), "" if wanted else "Stalled")
    pause, failed = outcome.decision.pause, outcome.decision.failed
    if pause in (Pause.DEPLOYMENT, Pause.DISABLED):
        done = pods.complete or _settled(outcome, serving)
        return _Verdict(done, pause, _paused(outcome, pause), "" if done else "Stalled")
    if failed is not None and outcome.decision.failed_model is not None:
        return _taken_back(outcome, failed, outcome.decision.failed_model, live, pods)
    if not (pods.complete or _settled(outcome, serving)):
        return _rolling(outcome, live, pods)
    if outcome.decision.held and live.word == outcome.word:
        return _Verdict(True, "HeldByPerson", held_message(outcome))
    if outcome.refusal is not None:
        return _Verdict(False, outcome.refusal.reason, _refused(outcome, outcome.refusal, serving), "Stalled")
    if pause is not None:
        return _Verdict(True, pause, _paused(outcome, pause))
    if (error := outcome.unresolved) is not None and not _as_asked(outcome, live):
        return _Verdict(False, error.reason, f"{error.message.rstrip('.')}. {live.model.label} goes on serving", _also(error))
    told = f"{live.model.label} answers from {_count(pods.available)}{_missing(outcome, pods)}"
    return _Verdict(True, "Serving", f"{told}{_native(serving)}")


def _starts_again(outcome: Outcome) -> bool:
    """Whether the Deployment is at 0 only until it hears of the number in the spec."""
    return bool(outcome.spec.replicas) and outcome.decision.pause is not Pause.DISABLED


def _at_zero(outcome: Outcome) -> tuple[str, str]:
    """Reason and message where no pod is wanted."""
    autoscaling = outcome.spec.autoscaling
    if outcome.spec.replicas == 0:
        return "Stopped", "spec.replicas is 0: no pod runs, as the spec asks"
    count = autoscaling.min_replicas if autoscaling else DEFAULT_REPLICAS
    return "ScaledToZero", f"somebody scaled the Deployment to 0: no pod runs. To go on: {commands.scale(outcome.owner, count)}"


def _missing(outcome: Outcome, pods: Workload) -> str:
    """How many pods are not there, and why as far as they say so."""
    if pods.available >= pods.wanted:
        return ""
    why = pods.failure or (outcome.fault.message if outcome.fault is not None else "")
    return f" ({pods.available} of {pods.wanted} ready{f': {why}' if why else ''})"


def _native(serving: ServingModel | None) -> str:
    """That scikit-learn itself computes the answers, and why; no reason is given where somebody wants it so."""
    if serving is None or serving.engine != "Native" or not serving.engine_reason:
        return ""
    return f"; scikit-learn itself computes the answers: {serving.engine_reason.rstrip('.')}"


def _as_asked(outcome: Outcome, live: Rollout) -> bool:
    """Whether what is live is what the spec asks for, as far as that can be known while the registry does not tell."""
    asked, model, error = outcome.asked, live.model, outcome.unresolved
    if asked is not None and asked.digest is not None:
        return (asked.name, asked.version, asked.digest) == (model.name, model.version, model.digest)
    if asked is not None and (asked.name, asked.version) != (model.name, model.version):
        return False  # it went away between its answer and the files
    return error is not None and error.reason in REGISTRY_AWAY and live.word.request == outcome.word.request


def _also(error: ReconcileError) -> Literal["Reconciling", "Stalled"]:
    return "Stalled" if isinstance(error, Stalling) else "Reconciling"


def _nothing_there(outcome: Outcome) -> _Verdict:
    if outcome.refusal is not None:
        return _Verdict(False, outcome.refusal.reason, _refused(outcome, outcome.refusal, None), "Stalled")
    if outcome.unresolved is not None:
        return _Verdict(False, outcome.unresolved.reason, outcome.unresolved.message, _also(outcome.unresolved))
    if (pause := outcome.decision.pause) is not None:
        return _Verdict(False, pause, _paused(outcome, pause), "Stalled")
    return _Verdict(False, "Creating", "the Deployment is being created", "Reconciling")


def _taken_back(outcome: Outcome, failed: Failure, model: PinnedModel, live: Rollout, pods: Workload) -> _Verdict:
    """A rollout failed; what served before serves, or is on its way back."""
    what = model.label if model != live.model else f"{model.label} with its new settings"
    if pods.available:
        kept = f"{live.model.label} {'goes on serving' if model != live.model else 'keeps the old ones'}"
    else:
        why = f" ({outcome.fault.message.rstrip('.')})" if outcome.fault is not None else ""
        kept = f"{live.model.label} is put back and has no ready pod yet{why}"
    told = f"{what} was taken back, {kept}: {failed.message.rstrip('.')}"
    again = f"To try the same once more: {commands.retry(outcome.owner)}"
    if outcome.decision.held:
        again = f"To give up what a person chose, and go on with {outcome.word.request}: {commands.retry(outcome.owner)}"
    if not failed.by_version:
        due = outcome.decision.again
        when = f"at {due.strftime('%H:%M:%S UTC')}" if due is not None else "when what is asked for can be rolled out"
        way_on = f"That is not held against the version: it is tried again {when}. {again}"
        return _Verdict(False, failed.reason, f"{told}. {way_on}", "Reconciling")
    gate = "" if failed.limit is None else ", or the gate is raised or waived"
    way_on = f"It is not rolled out again until the version, its files or the settings of its pods change{gate}. {again}"
    if failed.reason in _IN_LOGS:
        way_on += f". With rollout.onFailure: Hold its pods then stay for a look: {commands.logs(outcome.owner, model.version)}"
    return _Verdict(False, failed.reason, f"{told}. {way_on}", "Stalled")


def _paused(outcome: Outcome, pause: Pause) -> str:
    """What is waited for, and who ends that."""
    owner, asked = outcome.owner, outcome.asked
    waiting = f"{asked.name} version {asked.version}" if asked is not None else "what the spec asks for"
    live = outcome.live
    if asked is not None and live is not None and (asked.name, asked.version) == (live.model.name, live.model.version):
        waiting = f"{waiting} with its new settings"
    default = " (the operator's default)" if outcome.mode_by_default else ""
    if pause is Pause.APPROVAL and asked is not None:
        wanted = f"{asked.name}/{asked.version}"
        other = f"; the annotation approves {outcome.approved[:100]!r}, which is another one" if outcome.approved else ""
        told = f"{waiting} passed every check and waits for approval, as rollout.mode is Manual{default}{other}"
        return f"{told}: {commands.approve(owner, wanted)}"
    if pause is Pause.DEPLOYMENT:
        differs = asked is not None and live is not None and (asked.name, asked.version) != (live.model.name, live.model.version)
        what = f"{waiting} is asked for, and nothing" if differs else "nothing"
        return f"somebody paused the Deployment; {what} is rolled out until: {commands.resume(owner)}"
    if pause is Pause.DISABLED:
        told = f"the annotation {api.RECONCILE_ANNOTATION} is {api.DISABLED!r}"
        return f"{told}: nothing is touched until: {commands.enable(owner)}"
    return f"rollout.mode is Paused{default}: {waiting} is not rolled out until it is Automatic or Manual"


def _settled(outcome: Outcome, serving: ServingModel | None) -> bool:
    """The rollout was complete once; since then a pod came or went, as pods do."""
    pods, live = outcome.workload, outcome.live
    return (
        serving is not None
        and live is not None
        and pods is not None
        and pods.available > 0
        and is_of(serving, live)
        and serving.rollout == live.number
        and all(rollout.number == live.number for rollout in outcome.answering)
        and pods.updated == pods.total
    )


def _rolling(outcome: Outcome, live: Rollout, pods: Workload) -> _Verdict:
    others = [rollout for rollout in outcome.answering if rollout.number != live.number]
    before = others[0].model if others else None
    old = "; its earlier pods go on serving" if before == live.model else f"; {before.label} goes on serving" if before else ""
    label, fault = live.model.label, outcome.fault
    # It stays: there is nothing to go back to, or rollout.onFailure is Hold.
    held = outcome.decision.held
    again = f". {f'To go on with {outcome.word.request}' if held else 'To try it anew'}: {commands.retry(outcome.owner)}"
    if fault is not None and fault.by_model:
        message = f"{label} does not become ready: {fault.message.rstrip('.')}{old}{_more(outcome, live, fault.reason)}{again}"
        return _Verdict(False, fault.reason, message, "Stalled")
    late = again if pods.deadline_exceeded else ""
    if pods.failure:
        told = f"no pod can be created: {pods.failure.rstrip('.')}{old}. It goes on by itself when there is room{late}"
        return _Verdict(False, "PodsNotCreated", told, "Reconciling")
    if fault is not None:
        message = f"{fault.message.rstrip('.')}{old}{_more(outcome, live, fault.reason)}{late}"
        return _Verdict(False, fault.reason, message, "Reconciling")
    if not pods.seen:
        return _Verdict(False, "RollingOut", f"{label}: the Deployment controller has not taken it up yet{old}", "Reconciling")
    if pods.deadline_exceeded:
        reason = "ProgressDeadlineExceeded"
        slow = f"{label} made no progress for {pods.deadline_seconds} s (rollout.progressDeadlineSeconds): {numbers(pods)}"
        return _Verdict(False, reason, f"{slow}{old}{_more(outcome, live, reason)}{late}", "Reconciling")
    return _Verdict(False, "RollingOut", f"{label}: {numbers(pods)}{old}", "Reconciling")


def _more(outcome: Outcome, live: Rollout, reason: str) -> str:
    """The command that shows more than the message does, where there is one."""
    if reason in _IN_LOGS:
        return f". To see more: {commands.logs(outcome.owner, live.model.version)}"
    return f". To see more: {commands.describe_pods(outcome.owner, live.model.version)}" if reason in _IN_EVENTS else ""


def _refused(outcome: Outcome, refusal: Refusal, serving: ServingModel | None) -> str:
    asked = outcome.asked
    what = f"{asked.name} version {asked.version}" if asked else outcome.word.request
    old = f". {serving.name} version {serving.version} goes on serving" if serving else ""
    return f"{what} is not rolled out: {refusal.message.rstrip('.')}{old}"


def held_message(outcome: Outcome) -> str:
    """What a person chose, and how to go on."""
    model, undone = outcome.decision.model, outcome.decision.undone
    if model is None:
        return ""
    way_on = (
        f"To go on with {outcome.word.request}, change spec.model or run: {commands.retry(outcome.owner)}{_then_waits(outcome)}"
    )
    if undone is not None and undone.model == model:
        return (
            f"a person went back to earlier settings of the pods; the model is {model.label} in both revisions, so it stays."
            f"{_another_model(outcome, model)} {way_on}"
        )
    return f"a person went back to {model.label}; it is held, whatever else changes. {way_on}"


def _then_waits(outcome: Outcome) -> str:
    """What the end of a hold does not bring by itself."""
    asked = outcome.asked
    if outcome.mode is not Mode.MANUAL or asked is None or outcome.approved == f"{asked.name}/{asked.version}":
        return ""
    waits = f". As rollout.mode is Manual, {asked.name} version {asked.version} also waits for approval"
    return f"{waits}: {commands.approve(outcome.owner, f'{asked.name}/{asked.version}')}"


def _another_model(outcome: Outcome, model: PinnedModel) -> str:
    """How to go back to another model, where one is remembered that did not fail."""
    others = [each for each in outcome.remembered if each.model != model and each.failed is None]
    if not others:
        return ""
    last = max(others, key=lambda rollout: rollout.revision)
    return f" To go back to {last.model.label}: {commands.undo(outcome.owner, last.revision)}."


def _available(outcome: Outcome) -> tuple[bool, str, str]:
    pods = outcome.workload
    if pods is None:
        return False, "NotDeployed", "there are no pods yet"
    if pods.available:
        return True, "PodsReady", f"{_count(pods.available)} answer{'s' if pods.available == 1 else ''}"
    if pods.wanted == 0 and not _starts_again(outcome):
        return False, *_at_zero(outcome)
    return False, "NoPodReady", f"none of {pods.wanted or outcome.spec.replicas} pods is ready"


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
    return True, "Passed", "; ".join((f"version {outcome.asked.version} passed every check", *outcome.notes))


def is_of(serving: ServingModel, rollout: Rollout) -> bool:
    """Whether what serves came from that rollout."""
    model = rollout.model
    return (serving.name, serving.version, serving.digest, serving.image) == (
        model.name,
        model.version,
        model.digest,
        rollout.image,
    )


def _count(number: int) -> str:
    return "1 pod" if number == 1 else f"{number} pods"
