"""Who may wait for an engine: whoever will be answered soon, by what its calls have cost. Pure, on whatever clock it is told.

A crowd of clients that each wait for their answer is no overload, however often they ask: what a call takes and those that wait
for the next ones are let in. Where more come than that, more come than can be answered. Then, for a second and as long as it
lasts, so few are let in that these wait for hardly longer than on an idle server.
"""

import math

PATIENCE = 2.0
"""In an overload a request may wait, its own time included, for so many times what it takes alone on average. With the call that
is made when it comes, that is within three times of what the slower answers of an idle server take."""

SHORT_SECONDS = 0.01
SHORT_LINE = 4
"""Else nobody is turned away for a wait that is no longer than this; and never because of so few others."""

OVERLOADED_SECONDS = 1.0
"""Nobody who was turned away should come back sooner."""


class Cost:
    """What a call of the engine takes, in processor time: a fixed part and a part for each row, fitted to the latest calls.

    How the one part relates to the other is the model's nature, and can be told only from calls of different sizes; how long
    both take is the machine's, and can be told from any call.
    """

    FORGETS = 0.98
    """What an observation is still worth when the next one comes."""
    KNOWN = 8
    OUTLIER = 3.0
    """After so many observations, one of a known size that is so many times what was expected counts as no more: it was the
    machine."""
    SPREAD = 0.05
    """From so much variance of the sizes, as a part of their mean square, the two parts can be told from each other."""

    def __init__(self) -> None:
        self._share = 0.0
        """Of what a call for one row takes: the part that each further row takes too."""
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        self._largest = 0
        self._waited = math.inf

    def observe(self, rows: int, seconds: float, waited: float = 0.0) -> None:
        """One call, and how long it did not compute. What is least of that is not the machine: a model may ask others."""
        self._waited = min(self._waited, waited)
        if self._n > self.KNOWN and rows <= self._largest:
            seconds = min(seconds, self.OUTLIER * self.of(rows))
        self._largest = max(self._largest, rows)
        keep = self.FORGETS
        self._n = self._n * keep + 1
        self._x = self._x * keep + rows
        self._y = self._y * keep + seconds
        self._xx = self._xx * keep + rows * rows
        self._xy = self._xy * keep + rows * seconds
        variance = self._n * self._xx - self._x * self._x
        if self._y and variance > self.SPREAD * self._n * self._xx:
            slope = min(max((self._n * self._xy - self._x * self._y) / variance, 0.0), self._y / self._x)
            self._share = slope / ((self._y - slope * self._x) / self._n + slope)

    def of(self, rows: int) -> float:
        """The expected seconds; 0 while nothing is known."""
        if not self._n:
            return 0.0
        fixed = 1 - self._share
        return self._y / (fixed * self._n + self._share * self._x) * (fixed + self._share * rows)

    def surely(self, rows: int, seconds: float) -> bool:
        """Whether so many rows will take no longer than that: as many have been asked about before."""
        return rows <= self._largest and self.of(rows) + self._waited <= seconds


class Place:
    """In line, for one row of a request that is let in before it is read. It is kept until the row is there, or given up."""

    def __init__(self, admission: "Admission") -> None:
        self._kept_by: Admission | None = admission
        admission.kept += 1

    def leave(self) -> None:
        """The row is in line, or will never be."""
        if self._kept_by is not None:
            self._kept_by.kept -= 1
            self._kept_by = None


class Admission:
    """To the line of one engine."""

    def __init__(self, cost: Cost, *, max_size: int, max_waiting: int) -> None:
        self._cost = cost
        self._max_size = max_size
        self._max_waiting = max_waiting
        self.kept = 0
        """Places of those who are let in, and not in line yet."""
        self._turned_away = 0
        """Rows, since the latest call."""
        self._overloaded_until = 0.0

    def admits(self, rows: int, *, waiting: int, rows_waiting: int, busy: bool, now: float) -> bool:
        """Whether a request of so many rows may wait behind the others. Whoever may not is remembered as one of a crowd."""
        waiting, rows_waiting = waiting + self.kept, rows_waiting + self.kept
        if waiting < min(SHORT_LINE, self._max_waiting):
            return True
        patience = PATIENCE * self._cost.of(rows)
        overloaded = now < self._overloaded_until
        crowd = rows_waiting + rows + self._turned_away
        at_once = 0.0 if busy else self._seconds(min(crowd, self._max_size))
        if self._seconds(crowd) - at_once > (patience if overloaded else max(patience, SHORT_SECONDS)):
            self._overloaded_until = now + OVERLOADED_SECONDS
            overloaded = True
        soon = not overloaded or self._seconds(rows_waiting + rows) <= patience
        if soon and waiting < self._max_waiting:
            return True
        self._turned_away += rows
        return False

    def called(self) -> None:
        """The next call begins."""
        self._turned_away = 0

    def _seconds(self, rows: int) -> float:
        """Of all calls for so many rows."""
        return self._cost.of(rows) + (math.ceil(rows / self._max_size) - 1) * self._cost.of(0)
