"""A directory on a disk that several processes share: what is visible in it is complete, and together it has a limit.

What is being written is in tmp/, on the same file system, locked by the process that writes it, and becomes visible by another
name. How much there is, is measured and not kept book of: none of the processes knows what the others write.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from controller import metrics
from controller.errors import Waiting
from controller.quantity import readable

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
FULL_DELAY_SECONDS = 60.0
# What others write is seen after so many bytes of our own, and after so long.
MEASURE_BYTES, MEASURE_SECONDS = 64 * 1024**2, 1.0


class Disk:
    """A directory with these parts, of at most `max_bytes` of files."""

    def __init__(self, directory: Path, parts: Sequence[str], max_bytes: int) -> None:
        self._directory = directory
        self._parts = (*parts, "tmp")
        self._max_bytes = max_bytes
        self._used = 0
        self._unmeasured = 0
        self._measured_at = float("-inf")
        for part in self._parts:
            (directory / part).mkdir(parents=True, exist_ok=True)
        metrics.store_limit_bytes.set(max_bytes)

    def forget_unfinished(self) -> None:
        """Remove what processes that are gone were downloading. What another one downloads now is locked by it."""
        for entry in (self._directory / "tmp").iterdir():
            with contextlib.suppress(FileNotFoundError, BlockingIOError), entry.open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                entry.unlink()

    def measure(self) -> int:
        """How many bytes there are, downloads in progress included."""
        self._measured_at, self._unmeasured = time.monotonic(), 0
        self._used = sum(_size(entry) for part in self._parts for entry in self._entries(part))
        metrics.store_bytes.set(self._used)
        metrics.store_versions.set(len(self._entries("manifests")))
        return self._used

    def full(self, wanted: int) -> Waiting:
        """Why `wanted` bytes are not taken."""
        return Waiting(
            "StoreFull",
            f"{readable(wanted)} more do not fit into the operator's store, which has {readable(self._used)} of at most"
            f" {readable(self._max_bytes)}; delete ModelDeployments that nobody needs, or raise the chart's store.sizeLimit"
            " (where the store is on claims, as the chart's README says under A larger store)",
            FULL_DELAY_SECONDS,
        )

    def fits(self, size: int) -> bool:
        return self._used + size <= self._max_bytes

    async def _take(self, size: int) -> None:
        """Count bytes that are written next. Raises Waiting (StoreFull) where there is no room for them.

        What went wrong, and what another process writes, is not kept book of: it is measured, the more often the less there is.
        """
        old = time.monotonic() - self._measured_at > MEASURE_SECONDS
        if old or self._unmeasured + size > min(MEASURE_BYTES, self._max_bytes // 64) or not self.fits(size):
            await asyncio.to_thread(self.measure)
        if not self.fits(size):
            raise self.full(size)
        self._used += size
        self._unmeasured += size

    def _temporary(self) -> tuple[BinaryIO, Path]:
        """A file that becomes visible by another name, locked until then: only what is not locked was left over."""
        while True:
            handle, name = tempfile.mkstemp(dir=self._directory / "tmp")
            stream = os.fdopen(handle, "wb", buffering=0)
            fcntl.flock(stream, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:
                return stream, Path(name)
            stream.close()  # another process took it for left over in the moment before it was locked

    def _entries(self, part: str) -> list[os.DirEntry[str]]:
        with os.scandir(self._directory / part) as entries:
            return list(entries)

    def _write(self, path: Path, content: bytes) -> None:
        stream, temporary = self._temporary()
        try:
            with stream:
                write_all(stream, content)
                os.fsync(stream.fileno())  # so that a crash of the node cannot leave an empty file under its name
                temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """A disk that is full although the store is below its limit: others write to it too."""
        try:
            yield
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise Waiting(
                "StoreFull",
                f"the disk of the operator's store is full, with {readable(self._used)} of the store on it, which may have"
                f" {readable(self._max_bytes)}; make room on that disk",
                FULL_DELAY_SECONDS,
            ) from error


def write_all(stream: BinaryIO, chunk: bytes) -> None:
    """An unbuffered stream may take a part only."""
    view = memoryview(chunk)
    while view:
        view = view[stream.write(view) :]


def _size(entry: os.DirEntry[str]) -> int:
    """What a file takes; nothing where another process just removed it."""
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return 0
