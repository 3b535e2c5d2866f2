"""A process of the operator on the real API server: how it ends, and that one which lost the Lease writes nothing more."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from kubernetes.aio import client

from controller.cluster import Cluster
from controller.index import Index
from controller.lease import Lease
from tests.cluster.door import Door, configuration_of, door, kubeconfig_of
from tests.cluster.operator_process import OperatorProcess, operator_process
from tests.installation import RELEASE, SYSTEM_NAMESPACE
from tests.kubernetes import POLL_SECONDS, Kubernetes, Object

NAMESPACE = "leadership-test"
LEASE = "modeldeployment-operator"
NAME = "unresolved"
END_SECONDS = 3.0
BETWEEN_SIGNALS = 0.005


@pytest.fixture(scope="module", autouse=True)
def no_other(defined: Kubernetes) -> Iterator[None]:
    """An operator that is installed on this cluster would serve the resource too; it is back afterwards."""
    installed = ("-n", SYSTEM_NAMESPACE, f"statefulset/{RELEASE}")
    release = defined.get("statefulset", RELEASE, SYSTEM_NAMESPACE)
    if release is None:
        yield
        return
    defined.kubectl("scale", *installed, "--replicas=0")
    defined.kubectl("wait", "-n", SYSTEM_NAMESPACE, "--for=delete", "pod", f"-lapp.kubernetes.io/instance={RELEASE}")
    yield
    defined.kubectl("scale", *installed, f"--replicas={release['spec']['replicas']}")
    defined.kubectl("rollout", "status", *installed, "--timeout=180s")


@pytest.fixture
async def api(defined: Kubernetes) -> AsyncIterator[Cluster]:
    """The operator's own client, in a namespace of its own."""
    await asyncio.to_thread(defined.kubectl, "create", "namespace", NAMESPACE)
    api = Cluster(client.ApiClient(await configuration_of(defined.kubeconfig)), Index())
    yield api
    await api.close()
    await asyncio.to_thread(defined.kubectl, "delete", "namespace", NAMESPACE)


@pytest.fixture
async def way(defined: Kubernetes) -> AsyncIterator[Door]:
    async with door(defined.kubeconfig) as found:
        yield found


@pytest.fixture
async def leader(api: Cluster, way: Door, tmp_path: Path) -> AsyncIterator[OperatorProcess]:
    """A process that leads, and has told of a resource: all of its watches are under way."""
    async with operator_process(kubeconfig_of(way), NAMESPACE, tmp_path / "leader") as process:
        await api.create("ModelDeployment", resource())
        await told(api, 1)
        yield process


def resource() -> Object:
    return {
        "apiVersion": "mlserving.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"model": {"name": "fraud", "version": 1}},
    }


async def told(api: Cluster, generation: int) -> None:
    """The resource has a status about that generation."""
    async with asyncio.timeout(30):
        while (await read(api)).get("status", {}).get("observedGeneration") != generation:
            await asyncio.sleep(POLL_SECONDS)


async def read(api: Cluster) -> Object:
    found = await api.get("ModelDeployment", NAMESPACE, NAME)
    assert found is not None
    return found


async def holder(api: Cluster) -> str:
    lease = await api.get("Lease", NAMESPACE, LEASE)
    assert lease is not None
    return str(lease["spec"]["holderIdentity"])


async def ends_in_order(process: OperatorProcess, *signals: signal.Signals) -> None:
    begun = time.monotonic()
    for number in signals:
        process.send(number)
        await asyncio.sleep(BETWEEN_SIGNALS)  # those that meet become one
    assert await process.ended(30) == 0, process.log
    assert time.monotonic() - begun < END_SECONDS, process.log
    assert "Traceback" not in process.log


async def test_a_leader_that_is_told_to_end_lets_go_at_once(api: Cluster, leader: OperatorProcess) -> None:
    """Also when it is told twice, and while Prometheus keeps a connection to it open."""
    async with aiohttp.ClientSession() as prometheus, prometheus.get(leader.metrics_url) as scraped:
        await scraped.read()
        await ends_in_order(leader, signal.SIGTERM, signal.SIGTERM)
    assert await holder(api) == ""
    assert "LeaseNotReleased" not in leader.log


async def test_a_standby_that_is_told_to_end_leaves_the_lease_alone(
    api: Cluster, leader: OperatorProcess, way: Door, tmp_path: Path
) -> None:
    before = await holder(api)
    async with operator_process(kubeconfig_of(way), NAMESPACE, tmp_path / "standby") as standby:
        await standby.said("LeadershipAwaited")
        await ends_in_order(standby, signal.SIGINT)
    assert await holder(api) == before
    assert before.startswith("leader_")


async def test_a_leader_that_was_stopped_for_longer_than_its_lease_writes_nothing_more(
    api: Cluster, leader: OperatorProcess, way: Door
) -> None:
    """It is stopped between two writes, a status and its event: the first is answered while it sleeps, the second comes next."""
    successor = Lease(api, NAMESPACE, LEASE, "successor")
    with way.holding_back("PUT", f"{NAME}/status"):
        changed = await read(api)
        model = {**changed["spec"]["model"], "registryRef": {"name": "other"}}
        await api.replace("ModelDeployment", {**changed, "spec": {"model": model}})
        async with asyncio.timeout(30):
            while not way.held_back:
                await asyncio.sleep(0.01)
        leader.send(signal.SIGSTOP)
        await leader.stopped()
        before = way.writes
    await asyncio.wait_for(successor.acquire(), 30)
    leader.send(signal.SIGCONT)
    assert await leader.ended(10) == 1, leader.log
    assert way.writes == before, leader.log
    assert "LeadershipLost" in leader.log
    assert "Traceback" not in leader.log
    assert await holder(api) == "successor"
