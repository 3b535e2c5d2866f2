"""What the environment says, read once: where the checkout and the caches are, and which cluster is wanted."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    checkout: Path = CHECKOUT
    """The clone that this cluster belongs to: one cluster a checkout."""

    cache: Path = Path.home() / ".cache" / "modeldeployment-operator"
    """Built tools and images. Shared by all checkouts and kept by `make down`: a cold build takes a quarter of an hour."""

    given_kubeconfig: Path | None = None
    """KUBECONFIG: a cluster that exists already, and that the person wants used."""

    registry: str | None = None
    """REGISTRY: where a given cluster pulls images from, and where we may push them."""

    wanted: str | None = None
    """CLUSTER_PROVIDER: `local`, `kind` or `existing`, for who does not want it to be found out."""

    base_image: str | None = None
    """BASE_IMAGE: what our images are built on, where it is not the public Python image."""

    @property
    def state(self) -> Path:
        return self.checkout / ".cluster"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def key(self) -> str:
        """Names what this checkout's cluster has to name outside of its folder: a link, a cgroup."""
        return hashlib.sha256(str(self.checkout).encode()).hexdigest()[:8]

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        base = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        given = environment.get("KUBECONFIG")
        settings = cls(
            cache=base / "modeldeployment-operator",
            given_kubeconfig=Path(given) if given else None,
            registry=environment.get("REGISTRY") or None,
            wanted=environment.get("CLUSTER_PROVIDER") or None,
            base_image=environment.get("BASE_IMAGE") or None,
        )
        if settings.given_kubeconfig and settings.given_kubeconfig.resolve() == settings.kubeconfig.resolve():
            # Somebody exported the kubeconfig of our own cluster, as the demo suggests at its end.
            return replace(settings, given_kubeconfig=None)
        return settings
