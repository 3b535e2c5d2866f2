"""How the watches begin, and what kopf's own one tells of itself."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection, Sized

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controller.api import KIND
from controller.cluster import ApiError
from controller.health import WATCH_SILENCE, Health
from controller.index import Index
from controller.ports import Object
from controller.watch import CHILDREN, _observed, find_gone, operator_settings, watch
from controller.workqueue import WorkQueue


class Mute:
    """An API server that takes connections, and says nothing."""

    async def pages(self, kind: str, namespace: str, selector: str) -> AsyncIterator[tuple[list[Object], str]]:
        await asyncio.Event().wait()
        yield [], ""

    async def watch(self, kind: str, namespace: str, selector: str, version: str) -> AsyncIterator[Object]:
        await asyncio.Event().wait()
        yield {}

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        await asyncio.Event().wait()
        return None


@pytest.mark.parametrize("namespaces", [(), ("a", "b")])
async def test_a_watch_that_was_never_heard_is_trouble_in_the_end(namespaces: tuple[str, ...]) -> None:
    now = 0.0
    health = Health(lambda: now)
    queue: WorkQueue[tuple[str, str]] = WorkQueue(lambda key: asyncio.sleep(0), 1)
    task = asyncio.create_task(watch(Mute(), Index(), queue, health, namespaces, asyncio.Event()))
    await asyncio.sleep(0)
    now = WATCH_SILENCE + 1
    assert health.ages() == dict.fromkeys((KIND, *CHILDREN), WATCH_SILENCE + 1)
    for kind, namespace in itertools.product((KIND, *CHILDREN), namespaces or ("",)):
        assert health.trouble() is not None
        health.heard(kind, namespace)
    assert health.trouble() is None, "and it is counted under the names under which the watches report"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Without(Mute):
    """An API server that has not got `gone`, and does not tell of `unknown`."""

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        if name == "unknown":
            raise ApiError(503, "ServiceUnavailable", "etcd")
        return None if name == "gone" else {}


async def test_what_was_deleted_while_kopfs_watch_was_interrupted_is_found_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.watch.PAUSE_SECONDS", 0.0)
    index, told, asked = Index(), list[str](), asyncio.Event()
    for name in ("unknown", "gone", "there"):
        index.put(KIND, {"metadata": {"namespace": "team", "name": name, "uid": name, "resourceVersion": "1"}, "spec": {}})

    class Queue:
        def add(self, key: tuple[str, str]) -> None:
            told.append(key[1])

        def add_after(self, key: tuple[str, str], delay: float) -> None:
            raise AssertionError

        def know_only(self, keys: Collection[tuple[str, str]]) -> None:
            assert {name for _, name in keys} == {"unknown", "there"}
            asked.set()

    task = asyncio.create_task(find_gone(Without(), index, Queue()))
    await asyncio.wait_for(asked.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert told == ["gone"]
    assert index.get(KIND, "team", "gone") is None


def test_kopf_never_gives_a_watch_up() -> None:
    delays = operator_settings().networking.error_backoffs
    assert not isinstance(delays, Sized | float), "kopf takes a length for the number of attempts"
    for _ in range(2):  # each request counts from the start
        assert sum(itertools.islice(delays, 8)) == 54
        assert next(itertools.islice(delays, 10_000, None)) == 30


async def test_an_answer_to_kopf_is_a_sign_of_life_and_a_refusal_is_told_apart() -> None:
    statuses = {"a": 200, "b": 403, "c": 503}

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=statuses[request.match_info["namespace"]])

    app = web.Application()
    app.router.add_get("/apis/mlserving.dev/v1alpha1/namespaces/{namespace}/modeldeployments", answer)
    server = TestServer(app)
    await server.start_server()
    now = 0.0
    health = Health(lambda: now)
    session = _observed(kopf.ConnectionInfo(server=str(server.make_url(""))), health).aiohttp_session
    troubled = set()
    for namespace in statuses:
        health._heard.clear()
        health.heard(KIND, namespace)
        now += WATCH_SILENCE + 1
        url = server.make_url(f"/apis/mlserving.dev/v1alpha1/namespaces/{namespace}/modeldeployments?watch=true")
        async with session.get(url):
            pass
        if health.trouble() is not None:
            troubled.add(namespace)
        assert (health.ages()[KIND] == 0) == (namespace == "a")
    assert troubled == {"c"}
    await session.close()
    await server.close()
