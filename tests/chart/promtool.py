"""Prometheus' promtool: found, or installed. `make chart` does that first, since tests have a time limit."""

import shutil
import subprocess
from pathlib import Path

from tests.clusters import packages


def executable() -> str:
    """Its path. Debian has it in its package of Prometheus."""
    packages.ensure({"promtool": "prometheus"})
    return shutil.which("promtool", path=packages.SYSTEM_PATH) or "promtool"


def run(*arguments: str | Path) -> str:
    """What it prints; it must find nothing wrong."""
    done = subprocess.run([executable(), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


if __name__ == "__main__":
    print(executable())
