"""One JSON object a line, without what was in the request."""

import json
import logging
import sys

from server import logs


def line(record: logging.LogRecord) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(logs.JsonFormatter().format(record))
    return parsed


def test_a_line_has_what_was_said_and_for_which_request() -> None:
    token = logs.request_id.set("abc-1")
    try:
        record = logging.makeLogRecord({"msg": "fetched %s\n", "args": ("x",), "levelname": "INFO", "name": "server", "bytes": 5})
        written = line(record)
    finally:
        logs.request_id.reset(token)
    assert {key: written[key] for key in ("level", "event", "request_id", "bytes")} == {
        "level": "info",
        "event": "fetched x",
        "request_id": "abc-1",
        "bytes": 5,
    }
    assert str(written["time"]).endswith("+00:00")


def test_an_exception_says_where_and_not_what() -> None:
    try:
        raise ValueError("could not convert 'confidential'")
    except ValueError:
        written = line(logging.makeLogRecord({"msg": "unexpected error", "exc_info": sys.exc_info()}))
    assert written["exception"] == "ValueError" and "test_logs.py" in str(written["stack"])
    assert "confidential" not in json.dumps(written)
