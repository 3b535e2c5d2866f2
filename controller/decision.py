"""Which pod template should be live: one pure decision over one observation.

Every template that the operator writes carries a rollout number that only rises, and every ReplicaSet remembers the
template it was made from together with the *word* under which it was written: the `spec.model` and the retry annotation
of that moment. That is all it takes to understand a person:

    rollouts   1: fraud/1   2: fraud/2 (word: fraud@champion)
    live       2                          as decided
    live       1, word of 2 == word now   somebody went back with `kubectl rollout undo`: hold what they chose
    live       1, word of 2 != word now   they went back, and then said something new: go on

Nothing here depends on the status of the resource as long as there is a Deployment, so a hold survives a lost status, a
crash between two writes, and a controller that was away while it happened.

A rollout that fails is marked on its ReplicaSet, and the template before it is put back, just as kubectl would do it. The
mark says why, and what was gone back to; so "somebody went back" and "the operator took it back" are told apart the same way
after any crash. What the version itself caused is quarantined: the same files under the same settings are not rolled out
again until a person says so. What the cluster caused is tried again under a new number, later each time.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from controller.rollout import (
    Cause,
    Failure,
    Mode,
    OnFailure,
    PinnedModel,
    Policy,
    Progress,
    Quarantined,
    Rollout,
    Word,
    taken_back,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything that the decision depends on."""

    word: Word
    inputs: str
    now: datetime
    target: PinnedModel | None
    """What the spec asks for, resolved and past the gates; None while that is unknown or refused."""
    refused: bool = False
    """It is known, and refused by a gate."""
    live: Rollout | None
    """The Deployment's template; None where there is no Deployment."""
    remembered: tuple[Rollout, ...] = ()
    """The templates of its ReplicaSets, or of those that a Deployment of this name has left behind."""
    last_number: int = 0
    """The highest number that the status knows of, for the case that all of them are gone."""
    last_served: PinnedModel | None = None
    """From the status, for the case that the Deployment is gone."""
    last_hold: PinnedModel | None = None
    """Likewise: what a person chose against the word that is still in force."""
    quarantined: tuple[Quarantined, ...] = ()
    """Likewise: what failed, for the case that its ReplicaSet is gone."""
    policy: Policy = field(default_factory=Policy)
    progress: Progress = field(default_factory=Progress)
    image: str = ""
    """The server image that what is live would get today; empty while that is unknown."""
    may_update: bool = False
    """The administrator wants running pods to be moved to that image, and it is this one's turn."""


class Kind(StrEnum):
    WAIT = "Wait"  # nothing to roll out, nothing there
    KEEP = "Keep"  # the live template is right, or has to do
    RECORD = "Record"  # it is, but what a person said or chose is not written on it yet: write that, roll nothing
    CREATE = "Create"
    REPLACE = "Replace"
    RESTORE = "Restore"  # the template of a ReplicaSet, exactly as it was


class Pause(StrEnum):
    """Who or what keeps a rollout from starting; the reasons that status gives."""

    APPROVAL = "AwaitingApproval"
    MODE = "RolloutsPaused"
    DEPLOYMENT = "DeploymentPaused"
    DISABLED = "ReconcileDisabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do with the Deployment, and what is being held, refused or waited for."""

    kind: Kind
    model: PinnedModel | None = None
    """What the live template serves once this is done."""
    number: int = 0
    cause: Cause | None = None
    held: bool = False
    """A person's choice is being held."""
    held_inputs: str = ""
    """Where it is held: the hash of the spec's other settings when that began. Later ones are applied on top."""
    pending: str = ""
    """What is asked for and cannot be rolled out yet: who goes back from here on does so knowing of it."""
    undone: Rollout | None = None
    """The rollout that a person took back, where this hold began with `kubectl rollout undo`."""
    failed: Failure | None = None
    """Why what the spec asks for is not rolled out: it was, and failed. Where this restores, the mark to leave."""
    failed_model: PinnedModel | None = None
    pause: Pause | None = None
    """What is waited for before the next rollout."""
    again: datetime | None = None
    """When something is due that no event tells."""


def decide(observed: Observed) -> Decision:
    """The template that should be live. See the module's story for how an undo is told from a rollout."""
    live = observed.live
    if live is None:
        return _first(observed)

    newest = max((live, *observed.remembered), key=lambda rollout: rollout.number)
    back = taken_back(live, newest)
    chosen = not back and (_went_back(observed, live, newest) or (bool(live.held) and live.word == observed.word))
    if observed.progress.paused:
        return Decision(kind=Kind.KEEP, model=live.model, number=live.number, held=chosen, pause=Pause.DEPLOYMENT)
    if observed.progress.edited:
        return Decision(kind=Kind.RESTORE, model=live.model, number=live.number, cause=Cause.EDIT_REVERTED, held=chosen)
    if live is newest and (rolled_back := _roll_back(observed, live)) is not None:
        return rolled_back
    decision = _hold(observed, live, newest) if chosen else _go_on(observed, live, newest, taken_back=back)
    return _in_mode(observed, live, _with_server_update(observed, live, newest, decision))


