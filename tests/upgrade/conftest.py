"""The release before, installed from its own sources with its own images, and a model that it serves."""

import io
import os
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.provider import borrowed
from tests.clusters.settings import CHECKOUT, Settings
from tests.e2e.team import Team
from tests.installation import Installation, install_mlflow, install_operator, load_images, start_cluster

NAMESPACE = "e2e-upgrade"
NEEDED = ("server", "controller", "mlflow")


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, check=True).stdout


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of the commit that UPGRADE_FROM names; of the last tag, where it names none."""
    commit = os.environ.get("UPGRADE_FROM") or _git("describe", "--tags", "--abbrev=0").decode().strip()
    sources = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit))) as archive:
        archive.extractall(sources, filter="data")
    return sources


@pytest.fixture(scope="session")
def installation(before: Path) -> Iterator[Installation]:
    with borrowed(Settings.read()):
        cluster = start_cluster()
        names, keys = load_images(NEEDED, sources=before)
        install_mlflow(cluster, names)
        install_operator(cluster, names, keys, chart=before / "charts" / "modeldeployment-operator")
        yield Installation(cluster, names)


@pytest.fixture(scope="session")
def team(installation: Installation) -> Iterator[Team]:
    cluster = installation.cluster
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    installation.make_namespace(NAMESPACE)
    yield Team(installation, NAMESPACE, model=f"{NAMESPACE}-{uuid.uuid4().hex[:6]}")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
