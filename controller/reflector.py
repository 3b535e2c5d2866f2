"""One kind of children, listed and then watched: the index is what the API server says, also after a gap.

Not kopf's `on.event`, which it would be by rights. kopf keeps a task, a memory and a difference for every object, and after a
gap it tells what is there but not what has gone meanwhile; an index that is fed by it would remember a deleted Service for
ever. A list and a watch of our own know when the list is over, and so what is gone.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Protocol

import aiohttp

from controller.cluster import ApiError
from controller.health import Health
from controller.index import Index
from controller.ports import Object

log = logging.getLogger(__name__)

BACKOFF_SECONDS = 1.0
LAST_BACKOFF_SECONDS = 30.0
ABSENT_SECONDS = 60.0  # how often a kind is looked for that the API server does not know
PASSING = (ApiError, aiohttp.ClientError, TimeoutError, OSError, ValueError)


class Cluster(Protocol):
    def pages(self, kind: str, namespace: str, selector: str) -> AsyncIterator[tuple[list[Object], str]]: ...
    def watch(self, kind: str, namespace: str, selector: str, version: str) -> AsyncIterator[Object]: ...


class Reflector:
    """Keeps the index of one kind in one namespace (or in all) like the API server's, and tells what has changed."""

    def __init__(
        self,
        cluster: Cluster,
        index: Index,
        health: Health,
        kind: str,
        namespace: str,
        selector: str,
        changed: Callable[[Object], None],
        appeared: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._index = index
        self._health = health
        self._kind = kind
        self._namespace = namespace
        self._selector = selector
        self._changed = changed
        self._appeared = appeared
        self.looked = asyncio.Event()
        """Set once the kind was listed, or is known not to be there, or may not be listed."""

    async def run(self) -> None:
        """List and watch for ever."""
        failures, forgotten = 0, False
        while True:
            try:
                version = await self._list()
                while version:
                    version = await self._watch(version)
                    failures, forgotten = 0, False
            except PASSING as error:
                if isinstance(error, ApiError) and error.status == HTTPStatus.NOT_FOUND:
                    self._index.lost(self._kind)
                    self._health.heard(self._kind, self._namespace)
                    self.looked.set()
                    await asyncio.sleep(ABSENT_SECONDS)
                    continue
                if isinstance(error, ApiError) and error.status == HTTPStatus.GONE and not forgotten:
                    forgotten = True  # what it was watching from: list anew, at once unless that was just done
                    continue
                if isinstance(error, ApiError) and error.status == HTTPStatus.FORBIDDEN:  # the Role has gone, or not come yet
                    self._health.forbidden(self._kind, self._namespace)
                    self.looked.set()
                failures += 1
                extra = {"kind": self._kind, "namespace": self._namespace, "error": str(error) or type(error).__name__}
                log.warning("WatchFailed", extra=extra)
                delay = min(BACKOFF_SECONDS * 2 ** min(failures - 1, 10), LAST_BACKOFF_SECONDS)
                await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311  jitter, no secret

    async def _list(self) -> str:
        """Bring the index to a list's state; the version to watch from."""
        was_absent, first = self._index.absent(self._kind), not self._index.complete(self._kind, self._namespace)
        names, version, changed = set[tuple[str, str]](), "", list[Object]()
        async for page, version in self._cluster.pages(self._kind, self._namespace, self._selector):  # noqa: B007  the last version counts
            for body in page:
                names.add((body["metadata"]["namespace"], body["metadata"]["name"]))
                if self._index.put(self._kind, body):
                    changed.append(body)
            self._health.heard(self._kind, self._namespace)
        changed += self._index.listed(self._kind, self._namespace, names, int(version))
        self.looked.set()
        if was_absent:
            self._appeared()
        elif not first:  # at the start every ModelDeployment is looked at anyway
            for body in changed:
                self._changed(body)
        return version

    async def _watch(self, version: str) -> str:
        """Follow one watch to its end; the version to go on from."""
        try:
            async for event in self._cluster.watch(self._kind, self._namespace, self._selector, version):
                self._health.heard(self._kind, self._namespace)
                body = event["object"]
                if event["type"] == "ERROR":
                    raise ApiError(int(body.get("code", 500)), str(body.get("reason", "")), str(body.get("message", "")))
                version = body["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    if self._index.remove(self._kind, body):
                        self._changed(body)
                elif event["type"] != "BOOKMARK" and self._index.put(self._kind, body):
                    self._changed(body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:  # a connection that broke, or was silent: once more
            extra = {"kind": self._kind, "namespace": self._namespace, "error": str(error) or type(error).__name__}
            log.info("WatchBroken", extra=extra)
            await asyncio.sleep(BACKOFF_SECONDS)
        return version
