"""What uvicorn's HTTP/1.1 lacks: what asks for another protocol is still answered, so is what is no HTTP, and a request's
head has a size and a time."""

import asyncio
import json
import time
from collections.abc import Sequence

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from server.stamp import new_id

MAX_HEAD_BYTES = 64 * 1024
"""Of the request line and the headers, beyond the first piece that the network brings."""

LINGER_SECONDS = 1.0
"""So long, after a refusal, what still comes is read and thrown away: a client that is cut off while it sends hears nothing."""

NOT_REPLAYED = (b"connection", b"upgrade", b"http2-settings")


class Protocol(HttpToolsProtocol):
    """A connection. Java's HTTP client offers HTTP/2 with its first request; the parser takes that for the end of HTTP and
    drops the body. An offer may be ignored, so here the request is parsed again without it."""

    identity: Sequence[tuple[bytes, bytes]] = ()
    """What even the answer to garbage carries."""

    head_since: float | None = None
    """Since when the head of a request is awaited (on `time.perf_counter`); None while there is none."""
    _head_bytes = 0
    _refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there, and should say something soon."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn wants a Transport, as a TCP server has
        self.head_since = time.perf_counter()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.head_since = time.perf_counter()
        self._head_bytes = 0
        # Two keys more than uvicorn's type of a scope has; ASGI allows that.
        self.scope["arrived"] = self.head_since  # type: ignore[typeddict-unknown-key]
        self.scope["crowd"] = len(self.tasks)  # type: ignore[typeddict-unknown-key]

    def expire(self) -> None:
        """The head has had its time."""
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
        if not self.parser.should_upgrade():
            self.head_since = None
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is complete."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, "InvalidRequest", msg)

    def _refuse(self, status: int, kind: str, message: str) -> None:
        """Answer what no route will ever see, in the form of every other error."""
        content = json.dumps({"error": {"type": kind, "message": message, "details": []}}).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
            *self.identity,
            (b"x-request-id", new_id()),
        ]
        self.transport.write(b"".join([STATUS_LINE[status], *map(_line, headers), b"\r\n", content]))
        self._refused = True
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _head(self) -> bytes:
        """The request line and the headers without the offer."""
        close = any(name == b"connection" and b"close" in value.lower() for name, value in self.headers)
        kept = [header for header in self.headers if header[0] not in NOT_REPLAYED]
        if close:
            kept.append((b"connection", b"close"))
        return b"".join([self.parser.get_method(), b" ", self.url, b" HTTP/1.1\r\n", *map(_line, kept), b"\r\n"])


def protocol(identity: Sequence[tuple[bytes, bytes]]) -> type[Protocol]:
    """The protocol for one model."""
    return type("ModelProtocol", (Protocol,), {"identity": tuple(identity)})


def _line(header: tuple[bytes, bytes]) -> bytes:
    return header[0] + b": " + header[1] + b"\r\n"
