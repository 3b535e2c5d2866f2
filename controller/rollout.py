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
again until a person says so. What the cluster caused is tried again, later each time.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

FIRST_RETRY = timedelta(minutes=1)  # after a rollout that the cluster let fail
LAST_RETRY = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedModel:
    """A model version, nailed to the digest of its files."""

    name: str
    version: str
    digest: str
    run_id: str
    size_bytes: int
    registry: str
    """Where it came from: two registries may have different versions of one name and number."""
    verified: str
    """What a pod proves before it is ready: Answered, Executed or Loaded."""
    scikit_learn: str = ""
    """The version that it was logged with: it chooses the server image, also when the registry is away."""

    @property
    def label(self) -> str:
        return f"{self.name} version {self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a person last said about the model: `spec.model` and the retry annotation."""

    request: str
    retry: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a rollout did not come about."""

    reason: str
    message: str
    by_version: bool
    """The version caused it, under these settings; otherwise the cluster did."""
    at: datetime
    retry: str = ""
    """The retry annotation of that moment."""
    back_to: int = 0
    """Number of the rollout that was put back in its place."""
    attempts: int = 1

    @property
    def next_attempt(self) -> datetime:
        """When the same is tried again, where the cluster was the cause."""
        return self.at + min(LAST_RETRY, FIRST_RETRY * (1 << min(self.attempts - 1, 10)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A pod template of ours as the cluster remembers it."""

    number: int
    model: PinnedModel
    word: Word
    inputs: str
    """Hash of what else the spec says about pods."""
    held: str
    """Where a person chose it: that hash as it was when the hold began, or was last applied on top. Otherwise empty."""
    cause: str
    """Why it was written."""
    image: str
    runtime: str
    """The image's name in the catalogue; empty where the spec names an image of its own."""
    revision: int
    """As `kubectl rollout history` counts."""
    failed: Failure | None = None
    """The mark on its ReplicaSet, where it was taken back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A version that failed under certain settings, as the status remembers it when its ReplicaSet is gone."""

    model: PinnedModel
    inputs: str
    failure: Failure


class Mode(StrEnum):
    AUTOMATIC = "Automatic"
    MANUAL = "Manual"  # another model version waits for a person's approval
    PAUSED = "Paused"  # no rollout starts


class OnFailure(StrEnum):
    ROLL_BACK = "RollBack"
    HOLD = "Hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the spec says about rollouts themselves."""

    mode: Mode = Mode.AUTOMATIC
    approved: str = ""
    """The version that a person approved, for mode Manual."""
    on_failure: OnFailure = OnFailure.ROLL_BACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the live template has come."""

    completed: bool = True
    """All pods were of it and available once; what happens to them later is no failed rollout."""
    failure: Failure | None = None
    """The first certain sign that it will not come about."""
    answering: frozenset[int] = frozenset()
    """Numbers of the rollouts that have available pods."""
    paused: bool = False
    """Somebody paused the Deployment."""
    edited: bool = False
    """Somebody changed in its template what the operator had written there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything that the decision depends on."""

    word: Word
    inputs: str
    now: datetime
    target: PinnedModel | None
    """What the spec asks for, resolved and past the gates; None while that is unknown or refused."""
    live: Rollout | None
    """The Deployment's template; None where there is no Deployment."""
    remembered: tuple[Rollout, ...] = ()
    """The templates of its ReplicaSets, or of those that a Deployment of this name has left behind."""
    last_served: PinnedModel | None = None
    """From the status, for the case that the Deployment is gone."""
    last_hold: PinnedModel | None = None
    """Likewise: what a person chose against the word that is still in force."""
    quarantined: tuple[Quarantined, ...] = ()
    """Likewise: what failed, for the case that its ReplicaSet is gone."""
    policy: Policy = Policy()
    progress: Progress = Progress()
    update_to: str = ""
    """The server image that pods are to be moved to now, where the administrator wants that and it is this one's turn."""


class Kind(StrEnum):
    WAIT = "Wait"  # nothing to roll out, nothing there
    KEEP = "Keep"  # the live template is right, or has to do
    RECORD = "Record"  # it is, but what a person said or chose is not written on it yet: write that, roll nothing
    CREATE = "Create"
    REPLACE = "Replace"
    RESTORE = "Restore"  # the template of a ReplicaSet, exactly as it was


