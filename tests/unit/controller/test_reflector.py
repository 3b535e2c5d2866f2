"""A list and a watch: the index is right after every kind of gap, and the process knows when a watch is silent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controller import reflector
from controller.cluster import ApiError
from controller.health import WATCH_SILENCE, Health
from controller.index import Index, owner_of
from controller.ports import Key, Object
from controller.reflector import Reflector
from tests.unit.controller.test_index import child


class Script:
    """An API server that answers lists and watches as it is told; `None` in a stream breaks the connection."""

    def __init__(self, lists: list[Any], watches: list[list[Any]]) -> None:
        self.lists, self.watches = lists, watches
        self.watched_from: list[str] = []
        self.done = asyncio.Event()

    async def pages(self, kind: str, namespace: str, selector: str) -> AsyncIterator[tuple[list[Object], str]]:
        answer = self.lists.pop(0)
        if isinstance(answer, Exception):
            raise answer
        version, *pages = answer
        for page in pages or [[]]:
            yield page, version

    async def watch(self, kind: str, namespace: str, selector: str, version: str) -> AsyncIterator[Object]:
        self.watched_from.append(version)
        if not self.watches:
            self.done.set()
            await asyncio.Event().wait()
        for event in self.watches.pop(0):
            if event is None:
                raise ConnectionResetError("gone")
            yield event


def event(type_: str, body: Object) -> Object:
    return {"type": type_, "object": body}


BOOKMARK = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "40"}}}
GONE = event("ERROR", {"code": 410, "reason": "Expired", "message": "too old"})


class Watched:
    """One reflector that follows a script to its end."""

    def __init__(self, script: Script) -> None:
        self.script, self.index, self.health = script, Index(), Health()
        self.told: list[Key | None] = []
        self.appearances = 0
        self.reflector = Reflector(
            script, self.index, self.health, "Service", "", "", lambda body: self.told.append(owner_of(body)), self._appeared
        )

    def _appeared(self) -> None:
        self.appearances += 1


Follow = Callable[[Script], Awaitable[Watched]]


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Follow:
    monkeypatch.setattr(reflector, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(reflector, "ABSENT_SECONDS", 0.001)

    async def follow(script: Script) -> Watched:
        watched = Watched(script)
        async with _running(watched.reflector):
            await asyncio.wait_for(script.done.wait(), 5)
        return watched

    return follow


@asynccontextmanager
async def _running(running: Reflector) -> AsyncIterator[None]:
    task = asyncio.create_task(running.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_first_list_is_no_news_and_events_are(follow: Follow) -> None:
    listed = [child(1, name="a", owner="a")], [child(2, name="b", owner="b")]
    events = [event("MODIFIED", child(31, name="b", owner="b", spec={"new": 1})), event("ADDED", child(32, name="c", owner="c"))]
    watched = await follow(Script([["30", *listed]], [events]))
    assert watched.told == [("team", "b"), ("team", "c")]
    assert watched.index.complete("Service", "team")
    assert len(list(watched.index.all("Service"))) == 3


async def test_a_watch_that_breaks_goes_on_from_where_it_was_bookmarks_count(follow: Follow) -> None:
    script = Script([["30"]], [[event("ADDED", child(31)), None], [BOOKMARK], [None]])
    await follow(script)
    assert script.watched_from == ["30", "31", "40", "40"]


async def test_what_was_deleted_in_a_gap_is_found_to_be_gone(follow: Follow) -> None:
    lists = [["30", [child(1, name="a", owner="a"), child(2, name="b", owner="b")]], ["50", [child(2, name="b", owner="b")]]]
    watched = await follow(Script(lists, [[GONE]]))
    assert watched.told == [("team", "a")]
    assert watched.index.get("Service", "team", "a") is None
    assert watched.script.watched_from == ["30", "50"]


@pytest.mark.parametrize(
    ("watches", "pauses"),
    [([[GONE]], 0), ([[GONE], [GONE], [GONE]], 2), ([[GONE], [BOOKMARK], [GONE], [BOOKMARK], [GONE]], 0)],
    ids=["once", "in a row", "with a watch between"],
)
async def test_a_version_that_is_forgotten_as_soon_as_it_was_listed_is_a_failure(
    follow: Follow, caplog: pytest.LogCaptureFixture, watches: list[list[Any]], pauses: int
) -> None:
    lists = [[str(30 + number)] for number in range(1 + watches.count([GONE]))]
    watched = await follow(Script(lists, [*watches]))
    assert watched.script.lists == []
    assert [record.message for record in caplog.records] == ["WatchFailed"] * pauses


async def test_a_kind_that_is_not_there_is_waited_for(follow: Follow) -> None:
    absent = ApiError(404, "NotFound", "the server could not find the requested resource")
    watched = await follow(Script([absent, absent, ["30", [child(1)]]], []))
    assert watched.appearances == 1
    assert watched.index.complete("Service", "team") and not watched.index.absent("Service")


async def test_a_kind_that_goes_away_is_absent(follow: Follow) -> None:
    absent = ApiError(404, "NotFound", "")
    watched = await follow(Script([["30", [child(1)]], absent, ["60"]], [[GONE]]))
    assert list(watched.index.all("Service")) == []
    assert watched.appearances == 1


async def test_a_list_that_fails_is_tried_again(follow: Follow) -> None:
    watched = await follow(Script([ApiError(500, "", ""), ConnectionResetError(), TimeoutError(), ["30"]], []))
    assert watched.index.complete("Service", "team")


def test_where_it_may_not_watch_no_restart_helps_and_the_age_tells() -> None:
    now = 0.0
    health = Health(lambda: now)
    health.heard("Service", "b")
    now = WATCH_SILENCE + 1
    health.forbidden("Service", "b")
    assert health.trouble() is None
    assert health.ages() == {"Service": WATCH_SILENCE + 1}
    now += WATCH_SILENCE + 1
    assert health.trouble() == "the watch of Service was silent for 241 s", "it is not even asked for any more"


@pytest.mark.usefixtures("follow")
async def test_what_it_may_not_list_nobody_waits_for_and_it_comes_once_it_may() -> None:
    watched = Watched(Script([ApiError(403, "Forbidden", "no Role"), ["30", [child(1)]]], []))
    now = 0.0
    watched.health._clock = lambda: now
    watched.health.heard("Service")
    now = WATCH_SILENCE + 1
    async with _running(watched.reflector):
        await asyncio.wait_for(watched.reflector.looked.wait(), 5)
        assert watched.health.trouble() is None
        assert not watched.index.complete("Service", "team")
        await asyncio.wait_for(watched.script.done.wait(), 5)
    assert watched.index.complete("Service", "team")


def test_a_silent_watch_is_trouble_and_a_standby_has_none() -> None:
    now = 0.0
    health = Health(lambda: now)
    assert health.trouble() is None, "a standby watches nothing"
    health.heard("Service", "a")
    health.heard("Service", "b")
    now = WATCH_SILENCE - 1
    assert health.trouble() is None
    health.heard("Service", "a")
    now = WATCH_SILENCE + 2
    assert health.ages() == {"Service": WATCH_SILENCE + 2}, "the quietest of them counts"
    assert health.trouble() == "the watch of Service was silent for 242 s"
    health.heard("Service", "b")
    assert health.trouble() is None


def test_a_stuck_queue_is_trouble() -> None:
    health = Health()
    health.ask(lambda: "team/fraud is being worked on for 200 s")
    assert health.trouble() == "team/fraud is being worked on for 200 s"
