"""Every metric of a pod, by name, in a registry of its own. Label values come from the model, never from requests.

What every prediction counts is counted in plain numbers, by the event loop alone, and turned into metrics when Prometheus
asks: a counter of the client library takes a lock, which costs as much as parsing a request does.
"""

import math
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from itertools import accumulate

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from server.artifact import Label

MAX_CLASSES = 100
"""A model with more classes than this gets one series for all others."""

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Around every latency that a service level objective is likely to name."""


class Metrics:
    """What a pod counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.predictions = Predictions()
        self.latency = Latency()
        self.registry.register(self.predictions)
        self.registry.register(self.latency)
        self.errors = Counter(
            "ml_prediction_errors", "Requests that got no prediction, by what was wrong.", ["error_type"], registry=self.registry
        )
        self.out_of_range = Counter(
            "ml_out_of_range", "Values outside the range seen in training, by feature.", ["feature"], registry=self.registry
        )
        self.info = Gauge(
            "ml_model_info",
            "The model that this pod serves, what answers, and what it has proved (verified: Answered, Executed or Loaded).",
            ["model_name", "model_version", "digest", "engine", "engine_reason", "verified"],
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


class Predictions(Collector):
    """ml_predictions_total."""

    def __init__(self) -> None:
        self._counts: Tally[tuple[str, str]] = Tally()

    def count(self, version: str, prediction_class: str) -> None:
        """One prediction."""
        self._counts[version, prediction_class] += 1

    def collect(self) -> Iterator[Metric]:
        """As Prometheus wants it."""
        family = CounterMetricFamily(
            "ml_predictions",
            "Predictions made, by the predicted class (a regression has the one class value).",
            labels=["model_version", "prediction_class"],
        )
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        yield family


class Latency(Collector):
    """ml_prediction_latency_seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """One request."""
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[Metric]:
        """As Prometheus wants it: each bucket counts those below it too."""
        limits = [*map(str, map(float, BUCKETS)), "+Inf"]
        yield HistogramMetricFamily(
            "ml_prediction_latency_seconds",
            "From the last byte of a request to its prediction, waiting for a thread included.",
            buckets=list(zip(limits, accumulate(self._counts), strict=True)),
            sum_value=self._sum,
        )


class PredictionClasses:
    """The `prediction_class` of a label: the label itself where there are few, and few enough that Prometheus lives on."""

    def __init__(self, classes: Sequence[Label] | None) -> None:
        self._known = None if classes is None else {label: label_text(label) for label in classes[:MAX_CLASSES]}

    def of(self, label: Label | list[Label]) -> str:
        """The value of the metric's label."""
        if self._known is None or isinstance(label, list):
            return "value"
        return self._known.get(label, "other")


def label_text(label: Label) -> str:
    """A label as text, as JSON would write it: true, 1, spam."""
    return str(label).lower() if isinstance(label, bool) else str(label)