class Cause(StrEnum):
    CREATED = "Created"
    MODEL_CHANGED = "ModelChanged"
    SPEC_CHANGED = "SpecChanged"
    RETRY = "Retry"
    UNDO = "Undo"
    RESTART = "Restart"  # or whatever else somebody did to the template, the model untouched
    ROLLED_BACK = "RolledBack"  # by the operator
    EDIT_REVERTED = "EditReverted"
    SERVER_UPDATE = "ServerUpdate"


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
    undone: Rollout | None = None
    """The rollout that a person took back, where this hold began with `kubectl rollout undo`."""
    failed: Failure | None = None
    """Why what the spec asks for is not rolled out: it was, and failed. Where this restores, the mark to leave."""
    failed_model: PinnedModel | None = None
    pause: Pause | None = None
    """What is waited for before the next rollout."""


def decide(observed: Observed) -> Decision:
    """The template that should be live. See the module's story for how an undo is told from a rollout."""
    live = observed.live
    if live is None:
        return _first(observed)

    newest = max((live, *observed.remembered), key=lambda rollout: rollout.number)
    went_back = live.number < newest.number
    taken_back = went_back and newest.failed is not None and newest.failed.back_to == live.number
    chosen = not taken_back and ((went_back and newest.word == observed.word) or (bool(live.held) and live.word == observed.word))
    if observed.progress.paused:
        return Decision(kind=Kind.KEEP, model=live.model, number=live.number, held=chosen, pause=Pause.DEPLOYMENT)
    if observed.progress.edited:
        return Decision(kind=Kind.RESTORE, model=live.model, number=live.number, cause=Cause.EDIT_REVERTED, held=chosen)
    if not went_back and (rolled_back := _roll_back(observed, live)) is not None:
        return rolled_back
    decision = _hold(observed, live, newest) if chosen else _go_on(observed, live, newest, taken_back=taken_back)
    return _in_mode(observed, live, _with_server_update(observed, live, newest, decision))


def _roll_back(observed: Observed, live: Rollout) -> Decision | None:
    """The rollout in progress has failed for certain: back to what served before, and a mark on what failed."""
    failure = observed.progress.failure
    if failure is None or observed.progress.completed or observed.policy.on_failure is OnFailure.HOLD:
        return None
    earlier = [rollout for rollout in observed.remembered if rollout.number < live.number and rollout.failed is None]
    answering = [rollout for rollout in earlier if rollout.number in observed.progress.answering]
    back = max(answering or earlier, key=lambda rollout: rollout.number, default=None)
    if back is None:
        return None  # the first one: its pods stay for a look
    attempts = live.failed.attempts + 1 if live.failed is not None else 1
    mark = replace(failure, retry=observed.word.retry, back_to=back.number, attempts=attempts)
    return Decision(
        kind=Kind.RESTORE,
        model=back.model,
        number=back.number,
        cause=Cause.ROLLED_BACK,
        held=bool(live.held) and live.word == observed.word,
        failed=mark,
        failed_model=live.model,
    )


def _go_on(observed: Observed, live: Rollout, newest: Rollout, *, taken_back: bool) -> Decision:
    """What the spec asks for, unless it failed before."""
    target, next_number = observed.target, newest.number + 1
    went_back = live.number < newest.number
    kept = Decision(kind=Kind.KEEP, model=live.model, number=live.number)
    if taken_back and newest.held and newest.word == observed.word:
        # A person chose the version, and other settings on top of it failed.
        if newest.inputs == observed.inputs:
            return replace(kept, held=True, failed=newest.failed, failed_model=newest.model)
        return Decision(kind=Kind.REPLACE, model=live.model, number=next_number, cause=Cause.SPEC_CHANGED, held=True)
    if target is None:
        # Unknown or refused. What serves goes on, and what else the spec says about its pods still holds.
        if (went_back and not taken_back) or live.held:
            return replace(kept, held=True)  # the word is another one, but there is nothing yet to go on with
        if newest.word == observed.word and live.inputs != observed.inputs and not taken_back:
            return Decision(kind=Kind.REPLACE, model=live.model, number=next_number, cause=Cause.SPEC_CHANGED)
        return kept

    as_asked = _same(target, live.model) and live.inputs == observed.inputs
    failed = _earlier_failure(observed, target)
    if failed is not None and not as_asked:
        if failed.failure.by_version or observed.now < failed.failure.next_attempt:
            return replace(kept, failed=failed.failure, failed_model=target)
        again = next((rollout for rollout in observed.remembered if rollout.failed == failed.failure), None)
        if again is not None:  # its own template once more, so that attempts do not push the history out
            return Decision(kind=Kind.RESTORE, model=target, number=again.number, cause=Cause.RETRY)
    if not _same(target, live.model):
        return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=_cause(observed, newest))
    if live.inputs != observed.inputs:
        return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=Cause.SPEC_CHANGED)
    if went_back and not (taken_back and newest.word == observed.word):
        # They went back to exactly what is asked for now. Only a higher number can say that nothing is held any more.
        return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=_cause(observed, newest))
    if taken_back:
        return kept
    if observed.progress.failure is not None and not observed.progress.completed and live.word.retry != observed.word.retry:
        return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=Cause.RETRY)
    settled = live.word == observed.word and not live.held
    return replace(kept, kind=Kind.KEEP if settled else Kind.RECORD)


