"""`make audit` against a database of our own, since the public one cannot be reached from every machine."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.supply.audit import audit

VULNERABLE = {"id": "PYSEC-2026-1", "summary": "opens the door", "affected": [], "references": []}


class Database(BaseHTTPRequestHandler):
    """Knows one vulnerability, in one version of one package."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = asked["package"]["name"] == "kopf" and asked["version"] == "1.0"
        answer = json.dumps({"vulns": [VULNERABLE]} if known else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def database() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Database) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text("".join(f"{name}==1.0 \\\n    --hash=sha256:{'0' * 64}\n" for name in ("aiohttp", "kopf")))
    return path


def test_what_is_known_to_be_vulnerable_is_named_and_fails(database: str, lock: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert audit([lock], database) == 1
    said = capfd.readouterr().err
    assert "kopf" in said
    assert "PYSEC-2026-1" in said
    assert "aiohttp" not in said


def test_no_answer_is_no_clean_bill(lock: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert audit([lock], "http://127.0.0.1:1/v1/query") == 2
    assert "nothing was audited" in capfd.readouterr().err
