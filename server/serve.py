"""The life of a pod, in order: listen, load, be ready, drain, finish."""

import asyncio
import contextlib
import logging
import signal
import socket
import threading
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import prometheus_client
import uvicorn
import uvloop
from starlette.types import ASGIApp

from server import logs, wire
from server.app import create_app
from server.management import create_management
from server.metrics import Metrics
from server.pod import Pod, Serving
from server.predictor import one_thread_each
from server.settings import Settings
from server.stamp import identity

KEEP_ALIVE_SECONDS = 75
"""Longer than the load balancers and clients that matter keep an idle connection, so that they close it, not we."""

AT_ONCE = 32
"""New connections that one turn of the event loop lets in. libuv takes one from each listening socket, so there are so many
handles of it: a crowd that comes while the loop is busy would else wait for as many turns as it has clients."""

LARGE_AT_ONCE = 2
"""So many threads read large bodies and write large answers. More would be no faster, since Python runs one at a time, and each
holds what it reads."""

MANAGEMENT_PATIENCE = 5.0
FINISH_SECONDS = 5.0
"""At the end, those who ask, or take their answer, more slowly than is allowed have so much longer, on each port. It all fits
into the 20 seconds beyond the time-out of a request that the pod has (its `terminationGracePeriodSeconds`)."""

log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serve until told to stop. Raises what makes the model impossible to serve."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double every series, and nothing here asks for them
    pod = Pod(settings, Metrics())
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    asyncio.get_running_loop().set_exception_handler(logs.of_loop)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(LARGE_AT_ONCE, thread_name_prefix="large"))
    model, patience = identity(settings), settings.request_timeout_seconds
    app = create_app(pod)
    management = _listening(create_management(pod), settings.management_port, wire.protocol(model), MANAGEMENT_PATIENCE)
    async with management, _listening(app, settings.port, wire.protocol(model, app.turn, pod.access), patience):
        stopped = asyncio.create_task(stop.wait())
        loading = asyncio.create_task(_load(pod))
        await asyncio.wait({stopped, loading}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            serving = await loading
            one_thread_each()  # short calls are made here
            pod.serving = serving
            await stopped
        await _drain(pod, stop)
    if pod.serving is not None:
        pod.serving.predictor.close()
    log.info("stopped")


async def _load(pod: Pod) -> Serving:
    """In a thread that nobody waits for: a pod that must go while it loads just goes."""
    loop = asyncio.get_running_loop()
    loaded: asyncio.Future[Serving] = loop.create_future()

    def settle(outcome: Serving | Exception) -> None:
        if isinstance(outcome, Exception):
            loaded.set_exception(outcome)
        else:
            loaded.set_result(outcome)

    def work() -> None:
        try:
            from server.loading import load  # brings scikit-learn, which takes longer than all the rest

            outcome: Serving | Exception = load(pod.settings, pod.metrics)
            _ignore_warnings()
        except Exception as e:
            outcome = e
        with contextlib.suppress(RuntimeError):  # the loop is gone, and so is the wish for a model
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=work, name="load", daemon=True).start()
    return await loaded


def _ignore_warnings() -> None:
    """Loading has logged what there was. Now one filter is better than the dozen that libraries add: scikit-learn copies
    them all for every tree of a forest, which takes as long as the trees do."""
    warnings.resetwarnings()
    warnings.simplefilter("ignore")


async def _drain(pod: Pod, stop: asyncio.Event) -> None:
    """Say goodbye with every response while endpoints forget this pod; a second signal cuts it short."""
    pod.draining = True
    if pod.serving is None:
        return
    log.info("draining", extra={"seconds": pod.settings.drain_seconds})
    stop.clear()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), pod.settings.drain_seconds)


class _Listener(uvicorn.Server):
    """A uvicorn server that leaves the signals alone: two of them share one process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _listening(app: ASGIApp, port: int, spoken: type[wire.Protocol], patience: float) -> AsyncIterator[None]:
    """An application on a port, for whoever says within `patience` what is wanted; at the end, what is in flight is finished,
    but nobody keeps it from ending."""
    config = uvicorn.Config(
        app,
        http=spoken,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    listener = _Listener(config)
    sock = _socket(port)
    handles = [sock, *(sock.dup() for _ in range(AT_ONCE - 1))]
    serving = asyncio.create_task(listener.serve(handles))
    impatient = asyncio.create_task(_expire(listener, patience))
    try:
        yield
    finally:
        listener.should_exit = True
        await asyncio.wait({serving}, timeout=patience + FINISH_SECONDS)
        impatient.cancel()
        for connection in _connections(listener):
            connection.transport.abort()
        await serving


async def _expire(listener: uvicorn.Server, patience: float) -> None:
    """End connections that do not come to the point. One look at all of them is cheaper than a clock for each request."""
    while True:
        await asyncio.sleep(min(1.0, patience / 2))
        now = time.perf_counter()
        for connection in _connections(listener):
            connection.expire(now, patience, KEEP_ALIVE_SECONDS)


def _connections(listener: uvicorn.Server) -> list[wire.Protocol]:
    return [connection for connection in listener.server_state.connections if isinstance(connection, wire.Protocol)]


def _socket(port: int) -> socket.socket:
    """All addresses, of both families where the machine has both."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    return socket.create_server(("", port), family=family, dualstack_ipv6=dual, backlog=2048)
