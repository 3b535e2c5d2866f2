"""Where a cluster comes from: one small interface, three ways, the choice between them, and a start that takes turns."""

import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.clusters.existing import Existing
from tests.clusters.image import Image
from tests.clusters.kind import Kind, engine_can_run_nodes
from tests.clusters.local.cluster import Local
from tests.clusters.progress import Trouble, say
from tests.clusters.settings import Settings


class Provider(Protocol):
    name: str

    def prepare(self) -> None:
        """Build and install what start() needs, and start nothing."""

    def start(self) -> Path:
        """Bring the cluster up, or find it up; returns the path of its kubeconfig."""

    def load_images(self, images: Sequence[Image]) -> dict[str, str]:
        """Make images available to pods; returns the name that each has in the cluster by its local name."""

    def stop(self) -> None:
        """Take away everything that start() made."""

    def running(self) -> bool:
        """Whether there is a cluster that images can be loaded into."""

    def status(self) -> str:
        """What there is, in a few lines for a person."""


def chosen(settings: Settings) -> Provider:
    """The provider for this machine: what was asked for, else what exists, else kind, else the machine itself."""
    providers: dict[str, type[Existing] | type[Kind] | type[Local]] = {"existing": Existing, "kind": Kind, "local": Local}
    if settings.wanted:
        if settings.wanted not in providers:
            raise Trouble(f"CLUSTER_PROVIDER={settings.wanted} is not known; there are {', '.join(providers)}.")
        return providers[settings.wanted](settings)
    if settings.given_kubeconfig:
        return Existing(settings)
    if (settings.state / "node").exists():  # begun as local before: an engine that has come up since does not change it
        return Local(settings)
    return Kind(settings) if engine_can_run_nodes() else Local(settings)


def started(settings: Settings) -> tuple[Provider, Path]:
    """The chosen cluster, up, and its kubeconfig; a person is asked before anything is started on the machine itself."""
    provider = chosen(settings)
    if isinstance(provider, Local) and not provider.running():
        _ask()
    with alone(settings):
        return provider, provider.start()


def end(settings: Settings) -> None:
    """End the chosen cluster; a local one of this checkout also when another has been chosen since."""
    with alone(settings):
        provider = chosen(settings)
        if not isinstance(provider, Local) and (settings.state / "node").exists():
            Local(settings).stop()
        provider.stop()


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """One start or end at a time in a checkout. The lock is on its folder, so there is no file to leave behind."""
    folder = os.open(settings.checkout, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another start or end of the cluster in this checkout")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _ask() -> None:
    if not sys.stdin.isatty():
        return
    say(
        "This starts a Kubernetes node on this machine, as root: etcd, the control plane, containerd and pods, in\n"
        "namespaces of their own. It may install Debian packages. `make down` ends it and leaves nothing behind."
    )
    if input("Go on? [Y/n] ").strip().lower() not in ("", "y", "yes"):
        raise Trouble("Nothing was started.")


@contextmanager
def borrowed(settings: Settings) -> Iterator[Provider]:
    """A cluster that is up, for as long as a test needs it: left running where it was, ended where it was not."""
    provider = chosen(settings)
    found = provider.running()
    provider.start()
    try:
        yield provider
    finally:
        if not found:
            provider.stop()
