"""What uvicorn's HTTP/1.1 lacks: what asks for another protocol is still answered, so is what is no HTTP, and a request's
head has a size and a time."""

import asyncio
import json
import time
import typing
from collections.abc import Sequence
from dataclasses import dataclass

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from server.stamp import lines, new_id

MAX_HEAD_BYTES = 64 * 1024
"""Of the request line and the headers, beyond the first piece that the network brings."""

LINGER_SECONDS = 1.0
"""So long, after a refusal, what still comes is read and thrown away: a client that is cut off while it sends hears nothing."""

NOT_REPLAYED = (b"connection", b"upgrade", b"http2-settings")


@dataclass(eq=False, slots=True)
class Whole:
    """A request that was whole when it arrived."""

    path: str
    headers: list[tuple[bytes, bytes]]
    connection: "Protocol"
    content: bytes = b""
    complete: float = 0.0
    """When its last byte was there (on `time.perf_counter`)."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where its connection lives."""
        return self.connection.loop

    @property
    def waiting(self) -> bool:
        """Whether an answer is still awaited: the client is there, and nobody else has the request."""
        return self.connection.whole is self

    def answer(self, status: int, headers: bytes, content: bytes) -> None:
        """Send the response, in one piece."""
        self.connection.answer(status, headers, content)

    def go_on(self) -> None:
        """Leave it to the application."""
        self.connection.start()


class Lane(typing.Protocol):
    """Where requests that arrive whole can be answered without ASGI."""

    def path(self, url: bytes) -> str | None:
        """The path of a URL, if requests for it are welcome."""

    def add(self, whole: Whole) -> None:
        """Answer it soon, or let it go on."""


class _Said:
    """What the parser said of each request that may be whole. By the time that one goes on, it may be at the next."""

    get_method = staticmethod(lambda: b"POST")
    get_http_version = staticmethod(lambda: "1.1")
    should_upgrade = staticmethod(lambda: False)
    should_keep_alive = staticmethod(lambda: True)


class Protocol(HttpToolsProtocol):
    """A connection. Java's HTTP client offers HTTP/2 with its first request; the parser takes that for the end of HTTP and
    drops the body. An offer may be ignored, so here the request is parsed again without it."""

    identity: Sequence[tuple[bytes, bytes]] = ()
    """What even the answer to garbage carries."""

    head_since: float | None = None
    """Since when the head of a request is awaited (on `time.perf_counter`); None while there is none."""
    lane: Lane | None = None
    whole: Whole | None = None
    """The request that waits in the lane."""
    idle_since: float | None = None
    """Since when nothing has come, after an answer from there."""
    _pieces: list[bytes] | None = None
    """Of the body of a request that may be whole."""
    _begun = 0.0
    _head_bytes = 0
    _refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there, and should say something soon."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn wants a Transport, as a TCP server has
        self.head_since = time.perf_counter()

    def on_message_begin(self) -> None:
        """A request begins. What ASGI says of it is written down when it is for the application."""
        if self.whole is not None:
            self.start()  # the client does not wait for the answer: the application has them in order
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self.head_since = self._begun = time.perf_counter()
        self.idle_since = None
        self._head_bytes = 0

    def expire(self, head_since: float, idle_since: float) -> None:
        """End it, if a head is awaited, or nothing has come, since before these times."""
        if self.idle_since is not None and self.idle_since < idle_since:
            self.transport.close()
        elif self.head_since is not None and self.head_since < head_since:
            self.head_since = None
            if not self.transport.is_closing():
                self._refuse(408, "HeadTooSlow", "The head of the request did not arrive in time.")

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        if self._refused:
            return
        self._unset_keepalive_if_required()
        if self.head_since is not None:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
            if self._pieces is not None:
                self.start()  # the body takes its time
            if self.head_since is not None and self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, "HeadTooLarge", f"The head of the request has more than {MAX_HEAD_BYTES} bytes.")
        except httptools.HttpParserUpgrade as e:
            if self.parser.get_method() == b"CONNECT":
                self.send_400_response("This server is no proxy.")
                return
            again = self._head() + data[e.args[0] :]
            self.parser = httptools.HttpRequestParser(self)
            self.data_received(again)
        except httptools.HttpParserError:
            self.send_400_response("This is not HTTP/1.1.")

    def on_headers_complete(self) -> None:
        """Start answering, unless the same request comes again at once."""
        if self.parser.should_upgrade():
            return
        self.head_since = None
        path = self.lane.path(self.url) if self.lane is not None else None
        if (
            path is not None
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
        ):
            self.whole, self._pieces = Whole(path, self.headers, self), []
        else:
            self._start()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._pieces is not None:
            self._pieces.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is complete."""
        if self.lane is not None and self.whole is not None and self._pieces is not None:
            self.whole.content, self._pieces = b"".join(self._pieces), None
            self.whole.complete = time.perf_counter()
            self.lane.add(self.whole)
        elif not self.parser.should_upgrade():
            super().on_message_complete()

    def answer(self, status: int, headers: bytes, content: bytes) -> None:
        """Answer the request that waits in the lane."""
        self.whole = None
        date = lines(self.server_state.default_headers)
        length = b"content-length: %d\r\n\r\n" % len(content)
        self.transport.write(b"".join((STATUS_LINE[status], date, headers, length, content)))
        self.idle_since = time.perf_counter()

    def start(self) -> None:
        """Leave the request that waits in the lane, or is on its way there, to the application."""
        whole, pieces, parser = self.whole, self._pieces, self.parser
        self.whole = self._pieces = None
        if whole is None:
            return
        self.url, self.headers = whole.path.encode(), whole.headers
        self.parser = _Said()  # type: ignore[assignment]
        try:
            self._start()
            super().on_body(whole.content if pieces is None else b"".join(pieces))
            if pieces is None:
                super().on_message_complete()
        finally:
            self.parser = parser

    def _start(self) -> None:
        """Let the application answer the request whose headers are there."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        # Two keys more than uvicorn's type of a scope has; ASGI allows that.
        self.scope["arrived"] = self._begun  # type: ignore[typeddict-unknown-key]
        self.scope["crowd"] = len(self.tasks)  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def shutdown(self) -> None:
        """No further request on this connection."""
        self.start()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, and whoever waits for it need not any more."""
        self.whole = self._pieces = None
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, "InvalidRequest", msg)

    def _refuse(self, status: int, kind: str, message: str) -> None:
        """Answer what no route will ever see, in the form of every other error."""
        self.whole = self._pieces = None
        content = json.dumps({"error": {"type": kind, "message": message, "details": []}}).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
            *self.identity,
            (b"x-request-id", new_id()),
        ]
        self.transport.write(b"".join([STATUS_LINE[status], lines(headers), b"\r\n", content]))
        self._refused = True
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _head(self) -> bytes:
        """The request line and the headers without the offer."""
        close = any(name == b"connection" and b"close" in value.lower() for name, value in self.headers)
        kept = [header for header in self.headers if header[0] not in NOT_REPLAYED]
        if close:
            kept.append((b"connection", b"close"))
        return b"".join([self.parser.get_method(), b" ", self.url, b" HTTP/1.1\r\n", lines(kept), b"\r\n"])


def protocol(identity: Sequence[tuple[bytes, bytes]], lane: Lane | None = None) -> type[Protocol]:
    """The protocol for one model."""
    return type("ModelProtocol", (Protocol,), {"identity": tuple(identity), "lane": lane})
