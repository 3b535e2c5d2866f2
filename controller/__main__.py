"""`python -m controller`: lead or stand by. `python -m controller store`: serve the artifact store to pods."""

import argparse
import asyncio
import contextlib
import logging
import sys
import uuid
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, get_args

from aiohttp import ClientError, web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from controller import logs, metrics
from controller.api import ModelReference
from controller.catalogue import Catalogue, Runtime
from controller.children import Children
from controller.cluster import ApiError, Cluster, plural_of
from controller.health import Health
from controller.index import Index
from controller.lease import Lease, LostLeadershipError
from controller.mirror import Mirror
from controller.ports import Key
from controller.readers import Readers
from controller.reconcile import Reconciler
from controller.registry import Registry
from controller.resources.deployment import PodSettings
from controller.serve_store import create_app
from controller.settings import Settings, SettingsInvalid, load
from controller.signals import set_on_signal
from controller.store import Store
from controller.verifier import Verifier
from controller.watch import watch
from controller.workqueue import WorkQueue

log = logging.getLogger("controller")

DEFINITION_SECONDS = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m controller", description=__doc__)
    parser.add_argument("part", nargs="?", choices=("controller", "store"), default="controller")
    parser.add_argument("--log-level", choices=get_args(logs.Level), default="Info", help="what is less is not logged")
    parser.add_argument("--log-format", choices=get_args(logs.Format), default="json", help="text: for a shell")
    arguments = parser.parse_args()
    part: str = arguments.part
    logs.configure(arguments.log_format, arguments.log_level)
    try:
        settings = load()
    except SettingsInvalid as error:
        log.error("SettingsInvalid", extra={"error": str(error)})
        return 78
    log.info("Started", extra={"part": part})
    try:
        asyncio.run(serve_store(settings) if part == "store" else run(settings))
    except LostLeadershipError as error:
        log.error("LeadershipLost", extra={"error": str(error)})
        return 1
    log.info("Stopped", extra={"part": part})
    return 0


async def run(settings: Settings) -> None:
    """Mirror the store, wait for the leadership, then watch and reconcile until a signal comes."""
    stop = asyncio.Event()
    set_on_signal(stop)
    index, health = Index(), Health()
    cluster = await Cluster.connect(index)
    registry = Registry(settings.registries, settings.poll_seconds, settings.registries_dir)
    store = _store(settings)
    # A pod's name comes back with its successor, which must not take itself for the leader that may still be alive.
    lease = Lease(cluster, settings.namespace, settings.lease_name, f"{settings.identity}_{uuid.uuid4().hex[:8]}")
    cluster.ask_before_writing(lease.permission)
    children = Children(cluster, index, settings)
    pods = _pod_settings(settings)
    reconciler = Reconciler(cluster, index, registry, store, children, pods, settings.default_rollout, settings.server_update)
    metrics.registry.register(reconciler.metrics)
    queue: WorkQueue[Key] = WorkQueue(reconciler.reconcile, settings.concurrency)
    reconciler.turns.call = queue.add
    health.ask(queue.stuck)
    metrics.queue_depth.set_function(lambda: queue.depth)
    metrics.queue_oldest.set_function(lambda: queue.oldest_seconds)
    probed = await _listen(health_app(health), settings.health_port)
    try:
        await _until_first_ends(
            Mirror(cluster, registry, store, settings.watch_namespaces, settings.store_keep_unused_seconds).run(),
            _lead(settings, cluster, index, health, lease, reconciler, registry, queue, stop),
            stop.wait(),
        )
    finally:
        await lease.release()
        await probed.cleanup()
        await registry.close()
        await cluster.close()


async def serve_store(settings: Settings) -> None:
    """Serve the store until a signal comes."""
    stop = asyncio.Event()
    set_on_signal(stop)
    async with AsyncExitStack() as stack:
        store, readers = _store(settings), None
        if settings.store_authentication:
            cluster = await Cluster.connect()
            stack.push_async_callback(cluster.close)
            own = f"system:serviceaccount:{settings.namespace}:{settings.service_account}"
            readers = Readers(cluster, store, settings.registries, own, settings.watch_namespaces)
        verifier = Verifier(store)
        runner = await _listen(create_app(store, verifier, readers), settings.store_port)
        stack.push_async_callback(runner.cleanup)
        # A port of its own: the store's is open to every pod that serves a model.
        measured = await _listen(metrics_app(), settings.store_metrics_port)
        stack.push_async_callback(measured.cleanup)
        await _until_first_ends(verifier.scrub(), stop.wait())


