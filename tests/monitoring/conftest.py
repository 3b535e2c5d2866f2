"""A cluster with the operator, and beside it a Prometheus that finds it by what the chart's values say."""

import uuid
from collections.abc import Iterator

import pytest

from tests.clusters.provider import borrowed
from tests.clusters.settings import Settings
from tests.e2e.team import Team
from tests.installation import Installation, prepare, start_cluster
from tests.monitoring import stack
from tests.monitoring.stack import Monitoring

NAMESPACE = "e2e-monitoring"


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    with borrowed(Settings.read()):
        stack.install(start_cluster())
        yield prepare(*stack.HELM_OPTIONS)


@pytest.fixture(scope="session")
def monitoring(installation: Installation) -> Iterator[Monitoring]:
    cluster = installation.cluster
    with (
        cluster.forwarded("service/prometheus-operated", 9090, "monitoring") as prometheus,
        cluster.forwarded("service/alertmanager-operated", 9093, "monitoring") as alertmanager,
    ):
        yield Monitoring(prometheus, alertmanager)


@pytest.fixture(scope="session")
def team(installation: Installation) -> Iterator[Team]:
    cluster = installation.cluster
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    installation.make_namespace(NAMESPACE)
    yield Team(installation, NAMESPACE, model=f"{NAMESPACE}-{uuid.uuid4().hex[:6]}")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
