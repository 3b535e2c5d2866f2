"""Requests share calls of a slow engine, and never answers."""

import asyncio
import math
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server import batching
from server.admission import PATIENCE, SHORT_LINE, SHORT_SECONDS, Cost
from server.batching import FAR_TOO_LONG_SECONDS, HUNG, LONG_TEXT, MISTRUST_SECONDS, SHORT_CALL_SECONDS, Line
from server.engine import Predicted
from server.errors import Overloaded, PredictionTooSlow
from server.table import Rows


class Echo:
    """Answers each row with itself. A negative row makes it fail, and with it the whole call."""

    def __init__(self, seconds: float = 1e-6) -> None:
        self.calls: list[int] = []
        self.seconds = seconds
        self.go = threading.Event()
        self.go.set()

    def __call__(self, rows: Rows) -> tuple[Predicted, float]:
        self.go.wait(10)
        self.calls.append(len(rows))
        values = [int(row[0]) for row in rows]  # type: ignore[arg-type]  # numbers, in this test
        if min(values) < 0:
            raise ValueError("a negative row")
        return Predicted(predictions=list(values), probabilities=[[value / 2] for value in values]), self.seconds * len(rows)


@pytest.fixture
async def line() -> AsyncIterator[Callable[..., Line]]:
    with ThreadPoolExecutor(1) as pool:

        def make(echo: Echo, *, max_size: int = 64, max_waiting: int = 10_000, timeout: float = 10) -> Line:
            return Line(echo, pool, max_size=max_size, max_waiting=max_waiting, timeout=timeout)

        yield make


Lines = Callable[..., Line]


async def turns(count: int) -> None:
    """Of the event loop: after the first a task has begun, after the second a call has."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_thousands_at_once_each_get_their_own_answer(line: Lines) -> None:
    echo = Echo(1e-9)
    waiting = line(echo)

    async def ask(number: int) -> None:
        rows = [[number * 10 + extra] for extra in range(number % 4 + 1)]
        bad = number % 50 == 7
        if bad:
            rows[-1] = [-1]
        asked: Rows = np.array(rows, dtype=np.float64) if number // 200 % 2 else rows
        if bad:
            with pytest.raises(ValueError, match="negative"):
                await waiting.predict(asked)
        else:
            predicted = await waiting.predict(asked)
            assert predicted.predictions == [row[0] for row in rows]
            assert predicted.probabilities == [[row[0] / 2] for row in rows]

    await asyncio.gather(*map(ask, range(5000)))
    assert len(waiting) == 0
    assert max(echo.calls) > 32  # they did share calls
    assert max(echo.calls) <= 64


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 10**6), st.integers(1, 5), st.booleans()), min_size=1, max_size=60), st.integers(1, 9))
def test_whatever_comes_together_comes_apart_again(requests: list[tuple[int, int, bool]], size: int) -> None:
    async def ask(line: Line, value: int, count: int, as_array: bool) -> None:
        rows = [[value]] * count
        try:
            predicted = await line.predict(np.array(rows, dtype=np.float64) if as_array else rows)
        except ValueError:
            assert value < 0
        else:
            assert predicted.predictions == [value] * count

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            line = Line(Echo(1e-9), pool, max_size=size, max_waiting=1000, timeout=10)
            await asyncio.gather(*(ask(line, *request) for request in requests))

    asyncio.run(run())


class Clock:
    """That stands still, however slow the machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(batching, "time", clock)
    return clock


