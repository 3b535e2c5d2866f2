"""A real server process, asked over real sockets."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from tests.unit.server import factories

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process, where it listens, and where its last words go."""

    popen: subprocess.Popen[str]
    port: int
    management_port: int
    termination: Path
    log: Path

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of the management port; 0 while nobody listens."""
        connection = HTTPConnection("127.0.0.1", self.management_port, timeout=10)
        with contextlib.closing(connection), contextlib.suppress(OSError, HTTPException):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.load(answer)
        return 0, None

    def wait_ready(self) -> None:
        """Until /readyz says so."""
        wait_until(lambda: self.get("/readyz")[0] == 200)

    def connect(self) -> socket.socket:
        """A connection to the port for clients."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ended(self) -> int:
        """The exit code, when it has one."""
        return self.popen.wait(PATIENCE_SECONDS)

    def last_words(self) -> dict[str, str]:
        """The termination message."""
        words: dict[str, str] = json.loads(self.termination.read_text())
        return words

    def events(self) -> list[dict[str, Any]]:
        """What it has logged; each line must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextlib.contextmanager
def started(
    directory: Path, scratch: Path, command: str = "serve", program: Sequence[str] = ("-m", "server"), /, **changes: Any
) -> Iterator[Process]:
    """`python -m server`, or another program, for a model directory, gone at the end."""
    port, management_port = free_ports(2)
    termination, log = scratch / "termination-log", scratch / "log"
    termination.touch()
    told = {"port": port, "managementPort": management_port, "terminationMessagePath": str(termination)}
    environment = {**os.environ, "MLSERVING_SETTINGS": json.dumps(factories.value(directory) | told | changes)}
    with log.open("w") as stream:
        popen = subprocess.Popen(
            [sys.executable, *program, command],
            cwd=ROOT,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield Process(popen=popen, port=port, management_port=management_port, termination=termination, log=log)
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait()


def wait_until(condition: Any) -> None:
    """Poll, but not for ever."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]
