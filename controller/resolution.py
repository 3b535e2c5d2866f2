"""From what the spec asks for to a version that is pinned, pulled and checked; or why there is none."""

import asyncio
from dataclasses import dataclass, replace

from controller import artifact, gates, status
from controller.api import HistoryEntry, ModelReference, RegistryReference, ServingModel, TargetModel
from controller.artifact import Artifact
from controller.errors import ReconcileError, Stalling, Waiting
from controller.gates import Refusal
from controller.ports import Registry
from controller.registry import ModelVersion
from controller.resource import Resource
from controller.rollout import PinnedModel, Rollout
from controller.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What the spec asks for, as far as it could be found out."""

    asked: TargetModel | None = None
    target: PinnedModel | None = None
    unresolved: ReconcileError | None = None
    refusal: Refusal | None = None


class Resolver:
    """Asks the registry, and has the store hold what it names."""

    def __init__(self, registry: Registry, store: Store) -> None:
        self._registry = registry
        self._store = store
        self._artifacts: dict[str, Artifact] = {}

    async def resolve(self, resource: Resource) -> Resolution:
        """Which version the spec means, pulled and checked."""
        reference = resource.spec.model
        asked = None
        try:
            self._registry.permit(reference, resource.owner.namespace)
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

    def from_memory(self, resource: Resource, remembered: tuple[Rollout, ...], found: Resolution) -> Resolution:
        """`found`, or a fixed version that was served before: its digest is known, so the registry is not needed."""
        if found.target is not None or not isinstance(found.unresolved, Waiting) or found.unresolved.reason == "Pulling":
            return found
        known = self._known(resource, remembered)
        if known is None:
            return found
        return replace(found, asked=TargetModel(name=known.name, version=known.version, digest=known.digest), target=known)

    async def have_in_store(self, model: PinnedModel, namespace: str) -> None:
        """Pods fetch what they serve from the store: no template names a digest that is not there."""
        if self._store.has(model.digest) or await self._store.fetch_from_peers(model.digest):
            return
        self._registry.permit(reference_to(model), namespace)  # a template may name what no spec of the namespace may
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

    def _known(self, resource: Resource, remembered: tuple[Rollout, ...]) -> PinnedModel | None:
        """The version that the spec fixes, if it was served before, from the same registry."""
        wanted, before = resource.spec.model, resource.before
        registry = self._registry.name_of(wanted)
        served = [rollout.model for rollout in remembered]
        served += [known for entry in before.history if (known := status.pinned(before, entry.digest)) is not None]
        for model in served:
            same = (model.name, model.version, model.registry) == (wanted.name, wanted.version, registry)
            if same and wanted.digest in (None, model.digest):
                return model
        return None


def reference_to(model: PinnedModel | ServingModel | HistoryEntry) -> ModelReference:
    """How to ask the registry for a version that is known."""
    registry = RegistryReference(name=model.registry) if model.registry else None
    return ModelReference(name=model.name, version=model.version, registry_ref=registry)


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
