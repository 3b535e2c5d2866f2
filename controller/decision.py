"""What `decide` is told and what it answers: one observation, one decision."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from controller.rollout import Cause, Failure, PinnedModel, Policy, Progress, Quarantined, Rollout, Word


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
    """Likewise: what a person chose."""
    last_hold_word: Word | None = None
    """The word against which they did."""
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
    word: Word | None = None
    """Under which this is created, where that is not what is asked for now."""
    held: bool = False
    """A person's choice is being held."""
    held_inputs: str = ""
    """Where it is held: the hash of the spec's other settings when that began. Later ones are applied on top."""
    pending: Word | None = None
    """Where this records: what is asked for and cannot be rolled out yet. Nothing else is written then."""
    undone: Rollout | None = None
    """The rollout that a person took back, where this hold began with `kubectl rollout undo`."""
    failed: Failure | None = None
    """Why what the spec asks for is not rolled out: it was, and failed. Where this restores, the mark to leave."""
    failed_model: PinnedModel | None = None
    pause: Pause | None = None
    """What is waited for before the next rollout."""
    again: datetime | None = None
    """When something is due that no event tells."""
