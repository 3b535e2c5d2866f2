"""What comes from Debian: installed where it is missing, said aloud, and left alone where it is there."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.clusters.progress import Trouble, say, step

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def ensure(packages: Mapping[str, str]) -> None:
    """Install what is missing of `packages`, a mapping from the file or program that tells to the Debian package."""
    missing = sorted({package for proof, package in packages.items() if not _present(proof)})
    if not missing:
        return
    names = " ".join(missing)
    if shutil.which("apt-get") is None:
        raise Trouble(f"Missing on this machine: {names} (Debian's names). Install them and try again.")
    if os.geteuid() != 0:
        raise Trouble(f"Missing on this machine: {names}. Install them as root: apt-get install {names}")
    with step(f"installing Debian packages: {names}"):
        # A third party's broken source must not stop us: what counts is whether the installation works.
        _apt("update", "-qq")
        result = _apt("install", "-qq", "--yes", "--no-install-recommends", *missing)
        if result.returncode:
            say(result.stdout[-2000:])
            raise Trouble(f"apt-get could not install {names}; its last words are above.")


def _present(proof: str) -> bool:
    return Path(proof).exists() if proof.startswith("/") else shutil.which(proof, path=SYSTEM_PATH) is not None


def _apt(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        ["apt-get", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
