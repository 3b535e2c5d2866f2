"""Whatever the processes of both images write is one JSON object a line: as they start, answer, fail and end."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from httpx import Client

from controller.settings import ENVIRONMENT_VARIABLE
from tests.unit.controller.factories import settings
from tests.unit.server import factories
from tests.unit.server.process import ROOT, free_ports, started, wait_until

FIELDS = {"time", "level", "event", "logger"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SECRET = "confidential"
PAGE_THAT_FAILS = f"""
import sys
from server import __main__, document

def page(*_):
    raise KeyError("{SECRET}")

document.page = page
sys.exit(__main__.main())
"""


def lines(text: str) -> list[dict[str, Any]]:
    """What was logged; each line must be an object, and have what every line has."""
    found = [json.loads(line) for line in text.splitlines()]
    assert [line for line in found if not set(line) >= FIELDS] == []
    assert SECRET not in text
    return found


def test_of_the_server(tmp_path: Path) -> None:
    forest = factories.forest(tmp_path / "forest")
    of_pod = {"resource": {"namespace": "team", "name": "fraud"}, "drainSeconds": 0}
    with started(forest, tmp_path, "serve", ("-c", PAGE_THAT_FAILS), **of_pod) as process:
        process.wait_ready()
        address = f"http://127.0.0.1:{process.port}"
        headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "authorization": f"Bearer {SECRET}", "x-request-id": "mine"}
        with Client(headers=headers) as client:
            for row in (factories.FOREST_ROW, {"mean radius": SECRET}):
                client.post(f"{address}/predict?token={SECRET}", json=row)
            for path in ("nothing", "predict", "docs"):
                client.get(f"{address}/{path}?token={SECRET}")
        with process.connect() as connection:
            connection.sendall(f"{SECRET}\r\n\r\n".encode())
            assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
        process.popen.terminate()
        assert process.ended() == 0
    logged = lines(process.log.read_text())
    assert {line["resource"] for line in logged[2:]} == {"team/fraud"}
    answered = [line for line in logged if line["logger"] == "server.access"]
    assert [(line["method"], line["path"], line["status"], line["level"], line.get("error")) for line in answered] == [
        ("POST", "/predict", 200, "info", None),
        ("POST", "/predict", 422, "info", "InvalidFeatures"),
        ("GET", "/nothing", 404, "info", None),
        ("GET", "/predict", 405, "info", "MethodNotAllowed"),
        ("GET", "/docs", 500, "warning", None),
        ("-", "-", 400, "info", "InvalidRequest"),
    ]
    assert {(line["request_id"], line["trace_id"]) for line in answered[:-1]} == {("mine", TRACE)}
    failed = [line for line in logged if line["event"] == "unexpected error"]
    assert [(line["request_id"], line["trace_id"], line["exception"]) for line in failed] == [("mine", TRACE, "KeyError")]
    assert logged[-1]["event"] == "stopped"


@contextmanager
def operator(scratch: Path, part: str, *options: str, **changes: Any) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """`python -m controller` where no API server answers, and its log; gone at the end."""
    health, store, measures = free_ports(3)
    ports = {"healthPort": health, "storePort": store, "storeMetricsPort": measures}
    here = {**ports, "storeDir": str(scratch / "store"), "storeAuthentication": False}
    told = json.loads(settings().model_dump_json(by_alias=True)) | here | changes
    nobody = {"clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:9"}}]}
    context = {"contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}], "current-context": "x"}
    (scratch / "kubeconfig").write_text(json.dumps(nobody | context | {"users": [{"name": "x", "user": {}}]}))
    (scratch / "store").mkdir(exist_ok=True)
    environment = {**os.environ, ENVIRONMENT_VARIABLE: json.dumps(told), "KUBECONFIG": str(scratch / "kubeconfig")}
    log = scratch / "log"
    command = [sys.executable, "-m", "controller", part, *options]
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    try:
        yield process, log
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def test_of_the_operator(tmp_path: Path) -> None:
    with operator(tmp_path, "controller") as (process, log):
        wait_until(lambda: "DefinitionNotRead" in log.read_text())
        process.terminate()
        assert process.wait(30) == 0
    logged = lines(log.read_text())
    assert [line["event"] for line in logged if line["logger"] == "controller"] == ["Started", "DefinitionNotRead", "Stopped"]


def test_of_an_operator_that_fails(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken, operator(tmp_path, "store", storePort=taken.getsockname()[1]) as here:
        process, log = here
        assert process.wait(30) == 1
    *_, last = lines(log.read_text())
    assert (last["event"], "OSError" in last["exception"]) == ("Uncaught", True)


def test_of_an_operator_in_a_shell_that_is_told_something_wrong(tmp_path: Path) -> None:
    wrong = [{"name": "main", "uri": f"http://me:{SECRET}@x"}]
    with operator(tmp_path, "store", "--log-format=text", registries=wrong) as (process, log):
        assert process.wait(30) == 78
    assert " ERROR   SettingsInvalid logger=controller error=" in log.read_text()
    assert SECRET not in log.read_text()