def _went_back(observed: Observed, live: Rollout, newest: Rollout) -> bool:
    """A person went back, and has said nothing new since: all that is said now was known when the newest was still live."""
    return newest.number > live.number and (newest.word == observed.word or newest.pending == observed.word.request)


def _roll_back(observed: Observed, live: Rollout) -> Decision | None:
    """The rollout in progress has failed for certain: back to what served before, and a mark on what failed."""
    failure = observed.progress.failure
    if failure is None or observed.progress.completed or observed.policy.on_failure is OnFailure.HOLD:
        return None
    held = bool(live.held) and live.word == observed.word
    earlier = [
        rollout
        for rollout in observed.remembered
        if rollout.number < live.number and rollout.failed is None and (not held or rollout.model.same(live.model))
    ]
    answering = [rollout for rollout in earlier if rollout.number in observed.progress.answering]
    served = [rollout for rollout in earlier if rollout.number in observed.progress.served]
    back = max(answering or served, key=lambda rollout: rollout.number, default=None)
    if back is None:
        return None  # nothing before it ever worked: its pods stay for a look
    return Decision(
        kind=Kind.RESTORE,
        model=back.model,
        number=back.number,
        cause=Cause.ROLLED_BACK,
        held=held,
        failed=replace(failure, retry=observed.word.retry, back_to=back.number, attempts=_attempts(observed, live)),
        failed_model=live.model,
    )


def _attempts(observed: Observed, live: Rollout) -> int:
    """How often the same was tried, this time included. A mark that was left just before a crash is of this time."""
    before = [
        rollout.failed.attempts
        for rollout in observed.remembered
        if rollout.failed is not None
        and rollout.number < live.number
        and rollout.model.same(live.model)
        and rollout.inputs == live.inputs
        and rollout.failed.retry == observed.word.retry
    ]
    own = live.failed
    if own is not None:
        before.append(own.attempts - (own.back_to != 0))
    return 1 + max(before, default=0)


def _go_on(observed: Observed, live: Rollout, newest: Rollout, *, taken_back: bool) -> Decision:
    """What the spec asks for, unless it failed before."""
    target, next_number = observed.target, newest.number + 1
    went_back = live.number < newest.number
    kept = Decision(kind=Kind.KEEP, model=live.model, number=live.number)
    if taken_back and newest.failed is not None and newest.word == observed.word:
        if newest.held and newest.inputs != observed.inputs:
            return Decision(kind=Kind.REPLACE, model=live.model, number=next_number, cause=Cause.SPEC_CHANGED, held=True)
        if newest.held and newest.cause == Cause.SERVER_UPDATE:
            return replace(kept, held=True)
        if newest.held:  # a person chose the version, and other settings on top of it failed
            return _after_failure(observed, replace(kept, held=True), newest.failed, newest.model, next_number)
        if target is None and not observed.refused and (failed := _earlier_failure(observed, newest.model)) is not None:
            return replace(kept, failed=failed.failure, failed_model=newest.model)
    if target is None:
        return _without_target(observed, live, newest, kept, taken_back=taken_back)

    as_asked = target.same(live.model) and live.inputs == observed.inputs
    failed = _earlier_failure(observed, target)
    if failed is not None and not as_asked:
        return _after_failure(observed, kept, failed.failure, target, next_number)
    if not target.same(live.model):
        return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=_cause(observed, newest))
    if live.inputs != observed.inputs:
        return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=Cause.SPEC_CHANGED)
    if went_back and not (taken_back and newest.word == observed.word):
        # They went back to exactly what is asked for now. Only a higher number can say that nothing is held any more.
        return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=_cause(observed, newest))
    if taken_back:
        return kept
    if observed.progress.first_pods and live.unjudged(observed.now):
        return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=Cause.SPEC_CHANGED)
    failure = observed.progress.failure
    if failure is not None and not observed.progress.completed:  # and there is nothing to go back to
        if live.word.retry != observed.word.retry or failure.lifted:
            return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=Cause.RETRY)
        if not failure.by_version and observed.image not in ("", live.image):
            return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=Cause.SERVER_UPDATE)
    settled = live.word == observed.word and not live.held and not live.pending
    return replace(kept, kind=Kind.KEEP if settled else Kind.RECORD)


def _without_target(observed: Observed, live: Rollout, newest: Rollout, kept: Decision, *, taken_back: bool) -> Decision:
    """What is asked for is unknown or refused. What serves goes on, and what else the spec says about its pods still holds."""
    went_back = live.number < newest.number
    held = (went_back and not taken_back) or bool(live.held)  # there is nothing yet to go on with
    if newest.word == observed.word and live.inputs != observed.inputs and not taken_back and not held:
        number = newest.number + 1
        return Decision(kind=Kind.REPLACE, model=live.model, number=number, cause=Cause.SPEC_CHANGED)
    request = observed.word.request
    if not went_back and request not in (live.word.request, live.pending):
        return replace(kept, kind=Kind.RECORD, held=held, pending=request)
    return replace(kept, held=held)


