"""What uvicorn itself can do: a constant, and the body read."""

from typing import Any

HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"16")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b'{"prediction":0}'})
