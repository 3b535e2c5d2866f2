"""What a digest names: the list of a version's files, each with its size and its own hash.

The digest is the sha256 of that list in one canonical form: it survives a second pull and any change of packing.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from controller.errors import Stalling
from controller.text import bounded

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a manifest: path below the model's directory, sha256 in hexadecimal, size in bytes."""

    path: str
    sha256: str
    size: int


def digest_of(content: bytes) -> str:
    """The digest of a manifest, and so of its version."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def hexadecimal(digest: str) -> str:
    """The digits of a digest."""
    if not DIGEST.fullmatch(digest):
        raise ValueError(f"{bounded(digest, 80)!r} is no digest")
    return digest.removeprefix("sha256:")


def written(files: Sequence[StoredFile]) -> bytes:
    """The canonical manifest of files."""
    entries = [
        {"path": file.path, "sha256": file.sha256, "size": file.size} for file in sorted(files, key=lambda file: file.path)
    ]
    return json.dumps({"files": entries}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse(content: bytes) -> list[StoredFile]:
    """The files that a manifest names."""
    entries: list[dict[str, Any]] = json.loads(content)["files"]
    return [StoredFile(str(entry["path"]), str(entry["sha256"]), int(entry["size"])) for entry in entries]


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
