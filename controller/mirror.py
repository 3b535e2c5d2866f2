"""Keeps every replica's store complete: each digest that a status names is here, so any replica can serve any pod.

Runs in every replica, leader or not. It reads the statuses, asks the other replicas for what is missing, and MLflow for what
they have not got either.
"""

import asyncio
import logging

import aiohttp

from controller.api import HistoryEntry, ModelDeploymentStatus, ServingModel
from controller.cluster import ApiError
from controller.errors import ReconcileError, Stalling
from controller.ports import Cluster, Registry
from controller.resolution import reference_to
from controller.resource import read_status
from controller.store import Store

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 15.0


async def mirror(cluster: Cluster, registry: Registry, store: Store, namespaces: tuple[str, ...]) -> None:
    """Copy what is missing, for ever; the store is ready after the first pass."""
    missing: set[str] = set()  # told once each, not at every pass
    while True:
        try:
            for namespace in namespaces or ("",):
                for body in await cluster.list("ModelDeployment", namespace):
                    for model in named(read_status(body)):
                        error = await _bring(model, registry, store)
                        if error is not None and error.reason != "Pulling" and model.digest not in missing:
                            missing.add(model.digest)
                            log.warning("MirrorIncomplete", extra={"digest": model.digest, "error": str(error)})
        except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("MirrorFailed", extra={"error": str(error) or type(error).__name__})
        except Exception:  # the mirror helps; it must not take what leads down with it
            log.exception("MirrorFailed")
        else:
            store.mark_mirrored()
        await asyncio.sleep(INTERVAL_SECONDS)


def named(status: ModelDeploymentStatus) -> list[ServingModel | HistoryEntry]:
    """The models that a status names: what serves, and what could be gone back to. One each."""
    models: list[ServingModel | HistoryEntry] = [*([status.serving] if status.serving else []), *status.history]
    return list({model.digest: model for model in models}.values())


async def _bring(model: ServingModel | HistoryEntry, registry: Registry, store: Store) -> ReconcileError | None:
    """Have a model's files here; the reason where neither a replica nor the registry has them."""
    if store.has(model.digest) or await store.fetch_from_peers(model.digest):
        return None
    try:
        pulled = await store.pull(await registry.resolve(reference_to(model)), registry)
    except ReconcileError as error:
        return error
    return None if pulled == model.digest else Stalling("ArtifactLost", f"the registry has {pulled} in its place")
