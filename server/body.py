"""Reading a body that may be too large, too slow or not what its header says, without ever holding more than is allowed."""

import asyncio
from collections.abc import Generator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from starlette.types import Message, Receive

from server.errors import BodyTooLarge, BodyTooSlow, InvalidBody
from server.jsontext import MAX_SHOWN
from server.protocols import Request

OFF_LOOP_BYTES = 64 * 1024
"""What is larger is decoded in a thread: in the meantime others, and probes, are answered."""

DISCARDED = 8
"""So many times the limit is read and thrown away before a refusal: a client that is still sending when the connection
closes sees a reset, where a sentence was meant for it."""


class ClientGone(Exception):
    """Nobody is there any more to be answered."""


@dataclass(slots=True)
class Head:
    """What the headers say of a body, and of who sends it."""

    media_type: bytes = b""
    encoding: bytes = b""
    length: bytes = b""
    json_size: bytes = b""
    request_id: bytes = b""
    authorization: bytes | None = None
    expects: bool = False

    @classmethod
    def of(cls, headers: list[tuple[bytes, bytes]]) -> "Head":
        """From all headers, the few that matter."""
        head = cls()
        for key, value in headers:
            if key == b"content-type":
                head.media_type = value
            elif key == b"content-length":
                head.length = value
            elif key == b"x-request-id":
                head.request_id = value
            elif key == b"authorization":
                head.authorization = value
            elif key == b"content-encoding":
                head.encoding = value
            elif key == b"inference-header-content-length":
                head.json_size = value
            elif key == b"expect":
                head.expects = True
        return head


async def read(receive: Receive, head: Head, limit: int, seconds: float) -> Request:
    """The whole body, or the reason why not."""
    if head.expects and head.length.isdigit() and int(head.length) > limit:
        raise BodyTooLarge(_too_large(limit))  # it asked before sending
    first = receive()
    try:
        waiting = first.send(None)  # type: ignore[attr-defined]  # an Awaitable to ASGI; uvicorn's is a coroutine
    except StopIteration as there:  # nearly always the body is there already, and no clock is needed
        message: Message = there.value
        if not message.get("more_body") and message["type"] == "http.request" and len(message["body"]) <= limit:
            return request(message["body"], head)
        content = await _rest(receive, message, limit, seconds)
    else:
        content = await _rest(receive, _Begun(first, waiting), limit, seconds)
    return request(content, head)


async def _rest(receive: Receive, first: "Message | _Begun", limit: int, seconds: float) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            message: Message = await first if isinstance(first, _Begun) else first
            while True:
                if message["type"] == "http.disconnect":
                    raise ClientGone
                chunk: bytes = message.get("body", b"")
                size += len(chunk)
                if size <= limit:
                    chunks.append(chunk)
                elif size > DISCARDED * limit:
                    break
                if not message.get("more_body"):
                    break
                message = await receive()
    except TimeoutError as e:
        raise BodyTooSlow(f"The body did not arrive within {seconds:g} seconds.") from e
    if size > limit:
        raise BodyTooLarge(_too_large(limit))
    return b"".join(chunks)


class _Begun:
    """A coroutine that has begun, and waits for something: awaited, it goes on from there."""

    def __init__(self, coroutine: Any, waiting: Any) -> None:
        self._coroutine = coroutine
        self._waiting = waiting

    def __await__(self) -> Generator[Any, Any, Any]:
        yield self._waiting
        return (yield from self._coroutine.__await__())


def request(content: bytes, head: Head) -> Request:
    """The body as a protocol gets it; another charset than that of JSON, and compression, are refused."""
    if head.encoding and head.encoding.lower() != b"identity":
        encoding = head.encoding[:MAX_SHOWN].decode("latin-1")
        raise InvalidBody(f"The body is compressed ({encoding}); send it as it is.")
    media_type = _media_type(head.media_type)
    if not head.json_size:
        return Request(content, media_type)
    if not head.json_size.isdigit():
        raise InvalidBody("Inference-Header-Content-Length is not a number.")
    return Request(content, media_type, int(head.json_size[:20]))


@lru_cache(64)
def _media_type(said: bytes) -> str:
    """What Content-Type says. Clients say the same again and again."""
    media_type, _, parameters = said.partition(b";")
    for parameter in parameters.split(b";"):
        key, _, value = parameter.partition(b"=")
        charset = value.strip().strip(b'"')
        if key.strip().lower() == b"charset" and charset.lower() not in (b"utf-8", b"utf8", b"us-ascii"):
            shown = charset[:MAX_SHOWN].decode("latin-1")
            raise InvalidBody(f"The body is declared as {shown}; JSON travels as UTF-8.")
    return media_type.strip().lower().decode("latin-1")


def _too_large(limit: int) -> str:
    return f"The body has more than {limit} bytes, and this server takes no more."
