"""What every response carries, whoever made it, and the log line for what nobody caught. Pure ASGI: it costs microseconds."""

import logging
import re
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server import logs
from server.pod import Pod
from server.settings import Settings

SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")

log = logging.getLogger(__name__)


class Stamp:
    """Adds the model's identity and the request's id to every response, and says goodbye while the pod drains."""

    def __init__(self, app: ASGIApp, pod: Pod) -> None:
        self._app = app
        self._pod = pod
        self._model = identity(pod.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = _request_id(scope)
        logs.request_id.set(name.decode())
        started = False

        async def stamped(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *self._model, (b"x-request-id", name)]
                if self._pod.draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self._app(scope, receive, stamped)
        except Exception:
            log.exception("unexpected error", extra={"path": scope["path"]})
            if not started:
                raise


def identity(settings: Settings) -> list[tuple[bytes, bytes]]:
    """The headers that say which model this is."""
    version = settings.model.version.encode("latin-1", "replace")
    return [(b"x-model-version", version), (b"x-model-digest", settings.model.digest.encode())]


def _request_id(scope: Scope) -> bytes:
    """What the client calls this request, where that can be repeated safely; else a new name."""
    for key, value in scope["headers"]:
        if key == b"x-request-id" and SANE_ID.fullmatch(value):
            return bytes(value)
    return uuid.uuid4().hex.encode()
