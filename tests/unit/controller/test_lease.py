"""The Lease: one leader, a quick hand-over on an orderly end, and no trust in anybody's wall clock."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from controller import lease as module
from controller.cluster import Conflict
from controller.lease import Lease, LostLeadershipError


class LeaseApi:
    """One Lease with optimistic locking; `down` makes every request fail."""

    def __init__(self) -> None:
        self.body: dict[str, Any] | None = None
        self.down = False
        self.on_write: Callable[[], None] = lambda: None
        self._version = 0

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        self._reach()
        return self.body

    async def create(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        self._reach()
        if self.body is not None:
            raise Conflict(409, "AlreadyExists", "")
        return self._store(body)

    async def replace(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        self._reach()
        assert self.body is not None
        if body["metadata"]["resourceVersion"] != self.body["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "")
        return self._store(body)

    def _store(self, body: dict[str, Any]) -> dict[str, Any]:
        self.on_write()
        self._version += 1
        self.body = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self._version)}}
        return self.body

    def _reach(self) -> None:
        if self.down:
            raise TimeoutError


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DURATION_SECONDS", 0.2)
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.02)
    monkeypatch.setattr(module, "GIVE_UP_SECONDS", 0.1)


@pytest.fixture
def api() -> LeaseApi:
    return LeaseApi()


def candidate(api: LeaseApi, identity: str) -> Lease:
    return Lease(api, "system", "operator", identity)


async def test_the_first_candidate_leads_and_the_second_waits(api: LeaseApi) -> None:
    first = candidate(api, "one")
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(candidate(api, "two").acquire(), 0.5)
    keeping.cancel()
    assert api.body is not None
    assert api.body["spec"]["holderIdentity"] == "one"


async def test_a_released_lease_is_taken_at_once(api: LeaseApi) -> None:
    first, second = candidate(api, "one"), candidate(api, "two")
    await first.acquire()
    await first.release()
    await asyncio.wait_for(second.acquire(), 0.1)


async def test_a_silent_leader_is_replaced_whatever_its_clock_said(api: LeaseApi) -> None:
    first = candidate(api, "one")
    await first.acquire()
    assert api.body is not None
    api.body["spec"]["renewTime"] = "2099-01-01T00:00:00.000000Z"
    await asyncio.wait_for(candidate(api, "two").acquire(), 2)
    with pytest.raises(LostLeadershipError):
        await asyncio.wait_for(first.keep(), 2)


async def test_a_deleted_lease_is_not_taken_while_its_leader_may_still_write(api: LeaseApi) -> None:
    first, second = candidate(api, "one"), candidate(api, "two")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(module.RENEW_SECONDS * 2)  # it has seen the Lease
    api.body = None
    await waiting
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(first.permission(), 0.01)


async def test_a_leader_whose_lease_somebody_took_has_lost(api: LeaseApi) -> None:
    first = candidate(api, "one")
    await first.acquire()
    assert api.body is not None
    await api.replace("Lease", {**api.body, "spec": {**api.body["spec"], "holderIdentity": "two"}})
    with pytest.raises(LostLeadershipError, match="no longer ours"):
        await asyncio.wait_for(first.keep(), 2)
    await first.release()
    assert api.body["spec"]["holderIdentity"] == "two"


async def test_a_lease_is_released_that_was_renewed_unseen(api: LeaseApi) -> None:
    """The answer to the last renewal never came: the process was told to end in that moment."""
    first = candidate(api, "one")
    await first.acquire()
    assert api.body is not None
    await api.replace("Lease", api.body)
    await first.release()
    assert api.body["spec"]["holderIdentity"] == ""


async def test_a_leader_that_cannot_renew_gives_up_before_the_others_take_over(api: LeaseApi) -> None:
    first = candidate(api, "one")
    await first.acquire()
    api.down = True
    with pytest.raises(LostLeadershipError, match="could not be renewed"):
        await asyncio.wait_for(first.keep(), 2)
    assert module.GIVE_UP_SECONDS < module.DURATION_SECONDS


async def test_a_leader_whose_requests_hang_gives_up_in_time(api: LeaseApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.09)  # an attempt may take twice as long, which is past the time to give up
    first = candidate(api, "one")
    await first.acquire()
    started = time.monotonic()
    monkeypatch.setattr(api, "get", hang)
    with pytest.raises(LostLeadershipError):
        await first.keep()
    assert time.monotonic() - started < module.DURATION_SECONDS


async def hang(*_: object) -> None:
    await asyncio.Event().wait()


async def test_a_restarted_leader_goes_on_at_once(api: LeaseApi) -> None:
    await candidate(api, "one").acquire()
    await asyncio.wait_for(candidate(api, "one").acquire(), 0.1)


class Clock:
    """A monotonic clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def permitted(lease: Lease) -> bool:
    try:
        await asyncio.wait_for(lease.permission(), 0.01)
    except TimeoutError:
        return False
    return True


async def test_only_who_leads_may_write(api: LeaseApi) -> None:
    first, second = candidate(api, "one"), candidate(api, "two")
    assert not await permitted(first)
    await first.acquire()
    assert await permitted(first)
    assert not await permitted(second)
    await first.release()
    assert not await permitted(first)


async def test_a_leader_that_was_stopped_writes_nothing_when_it_wakes_up(api: LeaseApi) -> None:
    """It comes to a write before it comes to its Lease, and nobody has told it that the Lease is somebody else's."""
    clock = Clock()
    first = Lease(api, "system", "operator", "one", clock)
    await first.acquire()
    clock.now += module.GIVE_UP_SECONDS * 0.9
    assert await permitted(first)
    clock.now += module.GIVE_UP_SECONDS * 0.2
    assert not await permitted(first)
    with pytest.raises(LostLeadershipError, match="could not be renewed"):
        await first.keep()


async def test_a_leader_counts_from_before_it_asked(api: LeaseApi) -> None:
    """Others count from when they saw its renewal: an answer that was long on its way proves nothing about now."""
    clock = Clock()
    first = Lease(api, "system", "operator", "one", clock)
    api.on_write = lambda: setattr(clock, "now", clock.now + module.GIVE_UP_SECONDS)
    await first.acquire()
    assert not await permitted(first)
