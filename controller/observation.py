"""What is live: the Deployment, its ReplicaSets and its pods, read fresh for every decision."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from controller.conditions import is_of
from controller.engines import Engine, engines
from controller.index import trouble
from controller.pod_faults import Fault, fault, unstarted
from controller.ports import Cluster, Object, Seen
from controller.resource import Resource
from controller.resources import rollouts
from controller.resources.identity import Owner, owned, selector
from controller.rollout import Failure, Progress, Rollout
from controller.workload import answering, certain_failure, workload


@dataclass(frozen=True, kw_only=True)  # without slots: what was read of the objects is kept beside them
class Live:
    """The Deployment, its ReplicaSets and its pods, or the ReplicaSets that a Deployment of this name has left behind."""

    deployment: Object | None = None
    replica_sets: tuple[Object, ...] = ()
    trouble: Fault | None = None
    """What the pods of the live template say, while they are not all ready."""
    in_the_way: Object | None = None
    """A Deployment of that name that is somebody else's."""
    lifted: frozenset[int] = frozenset()
    """Numbers of the rollouts whose mark does not count any more, as the gate that they failed was raised or waived."""
    engines: dict[int, Engine] = field(default_factory=dict)
    """What computes the answers of each rollout's pods, as far as they told."""

    @cached_property
    def rollout(self) -> Rollout | None:
        known = rollouts.read_rollout(self.deployment) if self.deployment else None
        return replace(known, failed=self._marks.get(known.number)) if known is not None else None

    @cached_property
    def remembered(self) -> tuple[Rollout, ...]:
        """What the ReplicaSets remember. A rollout that was restarted has several: a mark on one is about all of them."""
        marks = self._marks
        return tuple(replace(each, failed=marks.get(each.number)) for each in self._known)

    def with_replica_set(self, written: Object) -> "Live":
        """The same with a ReplicaSet as it was just written."""
        return replace(self, replica_sets=(*self.without_replica_set(written).replica_sets, written))

    def without_replica_set(self, gone: Object) -> "Live":
        uid = gone["metadata"]["uid"]
        return replace(self, replica_sets=tuple(each for each in self.replica_sets if each["metadata"]["uid"] != uid))

    @cached_property
    def _known(self) -> tuple[Rollout, ...]:
        return tuple(known for each in self.replica_sets if (known := rollouts.read_rollout(each)) is not None)

    @cached_property
    def _marks(self) -> dict[int, Failure]:
        return {
            each.number: replace(each.failed, lifted=each.number in self.lifted)
            for each in self._known
            if each.failed is not None
        }


async def observe(cluster: Cluster, seen: Seen, owner: Owner) -> Live:
    """What is there of a ModelDeployment's rollouts: fresh reads, never from a cache.

    What was seen says whether the pods are worth a read, and what computes their answers, which nothing is decided by.
    """
    deployment = await cluster.get("Deployment", owner.namespace, owner.name)
    if deployment is not None and not owned(deployment, owner.uid):
        return Live(in_the_way=deployment)
    replica_sets = await cluster.list("ReplicaSet", owner.namespace, _label_selector(owner))
    if deployment is None:
        return Live(replica_sets=tuple(replica_sets))
    replica_sets = [each for each in replica_sets if owned(each, deployment["metadata"]["uid"])]
    current, pods = rollouts.read_rollout(deployment), workload(deployment)
    why = None
    if current is not None and not pods.complete and (pods.deadline_exceeded or _may_be_in_trouble(seen, owner)):
        listed = await cluster.list("Pod", owner.namespace, _label_selector(owner))
        why = fault(listed, current) or (unstarted(listed, current) if pods.deadline_exceeded else None)
    told = engines(seen.of_owner("Pod", (owner.namespace, owner.name)))
    return Live(deployment=deployment, replica_sets=tuple(replica_sets), trouble=why, engines=told)


def progress(resource: Resource, live: Live, now: datetime) -> Progress:
    """How far the live template has come."""
    current, serving = live.rollout, resource.before.serving
    if live.deployment is None or current is None:
        return Progress()
    pods = workload(live.deployment)
    answers = frozenset(each.number for each in answering(live.replica_sets))
    served = serving is not None and serving.rollout == current.number and is_of(serving, current)
    served = served or any(entry.served and entry.rollout == current.number for entry in resource.before.history)
    return Progress(
        completed=pods.complete or served or answers == {current.number},
        failure=certain_failure(pods, live.trouble, current, live.remembered, now),
        answering=answers,
        served=frozenset(entry.rollout for entry in resource.before.history if entry.served),
        paused=bool(live.deployment["spec"].get("paused")),
        edited=rollouts.edited(live.deployment, live.replica_sets),
        first_pods=pods.wanted == pods.total == 0
        and bool(resource.spec.replicas or resource.spec.autoscaling)
        and not any(entry.served and entry.digest == current.model.digest for entry in resource.before.history),
    )


def _may_be_in_trouble(seen: Seen, owner: Owner) -> bool:
    """Whether a pod was seen in trouble. The watch tells when one gets into it, so the others need not be read."""
    pods = seen.of_owner("Pod", (owner.namespace, owner.name))
    return not seen.complete("Pod", owner.namespace) or any(trouble(pod) for pod in pods)


def _label_selector(owner: Owner) -> str:
    return ",".join(f"{label}={value}" for label, value in selector(owner).items())
