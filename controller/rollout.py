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
"""

from dataclasses import dataclass, replace
from enum import StrEnum


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

    @property
    def label(self) -> str:
        return f"{self.name} version {self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a person last said about the model: `spec.model` and the retry annotation."""

    request: str
    retry: str = ""


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
    revision: int
    """As `kubectl rollout history` counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything that the decision depends on."""

    word: Word
    inputs: str
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


class Kind(StrEnum):
    WAIT = "Wait"  # nothing to roll out, nothing there
    KEEP = "Keep"  # the live template is right
    RECORD = "Record"  # it is, but what a person said or chose is not written on it yet: write that, roll nothing
    CREATE = "Create"
    REPLACE = "Replace"


class Cause(StrEnum):
    CREATED = "Created"
    MODEL_CHANGED = "ModelChanged"
    SPEC_CHANGED = "SpecChanged"
    RETRY = "Retry"
    UNDO = "Undo"
    RESTART = "Restart"  # or whatever else somebody did to the template, the model untouched


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do with the Deployment, and whether a person's choice is being held."""

    kind: Kind
    model: PinnedModel | None = None
    """What the live template serves once this is done."""
    number: int = 0
    cause: Cause | None = None
    held: bool = False
    held_inputs: str = ""
    """Where it is held: the hash of the spec's other settings when that began. Later ones are applied on top."""
    undone: Rollout | None = None
    """The rollout that a person took back, where this hold began with `kubectl rollout undo`."""


def decide(observed: Observed) -> Decision:
    """The template that should be live. See the module's story for how an undo is told from a rollout."""
    live = observed.live
    if live is None:
        return _first(observed)

    newest = max((live, *observed.remembered), key=lambda rollout: rollout.number)
    next_number = newest.number + 1

    went_back = live.number < newest.number
    if (went_back and newest.word == observed.word) or (live.held and live.word == observed.word):
        return _hold(observed, live, newest)

    target = observed.target
    if target is None:
        # Unknown or refused. What serves goes on, and what else the spec says about its pods still holds.
        kept = Decision(kind=Kind.KEEP, model=live.model, number=live.number)
        if went_back or live.held:
            return replace(kept, held=True)  # the word is another one, but there is nothing yet to go on with
        if newest.word == observed.word and live.inputs != observed.inputs:
            return Decision(kind=Kind.REPLACE, model=live.model, number=next_number, cause=Cause.SPEC_CHANGED)
        return kept

    if not _same(target, live.model):
        return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=_cause(observed, newest))
    if live.inputs != observed.inputs:
        return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=Cause.SPEC_CHANGED)
    if went_back:
        # They went back to exactly what is asked for now. Only a higher number can say that nothing is held any more.
        return Decision(kind=Kind.REPLACE, model=target, number=next_number, cause=_cause(observed, newest))
    settled = live.word == observed.word and not live.held
    return Decision(kind=Kind.KEEP if settled else Kind.RECORD, model=live.model, number=live.number)


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
    model = observed.target or observed.last_served
    if model is None:
        return Decision(kind=Kind.WAIT)
    return Decision(kind=Kind.CREATE, model=model, number=number, cause=Cause.CREATED)


def _cause(observed: Observed, newest: Rollout) -> Cause:
    return Cause.RETRY if observed.word.retry != newest.word.retry else Cause.MODEL_CHANGED


def _same(one: PinnedModel, other: PinnedModel) -> bool:
    return (one.name, one.version, one.digest) == (other.name, other.version, other.digest)
