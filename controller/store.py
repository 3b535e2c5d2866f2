"""The artifact store: model files by their own hash, and manifests by theirs.

    files/<sha256>               the bytes of a file, shared between versions
    manifests/<sha256>           path, size and sha256 of every file of a version, sorted, as canonical JSON
    versions/<sha256>            which digest a registered version turned out to have
    mirrored                     is there once the models that run were copied here after a start
    tmp/                         downloads in progress, on the same file system, so that what is visible is complete

The digest of a version is the sha256 of its manifest: it survives a second pull and any change of packing. Several
processes may share one directory, since everything that is visible is named by its content and never changes.
"""

import asyncio
import hashlib
import json
import os
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol
from weakref import WeakValueDictionary

import aiohttp

from controller import metrics
from controller.errors import Stalling, Waiting
from controller.registry import ModelVersion, RemoteFile
from controller.text import bounded

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PEER_TIMEOUT = aiohttp.ClientTimeout(total=600, connect=3, sock_read=30)
HOP_HEADER = "X-Store-Hop"  # a peer that is asked by a peer answers from its own directory only
CHUNK_BYTES = 1024 * 1024
PULLS_AT_ONCE = 2
PATIENCE_SECONDS = 3.0  # a reconcile waits so long for a pull; most are faster
_PEER_FAILURES = (aiohttp.ClientError, TimeoutError, ValueError, OSError, Stalling)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a manifest: path below the model's directory, sha256 in hexadecimal, size in bytes."""

    path: str
    sha256: str
    size: int


class Source(Protocol):
    """Where a version's files come from."""

    async def files(self, version: ModelVersion) -> list[RemoteFile]: ...

    def download(self, version: ModelVersion, path: str) -> AsyncIterator[bytes]: ...


