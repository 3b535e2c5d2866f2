"""Compiling in a process of its own: if it needs more time or memory than there is, scikit-learn answers, and the pod lives."""

import contextlib
import resource
import subprocess
import sys
from pathlib import Path

from server import report
from server.report import Report
from server.settings import Settings

MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Of the container, by control groups of version 2 or 1."""
RESERVE_BYTES = 48 * 1024 * 1024
"""What the process that waits for the compiling one needs of the container's memory."""


def compile_apart(settings: Settings) -> Report:
    """The report on compiling the model that has been fetched."""
    directory = settings.compiled
    directory.mkdir(parents=True, exist_ok=True)
    (directory / report.NAME).unlink(missing_ok=True)
    command = [sys.executable, "-m", "server", "compile"]
    try:
        ended = subprocess.run(  # noqa: S603 - our own code
            command, check=False, timeout=settings.compile_timeout_seconds, preexec_fn=_limit_memory
        ).returncode
    except subprocess.TimeoutExpired:
        ended = None
    if (directory / report.NAME).exists():
        return report.read(directory, settings.model.digest)
    how = f"did not end within {settings.compile_timeout_seconds:g} seconds" if ended is None else f"ended with code {ended}"
    failed = Report(model=settings.model.digest, reason=f"compiling it {how}")
    failed.write(directory)
    return failed


def _limit_memory() -> None:
    """Python should raise MemoryError before the kernel ends a process: to the kubelet a step in which that has happened has
    failed, however it ended, so the pod would come no further."""
    for file in MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            limit = int(file.read_text()) - RESERVE_BYTES
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
            return
