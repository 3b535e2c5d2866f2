"""The artifact store: a directory of model files, and how they come into it: from the registry once, or from a peer."""

import asyncio
import logging
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

import aiohttp

from controller import manifest, metrics, origins
from controller.directory import Directory
from controller.errors import ReconcileError, Stalling, Waiting
from controller.manifest import StoredFile
from controller.origins import Origin
from controller.registry import ModelVersion, RemoteFile

PEER_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=3, sock_read=30)  # a large file on a slow line takes its time
HOP_HEADER = "X-Store-Hop"  # a peer that is asked by a peer answers from its own directory only
CHUNK_BYTES = 1024 * 1024
PULLS_AT_ONCE = 2  # from one registry: a slow one does not hold up the others
PATIENCE_SECONDS = 3.0  # a reconcile waits so long for a pull; most are faster
_PEER_FAILURES = (aiohttp.ClientError, TimeoutError, ValueError, OSError, ReconcileError)

log = logging.getLogger(__name__)


class Source(Protocol):
    """Where a version's files come from."""

    async def files(self, version: ModelVersion) -> list[RemoteFile]: ...

    def download(self, version: ModelVersion, path: str) -> AsyncIterator[bytes]: ...


class Store(Directory):
    """The store in a directory of at most `max_bytes`. `peers` are the addresses of other replicas' stores, which are shown the
    token in `token_file`."""

    def __init__(
        self,
        directory: Path,
        max_model_bytes: int,
        peers: Sequence[str] = (),
        *,
        max_bytes: int = sys.maxsize,
        token_file: Path | None = None,
    ) -> None:
        super().__init__(directory, max_bytes)
        self._max_model_bytes = max_model_bytes
        self._peers = peers
        self._token_file = token_file
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._pulls: dict[str, asyncio.Task[str]] = {}
        self._copies: dict[tuple[str, Origin], asyncio.Task[bool]] = {}
        self._refused: dict[str, tuple[Stalling, float]] = {}  # what no retry helps, and when it was asked for last
        self._at_once = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(PULLS_AT_ONCE))  # by registry
        self._free: Callable[[], Awaitable[None]] | None = None

    def when_full(self, free: Callable[[], Awaitable[None]]) -> None:
        """What to do before a version is turned away because the store is full."""
        self._free = free

    def forget_refusals(self, seconds: float) -> None:
        """Forget why versions were refused, or could not be pulled, that nobody asked for within `seconds`."""
        self._pulls = {identity: task for identity, task in self._pulls.items() if not task.done()}
        self._copies = {wanted: task for wanted, task in self._copies.items() if not task.done()}
        before = time.monotonic() - seconds
        self._refused = {identity: known for identity, known in self._refused.items() if known[1] >= before}

    async def pull(self, version: ModelVersion, source: Source) -> str:
        """The digest of a version, pulled from `source` unless it is here already. One pull for many callers.

        Raises Waiting (Pulling) when it takes longer than a moment: the pull goes on, and nobody else waits for it.
        """
        known = self.remembered(version.identity)
        if known is not None:
            self.used([known])
            if version.origin not in self.origins(known):
                await self.add_origins(known, {version.origin})
            return known
        if version.identity in self._refused:  # what a version is never changes: it is not downloaded to be refused again
            refusal, _ = self._refused[version.identity]
            self._refused[version.identity] = refusal, time.monotonic()
            raise refusal.with_traceback(None)
        task = self._pulls.get(version.identity)
        if task is None:
            task = self._pulls[version.identity] = asyncio.create_task(self._pull_counted(version, source))
            task.add_done_callback(partial(self._pulled, version.identity))
        done, _ = await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        if not done:
            raise Waiting("Pulling", f"{version.name} version {version.version} is being copied from the registry", delay=2)
        self._pulls.pop(version.identity, None)
        return task.result()

    def _pulled(self, identity: str, task: asyncio.Task[str]) -> None:
        """Why a pull failed while nobody waited for it is kept for who asks next; the rest is remembered elsewhere."""
        if task.cancelled() or task.exception() is None or isinstance(task.exception(), Stalling):
            self._pulls.pop(identity, None)

    async def _pull_counted(self, version: ModelVersion, source: Source) -> str:
        result = "failed"
        try:
            async with self._at_once[version.registry]:
                digest = await self._pull(version, source)
            result = "ok"
        except Stalling as error:
            self._refused[version.identity] = error, time.monotonic()
            raise
        finally:
            metrics.pulls.labels(source="registry", result=result).inc()
        return digest

    def has_from(self, digest: str, origin: Origin) -> bool:
        """Whether the version is here and known to come from `origin`: a digest that somebody wrote somewhere is no proof."""
        return self.has(digest) and origin in self.origins(digest)

    async def obtain(self, digest: str, origin: Origin) -> bool:
        """`has_from`, after asking the other replicas for what is missing."""
        if not self.has(digest):
            await self.fetch_from_peers(digest)
        elif not self.has_from(digest, origin):
            await self.fetch_origins_from_peers(digest)
        return self.has_from(digest, origin)

    async def obtain_soon(self, digest: str, origin: Origin) -> bool:
        """`obtain`, once for many callers.

        Raises Waiting (Pulling) when it takes longer than a moment: the copying goes on, and nobody else waits for it.
        """
        if self.has_from(digest, origin):
            return True
        wanted = (digest, origin)
        task = self._copies.get(wanted)
        if task is None:
            task = self._copies[wanted] = asyncio.create_task(self.obtain(digest, origin))
        done, _ = await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        if not done:
            raise Waiting("Pulling", f"{digest} is being copied from another replica of the operator", delay=2)
        self._copies.pop(wanted, None)  # what it came to while nobody waited is told to who asks first
        return task.result()

    async def fetch_origins_from_peers(self, digest: str) -> None:
        """Learn from the other replicas where a version comes from: one may have got the same files from elsewhere."""
        for peer in self._peers:
            try:
                async with self._session(peer) as session:
                    await self._fetch_origins(session, digest)
            except _PEER_FAILURES:
                continue  # it is away, or does not know either

    async def fetch_from_peers(self, digest: str) -> bool:
        """Whether the version is here now, after asking the other replicas for it."""
        async with self._lock(digest):
            if self.has(digest):
                return True
            for peer in self._peers:
                try:
                    await self._fetch(peer, digest)
                except _PEER_FAILURES as error:
                    if isinstance(error, Waiting):  # no room here, so no other peer helps
                        log.warning(error.reason, extra={"digest": digest, "error": error.message})
                        return False
                    continue  # a peer that is away, has not got it, or sends something else, is no news
                metrics.pulls.labels(source="peer", result="ok").inc()
                return True
            return False

    async def fetch_file_from_peers(self, sha256: str) -> bool:
        """Whether a single file is here now, after asking the other replicas for it."""
        async with self._lock(sha256):
            await asyncio.to_thread(self.measure)
            for peer in self._peers:
                try:
                    async with self._session(peer) as session:
                        await self._fetch_file(session, sha256, self._max_model_bytes)
                except _PEER_FAILURES:
                    continue
                return True
            return False

    async def _pull(self, version: ModelVersion, source: Source) -> str:
        remote = await source.files(version)
        if not remote:
            raise Stalling("ModelEmpty", f"{version.name} version {version.version} has no files in the registry")
        total = sum(file.size for file in remote)
        if total > self._max_model_bytes:
            raise Stalling(
                "ModelTooLarge",
                f"{version.name} version {version.version} has {total:,} bytes; the operator takes at most"
                f" {self._max_model_bytes:,} (chart value store.maxModelBytes)",
            )
        for file in remote:
            manifest.safe_path(file.path)
        await self._make_room(total)
        stored, left = list[StoredFile](), self._max_model_bytes
        for file in remote:
            sha256, size = await self.keep(source.download(version, file.path), left, beside=[each.sha256 for each in stored])
            left -= size
            if file.size and size != file.size:
                raise Waiting(
                    "DownloadIncomplete",
                    f"{file.path} of {version.name} version {version.version} came with {size:,} of {file.size:,} bytes;"
                    " it is tried again",
                )
            stored.append(StoredFile(file.path, sha256, size))
        content = manifest.written(stored)
        await self.add_origins(manifest.digest_of(content), {version.origin})
        try:
            digest = await self.publish(content)
        except FileNotFoundError as error:  # it took so long that what was kept first looked like garbage
            raise Waiting(
                "DownloadIncomplete", f"copying {version.name} version {version.version} took too long; it is tried again"
            ) from error
        await self.remember(version.identity, digest)
        return digest

    async def _fetch_origins(self, session: aiohttp.ClientSession, digest: str) -> None:
        async with session.get(f"/v1/origins/{digest}") as response:
            await self.add_origins(digest, origins.parse(await response.read()))

    async def _fetch(self, peer: str, digest: str) -> None:
        async with self._session(peer) as session:
            async with session.get(f"/v1/manifests/{digest}") as response:
                content = b"".join([chunk async for chunk in response.content.iter_chunked(CHUNK_BYTES)])
            if manifest.digest_of(content) != digest:
                raise ValueError(f"{peer} has another manifest under {digest}")
            files = manifest.parse(content)
            await self._make_room(sum(file.size for file in files if not self.file_path(file.sha256).exists()))
            for place, file in enumerate(files):
                await self._fetch_file(session, file.sha256, file.size, [each.sha256 for each in files[:place]])
            await self._fetch_origins(session, digest)
        await self.publish(content)

    async def _fetch_file(self, session: aiohttp.ClientSession, sha256: str, limit: int, beside: Collection[str] = ()) -> None:
        self.touch([sha256])
        if self.file_path(sha256).exists():
            return
        async with session.get(f"/v1/files/sha256:{sha256}") as response:
            await self.keep(response.content.iter_chunked(CHUNK_BYTES), limit, sha256, beside)

    async def _make_room(self, size: int) -> None:
        """Raises Waiting (StoreFull) where `size` bytes do not fit, also after what nothing names has gone."""
        await asyncio.to_thread(self.measure)
        if not self.fits(size) and self._free is not None:
            await self._free()
            await asyncio.to_thread(self.measure)
        if not self.fits(size):
            raise self.full(size)

    def _session(self, peer: str) -> aiohttp.ClientSession:
        headers = {HOP_HEADER: "1"}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {self._token_file.read_text().strip()}"  # read again each time: it rotates
        return aiohttp.ClientSession(peer, headers=headers, timeout=PEER_TIMEOUT, raise_for_status=True)

    def _lock(self, name: str) -> asyncio.Lock:
        """One for each name that somebody holds; the others are forgotten, so that asking for much costs nothing."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock
