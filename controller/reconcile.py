"""The story of a ModelDeployment: observe, decide, act, tell.

Whatever happens on the way ends in one place, which derives the whole status from what was seen and done, and writes it
only where it differs. Every decision is made from fresh reads, so a second reconcile of the same state writes nothing.
"""

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pydantic import ValidationError

from controller import rollout, status
from controller.api import ModelReference
from controller.children import Children, name_conflict
from controller.cluster import AlreadyExists, ApiError, Conflict
from controller.conditions import Outcome
from controller.errors import ReconcileError, Stalling, Waiting
from controller.ports import Cluster, Object, Registry
from controller.resolution import Resolution, Resolver
from controller.resource import Resource, read_resource, read_status
from controller.resources import deployment as deployments
from controller.resources.deployment import PodSettings
from controller.resources.identity import Owner, owned, selector
from controller.rollout import Decision, Kind, Observed, Rollout
from controller.store import Store
from controller.text import bounded
from controller.workload import answering, fault, workload

log = logging.getLogger(__name__)

BLOCKED_DELAY = 60.0  # seconds; what is in the way is no child of ours, so no event tells when it is gone

Key = tuple[str, str]
"""Namespace and name of a ModelDeployment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The Deployment and its ReplicaSets, or those that a Deployment of this name has left behind."""

    deployment: Object | None = None
    replica_sets: tuple[Object, ...] = ()
    name_taken: bool = False
    """A Deployment of that name is there, and is somebody else's."""

    @property
    def rollout(self) -> Rollout | None:
        return deployments.read_rollout(self.deployment) if self.deployment else None

    @property
    def remembered(self) -> tuple[Rollout, ...]:
        return tuple(known for each in self.replica_sets if (known := deployments.read_rollout(each)) is not None)


