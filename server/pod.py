"""What a pod is doing now, and with what: the one value that the routes, the probes and the signal handler share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from server.access import Access
from server.artifact import Artifact
from server.engine import Engine
from server.metrics import Metrics
from server.predictor import Predictor
from server.protocols import Language, Model
from server.replay import Proof
from server.settings import Settings
from server.validation import Validator

Phase: TypeAlias = Literal["Loading", "Ready", "Draining"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A model that has proved itself, and all that answering needs."""

    artifact: Artifact
    engine: Engine
    validator: Validator
    predictor: Predictor
    engine_reason: str
    """Why no compiled form answers; empty where one does."""
    verified: Proof
    model: Model
    """What protocols know of it."""
    languages: Mapping[str, Language]
    """What is spoken at each path that predicts."""


class Pod:
    """One model, from loading to draining. Only the event loop changes it."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.access = Access(settings.access_logs_per_second)
        self.serving: Serving | None = None
        self.draining = False

    @property
    def phase(self) -> Phase:
        """Where in its life the pod is; also the reason for not being ready."""
        if self.draining:
            return "Draining"
        return "Loading" if self.serving is None else "Ready"