def _after_failure(observed: Observed, kept: Decision, failure: Failure, model: PinnedModel, number: int) -> Decision:
    """What failed before: kept out for good where it was the cause, otherwise tried again when its time has come."""
    if failure.by_version and not failure.lifted:
        return replace(kept, failed=failure, failed_model=model)
    if observed.now < failure.next_attempt and not failure.lifted:
        return replace(kept, failed=failure, failed_model=model, again=failure.next_attempt)
    return Decision(kind=Kind.REPLACE, model=model, number=number, cause=Cause.RETRY, held=kept.held)


def _hold(observed: Observed, live: Rollout, newest: Rollout) -> Decision:
    """A person chose what is live. It stays; other settings that the spec has changed since are applied on top of it.

    The hold is written on the Deployment, so that it does not depend on how long the newer ReplicaSet is kept.
    """
    undone = newest if live.number < newest.number else None
    began = live.held if undone is None else undone.inputs
    if observed.inputs != began:
        number, cause = newest.number + 1, Cause.SPEC_CHANGED
        return Decision(kind=Kind.REPLACE, model=live.model, number=number, cause=cause, held=True, undone=undone)
    kept = Decision(kind=Kind.KEEP, model=live.model, number=live.number, held=True, held_inputs=began, undone=undone)
    written = live.held == began and live.word == observed.word
    return kept if written else replace(kept, kind=Kind.RECORD, cause=Cause.UNDO)


def _first(observed: Observed) -> Decision:
    """There is no Deployment: it never was, or somebody deleted it, perhaps without its ReplicaSets."""
    number = 1 + max((observed.last_number, *(rollout.number for rollout in observed.remembered)))
    if observed.last_hold is not None:
        return Decision(kind=Kind.CREATE, model=observed.last_hold, number=number, cause=Cause.CREATED, held=True)
    target, served = observed.target, observed.last_served
    failed = _earlier_failure(observed, target) if target is not None and served is not None else None
    pause = None if target is None or (served is not None and target.same(served)) else _pause(observed, target)
    model = served if failed is not None or pause is not None else target or served
    if model is None:
        return Decision(kind=Kind.WAIT, pause=pause)
    created = Decision(kind=Kind.CREATE, model=model, number=number, cause=Cause.CREATED, pause=pause)
    return replace(created, failed=failed.failure, failed_model=target) if failed is not None else created


def _with_server_update(observed: Observed, live: Rollout, newest: Rollout, decision: Decision) -> Decision:
    """The administrator wants what runs to be moved to another server image, and nothing else is to be done."""
    if decision.kind is not Kind.KEEP or decision.failed is not None or not observed.progress.completed:
        return decision
    if not observed.may_update or observed.image in ("", live.image) or live.inputs != observed.inputs:
        return decision
    marks = [
        each.failed
        for each in observed.remembered
        if each.failed is not None and (each.image, each.inputs) == (observed.image, live.inputs) and each.model.same(live.model)
    ]
    if any(mark.by_version for mark in marks):
        return decision  # the model does not work with it
    if marks and observed.now < (again := max(mark.next_attempt for mark in marks)):
        return replace(decision, again=again)
    return replace(decision, kind=Kind.REPLACE, number=newest.number + 1, cause=Cause.SERVER_UPDATE)


def _in_mode(observed: Observed, live: Rollout, decision: Decision) -> Decision:
    """The decision, unless a person is to be asked first. Bringing pods back to what they were needs no permission."""
    if decision.kind is not Kind.REPLACE or decision.model is None:
        return decision
    if decision.model.same(live.model) and observed.policy.mode is not Mode.PAUSED:
        return decision
    pause = _pause(observed, decision.model)
    if pause is None:
        return decision
    return Decision(kind=Kind.KEEP, model=live.model, number=live.number, held=decision.held, pause=pause)


def _pause(observed: Observed, model: PinnedModel) -> Pause | None:
    mode = observed.policy.mode
    if mode is Mode.PAUSED:
        return Pause.MODE
    approved = observed.policy.approved == f"{model.name}/{model.version}"
    return Pause.APPROVAL if mode is Mode.MANUAL and not approved else None


def _earlier_failure(observed: Observed, target: PinnedModel) -> Quarantined | None:
    """How the same files failed under the same settings, with no retry asked for since.

    Not with another server image while they served with the one before: that says nothing about the version.
    """
    marked = [
        Quarantined(model=each.model, inputs=each.inputs, failure=each.failed)
        for each in observed.remembered
        if each.failed is not None and each.cause != Cause.SERVER_UPDATE
    ]
    known = [
        each
        for each in (*marked, *observed.quarantined)
        if each.model.same(target)
        and each.inputs == observed.inputs
        and each.failure.retry == observed.word.retry
        and not each.failure.lifted
    ]
    return max(known, key=lambda each: each.failure.at, default=None)


def _cause(observed: Observed, newest: Rollout) -> Cause:
    return Cause.RETRY if observed.word.retry != newest.word.retry else Cause.MODEL_CHANGED
