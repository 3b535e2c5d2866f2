"""Runs a script of this package under another scikit-learn: MLflow and all else as they are, that one package in front."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.installation import CHECKOUT
from tests.kubernetes import CommandFailedError

_KEPT: list[TemporaryDirectory[str]] = []


def run(minor: str, module: str, *arguments: str) -> str:
    """`python -m module` under the scikit-learn that the server image of `minor` has; what it printed."""
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{_installed(minor)}{os.pathsep}{CHECKOUT}"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False, env=environment)
    if done.returncode:
        raise CommandFailedError(command, done.returncode, done.stdout + done.stderr)
    return done.stdout


@cache
def _installed(minor: str) -> Path:
    """A directory with nothing but that scikit-learn, by the hashes that its image is built from."""
    locked = (CHECKOUT / "server" / f"requirements-sklearn-{minor}.txt").read_text()
    (entry,) = re.findall(r"^scikit-learn==(?:.*\\\n)+.*\n", locked, re.MULTILINE)
    kept = TemporaryDirectory(prefix=f"sklearn-{minor}-")
    _KEPT.append(kept)
    directory = Path(kept.name)
    requirements = directory / "requirements.txt"
    requirements.write_text(entry)
    target = directory / "packages"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    done = subprocess.run(
        [*command, "--target", str(target), "-r", str(requirements)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandFailedError(command, done.returncode, done.stdout + done.stderr)
    return target
