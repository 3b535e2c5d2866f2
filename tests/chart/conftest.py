"""The real helm, and the chart rendered with its defaults."""

import pytest

from tests.chart.rendering import Helm, Rendered
from tests.clusters.binaries import binary
from tests.clusters.settings import Settings


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(binary(Settings.read(), "helm"), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def rendered(helm: Helm) -> Rendered:
    return helm.render()
