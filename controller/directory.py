"""The store's directory: what lies where, how it becomes visible, and how it goes.

    files/<sha256>               the bytes of a file, shared between versions
    manifests/<sha256>           path, size and sha256 of every file of a version, sorted, as canonical JSON; its time of
                                 modification is when it was last pulled, named or served
    versions/<sha256>            which digest a registered version turned out to have
    origins/<sha256>             from which registered models a version's files came: who may have those may have these
    mirrored                     is there once the models that run were copied here after a start
    tmp/                         downloads in progress
    lock                         held for the moment in which a manifest is published, or garbage goes

Several processes share one directory and its limit (`controller.disk`). A manifest is only ever published under the lock, with
all of its files there; garbage goes under the same lock, the manifest first. So a manifest that can be seen is complete,
whatever was killed when.
"""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from controller import manifest, metrics, origins
from controller.disk import Disk, write_all
from controller.errors import Stalling, Waiting
from controller.manifest import DIGEST, StoredFile
from controller.origins import Origin

TOUCH_SECONDS = 60.0  # shorter than anything unused is left alone for


class Directory(Disk):
    """A directory of files by their hash and of manifests by theirs, of at most `max_bytes`."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        super().__init__(directory, ("files", "manifests", "versions", "origins"), max_bytes)

    def manifest_path(self, digest: str) -> Path:
        return self._directory / "manifests" / manifest.hexadecimal(digest)

    def file_path(self, sha256: str) -> Path:
        return self._directory / "files" / manifest.hexadecimal(f"sha256:{sha256}")

    @property
    def mirrored(self) -> bool:
        """Whether what the statuses name was here at least once since the directory was made."""
        return (self._directory / "mirrored").exists()

    def mark_mirrored(self) -> None:
        (self._directory / "mirrored").touch()

    def has(self, digest: str) -> bool:
        return self.manifest_path(digest).is_file()

    def digests(self) -> set[str]:
        """Every version that is here."""
        return {f"sha256:{entry.name}" for entry in self._entries("manifests")}

    def file_paths(self) -> list[Path]:
        """Every file, by its hash."""
        return [Path(entry.path) for entry in self._entries("files")]

    def files(self, digest: str) -> list[StoredFile]:
        """The files of a stored version. Raises Waiting (StoreDamaged) where its manifest is not what it was any more."""
        content = self.manifest_path(digest).read_bytes()
        if manifest.digest_of(content) != digest:
            with self._locked():
                self.manifest_path(digest).unlink(missing_ok=True)
            raise _damaged(f"the manifest {digest}")
        return manifest.parse(content)

    def read(self, digest: str, path: str, limit: int) -> bytes | None:
        """The first `limit` bytes of one file of a stored version, or None where it has no such file.

        Raises Waiting (StoreDamaged) where a file that is read to its end is not what it was any more.
        """
        for file in self.files(digest):
            if file.path == path:
                try:
                    with self.file_path(file.sha256).open("rb") as stream:
                        content = stream.read(limit)
                except FileNotFoundError:
                    content = b""
                if file.size < limit and hashlib.sha256(content).hexdigest() != file.sha256:
                    self.discard(file.sha256)
                    raise _damaged(f"the file {path} of {digest}")
                return content
        return None

    def whole(self, digest: str) -> bool:
        """Whether a version's manifest is right and its files have their sizes; one that is not whole is dropped."""
        try:
            files = self.files(digest)
        except (FileNotFoundError, Waiting):
            return False
        for file in files:
            if _size_of(self.file_path(file.sha256)) != file.size:
                self.discard(file.sha256)
                return False
        return True

    def discard(self, sha256: str) -> set[str]:
        """Drop a file that is damaged, and with it every version that needs it; which these were."""
        with self._locked():
            lost = {digest for digest in self.digests() if sha256 in self._hashes(digest)}
            for digest in lost:
                self.manifest_path(digest).unlink(missing_ok=True)
            self.file_path(sha256).unlink(missing_ok=True)
        return lost

    def used(self, digests: Collection[str]) -> None:
        """Remember that these versions are in use, as far as they are here."""
        for digest in digests:
            try:
                os.utime(self.manifest_path(digest))
            except FileNotFoundError:
                continue

    def unused(self, named: Collection[str], seconds: float) -> set[str]:
        """The versions that nothing names, and that were not pulled, named or served for so long."""
        before = time.time() - seconds
        return {digest for digest in self.digests() - set(named) if _modified(self.manifest_path(digest)) < before}

    def drop(self, digests: Collection[str], seconds: float) -> int:
        """Drop these versions unless they were used within `seconds`, and what belongs to no version; how many went.

        Files that another manifest names stay. Those that none names may be of a download that goes on, which touches them:
        they have to be as old as a version has to be.
        """
        with self._locked():
            before, dropped = time.time() - seconds, 0
            for digest in digests:
                path = self.manifest_path(digest)
                if _modified(path) < before:
                    path.unlink()
                    dropped += 1
            here = self.digests()
            kept = {sha256 for digest in here for sha256 in self._hashes(digest)}
            for entry in self._entries("versions"):
                if Path(entry.path).read_text() not in here and entry.stat().st_mtime < before:
                    Path(entry.path).unlink()
            for entry in self._entries("origins"):
                if f"sha256:{entry.name}" not in here and entry.stat().st_mtime < before:
                    Path(entry.path).unlink()
            for entry in self._entries("files"):
                if entry.name not in kept and entry.stat().st_mtime < before:
                    Path(entry.path).unlink()
        metrics.store_dropped.inc(dropped)
        return dropped

    async def keep(
        self, chunks: AsyncIterator[bytes], limit: int, expected: str | None = None, beside: Collection[str] = ()
    ) -> tuple[str, int]:
        """Write a stream of at most `limit` bytes under the hash of its bytes; the hash and the size.

        `beside` are the hashes of files of the same version that came before: they do not get old over this one.
        """
        hashed, size, touched = hashlib.sha256(), 0, float("-inf")
        with self._disk():
            stream, temporary = self._temporary()
        try:
            with stream:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        raise Stalling(
                            "ModelTooLarge", "it has more bytes than the operator takes (chart value store.maxModelBytes)"
                        )
                    if time.monotonic() - touched >= TOUCH_SECONDS:
                        await asyncio.to_thread(self.touch, beside)
                        touched = time.monotonic()
                    await self._take(len(chunk))
                    hashed.update(chunk)
                    with self._disk():
                        await asyncio.to_thread(write_all, stream, chunk)
                with self._disk():
                    await asyncio.to_thread(os.fsync, stream.fileno())
                sha256 = hashed.hexdigest()
                if expected is not None and sha256 != expected:
                    raise ValueError(f"bytes with hash {sha256} came for {expected}")
                temporary.rename(self.file_path(sha256))
        finally:
            temporary.unlink(missing_ok=True)
        return sha256, size

    async def publish(self, content: bytes) -> str:
        """Make a version visible, all of whose files were kept; its digest. FileNotFoundError where one is gone again."""
        digest = manifest.digest_of(content)
        with self._disk():
            await asyncio.to_thread(self._publish, self.manifest_path(digest), content)
        return digest

    async def remember(self, identity: str, digest: str) -> None:
        """Remember which digest a registered version has."""
        with self._disk():
            await asyncio.to_thread(self._write, self._version_path(identity), digest.encode())

    def remembered(self, identity: str) -> str | None:
        """The digest that a registered version turned out to have, where it is still here."""
        try:
            digest = self._version_path(identity).read_text()
        except FileNotFoundError:
            return None
        return digest if DIGEST.fullmatch(digest) and self.has(digest) else None

    def origins(self, digest: str) -> frozenset[Origin]:
        """Where a version is known to come from."""
        try:
            return origins.parse(self._origins_path(digest).read_bytes())
        except FileNotFoundError:
            return frozenset()

    def known(self) -> dict[str, frozenset[Origin]]:
        """Every version that is here, and where it is known to come from."""
        return {digest: self.origins(digest) for digest in self.digests()}

    async def add_origins(self, digest: str, found: Collection[Origin]) -> None:
        """Remember that a version comes from there, too. Before it is published: what can be seen has its origin."""
        with self._disk():
            await asyncio.to_thread(self._add_origins, digest, frozenset(found))

    def _add_origins(self, digest: str, found: frozenset[Origin]) -> None:
        with self._locked():
            before = self.origins(digest)
            if not found <= before:
                self._write(self._origins_path(digest), origins.written(before | found))

    def _hashes(self, digest: str) -> set[str]:
        """What a manifest names; nothing where it is damaged, since nobody can have it then."""
        try:
            return {file.sha256 for file in manifest.parse(self.manifest_path(digest).read_bytes())}
        except (ValueError, KeyError, TypeError):
            return set()

    def touch(self, hashes: Collection[str]) -> None:
        """Keep files that no manifest names yet from being taken for garbage."""
        for sha256 in hashes:
            with contextlib.suppress(FileNotFoundError):
                os.utime(self.file_path(sha256))

    def _publish(self, path: Path, content: bytes) -> None:
        with self._locked():
            for file in manifest.parse(content):
                os.utime(self.file_path(file.sha256))
            self._write(path, content)

    def _origins_path(self, digest: str) -> Path:
        return self._directory / "origins" / manifest.hexadecimal(digest)

    def _version_path(self, identity: str) -> Path:
        return self._directory / "versions" / hashlib.sha256(identity.encode()).hexdigest()


def _modified(path: Path) -> float:
    """When a manifest was last in use; never long ago where it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _damaged(what: str) -> Waiting:
    return Waiting("StoreDamaged", f"{what} was damaged on the disk of the operator's store; it is copied again", delay=2)


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
