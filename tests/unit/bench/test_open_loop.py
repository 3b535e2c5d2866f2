"""The generator that does not wait for answers."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.bench import open_loop
from tests.bench.open_loop import Generator, rank, status


class Server:
    """Answers every request of every connection after a pause, with the codes in turns."""

    def __init__(self, pause: float, codes: tuple[int, ...] = (200,)) -> None:
        self.pause, self.codes, self.count = pause, codes, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                code = self.codes[self.count % len(self.codes)]
                self.count += 1
                time.sleep(self.pause)
                if not code:
                    return
                connection.sendall(f"HTTP/1.1 {code} X\r\ncontent-length: 2\r\n\r\n{{}}".encode())


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.listener.close()


REQUEST = open_loop.request("/predict", {"Content-Type": "application/json"}, b"{}")


def test_time_in_the_queue_counts_from_when_a_request_was_due(servers: list[Server]) -> None:
    servers.append(Server(pause=0.005))
    seen = Generator(servers[0].port, [REQUEST], warm=1, limit=1).run(rate=1000, seconds=0.02)
    assert (seen["sent"], seen["answered"], seen["failed"]) == (20, 20, 0)
    assert seen["queued"] > 15
    assert seen["p99_ms"] > 60  # the last one was due after 19 ms and answered after 20 times 5 ms


def test_what_is_shed_is_neither_answered_nor_failed(servers: list[Server]) -> None:
    servers.append(Server(pause=0, codes=(200, 503, 500)))
    seen = Generator(servers[0].port, [REQUEST], warm=1, limit=1).run(rate=3000, seconds=0.01)
    assert (seen["answered"], seen["shed"], seen["failed"]) == (10, 10, 10)


def test_a_connection_that_is_closed_costs_its_own_request_only(servers: list[Server]) -> None:
    servers.append(Server(pause=0, codes=(200, 200, 0)))
    seen = Generator(servers[0].port, [REQUEST], warm=1, limit=1).run(rate=1000, seconds=0.009)
    assert (seen["answered"], seen["failed"]) == (6, 3)


def test_an_answer_is_complete_or_not() -> None:
    assert status(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{") is None
    assert status(b"HTTP/1.1 503 X\r\nContent-Length: 2\r\nRetry-After: 1\r\n\r\n{}") == 503
    assert status(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n") is None
    assert status(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n") == 200
    assert status(b"HTTP/1.1 200 OK\r\nContent-Le") is None


@pytest.mark.parametrize(("share", "expected"), [(50, 50.0), (95, 95.0), (99, 99.0)])
def test_a_percentile_is_a_value_that_was_seen(share: int, expected: float) -> None:
    assert rank([float(number) for number in range(1, 101)], share) == expected
    assert rank([7.0], share) == 7.0
    assert rank([], share) == 0.0
