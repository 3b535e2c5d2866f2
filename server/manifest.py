"""What a digest names: the list of a model's files, each with its size and its own hash.

The digest is the hash of that list in one canonical form, so it survives any change of packing, and a single file can
be fetched and verified by itself.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.errors import DigestMismatch, PathEscapes


class File(BaseModel):
    """One file of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    path: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class _Files(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    files: list[File]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a model, sorted by path."""

    files: tuple[File, ...]

    @property
    def digest(self) -> str:
        """The name of exactly these files with exactly these contents."""
        files = [file.model_dump() for file in self.files]
        text = json.dumps({"files": files}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return digest_of(text.encode())


def digest_of(manifest: bytes) -> str:
    """The digest of a manifest as it travels."""
    return "sha256:" + hashlib.sha256(manifest).hexdigest()


def parse(content: bytes) -> Manifest:
    """The manifest in these bytes, whose digest has been verified. Refuses every path that is not plainly inside."""
    try:
        files = tuple(_Files.model_validate_json(content).files)
    except ValidationError as e:
        raise DigestMismatch("The model's manifest has the right digest and can't be understood.") from e
    paths = {file.path for file in files}
    for path in sorted(paths):
        if not _is_plain(path):
            raise PathEscapes(f"The model has a file {path!r}, which could lie outside the model's directory.")
        if any(str(parent) in paths for parent in PurePosixPath(path).parents):
            raise PathEscapes(f"The model has a file {path!r} inside another file.")
    if len(paths) != len(files):
        raise PathEscapes("The model's manifest has the same path more than once.")
    return Manifest(files)


def of_directory(directory: Path) -> Manifest:
    """The manifest of what lies in a directory, hashed anew."""
    return Manifest(tuple(sorted(_files(directory), key=lambda file: file.path)))


def hash_of(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files(directory: Path) -> Iterator[File]:
    for path in directory.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise PathEscapes(f"The model's directory has {path.relative_to(directory)}, which is no plain file.")
        if path.is_file():
            name = path.relative_to(directory).as_posix()
            yield File(path=name, sha256=hash_of(path), size=path.stat().st_size)


def _is_plain(path: str) -> bool:
    parts = path.split("/")
    return "\\" not in path and "\0" not in path and all(part not in ("", ".", "..") for part in parts)
