"""A connection with any client: who does not wait, does not read, does not come to the point, or does not speak HTTP."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from server import serve, wire
from server.lane import Whole
from tests.unit.server.process import free_ports

HEAD = b"POST /slow HTTP/1.1\r\nHost: x\r\n"
REQUEST = HEAD + b"Content-Length: 2\r\n\r\n{}"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
EARLY = REQUEST.replace(b"/slow", b"/early")
PATIENCE, KEEP_ALIVE = 10.0, 100.0


class Transport(asyncio.Transport):
    """A client that takes what it wants to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reading, self.closing, self.aborted, self.unsent = True, False, False, 0

    def write(self, data: Any) -> None:
        assert not self.closing
        self.written += data

    def write_eof(self) -> None:
        self.written += b"<EOF>"

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Application:
    """Answers `/early` at once; begins with `/begun` at once; answers all else when it is complete, and it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
        if scope["path"] == "/begun":
            await send(start)
        if scope["path"] != "/early":
            while (message := await receive()).get("more_body"):
                pass
            if message["type"] == "http.disconnect":
                return
            await self.may.wait()
        if scope["path"] != "/begun":
            await send(start)
        await send({"type": "http.response.body", "body": b"ok"})


class Lane:
    """Takes what is for `/lane`, and answers when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Whole] = []

    def path(self, url: bytes) -> str | None:
        return "/lane" if url == b"/lane" else None

    def add(self, whole: Whole) -> None:
        self.waiting.append(whole)


class Client:
    """One connection, and all around it."""

    def __init__(self) -> None:
        self.app, self.lane, self.transport = Application(), Lane(), Transport()
        config = uvicorn.Config(
            cast(Any, self.app), ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False
        )
        self.protocol = wire.protocol((), self.lane)(config=config, server_state=ServerState(), app_state={})
        self.protocol.connection_made(self.transport)

    async def send(self, data: bytes) -> None:
        self.protocol.data_received(data)
        await self.rest()

    async def rest(self) -> None:
        """Until nobody has anything to do."""
        for _ in range(20):
            await asyncio.sleep(0)

    @property
    def statuses(self) -> list[int]:
        return [int(part[:3]) for part in self.transport.written.split(b"HTTP/1.1 ")[1:]]

    def expire(self, later: float) -> None:
        self.protocol.expire(asyncio.get_running_loop().time() + later, PATIENCE, KEEP_ALIVE)


@pytest.fixture
async def client() -> Client:
    return Client()


async def test_a_client_that_does_not_wait_is_read_no_faster_than_it_is_answered(client: Client) -> None:
    count, most = 600, wire.PIECE_BYTES // len(REQUEST) + 2
    await client.send(REQUEST * count)
    assert 1 < len(client.protocol.owed) <= most and not client.transport.reading
    client.app.may.set()
    while len(client.statuses) < count:
        await asyncio.sleep(0)
        assert len(client.protocol.owed) <= most
        assert not client.transport.reading or not client.protocol.behind
    await client.rest()
    assert client.transport.reading and len(client.app.scopes) == count
    await client.send(REQUEST)
    assert client.statuses == [200] * (count + 1)


async def test_what_follows_a_body_is_no_header(client: Client) -> None:
    client.app.may.set()
    await client.send(CHUNKED + b"Authorization: Bearer secret\r\n\r\n")
    await client.send(CHUNKED.replace(b"/slow", b"/lane") + b"Authorization: Bearer secret\r\n\r\n")
    assert client.statuses == [200]
    for headers in (client.app.scopes[0]["headers"], client.lane.waiting[0].headers):
        assert headers == [(b"host", b"x"), (b"transfer-encoding", b"chunked")]


@pytest.mark.parametrize("endless", [b"X-A: a\r\n" * 100, b"a" * 800, b"X-A:" + b"a" * 800])
@pytest.mark.parametrize(("path", "statuses"), [(b"/slow", [431]), (b"/lane", [431]), (b"/early", [200])])
async def test_what_follows_a_body_ends_somewhere(client: Client, endless: bytes, path: bytes, statuses: list[int]) -> None:
    await client.send(CHUNKED.replace(b"/slow", path))
    sent = 0
    while not client.transport.written.endswith(b"<EOF>"):
        await client.send(endless)
        sent += len(endless)
        assert sent < 2 * wire.MAX_HEAD_BYTES
    assert client.statuses == statuses
    assert len(client.protocol.headers) == 2


