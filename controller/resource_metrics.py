"""What the metrics say of each ModelDeployment.

Derived at each scrape from what was told last, so that no series outlives what it is about: an old version's goes when
another one serves, a resource's when it is deleted. A standby has told nothing, and has none of them.

Names and values are as those of kube-state-metrics. `namespace` and `modeldeployment` are the labels that the pods' own series
carry, too, so that a limit of here can be compared with what is measured there.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from controller.api import KIND, ModelDeploymentSpec, ModelDeploymentStatus
from controller.ports import Key, Object, Seen
from controller.surroundings import Objectives
from controller.text import bounded

"""Namespace and name of a ModelDeployment."""

CONDITIONS = ("Available", "Ready", "Reconciling", "Stalled", "ModelResolved", "GatesPassed")
_STATUSES = ("True", "False", "Unknown")
_HOLDERS = ("Person", "Operator")
_LONGEST = 300  # characters of a label's value
_SHORT_DIGEST = len("sha256:") + 12

LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Upper bounds of the servers' buckets of ml_prediction_latency_seconds."""

_ABOUT = ("namespace", "modeldeployment")
_INFO = ("requested", "model", "version", "digest", "registry", "runtime", "image", "verified", "engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a reconcile told, as far as there is a metric of it: a thousand whole statuses would take too much memory."""

    generation: int
    observed_generation: int
    info: tuple[str, ...]
    conditions: tuple[tuple[str, str], ...]
    reason: str
    held_by: str
    quarantined: int
    served: bool
    replicas: int
    ready_replicas: int
    replicas_asked_for: int | None
    serving_since: datetime | None
    scaled_between: tuple[int, int] | None
    behind: bool
    availability: float | None
    latency_seconds: float | None

    @classmethod
    def of(cls, generation: int, status: ModelDeploymentStatus, *, spec: ModelDeploymentSpec | None, behind: bool) -> Self:
        """`spec` is None where this version of the operator does not understand it."""
        serving, ready = status.serving, status.condition("Ready")
        autoscaling = spec.autoscaling if spec is not None else None
        slo = (spec.monitoring.slo if spec is not None and spec.monitoring is not None else None) or Objectives()
        parts = [spec.model.label if spec is not None else ""]
        if serving is None:
            parts += [""] * (len(_INFO) - 1)
        else:
            digest = serving.digest[:_SHORT_DIGEST]
            parts += [serving.name, serving.version, digest, serving.registry, serving.runtime, serving.image, serving.verified]
            parts += [serving.engine or ""]
        return cls(
            generation=generation,
            observed_generation=status.observed_generation or 0,
            info=tuple(bounded(part, _LONGEST) for part in parts),
            conditions=tuple((each.type, each.status) for each in status.conditions if each.type in CONDITIONS),
            reason=ready.reason if ready is not None else "",
            held_by=status.hold.by if status.hold is not None else "",
            quarantined=len({(each.name, each.version) for each in status.quarantined}),
            served=any(entry.served for entry in status.history),
            replicas=status.replicas,
            ready_replicas=status.ready_replicas,
            replicas_asked_for=spec.replicas if spec is not None else None,
            serving_since=serving.since if serving is not None else None,
            scaled_between=(autoscaling.min_replicas, autoscaling.max_replicas) if autoscaling is not None else None,
            behind=behind,
            availability=None if slo.availability is None else round(slo.availability / 100, 9),
            latency_seconds=None if slo.latency_milliseconds is None else slo.latency_milliseconds / 1000,
        )


class ResourceMetrics(Collector):
    """The series of every ModelDeployment of which something was told."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._told: dict[Key, Told] = {}

    def tell(self, key: Key, told: Told) -> None:
        self._told[key] = told

    def forget(self, key: Key) -> None:
        self._told.pop(key, None)

    def describe(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        return _Families().all()

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        families = _Families()
        for (namespace, name), told in list(self._told.items()):  # told of on while it is read
            # What a person wrote last may be newer than what was told: then a reconcile is due, or does not come about.
            body = self._seen.get(KIND, namespace, name)
            generation = told.generation if body is None else int(body["metadata"].get("generation", told.generation))
            families.add((namespace, name), told, generation)
            if created := body and body["metadata"].get("creationTimestamp"):
                families.created.add_metric([namespace, name], datetime.fromisoformat(created).timestamp())
            for pod in self._seen.of_owner("Pod", (namespace, name)):
                families.restarts.add_metric([namespace, name, pod["metadata"]["name"]], _restarts(pod))
        return families.all()


class _Families:
    """The series of one scrape, by metric."""

    def __init__(self) -> None:
        self.info = _gauge("info", "What serves, and what is asked for.", *_INFO)
        self.created = _gauge("created", "When it was created, as Unix time.")
        self.generation = _gauge("metadata_generation", "Generation of the spec.")
        self.observed_generation = _gauge("status_observed_generation", "Generation of the spec that the status is about.")
        self.condition = _gauge("status_condition", "Conditions: 1 for the status that each has.", "condition", "status")
        self.reason = _gauge("status_ready_reason", "Reason of the condition Ready.", "reason")
        self.hold = _gauge("status_hold", "1 while something else than what is asked for is kept on purpose.", "by")
        self.quarantined = _gauge("status_quarantined_versions", "Versions that failed and are not tried again by themselves.")
        self.served = _gauge("status_served", "1 once all pods of a rollout of it were ready, else 0.")
        self.since = _gauge("status_serving_since_timestamp_seconds", "Since when what serves serves alone, as Unix time.")
        self.replicas = _gauge("status_replicas", "Number of its pods.")
        self.ready_replicas = _gauge("status_ready_replicas", "Number of its pods that answer.")
        self.replicas_asked_for = _gauge("spec_replicas", "Number of pods that the spec asks for.")
        self.fewest = _gauge("spec_min_replicas", "Lower bound of its autoscaler.")
        self.most = _gauge("spec_max_replicas", "Upper bound of its autoscaler.")
        self.restarts = CounterMetricFamily(
            "modeldeployment_pod_restarts", "Restarts of a pod's containers.", labels=[*_ABOUT, "pod"]
        )
        self.behind = _gauge("server_image_behind", "1 while the pods have another server image than a rollout would give them.")
        self.availability = _gauge("slo_availability_ratio", "Share of requests that is promised to be answered.")
        self.latency = _gauge("slo_latency_seconds", "Time in which 99 of 100 requests are promised to be answered.")
        self.bucket_weight = _gauge(
            "slo_latency_bucket_weight", "By how much each bucket of the latency counts as answered in that time.", "le"
        )

    def all(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        return iter(vars(self).values())

    def add(self, about: Key, told: Told, generation: int) -> None:
        self.info.add_metric([*about, *told.info], 1)
        self.generation.add_metric(about, generation)
        self.observed_generation.add_metric(about, told.observed_generation)
        for condition, is_so in told.conditions:
            for status in _STATUSES:
                self.condition.add_metric([*about, condition, status.lower()], status == is_so)
        if told.reason:
            self.reason.add_metric([*about, told.reason], 1)
        for holder in _HOLDERS:
            self.hold.add_metric([*about, holder], holder == told.held_by)
        self.quarantined.add_metric(about, told.quarantined)
        self.served.add_metric(about, told.served)
        if told.serving_since is not None:
            self.since.add_metric(about, told.serving_since.timestamp())
        self.replicas.add_metric(about, told.replicas)
        self.ready_replicas.add_metric(about, told.ready_replicas)
        if told.replicas_asked_for is not None:
            self.replicas_asked_for.add_metric(about, told.replicas_asked_for)
        if told.scaled_between is not None:
            self.fewest.add_metric(about, told.scaled_between[0])
            self.most.add_metric(about, told.scaled_between[1])
        self.behind.add_metric(about, told.behind)
        if told.availability is not None:
            self.availability.add_metric(about, told.availability)
        if told.latency_seconds is not None:
            self.latency.add_metric(about, told.latency_seconds)
            for bucket, weight in _weights(told.latency_seconds):
                self.bucket_weight.add_metric([*about, str(float(bucket))], weight)


def _gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"modeldeployment_{name}", help_text, labels=[*_ABOUT, *labels])


def _weights(seconds: float) -> Iterator[tuple[float, float]]:
    """The buckets around a time, and how much of each: what lies between two bounds is taken as spread evenly, as
    `histogram_quantile` takes it. Prometheus cannot compare a time with the label `le`, but can join by it."""
    place = bisect_left(LATENCY_BUCKETS, seconds)
    if place == len(LATENCY_BUCKETS):  # nothing is known of what took longer than the last bound
        yield LATENCY_BUCKETS[-1], 1.0
        return
    above, below = LATENCY_BUCKETS[place], LATENCY_BUCKETS[place - 1] if place else 0.0
    share = round((seconds - below) / (above - below), 6)
    if place and share < 1:
        yield below, round(1 - share, 6)
    yield above, share


def _restarts(pod: Object) -> int:
    status = pod.get("status") or {}
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return sum(container.get("restartCount", 0) for container in containers)
