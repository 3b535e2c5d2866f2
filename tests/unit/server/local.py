"""An application in this process, asked as if it were far away: its event loop turns in a thread of its own."""

import asyncio
import threading
from types import TracebackType
from typing import Any, Self

from httpx import ASGITransport, AsyncClient, Response
from starlette.types import ASGIApp

PATIENCE_SECONDS = 30


class Client:
    """A client that many threads may share. Errors of the application are seen as a client sees them."""

    def __init__(self, app: ASGIApp) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._client = AsyncClient(transport=ASGITransport(app, raise_app_exceptions=False), base_url="http://pod")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result(PATIENCE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def request(self, method: str, path: str, **more: Any) -> Response:
        """One request, answered."""
        asked = self._client.request(method, path, **more)
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result(PATIENCE_SECONDS)

    def get(self, path: str, **more: Any) -> Response:
        """GET."""
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> Response:
        """POST."""
        return self.request("POST", path, **more)
