"""Real processes: ports, signals, exit codes, and what HTTP looks like on the wire."""

import json
import pickle
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx import Client

from server import compilation
from tests.unit.server import factories
from tests.unit.server.process import Process, started, wait_until

ROW = json.dumps(factories.FOREST_ROW).encode()
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(ROW) + ROW


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that all of them serve. Not to be written to."""
    return factories.forest(tmp_path_factory.mktemp("models") / "forest")


@pytest.fixture(scope="module")
def live(forest: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A ready server with small limits. Its end is a test too: a second signal cuts even a long drain short."""
    limits = {"maxBodyBytes": 10_000, "requestTimeoutSeconds": 0.5, "drainSeconds": 600}
    with started(forest, tmp_path_factory.mktemp("live"), "serve", **limits) as process:
        process.wait_ready()
        yield process
        process.popen.terminate()
        wait_until(lambda: any(line["event"] == "draining" for line in process.events()))
        process.popen.terminate()
        assert process.ended() == 0


def answered(connection: socket.socket) -> tuple[int, bytes, bytes]:
    """One response: its status, its headers, its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _some(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += _some(connection)
    return int(head.split()[1]), head.lower(), body[:length]


def _some(connection: socket.socket) -> bytes:
    some = connection.recv(65536)
    assert some, "closed without an answer"
    return some


def test_two_ports_of_one_process(live: Process) -> None:
    with Client() as client:
        for port, paths in {
            live.port: {"/health": 200, "/metrics": 404, "/readyz": 404},
            live.management_port: {"/livez": 200, "/readyz": 200, "/metrics": 200, "/predict": 404},
        }.items():
            for path, status in paths.items():
                assert client.get(f"http://127.0.0.1:{port}{path}").status_code == status
        for address in ("127.0.0.1", "[::1]") if socket.has_dualstack_ipv6() else ("127.0.0.1",):
            assert client.get(f"http://{address}:{live.port}/health").headers["x-model-version"] == "3"


def test_a_connection_is_kept(live: Process) -> None:
    with live.connect() as connection:
        for _ in range(3):
            connection.sendall(REQUEST)
            status, head, _ = answered(connection)
            assert status == 200 and b"connection: close" not in head


CHUNK = b"1000\r\n" + b" " * 4096 + b"\r\n"
BODIES = {
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(ROW), ROW), 200),
    "too much in chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK * 4 + b"0\r\n\r\n", 413),
    "far too much in chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK * 40, 413),
    "too much": (HEAD + b"Content-Length: 10001\r\n\r\n" + b" " * 10001, 413),
    "too much, asked before": (HEAD + b"Expect: 100-continue\r\nContent-Length: 10001\r\n\r\n", 413),
    "less than its length": (HEAD + b"Content-Length: 1000\r\n\r\n" + ROW, 408),
    "nothing": (HEAD + b"Content-Length: 10\r\n\r\n", 408),
    "more than its length": (HEAD + b"Content-Length: 2\r\n\r\n{}{}", 422),
    "an offer of HTTP/2": (REQUEST.replace(b"Host", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHost"), 200),
    "a proxy's request": (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a head too large": (HEAD + b"X-A: " + b"a" * 1_000_000, 431),
    "a head without an end": (HEAD + b"X-A: a", 408),
    "no head": (b"", 408),
    "no HTTP": (b"\x16\x03\x01\r\n\r\n", 400),
}


@pytest.mark.parametrize(("sent", "status"), BODIES.values(), ids=BODIES)
def test_whatever_is_sent_has_an_answer(live: Process, sent: bytes, status: int) -> None:
    with live.connect() as connection:
        connection.sendall(sent)
        answer, head, body = answered(connection)
        assert (answer, b"x-model-digest: sha256:" in head, b"x-request-id: " in head) == (status, True, True)
        if status != 200:
            assert json.loads(body)["error"]["message"]
        if status in (408, 413, 431):
            assert b"connection: close" in head


def test_an_offer_of_another_protocol_leaves_the_connection_usable(live: Process) -> None:
    offer = REQUEST.replace(b"Host", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHost")
    head, _, body = offer.partition(b"\r\n\r\n")
    with live.connect() as connection:
        connection.sendall(head + b"\r\n\r\n")
        for part in (body[:10], body[10:]):
            connection.sendall(part)
        assert answered(connection)[0] == 200
        connection.sendall(REQUEST)
        assert answered(connection)[0] == 200


def test_every_line_of_the_log_is_json_and_none_has_a_feature(live: Process) -> None:
    with Client() as client:
        client.post(f"http://127.0.0.1:{live.port}/predict", json=factories.FOREST_ROW | {"mean radius": "confidential"})
    events = live.events()
    assert {"time", "level", "event"} <= set(events[0])
    assert any(line["event"] == "model ready" and line["verified"] == "Answered" for line in events)
    assert "confidential" not in live.log.read_text()


def test_the_image_can_ask_whether_it_is_healthy(
    live: Process, forest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody there, and nobody is to be asked
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    ports = {"port": live.port, "managementPort": live.management_port}
    with started(forest, tmp_path, "healthcheck", **ports) as process:
        assert process.ended() == 0
    with started(forest, tmp_path, "healthcheck") as process:
        assert process.ended() == 1


class Clients:
    """Clients that obey HTTP: each goes on until it is told goodbye, and then no more."""

    def __init__(self, process: Process, count: int) -> None:
        self.statuses: list[int] = []
        self.failures: list[BaseException] = []
        self._process = process
        self._threads = [threading.Thread(target=self._work) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        try:
            with self._process.connect() as connection:
                while True:
                    connection.sendall(REQUEST)
                    status, head, _ = answered(connection)
                    self.statuses.append(status)
                    if b"connection: close" in head:
                        return
        except Exception as e:
            self.failures.append(e)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


class Strangers(Clients):
    """Clients that open a connection for each request, until they have heard that there is a better place."""

    def __init__(self, process: Process, count: int) -> None:
        self.heard = threading.Event()
        super().__init__(process, count)

    def _work(self) -> None:
        try:
            while not self.heard.is_set():
                with self._process.connect() as connection:
                    connection.sendall(REQUEST.replace(b"Host", b"Connection: close\r\nHost"))
                    self.statuses.append(answered(connection)[0])
        except Exception as e:
            self.failures.append(e)


def test_a_pod_that_is_told_to_stop_loses_nothing(forest: Path, tmp_path: Path) -> None:
    compiled = str(tmp_path / "compiled")
    compilation.compile_directory(factories.told(forest, compiledDir=compiled))
    with started(forest, tmp_path, drainSeconds=3, compiledDir=compiled) as process:
        process.wait_ready()
        assert process.get("/readyz")[1]["engine"] == "compiled"  # whose requests take two ways: this one, until it drains
        with process.connect() as idle, process.connect() as silent:
            idle.sendall(REQUEST)
            assert answered(idle)[0] == 200
            clients, strangers = Clients(process, 4), Strangers(process, 2)
            wait_until(lambda: min(len(clients.statuses), len(strangers.statuses)) > 20)
            process.popen.send_signal(signal.SIGTERM)
            wait_until(lambda: process.get("/readyz")[0] == 503)
            assert process.get("/livez")[0] == 200
            assert process.get("/readyz")[1]["reason"] == "Draining"
            clients.join()
            told = len(strangers.statuses)
            wait_until(lambda: len(strangers.statuses) > told + 10)
            strangers.heard.set()
            strangers.join()
            with process.connect() as late:  # whoever has not heard yet still gets in, and an answer
                late.sendall(REQUEST)
                assert answered(late)[0] == 200
            idle.sendall(REQUEST)  # and a connection that was idle is still there
            status, head, _ = answered(idle)
            assert (status, b"connection: close" in head) == (200, True)
            silent.sendall(REQUEST[:-5])  # in flight when the drain ends
            wait_until(lambda: any(line["event"] == "Shutting down" for line in process.events()))
            silent.sendall(REQUEST[-5:])
            assert answered(silent)[0] == 200
        assert process.ended() == 0
        for who in (clients, strangers):
            assert (who.failures, set(who.statuses)) == ([], {200})
        assert process.termination.read_text() == ""


def test_a_pod_whose_model_is_at_fault_says_so_and_ends(forest: Path, tmp_path: Path) -> None:
    def otherwise(mlmodel: dict[str, dict[str, dict[str, dict[str, list[int]]]]]) -> None:
        mlmodel["metadata"]["mlserving"]["example"]["predictions"][0] = 1

    wrong = factories.altered(forest, tmp_path / "wrong", otherwise)
    scratches = [tmp_path / name for name in ("mismatch", "settings")]
    for scratch in scratches:
        scratch.mkdir()
    with started(wrong, scratches[0]) as mismatch, started(forest, scratches[1], thread=1) as settings:
        assert settings.ended() == 78
        assert settings.events()[-1]["reason"] == "SettingsInvalid"
        wait_until(lambda: mismatch.popen.poll() is not None or mismatch.get("/livez")[0] == 200)
        assert mismatch.ended() == 65
        assert mismatch.last_words()["reason"] == "ExampleMismatch"
        assert "row 1 is predicted as 0, recorded is 1" in mismatch.last_words()["message"]


def test_a_pod_that_ends_for_no_known_reason_says_so_too(forest: Path, tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with started(forest, tmp_path, managementPort=port) as process:
            assert process.ended() == 70
    assert process.last_words()["reason"] == "Unexpected"
    assert "OSError" in process.last_words()["message"] and "log" in process.last_words()["message"]
    last = process.events()[-1]
    assert (last["event"], last["exception"]) == ("cannot go on", "OSError")
    assert "server/serve.py" in last["stack"]


class Sleeps:
    """Takes longer to unpickle than any test waits."""

    def __reduce__(self) -> Any:
        return time.sleep, (600,)


def test_a_pod_that_must_go_while_it_loads_just_goes(forest: Path, tmp_path: Path) -> None:
    directory = factories.altered(forest, tmp_path / "model", lambda mlmodel: None)
    (directory / "model.pkl").write_bytes(pickle.dumps(Sleeps()))
    with started(directory, tmp_path, drainSeconds=600) as process:
        wait_until(lambda: process.get("/livez")[0] == 200)
        process.popen.send_signal(signal.SIGTERM)
        assert process.ended() == 0
