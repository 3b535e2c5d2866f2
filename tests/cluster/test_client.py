"""The operator's own client against the real API server: how a refusal is told from a race."""

from collections.abc import AsyncIterator

import pytest
from kubernetes.aio import client, config

from controller.children import Children
from controller.cluster import AlreadyExists, ApiError, Cluster, Conflict
from controller.index import Index
from controller.resources.identity import Owner
from tests.kubernetes import Kubernetes
from tests.unit.controller.factories import settings

NAMESPACE = "default"
NAME = "client-under-test"
PORTS = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]


@pytest.fixture
async def api(cluster: Kubernetes) -> AsyncIterator[Cluster]:
    configuration = client.Configuration()
    await config.load_kube_config(config_file=str(cluster.kubeconfig), client_configuration=configuration)
    api = Cluster(client.ApiClient(configuration), Index())
    yield api
    await api.close()
    cluster.kubectl("delete", "service", NAME, "-n", NAMESPACE, "--ignore-not-found")


def service(**spec: object) -> dict[str, object]:
    metadata = {"name": NAME, "namespace": NAMESPACE, "labels": {"a": "b"}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": PORTS, **spec}}


async def test_a_write_on_top_of_a_stale_read_is_a_conflict(api: Cluster) -> None:
    stale = await api.create("Service", service())
    label = [{"op": "add", "path": "/metadata/labels", "value": {"c": "d"}}]
    await api.patch("Service", stale, label)
    with pytest.raises(Conflict):
        await api.patch("Service", stale, label)


async def test_a_write_to_an_object_that_was_made_anew_is_a_conflict(api: Cluster, cluster: Kubernetes) -> None:
    stale = await api.create("Service", service())
    await api.delete("Service", stale)
    await api.create("Service", service())
    with pytest.raises(Conflict):
        await api.patch("Service", stale, [{"op": "add", "path": "/metadata/labels", "value": {"c": "d"}}])


async def test_a_write_to_an_object_that_is_gone_is_a_conflict(api: Cluster) -> None:
    stale = await api.create("Service", service())
    await api.delete("Service", stale)
    with pytest.raises(Conflict):
        await api.patch("Service", stale, [{"op": "add", "path": "/metadata/labels", "value": {"c": "d"}}])
    await api.delete("Service", stale)


async def test_only_what_was_looked_at_is_deleted(api: Cluster) -> None:
    stale = await api.create("Service", service())
    live = await api.patch("Service", stale, [{"op": "add", "path": "/metadata/labels", "value": {"c": "d"}}])
    with pytest.raises(Conflict):
        await api.delete("Service", stale)
    assert await api.get("Service", NAMESPACE, NAME) is not None
    await api.delete("Service", live)
    assert await api.get("Service", NAMESPACE, NAME) is None


async def test_a_bad_request_is_no_conflict_whatever_it_is_called(api: Cluster) -> None:
    live = await api.create("Service", service())
    with pytest.raises(ApiError) as refusal:
        await api.patch("Service", live, [{"op": "add", "path": "/spec/ports", "value": [{"port": 0, "name": "test"}]}])
    assert not isinstance(refusal.value, Conflict)
    assert refusal.value.status == 422


async def test_an_unknown_field_is_refused(api: Cluster) -> None:
    with pytest.raises(ApiError, match="unknown field"):
        await api.create("Service", service(prots=PORTS))


async def test_a_name_that_is_taken_is_told(api: Cluster) -> None:
    await api.create("Service", service())
    with pytest.raises(AlreadyExists):
        await api.create("Service", service())


async def test_what_is_not_there_is_none(api: Cluster) -> None:
    assert await api.get("Service", NAMESPACE, NAME) is None
    assert await api.defines("Service")


async def test_a_port_that_changes_takes_the_place_of_the_old_one(api: Cluster) -> None:
    live = await api.create("Service", service())
    children = Children(api, Index(), settings())
    owner = Owner(namespace=NAMESPACE, name=NAME, uid=live["metadata"]["uid"])
    own = {"controller": True, "uid": owner.uid, "apiVersion": "v1", "kind": "Service", "name": NAME}
    await api.patch("Service", live, [{"op": "add", "path": "/metadata/ownerReferences", "value": [own]}])
    wanted = service(ports=[{**PORTS[0], "port": 8080}])
    await children.bring_one("Service", owner, wanted)
    changed = await api.get("Service", NAMESPACE, NAME)
    assert changed is not None
    assert [port["port"] for port in changed["spec"]["ports"]] == [8080]
