"""Writes a container image of a few files as an archive, without an image builder: `docker load` and containerd read it."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def write(target: Path, name: str, files: Mapping[str, Path], command: Sequence[str]) -> None:
    """One layer with `files` (path in the image -> file on disk, made executable), started by `command`."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for path, source in sorted(files.items()):
            _add(tar, path, source.read_bytes(), mode=0o755)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    configuration = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": list(command), "User": "65534:65534"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    temporary = target.with_suffix(".new")
    with tarfile.open(temporary, "w") as tar:
        _add(tar, "layer.tar", layer.getvalue())
        _add(tar, "config.json", configuration)
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    temporary.rename(target)


def _add(tar: tarfile.TarFile, path: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(path)
    entry.size = len(content)
    entry.mode = mode
    tar.addfile(entry, io.BytesIO(content))
