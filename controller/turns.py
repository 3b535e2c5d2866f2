"""Whose pods are being moved to another server image, and who waits for that: a few at a time, each called when it may.

No event tells a resource that another one has arrived, so whoever had to wait is remembered, and looked at again then.
"""

from collections.abc import Callable

from controller.ports import Key


class Turns:
    """At most `limit` resources at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._moving: set[Key] = set()
        self._waiting: dict[Key, None] = {}  # in the order in which they came
        self.call: Callable[[Key], None] = lambda _: None
        """Has a resource looked at again."""

    def may(self, key: Key) -> bool:
        """Whether it may be moved now; if not, it is called later."""
        if key in self._moving or len(self._moving) < self._limit:
            return True
        self._waiting[key] = None
        return False

    def take(self, key: Key) -> None:
        """It is being moved from now on."""
        self._moving.add(key)

    def leave(self, key: Key) -> None:
        """It is not being moved any more, and waits for nothing."""
        self._moving.discard(key)
        self._waiting.pop(key, None)

    def give_up(self, key: Key) -> None:
        """It does not go, or is gone: another one's turn."""
        self.leave(key)
        self.call_next()

    def call_next(self) -> None:
        """Call as many as there is room for. Who is called and does not go has no turn: the next look calls others."""
        for key in list(self._waiting)[: max(0, self._limit - len(self._moving))]:
            del self._waiting[key]
            self.call(key)