class Reconciler:
    """Brings ModelDeployments to what they ask for, one at a time."""

    def __init__(self, cluster: Cluster, registry: Registry, store: Store, pods: PodSettings) -> None:
        self._cluster = cluster
        self._resolver = Resolver(registry, store)
        self._pods = pods
        self._children = Children(cluster)
        self.followed: dict[Key, ModelReference] = {}
        """The references of the resources that are there: what the poll of the registry asks for."""

    async def reconcile(self, key: Key) -> float | None:
        """One pass over one resource; seconds until the next, or None where an event will tell."""
        body = await self._cluster.get("ModelDeployment", *key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self.followed.pop(key, None)  # its children go with it: they are owned
            return None
        try:
            resource = read_resource(body)
        except ValidationError as error:
            await self._tell_unsupported(body, error)
            return None
        self.followed[key] = resource.spec.model

        found = await self._resolver.resolve(resource.spec.model)  # first: it may take a while, and what is live is to be fresh
        live = await self._observe(resource.owner)
        resolution = self._resolver.from_memory(resource, live.remembered, found)
        decision = rollout.decide(_observed(resource, live, resolution))
        blocked: ReconcileError | None = None
        try:
            live = await self._act(resource, live, decision)
        except (ReconcileError, ApiError) as error:
            blocked = _blocked(error)
        try:
            await self._children.bring(resource.owner, resource.spec, live.deployment)
        except (Stalling, ApiError) as error:
            blocked = blocked or _blocked(error)

        outcome = await self._outcome(resource, live, resolution, decision, blocked)
        await self._tell(resource, outcome)
        delays = [error.delay for error in (resolution.unresolved, blocked) if isinstance(error, Waiting)]
        return min(delays) if delays else (BLOCKED_DELAY if blocked is not None else None)

    async def _observe(self, owner: Owner) -> Live:
        deployment = await self._cluster.get("Deployment", owner.namespace, owner.name)
        if deployment is not None and not owned(deployment, owner.uid):
            return Live(name_taken=True)
        replica_sets = await self._cluster.list("ReplicaSet", owner.namespace, _label_selector(owner))
        if deployment is not None:
            replica_sets = [each for each in replica_sets if owned(each, deployment["metadata"]["uid"])]
        return Live(deployment=deployment, replica_sets=tuple(replica_sets))

    async def _act(self, resource: Resource, live: Live, decision: Decision) -> Live:
        """Carry the decision out; what is live then."""
        owner, spec, model = resource.owner, resource.spec, decision.model
        if model is None or decision.kind in (Kind.WAIT, Kind.KEEP):
            return live
        if decision.kind is Kind.RECORD and live.deployment is not None:
            remembered = deployments.word_annotations(resource.word, decision.held_inputs)
            operations = deployments.annotation_patch(live.deployment, remembered)
            return replace(live, deployment=await self._cluster.patch("Deployment", live.deployment, operations))

        if live.name_taken:
            raise name_conflict("Deployment", owner)
        await self._resolver.have_in_store(model)
        annotations = deployments.rollout_annotations(
            resource.word,
            deployments.inputs(spec),
            held=decision.held,
            cause=decision.cause or "",
            change_cause=status.change_cause(decision, resource.word),
        )
        template = deployments.pod_template(owner, spec, model, decision.number, self._pods)
        if live.deployment is None:
            body = deployments.deployment(owner, spec, template, annotations)
            return Live(deployment=await self._cluster.create("Deployment", body))
        operations = deployments.template_patch(live.deployment, template, annotations)
        return replace(live, deployment=await self._cluster.patch("Deployment", live.deployment, operations))

    async def _outcome(
        self, resource: Resource, live: Live, resolution: Resolution, decision: Decision, blocked: ReconcileError | None
    ) -> Outcome:
        owner = resource.owner
        pods = workload(live.deployment) if live.deployment else None
        current = live.rollout
        trouble = None
        if pods is not None and current is not None and not pods.complete:
            trouble = fault(await self._cluster.list("Pod", owner.namespace, _label_selector(owner)), current)
        return Outcome(
            owner=owner,
            spec=resource.spec,
            generation=resource.generation,
            word=resource.word,
            now=datetime.now(UTC).replace(microsecond=0),
            decision=decision,
            asked=resolution.asked,
            unresolved=resolution.unresolved,
            refusal=resolution.refusal,
            blocked=blocked,
            live=current,
            workload=pods,
            answering=answering(live.replica_sets),
            fault=trouble,
        )

    async def _tell(self, resource: Resource, outcome: Outcome) -> None:
        """The one exit: status where it differs, and events for what changed."""
        after = status.next_status(outcome, resource.before)
        written = after.model_dump(mode="json", by_alias=True, exclude_none=True)
        if written == resource.body.get("status"):
            return
        await self._cluster.replace_status("ModelDeployment", {**resource.body, "status": written})
        for told in status.announcements(outcome, resource.before, after):
            level = logging.WARNING if told.kind == "Warning" else logging.INFO
            log.log(level, told.reason, extra={"resource": str(outcome.owner), "told": told.message})
            await self._cluster.announce(resource.body, told.kind, told.reason, told.message)

    async def _tell_unsupported(self, body: Object, error: ValidationError) -> None:
        mistakes = "; ".join(f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" for mistake in error.errors())
        message = bounded(f"this version of the operator does not understand the spec: {mistakes}", 1000)
        before = read_status(body)
        now = datetime.now(UTC).replace(microsecond=0)
        after = status.unsupported(before, int(body["metadata"]["generation"]), now, message)
        written = after.model_dump(mode="json", by_alias=True, exclude_none=True)
        if written != body.get("status"):
            await self._cluster.replace_status("ModelDeployment", {**body, "status": written})


def _blocked(error: ReconcileError | ApiError) -> ReconcileError:
    """Why a write did not come about, for the status; errors that only a second look can mend are raised again."""
    if isinstance(error, ReconcileError):
        return error
    if isinstance(error, Conflict | AlreadyExists) or error.status in (401, 429) or error.status >= 500:
        raise error
    return Waiting("WriteRefused", f"the API server refuses a write: {bounded(error.message, 500)}", BLOCKED_DELAY)


def _observed(resource: Resource, live: Live, resolution: Resolution) -> Observed:
    before = resource.before
    held = before.hold
    if held is not None and (held.request, held.retry) != (resource.word.request, resource.word.retry):
        held = None
    return Observed(
        word=resource.word,
        inputs=deployments.inputs(resource.spec),
        target=resolution.target,
        live=live.rollout,
        remembered=live.remembered,
        last_served=status.pinned(before, before.serving.digest) if before.serving else None,
        last_hold=status.pinned(before, held.digest) if held else None,
    )


def _label_selector(owner: Owner) -> str:
    return ",".join(f"{label}={value}" for label, value in selector(owner).items())
