"""The cluster itself under test: with whatever provider this machine has, and a pod image of one program."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.engine import Engine, docker_engine
from tests.cluster.pods import BUSYBOX, Workloads
from tests.clusters import archive, binaries, packages
from tests.clusters.image import Image
from tests.clusters.provider import Provider, borrowed
from tests.clusters.settings import CHECKOUT, Settings
from tests.kubernetes import Kubernetes

NAMESPACE = "cluster-test"
DEFINITION = CHECKOUT / "charts" / "modeldeployment-operator" / "files" / "crd.yaml"
DEFINITION_NAME = "modeldeployments.mlserving.dev"


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings.read()


@pytest.fixture(scope="session")
def provider(settings: Settings) -> Iterator[Provider]:
    with borrowed(settings) as provider:
        yield provider


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with docker_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Image:
    packages.ensure({"/usr/share/doc/busybox-static": "busybox-static"})
    target = tmp_path_factory.mktemp("busybox") / "busybox.tar"
    archive.write(target, BUSYBOX, {"/bin/busybox": Path("/bin/busybox")}, ["/bin/busybox"])
    return Image(name=BUSYBOX, archive=target)


@pytest.fixture(scope="session")
def cluster(settings: Settings, provider: Provider) -> Kubernetes:
    return Kubernetes(provider.start(), str(binaries.binary(settings, "kubectl")))


@pytest.fixture(scope="session")
def defined(cluster: Kubernetes) -> Iterator[Kubernetes]:
    """The cluster, with the ModelDeployment's definition in it; one that was there before stays."""
    was_there = DEFINITION_NAME in cluster.kubectl("get", "crd", "-o", "name")
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(DEFINITION))
    cluster.kubectl("wait", "--for=condition=Established", f"crd/{DEFINITION_NAME}", "--timeout=30s")
    yield cluster
    if not was_there:
        cluster.kubectl("delete", "crd", DEFINITION_NAME)


@pytest.fixture(scope="session")
def workloads(cluster: Kubernetes, provider: Provider, busybox: Image) -> Iterator[Workloads]:
    """A web server and a busy deployment in a namespace under restricted pod security, gone afterwards."""
    image = provider.load_images([busybox])[BUSYBOX]
    workloads = Workloads(cluster, NAMESPACE, image)
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    workloads.create()
    yield workloads
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
