"""The story of a ModelDeployment: observe, decide, act, tell.

Whatever happens on the way ends in one place, which derives the whole status from what was seen and done, and writes it
only where it differs. Every decision is made from fresh reads, so a second reconcile of the same state writes nothing.
"""

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from controller import artifact, gates, rollout, status
from controller.api import (
    RETRY_ANNOTATION,
    HistoryEntry,
    ModelDeploymentSpec,
    ModelDeploymentStatus,
    ModelReference,
    RegistryReference,
    ServingModel,
    TargetModel,
)
from controller.artifact import Artifact
from controller.children import Children, name_conflict
from controller.cluster import AlreadyExists, ApiError, Conflict
from controller.errors import ReconcileError, Stalling, Waiting
from controller.gates import Refusal
from controller.ports import Cluster, Object, Registry
from controller.registry import ModelVersion
from controller.resources import deployment as deployments
from controller.resources.deployment import PodSettings
from controller.resources.identity import Owner, owned, selector
from controller.rollout import Decision, Kind, Observed, PinnedModel, Rollout, Word
from controller.status import Outcome
from controller.store import Store
from controller.text import bounded
from controller.workload import answering, fault, workload

log = logging.getLogger(__name__)

BLOCKED_DELAY = 60.0  # seconds; what is in the way is no child of ours, so no event tells when it is gone

