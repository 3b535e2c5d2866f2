"""What has an event look at a ModelDeployment: kopf watches those themselves, `controller.reflector` their children.

An event only feeds the index and puts a key in the queue, and only where it shows something that a reconcile looks at. No
create, update or delete handlers: those act on the difference that an event shows, and would leave kopf's annotations and
finalizers on the objects. What to do is decided from the state, in `controller.reconcile`.
"""

import asyncio
import itertools
import logging
from collections.abc import Collection, Iterator, Sequence
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, Protocol

import aiohttp
import kopf

from controller import metrics, reflector
from controller.api import API_VERSION, GROUP, KIND, MANAGED_BY, MANAGED_BY_LABEL, NAME_LABEL, PLURAL
from controller.health import Health
from controller.index import ALL_NAMESPACES, Index, owner_of
from controller.ports import Key, Object
from controller.reflector import PASSING, Reflector
from controller.signals import set_on_signal

log = logging.getLogger(__name__)

OURS = f"{MANAGED_BY_LABEL}={MANAGED_BY},{NAME_LABEL}"
CHILDREN = (
    "Deployment",
    "Pod",
    "Service",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "ServiceMonitor",
)
BURST_SECONDS = 0.3  # children change in bursts: one reconcile for all of it
FIRST_LOOK_SECONDS = 30.0  # of the children; what is not listed by then is read one by one
ROUND_SECONDS = 3600.0  # in which each ModelDeployment is asked for, whether it is still there; few of them more often
PAUSE_SECONDS = 60.0
SERVER_SECONDS = 60  # kopf does not tell of bookmarks; it asks again when the server has ended a watch, and that is seen


class Patience:
    """The delays between kopf's attempts, without end. It gives up after the last of them, 403s and 503s included, and leaves
    a namespace unwatched for ever, with no more than a line in the log."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((1.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0), itertools.repeat(30.0))


class Queue(Protocol):
    def add(self, key: Key) -> None: ...
    def add_after(self, key: Key, delay: float) -> None: ...
    def know_only(self, keys: Collection[Key]) -> None: ...


class Cluster(reflector.Cluster, Protocol):
    async def get(self, kind: str, namespace: str, name: str) -> Object | None: ...


async def watch(
    cluster: Cluster, index: Index, queue: Queue, health: Health, namespaces: Sequence[str], stop: asyncio.Event
) -> None:
    """Watch for ever. The signals that set `stop` go on doing so: kopf takes them for itself, and is not to have them."""

    places = [*namespaces] or [ALL_NAMESPACES]
    for kind, namespace in itertools.product((KIND, *CHILDREN), places):
        health.heard(kind, namespace)  # from now on its silence counts, also where it never says a word

    def child_changed(child: Object) -> None:
        if (key := owner_of(child)) is not None:
            queue.add_after(key, BURST_SECONDS)

    def kind_appeared() -> None:
        for body in index.all(KIND):
            queue.add((body["metadata"]["namespace"], body["metadata"]["name"]))

    reflectors = [
        Reflector(cluster, index, health, kind, namespace, OURS, child_changed, kind_appeared)
        for kind in CHILDREN
        for namespace in places
    ]
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(each.run()) for each in reflectors]
        running.append(group.create_task(find_gone(cluster, index, queue)))
        # First the children: then the first look at a ModelDeployment finds them in the index.
        looks = [asyncio.ensure_future(each.looked.wait()) for each in reflectors]
        _, late = await asyncio.wait(looks, timeout=FIRST_LOOK_SECONDS)
        for look in late:
            look.cancel()
        others = asyncio.all_tasks()  # not kopf's, which ends what it finds at its own end
        tasks = await kopf.spawn_tasks(
            registry=handlers(index, queue, health),
            settings=operator_settings(),
            clusterwide=not namespaces,
            namespaces=list(namespaces),
        )
        set_on_signal(stop)
        await kopf.run_tasks(tasks, ignored=others)
        for task in running:
            task.cancel()


async def find_gone(cluster: Cluster, index: Index, queue: Queue) -> None:
    """Find what was deleted while kopf's watch was interrupted, of which kopf does not tell: else it would be remembered, polled
    for and seen in the metrics for ever. One question after another, spread over the round."""
    while True:
        known = list(index.all(KIND))
        pause = min(PAUSE_SECONDS, ROUND_SECONDS / (len(known) + 1))
        for body in known:
            await asyncio.sleep(pause)
            key = body["metadata"]["namespace"], body["metadata"]["name"]
            try:
                gone = await cluster.get(KIND, *key) is None
            except PASSING:
                continue
            if gone and index.remove(KIND, body):
                queue.add(key)
        await asyncio.sleep(pause)
        queue.know_only({(body["metadata"]["namespace"], body["metadata"]["name"]) for body in index.all(KIND)})


def handlers(index: Index, queue: Queue, health: Health) -> kopf.OperatorRegistry:
    """The handlers that kopf calls: for a login, and for whatever happens to a ModelDeployment."""
    registry = kopf.OperatorRegistry()

    async def log_in(**kwargs: Any) -> kopf.AiohttpSession | None:
        known = kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
        return _observed(known, health) if known else None

    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        body: Object = dict(event["object"])
        news = index.remove(KIND, body) if event["type"] == "DELETED" else index.put(KIND, body)
        if news:
            queue.add((body["metadata"]["namespace"], body["metadata"]["name"]))

    kopf.on.login(registry=registry)(log_in)
    kopf.on.event(GROUP, API_VERSION, PLURAL, registry=registry)(changed)
    return registry


def operator_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # events are posted on purpose, by `controller.reconcile`
    settings.peering.standalone = True  # who leads is decided by a Lease, see `controller.lease`
    settings.scanning.disabled = True  # no right to read namespaces and CustomResourceDefinitions is needed
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = Patience()
    settings.watching.connect_timeout = 10
    settings.watching.server_timeout = SERVER_SECONDS
    settings.watching.chunk_size = 500
    return settings


def _observed(known: kopf.ConnectionInfo, health: Health) -> kopf.AiohttpSession:
    """kopf's session, whose requests are counted, and each new watch of which is a sign of life."""
    tracing = aiohttp.TraceConfig()

    async def answered(_: aiohttp.ClientSession, __: SimpleNamespace, request: aiohttp.TraceRequestEndParams) -> None:
        url, status = request.url, request.response.status
        if not url.path.endswith(f"/{PLURAL}"):
            return
        verb = "WATCH" if "watch" in url.query else request.method
        metrics.api_requests.labels(verb=verb, resource=PLURAL, code=str(status)).inc()
        parent, name, _plural = url.path.split("/")[-3:]
        namespace = name if parent == "namespaces" else ALL_NAMESPACES
        if status < 300:
            health.heard(KIND, namespace)
        elif status == HTTPStatus.FORBIDDEN:
            health.forbidden(KIND, namespace)

    tracing.on_request_end.append(answered)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=known.as_ssl_context()),
        headers=known.as_http_headers(),
        trace_configs=[tracing],
    )
    return kopf.AiohttpSession(server=known.server, default_namespace=known.default_namespace, aiohttp_session=session)
