"""The port for clients: which route does what. HTTP ends here.

What predicts is plain ASGI, since a framework takes longer than a compiled model does; FastAPI has all the rest.
"""

import asyncio
import logging
import time

from starlette.types import Receive, Scope, Send

from server import body, errors, logs
from server.admission import Place
from server.auth import Tokens
from server.body import OFF_LOOP_BYTES, ClientGone, Head
from server.document import header_list
from server.failures import UNEXPECTED, failure, refusal
from server.languages import spoken
from server.lateness import Lateness
from server.pod import Pod
from server.protocols import Reply, read
from server.stamp import Stamp, Stamped, named
from server.turn import TOO_MANY, Turn
from server.web import OPEN_PATHS, create_web

OFF_LOOP_ROWS = 512
"""What has more is encoded in a thread: in the meantime others, and probes, are answered."""

log = logging.getLogger(__name__)


def create_app(pod: Pod) -> "Application":
    """The application on the port for clients."""
    for kind in errors.REFUSALS:
        pod.metrics.errors.labels(kind)  # zero from the start: a rate needs a value to rise from
    return Application(pod)


class Application:
    """What answers on the port for clients."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._stamp = Stamp(pod)
        self._tokens = Tokens(pod.settings.auth.token_files) if pod.settings.auth else None
        self._paths = frozenset(spoken(pod.settings))
        self._lateness = Lateness()
        self.turn = Turn(pod, self._paths, self._stamp, self._tokens, self._lateness)
        """Where most requests are answered, and never reach this."""
        self._web = Stamped(create_web(pod), self._stamp, pod.access)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._web(scope, receive, send)
            return
        path = scope["path"]
        head = Head.of(scope["headers"])
        denied = self._tokens is not None and path not in OPEN_PATHS and not self._tokens.allow(head.authorization)
        if path not in self._paths and not denied:
            await self._web(scope, receive, send)
            return
        name = named(head.request_id)
        logs.request.set((name, scope["headers"]))
        begun, error = scope.get("arrived", time.perf_counter()), None
        place: Place | None = scope.get("place")
        try:
            if denied:
                raise errors.Unauthorized("A bearer token that this server knows is needed: Authorization: Bearer TOKEN.")
            if scope["method"] != "POST":
                allow = ((b"allow", b"POST"),)
                error = "MethodNotAllowed"
                status, reply = 405, failure(path, 405, error, "Predictions are asked for with POST.", (), allow)
            else:
                if place is None:
                    self._admit(scope)
                status, reply = 200, await self._predict(path, head, receive, place)
        except errors.Refused as e:
            error = e.reason
            self._pod.metrics.errors.labels(error).inc()
            status, reply = refusal(path, e)
        except ClientGone:
            return
        except Exception:
            error = "Internal"
            log.exception("unexpected error", extra={"path": path})
            self._pod.metrics.errors.labels(error).inc()
            status, reply = 500, failure(path, 500, error, UNEXPECTED)
        finally:
            if place is not None:
                place.leave()
        self._pod.access.answered(scope["method"], path, status, begun, name, scope["headers"], error)
        headers = [
            (b"content-type", reply.media_type),
            (b"content-length", b"%d" % len(reply.content)),
            *reply.headers,
            *self._stamp.headers(name),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.content})

    async def _predict(self, path: str, head: Head, receive: Receive, place: Place | None) -> Reply:
        serving = self._pod.serving
        if serving is None:
            raise errors.NotReady("The model is being loaded.")
        settings = self._pod.settings
        request = await body.read(receive, head, settings.max_body_bytes, settings.request_timeout_seconds)
        started = time.perf_counter()
        language = serving.languages[path]
        if len(request.content) <= OFF_LOOP_BYTES:
            asked = read(language, serving.validator, request)
        else:
            asked = await asyncio.to_thread(read, language, serving.validator, request)
        predicted, seconds = await serving.predictor.predict(asked.checked.rows, started, place)
        if len(predicted.predictions) <= OFF_LOOP_ROWS:
            reply = asked.reply(predicted, seconds)
        else:
            reply = await asyncio.to_thread(asked.reply, predicted, seconds)
        if not asked.checked.out_of_range:
            return reply
        for feature, count in asked.checked.out_of_range.items():
            self._pod.metrics.out_of_range.labels(feature).inc(count)
        flag = (b"x-out-of-range", header_list(asked.checked.out_of_range).encode())
        return Reply(reply.content, reply.media_type, (*reply.headers, flag))

    def _admit(self, scope: Scope) -> None:
        """Whether there is time for one more request, by how late the latest were."""
        now = time.perf_counter()
        late = now - scope.get("arrived", now)
        self._lateness.saw(late)
        if self._lateness.too_many(late, scope.get("crowd", 0)):
            raise errors.Overloaded(TOO_MANY)
