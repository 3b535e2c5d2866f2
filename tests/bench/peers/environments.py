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


def install(name: str) -> bool:
    """Make it unless it is there; whether there was something to do."""
    locked, directory = requirements(name), KEPT / name
    digest, done = hashlib.sha256(locked.read_bytes()).hexdigest(), KEPT / name / ".installed"
    if done.is_file() and done.read_text() == digest:
        return False
    shutil.rmtree(directory, ignore_errors=True)
    uv = str(Path(sys.executable).with_name("uv"))
    _run(uv, "venv", "--quiet", "--python", sys.executable, str(directory))
    options = ["--quiet", "--require-hashes", "--compile-bytecode", "--link-mode", "copy"]
    _run(uv, "pip", "install", *options, "--python", str(python(name)), "-r", str(locked))
    done.write_text(digest)
    return True


def megabytes(name: str) -> float:
    """What it takes on the disk, compiled Python files included."""
    files = (path.lstat() for path in (KEPT / name).rglob("*") if not path.is_dir())
    return sum(file.st_blocks * 512 for file in files) / 2**20


def version(name: str, package: str) -> str:
    """Of a package in it."""
    told = "from importlib.metadata import version; print(version({!r}))".format(package)
    return _run(str(python(name)), "-c", told).strip()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(" ".join(done.stderr.split())[-300:])
    return done.stdout
