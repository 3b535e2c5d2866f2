"""Many ModelDeployments at once: created, waited for, and taken away again."""

import asyncio
import time
from collections.abc import Callable

from tests.bench import models
from tests.bench.api import RESOURCE, Api, Object, collection
from tests.clusters.progress import say

FOLLOWERS = 100
"""So many follow the model whose alias is moved; the others share the other models."""

PROGRESS_SECONDS = 10
NAMESPACES = "/api/v1/namespaces"
PREFIX = "bench-"
"""Of the names of the benchmark's namespaces."""


def resources(count: int, model_count: int) -> list[Object]:
    return [
        {
            "apiVersion": "mlserving.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": f"resource-{number:04}"},
            "spec": {
                "model": {"name": models.name(_model(number, model_count)), "alias": models.ALIAS},
                "autoscaling": {"minReplicas": 2, "maxReplicas": 4},
            },
        }
        for number in range(count)
    ]


async def create(api: Api, namespace: str, bodies: list[Object], connections: int, created: Callable[[Object], None]) -> None:
    """Create them all, over so many connections."""
    queue = iter(bodies)

    async def work() -> None:
        for body in queue:
            created(await api.send("POST", collection(RESOURCE, namespace), body))

    await asyncio.gather(*(work() for _ in range(connections)))


async def seen(api: Api, namespace: str, count: int, is_so: Callable[[Object], bool], what: str) -> list[float]:
    """Wait until `count` of the namespace's ModelDeployments have been seen to be so; when each was, sorted."""
    when: dict[str, float] = {}
    told = time.monotonic()
    async with asyncio.timeout(900):
        async for _, resource in api.watch(RESOURCE, namespace):
            now = time.monotonic()
            if is_so(resource):
                when.setdefault(resource["metadata"]["name"], now)
            if now - told > PROGRESS_SECONDS:
                told = now
                say(f"    {len(when)} of {count} {what}")
            if len(when) >= count:
                break
    return sorted(when.values())


def available(resource: Object) -> bool:
    states = (resource.get("status") or {}).get("conditions") or []
    return any(state["type"] == "Available" and state["status"] == "True" for state in states)


def serves(version: str) -> Callable[[Object], bool]:
    return lambda resource: str(((resource.get("status") or {}).get("serving") or {}).get("version")) == version


async def make_namespace(api: Api, name: str) -> None:
    await api.send("POST", NAMESPACES, {"metadata": {"name": name}})


async def remove_left_over(api: Api) -> None:
    """Remove what a benchmark that was killed has left: the operator would look after it."""
    found = (await api.send("GET", NAMESPACES))["items"]
    names = [each["metadata"]["name"] for each in found if each["metadata"]["name"].startswith(PREFIX)]
    await asyncio.gather(*(remove_namespace(api, name) for name in names))


async def remove_namespace(api: Api, name: str) -> None:
    """Returns when it and everything in it is gone: the garbage collector would take its share of the next figure."""
    await api.send("DELETE", f"{NAMESPACES}/{name}", absent_ok=True)
    async with asyncio.timeout(900):
        while await api.send("GET", f"{NAMESPACES}/{name}", absent_ok=True):
            await asyncio.sleep(0.5)


def _model(number: int, model_count: int) -> int:
    return 0 if number < FOLLOWERS else 1 + number % (model_count - 1)