async def _lead(
    settings: Settings,
    cluster: Cluster,
    index: Index,
    health: Health,
    lease: Lease,
    reconciler: Reconciler,
    registry: Registry,
    queue: WorkQueue[Key],
    stop: asyncio.Event,
) -> None:
    await _until_defined(cluster)
    await lease.acquire()
    metrics.leader.set(1)
    await _until_first_ends(
        lease.keep(),
        queue.run(),
        _poll(settings, reconciler, registry, queue),
        watch(cluster, index, queue, health, settings.watch_namespaces, stop),
    )


async def _until_defined(cluster: Cluster) -> None:
    """Wait until the API server knows ModelDeployments: kopf looks once, at its start, for what it is to watch.

    One that is away is waited for, too: a process that ended would come back later with every attempt.
    """
    while True:
        try:
            if await cluster.defines("ModelDeployment"):
                return
            log.warning("DefinitionMissing", extra={"hint": "install the CustomResourceDefinition: crds.enabled in the chart"})
        except (ApiError, ClientError, TimeoutError, OSError) as error:
            log.warning("DefinitionNotRead", extra={"error": str(error) or type(error).__name__})
        await asyncio.sleep(DEFINITION_SECONDS)


async def _poll(settings: Settings, reconciler: Reconciler, registry: Registry, queue: WorkQueue[Key]) -> None:
    """Look the followed references up again, and have the resources reconciled whose reference means something else.

    Each registry at its own pace, so that one that is slow or hangs keeps the news of the others from nobody.
    """

    async def poll(name: str) -> None:
        while True:
            await asyncio.sleep(settings.poll_seconds)
            followed: dict[ModelReference, list[Key]] = {}
            for key, reference in reconciler.followed.items():
                if registry.name_of(reference) == name:
                    followed.setdefault(reference, []).append(key)
            for reference in await registry.poll(name, followed):
                for key in followed[reference]:
                    queue.add(key)

    await _until_first_ends(*map(poll, registry.names))


async def _until_first_ends(*parts: Coroutine[Any, Any, object]) -> None:
    """Run `parts` side by side; when one ends or fails, end the others and let its error pass."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _listen(app: web.Application, port: int) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner


def health_app(health: Health) -> web.Application:
    """/healthz and /metrics."""

    async def healthy(_: web.Request) -> web.Response:
        trouble = health.trouble()
        if trouble is None:
            return web.Response(text="ok\n")
        log.error("Stuck", extra={"trouble": trouble})
        return web.Response(status=503, text=f"{trouble}\n")

    async def show_metrics(request: web.Request) -> web.Response:
        for kind, age in health.ages().items():
            metrics.watch_age.labels(resource=plural_of(kind)).set(age)
        return await _exposed(metrics.registry, request)

    app = web.Application()
    app.add_routes([web.get("/healthz", healthy), web.get("/metrics", show_metrics)])
    return app


def metrics_app() -> web.Application:
    """/metrics of the store's process."""

    async def show_metrics(request: web.Request) -> web.Response:
        return await _exposed(metrics.store_registry, request)

    app = web.Application()
    app.add_routes([web.get("/metrics", show_metrics)])
    return app


async def _exposed(registry: CollectorRegistry, request: web.Request) -> web.Response:
    """Every metric, or those that `name[]` asks for; off the event loop, since of a thousand resources it takes a while."""
    names = request.query.getall("name[]", [])
    body = await asyncio.to_thread(generate_latest, registry.restricted_registry(names) if names else registry)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _store(settings: Settings) -> Store:
    own_prefix = f"//{settings.identity}."  # a replica's address begins with its pod's name
    peers = [peer for peer in settings.store_peers if own_prefix not in peer]
    store = Store(
        settings.store_dir,
        settings.max_model_bytes,
        peers,
        max_bytes=settings.max_store_bytes,
        token_file=settings.store_token_file,
    )
    store.forget_unfinished()
    return store


def _pod_settings(settings: Settings) -> PodSettings:
    return PodSettings(
        catalogue=_catalogue(settings),
        store_url=settings.store_url,
        default_resources=settings.default_resources,
        default_gates=settings.default_gates,
        default_trust=settings.default_trust,
        default_server=settings.default_server,
        compile_memory=settings.compile_memory,
    )


def _catalogue(settings: Settings) -> Catalogue:
    default = Runtime(
        name=f"sklearn-{settings.server_scikit_learn}",
        image=settings.server_image,
        pull_policy=settings.server_image_pull_policy,
        scikit_learn=settings.server_scikit_learn,
        python=settings.server_python,
    )
    others = (
        Runtime(
            name=runtime.name,
            image=runtime.image,
            pull_policy=runtime.image_pull_policy,
            scikit_learn=runtime.scikit_learn,
            python=runtime.python,
        )
        for runtime in settings.runtimes
    )
    return Catalogue((default, *others))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
