"""A digest names files, and only files that lie plainly inside a directory."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from server import manifest
from server.errors import DigestMismatch, PathEscapes


def travelling(*paths: str, **changes: Any) -> bytes:
    files = [{"path": path, "sha256": "0" * 64, "size": 1, **changes} for path in paths]
    return json.dumps({"files": files}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_the_digest_is_that_of_the_canonical_bytes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "é").write_bytes(b"x")
    (tmp_path / "a").write_bytes(b"")
    empty, x = hashlib.sha256(b"").hexdigest(), hashlib.sha256(b"x").hexdigest()
    canonical = f'{{"files":[{{"path":"a","sha256":"{empty}","size":0}},{{"path":"sub/é","sha256":"{x}","size":1}}]}}'.encode()
    assert manifest.of_directory(tmp_path).digest == "sha256:" + hashlib.sha256(canonical).hexdigest()
    assert manifest.parse(canonical) == manifest.of_directory(tmp_path)


@pytest.mark.parametrize(
    "path", ["../a", "a/../../b", "/etc/passwd", "a//b", "a/", "./a", "", "a\\..\\b", "a\0b", ".."], ids=lambda path: repr(path)
)
def test_a_path_that_may_escape_is_refused(path: str) -> None:
    with pytest.raises(PathEscapes):
        manifest.parse(travelling(path))


@pytest.mark.parametrize("paths", [("a", "a"), ("a", "a/b")], ids=str)
def test_a_path_stands_once_and_is_no_directory(paths: tuple[str, ...]) -> None:
    with pytest.raises(PathEscapes):
        manifest.parse(travelling(*paths))


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b"\xff", travelling("a", sha256="x"), travelling("a", size=-1), travelling("a", size="1")]
)
def test_a_manifest_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(DigestMismatch):
        manifest.parse(content)


def test_a_directory_with_a_link_has_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").symlink_to("/etc/passwd")
    with pytest.raises(PathEscapes, match="MLmodel"):
        manifest.of_directory(tmp_path)
