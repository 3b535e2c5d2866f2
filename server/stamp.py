"""What every response carries, whoever made it: the model's identity, the request's id, and a goodbye while the pod drains."""

import re
import secrets
import time
from collections.abc import Iterable
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server import logs
from server.access import Access
from server.pod import Pod
from server.settings import Settings

SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")

_process = secrets.token_hex(8)
_numbers = count()


class Stamp:
    """The headers of one pod's responses."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._model = identity(pod.settings)
        self._lines = lines(self._model)

    def headers(self, name: bytes) -> list[tuple[bytes, bytes]]:
        """For the response to the request of this name."""
        if self._pod.draining:
            return [*self._model, (b"x-request-id", name), (b"connection", b"close")]
        return [*self._model, (b"x-request-id", name)]

    def lines(self, name: bytes) -> bytes:
        """The same as lines of HTTP, while the pod is not draining."""
        return b"%bx-request-id: %b\r\n" % (self._lines, name)


class Stamped:
    """An application whose responses all carry them."""

    def __init__(self, app: ASGIApp, stamp: Stamp, access: Access | None = None) -> None:
        self._app = app
        self._stamp = stamp
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = named(next((value for key, value in scope["headers"] if key == b"x-request-id"), b""))
        logs.request.set((name, scope["headers"]))
        begun = scope.get("arrived", time.perf_counter())

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._stamp.headers(name)]
                if self._access is not None:
                    self._access.answered(scope["method"], scope["path"], message["status"], begun, name, scope["headers"])
            await send(message)

        await self._app(scope, receive, stamped)


def identity(settings: Settings) -> list[tuple[bytes, bytes]]:
    """The headers that say which model this is."""
    version = settings.model.version.encode("latin-1", "replace")
    return [(b"x-model-version", version), (b"x-model-digest", settings.model.digest.encode())]


def lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as HTTP/1.1 writes them."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def named(wish: bytes) -> bytes:
    """What the client calls a request, where that can be repeated safely; else a new name."""
    return wish if wish and SANE_ID.fullmatch(wish) else new_id()


def new_id() -> bytes:
    """A name that no other request of this or of another process has: random for the process, counted within it."""
    return f"{_process}{next(_numbers):016x}".encode()