@pytest.mark.parametrize("fault", [b"garbage\r\n\r\n", b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n"])
@pytest.mark.parametrize("together", [True, False])
async def test_what_was_asked_before_the_garbage_is_answered_before_it(
    client: Client, fault: bytes, together: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for data in [REQUEST * 3 + fault] if together else [REQUEST, REQUEST, REQUEST, fault]:
        await client.send(data)
    assert client.statuses == []
    client.app.may.set()
    await client.rest()
    assert client.statuses == [200, 200, 200, 400] and client.transport.written.endswith(b"<EOF>")
    await client.send(REQUEST)
    assert len(client.statuses) == 4 and not caplog.records


async def test_the_lane_answers_before_the_garbage_too(client: Client) -> None:
    await client.send(REQUEST.replace(b"/slow", b"/lane") + b"garbage\r\n\r\n")
    (whole,) = client.lane.waiting
    if whole.waiting:
        whole.answer(200, b"", b"")
    client.app.may.set()
    await client.rest()
    assert client.statuses == [200, 400]


@pytest.mark.parametrize(("path", "status"), [(b"/slow", 400), (b"/begun", 200)])
async def test_for_garbage_in_a_body_there_is_one_answer(
    client: Client, path: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    client.app.may.set()
    await client.send(HEAD.replace(b"/slow", path) + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
    await client.send(b"garbage\r\n")
    assert client.statuses == [status] and client.transport.written.endswith(b"<EOF>")
    assert not client.protocol.tasks and not caplog.records


async def test_a_long_body_is_no_long_head_and_is_read_to_its_end_though_nobody_wants_it(client: Client) -> None:
    for path in (b"/slow", b"/early"):
        client.app.may.set()
        await client.send(HEAD.replace(b"/slow", path) + b"Content-Length: 300000\r\n\r\n" + b" " * 100_000)
        assert client.transport.reading
        await client.send(b" " * 200_000)
    assert client.statuses == [200, 200]


async def test_a_head_that_takes_long_spoils_no_answer_before_it(client: Client) -> None:
    await client.send(REQUEST + HEAD)
    client.expire(PATIENCE + 1)
    assert client.statuses == []
    client.app.may.set()
    await client.rest()
    assert client.statuses == [200, 408]


async def test_an_offer_of_another_protocol_in_http_1_0_is_answered_in_it(client: Client) -> None:
    client.app.may.set()
    await client.send(REQUEST.replace(b"1.1", b"1.0").replace(b"Host", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHost"))
    assert client.statuses == [200] and client.transport.closing
    assert client.app.scopes[0]["http_version"] == "1.0"


TO_IDLE: dict[str, tuple[bytes, bytes, float]] = {
    "an answer": (REQUEST, b"", KEEP_ALIVE),
    "an answer, then an empty line": (REQUEST, b"\r\n", KEEP_ALIVE),
    "an answer from the lane, then an empty line": (REQUEST.replace(b"/slow", b"/lane"), b"\r\n", KEEP_ALIVE),
    "an answer before the body": (EARLY[:-2], b"", PATIENCE),
    "an answer before the body, then a byte of it": (EARLY[:-2], b"{", PATIENCE),
    "an answer before the body, then all of it": (EARLY[:-2], b"{}", KEEP_ALIVE),
    "an answer before the body, in chunks": (CHUNKED[:-3].replace(b"/slow", b"/early"), b"2\r\n{", PATIENCE),
}


@pytest.mark.parametrize(("first", "then", "seconds"), TO_IDLE.values(), ids=TO_IDLE)
async def test_a_connection_on_which_nothing_comes_is_closed(client: Client, first: bytes, then: bytes, seconds: float) -> None:
    client.app.may.set()
    await client.send(first)
    for whole in client.lane.waiting:
        whole.answer(200, b"", b"")
    await client.send(then)
    assert client.statuses == [200]
    client.expire(seconds - 1)
    assert not client.transport.closing
    client.expire(seconds + 1)
    assert client.transport.closing and client.statuses == [200]


async def test_a_request_that_is_worked_on_is_not_idle(client: Client) -> None:
    client.app.may.set()
    await client.send(REQUEST)
    client.app.may.clear()
    await client.send(REQUEST)
    client.expire(KEEP_ALIVE + 1)
    assert not client.transport.closing
    client.app.may.set()
    await client.rest()
    assert client.statuses == [200, 200]


def stuck(unsent: int, later: int) -> int:
    return unsent


def moving(unsent: int, later: int) -> int:
    return unsent - later


@pytest.mark.parametrize(("takes", "aborted"), [(stuck, True), (moving, False)])
@pytest.mark.parametrize("closing", [True, False])
async def test_a_client_that_takes_nothing_is_cut_off(
    client: Client, takes: Callable[[int, int], int], aborted: bool, closing: bool
) -> None:
    client.app.may.set()
    await client.send(REQUEST)
    client.transport.closing = closing
    for later in range(15):
        client.transport.unsent = takes(1000, later)
        client.expire(later)
    assert client.transport.aborted == aborted


async def test_a_client_that_goes_with_requests_in_line_leaves_nothing_behind(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await client.send(REQUEST * 3)
    client.transport.closing = True
    client.protocol.connection_lost(ConnectionResetError())
    client.app.may.set()
    await client.rest()
    assert not client.protocol.tasks and not caplog.records and len(client.app.scopes) == 1


async def test_a_client_that_takes_nothing_does_not_keep_a_pod_that_must_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "FINISH_SECONDS", 0.0)
    monkeypatch.setattr(wire.Protocol, "expire", lambda *_: None)  # it takes a little now and then
    sending = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b" " * 20_000_000, "more_body": True})
        sending.set()
        await send({"type": "http.response.body", "body": b""})

    (port,) = free_ports(1)
    async with asyncio.timeout(10), serve._listening(cast(Any, app), port, wire.protocol(()), 0.1):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0)
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # no public way to stop reading
        writer.write(REQUEST)
        await sending.wait()
    writer.close()


async def _turns_to_let_in(clients: int) -> int:
    """Of an event loop as a pod has it, for clients who came all at once."""
    made: list[asyncio.BaseTransport] = []

    class Counted(wire.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            made.append(transport)

    (port,) = free_ports(1)
    with contextlib.ExitStack() as stack:
        async with serve._listening(Application(), port, Counted, PATIENCE):
            while not made:  # it listens when the first is there
                await asyncio.sleep(0)
                with contextlib.suppress(ConnectionRefusedError):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=1))
            for _ in range(clients):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=1))
            turns = 0
            while len(made) < clients:
                await asyncio.sleep(0)
                turns += 1
            stack.close()
    return turns


def test_a_crowd_is_let_in_within_a_few_turns() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(_turns_to_let_in(200)) < 20
