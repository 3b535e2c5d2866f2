"""Who is let into the line: a crowd that waits for its answers always is; of more than can be answered, only those who are
answered soon. The clock is a number, and an engine is what its calls take."""

from collections import deque
from collections.abc import Iterator

import pytest

from server.admission import OVERLOADED_SECONDS, SHORT_LINE, Admission, Cost, Place

SIZE = 64
HTTP, REFUSAL = 4e-5, 2e-5
"""Seconds of the event loop for a request that is answered, and for one that is not."""
SECONDS = 4
"""For so long it goes on, on that clock."""


class Engine:
    """One that is asked in calls of up to `SIZE` rows, each by a client of its own."""

    def __init__(self, fixed: float, each: float, *, at_once: bool, max_waiting: int = 256) -> None:
        self._fixed, self._each, self._at_once = fixed, each, at_once
        """At once: on the event loop, which hears of nobody while the engine works, and for which all else is work too."""
        cost = Cost()
        for rows in (1, 2, 8, SIZE) * 3:
            cost.observe(rows, fixed + each * rows)
        self._admission = Admission(cost, max_size=SIZE, max_waiting=max_waiting)
        self._line: deque[float] = deque()
        self.refused = 0

    @property
    def capacity(self) -> float:
        return SIZE / self.takes(SIZE)

    def takes(self, rows: int) -> float:
        return self._fixed + (self._each + HTTP * self._at_once) * rows

    def come(self, arrived: float, *, busy: bool, now: float) -> bool:
        waiting = len(self._line)
        admitted = self._admission.admits(1, waiting=waiting, rows_waiting=waiting, busy=busy, now=now)
        if admitted:
            self._line.append(arrived)
        self.refused += not admitted
        return admitted

    def call(self) -> tuple[list[float], float]:
        """When those came who are asked about, and how long it takes."""
        self._admission.called()
        asked = [self._line.popleft() for _ in range(min(SIZE, len(self._line)))]
        return asked, self.takes(len(asked))

    def waits(self, rate: float, seconds: float) -> Iterator[float]:
        """Of all who are answered, where so many come a second."""
        now, number = 0.0, 0
        while now < seconds:
            asked, takes = self.call()
            end = now + max(takes, 0.001)
            while number / rate < end:
                arrived = number / rate
                if not self.come(arrived, busy=bool(asked) and not self._at_once, now=arrived) and self._at_once:
                    end += REFUSAL
                number += 1
            yield from (end - arrived for arrived in asked)
            now = end


@pytest.mark.parametrize(("fixed", "each", "at_once"), [(0.02, 0, False), (0.0023, 16e-6, False), (0.0023, 16e-6, True)])
def test_at_twice_the_capacity_whoever_is_answered_waits_for_three_calls(fixed: float, each: float, at_once: bool) -> None:
    engine = Engine(fixed, each, at_once=at_once)
    waits = sorted(engine.waits(2 * engine.capacity, SECONDS))
    assert waits[int(len(waits) * 0.99)] <= 3 * engine.takes(SIZE) * 1.001
    assert len(waits) > (0.6 if at_once else 0.99) * engine.capacity * SECONDS
    assert engine.refused > 0.98 * engine.capacity * SECONDS


def test_where_calls_save_nothing_few_wait() -> None:
    engine = Engine(0.0, 0.005, at_once=False)
    waits = sorted(engine.waits(2 * engine.capacity, SECONDS))
    assert waits[int(len(waits) * 0.99)] <= 3 * SHORT_LINE * 0.005
    assert len(waits) > 0.99 * engine.capacity * SECONDS


@pytest.mark.parametrize("at_once", [True, False])
def test_below_the_capacity_nobody_is_turned_away(at_once: bool) -> None:
    engine = Engine(0.0023, 0.000016, at_once=at_once)
    assert len(list(engine.waits(0.9 * engine.capacity, SECONDS))) > 0.89 * engine.capacity * SECONDS
    assert engine.refused == 0


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("clients", [16, 64, 100, 128])
def test_a_crowd_that_waits_for_its_answers_is_never_turned_away(clients: int, at_once: bool) -> None:
    engine, now, coming = Engine(0.0023, 0.000016, at_once=at_once), 0.0, clients
    for _ in range(100):
        assert all(engine.come(now, busy=False, now=now) for _ in range(coming))
        asked, takes = engine.call()
        now, coming = now + takes, len(asked)


def test_an_overload_that_is_over_is_forgotten() -> None:
    engine = Engine(0.0023, 0.000016, at_once=True)
    assert [engine.come(0, busy=False, now=0) for _ in range(1000)].count(False) > 500
    while engine.call()[0]:
        pass
    tight = [engine.come(0.5, busy=False, now=0.5) for _ in range(100)]
    assert SIZE <= tight.count(True) < 100
    while engine.call()[0]:
        pass
    assert all(engine.come(1, busy=False, now=OVERLOADED_SECONDS + 0.01) for _ in range(100))


def test_the_line_has_an_end_and_few_are_always_let_in() -> None:
    slow = Engine(10.0, 10.0, at_once=False)
    assert [slow.come(0, busy=True, now=0) for _ in range(SHORT_LINE + 2)] == [True] * SHORT_LINE + [False] * 2
    short = Engine(1e-9, 0.0, at_once=False, max_waiting=2)
    assert [short.come(0, busy=True, now=0) for _ in range(3)] == [True, True, False]


def test_whoever_is_on_the_way_has_a_place_in_the_line() -> None:
    admission = Admission(Cost(), max_size=SIZE, max_waiting=2)

    def admits() -> bool:
        return admission.admits(1, waiting=0, rows_waiting=0, busy=False, now=0)

    places = [Place(admission) for _ in range(2) if admits()]
    assert not admits()
    for _ in range(2):
        places[0].leave()
    assert admits()
    assert admission.kept == 1
