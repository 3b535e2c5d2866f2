"""The short way for requests that are whole when they arrive: who may answer them without ASGI, and what that needs to know."""

import asyncio
import typing
from dataclasses import dataclass

from server.admission import Place


class Connection(typing.Protocol):
    """What brought a request."""

    loop: asyncio.AbstractEventLoop
    whole: "Whole | None"

    def answer(self, status: int, headers: bytes, content: bytes) -> None:
        """Answer the request that waits in the lane."""

    def start(self) -> None:
        """Leave the request that waits in the lane, or is on its way there, to the application."""


@dataclass(eq=False, slots=True)
class Whole:
    """A request that was whole when it arrived."""

    path: str
    headers: list[tuple[bytes, bytes]]
    connection: Connection
    begun: float
    """When its first byte was there (on `time.perf_counter`)."""
    content: bytes = b""
    complete: float = 0.0
    """When its last byte was there."""
    place: Place | None = None
    """In the line of the engine, if it has been let in. The application asks no second time."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where its connection lives."""
        return self.connection.loop

    @property
    def waiting(self) -> bool:
        """Whether an answer is still awaited: the client is there, and nobody else has the request."""
        return self.connection.whole is self

    def answer(self, status: int, headers: bytes, content: bytes) -> None:
        """Send the response, in one piece."""
        self.connection.answer(status, headers, content)

    def go_on(self) -> None:
        """Leave it to the application."""
        self.connection.start()


class Lane(typing.Protocol):
    """Where requests that arrive whole can be answered without ASGI."""

    def path(self, url: bytes) -> str | None:
        """The path of a URL, if requests for it are welcome."""

    def add(self, whole: Whole) -> None:
        """Answer it soon, or let it go on."""
