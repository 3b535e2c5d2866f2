"""Whether this process gets anywhere: signs of life of each watch, and a queue that moves.

A watch that dies in silence leaves an operator that looks alive and does nothing. So each watch tells when it has heard
something, bookmarks included, which come once a minute from a cluster in which nothing happens; one that was silent for
longer fails the liveness probe, and a fresh process lists everything anew. Not where the API server answers that the
operator may not watch there: a fresh process may not either, and the other namespaces need this one.
"""

import time
from collections.abc import Callable

WATCH_SILENCE = 240.0  # seconds: a silent connection was given up after 120 s, and the next one heard nothing either


class Health:
    """What the liveness probe and the metrics ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: dict[tuple[str, str], float] = {}  # resource and namespace of a watch
        self._forbidden: dict[tuple[str, str], float] = {}
        self._stuck: Callable[[], str | None] = lambda: None

    def heard(self, resource: str, namespace: str = "") -> None:
        """A watch has heard something, or has nothing to hear and said so."""
        self._heard[resource, namespace] = self._clock()

    def forbidden(self, resource: str, namespace: str = "") -> None:
        """The API server was asked for a watch, and refused it."""
        self._forbidden[resource, namespace] = self._clock()

    def ask(self, stuck: Callable[[], str | None]) -> None:
        """`stuck()` says what of the queue does not move."""
        self._stuck = stuck

    def ages(self) -> dict[str, float]:
        """Seconds since the quietest watch of each resource heard something."""
        return self._ages(self._heard)

    def trouble(self) -> str | None:
        """What does not move; None on a standby, which watches nothing."""
        answered = {watch: max(heard, self._forbidden.get(watch, heard)) for watch, heard in self._heard.items()}
        silent = [
            f"the watch of {resource} was silent for {age:.0f} s"
            for resource, age in self._ages(answered).items()
            if age > WATCH_SILENCE
        ]
        return "; ".join([*silent, *filter(None, [self._stuck()])]) or None

    def _ages(self, times: dict[tuple[str, str], float]) -> dict[str, float]:
        now, ages = self._clock(), dict[str, float]()
        for (resource, _), moment in times.items():
            ages[resource] = max(ages.get(resource, 0.0), now - moment)
        return ages
