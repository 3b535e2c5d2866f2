"""A real Docker engine: the one that answers, or one started for a test in a place of its own and ended with it."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.clusters import packages
from tests.clusters.local.machine import cgroup_roots
from tests.kubernetes import run, until

CGROUP = "mdep-docker-test"


@dataclass(frozen=True, slots=True)
class Engine:
    options: tuple[str, ...] = ()

    def __call__(self, *arguments: str) -> str:
        return run(["docker", *self.options, *arguments])

    def answers(self) -> bool:
        return subprocess.run(["docker", *self.options, "info"], capture_output=True, check=False).returncode == 0


@contextmanager
def docker_engine() -> Iterator[Engine]:
    if shutil.which("docker") and (own := Engine()).answers():
        yield own
        return
    packages.ensure({"dockerd": "docker.io", "docker": "docker.io"})
    folder = Path(tempfile.mkdtemp(prefix="docker-"))  # short: sockets lie in it
    engine = Engine((f"--host=unix://{folder}/socket",))
    # No bridge and no rules, which would stay; its mounts and processes end with its namespaces.
    daemon = ["dockerd", *engine.options, f"--data-root={folder}/data", f"--exec-root={folder}/run", f"--pidfile={folder}/pid"]
    quiet = (f"--cgroup-parent=/{CGROUP}", "--bridge=none", "--iptables=false", "--ip-forward=false")
    with (folder / "log").open("wb") as log:
        keeper = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", *daemon, *quiet],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        until("the Docker engine", engine.answers, 60)
        yield engine
    finally:
        # The first process of a pid namespace takes all others along; what waited for it ends by itself.
        for child in Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        keeper.wait(timeout=30)
        _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder)
    for root in cgroup_roots():
        for path in sorted((root / CGROUP).glob("**/"), reverse=True):
            path.rmdir()
