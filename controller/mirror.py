"""Keeps every replica's store right: each digest that a status names is here, so any replica can serve any pod; and what
nothing names any more goes.

Runs in every replica, leader or not. It reads the statuses, asks the other replicas for what is missing, and MLflow for what
they have not got either. What no status and no ReplicaSet names, and nobody pulled or fetched for a while, is dropped: never
after a list of the cluster that could not be read to its end. A namespace that was deleted, and its Role with it, keeps the
store from dropping anything, and the other namespaces from nothing.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from controller.api import MANAGED_BY, MANAGED_BY_LABEL, HistoryEntry, ModelDeploymentStatus, ModelReference, ServingModel
from controller.cluster import ApiError
from controller.errors import ReconcileError, Stalling, Waiting
from controller.origins import Origin
from controller.ports import Cluster, Registry
from controller.resolution import reference_to
from controller.resource import naming, read_status
from controller.resources.rollouts import MODEL_DIGEST
from controller.store import Store

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0  # a store that has not got a digest yet asks its peer when a pod wants it, so this is no hurry
HURRY_SECONDS = 15.0  # after a pass that failed, or left something missing
MERCY_SECONDS = 300.0  # in a full store: as long as a pod tries to fetch, and longer than a pull waits for its status
PRESSED_SECONDS = 60.0  # a store that stays full asks the cluster no more often than this

_FAILURES = (ApiError, aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A version that the status of a ModelDeployment in `namespace` names, as it says it."""

    namespace: str
    digest: str
    origin: Origin
    reference: ModelReference


class Mirror:
    """One replica's store and the cluster that it has to match."""

    def __init__(
        self, cluster: Cluster, registry: Registry, store: Store, namespaces: tuple[str, ...], keep_unused_seconds: float
    ) -> None:
        self._cluster = cluster
        self._registry = registry
        self._store = store
        self._namespaces = namespaces or ("",)
        self._keep_unused_seconds = keep_unused_seconds
        self._missing: set[Wanted] = set()  # told once each, not at every pass
        self._forbidden: set[str] = set()  # likewise
        self._collected = self._pressed = float("-inf")
        store.when_full(self.make_room)

    async def run(self) -> None:
        """Look for ever; the store is ready after the first pass."""
        while True:
            complete = False
            try:
                complete = await self.look()
            except _FAILURES as error:
                log.warning("MirrorFailed", extra={"error": str(error) or type(error).__name__})
            except Exception:  # the mirror helps; it must not take what leads down with it
                log.exception("MirrorFailed")
            await asyncio.sleep(INTERVAL_SECONDS if complete else HURRY_SECONDS)

    async def look(self) -> bool:
        """One pass: bring what is missing, drop what is garbage. Whether everything is here."""
        here = await asyncio.to_thread(self._store.known)
        named, missing, forbidden = set[str](), dict[Wanted, None](), dict[str, ApiError]()
        for namespace in self._namespaces:
            try:
                async for body, digests in naming(self._cluster, [namespace]):
                    named |= digests
                    wanted = (self._wanted(body["metadata"]["namespace"], model) for model in models(read_status(body)))
                    missing |= {each: None for each in wanted if each.origin not in here.get(each.digest, ())}
            except ApiError as refused:
                if refused.status != HTTPStatus.FORBIDDEN or not namespace:
                    raise
                forbidden[namespace] = refused
        self._tell(forbidden)
        complete = True
        for each in missing:
            missed = await self._bring(each)
            complete = complete and not isinstance(missed, Waiting)
            if missed is not None and missed.reason != "Pulling" and each not in self._missing:
                self._missing.add(each)
                log.warning("MirrorIncomplete", extra={"digest": each.digest, "error": str(missed)})
        self._missing &= missing.keys()
        if len(forbidden) == len(self._namespaces):
            return False
        self._store.mark_mirrored()
        if not forbidden and time.monotonic() - self._collected >= self._keep_unused_seconds / 6:
            await self._collect(named, self._keep_unused_seconds)
            self._collected = time.monotonic()
        return complete

    def _tell(self, forbidden: dict[str, ApiError]) -> None:
        """Log the namespaces that may not be read, and what follows."""
        for namespace in forbidden.keys() - self._forbidden:
            extra = {
                "namespace": namespace,
                "error": str(forbidden[namespace]),
                "hint": "create the namespace and upgrade the release, which makes its Role, or take it out of watchNamespaces;"
                " until then nothing is dropped from the store, since a model of that namespace may need it",
            }
            log.warning("NamespaceForbidden", extra=extra)
        self._forbidden = set(forbidden)

    async def make_room(self) -> None:
        """Drop what nothing names however short ago it was used: the store is full."""
        if time.monotonic() - self._pressed < PRESSED_SECONDS:
            return
        self._pressed = time.monotonic()
        try:
            named = {each async for _, digests in naming(self._cluster, self._namespaces) for each in digests}
            await self._collect(named, MERCY_SECONDS)
        except _FAILURES as error:
            log.warning("MirrorFailed", extra={"error": str(error) or type(error).__name__})

    async def _collect(self, named: set[str], seconds: float) -> None:
        """Drop what is neither in `named`, which every status was read for, nor in a ReplicaSet, nor used within `seconds`."""
        await asyncio.to_thread(self._store.used, named)
        if unused := await asyncio.to_thread(self._store.unused, named, seconds):
            remembered = await self._remembered()  # many objects: read only where there is something to spare
            await asyncio.to_thread(self._store.used, remembered)
            unused -= remembered
        dropped = await asyncio.to_thread(self._store.drop, unused, seconds)
        self._store.forget_refusals(self._keep_unused_seconds)
        await asyncio.to_thread(self._store.measure)
        if dropped:
            log.info("StoreCollected", extra={"versions": dropped})

    async def _remembered(self) -> set[str]:
        """The digests that `kubectl rollout undo` can bring back."""
        return {
            digest
            for namespace in self._namespaces
            async for body in self._cluster.each("ReplicaSet", namespace, f"{MANAGED_BY_LABEL}={MANAGED_BY}")
            if (digest := (body["spec"]["template"]["metadata"].get("annotations") or {}).get(MODEL_DIGEST))
        }

    def _wanted(self, namespace: str, model: ServingModel | HistoryEntry) -> Wanted:
        reference = reference_to(model)
        return Wanted(namespace, model.digest, Origin(self._registry.name_of(reference), model.name), reference)

    async def _bring(self, wanted: Wanted) -> ReconcileError | None:
        """Have a model's files here, and know where they come from; the reason where neither a replica nor the registry has
        them, or the namespace may not have them: a status says what somebody's annotations say."""
        try:
            self._registry.permit(wanted.reference, wanted.namespace)
            if await self._store.obtain(wanted.digest, wanted.origin):
                return None
            pulled = await self._store.pull(await self._registry.resolve(wanted.reference), self._registry)
        except ReconcileError as error:
            return error
        return None if pulled == wanted.digest else Stalling("ArtifactLost", f"the registry has {pulled} in its place")


def models(status: ModelDeploymentStatus) -> list[ServingModel | HistoryEntry]:
    """The models that a store must have: what serves, and what could be gone back to. One each."""
    found: list[ServingModel | HistoryEntry] = [*([status.serving] if status.serving else []), *status.history]
    return list({model.digest: model for model in found}.values())
