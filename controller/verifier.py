"""Whether the store's files still are what their names say: a disk that outlives a pod can have damaged them meanwhile.

A file is read and hashed before this process serves it for the first time, and in the background, slowly, soon after the start
and each day. What is damaged is dropped together with the versions that need it, so it is missed, and comes again from a peer
or from MLflow. Pods verify what they get in any case; one that got something else says so, and the file is read again.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from controller import metrics
from controller.store import Store

log = logging.getLogger(__name__)

CHUNK_BYTES = 4 * 1024 * 1024
BACKGROUND_BYTES_PER_SECOND = 50_000_000  # a few percent of a core
SCRUB_SECONDS = 24 * 3600.0
AGAIN_SECONDS = 60.0  # a file is not read again more often, whatever pods say
READS_AT_ONCE = 2

_Stamp = tuple[int, int, int]


class Verifier:
    """What this process knows of the files of `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[_Stamp, float]] = {}  # what a file looked like when it was found intact, and when
        self._reading: dict[str, asyncio.Task[bool]] = {}
        self._reads = asyncio.Semaphore(READS_AT_ONCE)

    async def intact(self, sha256: str, *, doubted: bool = False) -> bool:
        """Whether the file is here and is what its name says. One that is damaged is dropped, and so not here any more."""
        stamp = _stamp(self._store.file_path(sha256))
        if stamp is None:
            return False
        known = self._known.get(sha256)
        if known is not None and known[0] == stamp and not (doubted and time.monotonic() - known[1] > AGAIN_SECONDS):
            return True
        reading = self._reading.get(sha256)
        if reading is None:  # one for all who wait, and it goes on when they lose their patience
            reading = self._reading[sha256] = asyncio.create_task(self._read(sha256, _at_once))
            reading.add_done_callback(lambda _: self._reading.pop(sha256, None))
        return await asyncio.shield(reading)

    async def scrub(self) -> None:
        """Read every file, for ever, at a pace that nobody feels."""
        while True:
            await self.read_all()
            await asyncio.sleep(SCRUB_SECONDS)

    async def read_all(self) -> None:
        """Read every file that was not read lately."""
        here = sorted(path.name for path in self._store.file_paths())
        self._known = {sha256: self._known[sha256] for sha256 in here if sha256 in self._known}
        for sha256 in here:
            known = self._known.get(sha256)
            if known is None or time.monotonic() - known[1] > SCRUB_SECONDS / 2:
                try:
                    await self._read(sha256, _slowly)
                except OSError as error:  # a disk that cannot be written to serves what it has
                    log.error("StoreDamaged", extra={"file": sha256, "error": str(error)})

    async def _read(self, sha256: str, pace: Callable[[int], Awaitable[None]]) -> bool:
        path = self._store.file_path(sha256)
        before = _stamp(path)
        if before is None:
            self._known.pop(sha256, None)
            return False
        try:
            async with self._reads:
                found = await _hash_of(path, pace)
        except OSError as error:  # a disk that does not give it back has lost it
            found = f"nothing ({error.strerror})"
        if found == sha256:
            self._known[sha256] = before, time.monotonic()
            return True
        self._known.pop(sha256, None)
        if _stamp(path) == before:  # otherwise it was dropped, or came again, while it was read
            metrics.store_damaged.inc()
            lost = await asyncio.to_thread(self._store.discard, sha256)
            log.error("StoreDamaged", extra={"file": sha256, "found": found, "versions": sorted(lost)})
            for digest in lost:
                await self._store.fetch_from_peers(digest)
        return path.exists()  # what came again was hashed on its way


async def _hash_of(path: Path, pace: Callable[[int], Awaitable[None]]) -> str:
    hashed = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        while chunk := await asyncio.to_thread(stream.read, CHUNK_BYTES):
            await asyncio.to_thread(hashed.update, chunk)
            await pace(len(chunk))
    return hashed.hexdigest()


async def _at_once(_: int) -> None:
    """Somebody waits."""


async def _slowly(size: int) -> None:
    await asyncio.sleep(size / BACKGROUND_BYTES_PER_SECOND)


def _stamp(path: Path) -> _Stamp | None:
    """What changes when a file is replaced or written to; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