def _hold(observed: Observed, live: Rollout, newest: Rollout) -> Decision:
    """A person chose what is live. It stays; other settings that the spec has changed since are applied on top of it.

    The hold is written on the Deployment, so that it does not depend on how long the newer ReplicaSet is kept.
    """
    undone = newest if live.number < newest.number else None
    written = bool(live.held) and live.word == observed.word
    began = live.held if written else newest.inputs
    if observed.inputs != began:
        number, cause = newest.number + 1, Cause.SPEC_CHANGED
        return Decision(kind=Kind.REPLACE, model=live.model, number=number, cause=cause, held=True, undone=undone)
    kind = Kind.KEEP if written else Kind.RECORD
    return Decision(kind=kind, model=live.model, number=live.number, held=True, held_inputs=began, undone=undone)


def _first(observed: Observed) -> Decision:
    """There is no Deployment: it never was, or somebody deleted it, perhaps without its ReplicaSets."""
    number = 1 + max((rollout.number for rollout in observed.remembered), default=0)
    if observed.last_hold is not None:
        return Decision(kind=Kind.CREATE, model=observed.last_hold, number=number, cause=Cause.CREATED, held=True)
    target, served = observed.target, observed.last_served
    failed = _earlier_failure(observed, target) if target is not None and served is not None else None
    pause = None if target is None or (served is not None and _same(target, served)) else _pause(observed, target)
    model = served if failed is not None or pause is not None else target or served
    if model is None:
        return Decision(kind=Kind.WAIT, pause=pause)
    created = Decision(kind=Kind.CREATE, model=model, number=number, cause=Cause.CREATED, pause=pause)
    return replace(created, failed=failed.failure, failed_model=target) if failed is not None else created


def _with_server_update(observed: Observed, live: Rollout, newest: Rollout, decision: Decision) -> Decision:
    """The administrator wants what runs to be moved to another server image, and nothing else is to be done."""
    if decision.kind is not Kind.KEEP or not observed.update_to or observed.update_to == live.image:
        return decision
    if not observed.progress.completed:
        return decision
    if any(each.failed and each.image == observed.update_to and _same(each.model, live.model) for each in observed.remembered):
        return decision  # the model does not work with it
    return replace(decision, kind=Kind.REPLACE, number=newest.number + 1, cause=Cause.SERVER_UPDATE)


def _in_mode(observed: Observed, live: Rollout, decision: Decision) -> Decision:
    """The decision, unless a person is to be asked first. Bringing pods back to what they were needs no permission."""
    starts = decision.kind is Kind.REPLACE or (decision.kind is Kind.RESTORE and decision.cause is Cause.RETRY)
    if not starts or decision.model is None:
        return decision
    if _same(decision.model, live.model) and observed.policy.mode is not Mode.PAUSED:
        return decision
    pause = _pause(observed, decision.model)
    if pause is None:
        return decision
    return Decision(kind=Kind.KEEP, model=live.model, number=live.number, held=decision.held, pause=pause)


def _pause(observed: Observed, model: PinnedModel) -> Pause | None:
    mode = observed.policy.mode
    if mode is Mode.PAUSED:
        return Pause.MODE
    return Pause.APPROVAL if mode is Mode.MANUAL and observed.policy.approved != model.version else None


def _earlier_failure(observed: Observed, target: PinnedModel) -> Quarantined | None:
    """How the same files failed under the same settings, with no retry asked for since."""
    marked = [
        Quarantined(model=each.model, inputs=each.inputs, failure=each.failed) for each in observed.remembered if each.failed
    ]
    known = [
        each
        for each in (*marked, *observed.quarantined)
        if _same(each.model, target) and each.inputs == observed.inputs and each.failure.retry == observed.word.retry
    ]
    return max(known, key=lambda each: each.failure.at, default=None)


def _cause(observed: Observed, newest: Rollout) -> Cause:
    return Cause.RETRY if observed.word.retry != newest.word.retry else Cause.MODEL_CHANGED


def _same(one: PinnedModel, other: PinnedModel) -> bool:
    return (one.name, one.version, one.digest) == (other.name, other.version, other.digest)
