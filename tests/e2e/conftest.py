"""The real thing: a cluster, MLflow on it, the operator by its chart. A cluster that was there is left as it was found."""

import uuid
from collections.abc import Iterator

import pytest

from tests.clusters.provider import borrowed
from tests.clusters.settings import Settings
from tests.e2e.team import Team
from tests.installation import Installation, prepare
from tests.kubernetes import Kubernetes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks back at everything else comes last."""
    items.sort(key=lambda item: item.path.stem == "test_permissions")


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    with borrowed(Settings.read()):
        yield prepare()


@pytest.fixture(scope="session")
def cluster(installation: Installation) -> Kubernetes:
    return installation.cluster


@pytest.fixture(scope="module")
def team(installation: Installation, request: pytest.FixtureRequest) -> Iterator[Team]:
    """A namespace for each test module, gone afterwards."""
    namespace = "e2e-" + request.module.__name__.rsplit("_", 1)[-1]
    cluster = installation.cluster
    cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found")
    installation.make_namespace(namespace)
    yield Team(installation, namespace, model=f"{namespace}-{uuid.uuid4().hex[:6]}")
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
