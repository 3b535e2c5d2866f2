"""What comes from Debian: installed where it is missing, said aloud, and left alone where it is there."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.clusters.progress import Trouble, say, step

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

ENVIRONMENT = {**os.environ, "PATH": ":".join(filter(None, (os.environ.get("PATH"), SYSTEM_PATH)))}
"""For the system's tools: a plain `su` leaves out the folders in which half of them are."""

POLICY = Path("/usr/sbin/policy-rc.d")
"""What Debian's packages ask whether they may start their services."""


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
        with services_left_alone():
            result = _apt("install", "-qq", "--yes", "--no-install-recommends", *missing)
        if result.returncode:
            say(result.stdout[-2000:])
            raise Trouble(f"apt-get could not install {names}; its last words are above.")


@contextmanager
def services_left_alone(policy: Path = POLICY) -> Iterator[None]:
    """Packages start no services meanwhile: of docker.io or containerd we want the programs. Somebody's own policy stays."""
    ours = not policy.exists()
    try:
        if ours:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        yield
    finally:
        if ours:
            policy.unlink(missing_ok=True)


def _present(proof: str) -> bool:
    return Path(proof).exists() if proof.startswith("/") else shutil.which(proof, path=SYSTEM_PATH) is not None


def _apt(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**ENVIRONMENT, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        # A fresh machine is often busy with its own updates at first: wait for those.
        ["apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
