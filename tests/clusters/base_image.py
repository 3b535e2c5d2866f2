"""The stand-in for the public Python image where no public registry answers: Debian's Python in a root file system.

Made once by debootstrap, without what a container never needs, and kept in the builder's store.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.clusters import packages
from tests.clusters.progress import Trouble, say, step

RELEASE = "bookworm"
"""Its Python is 3.11, as in the public image that it stands in for."""

NAME = "localhost/modeldeployment-base:bookworm-1"
"""The number rises with a change of what is below."""

PYTHON = "python3,python3-venv,ca-certificates"

NEEDLESS = (
    "etc/apt usr/bin/apt* usr/lib/apt usr/libexec/apt var/lib/apt/* var/cache/* var/log/* usr/sbin/apt*",
    "usr/bin/dpkg* usr/sbin/dpkg* usr/lib/dpkg usr/libexec/dpkg usr/share/dpkg var/lib/dpkg/info/*",
    "usr/bin/perl* usr/lib/*/perl* usr/share/perl* usr/share/debconf usr/sbin/debconf* usr/bin/debconf*",
    "usr/share/doc usr/share/doc-base usr/share/man usr/share/info usr/share/locale usr/share/i18n usr/share/lintian",
    "usr/share/bash-completion usr/share/common-licenses usr/share/bug usr/lib/*/gconv usr/lib/udev usr/lib/systemd",
    "usr/lib/python3*/test usr/lib/python3*/idlelib usr/lib/python3*/lib2to3 usr/lib/python3*/pydoc_data",
    "usr/sbin/mke2fs usr/sbin/e2fsck usr/sbin/debugfs usr/sbin/resize2fs usr/sbin/tune2fs tmp/* dev/*",
)


def write(target: Path) -> None:
    """Write the root file system as a tar archive."""
    packages.ensure({"debootstrap": "debootstrap"})
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".base-") as folder:
        root = Path(folder, "root")
        with step(f"making a base image from Debian {RELEASE} (once; no public registry answers)"):
            # In namespaces of its own: what debootstrap mounts in the new root goes with them, also when it is killed.
            command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "debootstrap", "--variant=minbase"]
            _run([*command, f"--include={PYTHON}", RELEASE, str(root)])
            for patterns in NEEDLESS:
                for pattern in patterns.split():
                    for path in root.glob(pattern):
                        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            temporary = Path(folder, "root.tar")
            _run(["tar", "--create", "--numeric-owner", "--file", str(temporary), "--directory", str(root), "."])
            temporary.rename(target)


def _run(command: list[str]) -> None:
    result = subprocess.run(command, env=packages.ENVIRONMENT, capture_output=True, text=True, check=False)
    if result.returncode:
        say((result.stdout + result.stderr)[-2000:])
        raise Trouble(f"{command[0]} could not make the base image; its last words are above.")
