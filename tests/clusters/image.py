"""An image as it was built here, before a provider makes it known to its cluster."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Image:
    name: str
    """Its local name, such as localhost/modeldeployment-server:dev."""

    archive: Path
    """An archive that `docker load`, `ctr images import` and `kind load image-archive` read."""

    key: str = ""
    """Names everything that it was made of; what was loaded under this key need not be loaded again."""