class Store:
    """The store in a directory. `peers` are the addresses of other replicas' stores."""

    def __init__(self, directory: Path, max_model_bytes: int, peers: Sequence[str] = ()) -> None:
        self._directory = directory
        self._max_model_bytes = max_model_bytes
        self._peers = peers
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._pulls: dict[str, asyncio.Task[str]] = {}
        self._refused: dict[str, Stalling] = {}
        self._at_once = asyncio.Semaphore(PULLS_AT_ONCE)
        for name in ("files", "manifests", "versions", "tmp"):
            (directory / name).mkdir(parents=True, exist_ok=True)

    def manifest_path(self, digest: str) -> Path:
        return self._directory / "manifests" / _hexadecimal(digest)

    def file_path(self, sha256: str) -> Path:
        return self._directory / "files" / _hexadecimal(f"sha256:{sha256}")

    @property
    def mirrored(self) -> bool:
        """Whether what the statuses name was here at least once since the directory was made."""
        return (self._directory / "mirrored").exists()

    def mark_mirrored(self) -> None:
        (self._directory / "mirrored").touch()

    def forget_unfinished(self) -> None:
        """Remove what a process that is gone was downloading. For the start, before anything is downloaded again."""
        for left_over in (self._directory / "tmp").iterdir():
            left_over.unlink(missing_ok=True)

    def has(self, digest: str) -> bool:
        return self.manifest_path(digest).is_file()

    def files(self, digest: str) -> list[StoredFile]:
        """The files of a stored version."""
        return _parse_manifest(self.manifest_path(digest).read_bytes())

    def read(self, digest: str, path: str, limit: int) -> bytes | None:
        """The first `limit` bytes of one file of a stored version, or None where it has no such file."""
        for file in self.files(digest):
            if file.path == path:
                with self.file_path(file.sha256).open("rb") as stream:
                    return stream.read(limit)
        return None

    def known(self, version: ModelVersion) -> str | None:
        """The digest that a version turned out to have when it was pulled, where it is still here."""
        try:
            digest = self._version_path(version).read_text()
        except FileNotFoundError:
            return None
        return digest if DIGEST.fullmatch(digest) and self.has(digest) else None

    async def pull(self, version: ModelVersion, source: Source) -> str:
        """The digest of a version, pulled from `source` unless it is here already. One pull for many callers.

        Raises Waiting (Pulling) when it takes longer than a moment: the pull goes on, and nobody else waits for it.
        """
        known = self.known(version)
        if known is not None:
            return known
        if version.identity in self._refused:  # what a version is never changes: it is not downloaded to be refused again
            raise self._refused[version.identity].with_traceback(None)
        task = self._pulls.get(version.identity)
        if task is None:
            task = self._pulls[version.identity] = asyncio.create_task(self._pull_counted(version, source))
            task.add_done_callback(lambda _: self._pulls.pop(version.identity, None))
        done, _ = await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        if not done:
            raise Waiting("Pulling", f"{version.name} version {version.version} is being copied from the registry", delay=2)
        return task.result()

    async def _pull_counted(self, version: ModelVersion, source: Source) -> str:
        result = "failed"
        try:
            async with self._at_once:
                digest = await self._pull(version, source)
            result = "ok"
        except Stalling as error:
            self._refused[version.identity] = error
            raise
        finally:
            metrics.pulls.labels(source="registry", result=result).inc()
        return digest

    async def fetch_from_peers(self, digest: str) -> bool:
        """Whether the version is here now, after asking the other replicas for it."""
        async with self._lock(digest):
            if self.has(digest):
                return True
            for peer in self._peers:
                try:
                    await self._fetch(peer, digest)
                except _PEER_FAILURES:
                    continue  # a peer that is away, has not got it, or sends something else, is no news
                metrics.pulls.labels(source="peer", result="ok").inc()
                return True
            return False

    async def fetch_file_from_peers(self, sha256_digest: str) -> bool:
        """Whether a single file is here now, after asking the other replicas for it."""
        async with self._lock(sha256_digest):
            for peer in self._peers:
                try:
                    async with _peer_session(peer) as session:
                        await self._fetch_file(session, _hexadecimal(sha256_digest), self._max_model_bytes)
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
                f" {self._max_model_bytes:,} (its setting maxModelBytes)",
            )
        for file in remote:
            safe_path(file.path)
        stored, left = [], self._max_model_bytes
        for file in remote:
            sha256, size = await self._keep(source.download(version, file.path), left)
            left -= size
            if file.size and size != file.size:
                raise Waiting(
                    "DownloadIncomplete",
                    f"{file.path} of {version.name} version {version.version} came with {size:,} of {file.size:,} bytes;"
                    " it is tried again",
                )
            stored.append(StoredFile(file.path, sha256, size))
        content = manifest(stored)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        await self._write(self.manifest_path(digest), content)
        await self._write(self._version_path(version), digest.encode())
        return digest

    async def _fetch(self, peer: str, digest: str) -> None:
        async with _peer_session(peer) as session:
            async with session.get(f"/v1/manifests/{digest}") as response:
                content = b"".join([chunk async for chunk in response.content.iter_chunked(CHUNK_BYTES)])
            if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
                raise ValueError(f"{peer} has another manifest under {digest}")
            for file in _parse_manifest(content):
                await self._fetch_file(session, file.sha256, file.size)
        await self._write(self.manifest_path(digest), content)

    async def _fetch_file(self, session: aiohttp.ClientSession, sha256: str, limit: int) -> None:
        if self.file_path(sha256).exists():
            return
        async with session.get(f"/v1/files/sha256:{sha256}") as response:
            await self._keep(response.content.iter_chunked(CHUNK_BYTES), limit, expected=sha256)

    async def _keep(self, chunks: AsyncIterator[bytes], limit: int, expected: str | None = None) -> tuple[str, int]:
        """Write a stream under the hash of its bytes; the hash and the size."""
        hashed, size = hashlib.sha256(), 0
        handle, name = tempfile.mkstemp(dir=self._directory / "tmp")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        raise Stalling("ModelTooLarge", f"the model has more than {self._max_model_bytes:,} bytes")
                    hashed.update(chunk)
                    await asyncio.to_thread(stream.write, chunk)
                await asyncio.to_thread(_to_disk, stream)
            sha256 = hashed.hexdigest()
            if expected is not None and sha256 != expected:
                raise ValueError(f"bytes with hash {sha256} came for {expected}")
            temporary.rename(self.file_path(sha256))
        finally:
            temporary.unlink(missing_ok=True)
        return sha256, size

    async def _write(self, path: Path, content: bytes) -> None:
        handle, name = tempfile.mkstemp(dir=self._directory / "tmp")
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            await asyncio.to_thread(_to_disk, stream)
        Path(name).rename(path)

    def _version_path(self, version: ModelVersion) -> Path:
        return self._directory / "versions" / hashlib.sha256(version.identity.encode()).hexdigest()

    def _lock(self, name: str) -> asyncio.Lock:
        """One for each name that somebody holds; the others are forgotten, so that asking for much costs nothing."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock


def _to_disk(stream: BinaryIO) -> None:
    """So that a crash of the node cannot leave an empty file under the name of its content."""
    stream.flush()
    os.fsync(stream.fileno())


def _peer_session(peer: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(peer, headers={HOP_HEADER: "1"}, timeout=PEER_TIMEOUT, raise_for_status=True)


def manifest(files: Sequence[StoredFile]) -> bytes:
    """The canonical manifest of files: its sha256 is the digest of the version."""
    entries = [
        {"path": file.path, "sha256": file.sha256, "size": file.size} for file in sorted(files, key=lambda file: file.path)
    ]
    return json.dumps({"files": entries}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def safe_path(path: str) -> str:
    """`path` if it stays below the model's directory; Stalling PathEscapes otherwise."""
    parts = PurePosixPath(path).parts
    plain = path == "/".join(parts) and not path.startswith("/") and "\\" not in path and "\0" not in path
    if not parts or not plain or ".." in parts or not path.isprintable():
        raise Stalling(
            "PathEscapes",
            f"the model has a file named {bounded(path, 100)!r}, which does not stay in its own directory; log the model anew",
        )
    return path


def _parse_manifest(content: bytes) -> list[StoredFile]:
    entries: list[dict[str, Any]] = json.loads(content)["files"]
    return [StoredFile(str(entry["path"]), str(entry["sha256"]), int(entry["size"])) for entry in entries]


def _hexadecimal(digest: str) -> str:
    if not DIGEST.fullmatch(digest):
        raise ValueError(f"{bounded(digest, 80)!r} is no digest")
    return digest.removeprefix("sha256:")
