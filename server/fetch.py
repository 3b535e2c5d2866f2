"""The init step: get exactly the files that the digest names, from whichever store has them.

Every byte is verified before it gets its name, so whatever carries a file's name in the model's directory is right,
and a step that was killed half-way is simply run again.
"""

import hashlib
import logging
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import urllib3

from server import manifest
from server.errors import ModelNotWritten, PathEscapes, StoreUnavailable
from server.manifest import File, Manifest
from server.settings import Settings

CHUNK = 256 * 1024
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
MAX_SENTENCE_BYTES = 300
WRONG_ANSWERS = 3
"""So many wrong answers are no accident of one connection or of one replica any more: the kubelet tries again, later."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 10.0
PARTIAL = ".partial-"

log = logging.getLogger(__name__)
T = TypeVar("T")


class _NotDelivered(Exception):
    """This attempt failed; another may not."""


class _WrongBytes(Exception):
    """All bytes arrived, and they are not those that were asked for."""


def fetch(settings: Settings) -> Manifest:
    """Fill the model's directory; return what is in it now. Files that are already there and right stay untouched."""
    try:
        return _fetch(settings)
    except OSError as e:  # only of the disk: urllib3 wraps those of the network
        raise ModelNotWritten(
            f"The init step can't write the model to {settings.model_dir}: {e.strerror or type(e).__name__}. "
            "The pod needs a writable volume there with room for the model."
        ) from e


def _fetch(settings: Settings) -> Manifest:
    directory, digest = settings.model_dir, settings.model.digest
    if not settings.store_urls:
        raise StoreUnavailable("The settings name no store (storeUrls), so there is nowhere to get the model from.")
    store = _Store(
        urls=tuple(str(url).rstrip("/") for url in settings.store_urls),
        deadline=time.monotonic() + settings.fetch_timeout_seconds,
        token_file=settings.store_token_file,
    )
    directory.mkdir(parents=True, exist_ok=True)
    for leftover in directory.rglob(PARTIAL + "*"):
        leftover.unlink()
    content = store.get(f"/v1/manifests/{digest}", partial(_manifest, digest=digest))
    wanted = manifest.parse(content)
    for file in wanted.files:
        target = _target(directory, file)
        if target.is_file() and target.stat().st_size == file.size and manifest.hash_of(target) == file.sha256:
            continue
        store.get(f"/v1/files/sha256:{file.sha256}", partial(_write, file=file, target=target))
    size = sum(file.size for file in wanted.files)
    log.info("model fetched", extra={"digest": digest, "files": len(wanted.files), "bytes": size})
    return wanted


@dataclass(slots=True)
class _Store:
    """The stores as one: each is asked in turn until one delivers or the time is up."""

    urls: tuple[str, ...]
    deadline: float
    token_file: Path | None
    pool: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=5, read=30))
    )

    def get(self, path: str, consume: Callable[[Iterator[bytes]], T]) -> T:
        """What `consume` makes of the first complete and right answer."""
        attempt, wrong = 0, 0
        while True:
            url = self.urls[attempt % len(self.urls)] + path
            try:
                return self._attempt(url, consume, doubted=wrong > 0)
            except _WrongBytes as e:
                wrong, cause = wrong + 1, str(e)
                if wrong == WRONG_ANSWERS:
                    raise StoreUnavailable(
                        f"{cause}: what the store sends is damaged, in the store or on the way. It reads its copy again when it "
                        "is told, and gets another one from the registry."
                    ) from e
            except _NotDelivered as e:
                cause = str(e)
            attempt += 1
            pause = _pause(attempt // len(self.urls))
            if time.monotonic() + pause > self.deadline:
                raise StoreUnavailable(f"No store delivered the model in time; the last attempt: {cause}.")
            log.warning("store did not deliver", extra={"attempt": attempt, "cause": cause, "retry_in": round(pause, 2)})
            time.sleep(pause)

    def _attempt(self, url: str, consume: Callable[[Iterator[bytes]], T], *, doubted: bool) -> T:
        try:
            response = self.pool.request(
                "GET", url, headers=self._headers(doubted=doubted), preload_content=False, redirect=False, decode_content=False
            )
            try:
                if response.status != 200:
                    raise _NotDelivered(f"{url} answered {response.status}{_sentence(response)}")
                return consume(self._chunks(response, url))
            finally:
                response.close()
        except urllib3.exceptions.HTTPError as e:
            raise _NotDelivered(f"{url}: {type(e).__name__}") from e

    def _headers(self, *, doubted: bool) -> dict[str, str]:
        headers = {"Cache-Control": "no-cache"} if doubted else {}  # the store is to look at the file itself once more
        if self.token_file is None:
            return headers
        try:
            return headers | {"Authorization": f"Bearer {self.token_file.read_text().strip()}"}
        except OSError as e:
            raise _NotDelivered(f"the token {self.token_file} can't be read: {e.strerror or type(e).__name__}") from e

    def _chunks(self, response: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
        """Whatever has arrived: who waits for a full chunk looks at no clock while a store sends byte by byte."""
        while chunk := response.read1(CHUNK, decode_content=False):
            if time.monotonic() > self.deadline:
                raise StoreUnavailable(f"No store delivered the model in time; {url} was still sending.")
            yield chunk


def _sentence(response: urllib3.BaseHTTPResponse) -> str:
    """Why a store refused, in its own words, as far as they are short and plain."""
    text = (response.read1(MAX_SENTENCE_BYTES, decode_content=False) or b"").decode(errors="replace").strip()
    return f": {text}" if text and text.isprintable() else ""


def _pause(rounds: int) -> float:
    """Seconds to wait: doubled each round, and never the same for all pods of a Deployment."""
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * float(2 ** min(rounds, 10)))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


def _manifest(chunks: Iterator[bytes], digest: str) -> bytes:
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > MAX_MANIFEST_BYTES:
            raise _WrongBytes(f"The manifest {digest} is longer than any manifest")
    found = manifest.digest_of(bytes(content))
    if found != digest:
        raise _WrongBytes(f"The manifest {digest} arrived as {found}")
    return bytes(content)


def _target(directory: Path, file: File) -> Path:
    """Where a file belongs. The manifest's paths are plain; what already lies in the directory may not be."""
    target = directory / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or not target.parent.resolve().is_relative_to(directory.resolve()):
        raise PathEscapes(f"In the model's directory, {file.path!r} leads elsewhere.")
    return target


def _write(chunks: Iterator[bytes], file: File, target: Path) -> None:
    """Write under a name of its own, and rename only what has the right size and hash."""
    handle, name = tempfile.mkstemp(prefix=PARTIAL, dir=target.parent)
    unnamed = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            digest, size = hashlib.sha256(), 0
            for chunk in chunks:
                size += len(chunk)
                if size > file.size:
                    raise _WrongBytes(f"The file {file.path} has more than its {file.size} bytes")
                digest.update(chunk)
                stream.write(chunk)
        if size != file.size or digest.hexdigest() != file.sha256:
            raise _WrongBytes(f"The file {file.path} arrived with another content than its hash says")
        unnamed.chmod(0o644)
        unnamed.replace(target)
    finally:
        unnamed.unlink(missing_ok=True)
