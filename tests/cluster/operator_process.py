"""`python -m controller` as a process of this machine, on a real API server."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from controller.settings import ENVIRONMENT_VARIABLE
from tests.clusters.settings import CHECKOUT
from tests.kubernetes import POLL_SECONDS

SILENT_REGISTRY = "http://127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class OperatorProcess:
    process: asyncio.subprocess.Process
    log_file: Path
    metrics_url: str

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def said(self, word: str, seconds: float = 30) -> None:
        async with asyncio.timeout(seconds):
            while word not in self.log:
                assert self.process.returncode is None, self.log
                await asyncio.sleep(POLL_SECONDS / 10)

    async def stopped(self) -> None:
        """Returns when the kernel has stopped it: the signal alone only asks for it."""
        while "\nState:\tT" not in Path(f"/proc/{self.process.pid}/status").read_text():
            await asyncio.sleep(0.01)

    async def ended(self, seconds: float) -> int:
        """Its exit code."""
        async with asyncio.timeout(seconds):
            return await self.process.wait()


@asynccontextmanager
async def operator_process(
    kubeconfig: str, namespace: str, folder: Path, code: Path = CHECKOUT, **settings: object
) -> AsyncIterator[OperatorProcess]:
    """Serves the ModelDeployments of that namespace alone, where its Lease is too."""
    folder.mkdir()
    port = _free_port()
    (folder / "kubeconfig").write_text(kubeconfig)
    (folder / "store").mkdir()
    log_file = folder / "log"
    with log_file.open("w") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "controller"),
            env=_environment(folder, {"healthPort": port, "namespace": namespace, "watchNamespaces": [namespace], **settings}),
            cwd=code,
            stdout=log,
            stderr=log,
        )
    try:
        yield OperatorProcess(process, log_file, f"http://127.0.0.1:{port}/metrics")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _environment(folder: Path, settings: Mapping[str, object]) -> dict[str, str]:
    common = {
        "identity": folder.name,
        "registries": [{"name": "main", "uri": SILENT_REGISTRY}],
        "serverImage": "localhost/modeldeployment-server:dev",
        "storeDir": str(folder / "store"),
        "storeUrl": "http://127.0.0.1:9",
    }
    return {
        **os.environ,
        ENVIRONMENT_VARIABLE: json.dumps({**common, **settings}),
        "KUBECONFIG": str(folder / "kubeconfig"),
        "PYTHONUNBUFFERED": "1",
    }


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
