"""Logs: one JSON object a line on standard output, kopf's lines, Python's warnings and what nobody caught included."""

import contextvars
import json
import logging
import re
import sys
import threading
from datetime import UTC, datetime
from typing import Literal

Format = Literal["json", "text"]
Level = Literal["Info", "Warning", "Error"]

resource: contextvars.ContextVar[str | None] = contextvars.ContextVar("resource", default=None)
"""Namespace and name of the ModelDeployment at hand; every line that is written for it says which it is."""

_STANDARD = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
# What kopf's lines about an object carry along: all that kopf was told, and which object it is.
_OF_KOPF = {"settings", "k8s_skip", "k8s_ref"}

# What lets its holder in: a name and password before a host, and queries, in which object stores have signatures.
_USER = re.compile(r"(?<=://)[^/?#\s\"']+@")
_QUERY = re.compile(r"(://[^\s?#\"']*\?)[^\s\"']+")

log = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """A record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.fields(record))

    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        """Time, level, event, logger, the resource at hand, and whatever was passed as `extra`."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": _clean(record.getMessage()),
            "logger": record.name,
        }
        if (current := resource.get() or _object(record)) is not None:
            line["resource"] = current
        extra = {key: value for key, value in record.__dict__.items() if key not in _STANDARD | _OF_KOPF}
        line |= {key: value if isinstance(value, int | float) else _clean(str(value)) for key, value in extra.items()}
        if record.exc_info:
            line["exception"] = _clean(self.formatException(record.exc_info))
        return line


class TextFormatter(JsonFormatter):
    """The same for who reads along in a shell."""

    def format(self, record: logging.LogRecord) -> str:
        line = self.fields(record)
        begin = f"{line.pop('time')} {str(line.pop('level')).upper():<7} {line.pop('event')}"
        stack = f"\n{line.pop('exception')}" if "exception" in line else ""
        return " ".join([begin, *(f"{key}={value}" for key, value in line.items())]) + stack


def _object(record: logging.LogRecord) -> str | None:
    """What a line of kopf's is about."""
    about = getattr(record, "k8s_ref", None)
    return f"{about['namespace']}/{about['name']}" if about else None


def _clean(text: str) -> str:
    """Without credentials that are part of an address."""
    return _QUERY.sub(r"\1...", _USER.sub("", text)) if "://" in text else text


def configure(form: Format = "json", level: Level = "Info") -> None:
    """Send everything there."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(TextFormatter() if form == "text" else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("kopf").setLevel(max(logging.getLogger().level, logging.WARNING))
    sys.excepthook = lambda _, error, __: _uncaught("process", error)
    threading.excepthook = lambda args: _uncaught(args.thread.name if args.thread else "thread", args.exc_value)
    sys.unraisablehook = lambda args: _uncaught("finalizer", args.exc_value)


def _uncaught(place: str, error: BaseException | None) -> None:
    log.error("Uncaught", extra={"in": place}, exc_info=error)
