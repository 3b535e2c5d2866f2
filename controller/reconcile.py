"""The story of a ModelDeployment: observe, decide, act, tell.

Whatever happens on the way ends in one place, which derives the whole status from what was seen and done, and writes it
only where it differs. Every decision is made from fresh reads, so a second reconcile of the same state writes nothing.
"""

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from controller import artifact, gates, rollout, status
from controller.api import RETRY_ANNOTATION, ModelDeploymentSpec, ModelDeploymentStatus, ModelReference, TargetModel
from controller.artifact import Artifact
from controller.children import Children, name_conflict
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
        self.followed: dict[Key, ModelReference] = {}
        """The references of the resources that are there: what the poll of the registry asks for."""

    async def reconcile(self, key: Key) -> float | None:
        """One pass over one resource; seconds until the next, or None where an event will tell."""
        body = await self._cluster.get("ModelDeployment", *key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self.followed.pop(key, None)  # its children go with it: they are owned
            return None
        resource = read_resource(body)
        self.followed[key] = resource.spec.model

        live = await self._observe(resource)
        resolution = await self._resolve(resource, live)
        decision = rollout.decide(_observed(resource, live, resolution))
        blocked = None
        try:
            live = await self._act(resource, live, decision)
            await self._children.bring(resource.owner, resource.spec, live.deployment)
        except Stalling as error:
            blocked = error

        outcome = await self._outcome(resource, live, resolution, decision, blocked)
        await self._tell(resource, outcome)
        if isinstance(resolution.unresolved, Waiting):
            return resolution.unresolved.delay
        return BLOCKED_DELAY if blocked is not None else None

    async def _observe(self, resource: Resource) -> Live:
        owner = resource.owner
        found = await self._cluster.get("Deployment", owner.namespace, owner.name)
        if found is None:
            return Live()
        if not owned(found, owner.uid):
            return Live(name_taken=True)
        return Live(deployment=found, replica_sets=await self._replica_sets(owner, found))

    async def _replica_sets(self, owner: Owner, deployment: Object) -> tuple[Object, ...]:
        found = await self._cluster.list("ReplicaSet", owner.namespace, _label_selector(owner))
        return tuple(each for each in found if owned(each, deployment["metadata"]["uid"]))

    async def _resolve(self, resource: Resource, live: Live) -> Resolution:
        """Which version the spec means, pulled and checked."""
        reference = resource.spec.model
        asked = None
        try:
            version = await self._registry.resolve(reference)
            asked = TargetModel(name=version.name, version=version.version)
            digest = await self._store.pull(version, self._registry)
            asked = TargetModel(name=version.name, version=version.version, digest=digest)
            found = artifact.inspect(self._store, digest)
        except ReconcileError as error:
            known = _known(resource, live)
            if known is not None and isinstance(error, Waiting):
                # A fixed version that was served before: its digest is known, so the registry is not needed.
                asked = TargetModel(name=known.name, version=known.version, digest=known.digest)
                return Resolution(asked=asked, target=known, unresolved=error)
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
        annotations = deployments.word_annotations(
            resource.word,
            deployments.inputs(spec),
            held=decision.held,
            change_cause=status.change_cause(decision, resource.word),
        )
        if decision.kind is Kind.RECORD and live.deployment is not None:
            del annotations[deployments.CHANGE_CAUSE]  # nothing is rolled out, so the revision keeps its own
            operations = deployments.annotation_patch(live.deployment, annotations)
            return replace(live, deployment=await self._cluster.patch("Deployment", live.deployment, operations))

        if live.name_taken:
            raise name_conflict("Deployment", owner)
        await self._in_store(model)
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
            version = await self._registry.resolve(ModelReference(name=model.name, version=model.version))
            pulled = await self._store.pull(version, self._registry)
        except ReconcileError as error:
            pulled = f"nothing ({error.message})"
        if pulled != model.digest:
            raise Stalling(
                "ArtifactLost",
                f"new pods of {model.label} need the files of {model.digest}; no replica of the operator has them any more,"
                f" and the registry has {pulled}",
            )

    async def _outcome(
        self, resource: Resource, live: Live, resolution: Resolution, decision: Decision, blocked: Stalling | None
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


def read_resource(body: Object) -> Resource:
    """A ModelDeployment from what the API server answered; the CRD has validated it."""
    metadata: dict[str, Any] = body["metadata"]
    spec = ModelDeploymentSpec.model_validate(body["spec"])
    try:
        before = ModelDeploymentStatus.model_validate(body.get("status") or {})
    except ValidationError:  # written by another version, or by hand: everything in it is found again
        before = ModelDeploymentStatus()
    return Resource(
        body=body,
        owner=Owner(namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"]),
        generation=int(metadata["generation"]),
        spec=spec,
        word=Word(request=spec.model.label, retry=(metadata.get("annotations") or {}).get(RETRY_ANNOTATION, "")),
        before=before,
    )


def _observed(resource: Resource, live: Live, resolution: Resolution) -> Observed:
    before = resource.before
    held = before.hold if before.hold is not None and before.hold.request == resource.word.request else None
    return Observed(
        word=resource.word,
        inputs=deployments.inputs(resource.spec),
        target=resolution.target,
        live=live.rollout,
        remembered=live.remembered,
        last_served=status.pinned(before, before.serving.digest) if before.serving else None,
        last_hold=status.pinned(before, held.digest) if held else None,
    )


def _known(resource: Resource, live: Live) -> PinnedModel | None:
    """The version that the spec fixes, if it was served before."""
    wanted = resource.spec.model
    if wanted.version is None:
        return None
    served = [known.model for known in live.remembered]
    served += [known for entry in resource.before.history if (known := status.pinned(resource.before, entry.digest)) is not None]
    for model in served:
        if (model.name, model.version) == (wanted.name, wanted.version) and wanted.digest in (None, model.digest):
            return model
    return None


def _pin(version: ModelVersion, found: Artifact) -> PinnedModel:
    return PinnedModel(
        name=version.name,
        version=version.version,
        digest=found.digest,
        run_id=version.run_id,
        size_bytes=found.size_bytes,
        verified=found.verified,
    )


def _label_selector(owner: Owner) -> str:
    return ",".join(f"{label}={value}" for label, value in selector(owner).items())
