"""What the metrics say of each ModelDeployment.

Derived at each scrape from what was told last, so that no series outlives what it is about: an old version's goes when
another one serves, a resource's when it is deleted. A standby has told nothing, and has none of them.

Names and values are as those of kube-state-metrics. `namespace` and `modeldeployment` are the labels that the pods' own series
carry, too, so that a limit of here can be compared with what is measured there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from controller.api import KIND, ModelDeploymentStatus
from controller.ports import Key, Seen
from controller.surroundings import Objectives
from controller.text import bounded

"""Namespace and name of a ModelDeployment."""

CONDITIONS = ("Available", "Ready", "Reconciling", "Stalled", "ModelResolved", "GatesPassed")
_STATUSES = ("True", "False", "Unknown")
_HOLDERS = ("Person", "Operator")
_LONGEST = 300  # characters of a label's value
_SHORT_DIGEST = len("sha256:") + 12

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
    behind: bool
    availability: float | None
    latency_seconds: float | None

    @classmethod
    def of(
        cls, generation: int, status: ModelDeploymentStatus, *, requested: str, objectives: Objectives | None, behind: bool
    ) -> Self:
        serving, ready = status.serving, status.condition("Ready")
        slo = objectives or Objectives()
        parts = [requested]
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

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return _Families().all()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        families = _Families()
        for (namespace, name), told in list(self._told.items()):  # told of on while it is read
            # What a person wrote last may be newer than what was told: then a reconcile is due, or does not come about.
            body = self._seen.get(KIND, namespace, name)
            generation = told.generation if body is None else int(body["metadata"].get("generation", told.generation))
            families.add((namespace, name), told, generation)
        return families.all()


class _Families:
    """The series of one scrape, by metric."""

    def __init__(self) -> None:
        self.info = _gauge("info", "What serves, and what is asked for.", *_INFO)
        self.generation = _gauge("metadata_generation", "Generation of the spec.")
        self.observed_generation = _gauge("status_observed_generation", "Generation of the spec that the status is about.")
        self.condition = _gauge("status_condition", "Conditions: 1 for the status that each has.", "condition", "status")
        self.reason = _gauge("status_ready_reason", "Reason of the condition Ready.", "reason")
        self.hold = _gauge("status_hold", "1 while something else than what is asked for is kept on purpose.", "by")
        self.quarantined = _gauge("status_quarantined_versions", "Versions that failed and are not tried again by themselves.")
        self.behind = _gauge("server_image_behind", "1 while the pods have another server image than a rollout would give them.")
        self.availability = _gauge("slo_availability_ratio", "Share of requests that is promised to be answered.")
        self.latency = _gauge("slo_latency_seconds", "Time in which 99 of 100 requests are promised to be answered.")

    def all(self) -> Iterator[GaugeMetricFamily]:
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
        self.behind.add_metric(about, told.behind)
        if told.availability is not None:
            self.availability.add_metric(about, told.availability)
        if told.latency_seconds is not None:
            self.latency.add_metric(about, told.latency_seconds)


def _gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"modeldeployment_{name}", help_text, labels=[*_ABOUT, *labels])
