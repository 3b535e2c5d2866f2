"""The access log: now and then a line for what went well, a line for each mistake, and never more than a log can take."""

import logging
import time

from server.logs import Headers, request

ERRORS_PER_SECOND = 100
"""More lines on errors help nobody, and a pod that refuses what is too much has no time to write about it."""

MAX_PATH = 200
"""Characters of a path; it can be anything."""

log = logging.getLogger("server.access")


class Access:
    """When to write a line on a request that was answered, and what. Nothing in it is from a query or a body."""

    def __init__(self, per_second: float) -> None:
        self._pause = 1 / per_second if per_second else float("inf")
        self._next = 0.0 if per_second else float("inf")
        self._errors_until = 0.0
        self._errors = 0
        self._left_out = 0

    def due(self, now: float) -> bool:
        """Whether it is time for a line on a request that went well; then the next has to wait."""
        if now < self._next:
            return False
        self._next = now + self._pause
        return True

    def answered(
        self, method: str, path: str, status: int, begun: float, name: bytes, headers: Headers, error: str | None = None
    ) -> None:
        """A request has its answer: a line, if it is an error, or time for one."""
        now = time.perf_counter()
        if self._has_room(now) if status >= 400 else self.due(now):
            self.write(method, path, status, now - begun, name, headers, error)

    def write(
        self, method: str, path: str, status: int, seconds: float, name: bytes, headers: Headers, error: str | None = None
    ) -> None:
        """A line, whose level says whether it is a fault of this side."""
        said: dict[str, object] = {"method": method, "path": path[:MAX_PATH], "status": status, "seconds": round(seconds, 6)}
        if error is not None:
            said["error"] = error
        if status >= 400 and self._left_out:
            said["errors_left_out"], self._left_out = self._left_out, 0
        before = request.set((name, headers))
        log.log(logging.WARNING if status >= 500 else logging.INFO, "request", extra=said)
        request.reset(before)

    def _has_room(self, now: float) -> bool:
        if now >= self._errors_until:
            self._errors_until, self._errors = now + 1, 0
        self._errors += 1
        if self._errors <= ERRORS_PER_SECOND:
            return True
        self._left_out += 1
        return False
