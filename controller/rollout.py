"""What a rollout is: a version nailed to its files, the word under which it was written, how it failed and how it goes."""

from collections.abc import Sequence
from dataclasses import dataclass
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

    def same(self, other: "PinnedModel") -> bool:
        """Whether both are one version, with the same files."""
        return (self.name, self.version, self.digest) == (other.name, other.version, other.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a person last said about the model: `spec.model` and the retry annotation."""

    request: str
    retry: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGates:
    """What pods judge themselves by while their model's files are new."""

    max_load_seconds: float | None
    max_latency_p95_milliseconds: float | None
    until: datetime
    """A pod that starts later is one more of many, perhaps on a busy node: it is not judged."""

    def limit(self, reason: str) -> float | None:
        """What a pod that gives this reason did not keep to."""
        return {"LoadTooSlow": self.max_load_seconds, "LatencyTooHigh": self.max_latency_p95_milliseconds}.get(reason)


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
    """Number of the rollout that was put back in its place; 0 once this one is live again."""
    attempts: int = 1
    limit: float | None = None
    """Where its pods found it slower than a gate allows: what the gate allowed."""
    lifted: bool = False
    """That gate has been raised or waived since."""

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
    pending: Word | None
    """What was said later, while this was live, and could not be rolled out."""
    held_over: int = 0
    """Number of the newest rollout when that hold was written down; 0 where it began otherwise than by going back."""
    instead_of: int | None = None
    """Number of the rollout that failed, where the operator put this one back in its place; 0 where it did not; None where
    an earlier version of the operator wrote this, which did not say."""
    cause: str
    """Why it was written."""
    told: str
    """The same as a line of `kubectl rollout history`."""
    image: str
    runtime: str
    """The image's name in the catalogue; empty where the spec names an image of its own."""
    revision: int
    """As `kubectl rollout history` counts."""
    failed: Failure | None = None
    """The mark on its ReplicaSet, where it was taken back."""
    judged: PodGates | None = None
    """What its pods judge themselves by."""

    def unjudged(self, now: datetime) -> bool:
        """Pods that start only now would be ready without having judged themselves: the time for that is over."""
        return self.judged is not None and now >= self.judged.until


def newest_of(live: Rollout, remembered: Sequence[Rollout]) -> Rollout:
    """The one with the highest number. A rollout that was restarted has several ReplicaSets: the Deployment knows best."""
    return max((live, *remembered), key=lambda rollout: (rollout.number, rollout is live, rollout.revision))


def taken_back(live: Rollout, newest: Rollout) -> bool:
    """Whether the operator put back what is live, when the newest rollout failed."""
    marked = newest.failed is not None and newest.failed.back_to == live.number
    return newest.number > live.number and marked and live.instead_of in (None, newest.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A version that failed under certain settings, as the status remembers it when its ReplicaSet is gone."""

    model: PinnedModel
    inputs: str
    failure: Failure


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
    """The model version that a person approved for mode Manual, as NAME/VERSION."""
    on_failure: OnFailure = OnFailure.ROLL_BACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the live template has come."""

    completed: bool = True
    """All pods were of it and available once; what happens to them later is no failed rollout."""
    failure: Failure | None = None
    """The first certain sign that it will not come about."""
    answering: frozenset[int] = frozenset()
    """Numbers of the rollouts that have pods which are ready."""
    served: frozenset[int] = frozenset()
    """Numbers of the rollouts that are known to have come about once."""
    paused: bool = False
    """Somebody paused the Deployment."""
    edited: bool = False
    """Somebody changed in its template what the operator had written there."""
    first_pods: bool = False
    """It never had a pod that was ready, has none now, and is to have some from now on."""
