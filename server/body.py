"""Reading a body that may be too large, too slow or not what its header says, without ever holding more than is allowed."""

import asyncio

from starlette.requests import Request

from server.errors import BodyTooLarge, BodyTooSlow

DISCARDED = 8
"""So many times the limit is read and thrown away before a refusal: a client that is still sending when the connection
closes sees a reset, where a sentence was meant for it."""


async def read(request: Request, limit: int, seconds: float) -> bytes:
    """The whole body, or the reason why not."""
    if "expect" in request.headers and int(request.headers.get("content-length", 0)) > limit:
        raise BodyTooLarge(_too_large(limit))  # it asked before sending
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limit:
                    chunks.append(chunk)
                elif size > DISCARDED * limit:
                    break
    except TimeoutError as e:
        raise BodyTooSlow(f"The body did not arrive within {seconds:g} seconds.") from e
    if size > limit:
        raise BodyTooLarge(_too_large(limit))
    return b"".join(chunks)


def _too_large(limit: int) -> str:
    return f"The body has more than {limit} bytes, and this server takes no more."
