"""What uvicorn's HTTP/1.1 lacks: what asks for another protocol is still answered, so is what is no HTTP, and whatever a client
sends, or does not take, costs a bounded memory and a bounded time."""

import asyncio
import json
import time
from collections import deque
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from server.access import Access
from server.admission import Place
from server.lane import Lane, Whole
from server.stamp import lines, new_id

MAX_HEAD_BYTES = 64 * 1024
"""Of the request line and the headers, and of all else that is no body: what says how it is cut, and what follows it."""

PIECE_BYTES = 4096
"""So much is parsed at a time. The requests in it are taken in, however many; what follows waits until they are answered."""

LINGER_SECONDS = 1.0
"""So long, after a refusal, what still comes is read and thrown away: a client that is cut off while it sends hears nothing."""

NOT_REPLAYED = (b"connection", b"upgrade", b"http2-settings")


class _Flow(FlowControl):
    """Reads on only where what has been read has found room."""

    def __init__(self, connection: "Protocol") -> None:
        super().__init__(connection.transport)
        self._connection = connection

    def resume_reading(self) -> None:
        """Read on. Every request that wants its body says so, also while others are in line behind it."""
        if not self._connection.behind:
            super().resume_reading()


class Protocol(HttpToolsProtocol):
    """A connection. Java's HTTP client offers HTTP/2 with its first request; the parser takes that for the end of HTTP and
    drops the body. An offer may be ignored, so here the request is parsed again without it."""

    identity: Sequence[tuple[bytes, bytes]] = ()
    """What even the answer to garbage carries."""

    access: Access | None = None
    """Where it is written down, too."""

    lane: Lane | None = None
    whole: Whole | None = None
    """The request that waits in the lane."""
    owed: deque[RequestResponseCycle]
    """The requests that the application has not answered yet, in order; it works on the first. All but the last are complete."""

    _pieces: list[bytes] | None = None
    """Of the body of a request that may be whole."""
    _begun = 0.0
    """When the first byte of the latest request was there (on `time.perf_counter`, as all these times)."""
    _arriving = False
    """Whether the latest request is not complete."""
    _head_since: float | None = None
    """Since when the head of a request is awaited; None while there is none."""
    _idle_since = 0.0
    """Since when nothing is owed. Of no matter while something is."""
    _head_bytes = 0
    """What came since the parser last made something of it."""
    _rest = b""
    """What came, and is not parsed yet."""
    _refusal: bytes | None = None
    """The last that the client will hear."""
    _unsent = 0
    _stuck_since = 0.0
    """How much the client has not taken, and since when that has not changed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there, and should say something soon."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn wants a Transport, as a TCP server has
        self.flow = _Flow(self)
        self.owed = deque()
        self._head_since = time.perf_counter()

    @property
    def behind(self) -> bool:
        """Whether requests are in line behind the one that is being answered."""
        return len(self.owed) > 1

    def expire(self, now: float, patience: float, keep_alive: float) -> None:
        """End it, if the client has not taken what was sent, or sent what is awaited, in time."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._stuck_since = unsent, now
        elif self._stuck_since < now - patience:
            self.transport.abort()
            return
        if self._refusal is not None or self.transport.is_closing():
            return
        if self._head_since is not None:
            if self._head_since < now - patience:
                self._refuse(408, "HeadTooSlow", "The head of the request did not arrive in time.")
        elif self.whole is None and not self.owed and self._idle_since < now - (patience if self._arriving else keep_alive):
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        self._parse(self._rest + data if self._rest else data)

    def _parse(self, data: bytes) -> None:
        """Parse until there are requests enough."""
        at = 0
        try:
            while at < len(data) and self._refusal is None and not self.behind:
                piece = data[at : at + PIECE_BYTES]
                self._head_bytes += len(piece)
                try:
                    self.parser.feed_data(piece)
                    at += len(piece)
                except httptools.HttpParserUpgrade as e:
                    if self.parser.get_method() == b"CONNECT":
                        self.send_400_response("This server is no proxy.")
                    else:
                        data, at = self._head() + data[at + e.args[0] :], 0
                        self.parser = httptools.HttpRequestParser(self)
                if self._head_bytes > MAX_HEAD_BYTES:
                    self._refuse(431, "HeadTooLarge", f"The head of the request has more than {MAX_HEAD_BYTES} bytes.")
        except httptools.HttpParserError:
            self.send_400_response("This is not HTTP/1.1.")
        if self._pieces is not None:
            self.start()  # the body takes its time
        self._rest = data[at:] if self._refusal is None else b""
        if self._rest:
            self.flow.pause_reading()

    def on_message_begin(self) -> None:
        """A request begins. What ASGI says of it is written down when it is for the application."""
        if self.whole is not None:
            self.start()  # the client does not wait for the answer: the application has them in order
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._head_since = self._begun = time.perf_counter()
        self._arriving = True
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of the head. What follows the body in the same form could be anything, and is of no interest."""
        if self._head_since is None:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start answering, unless the same request comes again at once."""
        if self.parser.should_upgrade():
            return
        self._head_since = None
        method, version, keep_alive = self.parser.get_method(), self.parser.get_http_version(), self.parser.should_keep_alive()
        usual = method == b"POST" and version == "1.1" and keep_alive and not self.owed and not self.flow.write_paused
        path = self.lane.path(self.url) if usual and self.lane is not None else None
        if path is not None:
            self.whole, self._pieces = Whole(path, self.headers, self, self._begun), []
        else:
            self._ask(method, version, self.url, self.headers, self._begun, keep_alive and version != "1.0")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._head_bytes = 0
        if self._pieces is not None:
            self._pieces.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is complete."""
        if self.parser.should_upgrade():
            return
        self._arriving = False
        if self.lane is not None and self.whole is not None and self._pieces is not None:
            self.whole.content, self._pieces = b"".join(self._pieces), None
            self.whole.complete = time.perf_counter()
            self.lane.add(self.whole)
        else:
            super().on_message_complete()

    def answer(self, status: int, headers: bytes, content: bytes) -> None:
        """Answer the request that waits in the lane."""
        self.whole = None
        date = lines(self.server_state.default_headers)
        length = b"content-length: %d\r\n\r\n" % len(content)
        self.transport.write(b"".join((STATUS_LINE[status], date, headers, length, content)))
        self._all_answered()

    def start(self) -> None:
        """Leave the request that waits in the lane, or is on its way there, to the application."""
        whole, pieces = self.whole, self._pieces
        self.whole = self._pieces = None
        if whole is None:
            return
        self._ask(b"POST", "1.1", whole.path.encode(), whole.headers, whole.begun, keep_alive=True, place=whole.place)
        super().on_body(whole.content if pieces is None else b"".join(pieces))
        if pieces is None:
            super().on_message_complete()

    def _ask(
        self,
        method: bytes,
        version: str,
        url: bytes,
        headers: list[tuple[bytes, bytes]],
        begun: float,
        keep_alive: bool,
        place: Place | None = None,
    ) -> None:
        """Ask the application, when it has answered all before."""
        target = httptools.parse_url(url)
        path = target.path.decode("ascii")
        scope: Any = {  # three keys more than uvicorn's type of a scope has; ASGI allows that
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "method": method.decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": target.path,
            "query_string": target.query or b"",
            "headers": headers,
            "state": self.app_state.copy(),
            "arrived": begun,
            "crowd": len(self.tasks),
            "place": place,
        }
        self.cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )
        self.owed.append(self.cycle)
        if self.behind:
            self.flow.pause_reading()
        else:
            self._start_asgi_task(self.cycle, self.app)

    def on_response_complete(self) -> None:
        """The application has answered the first of those in line."""
        self.owed.popleft()
        if self.transport.is_closing():
            return
        if self.owed:
            self._start_asgi_task(self.owed[0], self.app)
        else:
            self._all_answered()
        if self._rest:
            self._parse(self._rest)
        if not self._rest:
            self.flow.resume_reading()

    def _all_answered(self) -> None:
        self._idle_since = time.perf_counter()
        if self._refusal is not None:
            self._part()

    def shutdown(self) -> None:
        """No further request on this connection."""
        self.start()
        if self.owed:
            self.owed[-1].keep_alive = False
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, and whoever waits for it need not any more."""
        self.whole = self._pieces = None
        self._rest = b""
        for cycle in self.owed:
            _abandon(cycle)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, "InvalidRequest", msg)

    def _refuse(self, status: int, kind: str, message: str) -> None:
        """Answer what no route will ever see, in the form of every other error, when all that came before is answered."""
        content = json.dumps({"error": {"type": kind, "message": message, "details": []}}).encode()
        name = new_id()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
            *self.identity,
            (b"x-request-id", name),
        ]
        self._refusal = b"".join([STATUS_LINE[status], lines(headers), b"\r\n", content])
        in_body, self._head_since = self._arriving and self._head_since is None, None
        if self._pieces is not None:
            self.whole = self._pieces = None
        elif self.owed and self.owed[-1].more_body:
            begun = self.owed.pop()
            _abandon(begun)
            if begun.response_started:
                self._refusal = b""
        elif in_body:
            self._refusal = b""  # that request has its answer
        if self._refusal and self.access is not None:
            self.access.answered("-", "-", status, self._begun or time.perf_counter(), name, (), kind)
        if self.whole is None and not self.owed:
            self._part()

    def _part(self) -> None:
        """Say the last word."""
        self.transport.write(self._refusal or b"")
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _head(self) -> bytes:
        """The request line and the headers without the offer."""
        close = any(name == b"connection" and b"close" in value.lower() for name, value in self.headers)
        kept = [header for header in self.headers if header[0] not in NOT_REPLAYED]
        if close:
            kept.append((b"connection", b"close"))
        version = self.parser.get_http_version().encode()
        return b"".join([self.parser.get_method(), b" ", self.url, b" HTTP/", version, b"\r\n", lines(kept), b"\r\n"])


def _abandon(cycle: RequestResponseCycle) -> None:
    """Nobody is there to hear its answer."""
    cycle.disconnected = True
    cycle.message_event.set()


def protocol(identity: Sequence[tuple[bytes, bytes]], lane: Lane | None = None, access: Access | None = None) -> type[Protocol]:
    """The protocol for one model."""
    return type("ModelProtocol", (Protocol,), {"identity": tuple(identity), "lane": lane, "access": access})
