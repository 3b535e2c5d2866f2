"""One JSON object a line on stdout, uvicorn's own lines, Python's warnings and what nobody caught included. Never a feature of a
request, a query or a token."""

import contextvars
import json
import logging
import re
import sys
import threading
import traceback
from asyncio import AbstractEventLoop
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from server.settings import Resource

Headers = Sequence[tuple[bytes, bytes]]
Format = Literal["json", "text"]

request: contextvars.ContextVar[tuple[bytes, Headers] | None] = contextvars.ContextVar("request", default=None)
"""The request at hand, by its id and its headers; every line that is written for it says which it is."""

TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
"""https://www.w3.org/TR/trace-context/"""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

log = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """A record as one JSON object."""

    def __init__(self, resource: Resource | None = None) -> None:
        super().__init__()
        self._resource = None if resource is None else f"{resource.namespace}/{resource.name}"

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        return json.dumps(self.fields(record), default=str)

    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        """Time, level, event, whose pod this is, the request at hand and its trace, and whatever was given as `extra`."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage().strip(),
            "logger": record.name,
        }
        if self._resource is not None:
            line["resource"] = self._resource
        if (current := request.get()) is not None:
            line |= of_request(*current)
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info and record.exc_info[1] is not None:
            line |= where(record.exc_info[1])
        return line


class TextFormatter(JsonFormatter):
    """The same for who reads along in a shell."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level and event, then the rest."""
        line = self.fields(record)
        begin = f"{line.pop('time')} {str(line.pop('level')).upper():<7} {line.pop('event')}"
        stack = f"\n{line.pop('stack')}" if "stack" in line else ""
        return " ".join([begin, *(f"{key}={value}" for key, value in line.items())]) + stack


def of_request(name: bytes, headers: Headers) -> dict[str, object]:
    """The request's id, and that of its trace where the client says so."""
    said = [value for key, value in headers if key == b"traceparent"]
    traced = TRACEPARENT.fullmatch(said[0]) if len(said) == 1 else None
    return {"request_id": name.decode()} | ({"trace_id": traced[1].decode()} if traced else {})


def where(error: BaseException) -> dict[str, object]:
    """The kind of an exception and the way to it. Not its text: scikit-learn's has the values of the request."""
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "exception": type(error).__qualname__,
        "stack": "\n".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames),
    }


def configure(form: Format, level: str = "Info", resource: Resource | None = None) -> None:
    """Send everything there."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter((TextFormatter if form == "text" else JsonFormatter)(resource))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = lambda _, error, __: _uncaught("process", error)
    threading.excepthook = lambda args: _uncaught(args.thread.name if args.thread else "thread", args.exc_value)
    sys.unraisablehook = lambda args: _uncaught("finalizer", args.exc_value)


def of_loop(_: AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody awaited; asyncio's own line would have the text of the exception in it."""
    _uncaught("event loop", context.get("exception"))


def _uncaught(place: str, error: BaseException | None) -> None:
    log.error("uncaught exception", extra={"in": place}, exc_info=error)
