"""What a pod is doing now, and with what: the one value that the routes, the probes and the signal handler share."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from server.artifact import Artifact, Label
from server.engine import Engine
from server.metrics import Metrics
from server.predictor import Predictor
from server.protocols import Model
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
    answer: Label | list[Label] | None
    """What it says of the first row of the example; None where there is none."""


class Pod:
    """One model, from loading to draining. Only the event loop changes it."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.serving: Serving | None = None
        self.draining = False

    @property
    def phase(self) -> Phase:
        """Where in its life the pod is; also the reason for not being ready."""
        if self.draining:
            return "Draining"
        return "Loading" if self.serving is None else "Ready"

    def model(self, serving: Serving) -> Model:
        """What protocols know of it."""
        return Model(
            name=self.settings.served_name,
            version=self.settings.model.version,
            inputs=serving.engine.inputs,
            validator=serving.validator,
            classes=serving.engine.classes,
            has_probabilities=serving.engine.has_probabilities,
            predict_function=serving.artifact.predict_function,
            answer=serving.answer,
        )
