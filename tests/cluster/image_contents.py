"""What is in an image, read from its archive: its configuration, and every file that its last layer leaves visible."""

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any


@dataclass(frozen=True, slots=True)
class Contents:
    configuration: dict[str, Any]
    files: dict[str, int]
    """The mode of each file by its path, without a leading slash; a symbolic link has none of its own."""

    def below(self, part: str) -> list[str]:
        """The files that lie in a folder of this name, wherever it is."""
        return [path for path in self.files if part in PurePosixPath(path).parts[:-1]]


def contents(archive: Path) -> Contents:
    files: dict[str, int] = {}
    with tarfile.open(archive) as image:
        manifest = json.loads(_read(image, "manifest.json"))[0]
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=image.extractfile(name)) as layer:
                _lay_over(files, layer)
        configuration = json.loads(_read(image, manifest["Config"]))
    return Contents(configuration["config"], files)


def _lay_over(files: dict[str, int], layer: tarfile.TarFile) -> None:
    added: dict[str, int] = {}
    for entry in layer:
        path = PurePosixPath(entry.name)
        if path.name == ".wh..wh..opq":
            _remove(files, str(path.parent))
        elif path.name.startswith(".wh."):
            _remove(files, str(path.with_name(path.name.removeprefix(".wh."))))
        elif not entry.isdir():
            added[str(path)] = 0 if entry.issym() else entry.mode & 0o7777
    files.update(added)


def _remove(files: dict[str, int], path: str) -> None:
    for each in [each for each in files if each == path or each.startswith(f"{path}/")]:
        del files[each]


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    content = archive.extractfile(name)
    assert content is not None, f"no {name} in {archive.name!r}"
    return content.read()