Key = tuple[str, str]
"""Namespace and name of a ModelDeployment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A ModelDeployment as it was read."""

    body: Object
    owner: Owner
    generation: int
    spec: ModelDeploymentSpec
    word: Word
    before: ModelDeploymentStatus
    registry: str = ""
    """Name of the registry that the spec means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What the spec asks for, as far as it could be found out."""

    asked: TargetModel | None = None
    target: PinnedModel | None = None
    unresolved: ReconcileError | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The Deployment and its ReplicaSets."""

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
        self._registry = registry
        self._store = store
        self._pods = pods
        self._children = Children(cluster)
        self._artifacts: dict[str, Artifact] = {}
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
        resource = replace(resource, registry=self._registry.name_of(resource.spec.model))
        self.followed[key] = resource.spec.model

        found = await self._resolve(resource)  # first: it may take a while, and what is live is to be fresh
        live = await self._observe(resource)
        resolution = found if found.target is not None else _from_memory(resource, live, found)
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

    async def _observe(self, resource: Resource) -> Live:
        owner = resource.owner
        found = await self._cluster.get("Deployment", owner.namespace, owner.name)
        if found is None:
            left_behind = await self._cluster.list("ReplicaSet", owner.namespace, _label_selector(owner))
            return Live(replica_sets=tuple(left_behind))
        if not owned(found, owner.uid):
            return Live(name_taken=True)
        return Live(deployment=found, replica_sets=await self._replica_sets(owner, found))

    async def _replica_sets(self, owner: Owner, deployment: Object) -> tuple[Object, ...]:
        found = await self._cluster.list("ReplicaSet", owner.namespace, _label_selector(owner))
        return tuple(each for each in found if owned(each, deployment["metadata"]["uid"]))

    async def _resolve(self, resource: Resource) -> Resolution:
        """Which version the spec means, pulled and checked."""
        reference = resource.spec.model
        asked = None
        try:
            version = await self._registry.resolve(reference)
            asked = TargetModel(name=version.name, version=version.version)
            digest = await self._store.pull(version, self._registry)
            asked = TargetModel(name=version.name, version=version.version, digest=digest)
            found = await self._inspected(digest)
        except ReconcileError as error:
            if isinstance(error, Stalling) and asked is not None:
                return Resolution(asked=asked, refusal=Refusal(error.reason, error.message))
            return Resolution(asked=asked, unresolved=error)
        refusal = gates.first_refusal(reference, found)
        if refusal is not None:
            return Resolution(asked=asked, refusal=refusal)
        return Resolution(asked=asked, target=_pin(version, found))

    async def _act(self, resource: Resource, live: Live, decision: Decision) -> Live:
        """Carry the decision out; what is live then."""
        owner, spec, model = resource.owner, resource.spec, decision.model
        if model is None or decision.kind in (Kind.WAIT, Kind.KEEP):
            return live
        if decision.kind is Kind.RECORD and live.deployment is not None:
            # As it was when the hold began: what the spec has said of other things by then is not on what is held.
            newest = decision.undone or live.rollout
            remembered = deployments.word_annotations(resource.word, newest.inputs if decision.held and newest else "")
            operations = deployments.annotation_patch(live.deployment, remembered)
            return replace(live, deployment=await self._cluster.patch("Deployment", live.deployment, operations))

        if live.name_taken:
            raise name_conflict("Deployment", owner)
        await self._in_store(model)
        annotations = deployments.rollout_annotations(
            resource.word,
            deployments.inputs(spec),
            held=decision.held,
            cause=decision.cause or "",
            change_cause=status.change_cause(decision, resource.word),
        )
        template = deployments.pod_template(owner, spec, model, decision.number, self._pods)
        log.info("RolloutStarted", extra={"resource": str(owner), "model": model.label, "rollout": decision.number})
        if live.deployment is None:
            body = deployments.deployment(owner, spec, template, annotations)
            return Live(deployment=await self._cluster.create("Deployment", body))
        operations = deployments.template_patch(live.deployment, template, annotations)
        return replace(live, deployment=await self._cluster.patch("Deployment", live.deployment, operations))

    async def _in_store(self, model: PinnedModel) -> None:
        """Pods fetch what they serve from the store: no template names a digest that is not there."""
        if self._store.has(model.digest) or await self._store.fetch_from_peers(model.digest):
            return
        try:
            version = await self._registry.resolve(reference_to(model))
            pulled = await self._store.pull(version, self._registry)
        except Waiting as error:
            raise Waiting(error.reason, f"new pods of {model.label} need its files: {error.message}", error.delay) from error
        except Stalling as error:
            pulled = f"nothing ({error.message})"
        if pulled != model.digest:
            raise Stalling(
                "ArtifactLost",
                f"new pods of {model.label} need the files of {model.digest}; no replica of the operator has them any more,"
                f" and the registry has {pulled}",
            )

    async def _inspected(self, digest: str) -> Artifact:
        """What the files say of themselves: read once, and not on the event loop."""
        if digest not in self._artifacts:
            self._artifacts[digest] = await asyncio.to_thread(artifact.inspect, self._store, digest)
        return self._artifacts[digest]

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
            log.info(
                told.reason, extra={"resource": "/".join((outcome.owner.namespace, outcome.owner.name)), "told": told.message}
            )
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


def read_resource(body: Object) -> Resource:
    """A ModelDeployment from what the API server answered. Raises ValidationError where the CRD knows more than this code."""
    metadata: dict[str, Any] = body["metadata"]
    spec = ModelDeploymentSpec.model_validate(body["spec"])
    return Resource(
        body=body,
        owner=Owner(namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"]),
        generation=int(metadata["generation"]),
        spec=spec,
        word=Word(request=spec.model.label, retry=(metadata.get("annotations") or {}).get(RETRY_ANNOTATION, "")),
        before=read_status(body),
    )


def read_status(body: Object) -> ModelDeploymentStatus:
    """The status as it was left; empty where it was written by another version, or by hand: it is all found again."""
    try:
        return ModelDeploymentStatus.model_validate(body.get("status") or {})
    except ValidationError:
        return ModelDeploymentStatus()


def reference_to(model: PinnedModel | ServingModel | HistoryEntry) -> ModelReference:
    """How to ask the registry for a version that is known."""
    registry = RegistryReference(name=model.registry) if model.registry else None
    return ModelReference(name=model.name, version=model.version, registry_ref=registry)


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


def _from_memory(resource: Resource, live: Live, found: Resolution) -> Resolution:
    """A fixed version that was served before: its digest is known, so what the registry says now is not needed."""
    known = _known(resource, live)
    if known is None or not isinstance(found.unresolved, Waiting) or found.unresolved.reason == "Pulling":
        return found
    return replace(found, asked=TargetModel(name=known.name, version=known.version, digest=known.digest), target=known)


def _known(resource: Resource, live: Live) -> PinnedModel | None:
    """The version that the spec fixes, if it was served before, from the same registry."""
    wanted = resource.spec.model
    if wanted.version is None:
        return None
    served = [known.model for known in live.remembered]
    served += [known for entry in resource.before.history if (known := status.pinned(resource.before, entry.digest)) is not None]
    for model in served:
        same = (model.name, model.version, model.registry) == (wanted.name, wanted.version, resource.registry)
        if same and wanted.digest in (None, model.digest):
            return model
    return None


def _pin(version: ModelVersion, found: Artifact) -> PinnedModel:
    return PinnedModel(
        name=version.name,
        version=version.version,
        digest=found.digest,
        registry=version.registry,
        run_id=version.run_id,
        size_bytes=found.size_bytes,
        verified=found.verified,
    )


def _label_selector(owner: Owner) -> str:
    return ",".join(f"{label}={value}" for label, value in selector(owner).items())
