"""A real `mlflow server` on this machine, with SQLite."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

START_SECONDS = 90


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mlflow_server(directory: Path, *options: str, **environment: str) -> Iterator[str]:
    """Its address; its database, its log and what it writes beside lie in `directory`."""
    uri = f"http://127.0.0.1:{free_port()}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", uri.rsplit(":", 1)[1],
        "--workers", "1", "--backend-store-uri", f"sqlite:///{directory}/mlflow.db", *options,
    ]  # fmt: skip
    # Without its job runners: they are ten processes that a registry has no use for.
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=directory, env={**os.environ, **quiet, **environment}, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(uri):
            assert server.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline, f"MLflow did not start within {START_SECONDS} s"
            time.sleep(0.2)
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(timeout=20)


def _answers(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
