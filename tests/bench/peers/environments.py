"""Throw-away environments, one for each kind of server, installed from what is pinned beside this file."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.clusters.settings import CHECKOUT

HERE = Path(__file__).parent
KEPT = CHECKOUT / ".bench" / "environments"
OURS = "ours"


class NotInstalled(Exception):
    """Why there is no such environment."""


def requirements(name: str) -> Path:
    """What is in it, with hashes. Ours is what our image has."""
    return CHECKOUT / "server" / "requirements.txt" if name == OURS else HERE / f"{name}.txt"


def python(name: str) -> Path:
    return KEPT / name / "bin" / "python"


def installed(name: str) -> bool:
    """Whether it is there, as it is locked now."""
    done = _done(name)
    return done.is_file() and done.read_text() == _digest(name)


def install(name: str) -> None:
    """Make it anew."""
    directory = KEPT / name
    shutil.rmtree(directory, ignore_errors=True)
    uv = str(Path(sys.executable).with_name("uv"))
    _run(uv, "venv", "--quiet", "--python", sys.executable, str(directory))
    options = ["--quiet", "--require-hashes", "--compile-bytecode", "--link-mode", "copy"]
    _run(uv, "pip", "install", *options, "--python", str(python(name)), "-r", str(requirements(name)))
    _done(name).write_text(_digest(name))


def megabytes(name: str) -> float:
    """What it takes on the disk, compiled Python files included."""
    files = (path.lstat() for path in (KEPT / name).rglob("*") if not path.is_dir())
    return sum(file.st_blocks * 512 for file in files) / 2**20


def version(name: str, package: str) -> str:
    """Of a package in it."""
    told = f"from importlib.metadata import version; print(version({package!r}))"
    return _run(str(python(name)), "-c", told).strip()


def _done(name: str) -> Path:
    return KEPT / name / ".installed"


def _digest(name: str) -> str:
    return hashlib.sha256(requirements(name).read_bytes()).hexdigest()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(" ".join(done.stderr.split())[-300:])
    return done.stdout
