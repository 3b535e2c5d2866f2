"""What is in an image, read from its archive: its configuration, and everything that its last layer leaves visible."""

import hashlib
import json
import re
import tarfile
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

RECORDS = re.compile(r"usr/lib/os-release|var/lib/dpkg/status|.*/site-packages/[^/]+\.dist-info/(METADATA|sboms/[^/]+\.json)")
"""Where an image says what was installed into it."""


@dataclass(frozen=True, slots=True)
class Contents:
    digest: str
    """Of the image's configuration, which names its layers: the image's ID."""
    image: dict[str, Any]
    files: dict[str, int] = field(default_factory=dict)
    """The mode of each file by its path, without a leading slash; a symbolic link has none of its own."""
    folders: dict[str, int] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)
    """The text of each file that RECORDS names."""

    @property
    def configuration(self) -> dict[str, Any]:
        """How a container of it is started."""
        configuration: dict[str, Any] = self.image["config"]
        return configuration

    def below(self, part: str) -> list[str]:
        """The files that lie in a folder of this name, wherever it is."""
        return [path for path in self.files if part in PurePosixPath(path).parts[:-1]]


def contents(archive: Path) -> Contents:
    with tarfile.open(archive) as image:
        manifest = json.loads(_read(image, "manifest.json"))[0]
        configuration = _read(image, manifest["Config"])
        found = Contents(hashlib.sha256(configuration).hexdigest(), json.loads(configuration))
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=image.extractfile(name)) as layer:
                _lay_over(found, layer)
    return found


def _lay_over(below: Contents, layer: tarfile.TarFile) -> None:
    added = Contents("", {})
    for entry in layer:
        path = PurePosixPath(entry.name)
        if path.name == ".wh..wh..opq":
            _remove(below, str(path.parent))
        elif path.name.startswith(".wh."):
            _remove(below, str(path.with_name(path.name.removeprefix(".wh."))))
        elif entry.isdir():
            added.folders[str(path)] = entry.mode & 0o7777
        else:
            added.files[str(path)] = 0 if entry.issym() else entry.mode & 0o7777
            if entry.isfile() and RECORDS.fullmatch(str(path)):
                added.records[str(path)] = _read(layer, entry).decode()
    below.files.update(added.files)
    below.folders.update(added.folders)
    below.records.update(added.records)


def _remove(below: Contents, path: str) -> None:
    everything: tuple[MutableMapping[str, Any], ...] = (below.files, below.folders, below.records)
    for mapping in everything:
        for each in [each for each in mapping if each == path or each.startswith(f"{path}/")]:
            del mapping[each]


def _read(archive: tarfile.TarFile, entry: str | tarfile.TarInfo) -> bytes:
    content = archive.extractfile(entry)
    assert content is not None, f"no {entry} in {archive.name!r}"
    return content.read()
