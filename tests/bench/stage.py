"""The servers of the comparison, all running, of which one at a time is asked while the others are stopped."""

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import closed_loop, process
from tests.bench.closed_loop import Asked
from tests.bench.forest import SINGLE, Forest
from tests.bench.peers import environments
from tests.bench.peers.roads import Road
from tests.bench.peers.servers import Server, World
from tests.bench.process import NotStarted, Process
from tests.clusters.settings import CHECKOUT

START_SECONDS = 90
VERIFIED_ROWS, VERIFIED_BATCH = 12, 64
PROBE_PAUSE = 0.02
ANSWER_SECONDS = 30


@dataclass(slots=True)
class Running:
    """One server that answers correctly."""

    server: Server
    process: Process
    port: int
    prefix: Path
    """Where its bodies are written."""
    once: dict[str, Any] = field(default_factory=dict)
    """What is measured once, not in every round."""

    def asked(self, road: Road, forest: Forest, rows: int) -> Asked:
        """So many rows a request; single rows in turns, larger ones always the same."""
        told = [[number] for number in forest.some(SINGLE)] if rows == 1 else [forest.some(rows)]
        prefix = self.prefix / f"{road.encode.__name__}-{road.path.replace('/', '-')}-{rows}-"
        bodies = [_body(road, forest, numbers) for numbers in told]
        return Asked(self.port, road.path, _headers(road, forest, rows), prefix, closed_loop.write(prefix, bodies))

    def pss_mb(self) -> float:
        return self.process.pss_mb(environments.KEPT / self.server.environment)

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        self.process.require_alive()
        self.process.resume()
        try:
            yield
            self.process.settle()
        finally:
            self.process.pause()


@contextlib.contextmanager
def running(server: Server, forest: Forest, scratch: Path) -> Iterator[Running]:
    """Start it twice, time both starts, and let the second one live: the first start of a program reads it from the disk."""
    scratch.mkdir(parents=True)
    started: list[float] = []
    for last in (False, True):
        with contextlib.ExitStack() as stack:
            port = free_ports()
            world = World(forest, scratch, port, environments.KEPT / server.environment / "bin")
            launch = server.launch(world)
            began = time.perf_counter()
            directory = launch.directory or scratch
            told = stack.enter_context(process.running(launch.command, launch.environment, directory, scratch / "log"))
            one = Running(server, told, port, scratch)
            _wait(one, forest)
            started.append(time.perf_counter() - began)
            if last:
                verify(one, forest)
                time.sleep(0.5)
                one.once = {
                    "environment": server.environment,
                    "version": f"{server.package} {environments.version(server.environment, server.package)}",
                    "first_start_seconds": started[0],
                    "start_seconds": started[1],
                    "pss_idle_mb": one.pss_mb(),
                    "processes": len(told.pids),
                }
                yield one


def free_ports() -> int:
    """The first of three in a row that nobody uses."""
    for first in range(18400, 20000, 3):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + 3):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise NotStarted("no three ports in a row are free")


def _wait(one: Running, forest: Forest) -> None:
    """Until it predicts."""
    road = one.server.single
    body, headers = _body(road, forest, [0]), _headers(road, forest, 1)
    deadline = time.monotonic() + START_SECONDS
    said = "it does not listen"
    while time.monotonic() < deadline:
        one.process.require_alive()
        try:
            code, content = ask(one.port, road.path, headers, body)
            if code == 200:
                return
            said = f"{code} {content[:200]!r}"
        except (OSError, http.client.HTTPException):
            time.sleep(0.01)
    raise NotStarted(f"no prediction within {START_SECONDS} s: {said}; {process.last_words(one.process.log)}")


def verify(one: Running, forest: Forest) -> None:
    """It says what scikit-learn says: a wrong answer has no speed."""
    server = one.server
    if server.kind == "bare":
        return
    singles = [server.single, *server.others.values()]
    batches = [road for road in (server.many, *server.other_many.values()) if road]
    asked = [(road, [number]) for road in singles for number in range(VERIFIED_ROWS)]
    for road, numbers in asked + [(road, list(range(VERIFIED_BATCH))) for road in batches]:
        body, headers = _body(road, forest, numbers), _headers(road, forest, len(numbers))
        code, content = ask(one.port, road.path, headers, body)
        if code != 200:
            raise NotStarted(f"{road.path} answers {code} {content[:300]!r}")
        expected, labels = [forest.labels[number] for number in numbers], road.labels(json.loads(content))
        if labels != expected:
            raise NotStarted(f"{road.path} answers {labels[:12]} where scikit-learn says {expected[:12]}")


def _body(road: Road, forest: Forest, numbers: Sequence[int]) -> bytes:
    return road.encode(forest.names, [forest.rows[number] for number in numbers])


def _headers(road: Road, forest: Forest, rows: int) -> dict[str, str]:
    return road.headers(forest.names, rows)


def ask(port: int, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)) as connection:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def load(one: Running, asked: Asked, connections: int, seconds: int, rows: int = 1) -> dict[str, float]:
    """In closed loop."""
    before = one.process.cpu()
    seen = closed_loop.load(asked, connections, seconds)
    cpu = one.process.cpu() - before
    one.process.require_alive()
    figures = asdict(seen) | {"cpu_us": cpu / max(1, seen.answered) * 1e6}
    return figures | {"per_second": seen.per_second * rows}


def offer(one: Running, asked: Asked, rate: float, seconds: float, *, warm: int = 64, limit: int = 512) -> dict[str, float]:
    """In open loop, from a process of its own."""
    told = {**asdict(asked), "prefix": str(asked.prefix), "rate": rate, "seconds": seconds, "warm": warm, "limit": limit}
    before = one.process.cpu()
    command = [sys.executable, "-m", "tests.bench.open_loop", json.dumps(told)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    one.process.require_alive()
    if done.returncode:
        raise NotStarted(f"could not be asked in open loop: {done.stderr.strip()[-300:]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures | {"cpu_us": (one.process.cpu() - before) / max(1, figures["answered"]) * 1e6}


class Probes:
    """Ask as a kubelet does, on new connections, as long as the block lasts."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.milliseconds: list[float] = []
        self.failed = 0

    def __enter__(self) -> "Probes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        paths = ("/livez", "/readyz")
        while not self._stop.wait(PROBE_PAUSE):
            started = time.perf_counter()
            try:
                with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)) as connection:
                    connection.request("GET", paths[len(self.milliseconds) % 2])
                    self.failed += connection.getresponse().status != 200
            except (OSError, http.client.HTTPException):
                self.failed += 1
            self.milliseconds.append((time.perf_counter() - started) * 1000)