class Timed(Echo):
    """Takes some time without computing, and says where it is asked."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.takes = 0.0
        self.where = ""

    def __call__(self, rows: Rows) -> tuple[Predicted, float]:
        self.where = "loop" if threading.current_thread() is threading.main_thread() else "thread"
        self.clock.now += self.takes
        return super().__call__(rows)


async def test_short_calls_are_made_on_the_event_loop_and_long_ones_are_not(line: Lines, clock: Clock) -> None:
    echo = Timed(clock)
    waiting = line(echo)

    async def ask(rows: int) -> str:
        await waiting.predict([[7]] * rows)
        return echo.where

    assert [await ask(1), await ask(1), await ask(8), await ask(8)] == [
        "thread",
        "loop",
        "thread",
        "loop",
    ]  # not before it is known
    waiting.cost.observe(9, 10 * SHORT_CALL_SECONDS)
    assert [await ask(9), await ask(1)] == ["thread", "loop"]
    for _ in range(100):
        waiting.cost.observe(1, 2 * SHORT_CALL_SECONDS)
    assert await ask(1) == "thread"


async def test_whose_calls_take_what_their_rows_do_not_tell_is_asked_in_a_thread(line: Lines, clock: Clock) -> None:
    echo = Timed(clock)
    waiting = line(echo)

    async def ask(*row: float | str) -> str:
        await waiting.predict([row])
        return echo.where

    echo.takes = 2 * SHORT_CALL_SECONDS  # it asks somebody else
    assert [await ask(1), await ask(1)] == ["thread", "thread"]
    echo.takes = 0.0
    assert [await ask(1), await ask(1, "x" * LONG_TEXT)] == ["thread", "loop"]
    assert [await ask(1, "x" * (LONG_TEXT + 1)), await ask(1)] == ["thread", "loop"]
    echo.takes = 2 * FAR_TOO_LONG_SECONDS
    assert await ask(1) == "loop"
    echo.takes = 0.0
    assert await ask(1) == "thread"
    clock.now += MISTRUST_SECONDS
    assert await ask(1) == "loop"


async def test_a_call_that_does_not_end_is_known(line: Lines, clock: Clock) -> None:
    echo = Echo()
    waiting = line(echo, timeout=5)
    clock.now = 1000.0
    assert not waiting.hung
    echo.go.clear()
    asked = asyncio.create_task(waiting.predict([[1]]))
    await turns(2)
    clock.now += HUNG * 5
    assert not waiting.hung
    clock.now += 1
    assert waiting.hung
    echo.go.set()
    await asked
    assert not waiting.hung


async def test_one_row_is_asked_about_at_once(line: Lines) -> None:
    echo = Echo()
    await line(echo).predict([[1]])
    assert echo.calls == [1]


async def test_a_bad_row_costs_the_others_little(line: Lines) -> None:
    echo = Echo(1e-9)
    waiting = line(echo)
    echo.go.clear()
    first = asyncio.create_task(waiting.predict([[0]]))
    await turns(2)
    others = [asyncio.create_task(waiting.predict([[value]])) for value in (*range(1, 32), -1)]
    await asyncio.sleep(0)
    echo.go.set()
    await first
    answers = await asyncio.gather(*others, return_exceptions=True)
    assert [type(answer) for answer in answers[:-1]] == [Predicted] * 31
    assert isinstance(answers[-1], ValueError)
    assert len(echo.calls) <= 2 + 2 * 5  # halves of halves, not one by one


async def test_more_than_can_be_answered_soon_is_turned_away_at_once(line: Lines) -> None:
    echo = Echo()
    waiting = line(echo)
    for _ in range(20):
        waiting.cost.observe(1, 0.1)  # a row takes a tenth of a second, and sharing a call saves nothing
        waiting.cost.observe(2, 0.2)
    echo.go.clear()
    running = asyncio.create_task(waiting.predict([[1]]))
    await turns(2)
    few = [asyncio.create_task(waiting.predict([[value]])) for value in range(SHORT_LINE)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await waiting.predict([[9]])
    echo.go.set()
    assert [(await one).predictions for one in (running, *few)] == [[1], *([value] for value in range(SHORT_LINE))]


async def test_a_call_that_costs_the_same_for_many_rows_is_shared_by_many(line: Lines) -> None:
    echo = Echo()
    waiting = line(echo)
    for rows in (1, 16, 64):
        waiting.cost.observe(rows, 0.0023 + rows * 0.000016)
    await asyncio.gather(*(waiting.predict([[value]]) for value in range(60)))
    assert echo.calls == [60]


async def test_those_who_ask_again_are_asked_about_together(line: Lines) -> None:
    echo = Echo()
    waiting = line(echo)
    for rows in (1, 8, 16) * 10:
        waiting.cost.observe(rows, 40.0)  # hence a rest of seconds, unless all are back

    async def ask(number: int) -> None:
        for _ in range(20):
            await waiting.predict([[number]])

    started = time.monotonic()
    await asyncio.gather(*map(ask, range(8)))
    assert time.monotonic() - started < 5
    assert echo.calls == [8] * 20


async def test_a_line_that_fits_into_one_call_is_no_overload(line: Lines) -> None:
    echo = Echo()
    waiting = line(echo)
    for rows in (1, 32, 64) * 10:
        waiting.cost.observe(rows, 0.02 + rows * 0.0001)
    echo.go.clear()
    first = asyncio.create_task(waiting.predict([[0]]))
    await turns(2)
    asked = [asyncio.create_task(waiting.predict([[value]])) for value in range(64)]
    await asyncio.sleep(0)
    echo.go.set()
    await asyncio.gather(first, *asked)
    assert echo.calls == [1, 64]


async def test_one_client_never_waits_for_others(line: Lines) -> None:
    echo = Echo()
    waiting = line(echo)
    for rows in (1, 8, 16) * 10:
        waiting.cost.observe(rows, 40.0)
    started = time.monotonic()
    for _ in range(5):
        await waiting.predict([[1]])
    assert time.monotonic() - started < 5


async def test_the_line_has_an_end_however_short_the_wait(line: Lines) -> None:
    echo = Echo()
    waiting = line(echo, max_waiting=2)
    echo.go.clear()
    first = asyncio.create_task(waiting.predict([[0]]))
    await turns(2)
    asked = [asyncio.create_task(waiting.predict([[value]])) for value in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await waiting.predict([[3]])
    echo.go.set()
    await asyncio.gather(first, *asked)


async def test_whoever_gave_up_is_not_asked_about(line: Lines) -> None:
    echo = Echo()
    waiting = line(echo, timeout=0.01)
    echo.go.clear()
    first = asyncio.create_task(waiting.predict([[0]]))
    await turns(2)
    asked = [asyncio.create_task(waiting.predict([[value], [value]][:value])) for value in (1, 2)]
    answers = await asyncio.gather(first, *asked, return_exceptions=True)
    assert all(isinstance(answer, PredictionTooSlow) for answer in answers)
    echo.go.set()
    assert (await waiting.predict([[7]])).predictions == [7]
    assert echo.calls == [1, 1]


def test_a_call_that_the_machine_disturbed_turns_nobody_away() -> None:
    cost = Cost()
    for rows in (1, 15) * 50:
        cost.observe(rows, 0.0023 + rows * 0.00002)
    for _ in range(2):
        cost.observe(15, 0.1)
    assert cost.of(16) < max(PATIENCE * cost.of(1), SHORT_SECONDS)


@pytest.mark.parametrize("connections", [16, 64])
def test_whoever_waits_for_each_answer_is_never_turned_away(connections: int) -> None:
    """A forest of 100 trees on a machine that others use: what a call takes varies, and now and then it takes five times that."""
    chance, cost = random.Random(0), Cost()
    for number in range(3000):
        rows = (
            chance.choice((1, connections // 2, connections - 1)) if number < 1000 else connections - chance.choice((0, 0, 1, 2))
        )
        disturbed = math.exp(chance.gauss(0, 0.3)) * (5 if chance.random() < 0.02 else 1)
        cost.observe(rows, (0.0023 + rows * 0.000016) * disturbed)
        assert cost.of(connections) <= max(PATIENCE * cost.of(1), SHORT_SECONDS)


def test_costs_are_learned_from_calls() -> None:
    cost = Cost()
    assert cost.of(1) == 0
    cost.observe(1, 0.002)
    assert cost.of(1) == pytest.approx(0.002)
    for rows in (1, 8, 32, 64) * 20:
        cost.observe(rows, 0.002 + rows * 0.0001)
    assert cost.of(16) == pytest.approx(0.0036, rel=0.05)
    for _ in range(200):
        cost.observe(1, 0.02)  # now it is slower
    assert cost.of(1) == pytest.approx(0.02, rel=0.1)
