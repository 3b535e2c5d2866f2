"""The locked requirements of the rooms, of the tests and of the benchmarks' peers."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.clusters.settings import CHECKOUT

IN_IMAGES = {
    "server": CHECKOUT / "server" / "requirements.txt",
    "server-sklearn-1.8": CHECKOUT / "server" / "requirements-sklearn-1.8.txt",
    "controller": CHECKOUT / "controller" / "requirements.txt",
}
"""What each image that a release publishes is made of."""

ALL = sorted(
    [
        *CHECKOUT.glob("*/requirements*.txt"),
        *CHECKOUT.glob("manifests/*/requirements.txt"),
        *CHECKOUT.glob("tests/contract/*-requirements.txt"),
        *CHECKOUT.glob("tests/bench/peers/*.txt"),
    ]
)
"""Every lock there is: what `make lock` writes."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One requirement as it stands in a lock."""

    name: str
    version: str | None
    """Nothing where it is not one exact version."""
    marker: Marker | None
    hashes: tuple[str, ...]

    def needed(self, python: str) -> bool:
        """Whether a Linux machine with this Python installs it."""
        environment = {
            "python_version": python,
            "python_full_version": f"{python}.0",
            "sys_platform": "linux",
            "os_name": "posix",
        }
        return self.marker is None or self.marker.evaluate({**environment, "platform_system": "Linux"})


def pins(lock: Path) -> Iterator[Pin]:
    for line in lock.read_text().replace("\\\n", " ").splitlines():
        told, *hashes = line.split(" --hash=")
        requirement = Requirement(told)
        specifiers = list(requirement.specifier)
        exact = len(specifiers) == 1 and specifiers[0].operator == "==" and not specifiers[0].version.endswith("*")
        version = specifiers[0].version if exact else None
        yield Pin(canonicalize_name(requirement.name), version, requirement.marker, tuple(each.strip() for each in hashes))
