"""From what the spec asks for to a version that is pinned, pulled and checked; or why there is none."""

import asyncio
from dataclasses import dataclass, replace

from controller import artifact, gates, status
from controller.api import HistoryEntry, ModelDeploymentStatus, ModelReference, RegistryReference, ServingModel, TargetModel
from controller.artifact import Artifact
from controller.checks import Refusal, Serving, Subject
from controller.errors import ReconcileError, Stalling, Waiting
from controller.origins import Origin
from controller.ports import Registry
from controller.recent import Recent
from controller.registry import ModelVersion
from controller.resource import Resource
from controller.resources.deployment import PodSettings
from controller.rollout import PinnedModel, Rollout
from controller.store import Store

LOOKED_AT = 4096  # versions; a thousand resources ask for one each, and compare it with another


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What the spec asks for, as far as it could be found out."""

    asked: TargetModel | None = None
    target: PinnedModel | None = None
    unresolved: ReconcileError | None = None
    refusal: Refusal | None = None
    notes: tuple[str, ...] = ()
    """What a person should know of a version that passed."""


class Resolver:
    """Asks the registry, and has the store hold what it names."""

    def __init__(self, registry: Registry, store: Store, pods: PodSettings) -> None:
        self._registry = registry
        self._store = store
        self._pods = pods
        self._artifacts: Recent[str, Artifact] = Recent(LOOKED_AT)
        self._sizes: Recent[str, int] = Recent(LOOKED_AT)

    async def resolve(self, resource: Resource) -> Resolution:
        """Which version the spec means, pulled and checked."""
        asked = None
        try:
            self._registry.permit(resource.spec.model, resource.owner.namespace)
            version = await self._registry.resolve(resource.spec.model)
            digest = self._store.remembered(version.identity)
            asked = TargetModel(name=version.name, version=version.version, digest=digest)
            subject = await self._subject(resource, version, digest)
            judgment = gates.before_download(subject) if digest is None else gates.Judgment()
            if judgment.refusal is None:
                digest = await self._store.pull(version, self._registry)
                asked = TargetModel(name=version.name, version=version.version, digest=digest)
                found = await self._inspected(digest)
                arriving = not _served(resource.before, version, digest)
                if arriving and not subject.arriving:  # the same registration with other files, which nobody has looked at yet
                    subject = await self._subject(resource, version, digest)
                subject = replace(subject, arriving=arriving)
                judgment = gates.before_pods(subject, found)
        except ReconcileError as error:
            if isinstance(error, Stalling) and asked is not None:
                return Resolution(asked=asked, refusal=Refusal(error.reason, error.message))
            return Resolution(asked=asked, unresolved=error)
        if judgment.refusal is not None:
            return Resolution(asked=asked, refusal=judgment.refusal)
        return Resolution(asked=asked, target=_pin(version, found), notes=judgment.notes)

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
        reference = reference_to(model)
        self._registry.permit(reference, namespace)  # a template may name what no spec of the namespace may
        try:
            if await self._store.obtain_soon(model.digest, Origin(self._registry.name_of(reference), model.name)):
                return
            version = await self._registry.resolve(reference)
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

    async def _subject(self, resource: Resource, version: ModelVersion, digest: str | None) -> Subject:
        """A version at the gates, with what they will ask of it; nothing is looked up that none of them asks for."""
        spec, before = resource.spec, resource.before
        wanted = spec.gates.with_defaults(self._pods.default_gates)
        arriving = not _served(before, version, digest)
        last = status.last_served(before) if arriving and wanted.signature != "Any" else None
        sized = arriving and wanted.max_size is not None and digest is None
        return Subject(
            reference=spec.model,
            version=version.version,
            gates=wanted,
            trust=spec.trust.with_defaults(self._pods.default_trust),
            server=spec.server,
            catalogue=self._pods.catalogue,
            tags=version.tags,
            metrics=await self._registry.metrics(version) if arriving and wanted.metrics else {},
            size_bytes=await self._size(version) if sized else 0,
            serving=await self._serving(last, before, resource.owner.namespace) if last is not None else None,
            arriving=arriving,
        )

    async def _size(self, version: ModelVersion) -> int:
        """What the registry says of a version's size, asked once: it may take many requests."""
        size = self._sizes.get(version.identity)
        if size is None:
            size = sum(file.size for file in await self._registry.files(version))
            self._sizes.put(version.identity, size)
        return size

    async def _serving(self, last: PinnedModel, before: ModelDeploymentStatus, namespace: str) -> Serving:
        """What clients are used to. Raises Waiting while its files are on their way."""
        answers = before.serving is not None
        try:
            await self.have_in_store(last, namespace)
            return Serving(version=last.version, answers=answers, artifact=await self._inspected(last.digest))
        except Stalling:
            return Serving(version=last.version, answers=answers, artifact=None)

    async def _inspected(self, digest: str) -> Artifact:
        """What the files say of themselves: read once, and not on the event loop."""
        found = self._artifacts.get(digest)
        if found is None:
            found = await asyncio.to_thread(artifact.inspect, self._store, digest)
            self._artifacts.put(digest, found)
        return found

    def _known(self, resource: Resource, remembered: tuple[Rollout, ...]) -> PinnedModel | None:
        """The version that the spec fixes, if it was served before, from the same registry."""
        wanted, before = resource.spec.model, resource.before
        registry = self._registry.name_of(wanted)
        served = [rollout.model for rollout in sorted(remembered, key=lambda each: each.revision, reverse=True)]
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


def _served(before: ModelDeploymentStatus, version: ModelVersion, digest: str | None) -> bool:
    """Whether a version serves or is in the history: by its files, or by its registration as long as they are not here."""
    known = [entry for entry in (before.serving, *before.history) if entry is not None]
    if digest is not None:
        return any(entry.digest == digest for entry in known)
    registered = (version.name, version.version, version.registry, version.run_id)
    return any((entry.name, entry.version, entry.registry, entry.run_id or "") == registered for entry in known)


def _pin(version: ModelVersion, found: Artifact) -> PinnedModel:
    return PinnedModel(
        name=version.name,
        version=version.version,
        digest=found.digest,
        registry=version.registry,
        run_id=version.run_id,
        size_bytes=found.size_bytes,
        verified=found.verified,
        scikit_learn=found.environment.scikit_learn,
    )
