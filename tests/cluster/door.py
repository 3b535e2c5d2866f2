"""A door between a process of the operator and the API server: it writes down what passes, and can hold answers back."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web
from kubernetes.aio import client, config
from yarl import URL

READING = "GET"
ELECTION = "leases"
_OURS = ("Host", "Authorization", "Connection", "Transfer-Encoding", "Content-Length", "Content-Encoding")
"""Headers that the door says itself, on either side."""


@dataclass
class Door:
    """The API server, as one client sees it."""

    url: str = ""
    passed: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of each request, in their order."""
    held_back: int = 0
    """How many answers wait."""
    _held: tuple[str, str] | None = None
    _open: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def writes(self) -> list[tuple[str, str]]:
        """What changes something for others; not the election."""
        return [(method, path) for method, path in self.passed if method != READING and f"/{ELECTION}" not in path]

    @contextmanager
    def holding_back(self, method: str, path: str) -> Iterator[None]:
        """Answers to such requests wait until the end of this."""
        self._held = method, path
        self._open.clear()
        try:
            yield
        finally:
            self._held = None
            self._open.set()

    async def answer(self, request: web.Request, session: aiohttp.ClientSession, host: str) -> web.StreamResponse:
        self.passed.append((request.method, request.path))
        headers = {name: value for name, value in request.headers.items() if name not in _OURS}
        body = await request.read()
        url = URL(f"{host}{request.raw_path}", encoded=True)
        async with session.request(request.method, url, headers=headers, data=body or None) as found:
            if self._held is not None and request.method == self._held[0] and self._held[1] in request.path:
                self.held_back += 1
                await self._open.wait()
            kept = {name: value for name, value in found.headers.items() if name not in _OURS}
            response = web.StreamResponse(status=found.status, headers=kept)
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):  # the operator has gone
                async for chunk in found.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            return response


@asynccontextmanager
async def door(kubeconfig: Path) -> AsyncIterator[Door]:
    """A door to the cluster of that kubeconfig."""
    configuration = await configuration_of(kubeconfig)
    trusted = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        trusted.load_cert_chain(configuration.cert_file, configuration.key_file)
    found = Door()
    for_ever = aiohttp.ClientTimeout(total=None)  # there are watches among them
    connector = aiohttp.TCPConnector(ssl=trusted, limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=for_ever) as session:

        async def pass_on(request: web.Request) -> web.StreamResponse:
            return await found.answer(request, session, configuration.host)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", pass_on)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield found
        finally:
            await runner.cleanup()


async def configuration_of(kubeconfig: Path) -> client.Configuration:
    configuration = client.Configuration()
    await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    return configuration


def kubeconfig_of(door: Door) -> str:
    """For a client that is to come through it."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "door", "cluster": {"server": door.url}}],
            "users": [{"name": "anybody", "user": {"token": "none"}}],
            "contexts": [{"name": "door", "context": {"cluster": "door", "user": "anybody"}}],
            "current-context": "door",
        }
    )
