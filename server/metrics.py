"""Every metric of a pod, by name, in a registry of its own. Label values come from the model, never from requests."""

import math
from collections.abc import Sequence

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from server.artifact import Label

MAX_CLASSES = 100
"""A model with more classes than this gets one series for all others."""

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Around every latency that a service level objective is likely to name."""


class Metrics:
    """What a pod counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.predictions = Counter(
            "ml_predictions",
            "Predictions made, by the predicted class (a regression has the one class value).",
            ["model_version", "prediction_class"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "ml_prediction_latency_seconds",
            "From the last byte of a request to its prediction, waiting for a thread included.",
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.errors = Counter(
            "ml_prediction_errors", "Requests that got no prediction, by what was wrong.", ["error_type"], registry=self.registry
        )
        self.out_of_range = Counter(
            "ml_out_of_range", "Values outside the range seen in training, by feature.", ["feature"], registry=self.registry
        )
        self.info = Gauge(
            "ml_model_info",
            "The model that this pod serves, and what it has proved (verified: Answered, Executed or Loaded).",
            ["model_name", "model_version", "digest", "engine", "verified"],
            registry=self.registry,
        )
        self.load_seconds = Gauge(
            "ml_model_load_seconds", "How long loading took, the recorded example included.", registry=self.registry
        )
        self.warm_up_p95_seconds = Gauge(
            "ml_warm_up_p95_seconds",
            "95 of 100 predictions of one recorded row took no longer before the pod was ready; NaN without a recorded example.",
            registry=self.registry,
        )
        self.warm_up_p95_seconds.set(math.nan)
        self.waiting = Gauge("ml_predictions_in_progress", "Requests that wait for a prediction now.", registry=self.registry)
        prometheus_client.ProcessCollector(registry=self.registry)
        prometheus_client.PlatformCollector(registry=self.registry)
        prometheus_client.GCCollector(registry=self.registry)

    def exposition(self) -> tuple[bytes, str]:
        """The text that Prometheus scrapes, and its content type."""
        return prometheus_client.generate_latest(self.registry), prometheus_client.CONTENT_TYPE_LATEST


class PredictionClasses:
    """The `prediction_class` of a label: the label itself where there are few, and few enough that Prometheus lives on."""

    def __init__(self, classes: Sequence[Label] | None) -> None:
        self._known = None if classes is None else frozenset(classes[:MAX_CLASSES])

    def of(self, label: Label | list[Label]) -> str:
        """The value of the metric's label."""
        if self._known is None or isinstance(label, list):
            return "value"
        return label_text(label) if label in self._known else "other"


def label_text(label: Label) -> str:
    """A label as text, as JSON would write it: true, 1, spam."""
    return str(label).lower() if isinstance(label, bool) else str(label)
