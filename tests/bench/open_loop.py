"""`python -m tests.bench.open_loop`: so many requests a second, whether the server answers or not; prints what came of it.

A request is timed from when it should have been sent: what this program, or the lack of a free connection, adds is in the
figure. It is a process of its own, without asyncio, whose timers count in milliseconds: select() waits in microseconds.
"""

import argparse
import gc
import json
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 5
"""After the last request was sent: who has no answer by then has failed."""
CONNECT_SECONDS = 1
SHED = 503


@dataclass(slots=True)
class Tally:
    """What came of the requests."""

    times: list[float] = field(default_factory=list)
    """Seconds until each answer of status 200."""
    late: list[float] = field(default_factory=list)
    """Seconds by which each request was taken up later than it should have been: the fault of this program, or of the machine."""
    queued: int = 0
    """Requests for which no connection was free."""
    shed: int = 0
    failed: int = 0

    def told(self, sent: int, seconds: float) -> dict[str, float]:
        times = sorted(self.times)
        at = {f"p{share}_ms": rank(times, share) * 1000 for share in (50, 95, 99)}
        return {
            "sent": sent,
            "answered": len(times),
            "shed": self.shed,
            "failed": sent - len(times) - self.shed,
            "per_second": len(times) / seconds,
            **at,
            "max_ms": (times[-1] if times else 0) * 1000,
            "queued": self.queued,
            "late_p99_ms": rank(sorted(self.late), 99) * 1000,
        }


def rank(ordered: Sequence[float], share: float) -> float:
    """The smallest value that so many percent do not exceed; 0 of none."""
    return ordered[max(0, -(-len(ordered) * int(share) // 100) - 1)] if ordered else 0.0


def status(answer: bytes) -> int | None:
    """Of an answer that is complete; None: it is not."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return None
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    if at >= 0:
        complete = len(body) >= int(lower[at + 17 :].split(b"\r\n", 1)[0])
    else:
        complete = body.endswith(b"0\r\n\r\n") or b"transfer-encoding" not in lower
    return int(head[9:12]) if complete else None


class Connection:
    """One request at a time."""

    __slots__ = ("due", "received", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=CONNECT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.received = b""
        self.due = 0.0


class Generator:
    """Requests at a constant pace, over connections that are kept."""

    def __init__(self, port: int, requests: Sequence[bytes], *, warm: int, limit: int) -> None:
        self._port = port
        self._requests = requests
        self._limit = limit
        self._epoll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._idle: list[Connection] = []
        self._waiting: deque[float] = deque()
        self._next = 0
        self.tally = Tally()
        self._idle += [self._connect() for _ in range(warm)]

    def run(self, rate: float, seconds: float) -> dict[str, float]:
        """All of it, and what came of it."""
        total, sent = int(rate * seconds), 0
        started = time.perf_counter()
        end = started + seconds + PATIENCE_SECONDS
        while (now := time.perf_counter()) < end:
            while sent < total and (due := started + sent / rate) <= now:
                sent += 1
                self.tally.late.append(now - due)
                self._send(due)
            if sent == total and len(self._idle) == len(self._open) and not self._waiting:
                break
            wait = started + sent / rate - now if sent < total else end - now
            select.select([self._epoll], [], [], max(0.0, wait))
            for number, _ in self._epoll.poll(0):
                self._receive(self._open[number])
        for connection in self._open.values():
            connection.socket.close()
        self._epoll.close()
        return self.tally.told(total, seconds)

    def _connect(self) -> Connection:
        connection = Connection(self._port)
        self._open[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket.fileno(), select.EPOLLIN)
        return connection

    def _send(self, due: float) -> None:
        try:
            if self._idle:
                connection = self._idle.pop()
            elif len(self._open) < self._limit:
                connection = self._connect()
            else:
                self.tally.queued += 1
                self._waiting.append(due)
                return
        except OSError:
            self.tally.failed += 1
            return
        connection.due = due
        self._next = (self._next + 1) % len(self._requests)
        try:
            if connection.socket.send(self._requests[self._next]) < len(self._requests[self._next]):
                raise OSError("the server does not read")
        except OSError:
            self._lose(connection)

    def _receive(self, connection: Connection) -> None:
        try:
            received = connection.socket.recv(65536)
        except OSError:
            received = b""
        if not received:
            self._lose(connection)
            return
        connection.received += received
        code = status(connection.received)
        if code is None:
            return
        if code == 200:
            self.tally.times.append(time.perf_counter() - connection.due)
        elif code == SHED:
            self.tally.shed += 1
        else:
            self.tally.failed += 1
        connection.received, connection.due = b"", 0.0
        self._idle.append(connection)
        if self._waiting:
            self._send(self._waiting.popleft())

    def _lose(self, connection: Connection) -> None:
        """It is closed; an idle one costs nothing, another one its request."""
        if connection.due:
            self.tally.failed += 1
        elif connection in self._idle:
            self._idle.remove(connection)
        del self._open[connection.socket.fileno()]
        self._epoll.unregister(connection.socket.fileno())
        connection.socket.close()
        if self._waiting:
            self._send(self._waiting.popleft())


def request(path: str, headers: dict[str, str], body: bytes) -> bytes:
    """As it goes over the wire."""
    told = {"Host": "127.0.0.1", **headers, "Content-Length": str(len(body))}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("told", type=json.loads, help="port, path, headers, prefix, count, rate, seconds, warm, limit")
    told: dict[str, Any] = parser.parse_args().told
    bodies = [Path(f"{told['prefix']}{number}").read_bytes() for number in range(told["count"])]
    requests = [request(told["path"], told["headers"], body) for body in bodies]
    gc.disable()
    generator = Generator(told["port"], requests, warm=told["warm"], limit=told["limit"])
    print(json.dumps(generator.run(told["rate"], told["seconds"])))


if __name__ == "__main__":
    main()
