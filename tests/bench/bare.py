"""What the operator is compared with: a client that decides nothing, and writes the same objects over as many connections.

The objects are those that the operator made, as the API server has them. So the comparison is fair whatever the operator
makes of a ModelDeployment.
"""

import asyncio
from typing import Any

from tests.bench.api import CHILDREN, DEPLOYMENTS, RESOURCE, Api, Object, collection

NAME_LABEL = "mlserving.dev/modeldeployment"
MERGE_PATCH = "application/merge-patch+json"
SET_BY_OTHERS = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "namespace", "annotations")
CHOSEN_BY_THE_API_SERVER = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")

Children = dict[str, list[tuple[tuple[str, str], Object]]]
"""By the name of the ModelDeployment: kind and object of each child."""


async def recorded(api: Api, namespace: str) -> Children:
    """The children that the operator made in a namespace, as they have to be sent to be made again."""
    children: Children = {}
    for kind in CHILDREN:
        for item in await api.list(kind, namespace):
            name = (item["metadata"].get("labels") or {}).get(NAME_LABEL)
            if name is not None:
                children.setdefault(name, []).append((kind, _as_sent(item)))
    return children


class Bare:
    """Makes the children of each ModelDeployment that it is told of, and writes its status."""

    def __init__(self, api: Api, namespace: str, children: Children, status: Object, status_writes: int) -> None:
        self._api = api
        self._namespace = namespace
        self._children = children
        self._status = status
        self._early_writes = status_writes - 1
        self._queue: asyncio.Queue[tuple[str, Object | None]] = asyncio.Queue()
        self._pending: dict[str, Object] = {}
        """ModelDeployments whose Deployment was not seen available yet."""

    def created(self, resource: Object) -> None:
        self._queue.put_nowait(("children", resource))

    async def run(self, connections: int) -> None:
        """Until cancelled: the workers, and the watch that tells them what has become available."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._see())
            for _ in range(connections):
                group.create_task(self._work())

    async def _see(self) -> None:
        async for _, deployment in self._api.watch(DEPLOYMENTS, self._namespace):
            states = (deployment.get("status") or {}).get("conditions") or []
            if any(state["type"] == "Available" and state["status"] == "True" for state in states):
                resource = self._pending.pop(deployment["metadata"]["name"], None)
                if resource is not None:
                    self._queue.put_nowait(("available", resource))

    async def _work(self) -> None:
        while True:
            what, resource = await self._queue.get()
            assert resource is not None
            if what == "available":
                await self._tell(resource, self._status)
                continue
            self._pending[resource["metadata"]["name"]] = resource
            for kind, child in self._children[resource["metadata"]["name"]]:
                await self._api.send("POST", collection(kind, self._namespace), _owned(child, resource))
            unfinished = {**self._status, "conditions": []}
            for number in range(self._early_writes):
                await self._tell(resource, {**unfinished, "replicas": number})

    async def _tell(self, resource: Object, status: Object) -> None:
        path = f"{collection(RESOURCE, self._namespace)}/{resource['metadata']['name']}/status"
        await self._api.send("PATCH", path, {"status": status}, media=MERGE_PATCH)


def _as_sent(item: Object) -> Object:
    metadata = {key: value for key, value in item["metadata"].items() if key not in SET_BY_OTHERS}
    spec = {key: value for key, value in item["spec"].items() if key not in CHOSEN_BY_THE_API_SERVER}
    told: Object = {key: item[key] for key in ("apiVersion", "kind") if key in item}  # a list tells them of custom resources only
    return {**told, "metadata": metadata, "spec": spec}


def _owned(child: Object, resource: Object) -> dict[str, Any]:
    """The child, so that it goes with this ModelDeployment."""
    owner = {**child["metadata"]["ownerReferences"][0], "uid": resource["metadata"]["uid"]}
    return {**child, "metadata": {**child["metadata"], "ownerReferences": [owner]}}
