"""Leader election with a Lease, on the monotonic clock.

A candidate never compares its clock with the one that wrote the Lease: it takes over when it has not seen the Lease change
for its whole duration. A leader that cannot renew in time loses its leadership well before that, and its process ends.
Until it has ended, `permission` holds its writes back: a process that was stopped and wakes up after the others took over
may come to a write before it comes to its Lease. What the kernel had of a write by then still arrives, as late as a network
may bring it; it meets a resourceVersion, a uid or a name that is taken, unless it only sets a number of replicas.
On an orderly end the Lease is released, so that the other replica goes on at once.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol

import aiohttp

from controller.cluster import ApiError
from controller.ports import Object

log = logging.getLogger(__name__)

DURATION_SECONDS = 13  # how long the others wait for a leader that says nothing: they go on well within 20 s
RENEW_SECONDS = 2.0
# A leader that could not renew for so long has lost: earlier than the others take over, and as late as Kubernetes' own
# controllers, since 7 s without a renewal do happen where many pods start at once.
GIVE_UP_SECONDS = 10.0


class LostLeadershipError(Exception):
    """The Lease is somebody else's, or could not be renewed in time. The process has to end."""


class Cluster(Protocol):
    async def get(self, kind: str, namespace: str, name: str) -> Object | None: ...
    async def create(self, kind: str, body: Object) -> Object: ...
    async def replace(self, kind: str, body: Object) -> Object: ...


class Lease:
    """One candidate for the leadership."""

    def __init__(
        self, cluster: Cluster, namespace: str, name: str, identity: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._sure_until = float("-inf")  # nobody else leads before
        self._seen = ("", float("-inf"))  # the resourceVersion last seen, empty where there was no Lease; when it was first seen

    async def acquire(self) -> None:
        """Return once this candidate leads."""
        log.info("LeadershipAwaited", extra={"identity": self._identity})
        while True:
            if await self._attempt(self._try_acquire, DURATION_SECONDS):
                break
            await asyncio.sleep(RENEW_SECONDS)
        log.info("LeadershipAcquired", extra={"identity": self._identity})

    async def keep(self) -> None:
        """Renew for as long as it goes well; raises LostLeadershipError."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            left = self._sure_until - self._clock()
            if left > 0:
                await self._attempt(self._try_renew, left)
            if not self._sure:
                raise LostLeadershipError(
                    f"the Lease {self._namespace}/{self._name} could not be renewed for {GIVE_UP_SECONDS} s"
                )

    async def permission(self) -> None:
        """Return while this candidate surely leads; otherwise never: its process is about to end, or does not lead yet."""
        if not self._sure:
            log.warning("WriteHeldBack", extra={"identity": self._identity})
            await asyncio.Event().wait()

    async def release(self) -> None:
        """Let another candidate lead at once."""
        self._sure_until = float("-inf")
        try:
            # Read anew: a renewal that was under way when the end came may have been written.
            lease = await self._cluster.get("Lease", self._namespace, self._name)
            if lease is not None and lease["spec"].get("holderIdentity") == self._identity:
                free = {"holderIdentity": "", "renewTime": _now(), "leaseDurationSeconds": 1}
                await self._cluster.replace("Lease", {**lease, "spec": {**lease["spec"], **free}})
        except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("LeaseNotReleased", extra={"error": str(error) or type(error).__name__})

    @property
    def _sure(self) -> bool:
        return self._clock() < self._sure_until

    async def _attempt(self, step: Callable[[], Awaitable[bool]], left: float) -> bool:
        """Whether the Lease was written. The time counts from before: a candidate sees the write later, and waits longer."""
        started = self._clock()
        try:
            async with asyncio.timeout(min(left, RENEW_SECONDS * 2)):
                written = await step()
        except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("LeaseFailed", extra={"error": str(error) or type(error).__name__})
            return False
        if written:
            self._sure_until = started + GIVE_UP_SECONDS
        return written

    async def _try_acquire(self) -> bool:
        lease = await self._cluster.get("Lease", self._namespace, self._name)
        version, now = (lease["metadata"]["resourceVersion"] if lease else ""), self._clock()
        if self._seen[0] != version:
            self._seen = (version, now)
        silent = now - self._seen[1]
        if lease is None:
            if silent < DURATION_SECONDS:
                return False  # somebody deleted it, and whoever led may not know of that yet
            metadata = {"name": self._name, "namespace": self._namespace}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": self._spec(0)}
            await self._cluster.create("Lease", body)
            return True
        spec = lease["spec"]
        holder = spec.get("holderIdentity")
        if holder and holder != self._identity and silent < spec.get("leaseDurationSeconds", DURATION_SECONDS):
            return False
        transitions = int(spec.get("leaseTransitions", 0)) + (holder != self._identity)
        await self._cluster.replace("Lease", {**lease, "spec": self._spec(transitions)})
        return True

    async def _try_renew(self) -> bool:
        lease = await self._cluster.get("Lease", self._namespace, self._name)
        if lease is None or lease["spec"].get("holderIdentity") != self._identity:
            raise LostLeadershipError(f"the Lease {self._namespace}/{self._name} is no longer ours")
        await self._cluster.replace("Lease", {**lease, "spec": {**lease["spec"], "renewTime": _now()}})
        return True

    def _spec(self, transitions: int) -> Object:
        now = _now()
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": DURATION_SECONDS,
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
