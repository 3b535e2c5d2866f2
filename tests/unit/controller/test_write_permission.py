"""Every write asks whether this process leads, in the one place through which all of them go; no read does."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kubernetes.aio import client

from controller.cluster import Cluster
from controller.index import Index

BODY = {
    "apiVersion": "v1",
    "kind": "Anything",
    "metadata": {"name": "fraud", "namespace": "team", "uid": "u", "resourceVersion": "1"},
}


class Wire:
    """Takes the place of the transport: what was sent."""

    def __init__(self) -> None:
        self.configuration = SimpleNamespace(host="https://cluster")
        self.sent: list[str] = []

    async def update_params_for_auth(self, *_: Any) -> None: ...

    async def call_api(self, method: str, url: str, *_: Any, **__: Any) -> Any:
        self.sent.append(method)

        async def read() -> bytes:
            return json.dumps({**BODY, "status": {}}).encode()

        return SimpleNamespace(status=200, read=read)


WRITES: list[Callable[[Cluster], Awaitable[Any]]] = [
    lambda cluster: cluster.create("Service", BODY),
    lambda cluster: cluster.replace("Service", BODY),
    lambda cluster: cluster.replace_status("ModelDeployment", BODY),
    lambda cluster: cluster.patch("Deployment", BODY, []),
    lambda cluster: cluster.scale("Deployment", "team", "fraud", 3),
    lambda cluster: cluster.delete("NetworkPolicy", BODY),
    lambda cluster: cluster.announce(BODY, "Normal", "Serving", "", ""),
]
OTHERS: list[Callable[[Cluster], Awaitable[Any]]] = [
    lambda cluster: cluster.get("Deployment", "team", "fraud"),
    lambda cluster: cluster.list("Pod", "team"),
    lambda cluster: cluster.replace("Lease", BODY),
    lambda cluster: cluster.review_token("token", "audience"),
]


def led_by(permission: Callable[[], Awaitable[None]]) -> tuple[Wire, Cluster]:
    wire = Wire()
    cluster = Cluster(cast(client.ApiClient, wire), Index())
    cluster.ask_before_writing(permission)
    return wire, cluster


async def never() -> None:
    await asyncio.Event().wait()


async def always() -> None: ...


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_is_sent_by_who_leads_only(write: Callable[[Cluster], Awaitable[Any]]) -> None:
    wire, cluster = led_by(never)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(write(cluster), 0.01)
    assert wire.sent == []
    wire, cluster = led_by(always)
    await write(cluster)
    assert len(wire.sent) == 1


@pytest.mark.parametrize("other", OTHERS)
async def test_reads_the_election_and_the_store_need_no_leadership(other: Callable[[Cluster], Awaitable[Any]]) -> None:
    wire, cluster = led_by(never)
    await asyncio.wait_for(other(cluster), 5)
    assert len(wire.sent) == 1
